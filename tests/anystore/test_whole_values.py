"""What a backend has by ``get``, ``stat`` and ``put`` alone; the suite runs on the one of the examples."""

import pytest

from anystore import AlreadyExists, DoesNotExist, Entry, Feature, Store, Unsupported
from anystore.backend import CHUNK_BYTES
from anystore.keys import parse_key
from anystore.whole_values import WholeValueBackend

KEY = parse_key("a")


class Reading(WholeValueBackend):
    uri = "reading://"

    def __init__(self):
        self.values = {KEY: b"0123456789"}

    def get(self, key):
        if key not in self.values:
            raise self.missing(key)
        return self.values[key]

    def stat(self, key):
        return Entry(key, len(self.get(key)), None)


class Writing(Reading):
    features = Feature.WRITE | Feature.CREATE

    def put(self, key, data, *, create=False, version=None, ttl=None):
        self.require_write(key, create=create, version=version, ttl=ttl)
        if create and key in self.values:
            raise self.taken(key)
        self.values[key] = data
        return self.stat(key)


class Forgetful(Reading):
    features = Feature.WRITE


def test_parts_are_read():
    backend = Reading()
    assert b"".join(backend.read(KEY, 2, 5)) == b"234"
    assert list(backend.read(KEY, 10)) == list(backend.read(KEY, 7, 3)) == []
    with pytest.raises(DoesNotExist):
        backend.read(parse_key("missing"))


def test_long_values_come_in_pieces():
    backend = Reading()
    backend.values[KEY] = bytes(2 * CHUNK_BYTES + 1)
    assert [len(piece) for piece in backend.read(KEY)] == [CHUNK_BYTES, CHUNK_BYTES, 1]


def test_without_put_nothing_is_written():
    backend = Reading()
    for write in (lambda: backend.put(KEY, b""), lambda: backend.writer(KEY), lambda: backend.delete(KEY)):
        with pytest.raises(Unsupported, match="WRITE"):
            write()
    assert backend.values == {KEY: b"0123456789"}


def test_written_in_pieces_it_is_put_whole_at_the_end():
    backend = Writing()
    store = Store(backend, serialization_mode="raw")
    with store.open("b", "wb") as file:
        file.write(b"one")
        file.write(b"two")
        assert "b" not in backend.values
    assert backend.values["b"] == b"onetwo"
    with pytest.raises(ZeroDivisionError), store.open("b", "wb") as file:
        file.write(b"half")
        file.write(b"%d" % (1 // 0))
    assert backend.values["b"] == b"onetwo"
    with pytest.raises(AlreadyExists):
        store.put("b", b"new", if_absent=True)
    with pytest.raises(Unsupported, match="SWAP"):
        store.put("b", b"new", if_version="1")


def test_who_declares_to_write_and_cannot_is_told():
    with pytest.raises(NotImplementedError, match="Forgetful declares WRITE, and has no put"):
        Forgetful().put(KEY, b"")
