"""The memory of crawls: segments of lines below ``.anystore/`` of a store.

A small value, the head, names the segments; it names the next one before that is begun, so that what
a killed crawl leaves is read. A line is written after its document is committed.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from secrets import token_hex
from types import ModuleType
from typing import Annotated, Any, Literal, Protocol

from pydantic import BaseModel, StringConstraints, TypeAdapter, ValidationError

from anystore.backend import Backend, Feature
from anystore.crawling.index import Index
from anystore.crawling.layout import read_layout, shard_backend
from anystore.crawling.records import Record, read_record, write_record
from anystore.errors import BackendError, DoesNotExist
from anystore.extras import load
from anystore.keys import Key, private_key
from anystore.streams import iterate_lines

_HEAD = private_key("crawl/journal.json")
_LEASE = "crawl"
_LEASE_SECONDS = 6.0
_APPEND_SECONDS = 1.0
_APPEND_LINES = 4000
_SEGMENT_SECONDS = 5.0
_SEGMENT_LINES = 500
_LONG_LINES = 10_000  # a folder of files writes a value anew to append to it, which must not become dearer and dearer
_SMALL = 1000  # lines that are not worth compacting
_MOST_SEGMENTS = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One crawl, as the journal keeps it.

    Attributes:
        type: Tells such a line from a document's.
        number: From 1 on, in the order of the crawls.
        source: URI of the listing, with secrets masked.
        target: URI of the store, with secrets masked.
        started: When it began; aware, in UTC.
        ended: When it ended.
        complete: Whether everything that was wanted is in the target.
        walked: Whether the listing was read to its end.
        root: Checksum over all documents, as in the report.
        counts: The counters of the report.
        limits: The limits that ended it early.
    """

    type: Literal["run"] = "run"
    number: int
    source: str
    target: str
    started: datetime
    ended: datetime
    complete: bool
    walked: bool
    root: str
    counts: dict[str, int] = field(default_factory=dict)
    limits: tuple[str, ...] = ()


_RUN = TypeAdapter(Run)
_RUN_START = b'{"type":"run"'


# As `_new_name` makes them; the number goes on from the last one.
_Name = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,18}-[0-9a-z]{1,64}$")]


class _Head(BaseModel):
    """Names the segments, in their order.

    Attributes:
        format: The form of all this.
        segments: Those that are there.
        next: The one that comes next, and may be there.
        garbage: Those that are to be deleted, and may be gone.
        unfinished: When runs began that have not ended, by their sources; the first of several.
    """

    format: Literal[1] = 1
    segments: list[_Name] = []
    next: _Name | None = None
    garbage: list[_Name] = []
    unfinished: dict[str, datetime] = {}


