"""Tables beside pyarrow alone, in a folder and on SeaweedFS: ``python -m tests.benchmarks.tables [ROWS]``."""

import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import fs, parquet

from anystore import get_store
from tests.benchmarks.timing import measure, report
from tests.object_servers import BUCKET, REGION, seaweedfs

ROUNDS = 5


def make_table(rows: int) -> pa.Table:
    """Make twelve columns, one of them sorted."""
    random = np.random.default_rng(0)
    columns = {f"c{number}": random.random(rows) for number in range(10)}
    return pa.table({"id": range(rows), "name": [f"name {number % 1000}" for number in range(rows)], **columns})


def compare(store, files, folder: str, table: pa.Table) -> None:
    """Write, read, read a part, and stream; the plain side writes row groups of as many rows."""
    batches = table.to_batches(max_chunksize=1 << 16)
    store.put("ours", table)
    group_rows = (
        parquet.ParquetFile(pa.BufferReader(store.get("ours", serialization_mode="raw"))).metadata.row_group(0).num_rows
    )
    plain, last = f"{folder}/plain", len(table) - 1

    def write(_: int) -> None:
        parquet.write_table(table, plain, filesystem=files, compression="zstd", row_group_size=group_rows)

    def write_stream(_: int) -> None:
        with (
            files.open_output_stream(plain) as sink,
            parquet.ParquetWriter(sink, table.schema, compression="zstd") as file,
        ):
            for batch in batches:
                file.write_batch(batch)

    def stream(_: int) -> None:
        with files.open_input_file(plain) as source:
            assert sum(batch.num_rows for batch in parquet.ParquetFile(source).iter_batches()) == len(table)

    def read(**wanted):
        return lambda _: parquet.read_table(plain, filesystem=files, **wanted)

    def get(**wanted):
        return lambda _: store.get("ours", model=pa.Table, **wanted)

    some = {"columns": ["c3", "id"]}
    row = {"columns": ["c3"], "filters": [("id", "=", last)]}
    write(0)
    for name, ours, raw in (
        ("put", lambda _: store.put("ours", table), write),
        ("put a stream", lambda _: store.put("ours", iter(batches)), write_stream),
        ("get", get(), read()),
        ("get two of 12 columns", get(**some), read(**some)),
        ("get one row", get(**row), read(**row)),
        ("stream", lambda _: sum(batch.num_rows for batch in store.stream("ours")), stream),
    ):
        report(name, *measure(ours, raw, rounds=ROUNDS, calls=1))


def main() -> None:
    """Print a table for each place: ours, pyarrow, and the ratio."""
    table = make_table(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        del os.environ[name]
    with tempfile.TemporaryDirectory() as folder:
        print(f"a folder, {table.nbytes >> 20} MiB")
        compare(get_store(Path(folder, "ours")), fs.LocalFileSystem(), folder, table)
    with seaweedfs() as server:
        print("S3, beside pyarrow.fs")
        plain = fs.S3FileSystem(
            access_key=server.user,
            secret_key=server.password,
            endpoint_override=server.url.removeprefix("http://"),
            scheme="http",
            region=REGION,
        )
        compare(get_store(f"s3://{BUCKET}/ours", backend_config=server.config), plain, f"{BUCKET}/plain", table)


if __name__ == "__main__":
    main()
