"""The annotation of an output or input decides how its value becomes bytes.

| annotation                                            | bytes                                    |
|-------------------------------------------------------|------------------------------------------|
| ``bytes``                                             | as they are                              |
| ``str``                                               | as it is; a text that is itself JSON, as |
|                                                       | a JSON string                            |
| ``dict``, ``list``, ``int``, ``float``, ``bool``      | JSON, and exactly these types come back  |
| models, dataclasses, ``datetime``, ``list[Model]``, … | JSON, checked by pydantic on both ways   |
| ``pyarrow.Table``, frames of pandas and polars        | Parquet                                  |
| ``T | None``                                          | as ``T``; None is JSON's ``null``        |
| none, or ``Any``                                      | whichever of these the value is          |

A table can be loaded as another kind of table than was written. An input without an annotation
gets what the stored bytes say of themselves: Parquet becomes the kind of table that wrote it (its
file tells), text and JSON come back as they were; a model comes back as a dict, and bytes that
happen to be text as text: annotate the inputs of these.
"""

from collections.abc import Mapping
from dataclasses import is_dataclass
from importlib import import_module
from pathlib import PurePath
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, PydanticSchemaGenerationError, PydanticUserError, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from anystore.codecs import Codec, named_codec
from anystore.errors import CodecError
from anystore.extras import load

_PARQUET = b"PAR1"
_PARQUET_BYTES = 12
_NULL = b"null"
_FRAME_MODULES = {
    "pyarrow.Table": "pyarrow",
    "pandas.DataFrame": "pandas",
    "polars.DataFrame": "polars",
    "polars.LazyFrame": "polars",
}
_FRAME_NOTE = b"anystore.frame"
_JSON_TYPES = (dict, list, str, int, float, bool, NoneType)
_PLAIN_TYPES = (dict, list, int, float, bool)


def codec_for(annotation: Any, mode: str = "auto") -> Codec:
    """Choose the codec of an output or input.

    Args:
        annotation: The annotated type; ``Any`` for none.
        mode: ``auto`` lets the annotation decide; any other serialisation mode is used for every value.

    Returns:
        The codec.

    Raises:
        CodecError: If no codec fits the annotation; the message says what to write instead.
        MissingExtra: If the annotation is a table, and pyarrow is not installed.

    Example:
        >>> codec_for(dict[str, int]).encode({"a": 1})
        b'{"a":1}'
    """
    if mode != "auto":
        return _codec_of_mode(annotation, mode)
    inner = _without_none(annotation)
    if inner is str:
        return _StrCodec(optional=inner is not annotation)
    if inner is not annotation:
        return _OptionalCodec(codec_for(inner)) if inner is bytes or is_frame(inner) else _structured(annotation)
    if annotation in (Any, object):
        return _AnyCodec()
    if annotation is bytes:
        return _BytesCodec()
    if is_frame(annotation):
        return FrameCodec(annotation)
    return _structured(annotation)


def is_frame(kind: Any) -> bool:
    """Tell whether a class is a table; no library is imported for it.

    Example:
        >>> is_frame(dict)
        False
    """
    return isinstance(kind, type) and frame_name(kind) in _FRAME_MODULES


def frame_name(kind: type) -> str:
    """Give the public name of a class of pyarrow, pandas or polars, such as ``polars.DataFrame``."""
    return f"{kind.__module__.partition('.')[0]}.{kind.__name__}"


def is_parquet(data: bytes) -> bool:
    """Tell whether bytes are a Parquet file, which has the same four letters at both ends.

    Example:
        >>> is_parquet(b"PAR1")
        False

    Source:
        The file format of Apache Parquet; the shortest file holds its footer's length between them.
    """
    return len(data) >= _PARQUET_BYTES and data.startswith(_PARQUET) and data.endswith(_PARQUET)


def partitioned_item(annotation: Any) -> Any:
    """Give ``T`` of an annotation ``dict[str, T]``, which can stand for a value of each partition.

    Returns:
        ``T``; None if the annotation is another one. A bare ``dict`` is one JSON object.

    Example:
        >>> partitioned_item(dict[str, int])
        <class 'int'>
    """
    if get_origin(annotation) in (dict, Mapping) and get_args(annotation)[:1] == (str,):
        return get_args(annotation)[1]
    return None


