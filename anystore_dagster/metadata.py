"""What Dagster shows of a stored value: where it is, how large, its checksum, a table's columns, and a preview.

What is shown lies in Dagster's event log, so all of it is small, and nothing in it is active: what data holds of
Markdown and HTML is shown as it is written.
"""

import base64
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from dagster import MetadataValue, TableColumn, TableColumnConstraints, TableSchema

from anystore.errors import CodecError, MissingExtra
from anystore.extras import load

PREVIEW = "anystore/preview"
"""The name under which a preview is shown."""

PREVIEW_ROWS = 10
"""How many rows of a table a preview shows."""

_MOST_COLUMNS = 1000
_SHOWN_COLUMNS = 20
_CELL_CHARACTERS = 60
_PREVIEW_BYTES = 4 << 20
_TYPE_CHARACTERS = 200
_TEXT_CHARACTERS = 1000
_PICTURE_BYTES = 64 << 10
_HEAD_BYTES = 4096
_PARQUET = b"PAR1"
_PICTURES = {b"\x89PNG\r\n\x1a\n": "png", b"\xff\xd8\xff": "jpeg"}
# a line that would end a block, steer a terminal, or turn round the reading direction
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_FENCES = re.compile(r"`+")


def value_metadata(*, uri: str, key: str, size: int, checksum: str) -> dict[str, Any]:
    """Describe one stored value.

    Args:
        uri: Where the value is, with secrets masked.
        key: Its key in the store.
        size: Its bytes.
        checksum: Their SHA-256, in hexadecimal.

    Returns:
        ``dagster/uri``, and under ``anystore/`` key, size and checksum.

    Example:
        >>> value_metadata(uri="memory://m/n.value", key="n.value", size=2, checksum="6b51…")["anystore/size_bytes"]
        2
    """
    return {
        "dagster/uri": uri,
        "anystore/key": key,
        "anystore/size_bytes": size,
        "anystore/checksum": checksum,
    }


def describe_table(rows: int, schema: Any, head: Any = None) -> dict[str, Any]:
    """Describe a table.

    Args:
        rows: How many rows it has.
        schema: Its ``pyarrow.Schema``.
        head: A ``pyarrow.Table`` of its first rows, for the preview.

    Returns:
        Row count, column schema (not of a table with more than a thousand columns) and preview.
    """
    described: dict[str, Any] = {"dagster/row_count": rows}
    if len(schema) <= _MOST_COLUMNS:
        described["dagster/column_schema"] = column_schema(schema)
    else:
        described["anystore/column_count"] = len(schema)
    if head is not None and len(schema):
        shown = head.slice(0, PREVIEW_ROWS).select(range(min(len(schema), _SHOWN_COLUMNS)))
        if shown.nbytes <= _PREVIEW_BYTES:
            columns = [[_python_value(cell) for cell in column] for column in shown.columns]
            described[PREVIEW] = preview_rows(schema.names, list(zip(*columns, strict=True)))
    return described


def _python_value(cell: Any) -> object:
    try:
        return cell.as_py()
    except (ValueError, OverflowError, TypeError, NotImplementedError, ImportError):  # such as the year 20000
        return "\u2026"


def column_schema(schema: Any) -> TableSchema:
    """Turn an Arrow schema into Dagster's.

    Args:
        schema: A ``pyarrow.Schema``.

    Returns:
        Its columns, with their Arrow types.
    """
    return TableSchema(
        columns=[
            TableColumn(
                name=field.name,
                type=_cut(str(field.type), _TYPE_CHARACTERS),
                description=_cut(_description(field), _TEXT_CHARACTERS) or None,
                constraints=TableColumnConstraints(nullable=field.nullable),
            )
            for field in schema
        ]
    )


def _description(field: Any) -> str:
    text: str = (field.metadata or {}).get(b"description", b"").decode(errors="replace")
    return text


