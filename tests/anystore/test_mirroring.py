"""A mirror copies what is missing or different, and nothing else; and says so."""

import json
import logging
import warnings
from datetime import UTC, datetime, timedelta

import orjson
import pytest

from anystore import Store, get_store, mirror, mirroring, retries
from anystore.backend import Entry, Feature
from anystore.backends.memory import MemoryBackend
from anystore.errors import BackendError, ForeignNameWarning, InvalidOption, ReadOnlyError, Unsupported
from anystore.keys import private_key
from anystore.mirroring import comparing
from anystore.mirroring.comparing import Comparison, Verdict, is_same_version, same_bytes
from anystore.mirroring.limits import Limits, Stop, Throttle

MIB = 1 << 20


class Clock:
    """A clock that stands still until it is told to go on."""

    def __init__(self, now=1_000_000_000.0):
        self.now = now

    def __call__(self):
        return self.now


class Pair:
    """A source and a target in memory that share a clock, so that times are what a test says."""

    def __init__(self, name):
        self.clock = Clock()
        self.source = Store(MemoryBackend(f"{name}/source", clock=self.clock), serialization_mode="raw")
        self.target = Store(MemoryBackend(f"{name}/target", clock=self.clock), serialization_mode="raw")

    def later(self, seconds=60):
        self.clock.now += seconds


class Unsorted(MemoryBackend):
    """Lists in no order, and says so."""

    features = ~Feature.SORTED

    def scan(self, prefix="", after=None):
        return reversed(list(super().scan(prefix)))


class Lying(Unsorted):
    """Lists in no order, and says that it does."""

    features = ~Feature.NONE


class Breaking(MemoryBackend):
    """Has a listing that breaks off."""

    def scan(self, prefix="", after=None):
        for entry in super().scan(prefix, after):
            if entry.key >= "d/003":
                raise BackendError("the listing was cut")
            yield entry


class Foreign(MemoryBackend):
    """Has names that cannot be keys."""

    def scan(self, prefix="", after=None):
        yield from super().scan(prefix)
        warnings.warn("left out 2 names that are no keys", ForeignNameWarning, stacklevel=2)


@pytest.fixture
def pair(tmp_path):
    return Pair(str(tmp_path))


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch):
    monkeypatch.setattr(retries, "FIRST_PAUSE", 0.001)


def fill(store, count=20):
    store.put_many({f"d/{number:03}": b"x" * number for number in range(count)})


def counts(report):
    return report.copied, report.skipped, report.deleted, report.failed


def contents(store):
    return dict(store.get_many(store.iterate_keys()))


def test_a_second_run_copies_what_changed_alone(pair):
    fill(pair.source)
    pair.later()
    first = mirror(pair.source, pair.target)
    assert counts(first) == (20, 0, 0, 0)
    assert first.bytes == sum(range(20))
    assert first.complete
    assert contents(pair.target) == contents(pair.source)
    pair.later()
    assert counts(mirror(pair.source, pair.target)) == (0, 20, 0, 0)
    pair.source.put("d/003", b"yyy")  # as long as before
    pair.source.put("new", b"1")
    pair.source.delete("d/004")
    pair.later()
    assert counts(mirror(pair.source, pair.target)) == (2, 18, 0, 0)
    assert pair.target.get("d/003") == b"yyy"
    assert pair.target.exists("d/004")


def test_nothing_is_written_over_a_value_that_is_the_same(pair):
    fill(pair.source)
    mirror(pair.source, pair.target)
    before = {entry.key: entry.version for entry in pair.target.entries()}
    # the times are too close to tell, so that the contents are looked at
    assert counts(mirror(pair.source, pair.target)) == (0, 20, 0, 0)
    assert {entry.key: entry.version for entry in pair.target.entries()} == before


def test_a_change_at_the_time_of_the_copy_is_seen(pair):
    pair.source.put("a", b"one")
    mirror(pair.source, pair.target)
    pair.source.put("a", b"two")  # at the same moment, as long as before
    assert counts(mirror(pair.source, pair.target)) == (1, 0, 0, 0)
    assert pair.target.get("a") == b"two"