def takes_none(annotation: Any) -> bool:
    """Tell whether None is a value of an annotation.

    Example:
        >>> takes_none(int | None), takes_none(int)
        (True, False)
    """
    return annotation in (Any, object) or NoneType in get_args(annotation)


def annotation_text(annotation: Any) -> str:
    """Write an annotation as a user would, for messages.

    Example:
        >>> annotation_text(dict[str, list[int]])
        'dict[str, list[int]]'
    """
    arguments = get_args(annotation)
    if get_origin(annotation) in (Union, UnionType):
        return " | ".join(annotation_text(part) for part in arguments)
    if arguments:
        name = getattr(get_origin(annotation), "__name__", str(annotation))
        return f"{name}[{', '.join(annotation_text(part) for part in arguments)}]"
    if annotation is NoneType:
        return "None"
    if is_frame(annotation):
        return frame_name(annotation)
    return getattr(annotation, "__name__", str(annotation))


class FrameCodec(Codec):
    """A table as Parquet, in which the kind of table is noted.

    Args:
        frame: The class that ``decode`` returns; None for the one that was written.

    Raises:
        MissingExtra: If pyarrow is not installed.
    """

    name = "parquet"

    def __init__(self, frame: type | None = None) -> None:
        self._frame = frame
        self._tables = load("anystore.tables")

    def encode(self, value: Any) -> bytes:
        """Write any table, whatever its kind."""
        kind = type(value)
        if not is_frame(kind):
            wanted = annotation_text(self._frame) if self._frame else "a table"
            raise CodecError(f"this is {_described(value)}, and {wanted} is annotated; {_advice(value)}")
        table = self._tables.to_arrow(value)
        notes = {**(table.schema.metadata or {}), _FRAME_NOTE: frame_name(kind).encode()}
        data: bytes = named_table_codec().encode(table.replace_schema_metadata(notes))
        return data

    def decode(self, data: bytes) -> Any:
        """Read Parquet, of whatever origin."""
        table = named_table_codec().decode(data)
        notes = dict(table.schema.metadata or {})
        written = notes.pop(_FRAME_NOTE, b"").decode(errors="replace")
        table = table.replace_schema_metadata(notes or None)
        return self._tables.from_arrow(table, self._frame or _frame_class(written, fallback=type(table)))


def named_table_codec() -> Codec:
    """Give the codec between Arrow tables and Parquet.

    Raises:
        MissingExtra: If pyarrow is not installed.
    """
    codec: Codec = load("anystore.tables").TableCodec("parquet")
    return codec


def _frame_class(name: str, *, fallback: type) -> type:
    """Find a frame class by the name in a file, if it is one we know and its library is here."""
    if name not in _FRAME_MODULES:
        return fallback
    try:
        kind: type = getattr(import_module(_FRAME_MODULES[name]), name.partition(".")[2])
    except ImportError:
        return fallback
    return kind


class _AnyCodec(Codec):
    """Whatever a value is: a table as Parquet, everything else by the law of ``auto``."""

    name = "auto"

    def encode(self, value: Any) -> bytes:
        if is_frame(type(value)):
            return FrameCodec().encode(value)
        if type(value) is str:
            return _StrCodec().encode(value)
        return _encode_plain(value)

    def decode(self, data: bytes) -> Any:
        if is_parquet(data):
            return FrameCodec().decode(data)
        return _named("auto").decode(data)


class _BytesCodec(Codec):
    name = "bytes"

    def encode(self, value: Any) -> bytes:
        if not isinstance(value, bytes):
            raise CodecError(f"this is {_described(value)}, and bytes is annotated; {_advice(value)}")
        return value

    def decode(self, data: bytes) -> bytes:
        return data


