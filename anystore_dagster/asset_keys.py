"""The name of a value in its store: an asset and a partition to a key, and back.

A value of the asset ``raw/orders`` lies under ``raw/orders.value``, its partition ``2024-01-01``
under ``raw/orders.partitions/2024-01-01.value``, and one of two dimensions under
``raw/orders.partitions/2024-01-01/eu.value``. What an operation hands on lies under
``dagster.runs/RUN/STEP/OUTPUT.value``. Keys say nothing of types, so a value is found whatever
annotation asks for it.

The endings ``.value``, ``.partitions``, ``.runs``, ``.hashed``, ``.versions`` and ``.files`` are ours: a name that has
one of them is escaped. So every value is a file that no folder is called like, and two names never
share a key, on backends too that cannot hold both ``a`` and ``a/b``.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import unquote

MAX_SEGMENT_BYTES = 230
"""Length of the longest segment, in UTF-8 bytes: 255, less what may be put behind it later."""

MAX_KEY_BYTES = 768
"""Length of the longest key, in UTF-8 bytes: 1,024, less a prefix."""

_VALUE, _PARTITIONS, _RUNS, _HASHED = ".value", ".partitions", ".runs", ".hashed"
_VERSIONS, _FILES = ".versions", ".files"
RUNS_FOLDER = "dagster" + _RUNS
"""The folder of what operations hand on."""

_EMPTY = "%empty"
_HEAD_BYTES = 120
_UNSAFE = re.compile(r"[%/\\\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]|\A\.")
_OUR_ENDING = re.compile(r"\.(?=(?:value|partitions|runs|hashed|versions|files)\Z)", re.IGNORECASE)
_CUT_ESCAPE = re.compile(r"%[0-9A-F]?\Z")


@dataclass(frozen=True, slots=True)
class ValueAddress:
    """What a key in a store says of the value below it.

    Attributes:
        asset: The path of the asset's key; or the run, step and output (and mapping) of an operation.
        partition: A text for each dimension; None for a value without partitions.
        is_output: Whether the value was handed from one operation to another.
    """

    asset: tuple[str, ...]
    partition: tuple[str, ...] | None = None
    is_output: bool = False


def asset_value_key(asset: Sequence[str], partition: Sequence[str] | None = None) -> str:
    """Name the value of an asset, or of one partition of it.

    Args:
        asset: The path of the asset's key.
        partition: The partition's text, for each dimension one, in the order of the dimensions' names.

    Returns:
        The key. A name too long for a file becomes a readable head and a hash.

    Raises:
        ValueError: If the path or the partition has no part at all.

    Example:
        >>> asset_value_key(["raw", "orders"], ["2024-01-01"])
        'raw/orders.partitions/2024-01-01.value'
    """
    if not asset or (partition is not None and not partition):
        raise ValueError("an asset's path and a partition have at least one part")
    folders = [escape_name(name) for name in asset]
    if partition is not None:
        folders[-1] += _PARTITIONS
        folders.extend(escape_name(name) for name in partition)
    return _join(folders)


def output_value_key(identifier: Sequence[str]) -> str:
    """Name the value that an operation hands to another one.

    Args:
        identifier: Run, step and output, and the mapping key of a dynamic output.

    Returns:
        The key.

    Raises:
        ValueError: If the identifier is empty.

    Example:
        >>> output_value_key(["4f1c", "clean", "result"])
        'dagster.runs/4f1c/clean/result.value'
    """
    if not identifier:
        raise ValueError("an output is named by its run, step and name")
    return _join([RUNS_FOLDER, *(escape_name(name) for name in identifier)])


def parse_value_key(key: str) -> ValueAddress | None:
    """Tell which value lies under a key.

    Args:
        key: A key of a store that an IO manager writes.

    Returns:
        The asset and partition, or None for a key that is not one of ours or was shortened by a hash.

    Example:
        >>> parse_value_key("raw/orders.partitions/2024-01-01.value")
        ValueAddress(asset=('raw', 'orders'), partition=('2024-01-01',), is_output=False)
    """
    if not key.endswith(_VALUE):
        return None
    segments = key.removesuffix(_VALUE).split("/")
    if any(segment.removesuffix(_PARTITIONS).endswith((_HASHED, _VERSIONS, _FILES)) for segment in segments):
        return None
    if segments[0] == RUNS_FOLDER:
        return ValueAddress(tuple(_unescape(segment) for segment in segments[1:]), is_output=True)
    marked = [number for number, segment in enumerate(segments) if segment.endswith(_PARTITIONS)]
    if not marked:
        return ValueAddress(tuple(_unescape(segment) for segment in segments))
    end = marked[0] + 1
    asset = [*segments[: end - 1], segments[end - 1].removesuffix(_PARTITIONS)]
    return ValueAddress(
        tuple(_unescape(segment) for segment in asset), tuple(_unescape(segment) for segment in segments[end:])
    )


def _join(segments: list[str]) -> str:
    key = "/".join(segments) + _VALUE
    return key if len(key.encode()) <= MAX_KEY_BYTES else shorten_key(segments[0], key, ending=_VALUE)


def shorten_key(head: str, key: str, *, ending: str) -> str:
    """Write a key that is too long as a readable head and a hash.

    Args:
        head: What it is to begin with.
        key: The key.
        ending: What it is to end with.

    Returns:
        A key of its own, which does not tell the long one any more.

    Example:
        >>> shorten_key("raw", "raw/" + "x" * 2000, ending=".value")
        'raw.cba8041fdf86e5de3bf4dbf4d6c6ce7c.hashed.value'
    """
    return f"{_cut(head)}.{_digest(key)}{_HASHED}{ending}"


@lru_cache(maxsize=1024)  # the keys of all partitions hold the names of their asset
def escape_name(name: str, *, endings: re.Pattern[str] = _OUR_ENDING, room: int = MAX_SEGMENT_BYTES) -> str:
    """Write a name as one segment of a key; no two names are written alike.

    Args:
        name: Any text.
        endings: The dot of an ending that is not to be mistaken for one of ours.
        room: The most bytes, of which a little is kept free for an ending.

    Returns:
        A segment that every medium can hold. It can be read back, unless it was shortened.

    Example:
        >>> escape_name("a/b.value")
        'a%2Fb%2Evalue'
    """
    if not name:
        return _EMPTY  # no name is written so: a percent sign in one is escaped
    escaped = _UNSAFE.sub(lambda match: _percent(match[0]), name)
    escaped = endings.sub("%2E", escaped)
    if len(escaped.encode()) + len(_PARTITIONS) <= room:
        return escaped
    return f"{_cut(escaped)}.{_digest(escaped)}{_HASHED}"


def _unescape(segment: str) -> str:
    return "" if segment == _EMPTY else unquote(segment, errors="surrogatepass")


def _percent(sign: str) -> str:
    return "".join(f"%{byte:02X}" for byte in sign.encode(errors="surrogatepass"))


def _cut(escaped: str) -> str:
    """Give the head of a segment, not ending within a character or an escaped one."""
    head = escaped.encode()[:_HEAD_BYTES].decode(errors="ignore")
    return _CUT_ESCAPE.sub("", head)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
