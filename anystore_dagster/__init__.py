"""Dagster on any store: a resource, an IO manager, and assets that crawl."""

from anystore.extras import load

load("anystore_dagster.resource")  # where Dagster is missing, this says what to install

from dagster_shared.libraries import DagsterLibraryRegistry

from anystore_dagster.crawl_assets import crawl_asset
from anystore_dagster.io_manager import AnystoreIOManager
from anystore_dagster.resource import AnystoreResource

__version__ = "0.1.0"

__all__ = ["AnystoreIOManager", "AnystoreResource", "__version__", "crawl_asset"]

DagsterLibraryRegistry.register("anystore-dagster", __version__, is_dagster_package=False)
