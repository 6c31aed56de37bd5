"""The Redis backend beside redis-py alone, on one server, in one run: ``python -m tests.benchmarks.redis_backend``.

Nothing passes or fails here. Each pair of numbers is taken in turns, so that both see the same machine.
"""

import argparse
import sys
from collections.abc import Iterator

from redis import Redis

from anystore.backends.redis import RedisBackend, from_uri
from anystore.uris import parse_uri
from tests.benchmarks.timing import Task, measure
from tests.redis_servers import redis_program, running, valkey_program

KIB = b"x" * 1024
MIB = b"y" * (1 << 20)


def singles(backend: RedisBackend, client: Redis) -> Iterator[tuple[str, Task, Task]]:
    """Name the operations on one value of 1 KiB."""
    yield "put", lambda n: backend.put(f"a{n}", KIB), lambda n: client.set(f"p/b{n}", KIB)
    yield "overwrite", lambda _: backend.put("one", KIB), lambda _: client.set("p/one", KIB)
    yield "get", lambda _: backend.get("one"), lambda _: client.get("p/one")
    yield "exists", lambda _: backend.exists("one"), lambda _: client.exists("p/one")
    yield "delete", lambda n: backend.delete(f"a{n}"), lambda n: client.delete(f"p/b{n}")


def batches(backend: RedisBackend, client: Redis) -> Iterator[tuple[str, Task, Task]]:
    """Name the operations on 1,000 values of 1 KiB."""
    keys = [f"many/{number}" for number in range(1000)]

    def raw_put(_: int) -> None:
        pipeline = client.pipeline(transaction=False)
        for key in keys:
            pipeline.set(f"p/{key}", KIB)
        pipeline.execute()

    def raw_get(_: int) -> None:
        pipeline = client.pipeline(transaction=False)
        for key in keys:
            pipeline.get(f"p/{key}")
        dict(zip(keys, pipeline.execute(), strict=True))

    yield "put_many 1,000", lambda _: backend.put_many((key, KIB) for key in keys), raw_put
    yield "put_many 1,000, ttl", lambda _: backend.put_many(((key, KIB) for key in keys), ttl=600), raw_put
    yield "get_many 1,000", lambda _: dict(backend.get_many(keys)), raw_get


def listings(backend: RedisBackend, client: Redis, listed: int) -> Iterator[tuple[str, Task, Task]]:
    """Name the listings."""
    pipeline = client.pipeline(transaction=False)
    for number in range(listed):
        pipeline.set(f"p/listed/{number % 100}/{number}", b"x")
    pipeline.execute()

    def count(names: Iterator[object]) -> None:
        assert sum(1 for _ in names) == listed

    def raw_keys(pages: int) -> None:
        count(client.scan_iter(match="p/listed/*", count=pages))

    def raw_entries(_: int) -> None:
        cursor, found = 0, 0
        while cursor or not found:
            cursor, names = client.scan(cursor, match="p/listed/*", count=1000)
            pipeline = client.pipeline(transaction=False)
            for name in names:
                pipeline.strlen(name)
                pipeline.pttl(name)
            found += len(pipeline.execute()) // 2
        assert found == listed

    yield f"keys of {listed:,}", lambda _: count(backend.keys("listed/")), lambda _: raw_keys(1000)
    yield "the same, count=10", lambda _: count(backend.keys("listed/")), lambda _: raw_keys(10)
    yield f"entries of {listed:,}", lambda _: count(backend.scan("listed/")), raw_entries


def streams(backend: RedisBackend, client: Redis, mib: int) -> Iterator[tuple[str, Task, Task]]:
    """Name the streams; redis-py's are not bound to one version."""

    def write(_: int) -> None:
        with backend.writer("stream") as writer:
            for _ in range(mib):
                writer.write(MIB)

    def raw_write(_: int) -> None:
        client.set("p/temporary", b"")
        for _ in range(mib):
            client.append("p/temporary", MIB)
        client.rename("p/temporary", "p/stream")

    def raw_read(_: int) -> None:
        for start in range(0, mib << 20, 1 << 20):
            client.getrange("p/stream", start, start + (1 << 20) - 1)

    yield f"write {mib} MiB", write, raw_write
    yield f"read {mib} MiB", lambda _: sum(map(len, backend.read("stream"))), raw_read


def show(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    """Print one line per operation."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--valkey", action="store_true", help="measure on Valkey, not on Redis")
    options.add_argument("--listed", type=int, default=100_000)
    options.add_argument("--mib", type=int, default=256)
    chosen = options.parse_args()
    with running(valkey_program() if chosen.valkey else redis_program()) as server:
        client = Redis(port=server.port)
        backend = from_uri(parse_uri(f"redis://127.0.0.1:{server.port}/0/p"), {})
        show(f"{'':22}{'anystore':>12}{'redis-py':>12}{'ratio':>8}")
        groups = [
            (singles(backend, client), 15, 200),
            (batches(backend, client), 9, 1),
            (listings(backend, client, chosen.listed), 5, 1),
            (streams(backend, client, chosen.mib), 3, 1),
        ]
        for operations, rounds, calls in groups:
            for name, ours, raw in operations:
                mine, theirs = measure(ours, raw, rounds=rounds, calls=calls)
                show(f"{name:22}{mine * 1e6:>9,.0f} µs{theirs * 1e6:>9,.0f} µs{mine / theirs:>8.2f}")
        backend.close()


if __name__ == "__main__":
    main()
