"""A mirror among failures: each is told, none stops the rest, and the next run completes what one left."""

import os
import resource
import signal
import subprocess
import sys
import threading
import time
import warnings

import pytest

from anystore import Store, get_store, mirror, retries
from anystore.backend import Entry, Reader
from anystore.backends.memory import MemoryBackend
from anystore.errors import BackendError, KeyConflict, VersionMismatch
from anystore.mirroring import MirrorInterrupted, copying, crew

MIB = 1 << 20


def nothing(what, key):
    """Let all go well."""


class Troubled(MemoryBackend):
    """Does what a test wants before it does what it should."""

    def __init__(self, name, before=nothing):
        super().__init__(name)
        self.before = before
        self.calls = []

    def meet(self, what, key):
        self.calls.append((what, key))
        self.before(what, key)

    def get(self, key):
        self.meet("get", key)
        return super().get(key)

    def get_many(self, keys):
        for key in keys:
            try:
                yield key, self.get(key)
            except FileNotFoundError:
                yield key, None

    def reader(self, key):
        self.meet("reader", key)
        return super().reader(key)

    def put(self, key, data, *, create=False, version=None, ttl=None):
        self.meet("put", key)
        return super().put(key, data, create=create, version=version, ttl=ttl)

    def writer(self, key, *, create=False, version=None, ttl=None):
        self.meet("writer", key)
        return super().writer(key, create=create, version=version, ttl=ttl)

    def keys(self, prefix="", after=None):
        self.meet("keys", prefix)
        return super().keys(prefix, after)

    def delete(self, key):
        self.meet("delete", key)
        return super().delete(key)


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch):
    monkeypatch.setattr(retries, "FIRST_PAUSE", 0.001)


@pytest.fixture
def source(tmp_path):
    store = Store(Troubled(f"{tmp_path}/source"), serialization_mode="raw")
    store.put_many({f"d/{number:03}": b"x" * number for number in range(20)})
    return store


@pytest.fixture
def target(tmp_path):
    return Store(Troubled(f"{tmp_path}/target"), serialization_mode="raw")


def counts(report):
    return report.copied, report.skipped, report.deleted, report.failed


def contents(store):
    return dict(store.get_many(store.iterate_keys()))


def failing(count, error, *whats, key=None):
    """Make a hook that fails so many times, in one of the calls, for one key or for all."""
    left = [count]

    def before(what, which):
        if what in whats and key in (None, which) and left[0]:
            left[0] -= 1
            raise error

    return before


@pytest.mark.parametrize("side", ["source", "target"])
@pytest.mark.parametrize("size", [1, 3 * MIB])
def test_what_can_pass_is_tried_again(side, size, source, target):
    source.put("a", b"y" * size)
    hook = failing(3, BackendError("the connection was lost"), "get", "reader", "put", "writer", key="a")
    (source if side == "source" else target).backend.before = hook
    assert counts(mirror(source, target)) == (21, 0, 0, 0)
    assert contents(target) == contents(source)


@pytest.mark.parametrize("side", ["source", "target"])
@pytest.mark.parametrize("size", [1, 3 * MIB])
def test_one_failure_does_not_stop_the_rest(side, size, source, target):
    source.put("d/005", b"y" * size)
    target.put("d/005", b"old")
    hook = failing(-1, BackendError("the disk is broken"), "get", "reader", "put", "writer", key="d/005")
    (source if side == "source" else target).backend.before = hook
    report = mirror(source, target)
    assert counts(report) == (19, 0, 0, 1)
    assert (report.failures[0].key, report.failures[0].reason) == ("d/005", "the disk is broken")
    target.backend.before = source.backend.before = nothing
    assert target.get("d/005") == b"old"
    assert counts(mirror(source, target)) == (1, 19, 0, 0)
    assert contents(target) == contents(source)


def test_what_cannot_pass_is_not_tried_again(source, target):
    full = BackendError("cannot write: no space left on device")
    full.__cause__ = OSError(28, "No space left on device")
    target.backend.before = failing(-1, full, "put", "writer", key="d/005")
    assert mirror(source, target).failed == 1
    assert target.backend.calls.count(("put", "d/005")) == 1  # together with the others
    assert target.backend.calls.count(("writer", "d/005")) == 1  # and once alone
    target.backend.calls.clear()
    target.backend.before = failing(-1, KeyConflict("in the way"), "put", "writer", key="d/005")
    assert mirror(source, target).failed == 1
    assert target.backend.calls.count(("writer", "d/005")) == 1


def test_a_value_that_vanished_is_told(source, target):
    def vanish(what, key):
        if key == "d/005" and what == "get":
            MemoryBackend.delete(source.backend, key)

    source.backend.before = vanish
    report = mirror(source, target)
    assert counts(report) == (19, 0, 0, 1)
    assert "deleted meanwhile" in report.failures[0].reason
    assert not target.exists("d/005")
    assert mirror(source, target).complete


