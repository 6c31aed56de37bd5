"""Tables of any size stream through a few row groups of memory."""

import json
import os
import subprocess
import sys
import uuid

import pytest

from tests.object_servers import BUCKET

MEBIBYTES = int(os.environ.get("ANYSTORE_TEST_STREAM_MIB", "256"))
MOST_GROWTH = 64 << 20

# Measured in a process of its own, after the same with a small table, which loads what is needed.
MEASURE = """
import json
import sys
import pyarrow as pa
from anystore import get_store

def batches(mebibytes):
    # random bytes, so that a file is as large as its table
    with open("/dev/urandom", "rb") as noise:
        for number in range(mebibytes):
            data = noise.read(1 << 20)
            if shape == "wide":
                values = pa.array([data])
            else:
                values = pa.Array.from_buffers(pa.int64(), 1 << 17, [None, pa.py_buffer(data)])
            yield pa.record_batch({"number": pa.array([number] * len(values), pa.int32()), "value": values})

def peak():
    # not ru_maxrss, which a child takes over from whoever started it
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))

def case(mebibytes):
    key = f"table-{mebibytes}"
    if action == "put":
        assert store.put(key, batches(mebibytes)).size > mebibytes << 20
    else:
        rows = sum(batch.num_rows for batch in store.stream(key))
        assert rows == mebibytes * (1 if shape == "wide" else 1 << 17), rows

uri, config, action, mode, shape, mebibytes = sys.argv[1:]
store = get_store(uri, backend_config=json.loads(config), serialization_mode=mode)
case(20)
before = peak()
case(int(mebibytes))
print(peak() - before)
"""


CASES = [
    *((place, mode, shape) for place in ("folder", "sqlite", "s3") for mode, shape in [("parquet", "long")]),
    ("folder", "parquet", "wide"),
    ("s3", "parquet", "wide"),
    ("folder", "arrow", "wide"),
    ("folder", "csv", "long"),
]


@pytest.mark.large
@pytest.mark.alone
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("place", "mode", "shape"), CASES, ids=["-".join(case) for case in CASES])
def test_a_table_passes_by_row_groups(place, mode, shape, request, tmp_path):
    config = {}
    match place:
        case "folder":
            uri = str(tmp_path)
        case "sqlite":
            uri = f"sqlite:///{tmp_path}/store.db"
        case _:
            uri = f"s3://{BUCKET}/{uuid.uuid4().hex}"
            config = request.getfixturevalue("seaweedfs_server").config
    for action in ("put", "stream"):
        done = subprocess.run(
            [sys.executable, "-c", MEASURE, uri, json.dumps(config), action, mode, shape, str(MEBIBYTES)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        growth = int(done.stdout)
        print(f"{action} {mode} of {shape} rows, {place}: {growth / 2**20:.1f} MiB for {MEBIBYTES} MiB")
        assert growth < MOST_GROWTH
