"""Values under keys, on any backend: the one façade of the package."""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path
from types import EllipsisType, ModuleType
from typing import IO, Any, Literal, Self, overload

from anystore.aio import AsyncStore
from anystore.backend import Backend, Entry, Feature, remaining_ttl
from anystore.backends import open_backend
from anystore.codec_choice import Mode, choose_codec, codec_of_value, select_part, with_functions
from anystore.codecs import Codec, RawCodec
from anystore.compression import Compression, find_format
from anystore.errors import (
    AlreadyExists,
    CodecError,
    DoesNotExist,
    InvalidKey,
    InvalidOption,
    Unsupported,
    VersionMismatch,
)
from anystore.extras import load
from anystore.keys import Key, Selection, parse_key, parse_prefix
from anystore.listings import Entries
from anystore.locks import Lock
from anystore.opening import check_max_bytes, open_value, parse_opening, read_pieces
from anystore.parts import PARQUET_MARK, is_parquet, put_parts, read_part, read_parts, unpacked
from anystore.settings import Settings, read_default_settings, read_settings
from anystore.streams import iterate_lines
from anystore.usage import Usage, measure_usage

Ttl = float | timedelta

_BATCH = 1000
LONGEST_TTL = 1000 * 365 * 86_400
"""Seconds that a value may live at most: calendars end in the year 9999."""

_RAW = RawCodec()
_NEVER_FAIL = ("auto", "raw")  # codecs that can read any bytes


def get_store(
    uri: str | os.PathLike[str] | None = None,
    *,
    serialization_mode: Mode | None = None,
    model: Any = None,
    serialization_func: Callable[[Any], bytes | str] | None = None,
    deserialization_func: Callable[[bytes], Any] | None = None,
    default_ttl: Ttl | None = None,
    raise_on_nonexist: bool | None = None,
    readonly: bool | None = None,
    backend_config: Mapping[str, Any] | None = None,
) -> "Store":
    """Open a store; nothing is connected, read or made before it is used.

    Args:
        uri: A path, or ``scheme://…``. None is the default store: the one of ``ANYSTORE_FILE``
            or ``ANYSTORE_URI``, else ``./anystore-data``.
        serialization_mode: How values become bytes; ``auto`` if nothing else is said.
        model: A pydantic model or another type that values are validated against, or a frame class.
        serialization_func: From a value to bytes or str, instead of a mode.
        deserialization_func: From bytes to a value, instead of a mode.
        default_ttl: Seconds, or a timedelta, for each value to live that is put without ``ttl``.
        raise_on_nonexist: Whether ``get``, ``pop`` and ``stream`` raise for a missing key (they do if
            nothing else is said), or give None.
        readonly: Whether every write is refused.
        backend_config: Options and credentials of the backend; an unknown one is refused.

    Returns:
        The store.

    Raises:
        InvalidUri: If there is no such backend, or the URI is not what it takes.
        InvalidOption: If an option, or a variable of the environment, is not what it can be.
        MissingExtra: If the library that the scheme needs is not installed.
        Unsupported: If ``default_ttl`` is asked of a backend that cannot keep it.

    Example:
        >>> store = get_store("memory://example")
        >>> entry = store.put("greeting", "hello")
        >>> store.get("greeting")
        'hello'
    """
    settings = read_default_settings() if uri is None else read_settings()
    config = settings.backend_config if backend_config is None else backend_config
    backend = open_backend(settings.uri if uri is None else uri, config)
    if settings.readonly if readonly is None and uri is None else readonly:
        backend = load("anystore.backends.wrap").ReadonlyBackend(backend)
    return Store(
        backend,
        serialization_mode=_mode_of(settings) if serialization_mode is None else serialization_mode,
        model=model,
        serialization_func=serialization_func,
        deserialization_func=deserialization_func,
        default_ttl=_default_ttl(settings, backend, is_default=uri is None) if default_ttl is None else default_ttl,
        raise_on_nonexist=settings.raise_on_nonexist if raise_on_nonexist is None else raise_on_nonexist,
    )


def _mode_of(settings: Settings) -> Any:
    return settings.serialization_mode


def _default_ttl(settings: Settings, backend: Backend, *, is_default: bool) -> float | None:
    """Give the environment's ttl; a store that it does not speak of need not be able to keep it."""
    if settings.default_ttl is None or is_default:
        return settings.default_ttl
    return settings.default_ttl if Feature.EXPIRE in backend.features else None


