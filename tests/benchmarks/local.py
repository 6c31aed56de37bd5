"""A folder beside plain calls of the operating system, in one run: ``python -m tests.benchmarks.local``.

The plain calls do what the store promises: a temporary file, and a rename. Nothing passes or fails here.
"""

import os
import sys
import tempfile

from anystore import get_store
from tests.benchmarks.timing import measure, report

KIB = b"x" * 1024
MIB = b"y" * (1 << 20)
STREAM_MIB = 256
LISTED = 100_000


def raw_put(path: str, data: bytes = KIB) -> None:
    descriptor = os.open(path + ".tmp", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    os.write(descriptor, data)
    os.close(descriptor)
    os.replace(path + ".tmp", path)


def raw_get(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:
        return file.read()


def singles(folder: str) -> None:
    store = get_store(f"{folder}/ours", serialization_mode="raw")
    raw = f"{folder}/raw"
    os.makedirs(f"{raw}/a")
    store.put("a/one", KIB)
    raw_put(f"{raw}/a/one")
    tasks = {
        "put 1 KiB, new": (lambda n: store.put(f"a/{n}", KIB), lambda n: raw_put(f"{raw}/a/{n}")),
        "put 1 KiB, over": (lambda _: store.put("a/one", KIB), lambda _: raw_put(f"{raw}/a/one")),
        "get 1 KiB": (lambda _: store.get("a/one"), lambda _: raw_get(f"{raw}/a/one")),
        "exists": (lambda _: store.exists("a/one"), lambda _: os.path.exists(f"{raw}/a/one")),
        "info": (lambda _: store.info("a/one"), lambda _: os.stat(f"{raw}/a/one")),
        "delete": (lambda n: store.delete(f"a/{n}"), lambda n: os.unlink(f"{raw}/a/{n}")),
    }
    for name, (ours, plain) in tasks.items():
        report(name, *measure(ours, plain, rounds=9, calls=300))


def listing(folder: str) -> None:
    for number in range(LISTED // 1000):
        os.makedirs(f"{folder}/listed/{number:03}")
        for item in range(1000):
            os.close(os.open(f"{folder}/listed/{number:03}/{item:03}", os.O_CREAT))
    store = get_store(f"{folder}/listed")

    def raw_keys(_: int) -> int:
        return sum(len(files) for _, _, files in os.walk(f"{folder}/listed"))

    report(
        "first key of 100,000",
        *measure(lambda _: next(store.iterate_keys()), lambda _: next(os.scandir(folder)), rounds=5, calls=5),
    )
    report("keys, 100,000", *measure(lambda _: sum(1 for _ in store.iterate_keys()), raw_keys, rounds=3, calls=1))


def streams(folder: str) -> None:
    store = get_store(f"{folder}/streams")

    def write(_: int) -> None:
        with store.open("big", "wb") as file:
            for _ in range(STREAM_MIB):
                file.write(MIB)

    def raw_write(_: int) -> None:
        with open(f"{folder}/big.tmp", "wb") as file:
            for _ in range(STREAM_MIB):
                file.write(MIB)
        os.replace(f"{folder}/big.tmp", f"{folder}/big")

    def read(_: int) -> None:
        with store.open("big") as file:
            while file.read(1 << 20):
                pass

    def raw_read(_: int) -> None:
        with open(f"{folder}/big", "rb") as file:
            while file.read(1 << 20):
                pass

    report(f"write {STREAM_MIB} MiB", *measure(write, raw_write, rounds=3, calls=1))
    report(f"read {STREAM_MIB} MiB", *measure(read, raw_read, rounds=3, calls=1))


def main() -> None:
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as folder:
        print(f"  {'':<28}{'a folder':>17}{'plain calls':>17}{'ratio':>8}")
        singles(folder)
        listing(folder)
        streams(folder)


if __name__ == "__main__":
    main()
