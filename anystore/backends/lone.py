"""A file of this machine, and standard input and output: backends that hold one value, whatever its key.

A plain file is read and written as a file, not as a value of its folder: a folder's backend
would not follow symbolic links that leave it, and keeps files of its own in it.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex
from typing import BinaryIO, NoReturn

from anystore.backend import CHUNK_BYTES, Backend, Entry, Feature, Reader, Writer, read_and_close
from anystore.errors import AlreadyExists, AnystoreError, BackendError, DoesNotExist
from anystore.keys import Key


class FileBackend(Backend):
    """One file, whose folder has to be there; devices and pipes are read and written as they are.

    Args:
        path: The file.
    """

    # SWAP is used by whoever appends much; other programs that write to the file know nothing of it.
    features = Feature.WRITE | Feature.CREATE | Feature.SWAP | Feature.APPEND | Feature.OVERLAP | Feature.ATOMIC

    def __init__(self, path: Path) -> None:
        self._path = path
        self.uri = str(path.parent)

    def __repr__(self) -> str:
        """Show the class and the file."""
        return f"<FileBackend {self._path}>"

    def locate(self, key: Key) -> str:
        return str(self._path)

    def local_file(self, key: Key) -> str | None:
        return str(self._path) if stat.S_ISREG(self._status(key).st_mode) else None

    def get(self, key: Key) -> bytes:
        return b"".join(self.read(key))

    def read(self, key: Key, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        return read_and_close(self.reader(key), start, stop)

    def reader(self, key: Key) -> Reader:
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise self.missing(key) from error
        except OSError as error:
            self.fail(error, "read")
        try:
            status = os.fstat(descriptor)
            if stat.S_ISDIR(status.st_mode):
                raise BackendError(f"cannot read {str(self._path)!r}: it is a folder")
        except BaseException:
            os.close(descriptor)
            raise
        return _FileReader(self, descriptor, _entry_of(key, status))

    def stat(self, key: Key) -> Entry:
        return _entry_of(key, self._status(key))

    def writer(self, key: Key, *, create: bool = False, version: str | None = None, ttl: float | None = None) -> Writer:
        self.require_write(key, create=create, version=version, ttl=ttl)
        return _FileWriter(self, self._path, key, create=create, version=version)

    def append(self, key: Key, data: bytes) -> None:
        try:
            with self._path.open("ab", buffering=0) as file:
                size = os.fstat(file.fileno()).st_size
                try:
                    _write_all(file, data)
                except OSError:
                    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                        file.truncate(size)
                    raise
        except OSError as error:
            self.fail(error, "write")

    def delete(self, key: Key) -> None:
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:
            self.fail(error, "delete")

    def missing(self, key: str) -> DoesNotExist:
        """Make the error for a file that is not there."""
        return DoesNotExist(f"there is no file {str(self._path)!r}")

    def taken(self, key: str) -> AlreadyExists:
        """Make the error for a file that was to be made, and is there."""
        return AlreadyExists(f"there is a file {str(self._path)!r} already; nothing was written")

    def fail(self, error: OSError, verb: str) -> NoReturn:
        """Raise the error of ours that an error of the system means; a broken pipe stays what it is."""
        if isinstance(error, BrokenPipeError | AnystoreError):
            raise error
        if verb == "write" and isinstance(error, FileNotFoundError):
            folder = str(self._path.parent)
            raise DoesNotExist(
                f"cannot write {str(self._path)!r}: there is no folder {folder!r}; make it first"
            ) from error
        raise BackendError(f"cannot {verb} {str(self._path)!r}: {error.strerror or error}") from error

    def _status(self, key: Key) -> os.stat_result:
        try:
            return self._path.stat()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise self.missing(key) from error
        except OSError as error:
            self.fail(error, "read")


class _FileReader(Reader):
    """An open file."""

    def __init__(self, backend: FileBackend, descriptor: int, entry: Entry) -> None:
        self._backend = backend
        self._descriptor = descriptor
        self._is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
        self.entry = entry
        self.seekable = entry.size is not None

    def read(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        position = start if self._is_file else 0
        while stop is None or position < stop:
            try:
                piece = self._read(position, CHUNK_BYTES if stop is None else min(CHUNK_BYTES, stop - position))
            except OSError as error:
                self._backend.fail(error, "read")
            if not piece:
                break
            position += len(piece)
            if position > start:
                yield piece[max(0, len(piece) - (position - start)) :]
        end = self.entry.size or 0
        if position < (end if stop is None else min(stop, end)):
            raise self._backend.changed(self.entry.key)

    def _read(self, position: int, size: int) -> bytes:
        return os.pread(self._descriptor, size, position) if self._is_file else os.read(self._descriptor, size)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            self.close()


class _FileWriter(Writer):
    """A hidden file beside the other, whose place and permissions it takes at the end."""

    def __init__(self, backend: FileBackend, path: Path, key: Key, *, create: bool, version: str | None) -> None:
        self._backend = backend
        self._key = key
        self._create = create
        self._version = version
        self._process = os.getpid()
        self._hidden: Path | None = None
        self._file: BinaryIO | None = None
        try:
            mode = _mode_of(path)
            if mode is None or stat.S_ISREG(mode):
                self._target = path.resolve()  # what a symbolic link names is replaced, the link stays
                if mode is not None and not create and not os.access(path, os.W_OK, effective_ids=True):
                    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))  # a rename would not ask
                self._hidden = self._target.with_name(f".anystore-{token_hex(8)}.tmp")
                self._file = self._hidden.open("xb", buffering=0)  # or a forked child would write the buffer once more
                if mode is not None:
                    os.fchmod(self._file.fileno(), stat.S_IMODE(mode))
            else:
                self._target = path
                self._file = path.open("wb", buffering=0)
        except OSError as error:
            self.abort()
            backend.fail(error, "write")

    def write(self, data: bytes | bytearray | memoryview) -> int:
        if self._file is None:
            raise ValueError(f"the writer of {str(self._target)!r} is closed")
        try:
            return _write_all(self._file, data)
        except OSError as error:
            self._backend.fail(error, "write")

    def commit(self) -> Entry:
        if self._file is None:
            raise ValueError(f"the writer of {str(self._target)!r} is closed")
        if self._hidden is not None and self._process != os.getpid():
            self.abort()
            raise BackendError(f"cannot write {str(self._target)!r}: it was opened before a fork; write it there")
        try:
            self._file.close()
            if self._hidden is not None:
                self._publish(self._hidden)
        except OSError as error:
            self._backend.fail(error, "write")
        finally:
            self.abort()
        return self._backend.stat(self._key)

    def _publish(self, hidden: Path) -> None:
        if self._version is not None and self._backend.stat(self._key).version != self._version:
            raise self._backend.changed(self._key)
        if not self._create:
            hidden.replace(self._target)
            return
        try:
            os.link(hidden, self._target)  # unlike a rename, this fails where there is a file
        except FileExistsError as error:
            raise self._backend.taken(self._key) from error

    def abort(self) -> None:
        file, self._file = self._file, None
        hidden, self._hidden = self._hidden, None
        if file is not None:
            with suppress(OSError):
                file.close()
        if hidden is not None and self._process == os.getpid():
            with suppress(OSError):
                hidden.unlink()

    def __del__(self) -> None:
        if hasattr(self, "_hidden"):
            self.abort()


class StandardBackend(Backend):
    """Standard input to be read, standard output to be written; neither is ever closed.

    Args:
        source: Gives standard input.
        target: Gives standard output.
        is_terminal: Tells whether standard output is a terminal, which wants the last line ended.
    """

    uri = "standard input and output"
    features = Feature.WRITE | Feature.APPEND

    def __init__(
        self, source: Callable[[], BinaryIO], target: Callable[[], BinaryIO], is_terminal: Callable[[], bool]
    ) -> None:
        self._source = source
        self._target = target
        self._is_terminal = is_terminal

    def get(self, key: Key) -> bytes:
        return b"".join(self.read(key))

    def read(self, key: Key, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        return self.reader(key).read(start, stop)

    def reader(self, key: Key) -> Reader:
        return _StandardReader(self._source(), key)

    def stat(self, key: Key) -> Entry:
        return Entry(key, None, None)

    def writer(self, key: Key, *, create: bool = False, version: str | None = None, ttl: float | None = None) -> Writer:
        self.require_write(key, create=create, version=version, ttl=ttl)
        return _StandardWriter(self._target(), key, ends_line=self._is_terminal())

    def append(self, key: Key, data: bytes) -> None:
        with self.writer(key) as writer:
            writer.write(data)


class _StandardReader(Reader):
    """What comes in, once."""

    seekable = False

    def __init__(self, source: BinaryIO, key: Key) -> None:
        self._source = source
        self.entry = Entry(key, None, None)

    def read(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        position = 0
        while stop is None or position < stop:
            try:
                piece = self._source.read1(CHUNK_BYTES)  # type: ignore[attr-defined] # every buffer has it
            except OSError as error:
                raise BackendError(f"cannot read standard input: {error.strerror or error}") from error
            if not piece:
                return
            position += len(piece)
            if position > start:
                wanted = piece[max(0, len(piece) - (position - start)) :]
                yield wanted if stop is None else wanted[: len(wanted) - max(0, position - stop)]

    def close(self) -> None:
        """Standard input is not ours to close."""


class _StandardWriter(Writer):
    """Writes as it comes; what went out cannot be taken back."""

    def __init__(self, target: BinaryIO, key: Key, *, ends_line: bool) -> None:
        self._target = target
        self._key = key
        self._ends_line = ends_line
        self._last = b"\n"

    def write(self, data: bytes | bytearray | memoryview) -> int:
        try:
            self._target.write(data)
            self._target.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise BackendError(f"cannot write to standard output: {error.strerror or error}") from error
        self._last = bytes(data[-1:]) or self._last
        return memoryview(data).nbytes

    def commit(self) -> Entry:
        if self._ends_line and self._last != b"\n":
            self.write(b"\n")
        return Entry(self._key, None, None)

    def abort(self) -> None:
        """There is nothing to forget."""


def _write_all(file: BinaryIO, data: bytes | bytearray | memoryview) -> int:
    """Write everything; a device or a pipe may take a part at once."""
    rest = memoryview(data).cast("B")
    size = len(rest)
    while rest:
        rest = rest[file.write(rest) :]
    return size


def _mode_of(path: Path) -> int | None:
    try:
        return path.stat().st_mode
    except FileNotFoundError:
        return None


def _entry_of(key: str, status: os.stat_result) -> Entry:
    """Make the entry of a file; one without a length may have more to say, as in ``/proc``."""
    if not stat.S_ISREG(status.st_mode) or not status.st_size:
        return Entry(key, None, None)
    try:
        modified = datetime.fromtimestamp(status.st_mtime_ns / 1e9, UTC)
    except (ValueError, OverflowError, OSError):  # a file may be of the year 10,000
        modified = None
    return Entry(key, status.st_size, modified, f"{status.st_ino:x}.{status.st_mtime_ns:x}.{status.st_size:x}")