@pytest.mark.parametrize("backend", [Unsorted, Lying])
@pytest.mark.parametrize("side", ["source", "target"])
def test_a_listing_in_no_order_is_compared_all_the_same(backend, side, tmp_path):
    name = str(tmp_path)
    kinds = {"source": MemoryBackend, "target": MemoryBackend, side: backend}
    source, target = (Store(kinds[one](f"{name}/{one}"), serialization_mode="raw") for one in ("source", "target"))
    fill(source, 50)
    target.put_many({"d/000": b"", "d/001": b"old", "d/zzz": b"extra", "a": b"extra"})
    report = mirror(source, target, delete=True)
    # a lie is noticed after some values seemed to be missing: they are copied once more than needed
    assert report.copied + report.skipped == 50
    assert backend is Lying or counts(report) == (49, 1, 2, 0)
    assert (report.deleted, report.complete) == (2, True)
    assert contents(target) == contents(source)
    source.put("d/020", b"new")
    source.delete("d/021")
    report = mirror(source, target, delete=True)
    assert (report.copied + report.skipped, report.deleted, report.complete) == (49, 1, True)
    assert contents(target) == contents(source)


def test_a_key_that_is_listed_twice_is_copied_once(tmp_path):
    class Stuttering(Unsorted):
        def scan(self, prefix="", after=None):
            for entry in super().scan(prefix):
                yield from (entry, entry)

    source = Store(Stuttering(f"{tmp_path}/source"))
    target = get_store(f"memory://{tmp_path}/target")
    fill(source, 5)
    assert counts(mirror(source, target)) == (5, 0, 0, 0)


class TestCompare:
    def test_auto_sees_a_newer_source(self, pair):
        pair.source.put("a", b"one")
        pair.later()
        mirror(pair.source, pair.target)
        pair.later()
        pair.source.put("a", b"two")
        assert counts(mirror(pair.source, pair.target)) == (1, 0, 0, 0)

    def test_size_looks_at_the_size_alone(self, pair):
        pair.source.put_many({"a": b"one", "b": b"long"})
        pair.target.put_many({"a": b"old", "b": b"short"})
        assert counts(mirror(pair.source, pair.target, compare="size")) == (1, 1, 0, 0)
        assert pair.target.get("a") == b"old"

    def test_missing_looks_at_nothing(self, pair):
        pair.source.put_many({"a": b"one", "b": b"new"})
        pair.target.put("a", b"quite another")
        assert counts(mirror(pair.source, pair.target, compare="missing")) == (1, 1, 0, 0)
        assert pair.target.get("a") == b"quite another"

    def test_checksum_sees_what_times_hide(self, pair):
        pair.source.put_many({"a": b"one", "b": b"two", "c": b"x" * 3 * MIB})
        pair.later()
        pair.target.put_many({"a": b"one", "b": b"rot", "c": b"x" * (3 * MIB - 1) + b"y"})
        assert counts(mirror(pair.source, pair.target)) == (0, 3, 0, 0)
        assert counts(mirror(pair.source, pair.target, compare="checksum")) == (2, 1, 0, 0)
        assert contents(pair.target) == contents(pair.source)

    def test_version_is_for_services_of_one_kind(self, pair, tmp_path):
        pair.source.put("a", b"one")
        assert counts(mirror(pair.source, pair.target, compare="version")) == (1, 0, 0, 0)
        with pytest.raises(InvalidOption, match=r"not of the same kind.*checksum"):
            mirror(pair.source, tmp_path / "files", compare="version")

    def test_another_expiry_is_another_value(self, tmp_path):
        source, target = get_store(f"memory://{tmp_path}/a"), get_store(f"memory://{tmp_path}/b")
        source.put("a", "one", ttl=1000)
        mirror(source, target)
        assert counts(mirror(source, target)) == (0, 1, 0, 0)
        target.put("a", "one")
        assert counts(mirror(source, target)) == (1, 0, 0, 0)
        assert abs(target.info("a").expires - source.info("a").expires) < timedelta(seconds=1)
        source.put("a", "one")
        assert counts(mirror(source, target)) == (1, 0, 0, 0)
        assert target.info("a").expires is None

    @pytest.mark.parametrize(
        ("later", "verdict"),
        [(60, Verdict.SAME), (-60, Verdict.COPY), (0, Verdict.LOOK), (-2, Verdict.LOOK), (2, Verdict.LOOK)],
    )
    def test_times_that_are_close_tell_nothing(self, later, verdict):
        now = datetime(2024, 5, 1, tzinfo=UTC)
        comparison = Comparison("auto", MemoryBackend("a"), MemoryBackend("b"))
        assert abs(later) > comparing.DOUBT_SECONDS or verdict is Verdict.LOOK
        source, target = Entry("k", 1, now), Entry("k", 1, now + timedelta(seconds=later))
        assert comparison.judge(source, target) is verdict

    def test_a_time_that_is_yet_to_come_tells_nothing(self):
        comparison = Comparison("auto", MemoryBackend("a"), MemoryBackend("b"))
        now = datetime.now(UTC)
        source, target = Entry("k", 1, now + timedelta(days=1)), Entry("k", 1, now - timedelta(days=1))
        assert comparison.judge(source, target) is Verdict.LOOK

    def test_what_a_listing_leaves_out_is_no_difference(self):
        comparison = Comparison("auto", MemoryBackend("a"), MemoryBackend("b"))
        assert comparison.judge(Entry("k", None, None), Entry("k", 1, None)) is Verdict.LOOK
        assert comparison.judge(Entry("k", 1, None, "v"), Entry("k", 1, None, "v")) is Verdict.SAME
        assert comparison.judge(Entry("k", 2, None, "v"), Entry("k", 1, None, "v")) is Verdict.COPY

    def test_an_entry_that_says_less_is_of_the_same_version(self):
        now = datetime(2024, 5, 1, tzinfo=UTC)
        assert is_same_version(Entry("k", 1, now, "v"), Entry("k", 1, now.replace(microsecond=5), "v"))
        assert not is_same_version(Entry("k", 1, now, "v"), Entry("k", 1, now, "w"))
        assert not is_same_version(Entry("k", 1, now), Entry("k", 1, now + timedelta(seconds=1)))
        assert is_same_version(Entry("k", 1, None), Entry("k", 1, now))

    @pytest.mark.parametrize(
        ("ours", "theirs", "same"),
        [
            ([], [], True),
            ([b"abc"], [b"a", b"b", b"c"], True),
            ([b"ab", b"c"], [b"a", b"bc"], True),
            ([b"abc"], [b"ab"], False),
            ([], [b"a"], False),
            ([b"abc", b"d"], [b"abc", b"e"], False),
        ],
    )
    def test_pieces_of_any_length(self, ours, theirs, same):
        assert same_bytes(iter(ours), iter(theirs)) is same
        assert same_bytes(iter(theirs), iter(ours)) is same


