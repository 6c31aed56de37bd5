"""Values too long for a row: written in short transactions under an id that no row names yet."""

import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from secrets import token_hex

from anystore.backend import CHUNK_BYTES
from anystore.backends.sql.connections import Connections, Transaction
from anystore.backends.sql.statements import PAGE, Statements
from anystore.errors import BackendError, ReadOnlyError

Piece = tuple[int, bytes]
"""Where a chunk starts in its value, and its bytes."""

_SECOND = 1_000_000
_ORPHAN_AGE = 24 * 60 * 60 * _SECOND
"""How long an unfinished value is kept that nobody writes to; who writes slower has lost it."""
_LITTER_AGE = 60 * _SECOND
"""How long chunks that are given up are left to whoever gave them up."""
_SWEEP_SECONDS = 60.0
_SWEEP_PAGES = 10
_DROP_BYTES = 32 << 20
_MOST_FORGOTTEN = 10_000


def new_token() -> str:
    """Make an id, or a version, that no other write has."""
    return token_hex(16)


def cut(data: bytes | memoryview, size: int, start: int = 0) -> list[Piece]:
    """Cut bytes into chunks.

    Args:
        data: The bytes.
        size: Length of a chunk.
        start: Where the first byte is in the value.
    """
    return [(start + at, bytes(data[at : at + size])) for at in range(0, len(data), size)]


