"""Tables and frames: what is selected is read and nothing else, and a lazy frame asks for what its query needs."""

import datetime as dt
import io
import pickle
import threading
from collections.abc import Generator, Iterator
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from anystore import Store, get_store
from anystore.backend import Reader
from anystore.backends.wrap import ReadonlyBackend
from anystore.errors import CodecError, DoesNotExist
from anystore_dagster import BlobRef
from anystore_dagster.values import form_for
from anystore_dagster.values.lazy_frames import find_filters
from tests.anystore_dagster.keeping import KEY, encode, keep, load, round_trip

ROWS = 300_000
TABLE = pa.table({"n": [1, 2, None], "text": ["a", "b", "ü"]})


class CountingReader(Reader):
    """Adds up what is read, and notes who reads."""

    def __init__(self, inner, counts):
        self.inner, self.counts = inner, counts
        self.entry, self.seekable = inner.entry, inner.seekable

    def read(self, start=0, stop=None):
        for piece in self.inner.read(start, stop):
            self.counts["bytes"] += len(piece)
            self.counts["threads"].add(threading.current_thread().name)
            yield piece

    def close(self):
        self.inner.close()


class CountingBackend(ReadonlyBackend):
    def __init__(self, inner):
        super().__init__(inner)
        self.counts = {"bytes": 0, "threads": set()}

    def reader(self, key):
        return CountingReader(super().reader(key), self.counts)


