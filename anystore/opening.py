"""What ``open`` is told, and the file it gives: bytes or text, plain or compressed."""

import io
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, Any

from anystore.backend import CHUNK_BYTES, Backend, Reader
from anystore.compression import CompressingWriter, Format, bounded, check_head, find_format, too_large, unpack
from anystore.errors import CodecError, DoesNotExist, InvalidOption
from anystore.keys import Key
from anystore.streams import AppendWriter, TextWriter, ValueReader, ValueWriter

_BUFFER_BYTES = CHUNK_BYTES // 4
_HEAD_BYTES = 1 << 10


@dataclass(frozen=True, slots=True)
class Opening:
    """How a value is to be opened.

    Attributes:
        action: ``r``, ``w``, ``x`` or ``a``.
        encoding: Of text; None for bytes.
        newline: As for the built-in ``open``.
        form: How the value is compressed, or None.
        max_bytes: The most bytes that reading may give; None for any number.
    """

    action: str
    encoding: str | None
    newline: str | None
    form: Format | None
    max_bytes: int | None


def parse_opening(
    key: str,
    mode: str,
    *,
    encoding: str | None = None,
    newline: str | None = None,
    compression: str | None = None,
    max_bytes: int | None = None,
) -> Opening:
    """Check what ``open`` was told, before anything is opened.

    Args:
        key: The key.
        mode: As for the built-in ``open``.
        encoding: Of text; UTF-8 if None.
        newline: As for the built-in ``open``.
        compression: A name, ``infer``, or None.
        max_bytes: The most bytes that reading may give.

    Returns:
        What is to be done.

    Raises:
        InvalidOption: If something is unknown, or does not go with the rest.
        MissingExtra: If the library for the compression is not installed.

    Example:
        >>> opening = parse_opening("a.txt", "w")
        >>> opening.action, opening.encoding
        ('w', 'utf-8')
    """
    action, is_text = _parse_mode(mode)
    if not is_text and (encoding is not None or newline is not None):
        raise InvalidOption(f"open {key!r} with mode {mode!r}: bytes have no encoding or newline; use mode {action!r}")
    if max_bytes is not None and action != "r":
        raise InvalidOption(f"open {key!r} with mode {mode!r}: max_bytes bounds what is read; leave it out")
    return Opening(
        action,
        _check_text(encoding or "utf-8", newline) if is_text else None,
        newline,
        find_format(compression, key),
        check_max_bytes(max_bytes),
    )


def check_max_bytes(max_bytes: int | None) -> int | None:
    """Refuse what is no number of bytes.

    Raises:
        InvalidOption: If it is none.
    """
    if max_bytes is not None and (type(max_bytes) is not int or max_bytes < 0):
        raise InvalidOption(f"max_bytes is a number of bytes, not {max_bytes!r}")
    return max_bytes


def open_value(backend: Backend, key: Key, opening: Opening, *, ttl: float | None) -> IO[Any]:
    """Open a value as a file.

    Args:
        backend: Where it is.
        key: The key.
        opening: How.
        ttl: Seconds for a value that is written to live.

    Returns:
        The file.

    Raises:
        DoesNotExist: If a value to be read is not there.
        AlreadyExists: If a value to be created is there.
        CodecError: If a value that is not of the compression is to be continued, or it is known to be too large.
    """
    opened: Any  # the classes of `io` are what `IO` describes, but do not derive from it
    if opening.action == "r":
        opened = _open_reader(backend.reader(key), opening, where=f"{key!r} in {backend.uri}")
        if opening.encoding is not None:
            opened = io.TextIOWrapper(opened, encoding=opening.encoding, newline=opening.newline)
    else:
        at_start = opening.encoding is None or opening.action != "a" or not backend.exists(key)
        opened = _open_writer(backend, key, opening, ttl=ttl)
        if opening.encoding is not None:
            lines = "\n" if opening.newline is None else opening.newline
            opened = TextWriter(opened, encoding=opening.encoding, newline=lines, at_start=at_start)
    file: IO[Any] = opened
    return file


def read_pieces(pieces: Iterator[bytes], form: Format | None, max_bytes: int | None, *, where: str) -> Iterator[bytes]:
    """Unpack the pieces of a value, if they are to be, and stop if there are too many bytes.

    Args:
        pieces: The bytes as they are stored.
        form: How they are compressed, or None.
        max_bytes: The most bytes there may be, unpacked.
        where: The key and its store, for errors.

    Returns:
        The value in pieces.
    """
    unpacked = pieces if form is None else unpack(pieces, form, where=where)
    return unpacked if max_bytes is None else bounded(unpacked, max_bytes, where=where)


