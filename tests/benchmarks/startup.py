"""How long a process takes to start, compared with what its libraries alone take.

Run it where nothing else runs beside: python tests/benchmarks/startup.py
"""

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
RUNS = 10
# (what, its arguments, what it is compared with, how many times as long it may take)
COMPARED = [
    (
        "get_store('memory://x')",
        ["-c", "from anystore import get_store; get_store('memory://x')"],
        "import fsspec, pydantic",
        1.5,
    ),
    ("anystore --help", ["-m", "anystore", "--help"], "import typer, fsspec, pydantic", 2.0),
    ("anystore get KEY", ["-m", "anystore", "-s", "memory://x", "get", "k"], "import typer, fsspec, pydantic", 2.0),
    # at most 150 ms more
    (
        "anystore_dagster",
        ["-c", "import dagster; from anystore_dagster import AnystoreIOManager, AnystoreResource"],
        "import dagster",
        1.15,
    ),
]


def measure(commands):
    """Give the median of each command; they take turns, so that a busy moment hits them all."""
    seconds = [[] for _ in commands]
    for turn in range(RUNS + 1):
        for taken, arguments in zip(seconds, commands, strict=True):
            start = time.perf_counter()
            subprocess.run(
                [sys.executable, *arguments],
                check=False,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=os.environ | {"PYTHONPATH": str(ROOT)},
            )
            if turn:  # the first one fills the caches
                taken.append(time.perf_counter() - start)
    return [statistics.median(taken) for taken in seconds]


def main():
    """Print the two medians and their ratio, a line each."""
    for what, arguments, base, most in COMPARED:
        ours, theirs = measure([arguments, ["-c", base]])
        sys.stdout.write(
            f"{what:<24} {ours * 1000:6.1f} ms   {base:<31} {theirs * 1000:6.1f} ms   "
            f"ratio {ours / theirs:.2f} (at most {most}), {(ours - theirs) * 1000:+.0f} ms\n"
        )


if __name__ == "__main__":
    main()
