"""A server that answers each path by the very bytes it was given, for what no library of servers would send."""

import contextlib
import socketserver
import threading
from collections.abc import Callable, Iterator, Mapping
from email.utils import formatdate

from tests.servers import HOST, POLL

LAST_MODIFIED = "Mon, 18 Nov 2024 02:07:08 GMT"


class RawServer(socketserver.ThreadingTCPServer):
    """Answers each request by ``answers[path]``, bytes or a function of the request's headers; then it hangs up."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__((HOST, 0), _RawAnswer)
        self.url = f"http://{HOST}:{self.server_address[1]}/"
        self.answers: dict[str, bytes | Callable[[Mapping[str, str]], bytes]] = {}
        self.asked: list[str] = []

    def handle_error(self, request: object, client_address: object) -> None:
        """Keep quiet about clients that leave early."""


class _RawAnswer(socketserver.StreamRequestHandler):
    server: RawServer

    def handle(self) -> None:
        path = self.rfile.readline().split(b" ")[1].decode("latin-1")
        headers = {}
        while line := self.rfile.readline().strip():
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        self.server.asked.append(path)
        found = self.server.answers.get(path, b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        self.wfile.write(found if isinstance(found, bytes) else found(headers))


def answer(body: bytes = b"", *, status: int = 200, length: object = None, **headers: str | None) -> bytes:
    """Make the bytes of an answer; ``length=""`` leaves out what tells the length, and ``_`` in names is ``-``."""
    told = {
        "Date": formatdate(usegmt=True),
        "Content-Type": "application/octet-stream",
        "Last-Modified": LAST_MODIFIED,
        "Content-Length": str(len(body)) if length is None else str(length),
        "Connection": "close",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in told.items() if value)
    return f"HTTP/1.1 {status} Answer\r\n{lines}\r\n".encode("latin-1") + body


def chunks(body: bytes, size: int = 10_000) -> bytes:
    """Put a body in chunks."""
    parts = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


@contextlib.contextmanager
def raw_http() -> Iterator[RawServer]:
    """Run a :class:`RawServer`."""
    server = RawServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": POLL}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
