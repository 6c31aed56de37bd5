"""One version of a value in one of fsspec's filesystems, being read, and a new one being written."""

import os
import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from anystore.backend import CHUNK_BYTES, Entry, Reader, Writer
from anystore.backends.fsspec.files import Files, Info
from anystore.errors import AnystoreError, DoesNotExist, VersionMismatch
from anystore.keys import Key

_VERSION_FIELDS = ("ETag", "etag", "e_tag", "generation", "md5Hash", "content_hash")
_TIME_FIELDS = ("LastModified", "last_modified", "mtime", "modified", "updated", "modify")
_FTP_TIME = re.compile(r"\d{14}(?:\.\d+)?")


def entry_of(key: str, info: Info, *, protocol: str) -> Entry:
    """Read what a filesystem says of a value; what it does not say stays None."""
    size = info.get("size")
    return Entry(key, int(size) if size is not None else None, _modified(info), _version(info, protocol))


def _version(info: Info, protocol: str) -> str | None:
    for name in _VERSION_FIELDS:
        if info.get(name):
            return str(info[name])
    if info.get("ino") and "mtime" in info:
        return f"{info['ino']}-{info['mtime']!r}-{info['size']}"
    if protocol == "memory" and info.get("created"):  # each value there is an object of its own
        created = info["created"]
        return f"{created.timestamp() if isinstance(created, datetime) else created!r}-{info['size']}"
    return None


def _modified(info: Info) -> datetime | None:
    for name in _TIME_FIELDS:
        moment = info.get(name)
        if isinstance(moment, (int, float)) and not isinstance(moment, bool):
            return datetime.fromtimestamp(moment, UTC)
        if isinstance(moment, str):
            moment = _parse_time(moment)
        if isinstance(moment, datetime) and moment.tzinfo is not None:  # else nobody knows which clock it is
            return moment.astimezone(UTC)
    return None


def _parse_time(text: str) -> datetime | None:
    if _FTP_TIME.fullmatch(text):  # RFC 3659, section 2.3: always UTC
        return datetime.strptime(text[:14], "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    with suppress(ValueError):
        return datetime.fromisoformat(text)
    return None


def open_reader(files: Files, key: Key) -> Reader:
    """Open one version of a value, by the way that keeps it apart from others.

    Raises:
        DoesNotExist: If there is none.
    """
    if files.protocol == "memory":
        # All who open a file there share one position in it, so it is read by ranges.
        return RangeReader(files, key)
    info = files.info(key)
    with files.errors(key, "read"):
        handle = files.fs.open(files.path(key), "rb")
    if not files.is_local:
        return FileReader(files, key, handle, info=info)
    status = os.fstat(handle.fileno())
    if not stat.S_ISREG(status.st_mode):
        handle.close()
        raise files.missing(key)
    bound = {"size": status.st_size, "mtime": status.st_mtime, "ino": status.st_ino}
    return FileReader(files, key, handle, info=bound)


class FileReader(Reader):
    """An open file; a local one stays with its version, others are looked at after each piece."""

    def __init__(self, files: Files, key: Key, handle: Any, *, info: Info) -> None:
        self.entry = entry_of(key, info, protocol=files.protocol)
        self._files = files
        self._key = key
        self._handle = handle

    def read(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        size = self.entry.size
        end = stop if size is None else size if stop is None else min(stop, size)
        position = start
        while end is None or position < end:
            with self._files.errors(self._key, "read"):
                self._handle.seek(position)
                piece = self._handle.read(CHUNK_BYTES if end is None else min(CHUNK_BYTES, end - position))
            self._check_version()
            if not piece:
                break
            position += len(piece)
            yield piece
        if end is not None and position < end:
            raise _changed(self._files, self._key)

    def _check_version(self) -> None:
        if not self._files.is_local:
            _check_same(self._files, self._key, self.entry)

    def close(self) -> None:
        self._handle.close()


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
                with self._files.errors(self._key, "read"):
                    path = self._files.path(self._key)
                    piece = self._files.fs.cat_file(path, position, min(position + CHUNK_BYTES, end))
            except DoesNotExist:
                raise _changed(self._files, self._key) from None
            _check_same(self._files, self._key, self.entry)
            yield piece

    def close(self) -> None:
        """There is nothing to close."""


def _check_same(files: Files, key: Key, entry: Entry) -> None:
    try:
        now = entry_of(key, files.info(key), protocol=files.protocol)
    except DoesNotExist:
        raise _changed(files, key) from None
    if (now.version, now.size, now.modified) != (entry.version, entry.size, entry.modified):
        raise _changed(files, key)


def _changed(files: Files, key: str) -> VersionMismatch:
    return VersionMismatch(f"the value under {key!r} in {files.uri} was changed by another writer; read it again")


class FsspecWriter(Writer):
    """A temporary file below ``.anystore/``, moved to its key by ``commit``."""

    def __init__(self, files: Files, key: Key) -> None:
        self._files = files
        self._key = key
        self._size = 0
        self._handle: Any = None
        self._path, self._handle = files.open_temporary(key)

    def write(self, data: bytes | bytearray | memoryview) -> int:
        piece = data if isinstance(data, bytes) else bytes(data)
        handle = self._open()
        with self._files.errors(self._key, "write", writing=True):
            handle.write(piece)
        self._size += len(piece)
        return len(piece)

    def commit(self) -> Entry:
        handle = self._open()
        try:
            with self._files.errors(self._key, "write", writing=True):
                handle.close()
            self._files.publish(self._path, self._key)
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
        with suppress(AnystoreError), self._files.errors(self._key, "close"):
            handle.close()
        with suppress(AnystoreError), self._files.errors(self._key, "delete"):
            self._files.remove(self._path)

    def _open(self) -> Any:
        if self._handle is None:
            raise ValueError(f"the writer of {self._key!r} is closed")
        return self._handle

    def __del__(self) -> None:
        if getattr(self, "_handle", None) is not None:
            self.abort()
