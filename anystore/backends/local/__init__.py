"""A folder of files: one value, one file, under its key's own path.

A value is written to a temporary file below ``.anystore/tmp/`` and renamed to its
place, so that a reader and a killed process see a whole value or none. Every change
holds an ``flock`` of the key, which makes create, swap, append and take exclusive
between processes too; reading takes no lock.
"""

import errno
import os
import stat
from collections.abc import Hashable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import unquote

from anystore.backend import Backend, Entry, Feature, Reader, Writer, read_and_close, warn_of_foreign
from anystore.backend_config import bool_option, check_options
from anystore.backends.local.tree import KeptFolder, Tree
from anystore.backends.local.values import LocalReader, LocalWriter, entry_of, read_pieces, settled, stamp
from anystore.errors import DoesNotExist, InvalidUri
from anystore.keys import Key, is_private
from anystore.uris import StoreUri, as_text

_PAGE = 4096


def from_uri(uri: StoreUri, config: Mapping[str, Any]) -> "LocalBackend":
    """Make the backend of a path or a ``file://`` URI."""
    check_options(config, known=("durable",), uri=uri.masked)
    if (uri.path and uri.text.startswith(uri.path)) or not uri.text.lower().startswith("file://"):
        path = uri.path
    elif uri.host not in ("", "localhost") or not uri.path or uri.username is not None or uri.query:
        raise InvalidUri(
            f"{uri.masked} does not name a folder of this machine: write 'file:///folder', or the path alone"
        )
    else:
        path = unquote(uri.path)
    return LocalBackend(path, durable=bool_option(config, "durable", uri=uri.masked))


