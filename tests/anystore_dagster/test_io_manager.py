"""What assets and ops return is stored whole, and comes back in the shape that its reader asked for."""

import os
import warnings
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from pydantic import BaseModel

from anystore import get_store
from anystore.errors import CodecError, DoesNotExist
from anystore_dagster import AnystoreIOManager, AnystoreResource
from anystore_dagster.asset_keys import asset_value_key

LETTERS = dg.StaticPartitionsDefinition(["a", "b", "c"])
DAYS = dg.DailyPartitionsDefinition("2024-01-01", end_date="2024-01-04")
GRID = dg.MultiPartitionsDefinition({"day": dg.StaticPartitionsDefinition(["d1", "d2"]), "area": LETTERS})


class Person(BaseModel):
    name: str


@pytest.fixture(params=["local", "memory"])
def uri(request, tmp_path):
    return str(tmp_path / "values") if request.param == "local" else f"memory://{tmp_path.name}-{request.node.name}"


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
        resources = {"io_manager": AnystoreIOManager(uri=uri)} | options.pop("resources", {})
        return dg.materialize(assets, resources=resources, instance=instance, **options)

    return materialize


def range_tags(first, last):
    return {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}


def metadata_of(result, name):
    return {
        event.materialization.partition: event.materialization.metadata
        for event in result.get_asset_materialization_events()
        if event.asset_key == dg.AssetKey(name)
    }


# -- values --------------------------------------------------------------------


def test_a_pipeline_of_every_kind_of_value(run, uri, instance):
    @dg.asset
    def text() -> str:
        return "[1, 2]"

    @dg.asset
    def raw(text: str) -> bytes:
        assert text == "[1, 2]"
        return b"\xff"

    @dg.asset
    def people(raw: bytes) -> list[Person]:
        assert raw == b"\xff"
        return [Person(name="1")]

    @dg.asset
    def table(people: list[Person]) -> pa.Table:
        assert people == [Person(name="1")]
        return pa.table({"n": [1, 2]})

    @dg.asset
    def frame(table: pd.DataFrame) -> pd.DataFrame:
        return table.assign(twice=table["n"] * 2)

    @dg.asset
    def lazy(frame: pl.LazyFrame) -> pl.LazyFrame:
        return frame.filter(pl.col("twice") > 2)

    @dg.asset
    def anything(lazy, people):
        assert people == [{"name": "1"}]
        return {"rows": lazy.collect().to_dicts()}

    assets = [text, raw, people, table, frame, lazy, anything]
    assert run(assets).success
    defs = dg.Definitions(assets, resources={"io_manager": AnystoreIOManager(uri=uri)})
    assert defs.load_asset_value("anything", instance=instance) == {"rows": [{"n": 2, "twice": 4}]}
    assert defs.load_asset_value("people", python_type=list[Person], instance=instance) == [Person(name="1")]
    assert defs.load_asset_value("frame", python_type=pl.DataFrame, instance=instance).shape == (2, 2)
    assert defs.load_asset_value("text") == "[1, 2]"


@pytest.mark.parametrize(
    ("annotation", "value"), [(str | None, None), (dict | None, None), (Any, None), (pa.Table | None, None)]
)
def test_none_is_stored_so_that_no_older_value_is_loaded(run, store, annotation, value):
    seen = []

    @dg.asset
    def maybe() -> annotation:
        return value

    @dg.asset(ins={"maybe": dg.AssetIn(dagster_type=maybe.op.output_defs[0].dagster_type)})
    def reader(maybe):
        seen.append(maybe)

    store.put("maybe.value", "older")
    assert run([maybe, reader]).success
    assert seen == [None]


def test_nothing_is_stored_where_none_is_all_that_can_be_returned(run, store):
    @dg.asset
    def silent() -> None:
        return None

    @dg.asset(deps=[silent])
    def after() -> int:
        return 1

    assert run([silent, after]).success
    assert list(store.iterate_keys()) == ["after.value"]


