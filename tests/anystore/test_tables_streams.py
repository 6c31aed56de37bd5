"""Tables that are larger than memory: put from a stream of record batches, and streamed back."""

import datetime
import subprocess
import sys
import textwrap
import uuid
import weakref

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from pyarrow import parquet

from anystore import Feature, get_store
from anystore.backend import Entry, Reader
from anystore.errors import (
    AlreadyExists,
    CodecError,
    DoesNotExist,
    InvalidOption,
    ReadOnlyError,
    Unsupported,
    VersionMismatch,
)
from anystore.tables import TableCodec, csv_streams
from anystore.tables.grouping import GROUP_BYTES, GROUP_ROWS, group_batches
from tests.object_servers import BUCKET

MODES = ["parquet", "arrow", "csv"]
ROWS = 20_000


@pytest.fixture(params=["memory", "folder", "sqlite", "zip", "redis", "s3"])
def store(request, tmp_path):
    name = uuid.uuid4().hex
    config = None
    match request.param:
        case "redis":
            uri = f"redis://127.0.0.1:{request.getfixturevalue('redis_server').port}/0/{name}"
        case "s3":
            uri, config = f"s3://{BUCKET}/{name}", request.getfixturevalue("moto_server").config
        case kind:
            uri = {
                "memory": f"memory://{name}",
                "folder": str(tmp_path / "folder"),
                "sqlite": f"sqlite:///{tmp_path}/store.db",
                "zip": f"{tmp_path}/archive.zip",
            }[kind]
    with get_store(uri, backend_config=config) as opened:
        yield opened


@pytest.fixture
def memory():
    return get_store(f"memory://{uuid.uuid4().hex}")


def batches(number, rows=ROWS):
    """Batches that do not compress: 640 kB each."""
    random = np.random.default_rng(0)
    for turn in range(number):
        yield pa.record_batch({"turn": np.full(rows, turn), "value": random.random(rows), "other": random.random(rows)})


SCHEMA = next(batches(1)).schema


def test_a_stream_is_stored_and_streamed_back(store):
    expected = pa.Table.from_batches(batches(40))
    entry = store.put("big", batches(40), serialization_mode="parquet")
    assert entry.size == store.info("big").size > 9 << 20  # so that it does not pass whole through `Backend.put`
    back = list(store.stream("big", serialization_mode="parquet"))
    assert all(isinstance(batch, pa.RecordBatch) for batch in back)
    assert pa.Table.from_batches(back).equals(expected)
    assert store.get("big", serialization_mode="parquet").equals(expected)


def test_a_stream_that_fails_leaves_the_old_value(store):
    def failing(number):
        yield from batches(number)
        raise ZeroDivisionError("on the way")

    for before in (None, "old"):
        if before:
            store.put("big", before)
        for number in (0, 1, 30):
            with pytest.raises(ZeroDivisionError, match="on the way"):
                store.put("big", failing(number), serialization_mode="parquet")
            assert (store.get("big") if before else store.exists("big")) == (before or False)
            assert list(store.iterate_keys()) == (["big"] if before else [])


@pytest.mark.parametrize("mode", MODES)
def test_a_stream_has_one_schema(memory, mode):
    memory.put("t", "old")
    first = pa.record_batch({"a": [1]})
    for second, told in (
        (pa.record_batch({"a": ["x"]}), "table 2 .*string.* instead of .*int64"),
        (pa.record_batch({"b": [1]}), "table 2 .*'b' instead of 'a'"),
        (pa.record_batch({"a": [1], "b": [1]}), "'a', 'b' instead of 'a'"),
        (3, "gave int"),
    ):
        with pytest.raises(CodecError, match=f"cannot write 't' to .*{told}"):
            memory.put("t", iter([first, second]), serialization_mode=mode)
    assert memory.get("t") == "old"


