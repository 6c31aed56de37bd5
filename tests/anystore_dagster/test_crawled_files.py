"""Who loads the value of a crawl asset has its documents, and is told what is new since it saw them last."""

import json
import os
import pickle
import subprocess
import sys
import textwrap
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import dagster as dg
import pytest

from anystore import BackendError, CodecError, Store, Unsupported, crawl, get_store
from anystore.backends.wrap import ReadonlyBackend
from anystore.crawling.records import Record, write_record
from anystore_dagster import AnystoreIOManager, FileCollection, PartitionStream, crawl_asset
from anystore_dagster.seen_runs import SEEN
from anystore_dagster.values.crawls import CrawledFiles, CrawlManifest, crawled_files, open_crawl
from anystore_dagster.values.file_collections import SeenRun
from anystore_dagster.values.known_stores import Places
from tests.redis_servers import redis_program, running

SECRET = "hunter2-and-more"
LETTERS = dg.StaticPartitionsDefinition(["x", "y"])


class Setting:
    """A listing, a crawl asset of it, and assets that load its documents, on one instance."""

    def __init__(self, path, instance):
        self.path = path
        self.instance = instance
        self.source = get_store(path / "source")
        self.target = get_store(path / "target")
        self.values = get_store(path / "values")
        self.resources = {"io_manager": AnystoreIOManager(uri=str(path / "values"))}
        self.files = crawl_asset("files", self.source, str(path / "target"))
        self.seen = []

    def crawl(self, **changes):
        """Change the listing, and materialize the crawl; None takes a document away."""
        for key, text in changes.items():
            if text is None:
                self.source.delete(key)
            else:
                self.source.put(key, text)
        assert dg.materialize([self.files], resources=self.resources, instance=self.instance).success

    def look(self, files):
        """Remember what a consumer is told."""
        self.seen.append({name: keys(getattr(files, name)) for name in ("new", "changed", "gone")})

    def run(self, consumer, *, check=True, **options):
        """Materialize a consumer, without the crawl, and give what it was told."""
        result = dg.materialize(
            [consumer, self.files], selection=[consumer], resources=self.resources, instance=self.instance,
            raise_on_error=check, **options,
        )  # fmt: skip
        assert result.success is check
        return self.seen[-1]

    @property
    def consumer(self):
        """Give an asset that stores nothing."""

        @dg.asset
        def consumer(files: FileCollection) -> None:
            self.look(files)

        return consumer


def keys(documents):
    assert len(documents) == len(list(documents))
    return "".join(document.key for document in documents)


def told(new="", changed="", gone=""):
    return {"new": new, "changed": changed, "gone": gone}


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def setting(tmp_path, instance):
    return Setting(tmp_path, instance)


def shown_of(setting, name):
    return setting.instance.get_latest_materialization_event(dg.AssetKey(name)).asset_materialization.metadata


# -- what is new --------------------------------------------------------------------


def test_three_crawls_between_two_runs_lose_nothing(setting):
    setting.crawl(a="1", b="1", c="1", d="1")
    assert setting.run(setting.consumer) == told(new="abcd")
    assert setting.run(setting.consumer) == told()
    setting.crawl(e="1", b="22")
    setting.crawl(f="1", c=None)
    setting.crawl(g="1", a="333")
    assert setting.run(setting.consumer) == told(new="efg", changed="ab", gone="c")
    assert setting.run(setting.consumer) == told()


def test_a_run_of_both_is_told_what_its_own_crawl_has_brought(setting):
    for changes in ({"a": "1"}, {"b": "1"}):
        setting.source.put_many(changes)
        both = [setting.files, setting.consumer]
        assert dg.materialize(both, resources=setting.resources, instance=setting.instance).success
    assert setting.seen == [told(new="a"), told(new="b")]


def test_what_came_and_went_in_between_is_not_told(setting):
    setting.crawl(a="1", b="1")
    setting.run(setting.consumer)
    setting.crawl(c="1", a=None)
    setting.crawl(c=None, a="1", b="22")
    assert setting.run(setting.consumer) == told(new="a", changed="b")
    setting.crawl(b="22")
    assert setting.run(setting.consumer) == told()