def test_the_files_are_plain_for_others(run, store):
    @dg.asset(key=["raw", "page"])
    def page() -> str:
        return "<p>hello</p>"

    @dg.asset(key=["raw", "numbers"])
    def numbers() -> dict[str, int]:
        return {"a": 1}

    assert run([page, numbers]).success
    assert store.get("raw/page.value", serialization_mode="raw") == b"<p>hello</p>"
    assert store.get("raw/numbers.value", serialization_mode="raw") == b'{"a":1}'


def test_a_value_that_does_not_fit_leaves_the_old_one(run, store):
    store.put("odd.value", "older")

    @dg.asset
    def odd():
        return {"a": object()}

    with pytest.raises(CodecError, match=r"asset 'odd' as 'odd.value' in .*pickle"):
        run([odd])
    assert store.get("odd.value") == "older"


def test_pickle_is_written_and_read_only_by_configuration(run, uri, store):
    @dg.asset
    def odd():
        return {1, 2}

    @dg.asset
    def reader(odd) -> list[int]:
        return sorted(odd)

    with pytest.raises(CodecError, match="pickle"):
        run([odd, reader])
    for manager in (
        AnystoreIOManager(uri=uri, serialization_mode="pickle"),
        AnystoreIOManager(store=AnystoreResource(uri=uri, serialization_mode="pickle")),
    ):
        assert run([odd, reader], resources={"io_manager": manager}).success
    data = store.get("odd.value", serialization_mode="raw")
    # without the configuration it stays what it is in the store: bytes
    result = run([odd, reader], selection="reader")
    assert result.output_for_node("reader") == sorted(data)


def test_a_result_with_a_value(run, store):
    @dg.asset
    def described() -> dg.MaterializeResult[dict[str, int]]:
        return dg.MaterializeResult(value={"n": 1}, metadata={"mine": 1})

    @dg.asset
    def without_value() -> dg.MaterializeResult:
        return dg.MaterializeResult(metadata={"mine": 1})

    result = run([described, without_value])
    assert dict(store.get_many(store.iterate_keys())) == {"described.value": {"n": 1}}
    assert {"mine", "anystore/key"} <= set(metadata_of(result, "described")[None])


def test_many_outputs_of_one_step(run, store):
    @dg.multi_asset(outs={"one": dg.AssetOut(dagster_type=int), "two": dg.AssetOut(key=["deep", "two"])})
    def both():
        return 1, pa.table({"n": [1]})

    assert run([both]).success
    assert sorted(store.iterate_keys()) == ["deep/two.value", "one.value"]


# -- missing values --------------------------------------------------------------


def test_a_missing_value_names_asset_key_and_store(run, store):
    @dg.asset(key=["raw", "orders"])
    def orders() -> int:
        return 1

    @dg.asset(ins={"orders": dg.AssetIn(["raw", "orders"])})
    def report(orders: int) -> int:
        return orders

    with pytest.raises(DoesNotExist) as caught:
        run([orders, report], selection="report")
    for part in ("asset 'raw/orders'", "'raw/orders.value'", store.uri, "materialize"):
        assert part in str(caught.value)


def test_a_missing_value_in_memory_says_that_steps_run_elsewhere(instance):
    @dg.asset
    def one() -> int:
        return 1

    defs = dg.Definitions([one], resources={"io_manager": AnystoreIOManager(uri="memory://nothing-here")})
    with pytest.raises(DoesNotExist, match="process"):
        defs.load_asset_value("one", instance=instance)


