"""What a run replaces is kept beside its key, the oldest go, and nothing else is ever touched."""

import uuid
from dataclasses import replace
from datetime import UTC, datetime

import dagster as dg
import pytest

from anystore import InvalidOption, Store, get_store
from anystore.backends.memory import MemoryBackend
from anystore_dagster import AnystoreIOManager, retention_job
from anystore_dagster.retention import delete_replaced_files, kept_versions, prune_versions
from anystore_dagster.stored import files_folder

LETTERS = dg.StaticPartitionsDefinition(["a", "b"])


@pytest.fixture(params=["local", "memory", "sqlite", "redis"])
def uri(request, tmp_path):
    if request.param == "redis":  # which does not know when a value was stored
        port = request.getfixturevalue("redis_server").port
        return f"redis://127.0.0.1:{port}/0/t{uuid.uuid4().hex[:12]}"
    return {
        "local": str(tmp_path / "values"),
        "memory": f"memory://{tmp_path.name}",
        "sqlite": f"sqlite:///{tmp_path}/values.db",
    }[request.param]


@pytest.fixture
def store(uri):
    return get_store(uri)


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def materialize(instance, value, *, name="n", partitions_def=None, partition_key=None, **options):
    @dg.asset(name=name, partitions_def=partitions_def)
    def asset() -> int:
        return value

    return dg.materialize(
        [asset],
        instance=instance,
        partition_key=partition_key,
        resources={"io_manager": AnystoreIOManager(**options)},
    ).run_id


def versions(store, key="n.value"):
    return {kept.version: store.get(kept.entry.key) for kept in kept_versions(store, key)}


def test_what_a_run_replaces_lies_under_the_name_of_that_run(uri, store, instance):
    runs = [materialize(instance, value, uri=uri, versions_to_keep=2) for value in range(5)]
    assert store.get("n.value") == 4
    assert versions(store) == {runs[4]: 3, runs[3]: 2}
    if not store.uri.startswith("redis:"):
        assert [kept.version for kept in kept_versions(store, "n.value")] == [runs[4], runs[3]]


def test_each_partition_has_versions_of_its_own(uri, store, instance):
    for value in range(2):
        for partition in "ab":
            materialize(instance, value, uri=uri, versions_to_keep=1, partitions_def=LETTERS, partition_key=partition)
    assert [list(versions(store, f"n.partitions/{name}.value").values()) for name in "ab"] == [[0], [0]]


def test_without_the_option_nothing_is_kept_and_nothing_deleted(uri, store, instance):
    materialize(instance, 1, uri=uri, versions_to_keep=1)
    materialize(instance, 2, uri=uri, versions_to_keep=1)
    materialize(instance, 3, uri=uri)
    assert list(versions(store).values()) == [1]


def test_a_step_that_is_tried_again_keeps_what_was_there_before_its_run(uri, store, instance):
    @dg.asset(retry_policy=dg.RetryPolicy(max_retries=1))
    def both(context) -> dg.Output[int]:
        return dg.Output(context.retry_number)

    class Failing(AnystoreIOManager):
        def handle_output(self, context, obj):
            super().handle_output(context, obj)
            if obj == 0:
                raise dg.RetryRequested

    store.put("both.value", 7)
    result = dg.materialize([both], instance=instance, resources={"io_manager": Failing(uri=uri, versions_to_keep=3)})
    assert store.get("both.value") == 1
    assert versions(store, "both.value") == {result.run_id: 7}


def test_values_without_a_run_are_kept_by_time(uri, store):
    manager = AnystoreIOManager(uri=uri, versions_to_keep=1)
    for value in range(3):
        with dg.build_output_context(asset_key="n") as context:
            manager.handle_output(context, value)
    assert list(versions(store).values()) == [1]


def test_the_same_content_is_no_new_version(uri, store, instance):
    for _ in range(2):
        materialize(instance, 1, uri=uri, versions_to_keep=3, write_if_changed=True)
    assert versions(store) == {}


def foreign_keys():
    return [
        "n.value.versions/notes.txt",
        "n.value.versions/deep/00000000-0000-0000-0000-000000000000",
        "docs.versions/00000000-0000-0000-0000-000000000000",
        "mine.txt.versions/00000000-0000-0000-0000-000000000000",
        "n.value.files/abc/page",
        "other.value",
    ]


def test_what_is_not_an_older_value_is_never_touched(uri, store, instance):
    for key in foreign_keys():
        store.put(key, "foreign")
    for value in range(4):
        materialize(instance, value, uri=uri, versions_to_keep=0)
    assert versions(store) == {}
    run(instance, uri, dry_run=False, versions_to_keep=0)
    assert sorted(store.iterate_keys()) == sorted([*foreign_keys(), "n.value"])


