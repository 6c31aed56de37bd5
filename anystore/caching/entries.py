"""A function's entries in a store: read, claimed, written, and what may go wrong with each."""

import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any, Literal

from anystore.backend import Backend, Feature
from anystore.caching import flights
from anystore.caching.envelope import Answer, seal, unseal
from anystore.caching.naming import FunctionName
from anystore.codecs import Codec
from anystore.errors import (
    AnystoreError,
    CodecError,
    DoesNotExist,
    InvalidOption,
    ReadOnlyError,
    Unsupported,
)
from anystore.keys import Key
from anystore.store import Store, get_store

OnError = Literal["log", "raise"]
"""What a failing store does: a line in the log, and the function runs; or an error."""

LOG = logging.getLogger("anystore.caching")
"""Where failing stores and broken entries are told."""

_LOG_EVERY = 60.0


@dataclass(frozen=True, slots=True)
class CacheStats:
    """What happened to the calls of a cached function in this process.

    Attributes:
        hits: Answered from the store, or by another call's computation.
        misses: Computed, to be stored.
        skipped: Computed without the cache, as ``use_cache`` or ``key_func`` had it.
        broken: Entries that could not be used, and were computed again.
        failures: Times that the store failed.
    """

    hits: int = 0
    misses: int = 0
    skipped: int = 0
    broken: int = 0
    failures: int = 0


class _Counter:
    """Counts from any thread without a lock: one step of ``itertools.count`` is one step."""

    def __init__(self) -> None:
        self.add = count().__next__
        self._lock = threading.Lock()
        self._readings = 0

    def total(self) -> int:
        with self._lock:  # to read it is to count, too
            self._readings += 1
            return self.add() - self._readings + 1


class Counters:
    """Counts what happens to calls; the attributes are those of ``CacheStats``."""

    def __init__(self) -> None:
        self.hits = _Counter()
        self.misses = _Counter()
        self.skipped = _Counter()
        self.broken = _Counter()
        self.failures = _Counter()

    def stats(self) -> CacheStats:
        """Give what was counted so far."""
        return CacheStats(**{name: counter.total() for name, counter in vars(self).items()})


@dataclass(frozen=True, slots=True)
class Rules:
    """What a caller said of the entries of a function.

    Attributes:
        store: The store, or a function that gives it; None for one by its URI.
        uri: Of the store; None for the default store.
        ttl: Seconds to live, or None.
        codec: How values become bytes; None for the exact way.
        on_error: What a failing store does.
        clock: Tells the time in seconds since 1970.
    """

    store: Store | Callable[[], Store] | None
    uri: str | os.PathLike[str] | None
    ttl: float | None
    codec: Codec | None
    on_error: OnError
    clock: Callable[[], float]


