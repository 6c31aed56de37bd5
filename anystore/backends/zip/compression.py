"""How values are compressed in a zip archive, piece by piece, in bounded memory.

``zipfile`` unpacks a whole compressed piece of bzip2 or LZMA at once, which a few bytes
can make as long as they like.
"""

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Protocol

from anystore.backend import CHUNK_BYTES
from anystore.backends.zip.records import BZIP2, DEFLATED, LZMA, STORED, Malformed

METHODS: Mapping[str, int] = {"stored": STORED, "deflated": DEFLATED, "bzip2": BZIP2}
"""The methods that values can be written in, by the names of the option."""

ERRORS = (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError)
"""What the libraries raise for damaged bytes."""

_INPUT_BYTES = 1 << 16
_LZMA_HEAD = 4
_MAX_LZMA_WINDOW = 64 << 20


class Compressor(Protocol):
    """Takes a value piece by piece."""

    def compress(self, data: bytes | bytearray | memoryview, /) -> bytes:
        """Take a piece, and give what is ready."""

    def flush(self) -> bytes:
        """Give the rest."""


class _Store:
    """Changes nothing."""

    def compress(self, data: bytes | bytearray | memoryview, /) -> bytes:
        return bytes(data)

    def flush(self) -> bytes:
        return b""


def compressor(method: int) -> Compressor:
    """Make a compressor."""
    if method == DEFLATED:
        return zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return bz2.BZ2Compressor() if method == BZIP2 else _Store()


def compress(method: int, data: bytes) -> bytes:
    """Compress a whole value."""
    if method == DEFLATED:
        return zlib.compress(data, wbits=-zlib.MAX_WBITS)
    return bz2.compress(data) if method == BZIP2 else data


def _inflate(pieces: Iterable[bytes]) -> Iterator[bytes]:
    engine = zlib.decompressobj(-zlib.MAX_WBITS)
    for piece in _smaller(pieces):
        rest: bytes | memoryview = piece
        while rest and not engine.eof:
            yield engine.decompress(rest, CHUNK_BYTES)
            rest = engine.unconsumed_tail
    yield engine.flush()


def _smaller(pieces: Iterable[bytes]) -> Iterator[memoryview]:
    """Cut the pieces small: what is left of one is copied after every piece of the value."""
    for piece in pieces:
        view = memoryview(piece)
        for begin in range(0, len(view), _INPUT_BYTES):
            yield view[begin : begin + _INPUT_BYTES]


class _Engine(Protocol):
    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


def _run(engine: _Engine, pieces: Iterable[bytes]) -> Iterator[bytes]:
    for piece in pieces:
        rest = piece
        while not engine.eof and (rest or not engine.needs_input):
            yield engine.decompress(rest, CHUNK_BYTES)
            rest = b""


def _bunzip(pieces: Iterable[bytes]) -> Iterator[bytes]:
    return _run(bz2.BZ2Decompressor(), pieces)


def _unlzma(pieces: Iterable[bytes]) -> Iterator[bytes]:
    source = iter(pieces)
    head = b""
    while len(head) < _LZMA_HEAD or len(head) < _LZMA_HEAD + int.from_bytes(head[2:4], "little"):
        piece = next(source, b"")
        if not piece:
            raise Malformed("it is cut off")
        head += piece
    end = _LZMA_HEAD + int.from_bytes(head[2:4], "little")
    settings, window = head[_LZMA_HEAD], int.from_bytes(head[_LZMA_HEAD + 1 : end], "little")
    if window > _MAX_LZMA_WINDOW:
        raise Malformed(f"its LZMA window of {window:,} bytes does not fit into memory; unpack it with 7-Zip")
    # the byte holds three numbers: (pb * 5 + lp) * 9 + lc
    rest, literal_context = divmod(settings, 9)
    position_bits, literal_position = divmod(rest, 5)
    chain = {
        "id": lzma.FILTER_LZMA1,
        "dict_size": window,
        "lc": literal_context,
        "lp": literal_position,
        "pb": position_bits,
    }
    engine = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[chain])
    yield from _run(engine, _with_first(head[end:], source))


def _with_first(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def _unstore(pieces: Iterable[bytes]) -> Iterator[bytes]:
    return iter(pieces)


DECOMPRESSORS: Mapping[int, Callable[[Iterable[bytes]], Iterator[bytes]]] = {
    STORED: _unstore,
    DEFLATED: _inflate,
    BZIP2: _bunzip,
    LZMA: _unlzma,
}
"""The methods that can be read. Each gives the value in pieces of at most a MiB; some may be empty."""