def test_a_run_that_fails_has_seen_nothing(setting):
    setting.crawl(a="1")
    broken = []

    @dg.asset
    def consumer(files: FileCollection) -> int:
        setting.look(files)
        if broken:
            raise dg.Failure("on the way")
        return len(files)

    assert setting.run(consumer) == told(new="a")
    setting.crawl(b="1")
    broken.append(True)
    assert setting.run(consumer, check=False) == told(new="b")
    setting.crawl(c="1")
    assert setting.run(consumer, check=False) == told(new="bc")
    broken.clear()
    assert setting.run(consumer) == told(new="bc")
    assert setting.run(consumer) == told()


def test_a_step_that_is_tried_again_is_told_the_same(setting):
    @dg.asset(retry_policy=dg.RetryPolicy(max_retries=1))
    def consumer(context: dg.AssetExecutionContext, files: FileCollection) -> None:
        setting.look(files)
        if context.retry_number == 0:
            raise OSError("on the way")

    setting.crawl(a="1")
    setting.run(consumer)
    setting.crawl(b="1")
    setting.run(consumer)
    assert setting.seen == [told(new="a")] * 2 + [told(new="b")] * 2


def test_a_crawl_that_fails_does_not_hide_what_it_fetched(setting, tmp_path, instance):
    setting.crawl(a="1")
    setting.run(setting.consumer)
    setting.source.put("b", "1")
    crawl(setting.source, setting.target)  # whose manifest was never stored
    assert setting.run(setting.consumer) == told()
    setting.crawl(c="1")
    assert setting.run(setting.consumer) == told(new="bc")


def test_a_crawl_that_ends_while_the_consumer_runs_is_for_the_next_time(setting):
    @dg.asset
    def consumer(files: FileCollection) -> None:
        if not setting.seen:
            setting.crawl(a="22", b="1")
        setting.look(files)

    setting.crawl(a="1", c="1")
    setting.run(consumer)
    setting.run(consumer)
    # `a` is in the second: its bytes are of the crawl that the first did not load
    assert setting.seen == [told(new="ac"), told(new="b", changed="a")]


def test_each_consumer_has_seen_what_it_has_seen(setting):
    @dg.asset
    def other(files: FileCollection) -> dg.MaterializeResult:
        setting.look(files)
        return dg.MaterializeResult(metadata={"mine": 1})

    setting.crawl(a="1")
    setting.run(setting.consumer)
    setting.crawl(b="1")
    assert setting.run(other) == told(new="ab")
    assert setting.run(setting.consumer) == told(new="b")
    setting.crawl(c="1")
    assert setting.run(other) == told(new="c")
    assert (
        setting.instance.get_latest_materialization_event(other.key).asset_materialization.metadata["mine"].value == 1
    )


def test_the_note_is_shown(setting):
    setting.crawl(a="1")
    setting.run(setting.consumer)
    note = shown_of(setting, "consumer")[SEEN].value["files"][""]
    assert note["run"] == 1
    version = setting.instance.get_latest_materialization_event(setting.files.key).asset_materialization.tags
    assert note["root"] == version["dagster/data_version"]


def test_partitions_have_seen_what_they_have_seen(setting):
    @dg.asset(partitions_def=LETTERS, backfill_policy=dg.BackfillPolicy.single_run())
    def consumer(files: FileCollection) -> None:
        setting.look(files)

    setting.crawl(a="1")
    assert setting.run(consumer, partition_key="x") == told(new="a")
    setting.crawl(b="1")
    assert setting.run(consumer, partition_key="y") == told(new="ab")
    setting.crawl(c="1")
    assert setting.run(consumer, partition_key="x") == told(new="bc")
    setting.crawl(d="1")
    both = {"dagster/asset_partition_range_start": "x", "dagster/asset_partition_range_end": "y"}
    assert setting.run(consumer, tags=both) == told(new="cd")  # of y, which has seen least
    assert setting.run(consumer, partition_key="x") == told()


def test_a_multi_asset_goes_back_to_the_oldest_of_those_that_run(setting):
    @dg.multi_asset(
        specs=[dg.AssetSpec("one", deps=["files"]), dg.AssetSpec("two", deps=["files"]), dg.AssetSpec("three")],
        ins={"files": dg.AssetIn("files")},
        can_subset=True,
    )
    def several(context: dg.AssetExecutionContext, files: FileCollection):
        setting.look(files)
        for key in sorted(context.selected_asset_keys):
            yield dg.MaterializeResult(asset_key=key)

    def run(*names):
        result = dg.materialize(
            [several, setting.files], selection=list(names), resources=setting.resources, instance=setting.instance
        )
        assert result.success
        return setting.seen[-1]

    setting.crawl(a="1")
    assert run("one", "two", "three") == told(new="a")
    setting.crawl(b="1")
    assert run("one") == told(new="b")
    setting.crawl(c="1")
    assert run("one", "two") == told(new="bc")
    assert run("one", "two", "three") == told()


