"""Tables and frames in a store: all of one, the columns and rows that are wanted, or batch by batch."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from os import PathLike
from typing import Any

import pyarrow as pa

from anystore.errors import CodecError, InvalidOption
from anystore.extras import load
from anystore.keys import parse_key
from anystore.tables import TableCodec, TableFormat, from_arrow, is_table, to_arrow
from anystore.tables.frames import open_batches
from anystore.tables.writing import write_table
from anystore_dagster.metadata import PREVIEW_ROWS, describe_table
from anystore_dagster.stored import COLUMNS, FILTERS, BlobRef, Encoded, Form, Selection
from anystore_dagster.values.advice import advise, describe
from anystore_dagster.values.annotations import FRAME_MODULES, frame_name, is_frame
from anystore_dagster.values.forms import WholeForm
from anystore_dagster.values.record_streams import RecordStream
from anystore_dagster.values.spooling import Spool

_FRAME_NOTE = b"anystore.frame"


class TableForm(WholeForm):
    """How a table is stored: as Parquet, in which its kind is noted, or in another format.

    Args:
        frame: The class that ``decode`` returns; None for the one that was written.
        table_format: How the bytes are laid out.
    """

    def __init__(self, frame: type | None, table_format: TableFormat = "parquet") -> None:
        self.name = frame_name(frame) if frame else "a table"
        self.extension = table_format
        self._format = table_format
        self._frame = frame

    def encode(self, value: Any, folder: PathLike[str]) -> Encoded:
        """Write any table, whatever its kind; a lazy frame is computed batch by batch."""
        kind = type(value)
        if not is_frame(kind):
            raise CodecError(f"this is {describe(value)}, and {self.name} is annotated; {advise(value)}")
        schema, batches = open_batches(value)
        if self._format == "parquet":
            schema = schema.with_metadata({**(schema.metadata or {}), _FRAME_NOTE: frame_name(kind).encode()})
        return encode_batches(schema, batches, folder, self._format)

    def decode(self, source: BlobRef, selection: Selection) -> Any:
        """Read the table; of a lazy frame, its columns alone."""
        if self.name == "polars.LazyFrame" and self._format != "csv":
            batches = StoredBatches(source, selection, self._format)
            return load("anystore_dagster.values.lazy_frames").scan(batches)
        if selection.is_all:
            return self.decode_bytes(source.read())
        table = self._select(source, selection, self._frame)
        if self._frame is None and frame_name(_frame_class(table)) == "pandas.DataFrame":
            return self._select(source, selection, _frame_class(table))  # with the columns of its index
        return self._finish(table)

    def _select(self, source: BlobRef, selection: Selection, frame: type | None) -> Any:
        codec = selecting(TableCodec(self._format, frame), selection)
        with selection_errors():
            return source.store.get(source.key, serialization_mode=codec, raise_on_nonexist=True)

    def decode_bytes(self, data: bytes) -> Any:
        """Read the whole table, of whatever origin."""
        return self._finish(TableCodec(self._format).decode(data))

    def _finish(self, table: Any) -> Any:
        if not isinstance(table, pa.Table):
            return table
        return from_arrow(without_note(table), self._frame or _frame_class(table))


class RecordStreamForm(Form):
    """How a :class:`RecordStream` is stored: by row groups.

    Args:
        table_format: How the bytes are laid out.
    """

    name = "RecordStream"

    def __init__(self, table_format: TableFormat = "parquet") -> None:
        self.extension = table_format
        self._format = table_format

    def encode(self, value: Any, folder: PathLike[str]) -> Encoded:
        """Write the batches; what their source raises passes, and nothing is kept then."""
        if not isinstance(value, RecordStream):
            raise CodecError(
                f"this is {describe(value)}, and RecordStream is annotated; return RecordStream(an iterable of batches)"
            )
        return encode_batches(value.schema, iter(value), folder, self._format)

    def decode(self, source: BlobRef, selection: Selection) -> RecordStream:
        """Give a stream of the stored batches; its footer is read, so that what is no table is told at once."""
        stream = RecordStream(StoredBatches(source, selection, self._format))
        _ = stream.schema
        return stream


class StoredBatches:
    """The record batches of a value, or what is wanted of them; each iteration reads one version anew.

    Args:
        source: Where the value is.
        selection: The columns and rows.
        table_format: How the bytes are laid out.
    """

    def __init__(self, source: BlobRef, selection: Selection, table_format: TableFormat) -> None:
        self.source = source
        self.selection = selection
        self.codec = selecting(TableCodec(table_format), selection)

    @property
    def schema(self) -> pa.Schema:
        """The columns that are wanted."""
        with self.source.store.backend.reader(parse_key(self.source.key)) as reader, selection_errors():
            return without_note(self.codec.read_schema(reader))

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """Read the batches."""
        return map(without_note, self._stream(self.codec))

    def frames(self, frame: type, columns: Sequence[str] | None, filters: Any) -> Iterator[Any]:
        """Read less than is wanted, as frames; rows are left out by one of two filters only.

        Args:
            frame: The class of the frames.
            columns: Some of the columns; None for all that are wanted.
            filters: A condition that the caller asks of what it gets once more.
        """
        codec = TableCodec(
            self.codec.name,  # type: ignore[arg-type]
            frame,
            columns=self.selection.columns if columns is None else columns,
            filters=filters if self.selection.filters is None else self.selection.filters,
        )
        return self._stream(codec)

    def _stream(self, codec: TableCodec) -> Iterator[Any]:
        yield from self.source.store.stream(self.source.key, serialization_mode=codec, raise_on_nonexist=True)


def encode_batches(
    schema: pa.Schema, batches: Iterable[pa.RecordBatch], folder: PathLike[str], table_format: TableFormat
) -> Encoded:
    """Write a table, one row group at a time.

    Args:
        schema: Of the batches.
        batches: The rows; what the iterable raises passes.
        folder: A private folder.
        table_format: How the bytes are laid out.

    Returns:
        The bytes or a file, with row count, columns and preview.

    Raises:
        CodecError: If the format cannot hold these columns.
    """
    count = _Count()
    with Spool(folder) as spool:
        write_table(table_format, schema, count.watch(batches), spool.write)
        data = spool.finish()
    head = pa.Table.from_batches(count.head, schema)
    return Encoded(data, metadata=describe_table(count.rows, without_note(schema), head))


class _Count:
    """How many rows went by, and the first of them."""

    def __init__(self) -> None:
        self.rows = 0
        self.head: list[pa.RecordBatch] = []

    def watch(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            if self.rows < PREVIEW_ROWS:
                self.head.append(batch.slice(0, PREVIEW_ROWS - self.rows))
            self.rows += batch.num_rows
            yield batch


def open_stream(source: Any, schema: Any) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """Begin to read a table of any kind, or an iterable of such, batch by batch.

    Args:
        source: As :class:`RecordStream` takes it.
        schema: Of all batches, which are cast to it; None for that of the first.

    Returns:
        The schema and the batches.

    Raises:
        CodecError: If it is no table; while it is read, if a batch has other columns.
    """
    if schema is None:
        return open_batches(source)
    if not isinstance(schema, pa.Schema):
        raise CodecError(f"the schema of a RecordStream is a pyarrow.Schema, not {type(schema).__name__}")
    return schema, _cast(source if not is_table(source) else open_batches(source)[1], schema)


def _cast(tables: Iterable[Any], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    for number, item in enumerate(tables, 1):
        if not is_table(item):
            raise CodecError(f"batch {number} of the RecordStream is {type(item).__name__}, which is no table")
        try:
            table = to_arrow(item).select(schema.names).cast(schema)
        except (pa.ArrowException, KeyError, ValueError) as error:
            raise CodecError(f"batch {number} of the RecordStream does not fit its schema: {error}") from error
        yield from table.to_batches()


def make_table(schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> pa.Table:
    """Join batches to a table."""
    return pa.Table.from_batches(batches, schema)


def selecting(codec: TableCodec, selection: Selection) -> TableCodec:
    """Give the codec that reads what an input wants of a table.

    Raises:
        CodecError: If the columns or filters are none.
    """
    if selection.is_all:
        return codec
    with selection_errors():
        return codec.selecting(selection.columns, selection.filters)


@contextmanager
def selection_errors() -> Iterator[None]:
    """Say in which metadata the columns and filters stand that do not fit a table.

    Raises:
        CodecError: If they do not.
    """
    try:
        yield
    except InvalidOption as error:
        raise CodecError(f"the metadata {COLUMNS!r} or {FILTERS!r} does not fit the table: {error}") from error


def without_note(described: Any) -> Any:
    """Take our note of its kind from a table, a batch or a schema."""
    schema = described if isinstance(described, pa.Schema) else described.schema
    notes = {name: note for name, note in (schema.metadata or {}).items() if name != _FRAME_NOTE} or None
    if isinstance(described, pa.Schema):
        return described.with_metadata(notes)
    return described.replace_schema_metadata(notes)


def _frame_class(table: pa.Table) -> type:
    """Find the class of the table that was written, if it is noted, and its library is here."""
    found: type = pa.Table
    name = (table.schema.metadata or {}).get(_FRAME_NOTE, b"").decode(errors="replace")
    if name in FRAME_MODULES:
        with suppress(ImportError):
            found = getattr(import_module(FRAME_MODULES[name]), name.partition(".")[2])
    return found
