"""Blocking calls awaited: worker threads for an event loop, a bounded number for each backend."""

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from threading import Lock
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

from anystore.backend import Backend
from anystore.backends.wrap import unwrap

T = TypeVar("T")

_BATCH_ITEMS = 256
_BATCH_SECONDS = 0.01
_LEAVE_SECONDS = 1.0  # that who leaves a loop early waits for the batch that is being read

_LOCK = Lock()
os.register_at_fork(before=_LOCK.acquire, after_in_parent=_LOCK.release, after_in_child=_LOCK.release)
_THREADS: "WeakKeyDictionary[Backend, WorkerThreads]" = WeakKeyDictionary()


def threads_of(backend: Backend, limit: int) -> "WorkerThreads":
    """Give the threads of a backend; its views, such as the folders of tenants, share them.

    Args:
        backend: The backend.
        limit: How many threads it gets when it has none yet.

    Returns:
        The threads; those of this process, also after a fork.
    """
    root, _ = unwrap(backend)
    threads = _THREADS.get(root)
    if threads is None or threads.process != os.getpid():
        with _LOCK:
            threads = _THREADS.get(root)
            if threads is None or threads.process != os.getpid():
                threads = _THREADS[root] = WorkerThreads(limit)
    return threads


class WorkerThreads:
    """Threads that run blocking calls for any event loop, or for several.

    Args:
        limit: How many calls run at the same time; more wait for their turn.
    """

    def __init__(self, limit: int) -> None:
        self.process = os.getpid()
        self._pool = ThreadPoolExecutor(limit, thread_name_prefix="anystore-aio")

    async def read(self, function: Callable[[], T]) -> T:
        """Call what changes nothing; when the caller is cancelled, its result is not waited for.

        Args:
            function: The call.

        Returns:
            Its result.
        """
        return await _watched(self._submit(function))

    async def write(self, function: Callable[[], T], *, on_cancel: Callable[[], None] | None = None) -> T:
        """Call what changes something, and know how it ended.

        A call that has not begun when the caller is cancelled never does. One that has is
        waited for, so that it cannot take effect after something the caller does next; a
        second cancellation ends the wait.

        Args:
            function: The call.
            on_cancel: What is called when the caller is cancelled, and the wait begins.

        Returns:
            Its result.
        """
        future = self._submit(function)
        watched = _watched(future)
        try:
            return await asyncio.shield(watched)
        except asyncio.CancelledError:
            if on_cancel is not None:
                on_cancel()
            try:
                if not future.cancel():
                    await asyncio.wait([watched])
            finally:
                watched.cancel()  # should the loop end before the call
            raise

    async def write_each(self, function: Callable[[Iterator[T]], None], items: Iterable[T]) -> None:
        """Call what takes items one after the other; when the caller is cancelled, it gets no more of them.

        Args:
            function: The call.
            items: The items; they are iterated in the thread of the call.
        """
        given = _Given(items)
        await self.write(lambda: function(iter(given)), on_cancel=given.stop)

    async def iterate(self, begin: Callable[[], Iterator[T]]) -> AsyncGenerator[T, None]:
        """Iterate over what blocks, a batch ahead of the caller.

        A batch is what comes in a hundredth of a second, or one item that takes longer, so
        that memory stays bounded; an item that is there never waits for one that is not.

        Args:
            begin: Gives the iterator; it is called in a thread, and closed when the caller leaves.

        Yields:
            The items.
        """
        source = _Source(begin)
        filling = self._submit(source.fill)
        watched = _watched(filling)
        patience = _LEAVE_SECONDS
        try:
            while True:
                await source.wait(watched)
                is_filled = filling.done()  # asked before, lest what comes in between is left
                items = source.drain()
                is_last = is_filled and (source.is_ended or filling.exception() is not None)
                if is_filled and not is_last:
                    filling = self._submit(source.fill)
                    watched = _watched(filling)
                for item in items:
                    yield item
                if is_last:
                    filling.result()  # what failed after the last item
                    return
        except asyncio.CancelledError:
            patience = 0.0
            raise
        finally:
            source.is_left = True
            try:
                await asyncio.wait([watched], timeout=patience)
            finally:
                watched.cancel()
                closing = self._submit(source.close) if filling.done() else None
                if closing is None:  # it hangs on a server, which nobody who has left waits for
                    filling.add_done_callback(lambda _: source.close())
            if closing is not None:
                await asyncio.shield(_watched(closing))

    def _submit(self, function: Callable[[], T]) -> "Future[T]":
        context = copy_context()
        return self._pool.submit(context.run, _call, function)


class _Given(Generic[T]):
    """Items that run out with an error once nobody wants them any more."""

    def __init__(self, items: Iterable[T]) -> None:
        self._items = items
        self._is_stopped = False

    def stop(self) -> None:
        self._is_stopped = True

    def __iter__(self) -> Iterator[T]:
        for item in self._items:
            if self._is_stopped:
                raise asyncio.CancelledError
            yield item


class _Source(Generic[T]):
    """A blocking iterator, used by one thread at a time."""

    def __init__(self, begin: Callable[[], Iterator[T]]) -> None:
        self._begin = begin
        self._iterator: Iterator[T] | None = None
        self._items: list[T] = []
        self._lock = Lock()
        self._wake: Callable[[], None] | None = None
        self.is_ended = self.is_left = False

    def fill(self) -> None:
        """Read a batch; what was read before a failure stays to be drained."""
        with self._lock:
            if self._iterator is None:
                self._iterator = self._begin()
            ends = time.monotonic() + _BATCH_SECONDS
            for item in self._iterator:
                self._items.append(item)
                wake, self._wake = self._wake, None
                if wake is not None:
                    wake()
                if self.is_left or len(self._items) >= _BATCH_ITEMS or time.monotonic() >= ends:
                    return
            self.is_ended = True

    async def wait(self, watched: "asyncio.Future[None]") -> None:
        """Wait for a batch, or if that takes long, for its first item."""
        await asyncio.wait([watched], timeout=_BATCH_SECONDS)
        if watched.done() or self._items:
            return
        loop = asyncio.get_running_loop()
        woken: asyncio.Future[None] = loop.create_future()
        self._wake = partial(_wake, loop, woken)
        if not self._items:  # it may have come just now
            await asyncio.wait([watched, woken], return_when=asyncio.FIRST_COMPLETED)
        self._wake = None

    def drain(self) -> list[T]:
        """Take what was read so far; a thread may be adding to it."""
        items = self._items[:]
        del self._items[: len(items)]
        return items

    def close(self) -> None:
        """Let go of what the iterator holds, after the thread that reads."""
        with self._lock:
            self._items = []
            close: Callable[[], None] | None = getattr(self._iterator, "close", None)
            if close is not None:
                close()


def _call(function: Callable[[], T]) -> T:
    """Call a function; this error would leave who waits for it in an event loop waiting for ever."""
    try:
        return function()
    except StopIteration as error:
        raise RuntimeError("a function that the store called raised StopIteration") from error


def _wake(loop: asyncio.AbstractEventLoop, woken: "asyncio.Future[None]") -> None:
    with suppress(RuntimeError):  # the loop has ended meanwhile
        loop.call_soon_threadsafe(_set, woken)


def _set(woken: "asyncio.Future[None]") -> None:
    if not woken.done():
        woken.set_result(None)


def _watched(future: "Future[T]") -> "asyncio.Future[T]":
    """Wrap a future for this loop; nobody complains if its failure is never looked at."""
    wrapped = asyncio.wrap_future(future)
    wrapped.add_done_callback(lambda done: done.cancelled() or done.exception())
    return wrapped
