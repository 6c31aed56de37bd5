"""Tables in and out, as Parquet, Arrow and CSV."""

import datetime

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from anystore import get_store
from anystore.errors import CodecError
from anystore.tables import TableCodec

TABLE = pa.table(
    {
        "id": pa.array([1, 2, None], pa.int32()),
        "name": pa.array(["a", None, "ü"]).dictionary_encode(),
        "when": pa.array([datetime.datetime(2024, 5, 1, tzinfo=datetime.UTC)] * 3, pa.timestamp("us", "Europe/Berlin")),
    }
).replace_schema_metadata({"origin": "test"})


@pytest.fixture
def store(tmp_path):
    return get_store(tmp_path / "tables")


@pytest.mark.parametrize("mode", ["parquet", "arrow"])
def test_a_table_survives_with_schema_and_metadata(store, mode):
    store.put("t", TABLE, serialization_mode=mode)
    back = store.get("t", serialization_mode=mode)
    assert back.schema.equals(TABLE.schema)
    assert back.schema.metadata[b"origin"] == b"test"
    assert back.equals(TABLE)


def test_csv(store):
    table = pa.table({"a": [1, 2], "b": ["x", "y"]})
    store.put("t.csv", table, serialization_mode="csv")
    assert store.get("t.csv", serialization_mode="csv").equals(table)


def test_frames(store):
    frame = pd.DataFrame({"a": [1, 2]}, index=pd.Index(["x", "y"], name="key"))
    store.put("pandas", frame, serialization_mode="parquet")
    pd.testing.assert_frame_equal(store.get("pandas", model=pd.DataFrame), frame)
    polars = pl.DataFrame({"a": [1, None], "b": ["x", "y"]})
    store.put("polars", polars, model=pl.DataFrame)
    assert store.get("polars", model=pl.DataFrame).equals(polars)
    lazy = store.get("polars", model=pl.LazyFrame)
    assert isinstance(lazy, pl.LazyFrame)
    store.put("lazy", lazy.filter(pl.col("a") == 1), serialization_mode="parquet")
    assert store.get("lazy", model=pa.Table).num_rows == 1


def test_batches_and_readers(store):
    batch = pa.record_batch({"a": [1, 2]})
    for value in (batch, pa.RecordBatchReader.from_batches(batch.schema, [batch, batch])):
        store.put("t", value, serialization_mode="arrow")
        assert store.get("t", serialization_mode="arrow").column_names == ["a"]


def test_what_is_no_table_is_refused(store):
    for value in ([1], "text", None, object()):
        with pytest.raises(CodecError, match="table"):
            store.put("t", value, serialization_mode="parquet")
    store.put("text", "hello")
    for mode in ("parquet", "arrow"):
        with pytest.raises(CodecError, match=mode):
            store.get("text", serialization_mode=mode)
    with pytest.raises(CodecError):
        TableCodec("parquet", dict)
    with pytest.raises(CodecError, match="no lines"):
        store.stream("text", serialization_mode="parquet")
    assert not store.exists("t")


def test_columns_of_one_name_come_back():
    table = pa.table([[1], [2]], names=["a", "a"])
    assert TableCodec("parquet").decode(TableCodec("parquet").encode(table)) == table


def test_what_a_frame_cannot_give_is_refused():
    for frame in (
        pl.DataFrame({"a": [object()]}),  # else addresses in memory would be written
        pl.LazyFrame({"a": [1]}).select("missing"),
    ):
        with pytest.raises(CodecError):
            TableCodec("parquet").encode(frame)


def test_a_csv_that_is_no_text_is_refused():
    with pytest.raises(CodecError, match="not csv"):
        TableCodec("csv", pd.DataFrame).decode(b"\xe9,b\n1,2\n")