@pytest.mark.parametrize("mode", MODES)
def test_an_empty_stream_needs_a_schema(memory, mode):
    for empty in ([], iter([])):
        with pytest.raises(CodecError, match="nothing tells the columns"):
            memory.put("t", empty, serialization_mode=mode)
    assert not memory.exists("t")
    memory.put("t", pa.RecordBatchReader.from_batches(SCHEMA, []), serialization_mode=mode)
    assert memory.get("t", serialization_mode=mode).column_names == SCHEMA.names
    memory.put("t", [SCHEMA.empty_table()], serialization_mode=mode)
    assert memory.get("t", serialization_mode=mode).num_rows == 0


@pytest.mark.parametrize("mode", MODES)
def test_every_kind_of_stream(memory, mode):
    table = pa.Table.from_batches(batches(3))
    streams = [
        table.to_reader(),
        table.to_batches(),
        tuple(table.to_batches()),
        iter(table.to_batches()),
        [table.slice(0, 7), table.slice(7)],
        [pl.from_arrow(table.slice(0, 7)), pl.from_arrow(table.slice(7))],
        [table.slice(0, 7).to_pandas(), table.slice(7).to_pandas()],
        pl.from_arrow(table).lazy(),
        OnlyTheProtocol(table),
    ]
    for stream in streams:
        memory.put("t", stream, serialization_mode=mode)
        assert memory.get("t", serialization_mode=mode).to_pydict() == table.to_pydict()


class OnlyTheProtocol:
    """What DuckDB, Ibis and others give: an object that offers Arrow's stream."""

    def __init__(self, table):
        self.table = table

    def __arrow_c_stream__(self, requested_schema=None):
        return self.table.__arrow_c_stream__(requested_schema)


def test_auto_stores_every_table_as_parquet(memory):
    table = pa.Table.from_batches(batches(2))
    for value in (table, table.to_pandas(), pl.from_arrow(table), table.to_reader(), iter(table.to_batches())):
        memory.put("sales", value)
        assert memory.get("sales", model=pl.DataFrame).equals(pl.from_arrow(table))
        assert memory.get("sales", model=pd.DataFrame).equals(table.to_pandas())
        assert memory.get("sales", columns=["turn"]).equals(table.select(["turn"]))
        assert pa.Table.from_batches(memory.stream("sales")).equals(table)
        # what is not said to be a table comes back as what it is: bytes
        assert memory.get("sales") == memory.get("sales", serialization_mode="raw")
        memory.delete("sales")
    memory.put_many({"frame": table.to_pandas(), "number": 1})
    assert memory.get("frame", model=pa.Table).equals(table)
    assert memory.get("number") == 1
    for value in (iter([1]), (n for n in "ab")):
        with pytest.raises(CodecError, match="no table"):
            memory.put("sales", value)
    with pytest.raises(CodecError):
        memory.put("sales", table.to_batches())


def test_auto_streams_lines_of_what_only_looks_like_parquet(memory):
    for text in ("PAR1 is a mark", "PAR1\nPAR1", "PAR1", "PAR1PAR1", "PAR1\nso it is PAR1"):
        memory.put("t", text)
        assert list(memory.stream("t")) == text.split("\n")
    memory.put("t", "")
    assert list(memory.stream("t")) == []


def test_a_stream_of_frames(memory):
    table = pa.Table.from_batches(batches(3))
    memory.put("t", table)
    for model in (pl.DataFrame, pd.DataFrame, pa.Table):
        frames = list(memory.stream("t", model=model))
        assert all(isinstance(frame, model) for frame in frames)
        assert sum(len(frame) for frame in frames) == table.num_rows
    memory.put("copy", memory.stream("t", model=pl.DataFrame))
    assert memory.get("copy", model=pa.Table).num_rows == table.num_rows


def test_one_stream_feeds_another(store):
    store.put("a", batches(20), serialization_mode="parquet")
    store.put("b", store.stream("a", serialization_mode="parquet"), serialization_mode="arrow")
    assert store.get("b", serialization_mode="arrow").equals(store.get("a", serialization_mode="parquet"))


