"""Servers of files for the tests: SFTP, FTP and WebDAV, as child processes on free loopback ports.

A server that cannot be started raises, so the run fails; nothing is skipped. OpenSSH and Apache are Debian's
(``openssh-server``, ``apache2``), pyftpdlib and wsgidav come from PyPI.
"""

import base64
import contextlib
import getpass
import hashlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import trustme

from tests.servers import HOST, answers, child, find_program, free_port

USER = "anystore"
PASSWORD = "s3cret/p#ss"
QUOTED_PASSWORD = "s3cret%2Fp%23ss"


@dataclass
class RemoteServer:
    """A running server of the files below ``root``.

    Attributes:
        uri: The URI of ``root``, without a ``/`` at its end.
        config: The ``backend_config`` that logs in.
    """

    uri: str
    port: int
    root: Path
    run: Callable[[], contextlib.AbstractContextManager[Any]] = field(repr=False)
    config: Mapping[str, Any] = field(default_factory=dict, repr=False)
    process: int = 0
    _running: contextlib.ExitStack = field(default_factory=contextlib.ExitStack, repr=False)

    def start(self) -> None:
        self.process = self._running.enter_context(self.run()).pid

    def stop(self) -> None:
        self._running.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def greets(port: int, expected: bytes) -> Callable[[], None]:
    """Make a check that a server says hello, as SSH's and FTP's do."""

    def check() -> None:
        with socket.create_connection((HOST, port), 2) as connection:
            greeting = connection.recv(64)
        if not greeting.startswith(expected):
            raise OSError(f"port {port} greets with {greeting!r}")

    return check


def accepts(port: int) -> Callable[[], None]:
    """Make a check that a server takes connections."""

    def check() -> None:
        socket.create_connection((HOST, port), 2).close()

    return check


@contextlib.contextmanager
def openssh(*, sftp: str = "internal-sftp") -> Iterator[RemoteServer]:
    """Serve files by OpenSSH, SFTP alone, as ourselves, by a key that is made here.

    Args:
        sftp: The command of its SFTP part: with ``-R`` it only reads, with ``-P REQUEST`` it denies a request.
    """
    sshd = find_program("sshd", install="apt-get install openssh-server")  # it wants its whole path
    keygen = find_program("ssh-keygen", install="apt-get install openssh-client")
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="sftp-") as name:
        home = Path(name)
        for key in ("host_key", "client_key"):
            subprocess.run([keygen, "-q", "-t", "ed25519", "-N", "", "-f", home / key], check=True)
        public = (home / "host_key.pub").read_text().split()
        (home / "known_hosts").write_text(f"[{HOST}]:{port} {public[0]} {public[1]}\n")
        (home / "root").mkdir()
        (home / "sshd_config").write_text(f"""
            ListenAddress {HOST}:{port}
            HostKey {home}/host_key
            AuthorizedKeysFile {home}/client_key.pub
            PidFile none
            StrictModes no
            UsePAM no
            PasswordAuthentication yes
            KbdInteractiveAuthentication no
            PermitRootLogin yes
            Subsystem sftp {sftp}
            ForceCommand {sftp}
        """)
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where it gives its rights away
        argv = [sshd, "-D", "-e", "-f", str(home / "sshd_config")]

        def run() -> contextlib.AbstractContextManager[Any]:
            return _with_sessions(argv, port, log=home / "log")

        config = {
            "username": getpass.getuser(),
            "key_filename": str(home / "client_key"),
            "known_hosts": str(home / "known_hosts"),
        }
        with RemoteServer(f"sftp://{HOST}:{port}{home}/root", port, home / "root", run, config) as server:
            yield server


@contextlib.contextmanager
def _with_sessions(argv: Sequence[str], port: int, *, log: Path) -> Iterator[Any]:
    """Run sshd, and end with it the sessions, each of which is a process with a group of its own."""
    with child(argv, greets(port, b"SSH-2.0-"), log=log) as process:
        try:
            yield process
        finally:
            for one in descendants(process.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(one, signal.SIGKILL)


def sessions_of(server: RemoteServer) -> list[int]:
    """Give the processes in which OpenSSH serves those who are connected."""
    return descendants(server.process)


def descendants(process: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(FileNotFoundError):
        for task in Path(f"/proc/{process}/task").iterdir():
            for one in (task / "children").read_text().split():
                found += [int(one), *descendants(int(one))]
    return found


@contextlib.contextmanager
def pyftpd(*, writable: bool = True, tls: str = "") -> Iterator[RemoteServer]:
    """Serve files by pyftpdlib, which answers MLST and MLSD.

    Args:
        writable: Whether the user may write.
        tls: ``explicit`` or ``implicit``, to encrypt all, with a certificate of ``ca.pem`` beside the root.
    """
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="ftp-") as name:
        root = Path(name) / "root"
        root.mkdir()
        # With a directory of a user of its own, -w is about everybody else.
        argv = [sys.executable, "-c", _FTPD, str(port), str(root), USER, PASSWORD, "elradfmwMT" if writable else "elr"]
        argv += [tls]
        if tls:
            authority = trustme.CA()
            authority.cert_pem.write_to_path(Path(name) / "ca.pem")
            authority.issue_cert(HOST).private_key_and_cert_chain_pem.write_to_path(Path(name) / "server.pem")
        ready = accepts(port) if tls == "implicit" else greets(port, b"220")

        def run() -> contextlib.AbstractContextManager[Any]:
            return child(argv, ready, log=Path(name) / "log")

        config = {"username": USER, "password": PASSWORD}
        with RemoteServer(f"ftp://{HOST}:{port}", port, root, run, config) as server:
            yield server


_FTPD = f"""
import sys
from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler, TLS_FTPHandler
from pyftpdlib.servers import FTPServer

port, root, user, password, allowed, tls = sys.argv[1:]

class Implicit(TLS_FTPHandler):
    def handle(self):
        self.secure_connection(self.ssl_context)
        super().handle()

Handler = {{"": FTPHandler, "explicit": TLS_FTPHandler, "implicit": Implicit}}[tls]
if tls:
    TLS_FTPHandler.certfile = root.rpartition("/")[0] + "/server.pem"
    TLS_FTPHandler.tls_control_required = TLS_FTPHandler.tls_data_required = True
Handler.authorizer = DummyAuthorizer()
Handler.authorizer.add_user(user, password, root, perm=allowed)
Handler.auth_failed_timeout = 0
FTPServer(("{HOST}", int(port)), Handler).serve_forever()
"""


@contextlib.contextmanager
def wsgidav() -> Iterator[RemoteServer]:
    """Serve files by wsgidav, open to anyone."""
    program = find_program("wsgidav", install="pip install wsgidav cheroot")
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="wsgidav-") as name:
        root = Path(name) / "root"
        root.mkdir()
        argv = [program, "--host", HOST, "--port", str(port), "--root", str(root)]
        argv += ["--auth", "anonymous", "--server", "cheroot", "--no-config", "--quiet"]

        def run() -> contextlib.AbstractContextManager[Any]:
            return child(argv, answers(port, "/", 200, 401, method="OPTIONS"), log=Path(name) / "log")

        with RemoteServer(f"webdav://{HOST}:{port}", port, root, run) as server:
            yield server


