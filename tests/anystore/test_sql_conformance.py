"""Every database passes the suite, on a real server."""

import pytest

from anystore.backends.sql import from_uri
from anystore.testing import BackendSuite
from anystore.uris import parse_uri


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
