"""Copies kept on the disk: as the value is now, whole, bounded, and shared by whoever comes."""

import os
import random
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
import uuid

import pytest

from anystore import get_store
from anystore.errors import BackendError, DoesNotExist
from anystore.virtual import open_virtual
from anystore.virtual.cache import DiskCache
from tests.object_servers import BUCKET

KIND = ["memory", "zip", "sqlite", "postgres", "redis", "s3", "http", "sftp"]


def open_store(kind, ask, path):
    """Give an empty store, and what puts a value into it."""
    name = f"t{uuid.uuid4().hex[:12]}"
    match kind:
        case "memory":
            store = get_store(f"memory://{name}")
        case "zip":
            store = get_store(f"{path}/archive.zip")
        case "sqlite":
            store = get_store(f"sqlite:///{path}/store.db")
        case "postgres":
            store = get_store(ask("postgres_server").url, backend_config={"table": name})
        case "redis":
            store = get_store(f"redis://127.0.0.1:{ask('redis_server').port}/0/{name}")
        case "s3":
            store = get_store(f"s3://{BUCKET}/{name}", backend_config=ask("seaweedfs_server").config)
        case "sftp":
            server = ask("sftp_server")
            store = get_store(f"{server.uri}/{name}", backend_config=server.config)
        case "http":
            server = ask("nginx_server")
            behind = get_store(server.root)
            return get_store(server.url), lambda key, data: behind.put(key, data, serialization_mode="raw")
    return store, lambda key, data: store.put(key, data, serialization_mode="raw")


@pytest.fixture(params=KIND)
def place(request, tmp_path):
    return open_store(request.param, request.getfixturevalue, tmp_path)


@pytest.fixture
def memory(temporary):
    return get_store(f"memory://{uuid.uuid4().hex}", serialization_mode="raw")


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """Give the folder of temporary files, which has to be empty after each test."""
    folder = tmp_path / "temporary files"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert os.listdir(folder) == []


def kept(cache):
    """Give the sizes of the files in a cache, by their names."""
    files = [(folder, name) for folder, _, names in os.walk(cache) for name in names if name != "total"]
    return {name: os.stat(f"{folder}/{name}").st_size for folder, name in files}


def identity(path):
    status = os.stat(path)
    return status.st_ino, status.st_ctime_ns


def test_a_value_is_fetched_once_and_again_when_it_has_changed(place, cache):
    store, put = place
    put("folder/a.pdf", b"first")
    seen = []
    for _ in range(3):
        with store.local_path("folder/a.pdf", cache_dir=cache) as path:
            assert path.name == "a.pdf"
            assert path.read_bytes() == b"first"
            seen.append((path, identity(path)))
    assert len(set(seen)) == 1
    put("folder/a.pdf", b"second, longer")
    with open_virtual("folder/a.pdf", store, cache_dir=str(cache)) as file:
        assert file.read() == b"second, longer"
        assert not file.writable()
    assert kept(cache) == {"a.pdf": 14}


def test_a_value_that_is_gone_is_gone(place, cache):
    store, put = place
    with pytest.raises(DoesNotExist), store.local_path("a", cache_dir=cache):
        pass
    if store.uri.startswith("http"):
        return
    put("a", b"x")
    with store.local_path("a", cache_dir=cache):
        pass
    store.delete("a")
    with pytest.raises(DoesNotExist), store.local_path("a", cache_dir=cache):
        pass


def test_what_nothing_tells_apart_is_fetched_each_time(redis_server, cache):
    store = get_store(f"redis://127.0.0.1:{redis_server.port}/0/{uuid.uuid4().hex}", serialization_mode="raw")
    data = bytes(2 << 20)  # above a mebibyte, Redis has no version
    store.put("a", data)
    assert (store.info("a").version, store.info("a").modified) == (None, None)
    for last in (b"1", b"2"):
        store.put("a", data[1:] + last)
        with store.local_path("a", cache_dir=cache) as path:
            assert path.read_bytes() == data[1:] + last
    assert kept(cache) == {}


def test_only_the_owner_can_read_and_nobody_is_to_write(memory, cache):
    memory.put("a/b.txt", b"x")
    with memory.local_path("a/b.txt", cache_dir=cache) as path:
        assert stat.S_IMODE(path.stat().st_mode) == 0o400
        folder = path.parent
        while folder != cache.parent:
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
            folder = folder.parent


def test_stores_share_a_folder_and_foreign_files_stay(tmp_path, cache):
    cache.mkdir()
    (cache / "notes.txt").write_text("mine")
    (cache / "keys").mkdir()
    for name in "ab":
        store = get_store(f"memory://{tmp_path}/{name}")
        store.put("x", name)
        with store.local_path("x", cache_dir=cache, cache_size=1) as path:
            assert path.read_text() == name
    assert (cache / "notes.txt").read_text() == "mine"
    assert (cache / "keys").is_dir()