def large_table():
    numbers = np.arange(ROWS)
    noise = np.random.default_rng(0)
    columns = {f"c{number}": noise.random(ROWS) for number in range(8)}
    days = (np.datetime64("2024-01-01") + numbers // 1000).astype("datetime64[D]")
    return pa.table({"n": numbers, "day": pa.array(days), "text": [f"t{n:06}" for n in numbers], **columns})


@pytest.fixture(scope="module")
def counted():
    """Give a table of thirty row groups, in a store that counts."""
    store = get_store("memory://counted-tables")
    sink = io.BytesIO()
    parquet.write_table(large_table(), sink, row_group_size=ROWS // 30)
    keep(sink.getvalue(), bytes, store=store)
    return BlobRef(Store(CountingBackend(store.backend)), KEY)


def spent(source):
    counts = source.store.backend.counts
    read, counts["bytes"] = counts["bytes"], 0
    return read / source.info().size


# -- what is selected --------------------------------------------------------------


@pytest.mark.parametrize("kind", [pa.Table, pd.DataFrame, pl.DataFrame, pl.LazyFrame])
@pytest.mark.parametrize("mode", ["parquet", "arrow", "csv"])
def test_columns_and_rows_are_selected(kind, mode):
    source = keep(TABLE, pa.Table, mode=mode)
    some = load(source, kind, mode=mode, columns=["text"], filters=[("n", ">", 1)])
    assert isinstance(some, kind)
    some = some.collect() if kind is pl.LazyFrame else some
    assert list(some.columns if kind is not pa.Table else some.column_names) == ["text"]
    assert (
        some.to_pylist()
        if kind is pa.Table
        else some.to_dict(orient="records")
        if kind is pd.DataFrame
        else some.to_dicts()
    ) == [{"text": "b"}]


def test_a_frame_of_pandas_keeps_its_index_when_columns_are_selected():
    frame = pd.DataFrame({"a": [1, 2], "b": [3, 4]}, index=pd.Index(["x", "y"], name="which"))
    for annotation in (pd.DataFrame, Any):
        some = load(keep(frame, pd.DataFrame), annotation, columns=["b"])
        pd.testing.assert_frame_equal(some, frame[["b"]])


def test_without_an_annotation_what_is_selected_has_the_kind_that_was_stored():
    assert isinstance(load(keep(pl.from_arrow(TABLE), pl.DataFrame), Any, columns=["n"]), pl.DataFrame)
    assert isinstance(load(keep(TABLE, pa.Table), Any, columns=["n"]), pa.Table)


@pytest.mark.parametrize(
    ("columns", "filters"), [(["absent"], None), ("n", None), ([], None), (None, "n > 1"), (None, [("absent", ">", 1)])]
)
@pytest.mark.parametrize("annotation", [pa.Table, pl.LazyFrame, Any])
def test_a_selection_that_does_not_fit_names_its_metadata(annotation, columns, filters):
    with pytest.raises(CodecError, match=r"anystore/columns.*anystore/filters"):
        load(keep(TABLE, pa.Table), annotation, columns=columns, filters=filters)


def test_no_more_is_read_than_is_selected(counted):
    spent(counted)
    assert load(counted, pa.Table, columns=["n"], filters=[("n", "=", ROWS - 1)]).to_pylist() == [{"n": ROWS - 1}]
    assert spent(counted) < 0.02


# -- what is shown -----------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [TABLE, TABLE.to_pandas(), pl.from_arrow(TABLE), pl.from_arrow(TABLE).lazy()],
    ids=lambda value: type(value).__module__,
)
def test_a_table_tells_its_rows_columns_and_head(value):
    metadata = encode(value, type(value)).metadata
    assert metadata["dagster/row_count"] == 3
    assert [column.name for column in metadata["dagster/column_schema"].columns] == ["n", "text"]
    assert "| `ü` |" in metadata["anystore/preview"].value


def test_bytes_that_are_a_table_tell_it_too():
    data = keep(TABLE, pa.Table).read()
    assert encode(data, bytes).metadata["dagster/row_count"] == 3


# -- lazy frames -------------------------------------------------------------------


def test_a_lazy_frame_reads_the_columns_of_its_query(counted):
    spent(counted)
    lazy = load(counted, pl.LazyFrame)
    assert spent(counted) < 0.05
    assert lazy.select(pl.col("c3").count()).collect().item() == ROWS
    assert 0 < spent(counted) < 0.2


@pytest.mark.parametrize(
    "condition",
    [
        pl.col("n") >= ROWS - 10,
        pl.col("n").is_between(ROWS - 10, ROWS),
        (pl.col("n") > ROWS - 11) & (pl.col("c1") >= 0),
        pl.col("text") >= f"t{ROWS - 10:06}",
        pl.col("n") > ROWS - 11,
    ],
)
def test_a_lazy_frame_leaves_out_row_groups(counted, condition):
    spent(counted)
    rows = load(counted, pl.LazyFrame).filter(condition).select("c1", "n").collect()
    assert rows["n"].to_list() == list(range(ROWS - 10, ROWS))
    assert spent(counted) < 0.03


def test_a_lazy_frame_filters_by_days(counted):
    spent(counted)
    late = load(counted, pl.LazyFrame).filter(pl.col("day") == dt.date(2024, 1, 1)).select(pl.len())
    assert late.collect().item() == 1000
    assert spent(counted) < 0.03


def test_a_lazy_frame_stops_at_the_rows_that_are_wanted(counted):
    spent(counted)
    assert load(counted, pl.LazyFrame).head(5).collect()["n"].to_list() == [0, 1, 2, 3, 4]
    assert spent(counted) < 0.15
    assert load(counted, pl.LazyFrame).filter(pl.col("n") > 10).head(2).collect()["n"].to_list() == [11, 12]


def test_the_store_is_asked_from_threads_of_python(counted):
    counted.store.backend.counts["threads"].clear()
    load(counted, pl.LazyFrame).select(pl.col("n").sum()).collect(engine="streaming")
    asked = {name.partition("_")[0] for name in counted.store.backend.counts["threads"]}
    assert asked <= {"anystore-lazy", "anystore-table", "MainThread"}  # the last one reads the footer


def test_a_lazy_frame_can_be_asked_again_and_joined_with_itself(counted):
    lazy = load(counted, pl.LazyFrame).select("n")
    joined = lazy.join(lazy, on="n").select(pl.len())
    assert joined.collect().item() == joined.collect(engine="streaming").item() == ROWS


def test_an_error_in_a_query_of_a_lazy_frame_is_polars_own():
    lazy = load(keep(TABLE, pa.Table), pl.LazyFrame)
    with pytest.raises(pl.exceptions.ColumnNotFoundError):
        lazy.select("absent").collect()


@pytest.mark.parametrize("engine", ["in-memory", "streaming"])
def test_a_lazy_frame_whose_value_is_gone_says_so(engine):
    source = keep(TABLE, pa.Table, store=get_store("memory://gone"))
    lazy = load(source, pl.LazyFrame)
    source.store.delete(source.key)
    with pytest.raises(DoesNotExist, match=KEY):
        lazy.select(pl.col("n").sum()).collect(engine=engine)


def test_a_lazy_frame_travels_to_other_processes(tmp_path):
    lazy = load(keep(TABLE, pa.Table, store=get_store(str(tmp_path))), pl.LazyFrame)
    assert pickle.loads(pickle.dumps(lazy)).collect()["text"].to_list() == ["a", "b", "ü"]


@pytest.mark.parametrize("frame", [TABLE, TABLE.slice(0, 0), pa.table({"d": pa.array(["x", "y"]).dictionary_encode()})])
def test_a_lazy_frame_is_the_frame_it_was(frame):
    source = keep(frame, pa.Table)
    assert load(source, pl.LazyFrame).collect().equals(load(source, pl.DataFrame))
    assert load(source, pl.LazyFrame).collect_schema() == load(source, pl.DataFrame).schema


def test_a_lazy_frame_that_fails_stores_nothing(tmp_path):
    lazy = pl.LazyFrame({"n": ["x"]}).select(pl.col("n").cast(pl.Int64))
    with pytest.raises(CodecError, match="computed"):
        form_for(pl.LazyFrame).encode(lazy, tmp_path)
    assert list(tmp_path.iterdir()) == []


NUMBERS = [None, 0, 1, 2, 3, -1, 2**40]
FLOATS = [None, float("nan"), 0.0, -0.0, 1.5, float("inf"), -1.0]
FRAME = pl.DataFrame(
    {
        "n": NUMBERS,
        "small": pl.Series([None, 1, 2, 3, 4, 5, 6], dtype=pl.UInt8),
        "f": FLOATS,
        "s": [None, "", "a", "ä", "b", "B", "\U0001f600"],
        "b": [None, True, False, True, False, None, True],
        "d": [None, *(dt.date(2024, 1, day) for day in range(1, 7))],
        "t": [None, *(dt.datetime(2024, 1, day, tzinfo=dt.UTC) for day in range(1, 7))],
        "c": pl.Series([None, "x", "y", "x", "y", "x", "y"], dtype=pl.Categorical),
    }
)
LITERALS = {
    "n": [0, 1, 2, 2.5, -1],
    "small": [0, 3, 6, 300, -1],
    "f": [0.0, 1, 1.5, float("nan"), float("inf")],
    "s": ["", "a", "b", "zz"],
    "b": [True, False],
    "d": [dt.date(2024, 1, 3), dt.datetime(2024, 1, 3, 12)],  # noqa: DTZ001 - as days are compared
    "t": [dt.datetime(2024, 1, 3, tzinfo=dt.UTC)],
    "c": ["x", "y", "z"],
}
OPERATORS = ["__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__", "eq_missing"]


@st.composite
def predicates(draw):
    name = draw(st.sampled_from(sorted(LITERALS)))
    literal = draw(st.sampled_from(LITERALS[name]))
    simple = getattr(pl.col(name), draw(st.sampled_from(OPERATORS)))(literal)
    match draw(st.sampled_from(["simple", "and", "or", "not", "null", "in", "between"])):
        case "and":
            return simple & draw(predicates())
        case "or":
            return simple | draw(predicates())
        case "not":
            return ~simple
        case "null":
            return pl.col(name).is_null() & simple
        case "in":
            return pl.col(name).is_in([literal])
        case "between":
            return pl.col(name).is_between(literal, literal)
    return simple


@pytest.fixture(scope="module")
def kept_frame():
    source = keep(FRAME, pl.DataFrame, store=get_store("memory://predicates"))
    return load(source, pl.LazyFrame)


def rows_of(frame, predicate):
    try:
        return frame.lazy().filter(predicate).collect().rows()
    except pl.exceptions.PolarsError:
        return None  # such as text beside a number


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize(("name", "literal"), [(name, literal) for name in LITERALS for literal in LITERALS[name]])
def test_each_comparison_leaves_the_rows_that_polars_would(kept_frame, name, literal, operator):
    predicate = getattr(pl.col(name), operator)(literal)
    assert str(rows_of(kept_frame, predicate)) == str(rows_of(FRAME, predicate))


@given(predicate=predicates())
def test_a_filter_leaves_the_rows_that_polars_would(kept_frame, predicate):
    assert str(rows_of(kept_frame, predicate)) == str(rows_of(FRAME, predicate))  # NaN equals itself as text


def test_what_is_not_understood_alike_is_left_to_polars():
    schema = FRAME.schema
    one = pl.lit(1, pl.Int64)
    assert find_filters(pl.col("n") > one, schema) == [("n", ">", 1)]
    assert find_filters((pl.col("n") > one) & (pl.col("f") > pl.lit(1.0, pl.Float64)), schema) == [("n", ">", 1)]
    assert find_filters((pl.col("n") > one) | (pl.col("n") < one), schema) == []
    assert find_filters(pl.col("f") > pl.lit(1.0, pl.Float64), schema) == []
    assert find_filters(pl.col("f") > one, schema) == []
    assert find_filters(pl.col("absent") > one, schema) == []
    assert find_filters(pl.col("n").map_elements(bool, return_dtype=pl.Boolean), schema) == []


# -- arrays ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6).reshape(2, 3),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.array([]),
        np.array(5),
        np.array(["a", "ü"]),
        np.array([b"x"]),
        np.array(["2024-01-01", "NaT"], dtype="datetime64[D]"),
        np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
        np.zeros((1 << 18, 3)),
        np.array([np.nan, np.inf]),
        np.array([True, False]),
        np.arange(10)[::-2],
    ],
    ids=lambda array: f"{array.dtype}-{array.shape}",
)
def test_an_array_comes_back_as_it_was(array):
    for annotation in (np.ndarray, np.ndarray | None):
        loaded = round_trip(array, annotation)
        assert loaded.dtype == array.dtype
        assert loaded.shape == array.shape
        np.testing.assert_array_equal(loaded, array)
    np.testing.assert_array_equal(round_trip(array, Any), array)


