"""A relay before a real PostgreSQL that looks like a pooler, such as PgBouncer in transaction mode.

A pooler tells its clients numbers of its own for their sessions, and may run each transaction in another session. What
clients say is kept, so that a test sees whether they rely on their session.
"""

import contextlib
import socket
import socketserver
import struct
import threading
from collections.abc import Iterator
from typing import BinaryIO

from tests.database_servers import DatabaseServer
from tests.servers import HOST, POLL

_SESSION, _READY = b"K", b"Z"


class Pooler(socketserver.ThreadingTCPServer):
    """The relay; ``said`` is what clients have sent."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False

    def __init__(self, behind: DatabaseServer) -> None:
        super().__init__((HOST, 0), _Client)
        self.behind = behind
        self.said = bytearray()
        plainly = "?sslmode=disable&gssencmode=disable"
        self.url = behind.url.replace(f":{behind.port}/", f":{self.server_address[1]}/") + plainly


class _Client(socketserver.BaseRequestHandler):
    server: Pooler

    def handle(self) -> None:
        with socket.create_connection((HOST, self.server.behind.port)) as real:
            listening = threading.Thread(target=self._listen, args=(real,), daemon=True)
            listening.start()
            with contextlib.suppress(OSError), real.makefile("rb") as answers:
                self._greet(answers)
                while part := answers.read1():
                    self.request.sendall(part)

    def _listen(self, real: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while part := self.request.recv(1 << 16):
                self.server.said += part
                real.sendall(part)
            real.shutdown(socket.SHUT_RDWR)

    def _greet(self, answers: BinaryIO) -> None:
        """Pass on what the server says until it is ready, with another number for the session."""
        kind = b""
        while kind != _READY:
            kind, length = struct.unpack("!cI", answers.read(5))
            body = answers.read(length - 4)
            if kind == _SESSION:
                number, secret = struct.unpack("!I4s", body)
                body = struct.pack("!I4s", number ^ 0x40000000, secret)
            self.request.sendall(struct.pack("!cI", kind, length) + body)


@contextlib.contextmanager
def pooler(behind: DatabaseServer) -> Iterator[Pooler]:
    """Put a relay before a running server."""
    with Pooler(behind) as relay:
        thread = threading.Thread(target=relay.serve_forever, kwargs={"poll_interval": POLL}, daemon=True)
        thread.start()
        try:
            yield relay
        finally:
            relay.shutdown()
            thread.join()
