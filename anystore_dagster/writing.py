"""Storing what was encoded: whole or not at all, again where a service fails for a moment, and never for nothing.

Whatever is stored lies still before the store is touched, as bytes or as a private file, so that a write is repeated
without computing again. The files of a collection come first and the value that names them last.
"""

import hashlib
import shutil
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from anystore import DoesNotExist, Store
from anystore.retries import attempt
from anystore_dagster.retention import keep_version
from anystore_dagster.stored import BlobRef, Encoded, files_folder

T = TypeVar("T")

THREADS = 32
"""How many values are loaded or stored at the same time, at most."""

_PIECE = 1 << 20
_FILES_AT_ONCE = 8
_MOST_MANIFEST = 64 << 20  # what is larger is no list of files


@dataclass(frozen=True, slots=True)
class WriteRules:
    """How values are stored.

    Attributes:
        retries: How often a call that failed by what can pass is tried again.
        if_changed: Whether bytes that are there already are left as they are.
        version: The name under which a value that is replaced is kept; None to keep none.
    """

    retries: int
    if_changed: bool = False
    version: str | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """What was stored.

    Attributes:
        size: Its bytes.
        checksum: Their SHA-256.
        replaced: The folder of the files of the value that was there before; None if it has none any more.
        is_unchanged: Whether the same bytes were there already, and nothing was written.
    """

    size: int
    checksum: str
    replaced: str | None = None
    is_unchanged: bool = False


def store_encoded(store: Store, key: str, encoded: Encoded, rules: WriteRules) -> Written:
    """Store a value whole.

    Args:
        store: The store.
        key: The key.
        encoded: The value.
        rules: How.

    Returns:
        What was stored.

    Raises:
        AnystoreError: If the store fails, also after retries; what was there before is there still.
    """
    return with_retries(lambda: _store(store, key, encoded, rules), rules.retries)


def threads_for(store: Store) -> int:
    """Tell how many values are loaded or stored at the same time: no more than the store serves.

    Args:
        store: The store.

    Returns:
        A number from 1 on.

    Example:
        >>> from anystore import get_store
        >>> threads_for(get_store("memory://threads-example"))
        32
    """
    return THREADS if store.backend.at_once is None else min(THREADS, store.backend.at_once)


def with_retries(call: Callable[[], T], retries: int) -> T:
    """Do something, and again if it fails by what can pass, as :mod:`anystore.retries` tells it."""
    return attempt(call, retries=retries, wait=time.sleep)


def _store(store: Store, key: str, encoded: Encoded, rules: WriteRules) -> Written:
    if rules.if_changed:
        known = _measure(encoded.data)
        if _is_there(store, key, encoded.data, *known):
            return Written(*known, is_unchanged=True)
    replaced = None
    if encoded.files and isinstance(encoded.data, bytes):
        replaced = _store_files(store, key, encoded.files, encoded.data)
    if rules.version is not None:
        keep_version(store, key, rules.version)
        replaced = None  # the version that is kept speaks of the same files
    if isinstance(encoded.data, BlobRef):
        size, checksum = _copy(encoded.data, store, key)
    else:
        size, checksum = _measure(encoded.data)
        _put(store, key, encoded.data)
    return Written(size, checksum, replaced)


def _put(store: Store, key: str, data: bytes | Path) -> None:
    if isinstance(data, bytes):
        store.put(key, data, serialization_mode="raw")
        return
    with data.open("rb") as source, store.open(key, "wb") as target:
        shutil.copyfileobj(source, target, _PIECE)


def _copy(source: BlobRef, store: Store, key: str) -> tuple[int, str]:
    """Copy a value, inside of its service where it can; the size and checksum of the copy."""
    if _is_same_place(source.store, store):
        store.copy(source.key, key)
        return _measure(BlobRef(store, key))
    digest, size = hashlib.sha256(), 0
    with store.open(key, "wb") as target:
        for piece in source.stream(_PIECE):
            digest.update(piece)
            size += target.write(piece)
    return size, digest.hexdigest()


def _is_same_place(one: Store, other: Store) -> bool:
    """Tell whether two stores hold the same values; a URI alone does not say at which service."""
    return one.backend.extent() == other.backend.extent()


def _store_files(store: Store, key: str, files: Mapping[str, Path | bytes | BlobRef], manifest: bytes) -> str | None:
    """Store the files of a collection in a folder that its content names; give that of the collection before it."""
    folder = files_folder(key, manifest)

    def store_file(name: str) -> None:
        data = files[name]
        if not isinstance(data, BlobRef):
            _put(store, f"{folder}/{name}", data)
        elif _is_same_place(data.store, store):
            store.copy(data.key, f"{folder}/{name}")
        else:
            data.store.copy(data.key, f"{folder}/{name}", target_store=store)

    with ThreadPoolExecutor(min(_FILES_AT_ONCE, threads_for(store)), thread_name_prefix="anystore-files") as pool:
        list(pool.map(store_file, files))
    try:
        if (store.info(key).size or 0) > _MOST_MANIFEST:
            return None
        replaced = files_folder(key, BlobRef(store, key).read())
    except DoesNotExist:
        return None
    return replaced if replaced != folder else None


def _measure(data: bytes | Path | BlobRef) -> tuple[int, str]:
    """Give size and SHA-256, in bounded memory."""
    if isinstance(data, bytes):
        return len(data), hashlib.sha256(data).hexdigest()
    if isinstance(data, Path):
        with data.open("rb") as file:
            return data.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()
    digest, size = hashlib.sha256(), 0
    for piece in data.stream(_PIECE):
        digest.update(piece)
        size += len(piece)
    return size, digest.hexdigest()


def _is_there(store: Store, key: str, data: bytes | Path | BlobRef, size: int, checksum: str) -> bool:
    """Tell whether a store has these bytes already; they are read only where nothing cheaper tells."""
    try:
        entry = store.info(key)
        if entry.size not in (None, size):
            return False
        algorithm = store.backend.digest_algorithm(size)
        told = None if algorithm is None else store.backend.digest_of(entry)
        if algorithm is not None and told is not None and not isinstance(data, BlobRef):
            if told == _digest(data, algorithm):
                return True
            if store.backend.digest_of(entry, doubted=True) is not None:
                return False
        return store.checksum(key) == checksum
    except DoesNotExist:
        return False


def _digest(data: bytes | Path, algorithm: str) -> str:
    if isinstance(data, bytes):
        return hashlib.new(algorithm, data, usedforsecurity=False).hexdigest()
    with data.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()
