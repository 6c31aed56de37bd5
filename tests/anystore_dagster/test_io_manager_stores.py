"""The same promises on every store: in one process and in many, step by step, in backfills and without any run."""

import itertools
import json
import multiprocessing
import os
import threading
import time
import uuid

import dagster as dg
import pandas as pd
import polars as pl
import pytest

from anystore import get_store
from anystore_dagster import AnystoreIOManager, PartitionedOutput, PartitionStream
from anystore_dagster.asset_keys import asset_value_key
from anystore_dagster.values import BlobRef, FileCollection
from tests.object_servers import BUCKET

DAYS = dg.DailyPartitionsDefinition("2024-01-01", end_date="2024-01-05")
AWKWARD = ["a", "a/b", "..", ".", "https://example.org/?q=1", "x" * 300, "a.value", " ", "ünï%2F"]
GRID = dg.MultiPartitionsDefinition(
    {"one": dg.StaticPartitionsDefinition(["a", "a/b"]), "two": dg.StaticPartitionsDefinition(["c", "b/c"])}
)
STORES = ["local", "sqlite", "postgres", "redis", "s3"]


class Days(PartitionedOutput):
    item = pl.DataFrame


class DayStream(PartitionStream):
    item = pl.DataFrame


@pytest.fixture(params=STORES)
def place(request, tmp_path):
    """The URI and the configuration of an empty store."""
    ask, name = request.getfixturevalue, f"t{uuid.uuid4().hex[:12]}"
    match request.param:
        case "local":
            return str(tmp_path / name), {}
        case "sqlite":
            return f"sqlite:///{tmp_path}/{name}.db", {}
        case "postgres":
            return ask("postgres_server").url, {"table": name}
        case "redis":
            return f"redis://127.0.0.1:{ask('redis_server').port}/0/{name}", {}
        case _:
            return f"s3://{BUCKET}/{name}", ask("seaweedfs_server").config


@pytest.fixture
def store(place):
    return get_store(place[0], backend_config=place[1])


@pytest.fixture
def manager(place):
    return AnystoreIOManager(uri=place[0], backend_config=place[1])


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def range_tags(first, last):
    return {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}


def raw(store, key):
    return store.get(key, serialization_mode="raw")


# -- assets that the processes share ---------------------------------------------------


@dg.asset
def numbers() -> list[int]:
    return [1, 2, 3]


@dg.asset
def listed(numbers: list[int]) -> dict[str, int]:
    return {str(number): number for number in numbers}


@dg.asset
def frame(numbers: list[int]) -> pd.DataFrame:
    return pd.DataFrame({"n": numbers})


@dg.asset
def total(frame: pl.LazyFrame, numbers) -> int:
    return int(frame.collect()["n"].sum()) + len(numbers)


@dg.asset(partitions_def=DAYS)
def day(context) -> str:
    return context.partition_key


@dg.asset(partitions_def=DAYS, backfill_policy=dg.BackfillPolicy.single_run())
def frames(context, day: dict[str, str]) -> Days:
    return Days((name, pl.DataFrame({"day": [text]})) for name, text in day.items())


@dg.asset
def all_days(frames: pl.DataFrame) -> list[str]:
    return frames["day"].to_list()


@dg.asset
def day_by_day(frames: DayStream) -> dict[str, int]:
    return {name: value.height for name, value in frames}


# -- runs --------------------------------------------------------------------------------


def test_a_run_in_one_process_and_values_without_a_run(manager, store, instance):
    assets = [numbers, frame, total]
    assert dg.materialize(assets, resources={"io_manager": manager}, instance=instance).success
    assert store.get("total.value") == 9
    defs = dg.Definitions(assets, resources={"io_manager": manager})
    assert defs.load_asset_value("total", instance=instance) == 9
    assert defs.load_asset_value("frame", python_type=pl.DataFrame, instance=instance)["n"].to_list() == [1, 2, 3]


def test_backfills_of_a_run_for_each_partition_and_of_one_for_all(manager, store, instance):
    assets, names = [day, frames, all_days, day_by_day], DAYS.get_partition_keys()

    def run(selection, **options):
        resources = {"io_manager": manager}
        return dg.materialize(assets, selection=selection, resources=resources, instance=instance, **options)

    for name in names:
        assert run(["day"], partition_key=name).success
    result = run(["frames"], tags=range_tags(names[0], names[-1]))
    shown = {
        event.materialization.partition: event.materialization.metadata
        for event in result.get_asset_materialization_events()
    }
    for name in names:
        assert shown[name]["anystore/checksum"].value == store.checksum(f"frames.partitions/{name}.value")
        assert shown[name]["dagster/partition_row_count"].value == 1
    result = run(["all_days", "day_by_day"])
    assert result.output_for_node("all_days") == names
    assert result.output_for_node("day_by_day") == dict.fromkeys(names, 1)


