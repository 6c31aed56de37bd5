"""fsspec's own tests of a filesystem, on several backends, without an exception."""

import posixpath

import pytest
from fsspec.tests import abstract

from tests.filesystem_stores import opened


class Fixtures(abstract.AbstractFixtures):
    @pytest.fixture(params=["memory", "folder", "sqlite", "redis", "moto", "seaweedfs"])
    def fs(self, request, tmp_path):
        with opened(request.param, request.getfixturevalue, tmp_path) as store:
            yield store.fs

    @pytest.fixture
    def fs_path(self):
        return "base"

    @pytest.fixture
    def fs_join(self):
        return posixpath.join


class TestCopy(abstract.AbstractCopyTests, Fixtures):
    pass


class TestGet(abstract.AbstractGetTests, Fixtures):
    pass


class TestPut(abstract.AbstractPutTests, Fixtures):
    pass


class TestOpen(abstract.AbstractOpenTests, Fixtures):
    pass


class TestPipe(abstract.AbstractPipeTests, Fixtures):
    pass
