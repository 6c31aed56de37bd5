"""Views of another backend: what the suite does not ask."""

import pickle
from uuid import uuid4

import pytest

from anystore.backend import Entry, Feature
from anystore.backends.memory import MemoryBackend
from anystore.backends.wrap import PrefixBackend, ReadonlyBackend
from anystore.errors import DoesNotExist, InvalidKey, ReadOnlyError
from anystore.keys import MAX_KEY_BYTES, parse_key, private_key

KEY = parse_key("a/key")


@pytest.fixture
def inner():
    return MemoryBackend(uuid4().hex)


class Recorder(MemoryBackend):
    """Notes which methods are called."""

    def __init__(self, name):
        super().__init__(name)
        self.calls = []

    def __getattribute__(self, name):
        found = super().__getattribute__(name)
        if not name.startswith("_") and callable(found):
            self.calls.append(name)
        return found


CALLS = {
    "get": lambda backend: backend.get(KEY),
    "read": lambda backend: list(backend.read(KEY)),
    "reader": lambda backend: backend.reader(KEY).close(),
    "stat": lambda backend: backend.stat(KEY),
    "exists": lambda backend: backend.exists(KEY),
    "scan": lambda backend: list(backend.scan()),
    "keys": lambda backend: list(backend.keys()),
    "get_many": lambda backend: list(backend.get_many([KEY])),
    "digest_algorithm": lambda backend: backend.digest_algorithm(1),
    "digest_of": lambda backend: backend.digest_of(Entry("a", 1, None)),
    "close": lambda backend: backend.close(),
    "put": lambda backend: backend.put(KEY, b"x"),
    "writer": lambda backend: backend.writer(KEY).abort(),
    "put_many": lambda backend: backend.put_many([(KEY, b"x")]),
    "delete_many": lambda backend: backend.delete_many([KEY]),
    "append": lambda backend: backend.append(KEY, b"x"),
    "copy": lambda backend: backend.copy(KEY, parse_key("b")),
    "move": lambda backend: backend.move(KEY, parse_key("b")),
    "take": lambda backend: backend.take(KEY),
    "delete": lambda backend: backend.delete(KEY),
}
READING = ["get", "read", "reader", "stat", "exists", "scan", "keys", "get_many", "close"]
READING += ["digest_algorithm", "digest_of"]


@pytest.mark.parametrize("method", CALLS)
def test_prefix_hands_each_method_to_the_same_method(method):
    recorder = Recorder(uuid4().hex)
    recorder.put(parse_key("tenant/a/key"), b"x")
    recorder.calls.clear()
    CALLS[method](PrefixBackend(recorder, "tenant"))
    assert recorder.calls[0] == method


@pytest.mark.parametrize("method", CALLS)
def test_readonly_hands_on_what_reads_and_refuses_the_rest(method):
    recorder = Recorder(uuid4().hex)
    recorder.put(KEY, b"x")
    recorder.calls.clear()
    if method in READING:
        CALLS[method](ReadonlyBackend(recorder))
        assert recorder.calls[0] == method
    else:
        with pytest.raises(ReadOnlyError, match="memory://"):
            CALLS[method](ReadonlyBackend(recorder))
        assert recorder.calls == []
    assert MemoryBackend.get(recorder, KEY) == b"x"


@pytest.mark.parametrize("items", [[], iter(())])
def test_readonly_refuses_also_nothing(inner, items):
    with pytest.raises(ReadOnlyError):
        ReadonlyBackend(inner).put_many(items)
    with pytest.raises(ReadOnlyError):
        ReadonlyBackend(inner).delete_many(items)


def test_readonly_keeps_what_does_not_write(inner):
    features = ReadonlyBackend(inner).features
    assert features == Feature.LIST | Feature.SORTED | Feature.OVERLAP | Feature.ATOMIC


def test_readonly_error_is_a_permission_error(inner):
    with pytest.raises(PermissionError, match="readonly=True"):
        ReadonlyBackend(inner).put(KEY, b"x")


