"""A crawl in shards, as one asset: on each executor that a deployment may have, killed, and delivered twice."""

from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import create_execution_plan, execute_plan
from distributed import Client, LocalCluster

from anystore import get_store
from anystore.crawling import documents, runs
from anystore.errors import InvalidKey, InvalidOption
from anystore_dagster import AnystoreIOManager, crawl_asset, sharded_crawl_asset, sharded_mirror_asset
from tests.anystore_dagster import sharded_jobs

ROOT = Path(__file__).parents[2]
JOB = ("tests.anystore_dagster.sharded_jobs", "everything")
FOLDERS = "abcdefgh"
KEYS = sorted([*(f"{folder}/{name}.txt" for folder in FOLDERS for name in "xy"), "top.txt"])


@pytest.fixture
def source(tmp_path):
    store = get_store(tmp_path / "source")
    store.put_many({key: f"text of {key}" for key in KEYS})
    return store


@pytest.fixture
def target(tmp_path):
    return get_store(tmp_path / "target")


@pytest.fixture
def job_on(tmp_path):
    """Give a function that makes the job, as other processes can make it, too."""

    def make(source, executor="dagster:multiprocess_executor"):
        arguments = (source, str(tmp_path / "target"), str(tmp_path / "values"), executor)
        return dg.build_reconstructable_job(*JOB, arguments, reconstructor_working_directory=str(ROOT))

    return make


@pytest.fixture
def instance(tmp_path):
    with dg.DagsterInstance.local_temp(str(tmp_path)) as found:
        yield found


def run_in_processes(job, instance, **options):
    """Run the job, each step in a process that has loaded the definitions' libraries before."""
    start = {"forkserver": {"preload_modules": ["anystore_dagster.sharded_crawls", "anystore.backends.local"]}}
    config = {"execution": {"config": {"start_method": start}}}
    return dg.execute_job(job, instance=instance, run_config=config, **options)


def assert_is_whole(result, target, keys=KEYS):
    """Look whether a run has succeeded, and all documents are there."""
    assert result.success
    assert {key: target.get(key) for key in target.iterate_keys()} == {key: f"text of {key}" for key in keys}
    assert [document.key for document in documents(target)] == list(keys)
    assert loaded(target) == list(keys)


def loaded(target):
    """Tell what the asset that loads the documents found new."""
    return get_store(Path(target.uri).with_name("values")).get("texts.value")


def steps_of(result):
    return sorted({event.step_key for event in result.all_events if event.is_step_success})


def test_the_lineage_shows_one_asset_with_its_checks_and_counts(source, target, tmp_path, instance):
    files = sharded_crawl_asset("files", source, target, shards=3, key_prefix="raw", group_name="web", pool="host")
    values = {"io_manager": AnystoreIOManager(uri=str(tmp_path / "values"))}
    assert files.keys == {dg.AssetKey(["raw", "files"])}
    result = dg.materialize([files], resources=values, instance=instance)
    (event,) = result.get_asset_materialization_events()
    metadata = {name: value.value for name, value in event.materialization.metadata.items()}
    assert [metadata[f"anystore/{name}"] for name in ("listed", "fetched", "documents", "run")] == [17, 17, 17, 1]
    assert {check.check_name: check.passed for check in result.get_asset_check_evaluations()} == {
        "complete": True,
        "no_failures": True,
        "verified": True,
    }
    run = next(iter(runs(target)))
    assert event.materialization.tags["dagster/data_version"] == run.root
    assert steps_of(result) == [
        "raw__files.raw__files_end",
        *(f"raw__files.raw__files_shard[000{number}_of_0003_in_1]" for number in (1, 2, 3)),
        "raw__files.raw__files_shards",
    ]
    again = dg.materialize([files], resources=values, instance=instance)
    (event,) = again.get_asset_materialization_events()
    assert event.materialization.tags["dagster/data_version"] == run.root  # nothing has changed
    assert event.materialization.metadata["anystore/unchanged"].value == 17


def test_assets_of_one_name_below_two_prefixes(source, tmp_path, instance):
    values = {"io_manager": AnystoreIOManager(uri=str(tmp_path / "values"))}
    assets = [
        sharded_crawl_asset("files", source, str(tmp_path / folder), shards=2, key_prefix=folder) for folder in "ab"
    ]
    assert dg.materialize(assets, resources=values, instance=instance).success
    for folder in "ab":
        assert [document.key for document in documents(str(tmp_path / folder))] == KEYS


@pytest.mark.parametrize("executor", [None, partial(ThreadPoolExecutor, 2)])
@pytest.mark.parametrize("made_by", [sharded_crawl_asset, sharded_mirror_asset])
def test_what_it_depends_on_comes_first(made_by, executor, source, tmp_path, instance):
    @dg.asset
    def login() -> int:
        return 1

    @dg.asset
    def late(context: dg.AssetExecutionContext) -> None:
        source.put("z/late.txt", "text of z/late.txt")

    target = get_store(tmp_path / "target")
    files = made_by("files", source, target, shards=2, deps=[login, dg.AssetDep("late")], executor=executor)
    assert files.asset_deps[dg.AssetKey("files")] == {dg.AssetKey("login"), dg.AssetKey("late")}
    values = {"io_manager": AnystoreIOManager(uri=str(tmp_path / "values"))}
    assert dg.materialize([files, late, login], resources=values, instance=instance).success
    assert target.exists("z/late.txt")
    assert dg.materialize([files], resources=values, instance=instance).success