def _open_reader(reader: Reader, opening: Opening, *, where: str) -> io.BufferedReader:
    size, form, max_bytes = reader.entry.size, opening.form, opening.max_bytes
    if form is None and max_bytes is not None and size is not None and size > max_bytes:
        reader.close()
        raise too_large(max_bytes, where=where)
    file: io.BufferedReader = io.BufferedReader(ValueReader(reader), buffer_size=_BUFFER_BYTES)
    if form is None and (max_bytes is None or size is not None):
        return file
    unpacked = _UnpackedFile(file, lambda pieces: read_pieces(pieces, form, max_bytes, where=where))
    return io.BufferedReader(unpacked, buffer_size=_BUFFER_BYTES)


def _open_writer(backend: Backend, key: Key, opening: Opening, *, ttl: float | None) -> ValueWriter:
    if opening.action == "a":
        backend.require_append(key)
        if opening.form is not None:
            check_head(_read_head(backend, key), opening.form, where=f"{key!r} in {backend.uri}")
        writer: Any = AppendWriter(backend, key)
    else:
        writer = backend.writer(key, create=opening.action == "x", ttl=ttl)
        if opening.action == "x" and backend.exists(key):
            writer.abort()
            raise backend.taken(key)
    return ValueWriter(writer if opening.form is None else CompressingWriter(writer, opening.form))


def _read_head(backend: Backend, key: Key) -> bytes:
    try:
        return b"".join(backend.read(key, 0, _HEAD_BYTES))
    except DoesNotExist:
        return b""


class _UnpackedFile(io.RawIOBase):
    """A compressed file as what is in it; going back starts again, going forth reads what lies between."""

    def __init__(self, file: io.BufferedReader, unpacking: Callable[[Iterator[bytes]], Iterator[bytes]]) -> None:
        super().__init__()
        self._file = file
        self._unpacking = unpacking
        self._position = 0
        self._rest = memoryview(b"")
        self._pieces = self._start()
        self._failure: CodecError | None = None

    @property
    def name(self) -> Any:
        """The key."""
        return self._file.name

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._file.seekable()

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if not self.seekable():
            raise io.UnsupportedOperation(f"{self.name!r} can be read once, from its start; read it into memory")
        if whence == os.SEEK_END:
            while self._skip(CHUNK_BYTES):
                pass
        target = offset if whence == os.SEEK_SET else self._position + offset
        if target < 0:
            raise ValueError(f"the position {target} lies before the start of {self.name!r}")
        if target < self._position:
            self._file.seek(0)
            self._position, self._rest, self._pieces, self._failure = 0, memoryview(b""), self._start(), None
        while self._position < target and self._skip(target - self._position):
            pass
        return self._position

    def readinto(self, buffer: Any) -> int:
        target = memoryview(buffer).cast("B")
        size = self._fill(len(target))
        target[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        self._position += size
        return size

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()

    def _start(self) -> Iterator[bytes]:
        return self._unpacking(iter(lambda: self._file.read1(CHUNK_BYTES), b""))

    def _fill(self, size: int) -> int:
        """Have bytes at hand, and say how many of a number there are; 0 at the end."""
        if self._failure is not None:  # a second attempt must not look like the end
            raise self._failure
        if not self._rest:
            try:
                self._rest = memoryview(next(self._pieces, b""))
            except CodecError as error:
                self._failure = error
                raise
        return min(size, len(self._rest))

    def _skip(self, size: int) -> int:
        skipped = self._fill(size)
        self._rest = self._rest[skipped:]
        self._position += skipped
        return skipped


def _check_text(encoding: str, newline: str | None) -> str:
    """Refuse what text cannot be written or read in, before anything is opened."""
    try:
        "".encode(encoding)  # unlike a lookup, this refuses what is no encoding of text
    except (LookupError, ValueError, TypeError) as error:
        raise InvalidOption(
            f"encoding {encoding!r} is unknown; use 'utf-8', 'latin-1' or another of Python's"
        ) from error
    if newline not in (None, "", "\n", "\r", "\r\n"):
        raise InvalidOption(f"newline {newline!r} is unknown; use None, '', '\\n', '\\r' or '\\r\\n'")
    return encoding


def _parse_mode(mode: str) -> tuple[str, bool]:
    """Take the mode of ``open`` apart: what to do, and whether it is text."""
    letters = "".join(sorted(str(mode)))
    action = letters.replace("b", "", 1).replace("t", "", 1)
    if action not in ("r", "w", "x", "a") or ("b" in letters and "t" in letters):
        raise InvalidOption(
            f"mode {mode!r} is unknown; use 'r', 'w', 'x' or 'a' for text, with 'b' for bytes; '+' is not to be had"
        )
    return action, "b" not in letters
