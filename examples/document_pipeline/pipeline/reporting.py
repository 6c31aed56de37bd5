"""The report: Markdown with a picture in it, made from the index of the documents."""

import base64
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
from matplotlib.figure import Figure

_BAR = "#4f63d7"
_MOST_TYPES = 8
_ROWS = 8
_KIB = 1024


def write_report(index: pa.Table) -> str:
    """Describe the documents of an index.

    Args:
        index: The table that the asset ``document_index`` makes.

    Returns:
        Markdown; its picture is a data URI, so that it is one self-contained text.
    """
    rows: list[dict[str, Any]] = index.to_pylist()
    if not rows:
        return "# Documents\n\nThere are no documents.\n"
    sizes = Counter[str]()
    for row in rows:
        sizes[row["type"]] += row["size"]
    counts = Counter(row["type"] for row in rows)
    biggest = sorted(rows, key=lambda row: (-row["size"], row["key"]))[:_ROWS]
    dated = [row for row in rows if row["modified"] is not None]
    newest = sorted(dated, key=lambda row: (row["modified"], row["key"]), reverse=True)[:_ROWS]
    titled = sum(1 for row in rows if row["title"])
    summary = (
        f"**{len(rows):,} documents**, {format_size(sum(sizes.values()))}. {titled:,} have a title or a first line."
    )
    parts = [
        "# Documents",
        summary,
        f"![Documents by type](data:image/png;base64,{_draw_counts(counts)})",
        "## By type",
        table(
            ("type", "documents", "size"),
            [(_code(name), f"{count:,}", _size(sizes[name])) for name, count in counts.most_common()],
        ),
        "## The biggest",
        table(
            ("document", "size", "title"),
            [(_code(row["key"]), _size(row["size"]), _text(row["title"])) for row in biggest],
        ),
        "## The newest",
        table(
            ("document", "changed (UTC)", "title"),
            [(_code(row["key"]), _format_time(row["modified"]), _text(row["title"])) for row in newest],
        ),
    ]
    return "\n\n".join(parts) + "\n"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Lay out a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def format_size(size: int) -> str:
    """Say a number of bytes as people do.

    Example:
        >>> format_size(999), format_size(1536), format_size(5 * 1024 * 1024)
        ('999 B', '1.5 KiB', '5.0 MiB')
    """
    if size < _KIB:
        return f"{size} B"
    amount = float(size)
    for unit in ("KiB", "MiB", "GiB"):
        amount /= _KIB
        if amount < _KIB:
            return f"{amount:.1f} {unit}"
    return f"{amount / _KIB:.1f} TiB"


def _draw_counts(counts: Counter[str]) -> str:
    """Draw the number of documents of each type; give the PNG as base64."""
    shown = counts.most_common(_MOST_TYPES)
    if rest := len(counts) - len(shown):
        shown.append((f"{rest} others", counts.total() - sum(count for _, count in shown)))
    names, values = zip(*reversed(shown), strict=True)
    # A figure of its own: pyplot keeps every figure of a process, and asks for a screen.
    figure = Figure(figsize=(6.4, 0.6 + 0.32 * len(shown)), layout="constrained")
    axes = figure.add_subplot()
    bars = axes.barh(names, values, color=_BAR)
    axes.bar_label(bars, padding=3)
    axes.set_xlabel("documents")
    axes.margins(x=0.12)
    axes.spines[["top", "right"]].set_visible(False)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=90)
    return base64.b64encode(file.getvalue()).decode()


def _format_time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M")


def _size(size: int) -> str:
    return format_size(size).replace(" ", "\N{NO-BREAK SPACE}")


def _text(text: str) -> str:
    """Make sure that a title is shown as it is, whatever Markdown or HTML is in it."""
    escaped = "".join(f"\\{character}" if character in "\\`*_[]|~" else character for character in text)
    return escaped.replace("<", "&lt;").replace("\n", " ")


def _code(text: str) -> str:
    return "`" + text.replace("`", "'").replace("|", "\\|").replace("\n", " ") + "`"