def test_on_the_multiprocess_executor(source, target, job_on, instance):
    with run_in_processes(job_on(source.uri), instance) as result:
        assert_is_whole(result, target)


def test_a_second_run_does_what_a_failed_one_has_not(source, target, job_on, instance, tmp_path):
    (tmp_path / "target").write_text("in the way of the folder")
    with run_in_processes(job_on(source.uri), instance, raise_on_error=False) as result:
        assert not result.success
    (tmp_path / "target").unlink()
    with run_in_processes(job_on(source.uri), instance) as result:
        assert_is_whole(result, target)


def test_a_run_that_goes_on_from_a_failure_ends_what_the_first_has_begun(source, target, job_on, instance, tmp_path):
    broken = tmp_path / "values"
    broken.write_text("in the way of the folder")  # the last step fails
    job = job_on(source.uri)
    with run_in_processes(job, instance, raise_on_error=False) as failed:
        assert not failed.success
    broken.unlink()
    options = dg.ReexecutionOptions.from_failure(failed.run_id, instance)
    with run_in_processes(job, instance, reexecution_options=options) as result:
        assert result.success
        assert steps_of(result) == ["files.files_end", "texts"]
        assert loaded(target) == KEYS
    assert [run.number for run in runs(target)] == [1]


def test_a_run_whose_steps_are_all_done_twice_is_one_run(source, target, instance, tmp_path):
    arguments = (source.uri, target.uri, str(tmp_path / "values"), "dagster:in_process_executor")
    job = sharded_jobs.everything(*arguments)
    run = instance.create_run_for_job(job)
    for turn in range(2):
        plan = create_execution_plan(job)
        events = execute_plan(plan, InMemoryJob(job), instance, run)
        assert len([event for event in events if event.is_step_success]) == 6
        assert loaded(target) == KEYS  # the second has not seen what the first has
        assert [one.number for one in runs(target)] == [1]
        source.put(f"a/after-{turn}.txt", "of the next run")
    assert sharded_jobs.everything(*arguments).execute_in_process(instance=instance).success
    assert loaded(target) == ["a/after-0.txt", "a/after-1.txt"]


# -- dask --------------------------------------------------------------------------


def test_dagster_dask_is_refused_by_name(source, target, job_on, instance):
    with dg.execute_job(
        job_on(source.uri, "dagster_dask:dask_executor"),
        instance=instance,
        run_config={"execution": {"config": {"cluster": {"local": {"n_workers": 1, "threads_per_worker": 1}}}}},
        raise_on_error=False,
    ) as result:
        assert not result.success
        errors = [event.step_failure_data.error.to_string() for event in result.all_events if event.is_step_failure]
    assert any("dagster-dask" in error and "executor=" in error for error in errors)
    assert not list(target.iterate_keys())


@contextmanager
def dask_cluster():
    """Give an executor of a real cluster of processes."""
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client:
        yield client.get_executor()


@pytest.mark.parametrize("executor", [dask_cluster, partial(ProcessPoolExecutor, 2), partial(ThreadPoolExecutor, 2)])
def test_an_executor_does_the_shards_inside_of_one_step(source, target, tmp_path, instance, executor):
    files = sharded_crawl_asset("files", source, target, shards=4, executor=executor)
    values = {"io_manager": AnystoreIOManager(uri=str(tmp_path / "values"))}
    result = dg.materialize([files], resources=values, instance=instance)
    assert steps_of(result) == ["files.files_all"]
    assert [document.key for document in documents(target)] == KEYS
    assert all(check.passed for check in result.get_asset_check_evaluations())


def test_what_cannot_be_is_refused_when_definitions_load():
    for options in ({"shards": 0}, {"depth": -1}, {"at_once": 0}, {"max_requests_per_second": -1}):
        with pytest.raises(InvalidOption):
            sharded_crawl_asset("files", "https://host/", "./target", **options)
    for options in (
        {"verify": "typo"},
        {"max_depth": 0},
        {"max_entries": 0},
        {"max_bytes": "1 GB"},
        {"concurrency": 0},
        {"allow_hosts": "cdn.example.org"},
    ):
        for made_by in (crawl_asset, sharded_crawl_asset):
            with pytest.raises(InvalidOption, match=next(iter(options))):
                made_by("files", "https://host/", "./target", **options)
    for wrong in ({"glob": ""}, {"exclude": ["a/**", ""]}, {"exclude": "{"}):
        for made_by in (crawl_asset, sharded_crawl_asset):
            with pytest.raises(InvalidKey):
                made_by("files", "https://host/", "./target", **wrong)
    with pytest.raises(InvalidOption, match="follow"):
        crawl_asset("files", "https://host/", "./target", follow="typo")
    with pytest.raises(InvalidOption):
        sharded_crawl_asset("files", 7, "./target")
