"""Columns and rows of a table: what comes back, and how little of a file is read for it."""

import datetime
import functools
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from anystore import get_store
from anystore.backend import Reader
from anystore.backends.wrap import ReadonlyBackend
from anystore.errors import CodecError, InvalidOption
from anystore.store import Store
from anystore.tables import TableCodec
from tests.object_servers import BUCKET
from tests.servers import nginx

ROWS = 200_000


@functools.cache
def large_table():
    """Twelve columns, of which one is sorted: some 20 MB that do not compress, in two row groups."""
    random = np.random.default_rng(0)
    columns = {f"c{number}": random.random(ROWS) for number in range(10)}
    return pa.table({"id": range(ROWS), "nested": pa.array([{"x": n, "y": str(n)} for n in range(ROWS)]), **columns})


SMALL = pa.table(
    {
        "a": [1, 2, None, 4],
        "b": ["x", "y", "z", None],
        "c": pa.array(["p", "q", "p", "q"]).dictionary_encode(),
        "day": [datetime.date(2024, 5, day) for day in (1, 2, 3, 4)],
        "dotted.name": [1, 2, 3, 4],
        "struct": [{"x": 1, "y": {"z": "a"}}, {"x": 2, "y": None}, None, {"x": 4, "y": {"z": "d"}}],
    }
)
PLAIN = SMALL.drop_columns(["struct"])


class CountingReader(Reader):
    """Counts what is read."""

    def __init__(self, inner, counts):
        self.inner = inner
        self.entry = inner.entry
        self.seekable = inner.seekable
        self.counts = counts

    def read(self, start=0, stop=None):
        self.counts.append(0)
        for piece in self.inner.read(start, stop):
            self.counts[-1] += len(piece)
            yield piece

    def close(self):
        self.inner.close()


class CountingBackend(ReadonlyBackend):
    """Counts requests and bytes."""

    def __init__(self, inner):
        super().__init__(inner)
        self.counts = []

    def reader(self, key):
        return CountingReader(super().reader(key), self.counts)

    def get(self, key):
        data = super().get(key)
        self.counts.append(len(data))
        return data


@pytest.fixture(scope="module")
def encoded():
    return {mode: TableCodec(mode).encode(large_table()) for mode in ("parquet", "arrow")}


@pytest.fixture(params=["folder", "sqlite", "postgres", "redis", "s3", "http", "zip"])
def counted(request, tmp_path, encoded):
    """Put the files on a backend, and count what is read of them."""
    name, config = f"t{uuid.uuid4().hex[:12]}", None
    ask = request.getfixturevalue
    match request.param:
        case "folder":
            uri = str(tmp_path / "folder")
        case "sqlite":
            uri = f"sqlite:///{tmp_path}/store.db"
        case "postgres":
            uri, config = ask("postgres_server").url, {"table": name}
        case "redis":
            uri = f"redis://127.0.0.1:{ask('redis_server').port}/0/{name}"
        case "s3":
            uri, config = f"s3://{BUCKET}/{name}", ask("moto_server").config
        case "zip":
            uri = f"{tmp_path}/archive.zip"
        case "http":
            root = Path(tmp_path / "root")
            root.mkdir()
            for mode, data in encoded.items():
                (root / mode).write_bytes(data)
            with nginx(root) as server:
                yield Store(CountingBackend(get_store(server.url).backend))
            return
    with get_store(uri, backend_config=config) as store:
        for mode, data in encoded.items():
            store.put(mode, data, serialization_mode="raw")
        yield Store(CountingBackend(store.backend))


def spent(store):
    """Give the requests and the bytes since the last call."""
    counts, store.backend.counts[:] = list(store.backend.counts), []
    return len(counts), sum(counts)