class Store:
    """Values under keys.

    A store is immutable, may be shared between threads, and is pickled by its configuration.

    Args:
        backend: Where the bytes are.
        serialization_mode: How values become bytes.
        model: A type that values are validated against.
        serialization_func: From a value to bytes or str.
        deserialization_func: From bytes to a value.
        default_ttl: Seconds, or a timedelta, for values to live.
        raise_on_nonexist: Whether ``get``, ``pop`` and ``stream`` raise for a missing key.

    Raises:
        InvalidOption: If an argument is not what it can be.
        Unsupported: If the backend cannot keep ``default_ttl``.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        serialization_mode: Mode = "auto",
        model: Any = None,
        serialization_func: Callable[[Any], bytes | str] | None = None,
        deserialization_func: Callable[[bytes], Any] | None = None,
        default_ttl: Ttl | None = None,
        raise_on_nonexist: bool = True,
    ) -> None:
        self._backend = backend
        self._mode = serialization_mode
        self._model = model
        self._functions = (serialization_func, deserialization_func)
        self._ttl = _seconds(default_ttl)
        self._raising = raise_on_nonexist
        self._codec = with_functions(*self._functions, fallback=choose_codec(serialization_mode, model))
        self._fs: Any = None
        if self._ttl is not None and Feature.EXPIRE not in backend.features:
            raise Unsupported(
                f"{backend.uri} cannot let values expire, so it takes no default_ttl; "
                "instead: anystore.anycache, which keeps an expiry in the value"
            )

    def __getstate__(self) -> dict[str, Any]:
        """Pickle the configuration, without what can be made again."""
        return self.__dict__ | {"_fs": None}

    def __repr__(self) -> str:
        """Show the masked URI."""
        return f"<Store {self.uri}>"

    def _repr_html_(self) -> str:
        """Show the store in a notebook: where it is, what it can do, and its first keys."""
        html: str = load("anystore.notebook").store_html(self._backend)
        return html

    @property
    def uri(self) -> str:
        """Where the store is, with secrets masked."""
        return self._backend.uri

    @property
    def features(self) -> Feature:
        """What the backend can do beyond reading."""
        return self._backend.features

    @property
    def backend(self) -> Backend:
        """The backend: bytes under keys."""
        return self._backend

    # -- one value -----------------------------------------------------------

    def get(
        self,
        key: str,
        *,
        raise_on_nonexist: bool | None = None,
        serialization_mode: Mode | None = None,
        model: Any = None,
        deserialization_func: Callable[[bytes], Any] | None = None,
        columns: Sequence[str] | None = None,
        filters: Any = None,
    ) -> Any:
        """Read a value.

        Args:
            key: The key.
            raise_on_nonexist: Whether a missing key raises, or gives None.
            serialization_mode: How the bytes become a value, instead of the store's mode.
            model: A type to validate the value against, or a frame class.
            deserialization_func: From bytes to a value, instead of a mode.
            columns: Of a table, the columns to read, in this order; in Parquet, ``a.b`` is a field of a struct.
            filters: Of a table, the rows to read: ``[("column", ">", 3), …]``, a list of such lists of which one has
                to hold, or an expression of ``pyarrow.compute``. Of a remote file no more is read than they need.

        Returns:
            The value.

        Raises:
            DoesNotExist: If there is none.
            CodecError: If the bytes are not of this serialisation.
            InvalidKey: If the key is none.
            InvalidOption: If the value is no table, or has no such columns.
        """
        codec = select_part(self._choose(serialization_mode, model, None, deserialization_func), columns, filters)
        parsed = parse_key(key)
        try:
            if codec.partial:
                return self._read_part(codec, parsed)
            data = self._backend.get(parsed)
        except DoesNotExist:
            if self._raises(raise_on_nonexist):
                raise
            return None
        return self._decode(codec, parsed, data)

    def put(
        self,
        key: str,
        value: Any,
        *,
        serialization_mode: Mode | None = None,
        model: Any = None,
        serialization_func: Callable[[Any], bytes | str] | None = None,
        ttl: Ttl | None = None,
        if_absent: bool = False,
        if_version: str | EllipsisType | None = ...,
    ) -> Entry:
        """Store a value; whole, or not at all.

        Args:
            key: The key.
            value: The value. A table may be a stream of record batches: one row group at a time is in memory.
            serialization_mode: How the value becomes bytes, instead of the store's mode. With ``auto`` a table
                becomes Parquet.
            model: A type to validate the value against.
            serialization_func: From the value to bytes or str, instead of a mode.
            ttl: Seconds, or a timedelta, for the value to live.
            if_absent: Store only if there is no value.
            if_version: Store only if the value still has this version, as ``info`` and ``put`` give it. None, which
                they give where a version is not known, is refused: it would let the value overwrite any other.

        Returns:
            The entry of the value as it is stored now.

        Raises:
            CodecError: If the value cannot be written in this serialisation; nothing was changed.
            AlreadyExists: If ``if_absent`` is set and there is a value.
            VersionMismatch: If the value has another version than ``if_version``.
            Unsupported: If the backend cannot do what is asked; nothing was changed.
            KeyConflict: If the backend cannot hold this key beside another one.
        """
        if if_absent and if_version is not ...:
            raise InvalidOption(f"put {key!r}: if_absent and if_version exclude each other; pass one")
        if if_version is None:
            raise Unsupported(
                f"put {key!r}: the version of this value in {self.uri} is not known, so that it cannot be compared; "
                "read it with info(), or leave if_version out to overwrite whatever is there"
            )
        version = None if if_version is ... else if_version
        codec = self._choose(serialization_mode, model, serialization_func, None)
        parsed = parse_key(key)
        codec = codec_of_value(codec, value)
        seconds = self._ttl if ttl is None else _seconds(ttl)
        # some services write on a condition only what is given whole
        if codec.in_parts and (codec.is_stream(value) or not (if_absent or version is not None)):
            return self._put_parts(codec, parsed, value, create=if_absent, version=version, ttl=seconds)
        data = self._encode(codec, parsed, value)
        return self._backend.put(parsed, data, create=if_absent, version=version, ttl=seconds)

    def _put_parts(
        self, codec: Codec, key: Key, value: Any, *, create: bool, version: str | None, ttl: float | None
    ) -> Entry:
        def encode_to(write: Callable[[bytes], object]) -> None:
            try:
                codec.encode_to(value, write)
            except CodecError as error:
                raise CodecError(f"cannot write {key!r} to {self.uri}: {error}") from error

        return put_parts(self._backend, key, encode_to, create=create, version=version, ttl=ttl)

    def pop(
        self,
        key: str,
        *,
        raise_on_nonexist: bool | None = None,
        serialization_mode: Mode | None = None,
        model: Any = None,
        deserialization_func: Callable[[bytes], Any] | None = None,
    ) -> Any:
        """Read a value and delete it.

        With TAKE, one of many callers gets the value. Without, this is ``get`` and then
        ``delete``, and several callers may get it. Bytes that cannot be decoded stay.

        Args:
            key: The key.
            raise_on_nonexist: Whether a missing key raises, or gives None.
            serialization_mode: As for ``get``.
            model: As for ``get``.
            deserialization_func: As for ``get``.

        Returns:
            The value.

        Raises:
            DoesNotExist: If there is none.
            CodecError: If the bytes are not of this serialisation.
        """
        codec = self._choose(serialization_mode, model, None, deserialization_func)
        parsed = parse_key(key)
        self._backend.require_write(parsed)
        takes = Feature.TAKE in self.features
        ttl = None
        try:
            if takes and Feature.EXPIRE in self.features and codec.name not in _NEVER_FAIL:
                ttl = remaining_ttl(self._backend.stat(parsed))  # should the value have to be put back
            data = self._backend.take(parsed) if takes else self._backend.get(parsed)
        except DoesNotExist:
            if self._raises(raise_on_nonexist):
                raise
            return None
        try:
            value = self._decode(codec, parsed, data)
        except BaseException:
            if takes:
                self._put_back(parsed, data, ttl)
            raise
        if not takes:
            self._backend.delete(parsed)
        return value

    def _put_back(self, key: Key, data: bytes, ttl: float | None) -> None:
        """Store a value again that was taken, unless another writer has stored a newer one."""
        with suppress(AlreadyExists):
            self._backend.put(key, data, create=Feature.CREATE in self.features, ttl=ttl)

    def stream(
        self,
        key: str,
        *,
        raise_on_nonexist: bool | None = None,
        serialization_mode: Mode | None = None,
        model: Any = None,
        deserialization_func: Callable[[bytes], Any] | None = None,
        compression: Compression | None = None,
        max_bytes: int | None = None,
        columns: Sequence[str] | None = None,
        filters: Any = None,
    ) -> Iterator[Any]:
        r"""Read a value line by line, and a table batch by batch, in bounded memory.

        Args:
            key: The key.
            raise_on_nonexist: Whether a missing key raises, by this call, or gives no lines.
            serialization_mode: How each line becomes a value. JSON and models leave out blank lines.
            model: A type to validate each line against.
            deserialization_func: From a line's bytes to a value.
            compression: As for ``open``.
            max_bytes: As for ``open``.
            columns: Of a table, as for ``get``.
            filters: Of a table, as for ``get``.

        Returns:
            A value for each line; the line ends ``\n`` and ``\r\n`` are not part of it. Of a table (``parquet``,
            ``arrow``, ``csv``, and Parquet with ``auto``) record batches, or frames of the model.

        Raises:
            DoesNotExist: If there is no value.
            CodecError: If the serialisation has no lines, a line is not of it, or the value cannot be unpacked.
            InvalidOption: If the compression is unknown, or a table has no such columns.
            VersionMismatch: If the value is replaced meanwhile, and the backend cannot read on.
        """
        codec = select_part(self._choose(serialization_mode, model, None, deserialization_func), columns, filters)
        parsed = parse_key(key)
        if not codec.by_line and not codec.in_parts:
            raise CodecError(f"{key!r} in {self.uri}: {codec.name} has no lines; use get()")
        form, most = find_format(compression, parsed), check_max_bytes(max_bytes)
        where = f"{parsed!r} in {self.uri}"
        try:
            if codec.in_parts:
                reader = unpacked(self._backend.reader(parsed), form, most, where=where)
                return read_parts(codec, reader, where=where)
            pieces = self._backend.read(parsed)
            if codec.name == "auto" and form is None:
                first = next(pieces, b"")
                if first.startswith(PARQUET_MARK) and is_parquet(self._backend.reader(parsed)):
                    return self.stream(parsed, serialization_mode="parquet", max_bytes=most)
                pieces = chain([first], pieces)
        except DoesNotExist:
            if self._raises(raise_on_nonexist):
                raise
            return iter(())
        return self._decode_lines(codec, parsed, read_pieces(pieces, form, most, where=where))

    def _decode_lines(self, codec: Codec, key: Key, pieces: Iterator[bytes]) -> Iterator[Any]:
        for line in iterate_lines(pieces):
            if line or not codec.skips_blank_lines:
                yield self._decode(codec, key, line)

    def delete(self, key: str) -> None:
        """Delete a value; a missing key is no error."""
        self._backend.delete(parse_key(key))

    def exists(self, key: str) -> bool:
        """Tell whether there is a value."""
        return self._backend.exists(parse_key(key))

    def info(self, key: str) -> Entry:
        """Say what is known of a value without reading it.

        Raises:
            DoesNotExist: If there is none.
        """
        return self._backend.stat(parse_key(key))

    def checksum(self, key: str, algorithm: str = "sha256") -> str:
        """Compute the checksum of a value, in bounded memory.

        Args:
            key: The key.
            algorithm: A name that ``hashlib`` knows.

        Returns:
            The checksum in hexadecimal.

        Raises:
            DoesNotExist: If there is no value.
            InvalidOption: If the algorithm is unknown.
        """
        parsed = parse_key(key)
        try:
            digest = hashlib.new(algorithm, usedforsecurity=False)
            digest.hexdigest()
        except (ValueError, TypeError) as error:
            raise InvalidOption(f"{algorithm!r} is no checksum; use 'sha256', 'md5', 'blake2b' or 'sha1'") from error
        for piece in self._backend.read(parsed):
            digest.update(piece)
        return digest.hexdigest()

    def touch(self, key: str) -> datetime:
        """Store the current time.

        Returns:
            The time that was stored, aware, in UTC.
        """
        now = datetime.now(UTC)
        self.put(key, now, serialization_mode="auto")
        return now

    def append(self, key: str, data: bytes | str) -> None:
        """Add bytes, or text as UTF-8, at the end of a value, or make it; one call is one step.

        Raises:
            Unsupported: If the backend has no APPEND.
        """
        parsed = parse_key(key)
        self._backend.append(parsed, self._encode(_RAW, parsed, data))

    @overload
    def open(
        self,
        key: str,
        mode: Literal["rb", "wb", "xb", "ab"] = "rb",
        *,
        compression: Compression | None = None,
        max_bytes: int | None = None,
    ) -> IO[bytes]: ...

    @overload
    def open(
        self,
        key: str,
        mode: Literal["r", "rt", "w", "wt", "x", "xt", "a", "at"],
        *,
        encoding: str | None = None,
        newline: str | None = None,
        compression: Compression | None = None,
        max_bytes: int | None = None,
    ) -> IO[str]: ...

    @overload
    def open(
        self,
        key: str,
        mode: str,
        *,
        encoding: str | None = None,
        newline: str | None = None,
        compression: Compression | None = None,
        max_bytes: int | None = None,
    ) -> IO[Any]: ...

    def open(
        self,
        key: str,
        mode: str = "rb",
        *,
        encoding: str | None = None,
        newline: str | None = None,
        compression: Compression | None = None,
        max_bytes: int | None = None,
    ) -> IO[Any]:
        r"""Open a value as a file.

        Leaving a ``with`` block, or ``close``, commits what was written; an exception in the
        block aborts it, and so does forgetting the file. Until then nobody sees it.

        Args:
            key: The key.
            mode: ``r``, ``w``, ``x`` (create) or ``a`` (append), with ``b``, which is the default, or as
                text without.
            encoding: Of text; UTF-8 if None.
            newline: As for the built-in ``open``; text that is written keeps its ``\n`` on every system.
            compression: ``gz``, ``zst``, ``bz2``, ``xz``, ``lz4``, or ``infer`` to go by the end of the key.
            max_bytes: The most bytes that reading may give, unpacked; for values that nobody vouches for.

        Returns:
            A file; seekable for reading where the backend has ranges.

        Raises:
            DoesNotExist: If a value to be read is not there.
            AlreadyExists: If a value to be created is there.
            InvalidOption: If the mode is none of these, or the encoding, newline or compression unknown.
            CodecError: If a value to be appended to is not compressed so. Reading raises it for one that is
                damaged, cut short, or has more than ``max_bytes``.
            Unsupported: If the backend cannot do it.
        """
        parsed = parse_key(key)
        opening = parse_opening(
            parsed, mode, encoding=encoding, newline=newline, compression=compression, max_bytes=max_bytes
        )
        return open_value(self._backend, parsed, opening, ttl=self._ttl)

    # -- moving --------------------------------------------------------------

    def copy(self, key: str, target_key: str | None = None, *, target_store: "Store | None" = None) -> None:
        """Copy a value, in bounded memory, with its expiry.

        Args:
            key: The key.
            target_key: The key of the copy; the same one if None.
            target_store: The store of the copy; this one if None.

        Raises:
            DoesNotExist: If there is no value.
            InvalidOption: If neither another key nor another store is given.
            Unsupported: If the value expires, and the other store cannot let it.
        """
        if target_key is None and target_store is None:
            raise InvalidOption(f"copy {key!r}: pass a target_key, a target_store, or both")
        source, target = parse_key(key), parse_key(key if target_key is None else target_key)
        if target_store is None or target_store.backend is self._backend:
            if source == target:
                self._backend.stat(source)
            else:
                self._backend.copy(source, target)
            return
        with (
            self._backend.reader(source) as reader,
            target_store.backend.writer(target, ttl=remaining_ttl(reader.entry)) as writer,
        ):
            copied = sum(writer.write(piece) for piece in reader.read())
            if reader.entry.size not in (None, copied):
                raise VersionMismatch(
                    f"{key!r} in {self.uri} has {reader.entry.size:,} bytes, and {copied:,} came; copy it again"
                )

    def move(self, key: str, target_key: str) -> None:
        """Move a value to another key, with its expiry.

        With MOVE this is one step. Without, the value is copied, the copy checked, and the
        value deleted; another writer's value may be lost in between.

        Raises:
            DoesNotExist: If there is no value.
            VersionMismatch: If it was replaced while it was copied; both values are kept.
        """
        source, target = parse_key(key), parse_key(target_key)
        if Feature.MOVE in self.features:
            self._backend.move(source, target)
            return
        self._backend.require_write(target)
        before = self._backend.stat(source)
        if source == target:
            return
        self._backend.copy(source, target)
        if before.size is not None and self._backend.stat(target).size != before.size:
            raise VersionMismatch(f"{key!r} in {self.uri} was changed while it was moved; both values are kept")
        after = self._backend.stat(source)
        if (after.version, after.size, after.modified) != (before.version, before.size, before.modified):
            raise VersionMismatch(f"{key!r} in {self.uri} was replaced while it was moved; both values are kept")
        self._backend.delete(source)

    # -- many values ---------------------------------------------------------

    def iterate_keys(
        self, prefix: str | None = None, exclude_prefix: str | None = None, glob: str | None = None
    ) -> Iterator[str]:
        """List keys, lazily.

        Args:
            prefix: A folder to list; ``a/b`` covers ``a/b/c``, not ``a/bc`` and not ``a/b``.
            exclude_prefix: A folder to leave out.
            glob: A pattern for the keys relative to the prefix; see :func:`anystore.keys.match_glob`.

        Returns:
            Whole keys.

        Raises:
            InvalidKey: If a prefix is no folder, or the pattern no glob.
            Unsupported: If the backend cannot list.
        """
        selection = Selection(prefix, exclude_prefix, glob)
        return filter(selection.covers, self._backend.keys(selection.folder))

    def entries(
        self, prefix: str | None = None, exclude_prefix: str | None = None, glob: str | None = None
    ) -> Iterator[Entry]:
        """List what is known of each value, lazily; arguments as for ``iterate_keys``.

        Returns:
            An iterator of entries, which a notebook shows as a table.
        """
        return Entries(self._backend, Selection(prefix, exclude_prefix, glob))

    def to_arrow(self, prefix: str | None = None, exclude_prefix: str | None = None, glob: str | None = None) -> Any:
        """List what is known of each value as a table; arguments as for ``iterate_keys``.

        Returns:
            A ``pyarrow.Table`` with the columns of an entry: key, size, modified, version, mimetype, expires.

        Raises:
            MissingExtra: If pyarrow is not installed.
        """
        return load("anystore.entry_tables").entries_to_arrow(self.entries(prefix, exclude_prefix, glob))

    def usage(self, prefix: str | None = None, *, depth: int = 1) -> Usage:
        """Add up where the bytes are; every key is listed, and no value is read.

        Args:
            prefix: A folder to look at.
            depth: How many levels of folders are told apart.

        Returns:
            An :class:`anystore.usage.Usage`: rows, and bars where it is printed or shown in a notebook.

        Raises:
            InvalidOption: If ``depth`` is no number of levels.

        Example:
            >>> store = get_store("memory://bytes")
            >>> entry = store.put("reports/may", "fine")
            >>> print(store.usage())
            memory://bytes: 4 B in 1 value
            reports/  ████████████████████████       4 B  1 value
        """
        folder = parse_prefix(prefix)
        return measure_usage(self.entries(folder), uri=self.uri, prefix=folder, depth=depth)

    def iterate_values(
        self,
        prefix: str | None = None,
        exclude_prefix: str | None = None,
        glob: str | None = None,
        *,
        serialization_mode: Mode | None = None,
        model: Any = None,
        deserialization_func: Callable[[bytes], Any] | None = None,
        columns: Sequence[str] | None = None,
        filters: Any = None,
    ) -> Iterator[Any]:
        """Read the values of many keys, lazily; one that vanishes meanwhile is left out.

        Args:
            prefix: As for ``iterate_keys``.
            exclude_prefix: As for ``iterate_keys``.
            glob: As for ``iterate_keys``.
            serialization_mode: As for ``get``.
            model: As for ``get``.
            deserialization_func: As for ``get``.
            columns: As for ``get``.
            filters: As for ``get``.

        Returns:
            The values.
        """
        codec = select_part(self._choose(serialization_mode, model, None, deserialization_func), columns, filters)
        keys = self.iterate_keys(prefix, exclude_prefix, glob)
        return (value for _, value in self._read_many(codec, (Key(key) for key in keys)))

    def get_many(self, keys: Iterable[str]) -> Iterator[tuple[str, Any]]:
        """Read many values.

        Args:
            keys: The keys.

        Returns:
            Each key with its value, in this order; missing keys are left out.
        """
        return self._read_many(self._codec, map(parse_key, _several(keys)))

    def _read_many(self, codec: Codec, keys: Iterable[Key]) -> Iterator[tuple[str, Any]]:
        if codec.partial:
            for parsed in keys:
                try:
                    part = self._read_part(codec, parsed)
                except DoesNotExist:
                    continue
                yield parsed, part
            return
        for key, data in self._backend.get_many(keys):
            if data is not None:
                yield key, self._decode(codec, key, data)

    def put_many(self, items: Mapping[str, Any] | Iterable[tuple[str, Any]]) -> None:
        """Store many values; each is whole or absent, all together are not one step.

        Args:
            items: A mapping, or pairs of key and value, which are taken one after the other.

        Raises:
            InvalidOption: If ``items`` is neither; pairs before the one that is none are stored.
        """
        encoded = ((parsed := parse_key(key), self._encode_any(parsed, value)) for key, value in _pairs(items))
        self._backend.put_many(encoded, ttl=self._ttl)

    def delete_many(self, keys: Iterable[str]) -> None:
        """Delete many values; missing keys are no error."""
        self._backend.delete_many(map(parse_key, _several(keys)))

    def delete_prefix(self, prefix: str) -> None:
        """Delete every value below a folder.

        Raises:
            InvalidKey: If the folder is empty, which would be the whole store.
        """
        folder = parse_prefix(prefix)
        if not folder:
            raise InvalidKey(
                "delete_prefix needs a folder; to empty a store: store.delete_many(list(store.iterate_keys()))"
            )
        self._backend.require_write(Key(folder + "*"))
        # listed to the end, a batch at a time, before it is deleted: listings need not survive deletions
        while batch := [Key(key) for _, key in zip(range(_BATCH), self._backend.keys(folder), strict=False)]:
            self._backend.delete_many(batch)

    # -- other views ---------------------------------------------------------

    def under(self, prefix: str) -> "Store":
        """Give the store of a folder: its keys are relative to the prefix, and it cannot leave it.

        Example:
            >>> store = get_store("memory://views")
            >>> entry = store.under("reports").put("may", "fine")
            >>> list(store.iterate_keys())
            ['reports/may']
        """
        folder = parse_prefix(prefix)
        if not folder:
            raise InvalidKey("under needs a folder such as 'reports'")
        return self._copy_with(load("anystore.backends.wrap").PrefixBackend(self._backend, folder))

    def using(
        self,
        *,
        serialization_mode: Mode | None = None,
        model: Any = None,
        serialization_func: Callable[[Any], bytes | str] | None = None,
        deserialization_func: Callable[[bytes], Any] | None = None,
        default_ttl: Ttl | None = None,
        raise_on_nonexist: bool | None = None,
    ) -> "Store":
        """Give the same store with other defaults; what is not given stays.

        A new mode, model or function replaces all three.
        """
        replaces = not (
            serialization_mode is None and model is None and serialization_func is None and deserialization_func is None
        )
        return Store(
            self._backend,
            serialization_mode=self._mode if serialization_mode is None else serialization_mode,
            model=model if replaces else self._model,
            serialization_func=serialization_func if replaces else self._functions[0],
            deserialization_func=deserialization_func if replaces else self._functions[1],
            default_ttl=self._ttl if default_ttl is None else default_ttl,
            raise_on_nonexist=self._raises(raise_on_nonexist),
        )

    @property
    def aio(self) -> "AsyncStore[Store]":
        """The same store for ``await``; see :mod:`anystore.aio`."""
        return AsyncStore(self)

    @property
    def fs(self) -> Any:
        """The store as one of fsspec's filesystems; see :class:`anystore.filesystem.StoreFileSystem`.

        Example:
            >>> store = get_store("memory://reports")
            >>> store.fs.pipe("2024/may.txt", b"fine")
            >>> store.fs.find("2024")
            ['2024/may.txt']
        """
        if self._fs is None:
            self._fs = load("anystore.filesystem").StoreFileSystem(store=self)
        return self._fs

    def local_path(
        self, key: str, *, cache_dir: str | os.PathLike[str] | None = None, cache_size: int | None = None
    ) -> AbstractContextManager[Path]:
        """Give a value as a local file for the length of a ``with`` block; see :func:`anystore.virtual.local_path`.

        Args:
            key: The key.
            cache_dir: A folder that keeps copies of remote values for the next time.
            cache_size: The most bytes to keep there.

        Returns:
            A context manager that gives the path.
        """
        virtual: ModuleType = load("anystore.virtual")
        context: AbstractContextManager[Path] = virtual.local_path(
            key, self, cache_dir=cache_dir, cache_size=cache_size
        )
        return context

    def lock(self, name: str, *, ttl: Ttl = 30) -> Lock:
        """Give a lock that everyone who opens this store shares.

        Args:
            name: A key-like name; it is apart from the keys of values.
            ttl: Seconds, or a timedelta, after which the lock of a holder that is gone may be taken over.

        Returns:
            The :class:`anystore.Lock`, for a ``with`` block.

        Raises:
            Unsupported: If the backend has no CREATE or no SWAP.

        Example:
            >>> with get_store("memory://jobs").lock("nightly") as lock:
            ...     lock.held, lock.token
            (True, 1)
        """
        return Lock(self._backend, name, ttl=_checked_seconds(ttl))

    def close(self) -> None:
        """Close the connections; the next use opens them again."""
        self._backend.close()

    def __enter__(self) -> Self:
        """Enter a block that closes the connections."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the connections."""
        self.close()

    # -- how values become bytes ---------------------------------------------

    def _copy_with(self, backend: Backend) -> "Store":
        return Store(
            backend,
            serialization_mode=self._mode,
            model=self._model,
            serialization_func=self._functions[0],
            deserialization_func=self._functions[1],
            default_ttl=self._ttl,
            raise_on_nonexist=self._raising,
        )

    def _raises(self, raise_on_nonexist: bool | None) -> bool:  # noqa: FBT001 - as the caller gave it
        return self._raising if raise_on_nonexist is None else raise_on_nonexist

    def _choose(
        self,
        mode: Mode | None,
        model: Any,
        serialization_func: Callable[[Any], bytes | str] | None,
        deserialization_func: Callable[[bytes], Any] | None,
    ) -> Codec:
        """Give the codec of one call: what the call names, else the store's."""
        if mode is None and model is None:
            codec = self._codec
        else:
            codec = choose_codec(self._mode if mode is None else mode, model)
        return with_functions(serialization_func, deserialization_func, fallback=codec)

    def _encode(self, codec: Codec, key: Key, value: Any) -> bytes:
        try:
            return codec.encode(value)
        except CodecError as error:
            raise CodecError(f"cannot write {key!r} to {self.uri}: {error}") from error

    def _encode_any(self, key: Key, value: Any) -> bytes:
        return self._encode(codec_of_value(self._codec, value), key, value)

    def _read_part(self, codec: Codec, key: Key) -> Any:
        return read_part(codec, self._backend.reader(key), where=f"{key!r} in {self.uri}")

    def _decode(self, codec: Codec, key: str, data: bytes) -> Any:
        try:
            return codec.decode(data)
        except CodecError as error:
            raise CodecError(f"cannot read {key!r} in {self.uri}: {error}") from error


