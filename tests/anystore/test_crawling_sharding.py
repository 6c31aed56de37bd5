"""A crawl in shards: many processes do it at once, and its memory is that of one crawl."""

import json
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from anystore import crawl, get_store
from anystore.backends.wrap import ReadonlyBackend
from anystore.crawling import ShardOfCrawl, begin_shards, documents, end_shards, runs
from anystore.crawling.snapshots import Snapshot
from anystore.errors import BackendError, InvalidOption, Unsupported
from anystore.keys import private_key
from anystore.store import Store

FOLDERS = "abcdefgh"
KEYS = [*(f"{folder}/{name}" for folder in FOLDERS for name in ("x.txt", "sub/ü y.txt")), "top.txt"]


@pytest.fixture
def source(tmp_path):
    store = get_store(tmp_path / "source")
    store.put_many({key: f"text of {key}" for key in KEYS})
    return store


@pytest.fixture
def target(tmp_path):
    return get_store(tmp_path / "target")


def crawl_all(source, target, *, shards=3, depth=1, journal=None, **options):
    """Crawl in shards, one after the other; give the report of the whole."""
    run = begin_shards(source, target, shards=shards, depth=depth, journal=journal)
    for number in range(1, shards + 1):
        crawl(source, target, shard=ShardOfCrawl(run=run, number=number), journal=journal, **options)
    return end_shards(source, target, run=run, journal=journal)


def keys_of(found):
    return sorted(document.key for document in found)


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_shards_are_one_crawl(source, target, depth):
    first = crawl_all(source, target, depth=depth)
    assert (first.listed, first.fetched, first.failed, first.run, first.complete) == (17, 17, 0, 1, True)
    assert {key: target.get(key) for key in target.iterate_keys()} == {key: f"text of {key}" for key in KEYS}
    assert keys_of(documents(target)) == sorted(KEYS)
    source.put("a/new.txt", "new")
    source.put("b/x.txt", "changed")
    source.delete("c/x.txt")
    source.delete("c/sub/ü y.txt")  # a folder that vanishes
    second = crawl_all(source, target, depth=depth)
    assert (second.run, second.fetched, second.unchanged, second.gone) == (2, 2, 14, 2)
    assert second.root != first.root
    assert [(run.number, run.complete, run.walked, run.root) for run in runs(target)] == [
        (1, True, True, first.root),
        (2, True, True, second.root),
    ]
    assert [document.run for document in documents(target)].count(2) == 4
    snapshot = Snapshot(target)
    assert keys_of(snapshot.new(1, 2)) == ["a/new.txt"]
    assert keys_of(snapshot.changed(1, 2)) == ["b/x.txt"]
    assert keys_of(snapshot.gone(1, 2)) == ["c/sub/ü y.txt", "c/x.txt"]


@pytest.mark.parametrize("second", [(5, 1), (2, 0), (1, 2)])
def test_another_number_of_shards_knows_what_the_first_has_fetched(source, target, second):
    crawl_all(source, target)
    source.put("d/x.txt", "changed")
    shards, depth = second
    report = crawl_all(source, target, shards=shards, depth=depth)
    assert (report.run, report.fetched, report.unchanged) == (2, 1, 16)
    assert keys_of(documents(target)) == sorted(KEYS)
    kept = [key for key in private_keys(target) if key.startswith(".anystore/crawl-shards/")]
    assert len({key.split("/")[2] for key in kept if "/leases/" not in key}) == 1  # nothing is left of the first cut


def private_keys(store):
    """Find our own values of a local store."""
    root = Path(store.uri)
    return [str(path.relative_to(root)) for path in root.glob(".anystore/**/*") if path.is_file()]


def test_a_crawl_in_one_part_and_crawls_in_shards_share_their_memory(source, target):
    assert crawl(source, target).fetched == 17
    source.put("a/new.txt", "new")
    report = crawl_all(source, target)
    assert (report.run, report.fetched, report.unchanged) == (2, 1, 17)
    source.put("b/new.txt", "new")
    whole = crawl(source, target)
    assert (whole.run, whole.fetched, whole.unchanged) == (3, 1, 18)
    source.put("b/new.txt", "newer")
    report = crawl_all(source, target)
    assert (report.run, report.fetched, report.unchanged) == (4, 1, 18)
    assert {document.key: document.run for document in documents(target)}["b/new.txt"] == 4
    assert [run.number for run in runs(target)] == [1, 2, 3, 4]


def test_a_shard_that_has_not_ended_is_told(source, target):
    run = begin_shards(source, target, shards=3)
    for number in (1, 3):
        crawl(source, target, shard=ShardOfCrawl(run=run, number=number))
    report = end_shards(source, target, run=run)
    assert not report.complete
    assert [failure.reason for failure in report.failures] == ["shard 2 of 3 has not ended"]
    assert not runs(target)[0].walked
    again = crawl_all(source, target)
    assert again.complete
    assert again.fetched + report.fetched == 17