def run(instance, uri, **config):
    job = retention_job()
    defs = dg.Definitions(jobs=[job], resources={"io_manager": AnystoreIOManager(uri=uri)})
    ops = {"anystore_retention_delete": {"config": config}}
    result = defs.resolve_job_def(job.name).execute_in_process(instance=instance, run_config={"ops": ops})
    (output,) = [event for event in result.all_events if event.event_type_value == "STEP_OUTPUT"]
    return {name: value.value for name, value in output.event_specific_data.metadata.items()}


def test_the_job_tells_what_it_would_delete_and_then_deletes_it(uri, store, instance):
    for value in range(4):
        materialize(instance, value, uri=uri, versions_to_keep=5)
        materialize(instance, value, name="m", uri=uri, versions_to_keep=5)
    before = sorted(store.iterate_keys())
    told = run(instance, uri, versions_to_keep=1)
    assert (told["anystore/dry_run"], told["anystore/deleted"]) == (True, 4)
    assert sorted(store.iterate_keys()) == before
    done = run(instance, uri, versions_to_keep=1, dry_run=False)
    assert done["anystore/keys"] == told["anystore/keys"]
    assert sorted(store.iterate_keys()) == sorted(set(before) - set(told["anystore/keys"]))
    assert [list(versions(store, f"{name}.value").values()) for name in "nm"] == [[2], [2]]


def test_the_job_can_be_kept_to_a_folder_and_wants_a_number(uri, store, instance):
    for value in range(2):
        materialize(instance, value, uri=uri, versions_to_keep=5)
    assert run(instance, uri, versions_to_keep=0, dry_run=False, prefix="other")["anystore/deleted"] == 0
    with pytest.raises(InvalidOption, match="versions_to_keep"):
        run(instance, uri)
    with pytest.raises(InvalidOption, match="-1"):
        prune_versions(store, "n.value", keep=-1)


def test_files_that_only_an_older_value_names_go_with_it(store):
    contents = [b"[%d]" % number for number in range(3)]
    for content in contents:
        store.put(f"{files_folder('c.value', content)}/page", "page")
    store.put("c.value", contents[2])
    for number in range(2):
        store.put(f"c.value.versions/0000000{number}-0000-0000-0000-000000000000", contents[number])
    times = {
        f"0000000{number}-0000-0000-0000-000000000000": datetime(2024, 1, 1 + number, tzinfo=UTC) for number in (0, 1)
    }
    doomed = prune_versions(store, "c.value", keep=1, dry_run=True, run_times=lambda _: times)
    assert len(doomed) == 2
    assert prune_versions(store, "c.value", keep=1, run_times=lambda _: times) == doomed
    left = {key.rsplit("/", 1)[0] for key in store.iterate_keys("c.value.files")}
    kept = store.get(kept_versions(store, "c.value")[0].entry.key, serialization_mode="raw")
    assert left == {files_folder("c.value", kept), files_folder("c.value", contents[2])}


def test_where_no_time_is_known_a_value_stays():
    runs = [f"0000000{number}-0000-0000-0000-000000000000" for number in range(3)]

    class Timeless(MemoryBackend):
        def scan(self, prefix="", after=None):
            return (replace(entry, modified=None) for entry in super().scan(prefix, after))

    store = Store(Timeless(uuid.uuid4().hex))
    for run_id in runs:
        store.put(f"n.value.versions/{run_id}", 1)
    assert prune_versions(store, "n.value", keep=0) == []
    known = {runs[0]: datetime(2024, 1, 2, tzinfo=UTC), runs[2]: datetime(2024, 1, 1, tzinfo=UTC)}
    assert prune_versions(store, "n.value", keep=1, run_times=lambda _: known) == [f"n.value.versions/{runs[2]}"]


def test_files_of_a_replaced_collection_stay_as_long_as_a_value_names_them(store):
    folder = files_folder("c.value", b"[1]")
    store.put(f"{folder}/page", "page")
    store.put("c.value", b"[1]")
    delete_replaced_files(store, "c.value", folder)  # as where another run has stored it again meanwhile
    assert store.exists(f"{folder}/page")
    store.move("c.value", "c.value.versions/00000000-0000-0000-0000-000000000000")
    store.put("c.value", b"[2]")
    delete_replaced_files(store, "c.value", folder)
    assert store.exists(f"{folder}/page")
    store.delete_prefix("c.value.versions")
    delete_replaced_files(store, "c.value", folder)
    assert list(store.iterate_keys()) == ["c.value"]


def test_a_negative_number_is_refused_when_definitions_load():
    with pytest.raises(dg.DagsterInvalidDefinitionError, match="versions_to_keep"):
        AnystoreIOManager(uri="memory://x", versions_to_keep=-1)