def shared_job():
    config = json.loads(os.environ["TEST_STORE_CONFIG"])
    manager = AnystoreIOManager(
        uri=dg.EnvVar("TEST_STORE_URI"), backend_config={name: {"env": f"TEST_STORE_{name}"} for name in config}
    )
    job = dg.define_asset_job("all_of_them", executor_def=dg.multiprocess_executor)
    defs = dg.Definitions([numbers, listed], resources={"io_manager": manager}, jobs=[job])
    return defs.resolve_job_def("all_of_them")


def test_steps_in_processes_of_their_own(place, store, tmp_path, monkeypatch):
    uri, config = place
    monkeypatch.setenv("TEST_STORE_URI", uri)
    monkeypatch.setenv("TEST_STORE_CONFIG", json.dumps(sorted(config)))
    for name, value in config.items():
        monkeypatch.setenv(f"TEST_STORE_{name}", value)
    job = dg.reconstructable(shared_job)
    with (
        dg.DagsterInstance.local_temp(str(tmp_path)) as instance,
        dg.execute_job(job, instance=instance, raise_on_error=True) as result,
    ):
        assert result.success
    assert store.get(asset_value_key(["listed"])) == {"1": 1, "2": 2, "3": 3}


# -- keys --------------------------------------------------------------------------------


def test_every_name_keeps_a_value_of_its_own(manager, store, instance):
    names = dg.StaticPartitionsDefinition(AWKWARD)

    @dg.asset(key=["n"])
    def before() -> str:
        return "before there were partitions"

    @dg.asset(key=["n"], partitions_def=names, backfill_policy=dg.BackfillPolicy.single_run())
    def after(context) -> dict[str, str]:
        return {name: f"after {name}" for name in context.partition_keys}

    @dg.asset(key=["n", "a"])
    def below() -> str:
        return "below"

    @dg.asset(key=["g"], partitions_def=GRID)
    def grid(context) -> str:
        return f"grid {context.partition_key}"

    resources = {"io_manager": manager}
    whole = range_tags(AWKWARD[0], AWKWARD[-1])
    dg.materialize([before, below], resources=resources, instance=instance)
    dg.materialize([after], tags=whole, resources=resources, instance=instance)
    for name in GRID.get_partition_keys():
        dg.materialize([grid], partition_key=name, resources=resources, instance=instance)
    old = dg.Definitions([before], resources=resources)
    new = dg.Definitions([after, below, grid], resources=resources)
    assert old.load_asset_value("n", instance=instance) == "before there were partitions"
    assert new.load_asset_value(["n", "a"], instance=instance) == "below"
    for name in AWKWARD:
        assert new.load_asset_value("n", partition_key=name, instance=instance) == f"after {name}"
    for name in GRID.get_partition_keys():
        assert new.load_asset_value("g", partition_key=name, instance=instance) == f"grid {name}"
    assert len(list(store.iterate_keys())) == 2 + len(AWKWARD) + 4


# -- two at once ---------------------------------------------------------------------------


