"""What the tests of the suite stand on: hooks that a backend's test class may override."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import wraps
from threading import Barrier
from typing import ClassVar, TypeVar, cast

import pytest

from anystore.backend import Backend, Feature
from anystore.errors import KeyConflict, ReadOnlyError, Unsupported
from anystore.keys import Key, parse_key

REFUSALS = (Unsupported, ReadOnlyError)
"""How a backend refuses what it does not declare."""

R = TypeVar("R")
Test = TypeVar("Test", bound=Callable[..., None])


class Ground:
    """The hooks of a backend's test class.

    A test class defines one fixture, ``backend``: a fresh, empty backend for each test.

    Attributes:
        unholdable: Keys that the medium cannot hold: the reason, and a predicate on the key.
            A writable backend must refuse to write them.
        unlisted: Keys that the service leaves out of its listings, although it holds them.
    """

    unholdable: ClassVar[Mapping[str, Callable[[str], bool]]] = {}
    unlisted: ClassVar[Mapping[str, Callable[[str], bool]]] = {}

    def place(self, backend: Backend, key: Key, data: bytes) -> None:
        """Store a value behind the backend's back, lest ``read`` and ``put`` share one mistake."""
        backend.put(key, data)

    def peek(self, backend: Backend, key: Key) -> bytes:
        """Read a value behind the backend's back."""
        return backend.get(key)

    def remove(self, backend: Backend, key: Key) -> None:
        """Delete a value behind the backend's back."""
        backend.delete(key)

    def advance(self, backend: Backend, seconds: float) -> None:
        """Let time pass for the expiry; with a clock of its own, a backend need not wait."""
        time.sleep(seconds)

    def now(self, backend: Backend) -> datetime:
        """Tell what time it is for the backend."""
        return datetime.now(UTC)

    def home(self, backend: Backend) -> str:
        """Tell the masked URI that messages name."""
        return backend.uri

    def cannot_hold(self, key: str) -> str:
        """Tell why the medium cannot hold a key, or nothing."""
        return next((reason for reason, refuses in self.unholdable.items() if refuses(key)), "")

    def listed(self, keys: Iterable[str]) -> list[str]:
        """Give the keys that the service lists, in their order."""
        return [key for key in keys if not any(hides(key) for hides in self.unlisted.values())]

    def check_refused(self, backend: Backend, feature: Feature) -> None:
        """Check that an undeclared feature raises, and leaves no trace."""
        there = parse_key("there")
        self.place(backend, there, b"as it was")
        overlapping = feature is Feature.OVERLAP and Feature.WRITE in backend.features
        expected = KeyConflict if overlapping else REFUSALS
        for attempt in _attempts(backend, feature):
            with pytest.raises(expected):
                attempt()
        assert backend.get(there) == b"as it was"
        assert not backend.exists(parse_key("absent"))
        if Feature.LIST in backend.features:
            assert list(backend.keys()) == ["there"]


def _attempts(backend: Backend, feature: Feature) -> Iterator[Callable[[], object]]:
    """Give every call that needs a feature."""
    there, absent = parse_key("there"), parse_key("absent")
    if feature is Feature.WRITE:
        yield lambda: backend.put(there, b"new")
        yield lambda: backend.put(absent, b"new")
        yield lambda: backend.writer(absent)
        yield lambda: backend.put_many([(absent, b"new")])
        yield lambda: backend.delete(there)
        yield lambda: backend.delete(absent)
        yield lambda: backend.delete_many([there])
        yield lambda: backend.copy(there, absent)
    elif feature is Feature.LIST:
        yield lambda: list(backend.scan())
        yield lambda: list(backend.keys("folder/"))
    elif feature is Feature.SORTED:
        yield lambda: list(backend.scan("", absent))
        yield lambda: list(backend.keys("", absent))
    elif feature is Feature.TAKE:
        yield lambda: backend.take(there)
        yield lambda: backend.take(absent)
    elif feature is Feature.APPEND:
        yield lambda: backend.append(there, b"more")
        yield lambda: backend.append(absent, b"more")
    elif feature is Feature.MOVE:
        yield lambda: backend.move(there, absent)
    elif feature is Feature.OVERLAP:
        yield lambda: backend.put(parse_key("there/below"), b"new")
    yield from _conditional_attempts(backend, feature)


def _conditional_attempts(backend: Backend, feature: Feature) -> Iterator[Callable[[], object]]:
    """Give every write with a condition that needs a feature."""
    there, absent = parse_key("there"), parse_key("absent")
    if feature is Feature.CREATE:
        yield lambda: backend.put(absent, b"new", create=True)
        yield lambda: backend.writer(absent, create=True)
    elif feature is Feature.SWAP:
        yield lambda: backend.put(there, b"new", version="1")
        yield lambda: backend.writer(there, version="1")
    elif feature is Feature.EXPIRE:
        yield lambda: backend.put(absent, b"new", ttl=60)
        yield lambda: backend.writer(absent, ttl=60)
        yield lambda: backend.put_many([(absent, b"new")], ttl=60)


def needs(feature: Feature) -> Callable[[Test], Test]:
    """Mark a test of features; on a backend that lacks one, the test checks that it is refused.

    So no test passes, or is skipped, without having looked at the backend.

    Args:
        feature: One feature, or several joined by ``|``.

    Returns:
        A decorator for a test method with a ``backend``.
    """

    def mark(test: Test) -> Test:
        @wraps(test)
        def run(self: Ground, backend: Backend, **parameters: object) -> None:
            lacking = [one for one in feature if one not in backend.features]
            if lacking:
                self.check_refused(backend, lacking[0])
            else:
                test(self, backend, **parameters)

        return cast("Test", run)

    return mark


def at_once(task: Callable[[int], R], *, threads: int = 8) -> list[R]:
    """Run a task in many threads that start together; the number of the thread is its argument."""
    barrier = Barrier(threads)

    def run(number: int) -> R:
        barrier.wait(timeout=30)
        return task(number)

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(run, range(threads)))


def join(pieces: Iterable[bytes]) -> bytes:
    """Put the pieces of a value together, after a look at each."""
    taken = list(pieces)
    assert all(taken), "a piece is empty"
    return b"".join(taken)