def _pairs(items: Any) -> Iterator[tuple[str, Any]]:
    """Refuse what holds no pairs: a text of two letters would be a key and a value, too."""
    if not isinstance(items, Iterable):
        raise InvalidOption(f"a mapping, or pairs of key and value, are wanted, not {type(items).__name__}")
    for pair in items.items() if isinstance(items, Mapping) else items:
        if not isinstance(pair, tuple | list) or len(pair) != 2:  # noqa: PLR2004
            raise InvalidOption(f"pairs of key and value are wanted, not {pair!r:.80}")
        yield pair[0], pair[1]


def _several(keys: Iterable[str]) -> Iterable[str]:
    """Refuse one key in the place of many: its letters are keys, too."""
    if not isinstance(keys, Iterable):
        raise InvalidOption(f"an iterable of keys is wanted, not {type(keys).__name__}")
    if isinstance(keys, str):
        raise InvalidOption(f"{keys!r} is one key, and many are wanted; pass [{keys!r}]")
    return keys


def _seconds(ttl: Ttl | None) -> float | None:
    """Check a time to live, and give it in seconds; None is for ever."""
    return None if ttl is None else _checked_seconds(ttl)


def _checked_seconds(ttl: Ttl) -> float:
    seconds = ttl.total_seconds() if isinstance(ttl, timedelta) else ttl
    if type(seconds) not in (int, float) or not 0 < seconds <= LONGEST_TTL:
        raise InvalidOption(
            f"a ttl is a timedelta or a number of seconds above 0, up to a thousand years, not {ttl!r}; "
            "to delete a value use delete()"
        )
    return float(seconds)
