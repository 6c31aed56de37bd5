"""``memory://NAME``: a dict in this process; the reference all others are compared with."""

import heapq
import os
import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import count, islice
from secrets import token_hex
from typing import Any

from anystore.backend import CHUNK_BYTES, Backend, Entry, Feature, Reader, Writer
from anystore.backend_config import check_options
from anystore.errors import InvalidUri, Unsupported
from anystore.keys import Key, is_private
from anystore.uris import StoreUri
from anystore.whole_values import CollectingWriter

_PROCESS = token_hex(8)
_SPACES_LOCK = threading.Lock()
_VERSIONS = count(1)
_LISTING_PAGE = 1000


@dataclass(frozen=True, slots=True)
class _Value:
    data: bytes
    modified: float
    version: str
    expires: float | None


class _Space:
    """The values of one name, and the lock of whoever changes them."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.values: dict[str, _Value] = {}
        self._expiries: list[tuple[float, str]] = []  # a heap; of a value that was replaced it holds the old one, too
        self._ordered: list[str] | None = []

    def page(self, prefix: str, after: str) -> list[str]:
        """List up to a thousand keys below a prefix behind ``after``, in byte order."""
        with self.lock:
            if self._ordered is None:
                self._ordered = sorted(self.values)
            ordered = self._ordered
            # the empty text stands before every key; no key equals a prefix, which ends in '/'
            start = bisect_right(ordered, max(prefix, after))
            return [key for key in islice(ordered, start, start + _LISTING_PAGE) if key.startswith(prefix)]

    def store(self, key: str, value: _Value) -> None:
        if key not in self.values:
            self._ordered = None
        self.values[key] = value
        if value.expires is not None:
            heapq.heappush(self._expiries, (value.expires, key))
            if len(self._expiries) > 2 * len(self.values) + _LISTING_PAGE:
                self._expiries = [(one.expires, name) for name, one in self.values.items() if one.expires is not None]
                heapq.heapify(self._expiries)

    def drop(self, key: str) -> None:
        if self.values.pop(key, None) is not None:
            self._ordered = None

    def purge(self, now: float) -> None:
        """Drop what has expired, so that values nobody asks for do not pile up."""
        while self._expiries and self._expiries[0][0] <= now:
            _, key = heapq.heappop(self._expiries)
            value = self.values.get(key)
            if value is not None and value.expires is not None and value.expires <= now:
                self.drop(key)


_SPACES: dict[str, _Space] = {}


def _renew_locks() -> None:
    """Give a forked child locks that no thread of its parent holds."""
    global _SPACES_LOCK  # noqa: PLW0603 - a held lock cannot be released from here
    _SPACES_LOCK = threading.Lock()
    for space in _SPACES.values():
        space.lock = threading.RLock()


os.register_at_fork(after_in_child=_renew_locks)


def from_uri(uri: StoreUri, config: Mapping[str, Any]) -> "MemoryBackend":
    """Make the backend of a ``memory://NAME`` URI."""
    check_options(config, known=(), uri=uri.masked)
    if uri.username is not None or uri.port is not None or uri.query:
        raise InvalidUri(f"{uri.masked} is not a memory store: write it like 'memory://name'")
    return MemoryBackend(uri.host + uri.path.rstrip("/"))


