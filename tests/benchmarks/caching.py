"""``anycache`` beside ``store.get``, diskcache, joblib and cashews. Run it as ``python -m tests.benchmarks.caching``.

Each pair takes turns, so that what else the machine does falls on both. Results are a dict of a few fields; a miss
computes nothing but that.
"""

import asyncio
import logging
import tempfile
from collections.abc import Callable
from datetime import timedelta
from itertools import count
from typing import Any

import cashews
import diskcache
import joblib

from anystore import anycache, get_store
from tests.benchmarks.timing import measure, report

ROUNDS = 9
RESULT = {"id": 17, "title": "A report", "pages": [1, 2, 3], "price": 9.5, "draft": False, "text": "word " * 100}


def compute(number: int) -> dict[str, Any]:
    """Be the function that is cached."""
    return RESULT | {"id": number}


def compare(title: str, ours: Callable[[int], object], other: Callable[[int], object], *, calls: int) -> None:
    """Print hits and misses of two cached functions."""
    ours(-1)
    other(-1)
    report(f"{title}: hit", *measure(lambda _: ours(-1), lambda _: other(-1), rounds=ROUNDS, calls=calls))
    # enough of them that both sync the disk now and then
    report(f"{title}: miss", *measure(ours, other, rounds=ROUNDS, calls=max(calls // 2, 20)))


def compare_with_get() -> None:
    """Print how much more a hit takes than reading the value from the store."""
    print("memory, beside store.get")
    for title, value in (("a dict of 6 fields", RESULT), ("a text of 5 letters", "hello")):
        compare_hit_with_get(title, value)


def compare_hit_with_get(title: str, value: object) -> None:
    """Print both for one value."""
    store = get_store("memory://benchmark")
    store.put("some/value", value)
    cached = anycache(store=store, name=title)(lambda _: value)
    cached(1)
    report(f"{title}: hit", *measure(lambda _: cached(1), lambda _: store.get("some/value"), rounds=25, calls=5000))


def compare_async(folder: str) -> None:
    """Print hits of coroutine functions; the loop runs throughout."""
    other = cashews.Cache()
    other.setup(f"disk://?directory={folder}/cashews&shards=0")

    @anycache(uri=f"sqlite:///{folder}/async.db", name="async", ttl=3600)
    async def ours(number: int) -> dict[str, Any]:
        return compute(number)

    @other(ttl=timedelta(hours=1), key="async:{number}")
    async def theirs(number: int) -> dict[str, Any]:
        return compute(number)

    with asyncio.Runner() as runner:

        def each(function: Callable[[int], Any], *, fresh: bool) -> Callable[[int], object]:
            numbers = count()

            async def run() -> None:
                for _ in range(100):
                    await function(next(numbers) if fresh else -1)

            return lambda _: runner.run(run())

        for title, fresh in (("100 hits", False), ("100 misses", True)):
            pair = each(ours, fresh=fresh), each(theirs, fresh=fresh)
            report(f"async, {title}", *measure(*pair, rounds=ROUNDS, calls=2))


def main() -> None:
    """Run all comparisons."""
    logging.getLogger("anystore.caching").setLevel(logging.ERROR)
    compare_with_get()
    with tempfile.TemporaryDirectory() as folder:
        print("sqlite, beside diskcache's memoize")
        memoize = diskcache.Cache(f"{folder}/diskcache").memoize(expire=3600)
        ours = anycache(uri=f"sqlite:///{folder}/store.db", name="sqlite", ttl=3600)(compute)
        compare("diskcache", ours, memoize(compute), calls=1000)
        unclaimed = anycache(uri=f"sqlite:///{folder}/store.db", name="unclaimed", ttl=3600, wait=0)(compute)
        memoize = diskcache.Cache(f"{folder}/diskcache").memoize(name="another", expire=3600)
        compare("diskcache, wait=0", unclaimed, memoize(compute), calls=1000)
        print("folder, beside joblib's Memory")
        memory = joblib.Memory(f"{folder}/joblib", verbose=0)
        compare("joblib", anycache(uri=f"{folder}/store", name="folder")(compute), memory.cache(compute), calls=300)
        print("sqlite, coroutine functions, beside cashews on disk")
        compare_async(folder)


if __name__ == "__main__":
    main()
