"""The directory of an archive: one version of it, in memory, never changed."""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from anystore.backends.zip.records import (
    Kind,
    Record,
    parse_directory,
    parse_end,
    starts_with_entry,
    write_end,
)
from anystore.backends.zip.sources import Source
from anystore.keys import Key, is_private, parent_folders

_TAIL_BYTES = (1 << 16) + 1024
_RESORTED = 16
_WORTHWHILE = 4096  # below this a new file would gain nothing

Stamp = tuple[int, int, int, int]
"""What tells one version of an archive's file from another: device, inode, length and time of change."""


NO_STAMP: Stamp = (0, 0, 0, 0)
"""The stamp of no file."""


class Other(NamedTuple):
    """An entry that is no value.

    Attributes:
        name: Its name; one that is no text is written as a literal.
        raw: The bytes of its record.
    """

    name: str
    raw: bytes


class Directory:
    """What an archive holds.

    Attributes:
        source: The archive; None if there is none.
        stamp: The version of its file.
        records: The bytes of each value's record; parsed when they are asked for, since there may be very many.
        folders: The records of folders, by name.
        others: What cannot be a value.
        start: Where the directory is: behind the last value.
        base: What offsets count from.
        first: Where the first entry was when the directory was read.
        live: How many bytes the entries take.
        comment: The archive's comment.
    """

    def __init__(
        self,
        source: Source | None = None,
        stamp: Stamp = NO_STAMP,
        *,
        records: Mapping[str, bytes] | None = None,
        folders: Mapping[str, bytes] | None = None,
        others: tuple[Other, ...] = (),
        start: int = 0,
        base: int = 0,
        first: int = 0,
        live: int = 0,
        comment: bytes = b"",
        names: list[str] | None = None,
    ) -> None:
        self.source = source
        self.stamp = stamp
        self.records = records or {}
        self.folders = folders or {}
        self.others = others
        self.start = start
        self.base = base
        self.first = first
        self.live = live
        self.comment = comment
        self._names = names

    @property
    def names(self) -> list[str]:
        """Every key, our own too, in byte order, which is the order of Python's texts."""
        if self._names is None:
            self._names = sorted(self.records)
        return self._names

    @property
    def stub(self) -> int:
        """How many bytes at the start belong to no entry: a program that unpacks the archive."""
        if self.source is None or starts_with_entry(self.source.read(0, min(4, self.start))):
            return 0
        return self.first

    @property
    def is_wasteful(self) -> bool:
        """Tell whether more than half of the archive is of values that are gone."""
        most = self.start - self.live
        return most > self.live and most > _WORTHWHILE and most - self.stub > max(self.live, _WORTHWHILE)

    def find(self, key: str) -> Record | None:
        """Give the record of a value."""
        raw = self.records.get(key)
        return None if raw is None else Record.parse(raw)

    def below(self, prefix: str, after: Key | None) -> Iterator[str]:
        """Give the keys below a prefix, behind another key, in order."""
        names = self.names
        begin = bisect_left(names, prefix) if prefix else 0
        if after is not None:
            begin = max(begin, bisect_right(names, after))
        for place in range(begin, len(names)):
            name = names[place]
            if not name.startswith(prefix):
                return
            if not is_private(name):
                yield name

    def conflict(self, key: str) -> str | None:
        """Give a key that cannot stand beside this one."""
        for folder in parent_folders(key):
            if folder in self.records:
                return folder
        place = bisect_left(self.names, key + "/")
        if place < len(self.names) and self.names[place].startswith(key + "/"):
            return self.names[place]
        return None

    def changed(self, added: Iterable[tuple[str, Record]], removed: Iterable[str], *, start: int) -> "Directory":
        """Make the directory after a change.

        Args:
            added: The new values; a later one of the same key replaces an earlier one.
            removed: The keys that are gone.
            start: Where the directory will be.
        """
        records = dict(self.records)
        folders, others, live = self.folders, self.others, self.live
        new, gone = set(), set()
        for key in removed:
            live -= _extent(records.pop(key, None))
            gone.add(key)
        for key, record in added:
            old = records.pop(key, None)
            if old is None:
                new.add(key)
                folders = _without_folder(folders, key)
                others = tuple(other for other in others if other.name != key) if others else ()
            live += record.extent - _extent(old)
            records[key] = record.central()
        return Directory(
            self.source,
            records=records,
            folders=folders,
            others=others,
            start=start,
            base=self.base,
            first=self.first,
            live=live,
            comment=self.comment,
            names=self._names_after(new, gone),
        )

    def _names_after(self, new: set[str], gone: set[str]) -> list[str] | None:
        """Keep the names in order, where that is cheaper than to sort all of them again."""
        if self._names is None or len(new) + len(gone) > _RESORTED:
            return None
        if not new and not gone:
            return self._names
        names = self._names.copy()
        for name in gone:
            del names[bisect_left(names, name)]
        for name in new:
            insort(names, name)
        return names

    def raw_records(self) -> Iterator[bytes]:
        """Give the bytes of every record."""
        yield from self.folders.values()
        yield from (other.raw for other in self.others)
        yield from self.records.values()

    def to_bytes(self) -> bytes:
        """Write the directory and the end of the archive."""
        data = b"".join(self.raw_records())
        count = len(self.folders) + len(self.others) + len(self.records)
        return data + write_end(count, len(data), self.start - self.base, self.comment)


def read_directory(source: Source, stamp: Stamp) -> Directory:
    """Read the directory of an archive; an empty file is an archive without entries.

    Raises:
        Malformed: If the file is no archive.
        Shortened: If it is cut meanwhile.
    """
    if not source.size:
        return Directory(source, stamp)
    tail_start = max(source.size - _TAIL_BYTES, 0)
    tail = source.read(tail_start, source.size)
    end = parse_end(tail, source.size)
    if end.start >= tail_start:
        data = tail[end.start - tail_start : end.start - tail_start + end.size]
    else:
        data = source.read(end.start, end.start + end.size)
    records: dict[str, bytes] = {}
    folders: dict[str, bytes] = {}
    others: list[Other] = []
    first, live = end.start - end.base, 0
    for record, raw in parse_directory(data):
        first = min(first, record.offset)
        live += record.extent
        kind, name = record.classify()
        if kind is Kind.VALUE:
            if name in records:  # of several entries of one name the last counts
                live -= _extent(records[name])
            records[name] = raw
        elif kind is Kind.FOLDER:
            folders[name] = raw
        else:
            others.append(Other(name, raw))
    return Directory(
        source,
        stamp,
        records=records,
        folders=folders,
        others=tuple(others),
        start=end.start,
        base=end.base,
        first=first + end.base,
        live=live,
        comment=end.comment,
    )


def _extent(raw: bytes | None) -> int:
    return 0 if raw is None else Record.parse(raw).extent


def _without_folder(folders: Mapping[str, bytes], key: str) -> Mapping[str, bytes]:
    """Drop the empty folders that stand where a value is to be."""
    if not any(name.startswith(key + "/") for name in folders):
        return folders
    return {name: raw for name, raw in folders.items() if not name.startswith(key + "/")}
