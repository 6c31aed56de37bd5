"""Classes by name: what an envelope may name, and how it is found again.

Nothing is imported for a name: a class that this process has not loaded is unknown.
"""

import re
import sys
from dataclasses import fields, is_dataclass
from functools import lru_cache
from hashlib import blake2b
from types import ModuleType
from typing import Any

from pydantic import BaseModel

from anystore.errors import CodecError

MAIN = ("__main__", "__mp_main__")
"""The names of the program itself; the second is that of its spawned workers."""

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def qualified_name(kind: Any) -> str:
    """Give the name of a class or function.

    Example:
        >>> qualified_name(re.compile)
        're:compile'
    """
    module = MAIN[0] if kind.__module__ in MAIN else kind.__module__
    return f"{module}:{kind.__qualname__}"


def name_of(thing: Any) -> str:
    """Give the name under which a class or function is found again.

    Args:
        thing: The class or function.

    Returns:
        ``module:qualified.name``.

    Raises:
        CodecError: If another object, or none, is found there.
    """
    name = qualified_name(thing)
    if find(name) is not thing:
        raise CodecError(f"{name} is not to be found under its name; define it at the top of a module")
    return name


def find(name: str) -> Any:
    """Give what has a name in a module that is loaded already.

    Only plain attributes of modules and classes are looked at, so that no code runs.

    Args:
        name: ``module:qualified.name``.

    Returns:
        The object; None if there is none.
    """
    module_name, _, qualified = name.partition(":")
    place: Any = sys.modules.get(module_name)
    for part in qualified.split("."):
        if not isinstance(place, ModuleType | type):
            return None
        place = vars(place).get(part)
    return place


def find_class(name: Any, kind: type) -> type:
    """Give a class that an envelope names.

    Args:
        name: ``module:qualified.name``.
        kind: What the class has to derive from.

    Returns:
        The class.

    Raises:
        CodecError: If this process knows no such class, or it is of another kind.
    """
    found = find(name) if isinstance(name, str) else None
    if not isinstance(found, type) or not issubclass(found, kind) or qualified_name(found) != name:
        raise CodecError(f"{name!r} is no {kind.__name__} class that this process has loaded")
    return found


def is_namedtuple(kind: type) -> bool:
    """Tell whether a class was made by ``namedtuple`` or ``NamedTuple``."""
    names = getattr(kind, "_fields", None)
    return issubclass(kind, tuple) and isinstance(names, tuple) and all(isinstance(name, str) for name in names)


def shape_of(kind: Any) -> str:
    """Give a short token of a class's fields, with their types; another shape makes older entries unusable.

    Args:
        kind: A dataclass, pydantic model or namedtuple class.

    Returns:
        Sixteen hexadecimal digits.
    """
    return _shape_of(kind)


@lru_cache(maxsize=1024)
def _shape_of(kind: Any) -> str:
    if issubclass(kind, BaseModel):
        shape = [(name, repr(field.annotation)) for name, field in kind.model_fields.items()]
    elif is_dataclass(kind):
        shape = [(field.name, repr(field.type)) for field in fields(kind)]
    else:
        shape = [(name, "") for name in kind._fields]
    return blake2b(_ADDRESS.sub("", repr(shape)).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