def test_missing_partitions_are_all_listed_or_left_out(run):
    @dg.asset(partitions_def=LETTERS)
    def letter(context) -> str:
        return context.partition_key

    def consumer(**metadata):
        @dg.asset(ins={"letter": dg.AssetIn(metadata=metadata)})
        def consumer(letter: dict[str, str]) -> list[str]:
            return [f"{name}={value}" for name, value in letter.items()]

        return consumer

    run([letter], partition_key="b")
    with pytest.raises(DoesNotExist) as caught:
        run([letter, consumer()], selection="consumer")
    for part in ("'a' of asset 'letter'", "'c' of asset", "letter.partitions/c.value", "allow_missing_partitions"):
        assert part in str(caught.value)
    assert "'b' of asset" not in str(caught.value)
    result = run([letter, consumer(allow_missing_partitions=True)], selection="consumer")
    assert result.output_for_node("consumer") == ["b=b"]


# -- partitions: inputs ------------------------------------------------------------


def test_one_partition_to_one_partition(run, store):
    @dg.asset(partitions_def=LETTERS)
    def letter(context) -> dict[str, str]:
        return {"letter": context.partition_key}

    @dg.asset(partitions_def=LETTERS)
    def annotated(letter: dict[str, str]) -> str:
        return letter["letter"]

    @dg.asset(partitions_def=LETTERS)
    def bare(letter):
        return letter["letter"]

    for partition in "ab":
        assert run([letter, annotated, bare], partition_key=partition).success
    assert store.get("annotated.partitions/a.value") == "a"
    assert store.get("bare.partitions/b.value") == "b"


@pytest.mark.parametrize("names", [["a"], ["a", "b", "c"]])
@pytest.mark.parametrize("annotation", [dict[str, str], Any])
def test_all_partitions_are_a_dict_however_many_there_are(run, names, annotation):
    definition = dg.StaticPartitionsDefinition(names)

    @dg.asset(partitions_def=definition)
    def letter(context) -> str:
        return context.partition_key * 2

    @dg.asset
    def everything(letter: annotation) -> list[str]:
        return [f"{name}={value}" for name, value in letter.items()]

    @dg.asset(partitions_def=definition, ins={"letter": dg.AssetIn(partition_mapping=dg.AllPartitionMapping())})
    def everything_each_time(letter: annotation) -> list[str]:
        return [f"{name}={value}" for name, value in letter.items()]

    for name in names:
        run([letter], partition_key=name)
    wanted = [f"{name}={name * 2}" for name in names]
    result = run([letter, everything], selection="everything")
    assert result.output_for_node("everything") == wanted
    result = run([letter, everything_each_time], selection="everything_each_time", partition_key="a")
    assert result.output_for_node("everything_each_time") == wanted


def test_a_bare_dict_is_the_value_of_the_one_partition_that_is_mapped(run):
    @dg.asset(partitions_def=LETTERS)
    def letter(context) -> dict:
        return {"letter": context.partition_key}

    @dg.asset(ins={"letter": dg.AssetIn(partition_mapping=dg.LastPartitionMapping())})
    def last(letter: dict) -> str:
        return letter["letter"]

    @dg.asset(partitions_def=LETTERS)
    def same(letter: dict) -> str:
        return letter["letter"]

    for partition in "abc":
        run([letter], partition_key=partition)
    assert run([letter, last], selection="last").output_for_node("last") == "c"
    assert run([letter, same], selection="same", partition_key="b").output_for_node("same") == "b"


def test_a_bare_dict_is_one_object_also_where_many_partitions_are_mapped_or_stored(run, store):
    @dg.asset(partitions_def=LETTERS, backfill_policy=dg.BackfillPolicy.single_run())
    def letter(context) -> dict:
        return {"letters": context.partition_keys}

    @dg.asset
    def everything(letter: dict) -> str:
        return str(letter)

    @dg.asset(ins={"letter": dg.AssetIn(metadata={"anystore/partitions": "many"})})
    def each(letter: dict) -> dict:
        return {name: value["letters"] for name, value in letter.items()}

    for name in "abc":
        run([letter], partition_key=name)
    assert store.get("letter.partitions/a.value") == {"letters": ["a"]}
    with pytest.raises(CodecError, match=r"returned one dict in a run of 2 partitions; annotate -> dict\[str, dict\]"):
        run([letter], tags=range_tags("a", "b"))
    with pytest.raises(CodecError, match=r"3 partitions .* annotate dict\[str, dict\].*'anystore/partitions': 'many'"):
        run([letter, everything], selection="everything")
    assert run([letter, each], selection="each").output_for_node("each") == {"a": ["a"], "b": ["b"], "c": ["c"]}