class TestDelete:
    def test_it_is_not_done_unasked(self, pair):
        fill(pair.source, 3)
        pair.target.put("extra", b"1")
        assert counts(mirror(pair.source, pair.target)) == (3, 0, 0, 0)
        assert pair.target.exists("extra")

    def test_it_stays_in_the_selection(self, pair):
        fill(pair.source, 3)
        pair.target.put_many({"d/extra.txt": b"1", "d/extra.bin": b"1", "d/kept/extra.txt": b"1", "e/extra.txt": b"1"})
        pair.source.put_many({"d/a.txt": b"1"})
        report = mirror(pair.source, pair.target, prefix="d", exclude_prefix="d/kept", glob="**/*.txt", delete=True)
        assert counts(report) == (1, 0, 1, 0)
        assert set(pair.target.iterate_keys()) == {"d/a.txt", "d/extra.bin", "d/kept/extra.txt", "e/extra.txt"}

    def test_what_is_ours_stays(self, pair):
        ours = private_key("documents.jsonl")
        pair.target.backend.put(ours, b"journal")
        pair.source.put("a", b"1")
        mirror(pair.source, pair.target, delete=True)
        assert pair.target.backend.get(ours) == b"journal"
        assert not pair.source.backend.exists(ours)

    def test_a_source_that_is_not_there_is_no_empty_one(self, pair, tmp_path):
        fill(pair.target, 3)
        report = mirror(tmp_path / "unmounted", pair.target, delete=True, force=True)
        assert not report.complete
        assert "unmounted is not there" in report.failures[0].reason
        assert len(contents(pair.target)) == 3

    def test_an_empty_source_deletes_nothing_unless_forced(self, pair):
        pair.source.put("a", b"1")
        pair.source.delete("a")
        fill(pair.target, 3)
        report = mirror(pair.source, pair.target, delete=True)
        assert counts(report) == (0, 0, 0, 0)
        assert not report.complete
        assert "the source is empty" in report.failures[0].reason
        assert len(contents(pair.target)) == 3
        assert counts(mirror(pair.source, pair.target, delete=True, force=True)) == (0, 0, 3, 0)

    def test_an_empty_selection_is_an_empty_source(self, pair):
        pair.source.put("other/a", b"1")
        fill(pair.target, 3)
        assert not mirror(pair.source, pair.target, prefix="d", delete=True).complete
        assert len(contents(pair.target)) == 3

    def test_more_than_allowed_is_none(self, pair):
        fill(pair.source, 3)
        fill(pair.target, 20)
        report = mirror(pair.source, pair.target, delete=True, max_delete=16)
        assert "17 values" in report.failures[0].reason
        assert len(contents(pair.target)) == 20
        assert mirror(pair.source, pair.target, delete=True, max_delete=17).deleted == 17

    def test_a_thousand_at_most_unless_told_otherwise(self, pair):
        pair.source.put("a", b"")
        pair.target.put_many({f"{number}": b"" for number in range(1001)})
        assert mirror(pair.source, pair.target, delete=True).deleted == 0
        assert mirror(pair.source, pair.target, delete=True, max_delete=None).deleted == 1001

    @pytest.mark.parametrize("broken", ["source", "target"])
    def test_a_listing_that_broke_off_deletes_nothing(self, broken, tmp_path):
        kinds = {"source": MemoryBackend, "target": MemoryBackend, broken: Breaking}
        source, target = (Store(kinds[one](f"{tmp_path}/{one}")) for one in ("source", "target"))
        fill(source, 10)
        fill(target, 12)
        report = mirror(source, target, delete=True)
        assert not report.complete
        assert report.deleted == 0
        assert "broke off" in " ".join(failure.reason for failure in report.failures)
        assert "nothing was deleted" in " ".join(failure.reason for failure in report.failures)
        assert len(list(MemoryBackend(f"{tmp_path}/target").keys())) == 12

    def test_one_that_goes_on_behind_the_last_key_is_gone_on_with(self, tmp_path):
        class Stumbling(MemoryBackend):
            def scan(self, prefix="", after=None):
                for number, entry in enumerate(super().scan(prefix, after)):
                    if number == 4:
                        raise BackendError("a page was cut")
                    yield entry

        source, target = Store(Stumbling(f"{tmp_path}/source")), Store(Stumbling(f"{tmp_path}/target"))
        fill(source, 50)
        fill(target, 60)
        report = mirror(source, target, delete=True, retries=1)
        assert (report.deleted, report.complete) == (10, True)

    @pytest.mark.parametrize("kind", [MemoryBackend, Unsorted])
    def test_what_was_listed_before_the_break_is_copied(self, kind, tmp_path):
        source, target = Store(Breaking(f"{tmp_path}/source")), Store(kind(f"{tmp_path}/target"))
        fill(source, 10)
        report = mirror(source, target)
        assert report.copied == 3
        assert not report.complete

    def test_foreign_names_are_failures_and_delete_nothing(self, tmp_path):
        source, target = Store(Foreign(f"{tmp_path}/source")), get_store(f"memory://{tmp_path}/target")
        fill(source, 3)
        target.put("extra", b"1")
        report = mirror(source, target, delete=True)
        assert report.copied == 3
        assert [failure.key for failure in report.failures] == ["", ""]
        assert "names that are no keys" in report.failures[0].reason
        assert target.exists("extra")

    def test_foreign_names_in_the_target_are_no_failures_until_they_should_go(self, pair, tmp_path):
        pair.source.put("a", b"1")
        target = Store(Foreign(f"{tmp_path}/foreign"))
        with pytest.warns(ForeignNameWarning, match="left out 2 names"):
            assert mirror(pair.source, target).complete
        report = mirror(pair.source, target, delete=True)
        assert "nothing was deleted" in report.failures[1].reason

    def test_a_value_that_the_listing_left_out_is_not_deleted(self, tmp_path):
        class Forgetful(MemoryBackend):
            def scan(self, prefix="", after=None):
                return (entry for entry in super().scan(prefix) if entry.key != "d/002")

        source, target = Store(Forgetful(f"{tmp_path}/source")), get_store(f"memory://{tmp_path}/target")
        fill(source, 5)
        fill(target, 5)
        target.put("extra", b"1")
        assert mirror(source, target, delete=True).deleted == 1
        assert target.exists("d/002")

    def test_a_value_in_the_way_of_a_folder_makes_room(self, pair, tmp_path):
        target = get_store(tmp_path / "files")
        target.put("a", "1")
        pair.source.put("a/b", b"2")
        assert counts(mirror(pair.source, target)) == (0, 0, 0, 1)
        report = mirror(pair.source, target, delete=True)
        assert counts(report) == (1, 0, 1, 0)
        assert list(target.iterate_keys()) == ["a/b"]