@pytest.mark.parametrize(
    "scalar", [np.float64(1.5), np.int8(-1), np.bool_(1), np.datetime64("2024-01-01"), np.complex64(1j), np.str_("x")]
)
def test_a_scalar_comes_back_as_it_was(scalar):
    for annotation in (type(scalar), Any):
        loaded = round_trip(scalar, annotation)
        assert (type(loaded), loaded) == (type(scalar), scalar)


@pytest.mark.parametrize(
    ("annotation", "value", "hint"),
    [
        (np.ndarray, np.array([object()]), "array.astype"),
        (np.ndarray, np.array([(1, None)], dtype=[("a", "i4"), ("b", "O")]), "array.astype"),
        (np.ndarray, np.ma.masked_array([1, 2], [True, False]), "numpy.asarray"),
        (np.ndarray, [1, 2], "-> list"),
        (np.float64, 1.5, "-> float"),
        (np.float64, np.float32(1.5), "-> numpy.float32"),
        (list, np.array([1]), "-> numpy.ndarray"),
        (dict, np.float64(1), "-> numpy.float64"),
        (bytes, np.array([1]), "-> numpy.ndarray"),
        (np.ndarray, None, "T | None"),
    ],
)
def test_an_array_that_does_not_fit_says_what_to_write(annotation, value, hint):
    with pytest.raises(CodecError) as caught:
        encode(value, annotation)
    assert hint in str(caught.value)


