r"""What is stored for a call: one line of JSON that says what it is, and bytes behind it.

The line holds ``anycache`` (the version of this format), ``function``, ``made`` and ``expires`` (seconds since 1970, or
null), ``codec``, and the value itself where it is JSON as it stands. A claim, which says that a call is being computed,
has ``computing`` instead.
"""

from collections.abc import Callable
from enum import Enum
from itertools import accumulate, pairwise
from typing import Any

import orjson

from anystore.caching.decoding import ValueDecoder
from anystore.caching.encoding import dump_node, encode_value, is_plain
from anystore.codecs import Codec
from anystore.errors import CodecError

FORMAT = 1
"""The version of the format; entries of another one are computed again."""

_EXACT = "exact"


class Answer(Enum):
    """What reading an entry can come to, besides a value."""

    MISS = "there is none that can be used"
    DOWN = "the store failed"


def seal(value: Any, *, function: str, made: float, ttl: float | None, codec: Codec | None) -> bytes:
    """Put a value in an envelope.

    Args:
        value: The value.
        function: Name of the function.
        made: The time, in seconds since 1970.
        ttl: Seconds to live, or None.
        codec: How the value becomes bytes; None for the exact way.

    Returns:
        The bytes to store.

    Raises:
        CodecError: If the value cannot be written.
    """
    header: dict[str, Any] = {
        "anycache": FORMAT,
        "function": function,
        "made": made,
        "expires": None if ttl is None else made + ttl,
        "codec": _EXACT if codec is None else codec.name,
    }
    blobs: list[bytes] = []
    if codec is not None:
        blobs = [codec.encode(value)]
    elif is_plain(value):
        header["json"] = value
    else:
        header["node"], blobs = encode_value(value)
        header["blobs"] = list(map(len, blobs))
    return b"".join((dump_node(header), b"\n", *blobs))


def seal_claim(owner: str, *, function: str, lease: float, beat: int) -> bytes:
    """Make an entry that says: this call is being computed.

    Args:
        owner: A token of the one who computes.
        function: Name of the function.
        lease: Seconds after which it no longer holds, unless it is renewed.
        beat: How often it was renewed.

    Returns:
        The bytes to store.
    """
    claim = {"anycache": FORMAT, "function": function, "computing": owner, "lease": lease, "beat": beat}
    return dump_node(claim) + b"\n"


def unseal(data: bytes, function: str, *, codec: Codec | None, clock: Callable[[], float]) -> Any:
    """Read the value in an entry.

    Args:
        data: The stored bytes.
        function: Name of the function whose entry it has to be.
        codec: As for ``seal``.
        clock: Tells the time in seconds since 1970.

    Returns:
        The value; ``Answer.MISS`` for a claim, or a value that has expired.

    Raises:
        CodecError: If it is no entry of this format, function and codec, or broken.
    """
    header, start = _parse(data, function)
    expires = header.get("expires")
    if expires is not None:
        if not isinstance(expires, int | float):
            raise CodecError("the entry is broken: its expiry is no number")
        if expires <= clock():
            return Answer.MISS
    wanted = _EXACT if codec is None else codec.name
    if header.get("codec") != wanted:
        if "computing" in header:
            return Answer.MISS
        raise CodecError(f"it was written as {header.get('codec')!r}, and {wanted!r} is wanted")
    if codec is not None:
        return codec.decode(data[start:])
    if "json" in header:
        return header["json"]
    if "node" not in header:
        raise CodecError("the entry is broken: it has no value")
    return ValueDecoder(_cut(memoryview(data)[start:], header.get("blobs"))).decode(header["node"])


def lease_of(data: bytes, function: str) -> float | None:
    """Tell for how many seconds a claim holds unless it is renewed.

    Args:
        data: The stored bytes.
        function: Name of the function whose entry it has to be.

    Returns:
        Seconds; None if it is no claim.

    Raises:
        CodecError: If it is no entry of this format and function.
    """
    header, _ = _parse(data, function)
    lease = header.get("lease")
    return lease if "computing" in header and isinstance(lease, int | float) else None


def _parse(data: bytes, function: str) -> tuple[dict[str, Any], int]:
    """Read the line, and tell where it ends."""
    end = data.find(b"\n") + 1
    try:
        header = orjson.loads(data if end == len(data) else memoryview(data)[:end])
    except orjson.JSONDecodeError as error:
        raise CodecError("it is no entry of anycache") from error
    if type(header) is not dict or header.get("anycache") != FORMAT:
        raise CodecError("it is no entry of anycache, or one of another version")
    if header.get("function") != function:
        raise CodecError(f"it is an entry of {header.get('function')!r}")
    return header, end


def _cut(body: memoryview, sizes: Any) -> list[memoryview]:
    """Cut the bytes behind the line into blobs."""
    if type(sizes) is not list or not all(type(size) is int and size >= 0 for size in sizes) or sum(sizes) != len(body):
        raise CodecError("the entry is broken: its blobs are not of the sizes it tells")
    return [body[start:stop] for start, stop in pairwise(accumulate(sizes, initial=0))]
