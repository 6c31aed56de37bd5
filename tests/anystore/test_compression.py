"""Compressed values: exact for everyone's tools, whole or not there, and never short in silence."""

import bz2
import gc
import gzip
import io
import lzma
import random
import subprocess
import sys
import uuid

import lz4.frame
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from anystore import Feature, get_store
from anystore.compression import find_format, unpack
from anystore.errors import AlreadyExists, CodecError, DoesNotExist, InvalidOption, MissingExtra, Unsupported
from anystore.extras import load
from tests.object_servers import BUCKET

NAMES = ["gz", "zst", "bz2", "xz", "lz4"]
KINDS = ["memory", "folder", "zip", "sqlite", "redis", "s3"]


def unpack_zstandard(data):
    return zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data), read_across_frames=True).read()


# How everyone else packs and unpacks.
PACK = {
    "gz": gzip.compress,
    "zst": zstandard.ZstdCompressor().compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "lz4": lz4.frame.compress,
}
UNPACK = {
    "gz": gzip.decompress,
    "zst": unpack_zstandard,
    "bz2": bz2.decompress,
    "xz": lzma.decompress,
    "lz4": lambda data: lz4.frame.open(io.BytesIO(data)).read(),
}


@pytest.fixture(params=KINDS)
def store(request, tmp_path):
    name = uuid.uuid4().hex
    match request.param:
        case "memory":
            return get_store(f"memory://{name}")
        case "folder":
            return get_store(tmp_path / "folder")
        case "zip":
            return get_store(f"{tmp_path}/archive.zip")
        case "sqlite":
            return get_store(f"sqlite:///{tmp_path}/store.db")
        case "redis":
            return get_store(f"redis://127.0.0.1:{request.getfixturevalue('redis_server').port}/0/{name}")
    config = request.getfixturevalue("seaweedfs_server").config
    return get_store(f"s3://{BUCKET}/{name}", backend_config=config)


@pytest.fixture
def memory():
    return get_store(f"memory://{uuid.uuid4().hex}")


def raw(store, key):
    return store.get(key, serialization_mode="raw")


def place(store, key, data):
    store.put(key, data, serialization_mode="raw")


@pytest.fixture(scope="module")
def text():
    """Give text of several pieces, which each of them makes shorter."""
    return bytes(random.Random(1).choices(b"abcdefgh \n", k=300_000))


@pytest.mark.parametrize("name", NAMES)
def test_values_come_back_and_others_can_read_them(store, name, text):
    for data in (b"", b"x", text):
        with store.open("a", "wb", compression=name) as file:
            for start in range(0, len(data), 30_001):
                file.write(data[start : start + 30_001])
            assert file.tell() == len(data)
        assert UNPACK[name](raw(store, "a")) == data
        with store.open("a", compression=name) as file:
            assert file.name == "a"
            assert file.read() == data
            assert file.read() == b""
    assert store.info("a").size < len(text)


@pytest.mark.parametrize("name", NAMES)
def test_what_others_have_written_is_read(store, name, text):
    place(store, f"folder/a.{name}", PACK[name](text))
    with store.open(f"folder/a.{name}", compression="infer") as file:
        assert file.read() == text
    with store.open(f"folder/a.{name}", compression=f".{name}") as file:
        assert file.readline() == text.partition(b"\n")[0] + b"\n"
    assert list(store.stream(f"folder/a.{name}", compression=name, serialization_mode="raw")) == text.split(b"\n")


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_compressed_or_unpacked_unasked(memory, name):
    packed = PACK[name](b"hello")
    place(memory, f"a.{name}", packed)
    with memory.open(f"a.{name}") as file:
        assert file.read() == packed
    with memory.open(f"b.{name}", "w") as file:
        file.write("plain")
    assert raw(memory, f"b.{name}") == b"plain"


@pytest.mark.parametrize("name", NAMES)
def test_equal_values_have_equal_bytes(memory, name):
    for key in "ab":
        with memory.open(key, "w", compression=name) as file:
            file.write("the same")
    assert raw(memory, "a") == raw(memory, "b")


