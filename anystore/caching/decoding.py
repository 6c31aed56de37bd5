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
_HASHING = (set, frozenset)
_MOST_HASHED = 100_000_000  # about a second


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
        self._reaches: dict[int, int] = {}
        self._reach = 0
        self._shared = 0
        self._hashed = 0

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
        self._reach += len(node)
        name, *parts = node
        if name in SEQUENCES:
            kind = SEQUENCES[name]
            return kind(map(self._make_hashed if issubclass(kind, _HASHING) else self._make, parts))
        if name in MAPPINGS:
            made = [self._make(part) if place % 2 else self._make_hashed(part) for place, part in enumerate(parts)]
            return MAPPINGS[name](zip(made[::2], made[1::2], strict=True))
        if name in PATHS:
            return PATHS[name](self._make(parts[0]))
        if name in FRAMES:
            return load(FRAMES[name]).from_parts(name, [self._blob(part) for part in parts])
        return _MAKE[name](self, *parts)

    def _make_hashed(self, node: Any) -> Any:
        """Make what is to be hashed, unless what it shares within would take for ever: a hash looks at all of it."""
        before = self._shared
        value = self._make(node)
        self._hashed += self._shared - before
        if self._hashed > _MOST_HASHED:
            raise CodecError("the entry is broken: what its sets or keys share would take for ever to compare")
        return value

    def _blob(self, number: int) -> memoryview:
        if type(number) is not int or number < 0:
            raise CodecError(f"{number!r} is no number of a blob")
        return self._blobs[number]

    def _label(self, number: int, node: Any) -> Any:
        before = self._reach
        value = self._labels[number] = self._make(node)
        self._reaches[number] = self._reach - before
        return value

    def _same(self, number: int) -> Any:
        reach = self._reaches.get(number, 0)  # none yet for what holds itself
        self._reach += reach
        self._shared += reach
        return self._labels[number]

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
    "same": ValueDecoder._same,  # noqa: SLF001
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
