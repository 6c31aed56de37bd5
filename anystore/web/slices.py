"""A long page of HTML in slices that are read one by one: a parser's tree takes ten times the length; pure."""

import re
from collections.abc import Iterator

SLICE_BYTES = 1 << 20
"""About how long a slice is."""

_START_BYTES = 64 * 1024
# Where a row of a listing begins, and what it has to stand in.
_ROWS = (
    (re.compile(rb"<tr[\s>]", re.IGNORECASE), b"<table>"),
    (re.compile(rb"<li[\s>]", re.IGNORECASE), b"<ul>"),
    (re.compile(rb"\n[ \t]*(?=<(?:a|img)\s)", re.IGNORECASE), b"<pre>"),
)


def sliced(body: bytes) -> Iterator[bytes]:
    r"""Cut a page between the rows of its listing.

    Args:
        body: The page.

    Returns:
        Slices; the first has the head of the page, and each row stands in one of them, in a table or list of its own.

    Example:
        >>> list(sliced(b"<ul><li>a</ul>"))
        [b'<ul><li>a</ul>']
    """
    start = 0
    rows, opening = next(((one, tag) for one, tag in _ROWS if one.search(body, 0, _START_BYTES)), (None, b""))
    while start < len(body):
        length = SLICE_BYTES if start else max(SLICE_BYTES, _START_BYTES)  # by the first one the page is known
        row = rows.search(body, start + length) if rows is not None else None
        stop = len(body) if row is None else row.start()
        yield (opening if start else b"") + body[start:stop]
        start = stop
