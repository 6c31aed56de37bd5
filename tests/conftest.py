"""Fixtures that every test can have, and an environment that is the same everywhere."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.faults import FaultyServer, faulty_http
from tests.servers import Server, nginx, python_http

# How long one example takes says nothing on a machine that does other things beside.
settings.register_profile("anystore", deadline=None)
settings.load_profile("anystore")


@pytest.fixture(scope="session", autouse=True)
def plain_environment() -> Iterator[None]:
    """Take away what the user's shell sets for our packages, Dagster and HTTP."""
    foreign = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "DAGSTER_HOME")
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            ours = name.startswith("ANYSTORE_") and not name.startswith("ANYSTORE_TEST_")
            if ours or name.upper() in foreign:
                patch.delenv(name)
        patch.setenv("DAGSTER_DISABLE_TELEMETRY", "yes")
        yield


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
