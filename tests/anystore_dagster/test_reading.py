"""What was stored is loaded: many at the same time, from a fallback too, and only the columns that are wanted."""

import asyncio
import threading

import dagster as dg
import polars as pl
import pyarrow as pa
import pytest

from anystore import BackendError, CodecError, DoesNotExist, Store, get_store, retries
from anystore.backends.memory import MemoryBackend
from anystore.backends.wrap import ReadonlyBackend
from anystore_dagster import AnystoreIOManager, AnystoreResource
from anystore_dagster.reading import Source, concatenate, for_each
from anystore_dagster.slots import Slot
from anystore_dagster.stored import Selection
from anystore_dagster.values import form_for

LETTERS = dg.StaticPartitionsDefinition(["a", "b", "c"])
HUNDRED = dg.StaticPartitionsDefinition([f"p{number:02}" for number in range(100)])


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def uri(tmp_path):
    return f"memory://{tmp_path.name}"


@pytest.fixture
def other(tmp_path):
    return str(tmp_path / "production")


def slots(count):
    return [Slot(f"slot {number}", f"k{number}", f"p{number}") for number in range(count)]


def source_of(*backends):
    stores = [Store(backend) for backend in backends]
    return Source(stores, form_for(int), Selection(), 3)


# -- many at once -----------------------------------------------------------------


def test_partitions_are_loaded_at_the_same_time_and_stay_in_order(tmp_path):
    together = threading.Barrier(25)

    class Meeting(MemoryBackend):
        def get(self, key):
            together.wait(30)
            return super().get(key)

        def reader(self, key):
            together.wait(30)
            return super().reader(key)

    backend = Meeting(tmp_path.name)
    for number in range(100):
        backend.put(f"k{number}", str(number).encode())
    source = source_of(backend)
    assert for_each(source, source.load, slots(100)) == list(range(100))


def test_no_more_are_loaded_at_the_same_time_than_the_store_serves(tmp_path):
    running, most = [], []

    class Small(MemoryBackend):
        at_once = 3

        def get(self, key):
            running.append(key)
            most.append(len(running))
            data = super().get(key)
            running.remove(key)
            return data

    backend = Small(tmp_path.name)
    for number in range(100):
        backend.put(f"k{number}", str(number).encode())
    source = source_of(MemoryBackend(f"{tmp_path.name}-other"), ReadonlyBackend(backend))
    assert for_each(source, source.load, slots(100)) == list(range(100))
    assert max(most) <= 3


@pytest.fixture
def hundred(uri, instance):
    @dg.asset(partitions_def=HUNDRED, backfill_policy=dg.BackfillPolicy.single_run())
    def n(context) -> dict[str, str]:
        return {name: name for name in context.partition_keys}

    manager = AnystoreIOManager(uri=uri)
    tags = {"dagster/asset_partition_range_start": "p00", "dagster/asset_partition_range_end": "p99"}
    dg.materialize([n], resources={"io_manager": manager}, instance=instance, tags=tags)
    return n


def test_many_partitions_log_one_line(hundred, uri, instance):
    @dg.asset
    def count(n: dict[str, str]) -> int:
        assert list(n.items()) == [(f"p{number:02}",) * 2 for number in range(100)]
        return len(n)

    dg.materialize(
        [hundred, count], selection="count", resources={"io_manager": AnystoreIOManager(uri=uri)}, instance=instance
    )
    run = instance.get_runs()[0]
    lines = [entry.user_message for entry in instance.all_logs(run.run_id) if entry.user_message.startswith("Loaded")]
    assert [line.partition(" (")[0] for line in lines if "values" in line] == ["Loaded 100 values"]


def test_partitions_are_loaded_where_an_event_loop_runs(hundred, uri, instance):
    defs = dg.Definitions([hundred], resources={"io_manager": AnystoreIOManager(uri=uri)})

    async def notebook():
        key_range = dg.PartitionKeyRange("p00", "p99")
        with defs.get_asset_value_loader(instance=instance) as loader:
            return loader.load_asset_value("n", partition_key_range=key_range)

    assert len(asyncio.run(notebook())) == 100


def test_missing_partitions_leave_the_others_under_their_own_names(hundred, uri, instance):
    get_store(uri).delete("n.partitions/p50.value")
    defs = dg.Definitions([hundred], resources={"io_manager": AnystoreIOManager(uri=uri)})
    with defs.get_asset_value_loader(instance=instance) as loader:
        found = loader.load_asset_value(
            "n",
            partition_key_range=dg.PartitionKeyRange("p00", "p99"),
            input_definition_metadata={"allow_missing_partitions": True},
        )
    assert found == {f"p{number:02}": f"p{number:02}" for number in range(100) if number != 50}


# -- trouble ----------------------------------------------------------------------


def test_a_service_that_fails_for_a_moment_is_asked_again(tmp_path, monkeypatch):
    monkeypatch.setattr(retries, "FIRST_PAUSE", 0.001)

    class Flaky(MemoryBackend):
        failures = 3

        def get(self, key):
            if self.failures:
                self.failures -= 1
                raise BackendError("connection lost")
            return super().get(key)

    backend = Flaky(tmp_path.name)
    backend.put("k0", b"7")
    assert source_of(backend).load(slots(1)[0]) == 7
    backend.failures = 4
    with pytest.raises(BackendError):
        source_of(backend).load(slots(1)[0])


def test_bytes_that_do_not_fit_name_asset_key_and_store(tmp_path):
    backend = MemoryBackend(tmp_path.name)
    backend.put("k0", b"text")
    with pytest.raises(CodecError, match=r"cannot load slot 0 from 'k0' in memory://"):
        source_of(backend).load(slots(1)[0])


# -- fallback ---------------------------------------------------------------------


