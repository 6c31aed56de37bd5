"""Arrow tables and data frames as Parquet, Arrow IPC and CSV."""

import sys
from typing import Any, Literal

import pyarrow as pa
from pyarrow import csv, ipc, parquet

from anystore.codecs import Codec
from anystore.errors import CodecError

TableFormat = Literal["parquet", "arrow", "csv"]
"""The serialisation modes of this file."""


class TableCodec(Codec):
    """A table in one of three formats.

    ``encode`` takes an Arrow table, batch or batch reader, a pandas or polars frame, and
    whatever else offers the Arrow stream protocol.

    Args:
        table_format: How the bytes are laid out.
        frame: What ``decode`` returns: ``pyarrow.Table``, or a frame class of pandas or polars.

    Raises:
        CodecError: If ``frame`` is another class.
    """

    def __init__(self, table_format: TableFormat, frame: type = pa.Table) -> None:
        self.name = table_format
        self._format = table_format
        self._frame = frame
        if not is_frame_type(frame):
            raise CodecError(
                f"{table_format} cannot become {frame!r}; use pyarrow.Table, pandas.DataFrame or polars.DataFrame"
            )

    def encode(self, value: Any) -> bytes:
        """Write the table."""
        table = to_arrow(value)
        sink = pa.BufferOutputStream()
        try:
            if self._format == "parquet":
                parquet.write_table(table, sink, compression="zstd")
            elif self._format == "arrow":
                with ipc.new_file(sink, table.schema) as writer:
                    writer.write_table(table)
            else:
                csv.write_csv(table, sink)
        except (pa.ArrowException, ValueError, TypeError) as error:
            raise CodecError(f"the table cannot be written as {self._format}: {error}") from error
        data: bytes = sink.getvalue().to_pybytes()
        return data

    def decode(self, data: bytes) -> Any:
        """Read the table, as the class that was asked for."""
        source = pa.BufferReader(data)
        try:
            if self._format == "parquet":
                table = parquet.ParquetFile(source).read()  # `read_table` refuses two columns of one name
            elif self._format == "arrow":
                table = ipc.open_file(source).read_all()
            else:
                table = csv.read_csv(source)
            return from_arrow(table, self._frame)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise CodecError(f"the value is not {self._format}: {error}") from error


def is_frame_type(kind: Any) -> bool:
    """Tell whether a class is a table that :func:`from_arrow` can make."""
    return isinstance(kind, type) and (kind is pa.Table or _frame_name(kind) is not None)


def to_arrow(value: Any) -> pa.Table:
    """Turn a table of any kind into an Arrow table.

    Args:
        value: A table, batch, batch reader, pandas or polars frame (a lazy one is collected).

    Returns:
        The same rows and schema.

    Raises:
        CodecError: If it is no table.
    """
    if isinstance(value, pa.Table):
        return value
    if isinstance(value, pa.RecordBatch):
        return pa.Table.from_batches([value])
    if isinstance(value, pa.RecordBatchReader):
        return value.read_all()
    kind = _frame_name(type(value))
    try:
        if kind == "pandas.DataFrame":
            return pa.Table.from_pandas(value)
        if kind == "polars.LazyFrame":
            return _polars_to_arrow(value.collect())
        if kind == "polars.DataFrame":
            return _polars_to_arrow(value)
        if hasattr(value, "__arrow_c_stream__"):
            return pa.table(value)
    except (pa.ArrowException, TypeError, ValueError, *_errors_of(kind)) as error:
        raise CodecError(f"the {type(value).__name__} cannot become an Arrow table: {error}") from error
    raise CodecError(f"{type(value).__name__} is no table; pass a pyarrow.Table, a pandas or a polars frame")


def from_arrow(table: pa.Table, frame: type) -> Any:
    """Turn an Arrow table into another kind of table.

    Args:
        table: The table.
        frame: ``pyarrow.Table``, ``pandas.DataFrame``, ``polars.DataFrame`` or ``polars.LazyFrame``.

    Returns:
        An object of that class.
    """
    if frame is pa.Table:
        return table
    name = _frame_name(frame)
    if name == "pandas.DataFrame":
        return table.to_pandas()
    # whoever holds the class has imported its library
    collected = sys.modules["polars"].from_arrow(table)
    return collected.lazy() if name == "polars.LazyFrame" else collected


def _polars_to_arrow(frame: Any) -> pa.Table:
    for name, kind in frame.schema.items():
        if str(kind) == "Object":  # would be written as addresses in the memory of this process
            raise TypeError(f"column {name!r} holds Python objects")
    return frame.to_arrow()


def _errors_of(kind: str | None) -> tuple[type[Exception], ...]:
    """Give the errors of the library of a frame; a lazy frame is computed while it is written."""
    return (sys.modules["polars"].exceptions.PolarsError,) if kind == "polars.LazyFrame" else ()


def _frame_name(kind: type) -> str | None:
    """Give the public name of a frame class of pandas or polars, without importing either."""
    library = kind.__module__.partition(".")[0]
    name = f"{library}.{kind.__name__}"
    return name if name in ("pandas.DataFrame", "polars.DataFrame", "polars.LazyFrame") else None


def read_parquet_header(data: bytes) -> tuple[int, pa.Schema]:
    """Read what a Parquet file says of itself, without its rows.

    Args:
        data: The file.

    Returns:
        How many rows it has, and their schema.

    Raises:
        CodecError: If it is not Parquet.
    """
    try:
        header = parquet.read_metadata(pa.BufferReader(data))
        return header.num_rows, header.schema.to_arrow_schema()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise CodecError(f"the value is not parquet: {error}") from error
