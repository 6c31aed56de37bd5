"""A sensor asks for a run for each new or changed document: once, whatever is killed, and never too much at a time."""

import random
import tempfile
import threading
import time
import uuid
from functools import cache

import dagster as dg
import pytest
from dagster._core.instance import InstanceRef
from hypothesis import given, settings
from hypothesis import strategies as st

from anystore import get_store
from anystore.backends.wrap import ReadonlyBackend
from anystore.errors import BackendError, InvalidKey, InvalidOption, InvalidUri, ReadOnlyError
from anystore.store import Store
from anystore_dagster import AnystoreResource, CrawlPartitions, listing_sensor
from anystore_dagster.listing_memory import ListingMemory


def new_store():
    return get_store(f"memory://{uuid.uuid4().hex}")


@cache
def any_reference():
    """Give the reference without which Dagster asks no instance for its partitions."""
    return InstanceRef.from_dir(tempfile.gettempdir())


class Flawed(ReadonlyBackend):
    """A store that can be told to break off its listing, or to take its time."""

    breaks_before = None
    stands_before = None

    def __init__(self, inner):
        super().__init__(inner)
        self.goes_on = threading.Event()

    def scan(self, prefix="", after=None):
        for entry in super().scan(prefix, after):
            if entry.key == self.breaks_before:
                raise BackendError("the server has hung up")
            if entry.key == self.stands_before:
                self.goes_on.wait(60)
            yield entry


class Deployment:
    """What the daemon does with a sensor: it keeps a cursor, partitions and runs by their keys."""

    def __init__(self, sensor, *assets, jobs=()):
        self.sensor = sensor
        self.instance = dg.DagsterInstance.ephemeral()
        self.repository = dg.Definitions(assets=assets, jobs=jobs, sensors=[sensor]).get_repository_def()
        self.cursor = None
        self.runs = {}

    def evaluate(self):
        with dg.build_sensor_context(
            instance=self.instance,
            instance_ref=any_reference(),
            cursor=self.cursor,
            repository_def=self.repository,
            sensor_name=self.sensor.name,
        ) as context:
            return self.sensor.evaluate_tick(context)

    def take(self, answer, *, most=None, commits=True):
        """Do what the sensor asks for, up to some point."""
        for request in answer.dynamic_partitions_requests:
            for partition in request.partition_keys:
                if isinstance(request, dg.AddDynamicPartitionsRequest):
                    self.instance.add_dynamic_partitions(request.partitions_def_name, [partition])
                else:
                    self.instance.delete_dynamic_partition(request.partitions_def_name, partition)
        for request in answer.run_requests[:most]:
            self.runs.setdefault(request.run_key, request)
        if commits:
            self.cursor = answer.cursor
        return answer

    def tick(self):
        return self.take(self.evaluate())

    def partitions(self, name):
        return self.instance.get_dynamic_partitions(name)

    def settle(self):
        """Tick until nothing is asked for and the cursor stays."""
        asked = []
        while True:
            before = self.cursor
            answer = self.tick()
            asked += answer.run_requests
            if not answer.run_requests and self.cursor == before:
                return asked


def document_sensor(source, *, state=None, **options):
    documents = CrawlPartitions.documents("documents")

    @dg.asset(partitions_def=documents.definition)
    def papers(context): ...

    sensor = listing_sensor("s", source, state or new_store(), target=papers, partitions=documents, **options)
    return Deployment(sensor, papers)


def keys_of(requests):
    return [request.tags["anystore/key"] for request in requests]


def test_each_document_once_and_again_when_it_changes():
    source = new_store()
    source.put_many({"b.txt": "1", "a/c, d.txt": "2"})
    deployment = document_sensor(source)
    asked = deployment.tick().run_requests
    assert [(one.partition_key, one.tags["anystore/change"]) for one in asked] == [
        ("a%2Fc%2C d.txt", "new"),
        ("b.txt", "new"),
    ]
    assert asked[0].tags["anystore/url"] == source.backend.locate("a/c, d.txt")
    assert deployment.partitions("documents") == ["a%2Fc%2C d.txt", "b.txt"]
    answer = deployment.tick()
    assert not answer.run_requests
    assert answer.skip_message == "2 documents are listed, and there is nothing to ask for"
    source.put("b.txt", "changed")
    (again,) = deployment.tick().run_requests
    assert (again.partition_key, again.tags["anystore/change"]) == ("b.txt", "changed")
    assert deployment.settle() == []


