"""What names one value: a key of a store, a URI, a file, or ``-``."""

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from anystore.backend import CHUNK_BYTES, Backend
from anystore.backends.lone import FileBackend, StandardBackend
from anystore.console import standard_input, standard_output
from anystore.errors import AnystoreError, DoesNotExist, InvalidOption, InvalidUri
from anystore.keys import parse_key
from anystore.settings import read_settings
from anystore.store import Store, get_store
from anystore.uris import parse_uri

STANDARD = "-"
"""The name of standard input and standard output."""

_WEB = ("http", "https")
_SHOWN_NAME = 255
_OF_ONE_FILE = ("sqlite", "zip")
_WITH_DATABASE = ("postgresql", "postgres", "mysql", "mariadb")
_WITH_NUMBER = ("redis", "rediss", "valkey", "valkeys")


@dataclass(frozen=True)
class Place:
    """Where one value is, or is to be.

    Attributes:
        store: The store; of a file, one that holds nothing else.
        key: The key.
    """

    store: Store
    key: str

    @property
    def name(self) -> str:
        """What the value is called in a folder; ``""`` for standard input."""
        return self.key.rpartition("/")[2]


class StoredPlace(Place):
    """A value of a store."""


class FilePlace(Place):
    """A file of this machine.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        # a file's name may be no text, and a key is for messages and the end of the name
        name = os.fsencode(path.name or path).decode(errors="replace")
        super().__init__(_lone_store(FileBackend(path)), name[-_SHOWN_NAME:])


class StandardPlace(Place):
    """Standard input, or standard output."""

    def __init__(self) -> None:
        is_terminal = lambda: sys.stdout.isatty()  # noqa: E731, PLW0108 - looked at when something is written
        super().__init__(_lone_store(StandardBackend(standard_input, standard_output, is_terminal)), STANDARD)

    @property
    def name(self) -> str:
        """It has no name."""
        return ""


def parse_place(
    text: str,
    open_store: Callable[[], Store] | None = None,
    *,
    name: str | None = None,
    backend_config: Mapping[str, Any] | None = None,
) -> Place:
    """Find out what a text names.

    ``-`` is standard input or output; ``scheme://…/name`` is the value ``name`` of the store
    before it; ``/…``, ``./…`` and ``../…`` are files, or values in a zip file on the way. Nothing of this
    can be a key, so that everything else is one, or a file where there are no keys.

    Args:
        text: What was typed.
        open_store: Opens the store whose keys are meant; None if plain names are files.
        name: What a value is called that goes into a folder (``folder/``, ``s3://bucket/folder/``,
            an existing local folder); None where folders are not taken.
        backend_config: Options and credentials for the store of a URI.

    Returns:
        The place; nothing was opened or asked of a store yet.

    Raises:
        InvalidKey: If the text is none of these.
        InvalidUri: If a URI names no value of a store.
        InvalidOption: If the text names a folder, and there is no name to put into it, or there are
            options and no store that would take them.

    Example:
        >>> place = parse_place("memory://books/a%20b.txt")
        >>> place.store.uri, place.key
        ('memory://books', 'a%20b.txt')
        >>> parse_place("notes.txt").name
        'notes.txt'
    """
    if "://" in text and not text.lower().startswith("file://"):
        return _split_uri(text, name, backend_config)
    if backend_config:
        raise InvalidOption(f"{text!r} is no value of a store, so it takes no backend_config; leave it out")
    if text == STANDARD:
        return StandardPlace()
    if text.lower().startswith("file://"):
        text = _path_of(text)
    if open_store is None or is_path(text):
        archive = _archive_of(text)
        if archive:
            return StoredPlace(get_store(archive), parse_key(text[len(archive) + 1 :]))
        if text.endswith("/") or os.path.isdir(text):  # noqa: PTH112 - unlike a Path, it takes names of any length
            return FilePlace(Path(text, _within(text, name)))
        return FilePlace(Path(text))
    return StoredPlace(open_store(), parse_key(text + _within(text, name) if text.endswith("/") else text))


def parse_folder(text: str, open_store: Callable[[], Store]) -> Store:
    """Find out which folder of values a text names, and give it as a store of its own.

    Args:
        text: A URI, a local folder (``/…``, ``./…``, ``../…``), or a folder of keys.
        open_store: Opens the store whose keys are meant.

    Returns:
        The store; its keys are relative to the folder.

    Raises:
        InvalidOption: If the text is ``-``.
        InvalidKey: If the text is none of these.
    """
    if text == STANDARD:
        raise InvalidOption("'-' holds one value; to copy a folder, name a store, a local folder or a folder of keys")
    return get_store(text) if "://" in text or is_path(text) else open_store().under(text)


def copy_place(source: Place, target: Place) -> None:
    """Copy one value, in bounded memory; the target is written whole or left as it was.

    Args:
        source: Where it is.
        target: Where it is to be.

    Raises:
        DoesNotExist: If there is no value; the target was not touched.
    """
    if isinstance(source, StoredPlace) and isinstance(target, StoredPlace):
        source.store.copy(source.key, target.key, target_store=target.store)  # with its expiry
        return
    at_once = not isinstance(target, StoredPlace)
    with source.store.open(source.key, "rb") as reader, target.store.open(target.key, "wb") as writer:
        while piece := reader.read1(CHUNK_BYTES):  # type: ignore[attr-defined] # every reader is buffered
            writer.write(piece)
            if at_once:
                writer.flush()


def copy_folder(source: Store, target: Store) -> Iterator[tuple[str, AnystoreError | None]]:
    """Copy every value of a store, in bounded memory; one that fails does not stop the rest.

    Args:
        source: The store.
        target: The other store.

    Yields:
        Each key, with the error that kept it from being copied.

    Raises:
        InvalidOption: If one of the stores lies in the other.
        DoesNotExist: If the store holds no value.
    """
    above, below = (store.uri.rstrip("/") + "/" for store in (source, target))
    if above.startswith(below) or below.startswith(above):
        raise InvalidOption(f"{source.uri} and {target.uri} lie in each other; copy to another folder")
    key = None
    for key in source.iterate_keys():
        try:
            source.copy(key, target_store=target)
        except AnystoreError as error:
            yield key, error
        else:
            yield key, None
    if key is None:
        raise DoesNotExist(f"there is no value in {source.uri}")


def value_uri(store: Store, key: str) -> str:
    """Give the masked URI of one value, percent-encoded where the web wants it.

    Example:
        >>> value_uri(get_store("memory://books"), "a/b")
        'memory://books/a/b'
    """
    if "://" not in store.uri:
        return f"{store.uri.rstrip('/')}/{key}"
    head, mark, query = store.uri.partition("?")
    written = quote(key, safe="/") if parse_uri(store.uri).scheme in _WEB else key
    return f"{head.rstrip('/')}/{written}{mark}{query}"


def is_path(text: str) -> bool:
    """Tell whether a text is a local path; no key looks like one.

    Example:
        >>> is_path("./a"), is_path("a/b")
        (True, False)
    """
    return text in (".", "..") or text.startswith(("/", "./", "../"))


def _lone_store(backend: Backend) -> Store:
    """Make the store of one value, with the settings of every store."""
    settings = read_settings()
    mode: Any = settings.serialization_mode
    return Store(backend, serialization_mode=mode, raise_on_nonexist=settings.raise_on_nonexist)


def _archive_of(text: str) -> str:
    """Give the zip file that a path leads into, or nothing."""
    end = text.lower().find(".zip/") + len(".zip")
    while end >= len(".zip"):
        if os.path.isfile(text[:end]):  # noqa: PTH113 - a Path would rewrite the text, which is cut here
            return text[:end]
        end = text.lower().find(".zip/", end) + len(".zip")
    return ""


def _split_uri(text: str, name: str | None, backend_config: Mapping[str, Any] | None) -> StoredPlace:
    """Take the end of a URI as the key in the store before it."""
    masked, scheme = parse_uri(text).masked, parse_uri(text).scheme
    head, mark, query = text.partition("?")
    store, slash, key = _split_address(head, scheme.partition("+")[0])
    if not slash or not store.partition("://")[2]:
        example = f"{masked.rstrip('/')}/name.txt" if head.partition("://")[2].strip("/") else f"{scheme}://…/name.txt"
        raise InvalidUri(f"{masked} names a store, not a value in it; write it like '{example}'")
    key = unquote(key) if scheme in _WEB else key
    if not key or key.endswith("/"):
        key += _within(masked, name)
    return StoredPlace(get_store(store + mark + query, backend_config=backend_config), parse_key(key))


def _split_address(address: str, scheme: str) -> tuple[str, str, str]:
    """Cut before the last segment, or behind what cannot be missing: ``redis://host/0`` is no key of ``redis://host``.

    Returns:
        The store, what cuts the key off or ``""``, and the key.
    """
    if scheme in _WITH_DATABASE:
        head, colon, rest = address.partition("://")
        host, _, path = rest.partition("/")
        database, slash, key = path.partition("/")  # a database has no folders, so the rest is one key
        return f"{head}{colon}{host}/{database}", slash, key
    if scheme in _OF_ONE_FILE:
        found = _cut_behind_file(address)
        if found is not None:
            return found
    store, slash, key = address.rpartition("/")
    return store, "" if scheme in _WITH_NUMBER and "/" not in store.partition("://")[2] else slash, key


def _cut_behind_file(address: str) -> tuple[str, str, str] | None:
    """Cut behind the first file on the way: what follows it is a key, however many folders that has."""
    scheme, _, path = address.partition(":///")
    ends = [number for number, character in enumerate(path) if character == "/" and number]
    for end in (*ends, len(path)):
        file = path[:end] if scheme.startswith("sqlite") else unquote(f"/{path[:end]}")
        if os.path.isfile(file):  # noqa: PTH113 - as in _archive_of
            return f"{scheme}:///{path[:end]}", path[end : end + 1], path[end + 1 :]
    return None


def _path_of(uri: str) -> str:
    parts = parse_uri(uri)
    if parts.host not in ("", "localhost") or not parts.path or parts.query:
        raise InvalidUri(f"{parts.masked} is no file of this machine: write 'file:///folder/name', or the path alone")
    return unquote(parts.path)


def _within(folder: str, name: str | None) -> str:
    """Give the name for a value that goes into a folder."""
    if not name:
        why = "names a folder, not a value" if name is None else "is a folder, and standard input has no name"
        raise InvalidOption(f"{folder!r} {why}; write the whole name, such as '{folder.rstrip('/')}/name.txt'")
    return name
