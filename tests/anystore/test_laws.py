"""Hypothesis drives each writable backend beside a dict, which says what is right."""

import shutil
import tempfile
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from anystore.backend import Feature
from anystore.backends.fsspec import FsspecBackend
from anystore.backends.local import LocalBackend
from anystore.backends.memory import _SPACES, MemoryBackend
from anystore.backends.wrap import PrefixBackend
from anystore.backends.zip import ZipBackend
from anystore.errors import AlreadyExists, DoesNotExist, KeyConflict, VersionMismatch
from anystore.keys import parent_folders, parse_key
from anystore.testing import keys, prefixes

KEYS = st.sampled_from(["a", "a/b", "a/b/c", "a.b", "b"]).map(parse_key) | keys(colliding=True) | keys()
KEYS = KEYS.filter(lambda key: len(key.encode()) < 1000)  # leaves room for a prefix
PREFIXES = st.sampled_from(["", "a/", "a/b/", "b/"]) | prefixes(colliding=True)
DATA = (
    st.binary(max_size=20) | st.sampled_from([b"", b"x", b"\r\n"]) | st.just(3).map(lambda size: b"x" * size * 25_000)
)


class Laws(RuleBasedStateMachine):
    """Every step is done to the backend and to a dict; both must agree on values and errors."""

    def make(self):
        raise NotImplementedError

    def __init__(self):
        super().__init__()
        self.backend = self.make()
        self.model = {}
        self.can = self.backend.features

    def conflicts(self, key, *, without=None):
        """Tell whether a backend without OVERLAP cannot hold this key now."""
        if Feature.OVERLAP in self.can:
            return False
        held = set(self.model) - {without}
        return any(folder in held for folder in parent_folders(key)) or any(k.startswith(key + "/") for k in held)

    def write(self, key, step, data):
        if self.conflicts(key):
            with pytest.raises(KeyConflict):
                step()
        else:
            step()
            self.model[key] = data

    def missing(self, step):
        with pytest.raises(DoesNotExist):
            step()

    @rule(key=KEYS, data=DATA)
    def put(self, key, data):
        self.write(key, lambda: self.backend.put(key, data), data)

    @rule(key=KEYS, pieces=st.lists(DATA, max_size=3))
    def write_in_pieces(self, key, pieces):
        def step():
            with self.backend.writer(key) as writer:
                for piece in pieces:
                    writer.write(piece)

        self.write(key, step, b"".join(pieces))

    @rule(key=KEYS, data=DATA)
    def abort(self, key, data):
        try:
            writer = self.backend.writer(key)
        except KeyConflict:
            assert self.conflicts(key)
            return
        writer.write(data)
        writer.abort()

    @rule(key=KEYS)
    def delete(self, key):
        self.backend.delete(key)
        self.model.pop(key, None)

    @rule(some=st.lists(KEYS, max_size=3))
    def delete_many(self, some):
        self.backend.delete_many(some)
        for key in some:
            self.model.pop(key, None)

    @rule(key=KEYS, start=st.integers(0, 30), length=st.none() | st.integers(0, 30))
    def look(self, key, start, length):
        stop = None if length is None else start + length
        if key not in self.model:
            for step in (self.backend.get, self.backend.read, self.backend.stat):
                self.missing(lambda step=step: step(key))
            assert not self.backend.exists(key)
            return
        data = self.model[key]
        assert self.backend.get(key) == data
        assert b"".join(self.backend.read(key, start, stop)) == data[start:stop]
        assert self.backend.stat(key).size == len(data)
        assert self.backend.exists(key)

    @rule(some=st.lists(KEYS, max_size=4))
    def get_many(self, some):
        assert list(self.backend.get_many(some)) == [(key, self.model.get(key)) for key in some]

    @rule(prefix=PREFIXES)
    def scan(self, prefix):
        expected = {key: len(data) for key, data in self.model.items() if key.startswith(prefix)}
        found = [(entry.key, entry.size) for entry in self.backend.scan(prefix)]
        assert sorted(found) == sorted(expected.items())
        assert sorted(self.backend.keys(prefix)) == sorted(expected)

    @rule(prefix=PREFIXES, after=KEYS)
    def scan_after(self, prefix, after):
        if Feature.SORTED not in self.can:
            return
        expected = sorted(
            (key for key in self.model if key.startswith(prefix) and key.encode() > after.encode()), key=str.encode
        )
        assert list(self.backend.keys(prefix, after)) == expected
        assert [entry.key for entry in self.backend.scan(prefix, after)] == expected

    @rule(source=KEYS, to=KEYS)
    def copy(self, source, to):
        if source not in self.model:
            self.missing(lambda: self.backend.copy(source, to))
        else:
            self.write(to, lambda: self.backend.copy(source, to), self.model[source])

    @rule(source=KEYS, to=KEYS)
    def move(self, source, to):
        if Feature.MOVE not in self.can:
            return
        if source not in self.model:
            self.missing(lambda: self.backend.move(source, to))
        elif self.conflicts(to):
            # `a` may or may not move to `a/b` where it is itself in the way; no other value may change
            try:
                self.backend.move(source, to)
            except KeyConflict:
                return
            assert not self.conflicts(to, without=source)
            self.model[to] = self.model.pop(source)
        else:
            self.backend.move(source, to)
            self.model[to] = self.model.pop(source)

    @rule(key=KEYS, data=DATA)
    def append(self, key, data):
        if Feature.APPEND in self.can and (data or key in self.model):
            self.write(key, lambda: self.backend.append(key, data), self.model.get(key, b"") + data)

    @rule(key=KEYS)
    def take(self, key):
        if Feature.TAKE not in self.can:
            return
        if key in self.model:
            assert self.backend.take(key) == self.model.pop(key)
        else:
            self.missing(lambda: self.backend.take(key))

    @rule(key=KEYS, data=DATA)
    def create(self, key, data):
        if Feature.CREATE not in self.can:
            return
        if key in self.model:
            with pytest.raises(AlreadyExists):
                self.backend.put(key, data, create=True)
        else:
            self.write(key, lambda: self.backend.put(key, data, create=True), data)

    @rule(key=KEYS, data=DATA, stale=st.booleans())
    def swap(self, key, data, stale):
        if Feature.SWAP not in self.can or key not in self.model:
            return
        version = self.backend.stat(key).version
        if stale:
            self.model[key] += b"!"
            self.backend.put(key, self.model[key])
            with pytest.raises(VersionMismatch):
                self.backend.put(key, data, version=version)
        else:
            self.write(key, lambda: self.backend.put(key, data, version=version), data)

    @invariant()
    def nothing_else_is_there(self):
        assert set(self.backend.keys()) == set(self.model)