def test_a_document_that_is_as_it_was_before_a_change_is_another_one():
    source = new_store()
    deployment = document_sensor(sizes_only(source))
    for text in ("one", "other", "one", "other"):
        source.put("a.txt", text)
        assert keys_of(deployment.settle()) == ["a.txt"]
    assert len(deployment.runs) == 4


def sizes_only(store):
    """Give a store that tells no more than sizes, so that what it shows comes back."""

    class Backend(ReadonlyBackend):
        def scan(self, prefix="", after=None):
            for entry in super().scan(prefix, after):
                yield type(entry)(entry.key, entry.size, None)

    return Store(Backend(store.backend))


def test_a_tick_asks_for_no_more_than_it_may_and_the_next_one_goes_on():
    source = new_store()
    source.put_many({f"{number:03d}.txt": "x" for number in range(25)})
    deployment = document_sensor(source, max_requests=10)
    first = deployment.tick()
    assert (len(first.run_requests), len(deployment.partitions("documents"))) == (10, 10)
    # before the place where the walk stands, and behind it
    source.put_many({"000 late.txt": "x", "018 late.txt": "x"})
    counts = [len(deployment.tick().run_requests) for _ in range(5)]
    assert counts == [10, 6, 1, 0, 0]
    assert len(deployment.runs) == 27


def test_an_answer_that_is_lost_is_given_again():
    source = new_store()
    source.put_many({f"{number:03d}.txt": "x" for number in range(25)})
    deployment = document_sensor(source, max_requests=10)
    for _ in range(3):
        lost, again, taken = deployment.evaluate(), deployment.evaluate(), deployment.tick()
        keys = [[one.run_key for one in answer.run_requests] for answer in (lost, again, taken)]
        assert keys[0] == keys[1] == keys[2] != []
    assert len(deployment.runs) == 25


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**9))
def test_whatever_is_lost_between_sensor_and_daemon(seed):
    """Each version of a document that stays is asked for, and under one key."""
    chance = random.Random(seed)
    source, versions = new_store(), {}
    deployment = document_sensor(
        source,
        max_requests=chance.randint(1, 4),
        remove_partitions=True,
        request_for=lambda document: dg.RunRequest(tags={"shown": document.shown}),
    )
    names = [f"{folder}{name}" for folder in ("", "a/", "b/c/") for name in "uvw"]
    for _ in range(chance.randint(1, 12)):
        for name in chance.sample(names, chance.randint(0, 3)):
            if chance.random() < 0.3 and name in versions:
                source.delete(name)
                del versions[name]
            else:
                source.put(name, str(chance.random()))
                versions[name] = source.info(name).version
        answer = deployment.evaluate()
        match chance.choice(["lost", "half", "taken", "taken"]):
            case "half":
                deployment.take(answer, most=chance.randint(0, len(answer.run_requests)), commits=False)
            case "taken":
                deployment.take(answer)
    deployment.settle()
    assert set(deployment.partitions("documents")) >= {name.replace("/", "%2F") for name in versions}
    asked = [one.run_key for one in deployment.runs.values()]
    shown = [(one.tags["anystore/key"], one.tags["shown"]) for one in deployment.runs.values()]
    # no version is asked for twice, and of each document the last one was
    assert len(set(shown)) == len(shown) == len(set(asked))
    assert {(name, f"{source.info(name).size} {version}") for name, version in versions.items()} <= set(shown)


def test_two_evaluations_at_a_time_harm_nobody():
    """One that Dagster has given up goes on, and ends after the next one has."""
    source = new_store()
    source.put_many({f"{number:03d}.txt": "x" for number in range(30)})
    deployment = document_sensor(source, max_requests=10)
    deployment.tick()
    slow = threading.Thread(target=deployment.evaluate)
    taken = deployment.evaluate()
    slow.start()
    slow.join()
    deployment.take(taken)
    deployment.settle()
    assert len(deployment.runs) == 30


def folder_sensor(source, **options):
    folders = CrawlPartitions.folders("folders")

    @dg.asset(partitions_def=folders.definition)
    def papers(context): ...

    return Deployment(listing_sensor("s", source, new_store(), target=papers, partitions=folders, **options), papers)


