"""The memory of a mirror grows neither with the number of values nor with their length."""

import os
import subprocess
import sys

import pytest

MEBIBYTES = int(os.environ.get("ANYSTORE_TEST_STREAM_MIB", "256"))

# Each case is measured in a process of its own, after a small one, which loads what is needed.
START = """
import sys
from anystore import Store, get_store, mirror
from anystore.backend import Entry, Feature
from anystore.backends.memory import MemoryBackend

def peak():
    # not ru_maxrss, which a child takes over from whoever started it
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))
"""

LISTINGS = """
from datetime import UTC, datetime
NOW = datetime(2024, 5, 1, tzinfo=UTC)

class Endless(MemoryBackend):
    count = 0
    def scan(self, prefix="", after=None):
        for number in range(self.count):
            yield Entry(f"folder/{number:09}", 1, NOW.replace(year=self.year), "v")

class Source(Endless):
    year = 2023

class Target(Endless):
    year = 2025

if sys.argv[2] == "unsorted":
    Target.features = ~Feature.SORTED

def case(count):
    Source.count, Target.count = count, count + count // 10
    report = mirror(Store(Source("source")), Store(Target("target")), delete=True, max_delete=10)
    assert (report.copied, report.skipped) == (0, count), report
    assert f"{count // 10:,} values" in report.failures[0].reason
"""

STREAMS = """
def case(count):
    source = get_store(f"{sys.argv[2]}/source-{count}")
    piece = b"x" * (1 << 20)
    for number in range(8):
        with source.open(str(number), "wb") as file:
            for _ in range(count // 8):
                file.write(piece)
    source.put_many({f"small/{number}": "y" * 60_000 for number in range(500)})
    report = mirror(source, get_store(f"sqlite:///{sys.argv[2]}/target-{count}.db"))
    assert report.complete
    assert report.bytes == 8 * (count // 8 << 20) + 500 * 60_000, report
"""

RUN = """
small, big = int(sys.argv[3]), int(sys.argv[4])
case(small)
before = peak()
case(big)
print(peak() - before)
"""


def growth(script, argument, small, big):
    command = [sys.executable, "-c", START + script + RUN, "-", str(argument), str(small), str(big)]
    # the first argument behind -c is the name of the script, as it would be in a file
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.alone
@pytest.mark.parametrize("order", ["sorted", "unsorted"])
def test_many_keys(order):
    assert growth(LISTINGS, order, 2000, 200_000) <= 16 << 20


@pytest.mark.alone
@pytest.mark.large
def test_long_values(tmp_path):
    assert growth(STREAMS, tmp_path, 8, MEBIBYTES) <= 64 << 20
