"""Everything that databases do each in their own way: types, clock, upsert, locks, error codes."""

import socket
import time
from collections.abc import Mapping, Sequence
from enum import Enum, auto
from typing import Any, ClassVar

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    LargeBinary,
    String,
    Table,
    Text,
    any_,
    bindparam,
    func,
    literal_column,
    select,
)
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.engine import Dialect as Engine
from sqlalchemy.sql.dml import Insert

from anystore.backends.sql.silence import notice_absence

# Keys are compared as UTF-8 bytes everywhere. MySQL's VARBINARY neither pads nor folds, and 1,024 bytes are within
# what InnoDB can index, which 1,024 characters of a binary collation are not.
KEY_TYPE = (
    Text()
    .with_variant(postgresql.TEXT(collation="C"), "postgresql")
    .with_variant(mysql.VARBINARY(1024), "mysql", "mariadb")
)
TOKEN_TYPE = String(32).with_variant(mysql.VARCHAR(32, charset="ascii", collation="ascii_bin"), "mysql", "mariadb")
BYTES_TYPE = LargeBinary().with_variant(mysql.LONGBLOB(), "mysql", "mariadb")


_RETRY_SECONDS = 0.01


class Failure(Enum):
    """What an error of a driver means to us."""

    OTHER = auto()
    LOST = auto()
    """The connection is gone, or could not be made."""
    BUSY = auto()
    """Another connection held a lock for too long."""
    COLLISION = auto()
    """The database undid our transaction in favour of another's; it may be tried again."""
    FORBIDDEN = auto()
    """We may not do this."""
    UNOPENED = auto()
    """SQLite could not open its file, or make those beside it that it needs to read it, too."""


class Dialect:
    """One kind of database.

    Attributes:
        begin: How a transaction that writes begins.
        locks_rows: Whether rows that are read can be locked until the end of the transaction.
        returns_inserts: Whether an upsert tells what it stored.
        returns_updates: Whether an update does.
        returns_deletes: Whether a deletion tells what it took away.
        knows_time: Whether the database's time is this process's.
        counts_rows: Whether an upsert that changed nothing is told by the count of rows, also among many.
        key_counts: How many keys a statement can name; others are repeated up to one of these numbers.
    """

    begin: ClassVar[str] = "BEGIN"
    locks_rows: ClassVar[bool] = True
    knows_time: ClassVar[bool] = False
    returns_inserts: bool = True
    returns_updates: bool = True
    returns_deletes: bool = True
    counts_rows: bool = True
    key_counts: ClassVar[Sequence[int]] = (1, 8, 64, 512)
    clock: ClassVar[ColumnElement[int]]
    """The database's time, in microseconds since 1970."""

    def __init__(self, engine: Engine) -> None:
        """Take SQLAlchemy's dialect, after a first connection has told it the server's version."""
        self.engine = engine

    def now(self) -> int:
        """Give the parameter ``now``; only SQLite, which is in this process, has one."""
        return 0

    def encode_key(self, key: str) -> Any:
        """Give a key as the column of keys takes it."""
        return key

    def decode_keys(self, rows: Sequence[Sequence[Any]]) -> list[str]:
        """Give the keys of rows, each of which begins with one."""
        return [row[0] for row in rows]

    def key_in(self, column: ColumnElement[Any], count: int) -> ColumnElement[bool]:
        """Make the condition that a key is one of several."""
        return column.in_([bindparam(f"key_{number}") for number in range(count)])

    def bind_keys(self, keys: Sequence[str], count: int) -> dict[str, Any]:
        """Give the parameters of :meth:`key_in`; the last key is repeated up to the count."""
        last = len(keys) - 1
        return {f"key_{number}": self.encode_key(keys[min(number, last)]) for number in range(count)}

    def in_order(self, key: ColumnElement[Any], condition: ColumnElement[bool]) -> ColumnElement[bool]:
        """Make the condition of a deletion of several rows, which locks them in the order of their keys."""
        return condition

    def upsert(
        self, table: Table, values: Mapping[str, Any], kept: Mapping[str, Any], *, only_if: ColumnElement[bool]
    ) -> Insert:
        """Make the statement that inserts a row, or changes the one there is if a condition holds.

        Args:
            table: The table; its key decides.
            values: A new row.
            kept: Columns of a present row that do not simply take the new value.
            only_if: What a present row has to be; otherwise nothing is changed.
        """
        raise NotImplementedError

    def classify(self, error: BaseException) -> Failure:
        """Tell what an error of the driver means."""
        raise NotImplementedError