def test_one_value_is_not_many(run):
    @dg.asset(partitions_def=LETTERS)
    def letter() -> int:
        return 1

    @dg.asset
    def total(letter: int) -> int:
        return letter

    for partition in "abc":
        run([letter], partition_key=partition)
    hint = r"3 partitions of asset 'letter'.*dict\[str, int\].*metadata=\{'anystore/partitions': 'many'\}"
    with pytest.raises(CodecError, match=hint):
        run([letter, total], selection="total")


def test_a_mapping_to_a_window_gives_each_day_under_its_name(run):
    weeks = dg.TimeWindowPartitionMapping(start_offset=-1)

    @dg.asset(partitions_def=DAYS)
    def day(context) -> str:
        return context.partition_key

    @dg.asset(partitions_def=DAYS, ins={"day": dg.AssetIn(partition_mapping=weeks)})
    def two_days(day: dict[str, str]) -> dict[str, str]:
        return day

    for number in (1, 2):
        run([day], partition_key=f"2024-01-0{number}")
    result = run([day, two_days], selection="two_days", partition_key="2024-01-02")
    assert result.output_for_node("two_days") == {"2024-01-01": "2024-01-01", "2024-01-02": "2024-01-02"}


def day_before(annotation):
    mapping = dg.TimeWindowPartitionMapping(start_offset=-1, end_offset=-1)

    @dg.asset(partitions_def=DAYS, ins={"running": dg.AssetIn(partition_mapping=mapping)})
    def running(running: annotation) -> int:
        return 1 if running is None else running + 1

    return running


def test_an_asset_that_depends_on_its_own_last_partition(run, store):
    for day in DAYS.get_partition_keys():
        assert run([day_before(int | None)], partition_key=day).success
    assert [store.get(key) for key in store.iterate_keys()] == [1, 2, 3]


def test_no_partition_is_no_value(run):
    with pytest.raises(CodecError, match=r"annotate int \| None"):
        run([day_before(int)], partition_key="2024-01-01")


@pytest.mark.parametrize(("shape", "wanted"), [("one", "a"), ("many", {"a": "a"})])
def test_metadata_of_an_input_decides_against_the_rules(run, shape, wanted):
    @dg.asset(partitions_def=LETTERS)
    def letter(context) -> str:
        return context.partition_key

    @dg.asset(partitions_def=LETTERS, ins={"letter": dg.AssetIn(metadata={"anystore/partitions": shape})})
    def reader(letter):
        return letter

    assert run([letter, reader], partition_key="a").output_for_node("reader") == wanted


def test_partitions_of_many_dimensions_keep_their_own_values(run, uri, instance, store):
    @dg.asset(partitions_def=GRID)
    def cell(context) -> str:
        return context.partition_key

    @dg.asset(partitions_def=dg.StaticPartitionsDefinition(["d1", "d2"]))
    def row(cell: dict[str, str]) -> list[str]:
        return sorted(cell.values())

    for day in ("d1", "d2"):
        for area in "abc":
            run([cell], partition_key=dg.MultiPartitionKey({"day": day, "area": area}))
    assert store.get("cell.partitions/b/d2.value") == "b|d2"
    assert run([cell, row], selection="row", partition_key="d2").output_for_node("row") == ["a|d2", "b|d2", "c|d2"]
    defs = dg.Definitions([cell], resources={"io_manager": AnystoreIOManager(uri=uri)})
    assert defs.load_asset_value("cell", partition_key="c|d1", instance=instance) == "c|d1"


