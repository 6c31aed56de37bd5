"""Backfills by Dagster's own daemon: each policy stores each partition under its name, whatever that is."""

import logging
import time

import dagster as dg
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.test_utils import (
    create_test_daemon_workspace_context,
    instance_for_test,
    wait_for_runs_to_finish,
)
from dagster._core.workspace.load_target import PythonFileTarget
from dagster._daemon.backfill import execute_backfill_iteration

from anystore import get_store

NAMES = ["a", "b/c", "d|e"]
DEFINITIONS = """
import dagster as dg
from anystore_dagster import AnystoreIOManager, PartitionedOutput

names = dg.StaticPartitionsDefinition({names})

class Texts(PartitionedOutput):
    item = str

@dg.asset(partitions_def=names)
def each(context) -> str:
    return context.partition_key

@dg.asset(partitions_def=names, backfill_policy=dg.BackfillPolicy.single_run())
def together(each: dict[str, str]) -> dict[str, str]:
    return {{name: text + "!" for name, text in each.items()}}

@dg.asset(partitions_def=names, backfill_policy=dg.BackfillPolicy.multi_run(max_partitions_per_run=2))
def by_twos(together: dict[str, str]) -> Texts:
    return Texts((name, text + "?") for name, text in together.items())

defs = dg.Definitions(
    [each, together, by_twos],
    resources={{"io_manager": AnystoreIOManager(uri={uri!r})}},
    executor=dg.in_process_executor,
)
"""
ASSETS = ["each", "together", "by_twos"]


def request_backfill(instance, graph):
    backfill = PartitionBackfill.from_asset_partitions(
        backfill_id="all_of_them",
        asset_graph=graph,
        partition_names=NAMES,
        asset_selection=[dg.AssetKey(name) for name in ASSETS],
        backfill_timestamp=time.time(),
        tags={},
        dynamic_partitions_store=instance,
        all_partitions=False,
        title=None,
        description=None,
        run_config=None,
    )
    instance.add_backfill(backfill)


def test_a_backfill_with_every_policy(tmp_path):
    file, uri = tmp_path / "definitions.py", str(tmp_path / "values")
    file.write_text(DEFINITIONS.format(names=NAMES, uri=uri))
    target = PythonFileTarget(
        python_file=str(file), attribute=None, working_directory=str(tmp_path), location_name="here"
    )
    with instance_for_test() as instance, create_test_daemon_workspace_context(target, instance) as workspace:
        request = workspace.create_request_context()
        request_backfill(instance, request.asset_graph)
        for _ in range(20):
            list(execute_backfill_iteration(workspace, logging.getLogger(__name__)))
            for run in instance.get_runs():
                if run.status in (dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED):
                    instance.launch_run(run.run_id, request)
            wait_for_runs_to_finish(instance, timeout=120)
            if instance.get_backfill("all_of_them").status is not BulkActionStatus.REQUESTED:
                break
        assert instance.get_backfill("all_of_them").status is BulkActionStatus.COMPLETED_SUCCESS
        assert len(instance.get_runs()) == 3 + 1 + 2
    store = get_store(uri)
    for asset, ending in zip(ASSETS, ("", "!", "!?"), strict=True):
        folder = f"{asset}.partitions"
        assert dict(store.get_many(store.iterate_keys(folder))) == {
            f"{folder}/a.value": "a" + ending,
            f"{folder}/b%2Fc.value": "b/c" + ending,
            f"{folder}/d/e.value": "d|e" + ending,
        }
