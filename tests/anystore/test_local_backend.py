"""A folder of files under attack: kills, races, symlinks, foreign files."""

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings
from contextlib import suppress

import pytest

from anystore import get_store
from anystore.backend import Feature
from anystore.backends import local
from anystore.backends.local import LocalBackend, tree
from anystore.backends.local.values import entry_of
from anystore.errors import (
    AnystoreError,
    BackendError,
    DoesNotExist,
    ForeignNameWarning,
    InvalidKey,
    KeyConflict,
    VersionMismatch,
)
from anystore.keys import parse_key


@pytest.fixture
def backend(tmp_path):
    return LocalBackend(str(tmp_path / "root"))


def key(text):
    return parse_key(text)


def run(code, *arguments):
    return subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], stdout=subprocess.PIPE)


def finish(processes):
    """Wait for processes that all started before, and give what each has printed."""
    outputs = [(process.communicate()[0], process.returncode) for process in list(processes)]
    assert [code for _, code in outputs] == [0] * len(outputs)
    return [output for output, _ in outputs]


ENDLESS_WRITER = """
import sys
from anystore import get_store
store = get_store(sys.argv[1])
number = 0
while True:
    number += 1
    data = (b"%08d" % number) * 250_000
    if sys.argv[2] == "put":
        store.put("a/value", data, serialization_mode="raw")
    elif sys.argv[2] == "open":
        with store.open("a/value", "wb") as fh:
            for start in range(0, len(data), 100_000):
                fh.write(data[start:start + 100_000])
    elif sys.argv[2] == "append":
        store.append("a/value", b"%08d\\n" % number * 100)
    else:
        store.move("a/value", "b/value") if store.exists("a/value") else store.move("b/value", "a/value")
    if number == 1:
        print("writing", flush=True)
"""


@pytest.mark.parametrize("action", ["put", "open", "append", "move"])
def test_a_killed_process_leaves_a_whole_value_and_no_litter(tmp_path, action):
    store = get_store(tmp_path, serialization_mode="raw")
    rounds = random.Random(action)
    for _ in range(8):
        if action != "append" and not list(store.iterate_keys()):
            store.put("a/value", b"%08d" % 0 * 250_000)
        with run(ENDLESS_WRITER, tmp_path, action) as writer:
            assert writer.stdout.readline() == b"writing\n"
            time.sleep(rounds.uniform(0, 0.05))
            writer.send_signal(signal.SIGKILL)
        [name] = store.iterate_keys()
        data = store.get(name)
        if action == "append":
            lines = data.splitlines(keepends=True)
            assert all(len(line) == 9 for line in lines)
            assert all(len(set(lines[start : start + 100])) == 1 for start in range(0, len(lines), 100))
            assert len(lines) % 100 == 0
        else:
            assert len(data) == 2_000_000
            assert data == data[:8] * 250_000
        if action != "move":
            assert name == "a/value"


READER = """
import sys
from anystore import get_store
store = get_store(sys.argv[1], serialization_mode="raw")
print("reading", flush=True)
torn = 0
for _ in range(int(sys.argv[2])):
    data = store.get("value")
    with store.open("value") as fh:
        streamed = fh.read()
    torn += len(set(data)) != 1 or len(data) != 300_000 or len(set(streamed)) != 1 or len(streamed) != 300_000
sys.exit(torn)
"""


def test_concurrent_readers_never_see_a_torn_value(tmp_path):
    store = get_store(tmp_path, serialization_mode="raw")
    store.put("value", b"a" * 300_000)
    readers = [run(READER, tmp_path, 300) for _ in range(2)]
    for reader in readers:
        assert reader.stdout.readline() == b"reading\n"
    while any(reader.poll() is None for reader in readers):
        store.put("value", bytes([random.randrange(97, 123)]) * 300_000)
        with store.open("value", "wb") as fh:
            for _ in range(3):
                fh.write(b"z" * 100_000)
    finish(readers)


INCREMENTER = """
import sys
from anystore import get_store
from anystore.errors import VersionMismatch
store = get_store(sys.argv[1])
for _ in range(int(sys.argv[2])):
    while True:
        entry = store.info("counter")
        value = store.get("counter")
        try:
            store.put("counter", value + 1, if_version=entry.version)
            break
        except VersionMismatch:
            pass
"""


def test_swaps_by_many_processes_lose_no_increment(tmp_path):
    store = get_store(tmp_path)
    store.put("counter", 0)
    finish(run(INCREMENTER, tmp_path, 250) for _ in range(4))
    assert store.get("counter") == 1000


