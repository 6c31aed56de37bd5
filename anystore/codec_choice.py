"""Which codec a serialisation mode, a model and functions of the caller come to."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import is_dataclass
from io import IOBase
from typing import Any

from anystore.codecs import Codec, FunctionCodec, SerializationMode, model_codec, named_codec
from anystore.errors import InvalidOption, MissingExtra
from anystore.extras import load

Mode = SerializationMode | Codec
"""What ``serialization_mode`` takes."""

_TABLE_MODES = ("parquet", "arrow", "csv")
_JSON_MODES = ("auto", "json")
_TABLE_LIBRARIES = ("pyarrow", "pandas", "polars")
_PLAIN = frozenset({str, bytes, int, float, bool, type(None), list, dict})


def choose_codec(mode: Mode, model: Any) -> Codec:
    """Give the codec of a serialisation mode and a model.

    Args:
        mode: A name, or a codec.
        model: A pydantic model, another type that values are validated against, a frame class, or None.

    Returns:
        The codec.

    Raises:
        InvalidOption: If the mode is unknown, or takes no model.
        CodecError: If pydantic cannot handle the model.
        MissingExtra: If the mode needs a library that is not installed.
    """
    if isinstance(mode, Codec):
        if model is not None:
            raise InvalidOption(f"the codec {mode.name!r} decides itself what values are; leave model out")
        return mode
    if mode in _TABLE_MODES or (mode == "auto" and _is_frame(model)):
        tables = load("anystore.tables")
        table_mode = "parquet" if mode == "auto" else mode
        codec: Codec = tables.TableCodec(table_mode) if model is None else tables.TableCodec(table_mode, model)
        return codec
    if model is not None:
        if mode not in _JSON_MODES:
            raise InvalidOption(
                f"serialization_mode={mode!r} takes no model; a model is stored as JSON, with 'auto' or 'json'"
            )
        return model_codec(model)
    return _named_codec(mode)


def codec_of_value(codec: Codec, value: Any) -> Codec:
    """Give the codec of Parquet for a table that is stored with ``auto``, which has no other form for it.

    Args:
        codec: The codec that was chosen.
        value: The value that it is to write. An iterator is taken for a stream of record batches.

    Returns:
        The same codec for everything else.

    Raises:
        MissingExtra: If the value is a table, and pyarrow is not installed.
    """
    if codec.name != "auto" or type(value) in _PLAIN:
        return codec
    if isinstance(value, Iterator) and not isinstance(value, IOBase) and not is_dataclass(value):
        with suppress(MissingExtra):  # then there are no batches, either
            return choose_codec("parquet", None)
    elif _may_be_table(value) and load("anystore.tables").is_table(value):
        return choose_codec("parquet", None)
    return codec


def _may_be_table(value: Any) -> bool:
    library = type(value).__module__.partition(".")[0]
    return library in _TABLE_LIBRARIES or hasattr(value, "__arrow_c_stream__")


def select_part(codec: Codec, columns: Sequence[str] | None, filters: Any) -> Codec:
    """Give the codec that reads some columns and rows of a table; with ``auto``, the table is Parquet.

    Args:
        codec: The codec that was chosen.
        columns: The columns, or None for all.
        filters: The rows, or None for all.

    Returns:
        The same codec if everything is wanted.

    Raises:
        InvalidOption: If the codec knows no columns, or an argument is not what it can be.
    """
    if columns is None and filters is None:
        return codec
    if codec.name == "auto":
        codec = choose_codec("parquet", None)
    return codec.selecting(columns, filters)


def _is_frame(model: Any) -> bool:
    """Tell whether a model is a table, without importing the library that tables need."""
    library = getattr(model, "__module__", "").partition(".")[0]
    return library in _TABLE_LIBRARIES and bool(load("anystore.tables").is_frame_type(model))


def _named_codec(mode: str) -> Codec:
    codec = named_codec(mode)
    if codec is None:
        raise InvalidOption(
            f"serialization_mode={mode!r} is unknown; use 'auto', 'raw', 'text', 'json', 'pickle', "
            "'parquet', 'arrow', 'csv' or a Codec"
        )
    return codec


def with_functions(
    serialization_func: Callable[[Any], bytes | str] | None,
    deserialization_func: Callable[[bytes], Any] | None,
    *,
    fallback: Codec,
) -> Codec:
    """Put a caller's functions in the place of a codec's, where there are any."""
    if serialization_func is None and deserialization_func is None:
        return fallback
    return FunctionCodec(serialization_func, deserialization_func, fallback)
