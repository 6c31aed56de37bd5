"""A caller of the API, checked by mypy and never run: the types that users see."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO, Any, assert_type

from pydantic import BaseModel

from anystore import Backend, Codec, CrawlReport, Entry, Feature, Store, crawl, get_store, open_virtual


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
    with store.local_path("a") as local:
        assert_type(local, Path)
    with open_virtual("a", store) as file:
        file.read()


def use_crawls() -> None:
    report = crawl("https://example.org/files/", get_store("./files"), glob="**/*.pdf", workers=4)
    assert_type(report, CrawlReport)
    assert_type(report.failures[0].reason, str)


def mistakes(store: Store) -> None:
    store.get("a", serialisation_mode="json")  # type: ignore[call-arg]
    store.put("a", 1, serialization_mode="yaml")  # type: ignore[arg-type]
    store.open("a", "rb", newline=1)  # type: ignore[call-overload]
    get_store(5)  # type: ignore[arg-type]
