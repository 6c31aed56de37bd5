"""One value at a time: its row, its reader, its writer."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from anystore.backend import Backend, Entry, Reader, Writer
from anystore.backends.sql.chunks import Chunks, Piece, cut, new_token
from anystore.backends.sql.connections import Connections, Row, Transaction
from anystore.backends.sql.statements import Statements
from anystore.errors import BackendError
from anystore.keys import Key

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BATCH_CHUNKS = 4
_COPY_ATTEMPTS = 20


def time_of(microseconds: int | None) -> datetime | None:
    """Give a time as a ``datetime``."""
    return None if microseconds is None else _EPOCH + timedelta(microseconds=microseconds)


def entry_of(key: str, row: Row) -> Entry:
    """Make an entry of ``size, updated, version, expires``."""
    return Entry(key, row[0], time_of(row[1]), row[2], expires=time_of(row[3]))


@dataclass(slots=True)
class New:
    """A value to be stored.

    Attributes:
        key: The key.
        size: Length in bytes.
        create: Only if there is no value.
        seen: Only over this version.
        ttl: Microseconds to live.
        expires: When it expires; in place of ``ttl``.
        value: The bytes, if they go into the row.
        chunks: The id of the chunks, if they do not.
        pieces: Chunks that are to be stored together with the row.
        is_loose: Whether chunks were stored before.
        version: Its version.
    """

    key: Key
    size: int
    create: bool = False
    seen: str | None = None
    ttl: int | None = None
    expires: int | None = None
    value: bytes | None = None
    chunks: str | None = None
    pieces: list[Piece] = field(default_factory=list)
    is_loose: bool = False
    version: str = field(default_factory=new_token)


def _expiry(new: New, now: int) -> int | None:
    return now + new.ttl if new.expires is None and new.ttl is not None else new.expires


class Values:
    """The values of one store in one process.

    Args:
        backend: Makes the errors.
        connections: How statements reach the database.
        statements: The statements.
        chunk_size: Length of the longest value in a row.
    """

    def __init__(self, backend: Backend, connections: Connections, statements: Statements, *, chunk_size: int) -> None:
        self._backend = backend
        self.connections = connections
        self.sql = statements
        self.chunks = Chunks(connections, statements)
        self.chunk_size = chunk_size
        self.encode = connections.dialect.encode_key

    def get(self, key: Key) -> bytes:
        """Read a whole value."""
        parameters = {"key": self.encode(key), "now": self.connections.now()}
        seen = ""
        while True:
            rows = self.connections.fetch(self.sql.value, parameters)
            if not rows:
                raise self._backend.missing(key)
            value, chunks = rows[0]
            if chunks is None:
                return bytes(value)
            if chunks == seen:
                raise self._incomplete(key)
            seen = chunks
            found = self.connections.fetch(self.sql.all_chunks, parameters)
            if found:  # or it was replaced by a short one, or deleted, just now
                data = b"".join([data for _, data in found])
                if len(data) != found[0][0]:
                    raise self._incomplete(key)
                return data

    def _incomplete(self, key: Key) -> BackendError:
        return BackendError(
            f"{self._backend.uri} has only a part of the value under {key!r}: another program deleted the rest of "
            "its chunks; delete the value, or put it again"
        )

    def open(self, key: Key) -> "SqlReader":
        """Open one version of a value."""
        rows = self.connections.fetch(self.sql.opened, {"key": self.encode(key), "now": self.connections.now()})
        if not rows:
            raise self._backend.missing(key)
        *_, value, chunks = rows[0]
        return SqlReader(self._backend, self.chunks, entry_of(key, rows[0]), value=value, chunks_id=chunks)

    def put(self, new: New, data: bytes) -> Entry:
        """Store a value: by one statement if it fits in a row, and so did the one it replaces."""
        if len(data) > self.chunk_size * _BATCH_CHUNKS:
            with SqlWriter(self, new) as writer:
                writer.write(data)
            return writer.entry
        if len(data) <= self.chunk_size:
            new.value = data
            entry = self._put_in_row(new)
            if entry is not None:
                self.chunks.sweep()
                return entry
        else:
            new.chunks, new.pieces = new_token(), cut(memoryview(data), self.chunk_size)
        return self.publish(new)

    def _put_in_row(self, new: New) -> Entry | None:
        """Store a value by one statement; None if that was not done."""
        dialect = self.connections.dialect
        returns = dialect.returns_inserts if new.seen is None else dialect.returns_updates
        if not returns and new.seen is None and not dialect.counts_rows:
            return None
        now = self.connections.now()
        parameters = {
            "key": self.encode(new.key),
            "size": new.size,
            "version": new.version,
            "value": new.value,
            "ttl": new.ttl,
            "expires": _expiry(new, now) if dialect.knows_time else new.expires,
            "now": now,
            "seen": new.seen,
        }
        statement = self.sql.swap if new.seen is not None else self.sql.create if new.create else self.sql.put
        rows, count = self.connections.change(statement, parameters)
        if returns:
            was_done = bool(rows) and rows[0][0] == new.version
            return entry_of(new.key, (new.size, rows[0][1], new.version, rows[0][2])) if was_done else None
        if count != 1:
            return None
        if dialect.knows_time:
            return entry_of(new.key, (new.size, now, new.version, _expiry(new, now)))
        rows = self.connections.fetch(self.sql.entry, parameters)
        if rows and rows[0][2] == new.version:
            return entry_of(new.key, rows[0])
        return Entry(new.key, new.size, None, new.version)  # replaced already, and when it was written is not known

    def publish(self, new: New) -> Entry:
        """Store a value by a transaction that looks at the present row first."""
        try:
            row, old = self.connections.transact(lambda tx: self._publish(tx, new), key=new.key)
        except BaseException:
            if new.is_loose and new.chunks is not None:
                self.chunks.abandon(new.chunks)
            raise
        self.chunks.drop(old)
        self.chunks.sweep()
        return entry_of(new.key, row)

    def _publish(self, tx: Transaction, new: New) -> tuple[Row, str | None]:
        now = self._now(tx)
        present = self._lock(tx, new.key, now)
        live = present is not None and present.live
        if new.create and live:
            raise self._backend.taken(new.key)
        if new.seen is not None and (present is None or not live or present.version != new.seen):
            raise self._backend.changed(new.key)
        if new.chunks is not None:
            if new.is_loose:
                self.chunks.fasten(tx, new.chunks)
            self.chunks.insert(tx, new.chunks, new.pieces)
        expires = _expiry(new, now)
        self._write(tx, new, present, now=now, expires=expires)
        old = None if present is None else present.chunks
        self.chunks.loosen(tx, old)
        return (new.size, now, new.version, expires), old

    def _write(self, tx: Transaction, new: New, present: "Present | None", *, now: int, expires: int | None) -> None:
        row = {
            "key": self.encode(new.key),
            "size": new.size,
            "created": present.created if present is not None and present.live else now,
            "updated": now,
            "expires": expires,
            "version": new.version,
            "chunks": new.chunks,
            "value": new.value,
        }
        tx.change(self.sql.insert_row if present is None else self.sql.update_row, row)

    def _now(self, tx: Transaction) -> int:
        """Give the time of a transaction, by the database's clock."""
        return int(tx.fetch(self.sql.now, {"now": self.connections.now()})[0][0])

    def _lock(self, tx: Transaction, key: Key, now: int) -> "Present | None":
        """Give the present row, which nobody else changes before the transaction ends."""
        rows = tx.fetch(self.sql.locked, {"key": self.encode(key), "now": now})
        return Present(*rows[0]) if rows else None

    def take(self, key: Key) -> bytes:
        """Read a value and delete it."""
        parameters = {"key": self.encode(key), "now": self.connections.now()}
        if self.connections.dialect.returns_deletes:
            rows, _ = self.connections.change(self.sql.take, parameters)
            if rows:
                return bytes(rows[0][0])

        def work(tx: Transaction) -> tuple[bytes, str | None]:
            present = self._lock(tx, key, self._now(tx))
            if present is None or not present.live:
                raise self._backend.missing(key)
            data = bytes(present.value or b"")
            if present.chunks is not None:
                window = {"id": present.chunks, "first": 0, "stop": present.size}
                data = b"".join([data for _, data in tx.fetch(self.sql.chunks, window)])
            if len(data) != present.size:
                raise self._incomplete(key)
            tx.change(self.sql.delete_row, parameters)
            self.chunks.loosen(tx, present.chunks)
            return data, present.chunks

        data, old = self.connections.transact(work, key=key)
        self.chunks.drop(old)
        return data

    def delete(self, key: Key) -> None:
        """Delete a value."""
        parameters = {"key": self.encode(key)}
        _, count = self.connections.change(self.sql.delete, parameters)
        if not count and self.connections.fetch(self.sql.chunked_of(1), self.sql.bind_keys([key], 1)):
            self.chunks.remove(parameters["key"])

    def append(self, key: Key, data: bytes) -> None:
        """Add bytes at the end of a value: to its row, or to its last chunk and behind it."""

        def work(tx: Transaction) -> str | None:
            now = self._now(tx)
            present = self._lock(tx, key, now)
            if present is None or not present.live:
                return self._append_to_row(tx, key, present, data, now=now, expires=None)
            if present.chunks is None:
                longer = bytes(present.value or b"") + data
                return self._append_to_row(tx, key, present, longer, now=now, expires=present.expires)
            self._append_to_chunks(tx, present.chunks, present.size, data)
            new = New(key, present.size + len(data), chunks=present.chunks)
            self._write(tx, new, present, now=now, expires=present.expires)
            return None

        self.chunks.drop(self.connections.transact(work, key=key))
        self.chunks.sweep()

    def _append_to_row(
        self, tx: Transaction, key: Key, present: "Present | None", data: bytes, *, now: int, expires: int | None
    ) -> str | None:
        new = New(key, len(data))
        if len(data) <= self.chunk_size:
            new.value = data
        else:
            new.chunks = new_token()
            self.chunks.insert(tx, new.chunks, cut(data, self.chunk_size))
        self._write(tx, new, present, now=now, expires=expires)
        old = None if present is None else present.chunks
        self.chunks.loosen(tx, old)
        return old

    def _append_to_chunks(self, tx: Transaction, chunks: str, size: int, data: bytes) -> None:
        """Fill the last chunk, and go on behind it; who has the value open reads only what it had."""
        start, last = tx.fetch(self.sql.last_chunk, {"id": chunks})[0]
        room = max(0, self.chunk_size - len(last))
        if room:
            tx.change(self.sql.update_chunk, {"id": chunks, "start": start, "data": bytes(last) + data[:room]})
        self.chunks.insert(tx, chunks, cut(memoryview(data)[room:], self.chunk_size, size + room))

    def move(self, source: Key, target: Key) -> None:
        """Give a row another key."""

        def work(tx: Transaction) -> str | None:
            now = self._now(tx)
            # in one order everywhere, so that two moves cannot wait for each other
            rows = {key: self._lock(tx, key, now) for key in sorted({source, target})}
            present, replaced = rows[source], rows[target]
            if present is None or not present.live:
                raise self._backend.missing(source)
            if source == target:
                return None
            if replaced is not None:
                tx.change(self.sql.delete_row, {"key": self.encode(target)})
                self.chunks.loosen(tx, replaced.chunks)
            names = {"key": self.encode(source), "target": self.encode(target)}
            tx.change(self.sql.rename_row, {**names, "version": new_token()})
            return replaced.chunks if replaced is not None else None

        self.chunks.drop(self.connections.transact(work, key=source))

    def copy(self, source: Key, target: Key) -> None:
        """Copy a value; long ones inside the database."""
        for _ in range(_COPY_ATTEMPTS):
            rows = self.connections.fetch(self.sql.opened, {"key": self.encode(source), "now": self.connections.now()})
            if not rows:
                raise self._backend.missing(source)
            size, _, _, expires, value, chunks = rows[0]
            if chunks is None:
                self.put(New(target, size, expires=expires), bytes(value))
                return
            copy = self.chunks.copy(chunks, size)
            if copy is not None:  # or it was replaced meanwhile
                self.publish(New(target, size, expires=expires, chunks=copy, is_loose=True))
                return
        raise self._backend.changed(source)