def test_a_shard_is_done_once_for_one_run(source, target):
    run = begin_shards(source, target, shards=2)
    wanted = ShardOfCrawl(run=run, number=1)
    first = crawl(source, target, shard=wanted)
    source.put("a/later.txt", "text")
    source.put("b/later.txt", "text")
    assert crawl(source, target, shard=wanted) == first
    crawl(source, target, shard=ShardOfCrawl(run=run, number=2))
    report = end_shards(source, target, run=run)
    assert end_shards(source, target, run=run).fetched == report.fetched
    assert [one.number for one in runs(target)] == [run]


class Slow(ReadonlyBackend):
    """A source that counts what is read, and takes its time."""

    def __init__(self, inner):
        super().__init__(inner)
        self.read_keys = []

    def reader(self, key):
        self.read_keys.append(key)
        time.sleep(0.02)
        return super().reader(key)


def test_two_at_once_do_one_shard_once(source, target):
    slow = Slow(source.backend)
    run = begin_shards(Store(slow), target, shards=2)
    with ThreadPoolExecutor(4) as pool:
        parts = [
            (number, pool.submit(crawl, Store(slow), target, shard=ShardOfCrawl(run=run, number=number)))
            for number in (1, 1, 2, 2)
        ]
        reports = [(number, part.result()) for number, part in parts]
    assert sorted(slow.read_keys) == sorted(KEYS)  # each once
    for number in (1, 2):
        one, other = (report for which, report in reports if which == number)
        assert one == other
    assert end_shards(Store(slow), target, run=run).fetched == 17


_WORKER = """
import sys, time
from anystore import crawl, get_store
from anystore.backends.wrap import ReadonlyBackend
from anystore.crawling import ShardOfCrawl
from anystore.store import Store

class Stuck(ReadonlyBackend):
    def reader(self, key):
        if key.endswith("x.txt"):
            print(key, flush=True)
            time.sleep(100)
        return super().reader(key)

source, target, run, number = sys.argv[1:]
shard = ShardOfCrawl(run=int(run), number=int(number))
crawl(Store(Stuck(get_store(source).backend)), target, shard=shard, concurrency=1)
"""


