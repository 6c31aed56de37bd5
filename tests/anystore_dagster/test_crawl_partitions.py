"""Documents fall into partitions whose keys Dagster takes everywhere, and no two documents share one by accident."""

import dagster as dg
import pytest
from dagster._core.definitions.partitions.utils.base import INVALID_PARTITION_SUBSTRINGS
from hypothesis import example, given
from hypothesis import strategies as st

from anystore.errors import InvalidOption
from anystore.keys import Selection, is_key
from anystore.testing.strategies import keys
from anystore_dagster import CrawlPartitions
from anystore_dagster.crawl_partitions import safe_partition_key

UNSAFE = [*INVALID_PARTITION_SUBSTRINGS, "/", ",", "|", "[", "]", "*", '"', "\x7f", "\u2028"]


@given(keys())
@example("a...b")
@example("a[1],b|c/d*\n\x7f")
@example(" a ")
@example("..a/" + "x" * 500 + "ü" * 100)
@example("%2F")
@example("(root)")
def test_keys_of_partitions_are_short_and_safe(key):
    documents = CrawlPartitions.documents("d")
    partition = documents.partition_of(key)
    assert not [sign for sign in UNSAFE if sign in partition]
    assert 0 < len(partition) <= 64
    assert partition == partition.strip()
    assert documents.covers(partition, key)
    assert documents.key_of(partition) in (key, None)
    glob = documents.glob(partition)
    assert glob is None or Selection(None, None, glob).covers(key)


@given(keys(), keys())
@example("a/b", "a%2Fb")
@example("x" * 100, "x" * 101)
@example("(root)", "%28root)")
@example("x" * 100, safe_partition_key("x" * 100))
def test_two_documents_have_two_partitions(one, other):
    assert (safe_partition_key(one) == safe_partition_key(other)) == (one == other)


@given(keys())
def test_a_folder_is_a_partition_of_all_below_it(key):
    folders = CrawlPartitions.folders("f")
    partition = folders.partition_of(key)
    glob = folders.glob(partition)
    assert glob is None or Selection(None, None, glob).covers(key)
    assert folders.partition_of(f"{key}/deeper") == folders.partition_of(f"{key}/other")
    assert (partition == "(root)") == ("/" not in key)


def test_folders():
    folders = CrawlPartitions.folders("years")
    assert [folders.partition_of(key) for key in ("2024/a/b", "2024/c", "top.txt", "(root)/x")] == [
        "2024",
        "2024",
        "(root)",
        "%28root)",
    ]
    assert [folders.glob(one) for one in ("2024", "(root)", "a%5B1%5D")] == ["2024/**", "*", "a[[]1]/**"]
    assert folders.definition == dg.DynamicPartitionsDefinition(name="years")


def test_buckets_are_even_and_stay_what_they_are():
    buckets = CrawlPartitions.buckets(100)
    names = [buckets.partition_of(f"papers/{number}.pdf") for number in range(10_000)]
    assert set(names) == set(buckets.definition.get_partition_keys())
    assert 50 < min(map(names.count, set(names))) <= max(map(names.count, set(names))) < 160
    assert buckets.partition_of("papers/1.pdf") == "37"  # another one would make every asset compute all again
    assert (buckets.glob("07"), buckets.key_of("07")) == (None, None)


@pytest.mark.parametrize("number", [1, 101, 0, -3, 2.0, True, "3"])
def test_how_many_buckets_there_can_be(number):
    with pytest.raises(InvalidOption, match="from 2 to 100"):
        CrawlPartitions.buckets(number)


@pytest.mark.parametrize("name", ["", None, 3])
def test_partitions_have_a_name(name):
    for make in (CrawlPartitions.folders, CrawlPartitions.documents):
        with pytest.raises(InvalidOption, match="have a name"):
            make(name)


@given(st.sets(keys(), max_size=20))
def test_dagster_takes_them(some):
    documents = CrawlPartitions.documents("d")
    partitions = sorted({documents.partition_of(key) for key in some})
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("d", partitions)
        assert sorted(instance.get_dynamic_partitions("d")) == partitions
        dg.MultiPartitionsDefinition({"a": documents.definition, "b": dg.StaticPartitionsDefinition(["x"])})
        assert all(is_key(key) for key in some)
