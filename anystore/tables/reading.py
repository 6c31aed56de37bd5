"""Parquet and Arrow files as record batches: of all, or of the columns and rows that are wanted."""

import base64
import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
from pyarrow import dataset, ipc, parquet

from anystore.errors import AnystoreError, CodecError
from anystore.tables.ranges import RangeFile
from anystore.tables.selecting import Query, choose_columns, find_columns, find_positions, no_rows, unknown_column

_BATCH_BYTES = 8 << 20
_BATCH_ROWS = 1 << 16
_FETCH_BYTES = 32 << 20  # of a row group that is larger, columns are read on piece by piece
_PIECE_BYTES = 1 << 20
_CSV_HINT = (
    "; its types were guessed from its start, so name them: "
    "serialization_mode=TableCodec('csv', schema=pyarrow.schema([('column', pyarrow.string())]))"
)


@contextlib.contextmanager
def failures(table_format: str) -> Iterator[None]:
    """Turn what Arrow raises for a broken file into ``CodecError``; errors of the backend pass.

    Raises:
        CodecError: If the bytes are no file of this format.
    """
    try:
        yield
    except AnystoreError:
        raise
    except (pa.ArrowException, OSError, ValueError, KeyError, OverflowError) as error:
        hint = _CSV_HINT if table_format == "csv" and "conversion error" in str(error) else ""
        raise CodecError(f"the value is not {table_format}, or it is damaged: {error}{hint}") from error


class TableFile(ABC):
    """A file of a table that is open for reading.

    Attributes:
        schema: Of what is read from it.
    """

    schema: pa.Schema

    @abstractmethod
    def batches(self) -> Iterator[pa.RecordBatch]:
        """Read the rows that are wanted, in bounded memory."""

    def read(self) -> pa.Table:
        """Read everything that is wanted."""
        return pa.Table.from_batches(self.batches(), self.schema)


class ParquetTable(TableFile):
    """A Parquet file; of a remote one, the footer and the parts that are wanted are read.

    Args:
        file: The file.
        query: What is wanted.

    Raises:
        InvalidOption: If there is no such column.
    """

    def __init__(self, file: RangeFile | pa.BufferReader, query: Query) -> None:
        self._file = file
        self._is_all = query.is_all
        source = pa.PythonFile(file, mode="r") if isinstance(file, RangeFile) else file
        self._parquet = parquet.ParquetFile(source, pre_buffer=False, buffer_size=_PIECE_BYTES)
        self._source = source
        whole = self._parquet.schema_arrow
        self._condition = query.bind(whole)
        self._columns = query.names(whole)
        self._names = self._leaves(whole)
        read = self._read_no_rows(self._names)
        self._positions = None if self._columns is None else _nested_positions(read.schema, self._columns)
        self._casts = self._differences(choose_columns(read, self._positions).schema)
        self.schema = self._finish(read).schema

    def _leaves(self, schema: pa.Schema) -> list[str] | None:
        """Name the columns to read: those wanted, and those that the filters need."""
        columns = self._columns
        if columns is None:
            return None
        described = self._parquet.metadata.schema
        paths = [described.column(index).path for index in range(len(described))]
        for name in columns:
            if not any(_covers(name, path) for path in paths) and name not in schema.names:
                raise unknown_column(name, schema)
        needed = [schema.field(index).name for index in find_columns(self._condition, schema)]
        return [*columns, *needed]

    def _read_no_rows(self, names: list[str] | None) -> pa.Table:
        return self._parquet.read_row_groups([], columns=names)

    def _differences(self, schema: pa.Schema) -> dict[int, pa.Field]:
        """Find the columns that are read as something else than they should be."""
        columns = self._columns
        wanted = schema if columns is None else self._read_no_rows(list(columns)).schema
        lost = _lost_types(self._parquet.metadata, wanted, set(wanted.names if columns is None else columns))
        differences = {}
        for index, field in enumerate(schema):
            if schema.names.count(field.name) == 1:
                target = lost.get(field.name) or wanted.field(field.name)
                if not target.equals(field, check_metadata=True):
                    differences[index] = target
        return differences

    def read(self) -> pa.Table:
        """Read everything that is wanted; all of it at once if that is the whole file."""
        if self._is_all and not isinstance(self._file, RangeFile):
            return self._finish(self._parquet.read())
        return super().read()

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Read one row group after the other, without those that statistics rule out."""
        for number in self._row_groups():
            group = self._parquet.metadata.row_group(number)
            if isinstance(self._file, RangeFile):
                self._fetch(self._file, group)
            rows = max(1, min(_BATCH_ROWS, _BATCH_BYTES * group.num_rows // max(group.total_byte_size, 1)))
            for batch in self._parquet.iter_batches(rows, row_groups=[number], columns=self._names):
                yield from self._finish(pa.Table.from_batches([batch])).to_batches()

    def _row_groups(self) -> list[int]:
        if self._condition is None:
            return list(range(self._parquet.num_row_groups))
        fragment = dataset.ParquetFileFormat().make_fragment(self._source)
        return [group.id for group in fragment.subset(self._condition).row_groups]

    def _fetch(self, file: RangeFile, group: Any) -> None:
        ranges = []
        for index in range(group.num_columns):
            column = group.column(index)
            if self._names is None or any(_covers(name, column.path_in_schema) for name in self._names):
                start = column.data_page_offset
                if column.dictionary_page_offset is not None:
                    start = min(start, column.dictionary_page_offset)
                ranges.append((start, start + column.total_compressed_size))
        is_small = sum(stop - start for start, stop in ranges) <= _FETCH_BYTES
        file.fetch(ranges if is_small else ())

    def _finish(self, table: pa.Table) -> pa.Table:
        """Leave out rows, put columns in order, and give them back the types that Parquet does not know."""
        if self._condition is not None:
            table = table.filter(self._condition)
        if self._positions is not None:
            table = table.select(self._positions)
        for index, field in self._casts.items():
            table = table.set_column(index, field, _cast(table.column(index), field.type))
        return table


class ArrowTable(TableFile):
    """An Arrow IPC file; of a remote one, the columns that are wanted are read.

    Args:
        file: The file.
        query: What is wanted.

    Raises:
        InvalidOption: If there is no such column.
    """

    def __init__(self, file: RangeFile | pa.BufferReader, query: Query) -> None:
        self._holds_python = isinstance(file, RangeFile)
        source = pa.PythonFile(file, mode="r") if isinstance(file, RangeFile) else file
        self._reader = ipc.open_file(source)
        whole = self._reader.schema
        _ = whole.names  # refuses those that are no text
        self._condition = query.bind(whole)
        columns = query.names(whole)
        wanted = find_positions(whole, columns)
        if wanted is not None:
            fields = sorted({*wanted, *find_columns(self._condition, whole)})
            self._reader = ipc.open_file(source, options=ipc.IpcReadOptions(included_fields=fields))
        self._positions = find_positions(self._reader.schema, columns)
        self.schema = choose_columns(no_rows(self._reader.schema), self._positions).schema

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Read one batch of the file after the other."""
        for number in range(self._reader.num_record_batches):
            batch = self._reader.get_batch(number)
            if self._holds_python:  # whose bytes Arrow's threads must not be the last to hold, see `arrow_memory`
                batch = batch.copy_to(pa.default_cpu_memory_manager())
            batch.validate(full=True)  # what lies in the file lies in memory: a wrong offset would end the process
            table = pa.Table.from_batches([batch])
            if self._condition is not None:
                table = table.filter(self._condition)
            yield from choose_columns(table, self._positions).to_batches(max_chunksize=_BATCH_ROWS)


