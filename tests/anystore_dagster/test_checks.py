"""Asset checks find the stored value of an asset, and say why it is not what it should be."""

import dagster as dg
import pandas as pd
import pyarrow as pa
import pytest

from anystore import get_store
from anystore.errors import CodecError, InvalidOption
from anystore_dagster import (
    AnystoreIOManager,
    AnystoreResource,
    FileCollection,
    checksum_matches,
    row_count_at_least,
    value_exists,
)
from anystore_dagster.row_counts import count_rows
from anystore_dagster.stored import BlobRef
from tests.places import SHARED, make_place

LETTERS = dg.StaticPartitionsDefinition(["a", "b", "c"])
GRID = dg.MultiPartitionsDefinition({"day": dg.StaticPartitionsDefinition(["d1", "d2"]), "area": LETTERS})


@dg.asset
def orders() -> pa.Table:
    return pa.table({"n": [1, 2, 3]})


@dg.asset(partitions_def=LETTERS)
def parted(context: dg.AssetExecutionContext) -> pa.Table:
    return pa.table({"n": range(ord(context.partition_key) - ord("a") + 1)})


class Bench:
    """A store, an instance, and runs of assets and checks."""

    def __init__(self, uri, config, instance):
        self.store = get_store(uri, backend_config=config or None)
        self.manager = AnystoreIOManager(uri=uri, backend_config=config)
        self.instance = instance

    def materialize(self, *assets, resources=None, **options):
        resources = {"io_manager": self.manager} | (resources or {})
        return dg.materialize(list(assets), resources=resources, instance=self.instance, **options)

    def check(self, *checks, assets=(), resources=None, **options):
        """Run checks alone; give their evaluations by name."""
        defs = dg.Definitions(
            assets=[*assets],
            asset_checks=checks,
            resources={"io_manager": self.manager} | (resources or {}),
            jobs=[dg.define_asset_job("checks", selection=dg.AssetSelection.checks(*checks))],
        )
        result = defs.resolve_job_def("checks").execute_in_process(instance=self.instance, **options)
        return {one.check_name: one for one in result.get_asset_check_evaluations()}

    def key(self, text):
        (key,) = [key for key in self.store.iterate_keys() if text in key]
        return key


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture(params=[*SHARED, "memory"])
def anywhere(request, tmp_path, instance):
    if request.param == "memory":
        return Bench(f"memory://{tmp_path.name}", {}, instance)
    return Bench(*make_place(request.param, request.getfixturevalue, tmp_path), instance)


@pytest.fixture
def bench(tmp_path, instance):
    return Bench(str(tmp_path / "values"), {}, instance)


def test_a_value_that_is_as_it_should_be(anywhere):
    checks = [value_exists(orders), checksum_matches(orders), row_count_at_least(orders, 3)]
    result = anywhere.materialize(orders, *checks)
    found = {one.check_name: one for one in result.get_asset_check_evaluations()}
    assert {name: one.passed for name, one in found.items()} == {
        "value_exists": True,
        "checksum_matches": True,
        "row_count_at_least": True,
    }
    key = anywhere.key("orders")
    metadata = found["value_exists"].metadata
    assert metadata["anystore/size_bytes"].value == anywhere.store.info(key).size
    assert metadata["dagster/uri"].value.endswith(key)
    assert found["checksum_matches"].metadata["anystore/checksum"].value == anywhere.store.checksum(key)
    assert found["row_count_at_least"].metadata["anystore/row_count"].value == 3


def test_a_value_that_is_gone_changed_or_short(anywhere):
    checks = [value_exists(orders), checksum_matches(orders), row_count_at_least(orders, 3)]
    anywhere.materialize(orders)
    key = anywhere.key("orders")
    anywhere.store.put(key, pa.table({"n": [1, 2]}))
    found = anywhere.check(*checks, assets=[orders])
    assert found["value_exists"].passed
    assert not found["checksum_matches"].passed
    assert "another checksum" in found["checksum_matches"].description
    assert anywhere.store.checksum(key) in found["checksum_matches"].description
    assert not found["row_count_at_least"].passed
    assert "2 rows, and 3 are the fewest" in found["row_count_at_least"].description
    anywhere.store.delete(key)
    for one in anywhere.check(*checks, assets=[orders]).values():
        assert not one.passed
        assert key in one.description
        assert one.severity == dg.AssetCheckSeverity.ERROR


