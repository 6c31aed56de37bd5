"""The connections of one process to one server."""

import os
import socket
import ssl
from collections import deque
from queue import Empty, SimpleQueue
from typing import Any

from redis.connection import AbstractConnection, Connection, SSLConnection, UnixDomainSocketConnection

from anystore.backends.redis.address import Address
from anystore.backends.redis.failures import CONNECT_ERRORS, explain
from anystore.errors import BackendError

# glibc takes larger buffers from the kernel anew for each reply
_READ_BYTES = 64 << 10


class _EncryptedConnection(SSLConnection):
    """A connection whose encryption, too, has the time to connect: a server without TLS does not greet back."""

    def _wrap_socket_with_ssl(self, sock: socket.socket) -> ssl.SSLSocket:
        sock.settimeout(self.socket_connect_timeout)
        encrypted: ssl.SSLSocket = super()._wrap_socket_with_ssl(sock)  # type: ignore[no-untyped-call] # redis-py's
        encrypted.settimeout(self.socket_timeout)
        return encrypted


class Pool:
    """A bounded pool: whoever finds no free connection waits for one.

    It belongs to the process that made it. A forked child makes a pool of its own, since two
    processes on one socket would read each other's answers.

    Args:
        address: The server.
    """

    def __init__(self, address: Address) -> None:
        self.pid = os.getpid()
        self._address = address
        self._permits: SimpleQueue[None] = SimpleQueue()
        for _ in range(address.max_connections):
            self._permits.put(None)
        self._idle: deque[AbstractConnection] = deque()
        self._closed = False

    def take(self, *, verb: str, key: str) -> AbstractConnection:
        """Get a connection that answers, to be given back by ``give``.

        Args:
            verb: What it is wanted for, for the message of an error.
            key: The key it is wanted for.

        Returns:
            A connection with nothing left to be read.

        Raises:
            BackendError: If the server cannot be reached, or no connection becomes free.
        """
        try:
            self._permits.get(timeout=self._address.timeout)
        except Empty:
            raise BackendError(
                f"cannot {verb} {key!r} in {self._address.uri}: all {self._address.max_connections} connections were "
                f"in use for {self._address.timeout:g} s; raise max_connections in backend_config"
            ) from None
        try:
            return self.take_aside(verb=verb, key=key)
        except BaseException:
            self._permits.put(None)
            raise

    def give(self, connection: AbstractConnection) -> None:
        """Give a connection back."""
        self.give_aside(connection)
        self._permits.put(None)

    def take_aside(self, *, verb: str, key: str) -> AbstractConnection:
        """Get a connection that is not counted, for a reader that may stay open for long."""
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = _make(self._address)
        try:
            if connection.is_connected and not _is_quiet(connection):
                connection.disconnect()
            if not connection.is_connected:
                connection.connect()
        except CONNECT_ERRORS as error:
            failure = explain(error, self._address, verb=verb, key=key)
        else:
            return connection
        raise failure  # outside of the handler, so that an error that holds a secret is no context

    def give_aside(self, connection: AbstractConnection) -> None:
        """Give a connection back that was not counted."""
        if self._closed or os.getpid() != self.pid or len(self._idle) >= self._address.max_connections:
            connection.disconnect()
        elif connection.is_connected:
            self._idle.append(connection)

    def close(self) -> None:
        """Close every connection, those in use when they are given back."""
        self._closed = True
        while self._idle:
            self._idle.pop().disconnect()


def _is_quiet(connection: AbstractConnection) -> bool:
    """Tell whether a connection is open and has nothing to be read, as after a restart of the server."""
    try:
        return not connection.can_read()
    except CONNECT_ERRORS:
        return False


def _make(address: Address) -> AbstractConnection:
    """Make a connection; it is opened later."""
    options: dict[str, Any] = {
        "db": address.db,
        "username": address.username,
        "password": address.password,
        "socket_timeout": address.timeout,
        "socket_connect_timeout": address.connect_timeout,
        "socket_read_size": _READ_BYTES,
        "protocol": 2,
        "driver_info": None,  # telling our name would cost two round trips, and Kvrocks need not know the command
    }
    if address.socket is not None:
        return UnixDomainSocketConnection(path=address.socket, **options)  # type: ignore[abstract] # it has no host
    options |= {"host": address.host, "port": address.port, "socket_keepalive": True}
    if not address.tls:
        return Connection(**options)
    return _EncryptedConnection(
        ssl_ca_certs=address.ca_file,
        ssl_certfile=address.certificate_file,
        ssl_keyfile=address.key_file,
        ssl_cert_reqs="required" if address.verify else "none",
        ssl_check_hostname=address.verify,
        **options,
    )
