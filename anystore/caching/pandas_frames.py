"""Frames and series of pandas in an envelope."""

from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import pandas as pd
import pyarrow as pa
from pandas.testing import assert_frame_equal

from anystore.caching import arrow_tables
from anystore.errors import CodecError
from anystore.tables import from_arrow, to_arrow

# What a column of Python objects may hold: others, such as lists, come back as something else.
_OBJECTS = frozenset((str, bytes, bool, type(None), Decimal, date, datetime, time, timedelta))


def to_parts(value: Any) -> list[bytes]:
    """Give the bytes of a frame or series.

    Args:
        value: A ``pandas.DataFrame`` or ``pandas.Series``.

    Returns:
        One Arrow IPC file; for a series also its name.

    Raises:
        CodecError: If it would come back as something else.
    """
    is_series = isinstance(value, pd.Series)
    if is_series and not (value.name is None or isinstance(value.name, str)):
        raise CodecError("the name of a pandas series has to be a str; use serialization_mode='pickle'")
    frame = value.to_frame("values") if is_series else value
    parts = arrow_tables.to_parts(to_arrow(frame))
    try:
        back = from_parts("pandas.DataFrame", [memoryview(part) for part in parts])
        assert_frame_equal(back, frame, check_exact=True)
        same = all(map(_same_objects, _sequences(back), _sequences(frame)))
    except (AssertionError, TypeError, ValueError) as error:  # CodecError is one, for a frame that cannot be read
        raise _refusal() from error
    if not same or frame.attrs != back.attrs:
        raise _refusal()
    return [*parts, *([b"" if value.name is None else b"=" + value.name.encode()] if is_series else [])]


def _refusal() -> CodecError:
    return CodecError("the pandas frame would not come back as it is; use serialization_mode='pickle'")


def _sequences(frame: Any) -> list[Any]:
    """Give everything in a frame that may hold Python objects: columns, levels of the index, names of columns."""
    axes = [axis.get_level_values(level) for axis in frame.axes for level in range(axis.nlevels)]
    return [*axes, *(frame.iloc[:, place] for place in range(frame.shape[1]))]


def _same_objects(back: Any, value: Any) -> bool:
    """Tell whether Python objects have come back as the same types: pandas compares them loosely."""
    if value.dtype != object:
        return True
    kinds = [type(item) for item in value]
    return _OBJECTS.issuperset(kinds) and kinds == [type(item) for item in back]


def from_parts(name: str, parts: list[memoryview]) -> Any:
    """Give a frame or series back.

    Args:
        name: Of the class.
        parts: As ``to_parts`` gives them.

    Returns:
        A ``pandas.DataFrame`` or ``pandas.Series``.

    Raises:
        CodecError: If these are not its bytes.
    """
    try:
        frame = from_arrow(arrow_tables.from_parts(name, parts[:1]), pd.DataFrame)
    except (pa.ArrowException, TypeError) as error:
        raise CodecError(f"the {name} is broken: {error}") from error
    if name == "pandas.DataFrame":
        return frame
    title = bytes(parts[1])
    return frame.iloc[:, 0].rename(title[1:].decode() if title else None)
