"""Every document once, verified, again and again."""

import json
import os
import signal
import subprocess
import sys
import warnings

import pytest

from anystore import Store, get_store
from anystore.backend import Backend
from anystore.backends.wrap import PrefixBackend
from anystore.crawling import Journal, crawl, documents, journal, runs
from anystore.errors import BackendError, InvalidOption, ReadOnlyError, Unsupported
from anystore.keys import is_private, private_key


@pytest.fixture
def source(tmp_path):
    store = get_store(f"memory://{tmp_path}/source")
    store.put_many({f"d/{number}.txt": "x" * number for number in range(20)})
    return store


@pytest.fixture
def target(tmp_path):
    return get_store(tmp_path / "target")


def counts(report):
    return report.listed, report.fetched, report.unchanged, report.gone, len(report.failures)


def test_a_second_crawl_fetches_what_changed_alone(source, target):
    first = crawl(source, target)
    assert counts(first) == (20, 20, 0, 0, 0)
    assert first.bytes == sum(range(20))
    assert first.complete
    assert counts(crawl(source, target)) == (20, 0, 20, 0, 0)
    source.put("d/3.txt", "yyy")
    source.put("new", 1)
    source.delete("d/4.txt")
    assert counts(crawl(source, target)) == (20, 2, 18, 1, 0)
    assert target.get("d/3.txt") == "yyy"
    assert target.get("d/4.txt") == "xxxx"
    assert counts(crawl(source, target)) == (20, 0, 20, 0, 0)
    source.put("d/4.txt", "back")
    assert counts(crawl(source, target)) == (21, 1, 20, 0, 0)


def test_the_journal_tells_of_each_document(source, target):
    crawl(source, target)
    source.delete("d/4.txt")
    crawl(source, target)
    found = {document.key: document for document in documents(target)}
    assert list(found) == sorted(found)
    assert len(found) == 20
    assert {key for key, document in found.items() if document.status == "gone"} == {"d/4.txt"}
    for key, document in found.items():
        assert document.sha256 == target.checksum(key)
        assert document.size == target.info(key).size
        assert document.url == f"{source.uri}/{key}"
    assert all(not key.startswith(".anystore") for key in target.iterate_keys())


def test_a_document_that_was_lost_or_cut_is_fetched_again(source, target):
    crawl(source, target)
    target.delete("d/5.txt")
    target.put("d/6.txt", "cut")
    assert counts(crawl(source, target)) == (20, 2, 18, 0, 0)
    assert target.get("d/6.txt") == "xxxxxx"


def test_a_selection_marks_nothing_else_as_gone(source, target):
    crawl(source, target)
    assert counts(crawl(source, target, glob="d/1*.txt")) == (11, 0, 11, 0, 0)
    source.delete("d/1.txt")
    assert counts(crawl(source, target, glob="d/2.txt")) == (1, 0, 1, 0, 0)
    assert counts(crawl(source, target, exclude=["d/2*", "e/**"])) == (18, 0, 18, 1, 0)
    assert [one.key for one in documents(target, status="gone")] == ["d/1.txt"]


def test_two_sources_share_a_target(source, target, tmp_path):
    other = get_store(f"memory://{tmp_path}/other")
    other.put("e/1", "from the other")
    crawl(source, target)
    crawl(other, target)
    assert counts(crawl(source, target)) == (20, 0, 20, 0, 0)
    assert sum(document.source == other.uri for document in documents(target)) == 1


def test_one_failure_stops_nothing_else(source, target):
    source.put("d/1.txt/below", "cannot stand beside d/1.txt in a folder")
    report = crawl(source, target)
    assert not report.complete
    [failure] = report.failures
    assert "cannot stand" in failure.reason
    assert report.fetched == 20
    assert report.to_dict()["failures"][0]["key"] == failure.key


