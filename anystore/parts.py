"""Values that are written and read part by part: of any size, in bounded memory."""

from collections.abc import Callable, Iterator
from typing import Any

from anystore.backend import CHUNK_BYTES, Backend, Entry, Reader, Writer
from anystore.codecs import Codec
from anystore.compression import Format, too_large
from anystore.errors import CodecError, InvalidOption
from anystore.keys import Key
from anystore.opening import read_pieces

PARQUET_MARK = b"PAR1"
"""What a Parquet file begins and ends with."""

_WHOLE_BYTES = 8 << 20
_FOOTER_BYTES = 8  # its length in four bytes, and the mark


class PartsWriter:
    """A value that is put whole while it is short; the backend's writer is opened once it is long.

    Args:
        put: Stores a short value.
        open_writer: Opens the writer of a long one.
    """

    def __init__(self, put: Callable[[bytes], Entry], open_writer: Callable[[], Writer]) -> None:
        self._put = put
        self._open = open_writer
        self._held: list[bytes] = []
        self._size = 0
        self._writer: Writer | None = None

    def write(self, data: bytes) -> None:
        """Add bytes."""
        self._held.append(data)
        self._size += len(data)
        if self._writer is None and self._size > _WHOLE_BYTES:
            self._writer = self._open()
        if self._writer is not None and self._size >= CHUNK_BYTES:
            self._hand_on(self._writer)

    def _hand_on(self, writer: Writer) -> None:
        held, self._held, self._size = self._held, [], 0
        if held:
            writer.write(b"".join(held))

    def commit(self) -> Entry:
        """Publish the value."""
        if self._writer is None:
            return self._put(b"".join(self._held))
        self._hand_on(self._writer)
        return self._writer.commit()

    def abort(self) -> None:
        """Forget the value; after ``commit`` do nothing."""
        self._held = []
        if self._writer is not None:
            self._writer.abort()


class UnpackedReader(Reader):
    """A value that is unpacked, or counted, on its way, so that it is read from its start to its end.

    Args:
        reader: The value as it is stored.
        unpack: From the stored pieces to those that are read.
    """

    def __init__(self, reader: Reader, unpack: Callable[[Iterator[bytes]], Iterator[bytes]]) -> None:
        self.entry = reader.entry
        self.seekable = False
        self._reader = reader
        self._unpack = unpack

    def read(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """Unpack the value; there is only the whole."""
        if start or stop is not None:
            raise CodecError(f"{self.entry.key!r} is unpacked on its way, so it is read from its start")
        return self._unpack(self._reader.read())

    def close(self) -> None:
        """Let the version go."""
        self._reader.close()


def put_parts(
    backend: Backend,
    key: Key,
    encode_to: Callable[[Callable[[bytes], object]], None],
    *,
    create: bool,
    version: str | None,
    ttl: float | None,
) -> Entry:
    """Store what a function writes, whole or not at all.

    Args:
        backend: Where it goes.
        key: The key.
        encode_to: Is given a function that takes the bytes; if it raises, nothing is stored.
        create: As for ``Backend.put``.
        version: As for ``Backend.put``.
        ttl: As for ``Backend.put``.

    Returns:
        The entry.

    Raises:
        AlreadyExists: If the value is to be created and is there; then nothing is asked of the function.
        Unsupported: If the backend cannot do what is asked.
    """
    backend.require_write(key, create=create, version=version, ttl=ttl)
    if create and backend.exists(key):
        raise backend.taken(key)
    target = PartsWriter(
        lambda data: backend.put(key, data, create=create, version=version, ttl=ttl),
        lambda: backend.writer(key, create=create, version=version, ttl=ttl),
    )
    try:
        encode_to(target.write)
        return target.commit()
    except BaseException:
        target.abort()
        raise


def read_parts(codec: Codec, reader: Reader, *, where: str) -> Iterator[Any]:
    """Read a value part by part, and let it go at the end.

    Args:
        codec: Decodes it.
        reader: The version; it is closed with the iterator.
        where: The key and its store, for errors.

    Returns:
        The parts.

    Raises:
        CodecError: If the bytes are not of this codec; here, or while the parts are read.
        InvalidOption: If what is selected is not there.
    """
    try:
        parts = codec.iterate(reader)
    except BaseException as error:
        reader.close()
        raise _placed(error, where) from error
    opened = _read_parts(parts, reader, where)
    next(opened)  # from here on it closes the reader, also if nobody asks it for a part
    return opened


def _read_parts(parts: Iterator[Any], reader: Reader, where: str) -> Iterator[Any]:
    try:
        with reader:
            yield None
            yield from parts
    except (CodecError, InvalidOption) as error:
        raise _placed(error, where) from error


def _placed(error: BaseException, where: str) -> BaseException:
    """Say of which value an error speaks."""
    return type(error)(f"cannot read {where}: {error}") if isinstance(error, CodecError | InvalidOption) else error


def read_part(codec: Codec, reader: Reader, *, where: str) -> Any:
    """Read what a codec wants of a value, and let the value go; arguments and errors as for ``read_parts``."""
    try:
        with reader:
            return codec.decode_from(reader)
    except (CodecError, InvalidOption) as error:
        raise _placed(error, where) from error


def unpacked(reader: Reader, form: Format | None, max_bytes: int | None, *, where: str) -> Reader:
    """Give the reader of a value as it is without its compression.

    Args:
        reader: The value as it is stored.
        form: How it is compressed, or None.
        max_bytes: The most bytes there may be, unpacked.
        where: The key and its store, for errors.

    Returns:
        The same reader, if there is nothing to do.

    Raises:
        CodecError: If the value is known to be too large.
    """
    size = reader.entry.size
    if form is None and max_bytes is not None and size is not None and size > max_bytes:
        reader.close()
        raise too_large(max_bytes, where=where)
    if form is None and (max_bytes is None or size is not None):
        return reader
    return UnpackedReader(reader, lambda pieces: read_pieces(pieces, form, max_bytes, where=where))


def is_parquet(reader: Reader) -> bool:
    """Tell whether a value that begins like a Parquet file ends like one, and let it go.

    Args:
        reader: The value.

    Returns:
        Whether it does; True if the end cannot be seen.
    """
    with reader:
        size = reader.entry.size
        if size is None or not reader.seekable:
            return True
        footer = b"".join(reader.read(max(0, size - _FOOTER_BYTES), size))
        length = int.from_bytes(footer[: -len(PARQUET_MARK)], "little")
        return footer.endswith(PARQUET_MARK) and length <= size - _FOOTER_BYTES - len(PARQUET_MARK)
