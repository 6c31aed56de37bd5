"""A process that dies, a disk that is full, a lock that many want: an archive loses nothing."""

import contextlib
import errno
import fcntl
import functools
import os
import random
import select
import signal
import subprocess
import sys
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from anystore.backends.zip import ZipBackend
from anystore.errors import AlreadyExists, BackendError, DoesNotExist, ReadOnlyError, VersionMismatch
from anystore.keys import parse_key

KILLS = int(os.environ.get("ANYSTORE_TEST_KILLS", "30"))
OLD = b"old " * 700
NOISE = random.Random(0).randbytes(3_000_000)


def check_archive(path, *, empty=False):
    """Let others look at the archive, and see that nothing lies beside it."""
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert len(set(archive.namelist())) == len(archive.namelist())
    if not empty:
        done = subprocess.run(["unzip", "-tqq", path], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    folder, name = os.path.split(path)
    assert [other for other in os.listdir(folder) if other.startswith(name)] == [name]


# -- killed by chance ----------------------------------------------------------

WRITER = """
import os, random, sys
from anystore.backends.zip import ZipBackend
from anystore.keys import parse_key

def say(word, key, turn):
    os.write(1, f"{word} {key} {turn}\\n".encode())

def value(key, turn):
    return f"{key} {turn} ".encode() + NOISE[: chance.choice([0, 10, 3_000, 300_000, 3_000_000])]

NOISE = random.Random(0).randbytes(3_000_000)
path, seed, first = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
chance = random.Random(seed)
backend = ZipBackend(path, compression=chance.choice(["stored", "stored", "deflated"]))
for turn in range(first, first + 100_000):
    keys = [parse_key(f"folder/{chance.randrange(8)}")]
    kind = chance.choice(["put", "writer", "many", "many", "delete"])
    if kind == "many":
        keys = [parse_key(f"folder/{number}") for number in range(8)]
    for key in keys:
        say("begin-delete" if kind == "delete" else "begin", key, turn)
    if kind == "put":
        backend.put(keys[0], value(keys[0], turn))
    elif kind == "writer":
        with backend.writer(keys[0]) as writer:
            writer.write(value(keys[0], turn))
    elif kind == "many":
        backend.put_many((key, value(key, turn)) for key in keys)
    else:
        backend.delete(keys[0])
    for key in keys:
        say("end", key, turn)
"""


def run_and_kill(path, seed, first):
    """Let a process write for a while, kill it, and give what it said."""
    argv = [sys.executable, "-c", WRITER, path, str(seed), str(first)]
    chance = random.Random(seed)
    wanted = chance.randrange(1, 30)
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        said = b""
        while said.count(b"end") < wanted or b"begin" not in said.splitlines()[-1]:
            assert select.select([process.stdout], [], [], 60)[0]
            said += os.read(process.stdout.fileno(), 4096)
        if seed % 2:
            time.sleep(chance.uniform(0, 0.01))  # wherever it is then
        else:
            while not os.path.exists(path + ".anystore-journal") and process.poll() is None:
                if select.select([process.stdout], [], [], 0)[0]:  # a full pipe would stop it
                    said += os.read(process.stdout.fileno(), 4096)
            time.sleep(chance.uniform(0, 0.002))
        process.send_signal(signal.SIGKILL)
        said += process.stdout.read()
    assert process.returncode == -signal.SIGKILL
    return [line.split() for line in said.decode().splitlines() if line.count(" ") == 2]


@pytest.mark.timeout(3600)
def test_a_killed_writer_loses_nothing(tmp_path):
    path = str(tmp_path / "values.zip")
    allowed = {f"folder/{number}": {None} for number in range(8)}  # the turns whose value may be there
    running, recovered = {}, 0
    for seed in range(KILLS):
        for word, key, turn in run_and_kill(path, seed, seed * 100_000):
            if word == "end":
                allowed[key] = {running.pop(key)}
            else:
                running[key] = None if word == "begin-delete" else int(turn)
        recovered += os.path.exists(path) and not zipfile.is_zipfile(path)
        backend = ZipBackend(path)
        for key, turns in allowed.items():
            possible = turns | ({running[key]} if key in running else set())
            data = dict(backend.get_many([parse_key(key)]))[key]
            found = None
            if data is not None:
                name, turn, noise = data.split(b" ", 2)
                assert name == key.encode()
                assert noise == NOISE[: len(noise)]
                found = int(turn)
            assert found in possible, (seed, key)
            allowed[key] = {found}
        running.clear()
        check_archive(path, empty=not list(backend.keys()))
    assert recovered, "no kill came while the archive was without a directory"


# -- killed at every step ------------------------------------------------------

STEPS = ("open", "pwrite", "ftruncate", "utime", "unlink", "replace", "close", "fsync", "fchmod")

CHANGES = {
    "put": lambda backend: backend.put(parse_key("a/1"), b"new"),
    "put another": lambda backend: backend.put(parse_key("a/3"), b"new"),
    "put_many": lambda backend: backend.put_many([(parse_key("a/1"), b"new"), (parse_key("a/3"), b"new")]),
    "delete": lambda backend: backend.delete(parse_key("a/2")),
    "take": lambda backend: backend.take(parse_key("a/2")),
    "copy": lambda backend: backend.copy(parse_key("a/2"), parse_key("a/3")),
    "compact": lambda backend: backend.put(parse_key("a/1"), b"small"),
}


def die_at(step, change, *, durable, path):
    """Do a change in a child that is killed before a call of the system; tell whether it came so far."""
    child = os.fork()
    if not child:
        left = [step]

        def counted(call):
            def count(*arguments, **options):
                if not left[0]:
                    os.kill(os.getpid(), signal.SIGKILL)
                left[0] -= 1
                return call(*arguments, **options)

            return count

        try:
            backend = ZipBackend(path, durable=durable)
            for name in STEPS:
                setattr(os, name, counted(getattr(os, name)))
            change(backend)
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


@pytest.mark.parametrize("durable", [False, True])
@pytest.mark.parametrize("name", CHANGES)
def test_a_process_killed_at_any_step_leaves_the_old_or_the_new(tmp_path, name, durable):
    change, step, seen = CHANGES[name], 0, set()
    while True:
        path = str(tmp_path / f"{step}.zip")
        setup = ZipBackend(path, compression="stored")
        setup.put(parse_key("a/1"), b"x" * (20_000 if name == "compact" else 50))
        setup.put(parse_key("a/2"), OLD)
        before = dict(setup.get_many(setup.keys()))
        after_path = str(tmp_path / "after.zip")
        after = ZipBackend(after_path)
        after.put_many((parse_key(key), data) for key, data in before.items())
        change(after)
        expected = dict(after.get_many(after.keys()))
        os.unlink(after_path)
        died = die_at(step, change, durable=durable, path=path)
        again = ZipBackend(path)
        found = dict(again.get_many(again.keys()))
        assert found in (before, expected)
        seen.add(found == expected)
        again.put(parse_key("b"), b"afterwards")
        assert ZipBackend(path).get(parse_key("b")) == b"afterwards"
        check_archive(path)
        step += 1
        if not died:
            break
    assert found == expected
    assert seen == {False, True}
    assert step > 8


def test_an_archive_that_was_half_made_is_empty(tmp_path):
    path, step = str(tmp_path / "x.zip"), 0
    while die_at(step, lambda backend: backend.put(parse_key("a"), b"1"), durable=False, path=path):
        backend = ZipBackend(path)
        assert dict(backend.get_many([parse_key("a")]))[parse_key("a")] in (None, b"1")
        backend.put(parse_key("b"), b"2")
        check_archive(path)
        os.unlink(path)
        step += 1
    assert step > 5
    assert ZipBackend(path).get(parse_key("a")) == b"1"


# -- journals ------------------------------------------------------------------


def interrupted(tmp_path):
    """Make an archive whose writer died when the directory was already overwritten."""
    path = str(tmp_path / "x.zip")
    ZipBackend(path).put(parse_key("a"), OLD)
    step = 0
    while zipfile.is_zipfile(path):
        assert die_at(step, lambda backend: backend.put(parse_key("b"), os.urandom(50_000)), durable=False, path=path)
        if not zipfile.is_zipfile(path):
            break
        ZipBackend(path).get(parse_key("a"))
        step += 1
    assert os.path.exists(path + ".anystore-journal")
    return path


def test_a_journal_of_another_archive_is_not_put_back(tmp_path):
    path = interrupted(tmp_path)
    with zipfile.ZipFile(tmp_path / "other", "w") as other:
        other.writestr("other", os.urandom(100_000))
    os.replace(tmp_path / "other", path)
    assert list(ZipBackend(path).keys()) == ["other"]
    ZipBackend(path).put(parse_key("a"), b"1")
    check_archive(path)


def test_a_journal_of_a_new_archive_is_not_put_back_to_another(tmp_path):
    path, step = str(tmp_path / "x.zip"), 0
    while not (os.path.exists(path) and os.path.getsize(path) and not zipfile.is_zipfile(path)):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path + ".anystore-journal")
            os.unlink(path)
        put = functools.partial(ZipBackend.put, key=parse_key("a"), data=os.urandom(50_000))
        assert die_at(step, put, durable=False, path=path)
        step += 1
    with zipfile.ZipFile(tmp_path / "other", "w") as other:
        other.writestr("other", b"1")
    os.replace(tmp_path / "other", path)
    assert list(ZipBackend(path).keys()) == ["other"]
    check_archive(path)


