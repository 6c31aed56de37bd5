"""Object stores beside raw obstore, on SeaweedFS: ``python -m tests.benchmarks.objects [KEYS] [MIB]``."""

import os
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import obstore

from anystore.backends.objects import from_uri
from anystore.uris import parse_uri
from tests.object_servers import BUCKET, seaweedfs

ROUNDS = 300
MANY = 1000
VALUE = os.urandom(1024)


def median_of(calls: Iterable[Callable[[], object]]) -> float:
    """Run each call, and give the median of their times."""
    times = []
    for call in calls:
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def show(name: str, ours: Callable[[str], float], raw: Callable[[str], float]) -> None:
    """Measure both in turns, three times, and print the medians and their ratio."""
    pairs = [(raw(f"raw{turn}"), ours(f"ours{turn}")) for turn in range(3)]
    theirs, mine = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(f"{name:22}{mine * 1e6:14,.0f}{theirs * 1e6:14,.0f}{mine / theirs:9.2f}", flush=True)


def main() -> None:
    """Print a table: microseconds of ours, of obstore, and the ratio."""
    keys = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    mib = int(sys.argv[2]) if len(sys.argv) > 2 else 256
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        del os.environ[name]
    with seaweedfs() as server:
        backend = from_uri(parse_uri(f"s3://{BUCKET}/bench"), server.config)
        store = backend._service.store
        single(backend, store)
        many(backend, store)
        listing(backend, store, keys)
        streams(backend, store, mib)


def single(backend, store) -> None:
    """One value of 1 KiB."""

    def each(call):
        return lambda name: median_of([lambda n=n: call(f"{name}/{n}") for n in range(ROUNDS)])

    print(f"{'':22}{'ours µs':>14}{'obstore µs':>14}{'ratio':>9}")
    for label in ("put", "overwrite"):
        show(
            label,
            each(lambda key: backend.put(key, VALUE)),
            each(lambda key: obstore.put(store, f"bench/{key}", VALUE)),
        )
    show("get", each(backend.get), each(lambda key: bytes(obstore.get(store, f"bench/{key}").bytes())))
    show("exists", each(backend.exists), each(lambda key: obstore.head(store, f"bench/{key}")))
    show("delete", each(backend.delete), each(lambda key: obstore.delete(store, f"bench/{key}")))


def many(backend, store) -> None:
    """A thousand values at once; raw is sixteen threads."""

    def at_once(call: Callable[[str], object], name: str) -> float:
        with ThreadPoolExecutor(16) as pool:
            return median_of([lambda: list(pool.map(call, [f"bench/many/{name}/{n}" for n in range(MANY)]))])

    show(
        "put_many 1,000",
        lambda name: median_of([lambda: backend.put_many((f"many/{name}/{n}", VALUE) for n in range(MANY))]),
        lambda name: at_once(lambda key: obstore.put(store, key, VALUE), name),
    )
    show(
        "get_many 1,000",
        lambda name: median_of([lambda: list(backend.get_many(f"many/{name}/{n}" for n in range(MANY)))]),
        lambda name: at_once(lambda key: bytes(obstore.get(store, key).bytes()), name),
    )
    show(
        "delete_many 1,000",
        lambda name: median_of([lambda: backend.delete_many(f"many/{name}/{n}" for n in range(MANY))]),
        lambda name: median_of([lambda: obstore.delete(store, [f"bench/many/{name}/{n}" for n in range(MANY)])]),
    )


def listing(backend, store, keys: int) -> None:
    """All keys."""
    backend.put_many((f"list/{n // 1000}/{n}", b"x") for n in range(keys))
    show(
        f"list {keys:,}",
        lambda _: median_of([lambda: sum(1 for _ in backend.scan("list/"))]),
        lambda _: median_of([lambda: sum(len(page) for page in obstore.list(store, "bench/list", chunk_size=1000))]),
    )
    backend.delete_many(list(backend.keys("list/")))


def streams(backend, store, mib: int) -> None:
    """One large value, in and out."""
    piece = os.urandom(1 << 20)

    def write() -> None:
        with backend.writer("large") as writer:
            for _ in range(mib):
                writer.write(piece)

    def write_raw() -> None:
        with obstore.open_writer(store, "bench/raw", buffer_size=8 << 20, max_concurrency=4) as writer:
            for _ in range(mib):
                writer.write(piece)

    show(f"write {mib} MiB", lambda _: median_of([write]), lambda _: median_of([write_raw]))
    show(
        f"read {mib} MiB",
        lambda _: median_of([lambda: sum(map(len, backend.read("large")))]),
        lambda _: median_of([lambda: sum(map(len, obstore.get(store, "bench/raw").stream(min_chunk_size=1 << 20)))]),
    )


if __name__ == "__main__":
    main()
