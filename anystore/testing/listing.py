"""What is promised of listing: ``scan`` and ``keys``."""

from datetime import UTC, timedelta
from typing import Any

import pytest

from anystore.backend import Backend, Feature
from anystore.keys import Key, parse_key
from anystore.testing.awkward import AWKWARD_KEYS
from anystore.testing.ground import Ground, needs

TREE = ["a.b", "a/b/c", "a/b/d/e", "a/bc", "a/x", "b", "ab/c", "z/y"]
HARD_TO_SORT = [
    *("a-b", "a.b", "a/b", "a0", "a b", "A", "aa/b", "a/b-c", "a/b0", "a/-", "a/a/a"),
    *("b/\U00010000", "b/\uffff", "b/\ud7ff", "\u00e9", "e\u0301", "\U0001f600/x", "\U0001f600.x"),
    *("\uffee/x", "\x7f", "c/d/e", "c/d-/e", "c/d./e", "c/d0"),
]
PATTERNS = ["a_/", "a%/", "a*/", "a?/", "[a]/", "{a,b}/", "a\\/", "a.*/", "a+/", "%61/", "~/", "A_/"]


def _in_byte_order(keys: list[Any]) -> list[Any]:
    return sorted(keys, key=str.encode)


class Listing(Ground):
    """The tests of listing."""

    def _place_all(self, backend: Backend, names: list[str]) -> None:
        for name in names:
            self.place(backend, parse_key(name), name.encode())

    @needs(Feature.LIST)
    def test_empty_store_lists_nothing(self, backend: Backend) -> None:
        assert list(backend.scan()) == []
        assert list(backend.keys()) == []
        assert list(backend.scan("no/such/")) == []

    @needs(Feature.LIST)
    def test_listing_is_an_iterator(self, backend: Backend) -> None:
        self._place_all(backend, TREE)
        entries, keys = backend.scan(), backend.keys()
        assert iter(entries) is entries
        assert iter(keys) is keys
        assert next(entries).key in TREE
        assert next(keys) in TREE

    @needs(Feature.LIST)
    def test_every_key_is_listed_once(self, backend: Backend) -> None:
        self._place_all(backend, TREE)
        assert sorted(entry.key for entry in backend.scan()) == sorted(TREE)
        assert sorted(backend.keys()) == sorted(TREE)

    @needs(Feature.LIST)
    def test_children_are_the_values_and_folders_of_one_folder(self, backend: Backend) -> None:
        self._place_all(backend, TREE)
        for prefix in ("", "a/", "a/b/", "z/", "no/such/"):
            expected = {
                prefix + folder + slash
                for name in TREE
                if name.startswith(prefix)
                for folder, slash, _ in [name[len(prefix) :].partition("/")]
            }
            children = list(backend.children(prefix))
            names = [child if isinstance(child, str) else child.key for child in children]
            assert sorted(names) == sorted(expected)
            assert {child.key: child for child in children if not isinstance(child, str)} == {
                entry.key: entry for entry in backend.scan(prefix) if "/" not in entry.key[len(prefix) :]
            }

    @needs(Feature.LIST)
    def test_children_hide_what_is_ours(self, backend: Backend) -> None:
        self._place_all(backend, ["a", "b/c"])
        assert list(backend.children(".anystore/")) == []

    @needs(Feature.LIST)
    def test_entries_say_what_stat_says(self, backend: Backend) -> None:
        self._place_all(backend, TREE)
        for entry in backend.scan():
            stat = backend.stat(parse_key(entry.key))
            assert entry.size in (stat.size, None)
            assert entry.version in (stat.version, None)
            assert entry.expires == stat.expires
            if entry.modified is not None:
                assert entry.modified.tzinfo is UTC
                assert stat.modified is not None
                assert abs(entry.modified - stat.modified) < timedelta(seconds=1)

    @pytest.mark.parametrize("prefix", ["a/", "a/b/", "a/b/d/", "ab/", "z/", "b/", "a/b/c/", "A/", "x/y/z/"])
    @needs(Feature.LIST)
    def test_prefix_is_a_folder(self, backend: Backend, prefix: str) -> None:
        self._place_all(backend, TREE)
        expected = sorted(name for name in TREE if name.startswith(prefix))
        assert sorted(entry.key for entry in backend.scan(prefix)) == expected
        assert sorted(backend.keys(prefix)) == expected

    @pytest.mark.parametrize("prefix", PATTERNS)
    @needs(Feature.LIST)
    def test_prefix_is_no_pattern(self, backend: Backend, prefix: str) -> None:
        near = ["ab/x", "a/x", "aXX/x", "a%2F/x", "ax/x", "b/x", "a_/x".swapcase(), "aa/x"]
        names = [name for name in near if not name.startswith(prefix)]
        self._place_all(backend, names)
        if not self.cannot_hold(prefix + "inside"):
            assert list(backend.keys(prefix)) == []
            self._place_all(backend, [prefix + "inside"])
            expected = self.listed([prefix + "inside"])
            assert list(backend.keys(prefix)) == expected
            assert [entry.key for entry in backend.scan(prefix)] == expected

    @needs(Feature.LIST)
    def test_awkward_keys_are_listed_as_they_were(self, backend: Backend) -> None:
        names = [key for key in AWKWARD_KEYS.values() if not self.cannot_hold(key)]
        self._place_all(backend, names)
        assert sorted(backend.keys()) == sorted(self.listed(names))
        for entry in backend.scan():
            assert backend.get(parse_key(entry.key)) == entry.key.encode()

    @pytest.mark.parametrize("after", ["a", "b/x", "zzz"])
    @needs(Feature.LIST | Feature.SORTED)
    def test_after_a_missing_key(self, backend: Backend, after: str) -> None:
        self._place_all(backend, TREE)
        expected = [name for name in _in_byte_order(TREE) if name.encode() > after.encode()]
        assert list(backend.keys("", parse_key(after))) == expected
        assert [entry.key for entry in backend.scan("", parse_key(after))] == expected

    @needs(Feature.LIST | Feature.SORTED)
    def test_listing_is_in_byte_order(self, backend: Backend) -> None:
        names = [name for name in HARD_TO_SORT if not self.cannot_hold(name)]
        self._place_all(backend, names)
        assert list(backend.keys()) == _in_byte_order(names)
        assert [entry.key for entry in backend.scan()] == _in_byte_order(names)

    @needs(Feature.LIST | Feature.SORTED)
    def test_after_starts_behind_any_key(self, backend: Backend) -> None:
        names = [name for name in HARD_TO_SORT if not self.cannot_hold(name)]
        self._place_all(backend, names)
        ordered = _in_byte_order(names)
        for number, name in enumerate(ordered):
            assert list(backend.keys("", parse_key(name))) == ordered[number + 1 :]
            longer = parse_key(name + "/behind")
            expected = [other for other in ordered if other.encode() > longer.encode()]
            assert [entry.key for entry in backend.scan("", longer)] == expected

    @needs(Feature.LIST | Feature.SORTED)
    def test_after_inside_a_prefix(self, backend: Backend) -> None:
        self._place_all(backend, TREE)
        inside = [name for name in _in_byte_order(TREE) if name.startswith("a/")]
        assert list(backend.keys("a/", parse_key("a"))) == inside
        assert list(backend.keys("a/", parse_key(inside[0]))) == inside[1:]
        assert list(backend.keys("a/", parse_key(inside[-1]))) == []
        assert list(backend.keys("a/", parse_key("b"))) == []
        assert [entry.key for entry in backend.scan("a/", parse_key("a/b/d"))] == ["a/b/d/e", "a/bc", "a/x"]

    @pytest.mark.parametrize("method", ["scan", "keys"])
    @needs(Feature.LIST)
    def test_key_deleted_during_a_listing_does_not_break_it(self, backend: Backend, method: str) -> None:
        names = [f"{folder}/{number}" for folder in "abc" for number in range(3)]
        self._place_all(backend, names)
        listing = iter(getattr(backend, method)())
        found = [next(listing)]
        for name in names:
            self.remove(backend, Key(name))
        found.extend(listing)
        seen = [getattr(one, "key", one) for one in found]
        assert set(seen) <= set(names)
        assert len(seen) == len(set(seen))

    @pytest.mark.parametrize("method", ["scan", "keys"])
    @needs(Feature.LIST)
    def test_key_placed_during_a_listing_does_not_break_it(self, backend: Backend, method: str) -> None:
        names = [f"{folder}/{number}" for folder in "abc" for number in range(3)]
        self._place_all(backend, names)
        listing = iter(getattr(backend, method)())
        found = [next(listing)]
        self._place_all(backend, ["a/new", "b/new", "d/new", "new"])
        found.extend(listing)
        seen = [getattr(one, "key", one) for one in found]
        assert set(names) <= set(seen)
        assert len(seen) == len(set(seen))

    @needs(Feature.LIST)
    def test_two_listings_do_not_disturb_each_other(self, backend: Backend) -> None:
        self._place_all(backend, TREE)
        one, two = backend.keys(), backend.keys()
        mixed = [(first, second) for first, second in zip(one, two, strict=True)]
        assert sorted(first for first, _ in mixed) == sorted(second for _, second in mixed) == sorted(TREE)
