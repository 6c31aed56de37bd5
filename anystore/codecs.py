"""Codecs: a value to bytes, and back.

A codec fails before a store is touched, and none but ``pickle`` ever runs code that
it finds in the bytes.
"""

import pickle
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import is_dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any, Literal, get_args
from uuid import UUID

import orjson
from pydantic import BaseModel, PydanticSchemaGenerationError, PydanticUserError, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError, to_jsonable_python

from anystore.backend import Reader
from anystore.errors import CodecError, InvalidOption
from anystore.json_text import MAX_NESTING, dump_json, is_json, parse_json, type_name

SerializationMode = Literal["auto", "raw", "text", "json", "pickle", "parquet", "arrow", "csv"]
"""The names that ``serialization_mode`` takes, besides a :class:`Codec`."""

_JSON_START = frozenset('{["-0123456789tfn \t\n\r')
_JSON_START_BYTES = frozenset(b'{["-0123456789tfn \t\n\r')
_SCALARS = (datetime, date, time, timedelta, UUID, Decimal)


class Codec(ABC):
    """Turns values into bytes, and bytes into values.

    Attributes:
        name: What errors call it.
        by_line: Whether each line of a value is a value of its own, so that it can be streamed.
        skips_blank_lines: Whether a blank line is no value.
        in_parts: Whether values are written by ``encode_to`` and streamed by ``iterate``, in bounded memory.
        partial: Whether a part of a value is wanted, so that it is read by ``decode_from``.
    """

    name: str = "custom"
    by_line: bool = False
    skips_blank_lines: bool = False
    in_parts: bool = False
    partial: bool = False

    @abstractmethod
    def encode(self, value: Any) -> bytes:
        """Turn a value into bytes.

        Raises:
            CodecError: If the value cannot be written so that it comes back as it was.
        """

    @abstractmethod
    def decode(self, data: bytes) -> Any:
        """Turn bytes into a value.

        Raises:
            CodecError: If these are not the bytes of such a value.
        """

    # -- for values that are larger than memory; right as they stand for all others --

    def is_stream(self, value: Any) -> bool:  # noqa: ARG002 - asked of what is overridden
        """Tell whether a value can be read only once, part by part."""
        return False

    def encode_to(self, value: Any, write: Callable[[bytes], object]) -> None:
        """Turn a value into bytes, part by part.

        Args:
            value: The value.
            write: Takes the next bytes.

        Raises:
            CodecError: As ``encode``; what was written until then is no value.
        """
        write(self.encode(value))

    def decode_from(self, reader: Reader) -> Any:
        """Read what is wanted of a value.

        Args:
            reader: One version of the value.

        Returns:
            The value.

        Raises:
            CodecError: As ``decode``.
        """
        return self.decode(b"".join(reader.read()))

    def iterate(self, reader: Reader) -> Iterator[Any]:
        """Read a value part by part.

        Args:
            reader: One version of the value.

        Returns:
            The parts.

        Raises:
            CodecError: If such values have no parts, or the bytes are not of one.
        """
        raise CodecError(f"{self.name} has no lines and no parts; use get() for {reader.entry.key!r}")

    def selecting(self, columns: Sequence[str] | None, filters: Any) -> "Codec":
        """Give the codec that reads a part of each value: these columns, and the rows that pass the filters.

        Raises:
            InvalidOption: If such values have no columns.
        """
        asked = "columns" if columns is not None else f"filters={filters!r}"
        raise InvalidOption(
            f"{self.name} has no columns and rows, so there is nothing to select by {asked}; "
            "use serialization_mode='parquet', 'arrow' or 'csv'"
        )


class RawCodec(Codec):
    """Bytes as they are; text as UTF-8. Returns bytes."""

    name = "raw"
    by_line = True

    def encode(self, value: Any) -> bytes:
        """Return the bytes."""
        if isinstance(value, bytes):
            return value
        if isinstance(value, str):
            return _encode_utf8(value)
        if isinstance(value, bytearray | memoryview):
            return bytes(value)
        raise CodecError(f"raw takes bytes or str, not {type_name(value)}; try serialization_mode='auto'")

    def decode(self, data: bytes) -> bytes:
        """Return the bytes."""
        return data