class Spoiled(Backend):
    """Lists, and fails where it is told to."""

    def __init__(self, inner, **failures):
        self.uri = "spoiled://x"
        self.inner = inner
        self.failures = failures

    features = property(lambda self: self.inner.features)

    def get(self, key):
        return self.inner.get(key)

    def read(self, key, start=0, stop=None):
        if key in self.failures.get("read", ()):
            raise BackendError(f"{key!r} fails")
        pieces = self.inner.read(key, start, stop)
        return iter([b"".join(pieces)[:-1]]) if key in self.failures.get("cut", ()) else pieces

    def stat(self, key):
        return self.inner.stat(key)

    def scan(self, prefix="", after=None):
        for number, entry in enumerate(self.inner.scan(prefix)):
            if number == self.failures.get("listing"):
                raise BackendError("the listing broke off")
            yield entry


def spoiled(source, **failures):
    return Store(Spoiled(source.backend, **failures))


def test_a_listing_that_breaks_off_is_loud_and_marks_nothing_as_gone(source, target):
    crawl(spoiled(source), target)
    report = crawl(spoiled(source, listing=5), target)
    assert counts(report) == (5, 0, 5, 0, 1)
    assert "incomplete" in report.failures[0].reason
    assert not report.complete


def test_a_cut_body_is_not_stored(source, target):
    report = crawl(spoiled(source, cut={"d/7.txt"}, read={"d/8.txt"}), target)
    assert sorted(failure.key for failure in report.failures) == ["d/7.txt", "d/8.txt"]
    assert "6 came" in report.failures[0].reason
    assert not target.exists("d/7.txt")
    assert report.fetched == 18
    assert counts(crawl(spoiled(source), target)) == (20, 2, 18, 0, 0)


def test_foreign_names_count_as_failures(tmp_path, target):
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "good").write_text("x")
    with open(os.path.join(os.fsencode(folder), b"bad\xff"), "wb"):
        pass
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = crawl(str(folder), target)
    assert counts(report) == (1, 1, 0, 0, 1)


def test_a_broken_journal_is_named(source, target):
    crawl(source, target)
    target.backend.put(private_key("crawl/journal.json"), b'{"segments": ["00000001-gone"]}\n')
    with pytest.raises(BackendError, match="00000001-gone"):
        crawl(source, target)
    target.backend.put(private_key("crawl/journal.json"), b"[1]")
    with pytest.raises(BackendError, match=r"journal\.json"):
        next(documents(target))
    with pytest.raises(BackendError, match=r"journal\.json"):
        Journal(target.backend).delete()


@pytest.mark.parametrize("name", ["one", "\u00b2-a", "../x", "9" * 30 + "-a"])
def test_a_journal_names_no_segments_but_its_own(source, target, name):
    target.backend.put(private_key("crawl/journal.json"), json.dumps({"segments": [], "garbage": [name]}).encode())
    with pytest.raises(BackendError, match=r"journal\.json"):
        crawl(source, target)


def test_a_source_whose_name_is_no_utf_8(tmp_path, target):
    source = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")
    get_store(source).put("a", "1")
    assert crawl(source, target).fetched == 1
    assert next(documents(target)).source == f"{tmp_path}/caf\\udce9"
    assert crawl(source, target).unchanged == 1


def test_what_cannot_work_is_refused_at_once(source, target, tmp_path):
    for wrong in (
        {"concurrency": 0},
        {"verify": "slow"},
        {"max_bytes": -1},
        {"max_depth": 1.5},
        {"progress": 3},
        {"allow_hosts": "host"},
    ):
        with pytest.raises(InvalidOption):
            crawl(source, target, **wrong)
    with pytest.raises(InvalidOption):
        documents(target, status="fine")
    with pytest.raises((ReadOnlyError, Unsupported)):
        crawl(source, get_store(tmp_path, readonly=True))


