"""A walk that ends in time: read by a thread of its own, so that a server that hangs does not hold up who waits."""

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Generic, TypeVar

T = TypeVar("T")

_MOST_AHEAD = 10_000
_POLL = 0.05


class TimedWalk(Generic[T]):
    """What a walk gives within some seconds.

    Args:
        walk: Gives one after the other; what it does is done in another thread.
        seconds: How long to wait for it.
        clock: Tells monotonic seconds.

    Attributes:
        ended: Whether the walk came to its end.

    Example:
        >>> walk = TimedWalk([1, 2, 3], seconds=10)
        >>> list(walk), walk.ended
        ([1, 2, 3], True)
    """

    def __init__(self, walk: Iterable[T], *, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._walk = walk
        self._clock = clock
        self._until = clock() + seconds
        self._ahead: deque[T] = deque()
        self._stopped = threading.Event()
        self.ended = False

    def __iter__(self) -> Iterator[T]:
        """Give what comes, until there is no more or the time is over.

        Raises:
            AnystoreError: What keeps the walk from its end; all that came before was given.
        """
        pool = ThreadPoolExecutor(1, thread_name_prefix="anystore-walk")
        pulling = pool.submit(self._pull)
        try:
            while self._clock() < self._until:
                is_last = pulling.done()  # asked first: what comes after it is asked is not the last
                while self._ahead and self._clock() < self._until:
                    yield self._ahead.popleft()
                if is_last and not self._ahead:
                    pulling.result()
                    self.ended = True
                    return
                wait([pulling], timeout=_POLL)
        finally:
            self._stopped.set()
            pool.shutdown(wait=False)  # a call that hangs ends when its connection does

    def _pull(self) -> None:
        coming = iter(self._walk)
        try:
            for one in coming:
                self._ahead.append(one)
                while len(self._ahead) >= _MOST_AHEAD and not self._stopped.is_set():
                    time.sleep(_POLL)
                if self._stopped.is_set():
                    return
        finally:
            if isinstance(coming, Generator):
                coming.close()  # in the thread that its connections belong to
