"""Libraries that reach a store through fsspec do their real work, on a database, on Redis and on S3."""

import importlib.util
import multiprocessing
import threading

import dask.dataframe as dd
import distributed
import duckdb
import fsspec
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import zarr
from fsspec.implementations.asyn_wrapper import AsyncFileSystemWrapper
from pyarrow.fs import FSSpecHandler, PyFileSystem
from upath import UPath
from zarr.storage import FsspecStore

from tests.filesystem_stores import REAL, opened
from tests.places import make_place

ROWS = 3000


class SourceBroke(Exception):
    """What a test raises in the middle of a write."""


@pytest.fixture(params=REAL)
def kind(request):
    return request.param


@pytest.fixture
def store(kind, request, tmp_path):
    with opened(kind, request.getfixturevalue, tmp_path) as store:
        yield store


@pytest.fixture
def fs(store):
    return store.fs


@pytest.fixture
def options(kind, request, tmp_path):
    """What ``storage_options`` holds for URLs that begin with ``anystore://``."""
    uri, config = make_place(kind, request.getfixturevalue, tmp_path)
    return {"uri": uri, "backend_config": config}


def frame():
    numbers = np.arange(ROWS)
    return pd.DataFrame({"n": numbers, "third": numbers % 3, "text": [f"row {n}" for n in numbers]})


class BrokenRows:
    """Rows whose text raises when a library asks for it."""

    def __str__(self):
        raise SourceBroke


# -- pandas ---------------------------------------------------------------------


def test_pandas_writes_and_reads_parquet_by_url(options):
    frame().to_parquet("anystore://a/b.parquet", storage_options=options)
    back = pd.read_parquet("anystore://a/b.parquet", storage_options=options)
    pd.testing.assert_frame_equal(back, frame())
    columns = pd.read_parquet("anystore://a/b.parquet", columns=["n"], storage_options=options)
    assert list(columns) == ["n"]


@pytest.mark.parametrize("name", ["a/b.csv", "a/b.csv.gz"])
def test_pandas_writes_and_reads_csv_by_url(options, name):
    frame().to_csv(f"anystore://{name}", index=False, storage_options=options)
    back = pd.read_csv(f"anystore://{name}", storage_options=options)
    pd.testing.assert_frame_equal(back, frame())


@pytest.mark.parametrize("name", ["a/b.csv", "a/b.csv.gz"])
def test_pandas_that_fails_while_writing_publishes_nothing(options, name):
    fs = fsspec.filesystem("anystore", **options)
    fs.pipe(name, b"old")
    broken = pd.DataFrame({"n": [*range(200_000), BrokenRows()]})
    with pytest.raises(SourceBroke):
        broken.to_csv(f"anystore://{name}", chunksize=1000, storage_options=options)
    assert fs.find("") == [name]
    assert fs.cat(name) == b"old"


def test_pandas_that_fails_while_writing_parquet_publishes_nothing(options):
    fs = fsspec.filesystem("anystore", **options)
    mixed = pd.DataFrame({"n": [1, "two", object()]})
    with pytest.raises((pa.ArrowInvalid, pa.ArrowTypeError)):
        mixed.to_parquet("anystore://a.parquet", storage_options=options)
    assert fs.find("") == []


# -- polars ---------------------------------------------------------------------


def test_polars_writes_and_reads_file_objects(fs):
    table = pl.from_pandas(frame())
    with fs.open("a/b.parquet", "wb") as file:
        table.write_parquet(file)
    with fs.open("a/b.parquet", "rb") as file:
        assert pl.read_parquet(file).equals(table)
    with fs.open("a/b.parquet", "rb") as file:
        scanned = pl.scan_parquet(file).filter(pl.col("n") < 10).select("n").collect()
    assert scanned["n"].to_list() == list(range(10))


def test_polars_scans_a_dataset_of_pyarrow(fs):
    pq.write_table(pa.table({"n": [1, 2, 3]}), "a/b.parquet", filesystem=fs)
    scanned = pl.scan_pyarrow_dataset(ds.dataset("a", filesystem=fs)).filter(pl.col("n") > 1).collect()
    assert scanned["n"].to_list() == [2, 3]


# -- pyarrow ----------------------------------------------------------------------


def test_pyarrow_writes_and_reads_a_partitioned_dataset(fs):
    arrow = PyFileSystem(FSSpecHandler(fs))
    table = pa.Table.from_pandas(frame())
    partitioning = ds.partitioning(pa.schema([("third", pa.int64())]), flavor="hive")
    for _ in range(2):  # the second time over the first
        ds.write_dataset(
            table,
            "sets/numbers",
            filesystem=arrow,
            format="parquet",
            partitioning=partitioning,
            existing_data_behavior="delete_matching",
        )
    assert fs.ls("sets/numbers", detail=False) == [f"sets/numbers/third={n}" for n in range(3)]
    dataset = ds.dataset("sets/numbers", filesystem=arrow, format="parquet", partitioning=partitioning)
    assert dataset.count_rows() == ROWS
    part = dataset.to_table(filter=ds.field("third") == 1, columns=["n"])
    assert sorted(part["n"].to_pylist()) == list(range(1, ROWS, 3))


