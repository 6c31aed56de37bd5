"""Bytes and rows of any size: whole or not at all, each as often as it can be read, and nothing in between."""

import io
import pickle
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from anystore import get_store
from anystore.errors import CodecError, DoesNotExist
from anystore_dagster import BlobRef, ByteStream, RecordStream
from anystore_dagster.values import form_for
from tests.anystore_dagster.keeping import KEY, encode, keep, load, round_trip

ROWS = pa.table({"n": [1, 2, 3], "text": ["a", "b", None]})


class BrokenError(Exception):
    pass


def broken(*items):
    yield from items
    raise BrokenError


# -- bytes -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda: [b"ab", b"", b"c"],
        lambda: (piece for piece in (b"a", bytearray(b"b"), memoryview(b"c"))),
        lambda: io.BytesIO(b"abc"),
        lambda: b"abc",
    ],
    ids=["list", "generator", "file", "bytes"],
)
def test_chunks_become_one_value(make):
    source = keep(ByteStream(make()), ByteStream)
    assert source.read() == b"abc"
    stream = load(source, ByteStream)
    assert stream.read() == b"abc"
    assert b"".join(stream) == b"abc"  # once more, from the start
    with stream.open() as file:
        file.seek(1)
        assert file.read() == b"bc"


def test_a_long_stream_lies_in_a_file_until_it_is_stored(tmp_path):
    encoded = form_for(ByteStream).encode(ByteStream(bytes([number]) * 100_000 for number in range(200)), tmp_path)
    assert isinstance(encoded.data, Path)
    assert encoded.data.parent == tmp_path
    assert encoded.data.stat().st_size == 20_000_000
    assert encoded.data.stat().st_mode & 0o077 == 0


def test_a_generator_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(BrokenError):
        form_for(ByteStream).encode(ByteStream(broken(b"x" * (5 << 20))), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_stored_stream_is_handed_on_as_what_it_is():
    stream = load(keep(b"abc", bytes), ByteStream)
    next(iter(stream))  # whoever has looked into it still hands on all of it
    assert isinstance(encode(stream, ByteStream).data, BlobRef)
    assert round_trip(stream, ByteStream, bytes) == b"abc"


@pytest.mark.parametrize("make", [lambda: iter([b"a"]), lambda: io.BytesIO(b"a")])
def test_what_gives_its_chunks_once_is_not_stored_empty(make):
    stream = ByteStream(make())
    assert list(stream) == [b"a"]
    with pytest.raises(CodecError, match="read before"):
        encode(stream, ByteStream)


@pytest.mark.parametrize("source", [1, "text", Path("x"), None, {"a": 1}.keys, object()])
def test_what_is_no_stream_is_refused_at_once(source):
    with pytest.raises(CodecError, match="iterable of bytes"):
        ByteStream(source)


@pytest.mark.parametrize(("source", "hint"), [([b"a", "b"], "encode"), ([1], "not bytes"), (io.StringIO("a"), "'rb'")])
def test_a_chunk_that_is_no_bytes_is_refused(source, hint):
    with pytest.raises(CodecError, match=hint):
        encode(ByteStream(source), ByteStream)


def test_a_stream_can_be_opened_before_it_is_stored():
    with io.TextIOWrapper(ByteStream([b"a\nb", b"\nc"]).open()) as lines:
        assert list(lines) == ["a\n", "b\n", "c"]


@pytest.mark.parametrize("annotation", [ByteStream, RecordStream, BlobRef])
def test_a_missing_value_is_told_when_it_is_loaded(annotation):
    with pytest.raises(DoesNotExist):
        load(BlobRef(get_store("memory://nothing-here"), KEY), annotation)


def test_a_stream_of_a_store_travels_to_other_processes(tmp_path):
    source = keep(b"abc", bytes, store=get_store(str(tmp_path)))
    assert pickle.loads(pickle.dumps(load(source, ByteStream))).read() == b"abc"


# -- rows ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda: ROWS.to_batches(max_chunksize=1),
        lambda: (batch for batch in ROWS.to_batches(max_chunksize=1)),
        lambda: [ROWS.slice(0, 1), ROWS.slice(1)],
        lambda: ROWS,
        ROWS.to_reader,
        lambda: pl.from_arrow(ROWS).lazy(),
        lambda: (frame for frame in [pl.from_arrow(ROWS)]),
    ],
    ids=["batches", "generator", "tables", "table", "reader", "lazy", "frames"],
)
def test_batches_become_one_table(make):
    source = keep(RecordStream(make()), RecordStream)
    stream = load(source, RecordStream)
    assert stream.schema.names == ["n", "text"]
    assert all(isinstance(batch, pa.RecordBatch) for batch in stream)
    assert stream.to_table().to_pylist() == ROWS.to_pylist()
    assert load(source, pa.Table).to_pylist() == ROWS.to_pylist()
    assert load(source, pd.DataFrame)["n"].to_list() == [1, 2, 3]


