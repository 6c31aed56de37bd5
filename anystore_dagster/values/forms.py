"""What the forms of single values share: those that are read whole, and those that take None beside a value."""

from abc import abstractmethod
from os import PathLike
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

from anystore import Store
from anystore.backend import CHUNK_BYTES
from anystore.codecs import Codec
from anystore.errors import InvalidOption
from anystore.extras import load
from anystore_dagster.metadata import describe_content
from anystore_dagster.stored import BlobRef, Encoded, Form, Selection, refuse_selection
from anystore_dagster.values.spooling import Spool

_NULL = b"null"


class WholeForm(Form):
    """A form whose values are made of all their bytes at once."""

    def decode(self, source: BlobRef, selection: Selection) -> Any:
        """Read the bytes, and the value from them; there is nothing to select."""
        refuse_selection(self.name, selection)
        return self.decode_bytes(source.read())

    @abstractmethod
    def decode_bytes(self, data: bytes) -> Any:
        """Make the value.

        Raises:
            CodecError: If the bytes do not fit the annotation.
        """


class CodecForm(WholeForm):
    """Values that a codec turns into bytes.

    Args:
        codec: The codec.
        name: The annotation.
        extension: The usual ending of such a file.
    """

    def __init__(self, codec: Codec, name: str, extension: str = "") -> None:
        self.name = name
        self.extension = extension
        self._codec = codec

    def encode(self, value: Any, folder: PathLike[str]) -> Encoded:
        """Turn the value into bytes; text, and bytes that are a picture or a text, get a preview."""
        if self._codec.in_parts:
            with Spool(folder) as spool:
                self._codec.encode_to(value, spool.write)
                data = spool.finish()
            return Encoded(data, metadata=describe_content(data) if self._codec.name == "parquet" else {})
        encoded = self._codec.encode(value)
        return Encoded(encoded, metadata=describe_content(encoded) if isinstance(value, str | bytes) else {})

    def decode(self, source: BlobRef, selection: Selection) -> Any:
        """Read the value; of a table, what is wanted."""
        if selection.is_all:
            return self.decode_bytes(source.read())
        try:
            codec = self._codec.selecting(selection.columns, selection.filters)
        except InvalidOption:
            refuse_selection(self.name, selection)
            raise
        return source.store.get(source.key, serialization_mode=codec, raise_on_nonexist=True)

    def decode_bytes(self, data: bytes) -> Any:
        """Turn the bytes into a value."""
        return self._codec.decode(data)


class OptionalForm(Form):
    """None beside values whose bytes could be those of JSON's ``null``: such bytes get a NUL more.

    Args:
        form: That of all other values.
    """

    def __init__(self, form: Form) -> None:
        self.name = f"{form.name} | None"
        self.extension = form.extension
        self._form = form

    def encode(self, value: Any, folder: PathLike[str]) -> Encoded:
        """Write None, or the value."""
        if value is None:
            return Encoded(_NULL)
        encoded = self._form.encode(value, folder)
        content = _null_with_nuls(encoded.data)
        return encoded if content is None else Encoded(content + b"\0", encoded.files, encoded.metadata)

    def decode(self, source: BlobRef, selection: Selection) -> Any:
        """Read None, or the value."""
        if isinstance(self._form, WholeForm) and selection.is_all:
            data = source.read()
            if data == _NULL:
                return None
            return self._form.decode_bytes(data if _null_with_nuls(data) is None else data[:-1])
        content = _null_with_nuls(source)
        if content is None:
            return self._form.decode(source, selection)
        return None if content == _NULL else self._form.decode(_in_memory(content[:-1]), selection)


def _null_with_nuls(content: bytes | Path | BlobRef) -> bytes | None:
    """Give bytes that are ``null`` and any number of NULs; none of others, of which little is read."""
    if isinstance(content, bytes):
        return content if content.rstrip(b"\0") == _NULL else None
    with content.open("rb") if isinstance(content, Path) else content.open() as file:
        return _read_null(file)


def _read_null(file: IO[bytes]) -> bytes | None:
    pieces = [file.read(len(_NULL))]
    if pieces != [_NULL]:
        return None
    while piece := file.read(CHUNK_BYTES):
        if piece.strip(b"\0"):
            return None
        pieces.append(piece)
    return b"".join(pieces)


def _in_memory(content: bytes) -> BlobRef:
    """Put the few bytes of such a value where a form can read them."""
    store = Store(load("anystore.backends.memory").MemoryBackend(f"anystore-null-{uuid4().hex}"))
    store.put("value", content, serialization_mode="raw")
    return BlobRef(store, "value")
