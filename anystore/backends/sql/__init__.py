"""``sqlite://``, ``postgresql://``, ``mysql://``, ``mariadb://``: values in a table of a database."""

import os
from collections.abc import Hashable, Iterable, Iterator, Mapping
from itertools import chain
from secrets import token_hex
from typing import Any
from weakref import WeakValueDictionary

from sqlalchemy import exc

from anystore.backend import Backend, Entry, Feature, Reader, Writer
from anystore.backends.sql import many
from anystore.backends.sql.connections import Connections, make_engine
from anystore.backends.sql.dialects import NAMES
from anystore.backends.sql.failures import Failures
from anystore.backends.sql.file_connections import FileConnections
from anystore.backends.sql.options import Options, anchor, engine_url, is_sqlite, parse_options
from anystore.backends.sql.pooled_connections import PooledConnections
from anystore.backends.sql.reaching import has_table
from anystore.backends.sql.schema import Tables
from anystore.backends.sql.statements import Statements
from anystore.backends.sql.values import New, SqlWriter, Values, entry_of
from anystore.errors import InvalidOption, InvalidUri, Unsupported
from anystore.extras import missing
from anystore.keys import Key
from anystore.uris import StoreUri, collect_secrets, mask_text

_MICROSECONDS = 1_000_000
_process: object = object()  # another one in a forked child, which must not use its parent's connections


def _forget_parent() -> None:
    global _process  # noqa: PLW0603 - the module has one process
    _process = object()


os.register_at_fork(after_in_child=_forget_parent)


def from_uri(uri: StoreUri, config: Mapping[str, Any]) -> "SqlBackend":
    """Make the backend of a database; nothing is connected yet.

    Args:
        uri: The store's URI; a driver may be named as SQLAlchemy does, like ``postgresql+psycopg2://``.
        config: ``table``, ``chunk_size``, ``engine_kwargs``; for SQLite ``durable`` and ``busy_timeout``; for a server
            ``username``, ``password``, ``pool_size``, ``pool_timeout``, ``connect_timeout`` and ``timeout``.

    Returns:
        The backend.

    Raises:
        InvalidUri: If the URI names no database, or a driver that is not known.
        InvalidOption: If an option is unknown, or is not what it can be.
        MissingExtra: If the driver is not installed.
    """
    return SqlBackend(uri, options=parse_options(config, uri))


