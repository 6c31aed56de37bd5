"""NumPy's arrays and scalars as a description and bytes."""

from typing import Any

import numpy as np

from anystore.errors import CodecError


def describe(value: Any, *, canonical: bool) -> tuple[list[Any], bytes]:
    """Take an array or scalar apart.

    Args:
        value: A ``numpy.ndarray`` or ``numpy.generic``; no subclass of an array.
        canonical: Whether equal arrays that lie differently in memory are to come out alike.

    Returns:
        What ``rebuild`` needs besides the bytes, in JSON's types; and the bytes.

    Raises:
        CodecError: If it holds Python objects.
    """
    array = np.asarray(value)
    if array.dtype.hasobject or array.dtype.kind not in "biufcmMSUV":
        raise CodecError(
            f"a numpy value of dtype {array.dtype} holds Python objects; use serialization_mode='pickle', "
            "or another dtype"
        )
    if isinstance(value, np.generic) and np.asarray(array[()]).tobytes() != array.tobytes():
        raise CodecError(f"{value!r} would not come back as it is; use a Python value")
    is_column_order = array.flags.f_contiguous and not array.flags.c_contiguous and not canonical
    kind = "scalar" if isinstance(value, np.generic) else "fortran" if is_column_order else "array"
    description = np.lib.format.dtype_to_descr(array.dtype)
    return [kind, description, list(array.shape)], array.tobytes("F" if is_column_order else "C")


def rebuild(kind: str, description: Any, shape: list[int], data: bytes) -> Any:
    """Put an array or scalar together again.

    Args:
        kind: As ``describe`` gives it.
        description: Of the dtype.
        shape: Of the array.
        data: The bytes.

    Returns:
        An array that may be written to, or a scalar.

    Raises:
        CodecError: If the bytes are not such an array's.
    """
    try:
        dtype = np.lib.format.descr_to_dtype(_with_tuples(description))
    except SyntaxError as error:  # numpy reads a part of it as Python
        raise CodecError(f"{description!r} describes no dtype: {error}") from error
    size = dtype.itemsize
    for length in shape:
        size *= length
    if dtype.hasobject or size != len(data) or any(length < 0 for length in shape):
        raise CodecError(f"{len(data)} bytes are no array of {shape} with dtype {dtype}")
    array: Any = np.ndarray(tuple(shape), dtype, bytearray(data) or None, order="F" if kind == "fortran" else "C")
    return array[()] if kind == "scalar" else array


def _with_tuples(description: Any) -> Any:
    """Turn the lists of JSON back into the tuples that describe fields."""
    if isinstance(description, str):
        return description
    return [tuple(_field(part) for part in field) for field in description]


def _field(part: Any) -> Any:
    if isinstance(part, list) and part and isinstance(part[0], list):
        return _with_tuples(part)
    return tuple(part) if isinstance(part, list) else part
