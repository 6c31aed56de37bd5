"""A store in memory works where all steps share a process, and raises where each has its own."""

import dagster as dg
import pytest

from anystore.errors import Unsupported
from anystore_dagster import AnystoreIOManager, AnystoreResource

URIS = ["memory://across", "sqlite://", "sqlite://:memory:", "sqlite:///:memory:", "fsspec+memory://across"]


def make_job(uri, executor, **extra):
    @dg.asset
    def one() -> int:
        return 1

    @dg.asset
    def two(one: int) -> int:
        return one + 1

    return dg.Definitions(
        [one, two],
        resources={"io_manager": AnystoreIOManager(uri=uri)},
        jobs=[dg.define_asset_job("everything", "*", executor_def=executor)],
    ).resolve_job_def("everything")


def memory_in_processes():
    return make_job("memory://across", dg.multiprocess_executor)


def sqlite_in_processes():
    return make_job("sqlite://", dg.multiprocess_executor)


def sqlite_by_name_in_processes():
    return make_job("sqlite://:memory:", dg.multiprocess_executor)


def fsspec_in_processes():
    return make_job("fsspec+memory://across", dg.multiprocess_executor)


def nested_in_processes():
    @dg.asset(io_manager_key="io")
    def one() -> int:
        return 1

    return dg.Definitions(
        [one],
        resources={"io": AnystoreIOManager(store=AnystoreResource(uri="memory://across"))},
        jobs=[dg.define_asset_job("everything", "*", executor_def=dg.multiprocess_executor)],
    ).resolve_job_def("everything")


def resource_in_processes():
    @dg.asset
    def one(files: AnystoreResource) -> None:
        files.store.put("x", 1)

    return dg.Definitions(
        [one],
        resources={"files": AnystoreResource(uri="memory://across")},
        jobs=[dg.define_asset_job("everything", "*", executor_def=dg.multiprocess_executor)],
    ).resolve_job_def("everything")


def memory_in_one_process():
    return make_job("memory://across", dg.in_process_executor)


def run(job, tmp_path):
    (home := tmp_path / "home").mkdir()
    with dg.DagsterInstance.local_temp(str(home)) as instance:
        with dg.execute_job(dg.reconstructable(job), instance=instance) as result:
            pass
        failures = [event.event_specific_data.error for event in result.all_events if event.is_step_failure]
        return result.success, failures


@pytest.mark.parametrize(
    "job",
    [
        memory_in_processes, sqlite_in_processes, sqlite_by_name_in_processes, fsspec_in_processes,
        nested_in_processes, resource_in_processes,
    ],
)  # fmt: skip
def test_across_processes_it_raises_and_says_why(job, tmp_path):
    success, failures = run(job, tmp_path)
    assert not success
    text = failures[0].to_string()
    assert Unsupported.__name__ in text
    assert "the steps of this run run in other processes" in text
    assert "in_process" in text


def test_with_the_in_process_executor_it_works(tmp_path):
    assert run(memory_in_one_process, tmp_path) == (True, [])


@pytest.mark.parametrize("uri", URIS)
def test_in_process_it_works(uri):
    with dg.DagsterInstance.ephemeral() as instance:
        result = make_job(uri, dg.multiprocess_executor).execute_in_process(instance=instance)
        assert result.output_for_node("two") == 2


def test_a_path_works_across_processes(tmp_path, monkeypatch):
    monkeypatch.setenv("ANYSTORE_URI", str(tmp_path / "data"))
    success, failures = run(default_in_processes, tmp_path)
    assert (success, failures) == (True, [])


def default_in_processes():
    return make_job(None, dg.multiprocess_executor)
