"""Values as JSON and bytes that say themselves what they are, and come back equal and of the same type.

A node is what JSON holds as it is (text, true, false, null, numbers that survive), or an array whose first item names
a type. :mod:`anystore.caching.decoding` makes values of nodes.
"""

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from enum import Enum, Flag
from functools import cached_property
from inspect import getattr_static
from pathlib import PosixPath, PurePosixPath, PureWindowsPath, WindowsPath
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import orjson
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from anystore.caching.classes import is_namedtuple, name_of, qualified_name, shape_of
from anystore.errors import CodecError
from anystore.extras import load
from anystore.json_text import MAX_NESTING

_INT64 = range(-(2**63), 2**64)
PATHS = {kind.__name__: kind for kind in (PosixPath, PurePosixPath, PureWindowsPath, WindowsPath)}
"""The classes of paths, by their names in nodes."""

SEQUENCES: dict[str, type] = {kind.__name__: kind for kind in (list, tuple, set, frozenset)}
"""The classes whose nodes hold their items."""

MAPPINGS: dict[str, type] = {kind.__name__: kind for kind in (dict, OrderedDict)}
"""The classes whose nodes hold keys and values in turns."""

FRAMES = {
    "pyarrow.Table": "anystore.caching.arrow_tables",
    "pandas.DataFrame": "anystore.caching.pandas_frames",
    "pandas.Series": "anystore.caching.pandas_frames",
    "polars.DataFrame": "anystore.caching.polars_frames",
    "polars.Series": "anystore.caching.polars_frames",
}
"""The modules of ours that know a library's tables; an envelope can name no other."""


def is_plain(value: Any) -> bool:
    """Tell whether a value is JSON as it stands: it comes back equal, and no list or dict stands in it twice."""
    try:
        return _is_plain(value, set(), MAX_NESTING)
    except UnicodeEncodeError:  # a lone surrogate
        return False


def _is_plain(value: Any, seen: set[int], nesting: int) -> bool:
    kind = type(value)
    if kind is str:
        return value.isascii() or bool(value.encode())
    if kind is bool or value is None:
        return True
    if kind is int:
        return value in _INT64
    if kind is float:
        return math.isfinite(value)
    if (kind is not list and kind is not dict) or not nesting or id(value) in seen:
        return False
    seen.add(id(value))
    if kind is dict:
        if not all(type(name) is str and (name.isascii() or name.encode()) for name in value):
            return False
        value = value.values()
    for item in value:  # no generator, which takes longer, and this is done for each result  # noqa: SIM110
        if not _is_plain(item, seen, nesting - 1):
            return False
    return True


