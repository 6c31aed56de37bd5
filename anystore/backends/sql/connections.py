"""Connections to a database: one a thread for a file, a bounded pool for a server; opened lazily, once per process."""

import os
import select
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeVar
from weakref import WeakSet

from sqlalchemy import URL, NullPool, QueuePool, StaticPool, create_engine, event, exc
from sqlalchemy.engine import Engine

from anystore.backends.sql.dialects import (
    Dialect,
    Failure,
    binary_cursor,
    connect_arguments,
    descriptor_of,
    dialect_of,
    prepare_connection,
)
from anystore.backends.sql.failures import Failures
from anystore.backends.sql.options import Options
from anystore.backends.sql.schema import Tables
from anystore.backends.sql.statements import Statement
from anystore.errors import BackendError

R = TypeVar("R")
Row = Sequence[Any]
Parameters = Mapping[str, Any]

_ATTEMPTS = 50
"""How often a transaction is tried that the database undoes in favour of another's."""


class Collision(Exception):
    """The transaction was undone in favour of another's, or has to be: try it again."""


class Transaction:
    """Statements that take effect together, or not at all.

    Args:
        cursor: The driver's cursor, on a connection inside a transaction.
    """

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor

    def fetch(self, statement: Statement, parameters: Parameters) -> list[Row]:
        """Run a statement, and give its rows."""
        self._cursor.execute(statement.sql, statement.bind(parameters))
        rows: list[Row] = self._cursor.fetchall()
        return rows

    def change(self, statement: Statement, parameters: Parameters) -> int:
        """Run a statement, and give how many rows it concerned."""
        self._cursor.execute(statement.sql, statement.bind(parameters))
        return int(self._cursor.rowcount)

    def change_each(self, statement: Statement, parameters: Sequence[Parameters]) -> int:
        """Run a statement for each of several sets of parameters, and give how many rows were concerned."""
        bind = statement.bind
        self._cursor.executemany(statement.sql, [bind(one) for one in parameters])
        return int(self._cursor.rowcount)


