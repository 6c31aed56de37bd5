"""Every backend passes the suite."""

import os
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest

from anystore.backend import Backend
from anystore.backends.local import LocalBackend
from anystore.backends.memory import _SPACES, MemoryBackend
from anystore.backends.wrap import PrefixBackend, ReadonlyBackend
from anystore.keys import join_key
from anystore.testing import BackendSuite

SEGMENT_TOO_LONG = {
    "a segment over 255 bytes": lambda key: max(len(part.encode()) for part in key.split("/")) > 255
}


class Clock:
    """A clock that goes only when it is told to."""

    def __init__(self) -> None:
        self.time = 1_700_000_000.0

    def __call__(self) -> float:
        return self.time


class InFolder(BackendSuite):
    """A backend over a folder: values are placed as files, by the system's own calls."""

    root: Path

    def _path(self, key):
        return os.path.join(os.fsencode(self.root), key.encode())

    def place(self, backend, key, data):
        path = self._path(key)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        new = os.path.join(os.fsencode(self.root.parent), b"placing")
        with open(new, "wb") as file:
            file.write(data)
        os.replace(new, path)

    def peek(self, backend, key):
        with open(self._path(key), "rb") as file:
            return file.read()

    def remove(self, backend, key):
        os.remove(self._path(key))


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


class TestPrefixed(TestMemory):
    """A folder of a store in which other folders have values, too."""

    PREFIX = "tenants/o_e/"
    # the longest keys have no room for the folder's name
    unholdable = {"over 1,024 bytes with the prefix": lambda key: len(key.encode()) > 1024 - 12}

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
