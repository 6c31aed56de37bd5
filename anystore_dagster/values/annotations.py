"""What an annotation says: whether it is a table, takes None, or stands for a value of each partition."""

from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

FRAME_MODULES = {
    "pyarrow.Table": "pyarrow",
    "pandas.DataFrame": "pandas",
    "polars.DataFrame": "polars",
    "polars.LazyFrame": "polars",
}
"""The classes of tables, by their public names, and what is imported for them."""

_JSON_TYPES = (dict, list, str, int, float, bool, NoneType)


def is_frame(kind: Any) -> bool:
    """Tell whether a class is a table; no library is imported for it.

    Example:
        >>> is_frame(dict)
        False
    """
    return isinstance(kind, type) and frame_name(kind) in FRAME_MODULES


def frame_name(kind: type) -> str:
    """Give the public name of a class of pyarrow, pandas or polars, such as ``polars.DataFrame``."""
    return f"{kind.__module__.partition('.')[0]}.{kind.__name__}"


def is_array(kind: Any) -> bool:
    """Tell whether a class is an array or a scalar of numpy; the library is not imported for it.

    Example:
        >>> is_array(list)
        False
    """
    return isinstance(kind, type) and any(
        f"{base.__module__}.{base.__name__}" in ("numpy.ndarray", "numpy.generic") for base in kind.__mro__
    )


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
    if is_frame(annotation) or is_array(annotation):
        return frame_name(annotation)
    return getattr(annotation, "__name__", str(annotation))


def without_none(annotation: Any) -> Any:
    """Give ``T`` of ``T | None``, and any other annotation as it is."""
    if get_origin(annotation) not in (Union, UnionType):
        return annotation
    others = [part for part in get_args(annotation) if part is not NoneType]
    return others[0] if len(others) == 1 and len(get_args(annotation)) > 1 else annotation


def parts_of(annotation: Any) -> list[Any]:
    """List an annotation and everything inside its brackets."""
    return [annotation, *(part for argument in get_args(annotation) for part in parts_of(argument))]


def is_plain(annotation: Any) -> bool:
    """Tell whether an annotation speaks of nothing but what JSON itself has."""
    parts = parts_of(annotation)
    if any(get_origin(part) is dict and get_args(part)[0] not in (str, Any) for part in parts):
        return False
    return all((get_origin(part) or part) in (*_JSON_TYPES, Any, Union, UnionType) for part in parts)
