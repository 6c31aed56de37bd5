"""Tables in and out, as Parquet, Arrow and CSV."""

import datetime
import decimal
import random

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from pyarrow import parquet

from anystore import get_store
from anystore.errors import CodecError, InvalidOption
from anystore.keys import parse_key
from anystore.tables import TableCodec, is_table, read_parquet_header

UTC = datetime.UTC


def awkward_table():
    """One column of each type that a format may forget."""
    columns = {
        "int": pa.array([1, None, 3], pa.int32()),
        "unsigned": pa.array([1, 2, 2**64 - 1], pa.uint64()),
        "half": pa.array([1, 2, None], pa.float16()),
        "bool": pa.array([True, None, False]),
        "text": pa.array(["a", None, "ü\n"]),
        "large_text": pa.array(["a", None, ""], pa.large_string()),
        "text_view": pa.array(["a", None, "b"], pa.string_view()),
        "bytes": pa.array([b"\xff", None, b""]),
        "fixed": pa.array([b"12", None, b"34"], pa.binary(2)),
        "category": pa.array(["a", None, "ü"]).dictionary_encode(),
        "ordered": pa.DictionaryArray.from_arrays(pa.array([0, 1, None], pa.int8()), ["x", "y"], ordered=True),
        "numbers": pa.DictionaryArray.from_arrays(pa.array([0, 1, 0], pa.int8()), pa.array([10, 20])),
        "seconds": pa.array([1, None, 3], pa.timestamp("s", "UTC")),
        "nanoseconds": pa.array([1, None, 3], pa.timestamp("ns", "Europe/Berlin")),
        "naive": pa.array([1, None, 3], pa.timestamp("us")),
        "date": pa.array([1, None, 3], pa.date32()),
        "date64": pa.array([0, None, 86_400_000], pa.date64()),
        "time": pa.array([1, None, 3], pa.time32("s")),
        "duration": pa.array([1, None, 3], pa.duration("s")),
        "decimal": pa.array([decimal.Decimal("1.20"), None, 3], pa.decimal128(10, 2)),
        "large_decimal": pa.array([1, None, 3], pa.decimal256(50, 2)),
        "list": pa.array([["a"], None, []], pa.list_(pa.string())),
        "large_list": pa.array([[1], None, []], pa.large_list(pa.int8())),
        "fixed_list": pa.array([[1, 2], None, [3, 4]], pa.list_(pa.int8(), 2)),
        "list_of_times": pa.array([[1], None, []], pa.list_(pa.timestamp("s"))),
        "list_of_categories": pa.array([["a"], None, []], pa.list_(pa.dictionary(pa.int32(), pa.string()))),
        "struct": pa.array([{"x": 1, "y": "q"}, None, {"x": None, "y": None}]),
        "map": pa.array([[("k", 1)], None, []], pa.map_(pa.string(), pa.int32())),
        "nothing": pa.nulls(3),
    }
    table = pa.table(columns)
    fields = [field.with_metadata({"unit": "mm"}) if field.name == "int" else field for field in table.schema]
    fields = [field.with_nullable(False) if field.name == "unsigned" else field for field in fields]
    return table.cast(pa.schema(fields, metadata={"origin": "test"}))


AWKWARD = awkward_table()


@pytest.fixture
def store(tmp_path):
    return get_store(tmp_path / "tables")


@pytest.mark.parametrize("mode", ["parquet", "arrow"])
def test_a_table_survives_with_schema_and_metadata(store, mode):
    store.put("t", AWKWARD, serialization_mode=mode)
    back = store.get("t", serialization_mode=mode)
    back.validate(full=True)
    assert back.schema.equals(AWKWARD.schema, check_metadata=True)
    assert back.to_pylist() == AWKWARD.to_pylist()
    streamed = list(store.stream("t", serialization_mode=mode))
    assert all(batch.schema.equals(AWKWARD.schema, check_metadata=True) for batch in streamed)
    assert pa.Table.from_batches(streamed).to_pylist() == AWKWARD.to_pylist()