def test_dynamic_partitions_may_have_any_name(run, uri, instance):
    names = ["https://example.org/a?b=c#d", "..", "a", "a/b", "A", "x" * 300, "ü", "n.value", " "]
    definition = dg.DynamicPartitionsDefinition(name="pages")
    instance.add_dynamic_partitions("pages", names)

    @dg.asset(partitions_def=definition)
    def page(context) -> str:
        return context.partition_key

    @dg.asset
    def pages(page: dict[str, str]) -> dict[str, str]:
        return page

    for name in names:
        result = run([page], partition_key=name)
    assert run([page, pages], selection="pages").output_for_node("pages") == {name: name for name in names}
    defs = dg.Definitions([page], resources={"io_manager": AnystoreIOManager(uri=uri)})
    assert defs.load_asset_value("page", partition_key="a/b", instance=instance) == "a/b"
    shortened = metadata_of(run([page], partition_key="x" * 300), "page")["x" * 300]
    assert "x" * 300 in shortened["anystore/shortened_from"].value
    assert "anystore/shortened_from" not in metadata_of(result, "page")[" "]


def test_a_change_to_partitions_keeps_the_older_value(run, store):
    def build(partitions_def):
        @dg.asset(partitions_def=partitions_def)
        def n() -> int:
            return 1 if partitions_def is None else 2

        @dg.asset(key=["n", "m"])
        def m() -> int:
            return 3

        return [n] if partitions_def else [n, m]

    assert run(build(None)).success
    assert run(build(LETTERS), partition_key="a").success
    assert dict(store.get_many(store.iterate_keys())) == {"n.value": 1, "n.partitions/a.value": 2, "n/m.value": 3}


@pytest.mark.parametrize("names", [["low", "middle", "high"], ["c", "a", "b"]])
def test_partitions_come_in_the_order_of_their_definition(run, names):
    @dg.asset(partitions_def=dg.StaticPartitionsDefinition(names))
    def level() -> int:
        return 1

    @dg.asset
    def levels(level: dict[str, int]) -> list[str]:
        return list(level)

    for name in names:
        run([level], partition_key=name)
    assert run([level, levels], selection="levels").output_for_node("levels") == names


# -- partitions: outputs -----------------------------------------------------------


def single_run_asset(annotation, make):
    @dg.asset(partitions_def=LETTERS, backfill_policy=dg.BackfillPolicy.single_run())
    def letters(context) -> annotation:
        return make(context.partition_keys)

    return letters


@pytest.mark.parametrize("annotation", [dict[str, str], Any])
@pytest.mark.parametrize(("first", "last"), [("a", "c"), ("b", "b")])
def test_a_run_of_many_partitions_stores_each(run, store, annotation, first, last):
    letters = single_run_asset(annotation, lambda names: {name: name * 2 for name in names})
    result = run([letters], tags=range_tags(first, last))
    names = [name for name in "abc" if first <= name <= last]
    assert dict(store.get_many(store.iterate_keys())) == {
        f"letters.partitions/{name}.value": name * 2 for name in names
    }
    found = metadata_of(result, "letters")
    assert [found[name]["anystore/key"].value for name in names] == [
        f"letters.partitions/{name}.value" for name in names
    ]
    assert len({found[name]["anystore/checksum"].value for name in names}) == len(names)


def test_an_asset_of_runs_with_many_partitions_returns_a_dict_also_for_one(run, store):
    letters = single_run_asset(dict[str, str], lambda names: dict.fromkeys(names, "v"))
    assert run([letters], partition_key="b").success
    assert store.get("letters.partitions/b.value") == "v"


