"""Every database passes the suite, on a real server."""

from uuid import uuid4

import pytest

from anystore.backends.sql import from_uri
from anystore.testing import BackendSuite
from anystore.uris import parse_uri
from tests.database_servers import mariadb, postgres


@pytest.fixture(scope="module")
def postgres_server():
    with postgres() as server:
        yield server


@pytest.fixture(scope="module")
def mariadb_server():
    with mariadb() as server:
        yield server


def on_server(server, **options):
    """A backend in tables of its own, which are gone afterwards."""
    backend = from_uri(parse_uri(server.url), {"table": f"t{uuid4().hex}", **options})
    yield backend
    values = backend._values()
    backend._tables.metadata.drop_all(values.connections._engine)
    backend.close()


class TestSqliteFile(BackendSuite):
    @pytest.fixture
    def backend(self, tmp_path):
        backend = from_uri(parse_uri(f"sqlite:///{tmp_path}/store.db"), {})
        yield backend
        backend.close()


class TestSqliteMemory(BackendSuite):
    @pytest.fixture
    def backend(self):
        return from_uri(parse_uri("sqlite://"), {})


class TestPostgres(BackendSuite):
    @pytest.fixture
    def backend(self, postgres_server):
        yield from on_server(postgres_server)


class TestMariadb(BackendSuite):
    @pytest.fixture
    def backend(self, mariadb_server):
        yield from on_server(mariadb_server)
