"""Values that fit into memory, as bytes: text, JSON, and what pydantic checks."""

from dataclasses import is_dataclass
from functools import lru_cache
from pathlib import PurePath
from typing import Any, get_args, get_origin, get_type_hints

from pydantic import BaseModel, PydanticSchemaGenerationError, PydanticUserError, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from anystore.codecs import Codec, named_codec
from anystore.errors import CodecError
from anystore.extras import load
from anystore_dagster.values.advice import ADVICE, advise, advise_class, brief, describe
from anystore_dagster.values.annotations import annotation_text, is_array, is_frame, is_plain, parts_of, without_none

_PARQUET = b"PAR1"
_PARQUET_BYTES = 12
_NULL = b"null"


def codec_for(annotation: Any, mode: str = "auto") -> Codec:
    """Choose the codec of values that are read and written whole.

    Args:
        annotation: The annotated type, for ``auto`` no table; ``Any`` for none.
        mode: ``auto`` lets the annotation decide; any other serialisation mode is used for every value.

    Returns:
        The codec.

    Raises:
        CodecError: If no codec fits the annotation; the message says what to write instead.
        MissingExtra: If the mode is one of tables, and pyarrow is not installed.

    Example:
        >>> codec_for(dict[str, int]).encode({"a": 1})
        b'{"a":1}'
    """
    if mode != "auto":
        return _codec_of_mode(annotation, mode)
    inner = without_none(annotation)
    if inner is str:
        return _StrCodec(optional=inner is not annotation)
    if annotation in (Any, object):
        return _AnyCodec()
    if annotation is bytes:
        return _BytesCodec()
    return _structured(annotation)


def is_parquet(data: bytes) -> bool:
    """Tell whether bytes are a Parquet file, which has the same four letters at both ends.

    Example:
        >>> is_parquet(b"PAR1")
        False

    Source:
        The file format of Apache Parquet; the shortest file holds its footer's length between them.
    """
    return len(data) >= _PARQUET_BYTES and data.startswith(_PARQUET) and data.endswith(_PARQUET)


class _AnyCodec(Codec):
    """Whatever a value is, by the law of ``auto``."""

    name = "auto"

    def encode(self, value: Any) -> bytes:
        return _StrCodec().encode(value) if type(value) is str else _encode_plain(value)

    def decode(self, data: bytes) -> Any:
        return _named("auto").decode(data)


class _BytesCodec(Codec):
    name = "bytes"

    def encode(self, value: Any) -> bytes:
        if not isinstance(value, bytes):
            raise CodecError(f"this is {describe(value)}, and bytes is annotated; {advise(value)}")
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
            raise CodecError(f"this is {describe(value)}, and str is annotated; {advise(value)}")
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


class _StructuredCodec(Codec):
    """What pydantic can check, as JSON; strictly, so that ``"1"`` is no int and True is none either."""

    def __init__(self, annotation: Any) -> None:
        self.name = annotation_text(annotation)
        self._annotation = annotation
        self._is_plain = is_plain(annotation)
        try:
            self._adapter: TypeAdapter[Any] = TypeAdapter(annotation)
        except (PydanticSchemaGenerationError, PydanticUserError) as error:
            raise CodecError(f"there is no way to store {self.name} without pickle; {ADVICE}") from error

    def encode(self, value: Any) -> bytes:
        loss = _first_loss(self._annotation, value)
        if loss:
            raise CodecError(loss)
        try:
            checked = self._adapter.validate_python(value, strict=True)
            if not self._is_plain:
                dumped = self._adapter.dump_python(checked, mode="json", by_alias=True, round_trip=True)
                checked, loss = dumped, _first_loss(self._annotation, checked, deep=True)
        except (ValidationError, PydanticSerializationError) as error:
            raise CodecError(f"the value does not fit {self.name}: {brief(error)}; {advise(value)}") from error
        if loss:
            raise CodecError(loss)
        # `auto` writes plain types or raises; but a text on its own has to be JSON here
        return _named("json").encode(checked) if isinstance(checked, str) else _encode_plain(checked)

    def decode(self, data: bytes) -> Any:
        try:
            if self._is_plain:
                return self._adapter.validate_python(_named("auto").decode(data), strict=True)
            return self._adapter.validate_json(data, strict=True)
        except ValidationError as error:
            raise CodecError(
                f"the stored value does not fit {self.name}: {brief(error)}; annotate what was stored"
            ) from error