class LocalBackend(Backend):
    """Files below a root folder, which the first write makes.

    Args:
        root: The folder.
        durable: Flush each write to the disk before it counts as done, so that it survives
            a loss of power too.
    """

    features = ~(Feature.EXPIRE | Feature.OVERLAP)

    def __init__(self, root: str, *, durable: bool = False) -> None:
        self._tree = Tree(root, durable=durable)
        self.uri = as_text(self._tree.root)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the configuration."""
        return _restore, (self._tree.root, self._tree.durable)

    def get(self, key: Key) -> bytes:
        """Read the whole file."""
        descriptor, status = self._tree.open(key)
        try:
            data = os.read(descriptor, status.st_size) if status.st_size else b""
            if len(data) < status.st_size:  # the kernel hands out at most 2 GiB at once
                data = b"".join((data, *read_pieces(descriptor, len(data), status.st_size)))
        except OSError as error:
            self._tree.fail(error, key, "read")
        finally:
            os.close(descriptor)
        if len(data) != status.st_size:
            raise self.changed(key)
        return data

    def read(self, key: Key, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """Read from a file descriptor of its own, which stays with the version it opened."""
        return read_and_close(self.reader(key), start, stop)

    def reader(self, key: Key) -> Reader:
        """Bind a file descriptor."""
        descriptor, status = self._tree.open(key)
        return LocalReader(self._tree, descriptor, entry_of(key, settled(self._tree, key, descriptor, status)))

    def stat(self, key: Key) -> Entry:
        """Ask the file system."""
        descriptor, status = self._tree.open(key)
        try:
            return entry_of(key, settled(self._tree, key, descriptor, status))
        finally:
            os.close(descriptor)

    def local_file(self, key: Key) -> str | None:
        """Give the path of the file itself."""
        descriptor, _ = self._tree.open(key)
        os.close(descriptor)
        return self._tree.path(key)

    def reach(self) -> bool:
        """Look for the folder."""
        super().reach()
        return os.path.isdir(self._tree.root)

    def exists(self, key: Key) -> bool:
        """Ask the file system."""
        try:
            descriptor, _ = self._tree.open(key)
        except DoesNotExist:
            return False
        os.close(descriptor)
        return True

    def put(
        self, key: Key, data: bytes, *, create: bool = False, version: str | None = None, ttl: float | None = None
    ) -> Entry:
        """Write a temporary file and rename it."""
        self.require_write(key, ttl=ttl)
        writer = LocalWriter(self._tree, key, create=create, version=version)
        try:
            writer.write(data)
            return writer.commit()
        finally:
            writer.abort()

    def put_many(self, items: Iterable[tuple[Key, bytes]], *, ttl: float | None = None) -> None:
        """Write temporary files and rename them, with no look at the folder of each that is in the same one."""
        kept = KeptFolder()
        try:
            for key, data in items:
                self.require_write(key, ttl=ttl)
                writer = LocalWriter(self._tree, key, kept=kept)
                try:
                    writer.write(data)
                    writer.commit()
                finally:
                    writer.abort()
        finally:
            kept.close()

    def writer(self, key: Key, *, create: bool = False, version: str | None = None, ttl: float | None = None) -> Writer:
        """Open a temporary file."""
        self.require_write(key, ttl=ttl)
        return LocalWriter(self._tree, key, create=create, version=version)

    def delete(self, key: Key) -> None:
        """Remove the file, and the folders it leaves empty."""
        try:
            with self._tree.locked(key):
                self._tree.unlink(key)
        except DoesNotExist:
            return

    def take(self, key: Key) -> bytes:
        """Read and remove the file under its lock."""
        with self._tree.locked(key):
            data = self.get(key)
            self._tree.unlink(key)
            return data

    def append(self, key: Key, data: bytes) -> None:
        """Write the longer value; within one page of memory in place, which the kernel does in one step."""
        with self._tree.locked(key):
            try:
                descriptor, status = self._tree.open(key, os.O_RDWR)
            except DoesNotExist:
                self._publish_bytes(key, b"", data)
                return
            try:
                # A file may have other names (hard links), which in place would change as well.
                if status.st_size % _PAGE + len(data) <= _PAGE and status.st_nlink == 1:
                    self._append_in_place(descriptor, key, status.st_size, data)
                else:
                    self._publish_bytes(key, read_pieces(descriptor, 0, status.st_size), data)
            finally:
                os.close(descriptor)

    def move(self, source: Key, target: Key) -> None:
        """Rename the file."""
        with self._tree.locked(source, target):
            descriptor, _ = self._tree.open(source)
            os.close(descriptor)
            if source != target:
                self._tree.move(source, target)

    def copy(self, source: Key, target: Key) -> None:
        """Copy the file inside the kernel where it can."""
        descriptor, status = self._tree.open(source)
        try:
            with LocalWriter(self._tree, target, create=False, version=None) as writer:
                writer.copy_from(descriptor, status.st_size)
        finally:
            os.close(descriptor)

    def extent(self) -> tuple[Hashable, str]:
        """Follow symbolic links to the folder."""
        folder = os.path.realpath(self._tree.root).strip("/")
        return "file", f"{folder}/" if folder else ""

    def _append_in_place(self, descriptor: int, key: Key, size: int, data: bytes) -> None:
        with self._tree.errors(key, "append to"):
            written = os.pwrite(descriptor, data, size)
            if written != len(data):
                os.ftruncate(descriptor, size)
                raise OSError(errno.ENOSPC, "the disk is full")
            stamp(descriptor)
            if self._tree.durable:
                os.fsync(descriptor)

    def _publish_bytes(self, key: Key, old: "Iterator[bytes] | bytes", data: bytes) -> None:
        with LocalWriter(self._tree, key, create=False, version=None, locked=True) as writer:
            for piece in (old,) if isinstance(old, bytes) else old:
                writer.write(piece)
            writer.write(data)

    def scan(self, prefix: str = "", after: Key | None = None) -> Iterator[Entry]:
        """Walk the folders in byte order, the names of one folder at a time in memory."""
        for key, item in self._walk(prefix, after):
            try:
                status = item.stat()
            except OSError:  # it vanished since
                continue
            if stat.S_ISREG(status.st_mode):
                yield entry_of(key, status)

    def keys(self, prefix: str = "", after: Key | None = None) -> Iterator[str]:
        """Walk the folders without asking for sizes."""
        return (key for key, _ in self._walk(prefix, after))

    def children(self, prefix: str = "") -> Iterator[Entry | str]:
        """Read one folder; those in it are looked into as far as the first key, since they may hold none."""
        foreign: list[str] = []
        if is_private(prefix) or not self._tree.has_folder(prefix):
            return
        for key, item in self._tree.children(prefix, foreign):
            if key[-1] == "/":
                if self._tree.shows_value(key) or next(self._walk_folder(key, "", []), None) is not None:
                    yield key
            else:
                with suppress(OSError):  # it vanished since
                    yield entry_of(key, item.stat())
        warn_of_foreign(self.uri, foreign, stacklevel=3)

    def _walk(self, prefix: str, after: Key | None) -> "Iterator[tuple[str, os.DirEntry[str]]]":
        foreign: list[str] = []
        if not is_private(prefix) and self._tree.has_folder(prefix):
            yield from self._walk_folder(prefix, after or "", foreign)
        warn_of_foreign(self.uri, foreign, stacklevel=3)

    def _walk_folder(self, folder: str, after: str, foreign: list[str]) -> "Iterator[tuple[str, os.DirEntry[str]]]":
        open_folders = [iter(self._tree.children(folder, foreign))]
        while open_folders:
            for key, item in open_folders[-1]:
                if key[-1] != "/":
                    if key > after:
                        yield key, item
                # everything below `after` itself, or behind it, may still be to come
                elif key > after or after.startswith(key):
                    open_folders.append(iter(self._tree.children(key, foreign)))
                    break
            else:
                open_folders.pop()


def _restore(root: str, durable: bool) -> LocalBackend:  # noqa: FBT001 - called by pickle
    return LocalBackend(root, durable=durable)