def test_infer_goes_by_the_end_of_the_key(memory):
    for key in ("a.txt", "b", "gz", "a.gz/b", "x.zip", ".hidden"):
        with memory.open(key, "w", compression="infer") as file:
            file.write("plain")
        assert raw(memory, key) == b"plain"
        assert list(memory.stream(key, compression="infer")) == ["plain"]
    for key in ("a.gz", "a.txt.GZ", "a.gz/b.gz", "folder/.gz"):
        with memory.open(key, "w", compression="infer") as file:
            file.write("packed")
        assert gzip.decompress(raw(memory, key)) == b"packed"


@pytest.mark.parametrize("name", ["zip", "gzip", "", "..gz", "INFER", 1, True, b"gz"])
def test_an_unknown_compression_is_refused_and_nothing_changed(memory, name):
    memory.put("a", "old")
    for mode in ("r", "w", "x", "a"):
        with pytest.raises(InvalidOption, match="compression"):
            memory.open("a" if mode != "x" else "b", mode, compression=name)
    with pytest.raises(InvalidOption, match="compression"):
        memory.stream("a", compression=name)
    assert list(memory.iterate_keys()) == ["a"]
    assert memory.get("a") == "old"


@pytest.mark.parametrize("name", NAMES)
def test_text(store, name):
    with store.open("a", "w", encoding="utf-16", compression=name) as file:
        file.write("ü\nb\r\n")
    assert UNPACK[name](raw(store, "a")).decode("utf-16") == "ü\nb\r\n"
    with store.open("a", "r", encoding="utf-16", compression=name) as file:
        assert file.read() == "ü\nb\n"
    with store.open("a", "r", encoding="utf-16", newline="", compression=name) as file:
        assert file.readlines() == ["ü\n", "b\r\n"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("mode", ["wb", "w"])
def test_an_exception_publishes_nothing(store, name, mode, text):
    store.put("a", "old")
    for key in ("a", "b"):
        with pytest.raises(ZeroDivisionError), store.open(key, mode, compression=name) as file:
            file.write(text.decode() if mode == "w" else text)
            file.flush()
            file.write(1 // 0)
    assert store.get("a") == "old"
    assert list(store.iterate_keys()) == ["a"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("mode", ["wb", "w", "ab"])
def test_a_forgotten_writer_publishes_nothing(store, name, mode, text):
    if mode == "ab" and Feature.APPEND not in store.features:
        with pytest.raises(Unsupported):
            store.open("a", mode, compression=name)
        return
    file = store.open("a", mode, compression=name)
    file.write(text.decode() if mode == "w" else text)
    del file
    gc.collect()
    assert list(store.iterate_keys()) == []


@pytest.mark.parametrize("name", NAMES)
def test_create(store, name):
    if Feature.CREATE not in store.features:
        with pytest.raises(Unsupported):
            store.open("a", "x", compression=name)
        return
    with store.open("a", "x", compression=name) as file:
        file.write("first")
    with pytest.raises(AlreadyExists):
        store.open("a", "x", compression=name)
    assert UNPACK[name](raw(store, "a")) == b"first"
    with pytest.raises(AlreadyExists), store.open("b", "xb", compression=name) as file:
        file.write(b"late")
        store.put("b", "faster")
    assert store.get("b") == "faster"


@pytest.mark.parametrize("name", NAMES)
def test_appending_adds_a_part(store, name):
    if Feature.APPEND not in store.features:
        with pytest.raises(Unsupported):
            store.open("a", "a", compression=name)
        return
    for line in ("1\n", "2\n", "", "3\n"):
        with store.open("a", "a", encoding="utf-8-sig", compression=name) as file:
            file.write(line)
    with pytest.raises(ZeroDivisionError), store.open("a", "ab", compression=name) as file:
        file.write(b"lost")
        file.write(1 // 0)
    assert UNPACK[name](raw(store, "a")) == b"\xef\xbb\xbf1\n2\n3\n"
    assert list(store.stream("a", compression=name, serialization_mode="raw"))[1:] == [b"2", b"3"]
    for plain in ("1", "hello", "1" * 15, "2" * 16, "hello " * 1000):
        store.put("plain", plain)
        with pytest.raises(CodecError, match="'plain'"):
            store.open("plain", "a", compression=name)
    store.put("empty", "")
    with store.open("empty", "a", compression=name) as file:
        file.write("no longer")
    assert UNPACK[name](raw(store, "empty")) == b"no longer"


@pytest.mark.parametrize("name", NAMES)
def test_going_back_and_forth(store, name, text):
    place(store, "a", PACK[name](text))
    with store.open("a", compression=name) as file:
        assert file.seekable() == store.open("a").seekable()
        if not file.seekable():
            with pytest.raises(io.UnsupportedOperation):
                file.seek(0)
            return
        assert file.seek(200_000) == 200_000
        assert file.read(5) == text[200_000:200_005]
        assert file.seek(-10, 1) == 199_995
        assert file.read(10) == text[199_995:200_005]
        assert file.seek(0) == 0
        assert file.read(3) == text[:3]
        assert file.seek(-7, 2) == len(text) - 7
        assert file.tell() == len(text) - 7
        assert file.read() == text[-7:]
        assert file.seek(10, 2) == len(text)
        with pytest.raises(ValueError, match="before the start"):
            file.seek(-1 << 40, 1)


@pytest.mark.parametrize("name", NAMES)
def test_a_long_value_in_many_pieces(memory, name):
    data = random.Random(2).randbytes(1 << 20) * 3
    with memory.open("a", "wb", compression=name) as file:
        file.write(data)
    assert UNPACK[name](raw(memory, "a")) == data
    with memory.open("a", compression=name) as file:
        assert file.read(100) + file.read() == data


DAMAGE = {
    "empty": lambda packed: packed[:0],
    "a byte short": lambda packed: packed[:-1],
    "a half": lambda packed: packed[: len(packed) // 2],
    "three bytes": lambda packed: packed[:3],
    "a part and a half": lambda packed: packed + packed[: len(packed) // 2],
    "a byte behind": lambda packed: packed + b"x",
    "text behind": lambda packed: packed + b"something else" * 100,
    "another kind": lambda packed: packed[:0] + b"plain text, which is no compressed data",
    "a changed byte": lambda packed: (
        packed[: len(packed) // 2]
        + bytes([packed[len(packed) // 2] ^ 0x55])
        # what was there goes on
        + packed[len(packed) // 2 + 1 :]
    ),
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_told(memory, name, damage, text):
    with memory.open("good", "wb", compression=name) as file:
        file.write(text)
    place(memory, "folder/bad", DAMAGE[damage](raw(memory, "good")))
    with memory.open("folder/bad", compression=name) as file:
        for _ in range(2):  # also to those who try again
            with pytest.raises(CodecError, match="'folder/bad' in memory://"):
                while file.read(1 << 16):
                    pass
    with memory.open("folder/bad", compression=name) as file, pytest.raises(CodecError):
        file.read()
    with memory.open("folder/bad", "r", compression=name) as file, pytest.raises(CodecError):
        file.read()
    with pytest.raises(CodecError, match="'folder/bad'"):
        list(memory.stream("folder/bad", compression=name, serialization_mode="raw"))


@pytest.mark.parametrize("name", ["gz", "xz"])
def test_zeros_behind_are_padding(memory, name):
    place(memory, "a", PACK[name](b"one") + bytes(512) + PACK[name](b"two") + bytes(1024))
    with memory.open("a", compression=name) as file:
        assert file.read() == b"onetwo"


@pytest.mark.parametrize("name", ["zst", "lz4"])
def test_frames_to_be_skipped_are(memory, name):
    skipped = b"\x50\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"notes"
    place(memory, "a", skipped + PACK[name](b"one") + skipped + PACK[name](b"two") + skipped)
    with memory.open("a", compression=name) as file:
        assert file.read() == b"onetwo"


@pytest.mark.parametrize("name", NAMES)
def test_output_is_bounded_when_asked(store, name, text):
    place(store, "a", PACK[name](text))
    with store.open("a", compression=name, max_bytes=len(text)) as file:
        assert file.read() == text
    for most in (0, 1, len(text) - 1):
        with (
            store.open("a", compression=name, max_bytes=most) as file,
            pytest.raises(CodecError, match=rf"'a' in .* holds more than max_bytes={most:,}"),
        ):
            file.read()
        with pytest.raises(CodecError, match="max_bytes"):
            list(store.stream("a", compression=name, max_bytes=most, serialization_mode="raw"))


@pytest.mark.parametrize("most", [-1, 1.5, "1", True])
def test_a_bound_is_a_number_of_bytes(memory, most):
    memory.put("a", "x")
    with pytest.raises(InvalidOption, match="max_bytes"):
        memory.open("a", max_bytes=most)
    with pytest.raises(InvalidOption, match="max_bytes"):
        memory.stream("a", max_bytes=most)


def test_a_missing_key_is_missing(store):
    with pytest.raises(DoesNotExist):
        store.open("a", compression="gz")
    with pytest.raises(DoesNotExist):
        store.stream("a", compression="gz")
    assert list(store.stream("a", compression="gz", raise_on_nonexist=False)) == []


@pytest.mark.parametrize(("name", "library"), [("zst", "zstandard"), ("lz4", "lz4")])
def test_a_missing_library_is_told_before_anything_is_opened(memory, monkeypatch, name, library):
    def fail(module):
        if module.startswith("anystore.compression."):
            monkeypatch.setitem(sys.modules, library, None)
            for loaded in [one for one in sys.modules if one.startswith((module, f"{library}."))]:
                monkeypatch.delitem(sys.modules, loaded)
        return load(module)

    monkeypatch.setattr("anystore.compression.load", fail)
    for mode in ("w", "r"):
        with pytest.raises(MissingExtra, match=r"pip install 'anystore-dagster\[compression\]'"):
            memory.open(f"a.{name}", mode, compression="infer")


@given(st.sampled_from(NAMES), st.lists(st.binary(max_size=200), min_size=1, max_size=4), st.integers(1, 50))
def test_parts_are_cut_anywhere(name, parts, step):
    packed = b"".join(PACK[name](part) for part in parts)
    pieces = (packed[start : start + step] for start in range(0, len(packed), step))
    assert b"".join(unpack(pieces, find_format(name, ""), where="here")) == b"".join(parts)


@given(st.sampled_from(NAMES), st.binary(max_size=400))
def test_any_bytes_are_read_or_refused(name, data):
    try:
        b"".join(unpack(iter([data]), find_format(name, ""), where="here"))
    except CodecError as error:
        assert "here" in str(error)  # noqa: PT017 - both ways are right


BOMB = """
import sys
from anystore import get_store
from anystore.errors import CodecError

def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))

store = get_store(sys.argv[1])
name = sys.argv[2]
def read(key, **options):
    with store.open(key, compression=name, **options) as file:
        return sum(len(piece) for piece in iter(lambda: file.read1(1 << 20), b""))
read("small")
before = peak()
assert read("bomb") == 1 << 30
try:
    list(store.stream("bomb", compression=name, serialization_mode="raw", max_bytes=1 << 20))
    sys.exit("not stopped")
except CodecError:
    pass
with store.open("written", "wb", compression=name) as file:
    piece = bytes(1 << 20)
    for _ in range(256):
        file.write(piece)
print(peak() - before)
"""


@pytest.mark.alone
@pytest.mark.parametrize("name", NAMES)
def test_a_bomb_costs_little_memory(name, tmp_path):
    store = get_store(tmp_path)
    for key, size in (("small", 1), ("bomb", 1024)):
        with store.open(key, "wb", compression=name) as file:
            for _ in range(size):
                file.write(bytes(1 << 20))
    assert store.info("bomb").size < 5 << 20
    done = subprocess.run(
        [sys.executable, "-c", BOMB, str(tmp_path), name], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    growth = int(done.stdout)
    print(f"{name}: {growth / 2**20:.1f} MiB for a gibibyte out of {store.info('bomb').size:,} bytes")
    assert growth < 64 << 20


@pytest.mark.parametrize("key", ["gz", "a.b/gz", "a.gz/b", "a.gz/.d/x"])
def test_a_name_without_the_end_of_a_format_is_plain(key):
    assert find_format("infer", key) is None
