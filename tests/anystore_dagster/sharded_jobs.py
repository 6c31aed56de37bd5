"""A job that many processes make anew: where things are, and which executor runs it, is in its arguments."""

import importlib

import dagster as dg

from anystore_dagster import AnystoreIOManager, FileCollection, sharded_crawl_asset, sharded_mirror_asset


def everything(source, target, values, executor):
    """Make a crawl in three shards, and what loads its new documents."""
    module, _, name = executor.partition(":")
    files = sharded_crawl_asset("files", source, target, shards=3)

    @dg.asset
    def texts(files: FileCollection) -> list[str]:
        return [document.key for document in files.new]

    job = dg.define_asset_job("everything", "*", executor_def=getattr(importlib.import_module(module), name))
    io_manager = AnystoreIOManager(uri=values)
    return dg.Definitions([files, texts], resources={"io_manager": io_manager}, jobs=[job]).resolve_job_def(
        "everything"
    )


def mirror(source, target, values, executor):
    """Make a mirror in three shards."""
    module, _, name = executor.partition(":")
    files = sharded_mirror_asset("files", source, target, shards=3, delete=True)
    job = dg.define_asset_job("mirror", "*", executor_def=getattr(importlib.import_module(module), name))
    io_manager = AnystoreIOManager(uri=values)
    return dg.Definitions([files], resources={"io_manager": io_manager}, jobs=[job]).resolve_job_def("mirror")
