"""Remote values are fetched once, and again when they have changed; local ones are read where they are."""

import pickle
from pathlib import Path

import dagster as dg
import polars as pl
import pyarrow as pa
import pytest

from anystore import DoesNotExist, ReadOnlyError, Store, get_store
from anystore.backends.memory import MemoryBackend
from anystore_dagster import AnystoreIOManager
from anystore_dagster.local_cache import cached_store


class Counting(MemoryBackend):
    """A backend that counts what is read of it."""

    def __init__(self, name):
        super().__init__(name)
        self.read_keys = []

    def get(self, key):
        self.read_keys.append(key)
        return super().get(key)

    def reader(self, key):
        self.read_keys.append(key)
        return super().reader(key)


@pytest.fixture
def backend(tmp_path):
    return Counting(tmp_path.name)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def store(backend, folder):
    return cached_store(Store(backend), str(folder))


def test_a_value_is_fetched_once_until_it_changes(store, backend):
    backend.put("a/b.value", b"one")
    for _ in range(3):
        assert store.get("a/b.value") == "one"
        with store.open("a/b.value") as file:
            assert (file.read(1), file.read()) == (b"o", b"ne")
        with store.local_path("a/b.value") as path:
            assert path.read_bytes() == b"one"
    assert backend.read_keys == ["a/b.value"]
    backend.put("a/b.value", b"two!")
    assert store.get("a/b.value") == "two!"
    assert len(backend.read_keys) == 2


def test_what_is_open_stays_when_the_value_changes_and_the_cache_is_small(backend, folder):
    store = cached_store(Store(backend), str(folder), 10)
    backend.put("key", b"0123456789")
    with store.open("key") as file:
        backend.put("key", b"abcdefghij")
        backend.put("other", b"ABCDEFGHIJ")
        assert store.get("key") == "abcdefghij"
        assert store.get("other") == "ABCDEFGHIJ"
        assert file.read() == b"0123456789"
    assert sum(path.stat().st_size for path in Path(folder).rglob("*") if path.name in ("key", "other")) <= 10


def test_what_is_gone_is_gone(store, backend):
    backend.put("key", b"one")
    assert store.get("key") == "one"
    backend.delete("key")
    for call in (store.get, store.open, store.info):
        with pytest.raises(DoesNotExist):
            call("key")


def test_a_value_larger_than_the_cache_is_read_all_the_same(backend, folder):
    backend.put("key", b"x" * 100)
    assert cached_store(Store(backend), str(folder), 10).get("key") == "x" * 100


def test_it_only_reads(store):
    with pytest.raises(ReadOnlyError):
        store.put("key", "value")


def test_local_values_are_read_where_they_are(tmp_path, folder):
    get_store(tmp_path / "values").put("key", "value")
    store = cached_store(get_store(tmp_path / "values"), str(folder))
    assert store.get("key") == "value"
    assert not folder.exists()


def test_it_can_be_sent_to_another_process(tmp_path, folder):
    uri = f"sqlite:///{tmp_path}/values.db"
    get_store(uri).put("key", "value")
    store = pickle.loads(pickle.dumps(cached_store(get_store(uri), str(folder))))
    assert store.get("key") == "value"


@pytest.mark.parametrize("kind", [pa.Table, pl.LazyFrame])
def test_inputs_come_from_the_local_disk(tmp_path, folder, kind):
    uri = f"sqlite:///{tmp_path}/values.db"

    @dg.asset
    def table() -> pa.Table:
        return pa.table({"n": [1, 2, 3]})

    @dg.asset(ins={"table": dg.AssetIn(metadata={"anystore/columns": ["n"]})})
    def rows(table: kind) -> int:
        return table.num_rows if kind is pa.Table else table.collect().height

    resources = {"io_manager": AnystoreIOManager(uri=uri, local_cache=str(folder), local_cache_bytes=1 << 20)}
    with dg.DagsterInstance.ephemeral() as instance:
        for _ in range(2):
            result = dg.materialize([table, rows], resources=resources, instance=instance)
            assert result.output_for_node("rows") == 3
    assert [path.read_bytes()[:4] for path in folder.rglob("table.value")] == [b"PAR1"]


@pytest.mark.parametrize("fields", [{"local_cache_bytes": 5}, {"local_cache": "x", "local_cache_bytes": 0}])
def test_a_size_needs_a_folder_and_is_a_size(fields):
    with pytest.raises(dg.DagsterInvalidDefinitionError, match="local_cache"):
        AnystoreIOManager(uri="memory://x", **fields)
