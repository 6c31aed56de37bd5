"""The workers of a run, wherever they are: units are handed out, a bounded number at a time, and counted."""

import logging
import pickle
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from functools import lru_cache
from types import TracebackType
from typing import Self

from anystore.errors import AnystoreError
from anystore.mirroring.copying import Job, Unit, Way, Worker
from anystore.mirroring.limits import Stop
from anystore.mirroring.report import Outcome
from anystore.progress import Tracker

LOG = logging.getLogger("anystore.mirroring")

MOST_BYTES = 160 << 20
"""How many bytes the values that are worked on in this process may hold, about."""

_PART_BYTES = 8 << 20
_STREAM_BYTES = 40 << 20  # four parts in flight, and one being filled
_WAITING = 2  # units for each worker, so that none has to wait for the next
_SOME_FAILURES = 100
_MANY_FAILURES = 10_000


class Hopeless(Exception):
    """To go on would only make the list of failures longer."""


class Crew:
    """The workers of a run.

    Args:
        job: What it is all about.
        executor: Runs the workers; None for threads of our own.
        workers: How many units are worked on at the same time.
        tracker: Told of what is done.
        is_up: Tells whether both services answer; asked after many failures.

    Attributes:
        outcome: What came of all units so far.
    """

    def __init__(
        self, job: Job, executor: Executor | None, *, workers: int, tracker: Tracker, is_up: Callable[[], bool]
    ) -> None:
        self.outcome = Outcome()
        self._workers = workers
        self._tracker = tracker
        self._is_up = is_up
        self._checked_at = 0
        self._stop = Stop()
        self._pending: dict[Future[Outcome], tuple[Unit, int]] = {}
        self._held = 0
        self._own = ThreadPoolExecutor(workers, thread_name_prefix="anystore-mirror") if executor is None else None
        self._executor: Executor = self._own or executor  # type: ignore[assignment] # one of both is there
        self._blob = b""
        self._most_pending = workers * _WAITING
        if isinstance(self._executor, ThreadPoolExecutor):
            self._worker = Worker(job, self._stop, tracker.moved)
        else:
            if job.limits.requests or job.limits.bytes:
                # nothing is shared between processes, so that each unit has its part of what is allowed
                self._most_pending = workers
                job = replace(job, limits=job.limits.share(workers))
            self._blob = pickle.dumps(job)
            self._executor.submit(open_stores, self._blob).result()  # what cannot be opened there is said at once

    def __enter__(self) -> Self:
        """Enter a block that ends the workers."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the workers: after an error soon, else when all is done."""
        try:
            if error is None:
                self.finish()
            else:
                self.abandon()
        finally:
            if self._own is not None:
                self._own.shutdown()

    @property
    def free(self) -> int:
        """How many workers have nothing to do."""
        return max(0, self._workers - len(self._pending))

    def submit(self, unit: Unit) -> None:
        """Hand out a unit, as soon as there is room for it.

        Raises:
            Hopeless: If nothing works any more.
        """
        weight = 0 if self._blob else _weight(unit)
        while self._pending and (
            len(self._pending) >= self._most_pending or (weight and self._held + weight > MOST_BYTES)
        ):
            self._collect(wait(self._pending, return_when=FIRST_COMPLETED).done)
        try:
            if self._blob:
                future = self._executor.submit(work, self._blob, unit)
            else:
                future = self._executor.submit(self._worker.run, unit)
        except RuntimeError as error:  # a broken or closed executor
            raise Hopeless(f"the executor takes no more work ({type(error).__name__}: {error})") from error
        self._pending[future] = (unit, weight)
        self._held += weight

    def collect(self) -> None:
        """Count what is done, without waiting."""
        self._collect({future for future in self._pending if future.done()})

    def finish(self) -> None:
        """Wait until all is done.

        Raises:
            Hopeless: If nothing works any more.
        """
        while self._pending:
            self._collect(wait(self._pending, return_when=FIRST_COMPLETED).done)

    def abandon(self) -> None:
        """Let the workers end what they cannot leave, and nothing more; it is counted."""
        self._stop.set()
        for future in self._pending:
            future.cancel()
        done = wait(self._pending).done
        for future in done:
            if not future.cancelled():
                self._count(future)
        self._pending.clear()

    def _collect(self, done: set[Future[Outcome]]) -> None:
        for future in done:
            self._count(future)
            self._held -= self._pending.pop(future)[1]
        self._check_hope()

    def _count(self, future: Future[Outcome]) -> None:
        unit = self._pending[future][0]
        outcome = _outcome_of(future, unit)
        self.outcome.add(outcome)
        if self._blob:
            self._tracker.moved(outcome.bytes)
        self._tracker.advance(outcome.values, failed=outcome.failed)
        for what, key, digest in outcome.changes:
            LOG.info("%s %s", what, f"{key} {digest}" if digest else key)
        for failure in outcome.failures:
            LOG.info("failed %s: %s", failure.key, failure.reason)

    def _check_hope(self) -> None:
        """Stop when a service is down: each value would fail in its turn, slowly."""
        outcome = self.outcome
        last = outcome.failures[-1].reason if outcome.failures else ""
        if outcome.service_failures >= self._checked_at + _SOME_FAILURES:
            self._checked_at = outcome.service_failures
            if not self._is_up():
                raise Hopeless(f"{outcome.service_failures:,} values failed one after the other, the last: {last}")
        elif not outcome.service_failures:
            self._checked_at = 0
        worked = outcome.copied or outcome.skipped or outcome.deleted
        if not worked and outcome.failed >= _MANY_FAILURES:
            raise Hopeless(f"{outcome.failed:,} values failed, and none did not; the last: {last}")


def _weight(unit: Unit) -> int:
    """Tell how many bytes a unit may hold at a time, about."""
    sizes = [_STREAM_BYTES if item.entry.size is None else item.entry.size for item in unit.items]
    if unit.way is Way.BATCH:
        return 2 * sum(sizes)
    if unit.way is Way.STREAM:
        longest = max(sizes)
        return 2 * longest if longest <= _PART_BYTES else _STREAM_BYTES
    return 0


def _outcome_of(future: Future[Outcome], unit: Unit) -> Outcome:
    """Give the outcome of a unit; a worker that failed, or its process, has failed for all of its values."""
    error = CancelledError() if future.cancelled() else future.exception()
    if error is None:
        return future.result()
    # the text of a foreign error is left out: nobody has masked the secrets in it
    reason = str(error) if isinstance(error, AnystoreError) else f"the worker failed by {type(error).__name__}"
    outcome = Outcome(service_failures=len(unit.items))
    outcome.fail([item.entry.key for item in unit.items], reason)
    return outcome


@lru_cache(maxsize=4)
def _worker_of(blob: bytes) -> Worker:
    """Give the worker of a run in another process; its connections are used by all units."""
    job: Job = pickle.loads(blob)  # noqa: S301 - made by the run, and by nobody else
    return Worker(job, Stop(), lambda _: None)


def open_stores(blob: bytes) -> None:
    """Open both stores in another process.

    Args:
        blob: The pickled job.

    Raises:
        Unsupported: If one of them cannot be used there.
    """
    _worker_of(blob)


def work(blob: bytes, unit: Unit) -> Outcome:
    """Handle a unit in another process.

    Args:
        blob: The pickled job.
        unit: The unit.

    Returns:
        What came of it.
    """
    return _worker_of(blob).run(unit)
