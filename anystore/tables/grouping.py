"""Record batches of any size as groups of bounded bytes: what is written, and held, at a time."""

from collections.abc import Iterable, Iterator

import pyarrow as pa

GROUP_BYTES = 16 << 20
"""How much of a table lies in memory while a stream is written: one row group."""

GROUP_ROWS = 1 << 20
"""The most rows of a group, however small they are."""

_SHRINKS = 0.75


def group_batches(schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Join small batches and cut large ones.

    Args:
        schema: Their schema.
        batches: The batches.

    Returns:
        Tables of at most 16 MiB, or of one row where a row is larger, in the same order; none is empty.
    """
    held: list[pa.RecordBatch] = []
    size = rows = 0
    for batch in batches:
        for part in _cut(batch, _size(batch)):
            part_size = _size(part)
            if held and (size + part_size > GROUP_BYTES or rows + part.num_rows > GROUP_ROWS):
                yield pa.Table.from_batches(held, schema)
                held, size, rows = [], 0, 0
            held.append(part)
            size += part_size
            rows += part.num_rows
    if held:
        yield pa.Table.from_batches(held, schema)


def _cut(batch: pa.RecordBatch, size: int) -> Iterator[pa.RecordBatch]:
    """Halve a batch until its parts are small; rows differ in size, so that their number tells too little."""
    if batch.num_rows <= 1 or (size <= GROUP_BYTES and batch.num_rows <= GROUP_ROWS):
        if batch.num_rows:
            yield batch
        return
    middle = batch.num_rows // 2
    halves = batch.slice(0, middle), batch.slice(middle)
    sizes = [_size(half) for half in halves]
    if batch.num_rows <= GROUP_ROWS and min(sizes) > _SHRINKS * size:  # what they share does not get smaller
        yield batch
        return
    for half, half_size in zip(halves, sizes, strict=True):
        yield from _cut(half, half_size)


def _size(batch: pa.RecordBatch) -> int:
    """Give the bytes of a batch, dictionaries left out, which its slices share."""
    total = 0
    for column in batch.columns:
        part = column.indices if pa.types.is_dictionary(column.type) else column
        total += part.nbytes
    return total