def test_a_value_that_expires_before_its_turn_is_no_failure(source, target):
    source.put("a", b"1", ttl=0.5)

    def expire(what, key):
        if key == "a" and what == "reader":
            MemoryBackend.delete(source.backend, key)

    source.backend.before = expire
    assert counts(mirror(source, target)) == (20, 1, 0, 0)


def test_a_key_that_the_source_cannot_hold_is_deleted(target, tmp_path):
    source = get_store(tmp_path / "files")
    source.put("fine", "1")
    target.put("x" * 300, b"1")
    assert counts(mirror(source, target, delete=True)) == (1, 0, 1, 0)


def test_a_value_that_changes_while_it_is_read_is_copied_again(source, target):
    source.put("large", b"1" * 3 * MIB)

    class Changing(Reader):
        def __init__(self, inner):
            self.inner, self.entry = inner, inner.entry

        def read(self, start=0, stop=None):
            yield b"1" * MIB
            raise VersionMismatch("changed by another writer")

        def close(self):
            self.inner.close()

    plain = source.backend.reader
    readers = iter([lambda key: Changing(plain(key)), plain])

    def reader(key):
        return next(readers)(key)

    source.backend.reader = reader
    assert mirror(source, target, glob="large").complete
    assert target.get("large") == b"1" * 3 * MIB


@pytest.mark.parametrize("size", [3, 3 * MIB])
def test_a_change_after_the_reading_is_seen_when_it_took_long(size, source, target, monkeypatch):
    monkeypatch.setattr(copying, "UNSURE_SECONDS", -1)
    source.put("a", b"1" * size)

    def change(what, key):
        if what in ("put", "writer") and key == "a":
            target.backend.before = nothing
            MemoryBackend.put(source.backend, "a", b"2" * size)

    target.backend.before = change
    assert mirror(source, target).complete
    assert target.get("a") == b"2" * size


def test_a_value_that_never_stands_still_is_told(source, target, monkeypatch):
    monkeypatch.setattr(copying, "UNSURE_SECONDS", -1)

    def change(what, key):
        if what in ("put", "writer") and key == "d/001":
            MemoryBackend.put(source.backend, "d/001", os.urandom(3))

    target.backend.before = change
    report = mirror(source, target)
    assert counts(report) == (19, 0, 0, 1)
    assert "changed" in report.failures[0].reason


@pytest.mark.parametrize("told", [2 * MIB, 4 * MIB])
def test_a_value_of_another_length_than_it_said_is_not_published(told, source, target):
    source.put("large", b"1" * 3 * MIB)
    target.put("large", b"old")
    plain = source.backend.reader

    def reader(key):
        opened = plain(key)
        opened.entry = Entry(key, told, None)
        return opened

    source.backend.reader = reader
    report = mirror(source, target, glob="large")
    assert "came" in report.failures[0].reason
    assert target.get("large") == b"old"


@pytest.mark.parametrize("size", [100, 3 * MIB])
def test_a_full_verification_sees_what_a_target_spoils(size, source, tmp_path):
    class Spoiling(MemoryBackend):
        def put(self, key, data, **conditions):
            return super().put(key, data[:-1] + b"?" if key == "a" else data, **conditions)

    source.put("a", b"1" * size)
    target = Store(Spoiling(f"{tmp_path}/spoiling"), serialization_mode="raw")
    assert mirror(source, target, compare="missing").complete
    report = mirror(source, target, compare="checksum", verify="full")
    assert counts(report) == (0, 20, 0, 1)
    assert "other bytes" in report.failures[0].reason


def test_a_target_that_has_another_size_is_told(source, tmp_path):
    class Short(MemoryBackend):
        def put(self, key, data, **conditions):
            return super().put(key, data[:-1], **conditions)

    source.put("a", b"1" * 3 * MIB)
    report = mirror(source, Store(Short(f"{tmp_path}/short")), glob="a")
    assert f"{3 * MIB - 1:,} bytes after {3 * MIB:,} were written" in report.failures[0].reason


@pytest.mark.parametrize("side", ["source", "target"])
def test_a_service_that_is_down_ends_the_run(side, source, target, monkeypatch):
    monkeypatch.setattr(crew, "_SOME_FAILURES", 10)
    source.put_many({f"e/{number:04}": b"1" for number in range(3000)})
    down = failing(-1, BackendError("connection refused"), "get", "reader", "put", "writer", "keys")
    (source if side == "source" else target).backend.before = down
    report = mirror(source, target)
    assert "stopped" in report.failures[0].reason
    assert "connection refused" in report.failures[0].reason
    assert report.failed < 1000


def test_failures_of_a_service_that_answers_do_not_end_the_run(source, target, monkeypatch):
    monkeypatch.setattr(crew, "_SOME_FAILURES", 10)
    source.put_many({f"c/{number:04}": b"1" for number in range(200)})

    def forbidden(what, key):
        if what in ("put", "writer") and key.startswith("c/"):
            raise BackendError("forbidden")

    target.backend.before = forbidden
    assert counts(mirror(source, target, workers=1)) == (20, 0, 0, 200)


