"""A proxy before a real server that spoils its answers, for what no real server does on command."""

import contextlib
import http.client
import select
import socket
import socketserver
import struct
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import NamedTuple

from tests.servers import HOST, POLL, STOP_TIMEOUT, Server

PART = 65_536


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What goes wrong with one answer; what is not named goes right. Faults of one answer can be combined."""

    refuse: bool = False  # reset the connection before a byte of the answer
    status: int | None = None  # answer so, with `body`, without asking the server behind
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)  # added to the answer, in place of its own
    strip: tuple[str, ...] = ()  # headers taken from the answer
    hide: tuple[str, ...] = ()  # headers of the request that the server behind does not see
    truncate: int | None = None  # end the connection in good order after so many bytes of body
    cut: int | None = None  # reset the connection after so many bytes of body
    stall: int | None = None  # after so many bytes of body send nothing more, and keep the connection open
    flip: int | None = None  # spoil the byte at this place of the body
    drip: float | None = None  # send the body byte by byte, with so many seconds between
    pause: float = 0.0  # seconds between the head and the body

    @property
    def limit(self) -> int | None:
        """After how many bytes of body the answer stops."""
        return min((n for n in (self.truncate, self.cut, self.stall) if n is not None), default=None)


NO_FAULT = Fault()


class Asked(NamedTuple):
    """One request that reached a :class:`FaultyServer`, with its headers in lower case."""

    method: str
    path: str
    headers: dict[str, str]


class FaultyServer(socketserver.ThreadingTCPServer):
    """A proxy before a real server that spoils the answers a test names.

    ``script(Fault(status=503), None, Fault(cut=100))`` spoils the next request and the one after the next;
    ``always(Fault(stall=0), path="/a")`` spoils each request whose path begins so, until ``heal()``. A path
    given to ``script`` leaves other requests alone in the same way.
    """

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, behind: Server) -> None:
        super().__init__((HOST, 0), _FaultyAnswer)
        self.behind = behind
        self.host = HOST
        self.port = self.server_address[1]
        self.url = f"http://{HOST}:{self.port}/"
        self.asked: list[Asked] = []
        self.closing = threading.Event()
        self.resets: set[int] = set()
        self._lock = threading.Lock()
        self._next: list[tuple[str, Fault]] = []
        self._always: list[tuple[str, Fault]] = []

    def script(self, *faults: Fault | None, path: str = "/") -> None:
        """Spoil the next requests below ``path``, one after the other; None lets one pass."""
        with self._lock:
            self._next += [(path, fault or NO_FAULT) for fault in faults]

    def always(self, fault: Fault, *, path: str = "/") -> None:
        """Spoil every request below ``path`` that no script speaks of."""
        with self._lock:
            self._always.append((path, fault))

    def heal(self) -> None:
        """Spoil nothing any more."""
        with self._lock:
            self._next.clear()
            self._always.clear()

    def fault_for(self, asked: Asked) -> Fault:
        """Note the request, and use up what the script has for it."""
        with self._lock:
            self.asked.append(asked)
            for place, (path, fault) in enumerate(self._next):
                if asked.path.startswith(path):
                    del self._next[place]
                    return fault
            return next((fault for path, fault in self._always if asked.path.startswith(path)), NO_FAULT)

    def shutdown_request(self, request: socket.socket | tuple[bytes, socket.socket]) -> None:
        """End a connection in good order, or by a reset where a fault wants that."""
        if isinstance(request, socket.socket) and request.fileno() in self.resets:
            self.resets.discard(request.fileno())
            # Without the FIN that shutdown() sends, and with nothing to linger for: the kernel sends a reset.
            request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_request(request)
        else:
            super().shutdown_request(request)

    def handle_error(self, request: socket.socket | tuple[bytes, socket.socket], client_address: object) -> None:
        """Keep quiet about clients that leave early: the faults make them."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _FaultyAnswer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FaultyServer

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def log_message(self, *_: object) -> None:
        """Log nothing: ``asked`` holds the requests."""

    def _answer(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        fault = self.server.fault_for(Asked(self.command, self.path, headers))
        if fault.refuse:
            self._reset()
        elif fault.status is not None:
            own = {"Content-Length": str(len(fault.body)), **fault.headers}
            self._head(fault.status, own)
            self._body([fault.body], fault, chunked=False)
        else:
            self._pass_on(headers, fault)

    def _pass_on(self, headers: dict[str, str], fault: Fault) -> None:
        hidden = {name.lower() for name in (*fault.hide, "host", "connection", "accept-encoding")}
        behind = http.client.HTTPConnection(HOST, self.server.behind.port, timeout=STOP_TIMEOUT)
        try:
            kept = {name: value for name, value in headers.items() if name not in hidden}
            behind.request(self.command, self.path, headers=kept)
            answer = behind.getresponse()
            stripped = {name.lower() for name in (*fault.strip, *fault.headers, "connection", "keep-alive")}
            passed = {name: value for name, value in answer.getheaders() if name.lower() not in stripped}
            self._head(answer.status, {**passed, **fault.headers})
            chunked = answer.getheader("Transfer-Encoding") == "chunked"
            self._body(iter(lambda: answer.read(PART), b""), fault, chunked=chunked)
        finally:
            behind.close()

    def _head(self, status: int, headers: Mapping[str, str]) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if not {"content-length", "transfer-encoding"} & {name.lower() for name in headers}:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()

    def _body(self, parts: Iterable[bytes], fault: Fault, *, chunked: bool) -> None:
        left, position = fault.limit, 0
        self.server.closing.wait(fault.pause)
        for part in _spread(parts, fault) if self.command != "HEAD" else []:
            sent = part if left is None else part[:left]
            if fault.flip is not None and position <= fault.flip < position + len(sent):
                place = fault.flip - position
                sent = sent[:place] + bytes([sent[place] ^ 1]) + sent[place + 1 :]
            position += len(part)
            if fault.drip is not None and (self.server.closing.wait(fault.drip) or self._has_left()):
                break
            self.wfile.write(b"%x\r\n%b\r\n" % (len(sent), sent) if chunked and sent else sent)
            if left is not None:
                left -= len(sent)
                if not left:
                    break
        if left is None:
            self.wfile.write(b"0\r\n\r\n" if chunked and self.command != "HEAD" else b"")
            return
        self.close_connection = True
        if fault.stall is not None:
            self._hold()
        if fault.cut is not None:
            self._reset()

    def _hold(self) -> None:
        while not self.server.closing.is_set() and not self._has_left(POLL):
            pass

    def _has_left(self, patience: float = 0.0) -> bool:
        # Readable means here that the client has gone: it has nothing more to say.
        return bool(select.select([self.connection], [], [], patience)[0])

    def _reset(self) -> None:
        self.close_connection = True
        self.server.resets.add(self.connection.fileno())


def _spread(parts: Iterable[bytes], fault: Fault) -> Iterator[bytes]:
    """Give the parts, byte by byte if they are to drip."""
    for part in parts:
        if fault.drip is None:
            yield part
        else:
            yield from (part[place : place + 1] for place in range(len(part)))


@contextlib.contextmanager
def faulty_http(behind: Server) -> Iterator[FaultyServer]:
    """Put a :class:`FaultyServer` before a running server."""
    server = FaultyServer(behind)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": POLL}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()
