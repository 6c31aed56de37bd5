"""Timing two ways of doing the same thing, in turns, so that both see the same machine."""

import statistics
import time
from collections.abc import Callable

Task = Callable[[int], object]


def measure(ours: Task, raw: Task, *, rounds: int, calls: int) -> tuple[float, float]:
    """Give the median seconds of a call of both; each call gets a number of its own."""
    times: dict[str, list[float]] = {"ours": [], "raw": []}
    for turn in range(rounds):
        pair = [("ours", ours), ("raw", raw)]
        for name, task in pair if turn % 2 else reversed(pair):
            begun = time.perf_counter()
            for number in range(turn * calls, (turn + 1) * calls):
                task(number)
            times[name].append((time.perf_counter() - begun) / calls)
    return statistics.median(times["ours"]), statistics.median(times["raw"])


def report(name: str, ours: float, raw: float) -> None:
    """Print one line of a table: microseconds of both, and their ratio."""
    print(f"  {name:<28}{ours * 1e6:>14,.1f} µs{raw * 1e6:>14,.1f} µs{ours / raw:>8.2f}", flush=True)
