"""One version of a file, open for reading, and a new one being written."""

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime

from anystore.backend import CHUNK_BYTES, Entry, Reader, Writer
from anystore.backends.local.tree import KeptFolder, Tree
from anystore.errors import AlreadyExists, AnystoreError, DoesNotExist
from anystore.keys import Key

_MICROSECOND = 1_000  # in nanoseconds
_OWN = 707  # the nanoseconds in a microsecond of each time that we set ourselves
_FRESH = 1_000_000_000  # nanoseconds; no append takes as long between its two steps
_SOON = 0.0005


def stamp(descriptor: int) -> None:
    """Set the time of a file, as the last step of each change.

    The kernel's own clock ticks every few milliseconds, too seldom to tell two versions apart.
    """
    now = time.time_ns()
    os.utime(descriptor, ns=(now - now % _MICROSECOND + _OWN,) * 2)


def settled(tree: Tree, key: Key, descriptor: int, status: os.stat_result) -> os.stat_result:
    """Give the status of an open file as it is when nobody is in the middle of an append to it.

    An append in place is two steps, the bytes and the time, and reading takes no lock. The version that shows between
    them would be refused a moment later although the value is the same. It has a fresh time of the kernel's, not one of
    ours; the second step is waited for as long as it is fresh, or until nobody holds the lock of the key.
    """
    while status.st_mtime_ns % _MICROSECOND != _OWN and abs(time.time_ns() - status.st_mtime_ns) < _FRESH:
        with tree.unlocked(key) as nobody_writes:
            status = os.fstat(descriptor)
            if nobody_writes:
                break
        time.sleep(_SOON)
    return status


def entry_of(key: str, status: os.stat_result) -> Entry:
    """Make the entry of a file."""
    try:
        modified = datetime.fromtimestamp(status.st_mtime_ns / 1e9, UTC)
    except (ValueError, OverflowError, OSError):  # a file may be of the year 10,000
        modified = None
    return Entry(key, status.st_size, modified, f"{status.st_ino:x}.{status.st_mtime_ns:x}.{status.st_size:x}")


def read_pieces(descriptor: int, start: int, stop: int) -> Iterator[bytes]:
    """Read a part of an open file piece by piece; ends early where the file does."""
    while start < stop:
        piece = os.pread(descriptor, min(CHUNK_BYTES, stop - start), start)
        if not piece:
            return
        start += len(piece)
        yield piece


class LocalReader(Reader):
    """A file descriptor: it stays with its version, whatever happens to the name."""

    def __init__(self, tree: Tree, descriptor: int, entry: Entry) -> None:
        self.entry = entry
        self._tree = tree
        self._descriptor = descriptor

    def read(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        size = self.entry.size or 0
        end = size if stop is None else min(stop, size)
        position = start
        try:
            for piece in self._pieces(start, end):
                position += len(piece)
                yield piece
        except OSError as error:
            self._tree.fail(error, self.entry.key, "read")
        if position < end:  # another program has cut the file
            raise self._tree.changed(self.entry.key)

    def _pieces(self, start: int, end: int) -> Iterator[bytes]:
        # looked up for each piece: after `close` its number may be that of another file
        while start < end and (piece := os.pread(self._descriptor, min(CHUNK_BYTES, end - start), start)):
            start += len(piece)
            yield piece

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __del__(self) -> None:
        self.close()


class LocalWriter(Writer):
    """A temporary file, renamed by ``commit``."""

    def __init__(
        self,
        tree: Tree,
        key: Key,
        *,
        create: bool = False,
        version: str | None = None,
        locked: bool = False,
        kept: KeptFolder | None = None,
    ) -> None:
        self._tree = tree
        self._kept = kept
        self._key = key
        self._create = create
        self._version = version
        self._locked = locked
        self._process = os.getpid()
        self._descriptor = -1
        self._descriptor, self._path = tree.open_temporary(key)

    def write(self, data: bytes | bytearray | memoryview) -> int:
        rest = memoryview(data).cast("B")
        size = len(rest)
        try:
            while rest:
                written = os.write(self._open(), rest)
                if written == len(rest):
                    break
                rest = rest[written:]
        except OSError as error:
            self._tree.fail(error, self._key, "write")
        return size

    def copy_from(self, source: int, size: int) -> None:
        """Add the first ``size`` bytes of an open file, inside the kernel where it can."""
        done = 0
        with suppress(OSError, AttributeError):  # not on this file system, or not on this system
            while done < size and (copied := os.copy_file_range(source, self._open(), size - done, done)):
                done += copied
        for piece in read_pieces(source, done, size):
            done += self.write(piece)
        if done < size:
            raise self._tree.changed(self._key)

    def commit(self) -> Entry:
        descriptor = self._open()
        try:
            stamp(descriptor)
            if self._tree.durable:
                os.fsync(descriptor)
            status = os.fstat(descriptor)
            if self._locked:
                self._tree.rename(self._path, self._key)
            else:
                with self._tree.locked(self._key):
                    self._check()
                    self._tree.rename(self._path, self._key, self._kept)
        except AnystoreError:
            self.abort()
            raise
        except OSError as error:
            self.abort()
            self._tree.fail(error, self._key, "write")
        os.close(descriptor)
        self._descriptor = -1
        return entry_of(self._key, status)

    def _check(self) -> None:
        """Check the conditions of this write; the key is locked."""
        if not self._create and self._version is None:
            return
        try:
            descriptor, status = self._tree.open(self._key)
            os.close(descriptor)
            present = entry_of(self._key, status).version
        except DoesNotExist:
            present = None
        if self._create and present is not None:
            raise AlreadyExists(
                f"there is a value under {self._key!r} in {self._tree.root} already; nothing was written"
            )
        if self._version is not None and present != self._version:
            raise self._tree.changed(self._key)

    def abort(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
            if self._process == os.getpid():  # a forked child must not take away its parent's file
                with suppress(OSError):
                    os.unlink(self._path)

    def _open(self) -> int:
        if self._descriptor < 0:
            raise ValueError(f"the writer of {self._key!r} is closed")
        return self._descriptor

    def __del__(self) -> None:
        self.abort()
