"""The folder on the disk: what may be reached in it, and how it changes in one step."""

import errno
import os
import stat
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from itertools import count
from operator import itemgetter
from typing import NoReturn

from anystore.backends.local.locking import Locks, name_of, unlocked
from anystore.errors import (
    AnystoreError,
    BackendError,
    DoesNotExist,
    InvalidKey,
    KeyConflict,
    ReadOnlyError,
    VersionMismatch,
)
from anystore.keys import MAX_KEY_BYTES, PRIVATE_FOLDER, Key, is_key, is_private, parent_folders

_TEMPORARY = f"{PRIVATE_FOLDER}/tmp"  # noqa: S108 - below the root
_LOCKS = f"{PRIVATE_FOLDER}/locks"
_LITTER_AGE = 24 * 3600.0
_TRIES = 1000
_KEPT_SECONDS = 0.05
_SURELY_SHORT = MAX_KEY_BYTES // 4  # characters, which have up to four bytes
_ABSENT = frozenset((errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP))
_CONFLICTS = (NotADirectoryError, FileExistsError, IsADirectoryError)
_READ_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK  # a named pipe must not block whoever opens it

_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_LOCK_FLAGS = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW  # made only where the folder has been looked at
_TEMPORARY_FLAGS = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW

_NUMBERS = count()


