"""Tables into Parquet, Arrow and CSV files, one row group at a time."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pyarrow as pa
from pyarrow import compute, csv, ipc, parquet

from anystore.errors import AnystoreError, CodecError
from anystore.tables.grouping import group_batches

Write = Callable[[bytes], object]


def write_table(table_format: str, schema: pa.Schema, batches: Iterable[pa.RecordBatch], write: Write) -> None:
    """Write a file.

    Args:
        table_format: ``parquet``, ``arrow`` or ``csv``.
        schema: Of the batches.
        batches: The rows; what the iterable raises passes through.
        write: Takes the bytes of the file, one piece after the other; what it raises passes through.

    Raises:
        CodecError: If the format cannot hold these columns.
    """
    sink = _Sink(write)
    try:
        with _refusals(table_format):
            writer = _WRITERS[table_format](sink, schema)
        for group in group_batches(schema, batches):
            with _refusals(table_format):
                writer.write(group)
        with _refusals(table_format):
            writer.close()
    finally:
        sink.end()


@contextlib.contextmanager
def _refusals(table_format: str) -> Iterator[None]:
    try:
        yield
    except AnystoreError:  # of whoever takes the bytes
        raise
    except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
        raise CodecError(f"the table cannot be written as {table_format}: {error}") from error


class _Sink:
    """What Arrow takes for a file; deaf from its end on, since a writer that failed writes a footer when it dies."""

    closed = False

    def __init__(self, write: Write) -> None:
        self._write: Write | None = write

    def write(self, data: Any) -> int:
        if self._write is not None:
            self._write(data if isinstance(data, bytes) else bytes(data))
        return len(data)

    def flush(self) -> None:
        """There is nothing to flush."""

    def end(self) -> None:
        self._write = None


class _ParquetWriter:
    def __init__(self, sink: _Sink, schema: pa.Schema) -> None:
        self._writer = parquet.ParquetWriter(sink, schema, compression="zstd")

    def write(self, group: pa.Table) -> None:
        self._writer.write_table(group, row_group_size=group.num_rows)

    def close(self) -> None:
        self._writer.close()


class _ArrowWriter:
    """An Arrow file; its dictionaries grow from group to group, since no later one can replace them."""

    def __init__(self, sink: _Sink, schema: pa.Schema) -> None:
        options = ipc.IpcWriteOptions(emit_dictionary_deltas=True)
        self._writer = ipc.new_file(sink, schema, options=options)
        self._dictionaries: dict[int, pa.Array] = {}

    def write(self, group: pa.Table) -> None:
        group = group.unify_dictionaries().combine_chunks()
        for index, field in enumerate(group.schema):
            if pa.types.is_dictionary(field.type):
                group = group.set_column(index, field, self._grow(index, group.column(index)))
        self._writer.write_table(group)

    def _grow(self, index: int, column: pa.ChunkedArray) -> pa.ChunkedArray:
        return pa.chunked_array([self._grow_chunk(index, chunk) for chunk in column.chunks], column.type)

    def _grow_chunk(self, index: int, chunk: pa.DictionaryArray) -> pa.DictionaryArray:
        values, known = chunk.dictionary, self._dictionaries.get(index)
        if known is None or values.equals(known):
            self._dictionaries[index] = values
            return chunk
        fresh = values.filter(compute.invert(compute.is_in(values, known)))
        self._dictionaries[index] = grown = pa.concat_arrays([known, fresh])
        indices = compute.index_in(values, grown).take(chunk.indices).cast(chunk.type.index_type)
        return pa.DictionaryArray.from_arrays(indices, grown, ordered=chunk.type.ordered)

    def close(self) -> None:
        self._writer.close()


class _CsvWriter:
    def __init__(self, sink: _Sink, schema: pa.Schema) -> None:
        if not schema.names:
            raise ValueError("it has no columns, and CSV tells rows by them; use 'parquet'")
        for field in schema:
            kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
            if pa.types.is_nested(kind) or not _is_text(kind):
                raise ValueError(f"column {field.name!r} is {field.type}, and CSV holds plain values; use 'parquet'")
        self._writer = csv.CSVWriter(sink, schema)

    def write(self, group: pa.Table) -> None:
        self._writer.write_table(group)

    def close(self) -> None:
        self._writer.close()


def _is_text(kind: pa.DataType) -> bool:
    """Tell whether values of a type have a spelling that is text."""
    is_bytes = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary, pa.types.is_binary_view)
    return not any(test(kind) for test in is_bytes)


_WRITERS: dict[str, Any] = {"parquet": _ParquetWriter, "arrow": _ArrowWriter, "csv": _CsvWriter}
