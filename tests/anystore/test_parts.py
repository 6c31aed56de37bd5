"""Values that are written and read part by part, by a codec that has nothing to do with tables."""

import gc
import uuid

import pytest

from anystore import get_store
from anystore.backend import Entry, Reader
from anystore.backends.memory import MemoryBackend
from anystore.codecs import Codec, JsonCodec
from anystore.errors import AlreadyExists, CodecError, InvalidOption, Unsupported
from anystore.keys import parse_key
from anystore.parts import is_parquet, put_parts, read_part, read_parts, unpacked

KEY = parse_key("t")
MIB = 1 << 20


class Letters(Codec):
    """Any number of one letter; read by tens."""

    name = "letters"
    in_parts = True

    def __init__(self, limit=None):
        self.limit = limit
        self.partial = limit is not None

    def encode(self, value):
        return b"".join(value)

    def decode(self, data):
        return data.decode()[: self.limit]

    def is_stream(self, value):
        return not isinstance(value, list)

    def encode_to(self, value, write):
        for part in value:
            if not isinstance(part, bytes):
                raise CodecError(f"{part!r} is no letter")
            write(part)

    def decode_from(self, reader):
        return b"".join(reader.read(0, self.limit)).decode()

    def iterate(self, reader):
        if not reader.entry.size:
            raise CodecError("there are no letters")
        return (b"".join(reader.read(start, start + 10)) for start in range(0, reader.entry.size, 10))

    def selecting(self, columns, filters):
        return Letters(filters)


@pytest.fixture
def backend():
    return MemoryBackend(uuid.uuid4().hex)


class Spy:
    """A backend's ``put`` and ``writer``, counted; a writer in memory puts the whole in the end."""

    def __init__(self, backend, monkeypatch):
        self.calls = []
        for name in ("put", "writer"):
            monkeypatch.setattr(backend, name, self.count(name, getattr(backend, name)), raising=False)

    def count(self, name, function):
        def counted(*arguments, **options):
            self.calls.append(name)
            return function(*arguments, **options)

        return counted


def put(backend, parts, **conditions):
    def encode_to(write):
        for part in parts:
            write(part)

    return put_parts(backend, KEY, encode_to, **{"create": False, "version": None, "ttl": None, **conditions})


def test_short_values_are_put_whole_and_long_ones_by_a_writer(backend, monkeypatch):
    spy = Spy(backend, monkeypatch)
    assert put(backend, []).size == 0
    assert put(backend, [b"a" * MIB] * 8).size == 8 * MIB
    assert spy.calls == ["put", "put"]
    assert put(backend, [b"a" * MIB] * 8 + [b"b"]).size == 8 * MIB + 1
    assert put(backend, [b"a"] * 100 + [b"b" * 9 * MIB] + [b"c"] * 100).size == 9 * MIB + 200
    assert spy.calls[2:] == ["writer", "put", "writer", "put"]
    assert backend.get(KEY) == b"a" * 100 + b"b" * 9 * MIB + b"c" * 100


def test_many_small_pieces_are_handed_on_together(backend, monkeypatch):
    sizes = []
    original = backend.writer

    def writer(*arguments, **options):
        opened = original(*arguments, **options)
        write = opened.write
        monkeypatch.setattr(opened, "write", lambda data: sizes.append(len(data)) or write(data), raising=False)
        return opened

    monkeypatch.setattr(backend, "writer", writer, raising=False)
    assert put(backend, [b"a" * 1024] * 20_000).size == 20_000 * 1024
    assert len(sizes) < 20


@pytest.mark.parametrize("size", [1, 20])
def test_what_fails_leaves_the_old_value(backend, size):
    put(backend, [b"old"])

    def failing():
        yield from [b"a" * MIB] * size
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        put(backend, failing())
    assert backend.get(KEY) == b"old"
    asked = []
    with pytest.raises(AlreadyExists):
        put(backend, (asked.append(1) or b"" for _ in range(3)), create=True)
    assert asked == []


def test_the_store_uses_a_codec_of_parts():
    store = get_store(f"memory://{uuid.uuid4().hex}", serialization_mode=Letters())
    store.put("t", (b"a" for _ in range(25)))
    assert list(store.stream("t")) == [b"a" * 10, b"a" * 10, b"a" * 5]
    assert store.get("t") == "a" * 25
    assert store.get("t", filters=3) == "aaa"
    assert list(store.iterate_values(filters=3)) == ["aaa"]
    assert store.using(serialization_mode=Letters(2)).get("t") == "aa"
    assert list(store.using(serialization_mode=Letters(2)).get_many(["t", "missing"])) == [("t", "aa")]
    with pytest.raises(CodecError, match=r"cannot write 't' to memory://.*3 is no letter"):
        store.put("t", iter([b"b", 3]))
    assert store.get("t") == "a" * 25
    store.put("empty", [])
    with pytest.raises(CodecError, match=r"cannot read 'empty' in memory://.*no letters"):
        store.stream("empty")


def test_every_codec_can_be_asked_for_parts(backend):
    codec, pieces = JsonCodec(), []
    codec.encode_to({"a": 1}, pieces.append)
    backend.put(KEY, b"".join(pieces))
    assert codec.decode_from(backend.reader(KEY)) == {"a": 1}
    assert not codec.is_stream(iter([]))
    with pytest.raises(CodecError, match="json has no lines and no parts"):
        codec.iterate(backend.reader(KEY))
    with pytest.raises(InvalidOption, match="json has no columns"):
        codec.selecting(["a"], None)


class Open(Reader):
    """A reader that tells whether it was closed."""

    def __init__(self, data=b"", *, seekable=True, size=True):
        self.entry = Entry("t", len(data) if size else None, None)
        self.seekable = seekable
        self.data = data
        self.closed = False

    def read(self, start=0, stop=None):
        return iter([self.data[start:stop]])

    def close(self):
        self.closed = True


def test_a_reader_is_closed_whatever_happens():
    for ask in (list, next, bool):
        reader = Open(b"abc" * 100)
        parts = read_parts(Letters(), reader, where="here")
        ask(parts)
        del parts
        gc.collect()
        assert reader.closed
    for read in (read_parts, read_part):
        reader = Open()
        with pytest.raises(CodecError, match="cannot read here"):
            list(read(JsonCodec(), reader, where="here"))
        assert reader.closed


def test_what_is_unpacked_is_bounded():
    reader = Open(b"abc")
    assert unpacked(reader, None, None, where="here") is reader
    assert unpacked(reader, None, 3, where="here") is reader
    with pytest.raises(CodecError, match="here"):
        unpacked(reader, None, 2, where="here")
    assert reader.closed
    with unpacked(Open(b"abc", size=False), None, 2, where="here") as counted:
        with pytest.raises(CodecError):
            counted.read(1)
        with pytest.raises(CodecError, match="here"):
            list(counted.read())


def test_both_ends_of_a_parquet_file_are_marked():
    file = b"PAR1" + b"x" * 20 + (20).to_bytes(4, "little") + b"PAR1"
    assert is_parquet(Open(file))
    assert is_parquet(Open(file, seekable=False))
    for other in (file[:-1], b"PAR1", b"PAR1PAR1", b"PAR1 text PAR1", file.replace(b"\x14", b"\x15")):
        assert not is_parquet(Open(other))


def test_what_the_backend_cannot_do_is_refused_first(tmp_path):
    backend, asked = get_store(tmp_path).backend, []
    with pytest.raises(Unsupported):
        put(backend, (asked.append(1) or b"" for _ in range(3)), ttl=3)
    assert asked == []