class ValueEncoder:
    """Turns one value into a node and blobs.

    Attributes:
        blobs: The bytes that the node refers to by number.
    """

    def __init__(self) -> None:
        self.blobs: list[bytes] = []
        self._inside: set[int] = set()
        # the values are kept with their nodes, lest another one gets the same id
        self._seen: dict[int, tuple[Any, list[Any]]] = {}
        self._labels = 0

    def encode(self, value: Any, nesting: int = MAX_NESTING) -> Any:
        """Give the node of a value.

        Args:
            value: The value.
            nesting: How deep it may go on from here.

        Returns:
            The node.

        Raises:
            CodecError: If the value, or one in it, cannot come back as it is.
        """
        kind = type(value)
        if value is None or kind is bool or (kind is str and (value.isascii() or _is_text(value))):
            return value
        if (kind is int and value in _INT64) or (kind is float and math.isfinite(value)):
            return value
        if not nesting:
            raise CodecError(f"the value is nested deeper than {MAX_NESTING}; use serialization_mode='pickle'")
        mark = id(value)
        if mark in self._inside:
            raise CodecError(f"the {kind.__name__} holds itself; use serialization_mode='pickle'")
        known = self._recall(mark)
        if known is not None:
            return known
        self._inside.add(mark)
        try:
            node = self._compose(value, nesting - 1)
        finally:
            self._inside.discard(mark)
        self._seen[mark] = (value, node)
        return node

    def _recall(self, mark: int) -> list[Any] | None:
        """Refer to a value that was met before, so that it comes back as one object, too."""
        if mark not in self._seen:
            return None
        node = self._seen[mark][1]
        if node[0] != "as":
            node[:] = ["as", self._labels, list(node)]
            self._labels += 1
        return ["same", node[1]]

    def blob(self, data: bytes) -> Any:
        """Put bytes beside the nodes, and give what refers to them."""
        self.blobs.append(data)
        return len(self.blobs) - 1

    def _compose(self, value: Any, nesting: int) -> list[Any]:
        kind = type(value)
        compose = _COMPOSE.get(kind)
        if compose is not None:
            return compose(self, value, nesting)
        if isinstance(value, Enum):
            return self._compose_enum(value)
        if is_dataclass(kind):
            return self._compose_dataclass(value, nesting)
        if isinstance(value, BaseModel):
            return self._compose_model(value, nesting)
        if is_namedtuple(kind):
            return ["namedtuple", name_of(kind), shape_of(kind), *(self.encode(item, nesting) for item in value)]
        return self._compose_foreign(value)

    def _compose_foreign(self, value: Any) -> list[Any]:
        """Hand a library's value to the module that knows it; whoever holds it has imported the library."""
        kind = type(value)
        library = kind.__module__.partition(".")[0]
        if library == "numpy" and (kind.__name__ == "ndarray" or _is_numpy_scalar(kind)):
            description, data = load("anystore.caching.arrays").describe(value, canonical=False)
            return ["numpy", *description, self.blob(data)]
        name = f"{library}.{kind.__name__}"
        if name in FRAMES:
            return [name, *(self.blob(part) for part in load(FRAMES[name]).to_parts(value))]
        raise self.refuse(value)

    def refuse(self, value: Any) -> CodecError:
        """Make the error for a value of a type that cannot be held."""
        return CodecError(
            f"{qualified_name(type(value)).replace('builtins:', '')} would not come back as it is; return a type that "
            "anycache holds (see its page), or pass serialization_mode='pickle'"
        )

    def _compose_enum(self, value: Enum) -> list[Any]:
        kind = type(value)
        if kind.__members__.get(value.name or "") is value:
            return ["enum", name_of(kind), value.name]
        if isinstance(value, Flag) and type(value.value) is int:
            return ["flag", name_of(kind), self.encode(value.value, 1)]
        raise self.refuse(value)

    def _compose_dataclass(self, value: Any, nesting: int) -> list[Any]:
        kind = type(value)
        names = [field.name for field in fields(value)]
        _require_no_more(value, set(names))
        return ["dataclass", name_of(kind), shape_of(kind), *(self._of_field(value, name, nesting) for name in names)]

    def _of_field(self, value: Any, name: str, nesting: int) -> Any:
        try:
            return self.encode(getattr(value, name), nesting)
        except AttributeError as error:
            raise CodecError(f"a {type(value).__name__} has no {name!r}, which is one of its fields") from error

    def _compose_model(self, value: BaseModel, nesting: int) -> list[Any]:
        kind = type(value)
        values = [self._of_field(value, name, nesting) for name in kind.model_fields]
        private = value.__pydantic_private__
        if private is not None:
            private = {name: one for name, one in private.items() if one is not PydanticUndefined}
        # an attribute may hold the model itself, so each is encoded as any other value
        more = [self.encode(part, nesting) for part in (value.__pydantic_extra__, private)]
        return ["model", name_of(kind), shape_of(kind), sorted(value.model_fields_set), *more, *values]


def _require_no_more(value: Any, names: set[str]) -> None:
    """Refuse an object with attributes that are no fields: it would come back without them."""
    kind = type(value)
    more = set(vars(value)) - names if hasattr(value, "__dict__") else set()
    for base in kind.__mro__:
        slots = vars(base).get("__slots__", ())
        more |= {slot for slot in ([slots] if isinstance(slots, str) else slots) if hasattr(value, slot)} - names
    more -= {"__dict__", "__weakref__", "__orig_class__"}  # the last one is left by Generic[...](...)
    hidden = [name for name in sorted(more) if not isinstance(getattr_static(kind, name, None), cached_property)]
    make: Any = kind.__new__
    if hidden or make is not object.__new__:
        what = f"has an attribute {hidden[0]!r} that is no field" if hidden else "makes its objects in its own way"
        raise CodecError(f"a {kind.__name__} {what}; use serialization_mode='pickle'")


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_numpy_scalar(kind: type) -> bool:
    return any(base.__module__ == "numpy" and base.__name__ == "generic" for base in kind.__mro__)


