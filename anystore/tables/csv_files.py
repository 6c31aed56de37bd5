"""CSV files as record batches."""

import csv as plain_csv
import io
import re
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
from pyarrow import csv

from anystore.backend import CHUNK_BYTES
from anystore.errors import CodecError
from anystore.tables.csv_streams import LongCsv
from anystore.tables.ranges import PieceFile, arrow_memory
from anystore.tables.reading import TableFile
from anystore.tables.selecting import Query, choose_columns, find_positions, no_rows

# Arrow takes 007 for 7, and a number beyond 64 bits for a fraction.
_MAY_BE_CODE = re.compile(rb"(?<![0-9.:])0[0-9]|[0-9]{19}")
_CODE = re.compile(r"[+-]?(?:0[0-9]+|[0-9]{19,})")


class CsvTable(TableFile):
    """A CSV file, which has to be read whole.

    Args:
        file: The file, at its start.
        query: What is wanted.
        schema: The types of columns, by name; those of the others are guessed.

    Raises:
        InvalidOption: If there is no such column.
        CodecError: If ``schema`` names a column that is not there.
    """

    def __init__(self, file: PieceFile | pa.BufferReader, query: Query, schema: pa.Schema | None) -> None:
        head = file.read(CHUNK_BYTES) if isinstance(file, pa.BufferReader) else file.peek(CHUNK_BYTES)
        rows = _read_head(head)
        names = next(rows, [])
        given = {field.name: field.type for field in schema or ()}
        if missing := [name for name in given if name not in names]:
            raise CodecError(f"there is no column {missing[0]!r}; the columns are {', '.join(map(repr, names))}")
        guessed = dict.fromkeys(_find_codes(head, names, rows), pa.string())
        # a row of one column that is null is an empty line
        parsing = csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=len(names) > 1)
        converting = csv.ConvertOptions(
            column_types={**guessed, **given},
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        )
        self._source: Any = None
        if isinstance(file, pa.BufferReader):
            file.seek(0)
            self._source = csv.read_csv(file, parse_options=parsing, convert_options=converting)
        elif len(head) < CHUNK_BYTES:
            self._source = csv.open_csv(arrow_memory([head]), parse_options=parsing, convert_options=converting)
        else:
            self._source = LongCsv(file, parsing, converting)
        whole = self._source.schema
        _ = whole.names  # refuses those that are no text
        self._condition = query.bind(whole)
        self._positions = find_positions(whole, query.columns)
        self.schema = choose_columns(no_rows(whole), self._positions).schema

    def read(self) -> pa.Table:
        """Read everything that is wanted."""
        return self._finish(self._source) if isinstance(self._source, pa.Table) else super().read()

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Read the file from its start to its end."""
        for part in [self._source] if isinstance(self._source, pa.Table) else self._source:
            table = part if isinstance(part, pa.Table) else pa.Table.from_batches([part])
            yield from self._finish(table).to_batches()

    def _finish(self, table: pa.Table) -> pa.Table:
        if self._condition is not None:
            table = table.filter(self._condition)
        return choose_columns(table, self._positions)


def _read_head(head: bytes) -> Iterator[list[str]]:
    """Read the first rows, without the one at which the head is cut."""
    whole = head if len(head) < CHUNK_BYTES else head[: head.rfind(b"\n") + 1]
    text = io.StringIO(whole.decode("utf-8-sig", errors="replace"), newline="")
    try:
        yield from plain_csv.reader(text)
    except plain_csv.Error:  # Arrow has the last word on what is CSV
        return


def _find_codes(head: bytes, names: Sequence[str], rows: Iterator[list[str]]) -> list[str]:
    """Find the columns whose numbers are names, such as ``007``: as numbers they would lose digits."""
    if not _MAY_BE_CODE.search(head):
        return []
    left = set(range(len(names)))
    for row in rows:
        left -= {index for index in left if index < len(row) and _CODE.fullmatch(row[index])}
    return [name for index, name in enumerate(names) if index not in left]