_APACHE_USER = "www-data"
_APACHE_MODULES = "mpm_event authn_core authn_file authz_core authz_user auth_basic dav dav_fs"


@contextlib.contextmanager
def apache() -> Iterator[RemoteServer]:
    """Serve files by Apache's mod_dav, to one user, below ``/dav``; ``/denied`` is served to nobody."""
    program = find_program("apache2", install="apt-get install apache2")
    port = free_port()
    modules = "".join(
        f"LoadModule {one}_module /usr/lib/apache2/modules/mod_{one}.so\n" for one in _APACHE_MODULES.split()
    )
    argv = [program]
    if os.geteuid() == 0:
        # Apache would change the user itself, and with that forget that it is to end with its parent.
        setpriv = find_program("setpriv", install="apt-get install util-linux")
        argv = [setpriv, "--reuid", _APACHE_USER, "--regid", _APACHE_USER, "--clear-groups", "--pdeathsig", "KILL"]
        argv += ["--", program]
    with tempfile.TemporaryDirectory(prefix="apache-") as name:
        home = Path(name)
        root = home / "root"
        (root / "dav").mkdir(parents=True)
        hashed = base64.b64encode(hashlib.sha1(PASSWORD.encode()).digest()).decode()
        (home / "users").write_text(f"{USER}:{{SHA}}{hashed}\n")
        (home / "conf").write_text(f"""{modules}
            ServerName {HOST}
            Listen {HOST}:{port}
            PidFile {home}/pid
            Mutex file:{home}
            ErrorLog {home}/errors
            DocumentRoot {root}
            StartServers 1
            ServerLimit 1
            ThreadsPerChild 64
            MaxRequestWorkers 64
            MinSpareThreads 1
            MaxSpareThreads 64
            KeepAlive On
            MaxKeepAliveRequests 0
            LimitRequestBody 0
            DavLockDB {home}/lock
            <Directory {root}>
                Dav On
                AuthType Basic
                AuthName test
                AuthUserFile {home}/users
                Require valid-user
            </Directory>
            <Location /denied>
                Require all denied
            </Location>
        """)
        if os.geteuid() == 0:
            for path in (home, *home.rglob("*")):
                shutil.chown(path, _APACHE_USER, _APACHE_USER)

        def run() -> contextlib.AbstractContextManager[Any]:
            return child(
                [*argv, "-f", str(home / "conf"), "-X"],
                answers(port, "/", 200, 401, method="OPTIONS"),
                log=home / "log",
            )

        config = {"username": USER, "password": PASSWORD}
        with RemoteServer(f"webdav://{HOST}:{port}/dav", port, root / "dav", run, config) as server:
            yield server


class _OneAnswer(BaseHTTPRequestHandler):
    """A connection that is kept after its first answer, and lost when the second request has come."""

    protocol_version = "HTTP/1.1"
    server: "OneAnswerServer"
    answered = False

    def parse_request(self) -> bool:
        if not super().parse_request():
            return False
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self.close_connection = self.answered
        if not self.answered or self.server.obeys:
            behind = http.client.HTTPConnection(HOST, self.server.behind)
            with contextlib.closing(behind):
                behind.request(self.command, self.path, body, dict(self.headers))
                answer = behind.getresponse()
                data = answer.read()
            if not self.answered:
                self._give(answer, data)
        self.server.lost += self.answered
        self.answered = True
        return False

    def _give(self, answer: http.client.HTTPResponse, data: bytes) -> None:
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "content-length", "connection", "keep-alive"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class OneAnswerServer(ThreadingHTTPServer):
    """A server before another one, which gives one answer on each connection that it keeps.

    Attributes:
        obeys: Whether a request that is lost is passed on before.
        lost: How many were.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, behind: int) -> None:
        super().__init__((HOST, 0), _OneAnswer)
        self.behind = behind
        self.obeys = False
        self.lost = 0

    @property
    def port(self) -> int:
        return self.server_address[1]


@contextlib.contextmanager
def one_answer_each(behind: int) -> Iterator[OneAnswerServer]:
    """Lose each connection to the server on a port at the second request."""
    with OneAnswerServer(behind) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