def test_a_run_for_each_folder_that_has_changed():
    source = new_store()
    source.put_many({"2023/a": "1", "2023/b": "1", "2024/x/c": "1", "top": "1"})
    deployment = folder_sensor(source, remove_partitions=True)
    asked = deployment.tick().run_requests
    assert [(one.partition_key, one.tags["anystore/documents"]) for one in asked] == [
        ("2023", "2"),
        ("2024", "1"),
        ("(root)", "1"),
    ]
    assert set(deployment.partitions("folders")) == {"2023", "2024", "(root)"}
    source.put("2024/x/c", "2")
    source.delete("2023/a")
    assert [one.partition_key for one in deployment.settle()] == ["2024"]
    source.delete("2023/b")
    assert deployment.settle() == []
    assert set(deployment.partitions("folders")) == {"2024", "(root)"}
    source.put("2023/a", "1")
    assert [one.partition_key for one in deployment.settle()] == ["2023"]


def test_partitions_stay_unless_they_are_to_be_removed():
    source = new_store()
    source.put_many({"2023/a": "1", "2024/a": "1"})
    for deployment in (folder_sensor(source), document_sensor(source)):
        (name,) = names_of_partitions(deployment)
        deployment.settle()
        source.delete("2023/a")
        deployment.settle()
        assert len(deployment.partitions(name)) == 2
        source.put("2023/a", "1")


def names_of_partitions(deployment):
    return [one.partitions_def.name for one in deployment.repository.assets_defs_by_key.values()]


def test_more_folders_than_a_tick_may_ask_for():
    source = new_store()
    source.put_many({f"{number:02d}/{name}": "1" for number in range(25) for name in "ab"})
    deployment = folder_sensor(source, max_requests=4)
    counts = []
    while sum(counts) < 25:
        lost, taken = deployment.evaluate(), deployment.tick()
        assert [one.run_key for one in lost.run_requests] == [one.run_key for one in taken.run_requests]
        counts.append(len(taken.run_requests))
        assert len(counts) < 20
    assert max(counts) <= 4
    assert sorted(one.partition_key for one in deployment.runs.values()) == [f"{number:02d}" for number in range(25)]
    assert deployment.settle() == []


def test_buckets_have_fixed_partitions():
    source = new_store()
    source.put_many({f"{number}": "1" for number in range(200)})
    buckets = CrawlPartitions.buckets(10)

    @dg.asset(partitions_def=buckets.definition)
    def papers(context): ...

    sensor = listing_sensor("s", source, new_store(), target=papers, partitions=buckets, max_requests=7)
    deployment = Deployment(sensor, papers)
    answers = [deployment.tick() for _ in range(3)]
    assert [len(one.run_requests) for one in answers] == [7, 3, 0]
    assert all(not one.dynamic_partitions_requests for one in answers)
    source.put("5", "2")
    assert [one.partition_key for one in deployment.settle()] == [buckets.partition_of("5")]


def test_without_partitions_one_run_for_all_that_a_walk_has_found():
    source = new_store()
    source.put_many({"a": "1", "b": "1"})

    @dg.asset
    def papers(): ...

    deployment = Deployment(listing_sensor("s", source, new_store(), target=papers), papers)
    first = deployment.tick().run_requests
    assert [(one.partition_key, one.tags["anystore/documents"]) for one in first] == [(None, "2")]
    source.put("a", "2")
    second = deployment.settle()
    assert len(second) == 1
    assert first[0].run_key != second[0].run_key


def test_a_job_with_configuration_for_each_document():
    source = new_store()
    source.put_many({"a": "1", "b": "1"})

    class Wanted(dg.Config):
        key: str

    @dg.op
    def fetch(config: Wanted): ...

    @dg.job
    def one_document():
        fetch()

    def request(document):
        return dg.RunRequest(
            run_key="mine",
            run_config={"ops": {"fetch": {"config": {"key": document.key}}}},
            tags={"size": str(document.size)},
        )

    sensor = listing_sensor("s", source, new_store(), target=one_document, request_for=request, tags={"team": "data"})
    asked = Deployment(sensor, jobs=[one_document]).settle()
    assert [one.run_config["ops"]["fetch"]["config"]["key"] for one in asked] == ["a", "b"]
    assert [(one.tags["size"], one.tags["team"], one.tags["anystore/key"]) for one in asked] == [
        ("3", "data", "a"),
        ("3", "data", "b"),
    ]
    assert len({one.run_key for one in asked} - {"mine"}) == 2

    wrong = listing_sensor("s", source, new_store(), target=one_document, request_for=lambda document: document.key)
    with pytest.raises(InvalidOption, match="RunRequest for each document, not str"):
        Deployment(wrong, jobs=[one_document]).evaluate()


