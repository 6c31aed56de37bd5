"""Connections to a database, and how statements are run on one; opened lazily, once per process."""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from typing import Any, NoReturn, TypeVar
from weakref import WeakSet

from sqlalchemy import URL, NullPool, QueuePool, StaticPool, create_engine, event
from sqlalchemy.engine import Engine

from anystore.backends.sql.dialects import (
    Dialect,
    Failure,
    binary_cursor,
    connect_arguments,
    dialect_of,
    prepare_connection,
)
from anystore.backends.sql.failures import SPOILT, Failures, answers
from anystore.backends.sql.options import Options
from anystore.backends.sql.schema import Tables
from anystore.backends.sql.silence import limit_silence
from anystore.backends.sql.statements import Statement
from anystore.errors import BackendError

R = TypeVar("R")
Row = Sequence[Any]
Parameters = Mapping[str, Any]

_ATTEMPTS = 50
"""How often a transaction is tried that the database undoes in favour of another's."""


_TABLE_ATTEMPTS = 5
FRESH = "anystore_fresh"
"""Marks a connection that was opened just now."""


class Transaction:
    """Statements that take effect together, or not at all.

    Args:
        cursor: The driver's cursor, on a connection inside a transaction.
    """

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor

    def fetch(self, statement: Statement, parameters: Parameters) -> list[Row]:
        """Run a statement, and give its rows."""
        bound = statement.bind(parameters)
        with answers():
            self._cursor.execute(statement.sql, bound)
            rows: list[Row] = self._cursor.fetchall()
        return rows

    def change(self, statement: Statement, parameters: Parameters) -> int:
        """Run a statement, and give how many rows it concerned."""
        bound = statement.bind(parameters)
        with answers():
            self._cursor.execute(statement.sql, bound)
        return int(self._cursor.rowcount)

    def change_each(self, statement: Statement, parameters: Sequence[Parameters]) -> int:
        """Run a statement for each of several sets of parameters, and give how many rows were concerned."""
        bind = statement.bind
        bound = [bind(one) for one in parameters]
        with answers():
            self._cursor.executemany(statement.sql, bound)
        return int(self._cursor.rowcount)


