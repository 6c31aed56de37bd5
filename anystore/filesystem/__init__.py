"""A store as one of fsspec's filesystems, for every library that reads and writes through fsspec.

Names are keys, and values are bytes as they are stored: the codec plays no part. Folders are there as long as a value
lies in them; one that is made is remembered by the object that made it, and by nobody else. Every value is published
whole.

``store.fs`` gives the filesystem of a store. A library that takes nothing but a URL finds it by ``anystore://KEY`` and
``anystore+SCHEME://STORE!/KEY``; see :mod:`anystore.filesystem.urls`.
"""

import io
import os
from collections.abc import Mapping
from glob import has_magic
from pathlib import Path
from typing import Any

from fsspec.callbacks import DEFAULT_CALLBACK
from fsspec.spec import AbstractFileSystem
from fsspec.utils import compressions

from anystore.backend import CHUNK_BYTES
from anystore.compression import Compression
from anystore.errors import (
    AlreadyExists,
    DoesNotExist,
    InvalidKey,
    InvalidOption,
    IsAFolder,
    NotAFolder,
    Unsupported,
)
from anystore.filesystem.files import ReadFile, WriteFile
from anystore.filesystem.reading import ReadingFileSystem
from anystore.keys import Key
from anystore.streams import TextWriter

# The names of fsspec, and ours.
_COMPRESSIONS: dict[str, Compression] = {
    "bz2": "bz2",
    "gzip": "gz",
    "lz4": "lz4",
    "lzma": "xz",
    "xz": "xz",
    "zstd": "zst",
}
_MODES = ("rb", "wb", "xb", "ab")