def test_what_was_there_before_is_passed_over_if_that_is_asked_for():
    source = new_store()
    source.put_many({"a": "1", "b": "1"})
    deployment = document_sensor(source, existing=False, max_requests=1)
    assert deployment.settle() == []
    source.put_many({"b": "2", "c": "1"})
    assert keys_of(deployment.settle()) == ["b", "c"]

    empty = new_store()
    deployment = document_sensor(empty, existing=False)
    assert deployment.settle() == []
    empty.put("a", "1")
    assert keys_of(deployment.settle()) == ["a"]


def test_a_cleared_cursor_begins_anew():
    source = new_store()
    source.put("a", "1")
    deployment = document_sensor(source)
    (first,) = deployment.settle()
    deployment.cursor = None
    (second,) = deployment.settle()
    assert first.run_key != second.run_key


def test_a_state_that_is_gone_is_said_so():
    source, state = new_store(), new_store()
    source.put("a", "1")
    deployment = document_sensor(source, state=state)
    deployment.settle()
    lost = document_sensor(source, state=new_store())
    lost.cursor = deployment.cursor
    with pytest.raises(BackendError, match=r"'s' remembers under '.*' in memory://.* is not there: .*clear its cursor"):
        lost.evaluate()


def test_two_deployments_share_a_state_store():
    source, state = new_store(), new_store()
    source.put_many({"a": "1", "b": "1"})
    one, other = document_sensor(source, state=state, max_requests=1), document_sensor(source, state=state)
    assert len(one.tick().run_requests) == 1
    assert len(other.tick().run_requests) == 2
    assert len(one.tick().run_requests) == 1
    assert (one.settle(), other.settle()) == ([], [])


def test_other_partitions_make_everything_new():
    source, state = new_store(), new_store()
    source.put_many({"2023/a": "1", "2024/a": "1"})
    before = document_sensor(source, state=state)
    before.settle()
    folders = CrawlPartitions.folders("folders")

    @dg.asset(partitions_def=folders.definition)
    def papers(context): ...

    for existing, wanted in ((True, ["2023", "2024"]), (False, [])):
        sensor = listing_sensor("s", source, state, target=papers, partitions=folders, existing=existing)
        after = Deployment(sensor, papers)
        after.cursor = before.cursor
        assert [one.partition_key for one in after.settle()] == wanted
        source.put("2024/a", str(existing))
        assert [one.partition_key for one in after.settle()] == ["2024"]


def test_assets_with_other_partitions_are_refused_at_once():
    folders = CrawlPartitions.folders("folders")

    @dg.asset(partitions_def=folders.definition)
    def papers(context): ...

    for wrong in (None, CrawlPartitions.folders("others"), CrawlPartitions.buckets(3)):
        with pytest.raises(InvalidOption, match="asset 'papers' has other partitions"):
            listing_sensor("s", "memory://x", "memory://y", target=[papers], partitions=wrong)

    @dg.asset
    def whole(): ...

    assert listing_sensor("s", "memory://x", "memory://y", target=[papers, whole], partitions=folders).name == "s"
    with pytest.raises(InvalidOption, match="asset 'whole' has other partitions"):
        listing_sensor("s", "memory://x", "memory://y", target=whole, partitions=folders)


@pytest.mark.parametrize("target", ["papers", dg.AssetSelection.all()])
def test_assets_by_name_with_other_partitions_are_refused_in_the_first_tick(target):
    folders = CrawlPartitions.folders("folders")

    @dg.asset(partitions_def=folders.definition)
    def papers(context): ...

    source = new_store()
    source.put("a/x.txt", "1")
    wrong = Deployment(listing_sensor("s", source, new_store(), target=target), papers)
    with pytest.raises(InvalidOption, match="asset 'papers' has other partitions"):
        wrong.tick()
    right = Deployment(listing_sensor("s", source, new_store(), target=target, partitions=folders), papers)
    assert [request.partition_key for request in right.settle()] == ["a"]


