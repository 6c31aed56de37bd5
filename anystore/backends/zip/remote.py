"""A zip archive that is a value of another store: behind a web server, in a bucket.

Only its directory and the values that are asked for are read, by ranges; nothing is written.
"""

import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

from anystore.backend import Backend, Entry, Feature
from anystore.backends.zip.addresses import split_archive
from anystore.backends.zip.directory import NO_STAMP, Directory, read_directory
from anystore.backends.zip.records import Malformed
from anystore.backends.zip.sources import ReaderSource, Shortened
from anystore.backends.zip.values import ZipReader
from anystore.backends.zip.view import ZipView
from anystore.errors import BackendError, DoesNotExist, Unsupported, VersionMismatch
from anystore.keys import Key, parse_key
from anystore.uris import StoreUri

_PREFIX = "zip+"
_TRIES = 3


def from_uri(
    uri: StoreUri, config: Mapping[str, Any], *, open_inner: Callable[[str, Mapping[str, Any]], Backend]
) -> "RemoteZipBackend":
    """Make the backend of a ``zip+SCHEME://`` URI.

    Args:
        uri: The URI of the archive, with ``zip+`` before it.
        config: The options of the store that the archive is in.
        open_inner: Opens that store.

    Returns:
        The backend; nothing is opened yet.

    Raises:
        InvalidUri: If the URI names no archive.
    """
    store, name = split_archive(uri)
    return RemoteZipBackend(open_inner(store, config), parse_key(name))


class _Known(NamedTuple):
    """The directory of one version of the archive."""

    directory: Directory
    entry: Entry


class RemoteZipBackend(ZipView):
    """The entries of an archive that another backend holds.

    Each call asks first whether the archive is still the one whose directory is known.

    Args:
        inner: The backend; it has to read by ranges, and to tell versions.
        archive: The key of the archive in it.
    """

    features = Feature.LIST | Feature.SORTED

    def __init__(self, inner: Backend, archive: Key) -> None:
        place = inner.locate(archive)
        self.uri = _PREFIX + (place if "://" in place else f"file://{quote(os.fsencode(place))}")
        self._inner = inner
        self._key = archive
        self._known: _Known | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the configuration."""
        return RemoteZipBackend, (self._inner, self._key)

    def open(self, key: Key) -> ZipReader:
        """Bind an entry; its header is read now, so that an archive that was just replaced is noticed."""
        for _ in range(_TRIES):
            try:
                return super().open(key)
            except VersionMismatch:
                self._known = None
        return super().open(key)

    def get(self, key: Key) -> bytes:
        for _ in range(_TRIES):
            try:
                return super().get(key)
            except VersionMismatch:
                self._known = None
        return super().get(key)

    def directory(self) -> Directory:
        known = self._known
        try:
            if known is not None:
                entry = self._inner.stat(self._key)
                if entry.version is not None and entry.version == known.entry.version:
                    return known.directory
            known = self._read_directory()
        except DoesNotExist as error:
            self._known = None
            raise BackendError(f"there is no archive at {self.uri}: check its spelling") from error
        self._known = known
        return known.directory

    def _read_directory(self) -> _Known:
        reader = self._inner.reader(self._key)
        size = reader.entry.size
        if size is None or not reader.seekable:
            reader.close()
            raise Unsupported(
                f"{self.uri} cannot be read in parts: the server has no ranges, or tells no version; "
                "copy the archive to a local file first, and open that"
            )
        try:
            return _Known(read_directory(ReaderSource(reader, size), NO_STAMP), reader.entry)
        except (Malformed, Shortened) as error:
            reason = str(error) or "it is cut off"
            raise BackendError(f"{self.uri} is no zip archive: {reason}; fetch or write it again") from error

    def locate(self, key: Key) -> str:
        address, mark, query = self.uri.partition("?")
        return f"{address}/{key}{mark}{query}"

    def close(self) -> None:
        self._known = None
        self._inner.close()
