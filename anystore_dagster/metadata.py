"""What Dagster shows of a stored value: where it is, how large, its checksum, and a table's columns."""

import hashlib
from collections.abc import Mapping
from typing import Any

from dagster import TableColumn, TableColumnConstraints, TableSchema

from anystore.extras import load


def value_metadata(*, uri: str, key: str, data: bytes) -> dict[str, Any]:
    """Describe one stored value.

    Args:
        uri: Where the value is, with secrets masked.
        key: Its key in the store.
        data: Its bytes.

    Returns:
        ``dagster/uri``, and under ``anystore/`` key, size and checksum.

    Example:
        >>> value_metadata(uri="memory://m/report.value", key="report.value", data=b"12")["anystore/size_bytes"]
        2
    """
    return {
        "dagster/uri": uri,
        "anystore/key": key,
        "anystore/size_bytes": len(data),
        "anystore/checksum": hashlib.sha256(data).hexdigest(),
    }


def table_metadata(data: bytes, *, is_partition: bool) -> dict[str, Any]:
    """Describe a table from the Parquet file it was written to; nothing but its footer is read.

    Args:
        data: The file.
        is_partition: Whether it is one partition of a table, and not all of it.

    Returns:
        Row count and column schema, under the names that Dagster knows.

    Raises:
        CodecError: If it is not Parquet.
    """
    rows, schema = load("anystore.tables").read_parquet_header(data)
    return {
        "dagster/partition_row_count" if is_partition else "dagster/row_count": rows,
        "dagster/column_schema": column_schema(schema),
    }


def column_schema(schema: Any) -> TableSchema:
    """Turn an Arrow schema into Dagster's.

    Args:
        schema: A ``pyarrow.Schema``.

    Returns:
        Its columns, with their Arrow types.
    """
    return TableSchema(
        columns=[
            TableColumn(
                name=field.name,
                type=str(field.type),
                description=(field.metadata or {}).get(b"description", b"").decode(errors="replace") or None,
                constraints=TableColumnConstraints(nullable=field.nullable),
            )
            for field in schema
        ]
    )


def without_users_own(metadata: Mapping[str, Any], users: Mapping[str, object]) -> dict[str, Any]:
    """Leave out what the user's code said itself, which must not be overwritten.

    Args:
        metadata: What we would say.
        users: What the code of the asset said.

    Returns:
        The rest of ours.

    Example:
        >>> without_users_own({"dagster/row_count": 3, "anystore/key": "k"}, {"dagster/row_count": 4})
        {'anystore/key': 'k'}
    """
    return {name: value for name, value in metadata.items() if name not in users}
