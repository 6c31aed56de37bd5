"""What messages say of a value that does not fit: what it is, and what to write instead."""

from collections.abc import Iterator
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from anystore_dagster.stored import BlobRef
from anystore_dagster.values.annotations import frame_name, is_array, is_frame
from anystore_dagster.values.byte_streams import ByteStream
from anystore_dagster.values.file_collections import FileCollection
from anystore_dagster.values.record_streams import RecordStream

ADVICE = (
    "annotate bytes, str, a JSON type, a pydantic model, a dataclass or a table, "
    "or set serialization_mode='pickle' on the IO manager"
)
"""What to write for a value of which nothing better is known."""

OWN_KINDS = (ByteStream, RecordStream, FileCollection, BlobRef)
"""The classes that are made for outputs and inputs."""

_PLAIN_TYPES = (dict, list, int, float, bool, str, bytes)
_TABLE_LIBRARIES = ("pyarrow", "pandas", "polars")


def describe(value: Any) -> str:
    """Name the kind of a value, as an annotation would.

    Example:
        >>> describe(1), describe(None)
        ('int', 'None')
    """
    if value is None:
        return "None"
    kind = type(value)
    if is_frame(kind) or is_array(kind):
        return frame_name(kind)
    return "Path" if isinstance(value, Path) else kind.__qualname__


def advise(value: Any) -> str:
    """Say what to write for a value.

    Example:
        >>> advise(1)
        "write '-> int', or return what the annotation says"
    """
    kind = type(value)
    if value is None:
        return "annotate 'T | None' to store None, or '-> None' to store nothing"
    if (
        is_frame(kind)
        or is_array(kind)
        or kind in _PLAIN_TYPES
        or isinstance(value, (*OWN_KINDS, BaseModel, Path))
        or is_dataclass(value)
    ):
        return f"write '-> {describe(value)}', or return what the annotation says"
    return advise_class(value) or ADVICE


def advise_class(value: Any) -> str:
    """Say which of our classes holds what a value gives; empty for a value that gives nothing.

    Example:
        >>> advise_class(iter([b"a"])).partition(" and")[0]
        "write '-> ByteStream'"
    """
    if hasattr(value, "read"):
        return "write '-> ByteStream' and return ByteStream(file) for its bytes"
    if type(value).__module__.partition(".")[0] in _TABLE_LIBRARIES:
        return "return a whole table, such as value.to_frame(), or RecordStream(batches) for '-> RecordStream'"
    if isinstance(value, Iterator):
        return (
            "write '-> ByteStream' and return ByteStream(chunks) for bytes, "
            "or '-> RecordStream' and return RecordStream(batches) for rows"
        )
    return ""


def brief(error: Exception) -> str:
    """Say what is wrong where; without the value, which may be a secret."""
    if isinstance(error, ValidationError):
        first, *others = error.errors(include_input=False, include_url=False, include_context=False)
        place = ".".join(str(part) for part in first["loc"]) or "the value"
        return f"{place}: {first['msg']}" + (f" (and {len(others)} more)" if others else "")
    return str(error).partition("\n")[0]