class SqliteDialect(Dialect):
    """SQLite: a library in this process, whose clock is the process's."""

    begin = "BEGIN IMMEDIATE"
    locks_rows = False
    knows_time = True
    clock = bindparam("now", type_=BigInteger)

    def __init__(self, engine: Engine) -> None:
        """Return rows only where they are needed: what was stored is known here."""
        super().__init__(engine)
        self.returns_inserts = False
        self.returns_updates = False
        self.returns_deletes = bool(engine.delete_returning)

    def now(self) -> int:
        """Give the process's time."""
        return time.time_ns() // 1000

    def upsert(
        self, table: Table, values: Mapping[str, Any], kept: Mapping[str, Any], *, only_if: ColumnElement[bool]
    ) -> Insert:
        """Use ``ON CONFLICT``."""
        insert = sqlite.insert(table).values(values)
        new = {name: kept.get(name, insert.excluded[name]) for name in values if name != "key"}
        return insert.on_conflict_do_update(index_elements=[table.c.key], set_=new, where=only_if)

    def classify(self, error: BaseException) -> Failure:
        """Go by SQLite's name of the error."""
        name = getattr(error, "sqlite_errorname", "") or ""
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            return Failure.BUSY
        if name.startswith(("SQLITE_READONLY", "SQLITE_PERM", "SQLITE_AUTH")):
            return Failure.FORBIDDEN
        if name.startswith("SQLITE_CANTOPEN"):
            return Failure.UNOPENED
        if name.startswith(("SQLITE_CONSTRAINT_PRIMARYKEY", "SQLITE_CONSTRAINT_UNIQUE")):
            return Failure.COLLISION
        return Failure.OTHER


class PostgresDialect(Dialect):
    """PostgreSQL."""

    clock = literal_column("CAST(extract(epoch FROM statement_timestamp()) * 1000000 AS BIGINT)", BigInteger)
    key_counts = (1000,)

    def __init__(self, engine: Engine) -> None:
        """Count only by drivers that are known to add up."""
        super().__init__(engine)
        self.counts_rows = engine.driver in ("psycopg", "psycopg2")

    def key_in(self, column: ColumnElement[Any], count: int) -> ColumnElement[bool]:
        """Pass the keys as one array."""
        return column == any_(bindparam("keys", type_=ARRAY(Text)))

    def bind_keys(self, keys: Sequence[str], count: int) -> dict[str, Any]:
        """Pass the keys as one array."""
        return {"keys": list(keys)}

    def in_order(self, key: ColumnElement[Any], condition: ColumnElement[bool]) -> ColumnElement[bool]:
        """Lock the rows first: a plain deletion goes by their place in the table, and a deadlock costs a second."""
        return key.in_(select(key).where(condition).order_by(key).with_for_update())

    def upsert(
        self, table: Table, values: Mapping[str, Any], kept: Mapping[str, Any], *, only_if: ColumnElement[bool]
    ) -> Insert:
        """Use ``ON CONFLICT``."""
        insert = postgresql.insert(table).values(values)
        new = {name: kept.get(name, insert.excluded[name]) for name in values if name != "key"}
        return insert.on_conflict_do_update(index_elements=[table.c.key], set_=new, where=only_if)

    def classify(self, error: BaseException) -> Failure:
        """Go by the SQLSTATE."""
        state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None) or ""
        if error.args and isinstance(error.args[0], Mapping):  # pg8000
            state = error.args[0].get("C", "")
        if state in ("40001", "40P01", "23505", "42P07"):  # serialization, deadlock, unique, a table made meanwhile
            return Failure.COLLISION
        if state in ("42501", "25006"):
            return Failure.FORBIDDEN
        if state in ("55P03", "57014"):
            return Failure.BUSY
        if state.startswith(("08", "57P")):  # 57P is what operators and time limits end
            return Failure.LOST
        # what the server did not say, its client library found out, and that is about the connection
        if not state and type(error).__name__ in ("OperationalError", "InterfaceError"):
            return Failure.LOST
        return Failure.OTHER


