"""What Dagster shows of a value: where it is, its columns, and a preview in which nothing of the data is active."""

import base64
import datetime as dt
import html

import dagster as dg
import pyarrow as pa
import pytest
from markdown_it import MarkdownIt

from anystore_dagster.metadata import (
    PREVIEW,
    column_schema,
    describe_content,
    describe_table,
    preview_rows,
    preview_text,
    value_metadata,
    without_users_own,
)

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "![x](https://evil.example/p.png)",
    "[click](javascript:alert(1))",
    "https://evil.example/",
    "www.evil.example",
    "me@evil.example",
    "a | b",
    "a \\| b",
    "`` ` ``` ````",
    "# heading",
    "\n\n# heading\n\n<b>",
    "\r\n<b>bold</b>",
    "```\n<b>",
    "~~~",
    "&lt;b&gt;",
    "&#60;b&#62;",
    "\u202egpj.exe",
    "\x1b[31mred",
    "\ud800",
    "a\u2028b",
    "",
    " ",
]
ACTIVE = ("<script", "<img", "<a ", "<b>", "<h1", "<del", "<em", "<strong")


def rendered(value):
    assert isinstance(value, dg.MarkdownMetadataValue)
    text = value.value
    text.encode()  # what is kept in a database has no lone surrogate
    # what a page does that takes more than Dagster's: HTML, tables, and links that are no marked ones
    return MarkdownIt("gfm-like", {"html": True, "linkify": False}).render(text)


def test_a_value_is_described():
    assert value_metadata(uri="s3://b/k.value", key="k.value", size=3, checksum="ab") == {
        "dagster/uri": "s3://b/k.value",
        "anystore/key": "k.value",
        "anystore/size_bytes": 3,
        "anystore/checksum": "ab",
    }


def test_a_table_has_rows_columns_and_a_preview():
    table = pa.table({"n": list(range(100)), "t": ["x"] * 100})
    found = describe_table(100, table.schema, table)
    assert found["dagster/row_count"] == 100
    assert {column.name: column.type for column in found["dagster/column_schema"].columns} == {
        "n": "int64",
        "t": "string",
    }
    assert found[PREVIEW].value.splitlines()[:3] == ["| `n` | `t` |", "| --- | --- |", "| `0` | `x` |"]
    assert len(found[PREVIEW].value.splitlines()) == 12


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


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_in_a_cell_is_active(text):
    page = rendered(preview_rows([text, "next"], [(text, "second"), (text, "third")]))
    body = page.lower()
    assert not [tag for tag in ACTIVE if tag in body]
    # it stays one table, with as many cells as there are
    assert page.count("<table>") == 1
    assert page.count("<th>") == 2
    assert page.count("<td>") == 4
    assert "third" in page


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_in_a_text_is_active(text):
    page = rendered(preview_text(f"before\n{text}\nafter"))
    body = page.lower()
    assert not [tag for tag in ACTIVE if tag in body]
    assert page.startswith("<pre><code")
    assert page.rstrip().endswith("after\n</code></pre>")


def test_a_preview_is_small_however_large_the_data_is():
    long = pa.array(["y" * 100_000] * 20)
    wide = pa.table({f"column {number} {'x' * 500}": long for number in range(2000)})
    found = describe_table(20, wide.schema, wide.slice(0, 10))
    assert found["anystore/column_count"] == 2000
    assert "dagster/column_schema" not in found
    assert PREVIEW not in found  # its first ten rows alone are 20 MB
    narrow = wide.select([0, 1, 2]).slice(0, 3)
    assert len(describe_table(3, narrow.schema, narrow)[PREVIEW].value) < 2000
    many = preview_rows([str(number) for number in range(50)], [tuple(range(50))]).value
    assert "30 more columns" in many
    assert len(preview_text("x" * 10_000_000).value) < 1200


def test_values_that_python_cannot_hold_do_not_spoil_a_preview():
    table = pa.table(
        {
            "late": pa.array([2**40], pa.timestamp("s")),
            "fine": pa.array([1], pa.timestamp("ns")),
            "bytes": [b"\xff" * 9],
            "none": pa.array([None], pa.null()),
            "nested": [{"a": [1, 2]}],
            "day": [dt.date(2024, 1, 1)],
        }
    )
    preview = describe_table(1, table.schema, table)[PREVIEW].value
    assert "`2024-01-01`" in preview
    assert "`9 bytes`" in preview


def test_a_picture_is_shown_and_a_large_one_is_not():
    shown = describe_content(PIXEL)[PREVIEW].value
    assert shown.startswith("![preview](data:image/png;base64,")
    assert base64.b64decode(shown.partition("base64,")[2].rstrip(")")) == PIXEL
    assert describe_content(PIXEL + bytes(1 << 17)) == {}
    assert describe_content(b"\xff\xd8\xff\xe0rest")[PREVIEW].value.startswith("![preview](data:image/jpeg;")


def test_svg_is_shown_as_the_text_it_is():
    svg = b"<svg onload='alert(1)'><script>alert(1)</script></svg>"
    page = rendered(describe_content(svg)[PREVIEW])
    assert "<svg" not in page
    assert html.escape("<svg onload", quote=False) in page


@pytest.mark.parametrize("data", [b"", b"\x00\x01", b"\xff\xfe\xfd", b"PAR1" + bytes(20) + b"PAR1"])
def test_what_is_nothing_of_this_has_no_preview(data, tmp_path):
    assert describe_content(data) == {}
    (tmp_path / "file").write_bytes(data)
    assert describe_content(tmp_path / "file") == {}


def test_a_file_is_described_by_its_ends(tmp_path):
    from_file = tmp_path / "text"
    # the head that is read ends within a character
    from_file.write_text("x" + "ü" * 10_000)
    assert describe_content(from_file)[PREVIEW].value.startswith("```text\nxüü")
    assert describe_content(from_file.read_bytes()) == describe_content(from_file)


def test_the_users_own_stays():
    assert without_users_own({"a": 1, "b": 2}, {"b": 3}) == {"a": 1}
