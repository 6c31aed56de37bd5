"""The wall clock jumps: values expire by the clock of who keeps them, and locks go by one that does not jump.

It is the clock that Python tells a process of its own; a server's cannot be moved without the whole machine's.
"""

import subprocess
import sys

import pytest

JUMPS = """
import time

seconds = 0
plain, plain_ns = time.time, time.time_ns
time.time = lambda: plain() + seconds
time.time_ns = lambda: plain_ns() + seconds * 10**9

import sys
from anystore import Feature, get_store

store, keeps_time_itself = get_store(sys.argv[1]).under("clock"), sys.argv[2] == "service"
tried = 0

def jump(wanted):
    global seconds, tried
    seconds, tried = wanted, tried + 1

if Feature.EXPIRE in store.features:
    for key, ttl in (("short", 600), ("long", 100_000), ("ever", None)):
        store.put(key, key, ttl=ttl)
    jump(3600)
    there = ["ever", "long", "short"] if keeps_time_itself else ["ever", "long"]
    assert store.get("short", raise_on_nonexist=False) == ("short" if keeps_time_itself else None)
    assert store.exists("short") == keeps_time_itself
    assert sorted(store.iterate_keys()) == there
    jump(-3600)
    assert (store.get("long"), store.get("ever")) == ("long", "ever")
    store.put("new", "new", ttl=600)
    assert store.get("new") == "new"

first, second = store.lock("job", ttl=3), store.lock("job", ttl=3)
with first:
    for wanted in (86_400, -86_400, 0):
        jump(wanted)
        assert not second.acquire(timeout=0.3)
        assert first.held
assert second.acquire(timeout=10)
second.release()
print(tried)
"""


@pytest.mark.parametrize("kind", ["memory", "local folder", "SQLite", "PostgreSQL", "Redis"])
def test_clock_of_a_process_jumps(kind, request, tmp_path, tally):
    uri, keeper = {
        "memory": lambda: ("memory://clock", "process"),
        "local folder": lambda: (f"{tmp_path}/store", "process"),
        "SQLite": lambda: (f"sqlite:///{tmp_path}/store.db", "process"),
        "PostgreSQL": lambda: (request.getfixturevalue("postgres_server").url, "service"),
        "Redis": lambda: (f"redis://127.0.0.1:{request.getfixturevalue('redis_server').port}/0/clock", "service"),
    }[kind]()
    argv = [sys.executable, "-c", JUMPS, uri, keeper]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr
    tally("the clock of the process jumps", kind, tried=int(done.stdout), lost=0)