def _compose_many(encoder: ValueEncoder, value: Any, nesting: int) -> list[Any]:
    return [type(value).__name__, *(encoder.encode(item, nesting) for item in value)]


def _compose_mapping(encoder: ValueEncoder, value: Any, nesting: int) -> list[Any]:
    return [
        type(value).__name__,
        *(encoder.encode(part, nesting) for pair in value.items() for part in pair),
    ]


def _compose_blob(encoder: ValueEncoder, value: Any, _: int) -> list[Any]:
    return [type(value).__name__, encoder.blob(bytes(value))]


def _compose_moment(_: ValueEncoder, value: Any, __: int) -> list[Any]:
    return [type(value).__name__, value.replace(tzinfo=None, fold=0).isoformat(), value.fold, _zone(value.tzinfo)]


def _compose_timedelta(_: ValueEncoder, value: timedelta, __: int) -> list[Any]:
    return ["timedelta", value.days, value.seconds, value.microseconds]


def _zone(zone: tzinfo | None) -> Any:
    """Give the node of a time zone, which is told by its name or offset."""
    if zone is None:
        return None
    if zone is UTC:
        return "utc"
    if type(zone) is ZoneInfo and zone.key is not None:
        return zone.key, None
    if type(zone) is timezone:
        reduced: Any = zone.__reduce__()  # how a zone pickles itself: its class and arguments
        offset, *name = reduced[1]
        return [offset.days, offset.seconds, offset.microseconds, *name]
    raise CodecError(
        f"the time zone {zone!r} cannot be told by name; use zoneinfo.ZoneInfo, or serialization_mode='pickle'"
    )


_COMPOSE: dict[type, Callable[[ValueEncoder, Any, int], list[Any]]] = {
    **dict.fromkeys(SEQUENCES.values(), _compose_many),
    **dict.fromkeys(MAPPINGS.values(), _compose_mapping),
    bytes: _compose_blob,
    bytearray: _compose_blob,
    str: lambda encoder, value, _: ["str", encoder.blob(value.encode("utf-8", "surrogatepass"))],
    int: lambda _, value, __: ["int", f"{value:x}"],
    float: lambda _, value, __: ["float", str(value)],
    complex: lambda encoder, value, _: ["complex", encoder.encode(value.real), encoder.encode(value.imag)],
    Decimal: lambda _, value, __: ["Decimal", str(value)],
    UUID: lambda _, value, __: ["UUID", value.hex],
    datetime: _compose_moment,
    time: _compose_moment,
    date: lambda _, value, __: ["date", value.isoformat()],
    timedelta: _compose_timedelta,
    range: lambda encoder, value, _: ["range", *map(encoder.encode, (value.start, value.stop, value.step))],
    **dict.fromkeys(PATHS.values(), lambda encoder, value, _: [type(value).__name__, encoder.encode(str(value))]),
}


def encode_value(value: Any) -> tuple[Any, list[bytes]]:
    """Give the node and the blobs of a value.

    Raises:
        CodecError: If it cannot come back as it is.

    Example:
        >>> encode_value({"a": (1, b"x")})
        (['dict', 'a', ['tuple', 1, ['bytes', 0]]], [b'x'])
    """
    encoder = ValueEncoder()
    try:
        node = encoder.encode(value)
    except RecursionError as error:
        raise CodecError("the value is nested too deep for the stack; call the function from less deep") from error
    return node, encoder.blobs


def dump_node(node: Any) -> bytes:
    """Write a node as JSON, on one line.

    Raises:
        CodecError: If it is nested too deep.
    """
    try:
        return orjson.dumps(node)
    except orjson.JSONEncodeError as error:
        raise CodecError(f"the value cannot be written: {error}; use serialization_mode='pickle'") from error