class Entries:
    """The entries of one function.

    Args:
        name: The function's.
        rules: What the caller said of them.
    """

    def __init__(self, name: FunctionName, rules: Rules) -> None:
        self.name = name
        self.counters = Counters()
        self._rules = rules
        self._folder, self._codec, self._clock = name.folder, rules.codec, rules.clock  # nearer, for each hit
        self.opened: Backend | None = None
        self._log_lock = threading.Lock()
        self._logged = float("-inf")
        self._unlogged = 0
        self._told_broken = False

    def open_backend(self) -> Backend:
        """Give the backend of the store, which is opened once, unless a function gives the store.

        Raises:
            ReadOnlyError: If it was opened read-only.
            Unsupported: If it can never be written to.
            InvalidUri: If there is no such store.
        """
        if self.opened is not None:
            return self.opened
        rules = self._rules
        is_asked = callable(rules.store)
        store = rules.store() if callable(rules.store) else rules.store or get_store(rules.uri)
        if not isinstance(store, Store):
            raise InvalidOption(f"store= of {self.name.text} gave a {type(store).__name__}; it has to give a Store")
        self._require_write(store.backend)
        if not is_asked:
            self.opened = store.backend
        return store.backend

    def read(self, backend: Backend, key: Key) -> Any:
        """Read the value of a call.

        Args:
            backend: Where it is.
            key: Its key.

        Returns:
            The value, or an ``Answer``.

        Raises:
            BackendError: If the store fails, and errors are to be raised.
        """
        try:
            data = backend.get(key)
        except DoesNotExist:
            return Answer.MISS
        except AnystoreError as error:
            self.failed(backend, error)
            return Answer.DOWN
        try:
            return unseal(data, self._folder, codec=self._codec, clock=self._clock)
        except AnystoreError as error:
            return self._broken(backend, key, error)

    def value_of(self, backend: Backend, key: Key, data: bytes) -> Any:
        """Read the value in an entry's bytes.

        Args:
            backend: Where they are from.
            key: Their key.
            data: The bytes.

        Returns:
            The value, or ``Answer.MISS``.
        """
        try:
            return unseal(data, self._folder, codec=self._codec, clock=self._clock)
        except AnystoreError as error:
            return self._broken(backend, key, error)

    def seal(self, value: Any) -> bytes:
        """Put a value in an envelope.

        Raises:
            CodecError: If it cannot come back as it is.
        """
        rules = self._rules
        try:
            return seal(value, function=self.name.folder, made=rules.clock(), ttl=rules.ttl, codec=rules.codec)
        except CodecError as error:
            raise CodecError(f"what {self.name.text} returned cannot be cached: {error}") from error

    def unseal(self, sealed: bytes) -> Any:
        """Give the value that a later call would get."""
        return unseal(sealed, self._folder, codec=self._codec, clock=_never)

    @property
    def returns_what_is_stored(self) -> bool:
        """Whether a value may come back as another one, so that the first call has to return that, too."""
        return self._rules.codec is not None and self._rules.codec.name != "pickle"

    def ttl_for(self, backend: Backend) -> float | None:
        """Give the seconds that the backend itself is to keep an entry."""
        return self._rules.ttl if Feature.EXPIRE in backend.features else None

    def _require_write(self, backend: Backend) -> None:
        """Refuse a store that nothing can be written to, before anything is computed for it."""
        try:
            backend.require_write(Key(self.name.folder))
        except (ReadOnlyError, Unsupported) as error:
            raise type(error)(
                f"{self.name.text} cannot be cached in {backend.uri}, which is not to be written to; "
                "pass another store, or use_cache=False"
            ) from error
        except AnystoreError:
            return  # the service is down, which the first read will meet

    def failed(self, backend: Backend, error: AnystoreError) -> None:
        """Log that the store failed, once a minute, or raise.

        Raises:
            AnystoreError: The error, if errors are to be raised.
        """
        self.counters.failures.add()
        if self._rules.on_error == "raise":
            raise error
        with self._log_lock:
            now = time.monotonic()
            if now - self._logged < _LOG_EVERY:
                self._unlogged += 1
                return
            more = f" ({self._unlogged} more since the last line)" if self._unlogged else ""
            self._logged, self._unlogged = now, 0
        LOG.warning("%s runs without its cache: %s failed: %s%s", self.name.text, backend.uri, error, more)

    def _broken(self, backend: Backend, key: Key, error: AnystoreError) -> Answer:
        """Log that an entry cannot be used; be it that a library is missing, which a foreign one may name."""
        self.counters.broken.add()
        level = logging.DEBUG if self._told_broken else logging.WARNING
        self._told_broken = True
        LOG.log(level, "%s is computed again: %r in %s: %s", self.name.text, key, backend.uri, error)
        return Answer.MISS

    def invalidate(self, backend: Backend, key: Key) -> None:
        """Delete an entry; a computation of it that is under way will not be stored."""
        flights.drop(backend.uri, key)
        backend.delete(key)

    def clear(self, backend: Backend) -> None:
        """Delete all entries of the function, of every version."""
        flights.drop(backend.uri, self.name.folder)
        Store(backend).delete_prefix(self.name.folder)


def _never() -> float:
    """Tell a time before every expiry: what was just computed is given to those who waited for it."""
    return float("-inf")
