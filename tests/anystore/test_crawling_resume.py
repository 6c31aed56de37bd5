"""What a crawl that was killed, or ran out of room, leaves behind: nothing false, nothing lost, no litter."""

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from anystore import Store, get_store
from anystore.crawling import crawl, documents, journal, runs
from anystore.keys import private_key
from tests.anystore.test_crawling_stores import Counting
from tests.crawled import LONG_AGO, fill, stored
from tests.object_servers import BUCKET, moto
from tests.remote_servers import openssh, pyftpd, wsgidav

VALUES = {f"folder {number % 3}/value {number}": f"v{number}".encode() * 100 for number in range(12)}

KILLED = """
import json, os, signal, sys
from anystore import get_store
from anystore.crawling import crawl, journal, run
journal._LEASE_SECONDS = 0.3

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

exec(sys.argv[3])
crawl(get_store(sys.argv[1], backend_config=json.loads(sys.argv[4])), sys.argv[2])
"""
LOSES_ALL_LINES = "journal.Journal.add = lambda self, lines: None; journal.Journal.end = die"


def kill(source, target, when, config=()):
    argv = [sys.executable, "-c", KILLED, str(source), str(target), when, json.dumps(dict(config))]
    child = subprocess.run(argv, check=False, timeout=120)
    assert child.returncode == -signal.SIGKILL


@pytest.fixture
def target(tmp_path):
    return get_store(tmp_path / "target", serialization_mode="raw")


# -- what was stored, and not written down -------------------------------------------


def test_documents_of_a_web_server_are_hashed_and_not_fetched_again(nginx_server, target):
    fill(nginx_server.root, VALUES)
    kill(nginx_server.url, target.uri, LOSES_ALL_LINES)
    assert stored(target) == VALUES
    nginx_server.forget_requests()
    report = crawl(nginx_server.url, target)
    assert (report.unchanged, report.fetched, report.complete) == (12, 0, True)
    assert not [one for one in nginx_server.requests() if one.method == "GET" and "value" in one.path]
    assert {one.key: one.sha256 for one in documents(target)} == {key: target.checksum(key) for key in VALUES}


def file_source(uri):
    get_store(uri, serialization_mode="raw").put_many(VALUES)
    return SimpleNamespace(uri=uri, config={})


def bucket_source(server):
    uri = f"s3://{BUCKET}/source"
    get_store(uri, backend_config=server.config, serialization_mode="raw").put_many(VALUES)
    return SimpleNamespace(uri=uri, config=server.config)


SERVERS = {"sftp": openssh, "ftp": pyftpd, "webdav": wsgidav, "s3": moto, "zip": nullcontext, "sql": nullcontext}


@pytest.mark.parametrize("kind", SERVERS)
def test_documents_of_a_store_are_hashed_and_not_fetched_again(kind, target, tmp_path):
    with SERVERS[kind]() as server:
        if kind == "s3":
            source = bucket_source(server)
        elif server is None:
            source = file_source({"zip": f"{tmp_path}/source.zip", "sql": f"sqlite:///{tmp_path}/source.db"}[kind])
        else:
            fill(server.root, VALUES)
            source = server
        kill(source.uri, target.uri, LOSES_ALL_LINES, source.config)
        assert stored(target) == VALUES
        for key in VALUES:  # as if an hour lay between the last change there and the copy here
            os.utime(os.path.join(target.uri, key), (time.time() + 3600,) * 2)
        counting = Counting(get_store(source.uri, backend_config=dict(source.config)).backend)
        report = crawl(Store(counting), target)
        assert (report.unchanged, report.fetched, report.complete) == (12, 0, True), report.failures
        assert counting.asked["reader"] == 0
        assert {one.key: one.sha256 for one in documents(target)} == {key: target.checksum(key) for key in VALUES}


@pytest.mark.parametrize("kind", ["web", "folder"])
def test_a_value_that_no_crawl_has_stored_is_not_taken_for_a_document(kind, nginx_server, target):
    fill(nginx_server.root, VALUES)
    source = nginx_server.url if kind == "web" else str(nginx_server.root)
    wrong = {key: b"?" * len(value) for key, value in VALUES.items()}
    target.put_many(wrong)  # of the same length, and written after the source's last change
    path = os.path.join(target.uri, "folder 1", "value 1")
    for key in VALUES:
        os.utime(os.path.join(target.uri, key), (LONG_AGO + 3600, LONG_AGO + 3600))
    kill(source, target.uri, "run.CrawlRun.learn_stored = die")
    assert os.path.exists(path)
    assert crawl(source, target).fetched == 12
    assert stored(target) == VALUES


def test_what_changed_in_the_source_after_the_kill_is_fetched(nginx_server, target):
    fill(nginx_server.root, VALUES)
    kill(nginx_server.url, target.uri, LOSES_ALL_LINES)
    key = "folder 1/value 1"
    fill(nginx_server.root, {key: b"?" * len(VALUES[key])}, moment=time.time())
    report = crawl(nginx_server.url, target)
    assert (report.unchanged, report.fetched) == (11, 1)
    assert target.get(key) == b"?" * len(VALUES[key])


