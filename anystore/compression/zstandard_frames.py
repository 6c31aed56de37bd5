"""Zstandard, as frames with a checksum."""

import zstandard

from anystore.compression import Format

_MAX_WINDOW = 1 << 27  # as the command `zstd` has it
# A block of four bytes can stand for 128 KiB, and the library unpacks all that it is given at once: this is 16 MiB.
_INPUT_BYTES = 512


class _Decompressor:
    """zstandard's, given a little at a time, so that what it unpacks at once is bounded."""

    def __init__(self) -> None:
        self._inner = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW).decompressobj()
        self._taken = b""
        self._position = 0

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return self._position >= len(self._taken)

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data + self._taken[self._position :]

    def decompress(self, data: bytes, max_length: int) -> bytes:
        self._taken = self._taken[self._position :] + data if self._position < len(self._taken) else data
        self._position = 0
        unpacked: list[bytes] = []
        size = 0
        while self._position < len(self._taken) and size < max_length and not self._inner.eof:
            piece = self._inner.decompress(self._taken[self._position : self._position + _INPUT_BYTES])
            self._position += _INPUT_BYTES
            unpacked.append(piece)
            size += len(piece)
        return unpacked[0] if len(unpacked) == 1 else b"".join(unpacked)


FORMAT = Format(
    "zst",
    lambda: zstandard.ZstdCompressor(write_checksum=True).compressobj(),
    _Decompressor,
    errors=(zstandard.ZstdError, EOFError),
)
"""Zstandard frames."""
