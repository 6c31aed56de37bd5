"""A value is written whole or not at all, again where a service fails for a moment, and never for nothing."""

import hashlib
import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from anystore import BackendError, DoesNotExist, KeyConflict, Store, VersionMismatch, get_store, retries
from anystore.backends.memory import MemoryBackend
from anystore_dagster.stored import BlobRef, Encoded, files_folder
from anystore_dagster.writing import WriteRules, store_encoded, with_retries

RULES = WriteRules(retries=3)


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch):
    monkeypatch.setattr(retries, "FIRST_PAUSE", 0.001)


@pytest.fixture
def store(tmp_path):
    return get_store(tmp_path / "store")


def sha(data):
    return hashlib.sha256(data).hexdigest()


def raw(store, key):
    return store.get(key, serialization_mode="raw")


class Flaky(MemoryBackend):
    """A backend whose service fails the next writes."""

    failures: list = []

    def put(self, key, data, **options):
        if self.failures:
            raise self.failures.pop()
        return super().put(key, data, **options)


@pytest.fixture
def flaky(tmp_path):
    return Store(Flaky(tmp_path.name))


# -- what is written ------------------------------------------------------------


def test_bytes_a_file_and_a_copy_come_with_size_and_checksum(store, tmp_path):
    data = os.urandom(3 << 20)
    (tmp_path / "file").write_bytes(data)
    other = get_store(f"memory://{tmp_path.name}")
    other.put("from", data)
    store.put("here", data)
    sources = [data, tmp_path / "file", BlobRef(other, "from"), BlobRef(store, "here")]
    for number, source in enumerate(sources):
        written = store_encoded(store, f"n{number}", Encoded(source), RULES)
        assert (written.size, written.checksum, written.is_unchanged) == (len(data), sha(data), False)
        assert raw(store, f"n{number}") == data


def test_a_copy_comes_from_the_service_that_its_reference_names(store, tmp_path):
    class Elsewhere(MemoryBackend):
        """As a bucket of the same name at another service."""

        def __init__(self, name):
            super().__init__(name)
            self.uri = store.uri

    other = Store(Elsewhere(tmp_path.name))
    other.put("key", b"theirs")
    store.put("key", b"ours")
    store_encoded(store, "key", Encoded(BlobRef(other, "key")), RULES)
    assert raw(store, "key") == b"theirs"
    store_encoded(store, "files", Encoded(b"{}", {"page": BlobRef(other, "key")}), RULES)
    assert raw(store, f"{files_folder('files', b'{}')}/page") == b"theirs"


def test_a_value_can_be_copied_onto_itself(store):
    store.put("same", b"bytes")
    assert store_encoded(store, "same", Encoded(BlobRef(store, "same")), RULES).checksum == sha(b"bytes")
    assert raw(store, "same") == b"bytes"


def test_what_is_to_be_copied_and_is_gone_leaves_the_older_value(store, tmp_path):
    store.put("key", b"older")
    for source in (BlobRef(store, "gone"), BlobRef(get_store(f"memory://{tmp_path.name}"), "gone")):
        with pytest.raises(DoesNotExist):
            store_encoded(store, "key", Encoded(source), RULES)
    assert raw(store, "key") == b"older"


# -- trouble that passes --------------------------------------------------------


def test_a_service_that_fails_for_a_moment_is_asked_again(flaky):
    flaky.backend.failures = [BackendError("connection lost"), VersionMismatch("changed"), BackendError("again")]
    assert store_encoded(flaky, "key", Encoded(b"value"), RULES).size == 5
    assert raw(flaky, "key") == b"value"


def test_a_service_that_keeps_failing_leaves_the_older_value(flaky):
    flaky.put("key", b"older")
    flaky.backend.failures = [BackendError(f"failure {number}") for number in range(9)]
    with pytest.raises(BackendError, match="failure 5"):
        store_encoded(flaky, "key", Encoded(b"value"), RULES)
    assert len(flaky.backend.failures) == 5
    flaky.backend.failures = []
    assert raw(flaky, "key") == b"older"