def test_a_folder_that_grows_costs_no_tick_for_each_document():
    source = new_store()
    source.put_many({f"2024/{number}": "1" for number in range(50)})
    deployment = folder_sensor(source, max_requests=1)
    asked = [deployment.tick().run_requests for _ in range(3)]
    assert [one.partition_key for requests in asked for one in requests] == ["2024"]


def test_an_empty_listing_makes_nobody_forget():
    source = new_store()
    source.put_many({"a": "1", "b": "1"})
    deployment = document_sensor(source, remove_partitions=True)
    deployment.settle()
    source.delete_many(["a", "b"])
    answer = deployment.tick()
    assert "lists nothing now, and 2 documents were there before" in answer.skip_message
    assert len(deployment.partitions("documents")) == 2
    source.put("c", "1")
    assert keys_of(deployment.settle()) == ["c"]
    assert deployment.partitions("documents") == ["c"]


def test_a_listing_that_breaks_off_is_gone_on_with():
    source = new_store()
    source.put_many(dict.fromkeys("abcd", "1"))
    flawed = Flawed(source.backend)
    flawed.breaks_before = "c"
    deployment = document_sensor(Store(flawed))
    assert keys_of(deployment.tick().run_requests) == ["a", "b"]
    with pytest.raises(BackendError, match="hung up"):
        deployment.tick()
    flawed.breaks_before = None
    assert keys_of(deployment.settle()) == ["c", "d"]


def test_a_listing_that_stands_still_ends_with_the_tick():
    source = new_store()
    source.put_many(dict.fromkeys("abcd", "1"))
    flawed = Flawed(source.backend)
    flawed.stands_before = "c"
    deployment = document_sensor(Store(flawed), seconds=0.5)
    answer = deployment.tick()
    assert keys_of(answer.run_requests) == ["a", "b"]
    with pytest.raises(BackendError, match=r"listed nothing within the seconds= of a tick"):
        deployment.tick()
    flawed.stands_before = None
    flawed.goes_on.set()
    assert keys_of(deployment.settle()) == ["c", "d"]


def test_a_slow_walk_takes_several_ticks(tmp_path):
    class Slow(ReadonlyBackend):
        def scan(self, prefix="", after=None):
            for entry in super().scan(prefix, after):
                time.sleep(0.01)
                yield entry

    source = new_store()
    source.put_many({f"{number:03d}/x": "1" for number in range(100)})
    deployment = folder_sensor(Store(Slow(source.backend)), seconds=0.3, max_requests=1000)
    answer = deployment.tick()
    ticks = 1
    while len(deployment.runs) < 100:
        deployment.tick()
        ticks += 1
    assert ticks > 2
    assert 0 < len(answer.run_requests) < 100
    assert sorted(one.partition_key for one in deployment.runs.values()) == [f"{number:03d}" for number in range(100)]


def test_the_state_does_not_grow(tmp_path):
    source, state = new_store(), get_store(tmp_path)
    deployment = document_sensor(source, state=state)
    for number in range(60):
        source.put(f"{number % 7}", str(number))
        deployment.evaluate()  # an answer that is lost
        deployment.settle()
    files = [path for path in tmp_path.rglob("*") if path.is_file() and "sensors" in path.parts]
    assert len(files) < 50
    assert list(state.iterate_keys()) == []


def test_a_partition_that_somebody_removed_is_added_again():
    source = new_store()
    source.put_many({"2023/a": "1"})
    for deployment in (folder_sensor(source), document_sensor(source)):
        deployment.settle()
        for name in names_of_partitions(deployment):
            for partition in deployment.partitions(name):
                deployment.instance.delete_dynamic_partition(name, partition)
        source.put("2023/a", "2")
        assert len(deployment.settle()) == 1
        assert all(len(deployment.partitions(name)) == 1 for name in names_of_partitions(deployment))


