"""The annotation decides how a value becomes bytes, and what comes back is what was stored."""

import dataclasses
import datetime as dt
import decimal
import enum
import json
import pathlib
import uuid
from typing import Any, Optional

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from anystore.errors import CodecError
from anystore_dagster.values import annotation_text, form_for, partitioned_item
from tests.anystore_dagster.keeping import encode, keep, load, round_trip


class Person(BaseModel):
    name: str
    born: dt.date | None = None


class Employee(Person):
    salary: int = 0


@dataclasses.dataclass
class Point:
    x: int
    label: str = ""


class Colour(enum.Enum):
    RED = "red"


TABLE = pa.table({"n": [1, 2, None], "text": ["a", "b", "ü"]})
PANDAS = pd.DataFrame({"n": [1, 2]}, index=pd.Index(["one", "two"], name="which"))
POLARS = pl.DataFrame({"n": [1, 2], "text": ["a", None]})

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
texts = st.text() | st.sampled_from(
    ["1", "null", "true", '"quoted"', "[1]", "{}", "1e5", "", " 1", '{"a": 1}', "PAR1PAR1PAR1"]
)


def same(value, other):
    if type(value) is not type(other):
        return False
    if isinstance(value, list):
        return len(value) == len(other) and all(map(same, value, other))
    if isinstance(value, dict):
        return value.keys() == other.keys() and all(same(value[name], other[name]) for name in value)
    if isinstance(value, pa.Table):
        return value.equals(other)
    if isinstance(value, pd.DataFrame | pl.DataFrame):
        return value.equals(other)
    if isinstance(value, pl.LazyFrame):
        return value.collect().equals(other.collect())
    return value == other


def placed(data):
    """Put bytes where a value is expected, as someone else would."""
    return keep(data, bytes)


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (bytes, b"\x00\xff"),
        (bytes, b""),
        (bytes, b"null"),
        (bytes, b'"1"'),
        (bytes | None, b"null"),
        (bytes | None, b"null\0"),
        (bytes | None, b"null\0\0"),
        (bytes | None, None),
        (bytes | None, b""),
        (str | None, "null"),
        (str | None, None),
        (Optional[str], "x"),  # noqa: UP045 - what Dagster gives
        (dict, {"a": [1, 1.0, "1", True, None]}),
        (list, []),
        (int, 10**30),
        (int, -1),
        (float, 1.0),
        (float, 1e300),
        (bool, True),
        (bool, False),
        (int | None, None),
        (int | None, 0),
        (list[Any], [{"a": 1}]),
        (dict[str, int], {"a": 1}),
        (dict[str, Any], {"a": [None, {}]}),
        (list[str], ["1", "true"]),
        (Person, Person(name="Ada", born=dt.date(1815, 12, 10))),
        (Person | None, None),
        (Person | None, Person(name="1")),
        (list[Person], [Person(name="a"), Person(name="b")]),
        (dict[str, Person], {"ü": Person(name="b")}),
        (list[Employee], [Employee(name="e", salary=1)]),
        (Point, Point(1, "a")),
        (list[Point], [Point(1)]),
        (dt.datetime, dt.datetime(2024, 1, 1, 12, tzinfo=dt.UTC)),
        (dt.date, dt.date(1, 1, 1)),
        (dt.timedelta, dt.timedelta(days=1, microseconds=3)),
        (uuid.UUID, uuid.UUID(int=5)),
        (decimal.Decimal, decimal.Decimal("1.10")),
        (Colour, Colour.RED),
        (tuple[int, str], (1, "a")),
        (set[int], {1, 2}),
        (dict[int, str], {1: "a"}),
        (pa.Table, TABLE),
        (pd.DataFrame, PANDAS),
        (pl.DataFrame, POLARS),
        (pl.LazyFrame, POLARS.lazy()),
        (pa.Table | None, None),
        (pa.Table | None, TABLE),
        (pa.Table, TABLE.slice(0, 0)),
    ],
)
def test_a_value_comes_back_under_its_annotation(annotation, value):
    assert same(round_trip(value, annotation), value)


@pytest.mark.parametrize("annotation", [str, str | None, Any])
@given(text=texts)
def test_text_stays_text_also_where_it_looks_like_json(annotation, text):
    assert same(round_trip(text, annotation), text)
    # whoever loads it without an annotation, or stored it without one, gets the same
    assert same(round_trip(text, annotation, Any), text)
    assert same(round_trip(text, Any, str), text)