class StoreFileSystem(ReadingFileSystem):
    """A store as a filesystem.

    Args:
        uri: The store's URI; the default store if neither it nor ``store`` is given.
        store: The store, in place of its URI.
        backend_config: As for :func:`anystore.get_store`.
        readonly: As for :func:`anystore.get_store`.
        default_ttl: As for :func:`anystore.get_store`.
        protocol: What stands before ``://`` in the names of keys, where a library wants one, such as DuckDB, in
            which two stores need two protocols.
        asynchronous: For other filesystems: the calls of this one are synchronous, and may be made in threads.

    Raises:
        InvalidOption: If both a store and its options are given.

    Example:
        >>> from anystore import get_store
        >>> fs = get_store("memory://files").fs
        >>> with fs.open("2024/notes.txt", "w") as file:
        ...     length = file.write("hello")
        >>> fs.ls("", detail=False), fs.cat("2024/notes.txt")
        (['2024'], b'hello')
    """

    # -- files -------------------------------------------------------------------

    def open(
        self,
        path: str,
        mode: str = "rb",
        block_size: int | str | None = None,  # noqa: ARG002 - a hint
        cache_options: Mapping[str, Any] | None = None,  # noqa: ARG002 - a hint
        compression: str | None = None,
        *,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        autocommit: bool | None = None,
        cache_type: str | None = None,  # noqa: ARG002 - a hint
        size: int | None = None,  # noqa: ARG002 - a hint
    ) -> Any:
        """Open a value as a file.

        What is written is published when the file is closed, whole; if an exception leaves the ``with`` block, or the
        file is closed while one is on its way, or is forgotten, the old value stays. What is read is one version.

        Args:
            path: The key.
            mode: ``r``, ``w``, ``x`` (only if there is no value) or ``a``; with ``b`` for bytes, text without.
            block_size: A hint of other filesystems, without effect, as are ``cache_options``, ``cache_type``, ``size``.
            cache_options: A hint.
            compression: ``gzip``, ``bz2``, ``xz``, ``zstd``, ``lz4``, or ``infer`` to go by the end of the key.
            encoding: Of text; UTF-8 if None.
            errors: What becomes of text that the encoding cannot write or read.
            newline: As for the built-in ``open``; text that is written keeps its line ends on every system.
            autocommit: Whether ``close`` publishes; else ``commit`` does. If None, it does outside of transactions.
            cache_type: A hint.
            size: A hint.

        Returns:
            A file; seekable for reading where the backend has ranges.

        Raises:
            DoesNotExist: If a value to be read is not there.
            IsAFolder: If it is a folder.
            AlreadyExists: If a value to be created is there.
            InvalidOption: If the mode or the compression is unknown.
            Unsupported: If the backend cannot do it.
        """
        key = self._key(path)
        if not isinstance(mode, str):
            raise InvalidOption(f"mode is a str such as 'rb', not {mode!r}")
        is_text = "b" not in mode
        binary = mode.replace("t", "") + "b" if is_text else mode
        if binary not in _MODES or (not is_text and (encoding or errors or newline) is not None):
            raise InvalidOption(
                f"mode {mode!r} is none of r, w, x and a, for text, or rb, wb, xb and ab, which take no encoding, "
                "errors or newline"
            )
        format_name = _compression_of(key, compression)
        if binary == "rb":
            opened = self._finding(key, lambda: self._open_to_read(key, format_name))
            return io.TextIOWrapper(opened, encoding or "utf-8", errors, newline) if is_text else opened
        at_start = binary != "ab" or not is_text or not self._backend.exists(key)
        autocommit = not self._intrans if autocommit is None else autocommit
        stored = self._store.open(key, binary, compression=format_name)
        file: Any = WriteFile(stored, key, binary, autocommit=autocommit)
        opened = file
        if is_text:
            lines = "\n" if newline is None else newline
            opened = TextWriter(file, encoding=encoding or "utf-8", newline=lines, at_start=at_start, errors=errors)
        if not autocommit:  # not before: what could not be opened is not to be published
            self.transaction.files.append(file)
        return opened

    def _open_to_read(self, key: Key, compression: Compression | None) -> Any:
        if compression is None:
            return ReadFile(self._backend, key)
        return self._store.open(key, "rb", compression=compression)

    # -- writing -----------------------------------------------------------------

    def pipe_file(self, path: str, value: Any, mode: str = "overwrite") -> None:
        """Store bytes.

        Args:
            path: The key.
            value: Anything that holds bytes.
            mode: ``overwrite``, or ``create`` to store only if there is no value.

        Raises:
            AlreadyExists: If ``mode`` is ``create``, and there is a value.
            Unsupported: If the backend cannot write, or not only if there is no value.
        """
        if mode not in ("overwrite", "create"):
            raise InvalidOption(f"mode {mode!r} is neither 'overwrite' nor 'create'")
        key = self._key(path)
        data = _bytes_of(key, value)
        if self._intrans:
            with self.open(path, "xb" if mode == "create" else "wb") as file:
                file.write(data)
        else:
            self._store.put(key, data, if_absent=mode == "create")

    def pipe(self, path: Any, value: Any = None, mode: str = "overwrite") -> None:
        """Store bytes under one key, or under many.

        Args:
            path: The key, or a dictionary from keys to bytes.
            value: The bytes for the one key.
            mode: As for ``pipe_file``.

        Raises:
            AlreadyExists: If ``mode`` is ``create``, and there is a value.
        """
        if not isinstance(path, Mapping):
            self.pipe_file(path, value, mode)
        elif self._intrans or mode != "overwrite":
            for name, data in path.items():
                self.pipe_file(name, data, mode)
        else:
            self._store.put_many(
                (key, _bytes_of(key, data)) for key, data in ((self._key(name), data) for name, data in path.items())
            )

    def put_file(self, lpath: Any, rpath: str, callback: Any = DEFAULT_CALLBACK, mode: str = "overwrite") -> None:
        """Copy a local file into the store.

        Args:
            lpath: Path of the file; of a folder nothing is copied.
            rpath: The key.
            callback: Told of the progress.
            mode: As for ``pipe_file``.

        Raises:
            FileNotFoundError: If there is no such file.
            AlreadyExists: If ``mode`` is ``create``, and there is a value.
        """
        if mode not in ("overwrite", "create"):
            raise InvalidOption(f"mode {mode!r} is neither 'overwrite' nor 'create'")
        if Path(lpath).is_dir():
            self.makedirs(rpath, exist_ok=True)
            return
        with Path(lpath).open("rb") as source, self.open(rpath, "wb" if mode == "overwrite" else "xb") as target:
            callback.set_size(os.fstat(source.fileno()).st_size)
            while piece := source.read(CHUNK_BYTES):
                target.write(piece)
                callback.relative_update(len(piece))

    def touch(self, path: str, truncate: bool = True) -> None:  # noqa: FBT001, FBT002 - as fsspec calls it
        """Store a value of no bytes.

        Args:
            path: The key.
            truncate: Whether a value that is there is replaced.

        Raises:
            Unsupported: If it is not to be replaced: a time cannot be set, it is that of the last write.
        """
        if not truncate and self.isfile(path):
            raise Unsupported(f"{self._backend.uri} cannot set the time of {path!r}; write the value again")
        self.pipe_file(path, b"")

    def cp_file(self, path1: str, path2: str) -> None:
        """Copy a value inside the store, with its expiry; a folder is there with its values."""
        source, target = self._key(path1), self._key(path2)
        try:
            self._store.copy(source, target)
        except DoesNotExist:
            if source in self._made:
                self._made.add(target)
            elif not self._is_folder(source):
                raise

    def copy(
        self,
        path1: Any,
        path2: Any,
        recursive: bool = False,  # noqa: FBT001, FBT002 - as fsspec calls it
        maxdepth: int | None = None,
        on_error: str | None = None,
    ) -> None:
        """Copy values or folders inside the store.

        Args:
            path1: A key, a folder, a pattern, or a list.
            path2: The key or folder to copy to.
            recursive: Whether folders are copied.
            maxdepth: How many levels to go down.
            on_error: ``raise``, or ``ignore`` for values that vanish meanwhile, as is meant with ``recursive``.

        Raises:
            DoesNotExist: If there is nothing to copy.
        """
        path1, path2 = self._aim(path1, path2)
        super().copy(path1, path2, recursive, maxdepth, on_error)

    def _aim(self, path1: Any, path2: Any) -> tuple[Any, Any]:
        """Name the target where fsspec would miss it: of keys like patterns, and of names at the top."""
        if not isinstance(path2, str) or not self._needs_aim(path1):
            return path1, path2
        folder = self._strip_protocol(path2)
        if path2.endswith("/") or self.isdir(folder):
            path2 = "/".join(filter(None, (folder, self._strip_protocol(path1).rpartition("/")[2])))
        return ([path1], [path2]) if has_magic(path1) else (path1, path2)

    def mv(
        self,
        path1: Any,
        path2: Any,
        recursive: bool = False,  # noqa: FBT001, FBT002 - as fsspec calls it
        maxdepth: int | None = None,
    ) -> None:
        """Move a value, in one step where the backend can, or a folder, value by value.

        Args:
            path1: The key, a folder, a pattern, or a list.
            path2: The key or folder to move to.
            recursive: Whether folders are moved.
            maxdepth: How many levels to go down.

        Raises:
            DoesNotExist: If there is nothing to move.
            IsAFolder: If it is a folder, and ``recursive`` is not set.
            InvalidOption: If two values would get one name; nothing was moved.
            VersionMismatch: If a value was replaced meanwhile, where it has to be copied; the new one is kept.
        """
        if path1 == path2:
            return
        if isinstance(path1, str) and isinstance(path2, str) and not path2.endswith("/") and self.isfile(path1):
            target = self._strip_protocol(path2)
            if not self.isdir(target):
                self._store.move(self._key(path1), self._key(target))
                return
        name = path1 if isinstance(path1, str) else ""
        if not recursive and name and not self.isfile(name) and self.isdir(name):
            raise IsAFolder(f"{name!r} in {self._backend.uri} is a folder; move it with recursive=True")
        pairs = self._plan(path1, path2, recursive=recursive, maxdepth=maxdepth)
        values = [(source, target) for source, target in pairs if self.isfile(source)]
        self._check_moves(values)
        for folder, target in pairs:
            if folder in self._made:
                self._made.add(target)
        for source, target in values:
            self._store.move(source, target)
        for one in path1 if isinstance(path1, list) else [path1]:
            self._made.remove(self._strip_protocol(one))

    def _plan(self, path1: Any, path2: Any, *, recursive: bool, maxdepth: int | None) -> list[tuple[str, str]]:
        """Let fsspec work out what goes where; nothing is copied."""
        path1, path2 = self._aim(path1, path2)
        plan = _Plan(self)
        AbstractFileSystem.copy(plan, path1, path2, recursive=recursive, maxdepth=maxdepth, on_error="raise")
        pairs = [(self._strip_protocol(source), self._strip_protocol(target)) for source, target in plan.pairs]
        for source, target in pairs:
            self._key(target)
            if not recursive and self._find_info(source) is None:
                raise self._backend.missing(self._key(source))
        return [(source, target) for source, target in pairs if source != target]

    def _check_moves(self, pairs: list[tuple[str, str]]) -> None:
        """Refuse to move two values to one name, or one over another that is to be moved itself."""
        seen = {source for source, _ in pairs}
        for source, target in pairs:
            if target in seen:
                raise InvalidOption(
                    f"nothing was moved in {self._backend.uri}: {source!r} would go to {target!r}, "
                    "over another value that is moved"
                )
            seen.add(target)

    # -- deleting ----------------------------------------------------------------

    def rm_file(self, path: str) -> None:
        """Delete a value.

        Raises:
            DoesNotExist: If there is none.
            IsAFolder: If it is a folder.
        """
        key = self._key(path)
        self._backend.require_write(key)
        if not self._backend.exists(key):
            raise self._why_missing(key)
        self._store.delete(key)

    def rm(self, path: Any, recursive: bool = False, maxdepth: int | None = None) -> None:  # noqa: FBT001, FBT002 - as fsspec calls it
        """Delete values, or folders with everything in them.

        Args:
            path: A key, a folder, a pattern, or a list.
            recursive: Whether folders are deleted.
            maxdepth: How many levels to go down.

        Raises:
            DoesNotExist: If there is nothing to delete.
            IsAFolder: If it is a folder, and ``recursive`` is not set.
            InvalidKey: If it is the whole store.
        """
        names = [path] if isinstance(path, str | os.PathLike) else list(path)
        if recursive and any(not self._strip_protocol(name) for name in names):
            raise InvalidKey(
                f"this would delete all of {self._backend.uri}; if it is meant: fs.rm(fs.ls('', False), True)"
            )
        if maxdepth is not None:
            below = self.expand_path(names, recursive=recursive, maxdepth=maxdepth)
            self._store.delete_many(name for name in below if self.isfile(name))
            return
        emptied: list[str] = []
        for name in self.expand_path(names):
            if any(name.startswith(folder) for folder in emptied):
                continue
            if recursive and self._delete_below(name):
                emptied.append(f"{name}/")
            else:
                self.rm_file(name)

    def _rm(self, path: str) -> None:
        """Delete a value, as fsspec's wrappers call it."""
        self.rm_file(path)

    def _delete_below(self, name: str) -> bool:
        """Delete a folder, and the value of the same name; False if there is neither."""
        key = self._key(name)
        self._backend.require_write(key)
        was_there = key in self._made
        self._made.remove(key)
        if self._is_folder(key):
            self._store.delete_prefix(key)
            was_there = True
        if self._backend.exists(key):
            self._store.delete(key)
            was_there = True
        return was_there

    # -- folders -----------------------------------------------------------------

    def mkdir(self, path: str, create_parents: bool = True) -> None:  # noqa: ARG002, FBT001, FBT002 - as fsspec calls it
        """Make a folder, for this object alone; others see it with its first value.

        Args:
            path: The folder.
            create_parents: For other filesystems; the folders above are there with this one.

        Raises:
            AlreadyExists: If there is a folder, or a value of that name.
            Unsupported: If the backend cannot write.
        """
        self.makedirs(path)

    def makedirs(self, path: str, exist_ok: bool = False) -> None:  # noqa: FBT001, FBT002 - as fsspec calls it
        """Make a folder, for this object alone; others see it with its first value.

        Args:
            path: The folder.
            exist_ok: Whether a folder may be there already.

        Raises:
            AlreadyExists: If there is a value of that name, or a folder and ``exist_ok`` is not set.
            Unsupported: If the backend cannot write.
        """
        name = self._strip_protocol(path)
        found = self._find_info(name)
        if found is None:
            key = self._key(name)
            self._backend.require_write(key)
            self._made.add(key)
        elif found["type"] == "file" or not exist_ok:
            raise AlreadyExists(f"there is a {found['type']} called {name!r} in {self._backend.uri} already")

    def rmdir(self, path: str) -> None:
        """Remove a folder that is empty.

        Raises:
            DoesNotExist: If there is none.
            IsAFolder: If values lie in it.
            NotAFolder: If it is a value.
        """
        name = self._strip_protocol(path)
        if self.info(name)["type"] == "file":
            raise NotAFolder(f"{path!r} in {self._backend.uri} is a value; delete it with rm()")
        if not name or self._is_folder(name) or next(self._made.below(name), None) is not None:
            raise IsAFolder(f"{path!r} in {self._backend.uri} is not empty; delete it with rm(..., recursive=True)")
        self._made.remove(name)


class _Plan:
    """Takes the place of a filesystem, and notes what it is told to copy."""

    def __init__(self, filesystem: StoreFileSystem) -> None:
        self.pairs: list[tuple[str, str]] = []
        self.expand_path = filesystem.expand_path
        self.isdir = filesystem.isdir

    def cp_file(self, path1: str, path2: str) -> None:
        self.pairs.append((path1, path2))


def _bytes_of(key: str, value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    try:
        return bytes(memoryview(value))
    except TypeError:
        raise InvalidOption(f"{key!r}: a filesystem stores bytes, not {type(value).__name__}") from None


def _compression_of(key: str, compression: str | None) -> Compression | None:
    """Give our name of a compression."""
    if compression == "infer":
        compression = compressions.get(key.rpartition(".")[2].lower()) if "." in key else None
    if compression is not None and compression not in _COMPRESSIONS:
        raise InvalidOption(f"{key!r}: compression {compression!r} is none of {', '.join(_COMPRESSIONS)}")
    return None if compression is None else _COMPRESSIONS[compression]
