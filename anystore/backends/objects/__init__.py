"""``s3://``, ``gs://`` and ``az://``: objects in a bucket, by obstore.

A key is the name of an object, exactly as given, below the folder that the URI names. The version is the ETag, at
Google the generation. What obstore or the service cannot hold under its own name is refused with ``InvalidKey``.
"""

from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import obstore

from anystore.backend import Backend, Entry, Feature, Reader, Writer
from anystore.backends.objects.batches import delete_many, delete_name, get_many, get_whole, put_many
from anystore.backends.objects.configuration import Configuration, read_configuration
from anystore.backends.objects.digests import digest_algorithm, digest_of
from anystore.backends.objects.listing import list_folder, scan
from anystore.backends.objects.service import Service
from anystore.backends.objects.values import (
    ObjectReader,
    ObjectWriter,
    ask,
    condition_of,
    entry_of,
    head,
    pull,
    put_whole,
)
from anystore.errors import BackendError, DoesNotExist, InvalidKey
from anystore.keys import Key, is_private
from anystore.uris import StoreUri

_ALWAYS = Feature.WRITE | Feature.LIST | Feature.ATOMIC | Feature.OVERLAP
_BY_SERVICE = Feature.CREATE | Feature.SWAP | Feature.SORTED
_LARGEST_COPY = 5 << 30


def from_uri(uri: StoreUri, config: Mapping[str, Any]) -> "ObjectsBackend":
    """Make the backend of a bucket.

    Args:
        uri: ``s3://bucket/folder``, ``gs://bucket/folder``, ``az://container/folder`` or
            ``abfs://container@account.dfs.core.windows.net/folder``.
        config: Everywhere ``endpoint_url``, ``anon``, ``verify`` (False, or the path of a certificate), ``timeout``,
            ``connect_timeout`` and ``retries``. S3: ``key`` and ``secret`` (or ``username`` and ``password``),
            ``token``, ``profile``, ``region``, ``requester_pays``, and s3fs' ``client_kwargs``, ``config_kwargs`` and
            ``s3_additional_kwargs``. Google: ``token`` as gcsfs has it (a path, a mapping, an access token, ``anon``,
            ``google_default``) and ``project``. Azure: ``account_name`` and ``account_key`` (or ``username`` and
            ``password``), ``sas_token``, ``credential``, ``connection_string``, ``tenant_id``, ``client_id``,
            ``client_secret`` and ``account_host``. What is not given comes from each cloud's environment variables.

    Returns:
        The backend; nothing is connected yet.

    Raises:
        InvalidUri: If the URI names no bucket, or its path is no folder of keys.
        InvalidOption: If an option is unknown, or not what it can be.
    """
    return ObjectsBackend(read_configuration(uri, config))