class _StrCodec(Codec):
    """Text by the law of ``auto``, so that it is text also for an input without an annotation."""

    name = "str"

    def __init__(self, *, optional: bool = False) -> None:
        self._optional = optional

    def encode(self, value: Any) -> bytes:
        if value is None and self._optional:
            return _NULL
        if not isinstance(value, str):
            raise CodecError(f"this is {_described(value)}, and str is annotated; {_advice(value)}")
        text = str.__str__(value)  # the key of a partition can be of a class of its own
        data = _named("auto").encode(text)
        # a text can be a Parquet file, letter by letter
        return _named("json").encode(text) if is_parquet(data) else data

    def decode(self, data: bytes) -> str | None:
        if data == _NULL and self._optional:
            return None
        value = _named("auto").decode(data)
        if isinstance(value, str):
            return value
        # what is JSON but no string was not written here: a file that someone placed, or bytes
        try:
            text: str = _named("text").decode(data)
        except CodecError as error:
            kind = "a table" if is_parquet(data) else "no text"
            raise CodecError(f"the stored value is {kind}, and str is annotated; annotate what was stored") from error
        return text


class _OptionalCodec(Codec):
    """None beside bytes or a table, whose bytes could be those of ``null``: such bytes get a NUL more."""

    def __init__(self, codec: Codec) -> None:
        self.name = f"{codec.name} or None"
        self._codec = codec

    def encode(self, value: Any) -> bytes:
        if value is None:
            return _NULL
        data = self._codec.encode(value)
        return data + b"\0" if data.rstrip(b"\0") == _NULL else data

    def decode(self, data: bytes) -> Any:
        if data == _NULL:
            return None
        return self._codec.decode(data[:-1] if data.rstrip(b"\0") == _NULL else data)


class _StructuredCodec(Codec):
    """What pydantic can check, as JSON; strictly, so that ``"1"`` is no int and True is none either."""

    def __init__(self, annotation: Any) -> None:
        self.name = annotation_text(annotation)
        self._annotation = annotation
        self._is_plain = _is_plain(annotation)
        try:
            self._adapter: TypeAdapter[Any] = TypeAdapter(annotation)
        except (PydanticSchemaGenerationError, PydanticUserError) as error:
            raise CodecError(f"there is no way to store {self.name} without pickle; {_ADVICE}") from error

    def encode(self, value: Any) -> bytes:
        loss = _first_loss(self._annotation, value)
        if loss:
            raise CodecError(loss)
        try:
            checked = self._adapter.validate_python(value, strict=True)
            if not self._is_plain:
                checked = self._adapter.dump_python(checked, mode="json", by_alias=True, round_trip=True)
        except (ValidationError, PydanticSerializationError) as error:
            raise CodecError(f"the value does not fit {self.name}: {_brief(error)}; {_advice(value)}") from error
        # `auto` writes plain types or raises; but a text on its own has to be JSON here
        return _named("json").encode(checked) if isinstance(checked, str) else _encode_plain(checked)

    def decode(self, data: bytes) -> Any:
        try:
            if self._is_plain:
                return self._adapter.validate_python(_named("auto").decode(data), strict=True)
            return self._adapter.validate_json(data, strict=True)
        except ValidationError as error:
            raise CodecError(
                f"the stored value does not fit {self.name}: {_brief(error)}; annotate what was stored"
            ) from error


_ADVICE = (
    "annotate bytes, str, a JSON type, a pydantic model, a dataclass or a table, "
    "or set serialization_mode='pickle' on the IO manager"
)


def _structured(annotation: Any) -> Codec:
    if isinstance(annotation, type) and issubclass(annotation, PurePath | bytearray | memoryview):
        raise CodecError(
            f"{annotation.__name__} cannot be stored as it is; annotate bytes or str, and return the content"
        )
    if any(part is bytes or is_frame(part) for part in _parts(annotation)):
        raise CodecError(
            f"{annotation_text(annotation)} cannot be stored as one value, since JSON holds neither bytes nor tables; "
            "return a table or bytes alone, or partition the asset and store one for each partition"
        )
    return _StructuredCodec(annotation)


