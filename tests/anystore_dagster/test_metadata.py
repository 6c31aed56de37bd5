"""What Dagster shows of a value: where it is, its size and checksum, and the columns of a table."""

import hashlib

import dagster as dg
import pyarrow as pa
import pytest

from anystore.errors import CodecError
from anystore_dagster.metadata import column_schema, table_metadata, value_metadata, without_users_own
from anystore_dagster.values import codec_for


def test_a_value_is_described():
    assert value_metadata(uri="s3://b/k.value", key="k.value", data=b"abc") == {
        "dagster/uri": "s3://b/k.value",
        "anystore/key": "k.value",
        "anystore/size_bytes": 3,
        "anystore/checksum": hashlib.sha256(b"abc").hexdigest(),
    }


@pytest.mark.parametrize(
    ("is_partition", "name"), [(True, "dagster/partition_row_count"), (False, "dagster/row_count")]
)
def test_a_table_is_described_from_its_file(is_partition, name):
    data = codec_for(pa.Table).encode(pa.table({"n": [1, 2, 3], "t": ["a", "b", None]}))
    found = table_metadata(data, is_partition=is_partition)
    assert found[name] == 3
    assert {column.name: column.type for column in found["dagster/column_schema"].columns} == {
        "n": "int64",
        "t": "string",
    }
    assert set(found) == {name, "dagster/column_schema"}


def test_columns_have_types_and_descriptions():
    schema = pa.schema(
        [
            pa.field("n", pa.int32(), nullable=False, metadata={"description": "how many"}),
            pa.field("tags", pa.list_(pa.string())),
        ]
    )
    first, second = column_schema(schema).columns
    assert (first.type, first.description, first.constraints.nullable) == ("int32", "how many", False)
    assert second.type.startswith("list<")
    assert second.constraints == dg.TableColumnConstraints(nullable=True)


def test_what_is_no_table_has_no_columns():
    with pytest.raises(CodecError):
        table_metadata(b"PAR1" + bytes(20) + b"PAR1", is_partition=False)


def test_the_users_own_stays():
    assert without_users_own({"a": 1, "b": 2}, {"b": 3}) == {"a": 1}
