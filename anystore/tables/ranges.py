"""One version of a value as a file that Arrow reads parts of: few requests, and no more bytes than are needed."""

import io
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from tempfile import SpooledTemporaryFile
from threading import get_ident
from typing import IO, TypeVar

import pyarrow as pa

from anystore.backend import CHUNK_BYTES, Reader
from anystore.errors import AnystoreError

_TAIL_BYTES = 64 << 10  # holds most footers
_GAP_BYTES = 64 << 10  # costs less to read than another request
_SPOOL_BYTES = 8 << 20

Answer = TypeVar("Answer")


class OneThread:
    """A thread of Python's that asks the backend when Arrow reads.

    Arrow reads in threads of its own, which last for one call. What libraries keep for a thread would be made and
    dropped for each piece, and some crash when it is dropped by a thread that is not Python's.
    """

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._ident: int | None = None

    def call(self, function: Callable[[], Answer]) -> Answer:
        """Call a function in the thread, and give its answer, or raise its error."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(1, thread_name_prefix="anystore-table")
            self._ident = self._pool.submit(get_ident).result()
        return self._pool.submit(function).result()

    def is_current(self) -> bool:
        """Tell whether the caller runs in this thread."""
        return self._ident == get_ident()

    def end(self) -> None:
        """Wait for what is running, and end the thread."""
        if self._pool is not None:
            self._pool.shutdown()


class RangeFile(io.RawIOBase):
    """A value whose parts are asked for as they are needed.

    A short value, or one that cannot be read from the middle, is fetched whole: the latter into a
    temporary file, if it is long.

    Args:
        reader: The version; it stays the caller's to close.
    """

    def __init__(self, reader: Reader) -> None:
        super().__init__()
        self._reader = reader
        self._position = 0
        self._parts: list[tuple[int, memoryview]] = []
        self._tail: tuple[int, memoryview] | None = None
        self._spool: IO[bytes] | None = None
        self._thread = OneThread()
        self._size = reader.entry.size or 0
        if not reader.seekable or reader.entry.size is None:
            self._fetch_whole()
        else:
            begin = 0 if self._size <= CHUNK_BYTES else self._size - _TAIL_BYTES
            self._tail = begin, self._ask(begin, self._size)

    def in_memory(self) -> pa.BufferReader | None:
        """Give a short value, which is here as a whole, in Arrow's own memory; None for a long one."""
        if self._spool is not None and self._size <= _SPOOL_BYTES:
            self._spool.seek(0)
            return arrow_memory([self._spool.read()])
        if self._tail is not None and not self._tail[0]:
            return arrow_memory([self._tail[1]])
        return None

    def _fetch_whole(self) -> None:
        self._spool = SpooledTemporaryFile(max_size=_SPOOL_BYTES)  # noqa: SIM115 - closed by `close`
        try:
            self._spool.writelines(self._reader.read())
        except BaseException:
            self._spool.close()
            raise
        self._size = self._spool.tell()

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position, in bytes."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a position; nothing is read yet."""
        self._position = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        """Read from the position on, to the end if no size is given."""
        start = self._position
        stop = self._size if size is None or size < 0 else min(start + size, self._size)
        if stop <= start:
            return b""
        if self._spool is not None:
            self._spool.seek(start)
            data = self._spool.read(stop - start)
        else:
            data = bytes(self._find(start, stop))
        self._position += len(data)
        return data

    def fetch(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Ask for what is read next, neighbours in one request, and forget what was asked for before.

        Args:
            ranges: First byte and end of each part.
        """
        self._parts = []
        if self._spool is None:
            for start, stop in join_ranges(ranges):
                if self._held(start, stop) is None:
                    self._parts.append((start, self._ask(start, stop)))

    def _find(self, start: int, stop: int) -> memoryview:
        held = self._held(start, stop)
        if held is not None:
            return held
        data = self._thread.call(lambda: self._ask(start, stop))
        if stop == self._size:
            self._tail = start, data  # a footer is read more than once
        return data

    def _held(self, start: int, stop: int) -> memoryview | None:
        parts = self._parts if self._tail is None else [*self._parts, self._tail]
        for begin, data in parts:
            if begin <= start and stop <= begin + len(data):
                return data[start - begin : stop - begin]
        return None

    def _ask(self, start: int, stop: int) -> memoryview:
        return memoryview(b"".join(self._reader.read(start, stop)))

    def close(self) -> None:
        """Forget what was fetched."""
        self._thread.end()
        self._parts, self._tail = [], None
        if self._spool is not None:
            self._spool.close()
        super().close()


class PieceFile(io.RawIOBase):
    """The pieces of a value as a file that is read from its start to its end.

    What fails on the way is kept, and ends the file: an exception that Arrow's threads carry would have to be freed by
    them, for which see ``arrow_memory``. Whoever gets rows looks at ``failure`` first.

    Args:
        pieces: The bytes.

    Attributes:
        failure: Why the file ended before its end, if it did.
        leave: Called before the file is closed, by what reads it in threads.
    """

    def __init__(self, pieces: Iterator[bytes]) -> None:
        super().__init__()
        self._pieces = pieces
        self._rest = memoryview(b"")
        self._thread = OneThread()
        self._reads_in: int | None = None
        self.failure: AnystoreError | OSError | RuntimeError | None = None
        self.leave: Callable[[], object] = _nothing

    def readable(self) -> bool:
        """Return True."""
        return True

    def peek(self, size: int) -> bytes:
        """Give the first bytes of what comes next, which stay to be read; fewer only at the end."""
        pieces, left = [self._rest], size - len(self._rest)
        while left > 0 and (piece := next(self._pieces, b"")):
            pieces.append(memoryview(piece))
            left -= len(piece)
        self._rest = memoryview(b"".join(pieces))
        return bytes(self._rest[:size])

    def read(self, size: int | None = -1) -> bytes:
        """Give what comes next: as much as is asked for, less only at the end."""
        self._reads_in = get_ident()
        pieces, left = [], sys.maxsize if size is None or size < 0 else size
        while left and (self._rest or self._ask()):
            pieces.append(self._rest[:left])
            self._rest = self._rest[left:]
            left -= len(pieces[-1])
        return b"".join(pieces)

    def _ask(self) -> bool:
        if self.failure is None:
            try:
                self._rest = memoryview(self._thread.call(lambda: next(self._pieces, b"")))
            except (AnystoreError, OSError, RuntimeError) as error:  # the last one of threads, when the process ends
                self.failure = error
        return bool(self._rest)

    def stop(self) -> bool:
        """Give nothing more.

        Returns:
            Whether this thread may wait for those that read; it may not if it is one of them.
        """
        self.failure = self.failure or RuntimeError("the table was closed, or the process ends; read it again")
        return get_ident() != self._reads_in and not self._thread.is_current()

    def close(self) -> None:
        """End the reading, also that of what comes later."""
        self.leave()
        self._thread.end()
        super().close()


def _nothing() -> None:
    """Do nothing."""


def arrow_memory(pieces: Iterable[bytes | memoryview]) -> pa.BufferReader:
    """Copy bytes into Arrow's own memory, as a file.

    A thread of Arrow's lets go of what it read a moment after its caller has it. Bytes of Python's need the
    interpreter for that; where it is ending meanwhile, it ends such a thread, and C++ then aborts the process.

    Args:
        pieces: The bytes.

    Returns:
        The file, at its start.
    """
    sink = pa.BufferOutputStream()
    for piece in pieces:
        sink.write(piece)
    return pa.BufferReader(sink.getvalue())


def join_ranges(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Join ranges whose gap costs less than another request.

    Args:
        ranges: First byte and end of each.

    Returns:
        The same bytes and those in the gaps, in ascending order.

    Example:
        >>> join_ranges([(900_000, 900_010), (0, 10), (20, 30)])
        [(0, 30), (900000, 900010)]
    """
    joined: list[tuple[int, int]] = []
    for start, stop in sorted(ranges):
        if joined and start - joined[-1][1] <= _GAP_BYTES:
            joined[-1] = joined[-1][0], max(stop, joined[-1][1])
        else:
            joined.append((start, stop))
    return joined
