"""SQLite: one connection a thread, and none that is shared but in memory."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from weakref import WeakSet

from sqlalchemy import URL
from sqlalchemy.engine import Engine

from anystore.backends.sql.connections import INHERITED, Connections, Parameters, Row, make_engine
from anystore.backends.sql.statements import Statement
from anystore.errors import BackendError

_FOREIGN: Any = threading._DummyThread  # noqa: SLF001 - the one way to tell a thread that Python has not made


class _Handle:
    """A connection of SQLite, and the lock of whoever uses it; closed when it is forgotten.

    A thread that another library has made, such as pyarrow or polars, is half gone when it forgets: CPython frees it
    twice when SQLite then calls back, and crashes. Its connection is left for another thread to close.
    """

    def __init__(self, engine: Engine, left: list[Any]) -> None:
        self.lock = threading.Lock()
        self._engine = engine
        self._left = left
        self._is_foreign = isinstance(threading.current_thread(), _FOREIGN)
        self._fairy: Any = None
        self._connection: Any = None

    def open(self) -> Any:
        """Give the driver's connection; the lock has to be held."""
        if self._connection is None:
            self._fairy = self._engine.raw_connection()
            self._connection = self._fairy.driver_connection
        return self._connection

    def close(self) -> None:
        """Close the connection."""
        fairy = self._give_up()
        if fairy is not None:
            fairy.close()

    def leave_parent(self) -> None:
        """Open another connection when one is needed; whoever held the lock is not in this process."""
        self.lock = threading.Lock()
        INHERITED.append(self._give_up())

    def _give_up(self) -> Any:
        fairy, self._fairy, self._connection = self._fairy, None, None
        return fairy

    def __del__(self) -> None:
        if self._is_foreign:
            self._left.append(self._give_up())
        else:
            self.close()


class FileConnections(Connections):
    """SQLite: a connection for each thread, closed when the thread ends; in memory, one for all."""

    def _make_engine(self, url: URL) -> Engine:
        self._in_memory = url.database is None
        self._local = threading.local()
        self._handles: WeakSet[_Handle] = WeakSet()
        # SQLite lets writers sleep and ask again; threads of one process need not
        self._writing = threading.Lock()
        engine = make_engine(url, self._options)
        self._left: list[Any] = []
        self._shared = _Handle(engine, self._left) if self._in_memory else None
        return engine

    def _handle(self) -> _Handle:
        try:
            found: _Handle = self._local.handle
        except AttributeError:
            self._close_left()
            found = self._local.handle = self._shared or _Handle(self._engine, self._left)
            self._handles.add(found)
        return found

    def _close_left(self) -> None:
        """Close the connections of other libraries' threads that have ended."""
        while self._left:
            with suppress(IndexError):  # another thread was faster
                fairy = self._left.pop()
                if fairy is not None:
                    fairy.close()

    def fetch(self, statement: Statement, parameters: Parameters) -> list[Row]:
        """Read rows, by the shortest way there is."""
        handle = self._handle()
        try:
            with handle.lock:
                rows: list[Row] = handle.open().execute(statement.sql, statement.bind(parameters)).fetchall()
                return rows
        except self._failures.caught as error:
            self._fail(error, parameters)

    def change(self, statement: Statement, parameters: Parameters) -> tuple[list[Row], int]:
        """Run one statement, by the shortest way there is; SQLite lets writers collide only inside transactions."""
        handle = self._handle()
        self._wait_to_write()
        try:
            with handle.lock:
                cursor = handle.open().execute(statement.sql, statement.bind(parameters))
                return cursor.fetchall(), cursor.rowcount
        except self._failures.caught as error:
            self._fail(error, parameters)
        finally:
            self._writing.release()

    @contextmanager
    def _borrow(self) -> Iterator[Any]:
        handle = self._handle()
        with handle.lock:
            yield handle.open()

    @contextmanager
    def _borrow_to_write(self) -> Iterator[Any]:
        handle = self._handle()
        self._wait_to_write()
        try:
            with handle.lock:
                yield handle.open()
        finally:
            self._writing.release()

    def _wait_to_write(self) -> None:
        if not self._writing.acquire(timeout=self._options.busy_timeout):
            raise BackendError(
                f"{self._failures.uri} is locked: other threads wrote for {self._options.busy_timeout} s; "
                "raise busy_timeout in backend_config"
            )

    def _discard(self, connection: Any) -> None:
        """Keep the connection if SQLite has ended the transaction by itself, as it does when the disk is full."""
        if connection.in_transaction and not self._in_memory:
            self._handle().close()

    def close(self) -> None:
        """Close every thread's connection, once the thread does not use it; memory would be lost, and stays."""
        if self._in_memory:
            return
        self._close_left()
        for handle in list(self._handles):
            with handle.lock:
                handle.close()

    def is_busy(self) -> bool:
        """Tell whether somebody writes, or this thread is using its connection."""
        return self._writing.locked() or self._handle().lock.locked()

    def leave_parent(self) -> None:
        """Let go of every thread's connection; memory is a copy that the backend does not give out."""
        self._writing = threading.Lock()
        INHERITED.extend(self._left)
        self._left.clear()
        if not self._in_memory:
            for handle in list(self._handles):
                handle.leave_parent()
