"""Nothing false is stored: files that change on the way, servers that drip, two sources, names that meet."""

import logging
import os
import random
import threading
import time

import pytest

from anystore import get_store
from anystore.crawling import crawl, documents
from anystore.crawling import run as crawl_run
from tests.crawled import fill, stored
from tests.faults import Fault, faulty_http
from tests.servers import nginx

MIB = 1 << 20


@pytest.fixture
def target(tmp_path):
    return get_store(tmp_path / "target", serialization_mode="raw")


# -- files that change ---------------------------------------------------------------

SIZES = {"small": 900_000, "large": 3 * MIB}


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("validators", ["both", "time alone"])
@pytest.mark.parametrize("change", ["in place", "another file"])
def test_a_file_that_changes_while_it_comes_is_fetched_again(tmp_path, target, change, validators, size):
    root = tmp_path / "root"
    old, new = (random.Random(seed).randbytes(size) for seed in (1, 2))
    fill(root, {"a": old})
    directives = f"limit_rate {size // 2};" + ("" if validators == "both" else "etag off;")

    def replace():
        while "GET /a" not in server_asked(server):
            time.sleep(0.01)
        time.sleep(0.7)
        if change == "in place":
            with (root / "a").open("r+b") as file:
                file.write(new)
        else:
            (root / "b.new").write_bytes(new)
            (root / "b.new").rename(root / "a")

    with nginx(root, directives=directives) as server, faulty_http(server) as front:
        server_asked = lambda _: [f"{one.method} {one.path}" for one in front.asked]  # noqa: E731
        thread = threading.Thread(target=replace)
        thread.start()
        report = crawl(front.url, target, glob="a")
        thread.join()
        assert report.complete, report.failures
        assert target.get("a") == new
        assert [one.sha256 for one in documents(target)] == [target.checksum("a")]
        assert crawl(front.url, target, glob="a", verify="full").healed == 0


def test_a_server_that_tells_other_validators_each_time_has_to_bring_the_same_twice(
    nginx_server, target, faulty_server
):
    data = os.urandom(2 * MIB)
    fill(nginx_server.root, {"a": data})
    for number in range(8):
        faulty_server.script(
            Fault(pause=1.2, headers={"ETag": f'"{number}"'}, strip=("Last-Modified",), hide=("If-None-Match",)),
            path="/a",
        )
    report = crawl(faulty_server.url, target)
    assert report.complete, report.failures
    assert target.get("a") == data


def test_a_listing_that_is_older_than_the_file_misleads_nobody(nginx_server, faulty_server, target):
    fill(nginx_server.root, {"a": b"short", "b": b"1" * 2 * MIB})
    page = (
        '<title>Index of /</title><h1>Index of /</h1><hr><pre><a href="../">../</a>\n<a href="a">a</a> '
        f'23-Nov-2024 02:07 700\n<a href="b">b</a> 23-Nov-2024 02:07 {3 * MIB}\n</pre>'
    )
    faulty_server.script(
        Fault(status=404), Fault(status=200, body=page.encode(), headers={"Content-Type": "text/html"})
    )
    report = crawl(faulty_server.url, target)
    assert report.complete, report.failures
    assert {one.key: one.size for one in documents(target)} == {"a": 5, "b": 2 * MIB}
    assert stored(target) == {"a": b"short", "b": b"1" * 2 * MIB}


# -- servers that are slow ---------------------------------------------------------------

IMPATIENT = {"timeout": 1, "retries": 1, "backoff": 0}


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("fault", [Fault(drip=0.1), Fault(stall=100), Fault(stall=0)], ids=["drip", "stall", "silence"])
def test_a_server_that_drips_or_stalls_is_given_up(nginx_server, faulty_server, target, fault, size):
    fill(nginx_server.root, {"a": os.urandom(size), "b": b"fine"})
    target.put("a", b"old")
    faulty_server.always(fault, path="/a")
    report = crawl(get_store(faulty_server.url, backend_config=IMPATIENT), target)
    assert (report.fetched, [failure.key for failure in report.failures]) == (1, ["a"])
    assert stored(target) == {"a": b"old", "b": b"fine"}
    faulty_server.heal()
    assert crawl(faulty_server.url, target).fetched == 1


# -- two sources ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["web", "folder"])
def test_two_documents_with_one_key_are_kept_apart(kind, nginx_server, tmp_path, target):
    first = {"a": b"of the first", "same": b"same", "large": b"1" * 2 * MIB}
    second = {"a": b"of the second", "same": b"same", "large": b"2" * 2 * MIB, "new": b"new"}
    fill(tmp_path / "first", first)
    fill(nginx_server.root, second)
    other = nginx_server.url if kind == "web" else str(nginx_server.root)
    crawl(str(tmp_path / "first"), target)
    report = crawl(other, target)
    assert (report.fetched, report.skipped, report.complete) == (2, 2, False)
    assert [failure.key for failure in report.failures] == ["a", "large"]
    assert "of its own" in report.failures[0].reason
    assert stored(target) == first | {"new": b"new"}
    origins = {one.key: (one.source, one.status) for one in documents(target)}
    assert origins["a"] == (str(tmp_path / "first"), "ok")
    assert crawl(str(tmp_path / "first"), target).complete  # the bytes that both have may be of either
    assert crawl(str(tmp_path / "first"), target).unchanged == 3
    target.delete_many(["a", "large"])  # so that the other one may take their place
    assert crawl(other, target).complete
    assert stored(target) == second


# -- many failures -----------------------------------------------------------------------------


def test_many_failures_are_counted_and_the_first_are_shown(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(crawl_run, "MOST_FAILURES", 10)
    source, target = get_store(f"memory://{tmp_path}/source"), get_store(tmp_path / "target")
    source.put_many({f"{number:03}": "fine" for number in range(40)})
    source.put_many({"x" * 256 + f"{number:03}": "too long a name" for number in range(60)})
    with caplog.at_level(logging.INFO, "anystore.crawling"):
        report = crawl(source, target)
    assert (report.fetched, report.failed, len(report.failures), report.complete) == (40, 60, 10, False)
    assert sum(message.startswith("failed xxx") for message in caplog.messages) == 60
    assert report.to_dict()["failed"] == 60
    assert len(list(documents(target, status="skipped"))) == 60