@pytest.mark.parametrize("mode", ["parquet", "arrow"])
def test_a_table_without_rows_keeps_its_schema(store, mode):
    for table in (AWKWARD.schema.empty_table(), pa.table({})):
        store.put("t", table, serialization_mode=mode)
        back = store.get("t", serialization_mode=mode)
        assert back.schema.equals(table.schema, check_metadata=True)
        assert back.num_rows == 0
        assert list(store.stream("t", serialization_mode=mode)) == []


def test_what_a_format_cannot_hold_is_refused_and_nothing_stored(store):
    union = pa.UnionArray.from_dense(pa.array([0], pa.int8()), pa.array([0], pa.int32()), [pa.array([1])])
    cases = [("parquet", union), *(("csv", AWKWARD[name]) for name in ("bytes", "fixed", "list", "struct", "map"))]
    for mode, column in cases:
        with pytest.raises(CodecError, match=f"cannot write 't'.*{mode}"):
            store.put("t", pa.table({"column": column}), serialization_mode=mode)
    with pytest.raises(CodecError, match="no columns"):
        store.put("t", pa.table({}), serialization_mode="csv")
    assert not store.exists("t")


def test_an_arrow_file_holds_unions(store):
    union = pa.UnionArray.from_dense(
        pa.array([0, 1], pa.int8()), pa.array([0, 0], pa.int32()), [pa.array([1]), pa.array(["x"])]
    )
    table = pa.table({"a": union})
    store.put("t", table, serialization_mode="arrow")
    assert store.get("t", serialization_mode="arrow").to_pylist() == table.to_pylist()


def test_other_libraries(store):
    relation = duckdb.sql("select range as a, 'text' as b from range(10)")
    store.put("t", relation)
    assert store.get("t", model=pa.Table).to_pydict() == {"a": list(range(10)), "b": ["text"] * 10}


def test_pandas(store):
    frame = pd.DataFrame({"a": [1, 2]}, index=pd.Index(["x", "y"], name="key"))
    store.put("pandas", frame, serialization_mode="parquet")
    pd.testing.assert_frame_equal(store.get("pandas", model=pd.DataFrame), frame)


@pytest.mark.parametrize("mode", ["parquet", "arrow"])
def test_a_pandas_frame_keeps_its_types_and_index(store, mode):
    frame = pd.DataFrame(
        {
            "category": pd.Categorical(["a", "b"], categories=["b", "a", "z"], ordered=True),
            "number": pd.Categorical([10, 20]),
            "time": pd.date_range("2020", periods=2, tz="Europe/Berlin"),
            "nullable": pd.array([1, None], dtype="Int64"),
            "period": pd.period_range("2020", periods=2),
        },
        index=pd.MultiIndex.from_tuples([("x", 1), ("y", 2)], names=["p", "q"]),
    )
    store.put("t", frame, serialization_mode=mode)
    pd.testing.assert_frame_equal(store.get("t", serialization_mode=mode, model=pd.DataFrame), frame)
    part = store.get("t", serialization_mode=mode, model=pd.DataFrame, columns=["time"])
    pd.testing.assert_frame_equal(part, frame[["time"]])
    with pytest.raises(CodecError, match="Duplicate column names"):
        store.put("t", pd.DataFrame([[1, 2]], columns=["a", "a"]), serialization_mode=mode)


