"""SQL stores beside the plain drivers and diskcache: medians and ratios. Run it as ``python -m tests.benchmarks.sql``.

The plain side does what is least: one table of keys and values, prepared or cached statements, one connection in
autocommit, and what is stored is synced as rarely as on our side. Both sides take turns, so that what else the machine
does falls on both.
"""

import contextlib
import os
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import diskcache
import psycopg
import pymysql

from anystore.backends.sql import SqlBackend, from_uri
from anystore.uris import parse_uri
from tests.database_servers import mariadb, postgres

DATA = os.urandom(1024)
ROUNDS = 5
SINGLE = int(os.environ.get("ANYSTORE_BENCHMARK_SINGLE", "1000"))
LISTED = int(os.environ.get("ANYSTORE_BENCHMARK_LISTED", "100000"))
MEBIBYTES = int(os.environ.get("ANYSTORE_BENCHMARK_MIB", "256"))
CHUNK = os.urandom(256 << 10)

Task = Callable[[], object]


def keys(prefix: str, count: int) -> list[str]:
    return [f"{prefix}/{number // 1000:03}/{number % 1000:03}.txt" for number in range(count)]


class Plain:
    """A table of keys and values by the driver alone."""

    mark = "%s"
    key_type = "VARBINARY(1024)"
    bytes_type = "LONGBLOB"
    upsert = "ON DUPLICATE KEY UPDATE value = VALUES(value)"

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.run(f"CREATE TABLE plain (k {self.key_type} PRIMARY KEY, value {self.bytes_type})")
        self.run(f"CREATE TABLE plain_chunks (id INT, start INT, data {self.bytes_type}, PRIMARY KEY (id, start))")

    def cursor(self) -> Any:
        return self.connection.cursor()

    def run(self, sql: str, *parameters: object) -> list[Any]:
        cursor = self.cursor()
        cursor.execute(sql.replace("?", self.mark), parameters)
        rows = cursor.fetchall() if cursor.description else []
        cursor.close()
        return rows

    def put(self, key: str) -> None:
        self.run(f"INSERT INTO plain VALUES (?, ?) {self.upsert}", key, DATA)

    def put_many(self, names: Sequence[str]) -> None:
        cursor = self.cursor()
        cursor.execute("BEGIN")
        sql = f"INSERT INTO plain VALUES (?, ?) {self.upsert}".replace("?", self.mark)
        cursor.executemany(sql, [(name, DATA) for name in names])
        cursor.execute("COMMIT")
        cursor.close()

    def get_many(self, names: Sequence[str]) -> None:
        marks = ", ".join("?" * len(names))
        assert len(self.run(f"SELECT k, value FROM plain WHERE k IN ({marks})", *names)) == len(names)

    def write_stream(self) -> None:
        self.run("DELETE FROM plain_chunks")
        cursor = self.cursor()
        sql = "INSERT INTO plain_chunks VALUES (1, ?, ?)".replace("?", self.mark)
        for start in range(0, MEBIBYTES * 4, 4):
            cursor.execute("BEGIN")
            cursor.executemany(sql, [(number, CHUNK) for number in range(start, start + 4)])
            cursor.execute("COMMIT")

    def read_stream(self) -> None:
        sql = "SELECT data FROM plain_chunks WHERE id = 1 AND start >= ? AND start < ? ORDER BY start"
        size = sum(sum(len(row[0]) for row in self.run(sql, start, start + 4)) for start in range(0, MEBIBYTES * 4, 4))
        assert size == MEBIBYTES << 20


class PlainSqlite(Plain):
    mark, key_type, bytes_type = "?", "TEXT", "BLOB"
    upsert = "ON CONFLICT (k) DO UPDATE SET value = excluded.value"

    def run(self, sql: str, *parameters: object) -> list[Any]:
        return self.connection.execute(sql, parameters).fetchall()


class PlainPostgres(Plain):
    key_type, bytes_type = 'TEXT COLLATE "C"', "BYTEA"
    upsert = PlainSqlite.upsert

    def cursor(self) -> Any:
        return self.connection.cursor(binary=True)

    def get_many(self, names: Sequence[str]) -> None:
        assert len(self.run("SELECT k, value FROM plain WHERE k = ANY(?)", list(names))) == len(names)


def measure(title: str, ours: Task, plain: Task, cache: Task | None = None, *, per: int = 1) -> None:
    """Print the medians of what takes turns, and how many times longer ours takes."""
    tasks = {"anystore": ours, "plain": plain} | ({"diskcache": cache} if cache is not None else {})
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(ROUNDS if per > 1 else 3):
        for name, task in tasks.items():
            started = time.perf_counter()
            task()
            times[name].append((time.perf_counter() - started) / per)
    report(title, {name: statistics.median(taken) for name, taken in times.items()})


def report(title: str, medians: dict[str, float]) -> None:
    """Print one line."""
    shown = "  ".join(f"{name} {_shown(median)}" for name, median in medians.items())
    ours = medians.pop("anystore")
    ratios = "  ".join(f"{ours / median:.2f} x {name}" for name, median in medians.items())
    print(f"  {title:18}{shown}   = {ratios}", flush=True)


