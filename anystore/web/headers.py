"""What HTTP headers say; pure."""

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

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

    def __getitem__(self, name: str) -> str:
        return self._values[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Headers({sorted(self._values)})"  # values can hold cookies and other secrets


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


def parse_http_date(text: str | None) -> datetime | None:
    """Read a date such as that of ``Last-Modified``; None where it is missing or no date.

    Example:
        >>> parse_http_date("Mon, 23 Nov 2026 02:07:08 GMT").isoformat()
        '2026-11-23T02:07:08+00:00'
    """
    if not text:
        return None
    try:
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
