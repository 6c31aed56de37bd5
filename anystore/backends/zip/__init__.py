"""Values as the entries of a zip archive, which every other program can open."""

import os
from collections.abc import Hashable, Iterable, Mapping
from typing import Any
from urllib.parse import quote

from anystore.backend import Entry, Feature, Writer
from anystore.backend_config import bool_option, check_options
from anystore.backends.zip.addresses import local_path, split_folder
from anystore.backends.zip.archive import Archive
from anystore.backends.zip.changes import Addition, changing
from anystore.backends.zip.compression import METHODS
from anystore.backends.zip.directory import Directory
from anystore.backends.zip.values import ZipWriter, copy_value, pack_value, put_batch
from anystore.backends.zip.view import ZipView
from anystore.errors import InvalidOption
from anystore.keys import Key
from anystore.uris import StoreUri

__all__ = ["ZipBackend", "from_uri", "split_folder"]


def from_uri(uri: StoreUri, config: Mapping[str, Any]) -> "ZipBackend":
    """Make the backend of the path of an archive, or a ``zip://`` URI.

    Args:
        uri: ``FILE.zip``, or ``zip:///folder/FILE.zip``.
        config: ``compression`` (``deflated``, unless told otherwise, ``stored`` or ``bzip2``) and ``durable``.

    Returns:
        The backend; nothing is opened yet.

    Raises:
        InvalidUri: If the URI names no file of this machine.
        InvalidOption: If an option is unknown or not what it can be.
    """
    check_options(config, known=("compression", "durable"), uri=uri.masked)
    compression = config.get("compression", "deflated")
    if compression not in METHODS:
        choices = ", ".join(map(repr, METHODS))
        raise InvalidOption(f"{uri.masked}: the option 'compression' is one of {choices}, not {compression!r}")
    return ZipBackend(local_path(uri), compression=compression, durable=bool_option(config, "durable", uri=uri.masked))


class ZipBackend(ZipView):
    """A zip archive on a local disk, which the first write makes.

    A value is compressed first, and then added under a lock of the file, over its directory; the
    old directory is in a journal until the new one is written. An overwritten or deleted value is
    only dropped from the directory. Once more than half of the archive is of such values, the
    others are copied to a new file. The whole directory is read into memory, and each change
    writes all of it: change many values by the ``_many`` methods.

    Args:
        path: The archive.
        compression: How new values are compressed: ``stored``, ``deflated`` or ``bzip2``.
        durable: Flush each change to the disk before it counts as done, so that it survives a
            loss of power too.
    """

    features = Feature.WRITE | Feature.LIST | Feature.SORTED | Feature.CREATE | Feature.SWAP | Feature.TAKE
    batches = True

    def __init__(self, path: str, *, compression: str = "deflated", durable: bool = False) -> None:
        self._path = os.path.abspath(path)
        self.uri = f"zip://{quote(os.fsencode(self._path))}"
        self._compression = compression
        self._method = METHODS[compression]
        self._archive = Archive(self._path, uri=self.uri, durable=durable)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the configuration."""
        return _restore, (self._path, self._compression, self._archive.durable)

    def directory(self) -> Directory:
        return self._archive.directory()

    def put(
        self, key: Key, data: bytes, *, create: bool = False, version: str | None = None, ttl: float | None = None
    ) -> Entry:
        self.require_write(key, ttl=ttl)
        record, written = pack_value(key, data, self._method)
        with changing(self._archive, key) as change:
            change.check(key, create=create, version=version)
            change.add([Addition(key, record)], [written], len(written))
        return record.entry(key)

    def writer(self, key: Key, *, create: bool = False, version: str | None = None, ttl: float | None = None) -> Writer:
        self.require_write(key, ttl=ttl)
        return ZipWriter(self._archive, key, method=self._method, create=create, version=version)

    def delete(self, key: Key) -> None:
        self.delete_many([key])

    def take(self, key: Key) -> bytes:
        if not self.exists(key):  # a missing archive is not to be made
            raise self.missing(key)
        with changing(self._archive, key, "take") as change:
            data = b"".join(self.open_in(change.directory, key).read())
            change.remove([key])
        return data

    def put_many(self, items: Iterable[tuple[Key, bytes]], *, ttl: float | None = None) -> None:
        if ttl is not None:
            self.require_write(Key(""), ttl=ttl)
        put_batch(self._archive, items, self._method)

    def delete_many(self, keys: Iterable[Key]) -> None:
        held = self.directory().records
        present = {key for key in keys if key in held}
        if present:
            with changing(self._archive, min(present), "delete") as change:
                change.remove(present)

    def copy(self, source: Key, target: Key) -> None:
        copy_value(self._archive, self.open(source), target)

    def reach(self) -> bool:
        super().reach()
        return os.path.isfile(self._path)

    def extent(self) -> tuple[Hashable, str]:
        return ("zip", os.path.realpath(self._path)), ""

    def close(self) -> None:
        self._archive.forget()


def _restore(path: str, compression: str, durable: bool) -> ZipBackend:  # noqa: FBT001 - called by pickle
    return ZipBackend(path, compression=compression, durable=durable)