class MysqlDialect(Dialect):
    """MySQL and MariaDB."""

    # unlike UNIX_TIMESTAMP(NOW(6)) it does not stumble over the hour that a summer time repeats
    clock = literal_column("TIMESTAMPDIFF(MICROSECOND, '1970-01-01 00:00:00', UTC_TIMESTAMP(6))", BigInteger)
    counts_rows = False

    def __init__(self, engine: Engine) -> None:
        """MariaDB returns rows from inserts and deletions, MySQL from nothing."""
        super().__init__(engine)
        self.returns_inserts = bool(engine.insert_returning)
        self.returns_updates = False
        self.returns_deletes = bool(engine.delete_returning)

    def encode_key(self, key: str) -> Any:
        """Give the bytes."""
        return key.encode()

    def decode_keys(self, rows: Sequence[Sequence[Any]]) -> list[str]:
        """Decode the bytes; a name that is no text is shown, so that it can be told as foreign."""
        return [bytes(row[0]).decode(errors="surrogateescape") for row in rows]

    def upsert(
        self, table: Table, values: Mapping[str, Any], kept: Mapping[str, Any], *, only_if: ColumnElement[bool]
    ) -> Insert:
        """Use ``ON DUPLICATE KEY UPDATE``, whose assignments see those before them: ``expires`` comes last."""
        insert = mysql.insert(table).values(values)
        names = sorted((name for name in values if name != "key"), key="expires".__eq__)
        return insert.on_duplicate_key_update(
            [(name, func.if_(only_if, kept.get(name, insert.inserted[name]), table.c[name])) for name in names]
        )

    def classify(self, error: BaseException) -> Failure:
        """Go by the server's number of the error."""
        code = error.args[0] if error.args else 0
        code = getattr(error, "errno", None) or code
        if code in (1213, 1062, 1050, 1020, 1412):  # deadlock, duplicate, a table made meanwhile, a row changed
            return Failure.COLLISION
        if code in (1142, 1143, 1227, 1290, 1792, 1836, 1044):
            return Failure.FORBIDDEN
        if code in (1205, 3024):
            return Failure.BUSY
        if code in (1053, 1927, 2002, 2003, 2006, 2013, 2055):
            return Failure.LOST
        return Failure.OTHER


_DIALECTS: Mapping[str, type[Dialect]] = {
    "sqlite": SqliteDialect,
    "postgresql": PostgresDialect,
    "mysql": MysqlDialect,
    "mariadb": MysqlDialect,
}
NAMES = frozenset(_DIALECTS)
"""SQLAlchemy's names of the databases that are known here."""


def dialect_of(engine: Engine) -> Dialect:
    """Give what is known of a database."""
    return _DIALECTS[engine.name](engine)


_CONNECT_TIMEOUTS = {
    "psycopg": ("connect_timeout",),
    "psycopg2": ("connect_timeout",),
    "pg8000": ("timeout",),
    # the first is over before the server has said a word, so that the second is needed until it has let us in
    "pymysql": ("connect_timeout", "read_timeout"),
    "mysqldb": ("connect_timeout",),
    "mysqlconnector": ("connection_timeout",),
}


