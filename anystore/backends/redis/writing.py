"""Writing a value piece by piece: to a temporary key that expires by itself, then in one step to its place."""

import os
import time
from contextlib import suppress
from secrets import token_hex
from typing import Any, Protocol

from anystore.backend import Entry, Writer
from anystore.backends.redis.client import PIECE_BYTES, Client
from anystore.backends.redis.entries import entry_of, milliseconds
from anystore.backends.redis.names import Names
from anystore.backends.redis.scripts import PUBLISH
from anystore.errors import AnystoreError, BackendError

TEMPORARY_SECONDS = 600
"""How long what a killed writer left stays; each write begins it anew."""


class Target(Protocol):
    """What a writer needs of its backend."""

    uri: str

    def put(
        self, key: Any, data: bytes, *, create: bool = False, version: str | None = None, ttl: float | None = None
    ) -> Entry:
        """Store a short value at once."""

    def check_size(self, key: str, size: int) -> None:
        """Refuse a value that is too long for a string of the server."""

    def refuse(self, key: str, answer: bytes) -> AnystoreError:
        """Make the error for what a script refused."""


class RedisWriter(Writer):
    """A value being written.

    Up to a piece it stays in memory, and is stored by one command.

    Args:
        target: The backend.
        client: The server.
        names: The server's names.
        key: The key.
        create: Whether to publish only where no value is.
        version: The version to publish over, or None.
        ttl: Seconds to live, or None.
    """

    def __init__(
        self,
        target: Target,
        client: Client,
        names: Names,
        *,
        key: str,
        create: bool,
        version: str | None,
        ttl: float | None,
    ) -> None:
        self._target = target
        self._client = client
        self._key = key
        self._conditions = (create, version, ttl)
        self._name = names.name(key)
        self._temporary = names.temporary(self._name, token_hex(8))
        self._buffer = bytearray()
        self._size = 0
        self._sent = 0
        self._refreshed = 0.0
        self._open = True
        self._process = os.getpid()

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Take bytes; full pieces are sent."""
        self._check_open()
        view = memoryview(data).cast("B")
        if self._size + len(view) > PIECE_BYTES:  # every server takes a piece
            self._target.check_size(self._key, self._size + len(view))
        for start in range(0, len(view), PIECE_BYTES):
            part = view[start : start + PIECE_BYTES]
            if len(self._buffer) + len(part) > PIECE_BYTES:
                self._send()
            self._buffer += part
        self._size += len(view)
        if self._sent and time.monotonic() - self._refreshed > TEMPORARY_SECONDS / 4:
            self._send()  # one who writes slowly keeps the temporary key alive
        return len(view)

    def commit(self) -> Entry:
        """Store a short value, or rename the temporary key."""
        self._check_open()
        create, version, ttl = self._conditions
        if not self._sent:
            self._open = False
            data = bytes(self._buffer)
            self._buffer.clear()
            return self._target.put(self._key, data, create=create, version=version, ttl=ttl)
        try:
            self._send()
            left = -1 if ttl is None else milliseconds(ttl)
            arguments = (self._size, int(create), version or "", "" if ttl is None else left)
            answer = self._client.ask("write", self._key, b"EVAL", PUBLISH, 2, self._temporary, self._name, *arguments)
            if answer == b"lost":
                raise self._lost()
            if answer != b"done":
                raise self._target.refuse(self._key, answer)
        except BaseException:
            self.abort()
            raise
        self._open = False
        return entry_of(self._key, self._size, left)

    def abort(self) -> None:
        """Delete the temporary key."""
        if not self._open:
            return
        self._open = False
        self._buffer.clear()
        if self._sent and self._process == os.getpid():  # the parent process may still write to it
            with suppress(BackendError):  # what cannot be deleted now expires
                self._client.ask("delete", self._key, b"UNLINK", self._temporary)

    def _send(self) -> None:
        """Append the buffer to the temporary key, and let it live on."""
        data = bytes(self._buffer)
        self._buffer.clear()
        left = TEMPORARY_SECONDS * 1000
        self._refreshed = time.monotonic()
        if not self._sent:
            self._sent = len(data)
            self._client.ask("write", self._key, b"SET", self._temporary, data, b"PX", left)
            return
        answers = self._client.ask_all(
            "write",
            self._key,
            [(b"MULTI",), (b"APPEND", self._temporary, data), (b"PEXPIRE", self._temporary, left), (b"EXEC",)],
        )
        self._client.check("write", self._key, answers)
        self._sent += len(data)
        length = self._client.take_apart("write", self._key, answers, lambda said: said[-1][0])
        if length != self._sent:
            raise self._lost()

    def _lost(self) -> BackendError:
        return BackendError(
            f"cannot write {self._key!r} in {self._target.uri}: what was written so far is gone from the server, which "
            f"was restarted, evicts keys, or was not written to for {TEMPORARY_SECONDS} s; write the value again"
        )

    def _check_open(self) -> None:
        if not self._open:
            raise ValueError(f"the writer of {self._key!r} is closed")
        if self._process != os.getpid():
            raise BackendError(
                f"the writer of {self._key!r} was opened before the process was forked; open it again here"
            )
