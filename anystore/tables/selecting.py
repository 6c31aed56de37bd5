"""Which columns and rows of a table are wanted."""

import json
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from pyarrow import compute

from anystore.errors import InvalidOption

Condition = tuple[str, str, Any]

_MOST_NAMES = 40
_COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_FORM = "pass [('column', '>', 3)], a list of such lists of which one has to hold, or a pyarrow.compute.Expression"


@dataclass(frozen=True)
class Query:
    """The columns and rows that are wanted of a table.

    Attributes:
        columns: Their names, in the order wanted, or None for all. In Parquet, ``a.b`` is a field of a struct.
        filters: As :func:`check_filters` gives it.
        with_index: Whether the columns that pandas made of an index are wanted, too.
    """

    columns: tuple[str, ...] | None = None
    filters: compute.Expression | tuple[tuple[Condition, ...], ...] | None = None
    with_index: bool = False

    @property
    def is_all(self) -> bool:
        """Whether the whole table is wanted."""
        return self.columns is None and self.filters is None

    def names(self, schema: pa.Schema) -> tuple[str, ...] | None:
        """Name the columns to give of one table, or None for all."""
        if self.columns is None or not self.with_index:
            return self.columns
        return tuple(dict.fromkeys([*self.columns, *_index_columns(schema)]))

    def bind(self, schema: pa.Schema) -> compute.Expression | None:
        """Make the condition on the rows of one table.

        Raises:
            InvalidOption: If it names what the table has not, or compares what cannot be compared.
        """
        if self.filters is None:
            return None
        if isinstance(self.filters, compute.Expression):
            condition = self.filters
        else:
            condition = _either([_all([_compare(one, schema) for one in group]) for group in self.filters])
        try:
            no_rows(schema).filter(condition)
        except (pa.ArrowException, TypeError) as error:
            raise InvalidOption(
                f"the filters do not fit the table: {_first_line(error)}; its columns are {name_columns(schema)}"
            ) from error
        return condition


def _index_columns(schema: pa.Schema) -> list[str]:
    """Find the columns that pandas wrote for an index; it notes them in the schema."""
    try:
        notes = json.loads(schema.metadata[b"pandas"]) if schema.metadata else {}
        return [name for name in notes.get("index_columns", ()) if name in schema.names]
    except (KeyError, ValueError, AttributeError, TypeError):  # none, or somebody else's notes
        return []


def check_columns(columns: Any) -> tuple[str, ...] | None:
    """Refuse what is no list of names.

    Raises:
        InvalidOption: If it is not.
    """
    if columns is None:
        return None
    is_list = isinstance(columns, Sequence) and not isinstance(columns, str | bytes)
    if not is_list or not columns or not all(isinstance(name, str) for name in columns):
        raise InvalidOption(f"columns={columns!r} is no list of names; pass ['a', 'b'], or leave it out for all")
    return tuple(dict.fromkeys(columns))


def check_filters(filters: Any) -> compute.Expression | tuple[tuple[Condition, ...], ...] | None:
    """Bring filters into one form, before anything is read.

    Args:
        filters: An expression of ``pyarrow.compute``, a list of conditions ``(column, comparison, value)`` that
            have to hold together, or a list of such lists of which one has to hold.

    Returns:
        The expression, or groups of conditions.

    Raises:
        InvalidOption: If it is none of these.
    """
    if filters is None or isinstance(filters, compute.Expression):
        return filters
    if not isinstance(filters, Sequence) or isinstance(filters, str | bytes) or not filters:
        raise InvalidOption(f"filters={filters!r} are no filters; {_FORM}")
    groups = [filters] if _is_condition(filters[0]) else filters
    return tuple(_check_group(group) for group in groups)


def _is_condition(item: Any) -> bool:
    return isinstance(item, str) or (isinstance(item, Sequence) and bool(item) and isinstance(item[0], str))


def _check_group(group: Any) -> tuple[Condition, ...]:
    if not isinstance(group, Sequence) or not group:
        raise InvalidOption(f"{group!r} is no list of filters; {_FORM}")
    return tuple(_check_condition(condition) for condition in group)


