"""What is particular to SQL stores on servers: pools, processes, restarts, logins."""

import gc
import os
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from uuid import uuid4

import psycopg
import pymysql
import pytest

from anystore.backends.sql import from_uri
from anystore.backends.sql.dialects import Failure, descriptor_of
from anystore.errors import BackendError, DoesNotExist, InvalidOption, ReadOnlyError, VersionMismatch
from anystore.uris import parse_uri
from tests.anystore.test_sql_backend import INCREMENT, KILLED, go_on_after_a_fork
from tests.pooler import pooler
from tests.servers import HOST, free_port

LARGE = 3 << 20


def make(uri, **config):
    return from_uri(parse_uri(uri), {"table": f"t{uuid4().hex}", **config})


def connect(server):
    login = {"host": server.host, "port": server.port, "user": server.user, "password": server.password}
    if server.scheme == "mysql":
        return pymysql.connect(**login, database=server.database, autocommit=True)
    return psycopg.connect(**login, dbname=server.database, autocommit=True)


def run(server, sql, *parameters):
    with closing(connect(server)) as connection, closing(connection.cursor()) as cursor:
        cursor.execute(sql, parameters)
        return cursor.fetchall() if cursor.description else []


@pytest.fixture(params=["postgres", "mariadb"])
def server(request):
    return request.getfixturevalue(f"{request.param}_server")


@pytest.fixture
def backend(server):
    backend = make(server.url)
    yield backend
    backend.close()


class TestDrivers:
    def test_driver_is_used_as_given(self, postgres_server):
        backend = make(postgres_server.url_with(scheme="postgresql+psycopg2"))
        data = os.urandom(LARGE)
        backend.put("large", data)
        backend.put_many([("a", b"1"), ("b", b"2"), ("large", b"3")])
        assert list(backend.get_many(["large", "b", "c"])) == [("large", b"3"), ("b", b"2"), ("c", None)]
        backend.put("a", data, create=False)
        assert backend.take("a") == data
        backend.append("b", data)
        assert b"".join(backend.read("b", 1)) == data
        assert list(backend.keys()) == ["b", "large"]
        backend.delete_many(["b", "large"])
        with pytest.raises(DoesNotExist):
            backend.get("b")
        with backend._values().connections._borrow() as connection:
            assert type(connection).__module__.startswith("psycopg2")
        backend.close()

    @pytest.mark.parametrize("scheme", ["mariadb", "mariadb+pymysql", "mysql+pymysql"])
    def test_mariadb_by_each_of_its_names(self, mariadb_server, scheme):
        backend = make(mariadb_server.url_with(scheme=scheme))
        backend.put("a", b"x")
        assert backend.get("a") == b"x"
        backend.close()

    def test_postgres_by_its_short_name(self, postgres_server):
        backend = make(postgres_server.url_with(scheme="postgres"))
        backend.put("a", b"x")
        assert backend.get("a") == b"x"
        backend.close()


class TestPostgresSetups:
    def test_error_of_any_driver_is_told_by_its_sqlstate(self, postgres_server):
        backend = make(postgres_server.url)
        dialect = backend._values().connections.dialect
        assert dialect.classify(psycopg.errors.UniqueViolation()) is Failure.COLLISION
        assert dialect.classify(psycopg.errors.IdleSessionTimeout()) is Failure.LOST
        assert dialect.classify(psycopg.Error({"S": "ERROR", "C": "23505"})) is Failure.COLLISION  # as pg8000 does
        backend.close()

    @pytest.mark.parametrize("scheme", ["postgresql", "postgresql+psycopg2"])
    @pytest.mark.parametrize(("encoding", "fits"), [("SQL_ASCII", True), ("LATIN1", False)])
    def test_database_of_another_encoding(self, postgres_server, scheme, encoding, fits):
        name = f"d{uuid4().hex}"
        run(postgres_server, f"CREATE DATABASE {name} ENCODING '{encoding}' TEMPLATE template0 LOCALE 'C'")
        backend = make(postgres_server.url_with(scheme=scheme, database=name))
        backend.put("é", b"x")
        assert list(backend.keys()) == ["é"]
        if fits:
            backend.put_many([("日本", b"y")])
            assert list(backend.get_many(["日本"])) == [("日本", b"y")]
        else:
            with pytest.raises(BackendError, match="LATIN1"):
                backend.put("日本", b"y")
        backend.close()

    @pytest.mark.parametrize("threshold", [None, 0])
    def test_nothing_is_prepared_in_a_session_behind_a_pooler(self, postgres_server, threshold):
        given = {} if threshold is None else {"engine_kwargs": {"connect_args": {"prepare_threshold": threshold}}}
        with pooler(postgres_server) as relay:
            backend = make(relay.url, **given)
            for number in range(20):
                backend.put("a", b"%d" % number)
                assert backend.get("a") == b"%d" % number
            backend.put_many((f"many/{number}", b"x") for number in range(20))
            backend.close()
            assert (b"_pg3_" in relay.said) == (threshold is not None)


