"""What a crawl remembers while it runs."""

import tracemalloc
from datetime import UTC, datetime

import pytest

from anystore.crawling.index import Index
from anystore.crawling.records import Record, read_record, write_record

NOW = datetime(2026, 11, 23, tzinfo=UTC)


def record(key, **fields):
    values = {"source": "s", "url": f"https://host/{key}", "status": "ok", "first_seen": NOW, "seen": NOW, "run": 1}
    made = Record(key=key, **values | fields)
    return made, write_record(made)


@pytest.fixture
def index():
    with Index() as opened:
        yield opened


def test_the_last_record_counts(index):
    index.load([record("a", size=1), record("b"), record("a", size=2)])
    index.put([record("b", size=3)])
    assert len(index) == 2
    found = index.find(["a", "b", "c"])
    assert {key: read_record(line).size for key, (line, _) in found.items()} == {"a": 2, "b": 3}
    assert {key: came for key, (_, came) in found.items()} == {"a": False, "b": True}
    assert [one.key for one in index.unseen()] == ["a"]


def test_many_keys_are_asked_for_at_once(index):
    index.load(record(f"{number}") for number in range(3000))
    names = [f"{number}" for number in range(0, 6000, 2)]
    assert len(index.find(names)) == 1500
    index.mark_seen(names)
    assert len(list(index.unseen())) == 1500
    assert [one.key for one in index.records()] == sorted(f"{number}" for number in range(3000))


def test_names_are_compared_byte_by_byte(index):
    keys = ["A", "a", "\u00fc", "u\u0308", "'\"--", "\U0001f600", "\ufb03"]
    index.load(record(key) for key in keys)
    index.load_stored((key, len(key)) for key in keys)
    assert sorted(index.find(keys)) == sorted(keys)
    assert index.stored([*keys, "z"]) == {key: len(key) for key in keys}
    assert [one.key for one in index.records()] == sorted(keys, key=str.encode)


def test_the_root_is_of_what_is_there(index):
    empty = index.root()
    index.load([record("b", sha256="2"), record("a", sha256="1"), record("c", sha256="3", status="gone")])
    both = index.root()
    assert both != empty
    with Index() as other:
        other.load([record("a", sha256="1"), record("b", sha256="2"), record("d")])
        assert other.root() == both


def test_it_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setenv("SQLITE_TMPDIR", str(tmp_path))
    with Index() as opened:
        opened.load(record(f"{number}" * 20, sha256="0" * 64) for number in range(50_000))
        assert list(tmp_path.iterdir()) == []  # whoever is killed here leaves nothing
        assert len(opened) == 50_000
    assert list(tmp_path.iterdir()) == []


@pytest.mark.alone
def test_documents_are_not_in_memory():
    tracemalloc.start()
    try:
        with Index() as opened:
            opened.load(record(f"folder/{number}", sha256="0" * 64) for number in range(50_000))
            assert sum(1 for _ in opened.records()) == 50_000
            assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()