def test_the_longest_unused_goes_first(memory, cache):
    for key in "abcd":
        memory.put(key, bytes(100))

    def use(key, size=350):
        with memory.local_path(key, cache_dir=cache, cache_size=size):
            pass

    for key in "abc":
        use(key)
    assert set(kept(cache)) == set("abc")
    use("a")
    use("d")
    assert set(kept(cache)) == set("acd")
    use("b", size=200)
    assert set(kept(cache)) == set("bd")
    memory.put("e", bytes(100))
    use("e", size=200)
    assert set(kept(cache)) == set("be")
    assert len(os.listdir(cache / "anystore-virtual" / "keys")) <= 3  # folders of keys without a file go


def test_what_is_in_use_stays(memory, cache):
    for key in "abc":
        memory.put(key, bytes(100))
    with memory.local_path("a", cache_dir=cache, cache_size=100) as a:
        with memory.local_path("b", cache_dir=cache, cache_size=100) as b:
            with memory.local_path("c", cache_dir=cache, cache_size=100) as c:
                assert all(len(path.read_bytes()) == 100 for path in (a, b, c))
            assert (a.exists(), b.exists(), c.exists()) == (True, True, False)
        memory.put("a", bytes(50))
        with memory.local_path("a", cache_dir=cache, cache_size=100) as newer:
            assert len(newer.read_bytes()) == 50
            assert len(a.read_bytes()) == 100
    assert sum(kept(cache).values()) <= 100


def test_what_is_too_large_is_not_kept_and_drives_nothing_out(memory, cache, temporary):
    memory.put("small", bytes(100))
    memory.put("large", bytes(1000))
    with memory.local_path("small", cache_dir=cache, cache_size=500):
        pass
    with memory.local_path("large", cache_dir=cache, cache_size=500) as path:
        assert path.parent.parent == temporary
        assert len(path.read_bytes()) == 1000
    assert kept(cache) == {"small": 100}


def test_a_file_that_was_cut_is_fetched_again(memory, cache):
    memory.put("a", b"hello")
    with memory.local_path("a", cache_dir=cache) as path:
        pass
    path.chmod(0o600)
    path.write_bytes(b"he")
    with memory.local_path("a", cache_dir=cache) as path:
        assert path.read_bytes() == b"hello"
    path.unlink()
    with memory.local_path("a", cache_dir=cache) as path:
        assert path.read_bytes() == b"hello"


def test_an_exception_leaves_the_file_for_the_next_time(memory, cache):
    memory.put("a", b"hello")
    with pytest.raises(RuntimeError), memory.local_path("a", cache_dir=cache) as path:
        raise RuntimeError
    assert path.read_bytes() == b"hello"
    with memory.local_path("a", cache_dir=cache, cache_size=5):
        pass
    memory.put("b", b"world")
    with memory.local_path("b", cache_dir=cache, cache_size=5):  # nobody holds what the exception let go
        pass
    assert set(kept(cache)) == {"b"}


def test_a_folder_that_cannot_be(memory, tmp_path):
    memory.put("a", b"hello")
    (tmp_path / "file").write_text("x")
    for folder in (tmp_path / "file", tmp_path / "file" / "below", "/proc/nowhere"):
        with pytest.raises(BackendError, match="'a'"), memory.local_path("a", cache_dir=folder):
            pass


def test_a_folder_of_someone_else(memory, cache, monkeypatch):
    memory.put("a", b"hello")
    with memory.local_path("a", cache_dir=cache):
        pass
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(BackendError, match="another user"), memory.local_path("a", cache_dir=cache):
        pass


def test_a_path_relative_to_the_home_or_to_here(memory, tmp_path, monkeypatch):
    memory.put("a", b"hello")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    with memory.local_path("a", cache_dir="~/cache") as path:
        assert path.is_relative_to(tmp_path / "home" / "cache")
    with memory.local_path("a", cache_dir="here") as path:
        assert path.is_relative_to(tmp_path / "here")


def test_threads(memory, cache):
    for key in range(20):
        memory.put(str(key), bytes([key]) * 1000)
    failures = []

    def work(seed):
        try:
            for key in random.Random(seed).choices(range(20), k=60):
                with memory.local_path(str(key), cache_dir=cache, cache_size=5000) as path:
                    assert path.read_bytes() == bytes([key]) * 1000
        except BaseException as error:  # noqa: BLE001 - shown below
            failures.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with memory.local_path("0", cache_dir=cache, cache_size=5000):
        pass
    assert sum(kept(cache).values()) <= 5000


