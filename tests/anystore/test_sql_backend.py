"""What is particular to SQL stores, on SQLite; what needs a server is in ``test_sql_servers.py``."""

import gc
import os
import pickle
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import psycopg
import pymysql
import pytest
import sqlalchemy.exc

from anystore.backends.sql import file_connections, from_uri
from anystore.backends.sql.chunks import Chunks
from anystore.backends.sql.dialects import Failure
from anystore.errors import (
    AnystoreError,
    BackendError,
    DoesNotExist,
    ForeignNameWarning,
    InvalidOption,
    InvalidUri,
    MissingExtra,
    ReadOnlyError,
    Unsupported,
    VersionMismatch,
)
from anystore.uris import parse_uri

LARGE = 3 << 20


def make(uri, **config):
    return from_uri(parse_uri(uri), config)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "store.db"


@pytest.fixture
def backend(path):
    backend = make(f"sqlite:///{path}")
    yield backend
    backend.close()


@pytest.fixture
def plain(path):
    with closing(sqlite3.connect(path, isolation_level=None, timeout=10)) as connection:
        yield connection


def sweep(backend):
    chunks = backend._values().chunks
    chunks._next_sweep = 0.0
    chunks.sweep()


AS_NOBODY = """
import os, sys
from anystore import BackendError, ReadOnlyError, get_store
from anystore.backends import sql
uris = "sqlite:///{}/x.db", "sqlite:///file:{}/x.db?mode=ro&uri=true"
stores = [get_store(uri.format(sys.argv[1]), serialization_mode="raw") for uri in uris]
immutable = get_store(f"sqlite:///file:{sys.argv[1]}/x.db?immutable=1&uri=true", serialization_mode="raw")
assert immutable.get("a") == b"x"
if os.getuid() == 0:
    os.setuid(65534)
for store in stores:
    for call in (lambda: store.get("a"), lambda: store.put("a", b"")):
        try:
            call()
        except (BackendError, ReadOnlyError) as error:
            assert "immutable=1" in str(error), error
        else:
            raise SystemExit("no error")
assert immutable.get("a") == b"x"
"""


