"""At most one holder, whatever happens to it."""

import os
import signal
import subprocess
import sys
import threading
import time
from uuid import uuid4

import pytest

from anystore import get_store
from anystore.errors import BackendError, InvalidKey, InvalidOption, Unsupported
from anystore.keys import private_key
from tests.database_servers import postgres
from tests.servers import HOST


@pytest.fixture(params=["memory", "local", "sqlite", "redis"])
def store(request, tmp_path):
    if request.param == "redis":
        return get_store(f"redis://{HOST}:{request.getfixturevalue('redis_server').port}/0/{uuid4().hex}")
    places = {
        "memory": f"memory://{tmp_path}/locks",
        "local": tmp_path / "locks",
        "sqlite": f"sqlite:///{tmp_path}/l.db",
    }
    return get_store(places[request.param])


def test_one_holder_and_rising_tokens(store):
    first, second = store.lock("job", ttl=5), store.lock("job", ttl=5)
    with first:
        assert first.held
        assert first.token == 1
        assert not second.acquire(timeout=0)
        assert not second.held
        with pytest.raises(RuntimeError, match="held already"):
            first.acquire()
    assert not first.held
    with second:
        assert second.token == 2
    with first:
        assert first.token == 3
    assert list(store.iterate_keys()) == []


def test_locks_of_other_names_and_folders_are_others(store):
    with store.lock("a", ttl=5), store.lock("b/c", ttl=5), store.under("x").lock("a", ttl=5) as lock:
        assert lock.token == 1


def test_threads_wait_for_each_other(store):
    inside, most, tokens = [], [], []

    def work():
        for _ in range(5):
            with store.lock("job", ttl=2) as lock:
                inside.append(1)
                most.append(len(inside))
                tokens.append(lock.token)
                time.sleep(0.001)
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(most) == {1}
    assert sorted(tokens) == list(range(1, 31))


def test_a_lease_is_renewed_while_it_is_held(store):
    with store.lock("job", ttl=0.3) as lock:
        assert not store.lock("job", ttl=0.3).acquire(timeout=1)
        assert lock.held


def test_a_lost_lease_is_noticed(store):
    lock, thief = store.lock("job", ttl=0.3), store.lock("job", ttl=0.3)
    lock.acquire()
    lock._stop.set()  # as if its process had been stopped
    assert thief.acquire(timeout=5)
    assert thief.token == 2
    assert not lock.held
    lock.release()
    assert thief.held
    thief.release()


def test_a_store_that_fails_for_a_ttl_ends_the_lease(store, monkeypatch):
    lock = store.lock("job", ttl=0.3)
    with lock:
        monkeypatch.setattr(lock, "_write", lambda *_: (_ for _ in ()).throw(BackendError("down")))
        deadline = time.monotonic() + 5
        while lock.held and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not lock.held
        monkeypatch.undo()


HOLDER = """
import sys, time
from anystore import get_store
with get_store(sys.argv[1]).lock("job", ttl=0.5) as lock:
    print(lock.token, flush=True)
    sys.stdin.readline()
    print(lock.held, flush=True)
"""


def holder(path):
    return subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def test_the_lease_of_a_killed_holder_ends_by_itself(tmp_path):
    with holder(tmp_path) as process:
        assert process.stdout.readline() == "1\n"
        waiter = get_store(tmp_path).lock("job", ttl=0.5)
        assert not waiter.acquire(timeout=1)
        process.send_signal(signal.SIGKILL)
        assert waiter.acquire(timeout=10)
        assert waiter.token == 2
        waiter.release()


def test_a_paused_holder_knows_that_it_has_lost(tmp_path):
    with holder(tmp_path) as process:
        assert process.stdout.readline() == "1\n"
        process.send_signal(signal.SIGSTOP)
        with get_store(tmp_path).lock("job", ttl=0.5) as waiter:
            assert waiter.token == 2
            process.send_signal(signal.SIGCONT)
            assert process.communicate("go on\n")[0] == "False\n"
            assert waiter.held


def test_a_forked_child_holds_nothing(store):
    with store.lock("job", ttl=5) as lock:
        child = os.fork()
        if not child:
            held = lock.held
            lock.release()
            os._exit(held)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert lock.held
        assert not store.lock("job").acquire(timeout=0)


COUNTER = """
import sys
from anystore import get_store
store = get_store(sys.argv[1])
for _ in range(15):
    with store.lock("job", ttl=5):
        store.put("n", store.get("n") + 1)
"""


def test_processes_take_turns(tmp_path):
    store = get_store(tmp_path)
    store.put("n", 0)
    processes = [subprocess.Popen([sys.executable, "-c", COUNTER, str(tmp_path)]) for _ in range(4)]
    assert [process.wait() for process in processes] == [0] * 4
    assert store.get("n") == 60


def test_what_cannot_be_is_refused(store, tmp_path):
    with pytest.raises(Unsupported, match="CREATE"):
        get_store(f"fsspec+file://{tmp_path}/x").lock("job")
    for name in ("", "../x", "a//b"):
        with pytest.raises(InvalidKey):
            store.lock(name)
    with pytest.raises(InvalidOption):
        store.lock("a", ttl=0)
    store.backend.put(private_key("leases/broken="), b"hello")
    with pytest.raises(BackendError, match="no lease"):
        store.lock("broken").acquire(timeout=0)


def test_a_lock_may_be_named_like_a_folder_of_another(store):
    with store.lock("a", ttl=5), store.lock("a/b", ttl=5), store.lock("a=/b", ttl=5), store.lock("a+", ttl=5) as lock:
        assert lock.held


def test_a_stopped_server_ends_the_lease():
    with postgres() as server:
        lock, other = (get_store(server.url).lock("job", ttl=1) for _ in range(2))
        assert lock.acquire()
        server.stop()
        deadline = time.monotonic() + 30
        while lock.held and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not lock.held
        server.start()
        assert other.acquire(timeout=60)
        assert other.token == 2
        assert not lock.held
        lock.release()
        assert other.held
        other.release()


def test_a_renewal_whose_answer_was_lost_does_not_lose_the_lease(store, monkeypatch):
    lock = store.lock("job", ttl=0.6)
    write, broken = lock._write, threading.Event()

    def write_without_an_answer(lease, version):
        answer = write(lease, version)
        if lease.beat == 1 and not broken.is_set():
            broken.set()
            raise BackendError("the connection broke")
        return answer

    monkeypatch.setattr(lock, "_write", write_without_an_answer)
    with lock:
        assert broken.wait(5)
        assert not store.lock("job", ttl=0.6).acquire(timeout=1.5)
        assert lock.held
    with store.lock("job", ttl=0.6) as other:
        assert other.token == 2


def test_a_lease_that_was_lost_is_not_renewed_beside_the_next_one(store):
    lock = store.lock("job", ttl=0.3)
    lock.acquire()
    first = lock._renewing
    lock._good_until = 0.0  # as if this process had been stopped until now
    assert lock.acquire(timeout=5)
    first.join(5)
    assert not first.is_alive()
    assert lock.held
    lock.release()


def test_a_child_that_was_forked_during_a_renewal_is_not_stuck(store):
    with store.lock("job", ttl=5) as lock:
        with lock._changing:  # as the renewal does
            child = os.fork()
            if not child:
                signal.alarm(10)
                lock.release()
                taken = lock.acquire(timeout=0)
                os._exit(taken)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert lock.held
