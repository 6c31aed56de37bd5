"""Values compressed on their way to a backend, and unpacked on their way back, in bounded memory.

A value may hold several compressed parts one behind the other, as appending makes them. What
is damaged, cut short or followed by something else raises: data is never left out in silence.
"""

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

from anystore.backend import CHUNK_BYTES, Entry, Writer
from anystore.errors import CodecError, InvalidOption
from anystore.extras import load

Compression = Literal["infer", "gz", "zst", "bz2", "xz", "lz4"]
"""What ``compression`` takes, besides None: a name, or ``infer`` to go by the end of the key."""

_INPUT_BYTES = 1 << 16
_MAX_XZ_MEMORY = 128 << 20
_XZ_PRESET = 4  # needs 48 MiB for writing; xz's own, 6, would need 94
_SURELY_JUDGED = 16  # bytes that tell every format from others; what is shorter has to be complete
_GZIP = zlib.MAX_WBITS | 16


class Compressor(Protocol):
    """Takes a value piece by piece."""

    def compress(self, data: bytes | bytearray | memoryview, /) -> bytes:
        """Take a piece, and give what is ready."""

    def flush(self) -> bytes:
        """Give the rest."""


class Decompressor(Protocol):
    """Unpacks one compressed part; the interface that ``bz2`` and ``lzma`` have in common."""

    @property
    def eof(self) -> bool:
        """Whether the part is complete."""

    @property
    def needs_input(self) -> bool:
        """Whether there is no more to be had from what was taken."""

    @property
    def unused_data(self) -> bytes:
        """What was taken and is not of this part."""

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """Take a piece, and give about ``max_length`` bytes at most."""


@dataclass(frozen=True)
class Format:
    """One way of compressing.

    Attributes:
        name: Its name, which is also the end of file names.
        compressor: Makes what compresses one value.
        decompressor: Makes what unpacks one part.
        errors: What the library raises for damaged bytes.
        padded: Whether zeros may stand behind a part.
    """

    name: str
    compressor: Callable[[], Compressor]
    decompressor: Callable[[], Decompressor]
    errors: tuple[type[Exception], ...]
    padded: bool = False


class _GzipDecompressor:
    """zlib's, with the interface of the others."""

    def __init__(self) -> None:
        self._inflater = zlib.decompressobj(wbits=_GZIP)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._inflater.eof

    @property
    def unused_data(self) -> bytes:
        return self._inflater.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        unpacked = self._inflater.decompress(self._inflater.unconsumed_tail + data, max_length)
        self.needs_input = not self._inflater.unconsumed_tail and len(unpacked) < max_length
        return unpacked


_FORMATS = {
    "gz": Format(
        "gz", lambda: zlib.compressobj(wbits=_GZIP), _GzipDecompressor, errors=(zlib.error, EOFError), padded=True
    ),
    "bz2": Format("bz2", bz2.BZ2Compressor, bz2.BZ2Decompressor, errors=(OSError, ValueError, EOFError)),
    "xz": Format(
        "xz",
        lambda: lzma.LZMACompressor(preset=_XZ_PRESET),
        lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MAX_XZ_MEMORY),
        errors=(lzma.LZMAError, EOFError),
        padded=True,
    ),
}
_MODULE_OF_NAME = {"lz4": "lz4_frames", "zst": "zstandard_frames"}
_NAMES = (*_FORMATS, *_MODULE_OF_NAME)


def find_format(compression: str | None, key: str) -> Format | None:
    """Find out how a value is compressed.

    Args:
        compression: A name, ``infer`` to go by the end of the key, or None.
        key: The key.

    Returns:
        The format; None for a value that is not compressed.

    Raises:
        InvalidOption: If the name is unknown.
        MissingExtra: If the library for it is not installed.

    Example:
        >>> find_format("infer", "2024/log.txt.gz").name
        'gz'
        >>> find_format("infer", "2024/log.txt")
    """
    if compression is None:
        return None
    if not isinstance(compression, str):
        raise InvalidOption(f"compression is 'infer' or a name such as 'gz', not {compression!r}")
    name = compression.removeprefix(".")
    if name == "infer":
        _, dot, name = key.rpartition("/")[2].lower().rpartition(".")
        if not dot or name not in _NAMES:
            return None
    if name in _MODULE_OF_NAME:
        found: Format = load(f"anystore.compression.{_MODULE_OF_NAME[name]}").FORMAT
        return found
    if name not in _FORMATS:
        raise InvalidOption(
            f"compression={compression!r} is unknown; use 'infer', 'gz', 'zst', 'bz2', 'xz', 'lz4', or None"
        )
    return _FORMATS[name]


