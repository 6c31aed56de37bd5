"""Any of fsspec's filesystems as a backend: ``PROTOCOL://…``, or ``fsspec+PROTOCOL://…`` to insist.

fsspec promises little that holds for every filesystem, so little is declared here. Keys
are exact: only calls that take one path as it stands are used, none that expand patterns.

Four protocols have a file of their own, which says what they do better, and what they cannot do: ``sftp``
(also ``ssh``), ``ftp``, ``webdav`` (``webdavs`` over TLS) and ``s3``. A value is written under a temporary
name below ``.anystore/`` and moved to its key, but on S3, which keeps writes whole by itself. Where a server
moves nothing over a file (some FTP and SFTP servers), or deletes before it moves (WebDAV), there is a moment
in which the key has no value.
"""

from collections.abc import Hashable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import quote

from anystore.backend import Backend, Entry, Feature, Reader, Writer, read_and_close, warn_of_foreign
from anystore.backends.fsspec.files import Info
from anystore.backends.fsspec.media import ANY, Medium
from anystore.backends.fsspec.options import check_arguments, class_of, find_filesystem, read_location, text_secrets
from anystore.backends.fsspec.values import entry_of
from anystore.errors import VersionMismatch
from anystore.extras import load
from anystore.keys import Key, is_private
from anystore.uris import StoreUri

_TRIES = 8
_MODULE_OF_PROTOCOL = {
    "ftp": "ftp",
    "s3": "buckets",
    "s3a": "buckets",
    "sftp": "sftp",
    "ssh": "sftp",
    "webdav": "webdav",
}


def from_uri(uri: StoreUri, config: Mapping[str, Any]) -> "FsspecBackend":
    """Make the backend of a URI whose scheme fsspec knows; the library is imported, nothing connected."""
    protocol, filesystem = find_filesystem(uri)
    root, options = read_location(uri, protocol, filesystem, config)
    given = options | dict(config)
    found = uri.secrets | text_secrets(given)
    return FsspecBackend(
        protocol,
        root,
        arguments=check_arguments(given, protocol=protocol, filesystem=filesystem, uri=uri.masked),
        uri=uri.masked,
        hidden=found | {quote(text, safe="", errors="replace") for text in found},
    )


class FsspecBackend(Backend):
    """Values as files of one of fsspec's filesystems.

    Args:
        protocol: The protocol, as fsspec names it.
        root: Path of the folder that holds the values, as the filesystem writes paths.
        arguments: For the constructor of the filesystem.
        uri: The masked URI; made from the other arguments unless given.
        hidden: Texts that no message may show, beside the secrets among the arguments.

    Raises:
        ValueError: If fsspec knows no such protocol.
    """

    def __init__(
        self,
        protocol: str,
        root: str,
        *,
        arguments: Mapping[str, Any] | None = None,
        uri: str = "",
        hidden: Iterable[str] = (),
    ) -> None:
        arguments = arguments or {}
        self.uri = uri or f"fsspec+{protocol}://{root}"
        self._medium = _medium_of(protocol)
        self._files = self._medium.files(
            protocol,
            class_of(protocol),
            root.rstrip("/"),
            arguments=arguments,
            uri=self.uri,
            hidden=text_secrets(arguments) | set(hidden),
        )

    @property
    def features(self) -> Feature:
        """What the protocol is known to do."""
        return self._medium.features

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the configuration."""
        files = self._files
        return _restore, (files.protocol, files.root, files.arguments, files.uri, files.hidden)

    def get(self, key: Key) -> bytes:
        for _ in range(_TRIES):
            with suppress(VersionMismatch):  # it was replaced meanwhile: unlike a part, all of it can be read again
                return self._medium.get(self._files, key)
        return self._medium.get(self._files, key)

    def read(self, key: Key, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        return read_and_close(self.reader(key), start, stop)

    def reader(self, key: Key) -> Reader:
        return self._medium.open_reader(self._files, key)

    def stat(self, key: Key) -> Entry:
        return self._entry(key, self._files.info(key))

    def local_file(self, key: Key) -> str | None:
        if self._files.protocol not in ("file", "local"):
            return None
        self._files.info(key)
        return self._files.path(key)

    def writer(self, key: Key, *, create: bool = False, version: str | None = None, ttl: float | None = None) -> Writer:
        self.require_write(key, create=create, version=version, ttl=ttl)
        return self._medium.open_writer(self._files, key)

    def delete(self, key: Key) -> None:
        self._files.delete(key)

    def scan(self, prefix: str = "", after: Key | None = None) -> Iterator[Entry]:
        if after is not None:
            self._refuse(Feature.SORTED, f"list what is behind {after!r}", instead="list all, and compare")
        return self._walk(prefix)

    def extent(self) -> tuple[Hashable, str]:
        files = self._files
        folder = files.root.strip("/")
        arguments = tuple(sorted((name, repr(value)) for name, value in files.arguments.items()))
        is_local = files.protocol in ("file", "local")
        return "file" if is_local else (files.protocol, arguments), f"{folder}/" if folder else ""

    def children(self, prefix: str = "") -> Iterator[Entry | str]:
        foreign: list[str] = []
        if is_private(prefix):
            return
        for key, info in self._files.children(prefix, foreign):
            yield key if info is None else self._entry(key, info)
        warn_of_foreign(self.uri, foreign, stacklevel=2)

    def close(self) -> None:
        self._files.close()

    def _walk(self, prefix: str) -> Iterator[Entry]:
        """Walk the folders, the names of one folder at a time in memory."""
        foreign: list[str] = []
        pending = [prefix]
        while pending:
            folders = []
            for key, info in self._files.children(pending.pop(), foreign):
                if info is None:
                    folders.append(key)
                else:
                    yield self._entry(key, info)
            pending.extend(reversed(folders))
        warn_of_foreign(self.uri, foreign, stacklevel=2)

    def _entry(self, key: str, info: Info) -> Entry:
        return entry_of(key, info, protocol=self._files.protocol)


def _medium_of(protocol: str) -> Medium:
    module = _MODULE_OF_PROTOCOL.get(protocol)
    medium: Medium = load(f"anystore.backends.fsspec.{module}").MEDIUM if module else ANY
    return medium


def _restore(protocol: str, root: str, arguments: Mapping[str, Any], uri: str, hidden: frozenset[str]) -> FsspecBackend:
    return FsspecBackend(protocol, root, arguments=arguments, uri=uri, hidden=hidden)