@dataclass(frozen=True, slots=True)
class Present:
    """The row there is, in the order of ``Statements.locked``."""

    size: int
    version: str
    chunks: str | None
    value: bytes | None
    expires: int | None
    created: int
    live: int


class SqlReader(Reader):
    """One version of a value: the bytes of a row, or the id of chunks."""

    def __init__(self, backend: Backend, chunks: Chunks, entry: Entry, *, value: Any, chunks_id: str | None) -> None:
        self.entry = entry
        self._backend = backend
        self._chunks = chunks
        self._value = b"" if value is None else bytes(value)
        self._id = chunks_id

    def read(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        size = self.entry.size or 0
        end = size if stop is None else min(stop, size)
        if self._id is None:
            part = self._value[start:end]
            return iter((part,) if part else ())
        return self._read_chunks(self._id, start, end)

    def _read_chunks(self, chunks_id: str, start: int, stop: int) -> Iterator[bytes]:
        for piece in self._chunks.read(chunks_id, start, stop):
            start += len(piece)
            yield piece
        if start < stop:
            raise self._backend.changed(self.entry.key)

    def close(self) -> None:
        self._value = b""


class SqlWriter(Writer):
    """A value being written: kept here while it is short, stored under an id that no row names when it is not."""

    entry: Entry  # as commit returns it

    def __init__(self, values: Values, new: New) -> None:
        self._values = values
        self._new = new
        self._buffer: bytearray | None = bytearray()
        self._batch = values.chunk_size * _BATCH_CHUNKS
        self._sent = 0
        self._process = os.getpid()

    def write(self, data: bytes | bytearray | memoryview) -> int:
        buffer = self._open()
        view = memoryview(data).cast("B")
        for start in range(0, len(view), self._batch):
            buffer += view[start : start + self._batch]
            # what is left when the value ends is stored together with its row
            while len(buffer) > self._batch:
                self._send(buffer)
        return len(view)

    def _send(self, buffer: bytearray) -> None:
        if self._new.chunks is None:
            self._new.chunks = new_token()
        pieces = cut(memoryview(bytes(buffer[: self._batch])), self._values.chunk_size, self._sent)
        self._values.chunks.add(self._new.chunks, pieces, first=not self._new.is_loose)
        self._new.is_loose = True
        self._sent += self._batch
        del buffer[: self._batch]

    def commit(self) -> Entry:
        data, self._buffer = bytes(self._open()), None
        new = self._new
        new.size = self._sent + len(data)
        if not new.is_loose:
            self.entry = self._values.put(new, data)
        else:
            new.pieces = cut(data, self._values.chunk_size, self._sent)
            self.entry = self._values.publish(new)
        return self.entry

    def abort(self) -> None:
        if self._forget():
            self._values.chunks.abandon(self._new.chunks or "")

    def _forget(self) -> bool:
        """Close the writer, and tell whether there are chunks to delete, which are this process's."""
        was_open, self._buffer = self._buffer is not None, None
        return was_open and self._new.is_loose and self._process == os.getpid()

    def _open(self) -> bytearray:
        if self._buffer is None:
            raise ValueError(f"the writer of {self._new.key!r} is closed")
        if self._process != os.getpid():
            raise BackendError(
                f"the writer of {self._new.key!r} was opened before the process was forked; open it again here"
            )
        return self._buffer

    def __del__(self) -> None:
        if self._forget():
            self._values.chunks.forgotten.append(self._new.chunks or "")
