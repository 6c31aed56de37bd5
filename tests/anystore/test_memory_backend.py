"""The reference backend: one dict per name and process."""

import multiprocessing
import os
import pickle
import subprocess
import sys
import threading

import pytest

from anystore import get_store
from anystore.backends.memory import MemoryBackend
from anystore.errors import InvalidOption, InvalidUri, Unsupported
from anystore.keys import parse_key


def test_stores_of_one_name_share_their_values():
    get_store("memory://shared/x").put("a", 1)
    assert get_store("memory://shared/x").get("a") == 1
    assert not get_store("memory://shared").exists("x/a")
    assert not get_store("memory://other").exists("a")


def test_unpickled_in_another_process_it_raises():
    data = pickle.dumps(MemoryBackend("here"))
    assert pickle.loads(data).uri == "memory://here"
    code = f"import pickle; pickle.loads({data!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "Unsupported: memory://here lives in another process" in done.stderr
    child = os.fork()
    if not child:
        try:
            pickle.loads(data)
        except Unsupported:
            os._exit(42)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 42


def test_a_child_forked_while_the_lock_is_held_does_not_hang():
    backend = MemoryBackend("forked")
    held, release = threading.Event(), threading.Event()

    def hold():
        with backend._space.lock:
            held.set()
            release.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(30)
    child = multiprocessing.get_context("fork").Process(target=backend.put, args=(parse_key("a"), b"1"))
    child.start()
    child.join(30)
    code = child.exitcode
    if code is None:
        child.kill()
    release.set()
    holder.join()
    assert code == 0
    assert not backend.exists(parse_key("a"))


def test_expired_values_do_not_pile_up():
    now = [1000.0]
    backend = MemoryBackend("purged", clock=lambda: now[0])
    for number in range(100):
        backend.put(parse_key(f"k{number}"), b"x", ttl=1)
        now[0] += 1
    assert len(backend._space.values) < 5


def test_uris():
    for uri in ("memory://me:pw@x", "memory://x:80", "memory://x?a=1"):
        with pytest.raises(InvalidUri):
            get_store(uri)
    with pytest.raises(InvalidOption):
        get_store("memory://x", backend_config={"a": 1})


def test_values_that_expired_unasked_are_dropped_and_leave_nothing():
    now = [0.0]
    backend = MemoryBackend("purged", clock=lambda: now[0])
    for turn in range(3000):
        backend.put(parse_key("same"), b"x", ttl=1000)
        backend.put(parse_key(f"k{turn}"), b"x", ttl=5)
        now[0] += 1
    space = backend._space
    assert len(space.values) < 10
    assert len(space._expiries) <= 2 * len(space.values) + 1010
