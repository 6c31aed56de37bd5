"""Filesystems of fsspec on real servers: SFTP, FTP, WebDAV and S3."""

import re
from functools import cache
from uuid import uuid4

import pytest

from anystore.backends.fsspec import from_uri
from anystore.testing import BackendSuite
from anystore.uris import parse_uri
from tests.anystore import test_backends
from tests.object_servers import BUCKET, moto, seaweedfs
from tests.remote_servers import apache, openssh, pyftpd, wsgidav

LINE_BREAKS = {"FTP ends a command at a line break": lambda key: bool(re.search(r"[\r\n]", key))}
# S3 takes 1,024 bytes, the folder's name among them.
TOO_LONG_IN_BUCKET = {"over 1,024 bytes with the folder": lambda key: len(key.encode()) > 1024 - 40}


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


@pytest.fixture(scope="module")
def moto_server():
    with moto() as server:
        yield server


@pytest.fixture(scope="module")
def seaweedfs_server():
    with seaweedfs() as server:
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


class InBucket(BackendSuite):
    """Objects are placed by Amazon's own client; each test has a folder of its own in the bucket."""

    def opened(self, server):
        self.s3 = client_of(server)
        self.folder = f"{uuid4().hex}/a%20b"
        return opened(f"fsspec+s3://{BUCKET}/{self.folder}", **s3_config(server))

    def place(self, backend, key, data):
        self.s3.put_object(Bucket=BUCKET, Key=f"{self.folder}/{key}", Body=data)

    def peek(self, backend, key):
        return self.s3.get_object(Bucket=BUCKET, Key=f"{self.folder}/{key}")["Body"].read()

    def remove(self, backend, key):
        self.s3.delete_object(Bucket=BUCKET, Key=f"{self.folder}/{key}")


@cache
def client_of(server):
    return server.s3()


def s3_config(server):
    return {"key": server.user, "secret": server.password, "endpoint_url": server.url}


class TestMoto(InBucket):
    unholdable = TOO_LONG_IN_BUCKET

    @pytest.fixture
    def backend(self, moto_server):
        return self.opened(moto_server)


class TestSeaweedFS(InBucket):
    unholdable = TOO_LONG_IN_BUCKET | {
        "SeaweedFS turns a backslash into a slash": lambda key: "\\" in key,
        "SeaweedFS refuses a last segment over 255 bytes": lambda key: len(key.rpartition("/")[2].encode()) > 255,
    }

    @pytest.fixture
    def backend(self, seaweedfs_server):
        return self.opened(seaweedfs_server)