def category_batch(values, kind=None):
    """A batch whose bytes fill a row group of their own."""
    category = pa.array(values).dictionary_encode() if kind is None else pa.array(values, kind)
    return pa.record_batch({"category": category, "filling": [bytes(GROUP_BYTES // len(values))] * len(values)})


@pytest.mark.parametrize("mode", ["parquet", "arrow"])
def test_dictionaries_that_differ_from_batch_to_batch(memory, mode):
    parts = [category_batch(values) for values in (["a", "b"], ["c", "b"], ["b", None], ["d", "a"])]
    for stream in (parts, [part.select(["category"]) for part in parts], pa.Table.from_batches(parts)):
        memory.put("t", stream, serialization_mode=mode)
        back = memory.get("t", serialization_mode=mode, columns=["category"])
        assert back.schema.field("category").equals(parts[0].schema.field("category"))
        assert back["category"].to_pylist() == ["a", "b", "c", "b", "b", None, "d", "a"]


def test_a_dictionary_that_outgrows_its_type_is_refused(memory):
    kind = pa.dictionary(pa.int8(), pa.string())
    parts = [category_batch([f"{letter}{number}" for number in range(100)], kind) for letter in "ab"]
    with pytest.raises(CodecError, match="cannot write 't'"):
        memory.put("t", parts, serialization_mode="arrow")
    assert not memory.exists("t")


# -- conditions ---------------------------------------------------------------


def test_a_stream_is_put_on_conditions(store):
    if Feature.CREATE not in store.features:
        with pytest.raises(Unsupported):
            store.put("t", batches(2), serialization_mode="parquet", if_absent=True)
        return
    first = store.put("t", batches(2), serialization_mode="parquet", if_absent=True)
    asked = []
    with pytest.raises(AlreadyExists):
        store.put("t", (asked.append(1) or batch for batch in batches(2)), serialization_mode="parquet", if_absent=True)
    assert asked == []
    store.put("t", batches(1), serialization_mode="parquet", if_version=store.info("t").version)
    with pytest.raises(VersionMismatch):
        store.put("t", batches(3), serialization_mode="parquet", if_version=first.version)
    assert store.get("t", serialization_mode="parquet").num_rows == ROWS


def test_a_long_stream_is_put_on_conditions(tmp_path):
    for uri in (tmp_path / "folder", f"sqlite:///{tmp_path}/store.db", f"memory://{tmp_path.name}"):
        store = get_store(uri, serialization_mode="parquet")
        version = store.put("t", batches(30), if_absent=True).version
        with pytest.raises(AlreadyExists):
            store.put("t", batches(30), if_absent=True)
        with pytest.raises(VersionMismatch):
            store.put("t", batches(31), if_version="another")
        store.put("t", batches(31), if_version=version)
        assert store.get("t").num_rows == 31 * ROWS


def test_a_frame_beyond_one_part_is_put_on_a_condition_where_only_whole_values_can(moto_server):
    store = get_store(f"s3://{BUCKET}/{uuid.uuid4().hex}", backend_config=moto_server.config)
    table = pa.Table.from_batches(batches(40))
    assert store.put("t", table, if_absent=True).size > 9 << 20
    with pytest.raises(AlreadyExists):
        store.put("t", table, if_absent=True)
    with pytest.raises(Unsupported):
        store.put("u", table.to_reader(), if_absent=True)
    assert not store.exists("u")


def test_a_stream_expires(memory):
    for number in (1, 30):
        entry = memory.put("t", batches(number), serialization_mode="parquet", ttl=3600)
        assert entry.expires > datetime.datetime.now(datetime.UTC)


def test_what_cannot_be_stored_is_refused_before_the_stream_is_asked(tmp_path):
    asked = []
    stream = (asked.append(1) or batch for batch in batches(1))
    with pytest.raises(Unsupported):
        get_store(tmp_path).put("t", stream, ttl=3)
    with pytest.raises(ReadOnlyError):
        get_store(tmp_path, readonly=True).put("t", stream)
    with pytest.raises(InvalidOption):
        get_store(tmp_path).put("t", stream, if_absent=True, if_version="1")
    assert asked == []


# -- reading ------------------------------------------------------------------


def test_a_stream_keeps_to_its_version(store):
    store.put("t", batches(40), serialization_mode="parquet")
    stream = store.stream("t", serialization_mode="parquet")
    rows = next(stream).num_rows
    store.put("t", batches(1), serialization_mode="parquet")
    try:
        rows += sum(batch.num_rows for batch in stream)
    except VersionMismatch:
        return
    assert rows == 40 * ROWS


def test_a_missing_table(store):
    for mode in MODES:
        with pytest.raises(DoesNotExist):
            store.stream("t", serialization_mode=mode)
        assert list(store.stream("t", serialization_mode=mode, raise_on_nonexist=False)) == []
        assert store.get("t", serialization_mode=mode, columns=["a"], raise_on_nonexist=False) is None


def test_a_stream_that_is_left_lets_its_value_go(tmp_path, redis_server):
    for uri in (tmp_path, f"redis://127.0.0.1:{redis_server.port}/0/{uuid.uuid4().hex}"):
        store = get_store(uri)
        store.put("t", batches(10), serialization_mode="parquet")
        for _ in range(20):  # more than there are connections
            store.stream("t", serialization_mode="parquet")
            next(store.stream("t", serialization_mode="parquet"))
        store.delete("t")


def test_wide_rows_come_in_small_batches(memory):
    wide = pa.record_batch({"blob": [np.random.default_rng(n).bytes(1 << 20) for n in range(24)]})
    memory.put("t", [wide], serialization_mode="parquet")
    sizes = [batch.nbytes for batch in memory.stream("t")]
    assert sum(sizes) > 24 << 20
    assert max(sizes) < GROUP_BYTES
    # one row group of a file that somebody else has written
    sink = pa.BufferOutputStream()
    parquet.write_table(pa.Table.from_batches([wide]), sink)
    memory.put("t", sink.getvalue().to_pybytes(), serialization_mode="raw")
    assert max(batch.nbytes for batch in memory.stream("t")) < GROUP_BYTES


def test_row_groups_that_are_too_large_to_fetch_are_read_piece_by_piece(store, monkeypatch):
    monkeypatch.setattr("anystore.tables.reading._FETCH_BYTES", 1 << 20)
    table = pa.Table.from_batches(batches(10))
    sink = pa.BufferOutputStream()
    parquet.write_table(table, sink, row_group_size=table.num_rows)
    store.put("t", sink.getvalue().to_pybytes(), serialization_mode="raw")
    assert pa.Table.from_batches(store.stream("t")).equals(table)
    assert store.get("t", columns=["value", "turn"]).equals(table.select(["value", "turn"]))


@pytest.mark.parametrize("mode", ["arrow", "csv"])
def test_other_formats_are_streamed(store, mode):
    store.put("t", batches(5), serialization_mode=mode)
    back = pa.Table.from_batches(store.stream("t", serialization_mode=mode))
    assert back.equals(pa.Table.from_batches(batches(5)))
    some = store.stream("t", serialization_mode=mode)
    assert next(some).num_rows > 0
    some.close()


def test_compressed_tables_are_streamed(memory):
    with memory.open("t.csv.gz", "w", compression="gz") as file:
        file.write("a,b\n1,x\n2,y\n")
    back = memory.stream("t.csv.gz", serialization_mode="csv", compression="infer")
    assert pa.Table.from_batches(back).to_pydict() == {"a": [1, 2], "b": ["x", "y"]}
    memory.put("t", batches(2), serialization_mode="parquet")
    with memory.open("t.gz", "wb", compression="gz") as file:
        file.write(memory.get("t", serialization_mode="raw"))
    back = memory.stream("t.gz", serialization_mode="parquet", compression="gz")
    assert sum(batch.num_rows for batch in back) == 2 * ROWS
    for key, how in (("t", {}), ("t.gz", {"compression": "gz"})):
        with pytest.raises(CodecError):
            list(memory.stream(key, serialization_mode="parquet", max_bytes=1000, **how))


# -- row groups ---------------------------------------------------------------


def test_groups_are_bounded_in_bytes_and_rows():
    schema = pa.schema([("a", pa.binary())])

    def group(*sizes):
        batch = pa.record_batch([pa.array([b"x" * size for size in sizes])], schema)
        return [(table.num_rows, table.nbytes) for table in group_batches(schema, [batch])]

    assert group() == []
    mib = 1 << 20
    assert [rows for rows, _ in group(*[mib] * 40)] == [10, 10, 10, 10]
    assert all(size < GROUP_BYTES or rows == 1 for rows, size in group(*[1] * 1000, 40 * mib, *[1] * 1000))
    small = [pa.record_batch({"a": pa.nulls(1000)})] * 3000
    assert max(table.num_rows for table in group_batches(small[0].schema, small)) <= GROUP_ROWS
    assert sum(table.num_rows for table in group_batches(small[0].schema, small)) == 3_000_000


def test_batches_that_share_a_dictionary_are_not_cut_to_rows():
    words = pa.array(["x" * 1000 + str(number) for number in range(20_000)])
    for column in (
        pa.DictionaryArray.from_arrays(pa.array(range(20_000)), words),
        pa.ListArray.from_arrays(
            pa.array(range(20_001), pa.int32()), pa.DictionaryArray.from_arrays(pa.array(range(20_000)), words)
        ),
    ):
        batch = pa.record_batch({"a": column})
        assert len(list(group_batches(batch.schema, [batch]))) == 1


class PieceReader(Reader):
    """A value that comes in pieces of the source's own size, as from a server that compresses it."""

    seekable = False

    def __init__(self, pieces):
        self.entry = Entry("k", None, None)
        self.pieces = pieces

    def read(self, start=0, stop=None):
        return iter(self.pieces)

    def close(self):
        pass


def test_the_types_of_a_csv_stream_do_not_depend_on_its_pieces():
    lines = [b"code,plain\n", b"1,1\n", b"2", b",2\n00", b"7,3\n"]
    (batch,) = TableCodec("csv").iterate(PieceReader(lines))
    assert batch.to_pydict() == {"code": ["1", "2", "007"], "plain": [1, 2, 3]}


def test_a_long_csv_stream_is_whole():
    lines = [b"code,plain\n", *(b"007,%d\n" % number for number in range(300_000))]
    found = pa.Table.from_batches(TableCodec("csv").iterate(PieceReader(lines)))
    assert found.column("plain").to_pylist() == list(range(300_000))
    assert set(found.column("code").to_pylist()) == {"007"}


# A thread of Arrow's may let go of what it read when the interpreter is ending already: if that is Python's,
# the process is aborted. So short values are copied into Arrow's memory, and read without Python.


@pytest.mark.parametrize("mode", MODES)
def test_arrow_holds_no_bytes_of_python(mode, monkeypatch):
    data = bytearray(TableCodec(mode).encode(next(batches(1, 10))))
    real = TableCodec._open

    def open_file(codec, file):
        opened = real(codec, file)
        data.append(0)  # a BufferError, while somebody looks at the bytes
        data.pop()
        return opened

    monkeypatch.setattr(TableCodec, "_open", open_file)
    assert TableCodec(mode).decode(data).num_rows == 10


@pytest.mark.parametrize("mode", MODES)
def test_arrow_asks_python_for_no_part_of_a_short_value(mode, store, monkeypatch):
    store.put("t", next(batches(1, 10)), serialization_mode=mode)

    def refuse(*_, **__):
        raise AssertionError("a thread of Arrow's would call Python")

    monkeypatch.setattr(pa, "PythonFile", refuse)
    wanted = {"serialization_mode": mode, "columns": ["value"], "filters": [("turn", "=", 0)]}
    assert store.get("t", serialization_mode=mode).num_rows == 10
    assert store.get("t", **wanted).num_rows == 10
    assert sum(batch.num_rows for batch in store.stream("t", serialization_mode=mode)) == 10
    assert sum(batch.num_rows for batch in store.stream("t", **wanted)) == 10


# A long CSV file is read ahead by Arrow's threads, which call Python: they have to be done before anybody goes on.


@pytest.fixture
def handles(monkeypatch):
    """Give what Arrow has of each long CSV file that is opened; a reference is empty once Arrow has let go."""
    made = []

    class Handle(csv_streams._Handle):
        def __init__(self, file):
            super().__init__(file)
            made.append(weakref.ref(self))

    monkeypatch.setattr(csv_streams, "_Handle", Handle)
    return made


def long_csv(memory, lines=400_000):
    memory.put("long.csv", "code,plain\n" + "007,12345\n" * lines, serialization_mode="text")
    return memory.stream("long.csv", serialization_mode="csv")


def next_then(action):
    def leave(stream):
        next(stream)
        action(stream)

    return leave


@pytest.mark.parametrize(
    "leave",
    [list, lambda stream: stream.close(), next_then(lambda stream: stream.close()), next_then(lambda _: None)],
    ids=["to the end", "closed unread", "closed", "forgotten"],
)
def test_arrow_has_let_go_of_a_long_csv_file_when_it_is_left(leave, memory, handles):
    leave(long_csv(memory))
    assert [reference() for reference in handles] == [None]


def test_arrow_has_let_go_of_a_long_csv_file_that_cannot_be_read(memory, handles):
    memory.put("long.csv", "code,plain\n" + "1,2,3\n" * 400_000, serialization_mode="text")
    with pytest.raises(CodecError):
        memory.stream("long.csv", serialization_mode="csv")
    assert [reference() for reference in handles] == [None]


@pytest.mark.parametrize("after", [1, 3])
def test_a_long_csv_file_that_breaks_off_raises_and_gives_no_half_row(after):
    def pieces():
        yield b"code,plain\n" + b"007,12345\n" * 120_000
        yield from [b"007,12345\n" * 100_000] * after
        yield b"007,1"
        raise VersionMismatch("it was replaced")

    found = []
    with pytest.raises(VersionMismatch, match="replaced"):
        found.extend(TableCodec("csv").iterate(PieceReader(pieces())))
    assert all(set(batch.column("plain").to_pylist()) == {12345} for batch in found)


def test_a_process_ends_well_that_leaves_tables_unread(tmp_path):
    program = """
        import atexit

        @atexit.register  # called last
        def tell():
            print([handle() for handle in made])

        import sys, weakref
        from anystore import get_store
        from anystore.tables import csv_streams

        made = []

        class Handle(csv_streams._Handle):
            def __init__(self, file):
                super().__init__(file)
                made.append(weakref.ref(self))

        csv_streams._Handle = Handle
        store = get_store(sys.argv[1])
        store.put("long.csv", "code,plain\\n" + "007,12345\\n" * 2_000_000, serialization_mode="text")
        left = [store.stream("long.csv", serialization_mode="csv") for _ in range(3)]
        next(left[0])
    """
    arguments = [sys.executable, "-c", textwrap.dedent(program), str(tmp_path)]
    run = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)
    assert (run.returncode, run.stdout, run.stderr) == (0, "[None, None, None]\n", "")


def test_a_forked_process_drops_a_long_csv_file_of_its_parent(tmp_path):
    program = """
        import os, sys
        from anystore import get_store

        store = get_store(sys.argv[1])
        store.put("long.csv", "code,plain\\n" + "007,12345\\n" * 4_000_000, serialization_mode="text")
        stream = store.stream("long.csv", serialization_mode="csv")
        rows = next(stream).num_rows
        child = os.fork()
        if not child:
            stream.close()
            sys.exit()
        print(os.waitpid(child, 0)[1], rows + sum(batch.num_rows for batch in stream))
    """
    arguments = [sys.executable, "-c", textwrap.dedent(program), str(tmp_path)]
    run = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)
    assert (run.returncode, run.stdout, run.stderr) == (0, "0 4000000\n", "")


@pytest.mark.parametrize("wanted", [{}, {"columns": ["value"]}, {"filters": [("turn", ">=", 0)]}])
def test_rows_of_a_long_arrow_file_are_in_arrows_own_memory(wanted, store):
    store.put("t", batches(2, 200_000), serialization_mode="arrow")
    before = pa.total_allocated_bytes()
    table = store.get("t", serialization_mode="arrow", **wanted)
    assert pa.total_allocated_bytes() - before >= table.nbytes > 1 << 20
