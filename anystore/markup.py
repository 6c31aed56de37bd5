"""HTML for notebooks: tables, reports and bars.

Styles stand on the elements, since notebooks cut style sheets out of pages they do not
trust, and they leave text and background to the page, so that light and dark both do.
Whatever comes from a store is escaped.
"""

import html
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import islice

from anystore.legible import UNKNOWN, escaped, readable_time

MUTED = "opacity:.65"
_SHOWN_FAILURES = 100
_LINE = "1px solid rgba(128,128,128,.35)"
_ACCENT = "#4a8fe7"
_BAD, _GOOD = "#d9534f", "#3fa46a"
_CELL = "padding:2px 10px;vertical-align:top;border:none"


def html_text(text: object) -> str:
    r"""Write text for HTML: nothing in it is obeyed, and what cannot be seen is shown as escapes.

    Example:
        >>> html_text("<b>\u202e")
        '&lt;b&gt;\\u202e'
    """
    return html.escape(escaped(str(text)))


def html_box(*parts: str) -> str:
    """Put parts of HTML one below the other."""
    style = "font-family:system-ui,sans-serif;font-size:13px;line-height:1.5;max-width:62em"
    return f'<div class="anystore" style="{style}">{"".join(parts)}</div>'


def html_title(title: str, *, note: str = "") -> str:
    """Write a headline, and behind it a note."""
    return (
        f'<div style="margin:2px 0 6px;overflow-wrap:anywhere"><b>{html_text(title)}</b> '
        f'<span style="{MUTED}">{html_text(note)}</span></div>'
    )


def html_note(text: str) -> str:
    """Write a line that stands back."""
    return f'<div style="{MUTED};margin:2px 0;overflow-wrap:anywhere">{html_text(text)}</div>'


def html_problem(text: str) -> str:
    """Write a line that tells what went wrong."""
    return (
        f'<div style="border-left:3px solid {_BAD};padding:2px 10px;margin:4px 0;overflow-wrap:anywhere">'
        f"{html_text(text)}</div>"
    )


def html_table(columns: Mapping[str, str], rows: Iterable[Sequence[object]], *, title: str = "", note: str = "") -> str:
    """Write a table.

    Args:
        columns: The name of each column, and ``left`` or ``right``, the side its cells lean to.
        rows: The cells: text, numbers, times, or None for what is not known.
        title: A headline.
        note: A line below the table.

    Returns:
        The HTML.

    Example:
        >>> "<td" in html_table({"key": "left", "size": "right"}, [("a.txt", 12)])
        True
    """
    sides = [f"{_CELL};text-align:{side}" for side in columns.values()]
    heads = "".join(f'<th style="{side}">{html_text(name)}</th>' for name, side in zip(columns, sides, strict=True))
    body = "".join(f"<tr>{_cells(row, sides)}</tr>" for row in rows)
    return html_box(
        html_title(title) if title else "",
        f'<table style="border-collapse:collapse;margin:0"><thead><tr style="border-bottom:{_LINE}">{heads}</tr>'
        f"</thead><tbody>{body}</tbody></table>",
        html_note(note) if note else "",
    )


def html_report(title: str, facts: Mapping[str, object], failures: Sequence[tuple[str, str]] = ()) -> str:
    """Write a report: what was done, and what could not be done.

    Args:
        title: What was done.
        facts: What there is to tell, by name: text, numbers or times.
        failures: For each failure its key, or ``""``, and the reason.

    Returns:
        The HTML.

    Example:
        >>> "1 failed" in html_report("mirror", {"copied": 3}, [("a.txt", "the server closed the connection")])
        True
    """
    color, verdict = (_BAD, f"{len(failures):,} failed") if failures else (_GOOD, "complete")
    items = "".join(
        f'<span style="white-space:nowrap;margin-right:1.6em"><span style="{MUTED}">{html_text(name)}</span> '
        f"<b>{html_text(_cell_text(value))}</b></span>"
        for name, value in facts.items()
    )
    more = len(failures) - _SHOWN_FAILURES
    table = html_table(
        {"key": "left", "reason": "left"},
        islice(failures, _SHOWN_FAILURES),
        note=f"and {more:,} more" if more > 0 else "",
    )
    summary = f'<summary style="cursor:pointer">{html_text(verdict)}</summary>'
    return html_box(
        f'<div style="border-left:3px solid {color};padding:2px 10px">',
        html_title(title, note="" if failures else verdict),
        f"<div>{items}</div>",
        f'<details open style="margin-top:4px">{summary}{table}</details>' if failures else "",
        "</div>",
    )


def html_bars(title: str, rows: Iterable[tuple[str, float, str, str]], *, summary: str = "", note: str = "") -> str:
    """Draw a bar for each row.

    Args:
        title: A headline.
        rows: For each bar its name, its length as a share between 0 and 1, its value, and a remark.
        summary: What stands behind the headline.
        note: A line below the bars.

    Returns:
        The HTML.

    Example:
        >>> "width:50.0%" in html_bars("bytes", [("a/", 0.5, "5 B", "1 value")])
        True
    """
    cell = "padding:1px 10px 1px 0;border:none;vertical-align:top"
    body = "".join(
        f'<tr><td style="{cell};text-align:left;overflow-wrap:anywhere">{html_text(name)}</td>'
        f'<td style="{cell}">{_bar(share)}</td>'
        f'<td style="{cell};text-align:right;white-space:nowrap">{html_text(value)}</td>'
        f'<td style="{cell};text-align:left;white-space:nowrap;{MUTED}">{html_text(remark)}</td></tr>'
        for name, share, value, remark in rows
    )
    return html_box(
        html_title(title, note=summary),
        f'<table style="border-collapse:collapse;margin:0"><tbody>{body}</tbody></table>' if body else "",
        html_note(note) if note else "",
    )


def _bar(share: float) -> str:
    percent = 100 * min(max(share, 0), 1)
    return (
        '<div style="background:rgba(128,128,128,.18);width:14em;height:.8em;border-radius:2px;margin-top:.35em">'
        f'<div style="background:{_ACCENT};width:{percent:.1f}%;height:100%;border-radius:2px"></div></div>'
    )


def _cells(row: Sequence[object], sides: Sequence[str]) -> str:
    return "".join(
        f'<td style="{side};{_wrapping(cell, side)}">{html_text(_cell_text(cell))}</td>'
        for cell, side in zip(row, sides, strict=True)
    )


def _wrapping(cell: object, side: str) -> str:
    """Keep sizes and times on one line, beside keys that take many."""
    is_short = isinstance(cell, datetime) or side.endswith("right")
    return "white-space:nowrap" if is_short else "overflow-wrap:anywhere"


def _cell_text(cell: object) -> str:
    if cell is None:
        return UNKNOWN
    if isinstance(cell, datetime):
        return readable_time(cell)
    if isinstance(cell, int) and not isinstance(cell, bool):
        return f"{cell:,}"
    return f"{cell:,.1f}" if isinstance(cell, float) else str(cell)
