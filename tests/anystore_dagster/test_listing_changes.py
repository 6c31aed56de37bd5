"""Comparing a walk with what is known gives the same as two dicts would, wherever the walk stops in between."""

from hypothesis import given
from hypothesis import strategies as st

from anystore.crawling.ordered import ListedDocument, UnreadFolder
from anystore_dagster import listing_changes
from anystore_dagster.listing_changes import compare
from anystore_dagster.listing_memory import Head, Segment

KEYS = st.sampled_from([f"{folder}{name}" for folder in ("", "a/", "a/b/", "c/") for name in "aklz"])
LISTINGS = st.dictionaries(KEYS, st.sampled_from(["1", "2"]))


class Segments:
    """Segments in memory."""

    def __init__(self):
        self.kept = {}
        self.written = 0

    def read(self, segment):
        return list(self.kept[segment.name])

    def write(self, rows):
        name = str(len(self.kept))
        self.kept[name] = list(rows)
        self.written += 1
        return Segment(name=name, first=rows[0][0], count=len(rows))


class Seen:
    """Counts what it is told; has enough after some."""

    def __init__(self, most=10**6):
        self.found = {}
        self.lost = []
        self.most = most

    def changed(self, document, change):
        assert document.key not in self.found
        self.found[document.key] = change

    def gone(self, key):
        self.lost.append(key)

    @property
    def has_enough(self):
        return len(self.found) >= self.most


def walk_of(listing, after="", unread=()):
    items = [ListedDocument(key, f"x:{key}", shown) for key, shown in listing.items() if not key.startswith(unread)]
    items += [UnreadFolder(folder, "no") for folder in unread]
    # a folder that holds the key to begin behind is listed again
    return sorted((one for one in items if one.key > after), key=lambda one: one.key)


def known(head, rows):
    assert [segment.first for segment in head.segments] == sorted(segment.first for segment in head.segments)
    pairs = [row for segment in head.segments for row in rows.read(segment)]
    assert pairs == sorted(pairs)
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def whole_walk(head, listing, rows, *, most=10**6, unread=()):
    """Walk to the end, in as many steps as it takes; return what was told in all of them."""
    found, lost = {}, []
    while True:
        seen = Seen(most)
        done = compare(head, walk_of(listing, head.after, unread), rows=rows, observer=seen, ended=lambda: True)
        assert not found.keys() & seen.found.keys()
        found |= seen.found
        lost += seen.lost
        head = head.model_copy(update={"segments": done.segments, "after": done.after if done.stopped else ""})
        if not done.stopped:
            return head, found, lost


@given(st.lists(LISTINGS, max_size=5), st.integers(1, 4), st.integers(1, 5))
def test_each_difference_is_told_once(listings, size, most):
    old_size, listing_changes._SEGMENT_ROWS = listing_changes._SEGMENT_ROWS, size
    try:
        rows, head, before = Segments(), Head(lineage="x"), {}
        for listing in listings:
            head, found, lost = whole_walk(head, listing, rows, most=most)
            new = {key: "new" for key in listing if key not in before}
            changed = {key: "changed" for key in listing if key in before and before[key] != listing[key]}
            assert found == new | changed
            assert sorted(lost) == sorted(before.keys() - listing.keys())
            assert known(head, rows) == listing
            before = listing
    finally:
        listing_changes._SEGMENT_ROWS = old_size


@given(LISTINGS, LISTINGS, st.sampled_from(["a/", "a/b/", "c/"]), st.integers(1, 5))
def test_what_is_known_of_a_folder_that_cannot_be_read_stays_known(before, after, folder, most):
    rows = Segments()
    head, _, _ = whole_walk(Head(lineage="x"), before, rows)
    kept = {key: shown for key, shown in before.items() if key.startswith(folder)}
    head, found, lost = whole_walk(head, after, rows, most=most, unread=(folder,))
    outside = {key: shown for key, shown in after.items() if not key.startswith(folder)}
    assert known(head, rows) == kept | outside
    assert not [key for key in lost if key.startswith(folder)]
    assert found.keys() == {key for key, shown in outside.items() if before.get(key) != shown}


def test_what_is_the_same_is_not_written_again():
    rows = Segments()
    listing = {f"{number:06d}": "1" for number in range(50_000)}
    head, found, _ = whole_walk(Head(lineage="x"), listing, rows)
    assert len(found) == 50_000
    assert 3 <= len(head.segments) <= 5
    rows.written = 0
    same, found, _ = whole_walk(head, listing, rows)
    assert (found, rows.written, same.segments) == ({}, 0, head.segments)
    listing["025000"] = "2"
    changed, found, _ = whole_walk(head, listing, rows)
    assert (found, rows.written) == ({"025000": "changed"}, 1)
    assert known(changed, rows) == listing


def test_a_walk_that_ends_early_leaves_the_rest_as_it_is():
    rows = Segments()
    head, _, _ = whole_walk(Head(lineage="x"), {"a": "1", "b": "1", "c": "1"}, rows)
    seen = Seen()
    done = compare(head, walk_of({"b": "2"}), rows=rows, observer=seen, ended=lambda: False)
    assert (seen.found, seen.lost, done.after) == ({"b": "changed"}, ["a"], "b")
    assert known(Head(lineage="x", segments=done.segments), rows) == {"b": "2", "c": "1"}