@dg.asset
def one() -> int:
    return 1


@dg.asset
def two(one: int) -> int:
    return one * 2


@dg.asset(partitions_def=LETTERS)
def letter(context) -> str:
    return f"production {context.partition_key}"


@dg.asset
def letters(letter: dict[str, str]) -> dict[str, str]:
    return letter


def test_what_is_not_here_is_read_from_the_fallback_and_never_written_there(uri, other, instance):
    production, development = get_store(other), get_store(uri)
    dg.materialize([one], resources={"io_manager": AnystoreIOManager(uri=other)}, instance=instance)
    before = list(production.entries())
    manager = AnystoreIOManager(uri=uri, fallback_store=AnystoreResource(uri=other))
    result = dg.materialize([one, two], selection="two", resources={"io_manager": manager}, instance=instance)
    assert result.output_for_node("two") == 2
    assert list(production.entries()) == before
    assert list(development.iterate_keys()) == ["two.value"]
    development.put("one.value", 5)
    result = dg.materialize([one, two], selection="two", resources={"io_manager": manager}, instance=instance)
    assert result.output_for_node("two") == 10


def test_partitions_come_from_where_they_are(uri, other, instance):
    resources = {"io_manager": AnystoreIOManager(uri=other)}
    for name in "ab":
        dg.materialize([letter], partition_key=name, resources=resources, instance=instance)
    development = get_store(uri)
    development.put("letter.partitions/b.value", "development b")
    manager = AnystoreIOManager(uri=uri, fallback_store=AnystoreResource(uri=other))

    def load():
        resources = {"io_manager": manager}
        result = dg.materialize([letter, letters], selection="letters", resources=resources, instance=instance)
        return result.output_for_node("letters")

    with pytest.raises(DoesNotExist, match=r"'c' of asset 'letter'.*memory://.*nor in .*production"):
        load()
    development.put("letter.partitions/c.value", "development c")
    assert load() == {"a": "production a", "b": "development b", "c": "development c"}


def test_a_fallback_is_a_resource():
    with pytest.raises(dg.DagsterInvalidDefinitionError, match="fallback_store=AnystoreResource"):
        AnystoreIOManager(uri="memory://x", fallback_store="memory://y")


# -- columns and rows ---------------------------------------------------------------


@pytest.mark.parametrize("kind", [pa.Table, pl.DataFrame, pl.LazyFrame])
def test_an_input_takes_the_columns_and_rows_that_it_names(uri, instance, kind):
    @dg.asset(partitions_def=LETTERS)
    def table(context) -> pa.Table:
        return pa.table({"n": [1, 2, 3], "name": [context.partition_key] * 3, "other": [0.5] * 3})

    metadata = {"anystore/columns": ["name", "n"], "anystore/filters": [("n", ">", 1)]}

    @dg.asset(ins={"table": dg.AssetIn(metadata=metadata)})
    def selected(table: kind) -> list[dict]:
        table = table.collect() if kind is pl.LazyFrame else table
        return table.to_pylist() if kind is pa.Table else table.to_dicts()

    resources = {"io_manager": AnystoreIOManager(uri=uri)}
    for name in "abc":
        dg.materialize([table], partition_key=name, resources=resources, instance=instance)
    result = dg.materialize([table, selected], selection="selected", resources=resources, instance=instance)
    assert result.output_for_node("selected") == [{"name": name, "n": n} for name in "abc" for n in (2, 3)]


@pytest.mark.parametrize("columns", ["name", [1], 3])
def test_columns_are_a_list_of_names(uri, instance, columns):
    @dg.asset(ins={"one": dg.AssetIn(metadata={"anystore/columns": columns})})
    def selected(one: pa.Table) -> int:
        return one.num_rows

    with pytest.raises(CodecError, match="anystore/columns"):
        dg.materialize([one, selected], resources={"io_manager": AnystoreIOManager(uri=uri)}, instance=instance)


def test_a_value_without_columns_refuses_a_selection(uri, instance):
    @dg.asset(ins={"one": dg.AssetIn(metadata={"anystore/columns": ["n"]})})
    def selected(one: int) -> int:
        return one

    with pytest.raises(CodecError, match="anystore/columns"):
        dg.materialize([one, selected], resources={"io_manager": AnystoreIOManager(uri=uri)}, instance=instance)


@pytest.mark.parametrize(
    ("first", "second"),
    [([1], ["a"]), ([[1]], [["a"]]), ([{"n": 1}], [{"n": "a"}])],
    ids=["plain", "in lists", "in structs"],
)
@pytest.mark.parametrize("kind", [pl.DataFrame, pl.LazyFrame])
def test_numbers_and_texts_of_polars_are_refused_and_no_number_becomes_text(kind, first, second):
    with pytest.raises(CodecError, match=r"column 'v' is .*Int64.* in one, and .*String.* in others"):
        concatenate([kind({"v": first}), kind({"v": second})])
    texts = concatenate([kind({"v": ["a"]}), kind({"v": ["b"]}).cast(pl.Categorical), kind({"v": [None]})])
    assert texts.lazy().collect()["v"].to_list() == ["a", "b", None]
    assert concatenate([kind({"v": [1]}), kind({"v": [0.5]})]).lazy().collect()["v"].to_list() == [1.0, 0.5]


def test_tables_that_are_one_already_stay_as_they_are():
    table = pa.table({"n": [1]})
    assert concatenate([table, table]).num_rows == 2


def test_after_a_failure_no_more_is_loaded(tmp_path):
    seen = []

    def call(slot):
        seen.append(slot)
        raise BackendError("down")

    with pytest.raises(BackendError, match="down"):
        for_each(source_of(MemoryBackend(tmp_path.name)), call, slots(1000))
    assert len(seen) <= 32
