"""Every database passes the suite, on a real server; values are placed by the plain driver."""

import sqlite3
import time
from uuid import uuid4

import psycopg
import pymysql
import pytest

from anystore.backends.sql import from_uri
from anystore.testing import BackendSuite
from anystore.testing.exclusive import Exclusive
from anystore.testing.expiring import Expiring
from anystore.uris import parse_uri

CHUNK = 100_000  # another length than the backend's own, which it has to read all the same


@pytest.fixture(scope="module")
def postgres_connection(postgres_server):
    with psycopg.connect(postgres_server.url, autocommit=True) as connection:
        yield connection


@pytest.fixture(scope="module")
def mariadb_connection(mariadb_server):
    s = mariadb_server
    login = {"host": s.host, "port": s.port, "user": s.user, "password": s.password, "database": s.database}
    with pymysql.connect(**login, autocommit=True) as connection:
        yield connection


def opened(server):
    """A backend whose tables are there."""
    backend = from_uri(parse_uri(server.url), {"table": OnServer.table})
    backend.exists("made")
    yield backend
    backend.close()


@pytest.fixture(scope="module")
def postgres_backend(postgres_server):
    yield from opened(postgres_server)


@pytest.fixture(scope="module")
def mariadb_backend(mariadb_server):
    yield from opened(mariadb_server)


class InTables(BackendSuite):
    """Values are placed and looked at in the tables, by SQL that is not the backend's."""

    mark = "%s"
    quote = '"'

    @staticmethod
    def encode(key):
        return key

    def run(self, sql, *parameters):
        sql = sql.replace("?", self.mark).replace("key", f"{self.quote}key{self.quote}")
        cursor = self.plain.cursor()
        cursor.execute(sql.replace("TABLE", self.table), parameters)
        return cursor.fetchall() if cursor.description else []

    def remove(self, backend, key):
        (found,) = self.run("SELECT chunks FROM TABLE WHERE key = ?", self.encode(key)) or [(None,)]
        self.run("DELETE FROM TABLE WHERE key = ?", self.encode(key))
        self.run("DELETE FROM TABLE_chunks WHERE id = ?", found[0])

    def place(self, backend, key, data):
        backend.exists(key)  # makes the tables
        self.remove(backend, key)
        now, version, chunks = time.time_ns() // 1000, uuid4().hex, None
        if len(data) > CHUNK:
            chunks = uuid4().hex
            for start in range(0, len(data), CHUNK):
                piece = data[start : start + CHUNK]
                self.run("INSERT INTO TABLE_chunks (id, start, data) VALUES (?, ?, ?)", chunks, start, piece)
        columns = "key, size, created, updated, version, chunks, value"
        row = (self.encode(key), len(data), now, now, version, chunks, data if chunks is None else None)
        self.run(f"INSERT INTO TABLE ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?)", *row)

    def peek(self, backend, key):
        ((value, chunks),) = self.run("SELECT value, chunks FROM TABLE WHERE key = ?", self.encode(key))
        if chunks is None:
            return bytes(value)
        return b"".join(row[0] for row in self.run("SELECT data FROM TABLE_chunks WHERE id = ? ORDER BY start", chunks))


class TestSqliteFile(InTables):
    mark = "?"
    table = "anystore"

    @pytest.fixture
    def backend(self, tmp_path):
        self.plain = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
        backend = from_uri(parse_uri(f"sqlite:///{tmp_path}/store.db"), {})
        yield backend
        backend.close()
        self.plain.close()


class TestSqliteMemory(BackendSuite):
    @pytest.fixture
    def backend(self):
        return from_uri(parse_uri("sqlite://"), {})


class OnServer(InTables):
    """The tables are made once, and emptied for each test, which takes less time."""

    table = "anystore"

    def emptied(self, backend, plain):
        self.plain = plain
        for name in ("TABLE", "TABLE_chunks", "TABLE_loose"):
            self.run(f"DELETE FROM {name}")
        return backend


class TestPostgres(OnServer):
    @pytest.fixture
    def backend(self, postgres_backend, postgres_connection):
        return self.emptied(postgres_backend, postgres_connection)


class TestMariadb(OnServer):
    quote = "`"

    @staticmethod
    def encode(key):
        return key.encode()

    @pytest.fixture
    def backend(self, mariadb_backend, mariadb_connection):
        return self.emptied(mariadb_backend, mariadb_connection)


class TestWithoutReturning(Exclusive, Expiring):
    """As on MySQL, which unlike MariaDB returns no rows from what changes them."""

    @pytest.fixture
    def backend(self, mariadb_server):
        backend = from_uri(parse_uri(mariadb_server.url), {"table": "without_returning"})
        dialect = backend._values().connections.dialect
        assert dialect.returns_inserts
        assert dialect.returns_deletes
        dialect.returns_inserts = dialect.returns_deletes = False
        backend.delete_many(list(backend.keys()))
        yield backend
        backend.close()
