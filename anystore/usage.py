"""Where the bytes of a store are: what each folder holds, as rows and as bars."""

from collections.abc import Iterable
from dataclasses import dataclass
from unicodedata import combining, east_asian_width

from anystore.backend import Entry
from anystore.errors import InvalidOption
from anystore.extras import load
from anystore.legible import escaped, readable_size

_SHOWN_ROWS = 30
_BAR_WIDTH = 24
_LONGEST_NAME = 40
_PARTS = ("", "▏", "▎", "▍", "▌", "▋", "▊", "▉")


@dataclass(frozen=True, slots=True)
class FolderUsage:
    """What one folder holds.

    Attributes:
        folder: The folder, as a prefix of whole keys such as ``reports/``; ``""`` for keys in no folder.
        values: How many values.
        bytes: The bytes of those that tell their size.
        unknown: How many do not tell their size; ``bytes`` is without them.
    """

    folder: str
    values: int
    bytes: int
    unknown: int


@dataclass(frozen=True, slots=True)
class Usage:
    """What the folders of a store hold; ``print`` shows bars, and so does a notebook.

    Each value is counted in one row: that of its folder, or of the folder above at the depth
    that was asked for, so that the rows add up.

    Attributes:
        uri: URI of the store, with secrets masked.
        prefix: The folder that was asked about, or ``""``.
        depth: How many levels of folders below the prefix are told apart.
        rows: The folders, the fullest first.
    """

    uri: str
    prefix: str
    depth: int
    rows: tuple[FolderUsage, ...]

    @property
    def values(self) -> int:
        """How many values there are."""
        return sum(row.values for row in self.rows)

    @property
    def bytes(self) -> int:
        """The bytes of those that tell their size."""
        return sum(row.bytes for row in self.rows)

    @property
    def unknown(self) -> int:
        """How many values do not tell their size."""
        return sum(row.unknown for row in self.rows)

    def __str__(self) -> str:
        """Draw bars of text."""
        most = max((row.bytes for row in self.rows), default=0)
        shown = [(_shortened(_name(row)), row) for row in self.rows[:_SHOWN_ROWS]]
        width = max((_columns(name) for name, _ in shown), default=0)
        lines = [f"{escaped(self.uri)} {escaped(self.prefix)}".rstrip() + f": {self._summary()}"]
        for name, row in shown:
            bar = _text_bar(row.bytes / most if most else 0)
            lines.append(
                f"{name}{' ' * (width - _columns(name))}  {bar}  {readable_size(row.bytes):>8}  {_counts(row)}"
            )
        if self._hidden:
            lines.append(self._hidden)
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """Draw bars in a notebook."""
        most = max((row.bytes for row in self.rows), default=0)
        rows = [
            (_name(row), row.bytes / most if most else 0, readable_size(row.bytes), _counts(row))
            for row in self.rows[:_SHOWN_ROWS]
        ]
        title = f"{self.uri} {self.prefix}".rstrip()
        html: str = load("anystore.markup").html_bars(title, rows, summary=self._summary(), note=self._hidden)
        return html

    def _summary(self) -> str:
        unknown = f", and {self.unknown:,} of unknown size" if self.unknown else ""
        return f"{readable_size(self.bytes)} in {_plural(self.values, 'value')}{unknown}"

    @property
    def _hidden(self) -> str:
        rest = self.rows[_SHOWN_ROWS:]
        size = readable_size(sum(row.bytes for row in rest))
        return f"and {len(rest):,} more folders with {size}" if rest else ""


def measure_usage(entries: Iterable[Entry], *, uri: str, prefix: str, depth: int) -> Usage:
    """Add up a listing, folder by folder.

    Memory grows with the number of folders that are told apart, not with that of values.

    Args:
        entries: The listing.
        uri: The masked URI, to be shown.
        prefix: The folder that is listed: ``""``, or ending in ``/``.
        depth: How many levels of folders below the prefix are told apart; at least 0.

    Returns:
        What each folder holds.

    Raises:
        InvalidOption: If ``depth`` is no number of levels.

    Example:
        >>> entries = [Entry("a/b/1", 5, None), Entry("a/c/2", 7, None), Entry("3", None, None)]
        >>> [(row.folder, row.bytes) for row in measure_usage(entries, uri="", prefix="", depth=1).rows]
        [('a/', 12), ('', 0)]
    """
    if type(depth) is not int or depth < 0:
        raise InvalidOption(f"usage takes a depth of 0, 1, 2 or more levels of folders, not {depth!r}")
    levels = depth + prefix.count("/")
    found: dict[str, list[int]] = {}
    for entry in entries:
        folders = entry.key.split("/")[:-1]
        folder = "".join(f"{segment}/" for segment in folders[:levels])
        counts = found.setdefault(folder, [0, 0, 0])
        counts[0] += 1
        counts[1] += entry.size or 0
        counts[2] += entry.size is None
    rows = sorted((FolderUsage(folder, *counts) for folder, counts in found.items()), key=_by_size)
    return Usage(uri, prefix, depth, tuple(rows))


def _by_size(row: FolderUsage) -> tuple[int, int, str]:
    return -row.bytes, -row.values, row.folder


def _name(row: FolderUsage) -> str:
    return row.folder or "(top level)"


def _counts(row: FolderUsage) -> str:
    unknown = f", {row.unknown:,} of unknown size" if row.unknown else ""
    return f"{_plural(row.values, 'value')}{unknown}"


def _plural(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def _shortened(name: str) -> str:
    shown = escaped(name)
    return shown if len(shown) <= _LONGEST_NAME else "…" + shown[1 - _LONGEST_NAME :]


def _columns(text: str) -> int:
    """Count the columns that text takes on a terminal: two for a wide letter or an emoji, none for an accent."""
    return sum(0 if combining(one) else 1 + (east_asian_width(one) in "WF") for one in text)


def _text_bar(share: float) -> str:
    eighths = round(share * _BAR_WIDTH * 8)
    bar = "█" * (eighths // 8) + _PARTS[eighths % 8]
    return bar.ljust(_BAR_WIDTH)