class TestUri:
    def test_relative_file_stays_the_same_wherever_it_is_used(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        backend = make("sqlite:///relative.db")
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir("elsewhere")
        backend.put("a", b"x")
        assert (tmp_path / "relative.db").exists()
        assert pickle.loads(pickle.dumps(backend)).get("a") == b"x"
        assert backend.uri == f"sqlite:///{tmp_path}/relative.db"

    @pytest.mark.parametrize("uri", ["sqlite://", "sqlite:///:memory:", "sqlite://:memory:", "sqlite+pysqlite://"])
    def test_memory_is_each_backend_s_own(self, uri, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        one, two = make(uri), make(uri)
        one.put("a", b"x")
        assert not two.exists("a")
        assert not one.shareable
        assert os.listdir(tmp_path) == []

    @pytest.mark.parametrize(
        ("uri", "hint"),
        [
            ("sqlite:///", "sqlite:///name.db"),
            ("sqlite://relative.db", "sqlite:///relative.db"),
            ("sqlite://folder/file.db", "sqlite:///folder/file.db"),
            ("sqlite:///file::memory:?cache=shared&uri=true", "sqlite://"),
            ("sqlite:///x.db?mode=ro", "readonly=True"),
            ("sqlite:///x.db?mode=ro&uri=true", "sqlite:///file:name.db?mode=ro&uri=true"),
            ("sqlite:///file:x.db?mode=ro", "sqlite:///file:name.db?mode=ro&uri=true"),
            ("sqlite:///x.db?nonsense=1", "nonsense"),
            ("sqlite+aiosqlite:///x.db", "aiosqlite"),
            ("sqlite+nonsense:///x.db", "sqlite+nonsense"),
            ("postgresql://host/database/folder", "under"),
            ("mysql://host", "mysql://user@host/database"),
        ],
    )
    def test_uri_that_cannot_be_is_refused(self, uri, hint):
        with pytest.raises((InvalidUri, MissingExtra)) as caught:
            make(uri)
        assert hint in str(caught.value)

    @pytest.mark.parametrize(
        "uri", ["postgresql+pg8000://h/d", "mysql+mysqldb://h/d", "mariadb+mariadbconnector://h/d"]
    )
    def test_missing_driver_is_named(self, uri):
        with pytest.raises(MissingExtra, match="pip install"):
            make(uri)

    @pytest.mark.parametrize(
        ("scheme", "driver"),
        [
            ("postgresql", "psycopg"),
            ("postgres", "psycopg"),
            ("postgresql+psycopg2", "psycopg2"),
            ("postgres+psycopg2", "psycopg2"),
            ("mysql", "pymysql"),
            ("mariadb", "pymysql"),
            ("mariadb+pymysql", "pymysql"),
        ],
    )
    def test_driver_is_as_given_or_the_one_of_the_extra(self, scheme, driver):
        assert make(f"{scheme}://host/database")._url.get_dialect().driver == driver

    def test_login_comes_from_the_options(self):
        backend = make("postgresql://one:first@host/d", username="two", password="se/cret")
        assert (backend._url.username, backend._url.password) == ("two", "se/cret")
        assert backend.uri == "postgresql://one:***@host/d"
        for text in (repr(backend), repr(backend._options), repr(backend._store_uri), str(vars(backend))):
            assert "se/cret" not in text
            assert "first" not in text


class TestOptions:
    @pytest.mark.parametrize(
        "table", ["", "a b", "a-b", "a;DROP TABLE x", 'a"b', "a`b", "a.b", "1a", "é", "a" * 49, "a\n", 7, None]
    )
    def test_table_is_an_identifier_or_refused(self, table):
        with pytest.raises(InvalidOption, match="identifier"):
            make("sqlite://", table=table)

    @pytest.mark.parametrize("table", ["order", "Select", "_", "a" * 48])
    def test_identifiers_that_are_words_of_sql_are_tables(self, table):
        backend = make("sqlite://", table=table)
        backend.put("a", b"x" * LARGE)
        backend.copy("a", "b")
        assert backend.get("b") == b"x" * LARGE

    def test_tables_do_not_share_keys(self, path):
        one, two = make(f"sqlite:///{path}", table="one"), make(f"sqlite:///{path}", table="two")
        one.put("a", b"1")
        assert not two.exists("a")

    @pytest.mark.parametrize(
        "config",
        [
            {"tabel": "x"},
            {"username": "x"},
            {"pool_size": 3},
            {"chunk_size": 0},
            {"chunk_size": "many"},
            {"chunk_size": 1 << 30},
            {"durable": "perhaps"},
            {"busy_timeout": -1},
            {"engine_kwargs": "echo"},
            {"engine_kwargs": {"no_such_argument": 1}},
            {"engine_kwargs": {"connect_args": [1]}},
            {"engine_kwargs": {"isolation_level": "SERIALIZABLE"}},
        ],
    )
    def test_option_that_cannot_be_is_refused(self, config):
        with pytest.raises(InvalidOption):
            make("sqlite:///x.db", **config)

    @pytest.mark.parametrize("config", [{"durable": True}, {"busy_timeout": 1}, {"timeout": 0}])
    def test_server_takes_no_option_of_files(self, config):
        with pytest.raises(InvalidOption):
            make("postgresql://host/d", **config)

    def test_driver_that_keeps_no_time_takes_no_timeout(self):
        with pytest.raises(InvalidOption, match=r"psycopg2.*write 'postgresql://'.*statement_timeout=60s"):
            make("postgresql+psycopg2://host/d", timeout=5)
        with pytest.raises(InvalidOption, match=r"pg8000.*connect_args"):
            make("postgresql+pg8000://host/d", timeout=5)

    def test_refused_option_does_not_show_a_secret(self):
        with pytest.raises(InvalidOption) as caught:
            make("postgresql://host/d", engine_kwargs={"no_such": 1, "connect_args": {"password": "hunter2"}})
        assert "hunter2" not in str(caught.value)
        assert caught.value.__cause__ is None

    @pytest.mark.parametrize(("durable", "level"), [(False, 1), ("true", 2)])
    def test_durable_syncs_each_commit(self, path, durable, level):
        backend = make(f"sqlite:///{path}", durable=durable)
        backend.put("a", b"x")
        with backend._values().connections._borrow() as connection:
            assert connection.execute("PRAGMA synchronous").fetchone() == (level,)
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
            assert connection.execute("PRAGMA wal_autocheckpoint").fetchone() == (4000,)

    def test_engine_takes_arguments(self, path):
        backend = make(f"sqlite:///{path}", engine_kwargs={"connect_args": {"cached_statements": 7}})
        backend.put("a", b"x")
        assert pickle.loads(pickle.dumps(backend)).get("a") == b"x"

    def test_chunk_size_may_change_between_two_writes(self, path):
        data = os.urandom(100_000)
        for chunk_size in ("1024", 5000, 77_777, 1 << 20):
            backend = make(f"sqlite:///{path}", chunk_size=chunk_size)
            backend.append("a", data)
        whole = data * 4
        assert backend.get("a") == whole
        for start, stop in [(0, 1), (99_999, 100_001), (123_456, 323_456), (399_999, None)]:
            assert b"".join(backend.read("a", start, stop)) == whole[start:stop]


class TestStatements:
    @pytest.fixture
    def statements(self, backend):
        """What the backend runs from now on."""
        backend.put("warm", b"up")
        seen = []
        with backend._values().connections._borrow() as connection:
            connection.set_trace_callback(seen.append)
        yield seen
        with backend._values().connections._borrow() as connection:
            connection.set_trace_callback(None)

    @pytest.mark.parametrize(
        "call",
        [
            lambda backend: backend.put("a", b"x"),
            lambda backend: backend.put("a", b"x", ttl=60),
            lambda backend: backend.put("new", b"x", create=True),
            lambda backend: backend.put("warm", b"x", version=backend._seen),
            lambda backend: backend.get("warm"),
            lambda backend: backend.exists("warm"),
            lambda backend: backend.stat("warm"),
            lambda backend: backend.delete("warm"),
            lambda backend: backend.take("warm"),
            lambda backend: list(backend.get_many([f"k{number}" for number in range(500)])),
            lambda backend: list(backend.scan("folder/")),
        ],
    )
    def test_small_value_takes_one_statement(self, backend, statements, call):
        backend._seen = backend.stat("warm").version
        statements.clear()
        call(backend)
        assert len(statements) == 1, statements

    def test_many_values_take_one_transaction(self, backend, statements):
        backend.put_many((f"many/{number}", b"x") for number in range(500))
        assert sum(one.startswith("BEGIN") for one in statements) == 1
        statements.clear()
        backend.delete_many(f"many/{number}" for number in range(500))
        assert len(statements) == 1

    def test_listing_reads_no_values_and_knows_no_patterns(self, backend, statements):
        backend.put("a_b/x", b"x")
        statements.clear()
        list(backend.scan("a_b/"))
        list(backend.keys("a_b/"))
        (listing, keys) = statements
        assert "value" not in listing + keys
        assert "LIKE" not in listing + keys
        assert "size" not in keys

    def test_listing_is_lazy(self, backend, statements):
        backend.put_many((f"{number:05}", b"") for number in range(2500))
        statements.clear()
        listing = backend.keys()
        assert not statements
        assert next(listing) == "00000"
        assert len(statements) == 1
        assert sum(1 for _ in listing) == 2500  # with "warm"
        assert len(statements) == 3


class TestChunks:
    def count(self, plain):
        return plain.execute("SELECT count(*) FROM anystore_chunks").fetchone()[0]

    @pytest.mark.parametrize("size", [(256 << 10) - 1, 256 << 10, (256 << 10) + 1, 1 << 20, (1 << 20) + 1, LARGE])
    def test_values_around_the_limits(self, backend, plain, size):
        data = os.urandom(size)
        for write in (lambda: backend.put("a", data), lambda: _write(backend, "a", data, step=100_001)):
            write()
            assert backend.get("a") == b"".join(backend.read("a")) == data
            assert (self.count(plain) == 0) == (size <= 256 << 10)
        backend.append("a", b"tail")
        assert backend.get("a") == data + b"tail"

    @pytest.mark.parametrize(
        "replace",
        [
            lambda backend: backend.put("a", b"short"),
            lambda backend: backend.put("a", b"y" * LARGE),
            lambda backend: backend.put_many([("b", b"1"), ("a", b"2")]),
            lambda backend: backend.delete("a"),
            lambda backend: backend.delete_many(["a", "b"]),
            lambda backend: backend.take("a"),
            lambda backend: backend.copy("small", "a"),
            lambda backend: backend.move("small", "a"),
            lambda backend: backend.writer("b").abort(),
        ],
    )
    def test_no_chunk_is_left_behind(self, backend, plain, replace):
        backend.put("small", b"x")
        backend.put("a", b"x" * LARGE)
        replace(backend)
        used = plain.execute("SELECT count(*) FROM anystore WHERE chunks IS NOT NULL").fetchone()[0]
        ids = plain.execute("SELECT count(DISTINCT id) FROM anystore_chunks").fetchone()[0]
        assert ids == used
        assert plain.execute("SELECT count(*) FROM anystore_loose").fetchone() == (0,)

    def test_aborted_and_forgotten_writers_leave_none(self, backend, plain):
        writer = backend.writer("a")
        writer.write(b"x" * LARGE)
        assert self.count(plain) > 0
        writer.abort()
        assert self.count(plain) == 0
        backend.writer("a").write(b"x" * LARGE)
        gc.collect()
        sweep(backend)
        assert self.count(plain) == 0
        assert not backend.exists("a")

    def test_what_could_not_be_deleted_is_deleted_after_the_next_write(self, backend, plain, monkeypatch):
        backend.put("a", b"x" * LARGE)
        values, change = backend._values(), backend._values().connections.change

        def on_a_full_disk(statement, parameters):
            if statement is values.sql.delete_chunks:
                raise BackendError("database or disk is full")
            return change(statement, parameters)

        with monkeypatch.context() as patched:
            patched.setattr(values.connections, "change", on_a_full_disk)
            backend.put("a", b"y")
        assert self.count(plain) > 0
        backend.put("b", b"y")
        assert self.count(plain) == 0

    @pytest.mark.timeout(60)
    def test_writer_given_up_inside_a_statement_waits_for_no_lock(self, backend, plain):
        writer = backend.writer("a")
        writer.write(b"x" * LARGE)
        with backend._values().connections._borrow():  # as if a destructor ran now
            writer.abort()
        assert plain.execute("SELECT count(*) FROM anystore_chunks").fetchone()[0]
        sweep(backend)
        assert plain.execute("SELECT count(*) FROM anystore_chunks").fetchone()[0] == 0
        assert plain.execute("SELECT count(*) FROM anystore_loose").fetchone()[0] == 0

    def test_reader_is_bound_to_the_id_it_opened(self, backend):
        backend.put("a", b"a" * LARGE)
        with backend.reader("a") as reader:
            pieces = reader.read()
            next(pieces)
            backend.put("a", b"b" * LARGE)
            with pytest.raises(VersionMismatch):
                list(pieces)
            with pytest.raises(VersionMismatch):
                list(reader.read(5, 6))

    def test_reader_follows_a_value_that_is_moved(self, backend):
        backend.put("a", b"a" * LARGE)
        with backend.reader("a") as reader:
            backend.move("a", "b")
            assert b"".join(reader.read()) == b"a" * LARGE

    def test_append_does_not_write_anew_what_is_there(self, backend, plain):
        backend.put("a", b"a" * LARGE)
        before = {row[0] for row in plain.execute("SELECT rowid FROM anystore_chunks")}
        with backend.reader("a") as reader:
            for _ in range(5):
                backend.append("a", b"b" * 1000)
            assert b"".join(reader.read()) == b"a" * LARGE
        assert before < {row[0] for row in plain.execute("SELECT rowid FROM anystore_chunks")}
        assert self.count(plain) == len(before) + 1
        assert backend.get("a") == b"a" * LARGE + b"b" * 5000

    def test_killed_writer_leaves_the_old_value(self, backend, path, plain):
        backend.put("a", b"old")
        process = subprocess.Popen([sys.executable, "-c", KILLED, f"sqlite:///{path}"], stdout=subprocess.PIPE)
        assert process.stdout.readline() == b"writing\n"
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        assert self.count(plain) > 0
        assert backend.get("a") == b"old"
        assert list(backend.keys()) == ["a"]
        backend.put("b", b"x")
        sweep(backend)
        assert self.count(plain) > 0  # it might be written to again
        plain.execute("UPDATE anystore_loose SET since = since - 86400 * 1000000 * 2")
        sweep(backend)
        assert self.count(plain) == 0
        assert backend.get("a") == b"old"

    def test_writer_that_is_slower_than_a_day_fails_and_harms_nothing(self, backend, plain):
        backend.put("a", b"old")
        for again in (lambda writer: writer.commit(), lambda writer: writer.write(b"x" * LARGE)):
            writer = backend.writer("a")
            writer.write(b"x" * LARGE)
            plain.execute("UPDATE anystore_loose SET since = since - 86400 * 1000000 * 2")
            sweep(backend)
            with pytest.raises(BackendError, match="unfinished"):
                again(writer)
            writer.abort()
            assert backend.get("a") == b"old"

    @pytest.mark.parametrize("deleted", ["id IS NOT NULL", "start > 0"])
    def test_value_whose_chunks_were_deleted_by_others_is_an_error(self, backend, plain, deleted):
        backend.put("a", b"x" * LARGE)
        plain.execute(f"DELETE FROM anystore_chunks WHERE {deleted}")
        for call in (lambda: backend.get("a"), lambda: backend.take("a"), lambda: list(backend.get_many(["a"]))):
            with pytest.raises(BackendError, match="part of the value"):
                call()
        with pytest.raises(VersionMismatch):
            list(backend.read("a"))
        backend.delete("a")
        assert not backend.exists("a")

    def test_failed_clean_up_does_not_fail_the_write(self, backend, plain, monkeypatch):
        backend.put("a", b"x" * LARGE)
        with monkeypatch.context() as patch:
            patch.setattr(Chunks, "drop", lambda *_: None)
            backend.put("a", b"new")
        assert backend.get("a") == b"new"
        assert self.count(plain) > 0
        plain.execute("UPDATE anystore_loose SET since = since - 120 * 1000000")
        sweep(backend)
        assert self.count(plain) == 0


KILLED = """
import sys, time
from anystore.backends.sql import from_uri
from anystore.uris import parse_uri
writer = from_uri(parse_uri(sys.argv[1]), {}).writer("a")
writer.write(b"x" * (3 << 20))
print("writing", flush=True)
time.sleep(60)
"""


def _write(backend, key, data, *, step):
    with backend.writer(key) as writer:
        for start in range(0, len(data), step):
            writer.write(data[start : start + step])


class TestExpiry:
    def test_expired_rows_are_purged_in_passing(self, backend, plain):
        backend.put_many([(f"goes/{number}", b"x") for number in range(2500)], ttl=60)
        backend.put("goes/large", b"x" * LARGE, ttl=60)
        backend.put("stays", b"x")
        plain.execute("UPDATE anystore SET expires = expires - 120 * 1000000")
        assert list(backend.keys()) == ["stays"]
        backend._values().chunks._next_sweep = 0.0
        backend.put("another", b"x")
        assert plain.execute("SELECT count(*) FROM anystore").fetchone() == (2,)
        assert plain.execute("SELECT count(*) FROM anystore_chunks").fetchone() == (0,)

    def test_expired_row_with_chunks_is_no_obstacle(self, backend, plain):
        for write in ("put", "create", "append"):
            backend.put("a", b"x" * LARGE, ttl=60)
            plain.execute("UPDATE anystore SET expires = 1")
            if write == "append":
                backend.append("a", b"new")
            else:
                backend.put("a", b"new", create=write == "create")
            assert backend.get("a") == b"new"
        assert plain.execute("SELECT count(*) FROM anystore_chunks").fetchone() == (0,)


class TestMany:
    def test_values_of_all_lengths(self, backend):
        items = [(f"{number}", os.urandom(size)) for number, size in enumerate([0, 10, 16 << 10, 20_000, 300_000] * 20)]
        backend.put_many(items)
        assert list(backend.get_many(key for key, _ in items)) == items
        again = [items[3][0], "gap", items[4][0], items[3][0], items[4][0]]
        assert [data for _, data in backend.get_many(again)] == [
            items[3][1], None, items[4][1], items[3][1], items[4][1],
        ]  # fmt: skip

    def test_long_value_after_a_short_one_of_the_same_key(self, backend):
        backend.put_many([("a", b"short"), ("a", b"x" * LARGE)])
        assert backend.get("a") == b"x" * LARGE
        backend.put_many([("a", b"x" * LARGE), ("a", b"short")])
        assert backend.get("a") == b"short"

    def test_foreign_names_are_told_once(self, backend, plain):
        backend.put("a", b"x")
        for name in ("a//b", "/x", "x/", "..", "n" * 1025, "b"):
            columns = "key, size, created, updated, version, value"
            plain.execute(f"INSERT INTO anystore ({columns}) VALUES (?, 1, 1, 1, ?, 'x')", (name, name[:32]))
        with pytest.warns(ForeignNameWarning, match="5 names") as caught:
            assert list(backend.keys()) == ["a", "b"]
        assert len(caught) == 1

    def test_many_private_keys_are_passed_over_by_the_database(self, backend):
        backend.put_many((f".anystore/lease/{number}", b"") for number in range(1500))
        backend.put_many([(".anystoreA", b""), ("-", b""), (".a", b"")])
        assert list(backend.keys()) == ["-", ".a", ".anystoreA"]


def go_on_after_a_fork(backend):
    """Go on reading and listing what was begun before a fork, in both processes at once; the writer is the parent's."""
    values = [b"%d" % number for number in range(2500)]
    backend.put_many((f"many/{number:04}", value) for number, value in enumerate(values))
    data = os.urandom(LARGE)
    backend.put("large", data)
    listing, reader, writer = backend.keys("many/"), backend.reader("large").read(), backend.writer("written")
    writer.write(data)
    first, beginning = next(listing), next(reader)
    process = os.fork()

    def read_on():
        assert len([first, *listing]) == len(values)
        assert beginning + b"".join(reader) == data

    if not process:
        status = 1
        try:
            signal.alarm(60)
            read_on()
            with pytest.raises(BackendError, match="forked"):
                writer.commit()
            writer.abort()
            status = 0
        finally:
            os._exit(status)
    read_on()
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
    writer.commit()
    assert backend.get("written") == data


class TestConnections:
    def test_thread_gives_its_connection_back_when_it_ends(self, backend):
        backend.put("a", b"x")
        handles = backend._values().connections._handles
        with ThreadPoolExecutor(4) as pool:
            assert set(pool.map(backend.get, ["a"] * 50)) == {b"x"}
            given = [handle._connection for handle in handles]
        gc.collect()
        assert len(given) > 1
        assert len(handles) == 1
        for connection in set(given) - {handle._connection for handle in handles}:
            with pytest.raises(sqlite3.ProgrammingError, match="closed"):
                connection.execute("SELECT 1")

    def test_close_closes_the_file(self, backend, path):
        backend.put("a", b"x")
        backend.close()
        links = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]
        assert str(path) not in [os.readlink(link) for link in links if os.path.lexists(link)]
        assert backend.get("a") == b"x"

    def test_close_while_threads_work(self, backend):
        backend.put("a", b"x" * LARGE)
        done = threading.Event()

        def close():
            while not done.is_set():
                backend.close()

        with ThreadPoolExecutor(3) as pool:
            closing_all = pool.submit(close)
            try:
                assert set(pool.map(backend.get, ["a"] * 60)) == {b"x" * LARGE}
            finally:
                done.set()
            closing_all.result()

    @pytest.mark.parametrize("where", ["file", "memory"])
    def test_forked_child_uses_no_connection_of_its_parent(self, backend, path, where):
        used = backend if where == "file" else make("sqlite://")
        used.put("a", b"x")
        process = os.fork()
        if not process:
            status = 1
            try:
                if where == "file":
                    assert used.get("a") == b"x"
                    used.put("b", b"from the child")
                    with used._values().connections._borrow() as connection:
                        assert connection is not None
                    status = 0
                else:
                    try:
                        used.get("a")
                    except Unsupported:
                        status = 0
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
        assert used.get("a") == b"x"
        if where == "file":
            assert used.get("b") == b"from the child"
            used.put("c", b"x")

    def test_what_was_open_before_a_fork_goes_on_in_both_processes(self, backend):
        go_on_after_a_fork(backend)

    def test_memory_is_not_pickled_to_another_process(self):
        backend = make("sqlite://")
        backend.put("a", b"x")
        program = "import pickle, sys; pickle.load(sys.stdin.buffer)"
        argv = [sys.executable, "-c", program]
        done = subprocess.run(argv, input=pickle.dumps(backend), capture_output=True, check=False)
        assert b"Unsupported" in done.stderr
        assert b"sqlite:///name.db" in done.stderr

    def test_memory_is_shared_by_threads(self):
        backend = make("sqlite://")
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda number: backend.put(f"{number}", b"x"), range(200)))
        assert len(list(backend.keys())) == 200

    def test_full_disk_is_an_error_that_harms_nothing(self, backend, plain):
        backend.put("old", b"x" * LARGE)
        with backend._values().connections._borrow() as connection:
            (pages,) = connection.execute("PRAGMA page_count").fetchone()
            (most,) = connection.execute("PRAGMA max_page_count").fetchone()
            connection.execute(f"PRAGMA max_page_count = {pages + 50}")
        for key in ("old", "new"):
            for data in (b"y" * LARGE, b"y" * 600_000):
                with pytest.raises(BackendError, match="full"):
                    backend.put(key, data)
        assert backend.get("old") == b"x" * LARGE
        assert not backend.exists("new")
        with backend._values().connections._borrow() as connection:
            connection.execute(f"PRAGMA max_page_count = {most}")
        backend.put("new", b"y" * LARGE)
        assert backend.get("new") == b"y" * LARGE
        sweep(backend)
        assert plain.execute("SELECT count(*) FROM anystore_chunks").fetchone()[0] == 2 * -(-LARGE // (256 << 10))

    def test_locked_database_raises_and_drops_no_write(self, path):
        backend = make(f"sqlite:///{path}", busy_timeout=0.2)
        backend.put("a", b"old")
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            started = time.monotonic()
            for write in (
                lambda: backend.put("a", b"new"),
                lambda: backend.put("a", b"x" * LARGE),
                lambda: backend.delete("a"),
                lambda: backend.put_many([("a", b"new")]),
                lambda: backend.append("a", b"new"),
                lambda: backend.take("a"),
            ):
                with pytest.raises(BackendError, match="lock") as caught:
                    write()
                assert backend.uri in str(caught.value)
            assert 1 < time.monotonic() - started < 10
            assert backend.get("a") == b"old"  # readers do not wait
            other.execute("ROLLBACK")
        backend.put("a", b"new")
        assert backend.get("a") == b"new"


class TestTogether:
    def test_threads_and_processes_lose_no_increment(self, backend, path):
        backend.put("counter", b"0")
        argv = [sys.executable, "-c", INCREMENT, f"sqlite:///{path}", "8", "10"]
        processes = [subprocess.Popen(argv, stderr=subprocess.PIPE) for _ in range(4)]
        for process in processes:
            assert process.communicate()[1] == b""
            assert process.returncode == 0
        assert backend.get("counter") == b"320"

    def test_processes_make_the_tables_at_once(self, path):
        program = (
            "import sys; from anystore.backends.sql import from_uri; from anystore.uris import parse_uri;"
            "from_uri(parse_uri(sys.argv[1]), {}).put(sys.argv[2], b'x')"
        )
        argv = [sys.executable, "-c", program, f"sqlite:///{path}"]
        processes = [subprocess.Popen([*argv, str(number)], stderr=subprocess.PIPE) for number in range(4)]
        assert [process.communicate()[1] for process in processes] == [b""] * 4
        assert list(make(f"sqlite:///{path}").keys()) == ["0", "1", "2", "3"]


INCREMENT = """
import sys
from concurrent.futures import ThreadPoolExecutor
from anystore.backends.sql import from_uri
from anystore.errors import VersionMismatch
from anystore.uris import parse_uri

uri, threads, turns = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
backend = from_uri(parse_uri(uri), {})

def work(_number):
    for _ in range(turns):
        while True:
            with backend.reader("counter") as reader:
                value, version = int(b"".join(reader.read())), reader.entry.version
            try:
                backend.put("counter", b"%d" % (value + 1), version=version)
                break
            except VersionMismatch:
                pass

with ThreadPoolExecutor(threads) as pool:
    list(pool.map(work, range(threads)))
"""


# For drivers for asyncio, which are refused; for callers of psycopg to raise; what PyMySQL's errors derive from.
NOT_RAISED = {"EmulatedDBAPIException", "Rollback", "MySQLError"}


class TestErrors:
    def check(self, backend, error, call):
        with pytest.raises(error) as caught:
            call()
        assert not isinstance(caught.value, DoesNotExist)
        assert backend.uri in str(caught.value)
        assert pickle.loads(pickle.dumps(caught.value)).args == caught.value.args
        return caught.value

    def test_file_in_a_missing_folder(self, tmp_path):
        backend = make(f"sqlite:///{tmp_path}/no/such/store.db")
        self.check(backend, BackendError, lambda: backend.get("a"))

    def test_file_that_is_no_database(self, path):
        path.write_bytes(b"something else" * 1000)
        backend = make(f"sqlite:///{path}")
        for call in (lambda: backend.get("a"), lambda: backend.put("a", b"x"), lambda: list(backend.keys())):
            self.check(backend, BackendError, call)
        assert path.read_bytes() == b"something else" * 1000

    def test_table_of_another_kind(self, path, plain):
        plain.execute("CREATE TABLE anystore (name TEXT)")
        backend = make(f"sqlite:///{path}")
        for call in (lambda: backend.get("a"), lambda: backend.put("a", b"x"), lambda: backend.exists("a")):
            self.check(backend, BackendError, call)

    def test_table_that_vanished(self, backend, plain):
        backend.put("a", b"x")
        plain.execute("DROP TABLE anystore")
        for call in (lambda: backend.get("a"), lambda: backend.exists("a"), lambda: list(backend.get_many(["a"]))):
            self.check(backend, BackendError, call)

    def test_read_only_database_is_read(self, path):
        make(f"sqlite:///{path}").put("a", b"x" * LARGE)
        backend = make(f"sqlite:///file:{path}?mode=ro&uri=true")
        assert backend.get("a") == b"x" * LARGE
        assert [entry.key for entry in backend.scan()] == ["a"]
        for call in (
            lambda: backend.put("a", b"new"),
            lambda: backend.put("b", b"x" * LARGE),
            lambda: backend.delete("a"),
            lambda: backend.take("a"),
            lambda: backend.put_many([("a", b"new")]),
        ):
            self.check(backend, ReadOnlyError, call)
        assert backend.get("a") == b"x" * LARGE

    def test_database_in_a_folder_that_may_only_be_read_says_how(self, open_folder):
        folder = open_folder / "theirs"
        folder.mkdir()
        first = make(f"sqlite:///{folder}/x.db")
        first.put("a", b"x")
        first.close()
        folder.chmod(0o555)
        done = subprocess.run(
            [sys.executable, "-c", AS_NOBODY, str(folder)], capture_output=True, text=True, check=False
        )
        folder.chmod(0o755)
        assert done.returncode == 0, done.stderr

    def test_wrong_option_of_the_driver(self, path):
        backend = make(f"sqlite:///{path}", engine_kwargs={"connect_args": {"no_such": 1}})
        self.check(backend, BackendError, lambda: backend.get("a"))

    def test_every_error_of_the_libraries_is_caught(self):
        for uri, driver in (("sqlite://", sqlite3), ("postgresql://h/d", psycopg), ("mysql://h/d", pymysql)):
            caught = make(uri)._failures.caught
            for module in (driver, sqlalchemy.exc):
                for error in vars(module).values():
                    if isinstance(error, type) and issubclass(error, Exception) and error.__module__ != "builtins":
                        given = issubclass(error, Warning) and module is sqlalchemy.exc  # not raised
                        assert given or error.__name__ in NOT_RAISED or issubclass(error, caught), error

    @pytest.mark.parametrize(
        "error", [error for error in vars(sqlite3).values() if isinstance(error, type) and issubclass(error, Exception)]
    )
    def test_every_error_becomes_one_of_ours(self, backend, monkeypatch, error):
        backend.put("a", b"x")

        def fail(self):
            raise error("the driver's words")

        monkeypatch.setattr(file_connections._Handle, "open", fail)
        for call in (
            lambda: backend.get("a"),
            lambda: backend.put("a", b"y"),
            lambda: backend.put("a", b"y" * LARGE),
            lambda: backend.stat("a"),
            lambda: list(backend.read("a")),
            lambda: backend.delete("a"),
            lambda: list(backend.scan()),
            lambda: list(backend.get_many(["a"])),
            lambda: backend.put_many([("a", b"y")]),
            lambda: backend.delete_many(["a"]),
            lambda: backend.append("a", b"y"),
            lambda: backend.take("a"),
            lambda: backend.move("a", "b"),
            lambda: backend.copy("a", "b"),
        ):
            ours = self.check(backend, AnystoreError, call)
            assert "the driver's words" in str(ours)
            assert isinstance(ours.__cause__, error)

    def test_error_whose_text_holds_a_secret_is_not_chained(self):
        backend = make("postgresql://me:hunter2@host/d", engine_kwargs={"connect_args": {"sslpassword": "s3cr3t"}})
        for text in ("no login with hunter2", "bad s3cr3t"):
            inner = psycopg.OperationalError(text)
            outer = sqlalchemy.exc.OperationalError("SELECT 1", {}, inner)
            for error in (inner, outer):
                for fail, *more in ((backend._failures.fail_to_connect,), (backend._failures.fail, Failure.OTHER)):
                    with pytest.raises(BackendError) as caught:
                        fail(error, *more)
                    shown = "".join(traceback.format_exception(caught.value))
                    assert text.split()[-1] not in shown
                    assert "***" in str(caught.value)
                    assert caught.value.__cause__ is None
        with pytest.raises(BackendError) as caught:
            backend._failures.fail(psycopg.OperationalError("harmless"), Failure.OTHER)
        assert isinstance(caught.value.__cause__, psycopg.OperationalError)
