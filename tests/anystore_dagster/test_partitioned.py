"""Many partitions in one run, one at a time: stored as they come, and loaded when they are reached."""

import gc
import weakref

import dagster as dg
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from anystore import CodecError, DoesNotExist, get_store
from anystore_dagster import AnystoreIOManager, PartitionedOutput, PartitionStream

LETTERS = dg.StaticPartitionsDefinition(["a", "b", "c"])
GRID = dg.MultiPartitionsDefinition({"day": dg.StaticPartitionsDefinition(["d1", "d2"]), "area": LETTERS})
SINGLE_RUN = dg.BackfillPolicy.single_run()


class Numbers(PartitionedOutput):
    item = list[int]


class Frames(PartitionedOutput):
    item = pa.Table


class NumberStream(PartitionStream):
    item = list[int]


class FrameStream(PartitionStream):
    item = pd.DataFrame


@pytest.fixture(params=["local", "sqlite"])
def uri(request, tmp_path):
    return str(tmp_path / "values") if request.param == "local" else f"sqlite:///{tmp_path}/values.db"


@pytest.fixture
def store(uri):
    return get_store(uri)


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def run(uri, instance):
    def materialize(assets, **options):
        return dg.materialize(
            assets, resources={"io_manager": AnystoreIOManager(uri=uri)}, instance=instance, **options
        )

    return materialize


def range_tags(first, last):
    return {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}


def output_of(make, annotation=Numbers, definition=LETTERS):
    @dg.asset(partitions_def=definition, backfill_policy=SINGLE_RUN)
    def n(context) -> annotation:
        return make(context.partition_keys)

    return n


# -- outputs --------------------------------------------------------------------


def test_each_partition_of_a_run_is_stored_as_it_comes(run, store):
    seen = []

    def values(names):
        for name in names:
            seen.append(sorted(store.iterate_keys()))
            yield name, [ord(name)]

    result = run([output_of(lambda names: Numbers(values(names)))], tags=range_tags("a", "c"))
    assert {key: store.get(key) for key in store.iterate_keys()} == {
        f"n.partitions/{name}.value": [ord(name)] for name in "abc"
    }
    assert seen[0] == []
    keys = {
        event.materialization.partition: event.materialization.metadata["anystore/key"].value
        for event in result.get_asset_materialization_events()
    }
    assert keys == {name: f"n.partitions/{name}.value" for name in "abc"}


def test_values_are_not_kept_after_they_were_stored(run):
    class Anything(PartitionedOutput):
        pass

    alive = []
    names = [f"p{number}" for number in range(5)]

    def values():
        references = []
        for name in names:
            gc.collect()
            alive.append(sum(reference() is not None for reference in references))
            frame = pd.DataFrame({"n": [1]})
            references.append(weakref.ref(frame))
            yield name, frame
            del frame

    asset = output_of(lambda _: Anything(values()), Anything, dg.StaticPartitionsDefinition(names))
    assert run([asset], tags=range_tags("p0", "p4")).success
    assert max(alive) <= 1


def test_a_mapping_a_single_partition_and_tables(run, store):
    tables = {name: pa.table({"n": [1] * (ord(name) - 96)}) for name in "abc"}
    asset = output_of(lambda names: Frames({name: tables[name] for name in names}), Frames)
    result = run([asset], tags=range_tags("b", "c"))
    assert run([asset], partition_key="a").success
    rows = {
        event.materialization.partition: event.materialization.metadata["dagster/partition_row_count"].value
        for event in result.get_asset_materialization_events()
    }
    assert rows == {"b": 2, "c": 3}
    tables = [store.get(f"n.partitions/{name}.value", serialization_mode="parquet") for name in "abc"]
    assert [table.num_rows for table in tables] == [1, 2, 3]


def test_dimensions_are_told_apart(run, store):
    asset = output_of(lambda names: Numbers((name, [1]) for name in names), definition=GRID)
    assert run([asset], partition_key=dg.MultiPartitionKey({"day": "d1", "area": "b"})).success
    assert list(store.iterate_keys()) == ["n.partitions/b/d1.value"]


@pytest.mark.parametrize(
    ("pairs", "hints", "stored"),
    [
        ([("a", [1]), ("b", [2])], ["'c'", "ended without", "2 of them were stored"], "ab"),
        ([("a", [1]), ("a", [2])], ["'a'", "once", "1 of them"], "a"),
        ([("a", [1]), ("x", [2])], ["'x'", "came with"], "a"),
        ([("a", [1]), ("b", "text")], ["partition 'b' of asset 'n'", "list[int]"], "a"),
        ([("a", [1]), "b"], ["pairs", "str"], "a"),
        ([(1, [1])], ["pairs"], ""),
        ([], ["'a', 'b', 'c'"], ""),
    ],
)
def test_what_does_not_fit_fails_and_leaves_whole_what_came_before(run, store, pairs, hints, stored):
    with pytest.raises(CodecError) as caught:
        run([output_of(lambda _: Numbers(iter(pairs)))], tags=range_tags("a", "c"))
    assert all(hint in str(caught.value) for hint in hints), str(caught.value)
    assert sorted(store.iterate_keys()) == [f"n.partitions/{name}.value" for name in stored]


def test_an_error_of_the_users_own_comes_through(run, store):
    def values():
        yield "a", [1]
        raise RuntimeError("the source is gone")

    with pytest.raises(RuntimeError, match="the source is gone"):
        run([output_of(lambda _: Numbers(values()))], tags=range_tags("a", "c"))
    assert list(store.iterate_keys()) == ["n.partitions/a.value"]