@pytest.mark.parametrize("mode", ["parquet", "arrow"])
def test_polars(store, mode):
    schema = {"a": pl.Categorical, "b": pl.Enum(["x", "y", "z"]), "c": pl.List(pl.Categorical), "d": pl.Decimal(10, 2)}
    frame = pl.DataFrame({"a": ["a", None], "b": ["x", "z"], "c": [["a"], []], "d": ["1.20", None]}, schema=schema)
    store.put("polars", frame, serialization_mode=mode)
    back = store.get("polars", model=pl.DataFrame, serialization_mode=mode)
    assert back.schema == frame.schema
    assert back.equals(frame)
    assert next(store.stream("polars", model=pl.DataFrame, serialization_mode=mode)).equals(frame)
    lazy = store.get("polars", model=pl.LazyFrame, serialization_mode=mode)
    assert isinstance(lazy, pl.LazyFrame)
    store.put("lazy", lazy.filter(pl.col("b") == "z"), serialization_mode=mode)
    assert store.get("lazy", model=pl.DataFrame, serialization_mode=mode).equals(frame[1:])
    store.put("lazy", lazy.filter(pl.col("b") == "y"), serialization_mode=mode)
    assert store.get("lazy", model=pl.DataFrame, serialization_mode=mode).equals(frame[:0])


def test_what_a_frame_cannot_give_is_refused(store):
    for frame in (
        pl.DataFrame({"a": [object()]}),  # else addresses in memory would be written
        pl.LazyFrame({"a": [object()]}, schema={"a": pl.Object}),
        pl.LazyFrame({"a": [1]}).select("missing"),
        pl.LazyFrame({"a": ["x"]}).select(pl.col("a").cast(pl.Int64)),
        pl.Series([1]),
        pd.Series([1]),
        pa.chunked_array([[1]]),
    ):
        with pytest.raises(CodecError):
            store.put("t", frame, serialization_mode="parquet")
        with pytest.raises(CodecError):
            store.put("t", frame)
    assert not store.exists("t")


def test_what_a_frame_cannot_hold_is_refused(store):
    store.put("twice", pa.table([[1], [2]], names=["a", "a"]))
    with pytest.raises(CodecError, match=r"cannot read 'twice'.*polars\.DataFrame"):
        store.get("twice", model=pl.DataFrame)


def test_what_is_no_table_is_refused(store):
    for value in ([1], "text", b"bytes", {"a": [1]}, None, object(), iter([1])):
        with pytest.raises(CodecError, match="table"):
            store.put("t", value, serialization_mode="parquet")
    store.put("text", "hello")
    for mode in ("parquet", "arrow"):
        for read in (store.get, store.stream):
            with pytest.raises(CodecError, match=f"'text' in {store.uri}.*{mode}"):
                read("text", serialization_mode=mode)
    for wrong in (dict, pd.Series, "polars.DataFrame"):
        with pytest.raises(CodecError):
            TableCodec("parquet", wrong)
    assert not store.exists("t")


@pytest.mark.parametrize("mode", ["parquet", "arrow"])
def test_a_damaged_file_is_told_with_its_key(store, mode):
    table = pa.table({"a": list(range(100_000)), "b": [f"value {number}" for number in range(100_000)]})
    store.put("t", table, serialization_mode=mode)
    data = store.get("t", serialization_mode="raw")
    middle = len(data) // 3
    damaged = {"cut": data[:middle], "headless": data[middle:], "empty": b""}
    if mode == "parquet":  # an Arrow file has no checksums, and its bytes are values
        damaged["spoilt"] = (
            data[:middle] + bytes(byte ^ 0xFF for byte in data[middle : middle + 4096]) + data[middle + 4096 :]
        )
    for name, spoilt in damaged.items():
        store.put(name, spoilt, serialization_mode="raw")
        for read in (
            lambda name: store.get(name, serialization_mode=mode),
            lambda name: store.get(name, serialization_mode=mode, columns=["a", "b"]),
            lambda name: list(store.stream(name, serialization_mode=mode)),
        ):
            with pytest.raises(CodecError, match=f"'{name}' in {store.uri}.*{mode}"):
                read(name)


