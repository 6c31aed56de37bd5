"""What starts a process starts soon: measured beside what its libraries alone take, in turns."""

import statistics
import subprocess
import sys
import time

import pytest

RUNS = 10


def seconds(*arguments):
    started = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    return time.perf_counter() - started


def compare(ours, libraries):
    """Return how many times as long ours takes, in the median; in turns, so that a busy moment hits both."""
    pairs = [(seconds(*ours), seconds(*libraries)) for _ in range(RUNS)]
    return statistics.median(a for a, _ in pairs) / statistics.median(b for _, b in pairs)


@pytest.mark.alone
def test_a_store_is_there_soon():
    ours = ["-c", "from anystore import get_store; get_store('memory://x')"]
    assert compare(ours, ["-c", "import fsspec, pydantic"]) <= 1.5


@pytest.mark.alone
def test_the_command_line_answers_soon():
    assert compare(["-m", "anystore", "--help"], ["-c", "import typer, fsspec, pydantic"]) <= 2