def test_a_killed_shard_is_taken_over_under_the_same_number(source, target, tmp_path):
    run = begin_shards(source, target, shards=2)
    argv = [sys.executable, "-c", _WORKER, str(tmp_path / "source"), str(tmp_path / "target"), str(run), "1"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as worker:
        worker.stdout.readline()  # it is in the middle of a document
        with ThreadPoolExecutor(1) as pool:
            second = pool.submit(crawl, source, target, shard=ShardOfCrawl(run=run, number=1))
            assert not second.done()
            worker.send_signal(signal.SIGKILL)
            report = second.result(timeout=60)
    assert report.complete
    crawl(source, target, shard=ShardOfCrawl(run=run, number=2))
    whole = end_shards(source, target, run=run)
    assert (whole.complete, whole.listed) == (True, 17)
    assert keys_of(documents(target)) == sorted(KEYS)
    assert {target.get(key) for key in target.iterate_keys()} == {f"text of {key}" for key in KEYS}


def test_a_run_is_given_up_when_a_later_one_begins(source, target):
    first = begin_shards(source, target, shards=2)
    crawl(source, target, shard=ShardOfCrawl(run=first, number=1))
    second = begin_shards(source, target, shards=2)
    assert second == first + 1
    with pytest.raises(BackendError, match="given up"):
        crawl(source, target, shard=ShardOfCrawl(run=first, number=2))
    with pytest.raises(BackendError, match="given up"):
        end_shards(source, target, run=first)
    crawl(source, target)  # and when one of the whole begins
    with pytest.raises(BackendError, match="given up"):
        crawl(source, target, shard=ShardOfCrawl(run=second, number=1))


def test_a_crawl_of_the_whole_waits_for_no_shard_but_refuses(source, target):
    run = begin_shards(source, target, shards=2)
    held = ThreadPoolExecutor(1)
    slow = Slow(source.backend)
    slow.reader = lambda key: (time.sleep(12), ReadonlyBackend.reader(slow, key))[1]
    with held:
        part = held.submit(crawl, Store(slow), target, shard=ShardOfCrawl(run=run, number=1), max_entries=2)
        while not any(key.endswith("leases/crawl=") and "crawl-shards" in key for key in private_keys(target)):
            time.sleep(0.01)
        with pytest.raises(BackendError, match="another crawl is writing"):
            crawl(source, target)
        assert part.result().listed


def test_prune_deletes_what_is_gone_from_a_shard_that_has_nothing_left(source, target):
    crawl_all(source, target)
    for folder in "abcdefg":
        for key in list(source.iterate_keys(prefix=folder)):
            source.delete(key)
    report = crawl_all(source, target, prune=True)
    assert (report.complete, report.pruned) == (True, 14)
    assert sorted(target.iterate_keys()) == ["h/sub/ü y.txt", "h/x.txt", "top.txt"]
    source.delete_prefix("h")
    source.delete("top.txt")
    report = crawl_all(source, target, prune=True)
    assert not report.complete  # an empty listing may be a mistake
    assert report.pruned == 0


def test_limits_are_shared(source, target):
    report = crawl_all(source, target, max_entries=5)
    assert report.listed <= 5
    assert report.limits
    assert not report.complete


def test_no_more_work_at_once_than_is_allowed(source, target):
    run = begin_shards(source, target, shards=4)
    at_work, most = [], []

    class Watched(ReadonlyBackend):
        def scan(self, prefix="", after=None):
            at_work.append(prefix)
            most.append(len(at_work))
            time.sleep(0.05)
            yield from super().scan(prefix, after)
            at_work.pop()

    watched = Store(Watched(source.backend))
    with ThreadPoolExecutor(4) as pool:
        parts = [
            pool.submit(crawl, watched, target, shard=ShardOfCrawl(run=run, number=one, at_once=1))
            for one in (1, 2, 3, 4)
        ]
        for part in parts:
            part.result()
    assert max(most) == 1
    assert end_shards(source, target, run=run).fetched == 17


def test_what_cannot_be(source, target, tmp_path):
    for shards, depth in ((0, 1), (2, -1), (True, 1)):
        with pytest.raises(InvalidOption):
            begin_shards(source, target, shards=shards, depth=depth)
    run = begin_shards(source, target, shards=2)
    with pytest.raises(InvalidOption, match="from 1 to 2"):
        crawl(source, target, shard=ShardOfCrawl(run=run, number=3))
    with pytest.raises(InvalidOption, match="links"):
        crawl(source, target, shard=ShardOfCrawl(run=run, number=1), follow="links")
    with pytest.raises(InvalidOption):
        ShardOfCrawl(run=1, number=1, at_once=0)
    with pytest.raises(InvalidOption):
        ShardOfCrawl(run=1, number=1, max_requests_per_second=0)


def test_a_journal_without_leases_is_refused_and_one_beside_taken(source, tmp_path):
    archive = get_store(f"fsspec+file://{tmp_path}/files")
    with pytest.raises(Unsupported, match="journal="):
        begin_shards(source, archive, shards=2)
    journal = get_store(f"sqlite:///{tmp_path}/journal.db")
    assert crawl_all(source, archive, journal=journal).fetched == 17
    assert keys_of(documents(archive, journal=journal)) == sorted(KEYS)


@pytest.mark.parametrize("wrong", [{"format": 2}, {"shards": 10**12}, {"shards": -1}, {"depth": -1}, {"name": "../x"}])
def test_a_broken_layout_says_what_to_do(source, target, wrong):
    crawl_all(source, target)
    key = private_key("crawl/shards.json")
    target.backend.put(key, json.dumps(json.loads(target.backend.get(key)) | wrong).encode())
    with pytest.raises(BackendError, match="delete it"):
        crawl(source, target)


# -- web servers -------------------------------------------------------------------


@pytest.fixture
def site(nginx_server):
    for key in KEYS:
        path = nginx_server.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"text of {key}")
    return nginx_server


def test_each_folder_of_a_web_server_is_listed_by_its_own_shard_alone(site, target):
    report = crawl_all(site.url, target)
    assert (report.complete, report.fetched) == (True, 17)
    asked = [request.path for request in site.requests()]
    folders = [path for path in asked if path.endswith("/") and path != "/"]
    assert sorted(folders) == sorted(path for folder in FOLDERS for path in (f"/{folder}/", f"/{folder}/sub/"))
    assert asked.count("/") == 3
    assert len([path for path in asked if path.endswith(".txt") and path != "/robots.txt"]) == 17
    assert {key: target.get(key) for key in target.iterate_keys()} == {key: f"text of {key}" for key in KEYS}


def test_all_shards_share_the_requests_of_a_second(site, target):
    run = begin_shards(site.url, target, shards=2)
    begun = time.monotonic()
    for number in (1, 2):
        crawl(site.url, target, shard=ShardOfCrawl(run=run, number=number, at_once=2, max_requests_per_second=50))
    requests = len(list(site.requests()))
    # one shard at work gets half of the rate; the robots.txt of each comes before its first pause
    assert time.monotonic() - begun >= (requests - 4) / 25
    assert end_shards(site.url, target, run=run).fetched == 17


def test_the_delay_of_robots_holds_for_all_shards_together(site, target):
    (site.root / "robots.txt").write_text("User-agent: *\nCrawl-delay: 0.02\n")
    run = begin_shards(site.url, target, shards=2)
    begun = time.monotonic()
    crawl(site.url, target, shard=ShardOfCrawl(run=run, number=1, at_once=5))
    requests = len(list(site.requests()))
    assert requests > 4
    assert time.monotonic() - begun >= (requests - 2) * 0.02 * 2  # of five at once, there are two