@given(value=json_values)
def test_json_comes_back_without_an_annotation(value):
    assert same(round_trip(value, Any), value)


@given(data=st.binary() | st.sampled_from([b"null", b"null\0", b"null\0\0"]))
def test_bytes_stay_bytes(data):
    assert round_trip(data, bytes) == data
    assert round_trip(data, bytes | None) == data


@pytest.mark.parametrize("loaded_as", [pa.Table, pd.DataFrame, pl.DataFrame, pl.LazyFrame])
@pytest.mark.parametrize("stored", [TABLE, PANDAS, POLARS, POLARS.lazy()], ids=lambda value: type(value).__module__)
def test_a_table_can_be_loaded_as_another_kind(stored, loaded_as):
    loaded = round_trip(stored, type(stored), loaded_as)
    assert isinstance(loaded, loaded_as)


@pytest.mark.parametrize("value", [TABLE, PANDAS, POLARS, POLARS.lazy()], ids=lambda value: type(value).__module__)
@pytest.mark.parametrize("annotated", [True, False])
def test_a_table_without_an_annotation_comes_back_as_the_kind_it_was(value, annotated):
    assert same(round_trip(value, type(value) if annotated else Any, Any), value)


def test_parquet_of_others_becomes_an_arrow_table_without_an_annotation():
    assert same(load(keep(TABLE, Any, mode="parquet"), Any), TABLE)


@pytest.mark.parametrize("data", [b"[1, 2]", b"1", b"true", b"plain", b"{", b""])
def test_a_file_that_someone_placed_is_text_where_text_is_annotated(data):
    assert load(placed(data), str) == data.decode()


@pytest.mark.parametrize(
    ("annotation", "value", "hint"),
    [
        (bytes, "text", "-> str"),
        (str, b"bytes", "-> bytes"),
        (str, 1, "-> int"),
        (int, True, "int"),
        (int, "1", "int"),
        (bool, 1, "bool"),
        (bool, "true", "bool"),
        (float, "1.5", "float"),
        (str, None, "T | None"),
        (list[int], ["1"], "int"),
        (dict[str, int], {"a": "1"}, "int"),
        (dict, [], "dict"),
        (list, (1,), "list"),
        (pa.Table, {"a": 1}, "-> dict"),
        (pd.DataFrame, None, "T | None"),
        (Person, {"name": "x"}, "Person"),
        (list[Person], [{"name": "x"}], "Person"),
        (Person, Employee(name="x", salary=3), "annotate Employee"),
        (list[Person], [Person(name="a"), Employee(name="x")], "annotate Employee"),
        (Any, object(), "pickle"),
        (Any, {1: 2}, "pickle"),
        (Any, (1, 2), "pickle"),
        (Any, {"a": float("nan")}, "None"),
        (dict[str, Any], {"a": dt.date(2024, 1, 1)}, "pickle"),
        (float, float("inf"), "None"),
    ],
)
def test_a_value_that_does_not_fit_says_what_to_write(annotation, value, hint):
    with pytest.raises(CodecError) as caught:
        encode(value, annotation)
    assert hint in str(caught.value)


@pytest.mark.parametrize(
    ("stored", "annotation"),
    [
        (b"1", bool),
        (b'"1"', int),
        (b"[1]", dict),
        (b"true", int),
        (b"{}", Person),
        (b"plain", Person),
        (b"not", pa.Table),
    ],
)
def test_stored_bytes_that_do_not_fit_are_refused(stored, annotation):
    with pytest.raises(CodecError):
        load(placed(stored), annotation)


@pytest.mark.parametrize(
    ("annotation", "hint"),
    [
        (pathlib.PurePosixPath, "pathlib.Path"),
        (bytearray, "annotate bytes"),
        (list[bytes], "bytes"),
        (dict[str, pd.DataFrame], "partition"),
        (type("Odd", (), {}), "pickle"),
    ],
)
def test_an_annotation_that_cannot_be_stored_says_what_to_write(annotation, hint):
    with pytest.raises(CodecError, match=hint):
        form_for(annotation)


def test_an_error_does_not_show_the_value():
    with pytest.raises(CodecError) as caught:
        encode(["hunter2"], list[int])
    assert "hunter2" not in str(caught.value)