class Connections(ABC):
    """How statements reach the database.

    Args:
        url: Where it is.
        options: How it is set up.
        failures: What its errors become.
        tables: What has to be there.

    Raises:
        BackendError: If the database cannot be reached, or the tables cannot be made.
        ReadOnlyError: If the tables are not there, and the user may not make them.
    """

    dialect: Dialect

    def __init__(self, url: URL, options: Options, failures: Failures, tables: Tables) -> None:
        self._options = options
        self._failures = failures
        self._engine = self._make_engine(url)
        _ALL.add(self)
        event.listen(self._engine, "do_connect", _connecting(self._options.timeout, self._given))
        event.listen(self._engine, "connect", self._prepare)
        try:
            with self._engine.connect():  # now SQLAlchemy knows the server's version
                self.dialect = dialect_of(self._engine.dialect)
        except (*failures.caught, *SPOILT) as error:
            failures.fail_to_connect(error)
        self._make_tables(tables)

    @abstractmethod
    def _make_engine(self, url: URL) -> Engine:
        """Make the engine, with its pool."""

    @abstractmethod
    def _borrow(self) -> AbstractContextManager[Any]:
        """Give a driver's connection that nobody else uses in the meantime."""

    @abstractmethod
    def _borrow_to_write(self) -> AbstractContextManager[Any]:
        """Give such a connection, to write."""

    @abstractmethod
    def close(self) -> None:
        """Close every connection that is not in use; the next use opens one again."""

    @abstractmethod
    def is_busy(self) -> bool:
        """Tell whether a statement might have to wait; one from a destructor might wait for its own thread forever."""

    @abstractmethod
    def leave_parent(self) -> None:
        """Let go of the connections of the parent process; a reader or a listing of before the fork opens its own."""

    @property
    def _given(self) -> dict[str, Any]:
        """What the user has told the driver."""
        return {**self._engine.url.query, **self._options.engine_kwargs.get("connect_args", {})}

    def _prepare(self, connection: Any, record: Any) -> None:
        record.info[FRESH] = True
        options = self._options
        prepare_connection(
            self._engine.dialect,
            connection,
            given=self._given,
            durable=options.durable,
            busy_timeout=options.busy_timeout,
        )

    def _make_tables(self, tables: Tables) -> None:
        """Make the tables that are not there; other processes may be doing the same."""
        for attempts_left in reversed(range(_TABLE_ATTEMPTS)):
            try:
                tables.metadata.create_all(self._engine)
                return
            except self._failures.caught as error:
                kind = self._failures.means(error)
                expected = kind is Failure.COLLISION or "already exists" in str(error)  # SQLite has no code for it
                if not (expected and attempts_left):
                    self._failures.fail(error, kind)

    def now(self) -> int:
        """Give the parameter ``now`` of statements."""
        return self.dialect.now()

    def fetch(self, statement: Statement, parameters: Parameters) -> list[Row]:
        """Read rows; once more if the connection turns out to be lost, since reading changes nothing."""
        try:
            with self._borrow() as connection:
                return self._run(connection, statement, parameters)[0]
        except self._failures.caught as error:
            if not self._failures.is_lost(error):
                self._fail(error, parameters)
        try:
            with self._borrow() as connection:
                return self._run(connection, statement, parameters)[0]
        except self._failures.caught as error:
            self._fail(error, parameters)

    def change(self, statement: Statement, parameters: Parameters) -> tuple[list[Row], int]:
        """Run one statement as a transaction of its own; give its rows, and how many it concerned."""
        for _ in range(_ATTEMPTS):
            try:
                with self._borrow_to_write() as connection:
                    return self._run(connection, statement, parameters)
            except self._failures.caught as error:
                if self._failures.means(error) is not Failure.COLLISION:
                    self._fail(error, parameters)
        raise self._exhausted(parameters.get("key"))

    def transact(self, work: Callable[[Transaction], R], *, key: object = None) -> R:
        """Run several statements as one transaction; again, if the database undoes it in favour of another's.

        Args:
            work: Runs the statements, possibly several times; what it raises undoes them.
            key: The key, for messages.

        Returns:
            What ``work`` returns.
        """
        for _ in range(_ATTEMPTS):
            try:
                with self._borrow_to_write() as connection:
                    return self._transact_once(connection, work)
            except self._failures.caught as error:
                kind = self._failures.means(error)
                if kind is not Failure.COLLISION:
                    self._failures.fail(error, kind, key=key)
        raise self._exhausted(key)

    def _transact_once(self, connection: Any, work: Callable[[Transaction], R]) -> R:
        cursor = binary_cursor(self._engine.dialect, connection)
        with answers():
            cursor.execute(self.dialect.begin)
        try:
            result = work(Transaction(cursor))
            with answers():
                cursor.execute("COMMIT")
        except BaseException:
            try:
                with answers():
                    cursor.execute("ROLLBACK")
            except self._failures.caught:  # the server has done so itself, or does when this is closed
                self._discard(connection)
            raise
        cursor.close()
        return result

    def _discard(self, connection: Any) -> None:
        """Close a connection that may still be inside a transaction."""
        with suppress(OSError, *self._failures.caught):
            connection.close()

    def _run(self, connection: Any, statement: Statement, parameters: Parameters) -> tuple[list[Row], int]:
        cursor = binary_cursor(self._engine.dialect, connection)
        bound = statement.bind(parameters)
        with answers():
            cursor.execute(statement.sql, bound)
            rows = cursor.fetchall() if cursor.description is not None else []
            count = cursor.rowcount
            cursor.close()
        return rows, count

    def _fail(self, error: BaseException, parameters: Parameters) -> NoReturn:
        self._failures.fail(error, self._failures.means(error), key=parameters.get("key"))

    def _exhausted(self, key: object) -> BackendError:
        at = "" if key is None else f" at {key!r}"
        return BackendError(f"{self._failures.uri} failed{at}: {_ATTEMPTS} times another writer was faster; try again")


_ALL: WeakSet[Connections] = WeakSet()
INHERITED: list[Any] = []
"""Connections of the parent process: neither to be used here, nor closed, which could harm it."""


def _leave_parents() -> None:
    for connections in list(_ALL):
        connections.leave_parent()


os.register_at_fork(after_in_child=_leave_parents)


def _connecting(timeout: float, given: dict[str, Any]) -> Callable[..., Any]:
    """Give what connects; SQLAlchemy's dialect keeps it, and a driver's connection its dialect, hence no method."""

    def connect(dialect: Any, _record: Any, arguments: list[Any], named: dict[str, Any]) -> Any:
        # before SQLAlchemy asks its first questions, which have to be answered in time, too
        connection = dialect.connect(*arguments, **named)
        limit_silence(dialect, connection, timeout=timeout, given=given)
        return connection

    return connect


def make_engine(url: URL, options: Options) -> Engine:
    """Make SQLAlchemy's engine; nothing is connected yet.

    Raises:
        TypeError: If ``engine_kwargs`` names what there is not.
        sqlalchemy.exc.ArgumentError: If the URL is not what the dialect takes.
    """
    given = dict(options.engine_kwargs)
    dialect = url.get_dialect()
    arguments = connect_arguments(
        dialect.name,
        dialect.driver,
        connect_timeout=options.connect_timeout,
        busy_timeout=options.busy_timeout,
    )
    # what the URI's query says reaches the driver by itself
    arguments = {name: value for name, value in arguments.items() if name not in url.query}
    settings: dict[str, Any] = {"isolation_level": "AUTOCOMMIT", "pool_reset_on_return": None}
    if dialect.name == "sqlite":
        settings["poolclass"] = StaticPool if url.database is None else NullPool
    else:
        pool = {"pool_size": options.pool_size, "max_overflow": 0, "pool_timeout": options.pool_timeout}
        settings |= pool | {"poolclass": QueuePool}
    arguments |= given.pop("connect_args", {})
    return create_engine(url, connect_args=arguments, **(settings | given))