class TestTables:
    @pytest.mark.parametrize("table", ["select", "Order", "_"])
    def test_words_of_sql_are_tables(self, server, table):
        backend = make(server.url, table=table)
        backend.put("a", b"x" * LARGE)
        backend.copy("a", "b")
        assert list(backend.get_many(["a", "b"])) == [("a", b"x" * LARGE), ("b", b"x" * LARGE)]
        backend.close()

    def test_longest_keys_that_differ_in_the_last_byte(self, backend):
        names = ["k" * 1023 + last for last in "abC %_"] + ["é" * 511 + last for last in ("é", "xy", "e ")]
        backend.put_many((name, name.encode()) for name in names)
        assert list(backend.keys()) == sorted(names, key=str.encode)
        assert list(backend.get_many(names)) == [(name, name.encode()) for name in names]

    def test_key_ends_in_what_databases_fold_or_pad(self, backend):
        names = ["a", "A", "a ", "á", "a\u0301", "ß", "ss", "ﬀ", "ff"]
        backend.put_many((name, name.encode()) for name in names)
        assert {name: backend.get(name) for name in names} == {name: name.encode() for name in names}
        assert len(list(backend.keys())) == len(names)

    def test_processes_make_the_tables_at_once(self, server):
        backend = make(server.url)
        program = (
            "import sys; from anystore.backends.sql import from_uri; from anystore.uris import parse_uri;"
            "from_uri(parse_uri(sys.argv[1]), {'table': sys.argv[2]}).put(sys.argv[3], b'x')"
        )
        argv = [sys.executable, "-c", program, server.url, backend._options.table]
        processes = [subprocess.Popen([*argv, str(number)], stderr=subprocess.PIPE) for number in range(3)]
        assert [process.communicate()[1] for process in processes] == [b""] * 3
        assert list(backend.keys()) == ["0", "1", "2"]
        backend.close()


