"""The calls on one of fsspec's filesystems: exact paths, our errors, nothing from a cache."""

import errno
import os
import secrets
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

from fsspec.registry import get_filesystem_class
from fsspec.spec import AbstractFileSystem

from anystore.backends.fsspec.options import LOCAL, quiet_arguments
from anystore.errors import (
    AnystoreError,
    BackendError,
    DoesNotExist,
    InvalidKey,
    KeyConflict,
    ReadOnlyError,
    Unsupported,
)
from anystore.keys import PRIVATE_FOLDER, is_key, is_private, parent_folders
from anystore.uris import mask_text

_ABSENT = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
_UNPUBLISHED = f"{PRIVATE_FOLDER}/unpublished"

Info = Mapping[str, Any]


class Files:
    """A folder of a filesystem, opened when it is first used, and again in a forked process.

    Args:
        protocol: The protocol, as fsspec names it.
        root: Path of the folder, without a ``/`` at its end.
        arguments: For the constructor of the filesystem.
        uri: The masked URI, for messages.
        hidden: Texts that no message may show.
    """

    def __init__(
        self, protocol: str, root: str, *, arguments: Mapping[str, Any], uri: str, hidden: Iterable[str]
    ) -> None:
        self.protocol = protocol
        self.root = root
        self.arguments = dict(arguments)
        self.uri = uri
        self.hidden = frozenset(hidden)
        self.is_local = protocol in LOCAL
        self._class = get_filesystem_class(protocol)
        # Connections of the others, such as FTP's, answer one question at a time.
        self._shared = self.is_local or protocol == "memory" or bool(getattr(self._class, "async_impl", False))
        self._opened: dict[tuple[int, int], Any] = {}

    @property
    def fs(self) -> Any:
        """The filesystem, made in this process, and in this thread where it cannot be shared."""
        place = (os.getpid(), 0 if self._shared else threading.get_ident())
        found = self._opened.get(place)
        if found is None:
            with self.errors("", "open"):
                found = self._class(**self.arguments, **quiet_arguments(self.protocol, self._class))
            self._opened[place] = found
        return found

    def close(self) -> None:
        """Forget the filesystem; fsspec closes what nobody holds."""
        self._opened.clear()

    def path(self, key: str) -> str:
        """Give the path of a key."""
        return f"{self.root}/{key}" if self.root or self.fs.root_marker else key

    # -- errors ------------------------------------------------------------------

    def errors(self, key: str, verb: str, *, writing: bool = False) -> "_Translation":
        """Turn whatever a filesystem raises inside a block into one of our errors."""
        return _Translation(self, key, verb, writing=writing)

    def fail(self, error: Exception, key: str, verb: str, *, writing: bool) -> NoReturn:
        """Raise the error of ours that another one means."""
        text = mask_text(str(error), self.hidden)
        what = f"{key!r} in {self.uri}" if key else self.uri
        reason = f"{type(error).__name__}: {text}" if text else type(error).__name__
        ours: AnystoreError
        if isinstance(error, OSError) and error.errno in (errno.ENAMETOOLONG, errno.EILSEQ):
            ours = InvalidKey(f"{self.uri} cannot hold {key!r}: {error.strerror}; choose a shorter or plainer name")
        elif isinstance(error, _ABSENT) and not writing:
            ours = self.missing(key)
        elif isinstance(error, (NotADirectoryError, IsADirectoryError, FileExistsError)) and writing:
            ours = self.conflict(key)
        elif isinstance(error, PermissionError) and writing:
            ours = ReadOnlyError(f"cannot {verb} {what}: not allowed ({reason}); check who may write there")
        elif isinstance(error, NotImplementedError):
            ours = Unsupported(f"cannot {verb} {what}: fsspec's {self.protocol}:// does not know how ({reason})")
        else:
            ours = BackendError(f"cannot {verb} {what}: {reason}")
        # The traceback of a chained error would show the secret after all.
        raise ours from (error if text == str(error) else None)

    def missing(self, key: str) -> DoesNotExist:
        """Make the error for a key without a value."""
        return DoesNotExist(f"there is no value under {key!r} in {self.uri}")

    def conflict(self, key: str) -> KeyConflict:
        """Make the error for a key that cannot be beside what is there."""
        return KeyConflict(
            f"{key!r} cannot be a value in {self.uri}: part of it is a value, or there are values below it; "
            "choose another key"
        )

    # -- looking -----------------------------------------------------------------

    def info(self, key: str) -> Info:
        """Ask what is known of a value.

        Raises:
            DoesNotExist: If there is none, or a folder, or a symlink that leaves the root.
        """
        path = self.path(key)
        with self.errors(key, "look at"):
            self.fs.invalidate_cache()
            found: Info = self.fs.info(path)
        if found["type"] != "file" or self.leads_out(path):
            raise self.missing(key)
        return found

    def leads_out(self, path: str) -> bool:
        """Tell whether a symlink on the way to a path leaves the root; other protocols know none."""
        if not self.is_local:
            return False
        base = os.path.realpath(self.root or "/").rstrip("/") + "/"
        return not (os.path.realpath(path) + "/").startswith(base)

    def children(self, folder: str, foreign: list[str]) -> Iterator[tuple[str, Info | None]]:
        """List a folder: its values, then its folders, whose keys end in ``/`` and have no info."""
        path = self.path(folder).rstrip("/")
        if self.leads_out(path):
            return
        folders = []
        for info in self._ls(folder, path):
            name = str(info["name"]).rstrip("/").rpartition("/")[2]
            key = folder + name
            if key == PRIVATE_FOLDER or is_private(key):
                continue
            if not is_key(key):
                foreign.append(key)
                continue
            found = info if info["type"] in ("file", "directory") else self._follow(key)
            if found is None:
                foreign.append(key)
            elif found["type"] == "file":
                yield key, found
            elif found["type"] == "directory":
                folders.append((key + "/", None))
        yield from folders

    def _ls(self, folder: str, path: str) -> list[Info]:
        try:
            with self.errors(folder, "list"):
                self.fs.invalidate_cache()
                listed: list[Info] = self.fs.ls(path or self.fs.root_marker, detail=True)
        except DoesNotExist:  # it vanished since, or there is nothing in the store yet
            return []
        # Some filesystems list a file as a folder that holds itself alone.
        itself = path.strip("/")
        return [info for info in listed if str(info["name"]).strip("/") != itself or not itself]

    def _follow(self, key: str) -> Info | None:
        """Look at what a link leads to, unless that is outside, or a folder that the link lies in."""
        path = self.path(key)
        if self.leads_out(path):
            return None
        if self.is_local:
            real = os.path.realpath(path)
            above = [self.root, *(self.path(one) for one in parent_folders(key))]
            if any(os.path.realpath(one) == real for one in above):
                return None
        with suppress(DoesNotExist), self.errors(key, "look at"):
            found: Info = self.fs.info(path)
            return found
        return None

    # -- changing ----------------------------------------------------------------

    def open_temporary(self, key: str) -> tuple[str, Any]:
        """Open a new file below ``.anystore/``, which ``publish`` moves to its key."""
        path = self.path(f"{_UNPUBLISHED}/{secrets.token_hex(16)}")
        self._check_inside(path, key)
        with self.errors(key, "write", writing=True):
            try:
                return path, self.fs.open(path, "wb")
            except FileNotFoundError:
                self.fs.makedirs(self.path(_UNPUBLISHED), exist_ok=True)
                return path, self.fs.open(path, "wb")

    def publish(self, temporary: str, key: str) -> None:
        """Move a file to its key, over whatever value is there.

        Raises:
            KeyConflict: If the key, or part of it, is what it cannot be.
        """
        target = self.path(key)
        self._check_place(key)
        with self.errors(key, "write", writing=True):
            if self.is_local:
                # The system's own clock ticks every few milliseconds, too seldom to tell versions apart.
                os.utime(temporary, ns=(time.time_ns(),) * 2)
            try:
                self._rename(temporary, target)
            except FileNotFoundError:
                self.fs.makedirs(target.rpartition("/")[0], exist_ok=True)
                self._rename(temporary, target)

    def remove(self, path: str) -> None:
        """Remove a file by its path, if it is there."""
        with suppress(*_ABSENT):
            self.fs.rm_file(path)

    def delete(self, key: str) -> None:
        """Delete a value; a missing one, and a folder, are left alone."""
        path = self.path(key)
        with suppress(DoesNotExist):
            self.info(key)
            with self.errors(key, "delete", writing=True):
                self.remove(path)

    def _rename(self, path: str, target: str) -> None:
        """Move a file over another one, by the surest way the filesystem has."""
        if self.is_local:
            Path(path).replace(target)  # shutil.move, which fsspec calls, would put it inside a folder
        elif type(self.fs).mv is AbstractFileSystem.mv:
            # That one reads '*' in a path as a pattern.
            self.fs.cp_file(path, target)
            self.fs.rm_file(path)
        elif not self._is_file(target):
            self._move(path, target)
        else:
            try:
                self._move(path, target)
            except OSError:  # some servers do not move over a file
                self._move_aside(path, target)

    def _move(self, path: str, target: str) -> None:
        try:
            self.fs.mv(path, target)
        except OSError:
            parent = target.rpartition("/")[0]
            if not parent or self.fs.isdir(parent):
                raise
            self.fs.makedirs(parent, exist_ok=True)
            self.fs.mv(path, target)

    def _move_aside(self, path: str, target: str) -> None:
        """Move the old value away first, and back again if the new one cannot be moved."""
        aside = f"{path}.old"
        self.fs.mv(target, aside)
        try:
            self.fs.mv(path, target)
        except BaseException:
            self.fs.mv(aside, target)
            raise
        self.remove(aside)

    def _is_file(self, path: str) -> bool:
        with suppress(FileNotFoundError):
            return bool(self.fs.info(path)["type"] == "file")
        return False

    def _check_place(self, key: str) -> None:
        """Check that a key is no folder, and that no part of it is a value."""
        path = self.path(key)
        self._check_inside(path.rpartition("/")[0], key)
        with self.errors(key, "write", writing=True):
            self.fs.invalidate_cache()
            if self._kind(path) == "directory" and not self._clear(path):
                raise self.conflict(key)
            for folder in reversed(parent_folders(key)):
                kind = self._kind(self.path(folder))
                if kind == "file":
                    raise self.conflict(key)
                if kind == "directory":
                    return  # so all above it are folders, too

    def _kind(self, path: str) -> str:
        try:
            return str(self.fs.info(path)["type"])
        except (FileNotFoundError, NotADirectoryError):
            return ""

    def _clear(self, path: str) -> bool:
        """Remove folders that hold no file; they stay behind where values were deleted."""
        try:
            for info in self.fs.ls(path, detail=True):
                if info["type"] != "directory" or not self._clear(info["name"]):
                    return False
            self.fs.rmdir(path)
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return True

    def _check_inside(self, path: str, key: str) -> None:
        if self.leads_out(path):
            raise BackendError(
                f"{key!r} cannot be written: a symbolic link in {self.uri} leads out of the store; remove it"
            )


class _Translation:
    """A block in which any error of a filesystem becomes one of ours.

    fsspec hands through the errors of dozens of libraries, many of which derive
    from ``Exception`` and nothing else, so there is no list of them to catch.
    """

    def __init__(self, files: Files, key: str, verb: str, *, writing: bool) -> None:
        self._files = files
        self._key = key
        self._verb = verb
        self._writing = writing

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, Exception) and not isinstance(error, (AnystoreError, MemoryError)):
            self._files.fail(error, self._key, self._verb, writing=self._writing)
