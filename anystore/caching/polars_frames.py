"""Frames and series of polars in an envelope."""

from typing import Any

import polars as pl

from anystore.caching import arrow_tables
from anystore.errors import CodecError
from anystore.tables import from_arrow, to_arrow


def to_parts(value: Any) -> list[bytes]:
    """Give the bytes of a frame or series.

    Args:
        value: A ``polars.DataFrame`` or ``polars.Series``.

    Returns:
        One Arrow IPC file.

    Raises:
        CodecError: If it would come back as something else.
    """
    frame = value if isinstance(value, pl.DataFrame) else value.to_frame()
    parts = arrow_tables.to_parts(to_arrow(frame))
    back = from_parts("polars.DataFrame", [memoryview(part) for part in parts])
    if back.schema != frame.schema or not back.equals(frame):
        raise CodecError("the polars frame would not come back as it is; use serialization_mode='pickle'")
    return parts


def from_parts(name: str, parts: list[memoryview]) -> Any:
    """Give a frame or series back.

    Args:
        name: Of the class.
        parts: As ``to_parts`` gives them.

    Returns:
        A ``polars.DataFrame`` or ``polars.Series``.

    Raises:
        CodecError: If these are not its bytes.
    """
    try:
        frame = from_arrow(arrow_tables.from_parts(name, parts), pl.DataFrame)
        return frame if name == "polars.DataFrame" else frame.to_series()
    except (pl.exceptions.PolarsError, IndexError) as error:
        raise CodecError(f"the {name} is broken: {error}") from error