def test_pyarrow_manages_files(fs):
    arrow = PyFileSystem(FSSpecHandler(fs))
    arrow.create_dir("folder/deeper", recursive=True)
    with arrow.open_output_stream("folder/a") as stream:
        stream.write(b"0123456789")
    with arrow.open_input_file("folder/a") as file:
        assert file.size() == 10
        assert file.read_at(3, 4) == b"456"
    arrow.move("folder/a", "folder/b")
    arrow.copy_file("folder/b", "folder/c/d")
    kinds = {one.path: one.type for one in arrow.get_file_info(pa.fs.FileSelector("folder", recursive=True))}
    assert kinds == {
        "folder/b": pa.fs.FileType.File,
        "folder/c": pa.fs.FileType.Directory,
        "folder/c/d": pa.fs.FileType.File,
        "folder/deeper": pa.fs.FileType.Directory,
    }
    arrow.delete_file("folder/b")
    arrow.delete_dir("folder")
    assert arrow.get_file_info("folder").type == pa.fs.FileType.NotFound


def test_pyarrow_that_fails_while_writing_publishes_nothing(fs):
    schema = pa.schema([("n", pa.int64())])

    def batches():
        for _ in range(50):
            yield pa.record_batch([np.random.default_rng(1).integers(0, 1 << 60, 20_000)], schema=schema)
        raise SourceBroke

    with pytest.raises(SourceBroke), pq.ParquetWriter("a.parquet", schema, filesystem=fs) as writer:
        for batch in batches():
            writer.write_batch(batch)
    with pytest.raises(SourceBroke):
        ds.write_dataset(batches(), "set", schema=schema, format="parquet", filesystem=fs)
    assert fs.find("") == []


# -- DuckDB -----------------------------------------------------------------------


def test_duckdb_reads_and_copies(store):
    fs = store.fs
    with duckdb.connect() as connection:
        connection.register_filesystem(fs)
        connection.execute("COPY (SELECT range AS n FROM range(3000)) TO 'anystore://duck/a.parquet'")
        connection.execute("COPY (SELECT 1 AS n UNION ALL SELECT 2) TO 'anystore://duck/b.csv' (HEADER)")
        assert connection.execute("SELECT sum(n) FROM 'anystore://duck/*.parquet'").fetchone() == (3000 * 2999 // 2,)
        assert connection.execute("SELECT n FROM 'anystore://duck/b.csv' ORDER BY n").fetchall() == [(1,), (2,)]
        connection.execute("COPY (SELECT 7 AS n) TO 'anystore://duck/a.parquet'")
        assert connection.execute("SELECT n FROM 'anystore://duck/a.parquet'").fetchall() == [(7,)]
    assert fs.find("") == ["duck/a.parquet", "duck/b.csv"]


def test_duckdb_writes_partitions(fs):
    with duckdb.connect() as connection:
        connection.register_filesystem(fs)
        connection.execute(
            "COPY (SELECT range AS n, range % 2 AS part FROM range(100)) "
            "TO 'anystore://set' (FORMAT parquet, PARTITION_BY (part))"
        )
        rows = connection.execute(
            "SELECT count(*) FROM read_parquet('anystore://set/**/*.parquet', hive_partitioning=true) WHERE part = 1"
        ).fetchone()
    assert rows == (50,)
    assert fs.ls("set", detail=False) == ["set/part=0", "set/part=1"]


def test_duckdb_that_fails_while_copying_publishes_nothing(fs):
    fs.pipe("a.csv", b"old")
    with duckdb.connect() as connection:
        connection.register_filesystem(fs)
        with pytest.raises(duckdb.Error):
            connection.execute(
                "COPY (SELECT CASE WHEN range = 2999999 THEN error('broken') ELSE range::VARCHAR END AS n "
                "FROM range(3000000)) TO 'anystore://a.csv'"
            )
    assert fs.find("") == ["a.csv"]
    assert fs.cat("a.csv") == b"old"


def test_duckdb_joins_two_stores_under_two_protocols(store, tmp_path):
    cls = type(store.fs)
    other = cls(str(tmp_path / "other"), protocol="other")
    other.pipe("a.csv", b"n\n1\n")
    store.fs.pipe("a.csv", b"n\n1\n2\n")
    with duckdb.connect() as connection:
        connection.register_filesystem(store.fs)
        connection.register_filesystem(other)
        joined = connection.execute("SELECT count(*) FROM 'anystore://a.csv' JOIN 'other://*.csv' USING (n)").fetchone()
    assert joined == (1,)


# -- Dask -------------------------------------------------------------------------


def test_dask_writes_and_reads_in_worker_processes(options):
    table = dd.from_pandas(frame(), npartitions=4)
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, host="127.0.0.1"
        ) as cluster,
        distributed.Client(cluster),
    ):
        table.to_parquet("anystore://dask/frame", storage_options=options)
        back = dd.read_parquet("anystore://dask/frame", storage_options=options)
        assert back.npartitions == 4
        pd.testing.assert_frame_equal(back.compute(), frame(), check_dtype=False)
        fs = fsspec.filesystem("anystore", **options)
        total = dd.read_parquet("dask/frame", filesystem=fs)["n"].sum().compute()
    assert total == sum(range(ROWS))


