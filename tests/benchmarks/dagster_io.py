"""The IO manager beside Dagster's own, dagster-aws' and dagster-polars'.

Run it as ``python -m tests.benchmarks.dagster_io [ROWS]``.

Each pair stores and loads the same values through the calls that a step makes, in turns, in a folder and on SeaweedFS.
The last lines say how much memory an asset of 1 GiB takes, in a process of its own.
"""

import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
from dagster._core.definitions.scoped_resources_builder import ScopedResourcesBuilder
from dagster._core.log_manager import DagsterLogManager
from dagster_aws.s3 import S3PickleIOManager, S3Resource
from dagster_polars import PolarsParquetIOManager

from anystore_dagster import AnystoreIOManager
from tests.benchmarks.timing import measure, report
from tests.object_servers import BUCKET, REGION, ObjectServer, seaweedfs

ROUNDS = 7
PARTITIONS = dg.StaticPartitionsDefinition([f"p{number:03d}" for number in range(100)])
SMALL = {"id": 17, "title": "A report", "pages": [1, 2, 3], "price": 9.5, "draft": False, "text": "word " * 100}

LARGE = """
import resource, sys
import dagster as dg
from anystore_dagster import AnystoreIOManager
from anystore_dagster.values import ByteStream

uri, config = sys.argv[1], eval(sys.argv[2])
manager = AnystoreIOManager(uri=uri, backend_config=config)
piece = bytes(range(256)) * 4096
context = lambda **more: dict(asset_key="large", dagster_type=dg.PythonObjectDagsterType(ByteStream), **more)
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
manager.handle_output(dg.build_output_context(**context()), ByteStream(piece for _ in range(1)))
sum(map(len, manager.load_input(dg.build_input_context(**context()))))
before = peak()
manager.handle_output(dg.build_output_context(**context()), ByteStream(piece for _ in range(1024)))
stored = peak()
total = sum(map(len, manager.load_input(dg.build_input_context(**context()))))
assert total == 1 << 30, total
print(f"{before:.0f} {stored:.0f} {peak():.0f}")
"""


INSTANCE = dg.DagsterInstance.ephemeral()
NOTHING = ScopedResourcesBuilder.build_empty()
LOG = DagsterLogManager.create(loggers=[], instance=INSTANCE)


def mend_dagster_polars() -> None:
    """Let dagster-polars 0.27 load with polars 2: it passes arguments that are gone."""
    scan = pl.scan_parquet

    def scan_parquet(source: Any, **options: Any) -> pl.LazyFrame:
        return scan(source, **{name: value for name, value in options.items() if name not in ("rechunk", "retries")})

    pl.scan_parquet = scan_parquet


class Manager:
    """An IO manager, and the calls that steps make of it for one kind of value."""

    def __init__(self, manager: Any, kind: Any) -> None:
        self._manager = manager
        self._type = dg.PythonObjectDagsterType(kind)
        self._many = dg.DagsterType(lambda _, __: True, name="Many", typing_type=dict[str, kind])

    def store(self, value: object, partition: str | None = None) -> None:
        """Store one value."""
        self._manager.handle_output(self._output(partition), value)

    def load(self) -> object:
        """Load one value."""
        return self._manager.load_input(
            dg.InputContext(
                name="value", asset_key=dg.AssetKey("asset"), dagster_type=self._type, instance=INSTANCE,
                resources=NOTHING, log_manager=LOG, upstream_output=self._output(None), definition_metadata={},
            )
        )  # fmt: skip

    def load_all(self) -> Any:
        """Load all partitions."""
        names = PARTITIONS.get_partition_keys()
        return self._manager.load_input(
            dg.InputContext(
                name="value", asset_key=dg.AssetKey("parted"), dagster_type=self._many, instance=INSTANCE,
                resources=NOTHING, log_manager=LOG, upstream_output=self._output(names[0]), definition_metadata={},
                asset_partitions_def=PARTITIONS,
                asset_partitions_subset=PARTITIONS.subset_with_partition_keys(names),
            )
        )  # fmt: skip

    def _output(self, partition: str | None) -> dg.OutputContext:
        """Make what a step has at hand; Dagster's build_output_context() would make a database for each."""
        return dg.OutputContext(
            name="result", step_key="step", run_id="run", dagster_type=self._type, definition_metadata={},
            asset_key=dg.AssetKey("asset" if partition is None else "parted"), partition_key=partition,
            asset_partitions_def=None if partition is None else PARTITIONS,
            asset_partitions_subset=None
            if partition is None
            else PARTITIONS.subset_with_partition_keys([partition]),
            resources=NOTHING, log_manager=LOG,
        )  # fmt: skip