def test_files_of_a_collection_are_compared_one_by_one(anywhere):
    @dg.asset
    def pages() -> FileCollection:
        return FileCollection({"a.html": b"<a>", "img/b.png": b"PNG", "c": b""})

    anywhere.materialize(pages)
    check = checksum_matches(pages)
    assert anywhere.check(check, assets=[pages])["checksum_matches"].passed
    anywhere.store.put(anywhere.key("b.png"), b"GIF", serialization_mode="raw")
    anywhere.store.delete(anywhere.key("a.html"))
    found = anywhere.check(check, assets=[pages])["checksum_matches"]
    assert not found.passed
    assert "2 of its files are gone or have other bytes: 'a.html', 'img/b.png'" in found.description


def test_all_materialized_partitions_are_checked_outside_of_a_partitioned_run(bench):
    checks = [value_exists(parted), checksum_matches(parted), row_count_at_least(parted, 2)]
    assert "nothing to check" in bench.check(*checks, assets=[parted])["value_exists"].description
    for letter in "ac":
        bench.materialize(parted, partition_key=letter)
    found = bench.check(*checks, assets=[parted])
    assert found["value_exists"].passed
    assert found["checksum_matches"].passed
    assert found["value_exists"].metadata["anystore/partitions_checked"].value == 2
    rows = found["row_count_at_least"]
    assert not rows.passed
    assert "1 of 2 partitions of parted failed; a: it has 1 rows" in rows.description
    (record,) = rows.metadata["anystore/failures"].records
    assert record.data["partition"] == "a"

    bench.store.delete(bench.key("/c."))
    gone = bench.check(*checks, assets=[parted])["value_exists"]
    assert "1 of 2 partitions of parted failed; c:" in gone.description


def test_a_run_of_one_partition_checks_that_one(bench):
    checks = [value_exists(parted), checksum_matches(parted), row_count_at_least(parted, 2)]
    bench.materialize(parted, partition_key="a")
    result = bench.materialize(parted, *checks, partition_key="b")
    found = {one.check_name: one for one in result.get_asset_check_evaluations()}
    assert all(one.passed for one in found.values())
    assert found["row_count_at_least"].metadata["anystore/row_count"].value == 2
    assert found["value_exists"].metadata["anystore/partitions_checked"].value == 1


def test_a_run_of_a_range_checks_its_partitions(bench):
    @dg.asset(partitions_def=LETTERS, backfill_policy=dg.BackfillPolicy.single_run())
    def many(context: dg.AssetExecutionContext) -> dict[str, pa.Table]:
        return {key: pa.table({"n": [1]}) for key in context.partition_keys}

    tags = {"dagster/asset_partition_range_start": "a", "dagster/asset_partition_range_end": "b"}
    result = bench.materialize(many, value_exists(many), row_count_at_least(many, 1), tags=tags)
    for one in result.get_asset_check_evaluations():
        assert one.passed
        assert one.metadata["anystore/partitions_checked"].value == 2


def test_partitions_of_two_dimensions_and_dynamic_ones(bench, instance):
    names = dg.DynamicPartitionsDefinition(name="names")
    instance.add_dynamic_partitions("names", ["x/y", "x"])

    @dg.asset(partitions_def=GRID)
    def grid() -> list[int]:
        return [1]

    @dg.asset(partitions_def=names)
    def named() -> list[int]:
        return [1]

    bench.materialize(grid, partition_key=dg.MultiPartitionKey({"day": "d1", "area": "b"}))
    bench.materialize(named, partition_key="x/y")
    checks = [value_exists(grid), checksum_matches(grid), value_exists(named), row_count_at_least(named, 1)]
    result = dg.Definitions(
        assets=[grid, named],
        asset_checks=checks,
        resources={"io_manager": bench.manager},
        jobs=[dg.define_asset_job("checks", selection=dg.AssetSelection.checks(*checks))],
    ).resolve_job_def("checks").execute_in_process(instance=instance)  # fmt: skip
    assert [one.passed for one in result.get_asset_check_evaluations()] == [True] * 4


def test_the_key_alone_is_enough_and_partitions_are_asked_for(bench):
    bench.materialize(orders)
    bench.materialize(parted, partition_key="a")
    assert bench.check(value_exists("orders"), assets=[orders])["value_exists"].passed
    assert bench.check(checksum_matches(dg.AssetKey(["orders"])), assets=[orders])["checksum_matches"].passed
    assert bench.check(value_exists("parted", partitions_def=LETTERS), assets=[parted])["value_exists"].passed
    with pytest.raises(InvalidOption, match="partitions_def="):
        bench.check(value_exists("parted"), assets=[parted])


