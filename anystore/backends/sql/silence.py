"""How long a server may say nothing: a connection whose other end has vanished, or answers no more, breaks."""

import os
import socket
import time
from collections.abc import Callable, Generator, Mapping
from functools import partial
from typing import Any

from sqlalchemy.engine import Dialect as Engine

TIMED_DRIVERS = ("psycopg", "pymysql")
"""The drivers that can be told how long to wait for an answer."""

_PROBES = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 60_000}
"""What a connection over TCP is told, where the system knows it: seconds, but for the last one."""


def limit_silence(engine: Engine, connection: Any, *, timeout: float, given: Mapping[str, Any]) -> None:
    """Have statements fail for which a living server, or a relay in between, has no answer for too long.

    Args:
        engine: SQLAlchemy's dialect.
        connection: The driver's connection.
        timeout: Seconds without a byte from the server.
        given: What the user has told the driver, which is left as it is.
    """
    if engine.driver == "pymysql":
        # until now it was the time to connect
        connection._read_timeout = float(given.get("read_timeout", timeout))  # noqa: SLF001 - there is no other way
        connection._write_timeout = float(given.get("write_timeout", timeout))  # noqa: SLF001 - the same
    elif engine.driver == "psycopg":
        lost = engine.loaded_dbapi.OperationalError
        connection.wait = partial(_wait, connection, connection.wait, timeout, lost)


def _wait(
    connection: Any,
    plain: Callable[..., Any],
    timeout: float,
    lost: type[Exception],
    steps: Any,
    *args: Any,
    **more: Any,
) -> Any:
    """Wait as psycopg's connection does, which has no limit of its own that begins anew with each byte."""
    return plain(_count_silence(steps, connection, timeout, lost), *args, **more)


def _count_silence(
    steps: Generator[Any, Any, Any], connection: Any, timeout: float, lost: type[Exception]
) -> Generator[Any, Any, Any]:
    """Pass psycopg's steps on; it reports ten times a second whether the socket is ready."""
    try:
        wanted = next(steps)
        since = time.monotonic()
        while True:
            ready = yield wanted
            now = time.monotonic()
            if ready:
                since = now
            elif now - since > timeout:
                connection.close()
                raise lost(f"no answer for {timeout:g} s") from TimeoutError()
            wanted = steps.send(ready)
    except StopIteration as end:
        return end.value


def notice_absence(descriptor: int) -> None:
    """Have a connection break after a minute whose other end has vanished; the system waits for two hours."""
    if descriptor < 0:
        return
    with socket.socket(fileno=os.dup(descriptor)) as connection:
        if connection.family in (socket.AF_INET, socket.AF_INET6):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, value in _PROBES.items():
                if hasattr(socket, name):
                    connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
