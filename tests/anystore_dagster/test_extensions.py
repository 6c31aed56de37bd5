"""``{extension}`` is the same for who stores and for who loads, whatever the loader's annotation, or it is refused."""

import dagster as dg
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from anystore import CodecError, get_store
from anystore_dagster import AnystoreIOManager, PartitionedOutput

TEMPLATE = "{asset}[.partitions/{partition}].{extension}"
LETTERS = dg.StaticPartitionsDefinition(["a", "b"])


class Frames(PartitionedOutput):
    item = pa.Table


@pytest.fixture
def uri(tmp_path):
    return str(tmp_path / "values")


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def resources(uri):
    return {"io_manager": AnystoreIOManager(uri=uri, key_template=TEMPLATE)}


@dg.asset
def table() -> pd.DataFrame:
    return pd.DataFrame({"n": [1, 2]})


@dg.asset
def rows(table: pl.DataFrame) -> int:
    return table.height


@dg.asset
def anything():
    return {"a": 1}


@dg.asset
def number(anything) -> int:
    return anything["a"]


def test_keys_end_by_the_type_that_was_stored(resources, uri, instance):
    result = dg.materialize([table, rows, anything, number], resources=resources, instance=instance)
    assert sorted(get_store(uri).iterate_keys()) == ["anything.value", "number.json", "rows.json", "table.parquet"]
    metadata = result.asset_materializations_for_node("table")[0].metadata
    assert metadata["anystore/extension"].value == "parquet"


def test_a_run_without_the_upstream_asset_finds_what_was_noted(resources, instance):
    dg.materialize([table], resources=resources, instance=instance)
    result = dg.materialize([table, rows], selection="rows", resources=resources, instance=instance)
    assert result.output_for_node("rows") == 2


def test_loading_without_a_run_finds_it_by_the_annotation(resources, instance):
    dg.materialize([table, anything], resources=resources, instance=instance)
    with dg.DagsterInstance.ephemeral() as elsewhere:
        defs = dg.Definitions([table, anything], resources=resources)
        assert defs.load_asset_value("table", python_type=pl.DataFrame, instance=elsewhere).height == 2
        assert defs.load_asset_value("anything", instance=elsewhere) == {"a": 1}


def test_an_extension_that_nobody_knows_is_refused_with_the_line_to_write(resources, uri, instance):
    get_store(uri).put("table.parquet", pd.DataFrame({"n": [1, 2, 3]}))

    def load(**metadata):
        outside = dg.AssetSpec("table", metadata={"dagster/io_manager_key": "io_manager", **metadata})
        result = dg.materialize([outside, rows], selection="rows", resources=resources, instance=instance)
        return result.output_for_node("rows")

    with pytest.raises(CodecError, match=r"'table'.*metadata=\{'anystore/extension': 'parquet'\}"):
        load()
    assert load(**{"anystore/extension": "parquet"}) == 3


def test_the_metadata_of_the_asset_and_the_mode_come_first(uri, instance):
    @dg.asset(metadata={"anystore/extension": "pq"})
    def named() -> pa.Table:
        return pa.table({"n": [1]})

    manager = AnystoreIOManager(uri=uri, key_template=TEMPLATE)
    dg.materialize([named], resources={"io_manager": manager}, instance=instance)
    manager = AnystoreIOManager(uri=uri, key_template=TEMPLATE, serialization_mode="csv")
    dg.materialize([table], resources={"io_manager": manager}, instance=instance)
    assert sorted(get_store(uri).iterate_keys()) == ["named.pq", "table.csv"]


@pytest.mark.parametrize(
    ("annotation", "value", "extension"),
    [(dict[str, int], 1, "json"), (dict[str, pa.Table], pa.table({"n": [1]}), "parquet"), (Frames, None, "parquet")],
)
def test_partitions_end_by_the_type_of_one(resources, uri, annotation, value, extension):
    @dg.asset(partitions_def=LETTERS, backfill_policy=dg.BackfillPolicy.single_run())
    def n(context) -> annotation:
        if annotation is Frames:
            return Frames((name, pa.table({"n": [1]})) for name in context.partition_keys)
        return dict.fromkeys(context.partition_keys, value)

    tags = {"dagster/asset_partition_range_start": "a", "dagster/asset_partition_range_end": "b"}
    with dg.DagsterInstance.ephemeral() as instance:
        dg.materialize([n], tags=tags, resources=resources, instance=instance)
        assert sorted(get_store(uri).iterate_keys()) == [f"n.partitions/{name}.{extension}" for name in "ab"]
        defs = dg.Definitions([n], resources=resources)
        assert defs.load_asset_value("n", partition_key="b", instance=instance) is not None


def test_what_ops_hand_on_has_no_extension(resources, uri, instance):
    @dg.op
    def first() -> int:
        return 1

    @dg.op
    def second(number: int) -> int:
        return number + 1

    @dg.job(resource_defs=resources)
    def job():
        second(first())

    assert job.execute_in_process(instance=instance).output_for_node("second") == 2
    assert all(key.startswith("dagster.runs/") for key in get_store(uri).iterate_keys())


def test_a_move_without_annotations_is_refused_and_not_hidden_elsewhere(resources, uri):
    with dg.build_output_context(asset_key="table") as context, pytest.raises(CodecError, match="not told here"):
        resources["io_manager"].handle_output(context, 1)
    assert list(get_store(uri).iterate_keys()) == []


@pytest.mark.parametrize("template", ["{asset}", "{asset}[/{partition}].value", "{name}.value"])
def test_a_template_is_checked_when_definitions_load(template):
    with pytest.raises(dg.DagsterInvalidDefinitionError, match=r"key_template.*write"):
        AnystoreIOManager(uri="memory://x", key_template=template)


def test_a_partitioned_asset_without_a_place_in_the_template_is_refused(uri, instance):
    @dg.asset(partitions_def=LETTERS)
    def n() -> int:
        return 1

    manager = AnystoreIOManager(uri=uri, key_template="{asset}.value")
    with pytest.raises(CodecError, match=r"asset 'n' is partitioned.*\{partition\}"):
        dg.materialize([n], partition_key="a", resources={"io_manager": manager}, instance=instance)


def test_a_template_from_the_environment_is_read_where_it_is_used(uri, instance, monkeypatch):
    manager = AnystoreIOManager(uri=uri, key_template=dg.EnvVar("TEST_TEMPLATE"))
    monkeypatch.setenv("TEST_TEMPLATE", "lake/{asset}.data")
    dg.materialize([table], resources={"io_manager": manager}, instance=instance)
    assert list(get_store(uri).iterate_keys()) == ["lake/table.data"]
