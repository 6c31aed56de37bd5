"""Zip archives pass the suite; Python's ``zipfile`` places and reads values behind the backend's back."""

import os
import zipfile
from uuid import uuid4

import pytest

from anystore.backends import open_backend
from anystore.backends.local import LocalBackend
from anystore.backends.zip import from_uri
from anystore.backends.zip.remote import RemoteZipBackend
from anystore.backends.zip.remote import from_uri as remote_from_uri
from anystore.keys import parse_key
from anystore.testing import BackendSuite
from anystore.uris import parse_uri
from tests.servers import nginx


class InArchive(BackendSuite):
    """One archive in a folder of its own."""

    def archive(self, tmp_path):
        self.path = str(tmp_path / "folder" / "values.zip")
        return self.path

    def place(self, backend, key, data):
        os.makedirs(os.path.dirname(self.path), exist_ok=True)
        if os.path.exists(self.path):
            self.remove(backend, key)
        with zipfile.ZipFile(self.path, "a") as archive:
            archive.writestr(zipfile.ZipInfo(key), data, zipfile.ZIP_DEFLATED)

    def peek(self, backend, key):
        with zipfile.ZipFile(self.path) as archive:
            return archive.read(key)

    def remove(self, backend, key):
        with zipfile.ZipFile(self.path) as old:
            if key not in old.namelist():
                return
            with zipfile.ZipFile(self.path + ".new", "w") as new:
                for info in old.infolist():
                    if info.filename != key:
                        new.writestr(info, old.read(info))
        os.replace(self.path + ".new", self.path)


class TestZip(InArchive):
    @pytest.fixture
    def backend(self, tmp_path):
        return from_uri(parse_uri(self.archive(tmp_path)), {})


class TestZipStored(InArchive):
    @pytest.fixture
    def backend(self, tmp_path):
        return from_uri(parse_uri("zip://" + self.archive(tmp_path)), {"compression": "stored"})


class TestZipBzip2(InArchive):
    @pytest.fixture
    def backend(self, tmp_path):
        return from_uri(parse_uri(self.archive(tmp_path)), {"compression": "bzip2", "durable": True})


class Remote(InArchive):
    """An archive that others write, read through another backend; every change has a time of its own."""

    def arrange(self, path):
        self.path = str(path)
        self.time = 1_600_000_000
        with zipfile.ZipFile(self.path, "w"):
            pass

    def _tick(self):
        self.time += 1
        os.utime(self.path, (self.time, self.time))

    def place(self, backend, key, data):
        super().place(backend, key, data)
        self._tick()

    def remove(self, backend, key):
        super().remove(backend, key)
        self._tick()


class TestZipBehindNginx(Remote):
    @pytest.fixture(scope="class")
    @classmethod
    def server(cls, tmp_path_factory):
        with nginx(tmp_path_factory.mktemp("nginx")) as server:
            yield server

    @pytest.fixture
    def backend(self, server):
        folder = uuid4().hex
        (server.root / folder).mkdir()
        self.arrange(server.root / folder / "100% of it.zip")
        uri = parse_uri(f"zip+{server.url}{folder}/100%25%20of%20it.zip")
        backend = remote_from_uri(uri, {}, open_inner=open_backend)
        yield backend
        backend.close()


class TestZipInAnotherStore(Remote):
    @pytest.fixture
    def backend(self, tmp_path):
        self.arrange(tmp_path / "values.zip")
        return RemoteZipBackend(LocalBackend(str(tmp_path)), parse_key("values.zip"))