class Evil:
    def __reduce__(self):
        return exec, ("raise SystemExit('a pickle ran')",)


def test_a_pickle_in_an_array_never_runs(tmp_path):
    np.save(tmp_path / "evil.npy", np.array([Evil()], dtype=object), allow_pickle=True)
    source = keep((tmp_path / "evil.npy").read_bytes(), bytes)
    for annotation in (np.ndarray, Any, np.float64):
        with pytest.raises(CodecError, match="no array"):
            load(source, annotation)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"text",
        b"\x93NUMPY",
        b"\x93NUMPY\x01\x00",
        b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, 'shape': (10000000000000,), }"
        + b" " * 49
        + b"\n",
        b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, 'shape': (3,), }"
        + b" " * 62
        + b"\n"
        + bytes(8),
    ],
)
def test_what_is_no_array_is_refused(data):
    with pytest.raises(CodecError, match="no array"):
        load(keep(data, bytes), np.ndarray)


def test_another_scalar_than_is_annotated_is_refused():
    with pytest.raises(CodecError, match=r"numpy\.int8 is annotated"):
        load(keep(np.float64(1), np.float64), np.int8)


@pytest.mark.parametrize("annotation", [list[np.ndarray], dict[str, pa.Table], list[pl.DataFrame]])
def test_tables_and_arrays_in_brackets_are_no_value(annotation):
    with pytest.raises(CodecError, match="partition"):
        form_for(annotation)


@pytest.mark.parametrize("annotation", [Iterator, Iterator[bytes], BinaryIO, io.BytesIO, Generator[int, None, None]])
def test_what_gives_its_items_once_says_what_to_write(annotation):
    for kind in (annotation, annotation | None):
        with pytest.raises(CodecError, match="ByteStream for bytes, or RecordStream for rows"):
            form_for(kind)


@pytest.mark.parametrize("annotation", [pa.RecordBatch, pa.RecordBatchReader, pd.Series, pl.Series, pl.Expr])
def test_a_part_of_a_table_says_what_to_write(annotation):
    with pytest.raises(CodecError, match="RecordStream"):
        form_for(annotation)