def test_two_runs_that_write_one_asset_leave_one_of_their_values(manager, store):
    size = 3 << 20
    together = threading.Barrier(2)

    def write(letter):
        @dg.asset
        def blob() -> bytes:
            together.wait(60)
            return letter * size

        with dg.DagsterInstance.ephemeral() as instance:
            return dg.materialize([blob], resources={"io_manager": manager}, instance=instance).success

    threads = [threading.Thread(target=write, args=(letter,)) for letter in (b"a", b"b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    data = raw(store, "blob.value")
    assert len(data) == size
    assert data.strip(data[:1]) == b""


@pytest.mark.parametrize("place", ["postgres"], indirect=True)
def test_as_many_partitions_at_once_as_a_database_has_connections_for(place, store):
    names = dg.StaticPartitionsDefinition([f"p{number:02}" for number in range(40)])
    config = place[1] | {"pool_size": 2, "pool_timeout": 0}  # whoever has to wait for a connection fails

    @dg.asset(partitions_def=names, backfill_policy=dg.BackfillPolicy.single_run())
    def each(context) -> dict[str, bytes]:
        return dict.fromkeys(context.partition_keys, bytes(300_000))

    @dg.asset
    def total(each: dict[str, bytes]) -> int:
        return sum(map(len, each.values()))

    resources = {"io_manager": AnystoreIOManager(uri=place[0], backend_config=config)}
    with dg.DagsterInstance.ephemeral() as instance:
        dg.materialize([each], instance=instance, resources=resources, tags=range_tags("p00", "p39"))
        result = dg.materialize([each, total], instance=instance, resources=resources, selection="total")
    assert result.output_for_node("total") == 40 * 300_000


@pytest.mark.parametrize("place", ["local", "sqlite", "redis"], indirect=True)
def test_runs_at_once_that_store_the_same_files_again_and_again_lose_none(manager, store):
    failed = []

    def write(contents):
        with dg.DagsterInstance.ephemeral() as instance:
            for content in contents:

                @dg.asset
                def pages() -> FileCollection:
                    return FileCollection({f"{number}.txt": content for number in range(10)})  # noqa: B023

                result = dg.materialize([pages], resources={"io_manager": manager}, instance=instance)
                failed.extend(result.get_failed_step_keys())

    orders = (b"a", b"b") * 4, (b"b", b"a") * 4, (b"a", b"a", b"b") * 3
    threads = [threading.Thread(target=write, args=(order,)) for order in orders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    pages = FileCollection.from_manifest(BlobRef(store, "pages.value"), raw(store, "pages.value"))
    assert {page.read() for page in pages.values()} in ({b"a"}, {b"b"})
    assert len({key.split("/")[1] for key in store.iterate_keys(prefix="pages.value.files")}) == 1


def _write_for_ever(uri, config, started):
    manager = AnystoreIOManager(uri=uri, backend_config=config)
    for letter in itertools.cycle((b"a", b"b")):

        @dg.asset
        def blob() -> bytes:
            started.release()
            return letter * (8 << 20)  # noqa: B023 - used before the next one

        with dg.DagsterInstance.ephemeral() as instance:
            dg.materialize([blob], resources={"io_manager": manager}, instance=instance)


@pytest.mark.parametrize("place", ["local", "sqlite", "postgres", "redis"], indirect=True)
def test_a_run_that_is_killed_leaves_a_whole_value(place, store):
    context = multiprocessing.get_context("fork")
    for pause in (0.0, 0.02, 0.05):
        started = context.Semaphore(0)
        process = context.Process(target=_write_for_ever, args=(*place, started))
        process.start()
        for _ in range(3):  # so that there is an older value, and one is being written
            assert started.acquire(timeout=120)
        time.sleep(pause)
        process.kill()
        process.join()
        data = raw(store, "blob.value")
        assert len(data) == 8 << 20
        assert data.strip(data[:1]) == b""
        assert list(store.iterate_keys()) == ["blob.value"]


# -- moving in -------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:Function `migrate_io_storage`")
def test_values_of_another_io_manager_move_in(manager, store, instance, tmp_path):
    # the older IO manager cannot tell (a, b/c) from (a/b, c)
    plain = dg.StaticPartitionsDefinition(["a", "b"])

    @dg.asset(partitions_def=dg.MultiPartitionsDefinition({"one": plain, "two": plain}))
    def cell(context) -> str:
        return str(context.partition_key)

    assets = [numbers, frame, day, cell]
    old = {"io_manager": dg.FilesystemIOManager(base_dir=str(tmp_path / "old"))}
    dg.materialize([numbers, frame], resources=old, instance=instance)
    for asset in (day, cell):
        for name in asset.partitions_def.get_partition_keys():
            dg.materialize([asset], partition_key=name, resources=old, instance=instance)
    moved = dg.migrate_io_storage(
        definitions=dg.Definitions(assets, resources=old), destination_io_manager=manager, instance=instance
    )
    assert moved.failed == ()
    new = dg.Definitions(assets, resources={"io_manager": manager})
    assert new.load_asset_value("numbers", instance=instance) == [1, 2, 3]
    assert new.load_asset_value("frame", python_type=pd.DataFrame, instance=instance)["n"].tolist() == [1, 2, 3]
    for asset in (day, cell):
        for name in asset.partitions_def.get_partition_keys():
            assert new.load_asset_value(asset.key, partition_key=name, instance=instance) == str(name)
    again = dg.migrate_io_storage(
        definitions=new,
        destination_io_manager=AnystoreIOManager(uri=str(tmp_path / "back")),
        instance=instance,
        batch_partitions=True,
        selection=dg.AssetSelection.assets("day"),
    )
    assert again.failed == ()
    back = get_store(tmp_path / "back")
    assert [back.get(key) for key in back.iterate_keys()] == DAYS.get_partition_keys()
