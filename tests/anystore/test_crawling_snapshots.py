"""What a journal says at one moment: which documents are there, and what came, changed and went between two runs."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from anystore import BackendError, crawl, get_store
from anystore.crawling import documents
from anystore.crawling.snapshots import Snapshot


@pytest.fixture
def stores(tmp_path):
    return get_store(f"memory://{tmp_path.name}-listing"), get_store(tmp_path / "target")


def run(stores, **changes):
    """Change the listing, and crawl it; None takes a document away."""
    source, target = stores
    options = changes.pop("options", {})
    for key, text in changes.items():
        if text is None:
            source.delete(key)
        else:
            source.put(key, text)
    return crawl(source, target, **options)


def told(stores, after, until):
    snapshot = Snapshot(stores[1])
    return tuple(
        "".join(document.key for document in getattr(snapshot, name)(after, until))
        for name in ("new", "changed", "gone")
    )


def test_what_is_between_two_runs(stores):
    run(stores, a="1", b="1", c="1")
    run(stores, b="22", d="1")
    run(stores, a=None)
    assert told(stores, None, 3) == ("bcd", "", "")
    assert told(stores, 1, 3) == ("d", "b", "a")
    assert told(stores, 2, 3) == ("", "", "a")
    assert told(stores, 3, 3) == ("", "", "")
    assert told(stores, 1, 2) == ("d", "b", "")


def test_what_comes_back_is_new_again(stores):
    run(stores, a="1", b="1")
    run(stores, a=None)
    run(stores, a="1")
    assert told(stores, 2, 3) == ("a", "", "")
    assert told(stores, 3, 3) == ("", "", "")
    run(stores, a=None)
    run(stores, a="22")
    assert told(stores, 4, 5) == ("a", "", "")


def test_the_same_bytes_are_no_change(stores):
    run(stores, a="1")
    stores[0].put("a", "1")
    report = run(stores, options={"verify": "audit"})
    assert report.fetched + report.unchanged == 1
    assert told(stores, 1, 2) == ("", "", "")


def test_what_was_healed_is_no_change(stores, tmp_path):
    run(stores, a="1")
    (tmp_path / "target/a").write_text('"X"')
    assert run(stores, options={"verify": "full"}).healed == 1
    assert told(stores, 1, 2) == ("", "", "")


def test_what_was_pruned_is_gone_and_what_comes_again_is_new(stores):
    run(stores, a="1", b="1")
    run(stores, a=None, options={"prune": True})
    assert told(stores, 1, 2) == ("", "", "a")
    assert [document.key for document in Snapshot(stores[1]).documents] == ["b"]
    run(stores, a="1")
    assert told(stores, 2, 3) == ("a", "", "")


def test_what_was_never_stored_is_not_there(stores, tmp_path):
    run(stores, a="1")
    run(stores, **{"n" * 300: "1"})  # a name that no folder holds
    assert [document.status for document in documents(stores[1])] == ["ok", "skipped"]
    assert [document.key for document in Snapshot(stores[1]).documents] == ["a"]
    run(stores, **{"n" * 300: None})
    assert told(stores, 1, 3) == ("", "", "")


def test_documents_tell_since_when_they_are_there(stores):
    run(stores, a="1", b="1")
    run(stores, b="22", c="1")
    run(stores)
    assert {one.key: (one.added, one.changed) for one in documents(stores[1])} == {
        "a": (1, 1),
        "b": (1, 2),
        "c": (2, 2),
    }


def test_views_are_collections(stores, tmp_path):
    run(stores, **{f"{number:04}": "1" for number in range(2500)})
    snapshot = Snapshot(stores[1])
    there = snapshot.documents
    assert len(there) == 2500 == len(snapshot.new(None, 1))
    found = [document.key for document in there]
    assert found == sorted(found) == [document.key for document in there]
    first = next(iter(there))
    assert first in there
    assert "2499" in there
    assert "2500" not in there
    assert 3 not in there
    assert there.find("0007").size == 3
    assert there.find("x") is None
    assert repr(there) == "<2,500 documents>"
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: sum(1 for _ in there), range(8))) == {2500}


def test_one_source_alone(stores, tmp_path):
    run(stores, a="1")
    other = get_store(tmp_path / "other")
    other.put("b", "1")
    crawl(other, stores[1])
    assert [one.key for one in Snapshot(stores[1], source=other.uri).documents] == ["b"]
    assert [one.key for one in Snapshot(stores[1], source="it's another").documents] == []
    assert [one.key for one in Snapshot(stores[1]).documents] == ["a", "b"]
    assert [one.number for one in Snapshot(stores[1], source=other.uri).runs] == [1, 2]


def test_a_journal_elsewhere_and_a_broken_one(stores, tmp_path):
    memory = get_store(f"sqlite:///{tmp_path}/journal.db")
    run(stores, a="1", options={"journal": memory})
    assert [one.key for one in Snapshot(stores[1], journal=memory).documents] == ["a"]
    assert len(Snapshot(stores[1]).documents) == 0
    folder = tmp_path / "broken/.anystore/crawl"
    folder.mkdir(parents=True)
    (folder / "journal.json").write_text("{")
    with pytest.raises(BackendError, match="broken"):
        Snapshot(get_store(tmp_path / "broken"))
