"""A remote value as a local file, for libraries that want a path or a real file.

The file is a private copy, gone when the block ends. Changing it changes no store.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from anystore.backend import CHUNK_BYTES
from anystore.errors import BackendError
from anystore.keys import parse_key
from anystore.store import Store, get_store

_MAX_NAME_BYTES = 255
_MAX_SUFFIX_BYTES = 32


@contextmanager
def local_path(key: str, store: Store | str) -> Iterator[Path]:
    """Copy a value to a temporary file, for the length of a ``with`` block.

    Args:
        key: The key.
        store: The store, or its URI.

    Yields:
        The path of the file, with the last segment of the key as its name.

    Raises:
        DoesNotExist: If there is no value.
        BackendError: If there is no room for the copy.

    Example:
        >>> store = get_store("memory://papers")
        >>> entry = store.put("2024/notes.txt", "hello")
        >>> with local_path("2024/notes.txt", store) as path:
        ...     path.name, path.read_text()
        ('notes.txt', 'hello')
    """
    parsed = parse_key(key)
    opened = get_store(store) if isinstance(store, str) else store
    with opened.open(parsed, "rb") as source:
        folder = tempfile.mkdtemp(prefix="anystore-")  # readable by its owner alone
        try:
            path = Path(folder, _file_name(parsed))
            try:
                with path.open("wb") as target:
                    shutil.copyfileobj(source, target, CHUNK_BYTES)
            except OSError as error:
                if isinstance(error, BackendError):
                    raise
                raise BackendError(
                    f"cannot copy {key!r} from {opened.uri} to {folder}: {error.strerror or error}"
                ) from error
            yield path
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def open_virtual(key: str, store: Store | str) -> Iterator[BinaryIO]:
    """Open a value as a real local file, for the length of a ``with`` block.

    Args:
        key: The key.
        store: The store, or its URI.

    Yields:
        A seekable binary file with a ``fileno`` and a path as ``name``.

    Raises:
        DoesNotExist: If there is no value.
        BackendError: If there is no room for the copy.
    """
    with local_path(key, store) as path, path.open("rb") as file:
        yield file


def _file_name(key: str) -> str:
    """Give the last segment of a key, shortened to what a file system takes, its extension kept."""
    name = key.rpartition("/")[2]
    encoded = os.fsencode(name)
    if len(encoded) <= _MAX_NAME_BYTES:
        return name
    tail = os.fsencode(PurePosixPath(name).suffix)[-_MAX_SUFFIX_BYTES:]
    return encoded[: _MAX_NAME_BYTES - len(tail)].decode(errors="ignore") + tail.decode(errors="ignore")