def test_what_does_not_pass_is_not_tried_again(flaky):
    flaky.backend.failures = [BackendError("not reached"), KeyConflict("a beside a/b")]
    with pytest.raises(KeyConflict):
        store_encoded(flaky, "key", Encoded(b"value"), RULES)
    assert len(flaky.backend.failures) == 1


def test_a_call_without_retries_is_made_once():
    calls = []

    def fail():
        calls.append(1)
        raise BackendError("down")

    with pytest.raises(BackendError):
        with_retries(fail, 0)
    assert calls == [1]


def _write_slowly(uri, started):
    store = get_store(uri)
    path = Path(uri).parent / "source"

    class Endless(BlobRef):
        def stream(self, chunk_bytes=1):
            yield b"new" * 1000
            started.set()
            while True:
                yield b"new" * 1000
                signal.pause()

    store_encoded(store, "key", Encoded(Endless(get_store(f"memory://{path.name}"), "x")), RULES)


def test_a_process_that_is_killed_while_it_writes_leaves_the_older_value(store, tmp_path):
    store.put("key", b"older")
    context = multiprocessing.get_context("fork")
    started = context.Event()
    process = context.Process(target=_write_slowly, args=(str(tmp_path / "store"), started))
    process.start()
    assert started.wait(30)
    process.kill()
    process.join()
    assert raw(store, "key") == b"older"
    assert list(store.iterate_keys()) == ["key"]


# -- only what has changed ------------------------------------------------------


def test_the_same_content_is_not_written_again(store, tmp_path):
    rules = WriteRules(retries=0, if_changed=True)
    (tmp_path / "file").write_bytes(b"value")
    assert not store_encoded(store, "key", Encoded(b"value"), rules).is_unchanged
    before = store.info("key")
    store.put("source", b"value")
    for source in (b"value", tmp_path / "file", BlobRef(store, "source")):
        again = store_encoded(store, "key", Encoded(source), rules)
        assert (again.is_unchanged, again.checksum, again.size) == (True, sha(b"value"), 5)
    assert store.info("key") == before
    assert not store_encoded(store, "key", Encoded(b"other"), rules).is_unchanged
    assert not store_encoded(store, "key", Encoded(b"longer value"), rules).is_unchanged
    assert raw(store, "key") == b"longer value"


def test_without_the_option_the_same_content_is_written_again(store):
    store_encoded(store, "key", Encoded(b"value"), RULES)
    before = store.info("key")
    os.utime(store.backend.local_file("key"), (1, 1))
    store_encoded(store, "key", Encoded(b"value"), RULES)
    assert store.info("key").modified >= before.modified


# -- the files of a collection --------------------------------------------------


def test_files_come_before_the_value_that_names_them(store, tmp_path):
    (tmp_path / "page").write_bytes(b"page")
    store.put("elsewhere", b"elsewhere")
    other = get_store(f"memory://{tmp_path.name}")
    other.put("far", b"far")
    files = {"a/page.txt": tmp_path / "page", "b": BlobRef(store, "elsewhere"), "c": BlobRef(other, "far")}
    written = store_encoded(store, "all.value", Encoded(b"[1]", files), RULES)
    folder = files_folder("all.value", b"[1]")
    assert {key: raw(store, key) for key in store.iterate_keys(folder)} == {
        f"{folder}/a/page.txt": b"page",
        f"{folder}/b": b"elsewhere",
        f"{folder}/c": b"far",
    }
    assert (written.checksum, written.replaced) == (sha(b"[1]"), None)
    assert store_encoded(store, "all.value", Encoded(b"[1]", files), RULES).replaced is None
    assert store_encoded(store, "all.value", Encoded(b"[2]", files), RULES).replaced == folder
    kept = store_encoded(store, "all.value", Encoded(b"[3]", files), WriteRules(0, version="run"))
    assert kept.replaced is None


def test_a_file_that_cannot_be_stored_leaves_the_older_value(store):
    store.put("all.value", b"[older]")
    with pytest.raises(DoesNotExist):
        store_encoded(store, "all.value", Encoded(b"[1]", {"a": BlobRef(store, "gone")}), RULES)
    assert raw(store, "all.value") == b"[older]"