@pytest.mark.parametrize(
    ("returned", "hints"),
    [
        ({"a": "1", "b": "2"}, ["no value for 'c'"]),
        ({"a": "1", "b": "2", "c": "3", "d": "4"}, ["values for 'd'"]),
        ({"a": "1", "b": "2", "x": "3"}, ["no value for 'c'", "values for 'x'"]),
        ({}, ["no value for 'a', 'b', 'c'"]),
        (None, ["returned None", "annotate -> None"]),
        ("text", ["returned a str"]),
    ],
)
def test_other_partitions_than_the_runs_are_refused_before_anything_is_written(run, store, returned, hints):
    with pytest.raises(CodecError) as caught:
        run([single_run_asset(Any, lambda _: returned)], tags=range_tags("a", "c"))
    for hint in [*hints, "nothing was written", "'letters'"]:
        assert hint in str(caught.value)
    assert list(store.iterate_keys()) == []


def test_one_value_for_many_partitions_is_refused(run, store):
    with pytest.raises(CodecError, match=r"annotate -> dict\[str, str\]"):
        run([single_run_asset(str, lambda _: "text")], tags=range_tags("a", "c"))
    assert list(store.iterate_keys()) == []


def test_one_bad_value_of_many_writes_none(run, store):
    letters = single_run_asset(Any, lambda names: {name: object() if name == "c" else 1 for name in names})
    with pytest.raises(CodecError, match="partition 'c' of asset 'letters'"):
        run([letters], tags=range_tags("a", "c"))
    assert list(store.iterate_keys()) == []


def test_a_chain_of_runs_with_many_partitions(run, store):
    letters = single_run_asset(dict[str, str], lambda names: {name: name for name in names})

    @dg.asset(partitions_def=LETTERS, backfill_policy=dg.BackfillPolicy.single_run())
    def upper(letters: dict[str, str]) -> dict[str, str]:
        return {name: value.upper() for name, value in letters.items()}

    assert run([letters, upper], tags=range_tags("a", "b")).success
    assert run([letters, upper], partition_key="c").success
    assert [store.get(f"upper.partitions/{name}.value") for name in "abc"] == ["A", "B", "C"]


def test_tables_of_many_partitions_have_their_own_row_counts(run):
    letters = single_run_asset(
        dict[str, pa.Table], lambda names: {name: pa.table({"n": [0] * (ord(name) - 96)}) for name in names}
    )
    found = metadata_of(run([letters], tags=range_tags("a", "c")), "letters")
    assert [found[name]["dagster/partition_row_count"].value for name in "abc"] == [1, 2, 3]


def test_a_backfill_of_single_runs_keeps_each_partition(run, store):
    @dg.asset(partitions_def=DAYS)
    def day(context) -> str:
        return context.partition_key

    for partition in DAYS.get_partition_keys():
        assert run([day], partition_key=partition).success
    assert [store.get(key) for key in store.iterate_keys()] == DAYS.get_partition_keys()


# -- metadata -----------------------------------------------------------------------


def test_metadata_tells_where_and_what(run, store, uri):
    @dg.asset
    def frame() -> pd.DataFrame:
        return pd.DataFrame({"n": [1, 2, 3], "name": ["a", "b", "c"]})

    found = {name: value.value for name, value in metadata_of(run([frame]), "frame")[None].items()}
    schema = found.pop("dagster/column_schema")
    assert "| `1` | `a` |" in found.pop("anystore/preview")
    assert found == {
        "dagster/uri": f"{store.uri}/frame.value",
        "dagster/row_count": 3,
        "anystore/key": "frame.value",
        "anystore/size_bytes": store.info("frame.value").size,
        "anystore/checksum": store.checksum("frame.value"),
    }
    assert (schema.columns[0].name, schema.columns[0].type) == ("n", "int64")


def test_metadata_of_the_user_stays(run):
    @dg.asset
    def frame(context) -> dg.Output[pd.DataFrame]:
        context.add_output_metadata({"anystore/size_bytes": "mine, too"})
        return dg.Output(pd.DataFrame({"n": [1]}), metadata={"dagster/row_count": 1000, "anystore/key": "mine"})

    found = metadata_of(run([frame]), "frame")[None]
    assert (found["dagster/row_count"].value, found["anystore/key"].value) == (1000, "mine")
    assert found["anystore/size_bytes"].value == "mine, too"
    assert found["anystore/checksum"].value


