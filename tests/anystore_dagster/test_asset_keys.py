"""Each asset and partition has a key of its own, on every backend, and the key tells whose it is."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from anystore.keys import MAX_KEY_BYTES, is_key, parent_folders, parse_key
from anystore_dagster.asset_keys import ValueAddress, asset_value_key, output_value_key, parse_value_key

AWKWARD = [
    "",
    ".",
    "..",
    "...",
    "n",
    "N",
    "a/b",
    "a",
    "b",
    "/",
    "%",
    "%2F",
    "%empty",
    "%2Eempty",
    ".anystore",
    ".value",
    "n.value",
    "n.VALUE",
    "n.partitions",
    ".partitions",
    "partitions",
    "dagster.runs",
    "dagster",
    "x.hashed",
    "a|b",
    "https://example.org/files/?q=1#top",
    "with space",
    " ",
    "*",
    "[a]",
    "tab\t",
    "new\nline",
    "nul\0",
    "back\\slash",
    "ünï€",
    "日本",
    "e\u0301",
    "\u00e9",
    "\ud800",
    "orders.parquet",
    "x" * 300,
    "x" * 301,
    "ü" * 300,
    "%" * 300,
    "." * 300,
    "me@example.org",
    "key=value",
    "COM1",
    "~",
    "-",
    "a.b.value.value",
    "\u2028",
]
names = st.sampled_from(AWKWARD) | st.text(max_size=20) | st.text(alphabet="a/.%|", max_size=6)
paths = st.lists(names, min_size=1, max_size=4)
addresses = st.builds(
    lambda asset, partition: ValueAddress(tuple(asset), None if partition is None else tuple(partition)),
    paths,
    st.none() | st.lists(names, min_size=1, max_size=3),
) | st.builds(lambda parts: ValueAddress(tuple(parts), is_output=True), st.lists(names, min_size=3, max_size=4))


def key_of(address):
    if address.is_output:
        return output_value_key(address.asset)
    return asset_value_key(address.asset, address.partition)


@given(address=addresses)
def test_a_key_is_valid_and_fits_every_medium(address):
    key = key_of(address)
    assert parse_key(key) == key
    assert len(key.encode()) <= MAX_KEY_BYTES - 256
    assert all(len(segment.encode()) <= 240 for segment in key.split("/"))
    assert not any(segment.startswith(".") for segment in key.split("/"))


@given(address=addresses)
def test_a_key_tells_its_asset_and_partition_unless_it_was_hashed(address):
    found = parse_value_key(key_of(address))
    if found is None:
        assert ".hashed" in key_of(address)
    else:
        assert found == address


@given(address=addresses.filter(lambda it: max(len(name) for name in (*it.asset, *(it.partition or ()))) < 15))
def test_a_short_key_is_never_hashed(address):
    assert parse_value_key(key_of(address)) == address


@given(first=addresses, second=addresses)
@example(first=ValueAddress(("n",)), second=ValueAddress(("n", "m")))
@example(first=ValueAddress(("n",)), second=ValueAddress(("n",), ("a",)))
@example(first=ValueAddress(("n",), ("a",)), second=ValueAddress(("n",), ("a/b",)))
@example(first=ValueAddress(("n",), ("a",)), second=ValueAddress(("n",), ("a", "b")))
@example(first=ValueAddress(("n",), ("a", "b/c")), second=ValueAddress(("n",), ("a/b", "c")))
@example(first=ValueAddress(("n",), ("a",)), second=ValueAddress(("n.partitions", "a")))
@example(first=ValueAddress(("n",)), second=ValueAddress(("n.value", "m")))
@example(first=ValueAddress(("x" * 300,)), second=ValueAddress(("x" * 301,)))
@example(first=ValueAddress(("r", "s", "o"), is_output=True), second=ValueAddress(("dagster.runs", "r", "s", "o")))
def test_no_two_values_meet(first, second):
    one, other = key_of(first), key_of(second)
    assert (one == other) == (first == second)
    assert one not in parent_folders(other)
    assert other not in parent_folders(one)


def test_all_awkward_names_together_keep_their_own_keys():
    keys = [asset_value_key([name]) for name in AWKWARD]
    keys += [asset_value_key(["n"], [name]) for name in AWKWARD]
    keys += [asset_value_key(["n"], [name, other]) for name in AWKWARD for other in AWKWARD]
    keys += [asset_value_key([name, other]) for name in AWKWARD for other in AWKWARD]
    assert len(set(keys)) == len(keys)
    assert not set(keys) & {folder for key in keys for folder in parent_folders(key)}
    assert len({key.encode() for key in keys}) == len(keys)


@pytest.mark.parametrize(
    ("asset", "partition", "key"),
    [
        (["report"], None, "report.value"),
        (["raw", "orders.parquet"], None, "raw/orders.parquet.value"),
        (["raw", "orders"], ["2024-01-01"], "raw/orders.partitions/2024-01-01.value"),
        (["raw", "orders"], ["2024-01-01", "eu"], "raw/orders.partitions/2024-01-01/eu.value"),
        (["pages"], ["https://x.org/a?b"], "pages.partitions/https:%2F%2Fx.org%2Fa?b.value"),
        (["Case"], None, "Case.value"),
        (["UPPER", "..", "."], None, "UPPER/%2E./%2E.value"),
    ],
)
def test_a_key_is_readable(asset, partition, key):
    assert asset_value_key(asset, partition) == key


def test_a_long_name_keeps_a_readable_head():
    key = asset_value_key(["crawl"], ["https://example.org/" + "x" * 300])
    assert key.startswith("crawl.partitions/https:%2F%2Fexample.org%2Fxxx")
    assert key == asset_value_key(["crawl"], ["https://example.org/" + "x" * 300])


def test_a_long_path_of_short_names_is_shortened_as_a_whole():
    keys = {asset_value_key([f"folder{number}"] * 200 + [str(number)]) for number in range(20)}
    assert len(keys) == 20
    assert all(is_key(key) and "/" not in key for key in keys)


@pytest.mark.parametrize("key", ["n", "n.json", "n/m", ".value.txt"])
def test_a_foreign_key_is_nobodys(key):
    assert parse_value_key(key) is None


@pytest.mark.parametrize(
    "call", [lambda: asset_value_key([]), lambda: asset_value_key(["n"], []), lambda: output_value_key([])]
)
def test_nothing_has_no_key(call):
    with pytest.raises(ValueError, match=r"at least one part|named by"):
        call()
