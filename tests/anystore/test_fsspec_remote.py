"""Filesystems of fsspec on real servers: SFTP, FTP, WebDAV and S3."""

import re
import shutil
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


# To make a connection takes longer than most tests, so the tests of one server share a backend, over a folder
# (or bucket) that is emptied in between.
_backends = {}


def shared_backend(server, uri, **config):
    place = (server.port, uri)
    if place not in _backends:
        _backends[place] = opened(uri, **config)
    return _backends[place]


class OnServer(test_backends.InFolder):
    unholdable = test_backends.SEGMENT_TOO_LONG

    def opened(self, server):
        """Give a backend over a folder that is not there before the first value is."""
        self.root = server.root / "base" / "store"
        shutil.rmtree(self.root.parent, ignore_errors=True)
        return shared_backend(server, f"{server.uri}/base/store", **server.config)


class TestSftp(OnServer):
    @pytest.fixture
    def backend(self, sftp):
        return self.opened(sftp)


class TestFtp(OnServer):
    unholdable = test_backends.SEGMENT_TOO_LONG | LINE_BREAKS

    @pytest.fixture
    def backend(self, ftp):
        return self.opened(ftp)


class TestWsgidav(OnServer):
    unholdable = test_backends.SEGMENT_TOO_LONG | {
        "wsgidav moves to a name that is cut there": lambda key: bool(re.search(r"[?;\t\r\n]", key)),
    }

    @pytest.fixture
    def backend(self, dav):
        return self.opened(dav)


class TestApache(OnServer):
    def place(self, backend, key, data):
        super().place(backend, key, data)
        for folder in (self.root / key).parents:  # Apache runs as another user
            if not folder.is_relative_to(self.root.parent):
                break
            folder.chmod(0o777)

    @pytest.fixture
    def backend(self, apache_dav):
        return self.opened(apache_dav)


class InBucket(BackendSuite):
    """Objects are placed by Amazon's own client."""

    folder = "base/a%20b"
    unholdable = {"over 1,024 bytes with the folder": lambda key: len(key.encode()) > 1024 - len("base/a%20b/")}

    def opened(self, server):
        self.s3 = client_of(server)
        for page in self.s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET):
            for one in page.get("Contents", []):  # one by one: a list of such names is no XML
                self.s3.delete_object(Bucket=BUCKET, Key=one["Key"])
        return shared_backend(server, f"fsspec+s3://{BUCKET}/{self.folder}", **s3_config(server))

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
    unholdable = InBucket.unholdable | {"moto does not find a name with a line break": lambda key: "\n" in key}

    @pytest.fixture
    def backend(self, moto_server):
        return self.opened(moto_server)


class TestSeaweedFS(InBucket):
    unholdable = InBucket.unholdable | {
        "SeaweedFS turns a backslash into a slash": lambda key: "\\" in key,
        "SeaweedFS refuses a last segment over 255 bytes": lambda key: len(key.rpartition("/")[2].encode()) > 255,
    }

    @pytest.fixture
    def backend(self, seaweedfs_server):
        return self.opened(seaweedfs_server)