def _structured(annotation: Any) -> Codec:
    if isinstance(annotation, type) and issubclass(annotation, PurePath | bytearray | memoryview):
        instead = "pathlib.Path for a file" if issubclass(annotation, PurePath) else "bytes"
        raise CodecError(f"{annotation.__name__} cannot be stored as it is; annotate {instead}, or return the content")
    return _StructuredCodec(annotation)


def _codec_of_mode(annotation: Any, mode: str) -> Codec:
    if mode in ("parquet", "arrow", "csv"):
        codec: Codec = load("anystore.tables").TableCodec(mode)
        return codec
    if mode == "raw" and annotation is str:
        return _named("text")  # the same bytes; raw alone would give them back as bytes
    if mode != "json" or annotation in (Any, object) or is_plain(annotation):
        return _named(mode)
    inner = without_none(annotation)
    if inner is bytes or is_frame(inner) or is_array(inner):
        raise CodecError(f"JSON cannot hold {annotation_text(annotation)}; use serialization_mode='auto'")
    return _structured(annotation)


def _named(mode: str) -> Codec:
    codec = named_codec(mode)
    if codec is None:
        raise CodecError(
            f"serialization_mode={mode!r} is unknown; use 'auto', which lets the annotation decide, or 'pickle'"
        )
    return codec


def _first_loss(annotation: Any, value: Any, *, deep: bool = False) -> str:
    """Say which object would lose fields: one of a subclass comes back as the annotated class.

    The fields of objects are looked at, too, if ``deep``; then the value has no circles.
    """
    origin, arguments = get_origin(annotation), get_args(annotation)
    inner = without_none(annotation)
    if inner is not annotation:
        return _first_loss(inner, value, deep=deep) if value is not None else ""
    if origin is list and isinstance(value, list):
        return next((loss for item in value if (loss := _first_loss(arguments[0], item, deep=deep))), "")
    if origin is dict and isinstance(value, dict):
        return next((loss for item in value.values() if (loss := _first_loss(arguments[1], item, deep=deep))), "")
    if isinstance(annotation, type) and (issubclass(annotation, BaseModel) or is_dataclass(annotation)):
        kind = type(value)
        if not isinstance(value, annotation):
            return f"this is {describe(value)}, and {annotation.__name__} is annotated; {advise(value)}"
        if kind is not annotation:
            return (
                f"{kind.__name__} would come back as {annotation.__name__}, without its own fields; "
                f"annotate {kind.__name__}, or make the class a model with a discriminated union as its field"
            )
        described: Any = annotation  # mypy takes no class for something that can be hashed
        fields = _fields_of_objects(described) if deep else {}
        losses = (_first_loss(kind, getattr(value, name), deep=True) for name, kind in fields.items())
        return next((f"its field {name!r}: {loss}" for name, loss in zip(fields, losses, strict=True) if loss), "")
    return ""


@lru_cache(maxsize=256)
def _fields_of_objects(kind: Any) -> dict[str, Any]:
    """List the fields of a class that hold models or dataclasses, and that no code of the user's writes its own way."""
    if issubclass(kind, BaseModel):
        own = [name for one in kind.__pydantic_decorators__.field_serializers.values() for name in one.info.fields]
        fields = {
            name: field.annotation
            for name, field in kind.model_fields.items()
            if not field.metadata and name not in own
        }
        if kind.__pydantic_decorators__.model_serializers:
            return {}
    else:
        try:
            fields = get_type_hints(kind)
        except NameError:  # of a class inside of a function
            return {}
    return {
        name: annotation
        for name, annotation in fields.items()
        if any(
            isinstance(part, type) and (issubclass(part, BaseModel) or is_dataclass(part))
            for part in parts_of(annotation)
        )
    }


def _encode_plain(value: Any) -> bytes:
    """Write what JSON has, or raise in the words of annotations."""
    try:
        return _named("auto").encode(value)
    except CodecError as error:
        instead = advise_class(value)
        if instead:
            raise CodecError(f"{describe(value)} cannot be stored as it is; {instead}") from error
        raise CodecError(str(error).replace("pass model= for", "annotate")) from error
