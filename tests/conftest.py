"""Fixtures that every test can have, and an environment that is the same everywhere."""

import gc
import importlib
import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests.faults import FaultyServer, faulty_http
from tests.servers import Server, nginx, python_http

# How long one example takes says nothing on a machine that does other things beside.
settings.register_profile("anystore", deadline=None)
settings.load_profile("anystore")


def pytest_collection_finish() -> None:
    """Keep the garbage collector from going through all modules and tests again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def plain_environment() -> Iterator[None]:
    """Take away what the user's shell sets for our packages, Dagster and HTTP."""
    # A shell's background runs with these ignored, and so would every child that a test interrupts.
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGQUIT, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)
    foreign = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "DAGSTER_HOME")
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            ours = name.startswith("ANYSTORE_") and not name.startswith("ANYSTORE_TEST_")
            if ours or name.upper() in foreign:
                patch.delenv(name)
        patch.setenv("DAGSTER_DISABLE_TELEMETRY", "yes")
        yield


def _shared(file: str, start: str) -> Callable[[], Iterator[Any]]:
    """Make the fixture of a server that all tests share; each pytest-xdist worker has one of its own.

    It starts when it is first wanted, and only then is its file loaded, since the tests without extras lack what some
    of them import. A test takes a table, a bucket's folder or a prefix of its own, and one that stops the server
    starts it again; one that needs it set up otherwise runs another.
    """

    @pytest.fixture(scope="session")
    def server() -> Iterator[Any]:
        with getattr(importlib.import_module(f"tests.{file}"), start)() as running:
            yield running

    return server


postgres_server = _shared("database_servers", "postgres")
mariadb_server = _shared("database_servers", "mariadb")
redis_server = _shared("redis_servers", "redis")
valkey_server = _shared("redis_servers", "valkey")
tls_server = _shared("redis_servers", "redis_over_tls")
seaweedfs_server = _shared("object_servers", "seaweedfs")
moto_server = _shared("object_servers", "moto")
azurite_server = _shared("object_servers", "azurite")
sftp_server = _shared("remote_servers", "openssh")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Give a folder that every user can reach; pytest's own are for its user alone."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


@pytest.fixture
def own_server() -> Iterator[Any]:
    """Run a Redis for one test, which may stop it or set it up as it likes."""
    with importlib.import_module("tests.redis_servers").redis() as server:
        yield server


@pytest.fixture
def nginx_server(tmp_path: Path) -> Iterator[Server]:
    """Serve an empty folder by nginx: HTML listings of every folder, also of those with an index.html."""
    root = tmp_path / "nginx"
    root.mkdir()
    with nginx(root) as server:
        yield server


@pytest.fixture
def python_http_server(tmp_path: Path) -> Iterator[Server]:
    """Serve an empty folder by Python's own http.server."""
    root = tmp_path / "python-http"
    root.mkdir()
    with python_http(root) as server:
        yield server


@pytest.fixture
def faulty_server(nginx_server: Server) -> Iterator[FaultyServer]:
    """Put a proxy before ``nginx_server`` that spoils the answers a test names."""
    with faulty_http(nginx_server) as server:
        yield server