class TestDryRun:
    def test_it_tells_what_would_happen_and_changes_nothing(self, pair):
        fill(pair.source)
        pair.target.put_many({"d/003": b"rot", "d/004": b"xxxx", "extra": b"1"})
        before = contents(pair.target)
        said = mirror(pair.source, pair.target, delete=True, dry_run=True)
        assert contents(pair.target) == before
        assert said.dry_run
        done = mirror(pair.source, pair.target, delete=True)
        assert (counts(said), said.bytes) == (counts(done), done.bytes)
        assert counts(said) == (19, 1, 1, 0)

    @pytest.mark.parametrize("reason", ["the source is empty", "max_delete"])
    def test_it_tells_what_would_be_refused(self, reason, pair):
        fill(pair.target, 3)
        if reason == "max_delete":
            pair.source.put("a", b"1")
        report = mirror(pair.source, pair.target, delete=True, max_delete=1, dry_run=True)
        assert reason in report.failures[0].reason

    def test_each_change_is_logged(self, pair, caplog):
        pair.source.put("a", b"1")
        pair.target.put("b", b"1")
        with caplog.at_level(logging.INFO, "anystore.mirroring"):
            mirror(pair.source, pair.target, delete=True, dry_run=True)
        assert caplog.messages == ["copy a", "delete b"]


