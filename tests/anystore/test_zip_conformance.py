"""Zip archives pass the suite; Python's ``zipfile`` places and reads values behind the backend's back."""

import os
import zipfile

import pytest

from anystore.backends.zip import from_uri
from anystore.testing import BackendSuite
from anystore.uris import parse_uri


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
