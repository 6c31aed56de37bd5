"""Streams larger than memory pass through a step in a few pieces, whatever the backend."""

import json
import os
import subprocess
import sys
import uuid

import pytest

from tests.object_servers import BUCKET

MEBIBYTES = int(os.environ.get("ANYSTORE_TEST_STREAM_MIB", "256"))
MOST_GROWTH = {"lazy": 192 << 20}  # polars computes several batches at a time, whatever there is in all
MOST_GROWTH_ELSE = 64 << 20

# Measured in a process of its own, after the same with little, which loads what is needed.
MEASURE = """
import json
import sys
from pathlib import Path

import dagster as dg
import polars as pl
import pyarrow as pa
from pyarrow import parquet

from anystore_dagster import AnystoreIOManager, ByteStream, FileCollection, RecordStream

uri, config, kind, mebibytes = sys.argv[1:]
noise = open("/dev/urandom", "rb")


def batches(count):
    # random bytes, so that a file is as large as its table
    for number in range(count):
        values = pa.Array.from_buffers(pa.int64(), 1 << 17, [None, pa.py_buffer(noise.read(1 << 20))])
        yield pa.record_batch({"number": pa.array([number] * len(values), pa.int32()), "value": values})


def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))


def run(count):
    @dg.asset
    def large() -> kinds[kind][0]:
        return kinds[kind][1](count)

    @dg.asset
    def small(large: kinds[kind][0]) -> int:
        return kinds[kind][2](large)

    manager = AnystoreIOManager(uri=uri, backend_config=json.loads(config))
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([large, small], resources={"io_manager": manager}, instance=instance)
        assert result.output_for_node("small") == kinds[kind][3](count), result.output_for_node("small")


def a_file(count):
    path = Path(sys.argv[0]).parent / "large"
    with path.open("wb") as file:
        for _ in range(count):
            file.write(noise.read(1 << 20))
    return path


kinds = {
    "bytes": (
        ByteStream,
        lambda count: ByteStream(noise.read(1 << 20) for _ in range(count)),
        lambda stream: sum(len(chunk) for chunk in stream),
        lambda count: count << 20,
    ),
    "rows": (
        RecordStream,
        lambda count: RecordStream(batches(count)),
        lambda stream: sum(batch.num_rows for batch in stream),
        lambda count: count << 17,
    ),
    "path": (Path, a_file, lambda path: path.stat().st_size, lambda count: count << 20),
    "files": (
        FileCollection,
        lambda count: FileCollection({"large": a_file(count)}),
        lambda files: files["large"].info().size,
        lambda count: count << 20,
    ),
    "lazy": (
        pl.LazyFrame,
        lambda count: pl.scan_parquet(write_parquet(count)),
        lambda lazy: lazy.select(pl.col("value").is_not_null().sum()).collect(engine="streaming").item(),
        lambda count: count << 17,
    ),
}


def write_parquet(count):
    path = Path(sys.argv[0]).parent / f"large-{count}.parquet"
    first, *_ = batches(1)
    with parquet.ParquetWriter(path, first.schema) as writer:
        for batch in batches(count):
            writer.write_batch(batch)
    return path


if __name__ == "__main__":
    run(20)
    before = peak()
    run(int(mebibytes))
    print(peak() - before)
"""

CASES = [
    *(("folder", kind) for kind in ("bytes", "rows", "path", "files", "lazy")),
    *(("sqlite", kind) for kind in ("bytes", "rows")),
    *(("s3", kind) for kind in ("bytes", "rows")),
]


@pytest.mark.large
@pytest.mark.alone
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("place", "kind"), CASES, ids=["-".join(case) for case in CASES])
def test_a_step_holds_a_few_pieces_of_a_stream(place, kind, request, tmp_path):
    config = {}
    match place:
        case "folder":
            uri = str(tmp_path / "store")
        case "sqlite":
            uri = f"sqlite:///{tmp_path}/store.db"
        case _:
            uri = f"s3://{BUCKET}/{uuid.uuid4().hex}"
            config = request.getfixturevalue("seaweedfs_server").config
    script = tmp_path / "measure.py"
    script.write_text(MEASURE)
    done = subprocess.run(
        [sys.executable, str(script), uri, json.dumps(config), kind, str(MEBIBYTES)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    growth = int(done.stdout)
    print(f"{kind}, {place}: {growth / 2**20:.1f} MiB for {MEBIBYTES} MiB")
    assert growth < MOST_GROWTH.get(kind, MOST_GROWTH_ELSE)
