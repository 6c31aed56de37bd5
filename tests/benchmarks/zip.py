"""The zip backend beside Python's ``zipfile``, in one run: ``python tests/benchmarks/zip.py``.

Nothing passes or fails here. Each pair of numbers is taken in turns, so that both see the same machine.
``zipfile`` cannot overwrite or delete: what stands beside these is an addition under the same name.
Both open the archive for each single operation; a process that keeps a ``ZipFile`` open reads faster, and sees
no change that others make.
"""

import argparse
import os
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from anystore.backends.zip import ZipBackend
from tests.benchmarks.timing import Task, measure

KIB = os.urandom(512) + bytes(512)
MIB = os.urandom(1 << 19) + bytes(1 << 19)


class Raw:
    """What a program does that uses ``zipfile`` and opens the archive when it needs it."""

    def __init__(self, path: str) -> None:
        self.path = path
        with self.opened("w"):
            pass

    def opened(self, mode: str) -> zipfile.ZipFile:
        """Open the archive."""
        return zipfile.ZipFile(self.path, mode, zipfile.ZIP_DEFLATED)

    def put(self, name: str, data: bytes) -> None:
        """Add an entry."""
        with self.opened("a") as archive:
            archive.writestr(name, data)

    def get(self, name: str) -> bytes:
        """Read an entry."""
        with self.opened("r") as archive:
            return archive.read(name)

    def exists(self, name: str) -> bool:
        """Look for an entry."""
        with self.opened("r") as archive:
            return name in archive.NameToInfo


def singles(backend: ZipBackend, raw: Raw) -> Iterator[tuple[str, Task, Task]]:
    """Name the operations on one value of 1 KiB, in an archive of a few hundred."""
    backend.put("one", KIB)
    raw.put("one", KIB)
    yield "put", lambda n: backend.put(f"a{n}", KIB), lambda n: raw.put(f"a{n}", KIB)
    yield "get", lambda _: backend.get("one"), lambda _: raw.get("one")
    yield "exists", lambda _: backend.exists("one"), lambda _: raw.exists("one")
    yield "overwrite", lambda _: backend.put("one", KIB), lambda _: raw.put("one", KIB)
    yield "delete", lambda n: backend.delete(f"a{n}"), lambda _: raw.put("one", KIB)


def batches(backend: ZipBackend, raw: Raw) -> Iterator[tuple[str, Task, Task]]:
    """Name the operations on 1,000 values of 1 KiB."""
    keys = [f"many/{number}" for number in range(1000)]

    def raw_put(_: int) -> None:
        with raw.opened("w") as archive:
            for key in keys:
                archive.writestr(key, KIB)

    def raw_get(_: int) -> None:
        with raw.opened("r") as archive:
            for key in keys:
                archive.read(key)

    yield "put_many 1,000", lambda _: backend.put_many((key, KIB) for key in keys), raw_put
    yield "get_many 1,000", lambda _: dict(backend.get_many(keys)), raw_get


def large(backend: ZipBackend, raw: Raw, listed: int, mib: int) -> Iterator[tuple[str, Task, Task]]:
    """Name the listing and the streams."""
    names = [f"listed/{number % 100}/{number}" for number in range(listed)]
    backend.put_many((name, b"x") for name in names)
    with raw.opened("w") as archive:
        for name in names:
            archive.writestr(name, b"x")

    def list_anew(_: int) -> None:
        assert sum(1 for _ in ZipBackend(backend._path).keys("listed/")) == listed

    def raw_list(_: int) -> None:
        with raw.opened("r") as archive:
            assert len(archive.namelist()) == listed

    yield f"keys of {listed:,}", lambda _: sum(1 for _ in backend.keys("listed/")), raw_list
    yield "the same, opened anew", list_anew, raw_list
    yield f"entries of {listed:,}", lambda _: sum(1 for _ in backend.scan("listed/")), raw_list
    yield f"put beside {listed:,}", lambda n: backend.put(f"b{n}", KIB), lambda n: raw.put(f"b{n}", KIB)

    def write(_: int) -> None:
        with backend.writer("stream") as writer:
            for _ in range(mib):
                writer.write(MIB)

    def raw_write(_: int) -> None:
        with raw.opened("w") as archive, archive.open("stream", "w", force_zip64=True) as file:
            for _ in range(mib):
                file.write(MIB)

    def raw_read(_: int) -> None:
        with raw.opened("r") as archive, archive.open("stream") as file:
            while file.read(1 << 20):
                pass

    yield f"write {mib} MiB", write, raw_write
    yield f"read {mib} MiB", lambda _: sum(map(len, backend.read("stream"))), raw_read


def main() -> None:
    """Print one line per operation."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--listed", type=int, default=100_000)
    options.add_argument("--mib", type=int, default=256)
    chosen = options.parse_args()
    warnings.simplefilter("ignore")  # of the names that zipfile writes twice
    print(f"{'':24}{'anystore':>12}{'zipfile':>12}{'ratio':>8}")
    groups = [
        (singles, (), 15, 30),
        (batches, (), 9, 1),
        (large, (chosen.listed, chosen.mib), 3, 1),
    ]
    for operations, sizes, rounds, calls in groups:
        with tempfile.TemporaryDirectory() as folder:
            backend, raw = ZipBackend(f"{folder}/ours.zip"), Raw(f"{folder}/raw.zip")
            for name, ours, theirs in operations(backend, raw, *sizes):
                mine, others = measure(ours, theirs, rounds=rounds, calls=calls)
                print(f"{name:24}{mine * 1e6:>9,.0f} µs{others * 1e6:>9,.0f} µs{mine / others:>8.2f}")


if __name__ == "__main__":
    main()
