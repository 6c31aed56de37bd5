"""Tables of any kind as Arrow record batches, and back: of pyarrow, pandas, polars, or of Arrow's C protocol."""

import sys
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

import pyarrow as pa

from anystore.errors import CodecError

_FRAMES = ("pandas.DataFrame", "polars.DataFrame", "polars.LazyFrame")


def is_frame_type(kind: Any) -> bool:
    """Tell whether a class is a table that :func:`from_arrow` can make."""
    return isinstance(kind, type) and (kind is pa.Table or frame_name(kind) is not None)


def is_table(value: Any) -> bool:
    """Tell whether a value is a table by its class; an iterable of batches tells it only when it is read."""
    if isinstance(value, pa.Table | pa.RecordBatch | pa.RecordBatchReader) or frame_name(type(value)) is not None:
        return True
    # a column offers the protocol as well
    return hasattr(value, "__arrow_c_stream__") and type(value).__name__ not in ("Series", "ChunkedArray")


def is_stream(value: Any) -> bool:
    """Tell whether the rows of a table come one batch after the other, and only once."""
    return not isinstance(value, pa.Table | pa.RecordBatch) and frame_name(type(value)) not in _FRAMES[:2]


def frame_name(kind: type) -> str | None:
    """Give the public name of a frame class of pandas or polars, without importing either."""
    library = kind.__module__.partition(".")[0]
    name = f"{library}.{kind.__name__}"
    return name if name in _FRAMES else None


def to_arrow(value: Any) -> pa.Table:
    """Turn a table of any kind into an Arrow table.

    Args:
        value: Anything that :func:`open_batches` takes.

    Returns:
        The same rows and schema.

    Raises:
        CodecError: If it is no table.
    """
    if isinstance(value, pa.Table):
        return value
    if isinstance(value, pa.RecordBatch):
        return pa.Table.from_batches([value])
    kind = frame_name(type(value))
    try:
        if kind == "pandas.DataFrame":
            return pa.Table.from_pandas(value)
        if kind == "polars.DataFrame":
            return _polars_to_arrow(value)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise CodecError(f"the {type(value).__name__} cannot become an Arrow table: {error}") from error
    schema, batches = open_batches(value)
    return pa.Table.from_batches(batches, schema)


def from_arrow(table: pa.Table, frame: type) -> Any:
    """Turn an Arrow table into another kind of table.

    Args:
        table: The table.
        frame: ``pyarrow.Table``, ``pandas.DataFrame``, ``polars.DataFrame`` or ``polars.LazyFrame``.

    Returns:
        An object of that class.

    Raises:
        CodecError: If the class cannot hold this table.
    """
    if frame is pa.Table:
        return table
    name = frame_name(frame)
    # whoever holds the class has imported its library
    library = sys.modules[frame.__module__.partition(".")[0]]
    refusals = () if name == "pandas.DataFrame" else (library.exceptions.PolarsError,)
    try:
        if name == "pandas.DataFrame":
            return table.to_pandas()
        collected = library.from_arrow(table)
        return collected.lazy() if name == "polars.LazyFrame" else collected
    except (pa.ArrowException, ValueError, TypeError, LookupError, OverflowError, *refusals) as error:
        raise CodecError(f"the table cannot become a {name}: {error}; read it as pyarrow.Table") from error


def open_batches(value: Any) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """Begin to read a table of any kind, batch by batch.

    Args:
        value: A table, batch or batch reader of pyarrow, a pandas or polars frame (a lazy one is computed
            batch by batch), another object with ``__arrow_c_stream__``, or an iterable of such tables.

    Returns:
        The schema, and the batches, which have all of it. What an iterable itself raises passes through.

    Raises:
        CodecError: If it is no table, or an iterable of none; while it is read, if a batch has another schema.
    """
    if not is_stream(value):
        table = to_arrow(value)
        return table.schema, iter(table.to_batches())
    if isinstance(value, pa.RecordBatchReader):
        return value.schema, iter(value)
    if frame_name(type(value)) == "polars.LazyFrame":
        return _open_lazy_frame(value)
    if hasattr(value, "__arrow_c_stream__"):
        try:
            reader = pa.RecordBatchReader.from_stream(value)
        except (pa.ArrowException, TypeError, ValueError) as error:
            raise CodecError(f"the {type(value).__name__} cannot become an Arrow table: {error}") from error
        return reader.schema, iter(reader)
    if isinstance(value, Iterable) and not isinstance(value, str | bytes | bytearray | Mapping):
        return _open_iterable(value)
    raise CodecError(
        f"{type(value).__name__} is no table; pass a pyarrow.Table, a pandas or a polars frame, "
        "or an iterable of record batches"
    )


def _open_iterable(tables: Iterable[Any]) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    items = iter(tables)
    for first in items:
        begun = _item_to_arrow(first)
        rest = (_item_to_arrow(item) for item in items)
        return begun.schema, _check_batches(begun.schema, chain([begun], rest))
    raise CodecError(
        "the iterable gave no record batch, so nothing tells the columns; for a table without rows pass "
        "pyarrow.RecordBatchReader.from_batches(schema, batches), or schema.empty_table()"
    )


def _item_to_arrow(item: Any) -> pa.Table:
    if is_table(item) and not is_stream(item):
        return to_arrow(item)
    raise CodecError(
        f"the iterable gave {type(item).__name__}, which is no table; of anything but record batches store a list"
    )


def _check_batches(schema: pa.Schema, tables: Iterable[pa.Table]) -> Iterator[pa.RecordBatch]:
    for number, table in enumerate(tables, 1):
        if not table.schema.equals(schema):
            raise CodecError(f"table {number} of the iterable has other columns than the first: {_gap(table, schema)}")
        yield from table.to_batches()


def _gap(table: pa.Table, schema: pa.Schema) -> str:
    """Say in what the columns of a table differ from what they should be."""
    if table.schema.names != schema.names:
        return f"{_names(table.schema)} instead of {_names(schema)}"
    field, wanted = next(pair for pair in zip(table.schema, schema, strict=True) if not pair[0].equals(pair[1]))
    return f"{field} instead of {wanted}"


def _names(schema: pa.Schema) -> str:
    return ", ".join(map(repr, schema.names)) or "none"


def _polars_to_arrow(frame: Any) -> pa.Table:
    _refuse_objects(frame.schema)
    return frame.to_arrow()


def _refuse_objects(schema: Any) -> None:
    for name, kind in schema.items():
        if str(kind) == "Object":  # would be written as addresses in the memory of this process
            raise TypeError(f"column {name!r} holds Python objects")


def _open_lazy_frame(lazy: Any) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    polars = sys.modules["polars"]
    refusals = (polars.exceptions.PolarsError, TypeError, pa.ArrowException)
    try:
        schema = lazy.collect_schema()
        _refuse_objects(schema)
        empty = polars.DataFrame(schema=schema).to_arrow()
    except refusals as error:
        raise CodecError(f"the LazyFrame cannot become an Arrow table: {error}") from error
    return empty.schema, _compute(lazy, empty.schema, refusals)


def _compute(lazy: Any, schema: pa.Schema, refusals: tuple[type[Exception], ...]) -> Iterator[pa.RecordBatch]:
    try:
        # older versions compute the whole
        parts = lazy.collect_batches() if hasattr(lazy, "collect_batches") else [lazy.collect()]
        yield from _check_batches(schema, (part.to_arrow() for part in parts))
    except refusals as error:
        raise CodecError(f"the LazyFrame cannot be computed: {error}") from error