def preview_rows(names: Sequence[str], rows: Iterable[Sequence[object]]) -> MetadataValue:
    """Show rows as a Markdown table; each cell is cut, and shown as code, in which nothing is active.

    Args:
        names: Of the columns; the first twenty are shown.
        rows: The cells, of the columns that are shown at least.

    Returns:
        The preview.

    Example:
        >>> print(preview_rows(["n", "who"], [(1, "<b>Ada</b>")]).value)
        | `n` | `who` |
        | --- | --- |
        | `1` | `<b>Ada</b>` |
    """
    shown = names[:_SHOWN_COLUMNS]
    lines = [_line(_cell(name) for name in shown), _line("---" for _ in shown)]
    lines += [_line("" if cell is None else _cell(cell) for cell in row[: len(shown)]) for row in rows]
    if len(names) > len(shown):
        lines += ["", f"and {len(names) - len(shown):,} more columns"]
    return MetadataValue.md("\n".join(lines))


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(cell: object) -> str:
    """Write a cell as inline code; the signs that would end it are shown as others that look like them."""
    if isinstance(cell, bytes | bytearray | memoryview):
        cell = f"{len(cell):,} bytes"
    text = _cut(str(cell), _CELL_CHARACTERS)
    text = _CONTROL.sub("\ufffd", text).replace("\n", "\u21b5").replace("\t", " ")
    text = text.replace("|", "\u00a6").replace("`", "\u02cb")
    return f"`{text}`" if text.strip() else "` `"


def preview_text(text: str) -> MetadataValue:
    """Show the head of a text as a block of code, in which nothing is active.

    Args:
        text: The text.

    Returns:
        The preview.

    Example:
        >>> print(preview_text("# no heading").value)
        ```text
        # no heading
        ```
    """
    head = _CONTROL.sub("\ufffd", _cut(text, _TEXT_CHARACTERS).replace("\r\n", "\n"))
    longest = max((len(run) for run in _FENCES.findall(head)), default=0)
    fence = "`" * max(3, longest + 1)
    return MetadataValue.md(f"{fence}text\n{head}\n{fence}")


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "\u2026"


def describe_content(content: bytes | Path) -> dict[str, Any]:
    """Describe bytes by what they are: a picture is shown, a table counted, a text begun.

    Args:
        content: The bytes, or the local file that holds them; of a large one no more than its ends is read.

    Returns:
        Metadata; none of what is none of these. SVG is shown as the text it is.

    Example:
        >>> list(describe_content(b"hello"))
        ['anystore/preview']
    """
    head, tail, size = _ends(content)
    if head.startswith(_PARQUET) and tail == _PARQUET:
        # of whatever origin: a broken file is stored as it is, and a whole one needs no pyarrow for that
        with suppress(CodecError, MissingExtra):
            return describe_table(*load("anystore.tables").read_parquet_header(content))
    for mark, kind in _PICTURES.items():
        if head.startswith(mark) and size <= _PICTURE_BYTES:
            encoded = base64.b64encode(content if isinstance(content, bytes) else content.read_bytes()).decode()
            return {PREVIEW: MetadataValue.md(f"![preview](data:image/{kind};base64,{encoded})")}
    text = _as_text(head, is_whole=len(head) == size)
    return {PREVIEW: preview_text(text)} if text else {}


def _ends(content: bytes | Path) -> tuple[bytes, bytes, int]:
    """Read the head and the last four bytes, and tell the size."""
    if isinstance(content, bytes):
        return content[:_HEAD_BYTES], content[-len(_PARQUET) :], len(content)
    with content.open("rb") as file:
        head = file.read(_HEAD_BYTES)
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - len(_PARQUET)))
        return head, file.read(), size


def _as_text(head: bytes, *, is_whole: bool) -> str:
    """Read the head of a text; give none for what is no text."""
    if b"\0" in head:
        return ""
    try:
        return head.decode()
    except UnicodeDecodeError as error:
        # the head may end within a character
        return "" if is_whole or error.start < len(head) - 3 else head[: error.start].decode()


def without_users_own(metadata: Mapping[str, Any], users: Mapping[str, object]) -> dict[str, Any]:
    """Leave out what the user's code said itself, which must not be overwritten.

    Args:
        metadata: What we would say.
        users: What the code of the asset said.

    Returns:
        The rest of ours.

    Example:
        >>> without_users_own({"dagster/row_count": 3, "anystore/key": "k"}, {"dagster/row_count": 4})
        {'anystore/key': 'k'}
    """
    return {name: value for name, value in metadata.items() if name not in users}
