"""Text for a terminal or a pipe: tables, times, warnings, and nothing that a terminal would obey."""

import signal
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from io import RawIOBase
from typing import Any, BinaryIO

import orjson

from anystore.errors import ForeignNameWarning, InvalidOption
from anystore.legible import UNKNOWN, escaped
from anystore.uris import MASK, is_secret_name, parse_uri


@contextmanager
def terminating() -> Iterator[None]:
    """Let a request to end, such as a supervisor's, do what Ctrl-C does."""
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def standard_input() -> BinaryIO:
    """Give standard input for bytes.

    Raises:
        InvalidOption: If it is closed.
    """
    if sys.stdin is None:
        raise InvalidOption("standard input is closed, so there is nothing to read; name a file instead")
    return _buffer_of(sys.stdin, "input")


def standard_output() -> BinaryIO:
    """Give standard output for bytes; who writes to it flushes it.

    Raises:
        InvalidOption: If it is closed.
    """
    if sys.stdout is None:
        raise InvalidOption("standard output is closed, so there is nowhere to write; name a file instead")
    out = _buffer_of(sys.stdout, "output")
    if isinstance(out, RawIOBase):  # PYTHONUNBUFFERED: a write may take a part only, and would say so to nobody
        return open(out.fileno(), "wb", closefd=False)
    return out


def _buffer_of(stream: Any, name: str) -> BinaryIO:
    """Give what stands behind a text stream, which need not be the one that the process started with."""
    buffer: BinaryIO | None = getattr(stream, "buffer", None)
    if buffer is None:
        raise InvalidOption(f"standard {name} is for text alone here, as in a notebook; name a file instead")
    return buffer


def complain(message: str) -> int:
    """Write one line to standard error.

    Args:
        message: What went wrong; control characters are shown as escapes.

    Returns:
        The exit code of a failure, 1.
    """
    if sys.stderr is not None:
        sys.stderr.write(escaped(f"anystore: {message}") + "\n")
    return 1


@contextmanager
def plain_warnings() -> Iterator[None]:
    """Show warnings as lines of ours, without a place in the source."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", ForeignNameWarning)
        warnings.showwarning = _show_warning
        yield


def print_table(rows: Sequence[tuple[str, ...]]) -> None:
    """Print rows in columns; the last one is as wide as it needs.

    Args:
        rows: The cells, as many in each row.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    out = standard_output()
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        out.write("  ".join(cells).rstrip().encode() + b"\n")
    out.flush()


def size_text(size: int | None) -> str:
    """Write a size in bytes."""
    return UNKNOWN if size is None else str(size)


def time_text(moment: datetime | None, *, exact: bool = True) -> str:
    """Write a time in UTC, to the second or exactly.

    Example:
        >>> time_text(datetime(2024, 5, 1, 12, 30, 0, 500, tzinfo=UTC), exact=False)
        '2024-05-01T12:30:00Z'
    """
    if moment is None:
        return UNKNOWN
    whole = moment.astimezone(UTC).isoformat(timespec="auto" if exact else "seconds")
    return whole.replace("+00:00", "Z")


def setting_text(value: Any) -> str:
    """Write the value of a setting, its secrets masked.

    Example:
        >>> setting_text({"region": "eu", "s3": {"password": "hunter2"}})
        '{"region":"eu","s3":{"password":"***"}}'
    """
    if isinstance(value, str):
        return escaped(_masked(value))
    return UNKNOWN if value is None or value == {} else orjson.dumps(_masked(value), default=str).decode()


def _masked(value: Any) -> Any:
    """Replace secrets at any depth: by the names they have, and in URIs."""
    if isinstance(value, Mapping):
        return {name: MASK if is_secret_name(str(name)) else _masked(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_masked(inner) for inner in value]
    return parse_uri(value).masked if isinstance(value, str) and "://" in value else value


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    complain(f"warning: {' '.join(str(message).split())}")