class MemoryBackend(Backend):
    """Values in a dict that all stores of the same name in this process share.

    Args:
        name: Name of the dict.
        clock: Tells the time in seconds since 1970, for expiry.
    """

    features = ~Feature.NONE

    def __init__(self, name: str, *, clock: Callable[[], float] = time.time) -> None:
        self.uri = f"memory://{name}"
        self._name = name
        self._clock = clock
        with _SPACES_LOCK:
            self._space = _SPACES.setdefault(name, _Space())

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the name; the values stay in this process."""
        return _restore, (self._name, self._clock, _PROCESS, os.getpid())

    def get(self, key: Key) -> bytes:
        """Return the bytes themselves; nothing is copied."""
        return self._find(key).data

    def read(self, key: Key, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """Bind the bytes object, and cut it into pieces."""
        return _MemoryReader(self, key).read(start, stop)

    def reader(self, key: Key) -> Reader:
        """Bind the bytes object; bytes never change."""
        return _MemoryReader(self, key)

    def stat(self, key: Key) -> Entry:
        """Look the value up."""
        return _entry(key, self._find(key))

    def exists(self, key: Key) -> bool:
        """Look the key up."""
        value = self._space.values.get(key)
        return value is not None and not self._expired(value)

    def put(
        self, key: Key, data: bytes, *, create: bool = False, version: str | None = None, ttl: float | None = None
    ) -> Entry:
        """Replace the dict's item, under its lock."""
        now = self._clock()
        value = _Value(bytes(data), now, f"{_PROCESS}-{next(_VERSIONS)}", None if ttl is None else now + ttl)
        with self._space.lock:
            present = self._space.values.get(key)
            if present is not None and self._expired(present):
                present = None
            if create and present is not None:
                raise self.taken(key)
            if version is not None and (present is None or present.version != version):
                raise self.changed(key)
            if ttl is not None:
                self._space.purge(now)
            self._space.store(key, value)
        return _entry(key, value)

    def writer(self, key: Key, *, create: bool = False, version: str | None = None, ttl: float | None = None) -> Writer:
        """Collect the value beside the dict."""
        return CollectingWriter(self, key, create=create, version=version, ttl=ttl)

    def delete(self, key: Key) -> None:
        """Remove the dict's item."""
        with self._space.lock:
            self._space.drop(key)

    def take(self, key: Key) -> bytes:
        """Remove the dict's item and return its bytes."""
        with self._space.lock:
            value = self._find(key)
            self._space.drop(key)
            return value.data

    def append(self, key: Key, data: bytes) -> None:
        """Store the longer bytes; an expiry stays."""
        with self._space.lock:
            value = self._space.values.get(key)
            if value is None or self._expired(value):
                value = _Value(b"", 0.0, "", None)
            longer = replace(
                value, data=value.data + data, modified=self._clock(), version=f"{_PROCESS}-{next(_VERSIONS)}"
            )
            self._space.store(key, longer)

    def move(self, source: Key, target: Key) -> None:
        """Rename the dict's item."""
        with self._space.lock:
            value = self._find(source)
            if source != target:
                self._space.drop(source)
                self._space.store(target, replace(value, version=f"{_PROCESS}-{next(_VERSIONS)}"))

    def copy(self, source: Key, target: Key) -> None:
        """Let both keys share the bytes."""
        with self._space.lock:
            value = self._find(source)
            fresh = replace(value, modified=self._clock(), version=f"{_PROCESS}-{next(_VERSIONS)}")
            self._space.store(target, fresh)

    def extent(self) -> tuple[Hashable, str]:
        """Name the dict."""
        return ("memory", self._name), ""

    def scan(self, prefix: str = "", after: Key | None = None) -> Iterator[Entry]:
        """Walk the sorted keys, a page at a time."""
        for key in self._pages(prefix, after):
            value = self._space.values.get(key)
            if value is not None and not self._expired(value):
                yield _entry(key, value)

    def keys(self, prefix: str = "", after: Key | None = None) -> Iterator[str]:
        """Walk the sorted keys, a page at a time."""
        for key in self._pages(prefix, after):
            value = self._space.values.get(key)
            if value is not None and not self._expired(value):
                yield key

    def _pages(self, prefix: str, after: Key | None) -> Iterator[str]:
        position = after or ""
        while page := self._space.page(prefix, position):
            yield from (key for key in page if not is_private(key))
            position = page[-1]

    def _find(self, key: Key) -> _Value:
        value = self._space.values.get(key)
        if value is None or self._expired(value):
            raise self.missing(key)
        return value

    def _expired(self, value: _Value) -> bool:
        return value.expires is not None and value.expires <= self._clock()


def _restore(name: str, clock: Callable[[], float], process: str, pid: int) -> MemoryBackend:
    # the token tells processes apart that were spawned, the number those that were forked
    if process != _PROCESS or pid != os.getpid():
        raise Unsupported(
            f"memory://{name} lives in another process, and its values are not here; "
            "use a folder, a database or a server to share values between processes"
        )
    return MemoryBackend(name, clock=clock)


def _entry(key: str, value: _Value) -> Entry:
    expires = None if value.expires is None else datetime.fromtimestamp(value.expires, UTC)
    return Entry(key, len(value.data), datetime.fromtimestamp(value.modified, UTC), value.version, expires=expires)


class _MemoryReader(Reader):
    def __init__(self, backend: MemoryBackend, key: Key) -> None:
        value = backend._find(key)  # noqa: SLF001 - the reader is a part of the backend
        self.entry = _entry(key, value)
        self._data = value.data

    def read(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        part = memoryview(self._data)[start:stop]
        return (bytes(part[begin : begin + CHUNK_BYTES]) for begin in range(0, len(part), CHUNK_BYTES))

    def close(self) -> None:
        self._data = b""
