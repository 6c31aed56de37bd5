"""A caller of the API, checked by mypy and pyright and never run: the types that users see."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO, Any, assert_type

from pydantic import BaseModel

from anystore import (
    Backend,
    Codec,
    CrawlReport,
    Entry,
    Feature,
    Lock,
    MirrorReport,
    Store,
    anycache,
    crawl,
    get_store,
    mirror,
    open_uri,
    open_virtual,
    read_uri,
    stream_uri,
    write_uri,
)
from anystore.progress import Progress


class Person(BaseModel):
    name: str


class Upper(Codec):
    name = "upper"

    def encode(self, value: Any) -> bytes:
        return str(value).upper().encode()

    def decode(self, data: bytes) -> Any:
        return data.decode()


def use_stores(path: Path) -> None:
    store = get_store(path, serialization_mode="json", raise_on_nonexist=False, backend_config={"durable": True})
    assert_type(store, Store)
    assert_type(get_store(default_ttl=timedelta(hours=1)), Store)
    assert_type(store.put("a", [1], ttl=5, if_absent=True), Entry)
    assert_type(store.info("a").modified, datetime | None)
    assert_type(store.get("a", model=list[Person]), Any)
    assert_type(store.get("a", serialization_mode=Upper()), Any)
    assert_type(store.get("a", columns=["a", "b"], filters=[("a", ">", 1)]), Any)
    assert_type(store.stream("a", serialization_mode="json"), Iterator[Any])
    assert_type(store.open("a"), IO[bytes])
    assert_type(store.open("a", "wb"), IO[bytes])
    assert_type(store.open("a", "r", newline=""), IO[str])
    assert_type(store.iterate_keys(prefix="a", glob="**/*.pdf"), Iterator[str])
    assert_type(store.entries(), Iterator[Entry])
    assert_type(list(store.get_many(["a"])), list[tuple[str, Any]])
    store.put_many({"a": 1})
    store.put_many([("a", 1)])
    assert_type(store.under("x").using(model=Person), Store)
    assert_type(Feature.SWAP in store.features, bool)
    assert_type(store.backend, Backend)
    assert_type(store.touch("t"), datetime)
    with store.lock("nightly", ttl=timedelta(minutes=1)) as lock:
        assert_type(lock, Lock)
        assert_type(lock.token, int)
        assert_type(lock.acquire(timeout=1), bool)
    with store.local_path("a") as local:
        assert_type(local, Path)
    with open_virtual("a", store, cache_dir=path, cache_size=5) as file:
        file.read()


def use_compression_and_uris(store: Store, path: Path) -> None:
    assert_type(store.open("a", compression="gz", max_bytes=5), IO[bytes])
    assert_type(store.open("a", "w", compression="infer"), IO[str])
    assert_type(store.stream("a", compression="zst"), Iterator[Any])
    assert_type(open_uri(path), IO[bytes])
    assert_type(open_uri("-", "w", encoding="utf-8"), IO[str])
    assert_type(stream_uri("s3://bucket/a", backend_config={"region": "eu"}), Iterator[Any])
    assert_type(read_uri("a", model=Person), Any)
    write_uri(path, [1], serialization_mode="json", ttl=timedelta(hours=1))


async def use_stores_later(store: Store) -> None:
    assert_type(await store.aio.put("a", 1, if_absent=True), Entry)
    assert_type(await store.aio.exists("a"), bool)
    assert_type([entry async for entry in store.aio.entries("x")], list[Entry])
    assert_type([pair async for pair in store.aio.get_many(["a"])], list[tuple[str, Any]])
    await store.aio.put_many({"a": 1})
    await store.aio.stream("a").aclose()
    await store.aio.put("a", 1, tttl=5)  # type: ignore[call-arg]


def use_what_notebooks_show(store: Store) -> None:
    assert_type(store.usage(depth=2).rows[0].bytes, int)


def show(progress: Progress) -> None:
    assert_type(progress.total_bytes, int | None)


def use_crawls() -> None:
    report = crawl("https://example.org/files/", get_store("./files"), glob="**/*.pdf", concurrency=4, progress=show)
    crawl("./a", "./b", progress=True)
    crawl("./a", "./b", progress=5)  # type: ignore[arg-type]
    assert_type(report, CrawlReport)
    assert_type(report.failures[0].reason, str)


@anycache
def plain_cached(a: int, *, b: str = "") -> list[str]:
    return [b] * a


def is_small(a: int) -> bool:
    return a < 10


@anycache(ttl=timedelta(hours=1), version=2, use_cache=is_small, on_error="raise")
async def cached_later(a: int) -> Person:
    return Person(name=str(a))


class Client:
    @anycache(store=lambda: get_store("memory://x"))
    def fetch(self, page: int) -> bytes:
        return bytes(page)

    @anycache(uri="memory://x")
    async def fetch_later(self, page: int) -> bytes:
        return bytes(page)

    @staticmethod
    @anycache
    def plain(page: int) -> bytes:
        return bytes(page)

    @classmethod
    @anycache
    def build(cls, page: int) -> bytes:
        return bytes(page)


async def use_caches(client: Client) -> None:
    assert_type(plain_cached(1, b="x"), list[str])
    assert_type(await cached_later(1), Person)
    assert_type(client.fetch(1), bytes)
    assert_type(Client.fetch(client, 1), bytes)
    assert_type(await client.fetch_later(1), bytes)
    assert_type(Client.plain(1), bytes)
    assert_type(client.build(1), bytes)
    assert_type(plain_cached.cache.key(1, b="x"), str | None)
    plain_cached.cache.invalidate(a=1)
    plain_cached.cache.clear()
    client.fetch.cache.invalidate(1)
    await cached_later.cache.invalidate(1)
    assert_type(plain_cached.cache.stats().hits, int)


def mistakes_with_caches(client: Client) -> None:
    plain_cached("x")  # type: ignore[arg-type]
    plain_cached(1, c=1)  # type: ignore[call-arg]
    client.fetch("x")  # type: ignore[arg-type]
    plain_cached.cache.invalidate("x")  # type: ignore[arg-type]
    anycache(tttl=5)  # type: ignore[call-overload]


def use_mirrors(store: Store, path: Path) -> None:
    assert_type(mirror(store, path, compare="checksum", max_delete=None), MirrorReport)
    assert_type(mirror("s3://bucket", store, progress=True).complete, bool)
    mirror(store, path, compare="etag")  # type: ignore[arg-type]


def mistakes(store: Store) -> None:
    store.get("a", serialisation_mode="json")  # type: ignore[call-arg]
    store.put("a", 1, serialization_mode="yaml")  # type: ignore[arg-type]
    store.open("a", "rb", newline=1)  # type: ignore[call-overload]
    get_store(5)  # type: ignore[arg-type]
