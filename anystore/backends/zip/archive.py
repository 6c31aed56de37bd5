"""The archive's file: who may read and change it when, and what is known of it."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

from anystore.backends.zip.directory import NO_STAMP, Directory, Stamp, read_directory
from anystore.backends.zip.journal import read_journal
from anystore.backends.zip.locking import lock, release, unlock
from anystore.backends.zip.records import Malformed
from anystore.backends.zip.sources import FileSource, OverlaidSource, Shortened, Source
from anystore.errors import AnystoreError, BackendError, ReadOnlyError

_JOURNAL = ".anystore-journal"
_REPLACEMENT = ".anystore-replacement"
_READ_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK  # a named pipe must not block whoever opens it
_CHANGE_FLAGS = os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


class Archive:
    """A file that is locked while it is changed, and while its directory is read.

    The archive itself carries the ``flock``, so that nothing has to be made beside it to read
    it, also where nothing can be written. What was read counts as long as the file
    has the same inode, length and time of change; each change of ours sets the time.

    Args:
        path: The archive; a symbolic link is followed.
        uri: The masked URI, for messages.
        durable: Flush each change to the disk.
    """

    def __init__(self, path: str, *, uri: str, durable: bool) -> None:
        self.path = os.path.realpath(path)
        self.journal_path = self.path + _JOURNAL
        self.replacement_path = self.path + _REPLACEMENT
        self.folder = os.path.dirname(self.path)
        self.uri = uri
        self.durable = durable
        self._known = Directory()

    def directory(self) -> Directory:
        """Give what the archive holds now.

        Raises:
            BackendError: If the file cannot be read, or is no archive.
        """
        known = self._known
        try:
            stamp = stamp_of(os.stat(self.path))
            return known if known.stamp == stamp else self._read_again()
        except AnystoreError:
            raise
        except FileNotFoundError:
            return Directory()
        except OSError as error:
            self.fail(error, "read")

    def know(self, directory: Directory) -> None:
        """Take the directory that a change has made, so that it need not be read."""
        self._known = directory

    def forget(self) -> None:
        """Let the file go, once nobody reads a value from it."""
        self._known = Directory()

    @contextmanager
    def locked(self) -> Iterator[int]:
        """Open the archive to change it, and keep all others out; a missing one is made.

        Yields:
            Its file descriptor. What a killed process left half done is undone before.
        """
        descriptor, is_new = self._lock_or_make()
        try:
            self._check_is_file(descriptor)
            self._recover(descriptor)
            yield descriptor
        finally:
            if is_new and not os.fstat(descriptor).st_size:
                with suppress(OSError):  # it was made for a change that failed
                    os.unlink(self.path)
            release(descriptor)

    def _lock_or_make(self) -> tuple[int, bool]:
        try:
            return lock(self.path, _CHANGE_FLAGS, shared=False), False
        except FileNotFoundError:
            os.makedirs(self.folder, exist_ok=True)
            return lock(self.path, _CHANGE_FLAGS | os.O_CREAT, shared=False), True

    def directory_of(self, descriptor: int) -> Directory:
        """Give what the archive holds that this process has locked."""
        known = self._known
        stamp = stamp_of(os.fstat(descriptor))
        if known.stamp == stamp:
            return known
        self._known = self._parse(FileSource(os.open(self.path, _READ_FLAGS)), stamp)
        return self._known

    def _read_again(self) -> Directory:
        descriptor = lock(self.path, _READ_FLAGS, shared=True)
        source: Source = FileSource(descriptor)
        try:
            self._check_is_file(descriptor)
            self._sweep()
            if not os.path.exists(self.journal_path):
                self._known = self._parse(source, stamp_of(os.fstat(descriptor)))
                return self._known
            kept = read_journal(self.journal_path)  # of a dead process: a living one would have the lock
        finally:
            unlock(descriptor)
        try:
            with self.locked() as locked:
                return self.directory_of(locked)
        except OSError as error:
            if error.errno not in _FORBIDDEN:
                raise
        # Nobody here may put back what the journal holds, but it can be read from there.
        if kept is not None and kept.belongs_to(descriptor):
            source = OverlaidSource(source, kept.start, kept.tail)
        return self._parse(source, NO_STAMP)

    def _parse(self, source: Source, stamp: Stamp) -> Directory:
        try:
            return read_directory(source, stamp)
        except (Malformed, Shortened) as error:
            reason = str(error) or "it is cut off"
            raise BackendError(f"{self.uri} is no zip archive: {reason}; fetch or write it again") from error

    def _check_is_file(self, descriptor: int) -> None:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise BackendError(f"{self.uri} is no file, so it cannot be a zip archive")

    def _recover(self, descriptor: int) -> None:
        """Undo what a killed process has left half done."""
        self._sweep()
        try:
            kept = read_journal(self.journal_path)
        except FileNotFoundError:
            return
        if kept is not None and kept.belongs_to(descriptor):
            kept.put_back(descriptor)
            if self.durable:
                os.fsync(descriptor)
        os.unlink(self.journal_path)

    def _sweep(self) -> None:
        """Remove what a process left that was killed while it made the archive smaller; the lock is held."""
        with suppress(OSError):
            os.unlink(self.replacement_path)

    def fail(self, error: OSError, what: str, key: str = "") -> NoReturn:
        """Raise the error of ours that an error of the system means."""
        whom = f"{key!r} in {self.uri}" if key else self.uri
        if error.errno in _FORBIDDEN and what != "read":
            raise ReadOnlyError(
                f"cannot {what} {whom}: {error.strerror}; check the permissions of the archive and of its folder"
            ) from error
        if error.errno == errno.EISDIR:
            raise BackendError(f"cannot {what} {whom}: it is a folder; a zip archive is one file") from error
        raise BackendError(f"cannot {what} {whom}: {error.strerror or error}") from error


def stamp_of(status: os.stat_result) -> Stamp:
    """Tell which version of a file this is."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
