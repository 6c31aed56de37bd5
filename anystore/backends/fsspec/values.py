"""One version of a value in one of fsspec's filesystems, being read, and a new one being written."""

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from anystore.backend import CHUNK_BYTES, Entry, Reader, Writer
from anystore.backends.fsspec import failures
from anystore.backends.fsspec.connections import Lease
from anystore.backends.fsspec.files import Files, Info
from anystore.backends.fsspec.times import modified_of
from anystore.errors import AnystoreError, BackendError, DoesNotExist
from anystore.keys import Key

_VERSION_FIELDS = ("ETag", "etag", "e_tag", "generation", "md5Hash", "content_hash")


def entry_of(key: str, info: Info, *, protocol: str) -> Entry:
    """Read what a filesystem says of a value; what it does not say stays None."""
    size = info.get("size")
    return Entry(key, int(size) if size is not None else None, modified_of(info), _version(info, protocol))


def _version(info: Info, protocol: str) -> str | None:
    for name in _VERSION_FIELDS:
        if info.get(name):
            return str(info[name])
    if info.get("ino") and "mtime" in info:
        return f"{info['ino']}-{info['mtime']!r}-{info['size']}"
    if protocol == "memory" and info.get("created"):  # each value there is an object of its own
        created = info["created"]
        return f"{created.timestamp() if hasattr(created, 'timestamp') else created!r}-{info['size']}"
    return None


def get_whole(files: Files, key: Key) -> bytes:
    """Read a whole value by the one call that filesystems have for it."""
    if files.is_local:  # by its descriptor, which no symlink leads out of the root
        return get_by_reader(files, key)
    try:
        with files.calling(key, "read") as fs:
            fs.invalidate_cache()
            data: bytes = fs.cat_file(files.path(key))
    except BackendError:
        files.info(key)  # some servers only say "failure" of a folder, or of what is not there
        raise
    return data


def get_by_reader(files: Files, key: Key) -> bytes:
    """Read a whole value piece by piece."""
    with open_reader(files, key) as reader:
        return b"".join(reader.read())


def open_reader(files: Files, key: Key) -> Reader:
    """Open one version of a value, by the way that keeps it apart from others.

    Raises:
        DoesNotExist: If there is none.
    """
    if files.protocol == "memory":
        # All who open a file there share one position in it, so it is read by ranges.
        return RangeReader(files, key)
    info = files.info(key)
    lease = files.borrow()
    with files.errors(key, "read"):
        handle = lease.fs.open(files.path(key), "rb")
    if not files.is_local:
        return FileReader(files, key, handle, info=info, lease=lease)
    status = os.fstat(handle.fileno())
    if not stat.S_ISREG(status.st_mode):
        handle.close()
        raise failures.missing(files, key)
    bound = {"size": status.st_size, "mtime": status.st_mtime, "ino": status.st_ino}
    return FileReader(files, key, handle, info=bound, lease=lease)


class FileReader(Reader):
    """An open file; a local one stays with its version, others are looked at after each piece."""

    def __init__(self, files: Files, key: Key, handle: Any, *, info: Info, lease: Lease) -> None:
        self.entry = entry_of(key, info, protocol=files.protocol)
        self._files = files
        self._key = key
        self._handle = handle
        self._lease = lease
        self._sound = True

    def read(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        size = self.entry.size
        end = stop if size is None else size if stop is None else min(stop, size)
        position = start
        while end is None or position < end:
            piece = self._fetch(position, CHUNK_BYTES if end is None else min(CHUNK_BYTES, end - position))
            self._check_version()
            if not piece:
                break
            position += len(piece)
            yield piece
        if end is not None and position < end:
            raise failures.changed(self._files, self._key)

    def _fetch(self, position: int, length: int) -> bytes:
        sound, self._sound = self._sound, False
        with self._files.errors(self._key, "read"):
            self._handle.seek(position)
            piece: bytes = self._handle.read(length)
        self._sound = sound
        return piece

    def _check_version(self) -> None:
        if not self._files.is_local:
            check_same(self._files, self._key, self.entry)

    def close(self) -> None:
        handle, self._handle = self._handle, None
        if handle is not None:
            with suppress(AnystoreError), self._files.errors(self._key, "close"):
                handle.close()
            self._lease.release(sound=self._sound)

    def __del__(self) -> None:
        self.close()


class RangeReader(Reader):
    """A value read by ranges, each compared with the version that was opened."""

    def __init__(self, files: Files, key: Key) -> None:
        self.entry = entry_of(key, files.info(key), protocol=files.protocol)
        self._files = files
        self._key = key

    def read(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        size = self.entry.size or 0
        end = size if stop is None else min(stop, size)
        for position in range(start, end, CHUNK_BYTES):
            try:
                with self._files.calling(self._key, "read") as fs:
                    path = self._files.path(self._key)
                    piece = fs.cat_file(path, position, min(position + CHUNK_BYTES, end))
            except DoesNotExist:
                raise failures.changed(self._files, self._key) from None
            check_same(self._files, self._key, self.entry)
            yield piece

    def close(self) -> None:
        """There is nothing to close."""


def check_same(files: Files, key: Key, entry: Entry) -> None:
    """Check that a value is still the one it was.

    Raises:
        VersionMismatch: If it is not.
    """
    try:
        now = entry_of(key, files.info(key), protocol=files.protocol)
    except DoesNotExist:
        raise failures.changed(files, key) from None
    if (now.version, now.size, now.modified) != (entry.version, entry.size, entry.modified):
        raise failures.changed(files, key)


class FileWriter(Writer):
    """A temporary file below ``.anystore/``, moved to its key by ``commit``."""

    def __init__(self, files: Files, key: Key) -> None:
        self._files = files
        self._key = key
        self._size = 0
        self._handle: Any = None
        self._process = os.getpid()
        files.purge()
        self._lease = files.borrow()
        self._path, self._handle = files.open_temporary(key, self._lease)

    def write(self, data: bytes | bytearray | memoryview) -> int:
        piece = data if isinstance(data, bytes) else bytes(data)
        handle = self._open()
        try:
            with self._files.errors(self._key, "write", writing=True):
                handle.write(piece)
        except BaseException:  # nobody knows how much of it has arrived
            self.abort()
            raise
        self._size += len(piece)
        return len(piece)

    def commit(self) -> Entry:
        handle = self._open()
        try:
            with self._files.errors(self._key, "write", writing=True):
                handle.close()
            self._lease.release()
            self._files.publish(self._path, self._key, size=self._size)
        except BaseException:
            self.abort()
            raise
        self._handle = None
        try:
            return entry_of(self._key, self._files.info(self._key), protocol=self._files.protocol)
        except DoesNotExist:  # somebody was quick to delete it
            return Entry(self._key, self._size, None)

    def abort(self) -> None:
        handle, self._handle = self._handle, None
        if handle is None:
            return
        if self._process != os.getpid():
            self._files.disown(handle)
            return
        with suppress(AnystoreError), self._files.errors(self._key, "close"):
            self._files.discard(handle)
        self._lease.release(sound=False)
        self._files.forget(self._path, self._key)

    def _open(self) -> Any:
        if self._handle is None:
            raise ValueError(f"the writer of {self._key!r} is closed")
        return self._handle

    def __del__(self) -> None:
        if getattr(self, "_handle", None) is not None:
            self.abort()