@pytest.mark.parametrize("mode", ["parquet", "arrow"])
def test_a_spoilt_file_never_ends_the_process(store, mode):
    data = TableCodec(mode).encode(pa.concat_tables([AWKWARD] * 20))
    chance = random.Random(0)
    refused = []
    for _ in range(100):
        spoilt = bytearray(data)
        for _ in range(chance.choice([1, 3, 20])):
            spoilt[chance.randrange(len(data))] = chance.randrange(256)
        store.put("t", bytes(spoilt), serialization_mode="raw")
        for read in (
            lambda: store.get("t", serialization_mode=mode),
            lambda: store.get("t", serialization_mode=mode, columns=["text", "list"], filters=[("int", ">", 1)]),
            lambda: pa.Table.from_batches(store.stream("t", serialization_mode=mode), AWKWARD.schema),
        ):
            try:
                read().validate(full=True)
            except (CodecError, InvalidOption) as error:
                refused.append(str(error))
            except pa.ArrowInvalid:  # the file has another schema now
                pass
    assert refused
    assert all(f"'t' in {store.uri}" in message for message in refused)


def test_columns_of_one_name_come_back(store):
    table = pa.table([[1], [2], [3]], names=["a", "a", "c"])
    for mode in ("parquet", "arrow", "csv"):
        store.put("t", table, serialization_mode=mode)
        assert store.get("t", serialization_mode=mode) == table
        assert store.get("t", serialization_mode=mode, columns=["c", "a"]) == table.select([2, 0, 1])
        assert store.get("t", serialization_mode=mode, filters=[("c", "=", 3)]) == table
        with pytest.raises(InvalidOption, match="'a', 'a', 'c'"):
            store.get("t", serialization_mode=mode, filters=[("a", "=", 3)])


def test_files_of_others_are_read(store, tmp_path):
    table = pa.table({"a": [1, 2], "b": ["x", None]})
    frame = pl.from_arrow(table)
    frame.write_parquet(tmp_path / "polars.parquet")
    frame.write_ipc(tmp_path / "polars.arrow")
    pd.DataFrame({"a": [1, 2]}).to_parquet(tmp_path / "pandas.parquet")
    parquet.write_table(table, tmp_path / "plain.parquet", store_schema=False, version="1.0", data_page_version="2.0")
    files = get_store(tmp_path)
    for key, mode in (("polars.parquet", "parquet"), ("polars.arrow", "arrow"), ("plain.parquet", "parquet")):
        assert files.get(key, model=pl.DataFrame, serialization_mode=mode).equals(frame)
    assert files.get("pandas.parquet", model=pd.DataFrame)["a"].tolist() == [1, 2]
    files.put("ours", table)
    assert pl.read_parquet(tmp_path / "ours").equals(frame)
    assert pd.read_parquet(tmp_path / "ours").shape == (2, 2)


def test_the_header_of_a_parquet_file(tmp_path):
    data = TableCodec("parquet").encode(AWKWARD)
    (tmp_path / "file").write_bytes(data)
    (tmp_path / "broken").write_bytes(b"PAR1")
    for content, broken in ((data, b"PAR1"), (tmp_path / "file", tmp_path / "broken")):
        rows, schema = read_parquet_header(content)
        assert (rows, schema.names) == (3, AWKWARD.schema.names)
        with pytest.raises(CodecError, match="parquet"):
            read_parquet_header(broken)


@pytest.mark.parametrize("mode", ["parquet", "arrow", "csv"])
def test_the_schema_of_what_is_wanted_is_read_without_rows(mode):
    store = get_store("memory://schemas", serialization_mode=mode)
    store.put("table", pa.table({"a": [1], "b": ["x"]}))
    codec = TableCodec(mode, columns=["b"])
    with store.backend.reader(parse_key("table")) as reader:
        assert codec.read_schema(reader) == pa.schema([("b", pa.string())])
        assert TableCodec(mode).read_schema(reader).names == ["a", "b"]
        with pytest.raises(InvalidOption, match="no column"):
            codec.selecting(["absent"], None).read_schema(reader)