def test_whoever_marks_it_as_materialized_has_seen_nothing(setting):
    setting.crawl(a="1")
    setting.run(setting.consumer)
    setting.crawl(b="1")
    setting.instance.report_runless_asset_event(dg.AssetMaterialization("consumer"))
    assert setting.run(setting.consumer) == told(new="b")


def test_an_asset_that_was_wiped_begins_anew(setting):
    setting.crawl(a="1")
    setting.run(setting.consumer)
    setting.instance.wipe_assets([dg.AssetKey("consumer")])
    assert setting.run(setting.consumer) == told(new="a")


def test_a_new_journal_makes_all_of_it_new(setting):
    setting.crawl(a="1")
    setting.crawl(b="1")
    setting.crawl(c="1")
    setting.run(setting.consumer)
    for name in (setting.path / "target/.anystore/crawl").iterdir():
        name.unlink()
    setting.crawl(d="1")
    setting.crawl(e="1")
    assert setting.run(setting.consumer) == told(new="abcde")


def test_documents_of_an_earlier_journal_format_are_not_lost(setting):
    """Lines that do not say since when a value is there."""
    setting.crawl(a="1", b="1")
    for name in (setting.path / "target/.anystore/crawl").glob("*.jsonl"):
        lines = [json.loads(line) for line in name.read_text().splitlines()]
        for line in lines:
            line.pop("added", None)
            line.pop("changed", None)
        name.write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines))
    assert setting.run(setting.consumer) == told(new="ab")
    setting.crawl(a="22", b=None)
    assert setting.run(setting.consumer) == told(changed="a", gone="b")


def test_without_an_asset_that_loads_it_all_is_new(setting):
    setting.crawl(a="1")
    setting.crawl(b="1", a="22")

    @dg.op
    def look(files: FileCollection):
        setting.look(files)

    @dg.job(resource_defs=setting.resources)
    def looking():
        look(setting.files.to_source_asset("files"))

    assert looking.execute_in_process(instance=setting.instance).success
    defs = dg.Definitions([setting.files], resources=setting.resources)
    files = defs.load_asset_value("files", instance=setting.instance)
    setting.look(files)
    assert setting.seen == [told(new="ab")] * 2


def test_in_a_graph_asset_all_is_new(setting):
    @dg.op
    def load(files: FileCollection) -> int:
        setting.look(files)
        return len(files)

    @dg.op
    def double(number: int) -> int:
        return 2 * number

    @dg.graph_asset
    def consumer(files):
        return double(load(files))

    setting.crawl(a="1")
    setting.run(consumer)
    assert setting.run(consumer) == told(new="a")


def test_a_check_can_load_it(setting):
    @dg.asset_check(asset=setting.files)
    def any_there(files: FileCollection) -> dg.AssetCheckResult:
        setting.look(files)
        return dg.AssetCheckResult(passed=len(files) > 0)

    setting.source.put("a", "1")
    result = dg.materialize([setting.files, any_there], resources=setting.resources, instance=setting.instance)
    assert result.success
    assert setting.seen == [told(new="a")]