def test_only_what_is_wanted_is_read(counted, encoded):
    size = len(encoded["parquet"])
    some = counted.get("parquet", columns=["c3", "id"])
    assert some.equals(large_table().select(["c3", "id"]))
    requests, read = spent(counted)
    assert requests <= 6  # the footer, and two ranges for each row group
    assert read < size / 3

    row = counted.get("parquet", columns=["c3"], filters=[("id", "=", ROWS - 1)])
    assert row.equals(large_table().select(["c3"]).slice(ROWS - 1))
    requests, read = spent(counted)
    assert requests <= 3  # the other row group is ruled out by its statistics
    assert read < size / 5

    assert counted.get("parquet", filters=[("id", "<", 0)]).num_rows == 0
    assert spent(counted) == (1, 64 << 10)

    x = counted.get("parquet", columns=["nested.x"])
    assert x.to_pydict() == {"nested": [{"x": number} for number in range(ROWS)]}
    assert spent(counted)[1] < size / 5

    rows = sum(batch.num_rows for batch in counted.stream("parquet", columns=["c3"], serialization_mode="parquet"))
    requests, read = spent(counted)
    assert (rows, requests <= 4, read < size / 5) == (ROWS, True, True)

    some = counted.get("arrow", columns=["c3", "id"], serialization_mode="arrow")
    assert some.equals(large_table().select(["c3", "id"]))
    assert spent(counted)[1] < len(encoded["arrow"]) / 3


def test_the_whole_is_read_in_few_requests(counted, encoded):
    assert counted.get("parquet", model=pa.Table).equals(large_table())
    assert spent(counted) == (1, len(encoded["parquet"]))
    for mode in ("parquet", "arrow"):
        rows = sum(batch.num_rows for batch in counted.stream(mode, serialization_mode=mode))
        requests, read = spent(counted)
        assert rows == ROWS
        assert requests <= 6
        assert read < len(encoded[mode]) * 1.05


def test_a_server_sends_no_more_than_is_wanted(tmp_path, encoded):
    (root := tmp_path / "root").mkdir()
    (root / "t").write_bytes(encoded["parquet"])
    with nginx(root) as server:
        server.forget_requests()
        assert get_store(server.url).get("t", columns=["c3"]).num_rows == ROWS
        assert [(request.method, request.status) for request in server.requests()[1:]] == [("GET", 206)] * 3


def test_a_server_without_ranges_is_read_whole(python_http_server, encoded):
    for mode, data in encoded.items():
        (python_http_server.root / mode).write_bytes(data)
        store = get_store(python_http_server.url, serialization_mode=mode)
        expected = large_table().select(["c3", "id"])
        assert store.get(mode, columns=["c3", "id"]).equals(expected)
        assert pa.Table.from_batches(store.stream(mode, columns=["c3", "id"])).equals(expected)


def test_many_threads_read_at_once(tmp_path, encoded):
    store = get_store(f"sqlite:///{tmp_path}/store.db", serialization_mode="arrow")
    store.put("t", encoded["arrow"], serialization_mode="raw")
    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(lambda number: store.get("t", columns=[f"c{number}"]), range(10)))
    assert all(part.equals(large_table().select([f"c{number}"])) for number, part in enumerate(parts))


def test_a_short_file_is_one_request():
    store = get_store(f"memory://{uuid.uuid4().hex}")
    store.put("t", SMALL)
    counting = Store(CountingBackend(store.backend))
    assert counting.get("t", columns=["b"], filters=[("a", ">", 1)]).to_pydict() == {"b": ["y", None]}
    assert spent(counting)[0] == 1


# -- what comes back ----------------------------------------------------------


@pytest.fixture(params=["parquet", "arrow", "csv"])
def small(request):
    """A store of one short table, in each format."""
    mode = request.param
    store = get_store(f"memory://{uuid.uuid4().hex}")
    store.put("t", PLAIN if mode == "csv" else SMALL, serialization_mode=mode)
    return store.using(serialization_mode=mode)


