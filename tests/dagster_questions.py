"""Every question that a Dagster webserver can be asked: what its schema has, as GraphQL queries."""

from collections.abc import Iterator, Mapping
from typing import Any

_TYPE = "kind name " + "ofType { kind name " * 7 + "}" * 7
SCHEMA = (
    "{ __schema { queryType { name } types { name kind possibleTypes { name } fields { name type { "
    + _TYPE
    + " } args { name defaultValue type { "
    + _TYPE
    + " } } } } } }"
)
"""Asks for the schema."""

_PLAIN = ("SCALAR", "ENUM")


class Questions:
    """Queries for all that can be reached from the root in some steps, each type at most once on the way.

    Args:
        schema: The answer to :data:`SCHEMA`.
        depth: The most steps.
    """

    def __init__(self, schema: Mapping[str, Any], *, depth: int) -> None:
        self._types = {one["name"]: one for one in schema["__schema"]["types"]}
        self._root = schema["__schema"]["queryType"]["name"]
        self._depth = depth

    def all(self, known: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """Make the queries whose arguments are known.

        Args:
            known: A value for names of arguments, or of their types.

        Yields:
            A name, the query, and its variables.
        """
        for field in self._types[self._root]["fields"]:
            needed = _required(field)
            values = {one["name"]: known.get(one["name"], known.get(_base(one["type"]))) for one in needed}
            if None in values.values():
                continue
            declared = ", ".join(f"${one['name']}: {_written(one['type'])}" for one in needed)
            passed = ", ".join(f"{one['name']}: ${one['name']}" for one in needed)
            asked = field["name"] + (f"({passed})" if passed else "")
            selection = self._select(_base(field["type"]), self._depth, frozenset())
            head = f"query Q({declared})" if declared else "query Q"
            yield field["name"], f"{head} {{ {asked} {selection} }}", values

    def _select(self, name: str, depth: int, path: frozenset[str]) -> str:
        kind = self._types[name]
        if kind["kind"] in _PLAIN:
            return ""
        if kind["kind"] in ("UNION", "INTERFACE"):
            parts = [f"... on {one['name']} {self._select(one['name'], depth, path)}" for one in kind["possibleTypes"]]
            return f"{{ __typename {' '.join(parts)} }}"
        if depth == 0 or name in path:
            return "{ __typename }"
        # an alias for each, since fields of one name have other types elsewhere in a union
        fields = [
            f"{field['name']}_{name}: {field['name']} {self._select(_base(field['type']), depth - 1, path | {name})}"
            for field in kind["fields"]
            if not _required(field)
        ]
        return f"{{ __typename {' '.join(fields)} }}"


def _required(field: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [one for one in field["args"] if one["type"]["kind"] == "NON_NULL" and one["defaultValue"] is None]


def _base(kind: Mapping[str, Any]) -> str:
    while kind.get("ofType"):
        kind = kind["ofType"]
    name: str = kind["name"]
    return name


def _written(kind: Mapping[str, Any]) -> str:
    if kind["kind"] == "NON_NULL":
        return f"{_written(kind['ofType'])}!"
    if kind["kind"] == "LIST":
        return f"[{_written(kind['ofType'])}]"
    name: str = kind["name"]
    return name
