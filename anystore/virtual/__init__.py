"""A value as a local file, for libraries that want a path or a real file.

A value that is a file of this machine already is used where it is. Any other one is copied,
whole, to a private file, which is gone when the block ends, or kept in a cache on the disk.
"""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from anystore.backend import Backend
from anystore.errors import BackendError, InvalidOption
from anystore.keys import Key, parse_key
from anystore.store import Store, get_store
from anystore.virtual.cache import DiskCache
from anystore.virtual.copies import private_copy

_CACHE_SIZE = 10 << 30


@contextmanager
def local_path(
    key: str,
    store: Store | str | os.PathLike[str],
    *,
    cache_dir: str | os.PathLike[str] | None = None,
    cache_size: int | None = None,
) -> Iterator[Path]:
    """Give a value as a local file, for the length of a ``with`` block.

    Values of a local folder are used in place: the path is the value itself, and whoever writes
    to it changes the value. Other values are copied, and changing the copy changes no store.

    Args:
        key: The key.
        store: The store, or its URI.
        cache_dir: A folder that keeps copies for the next time. A copy is used as long as the store
            says that the value is still the same: its version, or else its size and time.
        cache_size: The most bytes to keep there, 10 GiB unless told otherwise; those that were used
            longest ago go first, and none goes that is in use.

    Yields:
        The path of the file, with the last segment of the key as its name.

    Raises:
        DoesNotExist: If there is no value.
        VersionMismatch: If the value is replaced again and again while it is copied.
        BackendError: If there is no room for the copy.
        InvalidOption: If ``cache_size`` is no size, or given without ``cache_dir``.

    Example:
        >>> store = get_store("memory://papers")
        >>> entry = store.put("2024/notes.txt", "hello")
        >>> with local_path("2024/notes.txt", store) as path:
        ...     path.name, path.read_text()
        ('notes.txt', 'hello')
    """
    parsed = parse_key(key)
    cache = _open_cache(cache_dir, cache_size)
    backend = (store if isinstance(store, Store) else get_store(store)).backend
    in_place = backend.local_file(parsed)
    if in_place is not None:
        yield Path(in_place)
        return
    with _copy(backend, parsed, cache) as path:
        yield Path(path)


@contextmanager
def open_virtual(
    key: str,
    store: Store | str | os.PathLike[str],
    *,
    cache_dir: str | os.PathLike[str] | None = None,
    cache_size: int | None = None,
) -> Iterator[BinaryIO]:
    """Open a value as a real local file, for the length of a ``with`` block.

    Args:
        key: The key.
        store: The store, or its URI.
        cache_dir: As for :func:`local_path`.
        cache_size: As for :func:`local_path`.

    Yields:
        A seekable binary file, opened for reading only, with a ``fileno`` and a path as ``name``. It
        stays with the version it was opened with, whatever happens to the value.

    Raises:
        DoesNotExist: If there is no value.
        VersionMismatch: If the value is replaced again and again while it is copied.
        BackendError: If there is no room for the copy.
        InvalidOption: If ``cache_size`` is no size, or given without ``cache_dir``.
    """
    with local_path(key, store, cache_dir=cache_dir, cache_size=cache_size) as path, _open_file(path, key) as file:
        yield file


def _copy(backend: Backend, key: Key, cache: DiskCache | None) -> AbstractContextManager[str]:
    return private_copy(backend, key) if cache is None else cache.hold(backend, key)


def _open_cache(folder: str | os.PathLike[str] | None, size: int | None) -> DiskCache | None:
    if size is not None and (type(size) is not int or size < 1):
        raise InvalidOption(f"cache_size is a number of bytes, not {size!r}")
    if folder is None:
        if size is not None:
            raise InvalidOption("cache_size limits what is kept in cache_dir; pass cache_dir, too")
        return None
    path: Any = os.fspath(folder) if isinstance(folder, os.PathLike) else folder
    if not isinstance(path, str) or not path or "\0" in path:
        raise InvalidOption(f"cache_dir is the path of a folder, not {folder!r}")
    whole = Path(os.path.expanduser(path)).absolute()  # a Path raises where there is no such user
    return DiskCache(whole, _CACHE_SIZE if size is None else size)


def _open_file(path: Path, key: str) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:  # deleted since, or not ours to read
        raise BackendError(f"cannot open {str(path)!r}, the file of {key!r}: {error.strerror or error}") from error
