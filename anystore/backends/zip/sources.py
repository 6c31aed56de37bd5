"""An archive as bytes at positions: a file, or a value of another store."""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator

from anystore.backend import CHUNK_BYTES, Reader
from anystore.backends.zip.records import LOCAL_BYTES, Malformed, Record, local_header_size

_AHEAD_BYTES = 1 << 20
_KEPT_BYTES = 4 << 20
_LONGER_FIELDS = 64


class Shortened(Exception):
    """The archive ends before what was to be read: another program has cut it."""


class Source(ABC):
    """The bytes of one version of an archive.

    Attributes:
        size: How many there are.
    """

    size: int

    @abstractmethod
    def pieces(self, start: int, stop: int) -> Iterator[bytes]:
        """Read a part, piece by piece.

        Raises:
            Shortened: If the archive ends before.
        """

    def read(self, start: int, stop: int, *, likely: int = 0) -> bytes:
        """Read a part at once.

        Args:
            start: First byte.
            stop: First byte not read.
            likely: Where what is read next will probably end.

        Raises:
            Shortened: If the archive ends before.
        """
        return b"".join(self.pieces(start, stop))


class FileSource(Source):
    """An open file, which stays with its bytes whatever happens to its name."""

    def __init__(self, descriptor: int) -> None:
        """Take over a file descriptor."""
        self.descriptor = descriptor
        self.size = os.fstat(descriptor).st_size

    def pieces(self, start: int, stop: int) -> Iterator[bytes]:
        while start < stop:
            piece = os.pread(self.descriptor, min(CHUNK_BYTES, stop - start), start)
            if not piece:
                raise Shortened
            start += len(piece)
            yield piece

    def read(self, start: int, stop: int, *, likely: int = 0) -> bytes:
        data = os.pread(self.descriptor, stop - start, start) if start < stop else b""
        if len(data) < stop - start:  # the kernel hands out at most 2 GiB at once
            data = b"".join((data, *self.pieces(start + len(data), stop)))
        return data

    def __del__(self) -> None:
        """Close the file when nobody reads from it any more."""
        if hasattr(self, "size"):
            os.close(self.descriptor)


class OverlaidSource(Source):
    """A file whose end is what a journal has kept of it."""

    def __init__(self, below: Source, start: int, tail: bytes) -> None:
        """Put the tail over all that stands behind ``start``."""
        self._below = below
        self._start = start
        self._tail = tail
        self.size = start + len(tail)

    def pieces(self, start: int, stop: int) -> Iterator[bytes]:
        yield from self._below.pieces(start, min(stop, self._start))
        behind = self._tail[max(start - self._start, 0) : max(stop - self._start, 0)]
        if behind:
            yield behind


class ReaderSource(Source):
    """A value of another store, read in parts.

    A little more is read than was asked for, and kept: a small value comes in one
    round trip together with its header.
    """

    def __init__(self, reader: Reader, size: int) -> None:
        """Take over a reader."""
        self.reader = reader
        self.size = size
        self._kept = (0, b"")

    def pieces(self, start: int, stop: int) -> Iterator[bytes]:
        begin, kept = self._kept
        if begin <= start < begin + len(kept):
            piece = kept[start - begin : stop - begin]
            start += len(piece)
            yield piece
        position = start
        for piece in self.reader.read(start, stop) if start < stop else ():
            position += len(piece)
            yield piece
        if position < stop:
            raise Shortened

    def read(self, start: int, stop: int, *, likely: int = 0) -> bytes:
        begin, kept = self._kept
        if begin <= start and stop <= begin + len(kept):
            return kept[start - begin : stop - begin]
        end = max(stop, min(likely, start + _AHEAD_BYTES, self.size))
        data = b"".join(self.reader.read(start, end))
        if len(data) < stop - start:
            raise Shortened
        if len(data) <= _KEPT_BYTES:
            self._kept = start, data
        return data[: stop - start]

    def __del__(self) -> None:
        """Let the version go when nobody reads from it any more."""
        self.reader.close()


def value_start(source: Source, record: Record, base: int) -> int:
    """Find the first byte of a value as it is stored.

    Args:
        source: The archive.
        record: What the directory says of the value.
        base: What its offset counts from.

    Raises:
        Malformed: If there is another entry, or none, in this place.
        Shortened: If the archive ends before.
    """
    begin = base + record.offset
    end = begin + LOCAL_BYTES + len(record.name)
    # the extra fields here may be others than in the directory, and a little longer
    header = source.read(begin, end, likely=end + len(record.extra) + _LONGER_FIELDS + record.packed)
    size = local_header_size(header)
    if header[LOCAL_BYTES:] != record.name:
        raise Malformed("its header has another name than the directory")
    return begin + size
