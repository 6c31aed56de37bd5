"""Filesystems of fsspec on real servers: SFTP, FTP, WebDAV and S3."""

import re
from uuid import uuid4

import pytest

from anystore.backends.fsspec import from_uri
from anystore.uris import parse_uri
from tests.anystore import test_backends
from tests.remote_servers import apache, openssh, pyftpd, wsgidav

LINE_BREAKS = {"FTP ends a command at a line break": lambda key: bool(re.search(r"[\r\n]", key))}


def opened(uri, **config):
    return from_uri(parse_uri(uri), config)


@pytest.fixture(scope="module")
def sftp():
    with openssh() as server:
        yield server


@pytest.fixture(scope="module")
def ftp():
    with pyftpd() as server:
        yield server


@pytest.fixture(scope="module")
def dav():
    with wsgidav() as server:
        yield server


@pytest.fixture(scope="module")
def apache_dav():
    with apache() as server:
        yield server


class OnServer(test_backends.InFolder):
    """Each test has a folder of its own on the server, which it makes with its first value."""

    unholdable = test_backends.SEGMENT_TOO_LONG

    def opened(self, server):
        name = uuid4().hex
        self.root = server.root / name / "store"
        backend = opened(f"{server.uri}/{name}/store", **server.config)
        yield backend
        backend.close()


class TestSftp(OnServer):
    @pytest.fixture
    def backend(self, sftp):
        yield from self.opened(sftp)


class TestFtp(OnServer):
    unholdable = test_backends.SEGMENT_TOO_LONG | LINE_BREAKS

    @pytest.fixture
    def backend(self, ftp):
        yield from self.opened(ftp)


class TestWsgidav(OnServer):
    unholdable = test_backends.SEGMENT_TOO_LONG | {
        "wsgidav moves to a name that is cut there": lambda key: bool(re.search(r"[?;\t\r\n]", key)),
    }

    @pytest.fixture
    def backend(self, dav):
        yield from self.opened(dav)


class TestApache(OnServer):
    def place(self, backend, key, data):
        super().place(backend, key, data)
        for folder in (self.root / key).parents:  # Apache runs as another user
            if not folder.is_relative_to(self.root.parent):
                break
            folder.chmod(0o777)

    @pytest.fixture
    def backend(self, apache_dav):
        yield from self.opened(apache_dav)
