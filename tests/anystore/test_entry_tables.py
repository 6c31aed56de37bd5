"""A listing as an Arrow table."""

from datetime import UTC, datetime

import pyarrow as pa
import pytest

from anystore import Entry, get_store
from anystore.entry_tables import ENTRY_SCHEMA, entries_to_arrow

COLUMNS = ["key", "size", "modified", "version", "mimetype", "expires"]


def test_columns_are_those_of_an_entry():
    moment = datetime(2024, 5, 1, 12, 0, 0, 123456, tzinfo=UTC)
    entries = [Entry("a", 1, moment, "v", "text/plain", moment), Entry("ü/b", None, None)]
    table = entries_to_arrow(iter(entries))
    assert table.schema == ENTRY_SCHEMA
    assert table.column_names == COLUMNS
    assert [Entry(**row) for row in table.to_pylist()] == entries


def test_a_listing_of_a_store():
    store = get_store("memory://to-arrow")
    store.put_many({"a/1.txt": "x", "a/2.pdf": "xx", "b/3.txt": "xxx"})
    assert store.to_arrow().num_rows == 3
    assert store.to_arrow("a", glob="*.txt")["key"].to_pylist() == ["a/1.txt"]
    assert store.to_arrow(exclude_prefix="a")["size"].to_pylist() == [3]
    assert store.to_arrow().schema.field("modified").type == pa.timestamp("us", tz="UTC")


def test_an_empty_listing_has_its_columns():
    assert get_store("memory://to-arrow-empty").to_arrow().schema == ENTRY_SCHEMA


def test_a_listing_of_many_batches():
    table = entries_to_arrow(Entry(f"{number}", number, None) for number in range(25_001))
    assert table["size"].to_pylist() == list(range(25_001))
    assert max(len(batch) for batch in table.to_batches()) == 10_000


def test_each_entry_is_let_go_with_its_batch():
    alive = 0

    class Counted(Entry):
        def __init__(self, number):
            nonlocal alive
            alive += 1
            Entry.__init__(self, str(number), number, None)

        def __del__(self):
            nonlocal alive
            alive -= 1

    most = 0

    def listing():
        nonlocal most
        for number in range(50_000):
            yield Counted(number)
            most = max(most, alive)

    assert entries_to_arrow(listing()).num_rows == 50_000
    assert most < 25_000


def test_pandas_takes_it():
    store = get_store("memory://to-pandas")
    store.put("a", "x")
    frame = store.to_arrow().to_pandas()
    assert frame.loc[0, "size"] == 1
    assert str(frame["modified"].dtype) == "datetime64[us, UTC]"


@pytest.mark.parametrize("scheme", ["file", "sqlite"])
def test_other_backends(scheme, tmp_path):
    store = get_store(tmp_path / "x" if scheme == "file" else f"sqlite:///{tmp_path}/x.db")
    store.put("a/b", "hello")
    assert store.to_arrow()["size"].to_pylist() == [5]