class TestValues:
    def test_large_and_empty_ones(self, pair):
        pair.source.put_many({"empty": b"", "large": b"abc" * 4 * MIB, "small": b"1"})
        report = mirror(pair.source, pair.target, verify="full")
        assert counts(report) == (3, 0, 0, 0)
        assert contents(pair.target) == contents(pair.source)

    def test_bytes_are_copied_as_they_are(self, tmp_path):
        source = get_store(tmp_path / "source", serialization_mode="pickle")
        target = get_store(tmp_path / "target", serialization_mode="json")
        source.put("a", {1, 2})
        mirror(source, target)
        assert target.get("a", serialization_mode="pickle") == {1, 2}

    def test_an_expiry_that_cannot_be_kept_is_a_failure(self, pair, tmp_path):
        pair.source.put("a", b"1", ttl=500)
        pair.source.put("b", b"1")
        report = mirror(pair.source, tmp_path / "files")
        assert counts(report) == (1, 0, 0, 1)
        assert report.failures[0].key == "a"
        assert "expire" in report.failures[0].reason

    def test_a_key_that_the_target_cannot_hold_is_a_failure(self, pair, tmp_path):
        pair.source.put_many({"x" * 300: b"1", "fine": b"1"})
        report = mirror(pair.source, tmp_path / "files")
        assert counts(report) == (1, 0, 0, 1)
        assert report.failures[0].key == "x" * 300

    def test_values_inside_one_store_are_copied_by_it(self, tmp_path, monkeypatch):
        backend = MemoryBackend(f"{tmp_path}")
        whole = Store(backend, serialization_mode="raw")
        fill(whole.under("a"))
        monkeypatch.setattr(MemoryBackend, "get", None)
        monkeypatch.setattr(MemoryBackend, "reader", None)
        report = mirror(whole.under("a"), whole.under("b"))
        assert (counts(report), report.bytes) == ((20, 0, 0, 0), sum(range(20)))
        monkeypatch.undo()
        assert contents(whole.under("b")) == contents(whole.under("a"))


