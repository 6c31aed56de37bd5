"""The Redis backend used by many threads and processes at once."""

import itertools
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from anystore import Store, get_store
from anystore.backends.redis import from_uri
from anystore.errors import BackendError, InvalidUri, VersionMismatch
from anystore.testing.ground import at_once
from anystore.uris import parse_uri

LONG = 3 << 20
OPEN = """
import sys
from anystore import Store, get_store
from anystore.backends.redis import from_uri
from anystore.errors import DoesNotExist, VersionMismatch
from anystore.uris import parse_uri
backend = from_uri(parse_uri(sys.argv[1]), {})
"""
TAKE = """
for number in range(200):
    try:
        print(backend.take(f"queue/{number}").decode())
    except DoesNotExist:
        pass
"""
INCREMENT = """
for _ in range(25):
    while True:
        version = backend.stat("counter").version
        try:
            backend.put("counter", b"%d" % (int(backend.get("counter")) + 1), version=version)
            break
        except VersionMismatch:
            continue
"""
STREAM = """
writer = backend.writer("key")
while True:
    writer.write(b"new" * 1_000_000)
    print("written", flush=True)
"""


@pytest.fixture
def uri(own_server):
    return f"redis://127.0.0.1:{own_server.port}/0/mine"


@pytest.fixture
def backend(uri):
    backend = from_uri(parse_uri(uri), {})
    yield backend
    backend.close()


def start(script, uri):
    return subprocess.Popen([sys.executable, "-c", OPEN + script, uri], stdout=subprocess.PIPE, text=True)


def test_threads_and_processes_take_each_value_once(backend, uri):
    backend.put_many((f"queue/{number}", b"%d" % number) for number in range(200))
    processes = [start(TAKE, uri) for _ in range(4)]

    def take(_number):
        taken = []
        for number in range(200):
            try:
                taken.append(int(backend.take(f"queue/{number}")))
            except FileNotFoundError:
                continue
        return taken

    taken = list(itertools.chain.from_iterable(at_once(take)))
    for process in processes:
        taken += map(int, process.communicate(timeout=30)[0].split())
        assert process.returncode == 0
    assert sorted(taken) == list(range(200))


def test_swaps_by_processes_lose_no_increment(backend, uri):
    backend.put("counter", b"0")
    processes = [start(INCREMENT, uri) for _ in range(8)]
    assert [process.wait(timeout=30) for process in processes] == [0] * 8
    assert backend.get("counter") == b"200"


def test_killed_writer_leaves_the_old_value_and_a_key_that_expires(backend, own_server, uri):
    backend.put("key", b"old")
    process = start(STREAM, uri)
    for _ in range(3):
        assert process.stdout.readline() == "written\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert backend.get("key") == b"old"
    assert list(backend.keys()) == ["key"]
    (litter,) = (name for name in own_server.command("KEYS", "*") if name != b"mine/key")
    assert 0 < own_server.command("PTTL", litter) <= 600_000


@pytest.mark.parametrize("kind", ["redis_server", "valkey_server"])
def test_readers_never_see_a_torn_value(request, kind):
    """While SET alternates between values of one length, each read is of one of them, or says that it changed."""
    server = request.getfixturevalue(kind)
    backend = from_uri(parse_uri(f"redis://127.0.0.1:{server.port}/0/torn"), {})
    values = [bytes([letter]) * LONG for letter in b"ab"]
    backend.put("key", values[0])
    stop = threading.Event()

    def change():
        with server.connect() as connection:
            for number in itertools.count():
                if stop.is_set():
                    return
                connection.ask("SET", "torn/key", values[number % 2])
                time.sleep(0.004 * (number % 4))

    changing = threading.Thread(target=change)
    changing.start()
    try:
        outcomes = at_once(lambda _number: [read_whole(backend) for _ in range(40)], threads=3)
    finally:
        stop.set()
        changing.join()
    seen = list(itertools.chain.from_iterable(outcomes))
    assert all(data is None or data in values for data in seen)
    assert None in seen
    backend.delete("key")
    backend.close()


def read_whole(backend):
    try:
        with backend.reader("key") as reader:
            return b"".join((*reader.read(0, 2 << 20), *reader.read(2 << 20)))
    except VersionMismatch:
        return None


def test_threads_share_a_small_pool(own_server):
    config = {"max_connections": 3}
    backend = from_uri(parse_uri(f"redis://127.0.0.1:{own_server.port}/0"), config)
    most = []

    def work(number):
        for turn in range(30):
            key = f"{number}/{turn}"
            backend.put(key, key.encode())
            assert backend.get(key) == key.encode()
            most.append(own_server.command("CLIENT", "LIST").count(b"db=0")) if turn == 15 else None

    at_once(work, threads=32)
    assert max(most) <= 3 + 32  # each thread's own look at the list is a client, too
    assert len(backend._client.pool._idle) <= 3
    assert b"connected_clients:4" in own_server.command("INFO", "clients")
    backend.close()


def test_forked_child_shares_no_socket(backend):
    for name in ("parent", "child"):
        backend.put(name, name.encode() * 100)
    backend.put("long", b"x" * LONG)
    reader = backend.reader("long")
    pieces = reader.read()
    next(pieces)
    child = os.fork()
    if child == 0:
        os._exit(_work_as_child(backend, pieces, reader))
    for _ in range(300):
        assert backend.get("parent") == b"parent" * 100
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert sum(map(len, pieces)) == LONG - (1 << 20)
    reader.close()


def _work_as_child(backend, pieces, reader):
    """Give 0 if all is well; a forked child must not come back into pytest."""
    try:
        if any(backend.get("child") != b"child" * 100 for _ in range(300)):
            return 1
        if sum(map(len, backend.read("long"))) != LONG:
            return 2
        try:
            next(pieces)
        except BackendError as error:
            if "forked" not in str(error):
                return 3
        else:
            return 4
        reader.close()
        backend.close()
    except BaseException:  # noqa: BLE001 - the parent sees the code
        return 5
    return 0


def test_long_appends_to_a_long_value_lose_nothing(backend):
    """A value of over 1 MiB has no version here, so that a rewrite could not be bound to one."""
    store = Store(backend, serialization_mode="raw")
    store.put("log", b"0" * (2 << 20))

    def append(number):
        with store.open("log", "ab") as file:
            file.write(b"%d" % number * (9 << 20))

    threads = [threading.Thread(target=append, args=(number,)) for number in range(1, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.info("log").size == 29 << 20


def test_a_store_by_its_uri_and_its_lock(uri):
    store = get_store(uri)
    store.put("a/b", [1], ttl=60)
    assert get_store(uri).get("a/b") == [1]
    with store.lock("job", ttl=5) as first:
        assert not get_store(uri).lock("job", ttl=5).acquire(timeout=0)
    with store.lock("job", ttl=5) as second:
        assert second.token == first.token + 1
    assert list(store.iterate_keys()) == ["a/b"]
    with pytest.raises(InvalidUri):
        get_store(uri.replace("redis://", "redis+cluster://"))