def test_a_crawl_by_partition_is_followed_by_partition(tmp_path, instance):
    """As an asset of somebody's own makes it, with a store for each partition."""
    stores = {name: (get_store(tmp_path / "from" / name), get_store(tmp_path / "to" / name)) for name in "xy"}
    resources = {"io_manager": AnystoreIOManager(uri=str(tmp_path / "values"))}
    seen = []

    @dg.asset(partitions_def=LETTERS)
    def files(context: dg.AssetExecutionContext) -> FileCollection:
        source, target = stores[context.partition_key]
        return crawled_files("files", crawl(source, target), Places(target))

    @dg.asset
    def by_name(files: dict[str, FileCollection]) -> None:
        seen.append({name: keys(one.new) for name, one in files.items()})

    class Streamed(PartitionStream):
        item = FileCollection

    @dg.asset
    def streamed(files: Streamed) -> None:
        seen.append({name: keys(one.new) for name, one in files})

    def run(*assets, **options):
        selected = [one.key for one in assets]
        assert dg.materialize(
            [files, by_name, streamed], selection=selected, resources=resources, instance=instance, **options
        ).success

    for name in "xy":
        stores[name][0].put(f"a{name}", "1")
        run(files, partition_key=name)
    run(by_name)
    run(streamed)
    stores["x"][0].put("bx", "1")
    run(files, partition_key="x")
    run(by_name)
    run(streamed)
    assert seen == [{"x": "ax", "y": "ay"}] * 2 + [{"x": "bx", "y": ""}] * 2


# -- what it is -----------------------------------------------------------------------


@pytest.fixture
def loaded(setting):
    setting.crawl(a="one", b="two", c="three", d="four")
    setting.crawl(a=None)
    files = dg.Definitions([setting.files], resources=setting.resources).load_asset_value(
        "files", instance=setting.instance
    )
    assert isinstance(files, CrawledFiles)
    return files


def test_its_items_are_documents(loaded, setting):
    assert [document.key for document in loaded] == ["b", "c", "d"]
    document = next(iter(loaded))
    assert (document.size, document.status, document.run) == (3, "ok", 1)
    with document.open() as file:
        assert file.read() == b"two"
    assert loaded["c"].open("r").read() == "three"
    assert len(loaded) == 3
    assert list(loaded.keys()) == ["b", "c", "d"]
    assert [one.size for one in loaded.values()] == [3, 5, 4]
    assert dict(loaded.items())["d"].size == 4
    assert "a" not in loaded
    assert document in loaded
    assert loaded.get("a") is None
    with pytest.raises(KeyError):
        loaded["a"]
    assert "3 documents" in repr(loaded.new)
    assert "run 2" in repr(loaded)
    with loaded.local_folder() as folder:
        assert {one.name: one.read_text() for one in folder.iterdir()} == {"b": "two", "c": "three", "d": "four"}


def test_what_could_not_be_fetched_anew_is_still_there(setting):
    setting.crawl(sour="1", b="1")
    setting.run(setting.consumer)
    setting.files = crawl_asset("files", Store(Sour(setting.source.backend)), str(setting.path / "target"))
    setting.crawl(sour="22", c="1")
    assert setting.run(setting.consumer) == told(new="c")
    files = setting_files(setting)
    assert [(document.key, document.status) for document in files] == [("b", "ok"), ("c", "ok"), ("sour", "error")]
    assert files["sour"].open("r").read() == json.dumps("1")
    setting.files = crawl_asset("files", setting.source, str(setting.path / "target"))
    setting.crawl()
    assert setting.run(setting.consumer) == told(changed="sour")


class Sour(ReadonlyBackend):
    """A store of which a document cannot be read."""

    def reader(self, key):
        if key == "sour":
            raise BackendError("it has gone off")
        return super().reader(key)


def setting_files(setting):
    return dg.Definitions([setting.files], resources=setting.resources).load_asset_value(
        "files", instance=setting.instance
    )


def test_its_manifest_is_small_and_plain(loaded, setting):
    stored = setting.values.get("files.value")
    assert stored["kind"] == "anystore.crawl"
    assert (stored["run"], stored["store"], stored["journal"]) == (2, setting.target.uri, None)
    assert stored["counts"]["documents"] == 3

    @dg.asset
    def counted(files: dict) -> int:
        return files["counts"]["gone"]

    @dg.asset
    def whatever(files):
        return type(files).__name__

    result = dg.materialize(
        [counted, whatever, setting.files], selection=[counted, whatever], resources=setting.resources,
        instance=setting.instance,
    )  # fmt: skip
    assert (result.output_for_node("counted"), result.output_for_node("whatever")) == (1, "CrawledFiles")


def test_it_can_be_handed_on(loaded, setting):
    @dg.asset
    def selected(files: FileCollection) -> FileCollection:
        return files

    setting.run_result = dg.materialize(
        [selected, setting.files], selection=[selected], resources=setting.resources, instance=setting.instance
    )
    assert setting.values.get("selected.value") == setting.values.get("files.value")


