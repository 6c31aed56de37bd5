"""A store for asyncio: the same calls, run in worker threads over the same backend.

Reads that are cancelled are not waited for. A write that has begun is, so that it is done
or not done when the cancelled caller goes on, and cannot take effect later.
"""

import os
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from types import EllipsisType, ModuleType
from typing import Any, Generic, TypeVar

from anystore.backend import Entry
from anystore.codec_choice import Mode
from anystore.compression import Compression
from anystore.errors import InvalidOption
from anystore.extras import load

S = TypeVar("S")  # the store's own class, which stands on top of this module

_LIMIT = 32


class AsyncStore(Generic[S]):
    """A store whose methods are awaited; arguments, results and errors are those of the store.

    Stores of one backend share their threads, the folders of :meth:`anystore.Store.under`
    included. It may be used from several event loops, one after the other or at once.

    Args:
        store: The :class:`anystore.Store`.
        limit: How many calls run at the same time, in threads of this object alone; None shares
            the backend's 32.

    Raises:
        InvalidOption: If ``limit`` is no number of threads.

    Example:
        >>> import asyncio
        >>> from anystore import get_store
        >>> async def greet():
        ...     store = get_store("memory://awaited").aio
        ...     await store.put("greeting", "hello")
        ...     return await store.get("greeting")
        >>> asyncio.run(greet())
        'hello'
    """

    def __init__(self, store: S, *, limit: int | None = None) -> None:
        if limit is not None and (type(limit) is not int or limit < 1):
            raise InvalidOption(f"limit is a number of threads of at least 1, not {limit!r}")
        self._store: Any = store
        self._limit = limit
        self._own: Any = None

    def __repr__(self) -> str:
        """Show the masked URI."""
        return f"<AsyncStore {self._store.uri}>"

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, int | None]]:
        """Pickle by configuration."""
        return _restore, (self._store, self._limit)

    @property
    def store(self) -> S:
        """The :class:`anystore.Store`; for what is not here: ``await asyncio.to_thread(aio.store.checksum, key)``."""
        store: S = self._store
        return store

    async def get(
        self,
        key: str,
        *,
        raise_on_nonexist: bool | None = None,
        serialization_mode: Mode | None = None,
        model: Any = None,
        deserialization_func: Callable[[bytes], Any] | None = None,
        columns: Sequence[str] | None = None,
        filters: Any = None,
    ) -> Any:
        """Read a value; see :meth:`anystore.Store.get`."""
        return await self._threads.read(
            lambda: self._store.get(
                key,
                raise_on_nonexist=raise_on_nonexist,
                serialization_mode=serialization_mode,
                model=model,
                deserialization_func=deserialization_func,
                columns=columns,
                filters=filters,
            )
        )

    async def put(
        self,
        key: str,
        value: Any,
        *,
        serialization_mode: Mode | None = None,
        model: Any = None,
        serialization_func: Callable[[Any], bytes | str] | None = None,
        ttl: float | timedelta | None = None,
        if_absent: bool = False,
        if_version: str | EllipsisType | None = ...,
    ) -> Entry:
        """Store a value; whole, or not at all, also when it is cancelled; see :meth:`anystore.Store.put`."""
        entry: Entry = await self._threads.write(
            lambda: self._store.put(
                key,
                value,
                serialization_mode=serialization_mode,
                model=model,
                serialization_func=serialization_func,
                ttl=ttl,
                if_absent=if_absent,
                if_version=if_version,
            )
        )
        return entry

    async def delete(self, key: str) -> None:
        """Delete a value; a missing key is no error."""
        await self._threads.write(lambda: self._store.delete(key))

    async def exists(self, key: str) -> bool:
        """Tell whether there is a value."""
        found: bool = await self._threads.read(lambda: self._store.exists(key))
        return found

    async def info(self, key: str) -> Entry:
        """Say what is known of a value without reading it; see :meth:`anystore.Store.info`."""
        entry: Entry = await self._threads.read(lambda: self._store.info(key))
        return entry

    def stream(
        self,
        key: str,
        *,
        raise_on_nonexist: bool | None = None,
        serialization_mode: Mode | None = None,
        model: Any = None,
        deserialization_func: Callable[[bytes], Any] | None = None,
        compression: Compression | None = None,
        max_bytes: int | None = None,
        columns: Sequence[str] | None = None,
        filters: Any = None,
    ) -> AsyncGenerator[Any, None]:
        """Read a value line by line, or a table batch by batch, a little ahead; see :meth:`anystore.Store.stream`.

        Returns:
            For ``async for``; errors come with its first step. Whoever leaves the loop early
            closes it by ``contextlib.aclosing``, or the event loop does some time later.
        """
        return self._iterate(
            lambda: self._store.stream(
                key,
                raise_on_nonexist=raise_on_nonexist,
                serialization_mode=serialization_mode,
                model=model,
                deserialization_func=deserialization_func,
                compression=compression,
                max_bytes=max_bytes,
                columns=columns,
                filters=filters,
            )
        )

    def entries(
        self, prefix: str | None = None, exclude_prefix: str | None = None, glob: str | None = None
    ) -> AsyncGenerator[Entry, None]:
        """List what is known of each value, lazily; see :meth:`anystore.Store.entries`, and ``stream`` here."""
        return self._iterate(lambda: self._store.entries(prefix, exclude_prefix, glob))

    def get_many(self, keys: Iterable[str]) -> AsyncGenerator[tuple[str, Any], None]:
        """Read many values; see :meth:`anystore.Store.get_many`, and ``stream`` here."""
        return self._iterate(lambda: self._store.get_many(keys))

    async def put_many(self, items: Mapping[str, Any] | Iterable[tuple[str, Any]]) -> None:
        """Store many values, each whole or absent; when it is cancelled, no further ones.

        Args:
            items: As for :meth:`anystore.Store.put_many`; iterated in a worker thread.

        Raises:
            InvalidOption: If ``items`` cannot be iterated there, as an async iterator cannot.
        """
        pairs = items.items() if isinstance(items, Mapping) else items
        if not isinstance(pairs, Iterable):
            raise InvalidOption(
                f"a mapping, or pairs of key and value, are wanted, not {type(pairs).__name__}; "
                "put what comes from an async iterator one by one, or collect it: [pair async for pair in pairs]"
            )
        await self._threads.write_each(self._store.put_many, pairs)

    def _iterate(self, begin: Callable[[], Any]) -> AsyncGenerator[Any, None]:
        iterator: AsyncGenerator[Any, None] = self._threads.iterate(begin)
        return iterator

    @property
    def _threads(self) -> Any:
        """The threads to run in; asyncio is loaded here, since whoever has one has it already."""
        threads: ModuleType = load("anystore.worker_threads")
        if self._limit is None:
            return threads.threads_of(self._store.backend, _LIMIT)
        if self._own is None or self._own.process != os.getpid():
            self._own = threads.WorkerThreads(self._limit)
        return self._own


def _restore(store: S, limit: int | None) -> AsyncStore[S]:
    return AsyncStore(store, limit=limit)