class CompressingWriter(Writer):
    """Compresses what is written to another writer.

    Args:
        inner: Takes the compressed bytes.
        form: How they are compressed.
    """

    def __init__(self, inner: Writer, form: Format) -> None:
        self._inner = inner
        self._compressor = form.compressor()

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Compress a piece."""
        packed = self._compressor.compress(data)
        if packed:
            self._inner.write(packed)
        return memoryview(data).nbytes

    def commit(self) -> Entry:
        """Write the end, and publish."""
        self._inner.write(self._compressor.flush())
        return self._inner.commit()

    def abort(self) -> None:
        """Forget what was written."""
        self._inner.abort()


def unpack(pieces: Iterator[bytes], form: Format, *, where: str) -> Iterator[bytes]:
    """Unpack a value, in bounded memory.

    Args:
        pieces: The compressed bytes.
        form: How they are compressed.
        where: The key and its store, for errors.

    Yields:
        The value, in pieces of about a mebibyte at most; none is empty.

    Raises:
        CodecError: If the value is damaged, ends too early, or something else stands behind it.

    Example:
        >>> form = find_format("gz", "")
        >>> packed = form.compressor()
        >>> b"".join(unpack(iter([packed.compress(b"hello") + packed.flush()]), form, where="here"))
        b'hello'
    """
    part: Decompressor | None = None
    parts = 0
    for data in _cut(pieces):
        rest = data
        while rest:
            if part is None:
                rest = rest.lstrip(b"\0") if form.padded and parts else rest
                if not rest:
                    break
                part = form.decompressor()
                parts += 1
            try:
                unpacked = part.decompress(rest, CHUNK_BYTES)
                rest = b""
                while unpacked or not (part.eof or part.needs_input):
                    if unpacked:
                        yield unpacked
                    unpacked = b"" if part.eof or part.needs_input else part.decompress(b"", CHUNK_BYTES)
            except form.errors as error:
                raise _damaged(form, where, parts, error) from error
            if part.eof:
                rest, part = part.unused_data, None
    if part is not None or not parts:
        raise CodecError(f"{where} ends before its {form.name} data does: it was cut short; store it again")


def check_head(head: bytes, form: Format, *, where: str) -> None:
    """Make sure that a value may be continued in a format.

    Args:
        head: Its first bytes; none of a value that is empty or not there.
        form: The format.
        where: The key and its store, for the error.

    Raises:
        CodecError: If it is not of this format.
    """
    if not head:
        return
    part = form.decompressor()
    try:
        part.decompress(head, CHUNK_BYTES)
        is_such = part.eof or len(head) >= _SURELY_JUDGED
        cause: Exception | None = None
    except form.errors as error:
        is_such, cause = False, error
    if not is_such:
        raise CodecError(
            f"cannot append to {where}: it is not {form.name} data; open it without compression"
        ) from cause


def bounded(pieces: Iterator[bytes], max_bytes: int | None, *, where: str) -> Iterator[bytes]:
    """Pass pieces on as long as there are not too many bytes.

    Args:
        pieces: The value.
        max_bytes: The most bytes it may have; None for any number.
        where: The key and its store, for the error.

    Yields:
        The pieces.

    Raises:
        CodecError: If there are more; none of the piece that is too much is given.
    """
    total = 0
    for piece in pieces:
        total += len(piece)
        if max_bytes is not None and total > max_bytes:
            raise too_large(max_bytes, where=where)
        yield piece


def too_large(max_bytes: int, *, where: str) -> CodecError:
    """Make the error for a value that has more bytes than the caller wants."""
    return CodecError(f"{where} holds more than max_bytes={max_bytes:,}; raise it if you trust the value")


def _cut(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Cut pieces smaller: a library copies what it has not used yet."""
    for piece in pieces:
        for start in range(0, len(piece), _INPUT_BYTES):
            yield piece[start : start + _INPUT_BYTES]


def _damaged(form: Format, where: str, parts: int, error: Exception) -> CodecError:
    if parts > 1:
        return CodecError(f"{where}: what stands behind its {form.name} data is damaged, or something else ({error})")
    return CodecError(f"{where} is no {form.name} data, or damaged ({error}); open it without compression to look")