class SqlBackend(Backend):
    """Values in three tables of a database, which are made when they are not there.

    Args:
        uri: Where the database is.
        options: How the store is set up in it.
    """

    features = ~Feature.NONE
    batches = True

    def __init__(self, uri: StoreUri, *, options: Options | None = None) -> None:
        self._store_uri = uri = anchor(uri)
        self._options = options or Options()
        self.uri = uri.masked
        self._url = engine_url(uri, self._options)
        self._tables = Tables(self._options.table)
        self._failures = self._check_engine()
        self._in_memory = is_sqlite(uri) and self._url.database is None
        self._born = _process
        self._values_by_process: dict[object, Values] = {}
        self.shareable = not self._in_memory
        if not is_sqlite(uri):
            self.at_once = int(self._options.engine_kwargs.get("pool_size", self._options.pool_size)) or None
        if self._in_memory:
            self._token = token_hex(16)
            _MEMORY[self._token] = self

    def _check_engine(self) -> Failures:
        """Make an engine to see whether it can be made, and learn which driver it has."""
        scheme = self._store_uri.scheme
        secrets = self._store_uri.secrets | collect_secrets(self._options.engine_kwargs)
        if self._options.password:
            secrets |= {self._options.password}
        try:
            engine = make_engine(self._url, self._options)
        except ImportError as error:  # also a driver without the C library it needs
            raise missing(error.name or "a driver", needed_by=f"{scheme}://") from error
        except exc.NoSuchModuleError as error:
            raise InvalidUri(f"{self.uri}: {scheme!r} is no dialect and driver that SQLAlchemy knows") from error
        except (exc.ArgumentError, AttributeError, TypeError, ValueError) as error:
            text = mask_text(str(error), secrets)
            raise InvalidOption(
                f"{self.uri}: SQLAlchemy refuses engine_kwargs, or an option of the URI: {text}"
            ) from None
        if engine.dialect.name not in NAMES:
            known = ", ".join(sorted(NAMES))
            raise InvalidUri(f"{self.uri}: {engine.dialect.name} is not supported; use one of {known}")
        if engine.dialect.is_async:
            raise InvalidUri(f"{self.uri}: {engine.dialect.driver} is a driver for asyncio; use another one")
        return Failures(self.uri, secrets, engine.dialect)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the configuration; a database in memory stays in its process."""
        if self._in_memory:
            return _find_memory, (self._token, self.uri)
        return _restore, (self._store_uri, self._options)

    def _values(self) -> Values:
        """Give the values by this process's connections."""
        found = self._values_by_process.get(_process)
        return self._connect() if found is None else found

    def _connect(self) -> Values:
        kind: type[Connections] = FileConnections if is_sqlite(self._store_uri) else PooledConnections
        if self._in_memory and self._born is not _process:
            raise _elsewhere(self.uri)
        connections = kind(self._url, self._options, self._failures, self._tables)
        statements = Statements(self._tables, connections.dialect)
        mine = Values(self, connections, statements, chunk_size=self._options.chunk_size)
        # of two threads that come here at once, one has connected in vain
        values = self._values_by_process.setdefault(_process, mine)
        if values is not mine:
            connections.close()
        return values

    def close(self) -> None:
        """Close the connections; a database in memory stays."""
        values = self._values_by_process.get(_process)
        if values is not None:
            values.connections.close()

    def get(self, key: Key) -> bytes:
        return self._values().get(key)

    def read(self, key: Key, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        return self._values().open(key).read(start, stop)

    def reader(self, key: Key) -> Reader:
        return self._values().open(key)

    def stat(self, key: Key) -> Entry:
        values = self._values()
        rows = values.connections.fetch(values.sql.entry, {"key": values.encode(key), "now": values.connections.now()})
        if not rows:
            raise self.missing(key)
        return entry_of(key, rows[0])

    def reach(self) -> bool:
        if not self._in_memory and not has_table(self._url, self._options, self._failures, self._tables):
            return False
        return super().reach()

    def exists(self, key: Key) -> bool:
        values = self._values()
        parameters = {"key": values.encode(key), "now": values.connections.now()}
        return bool(values.connections.fetch(values.sql.exists, parameters))

    def put(
        self, key: Key, data: bytes, *, create: bool = False, version: str | None = None, ttl: float | None = None
    ) -> Entry:
        return self._values().put(New(key, len(data), create=create, seen=version, ttl=_microseconds(ttl)), data)

    def writer(self, key: Key, *, create: bool = False, version: str | None = None, ttl: float | None = None) -> Writer:
        return SqlWriter(self._values(), New(key, 0, create=create, seen=version, ttl=_microseconds(ttl)))

    def delete(self, key: Key) -> None:
        self._values().delete(key)

    def append(self, key: Key, data: bytes) -> None:
        self._values().append(key, data)

    def move(self, source: Key, target: Key) -> None:
        self._values().move(source, target)

    def take(self, key: Key) -> bytes:
        return self._values().take(key)

    def copy(self, source: Key, target: Key) -> None:
        self._values().copy(source, target)

    def extent(self) -> tuple[Hashable, str]:
        if self._in_memory:
            return super().extent()
        url = self._url
        return (url.get_backend_name(), url.host, url.port, url.database, self._options.table), ""

    def scan(self, prefix: str = "", after: Key | None = None) -> Iterator[Entry]:
        pages = many.list_pages(self._values(), prefix, after, keys_only=False, uri=self.uri)
        return (entry_of(key, row[1:]) for keys, rows in pages for key, row in zip(keys, rows, strict=True))

    def keys(self, prefix: str = "", after: Key | None = None) -> Iterator[str]:
        pages = many.list_pages(self._values(), prefix, after, keys_only=True, uri=self.uri)
        return chain.from_iterable(keys for keys, _ in pages)

    def get_many(self, keys: Iterable[Key]) -> Iterator[tuple[str, bytes | None]]:
        return many.get_many(self._values(), keys)

    def put_many(self, items: Iterable[tuple[Key, bytes]], *, ttl: float | None = None) -> None:
        many.put_many(self._values(), items, _microseconds(ttl))

    def delete_many(self, keys: Iterable[Key]) -> None:
        many.delete_many(self._values(), keys)


_MEMORY: WeakValueDictionary[str, SqlBackend] = WeakValueDictionary()


def _microseconds(ttl: float | None) -> int | None:
    return None if ttl is None else max(1, round(ttl * _MICROSECONDS))


def _restore(uri: StoreUri, options: Options) -> SqlBackend:
    return SqlBackend(uri, options=options)


def _find_memory(token: str, uri: str) -> SqlBackend:
    found = _MEMORY.get(token)
    if found is None:
        raise _elsewhere(uri)
    return found


def _elsewhere(uri: str) -> Unsupported:
    return Unsupported(
        f"{uri} lives in the memory of another process, or is gone, and its values are not here; "
        "use a file, like 'sqlite:///name.db', or a server to share values between processes"
    )
