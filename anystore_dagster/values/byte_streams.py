"""Bytes of any size, chunk by chunk: out of an asset, and into the next one."""

import io
from collections.abc import Iterable, Iterator
from os import PathLike
from pathlib import Path
from typing import IO, Any

from anystore.errors import CodecError
from anystore_dagster.metadata import describe_content
from anystore_dagster.stored import BlobRef, Encoded, Form, Selection, refuse_selection
from anystore_dagster.values.spooling import Spool

_CHUNK_BYTES = 1 << 20


class ByteStream:
    r"""Bytes that need not fit into memory.

    Return one made of chunks or of a binary file; annotate an input with it to read the chunks. An input can be
    read again and again, each time from its start, and reads one version of the value each time. What was made of
    an iterator or a file gives its chunks once.

    Args:
        source: An iterable of bytes, a file opened with ``"rb"``, bytes, or a :class:`BlobRef`.

    Raises:
        CodecError: If it is none of these.

    Example:
        >>> ByteStream(line.encode() for line in ["a\n", "b\n"]).read()
        b'a\nb\n'
    """

    def __init__(self, source: Iterable[bytes] | IO[bytes] | BlobRef) -> None:
        if not isinstance(source, BlobRef | Iterable) and not hasattr(source, "read"):
            raise CodecError(f"ByteStream takes {_TAKES}, not {type(source).__name__}")
        if isinstance(source, str | Path):
            raise CodecError(f"ByteStream takes {_TAKES}; for a file on this disk annotate pathlib.Path and return it")
        self._source = source
        self._begun = False

    def __iter__(self) -> Iterator[bytes]:
        """Read the chunks."""
        if isinstance(self._source, BlobRef):
            return self._source.stream(_CHUNK_BYTES)
        return _checked_chunks(self._begin())

    def _begin(self) -> Iterator[Any]:
        """Give the chunks of what is not stored yet; a second time only where that starts anew."""
        source: Any = self._source
        if isinstance(source, bytes | bytearray | memoryview):
            return iter([source])
        is_file = hasattr(source, "read")
        if is_file or isinstance(source, Iterator):
            if self._begun:
                raise CodecError(
                    "this ByteStream was read before, and what it was made of gives its chunks once; make another one"
                )
            self._begun = True
        return _file_chunks(source) if is_file else iter(source)

    def open(self) -> IO[bytes]:
        """Open the bytes as a binary file; an input is seekable where its backend has ranges.

        Raises:
            DoesNotExist: If the value is gone.
        """
        if isinstance(self._source, BlobRef):
            return self._source.open()
        return io.BufferedReader(_ChunkFile(iter(self)), _CHUNK_BYTES)

    def read(self) -> bytes:
        """Read all bytes into memory.

        Raises:
            DoesNotExist: If the value is gone.
        """
        return self._source.read() if isinstance(self._source, BlobRef) else b"".join(self)

    def to_encoded(self, folder: PathLike[str]) -> Encoded:
        """Collect the chunks; what the source raises passes, and nothing is kept then.

        Args:
            folder: A private folder.

        Returns:
            The bytes, a file in the folder, or a reference to a value that is stored already.

        Raises:
            CodecError: If a chunk is not of bytes, or the source was read before.
        """
        if isinstance(self._source, BlobRef):
            return Encoded(self._source)
        with Spool(folder) as spool:
            for chunk in self:
                spool.write(chunk)
            data = spool.finish()
        return Encoded(data, metadata=describe_content(data))


_TAKES = "an iterable of bytes, or a file opened with 'rb'"


def _checked_chunks(chunks: Iterator[Any]) -> Iterator[bytes]:
    for number, chunk in enumerate(chunks, 1):
        if not isinstance(chunk, bytes | bytearray | memoryview):
            advice = "; encode it, or open the file with 'rb'" if isinstance(chunk, str) else ""
            raise CodecError(f"chunk {number} of the ByteStream is {type(chunk).__name__}, not bytes{advice}")
        yield bytes(chunk)


def _file_chunks(file: IO[Any]) -> Iterator[Any]:
    while chunk := file.read(_CHUNK_BYTES):
        yield chunk


class _ChunkFile(io.RawIOBase):
    """Chunks as an unbuffered file."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        super().__init__()
        self._chunks = chunks
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._rest = memoryview(chunk)
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size


class ByteStreamForm(Form):
    """How a :class:`ByteStream` is stored: its bytes, as they are."""

    name = "ByteStream"

    def encode(self, value: Any, folder: PathLike[str]) -> Encoded:
        """Collect the chunks."""
        if not isinstance(value, ByteStream):
            raise CodecError(
                f"this is {type(value).__qualname__}, and ByteStream is annotated; return ByteStream({_TAKES})"
            )
        return value.to_encoded(folder)

    def decode(self, source: BlobRef, selection: Selection) -> ByteStream:
        """Give a stream of the stored bytes."""
        refuse_selection(self.name, selection)
        source.info()  # a missing value is told now, not at the first chunk
        return ByteStream(source)
