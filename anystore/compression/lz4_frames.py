"""LZ4, as frames with a checksum."""

import lz4.frame

from anystore.compression import Format


class _Compressor:
    """lz4's, which wants its head to be written apart."""

    def __init__(self) -> None:
        self._inner = lz4.frame.LZ4FrameCompressor(content_checksum=True)
        self._head: bytes = self._inner.begin()

    def compress(self, data: bytes | bytearray | memoryview, /) -> bytes:
        head, self._head = self._head, b""
        packed: bytes = self._inner.compress(data)
        return head + packed

    def flush(self) -> bytes:
        head, self._head = self._head, b""
        rest: bytes = self._inner.flush()
        return head + rest


class _Decompressor:
    """lz4's, whose `unused_data` is None where there is none."""

    def __init__(self) -> None:
        self._inner = lz4.frame.LZ4FrameDecompressor()

    @property
    def eof(self) -> bool:
        return bool(self._inner.eof)

    @property
    def needs_input(self) -> bool:
        return bool(self._inner.needs_input)

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data or b""

    def decompress(self, data: bytes, max_length: int) -> bytes:
        unpacked: bytes = self._inner.decompress(data, max_length)
        return unpacked


FORMAT = Format("lz4", _Compressor, _Decompressor, errors=(RuntimeError, EOFError))
"""LZ4 frames."""