class TestLogin:
    @pytest.mark.parametrize("through", ["uri", "options"])
    def test_wrong_password_is_a_clear_error_without_it(self, server, through):
        secret = "wr%ng/secret"
        in_uri = through == "uri"
        backend = make(server.url_with(password=secret)) if in_uri else make(server.url, password=secret)
        with pytest.raises(BackendError) as caught:
            backend.get("a")
        shown = "".join(traceback.format_exception(caught.value))
        assert backend.uri in str(caught.value)
        for hidden in (secret, "wr%25ng", server.password):
            assert hidden not in shown
        assert "***" in str(caught.value)

    def test_login_by_options(self, server):
        bare = f"{server.scheme}://{server.host}:{server.port}/{server.database}"
        backend = make(bare, username=server.user, password=server.password)
        backend.put("a", b"x")
        assert backend.uri == bare
        backend.close()

    def test_missing_database_is_a_clear_error(self, server):
        backend = make(server.url_with(database="nowhere"))
        for call in (lambda: backend.get("a"), lambda: backend.exists("a"), lambda: list(backend.keys())):
            with pytest.raises(BackendError, match="nowhere") as caught:
                call()
            assert not isinstance(caught.value, DoesNotExist)

    def test_missing_permission_is_a_clear_error(self, server, backend):
        backend.put("a", b"x" * LARGE)
        table, reader = backend._options.table, f"r{uuid4().hex[:20]}"
        if server.scheme == "mysql":
            run(server, f"CREATE USER {reader} IDENTIFIED BY 'read/er'")
            run(server, f"GRANT SELECT ON {server.database}.* TO {reader}")
        else:
            run(server, f"CREATE ROLE {reader} LOGIN PASSWORD 'read/er'")
            run(server, f"GRANT SELECT ON {table}, {table}_chunks, {table}_loose TO {reader}")
        other = make(server.url_with(user=reader, password="read/er"), table=table)
        assert other.get("a") == b"x" * LARGE
        assert list(other.keys()) == ["a"]
        for call in (
            lambda: other.put("a", b"new"),
            lambda: other.put("b", b"x" * LARGE),
            lambda: other.put_many([("a", b"new")]),
            lambda: other.delete("a"),
            lambda: other.take("a"),
            lambda: other.append("a", b"new"),
        ):
            with pytest.raises(ReadOnlyError) as caught:
                call()
            assert other.uri in str(caught.value)
        assert backend.get("a") == b"x" * LARGE
        other.close()
        nothing = make(server.url_with(user=reader, password="read/er"))
        with pytest.raises((ReadOnlyError, BackendError), match=r"denied") as caught:
            nothing.get("a")
        assert not isinstance(caught.value, DoesNotExist)

    @pytest.mark.parametrize("scheme", ["postgresql", "postgresql+psycopg2", "mysql"])
    def test_server_that_is_not_there_raises_soon(self, scheme):
        backend = make(f"{scheme}://me:hunter2@{HOST}:{free_port()}/d")
        started = time.monotonic()
        for call in (lambda: backend.get("a"), lambda: backend.put("a", b"x"), lambda: list(backend.keys())):
            with pytest.raises(BackendError) as caught:
                call()
            assert backend.uri in str(caught.value)
            assert "hunter2" not in str(caught.value)
        assert time.monotonic() - started < 5

    @pytest.mark.parametrize("scheme", ["postgresql", "mysql"])
    def test_server_that_says_nothing_raises_within_the_timeout(self, scheme, silent_port):
        # libpq takes a second for two
        backend = make(f"{scheme}://me@{HOST}:{silent_port}/d", connect_timeout=2)
        started = time.monotonic()
        with pytest.raises(BackendError):
            backend.get("a")
        assert time.monotonic() - started < 8

    def test_statement_without_an_answer_is_given_up(self, server):
        backend = make(server.url, timeout=0.5, pool_size=1)
        backend.put("a", b"x")
        sleep = "SELECT SLEEP(20)" if server.scheme == "mysql" else "SELECT pg_sleep(20)"
        started = time.monotonic()
        with pytest.raises(BackendError, match=r"(timed out|no answer for 0\.5 s).*raise 'timeout' in backend_config"):
            backend._values().connections.transact(lambda tx: tx._cursor.execute(sleep))
        assert time.monotonic() - started < 10
        assert backend.get("a") == b"x"
        backend.close()

    def test_other_driver_leaves_long_statements_to_the_server(self, postgres_server):
        limit = {"connect_args": {"options": "-c statement_timeout=200ms"}}
        backend = make(postgres_server.url_with(scheme="postgresql+psycopg2"), engine_kwargs=limit)
        backend.put("a", b"x")
        with pytest.raises(BackendError, match="statement timeout"):
            backend._values().connections.transact(lambda tx: tx._cursor.execute("SELECT pg_sleep(20)"))
        assert backend.get("a") == b"x"
        backend.close()

    @pytest.mark.parametrize("query", ["nonsense=1", "connect_timeout=soon"])
    def test_option_in_the_uri_that_the_driver_refuses(self, server, query):
        with pytest.raises((BackendError, InvalidOption)) as caught:
            make(f"{server.url}?{query}").get("a")
        assert server.password not in str(caught.value)


@pytest.fixture
def silent_port():
    with socket.create_server((HOST, 0)) as listener:
        yield listener.getsockname()[1]