# -- the journal's own values ----------------------------------------------------------


def journal_files(folder):
    return {path.name for path in (folder / ".anystore" / "crawl").iterdir()}


def named(target):
    head = json.loads(target.backend.get(private_key("crawl/journal.json")))
    return {"journal.json", *(f"{name}.jsonl" for name in head["segments"])}


def test_lines_before_the_first_name_are_read(tmp_path, target):
    fill(tmp_path / "source", VALUES)
    kill(tmp_path / "source", target.uri, "journal._APPEND_SECONDS = 0; journal.Journal.end = die")
    assert {one.key for one in documents(target)} == set(VALUES)
    assert crawl(str(tmp_path / "source"), target).unchanged == 12
    assert journal_files(tmp_path / "target") == named(target)
    assert [run.number for run in runs(target)] == [2]


# Without appending, a segment is put, and then the head that names the next one: this dies between.
DIES_BEFORE_THE_HEAD = """
plain = journal.Journal._announce
journal.Journal._announce = lambda self: die() if self._head.segments else plain(self)
"""


def test_a_segment_that_no_head_names_yet_is_read(tmp_path):
    fill(tmp_path / "source", VALUES)
    uri = f"{tmp_path}/target.zip"
    kill(tmp_path / "source", uri, DIES_BEFORE_THE_HEAD)
    target = get_store(uri, serialization_mode="raw")
    assert {one.key for one in documents(target)} == set(VALUES)
    report = crawl(str(tmp_path / "source"), target)
    assert (report.unchanged, report.fetched) == (12, 0)
    with zipfile.ZipFile(uri) as archive:
        names = {name.rpartition("/")[2] for name in archive.namelist() if "/crawl/" in name}
    head = json.loads(target.backend.get(private_key("crawl/journal.json")))
    assert names == named(target)
    assert f"{head['next']}.jsonl" not in names


def test_a_compaction_that_was_killed_leaves_nothing_behind(tmp_path, target):
    fill(tmp_path / "source", VALUES)
    crawl(str(tmp_path / "source"), target)
    compacts = "journal._SMALL = -1000; journal.Journal._save_head = "
    dies = "lambda self, plain=journal.Journal._save_head: die() if self._head.garbage else plain(self)"
    kill(tmp_path / "source", target.uri, compacts + dies)
    assert len(journal_files(tmp_path / "target")) == 3  # the head, and all that is known, twice
    assert crawl(str(tmp_path / "source"), target).unchanged == 12
    assert journal_files(tmp_path / "target") == named(target)
    assert len(list(documents(target))) == 12


def test_many_segments_become_one(tmp_path, monkeypatch):
    monkeypatch.setattr(journal, "_MOST_SEGMENTS", 3)
    fill(tmp_path / "source", VALUES)
    target = get_store(f"{tmp_path}/target.zip")
    for _ in range(6):
        crawl(str(tmp_path / "source"), target)
    assert len(named(target)) <= 5
    assert [run.number for run in runs(target)] == [1, 2, 3, 4, 5, 6]
    assert len(list(documents(target))) == 12


# -- no room ---------------------------------------------------------------------------

LIMITED = """
import resource, sys
from anystore.crawling import crawl
from anystore.errors import BackendError
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), int(sys.argv[3])))
try:
    report = crawl(sys.argv[1], sys.argv[2])
    print(report.fetched, report.failed, report.failures[0].key)
except BackendError as error:
    print("raised", error)
"""


def limited(source, target, room):
    argv = [sys.executable, "-c", LIMITED, str(source), str(target), str(room)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=120)
    return done.stdout


@pytest.mark.parametrize("kind", ["web", "folder"])
def test_a_document_there_is_no_room_for_leaves_room_for_others(kind, nginx_server, target):
    files = {"a": b"1" * 2000, "large": b"2" * 5_000_000, "medium": b"3" * 700_000, "z": b"4"}
    fill(nginx_server.root, files)
    source = nginx_server.url if kind == "web" else str(nginx_server.root)
    assert limited(source, target.uri, 600_000).split() == ["2", "2", "large"]
    assert stored(target) == {"a": files["a"], "z": files["z"]}
    assert {one.key: one.status for one in documents(target)} == {
        "a": "ok",
        "large": "error",
        "medium": "error",
        "z": "ok",
    }
    report = crawl(source, target)
    assert (report.fetched, report.unchanged, report.complete) == (2, 2, True)
    assert stored(target) == files


@pytest.mark.parametrize("room", [3000, 60_000])
def test_without_room_for_the_journal_or_the_index_the_crawl_fails_loudly(room, nginx_server, target):
    files = {f"{number:04}": b"x" * 10 for number in range(1500)}
    fill(nginx_server.root, files)
    told = limited(nginx_server.url, target.uri, room)
    assert told.startswith("raised")
    assert all(value == b"x" * 10 for value in stored(target).values())
    report = crawl(nginx_server.url, target)
    assert (report.listed, report.complete) == (1500, True)
    assert stored(target) == files