def test_prefix_keeps_folders_apart(inner):
    one, two = PrefixBackend(inner, "t/one"), PrefixBackend(inner, "t/one more/")
    one.put(KEY, b"1")
    two.put(KEY, b"2")
    inner.put(parse_key("t/one"), b"beside")
    inner.put(parse_key("t/onex"), b"beside")
    assert (one.get(KEY), two.get(KEY)) == (b"1", b"2")
    assert list(one.keys()) == list(two.keys()) == [KEY]
    assert sorted(inner.keys()) == ["t/one", "t/one more/a/key", "t/one/a/key", "t/onex"]
    one.delete(KEY)
    assert two.get(KEY) == b"2"


def test_private_values_of_a_folder_are_hidden_from_all(inner):
    view = PrefixBackend(inner, "t")
    view.put(private_key("journal"), b"ours")
    inner.put(private_key("journal"), b"its own")
    assert view.get(private_key("journal")) == b"ours"
    assert inner.get(private_key("t/journal")) == b"ours"
    assert list(view.get_many([private_key("journal"), KEY])) == [(".anystore/journal", b"ours"), (KEY, None)]
    assert list(view.keys()) == list(inner.keys()) == []


def test_names_that_are_no_keys_inside_the_folder_are_hidden(inner):
    view = PrefixBackend(inner, "t")
    inner.put(parse_key("t/.anystore/x"), b"x")
    inner.put(parse_key("t/.anystorex"), b"x")
    assert list(view.keys()) == [entry.key for entry in view.scan()] == [".anystorex"]
    inner.put(parse_key("u/.anystore"), b"x")
    assert list(PrefixBackend(inner, "u").keys()) == []


@pytest.mark.parametrize("method", ["get", "exists", "stat", "delete", "read", "reader"])
def test_key_too_long_with_the_prefix(inner, method):
    view = PrefixBackend(inner, "t")
    fits = parse_key("x" * (MAX_KEY_BYTES - 2))
    view.put(fits, b"x")
    assert view.get(fits) == b"x"
    with pytest.raises(InvalidKey):
        getattr(view, method)(parse_key("x" * (MAX_KEY_BYTES - 1)))


def test_error_names_the_whole_key(inner):
    with pytest.raises(DoesNotExist, match="'t/one/a/key'"):
        PrefixBackend(inner, "t/one").get(KEY)


@pytest.mark.parametrize("prefix", ["/a", "a//b", "..", "a/../b", ".anystore", ".anystore/x", "a\0"])
def test_folder_that_is_no_key_is_refused(inner, prefix):
    with pytest.raises(InvalidKey):
        PrefixBackend(inner, prefix)


@pytest.mark.parametrize(
    ("uri", "below"),
    [
        ("memory://x", "memory://x/t/one"),
        ("s3://bucket/folder/", "s3://bucket/folder/t/one"),
        ("redis://me:***@h/0?db=1", "redis://me:***@h/0/t/one?db=1"),
        ("/data/really?", "/data/really?/t/one"),
    ],
)
def test_uri_of_a_folder(inner, uri, below):
    inner.uri = uri
    assert PrefixBackend(inner, "t/one").uri == below
    assert PrefixBackend(inner, "").uri == uri


def test_views_of_views(inner):
    view = PrefixBackend(PrefixBackend(inner, "a"), "b")
    view.put(private_key("x"), b"hidden")
    with view.writer(KEY) as writer:
        writer.write(b"1")
    assert list(inner.keys()) == ["a/b/a/key"]
    again = pickle.loads(pickle.dumps(ReadonlyBackend(view)))
    assert again.get(KEY) == b"1"
    assert again.get(private_key("x")) == b"hidden"
    assert repr(again) == f"<ReadonlyBackend {inner.uri}/a/b>"
    with again.reader(KEY) as reader:
        assert reader.entry.key == KEY


def test_conditions_reach_the_inner_backend(inner):
    view = PrefixBackend(inner, "t")
    version = view.put(KEY, b"1", create=True).version
    assert version == inner.stat(parse_key("t/a/key")).version
    assert view.put(KEY, b"2", version=version, ttl=60).expires is not None