class TextCodec(Codec):
    """Text as UTF-8. Takes and returns str."""

    name = "text"
    by_line = True

    def encode(self, value: Any) -> bytes:
        """Encode a str."""
        if not isinstance(value, str):
            raise CodecError(f"text takes str, not {type_name(value)}; try serialization_mode='auto' or 'raw'")
        return _encode_utf8(value)

    def decode(self, data: bytes) -> str:
        """Decode UTF-8."""
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            raise CodecError(f"the value is not UTF-8 text ({error.reason}); try serialization_mode='raw'") from error


class JsonCodec(Codec):
    """JSON, with tuples as arrays and models, dataclasses and dates wherever they stand."""

    name = "json"
    by_line = True
    skips_blank_lines = True

    def encode(self, value: Any) -> bytes:
        """Write JSON."""
        return dump_json(_plain(value, MAX_NESTING))

    def decode(self, data: bytes) -> Any:
        """Read JSON."""
        try:
            return parse_json(data)
        except ValueError as error:
            raise CodecError(f"the value is not JSON ({error}); try serialization_mode='auto' or 'raw'") from error


class AutoCodec(Codec):
    """What JSON and plain text can hold, so that each value comes back equal and of its type.

    Text is stored as it is, unless it is valid JSON itself: then it is stored as a JSON
    string. Bytes are stored as they are, and come back as JSON, text or bytes, whichever
    they are. One parser, :func:`parse_json`, decides on both sides what is JSON.
    """

    name = "auto"
    by_line = True

    def encode(self, value: Any) -> bytes:
        """Write text as it is, and the rest as JSON."""
        if type(value) is str:
            data = _encode_utf8(value)
            return orjson.dumps(value) if value and value[0] in _JSON_START and is_json(data) else data
        if isinstance(value, bytes | bytearray | memoryview):
            return bytes(value)
        if (
            isinstance(value, BaseModel)
            or type(value) in _SCALARS
            or (is_dataclass(value) and not isinstance(value, type))
        ):
            return dump_json(_jsonable(value))
        return dump_json(value)

    def decode(self, data: bytes) -> Any:
        """Read JSON, else text, else bytes."""
        if data and data[0] in _JSON_START_BYTES:
            try:
                return parse_json(data)
            except ValueError:
                pass
        try:
            return data.decode()
        except UnicodeDecodeError:
            return data


class PickleCodec(Codec):
    """Python's pickle. Reading one runs whatever code it holds: only for stores you alone write."""

    name = "pickle"

    def encode(self, value: Any) -> bytes:
        """Pickle the value."""
        try:
            return pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
        except (pickle.PicklingError, TypeError, AttributeError, RecursionError) as error:
            raise CodecError(f"{type_name(value)} cannot be pickled: {error}") from error

    def decode(self, data: bytes) -> Any:
        """Unpickle the value."""
        try:
            return pickle.loads(data)
        except (
            pickle.UnpicklingError,
            EOFError,
            AttributeError,
            ImportError,
            ValueError,
            TypeError,
            LookupError,
            OverflowError,
            MemoryError,
        ) as error:
            raise CodecError(f"the value cannot be unpickled: {error}") from error