def test_dask_writes_csv_with_its_processes(options):
    table = dd.from_pandas(frame(), npartitions=2)
    names = table.to_csv(
        "anystore://csv/part-*.csv", index=False, storage_options=options, compute_kwargs={"scheduler": "processes"}
    )
    assert len(names) == 2
    back = dd.read_csv("anystore://csv/part-*.csv", storage_options=options).compute(scheduler="processes")
    assert back["n"].sum() == sum(range(ROWS))


# -- zarr -------------------------------------------------------------------------


def test_zarr_writes_and_reads_arrays(fs):
    zarr_store = FsspecStore(AsyncFileSystemWrapper(fs, asynchronous=True), path="cube.zarr")
    group = zarr.open_group(zarr_store, mode="w", zarr_format=3)
    data = np.arange(10_000).reshape(100, 100)
    array = group.create_array("numbers", shape=data.shape, chunks=(30, 30), shards=(60, 60), dtype=data.dtype)
    array[:] = data
    group.attrs["unit"] = "m"
    again = zarr.open_group(FsspecStore(AsyncFileSystemWrapper(fs, asynchronous=True), path="cube.zarr"), mode="r")
    assert again.attrs["unit"] == "m"
    assert np.array_equal(again["numbers"][:], data)
    assert np.array_equal(again["numbers"][25:35, 95:], data[25:35, 95:])
    assert list(again) == ["numbers"]
    del group["numbers"]
    assert [name for name in fs.find("cube.zarr") if "numbers" in name] == []


def test_zarr_opens_a_url(options):
    zarr_store = FsspecStore.from_url("anystore://cube.zarr", storage_options=options)
    zarr.save_array(zarr_store, np.arange(5))
    assert np.array_equal(
        zarr.load(FsspecStore.from_url("anystore://cube.zarr", storage_options=options)), np.arange(5)
    )


# -- UPath ------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.*UPath.*:UserWarning")
def test_upath_walks_reads_and_writes(options):
    root = UPath("anystore://papers", **options)
    page = root / "2024" / "a.txt"
    page.write_text("first")
    (root / "2024" / "b.txt").write_bytes(b"second")
    assert page.read_text() == "first"
    assert page.exists()
    assert page.is_file()
    assert (root / "2024").is_dir()
    assert sorted(one.name for one in (root / "2024").iterdir()) == ["a.txt", "b.txt"]
    assert sorted(one.name for one in root.glob("**/*.txt")) == ["a.txt", "b.txt"]
    assert page.stat().st_size == 5
    page.rename(root / "2025.txt")
    assert not page.exists()
    assert (root / "2025.txt").read_text() == "first"
    (root / "2025.txt").unlink()
    assert sorted(fsspec.filesystem("anystore", **options).find("")) == ["papers/2024/b.txt"]


# -- mappers ----------------------------------------------------------------------


def test_a_mapper_is_a_mapping(fs):
    mapping = fs.get_mapper("maps/one")
    mapping["a"] = b"1"
    mapping["b/c"] = b"2"
    mapping.setitems({"d": b"3", "e": b"4"})
    assert dict(mapping) == {"a": b"1", "b/c": b"2", "d": b"3", "e": b"4"}
    assert mapping.getitems(["a", "none"], on_error="omit") == {"a": b"1"}
    with pytest.raises(KeyError):
        mapping["none"]
    del mapping["a"]
    mapping.delitems(["d", "e"])
    assert sorted(mapping) == ["b/c"]
    mapping.clear()
    assert list(mapping) == []


# -- processes --------------------------------------------------------------------


def read_in_child(fs, queue):
    queue.put((fs.cat("a/b"), fs.open("a/b").read(2)))
    fs.pipe("from/child", b"hello")


def test_a_filesystem_goes_to_spawned_processes(fs):
    fs.pipe("a/b", b"value")
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    child = context.Process(target=read_in_child, args=(fs, queue))
    child.start()
    assert queue.get(timeout=60) == (b"value", b"va")
    child.join(60)
    assert child.exitcode == 0
    assert fs.cat("from/child") == b"hello"


def test_many_threads_share_a_filesystem(fs):
    def work(number):
        for turn in range(20):
            with fs.open(f"{number}/{turn}", "wb") as file:
                file.write(f"{number} {turn}".encode())
            assert fs.cat(f"{number}/{turn}") == f"{number} {turn}".encode()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(fs.find("")) == 80


def test_nothing_here_is_a_stand_in():
    for name in ("dask", "duckdb", "pandas", "polars", "pyarrow", "upath", "zarr"):
        assert importlib.util.find_spec(name)
