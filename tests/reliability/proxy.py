"""A TCP proxy between a client and a server, which breaks what passes through it. It knows no protocol."""

import contextlib
import select
import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

from tests.servers import HOST, free_port

PART = 65_536


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """What goes wrong; bytes are counted over all connections, from when the trouble begins.

    Attributes:
        up: Whether the bytes to the server are meant; else those from it.
        cut: Reset the connection after so many bytes.
        stall: Pass nothing more after so many bytes, and keep the connection open.
        flip: Change one bit of the byte at this place.
        delay: Seconds to wait before each part is passed on.
    """

    up: bool = False
    cut: int | None = None
    stall: int | None = None
    flip: int | None = None
    delay: float = 0.0


CALM = Trouble()


class Proxy:
    """The proxy; it listens at ``port``.

    Attributes:
        port: Where it listens.
        broke: Whether the trouble has happened.
    """

    def __init__(self, behind: int) -> None:
        self.port = free_port()
        self.broke = False
        self._behind = behind
        self._trouble = CALM
        self._passed = 0
        self._lock = threading.Lock()
        self._calm = threading.Event()
        self._calm.set()
        self._listener: socket.socket | None = None
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._threads: list[threading.Thread] = []

    def listen(self) -> None:
        """Take connections, if it does not do so."""
        if self._listener is None:
            self._listener = socket.create_server((HOST, self.port), backlog=128)
            self._start(self._accept, self._listener)

    def refuse(self) -> None:
        """Break every connection, and let the system refuse new ones."""
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)  # wakes up who accepts
            self._listener.close()
            self._listener = None
        self.broke = True
        self._break_all()

    def begin(self, trouble: Trouble) -> None:
        """Let the trouble begin, on connections that are open, too."""
        with self._lock:
            self._trouble, self._passed, self.broke = trouble, 0, bool(trouble.delay)
            if trouble.stall is not None:
                self._calm.clear()

    def heal(self) -> None:
        """Pass everything again; connections that were stalled are broken, since bytes of theirs are missing."""
        with self._lock:
            stalled = self.broke and self._trouble.stall is not None
            self._trouble = CALM
        if stalled:
            self._break_all()
        self._calm.set()
        self.listen()

    def close(self) -> None:
        """End everything."""
        self.refuse()
        self._calm.set()
        for thread in self._threads:
            thread.join()

    def _start(self, work, *arguments) -> None:
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        self._threads.append(thread := threading.Thread(target=work, args=arguments, daemon=True))
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection((HOST, self._behind), 5)
            except OSError:
                _reset(client)
                continue
            server.settimeout(None)
            for one in (client, server):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            pair = client, server
            with self._lock:
                self._pairs.add(pair)
            self._start(self._pump, pair, True)
            self._start(self._pump, pair, False)

    def _pump(self, pair: tuple[socket.socket, socket.socket], up: bool) -> None:
        source, target = pair if up else pair[::-1]
        try:
            while self._awaits(pair, source) and (data := source.recv(PART)):
                data, then = self._spoil(data, up)
                if data:
                    target.sendall(data)
                if then == "cut":
                    break
                if then == "stall":
                    self._calm.wait()
                    break
            else:
                with contextlib.suppress(OSError):
                    target.shutdown(socket.SHUT_WR)  # in good order; the other direction goes on
                return
        except (OSError, ValueError):  # closed by another thread
            pass
        self._break(pair)

    def _awaits(self, pair: tuple[socket.socket, socket.socket], source: socket.socket) -> bool:
        """Wait for bytes; not for ever, since what another thread closes may wake nobody up."""
        while not select.select([source], [], [], 0.5)[0]:
            if pair not in self._pairs:
                raise ConnectionAbortedError("the connection was broken")
        return True

    def _spoil(self, data: bytes, up: bool) -> tuple[bytes, str]:
        with self._lock:
            trouble, begin = self._trouble, self._passed
            if trouble is CALM or trouble.up != up:
                return data, ""
            self._passed += len(data)
            limit = trouble.cut if trouble.cut is not None else trouble.stall
            if trouble.flip is not None and begin <= trouble.flip < begin + len(data):
                place = trouble.flip - begin
                data = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
                self.broke = True
            if limit is not None and begin + len(data) > limit:
                self.broke = True
                return data[: max(limit - begin, 0)], "cut" if trouble.cut is not None else "stall"
        if trouble.delay:
            time.sleep(trouble.delay)
        return data, ""

    def _break_all(self) -> None:
        with self._lock:
            pairs = list(self._pairs)
        for pair in pairs:
            self._break(pair)

    def _break(self, pair: tuple[socket.socket, socket.socket]) -> None:
        with self._lock:
            if pair not in self._pairs:
                return
            self._pairs.discard(pair)
        for one in pair:
            _reset(one)


def _reset(connection: socket.socket) -> None:
    """End a connection by a reset; whoever reads from it in another thread wakes up."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RD)
    connection.close()


@contextlib.contextmanager
def proxy(behind: int) -> Iterator[Proxy]:
    """Run a proxy before the server at a port."""
    running = Proxy(behind)
    running.listen()
    try:
        yield running
    finally:
        running.close()
