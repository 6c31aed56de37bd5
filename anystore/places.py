"""What names one value for a copy: a key of a store, a URI, a file, or ``-``.

A plain file is read and written as a file, not as the store of its folder: a store
would not follow symbolic links that leave the folder, and keeps files of its own in it.
"""

import os
import stat
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import BinaryIO, Protocol, cast
from urllib.parse import quote, unquote

from anystore.backend import CHUNK_BYTES
from anystore.console import standard_input, standard_output
from anystore.errors import AnystoreError, BackendError, DoesNotExist, InvalidOption, InvalidUri
from anystore.keys import parse_key
from anystore.store import Store, get_store
from anystore.uris import parse_uri

STANDARD = "-"
"""The name of standard input and standard output."""

_WEB = ("http", "https")


class ByteReader(Protocol):
    """Whatever gives bytes as they come."""

    def read1(self, size: int, /) -> bytes:
        """Give at most ``size`` bytes; none at the end."""


class ByteWriter(Protocol):
    """Whatever takes bytes."""

    def write(self, data: bytes, /) -> int:
        """Take all of the bytes."""


class Place(ABC):
    """Where one value is, or is to be."""

    name: str
    """What the value is called in a folder; ``""`` for standard input."""

    @abstractmethod
    def read(self) -> AbstractContextManager[ByteReader]:
        """Open the value.

        Raises:
            DoesNotExist: If there is none.
        """

    @abstractmethod
    def write(self) -> AbstractContextManager[ByteWriter]:
        """Open a new value; leaving the block publishes it, an exception leaves the old one as it was."""


@dataclass(frozen=True)
class StoredPlace(Place):
    """A value of a store."""

    store: Store
    key: str

    @property
    def name(self) -> str:  # type: ignore[override] # computed here, given there
        """The last segment of the key."""
        return self.key.rpartition("/")[2]

    def read(self) -> AbstractContextManager[ByteReader]:
        """Open one version of the value."""
        return cast("AbstractContextManager[ByteReader]", self.store.open(self.key, "rb"))

    def write(self) -> AbstractContextManager[ByteWriter]:
        """Write through the store, which publishes the value whole."""
        return self.store.open(self.key, "wb")


@dataclass(frozen=True)
class FilePlace(Place):
    """A file of this machine."""

    path: Path

    @property
    def name(self) -> str:  # type: ignore[override] # computed here, given there
        """The name of the file."""
        return self.path.name

    @contextmanager
    def read(self) -> Iterator[ByteReader]:
        """Open the file."""
        try:
            file = self.path.open("rb")
        except FileNotFoundError as error:
            raise DoesNotExist(f"there is no file {str(self.path)!r}") from error
        except OSError as error:
            raise BackendError(f"cannot read {str(self.path)!r}: {error.strerror or error}") from error
        with file:
            yield file

    @contextmanager
    def write(self) -> Iterator[ByteWriter]:
        """Write beside the file, and take its place at the end; devices and pipes are written as they are."""
        try:
            mode = _mode_of(self.path)
            if mode is None or stat.S_ISREG(mode):
                # what a symbolic link names is replaced, the link stays
                with _replacement(self.path.resolve(), mode) as file:
                    yield file
            else:
                with self.path.open("wb") as file:
                    yield file
        except (AnystoreError, BrokenPipeError):
            raise
        except FileNotFoundError as error:
            folder = str(self.path.parent)
            raise DoesNotExist(
                f"cannot write {str(self.path)!r}: there is no folder {folder!r}; make it first"
            ) from error
        except OSError as error:
            raise BackendError(f"cannot write {str(self.path)!r}: {error.strerror or error}") from error


class StandardPlace(Place):
    """Standard input, or standard output."""

    name = ""

    @contextmanager
    def read(self) -> Iterator[ByteReader]:
        """Read what comes in."""
        yield cast("ByteReader", standard_input())

    @contextmanager
    def write(self) -> Iterator[ByteWriter]:
        """Write as it comes; on a terminal, and only there, end the last line."""
        out = standard_output()
        if not sys.stdout.isatty():
            yield out
        else:
            terminal = _Terminal(out)
            yield terminal
            terminal.end_line()
        out.flush()


def parse_place(text: str, open_store: Callable[[], Store] | None = None, *, name: str | None = None) -> Place:
    """Find out what a text names.

    ``-`` is standard input or output; ``scheme://…/name`` is the value ``name`` of the store
    before it; ``/…``, ``./…`` and ``../…`` are files. Nothing of this can be a key, so that
    everything else is one, or a file where there are no keys.

    Args:
        text: What was typed.
        open_store: Opens the store whose keys are meant; None if plain names are files.
        name: What a value is called that goes into a folder (``folder/``, ``s3://bucket/folder/``,
            an existing local folder); None where folders are not taken.

    Returns:
        The place; nothing was opened or asked of a store yet.

    Raises:
        InvalidKey: If the text is none of these.
        InvalidUri: If a URI names no value of a store.
        InvalidOption: If the text names a folder, and there is no name to put into it.

    Example:
        >>> place = parse_place("memory://books/a%20b.txt")
        >>> place.store.uri, place.key
        ('memory://books', 'a%20b.txt')
        >>> parse_place("notes.txt").path.name
        'notes.txt'
    """
    if text == STANDARD:
        return StandardPlace()
    if text.lower().startswith("file://"):
        text = _path_of(text)
    elif "://" in text:
        return _split_uri(text, name)
    if open_store is None or is_path(text):
        if text.endswith("/") or Path(text).is_dir():
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
    with source.read() as reader, target.write() as writer:
        while piece := reader.read1(CHUNK_BYTES):
            writer.write(piece)


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


class _Terminal:
    """A terminal, which wants the last line ended."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._last = b"\n"

    def write(self, data: bytes) -> int:
        self._last = data[-1:] or self._last
        return self._out.write(data)

    def end_line(self) -> None:
        if self._last != b"\n":
            self._out.write(b"\n")


def _split_uri(text: str, name: str | None) -> StoredPlace:
    """Take the last segment of a URI as the key in the store before it."""
    masked, scheme = parse_uri(text).masked, parse_uri(text).scheme
    head, mark, query = text.partition("?")
    store, slash, last = head.rpartition("/")
    if not slash or not store.partition("://")[2]:
        raise InvalidUri(f"{masked} names a store, not a value in it; write it like '{masked.rstrip('/')}/name.txt'")
    key = (unquote(last) if scheme in _WEB else last) or _within(masked, name)
    return StoredPlace(get_store(store + mark + query), parse_key(key))


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


def _mode_of(path: Path) -> int | None:
    try:
        return path.stat().st_mode
    except FileNotFoundError:
        return None


@contextmanager
def _replacement(path: Path, mode: int | None) -> Iterator[BinaryIO]:
    """Write a hidden file, which takes the place of another one, and its permissions, at the end."""
    hidden = path.with_name(f".anystore-{token_hex(8)}.tmp")
    try:
        with hidden.open("xb") as file:
            if mode is not None:
                os.fchmod(file.fileno(), stat.S_IMODE(mode))
            yield file
        hidden.replace(path)
    except BaseException:
        with suppress(OSError):
            hidden.unlink()
        raise
