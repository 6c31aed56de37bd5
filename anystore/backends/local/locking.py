"""Locks on keys: files of which keys that are hashed alike share one."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from zlib import crc32

from anystore.keys import Key

_LOCK_STRIPES = 256
_GLANCE_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


def name_of(stripe: int) -> str:
    """Give the name of a lock's file."""
    return f"{stripe:02x}"


def _stripe_of(key: Key) -> int:
    return crc32(key.encode()) % _LOCK_STRIPES


@contextmanager
def unlocked(folder: str, key: Key) -> Iterator[bool]:
    """Tell whether nobody holds the lock of a key, without waiting; then nobody takes it inside the block either.

    A lock that is not there is not made: whoever only reads leaves nothing behind.
    """
    try:
        descriptor = os.open(f"{folder}/{name_of(_stripe_of(key))}", _GLANCE_FLAGS)
    except OSError:
        yield True
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
            fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


class Locks:
    """The locks of some keys; a class, since a generator would double what a write costs in Python.

    Args:
        open_lock: Opens the file of a lock, by its number; the key is for the message if it cannot.
        keys: The keys.
    """

    __slots__ = ("_descriptors", "_keys", "_open_lock")

    def __init__(self, open_lock: Callable[[int, Key], int], keys: tuple[Key, ...]) -> None:
        self._open_lock = open_lock
        self._keys = keys
        self._descriptors: list[int] = []

    def __enter__(self) -> None:
        stripes = {_stripe_of(key) for key in self._keys}
        try:
            for stripe in sorted(stripes):
                self._descriptors.append(self._open_lock(stripe, self._keys[0]))
                fcntl.flock(self._descriptors[-1], fcntl.LOCK_EX)
        except BaseException:
            self._release()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._release()

    def _release(self) -> None:
        for descriptor in self._descriptors:
            # closing is not enough: a process that was forked meanwhile holds the lock as well
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)
        self._descriptors.clear()
