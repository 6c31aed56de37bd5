"""A template of the user's gives each value a key of its own, or is refused when definitions load."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from anystore import CodecError, InvalidOption
from anystore.keys import is_key, parent_folders, parse_key
from anystore_dagster.asset_keys import asset_value_key
from anystore_dagster.key_templates import DEFAULT_TEMPLATE, KeyTemplate

GOOD = [
    DEFAULT_TEMPLATE,
    "{asset}[.partitions/{partition}].{extension}",
    "{asset}.parquet",
    "{asset}/{partition}.parquet",
    "lake/{asset}[.parts/{partition}].{extension}",
    "{asset}.d/day={partition[day]}/{partition[area]}.{extension}",
    "{asset}/{partition[day]}/area={partition[area]}.json",
    "{asset}[.parts/all/{partition}].value",
]
AWKWARD = [
    "n",
    "n/m",
    "a",
    "b",
    "a/b",
    "b/c",
    "..",
    ".",
    "a.value",
    "a.parquet",
    "a.json",
    "parts",
    "a.parts",
    "a.d",
    "https://example.org/?q=1",
    "%",
    "all",
    "day=a",
    "a.partitions",
    "a.hashed",
    "",
    "x" * 300,
    "x" * 301,
    "ä",
]
names = st.sampled_from(AWKWARD) | st.text(max_size=6).map(lambda text: text.replace("|", ""))  # Dagster's own bar
assets = st.lists(names, min_size=1, max_size=3)
partitions = (
    st.none()
    | names.map(lambda name: [(None, name)])
    | st.tuples(names, names).map(lambda pair: [("day", pair[0]), ("area", pair[1])])
)
values = st.tuples(assets, partitions, st.sampled_from(["json", "parquet", "value"]))


def key_of(template, value):
    asset, partition, extension = value
    try:
        return template.key(asset, partition=partition, extension=extension).key
    except CodecError:
        return None


@pytest.mark.parametrize("text", GOOD)
@given(first=values, second=values)
@example(first=(["n"], None, "json"), second=(["n", "m"], None, "json"))
@example(first=(["a"], [(None, "b")], "json"), second=(["a", "b"], None, "json"))
@example(first=(["a"], [(None, "b.json")], "json"), second=(["a", "b.json"], [(None, "c")], "json"))
@example(
    first=(["a"], [("day", "a"), ("area", "b/c")], "json"), second=(["a"], [("day", "a/b"), ("area", "c")], "json")
)
@example(first=(["a.parts"], None, "json"), second=(["a"], [(None, "b")], "json"))
@example(first=(["a.d"], [(None, "b")], "json"), second=(["a"], [(None, "b")], "json"))
def test_two_values_share_no_key_and_none_is_the_folder_of_another(text, first, second):
    template = KeyTemplate(text)
    one, two = key_of(template, first), key_of(template, second)
    if one is None or two is None or first[:2] == second[:2]:
        return  # the template has no place for one of them, or they are one
    assert one != two
    assert one not in parent_folders(parse_key(two))
    assert two not in parent_folders(parse_key(one))


@pytest.mark.parametrize("text", GOOD)
@given(value=values)
def test_a_key_fits_every_medium_and_leaves_room_for_versions(text, value):
    key = key_of(KeyTemplate(text), value)
    if key is None:
        return
    assert is_key(key)
    assert len(key.encode()) <= 850
    assert all(len(segment.encode()) + len(".versions") <= 255 for segment in key.split("/"))
    assert KeyTemplate(text).owns(key)


@given(asset=assets, partition=st.none() | st.lists(names, min_size=1, max_size=1))
def test_the_default_is_what_keys_are_without_a_template(asset, partition):
    pairs = None if partition is None else [(None, name) for name in partition]
    assert KeyTemplate(DEFAULT_TEMPLATE).key(asset, partition=pairs).key == asset_value_key(asset, partition)


def test_dimensions_stand_where_they_are_named():
    template = KeyTemplate("lake/{asset}.d/day={partition[day]}/{partition[area]}.{extension}")
    key = template.key(["raw", "sales"], partition=[("area", "eu"), ("day", "2024-01-01")], extension="parquet")
    assert key.key == "lake/raw/sales.d/day=2024-01-01/eu.parquet"
    assert not key.is_shortened


@pytest.mark.parametrize("name", ["x" * 300, "ü" * 200])
def test_a_name_that_is_too_long_is_said_to_be_shortened(name):
    assert KeyTemplate(DEFAULT_TEMPLATE).key([name]).is_shortened
    assert KeyTemplate(DEFAULT_TEMPLATE).key(["n"], partition=[(None, name)]).is_shortened
    deep = KeyTemplate("lake/{asset}.value").key(["n" * 200] * 5)
    assert deep.is_shortened
    assert deep.key.startswith("lake/nnn")
    assert deep.key.endswith(".hashed.value")


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("", "{asset} has to be there once"),
        ("all.value", "{asset} has to be there once"),
        ("{asset}/{asset}.value", "once"),
        ("{asset}", "an ending"),
        ("{asset}/data.value", "come last"),
        ("{asset}[/{partition}].value", "could get the key of the asset a/b"),
        ("{asset}[.value/{partition}].value", "could get the key"),
        ("{asset}[.partitions/{partition}]", "an ending"),
        ("{partition}/{asset}.value", "begins a segment"),
        ("x-{asset}.value", "begins a segment"),
        ("{asset}.versions", "are ours"),
        ("{asset}[.files/{partition}].value", "are ours"),
        ("{asset}-{partition}.value", "two names"),
        ("{asset}.{name}.value", "two names|none of"),
        ("{name}.value", "{name} is none of"),
        ("{asset.name}.value", "none of"),
        ("{asset!r}.value", "none of"),
        ("/{asset}.value", "no folder"),
        ("../{asset}.value", "no folder"),
        ("dagster.runs/{asset}.value", "what ops hand on"),
        ("{asset}[.p/day={partition}].value", "name a dimension"),
        ("{asset}.p/{partition[a]}/{partition[a]}.value", "named once"),
        ("{asset}.p/{partition}/{partition[a]}.value", "named once"),
        ("{asset}.va lue", "something else"),
        ("{asset}.value]", "something else"),
    ],
)
def test_a_template_that_cannot_keep_values_apart_is_refused(text, hint):
    with pytest.raises(InvalidOption, match=hint.replace("{", r"\{").replace("}", r"\}")) as caught:
        KeyTemplate(text)
    assert "[.partitions/{partition}]" in str(caught.value) or "day={partition[day]}" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "partition", "hint"),
    [
        ("{asset}.value", [(None, "a")], r"\{asset\}\[\.partitions/\{partition\}\]\.value"),
        ("{asset}/{partition}.value", None, "brackets"),
        ("{asset}.p/{partition[day]}.value", [(None, "1"), (None, "2")], r"write \{partition\}"),
        ("{asset}.p/{partition[day]}.value", [("day", "1"), ("area", "2")], r"write \{partition\[area\]"),
        ("{asset}.p/{partition[day]}.value", [(None, "1")], r"write \{partition\}"),
    ],
)  # fmt: skip
def test_partitions_that_a_template_has_no_place_for_say_what_to_write(text, partition, hint):
    with pytest.raises(CodecError, match=hint):
        KeyTemplate(text).key(["orders"], partition=partition)


@pytest.mark.parametrize("extension", ["", "a/b", "Versions", "files", ".x", "partitions", "x" * 13])
def test_an_extension_is_a_short_word(extension):
    with pytest.raises(CodecError, match="extension"):
        KeyTemplate("{asset}.{extension}").key(["a"], extension=extension)