def test_the_io_manager_is_that_of_the_asset(bench, tmp_path):
    @dg.asset(io_manager_key="elsewhere")
    def moved() -> str:
        return "text"

    elsewhere = AnystoreIOManager(store=AnystoreResource(uri=str(tmp_path / "elsewhere"), prefix="folder"))
    result = bench.materialize(moved, value_exists(moved), checksum_matches(moved), resources={"elsewhere": elsewhere})
    found = result.get_asset_check_evaluations()
    assert [one.passed for one in found] == [True, True]
    assert str(tmp_path / "elsewhere" / "folder") in found[0].metadata["dagster/uri"].value
    assert list(bench.store.iterate_keys()) == []
    with pytest.raises(InvalidOption, match="io_manager_key="):
        bench.check(
            value_exists("moved"), assets=[moved], resources={"elsewhere": elsewhere, "io_manager": dg.mem_io_manager}
        )


def test_keys_of_a_template_with_an_extension_are_found(bench, tmp_path):
    bench.manager = AnystoreIOManager(uri=str(tmp_path / "values"), key_template="v1/{asset}.{extension}")
    checks = [value_exists(orders), row_count_at_least("orders", 3)]
    bench.materialize(orders)
    assert list(bench.store.iterate_keys()) == ["v1/orders.parquet"]
    assert [one.passed for one in bench.check(*checks, assets=[orders]).values()] == [True, True]


def test_a_checksum_can_be_given(bench):
    digest = "2CF24DBA5FB0A30E26E83B2AC5B9E29E1B161E5C1FA7425E73043362938B9824"

    @dg.asset
    def greeting() -> str:
        return "hello"

    bench.materialize(greeting)
    assert bench.check(checksum_matches(greeting, sha256=digest), assets=[greeting])["checksum_matches"].passed
    assert not bench.check(checksum_matches(greeting, sha256="0" * 64), assets=[greeting])["checksum_matches"].passed
    with pytest.raises(InvalidOption, match="64"):
        checksum_matches(greeting, sha256="sha256:2cf2")


def test_a_value_whose_checksum_was_never_noted_fails_and_says_so(bench, instance):
    bench.materialize(orders)
    instance.report_runless_asset_event(dg.AssetMaterialization("orders"))
    found = bench.check(checksum_matches(orders), assets=[orders])["checksum_matches"]
    assert not found.passed
    assert "has no checksum" in found.description


def test_severity_name_and_blocking_are_the_users(bench):
    check = row_count_at_least(
        orders, 10, name="many_rows", description="Enough.", severity=dg.AssetCheckSeverity.WARN, blocking=True
    )
    (spec,) = check.check_specs
    assert (spec.name, spec.description, spec.blocking) == ("many_rows", "Enough.", True)
    bench.materialize(orders)
    assert bench.check(check, assets=[orders])["many_rows"].severity == dg.AssetCheckSeverity.WARN


def test_a_blocking_check_stops_what_is_downstream(bench):
    @dg.asset
    def after(orders: pa.Table) -> int:
        return orders.num_rows

    result = bench.materialize(orders, after, row_count_at_least(orders, 10, blocking=True), raise_on_error=False)
    assert not result.success
    assert result.asset_materializations_for_node("after") == []


def test_a_minimum_is_a_number():
    for minimum in (-1, 1.5, "3", True):
        with pytest.raises(InvalidOption, match="minimum"):
            row_count_at_least(orders, minimum)


def test_rows_are_counted_in_every_kind_of_table(tmp_path):
    store = get_store(tmp_path)
    table = pa.table({"n": list(range(1000))})
    store.put("parquet", table, serialization_mode="parquet")
    store.put("arrow", table, serialization_mode="arrow")
    store.put("t.csv", table, serialization_mode="csv")
    store.put("pandas", pd.DataFrame({"n": range(1000)}))
    store.put("list", list(range(1000)))
    for key in ("parquet", "arrow", "t.csv", "pandas", "list"):
        assert count_rows(BlobRef(store, key)) == 1000
    store.put("text", "hello")
    store.put("broken", b"PAR1 and no more PAR1", serialization_mode="raw")
    store.put("torn", b"ARROW1 and no more", serialization_mode="raw")
    store.put("empty", b"", serialization_mode="raw")
    for key in ("text", "broken", "torn", "empty"):
        with pytest.raises(CodecError, match=r"no rows|damaged"):
            count_rows(BlobRef(store, key))


def test_a_value_without_rows_fails_and_says_so(bench):
    @dg.asset
    def text() -> str:
        return "hello"

    bench.materialize(text)
    found = bench.check(row_count_at_least(text, 0), assets=[text])["row_count_at_least"]
    assert not found.passed
    assert "no rows" in found.description
