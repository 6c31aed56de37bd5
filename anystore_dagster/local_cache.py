"""Remote values kept on the local disk: what was read before, and is still the same, is not fetched again."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from anystore import Entry, Store
from anystore.backend import CHUNK_BYTES, Backend, Reader, read_and_close
from anystore.backends.wrap import ReadonlyBackend
from anystore.keys import Key
from anystore.virtual.cache import DiskCache

DEFAULT_CACHE_BYTES = 10 << 30
"""The most bytes that are kept, if nothing else is said: 10 GiB."""


def cached_store(store: Store, folder: str, size: int | None = None) -> Store:
    """Give a store that reads through a folder on the local disk.

    A value is asked for its version each time, and fetched only where that changed. Values of a local folder are
    read where they are.

    Args:
        store: The store.
        folder: The folder, which may be used by many processes and stores.
        size: The most bytes to keep there; those that were used longest ago go first.

    Returns:
        A store that only reads.

    Example:
        >>> from anystore import get_store
        >>> cached_store(get_store("memory://cached-example"), "/tmp/cache").uri
        'memory://cached-example'
    """
    return Store(CachedBackend(store.backend, folder, DEFAULT_CACHE_BYTES if size is None else size))


class CachedBackend(ReadonlyBackend):
    """A backend that reads another one through a folder on the local disk.

    Args:
        inner: The backend to read.
        folder: The folder.
        size: The most bytes to keep there.
    """

    def __init__(self, inner: Backend, folder: str, size: int) -> None:
        super().__init__(inner)
        self._cache = DiskCache(Path(folder).expanduser().absolute(), size)

    def __repr__(self) -> str:
        """Show the class and the URI."""
        return f"<CachedBackend {self.uri}>"

    def get(self, key: Key) -> bytes:
        """Read the copy."""
        return b"".join(self.read(key))

    def read(self, key: Key, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """Read the copy; a missing key raises at the call."""
        return read_and_close(self.reader(key), start, stop)

    def reader(self, key: Key) -> Reader:
        """Open the copy: what is open stays, also when the cache lets it go."""
        if self.inner.local_file(key) is not None:
            return self.inner.reader(key)
        entry = self.inner.stat(key)
        with self._cache.hold(self.inner, key) as path:
            return _CopyReader(entry, os.open(path, os.O_RDONLY | os.O_CLOEXEC))


class _CopyReader(Reader):
    """An open copy."""

    def __init__(self, entry: Entry, descriptor: int) -> None:
        self._descriptor = descriptor
        self._size = os.fstat(descriptor).st_size
        self.entry = replace(entry, size=self._size)

    def read(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        place, end = start, self._size if stop is None else min(stop, self._size)
        while place < end and (piece := os.pread(self._descriptor, min(CHUNK_BYTES, end - place), place)):
            place += len(piece)
            yield piece

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __del__(self) -> None:
        self.close()
