"""Arrow tables and data frames as Parquet, Arrow IPC and CSV."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
from pyarrow import parquet

from anystore.backend import Reader
from anystore.codecs import Codec
from anystore.errors import CodecError, InvalidOption
from anystore.tables.csv_files import CsvTable
from anystore.tables.frames import frame_name, from_arrow, is_frame_type, is_stream, is_table, open_batches, to_arrow
from anystore.tables.ranges import PieceFile, RangeFile, arrow_memory
from anystore.tables.reading import ArrowTable, ParquetTable, TableFile, failures
from anystore.tables.selecting import Query, check_columns, check_filters
from anystore.tables.writing import write_table

__all__ = ["TableCodec", "TableFormat", "from_arrow", "is_frame_type", "is_table", "read_parquet_header", "to_arrow"]

TableFormat = Literal["parquet", "arrow", "csv"]
"""The serialisation modes of this package."""


class TableCodec(Codec):
    r"""A table in one of three formats.

    ``encode`` takes an Arrow table, batch or batch reader, a pandas or polars frame, an iterable of
    such tables, and whatever else offers the Arrow stream protocol.

    Args:
        table_format: How the bytes are laid out.
        frame: What ``decode`` returns, and ``iterate`` yields: ``pyarrow.Table``, or a frame class of pandas or
            polars. If None, ``decode`` returns a ``pyarrow.Table``, and ``iterate`` yields record batches.
        columns: The columns to read, in this order; None for all. In Parquet, ``a.b`` is a field of a struct.
        filters: The rows to read: ``[("column", ">", 3), …]``, a list of such lists of which one has to hold, or
            an expression of ``pyarrow.compute``.
        schema: The types of the columns of a CSV file, for it tells none; those left out are guessed.

    Raises:
        CodecError: If ``frame`` is another class.
        InvalidOption: If another argument is not what it can be.

    Example:
        >>> codec = TableCodec("csv", columns=["code"], schema=pa.schema([("code", pa.string())]))
        >>> codec.decode(b"code,size\n007,1\n").to_pylist()
        [{'code': '007'}]
    """

    in_parts = True

    def __init__(
        self,
        table_format: TableFormat,
        frame: type | None = None,
        *,
        columns: Sequence[str] | None = None,
        filters: Any = None,
        schema: pa.Schema | None = None,
    ) -> None:
        self.name = table_format
        self._format: str = table_format
        self._frame = frame
        self._schema = schema
        if frame is not None and not is_frame_type(frame):
            raise CodecError(
                f"{table_format} cannot become {frame!r}; use pyarrow.Table, pandas.DataFrame or polars.DataFrame"
            )
        self._query = Query(
            check_columns(columns),
            check_filters(filters),
            with_index=frame is not None and frame_name(frame) == "pandas.DataFrame",
        )
        self.partial = not self._query.is_all
        if schema is not None and (table_format != "csv" or not isinstance(schema, pa.Schema)):
            raise InvalidOption("schema= is a pyarrow.Schema, for 'csv' alone; the other formats keep their own")

    def selecting(self, columns: Sequence[str] | None, filters: Any) -> "TableCodec":
        """Give the codec that reads these columns and rows; what is None stays."""
        return TableCodec(
            self.name,  # type: ignore[arg-type]
            self._frame,
            columns=self._query.columns if columns is None else columns,
            filters=self._query.filters if filters is None else filters,
            schema=self._schema,
        )

    def is_stream(self, value: Any) -> bool:
        """Tell whether the rows come one batch after the other."""
        return is_stream(value)

    def encode(self, value: Any) -> bytes:
        """Write the table."""
        sink: list[bytes] = []
        self.encode_to(value, sink.append)
        return b"".join(sink)

    def encode_to(self, value: Any, write: Callable[[bytes], object]) -> None:
        """Write the table, one row group at a time."""
        schema, batches = open_batches(value)
        write_table(self._format, schema, batches, write)

    def decode(self, data: bytes) -> Any:
        """Read the table, as the class that was asked for."""
        return self._decode(arrow_memory([data]))

    def _decode(self, file: pa.BufferReader) -> Any:
        with failures(self._format):
            table = self._open(file).read()
        return from_arrow(table, self._frame or pa.Table)

    def decode_from(self, reader: Reader) -> Any:
        """Read what is wanted of the table."""
        if self._format == "csv":
            return self._decode(arrow_memory(reader.read()))
        with failures(self._format), RangeFile(reader) as file:
            table = self._open(file.in_memory() or file).read()
        return from_arrow(table, self._frame or pa.Table)

    def iterate(self, reader: Reader) -> Iterator[Any]:
        """Read what is wanted of the table, batch by batch; what is wrong with the query is told at once."""
        file = PieceFile(reader.read()) if self._format == "csv" else RangeFile(reader)
        try:
            with failures(self._format):
                whole = file.in_memory() if isinstance(file, RangeFile) else None
                batches = self._open(whole or file).batches()
        except BaseException:
            file.close()
            raise
        return self._iterate(file, batches)

    def read_schema(self, reader: Reader) -> pa.Schema:
        """Read which columns ``decode_from`` and ``iterate`` would give, and no rows.

        Args:
            reader: One version of the value.

        Returns:
            The schema of what is wanted of the table.

        Raises:
            CodecError: If the bytes are not of this format.
            InvalidOption: If there is no such column, or the filters do not fit.
        """
        with failures(self._format), PieceFile(reader.read()) if self._format == "csv" else RangeFile(reader) as file:
            whole = file.in_memory() if isinstance(file, RangeFile) else None
            return self._open(whole or file).schema

    def _iterate(self, file: RangeFile | PieceFile, batches: Iterator[pa.RecordBatch]) -> Iterator[Any]:
        with file:
            while True:
                with failures(self._format):
                    batch = next(batches, None)
                if batch is None:
                    return
                yield batch if self._frame is None else from_arrow(pa.Table.from_batches([batch]), self._frame)

    def _open(self, file: Any) -> TableFile:
        if self._format == "csv":
            return CsvTable(file, self._query, self._schema)
        if self._format == "arrow":
            return ArrowTable(file, self._query)
        return ParquetTable(file, self._query)


def read_parquet_header(data: bytes | Path) -> tuple[int, pa.Schema]:
    """Read what a Parquet file says of itself, without its rows.

    Args:
        data: The file, or the path of one on this machine.

    Returns:
        How many rows it has, and their schema.

    Raises:
        CodecError: If it is not Parquet.
    """
    with failures("parquet"):
        header = parquet.read_metadata(str(data) if isinstance(data, Path) else pa.BufferReader(data))
        return header.num_rows, header.schema.to_arrow_schema()
