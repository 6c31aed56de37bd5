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

from anystore import BackendError, Entry, Feature
from anystore.backend_config import check_options
from anystore.keys import Key, is_private
from anystore.uris import StoreUri
from anystore.whole_values import WholeValueBackend

TABLE = "create table if not exists kept (key text primary key, version text, modified text, data blob)"
ENTRIES = "select key, length(data), modified, version from kept where"
# One statement asks for the condition and writes; it returns a row if it did.
PUT = """insert into kept select :key, :version, :modified, :data
    where :expected is null or exists (select 1 from kept where key = :key)
    on conflict do update set version = excluded.version, modified = excluded.modified, data = excluded.data
    where not :create and (:expected is null or kept.version = :expected) returning key"""


def from_uri(uri: StoreUri, config: Mapping[str, Any]) -> "TableBackend":
    """Make the backend of ``table:///folder/file.db``; the entry point in ``pyproject.toml`` names this function."""
    check_options(config, known=(), uri=uri.masked)
    return TableBackend(uri.host + uri.path)


class TableBackend(WholeValueBackend):
    """Values in one table of a SQLite file; the first call makes it."""

    # what is not named here is refused by the methods of the class above
    features = ~(Feature.APPEND | Feature.MOVE | Feature.EXPIRE)

    def __init__(self, path: str) -> None:
        self._path = path
        self.uri = f"table://{path}"

    def get(self, key: Key) -> bytes:
        """Read a whole value."""
        data: bytes = self._one("select data from kept where key = :key", key)[0]
        return data

    def stat(self, key: Key) -> Entry:
        """Say what is known of a value."""
        return _entry(*self._one(f"{ENTRIES} key = :key", key))

    def scan(self, prefix: str = "", after: Key | None = None) -> Iterator[Entry]:
        """List a thousand keys at a time, in the order of their bytes, as SQLite compares text."""
        page = f"{ENTRIES} key > :after and key >= :prefix order by key limit 1000"
        position: str = after or ""
        while rows := self._run(page, after=position, prefix=prefix):
            for row in rows:
                if not row[0].startswith(prefix):
                    return
                if not is_private(row[0]):
                    yield _entry(*row)
            position = rows[-1][0]

    def put(
        self, key: Key, data: bytes, *, create: bool = False, version: str | None = None, ttl: float | None = None
    ) -> Entry:
        """Store a whole value."""
        self.require_write(key, create=create, version=version, ttl=ttl)
        entry = Entry(key, len(data), datetime.now(UTC), token_hex(16))
        row = {"key": key, "version": entry.version, "modified": str(entry.modified), "data": data}
        if not self._run(PUT, **row, create=create, expected=version):
            raise self.taken(key) if create else self.changed(key)
        return entry

    def delete(self, key: Key) -> None:
        """Delete a value; a missing key is no error."""
        self._run("delete from kept where key = :key", key=key)

    def take(self, key: Key) -> bytes:
        """Read and delete a value in one statement."""
        data: bytes = self._one("delete from kept where key = :key returning data", key)[0]
        return data

    def _one(self, statement: str, key: Key) -> tuple[Any, ...]:
        for row in self._run(statement, key=key):
            return row
        raise self.missing(key)

    def _run(self, statement: str, **values: object) -> list[tuple[Any, ...]]:
        try:
            with closing(sqlite3.connect(self._path, timeout=60)) as connection, connection:
                connection.execute(TABLE)
                return connection.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise BackendError(f"{self.uri}: {error}; see that the folder is there and may be written") from error


def _entry(key: str, size: int, modified: str, version: str) -> Entry:
    return Entry(key, size, datetime.fromisoformat(modified), version)