def test_bytes_that_only_look_like_a_table_are_stored(run, store):
    data = b"PAR1" + bytes(20) + b"PAR1"

    @dg.asset
    def download() -> bytes:
        return data

    assert "dagster/row_count" not in metadata_of(run([download]), "download")[None]
    assert store.get("download.value", serialization_mode="raw") == data


# -- ops ------------------------------------------------------------------------------


def test_outputs_of_ops_have_keys_of_their_own(uri, store, instance):
    @dg.op(out={"first": dg.Out(int), "second": dg.Out(str)})
    def make():
        yield dg.Output(1, "first")
        yield dg.Output("1", "second")

    @dg.op(out=dg.DynamicOut(int))
    def split(number: int):
        for name in ("x", "y"):
            yield dg.DynamicOutput(number + len(name), mapping_key=name)

    @dg.op
    def twice(number: int) -> int:
        return number * 2

    @dg.op
    def collect(numbers: list[int], text: str) -> str:
        return f"{numbers}{text}"

    @dg.job(resource_defs={"io_manager": AnystoreIOManager(uri=uri)})
    def job():
        first, second = make()
        collect(split(first).map(twice).collect(), second)

    results = [job.execute_in_process(instance=instance) for _ in range(2)]
    assert all(result.success for result in results)
    keys = list(store.iterate_keys())
    assert len(keys) == 2 * (2 + 2 + 2 + 1)
    for result in results:
        run_id = result.run_id
        assert store.get(f"dagster.runs/{run_id}/make/second.value", serialization_mode="text") == '"1"'
        assert store.get(f"dagster.runs/{run_id}/split/result/y.value") == 2
        assert store.get(f"dagster.runs/{run_id}/collect/result.value") == "[4, 4]1"


def failing_job():
    @dg.op
    def first() -> int:
        return 7

    @dg.op
    def second(number: int) -> int:
        if Path(os.environ["TEST_FAILS"]).exists():
            raise dg.Failure("as told")
        return number + 1

    @dg.job(resource_defs={"io_manager": AnystoreIOManager(uri=dg.EnvVar("TEST_STORE_URI"))})
    def job():
        second(first())

    return job


def test_a_run_that_goes_on_after_a_failure_finds_the_values_of_the_failed_one(tmp_path, monkeypatch):
    fails = tmp_path / "fails"
    fails.touch()
    monkeypatch.setenv("TEST_FAILS", str(fails))
    monkeypatch.setenv("TEST_STORE_URI", str(tmp_path / "values"))
    job = dg.reconstructable(failing_job)
    config = {"execution": {"config": {"in_process": {}}}}
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        with dg.execute_job(job, instance=instance, run_config=config) as result:
            failed = result.run_id
        fails.unlink()
        again = dg.ReexecutionOptions.from_failure(failed, instance)
        with dg.execute_job(job, instance=instance, run_config=config, reexecution_options=again) as result:
            assert result.success
            assert result.output_for_node("second") == 8
    keys = list(get_store(tmp_path / "values").iterate_keys())
    assert sorted(keys) == sorted(
        [f"dagster.runs/{failed}/first/result.value", f"dagster.runs/{result.run_id}/second/result.value"]
    )


# -- without a step ------------------------------------------------------------------


def test_it_works_without_a_step(uri, instance):
    manager = AnystoreIOManager(uri=uri)
    with dg.build_output_context(asset_key=["a", "b"]) as context:
        manager.handle_output(context, {"n": 1})
    with dg.build_input_context(asset_key=["a", "b"]) as context:
        assert manager.load_input(context) == {"n": 1}