def test_threads_share_it(loaded):
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: ("".join(loaded.keys()), loaded["b"].size, len(loaded.new)), range(50)))
    assert set(found) == {("bcd", 3, 3)}


def test_it_goes_to_other_processes_without_the_store(loaded):
    seen = loaded.since(SeenRun(1, "x"))
    data = pickle.dumps(seen)
    copy = pickle.loads(data)
    assert copy == seen != loaded
    assert [document.key for document in copy] == ["b", "c", "d"]
    assert loaded != 3


def test_it_can_be_counted_from_a_run_by_hand(setting):
    setting.crawl(a="1")
    before = setting_files(setting)
    setting.crawl(b="1")
    after = setting_files(setting)
    assert keys(after.new) == "ab"
    assert keys(after.since(before.run).new) == "b"
    assert keys(after.since(SeenRun(1, "another journal")).new) == "ab"


def test_documents_of_another_source_are_not_its_own(setting, tmp_path):
    other = get_store(tmp_path / "other")
    other.put("z", "1")
    setting.crawl(a="1")
    crawl(other, setting.target)
    setting.crawl(b="1")
    assert keys(setting_files(setting)) == "ab"


def test_other_files_know_of_no_runs():
    files = FileCollection({"a": b"1"})
    for name in ("new", "changed", "gone", "run"):
        with pytest.raises(Unsupported, match="crawl asset"):
            getattr(files, name)
    with pytest.raises(Unsupported, match="crawl asset"):
        files.since(None)


@pytest.mark.parametrize("content", [{}, {"run": "x"}, {"asset": "a", "source": "s", "store": "t", "run": 1}])
def test_a_damaged_manifest_is_refused(content):
    with pytest.raises(CodecError, match="damaged"):
        open_crawl(content)


def test_a_journal_that_is_gone_is_said_so(tmp_path):
    for store, told in [("memory://written-elsewhere", r"seen only in the process"), (str(tmp_path), "or a new one")]:
        content = {"asset": "papers", "source": "./a", "store": store, "run": 3, "root": "0"}
        with pytest.raises(CodecError, match=f"does not know the crawl that 'papers' speaks of, run 3: .*{told}"):
            len(open_crawl(content))


@pytest.mark.alone
def test_memory_does_not_grow_with_the_documents(tmp_path):
    target = get_store(tmp_path)
    target.put("x", "1")
    source = get_store(f"memory://{tmp_path.name}")
    report = crawl(source, target)
    now = datetime(2026, 11, 23, tzinfo=UTC)
    segment = tmp_path / ".anystore/crawl/00000002-00000000.jsonl"
    with segment.open("wb") as file:
        for number in range(100_000):
            key = f"folder {number % 100}/document {number}.pdf"
            record = Record(
                key=key, source=source.uri, url=f"memory://x/{key}", status="ok", size=10, sha256="0" * 64,
                first_seen=now, seen=now, fetched=now, run=1, added=1, changed=1,
            )  # fmt: skip
            file.write(write_record(record) + b"\n")
    head = tmp_path / ".anystore/crawl/journal.json"
    content = json.loads(head.read_text())
    content["segments"].append(segment.stem)
    head.write_text(json.dumps(content))
    manifest = CrawlManifest(asset="a", source=source.uri, store=target.uri, run=1, root=report.root)
    files = CrawledFiles(manifest, places=Places(target))
    tracemalloc.start()
    try:
        assert sum(document.size for document in files) == 1_000_000
        assert len(files.new) == 100_000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 10 << 20


# -- where its store is ---------------------------------------------------------------