class TestRefusals:
    @pytest.mark.parametrize(("source", "target"), [("", ""), ("a", ""), ("", "a"), ("a", "a/b"), ("a/b", "a")])
    def test_overlapping_folders(self, source, target, tmp_path):
        with pytest.raises(InvalidOption, match=r"the same store|overlap"):
            mirror(tmp_path / source, tmp_path / target)
        whole = get_store(f"memory://{tmp_path}")
        views = [whole.under(folder) if folder else whole for folder in (source, target)]
        with pytest.raises(InvalidOption, match=r"the same store|overlap"):
            mirror(*views)

    def test_a_symbolic_link_hides_nothing(self, tmp_path):
        (tmp_path / "real").mkdir()
        (tmp_path / "link").symlink_to("real")
        with pytest.raises(InvalidOption, match="the same store"):
            mirror(tmp_path / "real", tmp_path / "link")

    def test_folders_beside_each_other_are_apart(self, tmp_path):
        whole = get_store(tmp_path)
        fill(whole.under("a"), 3)
        fill(whole.under("c"), 3)
        assert mirror(tmp_path / "a", tmp_path / "ab").copied == 3
        assert mirror(whole, whole.under("a/inside"), prefix="c").copied == 3
        assert mirror(whole, whole.under("copies"), exclude_prefix="copies", glob="[ac]/**").copied == 9

    @pytest.mark.parametrize(
        ("options", "text"),
        [
            ({"compare": "etag"}, "compare='etag'"),
            ({"verify": "quick"}, "verify='quick'"),
            ({"workers": 0}, "workers"),
            ({"workers": True}, "workers"),
            ({"retries": -1}, "retries"),
            ({"max_delete": "all"}, "max_delete"),
            ({"max_requests_per_second": 0}, "max_requests_per_second"),
            ({"max_bytes_per_second": float("nan")}, "max_bytes_per_second"),
            ({"progress": "yes"}, "progress"),
        ],
    )
    def test_options_that_are_none(self, options, text, pair):
        with pytest.raises(InvalidOption, match=text):
            mirror(pair.source, pair.target, **options)

    def test_a_target_that_cannot_be_written(self, pair, tmp_path):
        with pytest.raises(ReadOnlyError):
            mirror(pair.source, get_store(tmp_path, readonly=True))
        with pytest.raises(Unsupported):
            mirror(pair.source, "http://127.0.0.1:1/")


class TestReport:
    def test_it_is_plain(self, pair, tmp_path):
        pair.source.put_many({"x" * 300: b"1", "b": b"1"})
        report = mirror(pair.source, tmp_path / "files")
        plain = json.loads(orjson.dumps(report.to_dict()))
        assert plain["failures"][0]["key"] == "x" * 300
        assert (plain["copied"], plain["failed"], plain["complete"]) == (1, 1, False)

    def test_it_is_a_table_in_a_notebook(self, tmp_path):
        source = get_store(f"memory://{tmp_path}")
        source.put("<script>" + "x" * 300, b"1")
        html = mirror(source, tmp_path / "files")._repr_html_()
        assert "1 failed" in html
        assert "<script>" not in html

    def test_progress_is_told(self, pair):
        fill(pair.source)
        seen = []
        mirror(pair.source, pair.target, progress=seen.append)
        assert (seen[-1].done, seen[-1].total, seen[-1].bytes, seen[-1].finished) == (20, 20, 190, True)


class TestLimits:
    def test_requests_wait_for_their_turn(self):
        waits = []

        class Noting(Stop):
            def wait(self, seconds):
                waits.append(round(seconds, 2))

        throttle = Throttle(Limits(requests=10, bytes=None), Noting())
        for _ in range(3):
            throttle.request(5)
        assert len(waits) == 2
        assert 0.4 <= waits[0] <= 0.5
        assert 0.9 <= waits[1] <= 1.0

    def test_a_mirror_keeps_to_them(self, pair):
        fill(pair.source, 20)
        report = mirror(pair.source, pair.target, max_requests_per_second=100)
        assert report.seconds >= 0.3  # 40 requests, the first at once

        pair.source.put("large", b"x" * 4 * MIB)
        report = mirror(pair.source, pair.target, max_bytes_per_second=8 * MIB, prefix=None, glob="large")
        assert report.seconds >= 0.3

    def test_a_share_is_a_part(self):
        assert Limits(10, 100).share(4) == Limits(2.5, 25)
        assert Limits().share(4) == Limits()


def test_a_uri_will_do(tmp_path):
    get_store(tmp_path / "a").put("k", "1")
    assert mirroring.mirror(str(tmp_path / "a"), f"sqlite:///{tmp_path}/b.db").copied == 1
