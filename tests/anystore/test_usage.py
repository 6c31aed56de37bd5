"""Where the bytes are: every value in one row, bars for people, and sizes that nobody knows told apart."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anystore import Entry, InvalidKey, InvalidOption, get_store
from anystore.usage import FolderUsage, measure_usage


@pytest.fixture
def store(tmp_path):
    store = get_store(tmp_path)
    store.put_many({"top.txt": "x" * 10, "a/1": "x" * 100, "a/b/2": "x" * 200, "a/b/c/3": "x" * 300, "d/4": "x" * 50})
    return store


@pytest.mark.parametrize(
    ("depth", "rows"),
    [
        (0, [("", 5, 660)]),
        (1, [("a/", 3, 600), ("d/", 1, 50), ("", 1, 10)]),
        (2, [("a/b/", 2, 500), ("a/", 1, 100), ("d/", 1, 50), ("", 1, 10)]),
        (9, [("a/b/c/", 1, 300), ("a/b/", 1, 200), ("a/", 1, 100), ("d/", 1, 50), ("", 1, 10)]),
    ],
)
def test_rows_of_a_depth(store, depth, rows):
    assert [(row.folder, row.values, row.bytes) for row in store.usage(depth=depth).rows] == rows


def test_below_a_prefix(store):
    usage = store.usage("a", depth=1)
    assert [(row.folder, row.bytes) for row in usage.rows] == [("a/b/", 500), ("a/", 100)]
    assert (usage.values, usage.bytes, usage.prefix) == (3, 600, "a/")
    assert store.usage("nowhere").rows == ()
    assert "0 B in 0 values" in str(store.usage("nowhere"))


@given(st.lists(st.tuples(st.sampled_from(["a", "a/b", "a/b/c", "d/e", "f"]), st.none() | st.integers(0, 9))))
def test_rows_add_up_at_every_depth(found):
    entries = [Entry(f"{folder}/{number}", size, None) for number, (folder, size) in enumerate(found)]
    for depth in range(4):
        usage = measure_usage(entries, uri="", prefix="", depth=depth)
        assert usage.values == len(entries)
        assert usage.bytes == sum(entry.size or 0 for entry in entries)
        assert usage.unknown == sum(entry.size is None for entry in entries)
        assert all(row.folder.count("/") <= depth for row in usage.rows)


def test_sizes_that_are_not_known_are_told_apart():
    usage = measure_usage([Entry("a/1", None, None), Entry("a/2", 7, None)], uri="", prefix="", depth=1)
    assert usage.rows == (FolderUsage("a/", 2, 7, 1),)
    assert "2 values, 1 of unknown size" in str(usage)
    assert "1 of unknown size" in usage._repr_html_()


def test_bars_are_as_long_as_the_bytes(store):
    lines = str(store.usage()).splitlines()
    assert [line.count("█") for line in lines[1:]] == [24, 2, 0]
    assert lines[0].endswith("660 B in 5 values")


def test_many_folders_are_summed_up(tmp_path):
    entries = [Entry(f"{number:03}/x", 1, None) for number in range(100)]
    usage = measure_usage(entries, uri="memory://x", prefix="", depth=1)
    assert len(usage.rows) == 100
    for shown in (str(usage), usage._repr_html_()):
        assert "and 70 more folders with 70 B" in shown


def test_hostile_names_are_shown_and_not_obeyed():
    entries = [Entry("<script>alert(1)</script>/x", 1, None), Entry("\x1b[2J/" + "n" * 200, 1, None)]
    usage = measure_usage(entries, uri="memory://<b>", prefix="", depth=1)
    assert "\x1b" not in str(usage)
    assert "<script>" not in usage._repr_html_()
    assert "<b>memory://<b>" not in usage._repr_html_()


@pytest.mark.parametrize("depth", [-1, 1.0, True, "1", None])
def test_a_depth_that_is_none(store, depth):
    with pytest.raises(InvalidOption, match="depth"):
        store.usage(depth=depth)


def test_a_prefix_that_is_none(store):
    with pytest.raises(InvalidKey):
        store.usage("../x")


def test_bars_of_wide_letters_stand_one_below_the_other():
    entries = [Entry(f"{folder}/1", 8, None) for folder in ("ascii", "emoji😀", "日本語", "e\u0301")]
    _, *lines = str(measure_usage(entries, uri="", prefix="", depth=1)).splitlines()
    assert [line.index("█") for line in lines] == [10, 9, 11, 7]  # of letters: an emoji is one, and two columns wide
