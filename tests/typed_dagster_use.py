"""A caller of the Dagster bridge, checked by mypy and pyright and never run: the types that users see."""

from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, assert_type

import dagster as dg

from anystore import Entry, Store
from anystore_dagster import (
    AnystoreComputeLogManager,
    AnystoreIOManager,
    AnystoreResource,
    BlobRef,
    ByteStream,
    CrawlPartitions,
    FileCollection,
    PartitionedOutput,
    PartitionStream,
    PipesAnystoreContextInjector,
    PipesAnystoreContextLoader,
    PipesAnystoreMessageReader,
    PipesAnystoreMessageWriter,
    RecordStream,
    checksum_matches,
    content_changed,
    crawl_asset,
    listing_sensor,
    mirror_asset,
    observe_listing,
    retention_job,
    row_count_at_least,
    sharded_crawl_asset,
    sharded_mirror_asset,
    value_exists,
)


@dg.asset
def chunks(docs: AnystoreResource) -> ByteStream:
    assert_type(docs.store, Store)
    assert_type(docs.open_store(), Store)
    return ByteStream(iter([b"a", b"b"]))


@dg.asset
def sizes(chunks: BlobRef) -> dict[str, int]:
    assert_type(chunks.read(), bytes)
    assert_type(chunks.info(), Entry)
    assert_type(chunks.open(), IO[bytes])
    with chunks.local_path() as path:
        assert_type(path, Path)
    return {"all": sum(map(len, chunks.stream()))}


@dg.asset
def folders() -> PartitionedOutput:
    return PartitionedOutput({"a": 1})


@dg.asset
def documents_of(files: FileCollection, rows: RecordStream, parts: PartitionStream) -> list[str]:
    assert_type(len(files), int)
    assert_type(iter(rows), Iterator[Any])
    assert_type(iter(parts), Iterator[tuple[str, Any]])
    return list(parts.partitions)


def pool() -> Executor:
    return ThreadPoolExecutor(2)


def make_definitions(path: str, store: Store) -> dg.Definitions:
    source = AnystoreResource(uri="https://example.org/files/")
    crawled = crawl_asset("documents", source, path, glob="**/*.pdf", verify="full", deps=[chunks])
    assert_type(crawled, dg.AssetsDefinition)
    mirrored = mirror_asset("backup", store, "s3://bucket", delete=True, automation_condition=content_changed())
    assert_type(mirrored, dg.AssetsDefinition)
    shards = sharded_crawl_asset("many", source, path, shards=4, executor=pool)
    assert_type(shards, dg.AssetsDefinition)
    assert_type(sharded_mirror_asset("copies", source, path, shards=4), dg.AssetsDefinition)
    on_change = dg.AutomationCondition.eager()
    assert_type(value_exists(chunks, automation_condition=on_change), dg.AssetChecksDefinition)
    assert_type(checksum_matches(chunks), dg.AssetChecksDefinition)
    assert_type(row_count_at_least(chunks, 1), dg.AssetChecksDefinition)
    assert_type(retention_job(), dg.JobDefinition)
    assert_type(observe_listing("listing", source), dg.SourceAsset)
    assert_type(CrawlPartitions.folders("folders").definition, dg.PartitionsDefinition[str])
    sensor = listing_sensor("arrivals", source, path, target=crawled)
    assert_type(sensor, dg.SensorDefinition)
    return dg.Definitions(
        assets=[chunks, sizes, crawled, mirrored],
        resources={"io_manager": AnystoreIOManager(uri=path, versions_to_keep=3), "docs": source},
        sensors=[sensor],
    )


def use_pipes(context: dg.AssetExecutionContext, store: Store) -> None:
    client = dg.PipesSubprocessClient(
        context_injector=PipesAnystoreContextInjector(store),
        message_reader=PipesAnystoreMessageReader(store),
    )
    client.run(command=["python", "outside.py"], context=context)
    PipesAnystoreContextLoader()
    PipesAnystoreMessageWriter()
    AnystoreComputeLogManager(uri="./logs")


def mistakes(path: str) -> None:
    crawl_asset("documents", 5, path)  # type: ignore[arg-type]
    crawl_asset("documents", path, path, verifi="full")  # type: ignore[call-arg]
    mirror_asset("backup", path, path, compare="etag")  # type: ignore[arg-type]
    sharded_crawl_asset("many", path, path, shard=4)  # type: ignore[call-arg]
    listing_sensor("arrivals", path)  # type: ignore[call-arg]
    PartitionedOutput(["a"])  # type: ignore[list-item]
