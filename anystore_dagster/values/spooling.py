"""Bytes that are collected until they can be stored, and local files that are stored or handed out."""

import atexit
import shutil
from contextlib import ExitStack
from os import PathLike
from pathlib import Path
from tempfile import NamedTemporaryFile
from types import TracebackType
from typing import IO, Self

from anystore import Store
from anystore.backend import CHUNK_BYTES
from anystore.errors import CodecError
from anystore.extras import load
from anystore.keys import is_key, parse_key
from anystore.virtual.copies import private_copy
from anystore.virtual.folders import Hold, local_errors, make_held
from anystore.virtual.watching import watched_prefix
from anystore_dagster.stored import BlobRef

_KEPT_BYTES = 1 << 20

_held = ExitStack()  # closed with the process; where it is killed, its watcher removes the files
atexit.register(_held.close)


class Spool:
    """Bytes that are collected: in memory while they are few, in a private file once they are more than 1 MiB.

    An exception in the ``with`` block removes the file.

    Args:
        folder: A private folder.
    """

    def __init__(self, folder: PathLike[str]) -> None:
        self._folder = folder
        self._pieces: list[bytes] = []
        self._size = 0
        self._file: IO[bytes] | None = None

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Take the next bytes."""
        self._pieces.append(bytes(data))
        self._size += len(data)
        if self._file is None and self._size > _KEPT_BYTES:
            self._file = NamedTemporaryFile(dir=self._folder, delete=False)  # noqa: SIM115 - closed by `finish`
        if self._file is not None and self._size >= CHUNK_BYTES:
            self._hand_on(self._file)
        return len(data)

    def _hand_on(self, file: IO[bytes]) -> None:
        pieces, self._pieces, self._size = self._pieces, [], 0
        file.writelines(pieces)

    def finish(self) -> bytes | Path:
        """Give what was collected: the bytes, or the file that holds them."""
        if self._file is None:
            return b"".join(self._pieces)
        self._hand_on(self._file)
        self._file.close()
        return Path(self._file.name)

    def __enter__(self) -> Self:
        """Enter a block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove the file of a block that failed."""
        if kind is not None and self._file is not None:
            self._file.close()
            Path(self._file.name).unlink(missing_ok=True)


def hold_copy(source: BlobRef) -> Path:
    """Copy a value to a file of the caller's own, which is gone when the process ends, also if it is killed.

    Args:
        source: The value.

    Returns:
        The path, with the last segment of the key as its name.

    Raises:
        DoesNotExist: If there is no value.
        BackendError: If there is no room.
    """
    return Path(_held.enter_context(private_copy(source.store.backend, parse_key(source.key))))


def hold_bytes(data: bytes) -> Path:
    """Write bytes to a file that is gone when the process ends.

    Args:
        data: The bytes.

    Returns:
        The path.
    """
    with local_errors("write to a temporary folder"):
        held = make_held(watched_prefix())
        _held.callback(_remove, held)
        path = Path(held.path, "value")
        path.write_bytes(data)
    return path


def _remove(held: Hold) -> None:
    if held.is_mine:
        shutil.rmtree(held.path, ignore_errors=True)
    held.release()


def file_to_store(path: Path, folder: PathLike[str]) -> Path | BlobRef:
    """Give a user's file as something that can be stored; the file stays where it is.

    Args:
        path: The file; a symlink is followed.
        folder: A private folder, for a copy of a file whose name is no key.

    Returns:
        A reference to the file, or a private copy.

    Raises:
        CodecError: If there is no such file.
    """
    real = check_file(path)
    if is_key(real.name):
        return local_reference(real)
    with Spool(folder) as spool, real.open("rb") as file:
        while piece := file.read(CHUNK_BYTES):
            spool.write(piece)
        return as_file(spool.finish(), folder)


def local_reference(path: Path) -> BlobRef:
    """Refer to a file of this machine.

    Args:
        path: The file; its name is a key.

    Returns:
        The reference; nothing is read.
    """
    # not by a URI: a folder may be called like an archive, or a scheme
    return BlobRef(Store(load("anystore.backends.local").LocalBackend(str(path.parent.absolute()))), path.name)


def check_file(path: Path) -> Path:
    """Find the regular file that a path leads to.

    Raises:
        CodecError: If there is none; the message says what to do.
    """
    if path.is_file():
        return path.resolve()
    if path.is_dir():
        raise CodecError(
            f"{str(path)!r} is a folder; annotate FileCollection, and return FileCollection.from_folder({str(path)!r})"
        )
    problem = "is no regular file" if path.exists() else "does not exist on this machine"
    raise CodecError(f"{str(path)!r} {problem}; return the path of a file that is complete when the step ends")


def as_file(data: bytes | Path, folder: PathLike[str]) -> Path:
    """Write bytes to a private file; a file stays what it is."""
    if isinstance(data, Path):
        return data
    with NamedTemporaryFile(dir=folder, delete=False) as file:
        file.write(data)
    return Path(file.name)