def both(store, **wanted):
    """Get a part of the table, and check that a stream of it gives the same."""
    table = store.get("t", **wanted)
    assert pa.Table.from_batches(store.stream("t", **wanted), table.schema).equals(table)
    assert next(store.iterate_values(**wanted)).equals(table)
    return table


def test_columns_come_in_the_order_they_are_named(small):
    assert both(small, columns=["b", "a"]).to_pydict() == SMALL.select(["b", "a"]).to_pydict()
    assert both(small, columns=("a", "a")).column_names == ["a"]
    assert both(small, columns=["dotted.name"]).to_pydict() == {"dotted.name": [1, 2, 3, 4]}


@pytest.mark.parametrize(
    ("filters", "days"),
    [
        ([("a", ">", 1)], [2, 4]),
        ([["a", ">", 1]], [2, 4]),
        ([("a", ">", 1), ("b", "==", "y")], [2]),
        ([[("a", "=", 1)], [("b", "=", "z")]], [1, 3]),
        ([("a", "in", {1, 4})], [1, 4]),
        ([("a", "not in", [1, 4])], [2, 3]),
        ([("a", "=", None)], [3]),
        ([("a", "!=", None), ("a", "<=", 2)], [1, 2]),
        ([("c", "=", "p")], [1, 3]),
        ([("day", ">=", datetime.date(2024, 5, 3))], [3, 4]),
        ([("dotted.name", "!=", 2)], [1, 3, 4]),
        (pc.field("a") + 1 > pc.field("dotted.name"), [1, 2, 4]),
        ((pc.field("a") == 1) | pc.field("b").is_null(), [1, 4]),
        (~(pc.field("a") == 1), [2, 4]),
        ([("a", ">", 10)], []),
    ],
    ids=str,
)
def test_filters(small, filters, days):
    assert [day.day for day in both(small, columns=["day"], filters=filters)["day"].to_pylist()] == days
    assert both(small, filters=filters).num_rows == len(days)


def test_fields_of_structs():
    store = get_store(f"memory://{uuid.uuid4().hex}", serialization_mode="parquet")
    store.put("t", SMALL)
    x, z = [1, 2, None, 4], ["a", None, None, "d"]
    part = both(store, columns=["struct.x", "a"])
    assert part.schema.field("struct").type == pa.struct([("x", pa.int64())])
    assert [row and row["x"] for row in part["struct"].to_pylist()] == x
    assert part.column_names == ["struct", "a"]
    part = both(store, columns=["struct.y.z"])
    assert [row and row["y"] and row["y"]["z"] for row in part["struct"].to_pylist()] == z
    for filters in ([("struct.x", ">", 1)], pc.field("struct", "x") > 1):
        part = both(store, columns=["struct.y"], filters=filters)
        assert part["struct"].to_pylist() == [{"y": None}, {"y": {"z": "d"}}]
    assert both(store, columns=["struct.x", "struct"]).schema == SMALL.select(["struct"]).schema
    with pytest.raises(InvalidOption, match=r"no column 'struct\.q'"):
        store.get("t", columns=["struct.q"])
    with pytest.raises(InvalidOption, match=r"no column 'struct\.x\.q'"):
        store.get("t", filters=[("struct.x.q", "=", 1)])


def test_frames_of_a_part(small):
    wanted = {"columns": ["b", "a"], "filters": [("a", "<", 3)]}
    expected = {"b": ["x", "y"], "a": [1, 2]}
    assert small.get("t", model=pl.DataFrame, **wanted).to_dict(as_series=False) == expected
    assert small.get("t", model=pl.LazyFrame, **wanted).collect().to_dict(as_series=False) == expected
    assert small.get("t", model=pd.DataFrame, **wanted).to_dict("list") == expected
    assert next(small.stream("t", model=pl.DataFrame, **wanted)).to_dict(as_series=False) == expected


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ({"columns": ["z"]}, "no column 'z'; the columns are 'a', 'b', 'c', 'day', 'dotted.name'"),
        ({"columns": ["a", "a.b"]}, "no column 'a.b'"),
        ({"filters": [("z", ">", 1)]}, "no column 'z'; the columns are 'a', 'b'"),
        ({"filters": pc.field("z") > 1}, "'z'|\\(z\\).*columns are 'a', 'b'"),
        ({"filters": [("a", ">", "text")]}, "do not fit the table.*columns are 'a'"),
        ({"filters": pc.field("a")}, "do not fit the table.*bool"),
    ],
    ids=str,
)
def test_what_the_table_has_not_is_refused(small, wanted, told):
    for read in (small.get, small.stream):
        with pytest.raises(InvalidOption, match=f"'t' in {small.uri}.*({told})"):
            read("t", **wanted)