class ObjectsBackend(Backend):
    """Objects in a bucket.

    ``CREATE``, ``SWAP`` and ``SORTED`` differ between services. They are declared for Amazon's and Google's own; any
    other service is asked to do each, once for a process and bucket, when ``features`` is first looked at or such a
    write is first wanted. That takes a few requests below ``.anystore/``, and leaves nothing.

    A value of more than one part of 8 MiB is written with a condition only by ``put``, which is given all of it.

    Args:
        configuration: Where the bucket is, and how it is reached.
    """

    def __init__(self, configuration: Configuration) -> None:
        self.uri = configuration.uri
        self._kind = configuration.kind
        self._service = Service(configuration)

    @property
    def features(self) -> Feature:
        """What this service can do."""
        return _ALWAYS | self._service.traits.features

    def sure_features(self) -> tuple[Feature, Feature]:
        known = self._service.known_traits
        return (_ALWAYS, _BY_SERVICE) if known is None else (_ALWAYS | known.features, Feature.NONE)

    # -- reading ------------------------------------------------------------

    def get(self, key: Key) -> bytes:
        return get_whole(self._service, key)

    def read(self, key: Key, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        if stop is not None and stop <= start:
            head(self._service, key)
            return iter(())
        try:
            answer = ask(self._service, key, start, stop)
        except BackendError:
            if (start or stop is not None) and start >= head(self._service, key).meta["size"]:
                return iter(())  # no service answers with nothing to a range behind the end
            raise
        return pull(self._service, key, answer)

    def reader(self, key: Key) -> Reader:
        return ObjectReader(self._service, key)

    def stat(self, key: Key) -> Entry:
        answer = head(self._service, key)
        return entry_of(key, answer.meta, kind=self._kind, mimetype=answer.attributes.get("Content-Type"))

    def get_many(self, keys: Iterable[Key]) -> Iterator[tuple[str, bytes | None]]:
        return get_many(self._service, keys)

    # -- writing ------------------------------------------------------------

    def require_write(
        self, key: Key, *, create: bool = False, version: str | None = None, ttl: float | None = None
    ) -> None:
        # Every service writes: only what differs is worth a look at what the service can do.
        if create or version is not None or ttl is not None:
            super().require_write(key, create=create, version=version, ttl=ttl)

    def writer(self, key: Key, *, create: bool = False, version: str | None = None, ttl: float | None = None) -> Writer:
        self.require_write(key, create=create, version=version, ttl=ttl)
        return ObjectWriter(self._service, key, mode=self._mode(create=create, version=version))

    def put(
        self, key: Key, data: bytes, *, create: bool = False, version: str | None = None, ttl: float | None = None
    ) -> Entry:
        self.require_write(key, create=create, version=version, ttl=ttl)
        mode = self._mode(create=create, version=version)
        return put_whole(self._service, key, self._service.name(key), data, mode=mode)

    def _mode(self, *, create: bool, version: str | None) -> Any:
        if version is not None:
            return condition_of(version, kind=self._kind)
        return "create" if create else None

    def put_many(self, items: Iterable[tuple[Key, bytes]], *, ttl: float | None = None) -> None:
        if ttl is not None:
            self._refuse(
                Feature.EXPIRE, "let values expire", instead="anystore.anycache, which keeps an expiry in the value"
            )
        put_many(self.put, items)

    def delete(self, key: Key) -> None:
        try:
            name = self._service.name(key)
        except InvalidKey:
            return
        delete_name(self._service, name)

    def delete_many(self, keys: Iterable[Key]) -> None:
        delete_many(self._service, keys)

    def copy(self, source: Key, target: Key) -> None:
        if source == target:
            head(self._service, source)
        elif not self.copy_from(self, source, target):
            super().copy(source, target)

    def copy_from(self, other: Backend, source: Key, target: Key) -> bool:
        if not isinstance(other, ObjectsBackend) or not self._is_beside(other):
            return False
        new = self._service.name(target)
        old = other._service.existing(source)  # noqa: SLF001 - of this class
        try:
            with self._service.errors("copy", key=source, writing=True):
                obstore.copy(self._service.store, old, new)
        except DoesNotExist:
            raise
        except BackendError:
            if (other.stat(source).size or 0) <= _LARGEST_COPY:
                raise
            return False  # S3 copies no more than this in one step
        return True

    def _is_beside(self, other: "ObjectsBackend") -> bool:
        """Tell whether another backend is in the same container, with the same credentials and options."""
        mine = self._service.configuration
        theirs = other._service.configuration  # noqa: SLF001 - of this class
        return mine == replace(theirs, root=mine.root, uri=mine.uri)

    def digest_algorithm(self, size: int | None) -> str | None:
        return digest_algorithm(self._service, size)

    def digest_of(self, entry: Entry, *, doubted: bool = False) -> str | None:
        return digest_of(self._service, entry, doubted=doubted)

    def extent(self) -> tuple[Hashable, str]:
        one = self._service.configuration
        return (one.kind, one.endpoint, one.container), one.root

    # -- listing ------------------------------------------------------------

    def scan(self, prefix: str = "", after: Key | None = None) -> Iterator[Entry]:
        if after is not None and Feature.SORTED not in self.features:
            self._refuse(Feature.SORTED, f"list from {after!r} on", instead="list all keys, and pass over the first")
        return iter(()) if is_private(prefix) else scan(self._service, prefix, after)

    def children(self, prefix: str = "") -> Iterator[Entry | str]:
        return iter(()) if is_private(prefix) else list_folder(self._service, prefix)

    def close(self) -> None:
        self._service.close()
