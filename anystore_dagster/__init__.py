"""Dagster on any store: a resource, an IO manager, crawl assets, logs, Pipes and asset checks.

A name is loaded when it is first used, so that the outside half of Pipes works where no Dagster is installed.
"""

from contextlib import suppress
from typing import Any

from anystore.extras import load

__version__ = "0.1.0"

_MODULE_OF_NAME = {
    "AnystoreComputeLogManager": "compute_logs",
    "AnystoreIOManager": "io_manager",
    "AnystoreResource": "resource",
    "BlobRef": "stored",
    "ByteStream": "values",
    "CrawlPartitions": "crawl_partitions",
    "FileCollection": "values",
    "PartitionStream": "partitioned",
    "PartitionedOutput": "partitioned",
    "PipesAnystoreContextInjector": "pipes",
    "PipesAnystoreContextLoader": "outside_pipes",
    "PipesAnystoreMessageReader": "pipes",
    "PipesAnystoreMessageWriter": "outside_pipes",
    "RecordStream": "values",
    "checksum_matches": "checks",
    "content_changed": "data_versions",
    "crawl_asset": "crawl_assets",
    "listing_sensor": "listing_sensors",
    "mirror_asset": "mirror_assets",
    "observe_listing": "observations",
    "retention_job": "retention",
    "row_count_at_least": "checks",
    "sharded_crawl_asset": "sharded_crawls",
    "sharded_mirror_asset": "sharded_mirrors",
    "value_exists": "checks",
}

__all__ = ["__version__", *sorted(_MODULE_OF_NAME)]  # noqa: PLE0604 - the table is the one list of names

with suppress(ModuleNotFoundError):
    # Dagster shows the versions of the libraries that a code location has loaded
    from dagster_shared.libraries import DagsterLibraryRegistry

    DagsterLibraryRegistry.register("anystore-dagster", __version__, is_dagster_package=False)


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used; where Dagster is missing, say what to install."""
    if name not in _MODULE_OF_NAME:
        raise AttributeError(f"module 'anystore_dagster' has no attribute {name!r}")
    value = getattr(load(f"anystore_dagster.{_MODULE_OF_NAME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names."""
    return __all__