def compare(title: str, ours: Manager, theirs: Manager, value: object) -> None:
    """Print one value stored and loaded, and 100 partitions loaded."""
    for manager in (ours, theirs):
        manager.store(value)
        for partition in PARTITIONS.get_partition_keys():
            manager.store(value, partition)
        assert len(manager.load_all()) == len(PARTITIONS.get_partition_keys())
    report(
        f"{title}: store one",
        *measure(lambda _: ours.store(value), lambda _: theirs.store(value), rounds=ROUNDS, calls=20),
    )
    report(f"{title}: load one", *measure(lambda _: ours.load(), lambda _: theirs.load(), rounds=ROUNDS, calls=20))
    report(
        f"{title}: load 100", *measure(lambda _: ours.load_all(), lambda _: theirs.load_all(), rounds=ROUNDS, calls=1)
    )


def compare_runs(title: str, ours: Any, theirs: Any) -> None:
    """Print a whole run of two assets, with everything that Dagster itself does."""

    @dg.asset
    def first() -> dict:
        return SMALL

    @dg.asset
    def second(first: dict) -> dict:
        return first

    def run(manager: Any) -> None:
        with dg.DagsterInstance.ephemeral() as instance:
            dg.materialize([first, second], resources={"io_manager": manager}, instance=instance)

    run(ours)
    run(theirs)
    report(f"{title}: a run", *measure(lambda _: run(ours), lambda _: run(theirs), rounds=ROUNDS, calls=2))


def measure_large(uri: str, config: dict[str, Any]) -> str:
    """Say how much memory a process has used at most, before and after storing and loading 1 GiB."""
    done = subprocess.run([sys.executable, "-c", LARGE, uri, repr(config)], check=True, capture_output=True, text=True)
    before, stored, loaded = done.stdout.split()[-3:]
    return f"at most {before} MiB of memory after 1 MiB, {stored} MiB stored, {loaded} MiB loaded"


def make_frame(rows: int) -> pl.DataFrame:
    """Make a table of four columns."""
    return pl.DataFrame(
        {
            "id": range(rows),
            "name": [f"name {number % 1000}" for number in range(rows)],
            "price": [number / 7 for number in range(rows)],
            "left": [number % 2 == 0 for number in range(rows)],
        }
    )


def main() -> None:
    """Run all comparisons."""
    logging.disable(logging.CRITICAL)  # runs log to a terminal, which is neither side's work
    mend_dagster_polars()
    frame = make_frame(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
    with tempfile.TemporaryDirectory() as folder:
        print("folder, beside FilesystemIOManager")
        ours, theirs = AnystoreIOManager(uri=f"{folder}/ours"), dg.FilesystemIOManager(base_dir=f"{folder}/theirs")
        plain = theirs.create_io_manager(dg.build_init_resource_context())
        compare("dict", Manager(ours, dict), Manager(plain, dict), SMALL)
        compare_runs("dict", ours, theirs)
        print("folder, beside PolarsParquetIOManager")
        frames = PolarsParquetIOManager(base_dir=f"{folder}/frames")
        frames.setup_for_execution(dg.build_init_resource_context())
        compare("frame", Manager(ours, pl.DataFrame), Manager(frames, pl.DataFrame), frame)
        print("folder, an asset of 1 GiB:", measure_large(f"{folder}/large", {}))
    with seaweedfs() as server:
        compare_on_s3(server, frame)


def compare_on_s3(server: ObjectServer, frame: pl.DataFrame) -> None:
    """Run the comparisons on SeaweedFS."""
    secrets = {"AWS_ACCESS_KEY_ID": server.user, "AWS_SECRET_ACCESS_KEY": server.password}
    # polars reads its own variables, and boto3 some of the same
    os.environ |= secrets | {"AWS_DEFAULT_REGION": REGION, "AWS_ENDPOINT_URL": server.url, "AWS_ALLOW_HTTP": "true"}
    ours = AnystoreIOManager(uri=f"s3://{BUCKET}/ours", backend_config=server.config)
    print("SeaweedFS, beside S3PickleIOManager")
    theirs = S3PickleIOManager(
        s3_resource=S3Resource(endpoint_url=server.url, region_name=REGION), s3_bucket=BUCKET, s3_prefix="theirs"
    )
    compare("dict", Manager(ours, dict), Manager(theirs, dict), SMALL)
    compare_runs("dict", ours, theirs)
    print("SeaweedFS, beside PolarsParquetIOManager")
    frames = PolarsParquetIOManager(
        base_dir=f"s3://{BUCKET}/frames",
        storage_options={"key": server.user, "secret": server.password, "endpoint_url": server.url},
    )
    frames.setup_for_execution(dg.build_init_resource_context())
    compare("frame", Manager(ours, pl.DataFrame), Manager(frames, pl.DataFrame), frame)
    print("SeaweedFS, an asset of 1 GiB:", measure_large(f"s3://{BUCKET}/large", server.config))


if __name__ == "__main__":
    print(
        "medians; ours, theirs, and our share of theirs; load of the machine:",
        Path("/proc/loadavg").read_text().split()[0],
    )
    main()
