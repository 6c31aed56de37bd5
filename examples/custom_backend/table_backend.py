"""A backend of your own: values in one table of a SQLite file, by the standard library alone.

It keeps the whole contract: ``anystore.testing`` says so. Each call has a connection of its own, so that threads, forks
and pickles are no subject. A value is in memory while it is read or written, which is what keeps this file so short.
"""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime
from secrets import token_hex
from typing import Any

from anystore import Backend, BackendError, Entry, Feature, Writer
from anystore.backend import CHUNK_BYTES, CollectingWriter, check_options
from anystore.keys import Key, is_private
from anystore.uris import StoreUri

TABLE = "create table if not exists kept (key text primary key, version text, modified text, data blob)"
INSERT = "insert into kept (version, modified, data, key) values (?, ?, ?, ?) on conflict (key) do "
REPLACE = "update set version = excluded.version, modified = excluded.modified, data = excluded.data"
SWAP = "update kept set version = ?, modified = ?, data = ? where key = ? and version = ?"
PAGE = "select key, length(data), modified, version from kept where key > ? and key >= ? order by key limit 1000"


def from_uri(uri: StoreUri, config: Mapping[str, Any]) -> "TableBackend":
    """Make the backend of ``table:///folder/file.db``; the entry point in ``pyproject.toml`` names this function."""
    check_options(config, known=(), uri=uri.masked)
    return TableBackend(uri.host + uri.path)


class TableBackend(Backend):
    """Values in one table of a SQLite file; the first call makes it."""

    # what is not named here is refused by the methods of the class above
    features = ~(Feature.APPEND | Feature.MOVE | Feature.EXPIRE)

    def __init__(self, path: str) -> None:
        self._path = path
        self.uri = f"table://{path}"

    def get(self, key: Key) -> bytes:
        """Read a whole value."""
        data: bytes = self._one(key, "select data from kept where key = ?")[0]
        return data

    def read(self, key: Key, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """Read a whole value at once, which is of one version for that, and give it in pieces."""
        data = self.get(key)[start:stop]
        return (data[begin : begin + CHUNK_BYTES] for begin in range(0, len(data), CHUNK_BYTES))

    def stat(self, key: Key) -> Entry:
        """Say what is known of a value."""
        return _entry(*self._one(key, "select key, length(data), modified, version from kept where key = ?"))

    def scan(self, prefix: str = "", after: Key | None = None) -> Iterator[Entry]:
        """List a thousand keys at a time, in the order of their bytes, as SQLite compares text."""
        position = after or ""
        while page := self._run(PAGE, position, prefix):
            for row in page:
                if not row[0].startswith(prefix):
                    return
                if not is_private(row[0]):
                    yield _entry(*row)
            position = page[-1][0]

    def put(
        self, key: Key, data: bytes, *, create: bool = False, version: str | None = None, ttl: float | None = None
    ) -> Entry:
        """Store a whole value; one statement asks for the condition and writes."""
        self.require_write(key, create=create, version=version, ttl=ttl)
        entry = Entry(key, len(data), datetime.now(UTC), token_hex(16))
        row = (entry.version, str(entry.modified), data, key)
        if version is not None:
            written = self._run(f"{SWAP} returning key", *row, version)
        else:
            written = self._run(f"{INSERT} {'nothing' if create else REPLACE} returning key", *row)
        if not written:
            raise self.taken(key) if create else self.changed(key)
        return entry

    def writer(self, key: Key, *, create: bool = False, version: str | None = None, ttl: float | None = None) -> Writer:
        """Collect a value, and store it at the end."""
        self.require_write(key, create=create, version=version, ttl=ttl)
        return CollectingWriter(self, key, create=create, version=version)

    def delete(self, key: Key) -> None:
        """Delete a value; a missing key is no error."""
        self._run("delete from kept where key = ?", key)

    def take(self, key: Key) -> bytes:
        """Read and delete a value in one statement."""
        data: bytes = self._one(key, "delete from kept where key = ? returning data")[0]
        return data

    def _one(self, key: Key, statement: str) -> tuple[Any, ...]:
        for row in self._run(statement, key):
            return row
        raise self.missing(key)

    def _run(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        try:
            with closing(sqlite3.connect(self._path, timeout=60)) as connection, connection:
                connection.execute(TABLE)
                return connection.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise BackendError(f"{self.uri}: {error}; see that the folder is there and may be written") from error


def _entry(key: str, size: int, modified: str, version: str) -> Entry:
    return Entry(key, size, datetime.fromisoformat(modified), version)
