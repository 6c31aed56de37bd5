"""A listing as an Arrow table."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import pyarrow as pa

from anystore.backend import Entry

_BATCH = 10_000

_TIME = pa.timestamp("us", tz="UTC")

ENTRY_SCHEMA = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("size", pa.int64()),
        pa.field("modified", _TIME),
        pa.field("version", pa.string()),
        pa.field("mimetype", pa.string()),
        pa.field("expires", _TIME),
    ]
)
"""The columns of a listing: what an :class:`anystore.Entry` tells; null where it is not known."""


def entries_to_arrow(entries: Iterable[Entry]) -> Any:
    """Write a listing as an Arrow table; beside it, no more than 10,000 entries are held.

    Args:
        entries: The listing.

    Returns:
        A ``pyarrow.Table`` with :data:`ENTRY_SCHEMA`.

    Example:
        >>> entries_to_arrow([Entry("a.txt", 5, None)]).to_pydict()["size"]
        [5]
    """
    return pa.Table.from_batches(_batches(iter(entries)), schema=ENTRY_SCHEMA)


def _batches(entries: Iterator[Entry]) -> Iterator[Any]:
    while batch := list(islice(entries, _BATCH)):
        columns = [pa.array([getattr(entry, field.name) for entry in batch], type=field.type) for field in ENTRY_SCHEMA]
        yield pa.RecordBatch.from_arrays(columns, schema=ENTRY_SCHEMA)
