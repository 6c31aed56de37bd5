"""Every document once, verified, again and again."""

import os
import warnings

import pytest

from anystore import Store, crawling, get_store
from anystore.backend import Backend
from anystore.crawling import crawl, documents
from anystore.errors import BackendError, InvalidOption, ReadOnlyError, Unsupported
from anystore.keys import private_key


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
    assert counts(crawl(source, target, prefix="d", exclude_prefix="d/x")) == (19, 0, 19, 1, 0)


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
    target.backend.put(private_key("documents.jsonl"), b'{"key": 1}\n')
    with pytest.raises(BackendError, match=r"documents\.jsonl"):
        crawl(source, target)


def test_what_cannot_work_is_refused_at_once(source, target, tmp_path):
    with pytest.raises(InvalidOption):
        crawl(source, target, workers=0)
    with pytest.raises((ReadOnlyError, Unsupported)):
        crawl(source, get_store(tmp_path, readonly=True))


def test_a_crawl_of_a_real_listing(nginx_server, target):
    root = nginx_server.root
    names = ["a.txt", "sub/b c.txt", "sub/50%#?.txt", "ü/é+&.txt", "sub/deep/index.html"]
    for name in names:
        os.makedirs(os.path.dirname(root / name), exist_ok=True)
        (root / name).write_text(f"content of {name}")
    report = crawl(nginx_server.url, target)
    assert counts(report) == (5, 5, 0, 0, 0)
    assert sorted(target.iterate_keys()) == sorted(names)
    assert all(target.get(name) == f"content of {name}" for name in names)
    (root / "a.txt").write_text("changed, and longer")
    nginx_server.forget_requests()
    assert counts(crawl(nginx_server.url, target)) == (5, 1, 4, 0, 0)
    fetched = [path for method, path, _ in nginx_server.requests() if method == "GET" and not path.endswith("/")]
    assert fetched == ["/a.txt"]


def test_what_was_fetched_before_a_kill_is_remembered(source, target, monkeypatch):
    monkeypatch.setattr(crawling, "_SAVE_SECONDS", 0.0)
    monkeypatch.setattr(crawling, "_SAVE_SHARE", 0)
    monkeypatch.setattr(crawling._Run, "mark_gone", lambda _: os._exit(9))  # as if killed
    child = os.fork()
    if not child:
        try:
            crawl(source, target, workers=1)
        finally:
            os._exit(1)
    os.waitpid(child, 0)
    monkeypatch.undo()
    assert crawl(source, target).unchanged > 0