CRAWLING = """
    import os
    import dagster as dg
    from anystore_dagster import AnystoreIOManager, AnystoreResource, FileCollection, crawl_asset

    files = crawl_asset(
        "files",
        AnystoreResource(uri=dg.EnvVar("TEST_SOURCE")),
        AnystoreResource(uri=dg.EnvVar("TEST_REDIS"), password=dg.EnvVar("TEST_PASSWORD"), prefix="documents"),
        key_prefix="raw",
    )

    @dg.asset(ins={"files": dg.AssetIn(["raw", "files"])})
    def texts(files: FileCollection) -> list[str]:
        return [document.open("r").read() for document in files.new]

    @dg.asset
    def process() -> int:
        return os.getpid()

    defs = dg.Definitions(
        [files, texts, process],
        resources={"io_manager": AnystoreIOManager(uri=dg.EnvVar("TEST_VALUES"))},
        executor=dg.multiprocess_executor,
    )
"""
ELSEWHERE = """
    import dagster as dg
    from anystore_dagster import AnystoreIOManager, AnystoreResource, FileCollection

    @dg.asset(ins={"files": dg.AssetIn(["raw", "files"])})
    def texts(files: FileCollection) -> list[str]:
        return [document.open("r").read() for document in files.new]

    @dg.asset(ins={"files": dg.AssetIn(["raw", "files"])})
    def own(files: FileCollection, store: AnystoreResource) -> list[str]:
        return [document.open("r").read() for document in files.at(store.store).new]

    defs = dg.Definitions(
        [texts, own, dg.AssetSpec(["raw", "files"])],
        resources={
            "io_manager": AnystoreIOManager(uri=dg.EnvVar("TEST_VALUES")),
            "store": AnystoreResource(
                uri=dg.EnvVar("TEST_REDIS"), password=dg.EnvVar("TEST_PASSWORD"), prefix="documents"
            ),
        },
    )
"""


def run_elsewhere(path, code, *names, **variables):
    """Materialize assets as the command line does, each step in a process of its own."""
    file = path / "definitions_of_test.py"
    file.write_text(textwrap.dedent(code))
    home = path / "home"
    home.mkdir(exist_ok=True)
    (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    return subprocess.run(
        [sys.executable, "-m", "dagster", "asset", "materialize", "-f", file, "--select", ",".join(names)],
        cwd=path, check=False, capture_output=True, text=True,
        env=os.environ | {"DAGSTER_HOME": str(home)} | variables,
    )  # fmt: skip


@pytest.fixture
def variables(tmp_path):
    with running(redis_program(), "--requirepass", SECRET) as server:
        yield {
            "TEST_SOURCE": str(tmp_path / "source"),
            "TEST_REDIS": f"redis://127.0.0.1:{server.port}/0",
            "TEST_PASSWORD": SECRET,
            "TEST_VALUES": str(tmp_path / "values"),
        }


def test_its_store_is_found_in_other_processes_and_elsewhere(tmp_path, variables):
    get_store(tmp_path / "source").put("a", "one")
    values = get_store(tmp_path / "values")
    done = run_elsewhere(tmp_path, CRAWLING, "raw/files", "texts", **variables)
    assert done.returncode == 0, done.stderr
    assert values.get("texts.value") == ["one"]
    get_store(tmp_path / "source").put("b", "two")
    # a job of the crawl, one of the consumer alone, and then one of code that does not know the crawl
    assert run_elsewhere(tmp_path, CRAWLING, "raw/files", **variables).returncode == 0
    done = run_elsewhere(tmp_path, CRAWLING, "texts", **variables)
    assert done.returncode == 0, done.stderr
    assert values.get("texts.value") == ["two"]
    # no credential goes where a manifest says
    done = run_elsewhere(tmp_path, ELSEWHERE, "own", "texts", **variables)
    assert values.get("own.value") == ["one", "two"]
    assert done.returncode != 0
    assert "files.at(store)" in done.stderr + done.stdout
    stored = "".join(values.get(key, serialization_mode="text") for key in values.iterate_keys())
    shown = done.stderr + done.stdout + stored
    assert SECRET not in shown


def test_a_plain_address_works_elsewhere(tmp_path):
    code = """
        import dagster as dg
        from anystore_dagster import AnystoreIOManager, FileCollection, crawl_asset

        files = crawl_asset("files", "./source", "./target", key_prefix="raw")
        defs = dg.Definitions([files], resources={"io_manager": AnystoreIOManager(uri="./values")})
    """
    get_store(tmp_path / "source").put("a", "one")
    done = run_elsewhere(tmp_path, code, "raw/files")
    assert done.returncode == 0, done.stderr
    other = tmp_path / "other folder"
    other.mkdir()
    variables = dict.fromkeys(("TEST_REDIS", "TEST_PASSWORD"), "x") | {"TEST_VALUES": str(tmp_path / "values")}
    done = run_elsewhere(other, ELSEWHERE, "texts", **variables)
    assert done.returncode == 0, done.stderr
    assert get_store(tmp_path / "values").get("texts.value") == ["one"]
