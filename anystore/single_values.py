"""One value by its URI: read, written, opened or streamed without a store.

``scheme://…/name`` is the value ``name`` of the store before it, a path is a file of this
machine, and ``-`` is standard input or standard output.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any, Literal, overload

from anystore.codec_choice import Mode
from anystore.compression import Compression
from anystore.errors import InvalidUri
from anystore.places import Place, parse_place
from anystore.store import Ttl

Uri = str | os.PathLike[str]
"""What names one value."""


def read_uri(
    uri: Uri,
    *,
    raise_on_nonexist: bool | None = None,
    serialization_mode: Mode | None = None,
    model: Any = None,
    deserialization_func: Callable[[bytes], Any] | None = None,
    backend_config: Mapping[str, Any] | None = None,
) -> Any:
    """Read one value.

    Args:
        uri: ``scheme://…/name``, a path, or ``-`` for standard input.
        raise_on_nonexist: Whether a missing value raises, or gives None.
        serialization_mode: How the bytes become a value; ``auto`` if nothing else is said.
        model: A type to validate the value against, or a frame class.
        deserialization_func: From bytes to a value, instead of a mode.
        backend_config: Options and credentials of the backend.

    Returns:
        The value.

    Raises:
        DoesNotExist: If there is none.
        CodecError: If the bytes are not of this serialisation.
        InvalidUri: If the URI names no value of a store.
        InvalidOption: If it names a folder, or an option does not go with it.

    Example:
        >>> write_uri("memory://single/greeting.txt", "hello")
        >>> read_uri("memory://single/greeting.txt")
        'hello'
    """
    place = _find(uri, backend_config)
    return place.store.get(
        place.key,
        raise_on_nonexist=raise_on_nonexist,
        serialization_mode=serialization_mode,
        model=model,
        deserialization_func=deserialization_func,
    )


def write_uri(
    uri: Uri,
    value: Any,
    *,
    serialization_mode: Mode | None = None,
    model: Any = None,
    serialization_func: Callable[[Any], bytes | str] | None = None,
    ttl: Ttl | None = None,
    backend_config: Mapping[str, Any] | None = None,
) -> None:
    """Store one value; whole, or not at all.

    Args:
        uri: ``scheme://…/name``, a path whose folder is there, or ``-`` for standard output.
        value: The value.
        serialization_mode: How the value becomes bytes; ``auto`` if nothing else is said.
        model: A type to validate the value against.
        serialization_func: From the value to bytes or str, instead of a mode.
        ttl: Seconds, or a timedelta, for the value to live, where the backend can keep it.
        backend_config: Options and credentials of the backend.

    Raises:
        CodecError: If the value cannot be written in this serialisation; nothing was changed.
        DoesNotExist: If there is no folder for a file.
        Unsupported: If the backend cannot write, or cannot keep a ttl.
        InvalidUri: If the URI names no value of a store.
        InvalidOption: If it names a folder, or an option does not go with it.
    """
    place = _find(uri, backend_config)
    place.store.put(
        place.key,
        value,
        serialization_mode=serialization_mode,
        model=model,
        serialization_func=serialization_func,
        ttl=ttl,
    )


@overload
def open_uri(
    uri: Uri,
    mode: Literal["rb", "wb", "xb", "ab"] = "rb",
    *,
    compression: Compression | None = None,
    max_bytes: int | None = None,
    backend_config: Mapping[str, Any] | None = None,
) -> IO[bytes]: ...


@overload
def open_uri(
    uri: Uri,
    mode: Literal["r", "rt", "w", "wt", "x", "xt", "a", "at"],
    *,
    encoding: str | None = None,
    newline: str | None = None,
    compression: Compression | None = None,
    max_bytes: int | None = None,
    backend_config: Mapping[str, Any] | None = None,
) -> IO[str]: ...


@overload
def open_uri(
    uri: Uri,
    mode: str,
    *,
    encoding: str | None = None,
    newline: str | None = None,
    compression: Compression | None = None,
    max_bytes: int | None = None,
    backend_config: Mapping[str, Any] | None = None,
) -> IO[Any]: ...


def open_uri(
    uri: Uri,
    mode: str = "rb",
    *,
    encoding: str | None = None,
    newline: str | None = None,
    compression: Compression | None = None,
    max_bytes: int | None = None,
    backend_config: Mapping[str, Any] | None = None,
) -> IO[Any]:
    r"""Open one value as a file, as :meth:`anystore.Store.open` does.

    What is written is published when the block ends; an exception in it leaves the old value as it
    was. Only standard output cannot take back what went out. Standard input and output stay open.

    Args:
        uri: ``scheme://…/name``, a path, or ``-`` for standard input or output.
        mode: ``r``, ``w``, ``x`` (create) or ``a`` (append), with ``b``, which is the default, or as text without.
        encoding: Of text; UTF-8 if None.
        newline: As for the built-in ``open``.
        compression: ``gz``, ``zst``, ``bz2``, ``xz``, ``lz4``, or ``infer`` to go by the end of the name.
        max_bytes: The most bytes that reading may give, unpacked.
        backend_config: Options and credentials of the backend.

    Returns:
        A file.

    Raises:
        DoesNotExist: If a value to be read, or the folder of a file to be written, is not there.
        AlreadyExists: If a value to be created is there.
        InvalidUri: If the URI names no value of a store.
        InvalidOption: If it names a folder, or an option does not go with it.
        Unsupported: If the backend cannot do it.

    Example:
        >>> with open_uri("memory://single/log.txt.gz", "w", compression="infer") as file:
        ...     print("one", "two", sep="\n", file=file)
        >>> list(stream_uri("memory://single/log.txt.gz", compression="infer"))
        ['one', 'two']
    """
    place = _find(uri, backend_config)
    return place.store.open(
        place.key, mode, encoding=encoding, newline=newline, compression=compression, max_bytes=max_bytes
    )


def stream_uri(
    uri: Uri,
    *,
    raise_on_nonexist: bool | None = None,
    serialization_mode: Mode | None = None,
    model: Any = None,
    deserialization_func: Callable[[bytes], Any] | None = None,
    compression: Compression | None = None,
    max_bytes: int | None = None,
    backend_config: Mapping[str, Any] | None = None,
) -> Iterator[Any]:
    """Read one value line by line, in bounded memory, as :meth:`anystore.Store.stream` does.

    Args:
        uri: ``scheme://…/name``, a path, or ``-`` for standard input.
        raise_on_nonexist: Whether a missing value raises, or gives no lines.
        serialization_mode: How each line becomes a value.
        model: A type to validate each line against.
        deserialization_func: From a line's bytes to a value.
        compression: As for :func:`open_uri`.
        max_bytes: As for :func:`open_uri`.
        backend_config: Options and credentials of the backend.

    Returns:
        A value for each line.

    Raises:
        DoesNotExist: If there is no value.
        CodecError: If a line is not of this serialisation, or the value cannot be unpacked.
        InvalidUri: If the URI names no value of a store.
        InvalidOption: If it names a folder, or an option does not go with it.
    """
    place = _find(uri, backend_config)
    return place.store.stream(
        place.key,
        raise_on_nonexist=raise_on_nonexist,
        serialization_mode=serialization_mode,
        model=model,
        deserialization_func=deserialization_func,
        compression=compression,
        max_bytes=max_bytes,
    )


def _find(uri: Uri, backend_config: Mapping[str, Any] | None) -> Place:
    text: Any = os.fspath(uri) if isinstance(uri, os.PathLike) else uri
    if not isinstance(text, str) or not text or "\0" in text:
        raise InvalidUri(f"{uri!r} names no value; write it like './file.txt', 's3://bucket/name.txt' or '-'")
    if text.startswith("~/"):
        text = os.path.expanduser(text)  # noqa: PTH111 - a Path would rewrite the rest
    elif isinstance(uri, os.PathLike) and not text.startswith("/"):
        text = f"./{text}"  # a path is one, whatever it looks like
    return parse_place(text, backend_config=backend_config)