def _codec_of_mode(annotation: Any, mode: str) -> Codec:
    if mode in ("parquet", "arrow", "csv"):
        tables = load("anystore.tables")
        codec: Codec = tables.TableCodec(mode, annotation) if is_frame(annotation) else tables.TableCodec(mode)
        return codec
    if mode == "raw" and annotation is str:
        return _named("text")  # the same bytes; raw alone would give them back as bytes
    if mode != "json" or annotation in (Any, object) or _is_plain(annotation):
        return _named(mode)
    if _without_none(annotation) is bytes or is_frame(_without_none(annotation)):
        raise CodecError(f"JSON cannot hold {annotation_text(annotation)}; use serialization_mode='auto'")
    return _structured(annotation)


def _named(mode: str) -> Codec:
    codec = named_codec(mode)
    if codec is None:
        raise CodecError(
            f"serialization_mode={mode!r} is unknown; use 'auto', which lets the annotation decide, or 'pickle'"
        )
    return codec


def _without_none(annotation: Any) -> Any:
    """Give ``T`` of ``T | None``, and any other annotation as it is."""
    if get_origin(annotation) not in (Union, UnionType):
        return annotation
    others = [part for part in get_args(annotation) if part is not NoneType]
    return others[0] if len(others) == 1 and len(get_args(annotation)) > 1 else annotation


def _parts(annotation: Any) -> list[Any]:
    """List an annotation and everything inside its brackets."""
    return [annotation, *(part for argument in get_args(annotation) for part in _parts(argument))]


def _is_plain(annotation: Any) -> bool:
    """Tell whether an annotation speaks of nothing but what JSON itself has."""
    parts = _parts(annotation)
    if any(get_origin(part) is dict and get_args(part)[0] not in (str, Any) for part in parts):
        return False
    return all((get_origin(part) or part) in (*_JSON_TYPES, Any, Union, UnionType) for part in parts)


def _first_loss(annotation: Any, value: Any) -> str:
    """Say which object would lose fields: one of a subclass comes back as the annotated class."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    inner = _without_none(annotation)
    if inner is not annotation:
        return _first_loss(inner, value) if value is not None else ""
    if origin is list and isinstance(value, list):
        return next((loss for item in value if (loss := _first_loss(arguments[0], item))), "")
    if origin is dict and isinstance(value, dict):
        return next((loss for item in value.values() if (loss := _first_loss(arguments[1], item))), "")
    if isinstance(annotation, type) and (issubclass(annotation, BaseModel) or is_dataclass(annotation)):
        kind = type(value)
        if not isinstance(value, annotation):
            return f"this is {_described(value)}, and {annotation.__name__} is annotated; {_advice(value)}"
        if kind is not annotation:
            return (
                f"{kind.__name__} would come back as {annotation.__name__}, without its own fields; "
                f"annotate {kind.__name__}, or make the class a model with a discriminated union as its field"
            )
    return ""


def _encode_plain(value: Any) -> bytes:
    """Write what JSON has, or raise in the words of annotations."""
    try:
        return _named("auto").encode(value)
    except CodecError as error:
        raise CodecError(str(error).replace("pass model= for", "annotate")) from error


def _described(value: Any) -> str:
    if value is None:
        return "None"
    kind = type(value)
    return frame_name(kind) if is_frame(kind) else kind.__qualname__


def _advice(value: Any) -> str:
    """Say what to write for a value of this type."""
    kind = type(value)
    if value is None:
        return "annotate 'T | None' to store None, or '-> None' to store nothing"
    if (
        is_frame(kind)
        or kind in _PLAIN_TYPES
        or kind in (str, bytes)
        or isinstance(value, BaseModel)
        or is_dataclass(value)
    ):
        return f"write '-> {_described(value)}', or return what the annotation says"
    return _ADVICE


def _brief(error: Exception) -> str:
    """Say what is wrong where; without the value, which may be a secret."""
    if isinstance(error, ValidationError):
        first, *others = error.errors(include_input=False, include_url=False, include_context=False)
        place = ".".join(str(part) for part in first["loc"]) or "the value"
        return f"{place}: {first['msg']}" + (f" (and {len(others)} more)" if others else "")
    return str(error).partition("\n")[0]
