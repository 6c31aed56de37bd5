"""Copying values, and deleting them: what a worker does with a few keys, in any thread or process.

A worker knows nothing of the whole. Each value is published whole by its target, so that a worker
that is killed leaves nothing but what the next run copies again.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum, auto
from functools import partial
from typing import Literal

from anystore.backend import Backend, Entry, remaining_ttl
from anystore.backends.wrap import unwrap
from anystore.errors import (
    AnystoreError,
    BackendError,
    DoesNotExist,
    InvalidKey,
    KeyConflict,
    ReadOnlyError,
    VersionMismatch,
)
from anystore.keys import Key, join_key
from anystore.mirroring.checking import Digests, Inspector, digests_for
from anystore.mirroring.comparing import Comparison, Verdict, is_same_version, same_bytes
from anystore.mirroring.limits import Limits, Stop, Stopped, Throttle
from anystore.mirroring.report import Outcome
from anystore.retries import attempt

Verify = Literal["fast", "full"]

UNSURE_SECONDS = 1.0
"""How long a copy may take before the source is asked whether the value has changed meanwhile.

A change within this time, and a second in which clocks differ, leave the two times of a value so
close that the next run looks at its content: see ``comparing.DOUBT_SECONDS``."""

_PATIENCE = 2  # so many values that a service has failed for, and the others of a unit get one try each


class Way(Enum):
    """How the values of a unit are handled."""

    BATCH = auto()
    """Small ones together."""
    STREAM = auto()
    """Piece by piece."""
    INSIDE = auto()
    """By the service, without reading them."""
    DELETE = auto()
    """They are deleted in the target, unless the source has them."""


@dataclass(frozen=True, slots=True)
class Item:
    """One value to be handled.

    Attributes:
        entry: What the source has listed; of a value to be deleted, what the target has.
        there: What the target has, if its content has to be looked at; None for a value to be copied.
    """

    entry: Entry
    there: Entry | None = None


@dataclass(frozen=True, slots=True)
class Unit:
    """Values that are handled together by one worker."""

    way: Way
    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class Job:
    """What every worker of a run has to know; it is pickled by the configuration of its backends.

    Attributes:
        source: The backend that is read.
        target: The backend that is filled.
        comparison: How they are compared.
        verify: ``full`` to read back what was written.
        retries: How often something that can pass is tried again.
        dry_run: Whether nothing is to be changed.
        limits: What this worker, or all of one process, may use.
    """

    source: Backend
    target: Backend
    comparison: Comparison
    verify: Verify
    retries: int
    dry_run: bool
    limits: Limits


class Worker:
    """Handles units.

    Args:
        job: What it is all about.
        stop: Ends the work between two pieces.
        moved: Told of bytes as they are copied.
    """

    def __init__(self, job: Job, stop: Stop, moved: Callable[[int], object]) -> None:
        self._job = job
        self._source = job.source
        self._target = job.target
        self._stop = stop
        self._moved = moved
        self._throttle = Throttle(job.limits, stop)
        self._inspector = Inspector(job.target, self._throttle, full=job.verify == "full")

    def run(self, unit: Unit) -> Outcome:
        """Handle the values of a unit, each whatever becomes of the others.

        Returns:
            What came of them; those that were not reached before the run was stopped are not counted.
        """
        outcome = Outcome()
        try:
            if unit.way is Way.BATCH:
                self._copy_batch(unit.items, outcome)
            elif unit.way is Way.DELETE:
                self._delete(unit.items, outcome)
            else:
                for item in unit.items:
                    self._handle(item, outcome, inside=unit.way is Way.INSIDE)
        except Stopped:
            pass
        return outcome

    # -- one value -------------------------------------------------------------

    def _handle(self, item: Item, outcome: Outcome, *, inside: bool = False) -> None:
        """Copy one value, with retries; what becomes of it goes into the outcome."""

        def copy() -> tuple[int, str] | None:
            return self._copy(item, inside=inside)

        retries = self._job.retries if outcome.service_failures < _PATIENCE else 0
        try:
            copied = attempt(copy, retries=retries, wait=self._stop.wait)
        except AnystoreError as error:
            if isinstance(error, DoesNotExist) and _has_expired(item.entry):
                outcome.skipped += 1
            else:
                self._fail(item.entry.key, error, outcome)
            return
        outcome.service_failures = 0
        if copied is None:
            outcome.skipped += 1
        else:
            self._done(item.entry.key, *copied, outcome)

    def _copy(self, item: Item, *, inside: bool) -> tuple[int, str] | None:
        """Copy one value, unless the target turns out to have it; its size and a digest, or None."""
        self._stop.check()
        key = Key(item.entry.key)
        if item.there is not None and self._is_there(key, item.entry, item.there):
            return None
        if self._job.dry_run:
            return item.entry.size or 0, ""
        if inside and (size := self._copy_inside(key)) is not None:
            return size, ""
        return self._stream(key)

    def _is_there(self, key: Key, source: Entry, target: Entry) -> bool:
        """Tell whether the target has the same value, after a closer look at both."""
        comparison = self._job.comparison
        if comparison.lacks(source):
            self._throttle.request()
            source = self._source.stat(key)
        if comparison.lacks(target):
            self._throttle.request()
            try:
                target = self._target.stat(key)
            except DoesNotExist:
                return False
        verdict = comparison.judge(source, target)
        if verdict is Verdict.LOOK:
            verdict = comparison.last_word() or verdict
        return verdict is Verdict.SAME or (verdict is Verdict.LOOK and self._reads_alike(key))

    def _reads_alike(self, key: Key) -> bool:
        """Compare the contents, up to the first difference."""
        self._throttle.request(2)
        with self._source.reader(key) as ours:
            try:
                theirs = self._target.reader(key)
            except DoesNotExist:
                return False
            with theirs:
                return same_bytes(self._watched(ours.read()), self._watched(theirs.read()))

    def _copy_inside(self, key: Key) -> int | None:
        """Let the service copy the value; None if it cannot, or its copy is not to be trusted."""
        (source, folder), started = unwrap(self._source), time.monotonic()
        self._throttle.request(2)
        try:
            before = self._source.stat(key)
            if not self._target.copy_from(source, join_key(folder, key), key):
                return None
            after = self._target.stat(key)
        except DoesNotExist:
            raise
        except AnystoreError:
            return None  # streaming tells the true reason, or works
        if before.size != after.size or self._has_changed(key, before, started):
            return None
        if self._job.verify == "full" and not self._reads_alike(key):
            return None
        return after.size

    def _stream(self, key: Key) -> tuple[int, str]:
        """Copy one value piece by piece, and check the copy."""
        self._throttle.request(2)
        started = time.monotonic()
        with self._source.reader(key) as reader:
            entry, size = reader.entry, 0
            digests = self._digests(entry.size)
            writer = self._target.writer(key, ttl=remaining_ttl(entry))
            try:
                for piece in self._watched(reader.read()):
                    digests.update(piece)
                    size += writer.write(piece)
                    self._moved(len(piece))
                if entry.size not in (None, size):
                    raise VersionMismatch(
                        f"{self._source.locate(key)} has {entry.size:,} bytes, and {size:,} came; mirror again"
                    )
                if not digests.agree(self._source, entry):
                    raise self._spoilt(key, digests)
                written = writer.commit()
            except BaseException:
                writer.abort()
                raise
        self._inspector.inspect(key, written, size=size, digests=digests, expires=entry.expires is not None)
        if self._has_changed(key, entry, started):
            raise self._source.changed(key)
        return size, str(digests)

    def _digests(self, size: int | None) -> Digests:
        return digests_for((self._source, self._target), size, full=self._job.verify == "full")

    def _spoilt(self, key: Key, digests: Digests) -> VersionMismatch:
        """Make the error for a value that came otherwise than its service describes it."""
        return VersionMismatch(
            f"{self._source.locate(key)} came with another digest ({digests}) than the service tells of it, so that "
            "nothing was written: it was spoilt on the way, or where it is stored"
        )

    def _has_changed(self, key: Key, entry: Entry, started: float) -> bool:
        """Tell whether the source has another value than the one that was copied, if that took long."""
        if time.monotonic() - started <= UNSURE_SECONDS:
            return False
        self._throttle.request()
        try:
            return not is_same_version(self._source.stat(key), entry)
        except DoesNotExist:
            return False  # the next run sees that it is gone

    def _watched(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            yield piece
            self._throttle.read(len(piece))

    # -- many values -----------------------------------------------------------

    def _copy_batch(self, items: Sequence[Item], outcome: Outcome) -> None:
        """Copy small values together; those that have trouble go one by one."""
        started = time.monotonic()
        try:
            values = self._get_many(self._source, items)
            theirs = self._get_many(self._target, [item for item in items if item.there is not None])
        except AnystoreError:
            self._handle_each(items, outcome)
            return
        fresh: list[Item] = []
        for item in items:
            key = item.entry.key
            data = values.get(key)
            if data is None:
                self._fail(key, _gone(self._source, key), outcome)
            elif item.there is not None and theirs.get(key) == data:
                outcome.skipped += 1
            elif self._job.dry_run:
                self._done(key, len(data), "", outcome)
            else:
                fresh.append(item)
        if fresh:
            self._put_batch(fresh, values, started, outcome)

    def _put_batch(self, items: Sequence[Item], values: dict[str, bytes], started: float, outcome: Outcome) -> None:
        """Write small values together; those that are not as they should be go one by one."""
        digests = {item.entry.key: self._digests(len(values[item.entry.key])) for item in items}
        for key, one in digests.items():
            one.update(values[key])
        doubted = {one.entry.key for one in items if not digests[one.entry.key].agree(self._source, one.entry)}
        sound = [item for item in items if item.entry.key not in doubted]
        self._throttle.request(len(sound))
        try:
            doubted |= self._put_many({item.entry.key: values[item.entry.key] for item in sound}, digests)
            doubted |= self._doubted(sound, values, started)
        except AnystoreError:
            self._handle_each(items, outcome)
            return
        for item in items:
            key = item.entry.key
            if key not in doubted:
                self._moved(len(values[key]))
                self._done(key, len(values[key]), str(digests[key]), outcome)
        self._handle_each([item for item in items if item.entry.key in doubted], outcome)

    def _handle_each(self, items: Iterable[Item], outcome: Outcome) -> None:
        for item in items:
            self._handle(item, outcome)

    def _get_many(self, backend: Backend, items: Sequence[Item]) -> dict[str, bytes]:
        if not items:
            return {}
        self._throttle.request(len(items))
        keys = [Key(item.entry.key) for item in items]
        # without one step for many, the workers are threads enough
        found = backend.get_many(keys) if unwrap(backend)[0].batches else Backend.get_many(backend, keys)
        values = {key: data for key, data in found if data is not None}
        self._throttle.read(sum(map(len, values.values())))
        return values

    def _put_many(self, values: dict[str, bytes], digests: dict[str, Digests]) -> set[str]:
        """Write values; give the keys of those of which the target says something else."""
        if unwrap(self._target)[0].batches:
            self._target.put_many([(Key(key), data) for key, data in values.items()])
            return set()
        doubted: set[str] = set()
        for key, data in values.items():
            written = self._target.put(Key(key), data)
            if written.size not in (None, len(data)) or not digests[key].agree(self._target, written):
                doubted.add(key)
        return doubted

    def _doubted(self, items: Sequence[Item], values: dict[str, bytes], started: float) -> set[str]:
        """Find the values that are not in the target as they are in the source, as far as is looked."""
        doubted: set[str] = set()
        if self._job.verify == "full":
            back = self._get_many(self._target, items)
            doubted.update(item.entry.key for item in items if back.get(item.entry.key) != values[item.entry.key])
        doubted.update(item.entry.key for item in items if self._has_changed(Key(item.entry.key), item.entry, started))
        return doubted

    def _delete(self, items: Sequence[Item], outcome: Outcome) -> None:
        """Delete values, but none that the source has after all: it may be new, or a listing may have left it out."""
        keys: list[Key] = []
        for item in items:
            key = Key(item.entry.key)
            self._throttle.request()
            try:
                if not attempt(partial(self._source.exists, key), retries=self._job.retries, wait=self._stop.wait):
                    keys.append(key)
            except InvalidKey:
                keys.append(key)  # the source cannot have it
            except AnystoreError as error:
                self._fail(key, error, outcome)
        if self._job.dry_run:
            self._deleted(keys, outcome)
            return
        self._throttle.request(len(keys))
        try:
            self._target.delete_many(keys)
        except AnystoreError:
            self._delete_each(keys, outcome)
        else:
            self._deleted(keys, outcome)

    def _delete_each(self, keys: Iterable[Key], outcome: Outcome) -> None:
        for key in keys:
            try:
                self._target.delete(key)
            except AnystoreError as error:
                self._fail(key, error, outcome)
            else:
                self._deleted([key], outcome)

    # -- what came of it -------------------------------------------------------

    def _done(self, key: str, size: int, digest: str, outcome: Outcome) -> None:
        outcome.copied += 1
        outcome.bytes += size
        outcome.changes.append(("copy", key, digest))

    def _deleted(self, keys: Sequence[str], outcome: Outcome) -> None:
        outcome.deleted += len(keys)
        outcome.changes += [("delete", key, "") for key in keys]

    def _fail(self, key: str, error: AnystoreError, outcome: Outcome) -> None:
        if isinstance(error, DoesNotExist):
            error = _gone(self._source, key)
        outcome.fail([key], str(error))
        if isinstance(error, KeyConflict):
            outcome.conflicts.add(key)
        by_service = isinstance(error, (BackendError, ReadOnlyError))
        outcome.service_failures = outcome.service_failures + 1 if by_service else 0


def _has_expired(entry: Entry) -> bool:
    return entry.expires is not None and entry.expires <= datetime.now(UTC) + timedelta(seconds=1)


def _gone(source: Backend, key: str) -> DoesNotExist:
    return DoesNotExist(
        f"{source.uri} lists {key!r}, but has no value under it; if it was deleted meanwhile, the next run is complete"
    )