RACER = """
import sys
from anystore import get_store
from anystore.errors import AlreadyExists, DoesNotExist
store = get_store(sys.argv[1])
won = []
for number in range(200):
    try:
        store.put(f"lock/{number}", sys.argv[2], if_absent=True)
        won.append(number)
    except AlreadyExists:
        pass
taken = [number for number in range(200) if store.pop(f"job/{number}", raise_on_nonexist=False) is not None]
for number in range(200):
    store.append("log", f"{sys.argv[2]} {number}\\n")
print(len(won), len(taken))
"""


def test_create_take_and_append_are_exclusive_between_processes(tmp_path):
    store = get_store(tmp_path)
    store.put_many({f"job/{number}": number for number in range(200)})
    counts = [tuple(map(int, output.split())) for output in finish(run(RACER, tmp_path, name) for name in "abcd")]
    assert sum(won for won, _ in counts) == 200
    assert sum(taken for _, taken in counts) == 200
    lines = list(store.stream("log", serialization_mode="text"))
    assert sorted(lines) == sorted(f"{name} {number}" for name in "abcd" for number in range(200))


@pytest.mark.parametrize("look", [LocalBackend.stat, lambda backend, key: backend.reader(key).entry])
def test_a_version_that_is_seen_in_the_middle_of_an_append_stands(backend, look, monkeypatch):
    backend.put(key("log"), b"one")
    entered, seen, stamp = threading.Event(), [], local.stamp
    reader = threading.Thread(target=lambda: (entered.set(), seen.append(look(backend, key("log")))))

    def look_before_the_time_is_set(descriptor):
        reader.start()
        entered.wait()
        reader.join(timeout=0.05)
        stamp(descriptor)

    monkeypatch.setattr(local, "stamp", look_before_the_time_is_set)
    backend.append(key("log"), b"two")
    reader.join()
    assert seen == [backend.stat(key("log"))]
    backend.put(key("log"), b"new", version=seen[0].version)


def test_who_only_reads_a_fresh_file_waits_for_nobody_and_makes_nothing(backend, tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    (root / "foreign").write_bytes(b"just now")
    assert backend.stat(key("foreign")).size == 8
    assert [path.name for path in root.iterdir()] == ["foreign"]


def test_a_put_wins_against_pruning(tmp_path):
    code = """
import sys
from anystore import get_store
store = get_store(sys.argv[1])
for number in range(1500):
    store.put(f"deep/er/{sys.argv[2]}", number)
    store.delete(f"deep/er/{sys.argv[2]}")
"""
    finish(run(code, tmp_path, name) for name in "abcd")
    assert not (tmp_path / "deep").exists()


# -- symlinks and paths ------------------------------------------------------


@pytest.fixture
def outside(tmp_path):
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "secret").write_text("secret")
    return folder


def test_a_symlink_that_leaves_the_root_is_not_followed(backend, tmp_path, outside):
    backend.put(key("inside"), b"1")
    root = tmp_path / "root"
    (root / "file").symlink_to(outside / "secret")
    (root / "folder").symlink_to(outside)
    (root / "relative").symlink_to("../outside/secret")
    for name in ("file", "folder/secret", "relative"):
        for read in (backend.get, backend.stat, backend.reader, backend.read, backend.take):
            with pytest.raises(DoesNotExist):
                read(key(name))
        assert not backend.exists(key(name))
        with pytest.raises(DoesNotExist):
            backend.copy(key(name), key("copy"))
        with pytest.raises(DoesNotExist):
            backend.move(key(name), key("copy"))
    for name in ("folder/new", "folder/secret", "folder/deep/er"):
        with pytest.raises(BackendError, match="symbolic link"):
            backend.put(key(name), b"changed")
    backend.delete(key("folder/secret"))
    with pytest.raises(BackendError, match="symbolic link"):
        backend.append(key("folder/secret"), b"x")
    with pytest.warns(ForeignNameWarning, match="3 names"):
        assert list(backend.keys()) == ["inside"]
    assert list(backend.keys("folder/")) == []
    assert os.listdir(outside) == ["secret"]
    assert (outside / "secret").read_text() == "secret"