class _Missing(Exception):
    """A segment is not there."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class TakesRecords(Protocol):
    """What a journal is read into, such as an :class:`Index`."""

    def load(self, records: Iterable[tuple[Record, bytes]]) -> None:
        """Take records in the order of the journal; later ones take the place of earlier ones."""


class Journal:
    """The journal of one target, open for one crawl, or to be read.

    Args:
        backend: Where it is kept.
        whole: Whether what shards have written in journals of their own is part of it.
        clock: Tells monotonic seconds.
    """

    def __init__(self, backend: Backend, *, whole: bool = True, clock: Callable[[], float] = time.monotonic) -> None:
        self._backend = backend
        self._whole = whole
        self._clock = clock
        self._appends = Feature.APPEND in backend.features
        self._head = _Head()
        self._lines = 0
        self._last_lines = 0  # of the last segment
        self._pending: list[bytes] = []
        self._written_at = clock()
        self._lease: Any = None
        self._shards: list[Journal] = []
        self._interrupted: dict[str, datetime] = {}  # runs of shards, as unfinished ones of the whole
        self.runs: list[Run] = []
        self.last_run = 0
        """The greatest number of a run that has written something, even if it was killed."""

    @property
    def uri(self) -> str:
        """Where it is, with secrets masked."""
        return self._backend.uri

    # -- one crawl at a time -----------------------------------------------------

    def hold(self, *, waits: bool = False) -> None:
        """Make sure that no other crawl writes here, if the store can hold leases.

        Args:
            waits: Whether to wait until another one has ended, however long that takes.

        Raises:
            BackendError: If another crawl does.
        """
        if not {Feature.CREATE, Feature.SWAP} <= set(self._backend.features):
            return
        locks: ModuleType = load("anystore.locks")
        lease = locks.Lock(self._backend, _LEASE, ttl=_LEASE_SECONDS, clock=self._clock)
        # a crawl that was killed leaves its lease for so long
        if not lease.acquire(timeout=None if waits else _LEASE_SECONDS * 1.5):
            raise BackendError(
                f"another crawl is writing the journal in {self.uri}; wait until it has ended, or give this one "
                "a target or a journal of its own"
            )
        self._lease = lease
        for shard in self._shards_now():
            shard.hold()
            self._shards.append(shard)

    def release(self) -> None:
        """Let other crawls write."""
        while self._shards:
            self._shards.pop().release()
        lease, self._lease = self._lease, None
        if lease is not None:
            lease.release()

    # -- reading -------------------------------------------------------------------

    def load(self, index: TakesRecords) -> None:
        """Read everything: documents into an index, and the runs.

        Raises:
            BackendError: If the journal is broken.
        """
        for shard in self._shards_now():  # what is written here is newer
            shard.load(index)
            self.last_run = max(self.last_run, shard.last_run)
            for source, began in shard.unfinished.items():
                self._interrupted[source] = min(began, self._interrupted.get(source, began))
        head = self._head_value()
        while head is not None:
            try:
                self._load(head, index)
            except _Missing as missing:
                before, head = head, self._head_value()
                if head == before:
                    raise self._broken(missing.name, missing) from missing
            else:
                return

    @property
    def interrupted(self) -> dict[str, datetime]:
        """When runs began that have not ended, here or in shards, by their sources."""
        both = dict(self._interrupted)
        for source, began in self._head.unfinished.items():
            both[source] = min(began, both.get(source, began))
        return both

    @property
    def unfinished(self) -> dict[str, datetime]:
        """When runs began that have not ended, by their sources."""
        return self._head.unfinished

    def _shards_now(self) -> list["Journal"]:
        """Give the journals of the shards, unless this is one itself."""
        layout = read_layout(self._backend) if self._whole else None
        if layout is None:
            return []
        self.last_run = max(self.last_run, layout.last_run)
        backends = (shard_backend(self._backend, layout.name, number) for number in range(1, layout.shards + 1))
        return [Journal(backend, whole=False, clock=self._clock) for backend in backends]

    def _head_value(self) -> bytes | None:
        try:
            return self._backend.get(_HEAD)
        except DoesNotExist:
            return None

    def _load(self, head: bytes, index: TakesRecords) -> None:
        """Read what a head names.

        Raises:
            _Missing: If a segment is not there, such as after a crawl of somebody else has compacted them.
        """
        self.runs, self._lines = [], 0
        self._head = self._parse_head(head)
        latest = self._head.next
        if latest is not None and self._backend.exists(_segment_key(latest)):
            self._head.segments.append(latest)
            self._head.next = None
        for name in self._head.segments:
            index.load(self._read(name))

    def _parse_head(self, head: bytes) -> _Head:
        try:
            return _Head.model_validate_json(head)
        except ValidationError as error:
            raise self._broken(str(_HEAD), error) from error

    def _read(self, name: str) -> Iterator[tuple[Record, bytes]]:
        self._last_lines = 0
        try:
            for line in iterate_lines(self._backend.read(_segment_key(name))):
                self._lines += 1
                self._last_lines += 1
                if line.startswith(_RUN_START):
                    self.runs.append(_RUN.validate_json(line))
                    self.last_run = max(self.last_run, self.runs[-1].number)
                else:
                    record = read_record(line)
                    self.last_run = max(self.last_run, record.run)
                    yield record, line
        except DoesNotExist as error:
            raise _Missing(name) from error
        except ValidationError as error:
            raise self._broken(name, error) from error

    def _broken(self, name: str, error: Exception) -> BackendError:
        what = "is missing" if isinstance(error, _Missing) else "cannot be read"
        return BackendError(
            f"the journal of crawls in {self.uri} is broken: {name!r} {what}; delete {str(_HEAD)!r} there to begin "
            "a new one: then each document is fetched once more"
        )

    # -- writing -------------------------------------------------------------------

    def begin(self, source: str, started: datetime) -> datetime | None:
        """Note that a run begins, before it stores anything.

        Args:
            source: URI of its listing, with secrets masked.
            started: The time.

        Returns:
            When a run of the same source began that never ended: what the target got since may be missing here.
        """
        before = self.interrupted.get(source)
        self._head.unfinished[source] = started if before is None else min(before, started)
        self._announce()
        return before

    def begin_as(self, interrupted: dict[str, datetime]) -> None:
        """Begin a journal that goes on for another one, whose runs were interrupted."""
        self._head.unfinished = dict(interrupted)
        self._announce()

    def _announce(self) -> None:
        """Name the segment that comes next; where lines can be appended, the last one will do."""
        if self._head.next is None and not self._takes_more:
            self._head.next = self._new_name()
        self._save_head()

    @property
    def _takes_more(self) -> bool:
        """Whether lines can be appended to the last segment."""
        return self._appends and bool(self._head.segments) and self._last_lines < _LONG_LINES

    def add(self, lines: list[bytes]) -> None:
        """Add lines, which are written soon.

        Raises:
            BackendError: If the store fails, or another crawl has taken over.
        """
        self._pending += lines
        age = self._clock() - self._written_at
        longest, most = (_APPEND_SECONDS, _APPEND_LINES) if self._appends else (_SEGMENT_SECONDS, _SEGMENT_LINES)
        if age >= longest or len(self._pending) >= most:
            self.flush()

    def flush(self) -> None:
        """Write what was added."""
        self._written_at = self._clock()
        if not self._pending:
            return
        if self._lease is not None and not self._lease.held:
            raise BackendError(
                f"this crawl has lost the journal in {self.uri}: it stood still for too long, and another one may have "
                "taken over; crawl again"
            )
        if self._head.next is None and not self._takes_more:
            self._announce()
        lines, self._pending = self._pending, []
        data = b"".join(line + b"\n" for line in lines)
        name = self._head.next or self._head.segments[-1]
        if self._appends:
            self._backend.append(_segment_key(name), data)
        else:
            self._backend.put(_segment_key(name), data)
        self._lines += len(lines)
        self._last_lines += len(lines)
        if self._head.next is not None:
            self._head.segments.append(name)
            self._head.next = None
            self._last_lines = len(lines)
            if not self._appends:
                self._announce()

    def end(self, run: Run, index: Index) -> None:
        """Write a run's own line, and compact the journal where more than half of it is of no use.

        Args:
            run: The run that has ended.
            index: All documents.
        """
        self.runs.append(run)
        self._pending.append(_RUN.dump_json(run))
        self._head.unfinished.pop(run.source, None)
        self.flush()
        if self._lines > 2 * (len(index) + len(self.runs)) + _SMALL or len(self._head.segments) > _MOST_SEGMENTS:
            self._compact(index)
        elif self._appends:
            self._save_head()

    def keep_runs_only(self) -> None:
        """Forget what documents there are, since shards know them; it has to be loaded."""
        self._rewrite(())

    def delete(self) -> None:
        """Delete all of it."""
        head = self._head_value()
        if head is not None:
            known = self._parse_head(head)
            for name in (*known.segments, *known.garbage, *filter(None, [known.next])):
                with suppress(DoesNotExist):
                    self._backend.delete(_segment_key(name))
            self._backend.delete(_HEAD)

    def _compact(self, index: Index) -> None:
        self._rewrite(index.records())
        self._lines = len(index) + len(self.runs)

    def _rewrite(self, records: Iterable[Record]) -> None:
        name = self._new_name()
        # until the head names it otherwise, it is garbage: of a crawl that was killed meanwhile nothing is left behind
        self._head.garbage.append(name)
        self._backend.put(_HEAD, self._head.model_dump_json().encode())
        with self._backend.writer(_segment_key(name)) as writer:
            for run in self.runs:
                writer.write(_RUN.dump_json(run) + b"\n")
            for record in records:
                writer.write(write_record(record) + b"\n")
        old = [*self._head.segments, *filter(None, [self._head.next])]
        self._head = _Head(segments=[name], garbage=old, unfinished=self._head.unfinished)
        self._lines = len(self.runs)
        self._save_head()

    def _save_head(self) -> None:
        """Publish the names of the segments, then delete what is not named any more."""
        self._backend.put(_HEAD, self._head.model_dump_json().encode())
        garbage, self._head.garbage = self._head.garbage, []
        for name in garbage:
            with suppress(DoesNotExist):
                self._backend.delete(_segment_key(name))

    def _new_name(self) -> str:
        last = max((int(name.partition("-")[0]) for name in self._head.segments), default=0)
        return f"{last + 1:08d}-{token_hex(4)}"


def _segment_key(name: str) -> Key:
    return private_key(f"crawl/{name}.jsonl")