class ModelCodec(Codec):
    """A pydantic model, or any type that pydantic validates, as JSON.

    Args:
        model: The type, such as ``Person`` or ``list[Person]``.

    Raises:
        CodecError: If pydantic cannot handle the type.
    """

    by_line = True
    skips_blank_lines = True

    def __init__(self, model: Any) -> None:
        self.name = f"model {model.__name__ if isinstance(model, type) and not get_args(model) else model}"
        try:
            self._adapter: TypeAdapter[Any] = TypeAdapter(model)
        except (PydanticSchemaGenerationError, PydanticUserError) as error:
            raise CodecError(
                f"{model!r} is no model that pydantic can validate; pass a class derived from BaseModel"
            ) from error

    def encode(self, value: Any) -> bytes:
        """Validate the value and write JSON."""
        try:
            checked = self._adapter.validate_python(value)
            plain = self._adapter.dump_python(checked, mode="json", by_alias=True, round_trip=True)
        except ValueError as error:  # pydantic's own, and that of bytes which are no UTF-8
            raise CodecError(f"the value does not fit {self.name}: {_brief(error)}") from error
        return dump_json(plain)

    def decode(self, data: bytes) -> Any:
        """Read JSON and validate it."""
        try:
            return self._adapter.validate_json(data)
        except ValidationError as error:
            raise CodecError(f"the stored value does not fit {self.name}: {_brief(error)}") from error


class FunctionCodec(Codec):
    """Two functions of the caller, beside the codec that they stand in for.

    Args:
        serialization_func: From a value to bytes, or to a str that is stored as UTF-8.
        deserialization_func: From bytes to a value.
        fallback: Does what no function was given for.
    """

    by_line = True

    def __init__(
        self,
        serialization_func: Callable[[Any], bytes | str] | None,
        deserialization_func: Callable[[bytes], Any] | None,
        fallback: Codec,
    ) -> None:
        self.name = "custom function"
        self._serialize = serialization_func
        self._deserialize = deserialization_func
        self._fallback = fallback

    def encode(self, value: Any) -> bytes:
        """Call the function; its exceptions pass through."""
        if self._serialize is None:
            return self._fallback.encode(value)
        data = self._serialize(value)
        if not isinstance(data, bytes | bytearray | memoryview | str):
            raise CodecError(f"serialization_func returned {type_name(data)}; it has to return bytes or str")
        return _encode_utf8(data) if isinstance(data, str) else bytes(data)

    def decode(self, data: bytes) -> Any:
        """Call the function; its exceptions pass through."""
        return self._fallback.decode(data) if self._deserialize is None else self._deserialize(data)


_BY_NAME: dict[str, Codec] = {
    codec.name: codec for codec in (AutoCodec(), RawCodec(), TextCodec(), JsonCodec(), PickleCodec())
}


def named_codec(mode: str) -> Codec | None:
    """Give the codec of a serialisation mode, or None for one that is not of this file."""
    return _BY_NAME.get(mode)


@lru_cache(maxsize=256)
def model_codec(model: Any) -> ModelCodec:
    """Give the codec of a model; making one compiles a validator, so it is kept."""
    return ModelCodec(model)


def _encode_utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise CodecError(
            "the text holds a lone surrogate, which UTF-8 cannot hold; use serialization_mode='pickle'"
        ) from error


def _plain(value: Any, nesting: int) -> Any:
    """Turn what JSON has a usual form for into plain JSON types."""
    if value is None or type(value) in (str, int, float, bool):
        return value
    if not nesting:
        raise CodecError(
            f"the value is nested deeper than {MAX_NESTING}; flatten it, or use serialization_mode='pickle'"
        )
    if isinstance(value, list | tuple):
        return [_plain(item, nesting - 1) for item in value]
    if isinstance(value, Mapping):
        return {name: _plain(item, nesting - 1) for name, item in value.items()}
    plain = _jsonable(value)
    return plain if plain is not value else str(value)


def _jsonable(value: Any) -> Any:
    try:
        return to_jsonable_python(value, by_alias=True, inf_nan_mode="constants")
    except (PydanticSerializationError, ValueError) as error:
        raise CodecError(
            f"{type_name(value)} cannot be written as JSON; use serialization_mode='pickle', or pass serialization_func"
        ) from error


def _brief(error: Exception) -> str:
    """Say what is wrong with which field; without the value, which may be a secret."""
    if isinstance(error, ValidationError):
        first, *others = error.errors(include_input=False, include_url=False, include_context=False)
        place = ".".join(str(part) for part in first["loc"]) or "the value"
        return f"{place}: {first['msg']}" + (f" (and {len(others)} more)" if others else "")
    return str(error).partition("\n")[0]
