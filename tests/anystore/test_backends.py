"""Every backend passes the suite."""

from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar
from uuid import uuid4

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFile

from anystore.backends import open_backend
from anystore.backends.fsspec import FsspecBackend
from anystore.backends.local import LocalBackend
from anystore.backends.memory import _SPACES, MemoryBackend
from anystore.backends.wrap import PrefixBackend, ReadonlyBackend
from anystore.keys import join_key
from anystore.testing import BackendSuite
from tests.servers import nginx, python_http

SEGMENT_TOO_LONG = {"a segment over 255 bytes": lambda key: max(len(part.encode()) for part in key.split("/")) > 255}


class Clock:
    """A clock that goes only when it is told to."""

    def __init__(self) -> None:
        self.time = 1_700_000_000.0

    def __call__(self) -> float:
        return self.time


class InFolder(BackendSuite):
    """A backend over a folder: values are placed as files, by the system's own calls."""

    root: Path

    def place(self, backend, key, data):
        path = self.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        new = self.root.parent / "placing"
        new.write_bytes(data)
        new.replace(path)

    def peek(self, backend, key):
        return (self.root / key).read_bytes()

    def remove(self, backend, key):
        (self.root / key).unlink()


class TestMemory(BackendSuite):
    @pytest.fixture
    def backend(self):
        self.clock = Clock()
        backend = MemoryBackend(uuid4().hex, clock=self.clock)
        yield backend
        _SPACES.pop(backend._name)

    def peek(self, backend, key):
        return _SPACES[backend._name].values[key].data

    def advance(self, backend, seconds):
        self.clock.time += seconds

    def now(self, backend):
        return datetime.fromtimestamp(self.clock.time, UTC)


class TestLocal(InFolder):
    unholdable = SEGMENT_TOO_LONG

    @pytest.fixture
    def backend(self, tmp_path):
        self.root = tmp_path / "store"
        return LocalBackend(str(self.root))


class TestFsspecLocal(InFolder):
    unholdable = SEGMENT_TOO_LONG

    @pytest.fixture
    def backend(self, tmp_path):
        self.root = tmp_path / "store"
        return FsspecBackend("file", str(self.root))


class TestFsspecMemory(BackendSuite):
    @pytest.fixture
    def backend(self):
        self.root = f"/{uuid4().hex}/store"
        self.fs = fsspec.filesystem("memory")
        yield FsspecBackend("memory", self.root)
        for name in [name for name in self.fs.store if name.startswith(self.root + "/")]:
            del self.fs.store[name]

    def place(self, backend, key, data):
        path = f"{self.root}/{key}"
        self.fs.store[path] = MemoryFile(self.fs, path, data)

    def peek(self, backend, key):
        return self.fs.store[f"{self.root}/{key}"].getvalue()

    def remove(self, backend, key):
        del self.fs.store[f"{self.root}/{key}"]


class OverHttp(InFolder):
    """A folder behind a real server; each test has a folder of its own below the server's root."""

    @pytest.fixture
    def backend(self, server):
        self.root = server.root / uuid4().hex / "files"
        self.root.mkdir(parents=True)
        backend = open_backend(f"{server.url}{self.root.parent.name}/files/", {})
        yield backend
        backend.close()


# A backslash leads elsewhere on some servers and systems, so that no listing of the web may bring one.
OVER_HTTP = SEGMENT_TOO_LONG | {"a backslash": lambda key: "\\" in key}


class TestHttpNginx(OverHttp):
    unholdable = OVER_HTTP
    unlisted: ClassVar = {"nginx does not list names with a dot in front": lambda key: "/." in f"/{key}"}

    @pytest.fixture(scope="class")
    @classmethod
    def server(cls, tmp_path_factory):
        with nginx(tmp_path_factory.mktemp("nginx")) as server:
            yield server


class TestHttpPython(OverHttp):
    unholdable: ClassVar = OVER_HTTP | {
        "shown by Python's server in place of a listing": lambda key: key.endswith("index.html")
    }

    @pytest.fixture(scope="class")
    @classmethod
    def server(cls, tmp_path_factory):
        with python_http(tmp_path_factory.mktemp("python")) as server:
            yield server


class TestPrefixed(TestMemory):
    """A folder of a store in which other folders have values, too."""

    PREFIX = "tenants/o_e/"
    # the longest keys have no room for the folder's name
    unholdable: ClassVar = {"over 1,024 bytes with the prefix": lambda key: len(key.encode()) > 1024 - 12}

    @pytest.fixture
    def backend(self):
        self.clock = Clock()
        self.inner = MemoryBackend(uuid4().hex, clock=self.clock)
        self.inner.put("tenants/one/other", b"another tenant's")
        self.inner.put("tenants/o_e", b"beside")
        yield PrefixBackend(self.inner, self.PREFIX)
        _SPACES.pop(self.inner._name)

    def place(self, backend, key, data):
        self.inner.put(join_key(self.PREFIX, key), data)

    def peek(self, backend, key):
        return self.inner.get(join_key(self.PREFIX, key))

    def remove(self, backend, key):
        self.inner.delete(join_key(self.PREFIX, key))

    def home(self, backend):
        return self.inner.uri


class TestReadonly(InFolder):
    unholdable = SEGMENT_TOO_LONG

    @pytest.fixture
    def backend(self, tmp_path):
        self.root = tmp_path / "store"
        return ReadonlyBackend(LocalBackend(str(self.root)))