def test_a_fault_in_a_worker_is_a_failure_without_its_text(source, target):
    source.put_many({f"e/{number:03}": b"1" for number in range(100)})
    target.backend.before = failing(-1, RuntimeError("password=hunter2"), "put", key="d/005")
    report = mirror(source, target)
    assert report.copied
    assert report.copied + report.failed == 120
    assert {failure.reason for failure in report.failures} == {"the worker failed by RuntimeError"}


def test_a_value_that_cannot_be_deleted_is_told(source, target):
    target.put_many({"x": b"1", "y": b"1"})
    target.backend.before = failing(-1, BackendError("not allowed"), "delete", key="x")
    report = mirror(source, target, delete=True)
    assert counts(report) == (20, 0, 1, 1)
    assert report.failures[0].key == "x"


def test_a_source_that_cannot_be_asked_keeps_what_would_be_deleted(source, target):
    target.put("x", b"1")
    source.backend.exists = lambda key: failing(-1, BackendError("no answer"), "exists")("exists", key)
    report = mirror(source, target, delete=True)
    assert (report.deleted, report.failures[0].key) == (0, "x")
    assert target.exists("x")


def test_an_interruption_tells_what_was_done_and_the_next_run_completes_it(source, target):
    plain = source.backend.scan

    def scan(prefix="", after=None):
        for number, entry in enumerate(plain(prefix)):
            if number == 10:
                raise KeyboardInterrupt
            yield entry

    source.backend.scan = scan
    with pytest.raises(MirrorInterrupted) as caught:
        mirror(source, target, delete=True)
    assert isinstance(caught.value, KeyboardInterrupt)
    assert caught.value.report.copied == len(contents(target))
    source.backend.scan = plain
    assert mirror(source, target).complete
    assert contents(target) == contents(source)


def test_two_at_once_agree(source, tmp_path):
    target = get_store(tmp_path / "files", serialization_mode="raw")
    source.put_many({f"e/{number:04}": b"" for number in range(3000)})
    before = warnings.showwarning, list(warnings.filters)
    reports = []
    threads = [threading.Thread(target=lambda: reports.append(mirror(source, target))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(report.complete and report.copied + report.skipped == 3020 for report in reports)
    assert (warnings.showwarning, warnings.filters) == before  # which recording them replaces for a while
    assert contents(target) == contents(source)


MIRROR = """
import sys
from anystore import mirror
print(mirror(sys.argv[1], sys.argv[2], max_bytes_per_second=4_000_000))
"""


@pytest.mark.parametrize("target", ["files", "sqlite", "zip"])
def test_after_a_kill_no_value_is_half_and_the_next_run_completes(target, tmp_path):
    source = get_store(tmp_path / "source", serialization_mode="raw")
    source.put_many({f"{number:03}": os.urandom(300_000) for number in range(60)})
    source.put("large", os.urandom(3_000_000))
    places = {"files": tmp_path / "copy", "sqlite": f"sqlite:///{tmp_path}/copy.db", "zip": tmp_path / "copy.zip"}
    copy = get_store(places[target], serialization_mode="raw")
    command = [sys.executable, "-c", MIRROR, str(tmp_path / "source"), str(places[target])]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        deadline = time.monotonic() + 60
        while not any(copy.iterate_keys()) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.kill()
    there = contents(copy)
    assert there
    assert all(data == source.get(key) for key, data in there.items())
    report = mirror(source, copy)
    assert report.complete
    assert report.copied == 61 - len(there)
    assert contents(copy) == contents(source)


FULL = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))
from anystore import mirror
report = mirror(sys.argv[1], sys.argv[2])
print(report.copied, report.failed, report.failures[0].key)
"""


def test_a_value_there_is_no_room_for_leaves_room_for_others(tmp_path):
    assert resource.RLIMIT_FSIZE
    source = get_store(tmp_path / "source", serialization_mode="raw")
    source.put_many({"a": b"1", "large": bytes(5_000_000), "z": b"1"})
    command = [sys.executable, "-c", FULL, str(tmp_path / "source"), str(tmp_path / "copy")]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert result.stdout == "2 1 large\n"
    assert sorted(get_store(tmp_path / "copy").iterate_keys()) == ["a", "z"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_tells_what_was_done_before_it_was_ended(number, tmp_path):
    source = get_store(tmp_path / "source", serialization_mode="raw")
    source.put_many({f"{number:03}": os.urandom(300_000) for number in range(100)})
    copy = get_store(tmp_path / "copy")
    command = [sys.executable, "-m", "anystore", "mirror", "source", "copy", "--max-bytes-per-second", "2000000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path, text=True) as process:
        deadline = time.monotonic() + 60
        while not any(copy.iterate_keys()) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    copied = len(list(copy.iterate_keys()))
    assert 0 < copied < 100
    assert f"copied     {copied:,} values" in out
    assert counts(mirror(source, copy)) == (100 - copied, copied, 0, 0)