class TestPool:
    def test_pool_is_bounded_and_says_so(self, server):
        backend = make(server.url, pool_size=2, pool_timeout=0.2)
        backend.put("a", b"x")
        borrow = backend._values().connections._borrow
        with borrow(), borrow():
            with pytest.raises(BackendError, match="pool_size"):
                backend.get("a")
            with pytest.raises(BackendError, match="pool_size"):
                backend.put("a", b"y")
        assert backend.get("a") == b"x"
        backend.close()

    def test_threads_wait_for_their_turn(self, server):
        backend = make(server.url, pool_size=2)
        with ThreadPoolExecutor(32) as pool:
            list(pool.map(lambda number: backend.put(f"{number}", b"%d" % number), range(100)))
            assert list(pool.map(lambda number: int(backend.get(f"{number}")), range(100))) == list(range(100))
        assert backend._values().connections._engine.pool.checkedin() <= 2
        backend.close()

    def test_reading_and_writing_lazily_at_once_takes_one_connection(self, server):
        backend = make(server.url, pool_size=1, pool_timeout=1)
        backend.put_many((f"from/{number:04}", b"x") for number in range(1500))
        pairs = backend.get_many(backend.keys("from/"))
        backend.put_many((key.replace("from", "to"), data) for key, data in pairs)
        assert len(list(backend.keys("to/"))) == 1500
        backend.put("large", b"x" * LARGE)
        with backend.reader("large") as reader, backend.writer("copy") as writer:
            for piece in reader.read():
                writer.write(piece)
        assert backend.get("copy") == b"x" * LARGE
        backend.close()

    def test_connection_is_never_idle_in_a_transaction(self, postgres_server):
        backend = make(postgres_server.url, pool_size=3)
        version = backend.put("a", b"x").version
        writer = backend.writer("b")
        writer.write(b"x" * LARGE)
        pieces = backend.read("a")
        listing = backend.scan()
        next(listing)
        with pytest.raises(VersionMismatch):
            backend.put("a", b"x" * LARGE, version=version + "other")
        states = run(postgres_server, "SELECT state FROM pg_stat_activity WHERE usename = %s", postgres_server.user)
        assert "idle in transaction" not in " ".join(str(state) for (state,) in states)
        writer.abort()
        del pieces
        backend.close()

    def test_error_in_a_transaction_leaves_the_connection_usable(self, server):
        backend = make(server.url, pool_size=1)
        backend.put("a", b"x" * LARGE)

        def fail(tx):
            tx.change(values.sql.delete_row, {"key": values.encode("a")})
            raise VersionMismatch("no")

        values = backend._values()
        with pytest.raises(VersionMismatch):
            values.connections.transact(fail)
        assert backend.get("a") == b"x" * LARGE
        backend.close()

    def test_operation_that_breaks_off_takes_its_connection_along(self, server):
        backend = make(server.url, pool_size=1)
        backend.put("a", b"x")
        connections = backend._values().connections
        with pytest.raises(KeyboardInterrupt), connections._borrow() as connection:
            connection.cursor().execute("SELECT 1")  # its answer is not read
            raise KeyboardInterrupt
        assert backend.get("a") == b"x"
        with connections._borrow() as other:
            assert other is not connection
        backend.close()

    def test_forked_child_shares_no_socket(self, server, backend):
        backend.put("mine", b"x")
        with backend._values().connections._borrow() as connection:
            number = _number_of(connection)
        process = os.fork()
        if not process:
            status = 1
            try:
                assert backend.get("mine") == b"x"
                with backend._values().connections._borrow() as connection:
                    assert _number_of(connection) != number
                backend.put("child", b"y")
                backend.close()
                status = 0
            finally:
                os._exit(status)
        for _ in range(20):
            assert backend.get("mine") == b"x"
        assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
        assert list(backend.get_many(["child", "mine"])) == [("child", b"y"), ("mine", b"x")]
        with backend._values().connections._borrow() as connection:
            assert _number_of(connection) == number

    def test_what_was_open_before_a_fork_goes_on_in_both_processes(self, server, backend):
        go_on_after_a_fork(backend)

    def test_connection_notices_that_the_other_end_has_vanished(self, backend):
        with (
            backend._values().connections._borrow() as connection,
            socket.socket(fileno=os.dup(descriptor_of(connection))) as plain,
        ):
            assert plain.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert plain.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 30
            assert plain.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 60_000

    def test_forgotten_backend_closes_its_connections(self, server):
        backend = make(server.url)
        backend.put("a", b"x")
        with backend._values().connections._borrow() as connection:
            pass
        del backend
        gc.collect()
        assert not connection.open if server.scheme == "mysql" else connection.closed

    def test_driver_that_cannot_say_whether_it_is_connected(self, backend, monkeypatch):
        connections = backend._values().connections
        monkeypatch.setattr(connections, "_is_alive", lambda _connection: False)
        backend.put("a", b"x")
        assert backend.get("a") == b"x"