class Connections(ABC):
    """How statements reach the database.

    Args:
        url: Where it is.
        options: How it is set up.
        failures: What its errors become.
        tables: What has to be there.
    """

    dialect: Dialect

    def __init__(self, url: URL, options: Options, failures: Failures, tables: Tables) -> None:
        self._options = options
        self._failures = failures
        self._engine = self._make_engine(url)
        event.listen(self._engine, "connect", self._prepare)
        try:
            with self._engine.connect():  # now the dialect knows the server's version
                self.dialect = dialect_of(self._engine.dialect)
        except (*failures.caught, OSError, TypeError, ValueError) as error:
            self._refuse(error)
        _make_tables(self._engine, tables, failures, self.dialect)

    @abstractmethod
    def _make_engine(self, url: URL) -> Engine:
        """Make the engine, with its pool."""

    @abstractmethod
    def _borrow(self) -> Any:
        """Give a context manager for a driver's connection that nobody else uses in the meantime."""

    @abstractmethod
    def close(self) -> None:
        """Close every connection that is not in use."""

    def _prepare(self, connection: Any, _record: Any) -> None:
        options = self._options
        prepare_connection(
            self._engine.dialect, connection, durable=options.durable, busy_timeout=options.busy_timeout
        )

    def _refuse(self, error: BaseException) -> None:
        if isinstance(error, BackendError):
            raise error
        self._failures.fail_to_connect(error)

    def now(self) -> int:
        """Give the parameter ``now`` of statements."""
        return self.dialect.now()

    def fetch(self, statement: Statement, parameters: Parameters) -> list[Row]:
        """Read rows; once more if the connection turns out to be lost, since reading changes nothing."""
        try:
            return self._run(statement, parameters)[0]
        except self._failures.caught as error:
            if not self._failures.is_lost(error):
                self._fail(error, parameters)
        try:
            return self._run(statement, parameters)[0]
        except self._failures.caught as error:
            self._fail(error, parameters)

    def change(self, statement: Statement, parameters: Parameters) -> tuple[list[Row], int]:
        """Run one statement as a transaction of its own; give its rows, and how many it concerned."""
        for _ in range(_ATTEMPTS):
            try:
                return self._run(statement, parameters)
            except self._failures.caught as error:
                if self._failures.means(error, self.dialect) is not Failure.COLLISION:
                    self._fail(error, parameters)
        raise self._exhausted(parameters.get("key"))

    def transact(self, work: Callable[[Transaction], R], *, key: object = None) -> R:
        """Run several statements as one transaction; again, if the database undoes it in favour of another's.

        Args:
            work: Runs the statements; it may raise :class:`Collision` to begin anew.
            key: The key, for messages.

        Returns:
            What ``work`` returns.
        """
        for _ in range(_ATTEMPTS):
            try:
                return self._transact_once(work)
            except Collision:
                continue
            except self._failures.caught as error:
                kind = self._failures.means(error, self.dialect)
                if kind is not Failure.COLLISION:
                    self._failures.fail(error, kind, key=key)
        raise self._exhausted(key)

    def _transact_once(self, work: Callable[[Transaction], R]) -> R:
        with self._borrow() as connection:
            cursor = binary_cursor(self._engine.dialect, connection)
            cursor.execute(self.dialect.begin)
            try:
                result = work(Transaction(cursor))
                cursor.execute("COMMIT")
            except BaseException:
                # on a lost connection the server has done so itself
                with suppress(*self._failures.caught):
                    cursor.execute("ROLLBACK")
                raise
            cursor.close()
            return result

    def _run(self, statement: Statement, parameters: Parameters) -> tuple[list[Row], int]:
        with self._borrow() as connection:
            cursor = binary_cursor(self._engine.dialect, connection)
            cursor.execute(statement.sql, statement.bind(parameters))
            rows = cursor.fetchall() if cursor.description is not None else []
            count = cursor.rowcount
            cursor.close()
            return rows, count

    def _fail(self, error: BaseException, parameters: Parameters) -> None:
        kind = self._failures.means(error, self.dialect)
        self._failures.fail(error, kind, key=parameters.get("key"))

    def _exhausted(self, key: object) -> BackendError:
        at = "" if key is None else f" at {key!r}"
        return BackendError(f"{self._failures.uri} failed{at}: {_ATTEMPTS} times another writer was faster; try again")


def _make_tables(engine: Engine, tables: Tables, failures: Failures, dialect: Dialect) -> None:
    """Make the tables that are not there; other processes may be doing the same."""
    for attempt in range(5):
        try:
            tables.metadata.create_all(engine)
            return
        except failures.caught as error:
            already = "already exists" in str(error)  # SQLite has no code for it
            kind = failures.means(error, dialect)
            if attempt == 4 or not (already or kind is Failure.COLLISION):
                failures.fail(error, kind)


class _Handle:
    """A connection of SQLite, and the lock of whoever uses it; closed when it is forgotten."""

    def __init__(self, engine: Engine) -> None:
        self.lock = threading.Lock()
        self._fairy = engine.raw_connection()
        self._fairy.detach()
        self.connection: Any = self._fairy.driver_connection
        self._process = os.getpid()

    def close(self) -> None:
        """Close the connection, unless it is the parent process's, whom that would harm."""
        if self._process == os.getpid():
            self._fairy.close()
        else:
            _INHERITED.append(self._fairy)

    def __del__(self) -> None:
        self.close()


class FileConnections(Connections):
    """SQLite: one connection a thread, closed when the thread ends; in memory, one connection for all."""

    def _make_engine(self, url: URL) -> Engine:
        self._local = threading.local()
        self._handles: WeakSet[_Handle] = WeakSet()
        self._writing = threading.Lock()
        self._shared: _Handle | None = None
        self._in_memory = url.database is None
        return _make_engine(url, self._options, poolclass=StaticPool if self._in_memory else NullPool)
