"""Nodes back to values: only of the types that :mod:`anystore.caching.encoding` knows, and without running code.

Classes are those that the process has loaded, under their own names; no constructor of theirs runs.
"""

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from enum import Enum, Flag
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from pydantic import BaseModel

from anystore.caching.classes import find_class, is_namedtuple, shape_of
from anystore.caching.encoding import FRAMES, MAPPINGS, PATHS, SEQUENCES
from anystore.errors import CodecError
from anystore.extras import load

_WRONG = (ValueError, TypeError, LookupError, ArithmeticError, AttributeError, RecursionError, MemoryError, OSError)


def _parse_zone(node: Any) -> tzinfo | None:
    if node is None or node == "utc":
        return None if node is None else UTC
    if isinstance(node[0], str):
        return ZoneInfo(node[0])
    return timezone(timedelta(node[0], node[1], node[2]), *node[3:])


class ValueDecoder:
    """Turns a node and blobs back into the value.

    Args:
        blobs: The bytes that the node refers to.
    """

    def __init__(self, blobs: list[memoryview]) -> None:
        self._blobs = blobs
        self._labels: dict[int, Any] = {}

    def decode(self, node: Any) -> Any:
        """Give the value of a node.

        Args:
            node: As an encoder gives it.

        Returns:
            The value.

        Raises:
            CodecError: If it is no node, or names a class that the process does not know.
        """
        try:
            return self._make(node)
        except _WRONG as error:
            if isinstance(error, CodecError):
                raise
            raise CodecError(f"the entry is broken: {type(error).__name__}: {error}") from error

    def _make(self, node: Any) -> Any:
        if type(node) is not list:
            if isinstance(node, dict):
                raise CodecError("a node is no JSON object")
            return node
        name, *parts = node
        if name in SEQUENCES:
            return SEQUENCES[name](map(self._make, parts))
        if name in MAPPINGS:
            made = list(map(self._make, parts))
            return MAPPINGS[name](zip(made[::2], made[1::2], strict=True))
        if name in PATHS:
            return PATHS[name](self._make(parts[0]))
        if name in FRAMES:
            return load(FRAMES[name]).from_parts(name, [self._blob(part) for part in parts])
        return _MAKE[name](self, *parts)

    def _blob(self, number: int) -> memoryview:
        if type(number) is not int or number < 0:
            raise CodecError(f"{number!r} is no number of a blob")
        return self._blobs[number]

    def _label(self, number: int, node: Any) -> Any:
        value = self._labels[number] = self._make(node)
        return value

    def _make_numpy(self, kind: str, description: Any, shape: list[int], number: int) -> Any:
        return load("anystore.caching.arrays").rebuild(kind, description, shape, self._blob(number))

    def _make_dataclass(self, name: str, shape: str, *nodes: Any) -> Any:
        kind: Any = find_class(name, object)
        if not is_dataclass(kind) or shape_of(kind) != shape:
            raise CodecError(f"{name} is no longer the dataclass that was stored")
        made: Any = object.__new__(find_class(name, object))
        for field, node in zip(fields(kind), nodes, strict=True):
            object.__setattr__(
                made, field.name, self._make(node)
            )  # no code of the class runs, and frozen ones allow it
        return made

    def _make_model(self, name: str, shape: str, given: list[str], extra: Any, private: Any, *nodes: Any) -> Any:
        kind: Any = find_class(name, BaseModel)
        if shape_of(kind) != shape:
            raise CodecError(f"{name} is no longer the model that was stored")
        more = [self._make(part) for part in (extra, private)]
        made: Any = object.__new__(kind)
        state = {
            "__dict__": dict(zip(kind.model_fields, map(self._make, nodes), strict=True)),
            "__pydantic_fields_set__": set(map(str, given)),
            "__pydantic_extra__": more[0],
            "__pydantic_private__": more[1],
        }
        BaseModel.__setstate__(made, state)
        return made

    def _make_namedtuple(self, name: str, shape: str, *nodes: Any) -> Any:
        kind: Any = find_class(name, tuple)
        if not is_namedtuple(kind) or shape_of(kind) != shape or len(nodes) != len(kind._fields):
            raise CodecError(f"{name} is no longer the namedtuple that was stored")
        return tuple.__new__(kind, map(self._make, nodes))

    def _make_enum(self, name: str, member: str) -> Any:
        kind: Any = find_class(name, Enum)
        return kind.__members__[member]

    def _make_flag(self, name: str, number: Any) -> Any:
        return find_class(name, Flag)(self._make(number))


_MAKE: dict[str, Callable[..., Any]] = {
    "as": ValueDecoder._label,  # noqa: SLF001 - the table is a part of the class
    "same": lambda decoder, number: decoder._labels[number],  # noqa: SLF001
    "numpy": ValueDecoder._make_numpy,  # noqa: SLF001
    "dataclass": ValueDecoder._make_dataclass,  # noqa: SLF001
    "model": ValueDecoder._make_model,  # noqa: SLF001
    "namedtuple": ValueDecoder._make_namedtuple,  # noqa: SLF001
    "enum": ValueDecoder._make_enum,  # noqa: SLF001
    "flag": ValueDecoder._make_flag,  # noqa: SLF001
    "bytes": lambda decoder, number: bytes(decoder._blob(number)),  # noqa: SLF001
    "bytearray": lambda decoder, number: bytearray(decoder._blob(number)),  # noqa: SLF001
    "str": lambda decoder, number: bytes(decoder._blob(number)).decode("utf-8", "surrogatepass"),  # noqa: SLF001
    "int": lambda _, text: int(text, 16),
    "float": lambda _, text: float(text),
    "complex": lambda decoder, *parts: complex(*map(decoder._make, parts)),
    "Decimal": lambda _, text: Decimal(text),
    "UUID": lambda _, text: UUID(hex=text),
    "datetime": lambda _, text, fold, zone: datetime.fromisoformat(text).replace(fold=fold, tzinfo=_parse_zone(zone)),
    "time": lambda _, text, fold, zone: time.fromisoformat(text).replace(fold=fold, tzinfo=_parse_zone(zone)),
    "date": lambda _, text: date.fromisoformat(text),
    "timedelta": lambda _, *parts: timedelta(*parts),
    "range": lambda decoder, *parts: range(*map(decoder._make, parts)),
}
