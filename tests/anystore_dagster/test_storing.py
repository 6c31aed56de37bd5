"""Values are encoded, written and described; what the user said stays, and nothing is left on the local disk."""

import os
import stat
import tempfile
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest

from anystore import BackendError, Store, Unsupported, get_store, retries
from anystore.backends.memory import MemoryBackend
from anystore_dagster import AnystoreIOManager, PartitionedOutput
from anystore_dagster.key_templates import DEFAULT_TEMPLATE, KeyTemplate
from anystore_dagster.slots import KeyRule, Slot
from anystore_dagster.stored import Encoded, Form
from anystore_dagster.storing import Storing
from anystore_dagster.values import FileCollection
from anystore_dagster.writing import WriteRules

LETTERS = dg.StaticPartitionsDefinition(["a", "b", "c"])
RANGE = {"dagster/asset_partition_range_start": "a", "dagster/asset_partition_range_end": "c"}


class Tables(PartitionedOutput):
    item = pa.Table


@pytest.fixture
def uri(tmp_path):
    return f"sqlite:///{tmp_path}/values.db"


@pytest.fixture
def store(uri):
    return get_store(uri)


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def materialize(asset, instance, *, tags=None, partition_key=None, **options):
    resources = {"io_manager": AnystoreIOManager(**options)}
    result = dg.materialize([asset], resources=resources, instance=instance, tags=tags, partition_key=partition_key)
    return {
        event.materialization.partition: {name: value.value for name, value in event.materialization.metadata.items()}
        for event in result.get_asset_materialization_events()
    }


@dg.asset
def number() -> int:
    return 12


# -- options ------------------------------------------------------------------------


def test_values_expire_where_the_backend_can_let_them(uri, store, instance, tmp_path):
    materialize(number, instance, uri=uri, ttl=1000)
    assert store.info("number.value").expires is not None
    materialize(number, instance, uri=uri)
    assert store.info("number.value").expires is None
    with pytest.raises(Unsupported, match="expire"):
        materialize(number, instance, uri=str(tmp_path / "values"), ttl=1000)


@pytest.mark.parametrize("server", [None, "redis_server", "seaweedfs_server"])
def test_the_same_content_is_left_as_it_is(uri, instance, request, server):
    config = {}
    if server is not None:
        running = request.getfixturevalue(server)
        name = f"t{os.getpid()}-{os.urandom(4).hex()}"
        uri = f"redis://127.0.0.1:{running.port}/0/{name}" if "redis" in server else f"s3://anystore-tests/{name}"
        config = {} if "redis" in server else running.config
    store = get_store(uri, backend_config=config)
    options = {"uri": uri, "backend_config": config, "write_if_changed": True}
    assert "anystore/unchanged" not in materialize(number, instance, **options)[None]
    before = store.info("number.value")
    shown = materialize(number, instance, **options)[None]
    assert shown["anystore/unchanged"] is True
    assert shown["anystore/checksum"] == store.checksum("number.value")
    assert store.info("number.value") == before
    store.put("number.value", 13)
    assert "anystore/unchanged" not in materialize(number, instance, **options)[None]
    assert store.get("number.value") == 12


@pytest.mark.parametrize(
    ("fields", "hint"),
    [
        ({"ttl": 0}, "ttl"),
        ({"ttl": -1.5}, "ttl"),
        ({"retries": -1}, "retries"),
        ({"ttl": 5, "write_if_changed": True}, "exclude each other"),
    ],
)
def test_options_that_cannot_work_are_refused_when_definitions_load(fields, hint):
    with pytest.raises(dg.DagsterInvalidDefinitionError, match=hint):
        AnystoreIOManager(uri="memory://x", **fields)


def test_numbers_from_the_environment_are_read_where_they_are_used(uri, store, instance, monkeypatch):
    manager = AnystoreIOManager(uri=uri, versions_to_keep=dg.EnvVar.int("TEST_VERSIONS"))
    monkeypatch.setenv("TEST_VERSIONS", "1")
    for _ in range(3):
        dg.materialize([number], resources={"io_manager": manager}, instance=instance)
    assert len(list(store.iterate_keys("number.value.versions"))) == 1


def test_every_option_says_what_it_is():
    fields = AnystoreIOManager.to_config_schema().as_field().config_type.fields
    assert {"key_template", "ttl", "versions_to_keep", "local_cache", "uri"} <= set(fields)
    assert [name for name, field in fields.items() if not field.description] == []


# -- metadata -------------------------------------------------------------------------


