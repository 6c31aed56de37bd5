"""Values of an archive: one open for reading, one being written, and many at once."""

import os
from collections.abc import Iterable, Iterator
from itertools import chain
from tempfile import SpooledTemporaryFile
from typing import IO, cast
from zlib import crc32

from anystore.backend import CHUNK_BYTES, Entry, Reader, Writer
from anystore.backends.zip.archive import Archive
from anystore.backends.zip.changes import Addition, changing
from anystore.backends.zip.compression import DECOMPRESSORS, ERRORS, Compressor, compress, compressor
from anystore.backends.zip.records import ENCRYPTED, STORED, Malformed, Record
from anystore.backends.zip.sources import Shortened, Source, value_start
from anystore.errors import AnystoreError, BackendError, Unsupported, VersionMismatch
from anystore.keys import Key

_SPOOL_BYTES = 1 << 20


class ZipReader(Reader):
    """An entry of an archive; its bytes stay where they are, whatever becomes of the archive's name.

    Args:
        uri: The masked URI of the archive, for messages.
        key: The key.
        source: The archive.
        record: What its directory says of the value.
        base: What offsets in it count from.

    Raises:
        Unsupported: If the value is encrypted, or compressed in a way that cannot be read.
        BackendError: If the archive is damaged in this place.
    """

    def __init__(self, uri: str, key: Key, *, source: Source, record: Record, base: int) -> None:
        self.entry = record.entry(key)
        self._whom = f"{key!r} in {uri}"
        self._source = source
        self.record = record
        if record.flags & ENCRYPTED:
            raise Unsupported(f"{self._whom} is encrypted, which cannot be read; unpack it with its password")
        if record.method not in DECOMPRESSORS:
            raise Unsupported(
                f"{self._whom} is compressed by method {record.method}, which cannot be read; unpack it with 7-Zip"
            )
        try:
            self._start = value_start(source, record, base)
        except (Malformed, Shortened, OSError) as error:
            raise self._translated(error) from error

    def read(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        size = self.record.size
        end = size if stop is None else min(stop, size)
        if start >= end and size:
            return iter(())
        if self.record.method == STORED and end - start < size:
            if self.record.packed != size:
                raise self._damaged("its directory names two lengths")
            return self._stored(start, end)
        return self._read_checked(start, end)

    def raw(self) -> Iterator[bytes]:
        """Give the value as it is stored."""
        return self._stored(0, self.record.packed)

    def _stored(self, start: int, stop: int) -> Iterator[bytes]:
        try:
            yield from self._source.pieces(self._start + start, self._start + stop)
        except (Shortened, OSError) as error:
            raise self._translated(error) from error

    def _read_checked(self, start: int, end: int) -> Iterator[bytes]:
        """Unpack from the first byte on, and look at the checksum when all has passed."""
        size, position, check = self.record.size, 0, 0
        try:
            for piece in DECOMPRESSORS[self.record.method](self.raw()):
                check = crc32(piece, check)
                part = piece[max(start - position, 0) : max(end - position, 0)]
                position += len(piece)
                if position >= size:
                    self._check(position, check)
                if part:
                    yield part
                if position >= end:
                    return
        except AnystoreError:
            raise
        except (Malformed, Shortened, *ERRORS) as error:
            raise self._translated(error) from error
        self._check(position, check)

    def _check(self, size: int, check: int) -> None:
        if size != self.record.size:
            raise self._damaged(f"it has {size:,} bytes, and should have {self.record.size:,}")
        if check != self.record.crc:
            raise self._damaged("its checksum is wrong")

    def _damaged(self, reason: str) -> BackendError:
        return BackendError(f"{self._whom} is damaged: {reason}; restore the archive from a copy")

    def _translated(self, error: Exception) -> AnystoreError:
        if isinstance(error, AnystoreError):
            return error
        if isinstance(error, Shortened):
            return VersionMismatch(f"{self._whom} was cut off by another program; read it again")
        if isinstance(error, OSError) and error.errno:
            return BackendError(f"cannot read {self._whom}: {error.strerror}")
        return self._damaged(str(error) or "it cannot be unpacked")

    def close(self) -> None:
        """Nothing is open but the archive, which is closed with the last one who reads from it."""


class ZipWriter(Writer):
    """A value that is compressed into a temporary file without a name, until ``commit`` adds it to the archive."""

    def __init__(self, archive: Archive, key: Key, *, method: int, create: bool, version: str | None) -> None:
        self._archive = archive
        self._key = key
        self._method = method
        self._conditions = (create, version)
        self._compressor: Compressor | None = compressor(method)
        self._spool = Spool(archive, key)
        self._size = 0
        self._crc = 0

    def write(self, data: bytes | bytearray | memoryview) -> int:
        engine = self._open()
        view = memoryview(data).cast("B")
        for begin in range(0, len(view), CHUNK_BYTES):
            piece = view[begin : begin + CHUNK_BYTES]
            self._crc = crc32(piece, self._crc)
            self._spool.write(engine.compress(piece))
        self._size += len(view)
        return len(view)

    def commit(self) -> Entry:
        engine = self._open()
        create, version = self._conditions
        try:
            self._spool.write(engine.flush())
            packed = self._spool.size
            record = Record.new(self._key, method=self._method, crc=self._crc, packed=packed, size=self._size)
            head = record.local()
            with changing(self._archive, self._key) as change:
                change.check(self._key, create=create, version=version)
                pieces = chain([head], self._spool.pieces())
                change.add([Addition(self._key, record)], pieces, len(head) + packed)
        finally:
            self.abort()
        return record.entry(self._key)

    def abort(self) -> None:
        self._compressor = None
        self._spool.close()

    def _open(self) -> Compressor:
        if self._compressor is None:
            raise ValueError(f"the writer of {self._key!r} is closed")
        return self._compressor


class Spool:
    """Bytes on their way into an archive: in memory, or in a file without a name beside the archive.

    Args:
        archive: The archive.
        key: The key that messages name.
    """

    def __init__(self, archive: Archive, key: Key) -> None:
        self._archive = archive
        self._key = key
        self._file: IO[bytes] | None = None
        self.size = 0

    def write(self, data: bytes) -> None:
        """Add bytes."""
        rest = memoryview(data)
        self.size += len(rest)
        try:
            if self._file is None and rest:
                # beside the archive there is room, or else the value cannot be added anyway
                os.makedirs(self._archive.folder, exist_ok=True)
                # without a buffer, which a forked child would write out once more
                file = SpooledTemporaryFile(_SPOOL_BYTES, buffering=0, dir=self._archive.folder)  # noqa: SIM115
                self._file = cast("IO[bytes]", file)
            while rest and self._file is not None:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            self._archive.fail(error, "write", self._key)

    def pieces(self) -> Iterator[bytes]:
        """Give all that was written."""
        if self._file is not None:
            self._file.seek(0)
            while piece := self._file.read(CHUNK_BYTES):
                yield piece

    def close(self) -> None:
        """Forget the bytes."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __del__(self) -> None:
        """Close the file of a writer that was forgotten."""
        if hasattr(self, "size"):
            self.close()


def pack_value(key: Key, data: bytes, method: int) -> tuple[Record, bytes]:
    """Compress a value, unless that makes it longer.

    Returns:
        Its record, and its bytes with the header before them.
    """
    packed = compress(method, data)
    if len(packed) >= len(data):
        packed, method = data, STORED
    record = Record.new(key, method=method, crc=crc32(data), packed=len(packed), size=len(data))
    return record, record.local() + packed


def put_batch(archive: Archive, items: Iterable[tuple[Key, bytes]], method: int) -> None:
    """Add many values with one directory."""
    spool: Spool | None = None
    additions: list[Addition] = []
    try:
        for key, data in items:
            spool = spool or Spool(archive, key)
            record, written = pack_value(key, data, method)
            additions.append(Addition(key, record._replace(offset=spool.size)))
            spool.write(written)
        if spool is not None:
            with changing(archive, additions[0].key) as change:
                change.add(additions, spool.pieces(), spool.size)
    finally:
        if spool is not None:
            spool.close()


def copy_value(archive: Archive, reader: ZipReader, target: Key) -> None:
    """Add the bytes of a value under another key, as they are stored."""
    record = reader.record
    described = Record.new(target, method=record.method, crc=record.crc, packed=record.packed, size=record.size)
    head = described.local()
    with changing(archive, target) as change:
        change.add([Addition(target, described)], chain([head], reader.raw()), len(head) + record.packed)