def test_what_is_filled_is_not_what_is_listed(tmp_path):
    source = get_store(tmp_path / "source")
    source.put("a.txt", "text")
    with pytest.raises(InvalidOption, match="same store"):
        crawl(source, tmp_path.joinpath("source").as_uri())
    inner = get_store(tmp_path / "source/in/copies")
    for exclude in ((), "in/*", ["*.pdf", "other/**"]):
        with pytest.raises(InvalidOption, match=r"exclude='in/copies/\*\*'"):
            crawl(source, inner, exclude=exclude)
    for _ in range(2):
        assert crawl(source, inner, exclude="in/**").listed == 1
    assert list(inner.iterate_keys()) == ["a.txt"]
    beside = get_store(tmp_path / "source-copies")
    assert crawl(source, beside, exclude="in/**").listed == 1


def test_a_killed_crawl_goes_on_where_it_was(tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    get_store(source).put_many({f"{number:03d}": str(number) * 1000 for number in range(200)})
    script = (
        "import os, sys\n"
        "from anystore.crawling import crawl, journal, run\n"
        "journal._APPEND_SECONDS, journal._LEASE_SECONDS = 0, 0.3\n"
        "run.CrawlRun.end = lambda self: os.kill(os.getpid(), 9)\n"
        "crawl(sys.argv[1], sys.argv[2])\n"
    )
    child = subprocess.run([sys.executable, "-c", script, str(source), str(target)], check=False)
    assert child.returncode == -signal.SIGKILL
    for one in target.rglob("0*"):
        os.utime(one, (0, 0))  # tells whether it is stored again
    report = crawl(str(source), str(target))
    assert counts(report) == (200, 0, 200, 0, 0)
    assert all((target / f"{number:03d}").stat().st_mtime == 0 for number in range(100))


def test_one_crawl_at_a_time_writes_a_journal(source, target, monkeypatch):
    monkeypatch.setattr(journal, "_LEASE_SECONDS", 0.3)
    holder = Journal(target.backend)
    holder.hold()
    try:
        with pytest.raises(BackendError, match="another crawl"):
            crawl(source, target)
    finally:
        holder.release()
    assert crawl(source, target).complete


def test_what_is_gone_is_deleted_only_when_asked(source, target):
    crawl(source, target)
    source.delete_many(["d/1.txt", "d/2.txt"])
    assert (crawl(source, target).gone, target.exists("d/1.txt")) == (2, True)
    report = crawl(source, target, prune=True)
    assert (report.gone, report.pruned) == (0, 2)
    assert not target.exists("d/1.txt")
    assert [(one.status, one.size) for one in documents(target) if one.key == "d/1.txt"] == [("gone", None)]
    assert crawl(source, target, prune=True).pruned == 0
    source.put("d/1.txt", "back")
    assert counts(crawl(source, target)) == (19, 1, 18, 0, 0)


def test_a_full_check_heals_what_has_rotted(source, target):
    crawl(source, target)
    target.put("d/5.txt", "yyyyy")  # of the same length
    assert counts(crawl(source, target)) == (20, 0, 20, 0, 0)
    report = crawl(source, target, verify="full")
    assert (report.healed, report.unchanged, report.fetched) == (1, 19, 0)
    assert target.get("d/5.txt") == "xxxxx"


def test_limits_end_a_crawl_and_are_told(source, target):
    report = crawl(source, target, max_entries=7)
    assert (report.listed, report.limits, report.complete, report.gone) == (7, ("max_entries=7",), False, 0)
    report = crawl(source, target, max_bytes=20, concurrency=1)
    assert report.limits == ("max_bytes=20",)
    assert 20 <= report.bytes < 190
    source.put("a/b/c/d", "deep")
    assert [failure.key for failure in crawl(source, target, max_depth=2).failures] == ["a/b/c/d"]


def test_a_journal_can_be_elsewhere(source, target, tmp_path):
    crawl(source, target, journal=str(tmp_path / "memory"))
    assert not (tmp_path / "target" / ".anystore" / "crawl").exists()
    assert len(list(documents(target, journal=str(tmp_path / "memory")))) == 20
    assert counts(crawl(source, target, journal=str(tmp_path / "memory"))) == (20, 0, 20, 0, 0)


def test_documents_tell_what_changed_since_a_run(source, target):
    first = crawl(source, target)
    source.put("d/3.txt", "yyy")
    source.put("new", "n")
    second = crawl(source, target)
    crawl(source, target)
    assert [one.key for one in documents(target, since=first.run)] == ["d/3.txt", "new"]
    assert [one.key for one in documents(target, since=second.started)] == ["d/3.txt", "new"]
    assert list(documents(target, since=second.run)) == []
    assert [run.number for run in runs(target)] == [1, 2, 3]
    crawl(source, target, verify="audit")
    assert list(documents(target, since=second.run)) == []
    [new] = [one for one in documents(target) if one.key == "new"]
    with new.open("r") as file, new.local_path() as path:
        assert (file.read(), path.read_text()) == ("n", "n")
    assert new.first_seen == second.started
    assert new.last_seen >= runs(target)[-1].started
    assert runs(target)[1].root == runs(target)[2].root != runs(target)[0].root


def test_a_journal_is_compacted(source, target, tmp_path, monkeypatch):
    monkeypatch.setattr(journal, "_SMALL", 0)
    for turn in range(6):
        source.put_many({f"d/{number}.txt": f"{turn}" * 30 for number in range(20)})
        crawl(source, target)
    segments = list((tmp_path / "target" / ".anystore" / "crawl").glob("*.jsonl"))
    assert sum(len(one.read_bytes().splitlines()) for one in segments) <= 2 * 26 + 21
    assert len(segments) <= 3
    assert [run.number for run in runs(target)] == [1, 2, 3, 4, 5, 6]
    assert counts(crawl(source, target)) == (20, 0, 20, 0, 0)


def test_a_long_segment_is_not_made_longer(source, target, tmp_path, monkeypatch):
    monkeypatch.setattr(journal, "_LONG_LINES", 10)
    monkeypatch.setattr(journal, "_APPEND_SECONDS", 0.0)
    for turn in range(2):
        source.put_many({f"d/{number}.txt": f"{turn}" * 30 for number in range(45)})
        crawl(source, target)
    segments = list((tmp_path / "target" / ".anystore" / "crawl").glob("*.jsonl"))
    assert max(len(one.read_bytes().splitlines()) for one in segments) <= 11
    assert len(segments) >= 9
    assert [run.number for run in runs(target)] == [1, 2]
    assert len(list(documents(target))) == 45
    assert counts(crawl(source, target)) == (45, 0, 45, 0, 0)


class Full(PrefixBackend):
    """Takes what is private, and no documents."""

    def writer(self, key, **options):
        if not is_private(key):
            raise BackendError(f"{key!r}: no room")
        return super().writer(key, **options)


def test_a_target_that_takes_nothing_ends_the_crawl(tmp_path):
    source = get_store(f"memory://{tmp_path}/many")
    source.put_many({f"{number}": "x" for number in range(1000)})
    target = Store(Full(get_store(f"memory://{tmp_path}/full").backend, "t"))
    report = crawl(source, target, concurrency=2)
    assert report.limits == ("target",)
    assert 10 <= len(report.failures) < 100
    assert "no room" in report.failures[0].reason


@pytest.mark.parametrize("count", [199, 200, 201, 400, 401, 1001])
def test_no_document_is_lost_between_pages(tmp_path, count):
    source, target = get_store(f"memory://{tmp_path}/many"), get_store(f"memory://{tmp_path}/held")
    source.put_many((f"{number:04d}", number) for number in range(count))
    assert counts(crawl(source, target)) == (count, count, 0, 0, 0)
    assert list(target.iterate_keys()) == list(source.iterate_keys())
    assert counts(crawl(source, target)) == (count, 0, count, 0, 0)