def _number_of(connection):
    """The server's number of a connection."""
    return connection.info.backend_pid if hasattr(connection, "info") else connection.thread_id()


class TestTogether:
    @pytest.mark.parametrize(("threads", "turns"), [(8, 5)])
    def test_threads_and_processes_lose_no_increment(self, server, threads, turns):
        backend = make(server.url, table="anystore")
        backend.put("counter", b"0")
        argv = [sys.executable, "-c", INCREMENT, server.url, str(threads), str(turns)]
        processes = [subprocess.Popen(argv, stderr=subprocess.PIPE) for _ in range(4)]
        for process in processes:
            assert process.communicate()[1] == b""
        assert backend.get("counter") == b"%d" % (4 * threads * turns)
        backend.close()

    def test_writers_of_the_same_keys_do_not_stop_each_other(self, backend):
        names = [f"key/{number}" for number in range(40)]

        def work(number):
            for turn in range(5):
                ordered = names if (number + turn) % 2 else names[::-1]
                backend.put_many((name, b"x" * (number + 1)) for name in ordered)
                backend.delete_many(ordered[number : number + 10])
                backend.put(names[number], b"y" * (300_000 * (turn % 2) + 1))
                try:
                    backend.move(names[number], names[-number - 1])
                except DoesNotExist:
                    continue

        with ThreadPoolExecutor(6) as pool:
            list(pool.map(work, range(6)))
        for name, data in backend.get_many(names):
            assert data is None or len(set(data)) == 1, name
        table = backend._options.table
        with backend._values().connections._borrow() as connection, closing(connection.cursor()) as cursor:
            cursor.execute(f"SELECT DISTINCT id FROM {table}_chunks")
            chunks = {row[0] for row in cursor.fetchall()}
            cursor.execute(f"SELECT chunks FROM {table} WHERE chunks IS NOT NULL")
            assert chunks == {row[0] for row in cursor.fetchall()}

    def test_one_taker_gets_a_value_in_chunks(self, backend):
        for _ in range(3):
            backend.put("a", b"x" * 700_000)
            taken = Counter()
            barrier = threading.Barrier(6)

            def take(_number, taken=taken, barrier=barrier):
                barrier.wait()
                try:
                    taken[len(backend.take("a"))] += 1
                except DoesNotExist:
                    taken["missing"] += 1

            with ThreadPoolExecutor(6) as pool:
                list(pool.map(take, range(6)))
            assert taken == {700_000: 1, "missing": 5}


