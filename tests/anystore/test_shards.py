"""Shards are parts of a store that together are all of it, and listed without listing the rest."""

import pytest

from anystore import get_store
from anystore.backend import Entry
from anystore.backends.wrap import ReadonlyBackend
from anystore.errors import InvalidOption
from anystore.mirroring import mirror
from anystore.shards import Shard, ShardBackend, shard_of
from anystore.store import Store

KEYS = ["top.txt", "a", *(f"{folder}/{sub}/{name}" for folder in "abcdefgh" for sub in "12" for name in ("x", "ü y"))]
KEYS.remove("a")


class Counting(ReadonlyBackend):
    """A backend that remembers which folders were listed whole."""

    def __init__(self, inner):
        super().__init__(inner)
        self.listed = []

    def scan(self, prefix="", after=None):
        self.listed.append(prefix)
        return super().scan(prefix, after)


@pytest.fixture(params=["local", "memory", "sqlite"])
def store(request, tmp_path):
    uris = {
        "local": str(tmp_path / "s"),
        "memory": f"memory://shards-{id(tmp_path)}",
        "sqlite": f"sqlite:///{tmp_path}/s",
    }
    found = get_store(uris[request.param])
    found.put_many(dict.fromkeys(KEYS, "text"))
    return found


@pytest.mark.parametrize("depth", [0, 1, 2, 3, 7])
@pytest.mark.parametrize("of", [1, 2, 5])
def test_shards_together_are_the_store_and_have_nothing_in_common(store, of, depth):
    views = [Shard(number, of, depth).view(store) for number in range(1, of + 1)]
    found = [list(view.iterate_keys()) for view in views]
    assert all(keys == sorted(keys) for keys in found)
    assert sorted(key for keys in found for key in keys) == sorted(KEYS)
    for number, keys in enumerate(found, 1):
        assert all(shard_of(key, of=of, depth=depth) == number for key in keys)


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_a_listing_goes_on_behind_a_key_and_below_a_folder(store, depth):
    backend = Shard(2, 3, depth).view(store).backend
    keys = [entry.key for entry in backend.scan()]
    assert len(keys) > 4
    for key in keys:
        assert [entry.key for entry in backend.scan("", key)] == [other for other in keys if other > key]
        folder = key.rpartition("/")[0]
        assert [one.key for one in backend.scan(f"{folder}/" if folder else "")] == [
            other for other in keys if other.startswith(f"{folder}/" if folder else "")
        ]


def test_folders_of_other_shards_are_not_listed(tmp_path):
    store = get_store(tmp_path / "s")
    store.put_many(dict.fromkeys(KEYS, "text"))
    counting = Counting(store.backend)
    shard = Shard(1, 4)
    found = list(ShardBackend(counting, shard).scan())
    assert all(isinstance(one, Entry) for one in found)
    assert counting.listed == sorted(
        folder for folder in {f"{key.split('/')[0]}/" for key in KEYS if "/" in key} if shard.holds(folder)
    )


def test_a_folder_and_a_value_of_its_name_are_in_one_shard():
    for depth in (1, 2):
        assert shard_of("a/b", of=97, depth=depth) == shard_of("a/b/c" if depth == 2 else "a", of=97, depth=depth)


def test_a_mirror_of_each_shard_is_a_mirror_of_all(store, tmp_path):
    target = get_store(tmp_path / "copy")
    target.put_many({"a/1/gone": "old", "z/gone": "old"})
    for number in range(1, 4):
        shard = Shard(number, 3)
        report = mirror(shard.view(store), shard.view(target), delete=True)
        assert report.complete
    assert sorted(target.iterate_keys()) == sorted(KEYS)


@pytest.mark.parametrize(
    ("number", "of", "depth"), [(0, 2, 1), (3, 2, 1), (1, 0, 1), (1, 2, -1), (True, 2, 1), (1, 10**6, 1)]
)
def test_numbers_that_cannot_be(number, of, depth):
    with pytest.raises(InvalidOption):
        Shard(number, of, depth)


def test_a_view_reads_and_writes_the_store():
    store = get_store("memory://shards-view")
    view = Shard(1, 2).view(store)
    assert isinstance(view, Store)
    view.put("any", "text")
    assert store.get("any") == "text"
    assert view.uri == store.uri
