"""Reading parts of a value, all of one version.

A plain GETRANGE beside another client's SET mixes values. So a value of up to a piece
is fetched whole, by one command; a longer one is read under WATCH. An EXEC says whether the key
was changed since the WATCH, but ends it too, and in the gap before the next WATCH a change would go
unseen. Two connections close the gap: while one still watches, the other begins to, and only then
the first runs its EXEC. Each moment between opening and the last piece is thus watched by at least one.
"""

import os
from collections.abc import Iterator
from hashlib import sha1
from threading import Lock
from typing import Any

from redis.connection import AbstractConnection
from redis.exceptions import ResponseError

from anystore.backend import Entry, Reader
from anystore.backends.redis.client import PIECE_BYTES, Client, Command, exchange
from anystore.backends.redis.entries import entry_of, wants_version
from anystore.backends.redis.failures import DRIVER_ERRORS, explain
from anystore.errors import BackendError, DoesNotExist, VersionMismatch


class WholeReader(Reader):
    """A short value, fetched whole.

    Args:
        entry: Its entry.
        data: The value.
    """

    def __init__(self, entry: Entry, data: bytes) -> None:
        self.entry = entry
        self._data = data

    def read(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """Cut the part out."""
        part = self._data[start:stop]
        return iter((part,) if part else ())

    def close(self) -> None:
        """Let the value go."""
        self._data = b""


class WatchingReader(Reader):
    """A long value, watched from its opening on.

    Args:
        client: The server.
        key: The key, for messages.
        name: The server's name of the key.
        missing: The error to raise if there is no value.
        changed: The error to raise once the value is another.
    """

    def __init__(
        self, client: Client, key: str, *, name: bytes, missing: DoesNotExist, changed: VersionMismatch
    ) -> None:
        self._client = client
        self._key = key
        self._name = name
        self._changed = changed
        self._lock = Lock()
        self._pid = os.getpid()
        self._pool = client.pool
        self._dead: Exception | None = None
        self._spare: AbstractConnection | None = None
        self._watching: AbstractConnection | None = self._pool.take_aside(verb="read", key=key)
        try:
            answers = self._ask(self._watching, (b"WATCH", name), (b"STRLEN", name), (b"PTTL", name))
            size, left = client.take_apart("read", key, answers, lambda said: (said[1] + 0, said[2] + 0))
            if left == -2:  # noqa: PLR2004 - what PTTL says of a key that is not there
                raise missing
        except BaseException:
            self.close()
            raise
        self._size: int = size
        self.entry = entry_of(key, size, left)

    def read(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """Fetch a piece at a time."""
        end = self._size if stop is None else min(stop, self._size)
        return (self._piece(at, min(at + PIECE_BYTES, end)) for at in range(start, end, PIECE_BYTES))

    def close(self) -> None:
        """Give the connections back."""
        with self._lock:
            connections = [one for one in (self._watching, self._spare) if one is not None]
            self._watching = self._spare = None
            if os.getpid() != self._pid:
                return  # the parent's sockets are not ours to speak on
            for connection in connections:
                self._release(connection)

    def _release(self, connection: AbstractConnection) -> None:
        try:
            if connection.is_connected:
                exchange(connection, [(b"UNWATCH",)])
        except DRIVER_ERRORS:
            connection.disconnect()  # nothing is lost: its server forgets the watch as well
        self._pool.give_aside(connection)

    def _piece(self, start: int, stop: int) -> bytes:
        with self._lock:
            watching, spare = self._watching, self._spare
            if watching is None:
                raise ValueError(f"the reader of {self._key!r} is closed")
            self._check_alive()
            try:
                if spare is None:
                    self._spare = spare = self._pool.take_aside(verb="read", key=self._key)
                self._ask(spare, (b"WATCH", self._name))
                part: Command = (b"GETRANGE", self._name, start, stop - 1)
                *_, answer = self._ask(watching, (b"MULTI",), part, (b"EXEC",))
            except BackendError as error:
                self._dead = error
                raise
            self._watching, self._spare = spare, watching
            data = self._client.take_apart("read", self._key, answer, _only_value)
            if len(data) != stop - start:  # no answer at all, or a value that has expired
                self._dead = self._changed
                raise self._changed
            return data

    def _check_alive(self) -> None:
        if os.getpid() != self._pid:
            raise BackendError(
                f"the reader of {self._key!r} in {self._client.address.uri} was opened before the process was "
                "forked; open the value again"
            )
        if self._dead is not None:
            raise type(self._dead)(str(self._dead))

    def _ask(self, connection: AbstractConnection, *commands: Command) -> list[Any]:
        try:
            if not connection.is_connected:
                raise BackendError(
                    f"the connection that watched {self._key!r} in {self._client.address.uri} broke; "
                    "open the value again"
                )
            answers = exchange(connection, commands)
            for answer in answers:
                if isinstance(answer, ResponseError):
                    raise answer
        except DRIVER_ERRORS as error:
            failure = explain(error, self._client.address, verb="read", key=self._key)
        else:
            return answers
        raise failure


def _only_value(answer: list[bytes] | None) -> bytes:
    return b"".join(answer) if answer else b""


def whole_entry(key: str, data: bytes, left: int) -> Entry:
    """Make the entry of a value that was fetched whole.

    Args:
        key: The key.
        data: The value.
        left: Milliseconds it has left, or -1.

    Returns:
        The entry, with its version.
    """
    version = sha1(data, usedforsecurity=False).hexdigest() if wants_version(len(data)) else None
    return entry_of(key, len(data), left, version=version)