class TestRestart:
    def test_next_call_works_after_a_restart(self, server, backend):
        backend.put("a", b"x")
        backend.put("large", b"x" * LARGE)
        with ThreadPoolExecutor(4) as pool:  # so that the pool has several connections
            list(pool.map(backend.get, ["a"] * 40))
        server.stop()
        server.start()
        backend.put("b", b"first call after the restart")
        assert backend.get("a") == b"x"
        server.stop()
        try:
            for call in (lambda: backend.get("a"), lambda: backend.put("a", b"y"), lambda: backend.exists("a")):
                with pytest.raises(BackendError) as caught:
                    call()
                assert backend.uri in str(caught.value)
        finally:
            server.start()
        assert backend.get("b") == b"first call after the restart"
        with backend.reader("large") as reader:
            pieces = reader.read()
            first = next(pieces)
            server.stop()
            server.start()
            assert first + b"".join(pieces) == b"x" * LARGE

    def test_writer_goes_on_after_a_restart(self, server, backend):
        writer = backend.writer("a")
        writer.write(b"x" * LARGE)
        server.stop()
        server.start()
        writer.write(b"y" * LARGE)
        writer.commit()
        assert backend.get("a") == b"x" * LARGE + b"y" * LARGE

    def test_lost_connection_is_an_error_and_nothing_in_the_log(self, server, backend, caplog):
        backend.put("a", b"x")
        connections = backend._values().connections
        with connections._borrow() as connection:
            pass
        with pytest.raises(BackendError):
            connections.transact(lambda tx: (cut(server, connection), tx.fetch(backend._values().sql.now, {})))
        assert backend.get("a") == b"x"
        assert caplog.text == ""

    def test_cut_connection_is_read_again_but_not_written_again(self, server, backend):
        backend.put("a", b"x")
        connections = backend._values().connections
        run_once = connections._run
        cuts = []

        def run_and_cut(connection, statement, parameters):
            if not cuts:
                cuts.append(statement)
                cut(server, connection)
            return run_once(connection, statement, parameters)

        connections._run = run_and_cut
        assert backend.get("a") == b"x"
        assert len(cuts) == 1
        cuts.clear()
        with pytest.raises(BackendError):
            backend.put("a", b"y")
        assert backend.get("a") == b"x"
        backend.put("a", b"y")
        assert backend.get("a") == b"y"

    def test_killed_writer_leaves_the_old_value(self, server):
        backend = make(server.url, table="anystore")
        backend.put("a", b"old")
        process = subprocess.Popen([sys.executable, "-c", KILLED, server.url], stdout=subprocess.PIPE)
        assert process.stdout.readline() == b"writing\n"
        process.kill()
        process.wait()
        process.stdout.close()
        assert backend.get("a") == b"old"
        assert run(server, "SELECT count(*) FROM anystore_loose")[0][0] == 1
        run(server, "UPDATE anystore_loose SET since = since - 172800000000")
        backend._values().chunks._next_sweep = 0.0
        backend.put("a", b"new")
        assert run(server, "SELECT count(*) FROM anystore_loose")[0][0] == 0
        assert run(server, "SELECT count(*) FROM anystore_chunks")[0][0] == 0
        backend.close()


MEBIBYTES = int(os.environ.get("ANYSTORE_TEST_STREAM_MIB", "256"))
MEASURE = """
import sys
from anystore.backends.sql import from_uri
from anystore.uris import parse_uri

backend = from_uri(parse_uri(sys.argv[1]), {"table": sys.argv[2]})
piece = bytes(range(256)) * 4096

def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))

def stream(count):
    with backend.writer("large") as writer:
        for _ in range(count):
            writer.write(piece)
    backend.copy("large", "copy")
    backend.append("copy", b"tail")
    assert backend.stat("copy").size == count * len(piece) + 4
    for key in ("large", "copy"):
        with backend.reader(key) as reader:
            size = sum(len(part) for part in reader.read())
        assert size == backend.stat(key).size
    backend.delete("large")
    backend.delete("copy")

stream(3)
before = peak()
stream(int(sys.argv[3]))
print(peak() - before)
"""


@pytest.mark.large
@pytest.mark.alone
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("where", ["sqlite", "postgres", "mariadb"])
def test_memory_stays_bounded(where, request, tmp_path):
    sqlite = where == "sqlite"
    url = f"sqlite:///{tmp_path}/s.db" if sqlite else request.getfixturevalue(f"{where}_server").url
    argv = [sys.executable, "-c", MEASURE, url, f"t{uuid4().hex}", str(MEBIBYTES)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    growth = int(done.stdout)
    print(f"{where}: {growth / 2**20:.1f} MiB for {MEBIBYTES} MiB")
    assert growth < 64 << 20


def cut(server, connection):
    """Have the server end a connection, and wait until it has."""
    number = _number_of(connection)
    run(server, "KILL %s" if server.scheme == "mysql" else "SELECT pg_terminate_backend(%s)", number)
    asked = {
        "mysql": "SELECT count(*) FROM information_schema.processlist WHERE id = %s",
        "postgresql": "SELECT count(*) FROM pg_stat_activity WHERE pid = %s",
    }[server.scheme]
    deadline = time.monotonic() + 5
    while run(server, asked, number)[0][0] and time.monotonic() < deadline:
        continue