def test_partitions_are_loaded_without_a_step(run, uri, instance):
    letters = single_run_asset(dict[str, str], lambda names: {name: name * 2 for name in names})
    run([letters], tags=range_tags("a", "c"))
    defs = dg.Definitions([letters], resources={"io_manager": AnystoreIOManager(uri=uri)})
    with defs.get_asset_value_loader(instance=instance) as loader:
        assert loader.load_asset_value("letters", partition_key="b") == "bb"
        assert loader.load_asset_value("letters", partition_key="b", python_type=str) == "bb"
        for first, wanted in (("b", {"b": "bb", "c": "cc"}), ("c", {"c": "cc"})):
            found = loader.load_asset_value("letters", partition_key_range=dg.PartitionKeyRange(first, "c"))
            assert found == wanted
        with pytest.raises(CodecError, match="partition_key="):
            loader.load_asset_value("letters")


# -- configuration -------------------------------------------------------------------


def test_a_store_as_a_resource(run, uri, store):
    @dg.asset
    def one() -> int:
        return 1

    manager = AnystoreIOManager(store=AnystoreResource(uri=uri, prefix="team/project"))
    assert run([one], resources={"io_manager": manager}).success
    assert list(store.iterate_keys()) == ["team/project/one.value"]


def test_a_store_that_is_configured_at_launch(uri, store, instance):
    @dg.asset
    def one() -> int:
        return 1

    files = AnystoreResource.configure_at_launch()
    resources = {"files": files, "io_manager": AnystoreIOManager(store=files)}
    config = {"resources": {"files": {"config": {"uri": uri}}}}
    assert dg.materialize([one], resources=resources, run_config=config, instance=instance).success
    assert store.get("one.value") == 1


@pytest.mark.parametrize(
    "fields",
    [{"uri": "x"}, {"prefix": "p"}, {"readonly": True}, {"backend_config": {"a": 1}}, {"serialization_mode": "json"}],
)
def test_a_store_and_its_fields_exclude_each_other(fields):
    with pytest.raises(dg.DagsterInvalidDefinitionError, match=next(iter(fields))):
        AnystoreIOManager(store=AnystoreResource(uri="memory://x"), **fields)


@pytest.mark.parametrize("wrong", ["memory://x", {"uri": "memory://x"}, 3])
def test_a_store_is_a_resource(wrong):
    with pytest.raises(dg.DagsterInvalidDefinitionError, match="AnystoreResource"):
        AnystoreIOManager(store=wrong)


def test_readonly_refuses_outputs(run, uri, store):
    @dg.asset
    def one() -> int:
        return 1

    with pytest.raises(OSError, match="read"):
        run([one], resources={"io_manager": AnystoreIOManager(uri=uri, readonly=True)})
    assert list(store.iterate_keys()) == []


# -- processes -----------------------------------------------------------------------


def multiprocess_job():
    @dg.asset
    def numbers() -> list[int]:
        return [1, 2, 3]

    @dg.asset
    def frame(numbers: list[int]) -> pd.DataFrame:
        return pd.DataFrame({"n": numbers})

    @dg.asset
    def total(frame: pl.DataFrame, numbers) -> int:
        return frame["n"].sum() + len(numbers)

    resources = {"io_manager": AnystoreIOManager(uri=dg.EnvVar("TEST_STORE_URI"))}
    job = dg.define_asset_job("all_of_them", executor_def=dg.multiprocess_executor)
    defs = dg.Definitions([numbers, frame, total], resources=resources, jobs=[job])
    return defs.resolve_job_def("all_of_them")


def test_steps_in_processes_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setenv("TEST_STORE_URI", str(tmp_path / "values"))
    job = dg.reconstructable(multiprocess_job)
    with (
        dg.DagsterInstance.local_temp(str(tmp_path)) as instance,
        dg.execute_job(job, instance=instance, raise_on_error=True) as result,
    ):
        assert result.success
    assert get_store(tmp_path / "values").get(asset_value_key(["total"])) == 9


def test_nothing_of_ours_warns(run):
    @dg.asset(partitions_def=LETTERS)
    def letter() -> int:
        return 1

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert run([letter], partition_key="a").success
