"""A mirror in shards, as one asset: what it copies and deletes, on threads, processes and a cluster."""

from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import create_execution_plan, execute_plan, execute_plan_iterator
from distributed import Client, LocalCluster

from anystore import get_store
from anystore.errors import InvalidKey, InvalidOption
from anystore_dagster import AnystoreIOManager, FileCollection, mirror_asset, sharded_mirror_asset
from tests.anystore_dagster import sharded_jobs

ROOT = Path(__file__).parents[2]
KEYS = sorted([*(f"in/{folder}/{name}.txt" for folder in "abcdefgh" for name in "xy"), "in/top.txt", "out/z.txt"])


@pytest.fixture
def source(tmp_path):
    store = get_store(tmp_path / "source")
    store.put_many({key: f"text of {key}" for key in KEYS})
    return store


@pytest.fixture
def target(tmp_path):
    return get_store(tmp_path / "target")


@pytest.fixture
def instance(tmp_path):
    with dg.DagsterInstance.local_temp(str(tmp_path)) as found:
        yield found


@pytest.fixture
def run(tmp_path, instance):
    def materialize(*assets, **options):
        values = {"io_manager": AnystoreIOManager(uri=str(tmp_path / "values"))}
        result = dg.materialize(list(assets), resources=values, instance=instance, **options)
        found = [event.materialization for event in result.get_asset_materialization_events()]
        return result, found[0] if found else None

    return materialize


def counts(event):
    names = ("copied", "skipped", "deleted", "failed", "values")
    return [event.metadata[f"anystore/{name}"].value for name in names]


def test_shards_are_one_mirror(source, target, run):
    files = sharded_mirror_asset("files", source, target, shards=3, depth=2, delete=True)

    @dg.asset
    def names(files: FileCollection) -> list[str]:
        return sorted(files)

    result, event = run(files, names)
    assert counts(event) == [18, 0, 0, 0, 18]
    assert result.output_for_node("names") == KEYS
    assert {check.check_name for check in result.get_asset_check_evaluations()} == {
        "complete",
        "no_failures",
        "verified",
    }
    version = event.tags["dagster/data_version"]
    _, event = run(files)
    assert event.metadata["anystore/copied"].value == 0
    assert event.tags["dagster/data_version"] == version
    for name in "xy":
        source.delete(f"in/c/{name}.txt")
    _, event = run(files)
    assert event.metadata["anystore/deleted"].value == 2
    assert event.tags["dagster/data_version"] != version
    assert sorted(target.iterate_keys()) == sorted(source.iterate_keys())


def test_it_does_what_a_mirror_in_one_part_does(source, tmp_path, run):
    selection = {"prefix": "in", "exclude_prefix": "in/b", "glob": "**/x.txt"}
    _, whole = run(mirror_asset("files", source, str(tmp_path / "one"), **selection))
    _, cut = run(sharded_mirror_asset("files", source, str(tmp_path / "two"), shards=4, **selection))
    assert counts(whole) == counts(cut) == [7, 0, 0, 0, 7]
    assert list(get_store(tmp_path / "one").iterate_keys()) == list(get_store(tmp_path / "two").iterate_keys())


def test_a_source_that_is_empty_deletes_nothing(source, target, run):
    files = sharded_mirror_asset("files", source, target, shards=3, delete=True)
    run(files)
    for key in list(source.iterate_keys()):
        source.delete(key)
    result, _ = run(files, raise_on_error=False)
    assert not result.success
    assert sorted(target.iterate_keys()) == KEYS


@contextmanager
def dask_cluster():
    """Give an executor of a real cluster of processes."""
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client:
        yield client.get_executor()


@pytest.mark.parametrize("executor", [dask_cluster, partial(ProcessPoolExecutor, 2), partial(ThreadPoolExecutor, 2)])
def test_an_executor_copies_inside_of_one_step(source, target, run, executor):
    result, event = run(sharded_mirror_asset("files", source, target, executor=executor))
    assert [one.step_key for one in result.all_events if one.is_step_success] == ["files.files_all"]
    assert counts(event) == [18, 0, 0, 0, 18]


def test_on_the_multiprocess_executor(source, target, instance, tmp_path):
    job = dg.build_reconstructable_job(
        "tests.anystore_dagster.sharded_jobs",
        "mirror",
        (source.uri, target.uri, str(tmp_path / "values"), "dagster:multiprocess_executor"),
        reconstructor_working_directory=str(ROOT),
    )
    start = {"forkserver": {"preload_modules": ["anystore_dagster.sharded_mirrors", "anystore.backends.local"]}}
    config = {"execution": {"config": {"start_method": start}}}
    with dg.execute_job(job, instance=instance, run_config=config) as result:
        assert result.success
    assert {key: target.get(key) for key in target.iterate_keys()} == {key: f"text of {key}" for key in KEYS}


def test_a_run_whose_steps_are_all_done_twice_does_no_harm(source, target, instance, tmp_path):
    job = sharded_jobs.mirror(source.uri, target.uri, str(tmp_path / "values"), "dagster:in_process_executor")
    run = instance.create_run_for_job(job)
    versions = set()
    for _ in range(2):
        events = list(execute_plan(create_execution_plan(job), InMemoryJob(job), instance, run))
        assert len([event for event in events if event.is_step_success]) == 5
        (event,) = [event for event in events if event.is_step_materialization]
        versions.add(event.step_materialization_data.materialization.tags["dagster/data_version"])
    assert len(versions) == 1
    assert sorted(target.iterate_keys()) == KEYS


def test_a_run_whose_shards_another_one_has_done_since_says_so(source, target, instance, tmp_path):
    job = sharded_jobs.mirror(source.uri, target.uri, str(tmp_path / "values"), "dagster:in_process_executor")
    older = instance.create_run_for_job(job)
    checks = {}
    for event in execute_plan_iterator(create_execution_plan(job), InMemoryJob(job), older, instance):
        if event.is_step_success and "shard[" in event.step_key and not checks:
            assert job.execute_in_process(instance=instance).success
            checks["begun"] = True
        if event.event_type_value == "ASSET_CHECK_EVALUATION":
            checks[event.asset_check_evaluation_data.check_name] = event.asset_check_evaluation_data
    assert not checks["complete"].passed
    assert "another one has done it since" in checks["complete"].description
    assert sorted(target.iterate_keys()) == KEYS


@pytest.mark.parametrize(
    "wrong",
    [
        {"verify": "typo"},
        {"compare": "typo"},
        {"workers": 0},
        {"retries": -1},
        {"max_delete": -1},
        {"max_requests_per_second": 0},
        {"max_bytes_per_second": "1 MB"},
    ],
)
@pytest.mark.parametrize("made_by", [mirror_asset, sharded_mirror_asset])
def test_a_wrong_option_is_refused_when_definitions_load(made_by, wrong):
    with pytest.raises(InvalidOption, match=next(iter(wrong))):
        made_by("files", "./one", "./two", **wrong)


def test_what_cannot_be_is_refused_when_definitions_load():
    with pytest.raises(InvalidOption):
        sharded_mirror_asset("files", "./one", "./two", shards=0)
    with pytest.raises(InvalidOption):
        sharded_mirror_asset("files", "./one", 7)
    with pytest.raises(InvalidKey):
        sharded_mirror_asset("files", "./one", "./two", prefix="../up")
