"""What a value is between Dagster and a store, and the contract of whatever turns one into the other.

A :class:`Form` belongs to one annotation. On the way out it makes an :class:`Encoded` of a value: bytes, or a
private local file, so that what was computed lies still before any store is touched, and a write that fails can
be repeated without computing again. On the way in it gets a :class:`BlobRef`, and reads as little of it as it needs.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import IO, Any

from anystore import CodecError, Entry, Store

COLUMNS = "anystore/columns"
"""Metadata of an input: the names of the columns that are wanted of a table."""

FILTERS = "anystore/filters"
"""Metadata of an input: the rows that are wanted of a table, as ``Store.get(filters=…)`` takes them."""

FILES_ENDING = ".files"
"""What is put behind a key to name the folder of the files that belong to its value."""


@dataclass(frozen=True, slots=True)
class BlobRef:
    """A value in a store that was not read yet; its bytes come when they are asked for.

    As an input, it is a handle on the upstream value. As an output, what it points to is copied.
    It is small, and can be pickled: the store travels by its configuration.

    Attributes:
        store: Where the value is.
        key: Its key there.

    Example:
        >>> from anystore import get_store
        >>> store = get_store("memory://blob-example")
        >>> entry = store.put("greeting", "hello")
        >>> BlobRef(store, "greeting").read()
        b'hello'
    """

    store: Store
    key: str

    def read(self) -> bytes:
        """Read all bytes.

        Raises:
            DoesNotExist: If the value is gone.
        """
        data: bytes = self.store.get(self.key, serialization_mode="raw", raise_on_nonexist=True)
        return data

    def open(self) -> IO[bytes]:
        """Open the value as a binary file; seekable where the backend has ranges.

        Raises:
            DoesNotExist: If the value is gone.
        """
        return self.store.open(self.key, "rb")

    def stream(self, chunk_bytes: int = 1 << 20) -> Iterator[bytes]:
        """Read the bytes in chunks of at most ``chunk_bytes``.

        Raises:
            DoesNotExist: If the value is gone.
        """
        with self.open() as file:
            while chunk := file.read(chunk_bytes):
                yield chunk

    def local_path(self) -> AbstractContextManager[Path]:
        """Give the value as a local file for the time of a ``with`` block; a local store's own file is not copied.

        Raises:
            DoesNotExist: If the value is gone.
        """
        return self.store.local_path(self.key)

    def info(self) -> Entry:
        """Say what the store knows of the value without reading it.

        Raises:
            DoesNotExist: If the value is gone.
        """
        return self.store.info(self.key)


@dataclass(frozen=True, slots=True)
class Encoded:
    """A value that is ready to be stored.

    Attributes:
        data: The bytes; or a private file that holds them, which whoever stores it removes; or what is to be copied.
        files: More files that belong to the value, by relative name; stored before ``data``, in the folder that
            :func:`files_folder` names. ``data`` is their manifest, as bytes, and says their checksums.
        metadata: What Dagster may show of the value, such as rows, columns and a preview.
    """

    data: bytes | Path | BlobRef
    files: Mapping[str, Path | BlobRef] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)


def files_folder(key: str, manifest: bytes) -> str:
    """Name the folder of the files that belong to a value: another content lies in another folder.

    Args:
        key: The key of the value.
        manifest: The bytes that are stored there.

    Returns:
        A prefix in the same store, without an ending slash.

    Example:
        >>> files_folder("scans.value", b"{}")
        'scans.value.files/44136fa355b3678a1146ad16f7e8649e'
    """
    return f"{key}{FILES_ENDING}/{hashlib.sha256(manifest).hexdigest()[:32]}"


@dataclass(frozen=True, slots=True)
class Selection:
    """What an input wants of a table; ``None`` is all.

    Attributes:
        columns: Names, in the order in which they are wanted.
        filters: The rows, as ``Store.get(filters=…)`` takes them.
    """

    columns: Sequence[str] | None = None
    filters: Any = None

    @property
    def is_all(self) -> bool:
        """Whether nothing is left out."""
        return self.columns is None and self.filters is None


def refuse_selection(name: str, selection: Selection) -> None:
    """Refuse columns and filters where there are none.

    Args:
        name: The annotation of the input.
        selection: What is wanted.

    Raises:
        CodecError: If anything is selected.
    """
    asked = {COLUMNS: selection.columns, FILTERS: selection.filters}
    wanted = " and ".join(repr(key) for key, part in asked.items() if part is not None)
    if wanted:
        raise CodecError(
            f"the metadata {wanted} selects from a table, and {name} has no columns and rows; "
            "annotate a table, or leave it out"
        )


class Form(ABC):
    """How the values of one annotation are stored and loaded.

    Attributes:
        name: The annotation as a user writes it, for messages.
        extension: The usual ending of a file that holds such a value, without its dot; empty for none.
    """

    name: str
    extension: str = ""

    @abstractmethod
    def encode(self, value: Any, folder: PathLike[str]) -> Encoded:
        """Make a value ready to be stored; no store is touched.

        Args:
            value: What an asset or op returned.
            folder: A private folder on the local disk, for what is too large for memory; it may be made when it is
                first used.

        Raises:
            CodecError: If the value does not fit the annotation; the message says what to write.
        """

    @abstractmethod
    def decode(self, source: BlobRef, selection: Selection) -> Any:
        """Load a value.

        Args:
            source: Where it is.
            selection: The columns and rows that are wanted; a form without them refuses any.

        Raises:
            CodecError: If the stored bytes do not fit the annotation, or nothing can be selected from them.
            DoesNotExist: If there is no value.
        """
