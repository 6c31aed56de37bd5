"""``store.fs`` beside s3fs, on SeaweedFS, and fsspec's local files: ``python -m tests.benchmarks.filesystem``."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import s3fs
from fsspec.implementations.local import LocalFileSystem

from anystore import get_store
from tests.benchmarks.timing import measure, report
from tests.object_servers import BUCKET, seaweedfs

SMALL = os.urandom(1024)
LARGE = os.urandom(32 << 20)
KEYS = 1000


def main() -> None:
    """Print two tables: microseconds of ours and theirs, and the ratio."""
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        del os.environ[name]
    with tempfile.TemporaryDirectory() as folder:
        print(f"{'a folder':<30}{'store.fs':>16}{'LocalFileSystem':>17}   ratio")
        ours, theirs = get_store(f"{folder}/ours").fs, LocalFileSystem(auto_mkdir=True)
        compare(ours, "", theirs, str(Path(folder, "theirs")) + "/", rounds=20)
    with seaweedfs() as server:
        print(f"{'S3':<30}{'store.fs':>16}{'s3fs':>17}   ratio")
        ours = get_store(f"s3://{BUCKET}/ours", backend_config=server.config).fs
        theirs = s3fs.S3FileSystem(
            key=server.user, secret=server.password, endpoint_url=server.url, use_listings_cache=False
        )
        compare(ours, "", theirs, f"{BUCKET}/theirs/", rounds=5)


def compare(ours: Any, here: str, theirs: Any, there: str, *, rounds: int) -> None:
    """Measure each call on both, in turns."""

    def show(name: str, call: Callable[[Any, str, int], object], *, rounds: int = rounds, calls: int = 1) -> None:
        pair = measure(
            lambda number: call(ours, here, number),
            lambda number: call(theirs, there, number),
            rounds=rounds,
            calls=calls,
        )
        report(name, *pair)

    show("pipe 1 KiB", lambda fs, root, n: fs.pipe_file(f"{root}one/{n}", SMALL), calls=20)
    show("cat 1 KiB", lambda fs, root, n: fs.cat_file(f"{root}one/{n}"), calls=20)
    show("cat 100 bytes of a part", lambda fs, root, n: fs.cat_file(f"{root}one/{n}", start=100, end=200), calls=20)
    show("open, read 1 KiB", lambda fs, root, n: read(fs, f"{root}one/{n}"), calls=20)
    show("info", lambda fs, root, n: fs.info(f"{root}one/{n}"), calls=20)
    names = [f"many/{number % 10}/{number}" for number in range(KEYS)]
    show(f"pipe {KEYS:,}", lambda fs, root, _: fs.pipe({f"{root}{name}": SMALL for name in names}), rounds=3)
    show(f"cat {KEYS:,}", lambda fs, root, _: fs.cat([f"{root}{name}" for name in names]), rounds=3)
    show(f"find {KEYS:,}", lambda fs, root, _: fs.find(f"{root}many", detail=True), rounds=5)
    show("ls of 10 folders", lambda fs, root, _: fs.ls(f"{root}many", detail=True))
    show("ls of 100 values", lambda fs, root, _: fs.ls(f"{root}many/3", detail=True))
    show("pipe 32 MiB", lambda fs, root, _: fs.pipe_file(f"{root}large", LARGE), rounds=3)
    show("cat 32 MiB", lambda fs, root, _: fs.cat_file(f"{root}large"), rounds=3)
    show("write 32 MiB by open", lambda fs, root, _: write(fs, f"{root}large"), rounds=3)


def read(fs: Any, path: str) -> bytes:
    """Read a value as a file."""
    with fs.open(path, "rb") as file:
        data: bytes = file.read()
        return data


def write(fs: Any, path: str) -> None:
    """Write a value as a file, a mebibyte at a time."""
    with fs.open(path, "wb") as file:
        for start in range(0, len(LARGE), 1 << 20):
            file.write(LARGE[start : start + (1 << 20)])


if __name__ == "__main__":
    main()
