"""Threads do everything with a store at once: nothing fails, and what the process holds does not grow."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.places import make_place
from tests.reliability.grounds import SHOWN
from tests.reliability.mixed_load import THREADS

ROOT = Path(__file__).parents[2]
# glibc gives each thread a heap of its own, whose holes would hide what leaks; and long values go back to the kernel.
ONE_HEAP = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "65536"}
# How much more than after the warm-up is no growth. A thread's call may be the first that needs a connection while all
# others are in use, and SQLite has three files for each; a round leaves holes in memory, of other sizes than the one
# before.
SLACK = {"memory": 8 << 20, "files": 3 * THREADS, "connections": THREADS, "threads": THREADS}

AT_ONCE = 16  # a batch of objects has so many requests under way, and the client keeps each connection for a while


@pytest.fixture(params=SHOWN)
def place(request, tmp_path):
    return request.param, *make_place(request.param, request.getfixturevalue, tmp_path)


def test_nothing_grows(place, tmp_path, effort, chance, tally):
    kind, uri, config = place
    job = {"uri": uri, "config": config, "rounds": effort.times(3, 12), "seed": chance.getrandbits(32)}
    job |= {"warm": effort.seconds(1.0, 20.0), "seconds": effort.seconds(0.4, 12.0)}
    done = subprocess.run(
        [sys.executable, "-m", "tests.reliability.mixed_load", json.dumps(job)],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | ONE_HEAP,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-5000:]
    told = json.loads(done.stdout)
    print(kind, told)
    warm, *later = told["held"]
    # Each of the later rounds may be the one that meets a peak; what leaks is there after all of them.
    least = {name: min(one[name] for one in later[-3:]) for name in SLACK}
    slack = SLACK | ({"connections": AT_ONCE * THREADS} if uri.startswith("s3:") else {})
    grown = {name: least[name] - warm[name] for name in slack if least[name] > warm[name] + slack[name]}
    assert not grown, f"after the warm-up {warm}, at the end {later[-1]}"
    if kind in ("folder", "zip", "sqlite", "postgres", "mariadb", "redis"):
        assert told["closed"]["connections"] == 0
    tried = sum(told["counts"].values())
    tally("calls of a mixed load; memory, files, connections and threads flat", SHOWN[kind], tried=tried, lost=0)