def test_what_is_a_table():
    table = pa.table({"a": [1]})
    tables = [table, table.to_batches()[0], table.to_reader(), pl.DataFrame(), pl.LazyFrame(), pd.DataFrame()]
    assert all(map(is_table, tables))
    assert not any(map(is_table, [pl.Series(), pd.Series(), table["a"], [table], None, "a"]))


# -- csv --------------------------------------------------------------------


def csv_round_trip(store, table):
    store.put("t.csv", table, serialization_mode="csv")
    back = store.get("t.csv", serialization_mode="csv")
    streamed = pa.Table.from_batches(store.stream("t.csv", serialization_mode="csv"), back.schema)
    assert streamed.equals(back)
    return back


@pytest.mark.parametrize(
    "columns",
    [
        {"a": [1, 2], "b": ["x", "y"]},
        {"a": [1, None]},  # a row of nothing but a null is an empty line
        {"a": [None, 1], "b": [None, "x"]},
        {"a": ["", None, "x\ny", 'q"q', "a,b", "\r\n", " x ", "ü"]},
        {"a": ["NA", "null", "nan", None], "b": [1.5, None, 2.0, 3.0], "c": [True, False, None, True]},
        {"a": ["007", "012"]},  # else 7 and 12
        {"a": ["12345678901234567890", "1"]},  # else 1.2345678901234567e19
        {"a,b": [1], 'q"': [2], "x\ny": [3]},
        {"a": [datetime.date(2024, 5, 1)]},
    ],
    ids=str,
)
def test_csv_gives_back_what_it_tells(store, columns):
    table = pa.table(columns)
    assert csv_round_trip(store, table).equals(table)


def test_csv_with_a_schema_gives_back_every_plain_type(store):
    table = AWKWARD.select(
        ["int", "unsigned", "bool", "text", "large_text", "category", "nanoseconds", "naive", "date"]
    )
    table = table.append_column("decimal", AWKWARD["decimal"]).append_column("digits", [["1", "2", "3"]])
    store.put("t", table, serialization_mode="csv")
    codec = TableCodec("csv", schema=table.schema)
    assert store.get("t", serialization_mode=codec).to_pylist() == table.to_pylist()
    assert store.get("t", serialization_mode=codec).schema.types == table.schema.types
    assert next(store.stream("t", serialization_mode=codec)).schema.types == table.schema.types
    assert store.get("t", serialization_mode=codec, columns=["digits"]).to_pydict() == {"digits": ["1", "2", "3"]}
    with pytest.raises(CodecError, match="no column 'z'"):
        store.get("t", serialization_mode=TableCodec("csv", schema=pa.schema([("z", pa.string())])))
    with pytest.raises(InvalidOption, match="csv"):
        TableCodec("parquet", schema=table.schema)


def test_values_in_later_lines_that_are_not_of_the_guessed_type_are_told(store):
    lines = b"a,b\n" + b"1,2\n" * 500_000 + b"x,2\n"
    store.put("t.csv", lines, serialization_mode="raw")
    with pytest.raises(CodecError, match=r"'t.csv' in .*schema="):
        list(store.stream("t.csv", serialization_mode="csv"))
    codec = TableCodec("csv", schema=pa.schema([("a", pa.string())]))
    assert sum(batch.num_rows for batch in store.stream("t.csv", serialization_mode=codec)) == 500_001
    assert store.get("t.csv", serialization_mode="csv").schema.types == [pa.string(), pa.int64()]


@pytest.mark.parametrize("data", [b"", b"a,b\n1\n", b"\xff\xfe"])
def test_what_is_no_csv_is_refused(store, data):
    store.put("t", data, serialization_mode="raw")
    for read in (store.get, lambda key, **how: list(store.stream(key, **how))):
        with pytest.raises(CodecError, match=r"'t' in .*not csv"):
            read("t", serialization_mode="csv")


def test_a_csv_whose_names_are_no_text_is_refused():
    with pytest.raises(CodecError, match="not csv"):
        TableCodec("csv", pd.DataFrame).decode(b"\xe9,b\n1,2\n")