def _covers(name: str, path: str) -> bool:
    """Tell whether a column, or a field of one, holds a leaf."""
    return path == name or path.startswith(f"{name}.")


def _nested_positions(schema: pa.Schema, columns: tuple[str, ...]) -> list[int]:
    """Find the wanted columns, and those whose fields are wanted."""
    tops = [name if name in schema.names else name.partition(".")[0] for name in columns]
    return [index for name in dict.fromkeys(tops) for index in schema.get_all_field_indices(name)]


def _lost_types(metadata: Any, schema: pa.Schema, names: set[str]) -> dict[str, pa.Field]:
    """Find the columns whose type Parquet does not have, so that they are read as another one.

    Source:
        Arrow's writers keep the schema they were given as an IPC message, under ``ARROW:schema``.
    """
    kept = (metadata.metadata or {}).get(b"ARROW:schema")
    if kept is None:
        return {}
    written = ipc.read_schema(pa.BufferReader(base64.b64decode(kept)))
    lost = {}
    for name in names:
        if schema.names.count(name) == written.names.count(name) == 1:
            read, field = schema.field(name), written.field(name)
            if not read.type.equals(field.type, check_metadata=True) and _can_cast(read.type, field.type):
                lost[name] = read.with_type(field.type)
    return lost


def _can_cast(kind: pa.DataType, target: pa.DataType) -> bool:
    try:
        _cast(pa.chunked_array([], kind), target)
    except pa.ArrowException:
        return False
    return True


def _cast(column: pa.ChunkedArray, target: pa.DataType) -> pa.ChunkedArray:
    if not pa.types.is_dictionary(target) or pa.types.is_dictionary(column.type):
        return column.cast(target)
    chunks = [chunk.cast(target.value_type).dictionary_encode() for chunk in column.chunks]
    return pa.chunked_array(
        [
            pa.DictionaryArray.from_arrays(
                chunk.indices.cast(target.index_type), chunk.dictionary, ordered=target.ordered
            )
            for chunk in chunks
        ],
        target,
    )
