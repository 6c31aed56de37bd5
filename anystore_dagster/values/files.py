"""Files and references as values."""

from os import PathLike
from pathlib import Path
from typing import Any

from anystore.errors import CodecError
from anystore_dagster.metadata import describe_content
from anystore_dagster.stored import BlobRef, Encoded, Form, Selection, refuse_selection
from anystore_dagster.values.advice import advise, describe
from anystore_dagster.values.spooling import check_file, file_to_store, hold_copy


class PathForm(Form):
    """How a ``Path`` is stored: the bytes of the local file that it leads to.

    An input is a copy of its own, which can be changed without changing the store, and is gone when the process
    ends: a step's, with an executor that starts one for each step.
    """

    name = "Path"

    def encode(self, value: Any, folder: PathLike[str]) -> Encoded:
        """Refer to the file; it stays where it is."""
        if not isinstance(value, Path):
            raise CodecError(f"this is {describe(value)}, and Path is annotated; {advise(value)}")
        return Encoded(file_to_store(value, folder), metadata=describe_content(check_file(value)))

    def decode(self, source: BlobRef, selection: Selection) -> Path:
        """Copy the value to a local file."""
        refuse_selection(self.name, selection)
        return hold_copy(source)


class BlobRefForm(Form):
    """How a :class:`BlobRef` is stored: what it points to is copied."""

    name = "BlobRef"

    def encode(self, value: Any, folder: PathLike[str]) -> Encoded:  # noqa: ARG002 - nothing is made here
        """Give what is to be copied."""
        if not isinstance(value, BlobRef):
            raise CodecError(
                f"this is {describe(value)}, and BlobRef is annotated; return BlobRef(store, key) of a stored value"
            )
        return Encoded(value)

    def decode(self, source: BlobRef, selection: Selection) -> BlobRef:
        """Give the reference; a missing value is told now."""
        refuse_selection(self.name, selection)
        source.info()
        return source
