"""The calls on one of fsspec's filesystems: exact paths, our errors, nothing from a cache."""

import os
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from fsspec.spec import AbstractFileSystem

from anystore.backends.fsspec import failures
from anystore.backends.fsspec.connections import Connections, Lease
from anystore.backends.fsspec.failures import ABSENT, Call, Translation, suppress_answers
from anystore.backends.fsspec.options import LOCAL, quiet_arguments
from anystore.backends.fsspec.times import modified_of
from anystore.errors import AnystoreError, BackendError, DoesNotExist
from anystore.keys import PRIVATE_FOLDER, is_key, is_private, parent_folders

_UNPUBLISHED = f"{PRIVATE_FOLDER}/unpublished"
# Not below the other folder, where everything old is litter: these are values that a killed writer had moved away.
_REPLACED = f"{PRIVATE_FOLDER}/replaced"
_LITTER_AGE = timedelta(days=1).total_seconds()

Info = Mapping[str, Any]


class Files:
    """A folder of a filesystem, opened when it is first used, and again in a forked process.

    A protocol whose filesystem in fsspec is slow, or wrong, has a class of its own that does some steps better.

    Args:
        protocol: The protocol, as fsspec names it.
        filesystem: The class of the filesystem.
        root: Path of the folder, without a ``/`` at its end.
        arguments: For the constructor of the filesystem.
        uri: The masked URI, for messages.
        hidden: Texts that no message may show.

    Attributes:
        refuses_folders: Whether the server moves no file over a folder, so that nothing has to be asked before.
    """

    refuses_folders = False

    def __init__(
        self,
        protocol: str,
        filesystem: Any,
        root: str,
        *,
        arguments: Mapping[str, Any],
        uri: str,
        hidden: Iterable[str],
    ) -> None:
        self.protocol = protocol
        self.root = root
        self.arguments = dict(arguments)
        self.uri = uri
        self.hidden = frozenset(hidden)
        self.is_local = protocol in LOCAL
        self._class = filesystem
        self._purged = False
        self._connections = Connections(
            self.connect,
            is_alive=self.is_alive,
            disconnect=self.disconnect,
            shared=self.is_local or protocol == "memory" or self.is_shared(),
        )

    # -- connections -------------------------------------------------------------

    def is_shared(self) -> bool:
        """Tell whether threads may use one filesystem at the same time; those that run an event loop say so."""
        return bool(getattr(self._class, "async_impl", False))

    def connect(self) -> Any:
        """Make a filesystem, of which fsspec keeps no other hold."""
        return self._class(**self.arguments, **quiet_arguments(self.protocol, self._class))

    def is_alive(self, fs: Any) -> bool:
        """Tell whether an idle filesystem can be used, without asking the server."""
        return True

    def disconnect(self, fs: Any) -> None:
        """Close a filesystem; fsspec closes most when nobody holds them any more."""

    def is_answer(self, error: BaseException) -> bool:
        """Tell whether an error came over a connection that is still in order."""
        return failures.is_answer(error)

    def borrow(self) -> Lease:
        """Give a filesystem that nobody else uses until it is released."""
        with Translation(self, "", "connect to"):
            return self._connections.borrow()

    def close(self) -> None:
        """Close what is open in this process; the next call opens it again."""
        self._connections.close()

    def calling(self, key: str, verb: str, *, writing: bool = False) -> Call:
        """Give a filesystem for a block, whose errors become ours."""
        return Call(self, key, verb, writing=writing)

    def errors(self, key: str, verb: str, *, writing: bool = False) -> Translation:
        """Turn whatever a filesystem raises inside a block into one of our errors."""
        return Translation(self, key, verb, writing=writing)

    # -- single steps, which raise what fsspec raises --------------------------------

    def path(self, key: str) -> str:
        """Give the path of a key."""
        return f"{self.root}/{key}" if self.root or self._class.root_marker else key

    def look(self, fs: Any, path: str) -> Info:
        """Ask what is known of a path: its ``type`` at least, and what ``entry_of`` reads."""
        fs.invalidate_cache()
        found: Info = fs.info(path)
        return found

    def list_folder(self, fs: Any, path: str) -> list[Info]:
        """List a folder: like ``look`` for each name, with a ``name`` whose last segment is the file's."""
        fs.invalidate_cache()
        listed: list[Info] = fs.ls(path or fs.root_marker, detail=True)
        return listed

    def remove(self, fs: Any, path: str) -> None:
        """Remove a file."""
        fs.rm_file(path)

    def remove_folder(self, fs: Any, path: str) -> None:
        """Remove a folder that is empty; nothing else."""
        fs.rmdir(path)

    def make_folder(self, fs: Any, path: str) -> None:
        """Make one folder."""
        fs.mkdir(path, create_parents=False)

    def make_folders(self, fs: Any, path: str) -> None:
        """Make a folder and those above it, where they are missing."""
        fs.makedirs(path, exist_ok=True)

    def make_step_by_step(self, fs: Any, path: str) -> None:
        """Make a folder and those above it by single calls, while others may make the same ones."""
        with suppress_answers(self):
            return self.make_folder(fs, path)
        if self._kind(fs, path) == "directory":
            return None
        parent = path.rpartition("/")[0]
        if parent:
            self.make_step_by_step(fs, parent)
        try:
            return self.make_folder(fs, path)
        except Exception as error:
            if not self.is_answer(error) or self._kind(fs, path) != "directory":
                raise
        return None

    def move(self, fs: Any, path: str, target: str) -> None:
        """Move a file to a path where none is, or over another one if the server does that."""
        if self.is_local:
            Path(path).replace(target)  # shutil.move, which fsspec calls, would put it inside a folder
        elif type(fs).mv is AbstractFileSystem.mv:
            # That one reads '*' in a path as a pattern.
            fs.cp_file(path, target)
            fs.rm_file(path)
        else:
            fs.mv(path, target)

    # -- looking -----------------------------------------------------------------

    def info(self, key: str) -> Info:
        """Ask what is known of a value.

        Raises:
            DoesNotExist: If there is none, or a folder, or a symlink that leaves the root.
        """
        path = self.path(key)
        with self.calling(key, "look at") as fs:
            found = self.look(fs, path)
            if found["type"] != "file" or self.leads_out(path):
                raise failures.missing(self, key)
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
        for info in self._names(folder, path):
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

    def _names(self, folder: str, path: str) -> list[Info]:
        try:
            with self.calling(folder or "/", "list") as fs:
                listed = self.list_folder(fs, path)
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
        with suppress(DoesNotExist), self.calling(key, "look at") as fs:
            return self.look(fs, path)
        return None

    # -- changing ----------------------------------------------------------------

    def open_new(self, fs: Any, path: str) -> Any:
        """Open a new file to write; what is raised about a missing folder is ``FileNotFoundError``."""
        return fs.open(path, "wb")

    def discard(self, handle: Any) -> None:
        """Close a file that was opened to write, and whose content nobody wants."""
        handle.close()

    def disown(self, handle: Any) -> None:
        """Let an open file go in a forked child, without a word: the parent goes on with it."""

    def temporary_path(self) -> str:
        """Give a new path below ``.anystore/``."""
        return self.path(f"{_UNPUBLISHED}/{secrets.token_hex(16)}")

    def open_temporary(self, key: str, lease: Lease) -> tuple[str, Any]:
        """Open a new file below ``.anystore/``, which ``publish`` moves to its key."""
        path = self.temporary_path()
        self._check_inside(path, key)
        with self.errors(key, "write", writing=True):
            try:
                return path, self.open_new(lease.fs, path)
            except FileNotFoundError:
                self.make_folders(lease.fs, self.path(_UNPUBLISHED))
                return path, self.open_new(lease.fs, path)

    def forget(self, path: str, key: str) -> None:
        """Remove a temporary file, as far as that is possible."""
        with suppress(AnystoreError), self.calling(key, "delete") as fs:
            self.remove(fs, path)

    def publish(self, temporary: str, key: str, *, size: int) -> None:
        """Move a file to its key, over whatever value is there.

        Raises:
            KeyConflict: If the key, or part of it, is what it cannot be.
            BackendError: If the server holds less of the file than was sent.
        """
        target = self.path(key)
        with self.calling(key, "write", writing=True) as fs:
            if self.is_local:
                # The system's own clock ticks every few milliseconds, too seldom to tell versions apart.
                os.utime(temporary, ns=(time.time_ns(),) * 2)
            else:
                self._check_size(fs, temporary, key, size)
            if self.refuses_folders:
                with suppress_answers(self):
                    return self.move(fs, temporary, target)
            self._check_place(fs, key)
            self._replace(fs, temporary, target)
        return None

    def delete(self, key: str) -> None:
        """Delete a value; a missing one, and a folder, are left alone."""
        path = self.path(key)
        with suppress(DoesNotExist):
            self.info(key)
            with self.calling(key, "delete", writing=True) as fs, suppress(*ABSENT):
                self.remove(fs, path)

    def _check_size(self, fs: Any, path: str, key: str, size: int) -> None:
        held = self.look(fs, path).get("size")
        if held is not None and int(held) != size:
            raise BackendError(
                f"cannot write {key!r} in {self.uri}: the server holds {int(held):,} of {size:,} bytes; "
                "the old value stays; try again"
            )

    def _replace(self, fs: Any, path: str, target: str) -> None:
        """Move a file to a path, over another one by the surest way the server has."""
        parent = target.rpartition("/")[0]
        if parent and not self._kind(fs, parent):
            self.make_folders(fs, parent)
        try:
            return self.move(fs, path, target)
        except Exception as error:
            if not (self.is_answer(error) or isinstance(error, OSError)) or self._kind(fs, target) != "file":
                raise
        return self._move_aside(fs, path, target)  # some servers do not move over a file

    def _move_aside(self, fs: Any, path: str, target: str) -> None:
        """Move the old value away first, and back again if the new one cannot be moved."""
        aside = self.path(f"{_REPLACED}/{path.rpartition('/')[2]}")
        self.make_folders(fs, self.path(_REPLACED))
        self.move(fs, target, aside)
        try:
            self.move(fs, path, target)
        except BaseException:
            self.move(fs, aside, target)
            raise
        with suppress(*ABSENT):
            self.remove(fs, aside)

    def _check_place(self, fs: Any, key: str) -> None:
        """Check that a key is no folder, and that no part of it is a value."""
        path = self.path(key)
        self._check_inside(path.rpartition("/")[0], key)
        if self._kind(fs, path) == "directory" and not self._clear(fs, path):
            raise failures.conflict(self, key)
        for folder in reversed(parent_folders(key)):
            kind = self._kind(fs, self.path(folder))
            if kind == "file":
                raise failures.conflict(self, key)
            if kind == "directory":
                return  # so all above it are folders, too

    def _kind(self, fs: Any, path: str) -> str:
        try:
            return str(self.look(fs, path)["type"])
        except (FileNotFoundError, NotADirectoryError):
            return ""

    def _clear(self, fs: Any, path: str) -> bool:
        """Remove folders that hold no file; they stay behind where values were deleted."""
        try:
            for info in self.list_folder(fs, path):
                name = str(info["name"]).rstrip("/").rpartition("/")[2]
                if info["type"] != "directory" or not self._clear(fs, f"{path}/{name}"):
                    return False
            self.remove_folder(fs, path)
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return True

    def purge(self) -> None:
        """Remove, once, what killed writers have left behind long ago."""
        if self._purged:
            return
        self._purged = True
        folder = self.path(_UNPUBLISHED)
        with suppress(AnystoreError), self.calling(_UNPUBLISHED, "purge") as fs:
            for info in self.list_folder(fs, folder):
                modified = modified_of(info)
                if info["type"] == "file" and modified and time.time() - modified.timestamp() > _LITTER_AGE:
                    self.remove(fs, f"{folder}/{str(info['name']).rpartition('/')[2]}")

    def _check_inside(self, path: str, key: str) -> None:
        if self.leads_out(path):
            raise BackendError(
                f"{key!r} cannot be written: a symbolic link in {self.uri} leads out of the store; remove it"
            )
