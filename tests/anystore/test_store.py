"""The façade: what each method promises, on the two reference backends."""

import csv
import datetime
import gc
import hashlib
import json
import pickle
import re
import threading

import pytest
from pydantic import BaseModel

from anystore import Feature, get_store
from anystore.codecs import TextCodec
from anystore.errors import (
    AlreadyExists,
    BackendError,
    CodecError,
    DoesNotExist,
    InvalidKey,
    InvalidOption,
    InvalidUri,
    ReadOnlyError,
    Unsupported,
    VersionMismatch,
)
from anystore.virtual import open_virtual


class Person(BaseModel):
    name: str


@pytest.fixture(params=["memory", "local", "fsspec"])
def store(request, tmp_path):
    uri = {
        "memory": f"memory://{tmp_path}",
        "local": str(tmp_path / "store"),
        "fsspec": f"fsspec+file://{tmp_path}/store",
    }[request.param]
    return get_store(uri)


@pytest.fixture
def expiring(tmp_path):
    return get_store(f"memory://{tmp_path}/expiring")


def test_the_lines_of_the_documentation(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = get_store("./data/files", serialization_mode="raw")
    files.put("reports/a.pdf", b"%PDF")
    files.put("b.pdf", b"%PDF")
    files.put("txt_files/src/x.txt", "x")
    files.put("txt_files/srcs/y.txt", "y")
    files.put("path/file.txt", "hello")
    files.put("data.json", '{"a": [1, 2]}')
    files.put("data.jsonl", '{"a": 1}\n{"a": 2}\r\n')
    assert list(files.iterate_keys(glob="**/*.pdf")) == ["b.pdf", "reports/a.pdf"]
    assert list(files.iterate_keys(prefix="txt_files/src")) == ["txt_files/src/x.txt"]
    assert files.get("path/file.txt", serialization_mode="auto") == "hello"
    assert files.get("data.json", serialization_mode="json") == {"a": [1, 2]}
    assert list(files.stream("data.jsonl", serialization_mode="json")) == [{"a": 1}, {"a": 2}]
    files.put("data.txt", "hello world", serialization_mode="auto")
    assert files.get("data.txt") == b"hello world"
    with files.open("file.pdf", "wb") as fh:
        fh.write(b"%PDF-1.7")
    with files.open("path/to/file.csv", "w") as fh:
        fh.write('a,"b\nc"\r\n1,2\n')
    with files.open("path/to/file.csv", "r", newline="") as fh:
        assert list(csv.reader(fh)) == [["a", "b\nc"], ["1", "2"]]
    target = get_store("./downloads")
    for key in files.iterate_keys():
        files.copy(key, target_store=target)
    assert list(target.iterate_keys()) == list(files.iterate_keys())
    with open_virtual("file.pdf", files) as fh:
        assert fh.read() == b"%PDF-1.7"
        assert fh.fileno() > 0
    files.delete("file.pdf")
    assert files.pop("b.pdf") == b"%PDF"
    assert not files.exists("b.pdf")
    assert not files.exists("file.pdf")


def test_get_and_put(store):
    for key, value in {"a": "1", "b/c": 1, "b/d": [None, {"x": 1.5}], "e": "", "f": True}.items():
        entry = store.put(key, value)
        assert entry.key == key
        assert type(store.get(key)) is type(value)
        assert store.get(key) == value
        assert entry.size == store.info(key).size


def test_modes_models_and_functions(store):
    store.put("p", Person(name="Ada"))
    assert store.get("p") == {"name": "Ada"}
    assert store.get("p", model=Person) == Person(name="Ada")
    store.put("p", {"name": "Bob"}, model=Person)
    assert store.using(model=Person).get("p") == Person(name="Bob")
    assert store.get("p", serialization_mode="raw") == b'{"name":"Bob"}'
    assert store.get("p", deserialization_func=json.loads) == {"name": "Bob"}
    store.put("f", 5, serialization_func=lambda value: "x" * value)
    assert store.get("f") == "xxxxx"
    assert store.using(serialization_mode="pickle").put("t", (1, 2)).key == "t"
    assert store.get("t", serialization_mode="pickle") == (1, 2)
    assert store.get("f", serialization_mode=TextCodec()) == "xxxxx"
    with pytest.raises(CodecError, match=r"'t'.*pickle"):
        store.put("t", (1, 2))
    with pytest.raises(InvalidOption, match="serialization_mode"):
        store.get("f", serialization_mode="yaml")
    with pytest.raises(InvalidOption, match="model"):
        store.get("f", serialization_mode="raw", model=Person)
    with pytest.raises(TypeError):
        store.get("f", serialisation_mode="raw")


def test_a_codec_fails_before_the_backend_is_touched(store):
    store.put("a", "old")
    before = store.info("a")
    with pytest.raises(CodecError, match="'a'"):
        store.put("a", float("nan"))
    with pytest.raises(ZeroDivisionError):
        store.put("a", 1, serialization_func=lambda value: value // 0)
    assert store.info("a") == before
    assert list(store.iterate_keys()) == ["a"]


READERS = {
    "get": lambda store: store.get("x/y"),
    "pop": lambda store: store.pop("x/y"),
    "stream": lambda store: store.stream("x/y"),
    "info": lambda store: store.info("x/y"),
    "checksum": lambda store: store.checksum("x/y"),
    "open": lambda store: store.open("x/y"),
    "open text": lambda store: store.open("x/y", "r"),
    "copy": lambda store: store.copy("x/y", "z"),
    "copy to another store": lambda store: store.copy("x/y", target_store=get_store("memory://copies")),
    "copy to itself": lambda store: store.copy("x/y", "x/y"),
    "move": lambda store: store.move("x/y", "z"),
    "move to itself": lambda store: store.move("x/y", "x/y"),
    "open_virtual": lambda store: open_virtual("x/y", store).__enter__(),
    "local_path": lambda store: store.local_path("x/y").__enter__(),
}


@pytest.mark.parametrize("name", READERS)
def test_a_missing_key_raises_the_same_error_everywhere(store, name):
    store.put("other", 1)
    with pytest.raises(DoesNotExist, match="'x/y'") as caught:
        READERS[name](store)
    assert isinstance(caught.value, FileNotFoundError)
    assert isinstance(caught.value, KeyError)
    assert store.uri in str(caught.value)
    assert list(store.iterate_keys()) == ["other"]


def test_raise_on_nonexist_concerns_get_pop_and_stream(store):
    quiet = store.using(raise_on_nonexist=False)
    assert quiet.get("x") is None
    assert quiet.pop("x") is None
    assert list(quiet.stream("x")) == []
    assert store.get("x", raise_on_nonexist=False) is None
    with pytest.raises(DoesNotExist):
        quiet.get("x", raise_on_nonexist=True)
    for name in ("info", "checksum", "open", "copy", "move"):
        with pytest.raises(DoesNotExist):
            READERS[name](quiet)
    store.delete("x")
    assert not store.exists("x")


@pytest.mark.parametrize("key", ["", "/a", "a//b", "../a", ".anystore/x", None, 1, b"a"])
def test_every_method_refuses_what_is_no_key(store, key):
    calls = [
        store.get,
        store.pop,
        store.stream,
        store.info,
        store.checksum,
        store.open,
        store.delete,
        store.exists,
        store.touch,
        lambda key: store.put(key, 1),
        lambda key: store.append(key, b""),
        lambda key: store.copy(key, "a"),
        lambda key: store.move(key, "a"),
        lambda key: store.move("a", key),
        lambda key: list(store.get_many([key])),
        lambda key: store.put_many([(key, 1)]),
        lambda key: store.delete_many([key]),
    ]
    for call in calls:
        with pytest.raises((InvalidKey, Unsupported)):
            call(key)
    assert list(store.iterate_keys()) == []


def test_conditional_writes(tmp_path):
    for store in (get_store(f"memory://{tmp_path}/if"), get_store(tmp_path / "if")):
        first = store.put("a", 1, if_absent=True)
        with pytest.raises(AlreadyExists):
            store.put("a", 2, if_absent=True)
        second = store.put("a", 3, if_version=first.version)
        with pytest.raises(VersionMismatch):
            store.put("a", 4, if_version=first.version)
        with pytest.raises(VersionMismatch):
            store.put("b", 4, if_version=second.version)
        with pytest.raises(InvalidOption):
            store.put("a", 4, if_version=second.version, if_absent=True)
        assert store.get("a") == 3
        assert not store.exists("b")


def test_ttl(expiring, store):
    entry = expiring.put("a", 1, ttl=datetime.timedelta(hours=1))
    assert entry.expires is not None
    left = entry.expires - datetime.datetime.now(datetime.UTC)
    assert datetime.timedelta(minutes=59) < left <= datetime.timedelta(hours=1)
    assert expiring.put("a", 1).expires is None
    keeping = expiring.using(default_ttl=60)
    assert keeping.put("b", 1).expires is not None
    with keeping.open("c", "w") as fh:
        fh.write("x")
    keeping.put_many({"d": 1})
    assert all(expiring.info(key).expires for key in "bcd")
    expiring.copy("b", "e")
    expiring.move("e", "f")
    assert expiring.info("f").expires == expiring.info("b").expires
    for ttl in (0, -1, True, "1", float("nan"), float("inf"), datetime.timedelta(0)):
        with pytest.raises(InvalidOption):
            expiring.put("x", 1, ttl=ttl)
    if Feature.EXPIRE not in store.features:
        with pytest.raises(Unsupported, match="anycache"):
            store.put("x", 1, ttl=5)
        with pytest.raises(Unsupported, match="anycache"):
            store.using(default_ttl=5)
        with pytest.raises(Unsupported, match="anycache"):
            expiring.copy("b", target_store=store)
        assert list(store.iterate_keys()) == []


def test_pop_keeps_what_cannot_be_decoded(store):
    store.put("a", b"\xff", serialization_mode="raw")
    with pytest.raises(CodecError):
        store.pop("a", serialization_mode="json")
    assert store.get("a") == b"\xff"


def test_stream(store):
    store.put("lines", b"a\r\n\n b \nc", serialization_mode="raw")
    assert list(store.stream("lines")) == ["a", "", " b ", "c"]
    assert list(store.stream("lines", serialization_mode="raw")) == [b"a", b"", b" b ", b"c"]
    store.put("json", b'1\n\n"2"\r\n[3]\n', serialization_mode="raw")
    assert list(store.stream("json", serialization_mode="json")) == [1, "2", [3]]
    store.put("people", '{"name":"Ada"}\n{"name":"Bob"}\n')
    assert [person.name for person in store.stream("people", model=Person)] == ["Ada", "Bob"]
    long = "x" * 3_000_000
    store.put("long", f"{long}\n{long}", serialization_mode="raw")
    assert list(store.stream("long", serialization_mode="text")) == [long, long]
    with pytest.raises(CodecError, match="no lines"):
        store.stream("lines", serialization_mode="pickle")
    store.put("empty", "")
    assert list(store.stream("empty")) == []


def test_open_reads(store):
    store.put("a", b"0123456789" * 100_000, serialization_mode="raw")
    with store.open("a") as fh:
        assert fh.readable()
        assert fh.seekable()
        assert fh.read(3) == b"012"
        assert fh.seek(999_998) == 999_998
        assert fh.read() == b"89"
        assert fh.seek(-4, 2) == 999_996
        assert fh.read(2) == b"67"
        assert fh.seek(5) == 5
        assert fh.read(1) == b"5"
        assert fh.tell() == 6
        with pytest.raises((ValueError, OSError)):
            fh.seek(-1)
    assert fh.closed
    with store.open("a", "r") as text:
        assert text.read(4) == "0123"


@pytest.mark.parametrize("data", [b"a\nb", b"a\r\nb"])
def test_text_has_the_same_lines_everywhere(store, data):
    store.put("a", data, serialization_mode="raw")
    with store.open("a", "r") as fh:
        assert fh.read() == "a\nb"
    assert list(store.stream("a")) == ["a", "b"]


def test_open_writes(store):
    with store.open("a", "w", encoding="latin-1") as fh:
        fh.write("ü\n")
    assert store.get("a", serialization_mode="raw") == b"\xfc\n"
    with store.open("b", "wb") as fh:
        for _ in range(30):
            fh.write(b"x" * 100_000)
        assert not store.exists("b")
        assert fh.tell() == 3_000_000
    assert store.info("b").size == 3_000_000
    with store.open("empty", "wb"):
        pass
    assert store.get("empty", serialization_mode="raw") == b""
    plain = store.open("c", "wb")
    plain.write(b"1")
    plain.close()
    plain.close()
    assert store.get("c") == 1


@pytest.mark.parametrize("mode", ["w", "wb"])
def test_an_exception_aborts_a_write(store, mode):
    store.put("a", "old")
    data = "new" if mode == "w" else b"new"
    with pytest.raises(RuntimeError), store.open("a", mode) as fh:
        fh.write(data)
        raise RuntimeError
    with pytest.raises(KeyboardInterrupt), store.open("b", mode) as fh:
        fh.write(data)
        raise KeyboardInterrupt
    assert store.get("a") == "old"
    assert list(store.iterate_keys()) == ["a"]


@pytest.mark.parametrize("mode", ["w", "wb", "a", "ab", "x"])
def test_a_forgotten_writer_is_aborted(store, mode):
    if (mode[0] == "a" and Feature.APPEND not in store.features) or (
        mode[0] == "x" and Feature.CREATE not in store.features
    ):
        with pytest.raises(Unsupported):
            store.open("a", mode)
        return
    fh = store.open("a", mode)
    fh.write(b"new" if "b" in mode else "new")
    del fh
    gc.collect()
    assert list(store.iterate_keys()) == []


def test_create_and_append(tmp_path):
    for store in (get_store(f"memory://{tmp_path}/xa"), get_store(tmp_path / "xa")):
        with store.open("a", "x") as fh:
            fh.write("1\n")
        with pytest.raises(AlreadyExists):
            store.open("a", "x")
        with store.open("a", "a") as fh:
            fh.write("2\n")
            assert store.get("a", serialization_mode="text") == "1\n"
        with pytest.raises(RuntimeError), store.open("a", "a") as fh:
            fh.write("lost")
            raise RuntimeError
        with store.open("b", "ab") as fh:
            fh.write(b"y" * (9 << 20))
        with store.open("b", "ab") as fh:
            fh.write(b"z" * (9 << 20))
        store.append("a", "3\n")
        store.append("a", b"4\n")
        assert list(store.stream("a")) == [1, 2, 3, 4]
        assert store.info("b").size == 18 << 20
        with pytest.raises(CodecError):
            store.append("a", 5)


def test_open_refuses_wrong_modes(store):
    for mode in ("r+", "wb+", "rw", "", "q", "bt", "rbt", None):
        with pytest.raises(InvalidOption):
            store.open("a", mode)
    with pytest.raises(InvalidOption, match="bytes have no"):
        store.open("a", "rb", newline="")


def test_copy_and_move(store, tmp_path):
    store.put("a", [1])
    store.copy("a", "b/c")
    assert store.get("b/c") == store.get("a") == [1]
    store.put("moved", "old")
    store.move("b/c", "moved")
    assert store.get("moved") == [1]
    assert not store.exists("b/c")
    other = get_store(f"memory://{tmp_path}/other")
    store.copy("a", "renamed", target_store=other)
    assert other.get("renamed") == [1]
    store.move("a", "a")
    assert store.get("a") == [1]
    with pytest.raises(InvalidOption, match="target"):
        store.copy("a")


def test_a_failed_copy_leaves_nothing(store, tmp_path):
    target = get_store(tmp_path / "target")
    target.put("a/b", 1)
    store.put("a", 2)
    with pytest.raises(OSError, match="'a'"):
        store.copy("a", target_store=target)
    assert list(target.iterate_keys()) == ["a/b"]


def test_listing(store):
    store.put_many({key: key for key in ("a/1", "a/b/2", "a-b", "ab/3", "z.txt")})
    assert sorted(store.iterate_keys()) == ["a-b", "a/1", "a/b/2", "ab/3", "z.txt"]
    assert sorted(store.iterate_keys("a")) == ["a/1", "a/b/2"]
    assert sorted(store.iterate_keys("a/")) == ["a/1", "a/b/2"]
    assert sorted(store.iterate_keys(exclude_prefix="a")) == ["a-b", "ab/3", "z.txt"]
    assert sorted(store.iterate_keys("a", "a/b")) == ["a/1"]
    assert sorted(store.iterate_keys("a", glob="*")) == ["a/1"]
    assert sorted(store.iterate_keys(glob="a/**")) == ["a/1", "a/b/2"]
    assert sorted(store.iterate_keys(glob="*.txt")) == ["z.txt"]
    assert list(store.iterate_keys("nowhere")) == []
    assert sorted(store.iterate_values("a")) == ["a/1", "a/b/2"]
    assert {entry.key: entry.size for entry in store.entries("a")} == {"a/1": 3, "a/b/2": 5}
    with pytest.raises(InvalidKey):
        store.iterate_keys("../x")
    with pytest.raises(InvalidKey):
        store.iterate_keys(glob="{")


def test_a_key_that_vanishes_while_values_are_iterated_is_skipped(store):
    store.put_many({f"{number:03}": number for number in range(10)})
    seen = []
    for value in store.iterate_values():
        seen.append(value)
        store.delete(f"{9 - value:03}")
    assert len(seen) < 10


def test_many(store):
    store.put_many([("a", 1), ("b", None)])
    assert list(store.get_many(["b", "missing", "a"])) == [("b", None), ("a", 1)]
    store.delete_many(["a", "missing"])
    assert list(store.iterate_keys()) == ["b"]
    store.put_many({f"p/{number}": number for number in range(1500)} | {"pq": 1})
    store.delete_prefix("p")
    assert sorted(store.iterate_keys()) == ["b", "pq"]
    for prefix in ("", None):
        with pytest.raises(InvalidKey, match="needs a folder"):
            store.delete_prefix(prefix)


def test_checksum_and_touch(store):
    store.put("a", "hello")
    assert store.checksum("a") == hashlib.sha256(b"hello").hexdigest()
    assert store.checksum("a", "md5") == hashlib.md5(b"hello").hexdigest()
    for algorithm in ("crc99", "shake_128", None):
        with pytest.raises(InvalidOption):
            store.checksum("a", algorithm)
    now = store.touch("t")
    assert now.tzinfo is datetime.UTC
    assert datetime.datetime.fromisoformat(store.get("t")) == now
    assert store.get("t", model=datetime.datetime) == now


def test_under(store):
    team = store.under("team/a")
    team.put("x/y", 1)
    assert list(store.iterate_keys()) == ["team/a/x/y"]
    assert list(team.iterate_keys()) == ["x/y"]
    assert team.info("x/y").key == "x/y"
    assert list(team.under("x").iterate_keys()) == ["y"]
    for key in ("../b", "a/../../b"):
        with pytest.raises(InvalidKey):
            team.put(key, 1)
    with pytest.raises(InvalidKey):
        store.under("")


def test_readonly(tmp_path):
    get_store(tmp_path).put("a", 1)
    store = get_store(tmp_path, readonly=True)
    assert store.get("a") == 1
    writes = [
        lambda: store.put("b", 1),
        lambda: store.delete("a"),
        lambda: store.pop("a"),
        lambda: store.open("a", "wb"),
        lambda: store.append("a", b"1"),
        lambda: store.touch("b"),
        lambda: store.move("a", "b"),
        lambda: store.copy("a", "b"),
        lambda: store.put_many({"b": 1}),
        lambda: store.delete_many(["a"]),
        lambda: store.delete_prefix("a"),
    ]
    for write in writes:
        with pytest.raises(ReadOnlyError, match=str(tmp_path)):
            write()
    assert list(store.iterate_keys()) == ["a"]
    assert store.get("a") == 1


def test_stores_are_pickled_by_configuration(store):
    store.using(serialization_mode="json").put("a", [1])
    copy = pickle.loads(pickle.dumps(store.using(serialization_mode="raw").under("x")))
    copy.put("y", b"z")
    assert store.get("x/y") == "z"
    assert repr(store) == f"<Store {store.uri}>"


def test_threads_share_a_store(store):
    failures = []

    def work(number):
        try:
            for step in range(20):
                store.put(f"{number}/{step}", step)
                assert store.get(f"{number}/{step}") == step
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert sum(1 for _ in store.iterate_keys()) == 160


@pytest.mark.parametrize(
    ("slip", "meant"),
    [
        ("redis:127.0.0.1", "redis://127.0.0.1"), ("s3//bucket", "s3://bucket"), ("https//host/x", "https://host/x"),
        ("sqlite:x.db", "sqlite:///x.db"), ("memory:x", "memory://x"), ("redis:me:hunter2@host", "redis://me:***@host"),
    ],
)  # fmt: skip
def test_a_uri_with_a_slip_is_no_folder(slip, meant, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidUri, match=f"write '{re.escape(meant)}'") as caught:
        get_store(slip)
    assert "hunter2" not in str(caught.value)
    get_store(f"./{slip}").put("a", 1)
    assert (tmp_path / slip / "a").exists()


def test_uris_and_options_that_are_refused(tmp_path):
    with pytest.raises(InvalidUri):
        get_store("")
    with pytest.raises(InvalidUri):
        get_store("nosuchscheme://x")
    with pytest.raises(InvalidUri):
        get_store("file://host/share")
    with pytest.raises(InvalidUri, match="file:///folder"):
        get_store("file://data")
    with pytest.raises(InvalidOption, match="durabel"):
        get_store(tmp_path, backend_config={"durabel": True})
    with pytest.raises(InvalidOption, match="durable"):
        get_store(tmp_path, backend_config={"durable": "perhaps"})
    with pytest.raises(TypeError):
        get_store(tmp_path, serialisation_mode="raw")
    (tmp_path / "file").write_text("x")
    with pytest.raises((BackendError, OSError)):
        get_store(tmp_path / "file").put("a", 1)


def test_a_file_uri_is_percent_decoded_and_a_path_is_not(tmp_path):
    get_store((tmp_path / "a b").as_uri()).put("k", 1)
    assert (tmp_path / "a b" / "k").read_text() == "1"
    get_store(tmp_path / "a%20c").put("k", 1)
    assert (tmp_path / "a%20c" / "k").exists()


def test_stores_of_one_uri_share_a_backend_and_of_another_configuration_do_not(tmp_path, monkeypatch):
    first = get_store(tmp_path)
    assert get_store(tmp_path).backend is first.backend
    assert get_store(str(tmp_path)).backend.uri == first.uri
    assert get_store(tmp_path, backend_config={"durable": True}).backend is not first.backend
    assert get_store(tmp_path, serialization_mode="raw").get("x", raise_on_nonexist=False) is None
    first.put("x", 1)
    assert get_store(tmp_path).get("x") == 1  # the mode of another store is its own
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    monkeypatch.chdir(tmp_path / "a")
    here = get_store("data")
    monkeypatch.chdir(tmp_path / "b")
    assert get_store("data").uri != here.uri
    for config in ({"durable": 1}, {"durable": [True]}, {"durable": {"a": {1}}}):
        with pytest.raises(InvalidOption):
            get_store(tmp_path, backend_config=config)


@pytest.mark.parametrize("value", [5, "text", [1, 2], None])
def test_a_binary_file_takes_only_bytes(store, value):
    with pytest.raises(TypeError), store.open("a", "wb") as file:
        file.write(value)
    assert not store.exists("a")


def test_a_write_that_failed_is_never_committed(tmp_path):
    store = get_store(tmp_path)
    store.put("a", "old")

    def fail(data):
        raise BackendError("the disk is full")

    file = store.open("a", "wb")
    written, file._writer.write = file._writer.write, fail
    with pytest.raises(BackendError):
        file.write(b"x" * 2_000_000)
    file._writer.write = written
    with pytest.raises(BackendError):
        file.close()
    assert store.get("a") == "old"
    assert list(store.iterate_keys()) == ["a"]


def test_pop_puts_back_what_it_cannot_decode_with_its_expiry(expiring):
    expiring.put("a", "{", ttl=60, serialization_mode="raw")
    expires = expiring.info("a").expires
    with pytest.raises(CodecError):
        expiring.pop("a", serialization_mode="json")
    assert abs((expiring.info("a").expires - expires).total_seconds()) < 5


def test_pop_never_puts_an_old_value_over_a_new_one(expiring):
    expiring.put("a", "old")

    def decode(data):
        expiring.put("a", "new")
        raise ValueError

    with pytest.raises(ValueError, match=r"^$"):
        expiring.pop("a", deserialization_func=decode)
    assert expiring.get("a") == "new"


def test_one_key_is_not_taken_for_many(store):
    store.put("a", "kept")
    with pytest.raises(InvalidOption):
        store.delete_many("a")
    with pytest.raises(InvalidOption):
        list(store.get_many("a"))
    assert store.get("a") == "kept"


@pytest.mark.parametrize("ttl", [1e12, float("inf"), datetime.timedelta.max])
def test_a_ttl_beyond_the_calendar_is_refused(expiring, ttl):
    with pytest.raises(InvalidOption):
        expiring.put("a", 1, ttl=ttl)
    assert not expiring.exists("a")


def test_a_glob_yields_only_keys(store):
    store.put("a.txt", 1)
    store.put("d/b.txt", 1)
    for glob in ("/*", "./*", "../*/*", "d//*", "d/../*", "d/./*"):
        assert list(store.iterate_keys(glob=glob)) == []


@pytest.mark.parametrize("encoding", ["utf-16", "UTF16", "utf-32", "utf-8-sig", "utf-16-be", "latin-1"])
def test_text_comes_back_in_every_encoding(store, encoding):
    with store.open("a", "w", encoding=encoding) as file:
        file.write("é")
        file.write("\n")
    if Feature.APPEND in store.features:
        with store.open("a", "a", encoding=encoding) as file:
            file.write("ü")
        with store.open("new", "a", encoding=encoding) as file:
            file.write("é\nü")
        assert store.open("new", "r", encoding=encoding).read() == "é\nü"
    with store.open("a", "r", encoding=encoding) as file:
        assert file.read() == ("é\nü" if Feature.APPEND in store.features else "é\n")
    with store.open("a", "rb") as file:
        assert file.read().startswith("é".encode(encoding))


@pytest.mark.parametrize("mode", ["r", "w"])
@pytest.mark.parametrize("options", [{"encoding": "nope"}, {"newline": "x"}, {"encoding": "a\0b"}, {"encoding": "hex"}])
def test_open_refuses_what_text_cannot_be_in(store, mode, options):
    store.put("a", "kept")
    with pytest.raises(InvalidOption):
        store.open("a", mode, **options)
    assert store.get("a") == "kept"


def test_a_version_that_is_not_known_is_not_compared_in_silence(tmp_path):
    store = get_store(tmp_path)
    store.put("a", "mine")
    with pytest.raises(Unsupported, match=r"'a'.*not known"):
        store.put("a", "yours", if_version=None)
    assert store.get("a") == "mine"


@pytest.mark.parametrize("wrong", [None, 5, "ab", b"ab"], ids=repr)
def test_what_is_not_many_is_refused(store, wrong):
    store.put("a", 1)
    for call in (lambda: list(store.get_many(wrong)), lambda: store.delete_many(wrong), lambda: store.put_many(wrong)):
        with pytest.raises((InvalidOption, InvalidKey)):
            call()
    assert {entry.key for entry in store.entries()} == {"a"}


def test_letters_are_no_pairs(store):
    with pytest.raises(InvalidOption, match="pairs"):
        store.put_many(["ab"])
    assert list(store.entries()) == []