def test_a_journal_goes_with_a_copy_of_its_archive(tmp_path):
    path = interrupted(tmp_path)
    folder = tmp_path / "copied"
    folder.mkdir()
    for name in ("x.zip", "x.zip.anystore-journal"):
        (folder / name).write_bytes((tmp_path / name).read_bytes())
    assert ZipBackend(str(folder / "x.zip")).get(parse_key("a")) == OLD
    check_archive(str(folder / "x.zip"))
    assert ZipBackend(path).get(parse_key("a")) == OLD


AS_NOBODY = """
import os, sys
from anystore.backends.zip import ZipBackend
from anystore.errors import ReadOnlyError
from anystore.keys import parse_key
backend = ZipBackend(sys.argv[1])
os.setuid(65534)
assert backend.get(parse_key("a")) == b"old " * 700
assert list(backend.keys()) == ["a"]
for write in (lambda: backend.put(parse_key("b"), b"1"), lambda: backend.delete(parse_key("a")),
              lambda: backend.take(parse_key("a")), lambda: backend.put_many([(parse_key("b"), b"1")])):
    try:
        write()
    except ReadOnlyError as error:
        assert "permission" in str(error).lower() and "x.zip" in str(error), error
    else:
        raise SystemExit("written")
"""


@pytest.mark.parametrize("state", ["whole", "interrupted", "writable in a folder that is not"])
def test_a_read_only_archive_is_read_and_refuses_writes(open_folder, state):
    path = interrupted(open_folder) if state == "interrupted" else str(open_folder / "x.zip")
    if state != "interrupted":
        ZipBackend(path).put(parse_key("a"), OLD)
    if state == "writable in a folder that is not":
        os.chmod(path, 0o666)
    before = Path(path).read_bytes()
    assert os.getuid() == 0, "the test gives up root's rights"
    done = subprocess.run([sys.executable, "-c", AS_NOBODY, path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert Path(path).read_bytes() == before


# -- full disks ----------------------------------------------------------------


@pytest.mark.parametrize("call", ["pwrite", "ftruncate", "utime", "fsync"])
@pytest.mark.parametrize("number", range(4))
def test_a_full_disk_leaves_the_old_archive(tmp_path, monkeypatch, call, number):
    path = str(tmp_path / "x.zip")
    backend = ZipBackend(path, durable=True)
    backend.put_many((parse_key(f"a/{index}"), OLD) for index in range(5))
    before = Path(path).read_bytes()
    real, calls = getattr(os, call), []

    def full(*arguments, **options):
        calls.append(call)
        if len(calls) == number + 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        failure = None
        try:
            backend.put(parse_key("b"), os.urandom(100))
        except BackendError as error:
            failure = str(error)
    assert (failure is None) == (len(calls) <= number)
    if failure is not None:
        assert "No space left" in failure
        assert "'b'" in failure
        if (call, number) == ("fsync", 3):  # of the folder, when all else is done: whether it is durable is not known
            assert len(list(backend.keys())) == 6
        else:
            assert Path(path).read_bytes() == before
    assert sorted(backend.keys())[:5] == [f"a/{index}" for index in range(5)]
    assert list(ZipBackend(path).get_many([parse_key("a/1")])) == [("a/1", OLD)]
    check_archive(path)


def test_a_disk_that_stays_full_leaves_the_journal_to_the_next_one(tmp_path, monkeypatch):
    path = str(tmp_path / "x.zip")
    backend = ZipBackend(path)
    backend.put(parse_key("a"), OLD)
    calls = []

    def full(descriptor, data, position, real=os.pwrite):
        calls.append(position)
        if len(calls) > 2:
            raise OSError(errno.EIO, "Input/output error")
        return real(descriptor, data, position)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        with pytest.raises(BackendError, match="Input/output"):
            backend.put(parse_key("b"), os.urandom(9000))
    assert os.path.exists(path + ".anystore-journal")
    assert backend.get(parse_key("a")) == OLD
    check_archive(path)


def test_a_real_limit_of_the_file_size_is_an_error_and_leaves_the_archive(tmp_path):
    path = str(tmp_path / "x.zip")
    ZipBackend(path).put(parse_key("a"), OLD)
    code = """
import os, resource, signal, sys
from anystore.backends.zip import ZipBackend
from anystore.errors import BackendError
from anystore.keys import parse_key
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
backend = ZipBackend(sys.argv[1])
for size in (60_000, 3_000_000):
    for write in (lambda: backend.put(parse_key("b"), os.urandom(size)),
                  lambda: backend.put_many([(parse_key("b"), os.urandom(size))])):
        try:
            write()
        except BackendError as error:
            assert "large" in str(error), error
        else:
            raise SystemExit("written")
assert list(backend.keys()) == ["a"]
backend.put(parse_key("b"), b"small")
"""
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert sorted(ZipBackend(path).keys()) == ["a", "b"]
    check_archive(path)


# -- many at once --------------------------------------------------------------

WORKER = """
import sys
from anystore.backends.zip import ZipBackend
from anystore.errors import AlreadyExists, DoesNotExist, VersionMismatch
from anystore.keys import parse_key
path, name = sys.argv[1:]
backend, counter = ZipBackend(path), parse_key("counter")
won = taken = 0
for number in range(60):
    backend.put(parse_key(f"own/{name}/{number}"), f"{name} {number}".encode() * 100)
    try:
        backend.put(parse_key(f"lock/{number}"), name.encode(), create=True)
        won += 1
    except AlreadyExists:
        pass
    try:
        backend.take(parse_key(f"job/{number}"))
        taken += 1
    except DoesNotExist:
        pass
    while True:
        version = backend.stat(counter).version
        try:
            backend.put(counter, b"%d" % (int(backend.get(counter)) + 1), version=version)
            break
        except VersionMismatch:
            pass
print(won, taken)
"""


def test_four_processes_lose_nothing(tmp_path):
    path = str(tmp_path / "x.zip")
    backend = ZipBackend(path)
    backend.put(parse_key("counter"), b"0")
    backend.put_many((parse_key(f"job/{number}"), b"1") for number in range(60))
    with ThreadPoolExecutor(4) as pool:
        argv = [[sys.executable, "-c", WORKER, path, name] for name in "abcd"]
        outputs = list(pool.map(lambda one: subprocess.run(one, check=True, stdout=subprocess.PIPE).stdout, argv))
    counts = [tuple(map(int, output.split())) for output in outputs]
    assert [sum(column) for column in zip(*counts, strict=True)] == [60, 60]
    assert backend.get(parse_key("counter")) == b"240"
    for name in "abcd":
        for number in range(60):
            assert backend.get(parse_key(f"own/{name}/{number}")) == f"{name} {number}".encode() * 100
    assert len(list(backend.keys("job/"))) == 0
    check_archive(path)


def test_32_threads_lose_nothing(tmp_path):
    path = str(tmp_path / "x.zip")
    shared, counter = ZipBackend(path), parse_key("counter")
    shared.put(counter, b"0")

    def work(number):
        backend = shared if number % 2 else ZipBackend(path)
        for turn in range(8):
            key = parse_key(f"{number}/{turn}")
            with backend.writer(key) as writer:
                writer.write(key.encode() * 500)
            assert backend.get(key) == key.encode() * 500
            while True:
                version = backend.stat(counter).version
                try:
                    backend.put(counter, b"%d" % (int(backend.get(counter)) + 1), version=version)
                    break
                except VersionMismatch:
                    pass

    with ThreadPoolExecutor(32) as pool:
        list(pool.map(work, range(32)))
    assert shared.get(counter) == b"256"
    assert len(list(shared.keys())) == 257
    check_archive(path)


def test_a_reader_keeps_its_version_while_others_write_and_compact(tmp_path):
    backend = ZipBackend(str(tmp_path / "x.zip"), compression="stored")
    backend.put(parse_key("a"), b"first" * 100_000)
    with backend.reader(parse_key("a")) as reader:
        inode = os.stat(tmp_path / "x.zip").st_ino
        pieces = reader.read()
        head = next(pieces, b"")
        for number in range(6):
            backend.put(parse_key("a"), b"%d" % number * 300_000)
        assert os.stat(tmp_path / "x.zip").st_ino != inode
        assert head + b"".join(pieces) == b"first" * 100_000
        assert b"".join(reader.read(5, 10)) == b"first"


def test_a_lock_counts_only_for_the_file_that_has_the_name_then(tmp_path, monkeypatch):
    path = str(tmp_path / "x.zip")
    backend = ZipBackend(path)
    backend.put(parse_key("a"), b"1")
    with zipfile.ZipFile(tmp_path / "other", "w") as other:
        other.writestr("other", b"2")
    real, moved = fcntl.flock, []

    def flock(descriptor, kind):
        if not moved:  # another process was first, and has put a smaller archive in its place
            moved.append(os.replace(tmp_path / "other", path))
        real(descriptor, kind)

    monkeypatch.setattr(fcntl, "flock", flock)
    backend.put(parse_key("b"), b"3")
    assert moved
    assert dict(ZipBackend(path).get_many(map(parse_key, ["other", "b", "a"]))) == {"other": b"2", "b": b"3", "a": None}


def test_a_forked_child_keeps_no_lock(tmp_path):
    backend, key = ZipBackend(str(tmp_path / "x.zip")), parse_key("a")
    backend.put(key, b"1")
    go, done = os.pipe(), os.pipe()
    with backend._archive.locked():
        child = os.fork()
        if not child:  # it lives on, with whatever it has of its parent's open files
            os.read(go[0], 1)
            try:
                backend.put(parse_key("b"), b"2")
                os.write(done[1], b"+")
            finally:
                os._exit(0)
    backend.put(key, b"3")
    os.write(go[1], b"x")
    assert os.read(done[0], 1) == b"+"
    os.waitpid(child, 0)
    assert sorted(backend.keys()) == ["a", "b"]


def test_a_lock_dies_with_its_process_though_it_has_children(tmp_path):
    path = str(tmp_path / "x.zip")
    code = """
import os, signal, sys
from anystore.backends.zip import ZipBackend
with ZipBackend(sys.argv[1])._archive.locked():
    if not os.fork():
        sys.stdin.read()  # outlives its parent
        os._exit(0)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    child = subprocess.Popen([sys.executable, "-c", code, path], stdin=subprocess.PIPE)
    assert child.wait() == -signal.SIGKILL
    ZipBackend(path).put(parse_key("a"), b"1")
    child.stdin.close()


def test_conditions_hold_at_the_commit(tmp_path):
    backend, key = ZipBackend(str(tmp_path / "x.zip")), parse_key("a")
    late = backend.writer(key, create=True)
    first = backend.put(key, b"1", create=True)
    with pytest.raises(AlreadyExists):
        late.commit()
    late = backend.writer(key, version=first.version)
    backend.delete(key)
    with pytest.raises(VersionMismatch):
        late.commit()
    with pytest.raises(DoesNotExist):
        backend.get(key)
    assert not issubclass(ReadOnlyError, BackendError)