class InFolder(Laws):
    def teardown(self):
        shutil.rmtree(self.folder)


class LocalLaws(InFolder):
    def make(self):
        self.folder = tempfile.mkdtemp()
        return LocalBackend(str(Path(self.folder) / "store"))


class ZipLaws(InFolder):
    def make(self):
        self.folder = tempfile.mkdtemp()
        return ZipBackend(f"{self.folder}/archive.zip")


class FsspecLocalLaws(InFolder):
    def make(self):
        self.folder = tempfile.mkdtemp()
        return FsspecBackend("file", str(Path(self.folder) / "store"))


class MemoryLaws(Laws):
    def make(self):
        return MemoryBackend(uuid4().hex)

    def teardown(self):
        _SPACES.pop(self.backend._name)


class PrefixLaws(Laws):
    def make(self):
        self.inner = MemoryBackend(uuid4().hex)
        return PrefixBackend(self.inner, "a")

    def teardown(self):
        assert all(key.startswith("a/") for key in list(self.inner.keys()))
        _SPACES.pop(self.inner._name)


class FsspecMemoryLaws(Laws):
    def make(self):
        return FsspecBackend("memory", f"/{uuid4().hex}", arguments={"global_store": False})


MACHINES = [MemoryLaws, PrefixLaws, LocalLaws, ZipLaws, FsspecLocalLaws, FsspecMemoryLaws]


@pytest.mark.parametrize("machine", MACHINES)
def test_backend_does_what_a_dict_does(machine):
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=30,
            stateful_step_count=25,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
