"""A value copied, whole, to a file of its own; and private files, which are gone afterwards."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath

from anystore.backend import Backend, Entry
from anystore.errors import VersionMismatch
from anystore.keys import Key
from anystore.virtual.folders import local_errors, make_held
from anystore.virtual.watching import watched_prefix

_MAX_NAME_BYTES = 255
_MAX_SUFFIX_BYTES = 32
_TRIES = 3
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW


@contextmanager
def private_copy(backend: Backend, key: Key) -> Iterator[str]:
    """Copy a value to a file that is gone when the block ends, also if the process is killed.

    Args:
        backend: Where the value is.
        key: The key.

    Yields:
        The path of the file.

    Raises:
        DoesNotExist: If there is no value.
        VersionMismatch: If it is replaced again and again meanwhile.
        BackendError: If there is no room.
    """
    with local_errors(f"copy {key!r} from {backend.uri} to a temporary folder"):
        held = make_held(watched_prefix())
    try:
        path = f"{held.path}/{file_name(key)}"
        download(backend, key, path)
        yield path
    finally:
        if held.is_mine:
            shutil.rmtree(held.path, ignore_errors=True)
        held.release()


def download(backend: Backend, key: Key, path: str) -> Entry:
    """Copy one version of a value to a file, and check that it came whole.

    Args:
        backend: Where the value is.
        key: The key.
        path: The file.

    Returns:
        The entry of the version that was copied.

    Raises:
        DoesNotExist: If there is no value.
        VersionMismatch: If it is replaced again and again meanwhile, or fewer bytes come than there are.
        BackendError: If there is no room.
    """
    for last in (*(False,) * (_TRIES - 1), True):
        try:
            return _download_once(backend, key, path)
        except VersionMismatch:
            if last:
                raise
    raise AssertionError  # pragma: no cover - the last try returns or raises


def _download_once(backend: Backend, key: Key, path: str) -> Entry:
    with backend.reader(key) as reader, local_errors(f"copy {key!r} from {backend.uri} to {path}"):
        entry = reader.entry
        with open(os.open(path, _FLAGS, 0o600), "wb") as file:
            copied = sum(file.write(piece) for piece in reader.read())
    if entry.size not in (None, copied):
        raise VersionMismatch(
            f"{key!r} in {backend.uri} has {entry.size:,} bytes, and {copied:,} came; it is changing, or damaged"
        )
    if entry.version is None:  # then nothing has bound the bytes to the entry
        after = backend.stat(key)
        if (after.size, after.modified) != (entry.size, entry.modified):
            raise backend.changed(key)
    return entry


def file_name(key: str) -> str:
    """Give the last segment of a key, shortened to what a file system takes, its extension kept.

    Example:
        >>> file_name("2024/report.pdf")
        'report.pdf'
    """
    name = key.rpartition("/")[2]
    encoded = os.fsencode(name)
    if len(encoded) <= _MAX_NAME_BYTES:
        return name
    tail = os.fsencode(PurePosixPath(name).suffix)[-_MAX_SUFFIX_BYTES:]
    return encoded[: _MAX_NAME_BYTES - len(tail)].decode(errors="ignore") + tail.decode(errors="ignore")
