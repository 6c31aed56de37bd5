"""Copies of values kept on the disk, for many processes and threads at once.

Each key has a folder, and each version of its value a folder in it, which holds one file. A file
appears by a rename, whole. Whoever uses one holds its folder, whoever fetches one holds that of
the key, and nothing is removed that someone holds.
"""

import hashlib
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import NamedTuple

from anystore.backend import Backend, Entry
from anystore.errors import BackendError
from anystore.keys import Key
from anystore.virtual.copies import download, file_name, private_copy
from anystore.virtual.folders import Hold, discard, hold, local_errors, make_held

_MANY = 100
_NAME = "anystore-virtual"  # a folder that was there before may hold other things


class _Kept(NamedTuple):
    """A file that is kept."""

    used: int
    size: int
    folder: str


class DiskCache:
    """Copies of values, up to a number of bytes.

    Args:
        folder: Where they are kept; made if it is not there.
        limit: The most bytes.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder = folder
        self._root = f"{folder}/{_NAME}"
        self._keys = f"{self._root}/keys"
        self._arriving = f"{self._root}/arriving"
        self._total = f"{self._root}/total"
        self._limit = limit

    @contextmanager
    def hold(self, backend: Backend, key: Key) -> Iterator[str]:
        """Give the file of a value for the length of a block, fetched if it is not here as it is there.

        Args:
            backend: Where the value is.
            key: The key.

        Yields:
            The path of the file, which is not to be changed.

        Raises:
            DoesNotExist: If there is no value.
            VersionMismatch: If it is replaced again and again meanwhile.
            BackendError: If there is no room, or the cache belongs to someone else.
        """
        entry = backend.stat(key)
        if _token_of(entry) is None or (entry.size or 0) > self._limit:
            with private_copy(backend, key) as path:
                yield path
            return
        with local_errors(f"keep {key!r} from {backend.uri} in {self._folder}"):
            self._make_folders()
            slot = f"{self._keys}/{_digest(backend.uri, key)}"
            held, is_tight = self._find(slot, key, entry), False
            if held is None:
                held, is_tight = self._fetch(slot, backend, key, entry)
        try:
            yield f"{held.path}/{file_name(key)}"
        finally:
            held.release()
            if is_tight and held.is_mine:  # what was in use then may not be now
                with suppress(OSError):
                    self._reserve(0, count_anew=True)

    def _make_folders(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for path in (self._root, self._keys, self._arriving):
            with suppress(FileExistsError):
                os.mkdir(path, 0o700)
        status = os.lstat(self._root)
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
            raise BackendError(f"{self._root!r} belongs to another user; pass a cache_dir of your own")

    def _find(self, slot: str, key: Key, entry: Entry) -> Hold | None:
        """Hold the file of a version; None if it is not here, or not as it was made."""
        held = hold(f"{slot}/{_token_of(entry)}")
        if held is None:
            return None
        with suppress(OSError):
            status = os.lstat(f"{held.path}/{file_name(key)}")
            if stat.S_ISREG(status.st_mode) and entry.size in (None, status.st_size):
                held.touch()
                return held
        held.release()
        return None

    def _fetch(self, slot: str, backend: Backend, key: Key, entry: Entry) -> tuple[Hold, bool]:
        """Fetch a value, unless another one has just done so, and drop its older versions; tell if there is no room."""
        lock = _hold_alone(slot)
        try:
            found = self._find(slot, key, entry)
            if found is not None:
                return found, False
            held = make_held(f"{self._arriving}/")
            try:
                is_tight = self._fill(held, slot, backend, key)
            except BaseException:
                shutil.rmtree(held.path, ignore_errors=True)
                held.release()
                raise
            for item in os.scandir(slot):
                if item.path != held.path:
                    discard(item.path)
            return held, is_tight
        finally:
            lock.release()

    def _fill(self, held: Hold, slot: str, backend: Backend, key: Key) -> bool:
        """Fetch a value into a folder, and move that to its place; tell if there is no room."""
        path = f"{held.path}/{file_name(key)}"
        entry = download(backend, key, path)
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fchmod(descriptor, 0o400)
            os.fsync(descriptor)  # or a loss of power could leave a file of the right length and nothing in it
            size = os.fstat(descriptor).st_size
        finally:
            os.close(descriptor)
        target = f"{slot}/{_token_of(entry)}"
        if not discard(target):  # somebody looks at what is damaged there
            target = f"{slot}/{token_hex(16)}"
        fits = self._reserve(size)  # counted first: whoever is killed in between has counted too much, not too little
        os.rename(held.path, target)
        held.path = target
        return not fits

    def _reserve(self, size: int, *, count_anew: bool = False) -> bool:
        """Make room for a file, and remove what killed processes left.

        The files are counted only if the count says that there is no room, or there is none.

        Returns:
            Whether there is room now; all that is in use stays.
        """
        gate = _hold_alone(self._root)
        try:
            for item in os.scandir(self._arriving):
                discard(item.path)
            total = None if count_anew else self._read_total()
            if total is None or total + size > self._limit:
                total = self._evict(size)
            Path(self._total).write_text(str(total + size), encoding="ascii")
            return total + size <= self._limit
        finally:
            gate.release()

    def _read_total(self) -> int | None:
        try:
            return int(Path(self._total).read_text(encoding="ascii"))
        except (OSError, ValueError):  # none yet, or one that was being written
            return None

    def _evict(self, room: int) -> int:
        """Remove what was used longest ago until there is room, and give the bytes that are left."""
        kept = sorted(_list_kept(self._keys))
        total = sum(one.size for one in kept)
        if total + room <= self._limit:
            return total
        # to count many files takes its time, so that more are removed then than one needs
        goal = self._limit - room - (self._limit // 10 if len(kept) > _MANY else 0)
        for one in kept:
            if total <= goal:
                break
            if discard(one.folder):
                total -= one.size
        return total


def _hold_alone(path: str) -> Hold:
    """Make a folder and hold it, as the only one."""
    while True:
        with suppress(FileExistsError):
            os.mkdir(path, 0o700)
        held = hold(path, alone=True)
        if held is not None:  # else it was removed in between
            return held


def _list_kept(folder: str) -> Iterator[_Kept]:
    """List the files that are kept; folders of keys that have none are removed."""
    for slot in os.scandir(folder):
        versions = [_measure(item.path) for item in os.scandir(slot.path)]
        if versions:
            yield from versions
        else:
            _remove_empty(slot.path)


def _measure(folder: str) -> _Kept:
    size = 0
    with suppress(OSError):  # it is being removed
        size = sum(item.stat(follow_symlinks=False).st_size for item in os.scandir(folder))
        return _Kept(os.lstat(folder).st_mtime_ns, size, folder)
    return _Kept(0, size, folder)


def _remove_empty(folder: str) -> None:
    """Remove the folder of a key, unless a version is just being fetched."""
    held = hold(folder, alone=True, wait=False)
    if held is not None:
        with suppress(OSError):
            os.rmdir(folder)
        held.release()


def _token_of(entry: Entry) -> str | None:
    """Give a name for a version that no other version of the value has; None if nothing tells them apart."""
    if entry.version is None and (entry.size is None or entry.modified is None):
        return None
    return _digest(entry.version, entry.size, entry.modified)


def _digest(*parts: object) -> str:
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()[:40]
