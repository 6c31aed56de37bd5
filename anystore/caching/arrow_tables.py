"""Arrow tables in an envelope."""

from typing import Any

import pyarrow as pa

from anystore.errors import CodecError
from anystore.tables import TableCodec

_CODEC = TableCodec("arrow")


def to_parts(value: Any) -> list[bytes]:
    """Give the bytes of a table.

    Args:
        value: A ``pyarrow.Table``.

    Returns:
        One Arrow IPC file.

    Raises:
        CodecError: If the table cannot be written.
    """
    return [_CODEC.encode(value)]


def from_parts(name: str, parts: list[memoryview]) -> Any:
    """Give a table back.

    Args:
        name: Of the class.
        parts: As ``to_parts`` gives them.

    Returns:
        A ``pyarrow.Table``.

    Raises:
        CodecError: If these are not its bytes.
    """
    table = _CODEC.decode(bytes(parts[0]))
    try:
        table.validate(full=True)  # the file may have been written by somebody else
    except pa.ArrowInvalid as error:
        raise CodecError(f"the {name} is broken: {error}") from error
    return table