@pytest.mark.parametrize("annotation", [dict[str, pa.Table], Tables])
def test_what_the_user_says_of_a_partition_stays(uri, instance, annotation):
    @dg.asset(partitions_def=LETTERS, backfill_policy=dg.BackfillPolicy.single_run())
    def n(context) -> annotation:
        context.add_asset_metadata({"dagster/partition_row_count": 100}, partition_key="b")
        context.add_output_metadata({"anystore/key": "mine"})
        values = {name: pa.table({"n": [1, 2]}) for name in context.partition_keys}
        return Tables(values) if annotation is Tables else values

    shown = materialize(n, instance, uri=uri, tags=RANGE)
    assert [shown[name]["dagster/partition_row_count"] for name in "abc"] == [2, 100, 2]
    assert {shown[name]["anystore/key"] for name in "abc"} == {"mine"}
    assert all("dagster/row_count" not in found for found in shown.values())
    assert {shown[name]["dagster/uri"].rpartition("/")[2] for name in "abc"} == {"a.value", "b.value", "c.value"}


def test_a_table_without_partitions_has_a_row_count_and_one_partition_its_own(uri, instance):
    @dg.asset
    def whole() -> pa.Table:
        return pa.table({"n": [1, 2]})

    @dg.asset(partitions_def=LETTERS)
    def part() -> pa.Table:
        return pa.table({"n": [1, 2]})

    assert materialize(whole, instance, uri=uri)[None]["dagster/row_count"] == 2
    shown = materialize(part, instance, uri=uri, partition_key="a")["a"]
    assert (shown["dagster/partition_row_count"], "dagster/row_count" in shown) == (2, False)
    assert shown["dagster/column_schema"].columns[0].name == "n"


# -- private files and failures ---------------------------------------------------------


class Files(Form):
    """Values that are encoded to a file, which the test can look at."""

    name = "file"

    def __init__(self):
        self.paths = []

    def encode(self, value, folder):
        assert stat.S_IMODE(Path(folder).stat().st_mode) == 0o700
        path = Path(folder, f"file{len(self.paths)}")
        path.write_bytes(value)
        self.paths.append(path)
        return Encoded(path)

    def decode(self, source, selection):
        return source.read()


class Down(MemoryBackend):
    def writer(self, key, **options):
        raise BackendError("down")


def storing(context, store, form):
    return Storing(context, store, form, WriteRules(retries=1), KeyRule(KeyTemplate(DEFAULT_TEMPLATE), "value"))


@pytest.mark.parametrize("fails", [False, True])
def test_private_files_are_gone_afterwards(tmp_path, monkeypatch, fails):
    monkeypatch.setattr(retries, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    form, store = Files(), Store(Down("x") if fails else MemoryBackend(tmp_path.name))
    slots = [Slot(f"slot {name}", f"{name}.value", name) for name in "abcdefgh"]
    values = {name: name.encode() * 100 for name in "abcdefgh"}
    with dg.build_output_context(asset_key="n") as context:
        for store_values in (
            lambda: storing(context, store, form).store_all(slots, values),
            lambda: storing(context, store, form).store_stream(slots, values.items()),
        ):
            if fails:
                with pytest.raises(BackendError):
                    store_values()
            else:
                store_values()
                assert store.get("h.value") == "h" * 100
    assert form.paths
    assert not any(path.parent.exists() for path in form.paths)
    assert [path for path in Path(tmp_path).rglob("*") if path.is_file()] == []


def test_a_service_that_fails_for_a_moment_does_not_run_the_code_again(uri, instance, monkeypatch):
    monkeypatch.setattr(retries, "FIRST_PAUSE", 0.001)
    runs, failures = [], [BackendError("connection lost")] * 3
    put = MemoryBackend.put

    def failing_put(self, *arguments, **options):
        if failures:
            raise failures.pop()
        return put(self, *arguments, **options)

    monkeypatch.setattr(MemoryBackend, "put", failing_put)

    @dg.asset
    def costly() -> int:
        runs.append(1)
        return 1

    materialize(costly, instance, uri=f"memory://{os.path.basename(uri)}")
    assert (runs, failures) == ([1], [])


# -- collections of files -----------------------------------------------------------------


@pytest.mark.parametrize("versions_to_keep", [None, 1])
def test_the_files_of_a_replaced_collection_go_unless_it_is_kept(uri, store, instance, versions_to_keep):
    contents = iter([b"one", b"two", b"two", b"three"])

    @dg.asset
    def pages() -> FileCollection:
        return FileCollection({"deep/page.txt": next(contents), "same.txt": b"same"})

    @dg.asset
    def read(pages: FileCollection) -> dict[str, str]:
        return {name: file.read().decode() for name, file in pages.items()}

    def folders():
        return {key.split("/")[1] for key in store.iterate_keys("pages.value.files")}

    resources = {"io_manager": AnystoreIOManager(uri=uri, versions_to_keep=versions_to_keep)}
    for content, kept in (("one", 1), ("two", 2), ("two", 1), ("three", 2)):
        result = dg.materialize([pages, read], resources=resources, instance=instance)
        assert result.output_for_node("read") == {"deep/page.txt": content, "same.txt": "same"}
        assert len(folders()) == (1 if versions_to_keep is None else kept)