def _check_condition(condition: Any) -> Condition:
    match condition:
        case (str(), "in" | "not in", values):
            if isinstance(values, str | bytes | Mapping) or not hasattr(values, "__iter__"):
                raise InvalidOption(f"the filter {condition!r} wants a list of values behind {condition[1]!r}")
            return condition[0], condition[1], list(values)
        case (str(), str(comparison), _) if comparison in _COMPARISONS:
            return condition[0], condition[1], condition[2]
    known = ", ".join(map(repr, (*_COMPARISONS, "in", "not in")))
    raise InvalidOption(f"{condition!r} is no filter; {_FORM}; the comparisons are {known}")


def _compare(condition: Condition, schema: pa.Schema) -> compute.Expression:
    name, comparison, value = condition
    field = compute.field(*_path(name, schema))
    if value is None and comparison in ("=", "=="):  # a comparison with null would hold for no row
        return field.is_null()
    if value is None and comparison == "!=":
        return field.is_valid()
    try:
        if comparison in _COMPARISONS:
            return _COMPARISONS[comparison](field, value)
        return field.isin(value) if comparison == "in" else ~field.isin(value)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise InvalidOption(f"the filter {condition!r} compares with no value of Arrow: {error}") from error


def _path(name: str, schema: pa.Schema) -> tuple[str, ...]:
    """Tell a column whose name has dots from a field of a struct."""
    if name in schema.names:
        return (name,)
    first, *rest = name.split(".")
    fields = schema if schema.names.count(first) == 1 else pa.schema([])
    for part in (first, *rest):
        if fields.get_field_index(part) < 0:
            raise unknown_column(name, schema)
        kind = fields.field(part).type
        fields = kind if pa.types.is_struct(kind) else pa.struct([])
    return (first, *rest)


def _all(conditions: list[compute.Expression]) -> compute.Expression:
    first, *rest = conditions
    for condition in rest:
        first &= condition
    return first


def _either(conditions: list[compute.Expression]) -> compute.Expression:
    first, *rest = conditions
    for condition in rest:
        first |= condition
    return first


def find_columns(condition: compute.Expression | None, schema: pa.Schema) -> list[int]:
    """Find the columns that a condition needs; an expression does not tell.

    Args:
        condition: One that is bound to the schema.
        schema: The columns there are.

    Returns:
        The positions of those without which the condition cannot be asked.
    """
    if condition is None:
        return []

    def search(candidates: list[int]) -> list[int]:
        if _stands_without(condition, schema, candidates):
            return []
        if len(candidates) == 1:
            return candidates
        middle = len(candidates) // 2
        return search(candidates[:middle]) + search(candidates[middle:])

    return search(list(range(len(schema)))) if len(schema) else []


def _stands_without(condition: compute.Expression, schema: pa.Schema, columns: list[int]) -> bool:
    missing = set(columns)
    rest = pa.schema([field for index, field in enumerate(schema) if index not in missing])
    try:
        no_rows(rest).filter(condition)
    except pa.ArrowException:
        return False
    return True


def find_positions(schema: pa.Schema, columns: Sequence[str] | None) -> list[int] | None:
    """Find the wanted columns, in the order they were named; several may have one name.

    Args:
        schema: The columns there are.
        columns: The names, or None for all.

    Returns:
        Positions, or None for all.

    Raises:
        InvalidOption: If there is no such column.
    """
    if columns is None:
        return None
    for name in columns:
        if name not in schema.names:
            raise unknown_column(name, schema)
    return [index for name in columns for index in schema.get_all_field_indices(name)]


def choose_columns(table: pa.Table, positions: list[int] | None) -> pa.Table:
    """Take columns out of a table; None stands for all."""
    return table if positions is None else table.select(positions)


def no_rows(schema: pa.Schema) -> pa.Table:
    """Make a table of a schema; unlike ``Schema.empty_table``, of every one."""
    return pa.Table.from_batches([], schema)


def unknown_column(name: str, schema: pa.Schema) -> InvalidOption:
    """Make the error for a column that is not there."""
    return InvalidOption(f"there is no column {name!r}; the columns are {name_columns(schema)}")


def name_columns(schema: pa.Schema) -> str:
    """List the names of columns, the first of very many."""
    names = ", ".join(map(repr, schema.names[:_MOST_NAMES])) or "none"
    rest = len(schema.names) - _MOST_NAMES
    return f"{names} and {rest} more" if rest > 0 else names


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