@pytest.mark.parametrize("name", [".anystore", ".anystore/tmp", ".anystore/locks", ".anystore/absent"])
def test_our_own_folder_that_leads_out_is_not_used(backend, tmp_path, outside, name):
    root = tmp_path / "root"
    link = root / name.replace("absent", "tmp")
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(outside / "absent" if name.endswith("absent") else outside)
    for folder in (outside / "tmp", outside / "locks"):
        folder.mkdir()
        (folder / "old").write_text("somebody else's")
        os.utime(folder / "old", (0, 0))
    os.utime(outside / "secret", (0, 0))
    before = sorted(map(str, outside.rglob("*")))
    for write in (backend.put, backend.append):
        with pytest.raises(BackendError, match="symbolic link"):
            write(key("a"), b"1")
    for call in (backend.delete, backend.take):
        with suppress(AnystoreError):
            call(key("a"))
    assert sorted(map(str, outside.rglob("*"))) == before


def test_a_folder_that_keeps_turning_into_a_symlink_leads_nowhere(backend, tmp_path, outside):
    (outside / "a").write_text("secret")
    inside = tmp_path / "root" / "folder"
    aside = tmp_path / "root" / "aside"
    inside.mkdir(parents=True)
    (inside / "a").write_text("value")
    ended = threading.Event()

    def swap():
        while not ended.is_set():
            for step in (
                lambda: inside.rename(aside),
                lambda: inside.symlink_to(outside),
                lambda: time.sleep(0),
                inside.unlink,
                lambda: shutil.rmtree(inside) if aside.exists() else None,  # a put may have made it anew
                lambda: aside.rename(inside),
            ):
                with suppress(OSError):
                    step()

    swapping = threading.Thread(target=swap)
    swapping.start()
    try:
        for number in range(400):
            with suppress(AnystoreError):
                assert b"secret" not in backend.get(key("folder/a"))
            with suppress(AnystoreError):
                backend.put(key("folder/a"), b"new")
            with suppress(AnystoreError):
                backend.append(key("folder/a"), b"more")
            with suppress(AnystoreError):
                backend.move(key("folder/a"), key(f"moved{number}"))
                assert b"secret" not in backend.get(key(f"moved{number}"))
            with suppress(AnystoreError):
                backend.delete(key("folder/a"))
    finally:
        ended.set()
        swapping.join()
    assert sorted(os.listdir(outside)) == ["a", "secret"]
    assert (outside / "a").read_text() == "secret"


def test_a_value_put_over_a_symlink_replaces_the_link(backend, tmp_path, outside):
    backend.put(key("a"), b"1")
    (tmp_path / "root" / "link").symlink_to(outside / "secret")
    backend.put(key("link"), b"2")
    assert backend.get(key("link")) == b"2"
    assert (outside / "secret").read_text() == "secret"


def test_symlinks_inside_the_root_are_followed_and_loops_end(backend, tmp_path):
    backend.put(key("a/x"), b"1")
    root = tmp_path / "root"
    (root / "b").symlink_to(root / "a")
    (root / "a" / "loop").symlink_to(root)
    with pytest.warns(ForeignNameWarning):
        assert list(backend.keys()) == ["a/x", "b/x"]
    assert backend.get(key("b/x")) == b"1"
    backend.delete(key("b/x"))
    assert not backend.exists(key("a/x"))


