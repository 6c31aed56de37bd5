"""Bodies that have come -> the target: in the thread that fetches where the target is quick, else in others."""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

from anystore.crawling.keeping import AT_ONCE_BYTES, Job, Keeper
from anystore.crawling.tasks import Outcome, Task
from anystore.web.fetcher import Fetched

_Stored = tuple[float, list[tuple[Task, Outcome]]]

_THREADS = 8
_MOST_BYTES = 16 << 20
_MOST_BATCHES = 32
_BATCH_SECONDS = 0.02
_BATCH_MOST = 64
_QUICK = 0.0005  # seconds: handing a body over, and what came of it back, takes as long, while others fetch
_MAYBE_QUICK = 0.005  # in a thread, most of the time may have been spent waiting for the one that fetches
_TRIES = 5
_TRY_AGAIN = 200  # bodies, after which a target that was slow is tried once more


class Storers:
    """Stores bodies, and tells what came of each.

    Threads share one interpreter, so that to hand a body over costs more than a quick target takes to store it. How
    long a target takes is measured all the time.

    Args:
        keeper: Stores them.
        done: Is told what came of each; always in the caller's thread.
        wake: Is called, by another thread, when there is something to :meth:`reap`.
    """

    def __init__(self, keeper: Keeper, *, done: Callable[[Task, Outcome], None], wake: Callable[[], None]) -> None:
        self._keeper = keeper
        self._done = done
        self._wake = wake
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="anystore-crawl-store")
        self._running: dict[Future[_Stored], int] = {}
        self._seconds = _BATCH_SECONDS  # that threads take for a body
        self._tries: deque[float] = deque(maxlen=_TRIES)  # seconds that the last ones have taken that were stored here
        self._since_tried = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=kind is not None)

    @property
    def busy(self) -> bool:
        """Whether bodies are being stored."""
        return bool(self._running)

    @property
    def full(self) -> bool:
        """Whether more has come than the target has taken."""
        return len(self._running) >= _MOST_BATCHES or sum(self._running.values()) >= _MOST_BYTES

    def store(self, batch: Sequence[tuple[Job, Fetched]]) -> None:
        """Store bodies now or soon."""
        small = [one for one in batch if len(one[1].body or b"") <= AT_ONCE_BYTES]
        waiting = [one for one in batch if len(one[1].body or b"") > AT_ONCE_BYTES]
        while small and self._stores_here():
            count = len(small) if self._is_quick else 1
            self._take(self._keeper.store_all(small[:count], together=True), here=True)
            del small[:count]
        waiting += small
        most = min(max(int(_BATCH_SECONDS / max(self._seconds, 1e-5)), 1), _BATCH_MOST)
        for start in range(0, len(waiting), most):
            part = waiting[start : start + most]
            future = self._pool.submit(self._keeper.store_all, part)
            future.add_done_callback(lambda _: self._wake())
            self._running[future] = sum(len(answer.body or b"") for _, answer in part)

    def reap(self) -> None:
        """Tell what the threads have done."""
        for future in [one for one in self._running if one.done()]:
            del self._running[future]
            self._take(future.result(), here=False)

    def cancel(self) -> None:
        """Begin nothing more."""
        for future in self._running:
            future.cancel()

    @property
    def _is_quick(self) -> bool:
        return len(self._tries) == _TRIES and min(self._tries) < _QUICK  # who shares a busy machine is late at times

    def _stores_here(self) -> bool:
        if self._is_quick or len(self._tries) < _TRIES:
            return True
        return self._seconds < _MAYBE_QUICK and self._since_tried >= _TRY_AGAIN

    def _take(self, stored: _Stored, *, here: bool) -> None:
        seconds, outcomes = stored
        taken = seconds / len(outcomes)
        if here:
            self._tries.append(taken)
            self._since_tried = 0
        else:
            self._seconds = 0.8 * self._seconds + 0.2 * taken
            self._since_tried += len(outcomes)
        for task, outcome in outcomes:
            self._done(task, outcome)