@pytest.mark.parametrize(
    "wanted",
    [
        {"columns": "a"},
        {"columns": []},
        {"columns": [1]},
        {"columns": 1},
        {"columns": {"a": 1}},
        {"filters": "a > 3"},
        {"filters": []},
        {"filters": [[]]},
        {"filters": ("a", ">", 3)},
        {"filters": {"a": 3}},
        {"filters": 3},
        {"filters": [("a", "~", 3)]},
        {"filters": [("a", ">")]},
        {"filters": [("a", "in", 3)]},
        {"filters": [("a", "in", "text")]},
        {"filters": [(1, "=", 3)]},
        {"filters": [[("a", "=", 3)], 3]},
        {"filters": pl.col("a") > 3},
    ],
)
def test_what_is_no_selection_is_refused_before_the_store_is_asked(wanted):
    store = get_store(f"memory://{uuid.uuid4().hex}")
    for mode in (None, "parquet", "arrow", "csv"):
        for read in (store.get, store.stream):
            with pytest.raises(InvalidOption, match=r"columns|filter"):
                read("missing", serialization_mode=mode, **wanted)


def test_a_value_that_cannot_be_compared_is_refused():
    store = get_store(f"memory://{uuid.uuid4().hex}")
    store.put("t", SMALL)
    for value in (object(), [1], {"x": 1}):
        with pytest.raises(InvalidOption, match="filter"):
            store.get("t", filters=[("a", ">", value)])


def test_only_tables_have_columns():
    store = get_store(f"memory://{uuid.uuid4().hex}")
    store.put("t", {"a": 1})
    for how in ({"serialization_mode": mode} for mode in ("raw", "text", "json", "pickle")):
        for read in (store.get, store.stream):
            with pytest.raises(InvalidOption, match="has no columns"):
                read("t", columns=["a"], **how)
    for how in ({"model": dict}, {"deserialization_func": bytes.decode}):
        with pytest.raises(InvalidOption, match="has no columns"):
            store.get("t", filters=[("a", "=", 1)], **how)
    with pytest.raises(CodecError, match="not parquet"):
        store.get("t", columns=["a"])


def test_a_codec_of_a_part_is_a_mode():
    store = get_store(f"memory://{uuid.uuid4().hex}")
    store.put("t", SMALL)
    codec = TableCodec("parquet", pl.DataFrame, columns=["a"], filters=[("a", "=", 1)])
    view = store.using(serialization_mode=codec)
    for frame in (view.get("t"), dict(view.get_many(["t", "missing"]))["t"], next(view.stream("t"))):
        assert frame.to_dict(as_series=False) == {"a": [1]}
    assert view.get("t", columns=["b"]).to_dict(as_series=False) == {"b": ["x"]}


def test_a_wide_table():
    store = get_store(f"memory://{uuid.uuid4().hex}")
    store.put("t", pa.table({f"c{number}": [number] for number in range(2000)}))
    condition = (pc.field("c7") == 7) & (pc.field("c1999") > 0)
    assert store.get("t", columns=["c1000"], filters=condition).to_pydict() == {"c1000": [1000]}
    with pytest.raises(InvalidOption, match="and 1960 more"):
        store.get("t", columns=["z"])