def test_pickle_is_used_only_when_it_is_asked_for():
    source = keep({1, 2}, Any, mode="pickle")
    assert load(source, set[int], mode="pickle") == {1, 2}
    assert load(source, Any) == source.read()  # bytes, not what they hold


@pytest.mark.parametrize("mode", ["parquet", "arrow", "csv"])
def test_another_mode_is_used_for_every_value(mode):
    table = pa.table({"n": [1, 2]})
    assert round_trip(table, pa.Table, pd.DataFrame, mode=mode)["n"].to_list() == [1, 2]


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (Person, Person(name="Ada")),
        (list[Person], [Person(name="Ada")]),
        (Person | None, None),
        (Point, Point(1, "x")),
        (set[int], {1, 2}),
        (dt.date, dt.date(2024, 1, 1)),
        (str, "1"),
        (dict[str, int], {"a": 1}),
        (Any, [1]),
    ],
)
def test_json_comes_back_under_its_annotation(annotation, value):
    source = keep(value, annotation, mode="json")
    json.loads(source.read())
    assert load(source, annotation, mode="json") == value


@pytest.mark.parametrize("annotation", [bytes, bytes | None, pa.Table, dict[str, bytes]])
def test_json_refuses_what_would_come_back_as_something_else(annotation):
    with pytest.raises(CodecError, match="JSON"):
        form_for(annotation, "json")


def test_raw_text_comes_back_as_text_where_text_is_annotated():
    assert round_trip("1", str, mode="raw") == "1"
    assert round_trip("ü", str, bytes, mode="raw") == "ü".encode()


@pytest.mark.parametrize(("stored", "kind"), [(b"\xff\xfe", "no text"), (b"PAR1\xff\xff\xff\xffPAR1", "a table")])
def test_what_is_no_text_says_what_it_is(stored, kind):
    with pytest.raises(CodecError, match=f"{kind}, and str is annotated"):
        load(placed(stored), str)


def test_a_mode_that_is_unknown_is_refused():
    with pytest.raises(CodecError, match="auto"):
        form_for(int, "yaml")


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (dict[str, list[int]], "dict[str, list[int]]"),
        (Optional[str], "str | None"),  # noqa: UP045 - what Dagster gives
        (Any, "Any"),
        (Person, "Person"),
        (pd.DataFrame, "pandas.DataFrame"),
        (pa.Table, "pyarrow.Table"),
    ],
)
def test_an_annotation_is_shown_as_it_is_written(annotation, text):
    assert annotation_text(annotation) == text


@pytest.mark.parametrize(
    ("annotation", "item"),
    [(dict[str, int], int), (dict, None), (dict[int, str], None), (list[str], None), (Any, None)],
)
def test_a_dict_of_text_can_be_keyed_by_partition(annotation, item):
    assert partitioned_item(annotation) == item


class Animal(BaseModel):
    name: str


class Dog(Animal):
    tricks: int = 3


@dataclasses.dataclass
class Point:
    x: int


@dataclasses.dataclass
class Place(Point):
    title: str = "here"


class Zoo(BaseModel):
    best: Animal | None = None
    listed: list[Animal] = []
    named: dict[str, Animal] = {}
    entrance: Point | None = None


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (Zoo(best=Dog(name="Rex")), "'best': Dog would come back as Animal"),
        (Zoo(listed=[Animal(name="Kit"), Dog(name="Rex")]), "'listed': Dog"),
        (Zoo(named={"rex": Dog(name="Rex")}), "'named': Dog"),
        (Zoo(entrance=Place(1)), "'entrance': Place would come back as Point"),
    ],
)
def test_objects_of_subclasses_are_refused_at_any_depth(value, hint, tmp_path):
    for annotation, stored in ((Zoo, value), (list[Zoo], [Zoo(), value]), (Zoo | None, value)):
        with pytest.raises(CodecError, match=hint):
            form_for(annotation).encode(stored, tmp_path)


def test_objects_without_loss_are_taken_at_any_depth(tmp_path):
    value = Zoo(best=Animal(name="Kit"), listed=[Animal(name="Kit")], entrance=Point(1))
    assert Zoo.model_validate_json(form_for(Zoo).encode(value, tmp_path).data) == value


def test_unions_in_another_order_have_forms_of_their_own():
    assert form_for(int | float).name == "int | float"
    assert form_for(float | int).name == "float | int"
    assert form_for(int) is form_for(int)
