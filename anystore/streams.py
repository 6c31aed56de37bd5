"""A value as a Python file object, and its lines.

Leaving a ``with`` block commits what was written; an exception aborts it, and so
does forgetting the file object, since nobody can tell whether it was finished.
"""

import codecs
import io
import os
import sys
from collections.abc import Iterator
from tempfile import SpooledTemporaryFile
from types import TracebackType
from typing import Any, Self

from anystore.backend import CHUNK_BYTES, Backend, Entry, Feature, Reader, Writer
from anystore.errors import AlreadyExists, DoesNotExist, VersionMismatch
from anystore.keys import Key

_PART_BYTES = 8 << 20

# TextIOWrapper knows where to put a byte order mark only in files that can be sought in.
_ORDER = "le" if sys.byteorder == "little" else "be"
_MARKED = {
    "utf-16": (codecs.BOM_UTF16, f"utf-16-{_ORDER}"),
    "utf-32": (codecs.BOM_UTF32, f"utf-32-{_ORDER}"),
    "utf-8-sig": (codecs.BOM_UTF8, "utf-8"),
}


class ValueReader(io.RawIOBase):
    """One version of a value, as an unbuffered file.

    Reading on continues the same stream; only a seek asks the backend again.
    """

    def __init__(self, reader: Reader) -> None:
        """Wrap a reader, which is closed together with the file."""
        super().__init__()
        self._reader = reader
        self._position = 0
        self._pieces: Iterator[bytes] | None = None
        self._rest = memoryview(b"")
        self._window: int | None = None  # after a seek, how much is asked for at once; None for all the rest

    @property
    def name(self) -> str:
        """The key."""
        return self._reader.entry.key

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Tell whether the backend can read from the middle."""
        return self._reader.seekable and self._reader.entry.size is not None

    def tell(self) -> int:
        """Return the position, in bytes."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a position; nothing is read yet.

        Raises:
            io.UnsupportedOperation: If the backend cannot read from the middle.
            ValueError: If the position is negative.
        """
        if not self.seekable():
            raise io.UnsupportedOperation(
                f"{self.name!r} comes from a server without ranges; use anystore.virtual.open_virtual"
            )
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._reader.entry.size or 0}[whence]
        if start + offset < 0:
            raise ValueError(f"the position {start + offset} lies before the start of {self.name!r}")
        if start + offset != self._position:
            self._forget_pieces()
            self._position = start + offset
            self._window = 0
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer with what comes next; 0 at the end."""
        target = memoryview(buffer).cast("B")
        if not self._rest:
            self._rest = memoryview(self._next_piece(len(target)))
        size = min(len(target), len(self._rest))
        target[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        self._position += size
        return size

    def _next_piece(self, wanted: int) -> bytes:
        if self._pieces is None:
            self._pieces = self._reader.read(self._position, self._stop(wanted))
        piece = next(self._pieces, b"")
        if not piece and self._window is not None and self._position < (self._reader.entry.size or 0):
            self._pieces = self._reader.read(self._position, self._stop(wanted))
            piece = next(self._pieces, b"")
        return piece

    def _stop(self, wanted: int) -> int | None:
        """Say where to stop: whoever jumps about wants little each time, whoever reads on wants the rest."""
        if self._window is None:
            return None
        self._window = max(wanted, 2 * self._window)
        if self._window > _PART_BYTES:
            self._window = None
            return None
        return self._position + self._window

    def close(self) -> None:
        """Let the version go."""
        if not self.closed:
            self._forget_pieces()
            self._reader.close()
        super().close()

    def _forget_pieces(self) -> None:
        close = getattr(self._pieces, "close", None)  # a generator holds a connection
        self._pieces, self._rest = None, memoryview(b"")
        if close is not None:
            close()


class ValueWriter(io.BufferedIOBase):
    """A value being written, as a file; ``close`` commits it."""

    def __init__(self, writer: Writer) -> None:
        """Wrap a writer."""
        super().__init__()
        self._writer: Writer | None = writer
        self._buffer: list[bytes] = []
        self._buffered = 0
        self._position = 0
        self._failure: BaseException | None = None

    def writable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return how many bytes were written."""
        return self._position

    def write(self, data: Any) -> int:
        """Take bytes; they are handed on in larger pieces."""
        if self.closed:
            raise ValueError("write to a closed file")
        piece = data if isinstance(data, bytes) else bytes(memoryview(data))  # bytes(5) would be five zeros
        self._buffer.append(piece)
        self._buffered += len(piece)
        self._position += len(piece)
        if self._buffered >= CHUNK_BYTES:
            self.flush()
        return len(piece)

    def flush(self) -> None:
        """Hand on what is buffered; once that has failed, a part is missing, and nothing is ever committed."""
        if self._failure is not None:
            raise self._failure
        pieces, self._buffer, self._buffered = self._buffer, [], 0
        if self._writer is not None and pieces:
            try:
                self._writer.write(pieces[0] if len(pieces) == 1 else b"".join(pieces))
            except BaseException as error:
                self._failure = error
                raise

    def abort(self) -> None:
        """Forget the value."""
        writer, self._writer = self._writer, None
        self._buffer, self._buffered, self._failure = [], 0, None
        if writer is not None:
            writer.abort()

    def close(self) -> None:
        """Commit the value; a second time, do nothing."""
        if self.closed:
            return
        try:
            if self._writer is not None:
                self.flush()
                self._writer.commit()
                self._writer = None
        finally:
            self.abort()
            super().close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Commit after a block that ended well; abort after one that did not."""
        if kind is not None:
            self.abort()
        self.close()

    def __del__(self) -> None:
        """Abort a forgotten value."""
        if hasattr(self, "_writer"):
            self.abort()
            self.close()


class TextWriter(io.TextIOWrapper):
    """A text being written over a :class:`ValueWriter`."""

    def __init__(
        self, file: ValueWriter, *, encoding: str, newline: str, at_start: bool, errors: str | None = None
    ) -> None:
        """Wrap the binary file; ``at_start`` tells whether it is the value's first byte that is written next."""
        self._file = file
        mark, encoding = _MARKED.get(codecs.lookup(encoding).name, (b"", encoding))
        if at_start and mark:
            file.write(mark)
        buffer: Any = file  # it has no `name`, which the type of the argument asks for
        super().__init__(buffer, encoding=encoding, errors=errors, newline=newline, write_through=True)

    def __enter__(self) -> Self:
        """Enter a block that commits or aborts."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Commit after a block that ended well; abort after one that did not."""
        if kind is not None:
            self._file.abort()
        self.close()

    def __del__(self) -> None:
        """Abort a forgotten value."""
        if hasattr(self, "_file"):
            self._file.abort()


class AppendWriter(Writer):
    """Collects what is appended, so that it becomes one append at the end."""

    def __init__(self, backend: Backend, key: Key) -> None:
        """Spool up to 8 MiB in memory, and the rest in a temporary file."""
        self._backend = backend
        self._key = key
        self._spool = SpooledTemporaryFile(max_size=_PART_BYTES)  # noqa: SIM115 - closed by commit and abort

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Spool the bytes."""
        self._spool.write(data)
        return len(data)

    def commit(self) -> Entry:
        """Append everything in one step."""
        size = self._spool.tell()
        self._spool.seek(0)
        if size <= _PART_BYTES or Feature.SWAP not in self._backend.features:
            self._backend.append(self._key, self._spool.read())
        else:
            while not self._rewrite():
                self._spool.seek(0)
        self._spool.close()
        return self._backend.stat(self._key)

    def abort(self) -> None:
        """Forget what was spooled."""
        self._spool.close()

    def _rewrite(self) -> bool:
        """Write the longer value over the version that was read; False if another writer was faster."""
        try:
            reader: Reader | None = self._backend.reader(self._key)
        except DoesNotExist:
            reader = None
        version = reader.entry.version if reader else None
        if reader and version is None:  # there is nothing to tell another writer by
            reader.close()
            self._backend.append(self._key, self._spool.read())
            return True
        try:
            with self._backend.writer(self._key, create=reader is None, version=version) as writer:
                for piece in reader.read() if reader else ():
                    writer.write(piece)
                while piece := self._spool.read(CHUNK_BYTES):
                    writer.write(piece)
        except (VersionMismatch, AlreadyExists):
            return False
        finally:
            if reader:
                reader.close()
        return True


def iterate_lines(pieces: Iterator[bytes]) -> Iterator[bytes]:
    r"""Cut pieces of bytes into lines, without their line ends ``\n`` or ``\r\n``.

    Example:
        >>> list(iterate_lines(iter([b"a\r", b"\nb\n\nc"])))
        [b'a', b'b', b'', b'c']
    """
    begun: list[bytes] = []
    for piece in pieces:
        first, *rest = piece.split(b"\n")
        begun.append(first)
        for line in rest:
            yield b"".join(begun).removesuffix(b"\r")
            begun = [line]
    if last := b"".join(begun):
        yield last