class Tree:
    """A root folder, and every path below it that a key may name.

    Args:
        root: The folder; it need not exist before something is written.
        durable: Flush each change to the disk.
    """

    def __init__(self, root: str, *, durable: bool) -> None:
        self.root = os.path.abspath(root)
        self.durable = durable
        self._base = self.root.rstrip("/") + "/"
        self._real_base = ""
        self._swept = False
        self._good_until: dict[str, float] = {}

    def path(self, key: str) -> str:
        """Give the path of a key."""
        return self._base + key

    def missing(self, key: str) -> DoesNotExist:
        """Make the error for a key without a value."""
        return DoesNotExist(f"there is no value under {key!r} in {self.root}")

    def changed(self, key: str) -> VersionMismatch:
        """Make the error for a value that is not the version it was."""
        return VersionMismatch(f"the value under {key!r} in {self.root} was changed by another writer; read it again")

    def open(self, key: Key, flags: int = _READ_FLAGS) -> tuple[int, os.stat_result]:
        """Open the regular file of a key, if it lies inside the root."""
        try:
            descriptor = os.open(self._base + key, flags | os.O_CLOEXEC)
        except OSError as error:
            if error.errno in _ABSENT:
                raise self.missing(key) from None
            self.fail(error, key, "read")
        try:
            status = os.fstat(descriptor)
            if stat.S_ISREG(status.st_mode) and self._holds(descriptor, key):
                return descriptor, status
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        raise self.missing(key)

    def _holds(self, descriptor: int, key: str) -> bool:
        """Tell whether an open file lies inside the root: a symlink may have led out of it."""
        try:
            real = os.readlink(f"/proc/self/fd/{descriptor}")
        except OSError:  # no Linux
            return self.inside(self._base + key)
        if self._real_base and (real + "/").startswith(self._real_base):
            return True
        self._real_base = os.path.realpath(self.root).rstrip("/") + "/"
        return (real + "/").startswith(self._real_base)

    def has_folder(self, prefix: str) -> bool:
        """Tell whether a prefix may be listed: a symlink may lead out of the root, or back to a folder above it."""
        if not prefix:
            return True
        real = [os.path.realpath(folder) for folder in (self.root, *map(self.path, parent_folders(prefix)))]
        return len(set(real)) == len(real) and self.inside(real[-1])

    def inside(self, path: str) -> bool:
        """Tell whether a path leads to the root or below it, all symbolic links followed."""
        real_base = os.path.realpath(self.root).rstrip("/") + "/"
        return (os.path.realpath(path) + "/").startswith(real_base)

    def locked(self, *keys: Key) -> Locks:
        """Hold the locks of keys inside a block, in one order for everyone."""
        return Locks(self.open_lock, keys)

    def unlocked(self, key: Key) -> AbstractContextManager[bool]:
        """Tell whether nobody holds the lock of a key; then nobody takes it inside the block either."""
        return unlocked(f"{self._base}{_LOCKS}", key)

    def open_lock(self, stripe: int, key: Key) -> int:
        """Open the file of a lock, and make it where it is missing."""
        return self._open_private(_LOCKS, name_of(stripe), _LOCK_FLAGS, key)

    def move(self, source: Key, target: Key) -> None:
        """Rename the file of a key; a symlink that took the place of its folder meanwhile leads nowhere."""
        folder, _, name = source.rpartition("/")
        with self.errors(source, "move"):
            descriptor = os.open(self._base + folder, _FOLDER_FLAGS)
            try:
                if not self._holds(descriptor, folder + "/"):
                    raise self.missing(source)
                self.rename(name, target, source_folder=descriptor)
            finally:
                os.close(descriptor)
            self.prune(source)

    def rename(
        self, source: str, key: Key, kept: "KeptFolder | None" = None, *, source_folder: int | None = None
    ) -> None:
        """Move a file to the place of a key; pruning may remove the folder meanwhile."""
        folder, _, name = key.rpartition("/")
        for _ in range(_TRIES):
            try:
                descriptor = self.open_folder(folder, key) if kept is None else kept.open(self, folder, key)
                try:
                    os.replace(source, name, src_dir_fd=source_folder, dst_dir_fd=descriptor)
                    if self.durable:
                        os.fsync(descriptor)
                finally:
                    if kept is None:
                        os.close(descriptor)
            except FileNotFoundError:
                if kept is not None:
                    kept.close()
                continue
            except _CONFLICTS as error:
                if not self._remove_empty_folders(self._base + key) and self._is_in_the_way(key):
                    raise KeyConflict(
                        f"{key!r} cannot stand in {self.root} beside a key that is its folder, or lies below it; "
                        "choose another key, or delete that one"
                    ) from error
            else:
                return
        raise BackendError(f"{key!r} cannot be written to {self.root}: its folder keeps vanishing; try again")

    def open_folder(self, folder: str, key: Key) -> int:
        """Open the folder of a key, and make it where it is missing."""
        path = self._base + folder
        try:
            descriptor = os.open(path, _FOLDER_FLAGS)
        except FileNotFoundError:
            if not self.inside(path):
                raise self._astray(key) from None
            self._make_folders(path)
            descriptor = os.open(path, _FOLDER_FLAGS)
        if self._holds(descriptor, folder + "/"):
            return descriptor
        os.close(descriptor)
        raise self._astray(key)

    def _astray(self, key: str) -> BackendError:
        return BackendError(
            f"{key!r} cannot be written: a symbolic link in {self.root} leads out of the store; remove it"
        )

    def _is_in_the_way(self, key: Key) -> bool:
        """Tell whether a file stands where a folder of the key has to be, or a folder in its own place.

        Where neither does, the folder was removed by a pruning, and made again, in the same moment.
        """
        above = (self._base + folder for folder in parent_folders(key))
        return any(map(_is_no_folder, above)) or os.path.isdir(self._base + key)

    def _make_folders(self, path: str) -> None:
        os.makedirs(path, exist_ok=True)
        while self.durable and len(path) >= len(self.root):
            path = os.path.dirname(path)
            _sync_folder(path)

    def _remove_empty_folders(self, path: str) -> bool:
        """Clear away folders without a file, as a killed process may leave them."""
        if os.path.islink(path) or not os.path.isdir(path):
            return False
        if any(files for _, _, files in os.walk(path)):
            return False
        try:
            for folder, _, _ in os.walk(path, topdown=False):
                os.rmdir(folder)
        except OSError:
            return False
        return True

    def unlink(self, key: Key) -> None:
        """Remove the file of a key; a symlink itself, never what it leads to."""
        folder, _, name = key.rpartition("/")
        with self.errors(key, "delete"):
            try:
                descriptor = os.open(self._base + folder, _FOLDER_FLAGS)
                try:
                    mode = os.lstat(name, dir_fd=descriptor).st_mode
                    if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)) or not self._holds(descriptor, folder + "/"):
                        raise self.missing(key)
                    os.unlink(name, dir_fd=descriptor)
                finally:
                    os.close(descriptor)
            except OSError as error:
                if isinstance(error, DoesNotExist) or error.errno not in _ABSENT:
                    raise
                raise self.missing(key) from None
            self.prune(key)

    def prune(self, key: Key) -> None:
        """Remove the folders above a key that are empty now."""
        with suppress(OSError):  # not empty, or somebody else was faster
            for folder in reversed(parent_folders(key)):
                if folder == PRIVATE_FOLDER or is_private(folder):
                    break
                os.rmdir(self._base + folder)

    def open_temporary(self, key: Key) -> tuple[int, str]:
        """Make a temporary file; litter of killed processes is swept away by the first one."""
        name = f"{os.getpid():x}-{time.time_ns():x}-{next(_NUMBERS):x}"
        if not self._swept:
            self._swept = True
            with self.errors(key, "write"):
                self._sweep()
        return self._open_private(_TEMPORARY, name, _TEMPORARY_FLAGS, key), f"{self._base}{_TEMPORARY}/{name}"

    def _open_private(self, folder: str, name: str, flags: int, key: Key) -> int:
        """Open a file in a folder of our own, in whose place somebody may have put a symlink to elsewhere.

        That is looked at again after a moment, not each time: it costs a fifth of a small put.
        """
        path = f"{self._base}{folder}/{name}"
        try:
            descriptor = os.open(path, flags, 0o666)
        except FileNotFoundError:
            with self.errors(key, "write"):
                if not self.inside(self._base + folder):
                    raise self._astray(key) from None
                os.makedirs(self._base + folder, exist_ok=True)
                descriptor = os.open(path, flags | os.O_CREAT, 0o666)
        except OSError as error:
            self.fail(error, key, "write")
        now = time.monotonic()
        if now < self._good_until.get(folder, 0.0):
            return descriptor
        if self._holds(descriptor, f"{folder}/{name}"):
            self._good_until[folder] = now + _KEPT_SECONDS
            return descriptor
        os.close(descriptor)
        if flags & os.O_EXCL:  # it was made just now, and there
            with suppress(OSError):
                os.unlink(path)
        raise self._astray(key)

    def _sweep(self) -> None:
        oldest = time.time() - _LITTER_AGE
        try:
            folder = os.open(self._base + _TEMPORARY, _FOLDER_FLAGS)
        except FileNotFoundError:
            return
        try:
            # Nothing of what lies behind a symlink is ours to remove.
            with os.scandir(folder) as items:
                for item in items if self._holds(folder, _TEMPORARY) else ():
                    with suppress(OSError):
                        if item.stat(follow_symlinks=False).st_mtime < oldest:
                            os.unlink(item.name, dir_fd=folder)
        finally:
            os.close(folder)

    def children(self, folder: str, foreign: list[str]) -> "list[tuple[str, os.DirEntry[str]]]":
        """List a folder in the byte order of the keys: a folder counts with its trailing slash."""
        found = []
        at_top = not folder
        try:
            with os.scandir(self._base + folder) as items:
                for item in items:
                    name = item.name
                    key = folder + name
                    # what the system lists is a segment; only its text and the length can be wrong
                    if not (name.isascii() and len(key) <= _SURELY_SHORT) and not is_key(key):
                        foreign.append(key)
                    elif item.is_file(follow_symlinks=False):
                        found.append((key, item))
                    elif at_top and name == PRIVATE_FOLDER:
                        continue
                    elif item.is_dir(follow_symlinks=False):
                        found.append((key + "/", item))
                    elif item.is_symlink():
                        self._add_link(key, item, found, foreign)
        except OSError as error:
            if error.errno not in _ABSENT or (at_top and error.errno == errno.ENOTDIR):
                self.fail(error, folder or "/", "list")
        found.sort(key=itemgetter(0))
        return found

    def shows_value(self, folder: str) -> bool:
        """Tell whether a plain file is seen in a folder at once; if not, a value may still lie deeper."""
        try:
            with os.scandir(self._base + folder) as items:
                return any(item.is_file(follow_symlinks=False) and is_key(folder + item.name) for item in items)
        except OSError:
            return False

    def _add_link(
        self, key: str, item: "os.DirEntry[str]", found: "list[tuple[str, os.DirEntry[str]]]", foreign: list[str]
    ) -> None:
        """Take a symlink for what it leads to, if that is in the root, and not above itself."""
        real = os.path.realpath(self._base + key)
        above = [self.root, *(self._base + folder for folder in parent_folders(key))]
        if not self.inside(real) or any(os.path.realpath(folder) == real for folder in above):
            foreign.append(key)
        elif item.is_dir():
            found.append((key + "/", item))
        elif item.is_file():
            found.append((key, item))

    @contextmanager
    def errors(self, key: str, what: str) -> Iterator[None]:
        """Turn the system's errors inside a block into ours."""
        try:
            yield
        except AnystoreError:
            raise
        except OSError as error:
            self.fail(error, key, what)

    def fail(self, error: OSError, key: str, what: str) -> NoReturn:
        """Raise the error of ours that an error of the system means."""
        if error.errno in (errno.ENAMETOOLONG, errno.EILSEQ):
            raise InvalidKey(
                f"{key!r} cannot be a file in {self.root}: a segment is longer than 255 bytes; shorten it"
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS) and what not in ("read", "list"):
            raise ReadOnlyError(
                f"cannot {what} {key!r} in {self.root}: {error.strerror}; check its permissions"
            ) from error
        advice = "; a file stands where a folder should be" if error.errno == errno.ENOTDIR else ""
        raise BackendError(f"cannot {what} {key!r} in {self.root}: {error.strerror or error}{advice}") from error


class KeptFolder:
    """The folder of the last one of many writes, still open: the next one is nearly always in the same.

    It is opened anew after a moment, since it may have been moved out of the root by then.
    """

    __slots__ = ("_descriptor", "_folder", "_until")

    def __init__(self) -> None:
        self._folder = ""
        self._descriptor = -1
        self._until = 0.0

    def open(self, tree: Tree, folder: str, key: Key) -> int:
        """Give the descriptor of a folder, which stays this object's."""
        if self._descriptor < 0 or folder != self._folder or time.monotonic() > self._until:
            self.close()
            self._descriptor = tree.open_folder(folder, key)
            self._folder, self._until = folder, time.monotonic() + _KEPT_SECONDS
        return self._descriptor

    def close(self) -> None:
        """Close what is open."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def _is_no_folder(path: str) -> bool:
    """Tell whether there is something that is no folder; asked once, since it may vanish between two questions."""
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return False
    return not stat.S_ISDIR(mode) and not (stat.S_ISLNK(mode) and os.path.isdir(path))


def _sync_folder(path: str) -> None:
    descriptor = os.open(path, _FOLDER_FLAGS)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
