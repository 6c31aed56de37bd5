"""A stored table as a lazy frame of polars, which reads no more than its query needs."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from typing import Any

import polars as pl
import pyarrow as pa
from polars.io.plugins import register_io_source

from anystore.tables import from_arrow
from anystore_dagster.values.tables import StoredBatches, make_table

_COMPARISONS = {"Eq": "=", "NotEq": "!=", "Lt": "<", "LtEq": "<=", "Gt": ">", "GtEq": ">="}
_TURNED = {"Eq": "Eq", "NotEq": "NotEq", "Lt": "Gt", "LtEq": "GtEq", "Gt": "Lt", "GtEq": "LtEq"}
_BETWEEN = {"Both": ("GtEq", "LtEq"), "Left": ("GtEq", "Lt"), "Right": ("Gt", "LtEq"), "None": ("Gt", "Lt")}
_UNITS = {"Nanoseconds": "ns", "Microseconds": "us", "Milliseconds": "ms"}
_EPOCH = date(1970, 1, 1)

Condition = tuple[str, str, Any]


def scan(batches: StoredBatches) -> pl.LazyFrame:
    """Make a lazy frame of a stored table.

    Args:
        batches: The table, or what an input wants of it.

    Returns:
        The frame; its footer was read. Each query reads the columns it needs, and leaves out the row groups whose
        statistics say that no row passes.

    Raises:
        CodecError: If the stored bytes are no table.
    """
    schema = pl.DataFrame(from_arrow(make_table(batches.schema, []), pl.DataFrame)).schema
    return register_io_source(_Source(batches, schema), schema=schema, is_pure=True)


class _Source:
    """What polars asks for the rows of a stored table."""

    def __init__(self, batches: StoredBatches, schema: pl.Schema) -> None:
        self._batches = batches
        self._schema = schema

    def __call__(
        self,
        with_columns: list[str] | None,
        predicate: pl.Expr | None,
        n_rows: int | None,
        batch_size: int | None,  # noqa: ARG002 - the file decides
    ) -> Iterator[pl.DataFrame]:
        """Give the rows, of which polars trusts that they were cut to ``n_rows``, and then filtered."""
        filters = find_filters(predicate, self._schema) if predicate is not None and n_rows is None else None
        for frame in _in_own_thread(self._batches.frames(pl.DataFrame, with_columns or None, filters or None)):
            part = frame
            if n_rows is not None:
                part = part.head(n_rows)
                n_rows -= part.height
            yield part if predicate is None else part.filter(predicate)
            if n_rows == 0:
                return


def _in_own_thread(items: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """Read ahead by one, in a thread of Python's.

    polars asks from threads of its own. What libraries keep for a thread would be dropped by one that is not
    Python's, which some do not survive.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="anystore-lazy") as pool:
        try:
            pending = pool.submit(next, items, None)
            while (item := pending.result()) is not None:
                pending = pool.submit(next, items, None)
                yield item
        finally:
            pool.submit(getattr(items, "close", int)).result()


def find_filters(predicate: pl.Expr, schema: pl.Schema) -> list[Condition]:
    """Find the conditions that every row has to meet, and that Arrow understands as polars does.

    Args:
        predicate: What polars filters by.
        schema: Of the table.

    Returns:
        Conditions for ``Store.get(filters=…)``; polars still applies the whole predicate to what they leave.
        Floats are not among them, since polars takes NaN for the greatest number, and Arrow for none.

    Example:
        >>> find_filters((pl.col("n") > pl.lit(1, pl.Int64)) & pl.col("n").is_null(), pl.Schema({"n": pl.Int64}))
        [('n', '>', 1)]
    """
    try:
        tree = json.loads(predicate.meta.serialize(format="json"))
    except (pl.exceptions.PolarsError, ValueError, TypeError):  # such as a function of Python's
        return []
    return [
        (name, _COMPARISONS[comparison], literal)
        for name, comparison, kind, value in _conditions(tree)
        if name in schema and (literal := _literal(schema[name], kind, value)) is not None
    ]


def _conditions(node: Any) -> list[tuple[str, str, str, Any]]:
    """Walk through what is joined by "and"; what is not known is left out, for it only narrows further."""
    match node:
        case {"BinaryExpr": {"left": left, "op": "And", "right": right}}:
            return _conditions(left) + _conditions(right)
        case {"BinaryExpr": {"left": {"Column": str(name)}, "op": str(op), "right": {"Literal": {"Scalar": scalar}}}}:
            return _condition(name, op, scalar)
        case {"BinaryExpr": {"left": {"Literal": {"Scalar": scalar}}, "op": str(op), "right": {"Column": str(name)}}}:
            return _condition(name, _TURNED.get(op, op), scalar)
        case {
            "Function": {
                "input": [{"Column": str(name)}, {"Literal": {"Scalar": low}}, {"Literal": {"Scalar": high}}],
                "function": {"Boolean": {"IsBetween": {"closed": str(closed)}}},
            }
        } if closed in _BETWEEN:
            above, below = _BETWEEN[closed]
            return _condition(name, above, low) + _condition(name, below, high)
    return []


def _condition(name: str, comparison: str, scalar: Any) -> list[tuple[str, str, str, Any]]:
    if comparison not in _COMPARISONS or not isinstance(scalar, dict) or len(scalar) != 1:
        return []
    kind, value = next(iter(scalar.items()))
    return [(name, comparison, kind, value)]


def _literal(dtype: pl.DataType, kind: str, value: Any) -> Any:
    """Give a literal in Arrow's terms, if it is of the column's own type."""
    if dtype.is_integer() and kind == str(dtype) and type(value) is int:
        return value
    if dtype == pl.String and kind == "String" and isinstance(value, str):
        return value
    if dtype == pl.Boolean and kind == "Boolean" and isinstance(value, bool):
        return value
    if dtype == pl.Date and kind == "Date" and type(value) is int:
        return _EPOCH + timedelta(days=value) if abs(value) < _EPOCH.toordinal() else None
    if isinstance(dtype, pl.Datetime) and kind == "Datetime":
        match value:
            case [int(count), str(unit), zone] if _UNITS.get(unit) == dtype.time_unit and zone == dtype.time_zone:
                return pa.scalar(count, pa.timestamp(dtype.time_unit, zone))
    return None
