"""Servers: a bounded pool of connections, each looked at before it is used again."""

import select
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from sqlalchemy import URL, QueuePool
from sqlalchemy.engine import Engine

from anystore.backends.sql.connections import FRESH, INHERITED, Connections, make_engine
from anystore.backends.sql.dialects import descriptor_of
from anystore.backends.sql.failures import SPOILT
from anystore.errors import AnystoreError


class PooledConnections(Connections):
    """A server: a bounded pool in autocommit; a connection is taken for one step, and never idle in a transaction."""

    def _make_engine(self, url: URL) -> Engine:
        return make_engine(url, self._options)

    @contextmanager
    def _borrow(self) -> Iterator[Any]:
        fairy = self._check_out()
        try:
            yield fairy.driver_connection
        except BaseException as error:
            # what broke off in the middle of an answer would give the rest of it to the next who asks
            ours = isinstance(error, (AnystoreError, *self._failures.caught))
            if not ours or self._failures.is_lost(error):
                self._drop(fairy)
            else:
                fairy.close()
            raise
        fairy.close()

    def _borrow_to_write(self) -> AbstractContextManager[Any]:
        return self._borrow()

    def _check_out(self) -> Any:
        """Take a connection that the server has not closed meanwhile."""
        while True:
            try:
                fairy = self._engine.raw_connection()
            except (*self._failures.caught, *SPOILT) as error:
                self._failures.fail_to_connect(error)
            # what was opened just now is not asked, or this would go on forever where a driver cannot say
            if fairy.info.pop(FRESH, False) or self._is_alive(fairy.driver_connection):
                return fairy
            self._drop(fairy)

    def _drop(self, fairy: Any) -> None:
        """Close a connection for good, in silence: SQLAlchemy logs the failure to close what is closed already."""
        connection = fairy.driver_connection
        fairy.detach()
        self._discard(connection)

    def _is_alive(self, connection: Any) -> bool:
        """Look whether the server has said anything unasked; if so, it nearly always was good-bye."""
        try:
            descriptor = descriptor_of(connection)
            if descriptor >= 0:
                poll = select.poll()
                poll.register(descriptor, select.POLLIN)
                if not poll.poll(0):
                    return True
            return bool(self._engine.dialect.do_ping(connection))
        except (*self._failures.caught, *SPOILT):
            return False

    def close(self) -> None:
        """Close what is in the pool; a connection in use is closed when it comes back."""
        self._engine.dispose()

    def is_busy(self) -> bool:
        """Tell whether all connections are in use."""
        pool = self._engine.pool
        return isinstance(pool, QueuePool) and pool.checkedout() >= pool.size()

    def __del__(self) -> None:
        """Close what is in the pool: drivers warn of connections that are only forgotten."""
        if hasattr(self, "_engine"):
            self._engine.dispose()

    def leave_parent(self) -> None:
        """Begin with an empty pool."""
        INHERITED.append(self._engine.pool)
        self._engine.dispose(close=False)