def connect_arguments(name: str, driver: str, *, connect_timeout: int, busy_timeout: float) -> dict[str, Any]:
    """Give what the driver is to be told when it connects.

    Args:
        name: SQLAlchemy's name of the database.
        driver: Its name of the driver.
        connect_timeout: Seconds to wait for a server.
        busy_timeout: Seconds to wait for another process that writes to the same file.
    """
    if name == "sqlite":
        # our own lock keeps threads apart; whichever thread finds a connection forgotten has to be able to close it
        return {"timeout": busy_timeout, "check_same_thread": False}
    arguments: dict[str, Any] = dict.fromkeys(_CONNECT_TIMEOUTS.get(driver, ()), connect_timeout)
    if driver in ("psycopg", "psycopg2"):
        # or they take the database's, which may be one that not every key can be written in
        arguments["client_encoding"] = "utf8"
    return arguments


def prepare_connection(
    engine: Engine, connection: Any, *, given: Mapping[str, Any], durable: bool, busy_timeout: float
) -> None:
    """Set a new connection up.

    Args:
        engine: SQLAlchemy's dialect.
        connection: The driver's connection, in autocommit.
        given: What the user has told the driver.
        durable: SQLite only: whether each commit is synced to the disk.
        busy_timeout: SQLite only: seconds to wait for another process.
    """
    if not any(name.startswith(("keepalives", "tcp_user_timeout")) for name in given):
        notice_absence(descriptor_of(connection))
    cursor = connection.cursor()
    if engine.name == "sqlite":
        _use_write_ahead_log(engine, cursor, patience=busy_timeout)
        cursor.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        cursor.execute(f"PRAGMA wal_autocheckpoint = {_LOGGED_PAGES}").fetchall()
    elif engine.name in ("mysql", "mariadb"):
        # the default locks gaps between keys, so that writers of different keys run into deadlocks
        cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
    elif engine.driver == "psycopg" and "prepare_threshold" not in given:
        # a pooler, such as PgBouncer, may hand each transaction to another session, where a prepared statement is
        # unknown, or is another client's statement of the same name
        session = cursor.execute("SELECT pg_backend_pid()").fetchone()[0]
        if session != connection.info.backend_pid:
            connection.prepare_threshold = None
    cursor.close()


_LOGGED_PAGES = 4000
"""Pages in the log of SQLite before it syncs the disk: as many as the first table of its index holds."""


def _use_write_ahead_log(engine: Engine, cursor: Any, *, patience: float) -> None:
    """Let readers and a writer work side by side; the file stays set so, and SQLite does not wait its turn here."""
    deadline = time.monotonic() + patience
    # a file is in one of the modes to be left the first time only; memory has a mode of its own
    while cursor.execute("PRAGMA journal_mode").fetchone()[0] in ("delete", "truncate", "persist"):
        try:
            cursor.execute("PRAGMA journal_mode = WAL").fetchone()
            return  # also where it stays as it is without an error: in a file that is opened as immutable
        except engine.loaded_dbapi.OperationalError as error:
            kind = SqliteDialect(engine).classify(error)
            if kind is Failure.FORBIDDEN:  # it can be read all the same
                return
            if kind is not Failure.BUSY or time.monotonic() > deadline:
                raise
            time.sleep(_RETRY_SECONDS)


def binary_cursor(engine: Engine, connection: Any) -> Any:
    """Open a cursor; psycopg's sends bytes as they are only when it is asked to."""
    return connection.cursor(binary=True) if engine.driver == "psycopg" else connection.cursor()


def descriptor_of(connection: Any) -> int:
    """Give the socket of a driver's connection, or -1 where it cannot be had."""
    if hasattr(connection, "fileno"):
        return int(connection.fileno())
    sock = getattr(connection, "_usock", getattr(connection, "_sock", None))  # pg8000, PyMySQL
    return sock.fileno() if isinstance(sock, socket.socket) else -1