def test_each_batch_is_cast_to_the_schema():
    schema = pa.schema([("n", pa.int32()), ("text", pa.string())])
    frames = [pd.DataFrame({"text": ["a"], "n": [1], "more": [0]}), pd.DataFrame({"n": [2.0], "text": ["b"]})]
    table = load(keep(RecordStream(frames, schema=schema), RecordStream), RecordStream).to_table()
    assert table.equals(pa.table({"n": [1, 2], "text": ["a", "b"]}, schema=schema))


def test_a_schema_tells_the_columns_of_no_batches():
    stream = load(keep(RecordStream([], schema=ROWS.schema), RecordStream), RecordStream)
    assert stream.to_table().equals(ROWS.slice(0, 0))
    assert list(stream) == []


@pytest.mark.parametrize(
    ("batches", "schema", "hint"),
    [
        ([], None, "no record batch"),
        ([1], None, "no table"),
        ([1], ROWS.schema, "no table"),
        ([ROWS, ROWS.rename_columns(["n", "other"])], None, "other columns"),
        ([pa.table({"n": ["x"], "text": ["a"]})], pa.schema([("n", pa.int64())]), "batch 1"),
        ([pa.table({"n": [1]})], ROWS.schema, "batch 1"),
        ([ROWS], {"n": int}, "pyarrow.Schema"),
    ],
)
def test_batches_that_do_not_fit_are_refused(batches, schema, hint):
    with pytest.raises(CodecError, match=hint):
        encode(RecordStream(batches, schema=schema), RecordStream)


@pytest.mark.parametrize("source", [1, "text", b"bytes", {"n": [1]}, None])
def test_what_is_no_table_is_refused_at_once(source):
    with pytest.raises(CodecError, match="RecordStream takes"):
        RecordStream(source)


def test_batches_of_a_generator_that_fails_leave_nothing(tmp_path):
    noise = pa.table({"n": [bytes(1 << 20)] * 40})
    with pytest.raises(BrokenError):
        form_for(RecordStream).encode(RecordStream(broken(noise, noise)), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_asking_for_the_columns_first_loses_no_batch():
    stream = RecordStream(iter(ROWS.to_batches(max_chunksize=1)))
    assert stream.schema == ROWS.schema
    assert load(keep(stream, RecordStream), RecordStream).to_table().equals(ROWS)
    with pytest.raises(CodecError, match="read before"):
        encode(stream, RecordStream)


def test_only_what_is_selected_is_given():
    stream = load(keep(ROWS, pa.Table), RecordStream, columns=["text"], filters=[("n", ">", 1)])
    assert stream.schema.names == ["text"]
    assert stream.to_table().to_pylist() == [{"text": "b"}, {"text": None}]


@pytest.mark.parametrize("mode", ["parquet", "arrow", "csv"])
def test_rows_stream_in_every_format(mode):
    source = keep(RecordStream(ROWS.to_batches()), RecordStream, mode=mode)
    assert load(source, RecordStream, mode=mode).to_table()["n"].to_pylist() == [1, 2, 3]


# -- both ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("annotation", "value", "hint"),
    [
        (ByteStream, b"bytes", r"return ByteStream\("),
        (ByteStream, iter([b"a"]), r"return ByteStream\("),
        (RecordStream, iter([ROWS]), r"return RecordStream\("),
        (RecordStream, ROWS, r"return RecordStream\("),
        (bytes, iter([b"a"]), "-> ByteStream"),
        (bytes, ByteStream([b"a"]), "-> ByteStream"),
        (pa.Table, RecordStream([ROWS]), "-> RecordStream"),
        (pa.Table, iter([ROWS]), "-> RecordStream"),
        (pa.Table, ROWS.to_batches()[0], "RecordStream"),
        (Any, io.BytesIO(b"a"), "-> ByteStream"),
        (Any, (b"a" for _ in "a"), "-> ByteStream"),
        (dict, io.BytesIO(b"a"), "-> ByteStream"),
    ],
)
def test_a_value_that_is_no_stream_or_is_one_says_what_to_write(annotation, value, hint):
    with pytest.raises(CodecError, match=hint):
        encode(value, annotation)


@pytest.mark.parametrize("annotation", [ByteStream, RecordStream, BlobRef, str, dict, Path])
def test_nothing_is_selected_where_there_are_no_columns(annotation):
    source = keep(ROWS, pa.Table) if annotation is RecordStream else keep(b"{}", bytes)
    with pytest.raises(CodecError, match="anystore/columns"):
        load(source, annotation, columns=["x"])


def test_without_an_annotation_a_stream_is_stored_as_what_it_is():
    assert round_trip(ByteStream([b"\xff", b"a"]), Any) == b"\xffa"
    assert round_trip(RecordStream([ROWS]), Any).equals(ROWS)


@pytest.mark.parametrize("value", [b"null", b"null\0", b"null\0\0", b"", b"nullx", b"x" * (3 << 20), None])
def test_a_stream_beside_none_keeps_its_bytes(value):
    loaded = round_trip(None if value is None else ByteStream([value]), ByteStream | None)
    assert (loaded if loaded is None else loaded.read()) == value
