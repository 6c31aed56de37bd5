"""Values of any size stream through a few pieces of memory."""

import os
import subprocess
import sys

import pytest

from tests.servers import nginx

MEBIBYTES = int(os.environ.get("ANYSTORE_TEST_STREAM_MIB", "256"))
MOST_GROWTH = 64 << 20

# Each case is measured in a process of its own, after the same with a small value, which loads what is needed.
MEASURE = """
import asyncio
import sys
from anystore import crawl, get_store
from anystore.keys import parse_key

LINE = b"x" * 1023 + b"\\n"

def peak():
    # not ru_maxrss, which a child takes over from whoever started it
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))

def write(file, size):
    for _ in range(size // (1 << 20)):
        file.write(LINE * 1024)

def case(action, source, target, size):
    key = f"big-{size}"
    if action == "open-write":
        with get_store(target).open(key, "wb") as file:
            write(file, size)
        assert get_store(target).info(key).size == size
    elif action == "append":
        store = get_store(target)
        for _ in range(2):
            with store.open(key, "ab") as file:
                write(file, size)
        assert store.info(key).size == 2 * size
    elif action == "open-read":
        with get_store(source).open(key) as file:
            assert sum(len(piece) for piece in iter(lambda: file.read(1 << 20), b"")) == size
    elif action == "stream":
        assert sum(1 for _ in get_store(source).stream(key, serialization_mode="raw")) == size // 1024
    elif action == "aio-stream":
        async def count():
            return len([None async for _ in get_store(source).aio.stream(key, serialization_mode="raw")])
        assert asyncio.run(count()) == size // 1024
    elif action == "copy":
        get_store(source).copy(key, target_store=get_store(target))
        assert get_store(target).info(key).size == size
    elif action == "copy-inside":
        get_store(target).copy(key, key + "-copy")
        assert get_store(target).info(key + "-copy").size == size
    elif action == "checksum":
        get_store(source).checksum(key)
    elif action == "local_path":
        with get_store(source).local_path(key) as path:
            assert path.stat().st_size == size
    elif action == "crawl":
        report = crawl(get_store(source), get_store(target), glob=key)
        assert (report.fetched, report.bytes) == (1, size), report

action, source, target, small, big = sys.argv[1:]
case(action, source, target, int(small))
before = peak()
case(action, source, target, int(big))
print(peak() - before)
"""

SMALL = 1 << 20
BIG = MEBIBYTES << 20


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    root = tmp_path_factory.mktemp("served")
    for size in (SMALL, BIG):
        with open(root / f"big-{size}", "wb") as file:
            file.writelines((b"x" * 1023 + b"\n") * 1024 for _ in range(size >> 20))
    with nginx(root) as server:
        yield server


CASES = [
    ("open-write", "", "local"),
    ("open-write", "", "fsspec"),
    ("append", "", "local"),
    ("open-read", "local", ""),
    ("open-read", "http", ""),
    ("open-read", "fsspec", ""),
    ("stream", "local", ""),
    ("stream", "http", ""),
    ("stream", "fsspec", ""),
    ("aio-stream", "local", ""),
    ("aio-stream", "http", ""),
    ("checksum", "local", ""),
    ("local_path", "http", ""),
    ("copy", "local", "local"),
    ("copy", "http", "local"),
    ("copy", "local", "fsspec"),
    ("copy", "fsspec", "local"),
    ("copy-inside", "", "served"),
    ("crawl", "http", "local"),
]


@pytest.mark.large
@pytest.mark.alone
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("action", "source", "target"), CASES, ids=["-".join(filter(None, case)) for case in CASES])
def test_memory_stays_bounded(action, source, target, served, tmp_path):
    sources = {"": "", "local": str(served.root), "http": served.url, "fsspec": f"fsspec+file://{served.root}"}
    targets = {
        "": "",
        "local": str(tmp_path),
        "fsspec": f"fsspec+file://{tmp_path}/fsspec",
        "served": str(served.root),
    }
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, action, sources[source], targets[target], str(SMALL), str(BIG)],
        capture_output=True,
        text=True,
        check=False,
    )
    for copy in (tmp_path / f"big-{BIG}", tmp_path / "fsspec" / f"big-{BIG}", served.root / f"big-{BIG}-copy"):
        copy.unlink(missing_ok=True)  # 2 GiB a case add up
    assert done.returncode == 0, done.stderr
    growth = int(done.stdout)
    print(f"{action} {source or '-'} -> {target or '-'}: {growth / 2**20:.1f} MiB for {MEBIBYTES} MiB")
    assert growth < MOST_GROWTH