def test_many_files(memory, cache, monkeypatch):
    memory.put_many((str(number), bytes(100)) for number in range(130))
    counted = []
    evict = DiskCache._evict
    monkeypatch.setattr(DiskCache, "_evict", lambda *given: counted.append(1) or evict(*given))
    for number in range(130):
        with memory.local_path(str(number), cache_dir=cache, cache_size=12_000):
            pass
    assert sum(kept(cache).values()) <= 12_000
    assert "129" in kept(cache)
    assert "0" not in kept(cache)
    assert len(counted) <= 3  # not each time


def test_a_count_that_is_wrong_or_lost_is_made_anew(memory, cache):
    for key in "abc":
        memory.put(key, bytes(100))
    for key, count in (("a", None), ("b", "nonsense"), ("c", "99999999")):
        if count is not None:
            (cache / "anystore-virtual" / "total").write_text(count)
        with memory.local_path(key, cache_dir=cache, cache_size=300):
            pass
    assert set(kept(cache)) == set("abc")
    assert (cache / "anystore-virtual" / "total").read_text() == "300"


SAME = """
import os, sys
from anystore import get_store
store = get_store(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
with store.local_path("a.bin", cache_dir=sys.argv[2]) as path:
    assert path.read_bytes() == bytes(5_000_000)
    status = path.stat()
print(status.st_ino, status.st_ctime_ns)
"""


def test_processes_fetch_a_value_once(tmp_path, cache):
    uri = f"sqlite:///{tmp_path}/store.db"
    get_store(uri).put("a.bin", bytes(5_000_000))
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SAME, uri, cache], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    assert len({process.communicate(timeout=60)[0] for process in processes}) == 1
    assert [process.returncode for process in processes] == [0] * 4


MIXED = """
import os, random, sys
from anystore import get_store
store = get_store(sys.argv[1], serialization_mode="raw")
chance = random.Random(sys.argv[3])
print("ready", flush=True)
for _ in range(int(sys.argv[4])):
    number = chance.randrange(12)
    if chance.random() < 0.2:
        store.put(f"{number}.bin", bytes([chance.randrange(256)]) * 100_000)
    with store.local_path(f"{number}.bin", cache_dir=sys.argv[2], cache_size=500_000) as path:
        data = path.read_bytes()
        assert len(data) == 100_000 and data == data[:1] * 100_000
"""


def start(uri, cache, seed, rounds):
    arguments = [sys.executable, "-c", MIXED, uri, str(cache), str(seed), str(rounds)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_processes_that_read_write_and_evict(tmp_path, cache):
    uri = f"sqlite:///{tmp_path}/store.db"
    get_store(uri).put_many((f"{number}.bin", bytes(100_000)) for number in range(12))
    processes = [start(uri, cache, seed, 60) for seed in range(4)]
    assert [process.communicate(timeout=120)[1] for process in processes] == [""] * 4
    assert sum(kept(cache).values()) <= 500_000
    assert os.listdir(cache / "anystore-virtual" / "arriving") == []


def test_killed_processes_leave_whole_files_or_none(tmp_path, cache):
    uri = f"sqlite:///{tmp_path}/store.db"
    store = get_store(uri, serialization_mode="raw")
    store.put_many((f"{number}.bin", bytes(100_000)) for number in range(12))
    for seed in range(12):
        with start(uri, cache, seed, 10_000) as process:
            assert process.stdout.readline() == "ready\n"
            time.sleep(random.Random(seed).uniform(0, 0.08))  # the moment is the subject
            process.send_signal(signal.SIGKILL if seed % 2 else signal.SIGTERM)
            process.communicate(timeout=30)
        whole = [
            size
            for folder, _, names in os.walk(cache / "anystore-virtual" / "keys")
            for size in [os.stat(f"{folder}/{name}").st_size for name in names]
        ]
        assert set(whole) <= {100_000}
    with store.local_path("0.bin", cache_dir=cache, cache_size=500_000) as path:
        assert len(path.read_bytes()) == 100_000
    store.put("new.bin", b"x")
    with store.local_path("new.bin", cache_dir=cache, cache_size=500_000):
        pass
    assert os.listdir(cache / "anystore-virtual" / "arriving") == []
    assert sum(kept(cache).values()) <= 500_000


FORKING = """
import os, sys
from anystore import get_store
store = get_store("memory://forking", serialization_mode="raw")
store.put("a", b"x" * 100)
store.put("b", b"y" * 100)
with store.local_path("a", cache_dir=sys.argv[1], cache_size=100) as path:
    child = os.fork()
    if not child:
        sys.stdin.read()
        os._exit(0)
with store.local_path("b", cache_dir=sys.argv[1], cache_size=100):
    assert not path.exists()  # the child holds it no longer than its parent
print("done", flush=True)
os.waitpid(child, 0)
"""


def test_a_forked_process_does_not_keep_a_file_in_use(cache):
    done = subprocess.run(
        [sys.executable, "-c", FORKING, cache], input=b"", capture_output=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, b"done\n"), done.stderr