def test_many_partitions_are_warned_of(monkeypatch, capfd):
    monkeypatch.setattr("anystore_dagster.listing_ticks.MANY_PARTITIONS", 3)
    source = new_store()
    source.put_many({f"{number}": "1" for number in range(5)})
    document_sensor(source).tick()
    assert "documents has 5 partitions" in capfd.readouterr().err


def test_the_address_is_shown_with_each_partition():
    source = new_store()
    source.put("a", "1")
    (event,) = document_sensor(source).tick().asset_events
    assert (event.asset_key, event.partition) == (dg.AssetKey("papers"), "a")
    assert event.metadata["anystore/url"].value == source.backend.locate("a")


def test_keys_are_chosen_by_patterns():
    source = new_store()
    source.put_many({"a.pdf": "1", "b/c.pdf": "1", "b/d.txt": "1", "tmp/e.pdf": "1"})
    deployment = document_sensor(source, glob="**/*.pdf", exclude="tmp/**")
    assert keys_of(deployment.settle()) == ["a.pdf", "b/c.pdf"]


def test_stores_by_resources(tmp_path):
    source = AnystoreResource(uri=str(tmp_path / "in"))
    source.store.put("a", "1")
    deployment = document_sensor(source, state=AnystoreResource(uri=str(tmp_path / "state")))
    assert keys_of(deployment.settle()) == ["a"]


def test_a_state_that_cannot_be_written_is_said_so():
    source = new_store()
    source.put("a", "1")
    with pytest.raises(ReadOnlyError):
        document_sensor(source, state=Store(ReadonlyBackend(new_store().backend))).evaluate()


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"source": 3}, InvalidOption, "source of a sensor"),
        ({"state": "s3:/b"}, InvalidUri, "s3:/b"),
        ({"max_requests": 0}, InvalidOption, "max_requests=0"),
        ({"seconds": 0}, InvalidOption, "seconds=0"),
        ({"seconds": 60}, InvalidOption, "DAGSTER_SENSOR_GRPC_TIMEOUT_SECONDS"),
        ({"target": None}, InvalidOption, "target="),
        ({"glob": "a{"}, InvalidKey, "a{"),
        ({"exclude": ["b{"]}, InvalidKey, "b{"),
        ({"partitions": dg.DynamicPartitionsDefinition(name="x")}, InvalidOption, "CrawlPartitions.folders"),
        ({"partitions": CrawlPartitions.buckets(3), "request_for": print}, InvalidOption, "request_for="),
    ],
)
def test_what_cannot_be_is_refused_at_once(options, error, text):
    given_options = {"source": "memory://x", "state": "memory://y", "target": "papers"} | options
    with pytest.raises(error, match=text.replace("{", r"\{")):
        listing_sensor("s", given_options.pop("source"), given_options.pop("state"), **given_options)


def test_seconds_may_be_more_where_dagster_allows_it(monkeypatch):
    monkeypatch.setenv("DAGSTER_SENSOR_GRPC_TIMEOUT_SECONDS", "300")
    assert listing_sensor("s", "memory://x", "memory://y", target="papers", seconds=250).name == "s"


def test_no_secret_is_shown():
    sensor = listing_sensor("s", "https://me:hunter2@host/x/", "redis://a:hunter2@h/0", target="papers")
    assert "hunter2" not in f"{sensor.description} {sensor.metadata} {sensor.tags}"
    assert "https://me:***@host/x/" in sensor.description


def test_a_memory_that_is_broken_is_said_so():
    state = new_store()
    memory = ListingMemory(state.backend, sensor="s", scope="x")
    pointer = memory.step(memory.open(None)).save(memory.open(None).head)
    state.backend.put(f".anystore/sensors/s/{pointer}", b"{")
    with pytest.raises(BackendError, match="cannot be read"):
        memory.open(pointer)


def test_a_sensor_called_by_hand():
    source = new_store()
    source.put("a", "1")

    @dg.asset
    def papers(): ...

    sensor = listing_sensor("s", source, new_store(), target=papers)
    one, other = (sensor(dg.build_sensor_context()) for _ in range(2))
    assert isinstance(one, dg.SensorResult)
    assert [request.run_key for request in one.run_requests] == [request.run_key for request in other.run_requests]
    assert "nothing to ask for" in sensor(dg.build_sensor_context(cursor=one.cursor)).skip_reason.skip_message