class Chunks:
    """The chunks of one store, by the id of their value.

    Args:
        connections: How statements reach the database.
        statements: The statements.
    """

    def __init__(self, connections: Connections, statements: Statements) -> None:
        self._connections = connections
        self._sql = statements
        self._next_sweep = 0.0
        # ids given up at a bad time, on a full disk, or whose writers were forgotten: a destructor may run inside a
        # transaction; what is too much to remember is found by its age
        self.forgotten: deque[str] = deque(maxlen=_MOST_FORGOTTEN)

    def add(self, chunks_id: str, pieces: Sequence[Piece], *, first: bool) -> None:
        """Store the next chunks of a value that is being written, as one transaction.

        Raises:
            BackendError: If the value was given up, because it lay unfinished for a day.
        """

        def work(tx: Transaction) -> None:
            if first:
                tx.change(self._sql.loosen, {"id": chunks_id, "doomed": 0, "now": self._connections.now()})
            elif tx.change(self._sql.keep_loose, {"id": chunks_id, "now": self._connections.now()}) != 1:
                raise self.given_up()
            self.insert(tx, chunks_id, pieces)

        self._connections.transact(work)

    def insert(self, tx: Transaction, chunks_id: str, pieces: Sequence[Piece]) -> None:
        """Store chunks inside a transaction."""
        if pieces:
            rows = [{"id": chunks_id, "start": start, "data": data} for start, data in pieces]
            tx.change_each(self._sql.insert_chunk, rows)

    def fasten(self, tx: Transaction, chunks_id: str) -> None:
        """Take an id over into a row, inside the transaction that writes the row.

        Raises:
            BackendError: If it was given up.
        """
        if tx.change(self._sql.fasten, {"id": chunks_id}) != 1:
            raise self.given_up()

    def loosen(self, tx: Transaction, chunks_id: str | None) -> None:
        """Give up what a row named, inside the transaction that changes the row; :meth:`drop` is to follow."""
        if chunks_id is not None:
            tx.change(self._sql.loosen, {"id": chunks_id, "doomed": 1, "now": self._connections.now()})

    def read(self, chunks_id: str, start: int, stop: int) -> Iterator[bytes]:
        """Read a part of a value, a few chunks at a time; ends early where a chunk is gone."""
        while start < stop:
            window = {"id": chunks_id, "first": start, "stop": min(stop, start + CHUNK_BYTES)}
            before = start
            for at, data in self._connections.fetch(self._sql.chunks, window):
                part = bytes(memoryview(data)[start - at : stop - at])
                if at > start or not part:
                    return
                start += len(part)
                yield part
            if start == before:
                return

    def copy(self, chunks_id: str, size: int) -> str | None:
        """Copy a value inside the database, in short transactions.

        Returns:
            The id of the copy, which no row names yet; None if the value vanished meanwhile.
        """
        copy = new_token()
        self.add(copy, (), first=True)
        for first in range(0, size, _DROP_BYTES):
            window = {"id": chunks_id, "copy": copy, "first": first, "stop": first + _DROP_BYTES}
            self._connections.change(self._sql.copy_chunks, window)
            self._connections.change(self._sql.keep_loose, {"id": copy, "now": self._connections.now()})
        if int(self._connections.fetch(self._sql.length, {"id": copy})[0][0]) == size:
            return copy
        self.abandon(copy)
        return None

    def abandon(self, chunks_id: str) -> None:
        """Give up a value that was being written, and delete its chunks, if need be by the next sweep."""
        if sys.is_finalizing() or self._connections.is_busy():
            self.forgotten.append(chunks_id)
            return
        with suppress(BackendError, ReadOnlyError):  # what is left is found by its age
            self._connections.change(self._sql.doom, {"id": chunks_id})
        self.drop(chunks_id)

    def drop(self, chunks_id: str | None) -> None:
        """Delete the chunks of an id that was given up, in short transactions; what cannot be, after a later write."""
        if chunks_id is None:
            return
        try:
            last = self._connections.fetch(self._sql.last_start, {"id": chunks_id})[0][0]
            for stop in range(_DROP_BYTES, (-1 if last is None else last) + _DROP_BYTES + 1, _DROP_BYTES):
                self._connections.change(self._sql.delete_chunks, {"id": chunks_id, "stop": stop})
            self._connections.change(self._sql.forget, {"id": chunks_id})
        except (BackendError, ReadOnlyError):  # the value itself is as it should be
            self.forgotten.append(chunks_id)

    def sweep(self) -> None:
        """Delete what was left behind, and now and then what has expired; called after every write."""
        for _ in range(len(self.forgotten)):
            self.abandon(self.forgotten.popleft())
        now = time.monotonic()
        if now < self._next_sweep:
            return
        self._next_sweep = now + _SWEEP_SECONDS
        with suppress(BackendError, ReadOnlyError):  # the write was done; the next sweep may do better
            self._sweep_orphans()
            self._sweep_expired()

    def _sweep_orphans(self) -> None:
        clock = {"now": self._connections.now()}
        self._connections.change(self._sql.doom_orphans, {**clock, "age": _ORPHAN_AGE})
        for (chunks_id,) in self._connections.fetch(self._sql.doomed, {**clock, "age": _LITTER_AGE}):
            self.drop(chunks_id)

    def _sweep_expired(self) -> None:
        for _ in range(_SWEEP_PAGES):
            clock = {"now": self._connections.now()}
            page = self._connections.fetch(self._sql.expired, clock)
            if not page:
                return
            self._connections.change(self._sql.delete_expired, {**clock, "until": page[-1][2]})
            for key, chunks_id, _ in page:
                if chunks_id is not None:
                    self.remove(key, expired_only=True)
            if len(page) < PAGE:
                return

    def remove(self, key: object, *, expired_only: bool = False) -> None:
        """Delete a row together with its chunks.

        Args:
            key: The key, as the database holds it.
            expired_only: Leave a row that has not expired.
        """

        def work(tx: Transaction) -> str | None:
            rows = tx.fetch(self._sql.locked, {"key": key, "now": self._connections.now()})
            if not rows or (expired_only and rows[0][-1]):
                return None
            tx.change(self._sql.delete_row, {"key": key})
            chunks_id: str | None = rows[0][2]
            self.loosen(tx, chunks_id)
            return chunks_id

        self.drop(self._connections.transact(work, key=key))

    def given_up(self) -> BackendError:
        """Make the error of a value that was written too slowly."""
        return BackendError("the value lay unfinished for a day, and was given up; write it again, and faster")
