"""Every kind of value through real materializations, on every backend that is promised, and in processes of steps."""

import os
import subprocess
import sys
import uuid
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import IO

import dagster as dg
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from pydantic import BaseModel

from anystore import get_store
from anystore.errors import CodecError
from anystore_dagster import (
    AnystoreIOManager,
    AnystoreResource,
    BlobRef,
    ByteStream,
    FileCollection,
    RecordStream,
)
from tests.object_servers import BUCKET

TABLE = pa.table({"n": list(range(1000)), "text": [f"t{n}" for n in range(1000)]})
MIB = 1 << 20


class Person(BaseModel):
    name: str


def check(*, holds: bool) -> None:
    if not holds:
        raise AssertionError


@dg.asset
def people() -> list[Person]:
    return [Person(name="1")]


@dg.asset
def maybe(people: list[Person]) -> ByteStream | None:
    check(holds=people == [Person(name="1")])
    return None


@dg.asset
def noise(maybe: ByteStream | None) -> ByteStream:
    check(holds=maybe is None)
    return ByteStream(bytes([number]) * MIB for number in range(20))


@dg.asset
def report(noise: ByteStream) -> Path:
    check(holds=[chunk[:1] for chunk in noise] == [bytes([number]) for number in range(20)])
    with noise.open() as file:
        check(holds=file.seek(3 * MIB) == 3 * MIB and file.read(1) == b"\x03")
    path = Path(os.environ["VALUES_FOLDER"], "report.txt")
    path.write_text("# hello")
    return path


@dg.asset
def reference(report: Path) -> BlobRef:
    check(holds=report.read_text() == "# hello")
    report.write_text("damaged")
    store = get_store(os.environ["VALUES_FOLDER"])
    return BlobRef(store, "report.txt")


@dg.asset
def files(reference: BlobRef, report: Path) -> FileCollection:
    check(holds=report.read_text() == "# hello" == reference.read().decode())
    return FileCollection({"a/path": report, "bytes": b"\xff", "blob": reference})


@dg.asset
def more_files(files: FileCollection) -> FileCollection:
    with files.local_folder() as folder:
        check(holds=(folder / "a" / "path").read_text() == "# hello")
    return FileCollection({**files, "new": b"n"})


@dg.asset
def rows(more_files: FileCollection) -> RecordStream:
    check(holds=sorted(more_files) == ["a/path", "blob", "bytes", "new"])
    check(holds=more_files["bytes"].read() == b"\xff" and more_files["new"].read() == b"n")
    return RecordStream(TABLE.to_batches(max_chunksize=100))


@dg.asset(ins={"rows": dg.AssetIn(metadata={"anystore/columns": ["n"], "anystore/filters": [("n", "<", 10)]})})
def some(rows: RecordStream) -> int:
    check(holds=rows.to_table().to_pydict() == {"n": list(range(10))})
    return 10


@dg.asset
def lazy(rows: RecordStream, some: int) -> pl.LazyFrame:
    check(holds=rows.to_table().equals(TABLE) and some == 10)
    return pl.concat(pl.from_arrow(batch).lazy() for batch in rows).with_columns(twice=pl.col("n") * 2)


@dg.asset
def frame(lazy: pl.LazyFrame) -> pd.DataFrame:
    return lazy.filter(pl.col("n") >= 990).select("n", "twice").collect().to_pandas().set_index("n")


@dg.asset
def array(frame: pd.DataFrame) -> np.ndarray:
    check(holds=frame.index.name == "n" and len(frame) == 10)
    return frame["twice"].to_numpy()


@dg.asset
def mean(array: np.ndarray) -> np.float64:
    return array.mean()


@dg.asset
def end(mean: np.float64, lazy, files, frame, array) -> float:
    check(holds=isinstance(lazy, pl.LazyFrame) and isinstance(files, FileCollection))
    check(holds=isinstance(frame, pd.DataFrame) and array.tolist() == frame["twice"].to_list())
    return float(mean)


ASSETS = [people, maybe, noise, report, reference, files, more_files, rows, some, lazy, frame, array, mean, end]


@pytest.fixture(params=["folder", "memory", "sqlite", "postgres", "redis", "s3"])
def place(request, tmp_path):
    """Give the URI of an empty store, and the options that open it."""
    name = f"v{uuid.uuid4().hex[:12]}"
    ask = request.getfixturevalue
    match request.param:
        case "folder":
            return str(tmp_path / "store"), {}
        case "memory":
            return f"memory://{name}", {}
        case "sqlite":
            return f"sqlite:///{tmp_path}/store.db", {}
        case "postgres":
            return ask("postgres_server").url, {"table": name}
        case "redis":
            return f"redis://127.0.0.1:{ask('redis_server').port}/0/{name}", {}
    return f"s3://{BUCKET}/{name}", ask("moto_server").config


@pytest.fixture
def folder(tmp_path, monkeypatch):
    path = tmp_path / "files"
    path.mkdir()
    monkeypatch.setenv("VALUES_FOLDER", str(path))
    return path


