"""Crawls of stores other than web servers, and journals in all kinds of stores."""

import os
import subprocess
import sys
import time
from collections import Counter
from contextlib import nullcontext
from uuid import uuid4

import pytest

from anystore import Store, get_store
from anystore.backends.wrap import PrefixBackend
from anystore.crawling import crawl, documents, runs
from anystore.crawling.journal import Journal
from anystore.errors import BackendError
from anystore.keys import private_key
from tests.object_servers import BUCKET
from tests.redis_servers import redis_program
from tests.redis_servers import running as running_redis
from tests.remote_servers import openssh, pyftpd, wsgidav

VALUES = {f"folder {number % 3}/value {number}": f"v{number}" * 100 for number in range(12)}
LONG_AGO = time.time() - 7200


@pytest.fixture
def bucket(moto_server):
    return lambda name: get_store(f"s3://{BUCKET}/{uuid4().hex}/{name}", backend_config=dict(moto_server.config))


class Counting(PrefixBackend):
    """Counts how often a value is asked for."""

    def __init__(self, inner):
        super().__init__(inner, "")
        self.asked = Counter()

    def reader(self, key):
        self.asked["reader"] += 1
        return super().reader(key)

    def stat(self, key):
        self.asked["stat"] += 1
        return super().stat(key)


def crawled_twice(source, target):
    """Crawl, and crawl again; tell what the second crawl asked the source."""
    first = crawl(source, target)
    assert first.complete, first.failures
    assert first.fetched == len(VALUES)
    assert {key: target.get(key) for key in target.iterate_keys()} == VALUES
    counting = Counting(source.backend)
    again = crawl(Store(counting), target)
    assert (again.complete, again.unchanged, again.fetched) == (True, len(VALUES), 0)
    return counting.asked


@pytest.mark.parametrize("server", [openssh, pyftpd, wsgidav], ids=["sftp", "ftp", "webdav"])
def test_servers_of_files(server, tmp_path):
    with server() as running:
        for key, value in VALUES.items():
            path = running.root / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(value)
            os.utime(path, (LONG_AGO, LONG_AGO))
        source = get_store(running.uri, backend_config=dict(running.config))
        target = get_store(tmp_path / "target", serialization_mode="text")
        crawled_twice(source, target)
        target.put("folder 1/value 1", "rotten" * 33 + "xx")
        assert crawl(source, target, verify="full").healed + crawl(source, target).fetched >= 1
        assert target.get("folder 1/value 1") == VALUES["folder 1/value 1"]


def test_a_bucket_that_has_not_changed_costs_its_listing(bucket, tmp_path):
    source = bucket("source")
    source.put_many(VALUES.items())
    assert crawled_twice(source, get_store(tmp_path / "target", serialization_mode="text")) == {}


def test_a_zip_that_has_not_changed_costs_its_listing(tmp_path):
    source = get_store(tmp_path / "source.zip")
    source.put_many(VALUES.items())
    assert crawled_twice(source, get_store(tmp_path / "target", serialization_mode="text")) == {}


@pytest.mark.parametrize("kind", ["sqlite", "zip", "s3", "redis", "memory"])
def test_targets(kind, tmp_path, bucket):
    source = get_store(tmp_path / "source")
    source.put_many(VALUES.items())
    for key in source.iterate_keys():
        os.utime(tmp_path / "source" / key, (LONG_AGO, LONG_AGO))
    with running_redis(redis_program()) if kind == "redis" else nullcontext() as server:
        uris = {
            "sqlite": f"sqlite:///{tmp_path}/target.db",
            "zip": f"{tmp_path}/target.zip",
            "memory": f"memory://{tmp_path}",
        }
        target = (
            bucket("target")
            if kind == "s3"
            else get_store(uris.get(kind) or f"redis://127.0.0.1:{server.port}/0/target")
        )
        assert list(documents(target)) == []
        assert runs(target) == []
        crawled_twice(source, target.using(serialization_mode="text"))
        assert {one.key: one.status for one in documents(target)} == dict.fromkeys(VALUES, "ok")
        source.delete("folder 1/value 1")
        source.put("new", "n")
        report = crawl(source, target)
        assert (report.fetched, report.gone, report.complete) == (1, 1, True)
        assert [run.number for run in runs(target)] == [1, 2, 3]


def test_two_processes_at_once(tmp_path):
    get_store(tmp_path / "source").put_many((f"{number:04d}", "x" * 100) for number in range(400))
    script = (
        "import sys\n"
        "from anystore.crawling import crawl\n"
        "report = crawl(sys.argv[1], sys.argv[2])\n"
        "print(report.complete, report.listed)\n"
    )
    argv = [sys.executable, "-c", script, str(tmp_path / "source"), str(tmp_path / "target")]
    children = [subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [child.communicate(timeout=60)[0] for child in children] == ["True 400\n"] * 2
    numbers = [run.number for run in runs(str(tmp_path / "target"))]
    assert numbers == [1, 2]
    assert len(list(documents(str(tmp_path / "target")))) == 400


def test_a_lost_lease_ends_the_crawl_and_harms_nothing(tmp_path):
    source, target = get_store(f"memory://{tmp_path}/source"), get_store(tmp_path / "target")
    source.put_many(VALUES.items())
    crawl(source, target)
    now = [0.0]
    sleeper = Journal(target.backend, clock=lambda: now[0])
    sleeper.hold()
    target.backend.delete(private_key("leases/crawl="))  # as if another crawl had taken it over
    try:
        assert crawl(source, target).complete
        now[0] = 60.0
        with pytest.raises(BackendError, match="lost the journal"):
            sleeper.add([b"{}"])
    finally:
        sleeper.release()
    assert crawl(source, target).unchanged == len(VALUES)