def test_a_root_behind_a_symlink(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    store = get_store(tmp_path / "link")
    store.put("a/b", 1)
    assert store.get("a/b") == 1
    assert list(store.iterate_keys()) == ["a/b"]


# -- foreign files -----------------------------------------------------------


def test_foreign_names_are_skipped_with_one_warning(backend, tmp_path):
    backend.put(key("a"), b"1")
    root = os.fsencode(tmp_path / "root")
    for number in range(3):
        with open(os.path.join(root, b"bad\xff%d" % number), "wb"):
            pass
    for listing in (backend.keys, backend.scan):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            assert len(list(listing())) == 1
        assert [warning.category for warning in caught] == [ForeignNameWarning]
        assert "3 names" in str(caught[0].message)


def test_what_is_no_regular_file_is_no_value(backend, tmp_path):
    backend.put(key("a"), b"1")
    os.mkfifo(tmp_path / "root" / "pipe")
    os.mkdir(tmp_path / "root" / "folder")
    for name in ("pipe", "folder", "a/b"):
        assert not backend.exists(key(name))
        with pytest.raises(DoesNotExist):
            backend.get(key(name))
        backend.delete(key(name))
    assert [entry.key for entry in backend.scan()] == ["a"]
    assert list(backend.keys()) == ["a"]


def test_a_root_that_is_a_file_is_no_empty_store(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(BackendError, match="Not a directory"):
        list(LocalBackend(str(tmp_path / "file")).keys())


def test_empty_folders_are_no_obstacle(backend, tmp_path):
    os.makedirs(tmp_path / "root" / "a" / "b" / "c")
    backend.put(key("a"), b"1")
    assert backend.get(key("a")) == b"1"
    with pytest.raises(KeyConflict):
        backend.put(key("a/b"), b"2")


def test_a_file_that_another_program_cuts_is_noticed(backend, tmp_path):
    backend.put(key("a"), b"x" * 5_000_000)
    pieces = backend.read(key("a"))
    next(pieces)
    os.truncate(tmp_path / "root" / "a", 1_500_000)
    with pytest.raises(VersionMismatch):
        list(pieces)


def test_an_append_reaches_neither_an_open_reader_nor_a_hard_link(backend, tmp_path):
    backend.put(key("a"), b"x")
    os.link(tmp_path / "root" / "a", tmp_path / "other-name")
    with backend.reader(key("a")) as reader:
        backend.append(key("a"), b"y")
        backend.append(key("a"), b"z" * 10_000)
        assert b"".join(reader.read()) == b"x"
    assert (tmp_path / "other-name").read_bytes() == b"x"
    assert backend.get(key("a")) == b"xy" + b"z" * 10_000


def test_versions_differ_however_fast_values_follow(backend):
    seen = [backend.put(key("a"), b"same").version for _ in range(500)]
    assert len(set(seen)) == 500


# -- what a file system refuses ------------------------------------------------


def test_segments_of_more_than_255_bytes_are_refused(backend):
    backend.put(key("x" * 255), b"1")
    for call in (backend.get, backend.stat, backend.exists, lambda name: backend.put(name, b"1")):
        with pytest.raises(InvalidKey, match="255"):
            call(key("ü" * 128))


def test_a_read_only_folder(open_folder):
    store = get_store(open_folder / "root")
    store.put("a", 1)
    with store.lock("before"):
        pass
    code = """
import os, sys
from anystore import get_store
from anystore.errors import ReadOnlyError
store = get_store(sys.argv[1])
assert store.get("a") == 1
if not os.getuid():
    os.setuid(65534)
assert store.get("a") == 1
assert store.open("a").read() == b"1"
assert [entry.key for entry in store.entries()] == ["a"]
for write in (
    lambda: store.put("b", 1),
    lambda: store.put("a", 1, if_version=store.info("a").version),
    lambda: store.put("folder/b", 1, if_absent=True),
    lambda: store.open("b", "wb").close(),
    lambda: store.put_many({"b": 1}),
    lambda: store.delete("a"),
    lambda: store.delete_many(["a"]),
    lambda: store.append("a", b"x"),
    lambda: store.move("a", "b"),
    lambda: store.copy("a", "b"),
    lambda: store.pop("a"),
    lambda: store.lock("before").acquire(timeout=1),
    lambda: store.lock("first").acquire(timeout=1),
):
    try:
        write()
    except ReadOnlyError as error:
        assert "permission" in str(error).lower(), error
    else:
        raise SystemExit("written")
"""
    private = open_folder / "root" / ".anystore"
    for folder in (*(one for one in private.rglob("*") if one.is_dir()), private, open_folder / "root"):
        os.chmod(folder, 0o555)
    process = subprocess.run(
        [sys.executable, "-c", code, str(open_folder / "root")], capture_output=True, text=True, check=False
    )
    for folder in (open_folder / "root", private, *(one for one in private.rglob("*") if one.is_dir())):
        os.chmod(folder, 0o755)  # so that it can be removed
    assert process.returncode == 0, process.stderr


def test_a_full_disk_leaves_the_old_value(backend, monkeypatch):
    backend.put(key("a"), b"old")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(BackendError, match="No space left"):
            backend.put(key("a"), b"new")
    assert backend.get(key("a")) == b"old"
    assert list(backend.keys()) == ["a"]


def test_a_forked_child_does_not_take_away_its_parents_temporary_file(backend):
    writer = backend.writer(key("a"))
    writer.write(b"1")
    child = os.fork()
    if not child:
        writer.abort()
        os._exit(0)
    os.waitpid(child, 0)
    writer.commit()
    assert backend.get(key("a")) == b"1"


def test_litter_of_killed_processes_is_swept_by_age(tmp_path):
    folder = tmp_path / ".anystore" / "tmp"
    folder.mkdir(parents=True)
    for name, age in (("old", 2 * 86_400), ("young", 60)):
        (folder / name).write_text("x")
        os.utime(folder / name, (time.time() - age,) * 2)
    get_store(tmp_path).put("a", 1)
    assert os.listdir(folder) == ["young"]


def test_durable_writes_reach_the_disk(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", synced.append)
    get_store(tmp_path / "a").put("x/y", 1)
    assert not synced
    store = get_store(tmp_path / "b", backend_config={"durable": True})
    store.put("x/y", 1)
    assert len(synced) >= 2
    assert store.features == Feature(~(Feature.EXPIRE | Feature.OVERLAP))


# -- listings ------------------------------------------------------------------


def test_the_first_of_100_000_keys_comes_at_once(tmp_path):
    for folder in range(100):
        os.makedirs(tmp_path / f"{folder:02}")
        for number in range(1000):
            os.close(os.open(tmp_path / f"{folder:02}" / f"{number:03}", os.O_CREAT))
    store = get_store(tmp_path)
    asked = []
    scandir = os.scandir
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "scandir", lambda path: asked.append(path) or scandir(path))
        assert next(store.iterate_keys()) == "00/000"
    assert len(asked) == 2  # the root and one folder, whatever else there is
    keys = list(store.iterate_keys())
    assert len(keys) == 100_000
    assert keys == sorted(keys)
    assert next(store.backend.keys("", key("98/999"))) == "99/000"


def test_a_forked_process_holds_no_lock_of_its_parent(backend):
    with backend._tree.locked(key("a")):
        child = os.fork()
        if not child:
            signal.pause()
            os._exit(0)
    try:
        writing = threading.Thread(target=backend.put, args=(key("a"), b"x"), daemon=True)
        writing.start()
        writing.join(5)
        assert not writing.is_alive()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_link_back_to_the_root_is_listed_by_no_prefix(backend, tmp_path):
    backend.put(key("a/b"), b"x")
    os.symlink("../..", tmp_path / "root/a/up")
    os.symlink(".", tmp_path / "root/self")
    assert list(backend.keys("self/")) == []
    assert list(backend.keys("a/up/root/")) == []
    assert list(backend.keys("self/a/")) == []
    os.symlink("a", tmp_path / "root/beside")
    os.unlink(tmp_path / "root/a/up")
    assert list(backend.keys("beside/")) == ["beside/b"]


def test_a_time_that_no_calendar_holds_is_left_out(backend, tmp_path, monkeypatch):
    backend.put(key("a"), b"x")
    entry = entry_of("a", os.stat_result((0,) * 6 + (1, 0, 0, 0), {"st_mtime_ns": 2**38 * 10**9}))
    assert (entry.size, entry.modified) == (1, None)


def test_a_reader_reads_no_other_file_once_it_is_closed(backend, tmp_path):
    backend.put(key("a"), b"a" * 3_000_000)
    backend.put(key("b"), b"b" * 3_000_000)
    reader = backend.reader(key("a"))
    pieces = reader.read()
    next(pieces)
    reader.close()
    with backend.reader(key("b")), pytest.raises(BackendError):  # which has the number that the other had
        next(pieces)


def test_many_values_survive_the_pruning_of_their_folder(backend):
    def items():
        for number in range(5):
            yield key(f"a/b/{number}"), b"x"
            if number != 4:
                backend.delete(key(f"a/b/{number}"))  # the folder goes with it

    backend.put_many(items())
    assert list(backend.keys()) == ["a/b/4"]


def test_many_values_leave_the_root_no_more_than_one(backend, tmp_path, monkeypatch):
    monkeypatch.setattr(tree, "_KEPT_SECONDS", 0.0)

    def items():
        yield key("a/1"), b"x"
        (tmp_path / "root/a").rename(tmp_path / "outside")
        (tmp_path / "root/a").symlink_to(tmp_path / "outside")
        yield key("a/2"), b"x"

    with pytest.raises(BackendError, match="symbolic link"):
        backend.put_many(items())
    assert [path.name for path in (tmp_path / "outside").iterdir()] == ["1"]


def test_many_values_keep_nothing_open(backend, tmp_path):
    backend.put_many([(key("a"), b"x")])
    before = len(os.listdir("/proc/self/fd"))
    backend.put_many((key(f"{number % 7}/{number}"), b"x") for number in range(50))
    with pytest.raises(KeyConflict):
        backend.put_many([(key("1/x"), b"x"), (key("a/b"), b"x")])
    assert len(os.listdir("/proc/self/fd")) == before
    assert not list((tmp_path / "root/.anystore/tmp").iterdir())