def test_every_kind_of_value_goes_from_asset_to_asset(place, folder):
    uri, config = place
    manager = AnystoreIOManager(store=AnystoreResource(uri=uri, backend_config=config))
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(ASSETS, resources={"io_manager": manager}, instance=instance)
        assert result.success
        assert result.output_for_node("end") == pytest.approx(1989.0)
        defs = dg.Definitions(ASSETS, resources={"io_manager": manager})
        found = defs.load_asset_value("more_files", python_type=FileCollection, instance=instance)
        assert found["a/path"].read() == b"# hello"
        assert defs.load_asset_value("reference", python_type=Path, instance=instance).read_text() == "# hello"
        stream = defs.load_asset_value("noise", python_type=ByteStream, instance=instance)
        assert sum(len(chunk) for chunk in stream) == 20 * MIB
        assert defs.load_asset_value("rows", python_type=pl.DataFrame, instance=instance).height == 1000
    shown = {
        event.asset_key.to_user_string(): event.materialization.metadata
        for event in result.get_asset_materialization_events()
    }
    assert shown["rows"]["dagster/row_count"].value == 1000
    assert "| `0` | `t0` |" in shown["rows"]["anystore/preview"].value
    assert shown["report"]["anystore/preview"].value == "```text\n# hello\n```"
    assert shown["more_files"]["anystore/files"].value == 4
    assert shown["array"]["anystore/shape"].value == "(10,)"
    assert (folder / "report.txt").read_text() == "# hello"


@dg.multi_asset(
    outs={
        "p_stream": dg.AssetOut(dagster_type=ByteStream),
        "p_path": dg.AssetOut(dagster_type=Path),
        "p_files": dg.AssetOut(dagster_type=FileCollection),
        "p_rows": dg.AssetOut(dagster_type=RecordStream),
        "p_array": dg.AssetOut(dagster_type=np.ndarray),
    }
)
def produced():
    path = Path(os.environ["VALUES_FOLDER"], "report.txt")
    path.write_text("# hello")
    return (
        ByteStream(bytes(MIB) for _ in range(3)),
        path,
        FileCollection({"a/path": path, "bytes": b"\xff"}),
        RecordStream(TABLE.to_batches(max_chunksize=100)),
        np.arange(5),
    )


@dg.asset
def consumed(
    p_stream: ByteStream, p_path: Path, p_files: FileCollection, p_rows: pl.LazyFrame, p_array: np.ndarray
) -> list[int]:
    check(holds=p_path.read_text() == p_files["a/path"].read().decode() == "# hello")
    return [os.getpid(), len(p_stream.read()), p_rows.select(pl.col("n").sum()).collect().item(), int(p_array.sum())]


SCRIPT = """
import dagster as dg
from anystore_dagster import AnystoreIOManager
from tests.anystore_dagster.test_values_stores import consumed, produced


def everything():
    defs = dg.Definitions(
        [consumed, produced],
        jobs=[dg.define_asset_job("everything", executor_def=dg.multiprocess_executor)],
        resources={"io_manager": AnystoreIOManager(uri=URI)},
    )
    return defs.resolve_job_def("everything")


if __name__ == "__main__":
    with dg.instance_for_test() as instance, dg.execute_job(dg.reconstructable(everything), instance) as result:
        assert result.success
"""


@pytest.mark.timeout(600)
def test_streams_files_and_tables_go_from_process_to_process(tmp_path, folder):
    uri = str(tmp_path / "store")
    script = tmp_path / "everything.py"
    script.write_text(SCRIPT.replace("URI", repr(uri)))
    done = subprocess.run(
        [sys.executable, str(script)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    process, *values = get_store(uri).get("consumed.value")
    assert process != os.getpid()
    assert values == [3 * MIB, sum(range(1000)), 10]


@pytest.mark.parametrize(
    "annotation",
    [Iterator[bytes], Generator[bytes, None, None], int | str, IO[bytes], NDArray[np.float64]],
)
def test_streams_are_plain_classes_since_dagster_takes_no_others(annotation):
    def stream(upstream):
        return upstream

    for where in ("return", "upstream"):
        stream.__annotations__ = {where: annotation}
        with pytest.raises(dg.DagsterInvalidDefinitionError):
            dg.asset(stream)


def test_a_generator_that_fails_leaves_the_older_value(place):
    uri, config = place
    resource = AnystoreResource(uri=uri, backend_config=config)

    def chunks():
        yield bytes(12 * MIB)
        raise ValueError("half way")

    @dg.asset
    def large() -> ByteStream:
        return ByteStream(chunks())

    store = resource.open_store()
    store.put("large.value", b"older")
    before = list(store.iterate_keys())
    with pytest.raises(ValueError, match="half way"):
        dg.materialize([large], resources={"io_manager": AnystoreIOManager(store=resource)})
    assert store.get("large.value", serialization_mode="raw") == b"older"
    assert list(store.iterate_keys()) == before


def test_content_is_not_shown_where_nobody_is_to_see_it(tmp_path):
    @dg.asset
    def secret() -> pa.Table:
        return pa.table({"name": ["hunter2"]})

    manager = AnystoreIOManager(uri=str(tmp_path), previews=False)
    with dg.DagsterInstance.ephemeral() as instance:
        dg.materialize([secret], resources={"io_manager": manager}, instance=instance)
        events = instance.all_logs(instance.get_runs()[0].run_id)
    assert "hunter2" not in repr(events)
    assert "dagster/row_count" in repr(events)


def test_a_value_that_does_not_fit_says_which_and_what_to_write(tmp_path):
    @dg.asset
    def rows() -> pa.Table:
        return iter(TABLE.to_batches())

    with pytest.raises(dg.DagsterTypeCheckDidNotPass):  # Dagster compares classes before anything is stored
        dg.materialize([rows], resources={"io_manager": AnystoreIOManager(uri=str(tmp_path))})

    @dg.asset
    def unannotated():
        return iter(TABLE.to_batches())

    with pytest.raises(CodecError, match=r"asset 'unannotated'.*-> RecordStream"):
        dg.materialize([unannotated], resources={"io_manager": AnystoreIOManager(uri=str(tmp_path))})
