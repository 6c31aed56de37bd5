"""The content that was stored is the data version, so that only what has changed runs what comes after it."""

import hashlib

import dagster as dg
import pytest

from anystore_dagster import AnystoreIOManager, PartitionedOutput, content_changed

LETTERS = dg.StaticPartitionsDefinition(["a", "b"])


class Numbers(PartitionedOutput):
    item = int


@pytest.fixture
def resources(tmp_path):
    return {"io_manager": AnystoreIOManager(uri=str(tmp_path / "values"))}


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def tags_of(result):
    return {
        (event.asset_key.to_user_string(), event.materialization.partition): event.materialization.tags
        for event in result.get_asset_materialization_events()
    }


def version_of(result, name="n", partition=None):
    return tags_of(result)[name, partition]["dagster/data_version"]


def sha(text):
    return hashlib.sha256(text).hexdigest()


def test_the_checksum_is_the_data_version(resources, instance):
    @dg.asset
    def n() -> int:
        return 12

    @dg.asset(deps=[n])
    def after(n: int) -> int:
        return n

    result = dg.materialize([n, after], resources=resources, instance=instance)
    assert version_of(result) == sha(b"12")
    assert tags_of(result)["after", None]["dagster/input_data_version/n"] == sha(b"12")
    metadata = result.asset_materializations_for_node("n")[0].metadata
    assert metadata["anystore/checksum"].value == sha(b"12")


@pytest.mark.filterwarnings("ignore:Parameter `data_version`:dagster.BetaWarning")
def test_the_users_own_data_version_stays(resources, instance):
    @dg.asset
    def said() -> dg.Output[int]:
        return dg.Output(1, data_version=dg.DataVersion("mine"))

    @dg.asset
    def set_before(context) -> int:
        context.set_data_version(dg.AssetKey("set_before"), dg.DataVersion("mine, too"))
        return 1

    @dg.asset
    def result() -> dg.MaterializeResult[int]:
        return dg.MaterializeResult(value=1, data_version=dg.DataVersion("mine as well"))

    done = dg.materialize([said, set_before, result], resources=resources, instance=instance)
    assert version_of(done, "said") == "mine"
    assert version_of(done, "set_before") == "mine, too"
    assert version_of(done, "result") == "mine as well"


def test_one_partition_has_the_version_of_its_content(resources, instance):
    @dg.asset(partitions_def=LETTERS)
    def n(context) -> str:
        return context.partition_key

    result = dg.materialize([n], partition_key="b", resources=resources, instance=instance)
    assert version_of(result, partition="b") == sha(b"b")


@pytest.mark.parametrize("annotation", [dict[str, int], Numbers])
def test_many_partitions_have_no_version_of_one_content(resources, instance, annotation):
    @dg.asset(partitions_def=LETTERS, backfill_policy=dg.BackfillPolicy.single_run())
    def n(context) -> annotation:
        values = {name: ord(name) for name in context.partition_keys}
        return Numbers(values) if annotation is Numbers else values

    tags = {"dagster/asset_partition_range_start": "a", "dagster/asset_partition_range_end": "b"}
    result = dg.materialize([n], tags=tags, resources=resources, instance=instance)
    assert all("dagster/data_version_is_user_provided" not in found for found in tags_of(result).values())
    checksums = {
        event.materialization.partition: event.materialization.metadata["anystore/checksum"].value
        for event in result.get_asset_materialization_events()
    }
    assert checksums == {"a": sha(b"97"), "b": sha(b"98")}
    assert version_of(
        dg.materialize([n], partition_key="a", resources=resources, instance=instance), partition="a"
    ) == sha(b"97")


def test_outputs_of_one_step_have_versions_of_their_own(resources, instance):
    @dg.multi_asset(outs={"one": dg.AssetOut(dagster_type=int), "two": dg.AssetOut(dagster_type=int)})
    def both():
        return 1, 2

    result = dg.materialize([both], resources=resources, instance=instance)
    assert [version_of(result, name) for name in ("one", "two")] == [sha(b"1"), sha(b"2")]


# -- what runs next -----------------------------------------------------------------


def pipeline(source, resources, partitions_def=None):
    @dg.asset(partitions_def=partitions_def)
    def n(context) -> str:
        return source["text"]

    @dg.asset(automation_condition=content_changed(), partitions_def=partitions_def)
    def after(n: str) -> str:
        return n.upper()

    @dg.asset(automation_condition=content_changed(), partitions_def=partitions_def)
    def last(after: str) -> int:
        return len(after)

    return [n, after, last], dg.Definitions([n, after, last], resources=resources)


def test_only_changed_content_runs_what_comes_after(resources, instance):
    source = {"text": "one"}
    assets, defs = pipeline(source, resources)
    cursor = None

    def tick():
        nonlocal cursor
        result = dg.evaluate_automation_conditions(defs=defs, instance=instance, cursor=cursor)
        cursor = result.cursor
        return [name for name in ("after", "last") if result.get_num_requested(dg.AssetKey(name))]

    def run(name):
        dg.materialize(assets, selection=name, resources=resources, instance=instance)

    def settle():
        ran = []
        while names := tick():
            for name in names:
                run(name)
            ran += names
        return ran

    tick()
    run("n")
    assert settle() == ["after", "last"]
    run("n")
    assert settle() == []
    source["text"] = "ONE"
    run("n")
    assert settle() == ["after"]  # upper() gives what it gave before, so that nothing comes after it
    source["text"] = "three"
    run("n")
    assert settle() == ["after", "last"]


def test_only_the_partition_that_changed_runs(resources, instance):
    source = {"text": "one"}
    days = dg.StaticPartitionsDefinition(["a", "b"])
    assets, defs = pipeline(source, resources, days)
    cursor = None

    def tick():
        nonlocal cursor
        result = dg.evaluate_automation_conditions(defs=defs, instance=instance, cursor=cursor)
        cursor = result.cursor
        return result.get_requested_partitions(dg.AssetKey("after"))

    for name in "ab":
        for asset in ("n", "after"):
            dg.materialize(assets, selection=asset, partition_key=name, resources=resources, instance=instance)
    tick()
    assert tick() == set()
    dg.materialize(assets, selection="n", partition_key="a", resources=resources, instance=instance)
    source["text"] = "two"
    dg.materialize(assets, selection="n", partition_key="b", resources=resources, instance=instance)
    assert tick() == {"b"}