def _shown(seconds: float) -> str:
    return f"{seconds * 1e6:8.1f} us" if seconds < 0.01 else f"{seconds:8.3f} s "


def each(call: Callable[[str], object], names: Sequence[str]) -> Task:
    """Make a task of a call for each name."""

    def task() -> None:
        for name in names:
            call(name)

    return task


def compare(title: str, backend: SqlBackend, plain: Plain, cache: diskcache.Cache | None) -> None:
    """Run everything on one database."""
    print(f"{title}: {SINGLE:,} values of 1 KiB, per call")
    compare_single(backend, plain, cache)
    compare_deletion(backend, plain)
    compare_many(backend, plain)
    compare_streams(backend, plain)


def compare_single(backend: SqlBackend, plain: Plain, cache: diskcache.Cache | None) -> None:
    names, fresh = keys("single", SINGLE), iter(range(1_000_000))

    def store(key: str) -> object:
        return backend.put(key, DATA)

    def store_cached(key: str) -> object:
        return cache.set(key, DATA)

    def get_cached(key: str) -> object:
        return cache.get(key)

    def store_new(call: Callable[[str], object]) -> Task:
        def task() -> None:  # other names each time
            each(call, keys(f"new{next(fresh)}", SINGLE))()

        return task

    def if_cached(task: Task) -> Task | None:
        return task if cache is not None else None

    measure("put, new", store_new(store), store_new(plain.put), if_cached(store_new(store_cached)), per=SINGLE)
    measure("put, over", each(store, names), each(plain.put, names), if_cached(each(store_cached, names)), per=SINGLE)
    calls = {
        "get": (backend.get, "SELECT value FROM plain WHERE k = ?", get_cached),
        "exists": (backend.exists, "SELECT 1 FROM plain WHERE k = ?", lambda key: key in cache),
    }
    for title, (ours, sql, cached) in calls.items():
        fetch = each(lambda key, sql=sql: plain.run(sql, key)[0], names)
        measure(title, each(ours, names), fetch, if_cached(each(cached, names)), per=SINGLE)


def compare_deletion(backend: SqlBackend, plain: Plain) -> None:
    names = keys("gone", SINGLE)

    def taken(put: Callable[[str], object], drop: Callable[[str], object]) -> float:
        each(put, names)()
        started = time.perf_counter()
        each(drop, names)()
        return (time.perf_counter() - started) / SINGLE

    def drop_plain(key: str) -> object:
        return plain.run("DELETE FROM plain WHERE k = ?", key)

    ours, others = [], []
    for _ in range(ROUNDS):
        ours.append(taken(lambda key: backend.put(key, DATA), backend.delete))
        others.append(taken(plain.put, drop_plain))
    report("delete", {"anystore": statistics.median(ours), "plain": statistics.median(others)})


def compare_many(backend: SqlBackend, plain: Plain) -> None:
    many = keys("many", 1000)
    measure("put_many 1,000", lambda: backend.put_many((key, DATA) for key in many), lambda: plain.put_many(many))
    measure("get_many 1,000", lambda: list(backend.get_many(many)), lambda: plain.get_many(many))
    listed = keys("list", LISTED)
    backend.put_many((key, b"x") for key in listed)
    for start in range(0, LISTED, 1000):
        plain.put_many(listed[start : start + 1000])
    between = "SELECT k FROM plain WHERE k > ? AND k < ? ORDER BY k"
    title = f"list {LISTED:,}"
    measure(title, lambda: list(backend.keys("list/")), lambda: plain.run(between, "list/", "list0"))


def compare_streams(backend: SqlBackend, plain: Plain) -> None:
    def write() -> None:
        with backend.writer("stream") as writer:
            for _ in range(MEBIBYTES * 4):
                writer.write(CHUNK)

    measure(f"write {MEBIBYTES} MiB", write, plain.write_stream)
    measure(f"read {MEBIBYTES} MiB", lambda: sum(map(len, backend.read("stream"))), plain.read_stream)


@contextlib.contextmanager
def opened(uri: str) -> Iterator[SqlBackend]:
    backend = from_uri(parse_uri(uri), {})
    yield backend
    backend.close()


def main(wanted: Sequence[str]) -> None:
    """Run the comparisons, or those whose names are given."""
    if not wanted or "sqlite" in wanted:
        with tempfile.TemporaryDirectory() as folder, opened(f"sqlite:///{folder}/store.db") as backend:
            connection = sqlite3.connect(f"{folder}/plain.db", isolation_level=None)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            compare("SQLite", backend, PlainSqlite(connection), diskcache.Cache(f"{folder}/diskcache"))
    if not wanted or "postgres" in wanted:
        with postgres() as server, opened(server.url) as backend, psycopg.connect(server.url, autocommit=True) as other:
            compare("PostgreSQL", backend, PlainPostgres(other), None)
    if not wanted or "mariadb" in wanted:
        with mariadb() as server, opened(server.url) as backend:
            login = {"host": server.host, "port": server.port, "user": server.user, "password": server.password}
            with pymysql.connect(**login, database=server.database, autocommit=True) as other:
                compare("MariaDB", backend, Plain(other), None)


if __name__ == "__main__":
    main(sys.argv[1:])
