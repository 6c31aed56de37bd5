"""JSON: values of plain types as text, and back, equal and of the same type or not at all."""

import math
import re
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal, Inexact, localcontext
from typing import Any, TypeVar

import orjson
from pydantic_core import from_json

from anystore.errors import CodecError

N = TypeVar("N", int, Decimal)

MAX_NESTING = 200
"""How deep lists and dicts may lie in each other."""

_INT64 = range(-(2**63), 2**64)
_DIGITS = 4000
_LONG_NUMBER = re.compile(rb"[0-9]{%d}" % (_DIGITS + 1))
# A string without an end is taken up to the end of the text, once, not looked for again from each quote in it.
_STRING_OR_NUMBER = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?', re.DOTALL)
_SAFE_DIGITS = 600  # below the smallest limit that Python lets a program set for str and int
_LIMB_BYTES = 256
_EXACT = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[Inexact])


def parse_json(data: bytes) -> Any:
    """Parse JSON as RFC 8259 has it, with integers of any length.

    Args:
        data: UTF-8 text.

    Returns:
        The value.

    Raises:
        ValueError: If it is not JSON; NaN, infinity, lone surrogates, a byte order mark and
            nesting beyond 200 are not.

    Source:
        RFC 8259. The parser is jiter's, which pydantic carries.
    """
    try:
        return from_json(data, allow_inf_nan=False, cache_strings="keys")
    except ValueError:
        if not _LONG_NUMBER.search(data):
            raise
    # jiter refuses integers of more than 4,300 digits: each becomes a string that no text of
    # the value can be confused with, since it is parsed in a place of its own.
    return _parse_long_numbers(data)


def _parse_long_numbers(data: bytes) -> Any:
    numbers: list[int] = []

    def stand_in(match: re.Match[bytes]) -> bytes:
        token = match[0]
        if token.startswith(b'"'):
            return b'"s' + token[1:]
        digits = token.removeprefix(b"-")
        if len(digits) <= _DIGITS or not digits.isdigit():
            return token
        if digits.startswith(b"0"):
            raise ValueError("a number starts with 0")
        numbers.append(_text_to_int(token.decode()))
        return b'"n%d"' % (len(numbers) - 1)

    return _put_back(from_json(_STRING_OR_NUMBER.sub(stand_in, data), allow_inf_nan=False), numbers)


def _put_back(value: Any, numbers: list[int]) -> Any:
    if isinstance(value, str):
        return value[1:] if value.startswith("s") else numbers[int(value[1:])]
    if isinstance(value, list):
        return [_put_back(item, numbers) for item in value]
    if isinstance(value, dict):
        if not all(name.startswith("s") for name in value):
            raise ValueError("a name is a number")
        return {name[1:]: _put_back(item, numbers) for name, item in value.items()}
    return value


def is_json(data: bytes) -> bool:
    """Tell whether bytes are what :func:`parse_json` takes."""
    try:
        parse_json(data)
    except ValueError:
        return False
    return True


def dump_json(value: Any) -> bytes:
    """Write a value of plain JSON types.

    Args:
        value: Of str, bool, int, float, None, and of lists and dicts of them; no subclass.

    Returns:
        UTF-8 text.

    Raises:
        CodecError: If the value would not come back equal and of its type.
    """
    try:
        return orjson.dumps(_with_long_numbers(value) if _check(value, MAX_NESTING) else value)
    except orjson.JSONEncodeError as error:
        raise CodecError(f"the value cannot be written as JSON: {error}") from error


def _check(value: Any, nesting: int) -> bool:  # noqa: C901 - one branch a type, in one place for speed
    """Refuse what would not come back equal and of its type; tell whether there are long integers."""
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return False
    if kind is int:
        return value not in _INT64
    if kind is float:
        if not math.isfinite(value):
            raise CodecError(f"JSON has no {value}; store None instead, or use serialization_mode='pickle'")
        return False
    if kind is not list and kind is not dict:
        raise CodecError(
            f"{type_name(value)} would not come back as it is; use serialization_mode='pickle', "
            "or pass model= for a pydantic model or dataclass"
        )
    if not nesting:
        raise CodecError(
            f"lists and dicts are nested deeper than {MAX_NESTING}; flatten them, or use serialization_mode='pickle'"
        )
    if kind is dict:
        for name in value:
            if type(name) is not str:
                raise CodecError(
                    f"a dict's key is {type_name(name)}, and JSON has only str; use serialization_mode='pickle'"
                )
        value = value.values()
    long = False
    for item in value:
        item_kind = type(item)
        if item_kind is not str and item_kind is not bool and item is not None:
            long |= _check(item, nesting - 1)
    return long


def _with_long_numbers(value: Any) -> Any:
    """Copy a checked value with its long integers as JSON text, which orjson takes over as it is."""
    if type(value) is list:
        return [_with_long_numbers(item) for item in value]
    if type(value) is dict:
        return {name: _with_long_numbers(item) for name, item in value.items()}
    if type(value) is int and value not in _INT64:
        return orjson.Fragment(_int_to_text(value))
    return value


def _int_to_text(number: int) -> str:
    """Write an integer of any size; Python itself refuses beyond a limit that programs may change.

    Its own way costs as many steps as the number of digits squared. That of ``decimal`` multiplies faster.
    """
    data = abs(number).to_bytes(number.bit_length() // 8 + 1, "little")
    limbs = (data[start : start + _LIMB_BYTES] for start in range(0, len(data), _LIMB_BYTES))
    with localcontext(_EXACT):
        digits = _sum_up([Decimal(int.from_bytes(limb, "little")) for limb in limbs], Decimal(256**_LIMB_BYTES))
    return f"{'-' if number < 0 else ''}{digits}"


def _text_to_int(text: str) -> int:
    """Read an integer of any size."""
    digits = text.removeprefix("-")
    ends = range(len(digits), 0, -_SAFE_DIGITS)
    number = _sum_up([int(digits[max(end - _SAFE_DIGITS, 0) : end]) for end in ends], int(10**_SAFE_DIGITS))
    return -number if text.startswith("-") else number


def _sum_up(limbs: list[N], base: N) -> N:
    """Make a number of its digits in a large base, the lowest first; in pairs, or the cost is their number squared."""
    while len(limbs) > 1:
        pairs = zip(limbs[::2], limbs[1::2], strict=False)
        limbs = [low + high * base for low, high in pairs] + limbs[len(limbs) & ~1 :]
        base = base * base if len(limbs) > 1 else base
    return limbs[0]


def type_name(value: Any) -> str:
    """Name the type of a value, for messages."""
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
