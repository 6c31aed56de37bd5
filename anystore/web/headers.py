"""What HTTP headers say; pure."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import TypeVar, overload

_T = TypeVar("_T")
_CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19}|\*)", re.IGNORECASE | re.ASCII)
_STATUS_LINE = re.compile(rb"HTTP/\d(?:\.\d)? \d{3}(?:[ \r\n]|$)")


def is_status_line(line: bytes) -> bool:
    r"""Tell whether a line begins the head of an answer.

    Example:
        >>> is_status_line(b"HTTP/1.1 200 OK\r\n"), is_status_line(b"HTTP/x: y\r\n")
        (True, False)
    """
    return bool(_STATUS_LINE.match(line))


class Headers(Mapping[str, str]):
    """Headers of an answer; upper and lower case of a name are the same.

    Args:
        pairs: Names and values, in the order they came; repeated ones are joined by a comma.

    Example:
        >>> Headers([("Content-Length", "5")])["content-length"]
        '5'
    """

    def __init__(self, pairs: Iterable[tuple[str, str]] = ()) -> None:
        self._values: dict[str, str] = {}
        for name, value in pairs:
            known = self._values.get(name.lower())
            self._values[name.lower()] = value if known is None else f"{known}, {value}"

    @classmethod
    def of(cls, values: dict[str, str]) -> "Headers":
        """Take headers whose names are in lower case, each once."""
        made = cls.__new__(cls)
        made._values = values  # noqa: SLF001 - its own
        return made

    def __getitem__(self, name: str) -> str:
        return self._values[name.lower()]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._values

    @overload
    def get(self, name: str, /) -> str | None: ...

    @overload
    def get(self, name: str, /, default: str | _T) -> str | _T: ...

    def get(self, name: str, /, default: object = None) -> object:
        """Give a value; a mapping's own method would raise and catch an error for each header that is not there."""
        return self._values.get(name.lower(), default)

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Headers({sorted(self._values)})"  # values can hold cookies and other secrets


_SHORT = 128  # bytes of a line that is worth remembering


def parse_head_lines(lines: Sequence[bytes]) -> tuple[int, Headers]:
    r"""Take the last head of an answer apart: those of 1xx and of a proxy come before it.

    Args:
        lines: The lines, each with its line end.

    Returns:
        The status, 0 if there is none, and the headers; lines that are no header are left out.

    Example:
        >>> parse_head_lines([b"HTTP/1.1 103 Early\r\n", b"\r\n", b"HTTP/1.1 200 OK\r\n", b"Age: 1\r\n", b"\r\n"])
        (200, Headers(['age']))
    """
    first = len(lines) - 1
    while first >= 0 and not (lines[first].startswith(b"HTTP/") and is_status_line(lines[first])):
        first -= 1
    if first < 0:
        return 0, Headers()
    values: dict[str, str] = {}
    for line in lines[first + 1 :]:
        name, value = _remembered_pair(line) if len(line) < _SHORT else _pair(line)
        if name is not None:
            values[name] = f"{values[name]}, {value}" if name in values else value
    return int(lines[first].split(b" ", 2)[1]), Headers.of(values)


def _pair(line: bytes) -> tuple[str | None, str]:
    name, colon, value = line.decode("latin-1").partition(":")
    return name.strip().lower() if colon else None, value.strip()


_remembered_pair = lru_cache(maxsize=512)(_pair)  # most lines of most answers of a server are the same


def parse_head(block: bytes) -> tuple[int, Headers]:
    """Take the status line and the headers of one answer apart.

    Args:
        block: The lines, each with its line end.

    Returns:
        The status, and the headers; lines that are no header are left out.
    """
    lines = block.decode("latin-1").replace("\r\n", "\n").split("\n")
    status = int(lines[0].split(" ", 2)[1])
    pairs = (line.partition(":") for line in lines[1:] if ":" in line)
    return status, Headers((name.strip(), value.strip()) for name, _, value in pairs)


_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_USUAL_DATE = re.compile(
    rf"[A-Z][a-z]{{2}}, (\d\d) ({'|'.join(_MONTHS)}) ([1-9]\d{{3}}) (\d\d):(\d\d):(\d\d) GMT", re.ASCII
)


@lru_cache(maxsize=256)  # answers of one second have one date
def parse_http_date(text: str | None) -> datetime | None:
    """Read a date such as that of ``Last-Modified``; None where it is missing or no date.

    Example:
        >>> parse_http_date("Mon, 23 Nov 2026 02:07:08 GMT").isoformat()
        '2026-11-23T02:07:08+00:00'
    """
    if not text:
        return None
    usual = _USUAL_DATE.fullmatch(text)
    try:
        if usual:
            day, month, year, hour, minute, second = usual.groups()
            clock = int(hour), int(minute), int(second)
            return datetime(int(year), _MONTHS.index(month) + 1, int(day), *clock, tzinfo=UTC)
        moment = parsedate_to_datetime(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):  # of a year that is none
        return None


def parse_content_range(text: str | None) -> tuple[int, int, int | None] | None:
    """Read ``Content-Range``.

    Returns:
        First byte, first byte that is not sent, and the length of the whole value if it
        is known; None where the header is missing or says something else.

    Example:
        >>> parse_content_range("bytes 0-9/100")
        (0, 10, 100)

    Source:
        RFC 9110, section 14.4. HTTP names the last byte; this adds one.
    """
    match = _CONTENT_RANGE.fullmatch((text or "").strip())
    if not match:
        return None
    return int(match[1]), int(match[2]) + 1, None if match[3] == "*" else int(match[3])


def parse_length(text: str | None) -> int | None:
    """Read ``Content-Length``; None where it is missing or no number."""
    return int(text) if text and re.fullmatch(r"[0-9]{1,19}", text) else None


def body_length(headers: Mapping[str, str]) -> int | None:
    """Give the length of a body as its server tells it; what is sent in chunks tells none, whatever stands beside."""
    return None if "transfer-encoding" in headers else parse_length(headers.get("content-length"))


def tells_end(headers: Mapping[str, str]) -> bool:
    """Tell whether a body that was cut off would be noticed: by its length, or by its chunks.

    Example:
        >>> tells_end({"content-length": "5"}), tells_end({"content-length": "9" * 30})
        (True, False)
    """
    return "transfer-encoding" in headers or body_length(headers) is not None


def parse_retry_after(text: str | None, *, now: datetime) -> float | None:
    """Read ``Retry-After``: seconds, or a date.

    Returns:
        Seconds to wait, never negative; None where the header is missing or unreadable.
    """
    if not text:
        return None
    if text.isascii() and text.isdecimal():
        return float(text)
    moment = parse_http_date(text)
    return max((moment - now).total_seconds(), 0.0) if moment else None


def strong_etag(headers: Mapping[str, str]) -> str | None:
    """Give the ETag if it is strong, so that equal ones mean equal bytes."""
    etag = headers.get("etag", "")
    return etag if etag.startswith('"') and etag.endswith('"') and len(etag) > 2 else None  # noqa: PLR2004
