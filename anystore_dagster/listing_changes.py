"""What is new, changed or gone in a listing: a walk beside what was known, both in the order of their keys."""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from anystore.crawling.ordered import ListedDocument, UnreadFolder
from anystore_dagster.listing_memory import Head, Row, Segment

_SEGMENT_ROWS = 10_000

Change = Literal["new", "changed"]
"""What a listing tells of a document that it did not tell before."""


class Rows(Protocol):
    """Reads and writes segments."""

    def read(self, segment: Segment) -> list[Row]:
        """Read the rows of a segment."""

    def write(self, rows: Sequence[Row]) -> Segment:
        """Store rows as a segment."""


class Observer(Protocol):
    """Is told what is found."""

    def changed(self, document: ListedDocument, change: Change) -> None:
        """Take a document that is new or changed."""

    def gone(self, key: str) -> None:
        """Take the key of a document that is not listed any more."""

    @property
    def has_enough(self) -> bool:
        """Whether the walk should stop here, to go on later."""


@dataclass(slots=True)
class Compared:
    """What came of a walk.

    Attributes:
        segments: What is known now.
        after: The last key that the walk has come to; empty if it came to none.
        listed: How many documents it has met.
        unread: Folders that could not be listed; what was known of them is known still.
        stopped: Whether enough was found before the end.
    """

    segments: list[Segment]
    after: str = ""
    listed: int = 0
    unread: list[UnreadFolder] = field(default_factory=list)
    stopped: bool = False


def compare(
    head: Head,
    walk: Iterable[ListedDocument | UnreadFolder],
    *,
    rows: Rows,
    observer: Observer,
    ended: Callable[[], bool],
) -> Compared:
    """Compare a walk with what is known, from the place on where the last one stopped.

    Args:
        head: What is known, and up to where the walk has come.
        walk: The documents from there on, in the order of their keys.
        rows: Reads and writes segments.
        observer: Is told of each difference.
        ended: Tells, when the walk gives no more, whether it came to its end.

    Returns:
        What is known now. Of the keys that the walk has not come to, it is what it was.
    """
    known = _Known(head, rows)
    result = Compared([])
    for one in walk:
        result.after = one.key
        if isinstance(one, UnreadFolder):
            result.unread.append(one)
            known.keep_until(one.key, observer.gone)
            known.protect(one.key)
            continue
        result.listed += 1
        before = known.find(one.key, observer.gone)
        known.put(one.key, one.shown)
        if before is None:
            observer.changed(one, "new")
        elif before != one.shown:
            observer.changed(one, "changed")
        if observer.has_enough:
            result.stopped = True
            break
    known.finish(observer.gone if ended() and not result.stopped else None)
    result.segments = known.segments
    return result


class _Known:
    """What is known, read segment by segment and written anew where it is not the same any more."""

    def __init__(self, head: Head, rows: Rows) -> None:
        self._rows = rows
        firsts = [segment.first for segment in head.segments]
        # the first segment begins where keys do, whatever its first key is
        start = max(bisect_right(firsts, head.after) - 1, 0)
        self.segments = head.segments[:start]
        self._coming = iter(head.segments[start:])
        self._next: Segment | None = next(self._coming, None)
        self._present: Segment | None = None
        self._old: list[Row] = []
        self._place = 0
        self._new: list[Row] = []
        self._was_split = False
        self._protected = ""
        self._open()
        while self._place < len(self._old) and self._old[self._place][0] <= head.after:
            self._new.append(self._old[self._place])
            self._place += 1

    def _open(self) -> None:
        """Go on to the next segment."""
        self._present, self._next = self._next, next(self._coming, None)
        self._old = [] if self._present is None else self._rows.read(self._present)
        self._place, self._new, self._was_split = 0, [], False

    def _close(self) -> None:
        """Keep a segment that is as it was; write what is another one."""
        if self._present is not None and not self._was_split and self._new == self._old:
            self.segments.append(self._present)
        else:
            self._write(self._new)
        self._new = []

    def _write(self, rows: Sequence[Row]) -> None:
        if rows:
            self.segments.append(self._rows.write(rows))

    def find(self, key: str, gone: Callable[[str], None]) -> str | None:
        """Give what was shown of a key before, or None; what lies before it is not listed any more."""
        self.keep_until(key, gone)
        if self._place < len(self._old) and self._old[self._place][0] == key:
            self._place += 1
            return self._old[self._place - 1][1]
        return None

    def keep_until(self, key: str, gone: Callable[[str], None]) -> None:
        """Pass over what lies before a key."""
        while True:
            while self._place < len(self._old) and self._old[self._place][0] < key:
                self._pass(self._old[self._place], gone)
                self._place += 1
            if self._next is None or key < self._next.first:
                return
            self._close()
            self._open()

    def _pass(self, row: Row, gone: Callable[[str], None] | None) -> None:
        if gone is None or (self._protected and row[0].startswith(self._protected)):
            self._new.append(row)
        else:
            gone(row[0])

    def protect(self, folder: str) -> None:
        """Keep what is known of a folder."""
        self._protected = folder

    def put(self, key: str, shown: str) -> None:
        """Note what is shown of a key now."""
        self._new.append((key, shown))
        if len(self._new) >= 2 * _SEGMENT_ROWS:
            self._write(self._new[:_SEGMENT_ROWS])
            self._new, self._was_split = self._new[_SEGMENT_ROWS:], True

    def finish(self, gone: Callable[[str], None] | None) -> None:
        """Take the rest: it is gone after a whole walk, and else stays as it is."""
        for row in self._old[self._place :]:
            self._pass(row, gone)
        self._close()
        while self._next is not None:
            if gone is None:
                self.segments += [self._next, *self._coming]
                return
            self._open()
            for row in self._old:
                self._pass(row, gone)
            self._close()