def test_partitions_are_needed_and_the_class_that_is_annotated(run):
    @dg.asset
    def whole() -> Numbers:
        return Numbers({"a": [1]})

    with pytest.raises(CodecError, match="partitions_def"):
        run([whole])
    with pytest.raises(dg.DagsterTypeCheckDidNotPass):
        run([output_of(lambda _: {"a": [1]})], partition_key="a")


# -- inputs ---------------------------------------------------------------------


@pytest.fixture
def three(run):
    run([output_of(lambda names: Numbers((name, [ord(name)]) for name in names))], tags=range_tags("a", "c"))


def upstream():
    return output_of(lambda names: Numbers((name, [ord(name)]) for name in names))


@pytest.mark.usefixtures("three")
def test_a_stream_loads_one_partition_after_the_other(run, store):
    @dg.asset
    def total(n: NumberStream) -> list[str]:
        assert (len(n), n.partitions, n["b"]) == (3, ("a", "b", "c"), [98])
        with pytest.raises(KeyError):
            n["x"]
        found = []
        for name, value in n:
            found.append(f"{name}{value[0]}")
            store.delete("n.partitions/c.value") if name == "b" else None
            if name == "b":
                break
        with pytest.raises(DoesNotExist, match="'c' of asset 'n'"):
            n["c"]
        return found

    assert run([upstream(), total], selection="total").output_for_node("total") == ["a97", "b98"]


@pytest.mark.usefixtures("three")
def test_a_stream_of_one_partition_is_a_stream(run):
    @dg.asset(partitions_def=LETTERS)
    def same(n: NumberStream) -> list[str]:
        return [name for name, _ in n]

    assert run([upstream(), same], selection="same", partition_key="b").output_for_node("same") == ["b"]


@pytest.mark.usefixtures("three")
def test_missing_partitions_of_a_stream_are_named_before_the_first_is_loaded(run, store):
    store.delete("n.partitions/b.value")

    def consumer(**metadata):
        @dg.asset(ins={"n": dg.AssetIn(metadata=metadata)})
        def names(n: NumberStream) -> list[str]:
            return [name for name, _ in n]

        return names

    with pytest.raises(DoesNotExist, match="'b' of asset 'n'"):
        run([upstream(), consumer()], selection="names")
    result = run([upstream(), consumer(allow_missing_partitions=True)], selection="names")
    assert result.output_for_node("names") == ["a", "c"]


def test_a_stream_of_what_has_no_partitions_is_refused(run):
    @dg.asset
    def n() -> list[int]:
        return [1]

    @dg.asset
    def total(n: NumberStream) -> int:
        return len(n)

    with pytest.raises(CodecError, match=r"NumberStream.*annotate the type of the value"):
        run([n, total])


# -- tables of many partitions -----------------------------------------------------


@pytest.mark.parametrize("kind", [pa.Table, pd.DataFrame, pl.DataFrame, pl.LazyFrame])
def test_a_table_of_many_partitions_is_all_of_them_in_their_order(run, kind):
    levels = dg.StaticPartitionsDefinition(["low", "high", "middle"])

    @dg.asset(partitions_def=levels)
    def level(context) -> pl.DataFrame:
        return pl.DataFrame({"level": [context.partition_key] * 2})

    @dg.asset
    def together(level: kind) -> list[str]:
        frame = level.collect() if kind is pl.LazyFrame else level
        assert not isinstance(level, pd.DataFrame) or list(level.index) == list(range(6))
        return list(frame["level"].to_pylist() if kind is pa.Table else frame["level"])

    for name in ("middle", "low", "high"):
        run([level], partition_key=name)
    result = run([level, together], selection="together")
    assert result.output_for_node("together") == ["low", "low", "high", "high", "middle", "middle"]


def test_columns_that_a_partition_lacks_are_empty_and_others_are_refused(run):
    def build(rows):
        @dg.asset(partitions_def=LETTERS)
        def rows_of(context) -> pa.Table:
            return pa.table(rows[context.partition_key])

        @dg.asset
        def together(rows_of: pa.Table) -> list[dict]:
            return rows_of.to_pylist()

        for name in "abc":
            run([rows_of], partition_key=name)
        return run([rows_of, together], selection="together").output_for_node("together")

    assert build({"a": {"n": [1]}, "b": {"n": [2], "m": ["x"]}, "c": {"n": pa.nulls(1)}}) == [
        {"n": 1, "m": None},
        {"n": 2, "m": "x"},
        {"n": None, "m": None},
    ]
    with pytest.raises(CodecError, match=r"tables of 3 partitions do not go together"):
        build({"a": {"n": [1]}, "b": {"n": ["text"]}, "c": {"n": [3]}})


def test_partitions_that_may_all_be_missing_are_none_or_an_error(run):
    @dg.asset(partitions_def=LETTERS)
    def page() -> pa.Table:
        return pa.table({"n": [1]})

    def consumer(annotation):
        @dg.asset(ins={"page": dg.AssetIn(metadata={"allow_missing_partitions": True})})
        def pages(page: annotation) -> bool:
            return page is None

        return pages

    assert run([page, consumer(pa.Table | None)], selection="pages").output_for_node("pages") is True
    with pytest.raises(DoesNotExist, match="'a' of asset 'page'"):
        run([page, consumer(pa.Table)], selection="pages")


def test_no_partition_at_all_is_none_or_an_error(run):
    names = dg.DynamicPartitionsDefinition(name="none-yet")

    @dg.asset(partitions_def=names)
    def page() -> pa.Table:
        return pa.table({"n": [1]})

    def consumer(annotation):
        @dg.asset
        def pages(page: annotation) -> bool:
            return page is None

        return pages

    assert run([page, consumer(pa.Table | None)], selection="pages").output_for_node("pages") is True
    with pytest.raises(CodecError, match="no partition of asset 'page'"):
        run([page, consumer(pa.Table)], selection="pages")
