"""The store as a filesystem: what fsspec's own tests do not ask."""

import contextlib
import gzip
import io
import json
import logging
import os
import pickle
import subprocess
import sys
import textwrap
import threading
import uuid
from datetime import UTC, datetime

import fsspec
import pytest

from anystore import Feature, get_store
from anystore.backend import Backend
from anystore.backends.memory import MemoryBackend
from anystore.errors import (
    AlreadyExists,
    BackendError,
    DoesNotExist,
    InvalidKey,
    InvalidOption,
    InvalidUri,
    IsAFolder,
    NotAFolder,
    ReadOnlyError,
    Unsupported,
    VersionMismatch,
)
from anystore.filesystem import StoreFileSystem
from anystore.filesystem.folders import MOST, MadeFolders
from anystore.filesystem.urls import join_url, split_url
from anystore.store import Store
from tests.filesystem_stores import ALL, opened


class Stop(Exception):
    """What a test raises in the middle of a write."""


@pytest.fixture(params=[kind for kind in ALL if kind != "seaweedfs"])
def fs(request, tmp_path):
    with opened(request.param, request.getfixturevalue, tmp_path) as store:
        yield store.fs


@pytest.fixture
def memory(request):
    with get_store(f"memory://{request.node.name}") as store:
        yield store.fs


# -- writing whole or not at all --------------------------------------------------


@pytest.mark.parametrize("options", [{"mode": "wb"}, {"mode": "w"}, {"mode": "wb", "compression": "gzip"}])
def test_an_exception_in_the_block_keeps_the_old_value(fs, options):
    fs.pipe("a", b"old")
    data = "new" * 1000 if options["mode"] == "w" else b"new" * 1000
    with pytest.raises(Stop), fs.open("a", **options) as file:
        file.write(data)
        file.flush()
        raise Stop
    assert fs.find("") == ["a"]
    assert fs.cat("a") == b"old"


@pytest.mark.parametrize("options", [{"mode": "wb"}, {"mode": "w"}, {"mode": "wb", "compression": "gzip"}])
def test_an_exception_in_the_block_of_fsspec_open_keeps_the_old_value(tmp_path, options):
    url = f"anystore+sqlite:///{tmp_path}/a.db!/folder/a"
    fsspec.filesystem("anystore", uri=f"sqlite:///{tmp_path}/a.db").pipe("folder/a", b"old")
    with pytest.raises(Stop), fsspec.open(url, **options) as file:
        file.write("new" if options["mode"] == "w" else b"new")
        raise Stop
    with fsspec.open(url) as file:
        assert file.read() == b"old"
    with fsspec.open(url, **options) as file:
        file.write("new" if options["mode"] == "w" else b"new")
    with fsspec.open(url, options["mode"].replace("w", "r"), compression=options.get("compression")) as file:
        assert file.read() in ("new", b"new")


def write_and_close_anyhow(fs):
    file = fs.open("a", "wb")
    try:
        file.write(b"half")
        raise Stop
    finally:
        file.close()


def test_a_file_closed_while_an_exception_passes_is_not_stored_and_says_so(memory, caplog):
    with caplog.at_level(logging.WARNING), pytest.raises(Stop):
        write_and_close_anyhow(memory)
    assert not memory.exists("a")
    assert "'a' was closed while Stop was raised" in caplog.text


def test_a_file_opened_while_an_exception_is_handled_is_stored(memory):
    try:
        raise Stop
    except Stop:
        with memory.open("report", "wb") as file:
            file.write(b"why")
        file = memory.open("other", "wb")
        file.write(b"why")
        file.close()
    assert memory.cat(["report", "other"]) == {"report": b"why", "other": b"why"}


def test_commit_stores_in_spite_of_an_exception(memory):
    file = memory.open("a", "wb")
    try:
        file.write(b"kept")
        raise Stop
    except Stop:
        file.commit()
        file.close()
    assert memory.cat("a") == b"kept"


@pytest.mark.parametrize("mode", ["wb", "w"])
def test_a_forgotten_file_is_not_stored(memory, mode):
    memory.open("a", mode).write("x" if mode == "w" else b"x")
    assert not memory.exists("a")


def test_appending_and_creating(fs):
    features = fs._backend.features
    if Feature.APPEND in features:
        for part in (b"1", b"2"):
            with fs.open("log", "ab") as file:
                file.write(part)
        assert fs.cat("log") == b"12"
    else:
        with pytest.raises(Unsupported):
            fs.open("log", "ab")
    fs.pipe("there", b"")
    with pytest.raises(FileExistsError):
        fs.open("there", "xb")
    with pytest.raises(FileExistsError):
        fs.pipe("there", b"new", mode="create")
    with fs.open("new", "xb") as file:
        file.write(b"1")
    assert fs.cat("new") == b"1"


def test_text_keeps_its_encoding_newlines_and_byte_order_mark(memory):
    for encoding in ("utf-8", "utf-16", "utf-8-sig", "latin-1"):
        memory.write_text("a.txt", "ä\nö\r\n", encoding=encoding, newline="")
        assert memory.cat("a.txt") == "ä\nö\r\n".encode(encoding)
        assert memory.read_text("a.txt", encoding=encoding, newline="") == "ä\nö\r\n"
    memory.write_text("a.txt", "ä", encoding="ascii", errors="replace")
    assert memory.cat("a.txt") == b"?"
    with pytest.raises(UnicodeEncodeError):
        memory.write_text("b.txt", "ä", encoding="ascii")
    assert not memory.exists("b.txt")


def test_compression_by_name_and_by_the_end_of_the_key(memory):
    with memory.open("a.gz", "wb", compression="infer") as file:
        file.write(b"packed" * 100)
    assert gzip.decompress(memory.cat("a.gz")) == b"packed" * 100
    with memory.open("a.gz", "rt", compression="gzip") as file:
        assert file.read(6) == "packed"
    with memory.open("a.txt", "wb", compression="infer") as file:
        file.write(b"plain")
    assert memory.cat("a.txt") == b"plain"
    for refused in ({"compression": "zip"}, {"compression": "rot13"}):
        with pytest.raises(InvalidOption, match="compression"):
            memory.open("b", "wb", **refused)
    with pytest.raises(InvalidOption, match="zip"):
        memory.open("b.zip", "wb", compression="infer")


@pytest.mark.parametrize("options", [{"mode": "r+b"}, {"mode": "q"}, {"mode": "rb", "encoding": "utf-8"}])
def test_unknown_modes_are_refused(memory, options):
    memory.pipe("a", b"")
    with pytest.raises(InvalidOption):
        memory.open("a", **options)


def test_unknown_options_are_refused(memory):
    with pytest.raises(TypeError):
        memory.open("a", "wb", acl="public-read")
    with pytest.raises(TypeError):
        memory.pipe_file("a", b"", metadata={})
    with pytest.raises(TypeError):
        StoreFileSystem("memory://x", use_listings_cache=True)
    with pytest.raises(InvalidOption):
        memory.pipe("a", "text")
    with pytest.raises(InvalidOption):
        memory.pipe("a", 5)
    with pytest.raises(InvalidOption):
        memory.pipe("a", b"", mode="ovrwrite")
    assert memory.find("") == []


# -- transactions -----------------------------------------------------------------


def test_a_transaction_publishes_at_its_end(fs):
    with fs.transaction:
        fs.pipe("a", b"1")
        fs.pipe({"b": b"2"})
        fs.write_text("c", "3")
        with pytest.raises(Stop), fs.open("d", "w") as file:
            file.write("4")
            raise Stop
        assert not fs.exists("a")
        assert not fs.exists("c")
    assert fs.find("") == ["a", "b", "c"]
    assert fs.cat(["a", "b", "c"]) == {"a": b"1", "b": b"2", "c": b"3"}


def test_a_transaction_that_fails_publishes_nothing(fs):
    fs.pipe("a", b"old")
    with pytest.raises(Stop), fs.transaction:
        fs.pipe("a", b"new")
        fs.touch("b")
        raise Stop
    assert fs.find("") == ["a"]
    assert fs.cat("a") == b"old"
    fs.pipe("b", b"after")
    assert fs.cat("b") == b"after"


def test_a_transaction_leaves_other_threads_alone(memory):
    with pytest.raises(Stop), memory.transaction:
        thread = threading.Thread(target=memory.pipe, args=("other", b"1"))
        thread.start()
        thread.join()
        memory.pipe("mine", b"1")
        raise Stop
    assert memory.find("") == ["other"]


# -- reading one version ------------------------------------------------------------


def test_a_file_is_one_version(fs):
    fs.pipe("a", b"0123456789" * 100_000)
    with fs.open("a") as file:
        assert (file.size, file.seekable(), file.read(3)) == (1_000_000, True, b"012")
        assert file.seek(-5, os.SEEK_END) == 999_995
        assert file.read() == b"56789"
        file.seek(500_000)
        assert file.read(5) == b"01234"
        fs.pipe("a", b"x" * 1_000_000)
        file.seek(700_000)
        with contextlib.suppress(VersionMismatch):
            assert file.read(10) == b"0123456789"
    assert fs.cat("a") == b"x" * 1_000_000


def test_a_seek_asks_for_little(memory):
    memory.pipe("a", bytes(40 << 20))
    asked = []
    with memory.open("a") as file:
        reader = file.raw._reader
        read = reader.read

        def spy(start=0, stop=None):
            asked.append(None if stop is None else stop - start)
            return read(start, stop)

        reader.read = spy
        file.seek(10 << 20)
        file.read(100)
        assert asked == [256 << 10]
        file.read(2 << 20)
        assert sum(asked) < 6 << 20
        while file.read(1 << 20):
            pass
        assert asked[-1] is None
        assert file.tell() == 40 << 20


def test_parts_of_values(fs):
    fs.pipe({"a": b"0123456789", "b": b"abc", "empty": b""})
    assert fs.cat_file("a", 2, 5) == b"234"
    assert fs.cat_file("a", -3) == b"789"
    assert fs.cat_file("a", 1, -1) == b"12345678"
    assert fs.cat_file("a", 8, 100) == b"89"
    assert fs.cat_file("a", 5, 2) == b""
    assert fs.cat_file("a", end=0) == b""
    assert fs.cat_file("empty") == b""
    assert (fs.head("a", 2), fs.tail("a", 2)) == (b"01", b"89")
    assert fs.read_block("b", 1, 1) == b"b"
    assert fs.cat_ranges(["a", "b", "a"], [0, 1, -2], [2, None, None]) == [b"01", b"bc", b"89"]
    [part, error] = fs.cat_ranges(["a", "none"], 0, 1)
    assert (part, type(error)) == (b"0", DoesNotExist)
    with pytest.raises(FileNotFoundError):
        fs.cat_ranges(["none"], 0, 1, on_error="raise")
    with pytest.raises(InvalidOption):
        fs.cat_ranges(["a", "b"], [0], [1, 2])


def test_many_values_at_once(fs):
    fs.pipe({"a/1": b"1", "a/b/2": b"2", "c": b"3"})
    assert fs.cat("a", recursive=True) == {"a/1": b"1", "a/b/2": b"2"}
    assert fs.cat("**/[12]") == {"a/1": b"1", "a/b/2": b"2"}
    assert fs.cat(["c", "none"], on_error="omit") == {"c": b"3"}
    found = fs.cat(["c", "none", "a"], on_error="return")
    assert (found["c"], type(found["none"]), type(found["a"])) == (b"3", DoesNotExist, IsAFolder)
    with pytest.raises(FileNotFoundError):
        fs.cat(["c", "none"])
    assert fs.cat(["a/1", "c"], start=0, end=1) == {"a/1": b"1", "c": b"3"}


# -- folders and listings -------------------------------------------------------------


def test_folders_are_where_values_are(fs):
    fs.pipe({"a/b/c.txt": b"12", "a/d": b"345", "e": b""})
    assert fs.ls("", detail=False) == fs.ls("/", detail=False) == ["a", "e"]
    assert fs.ls("a/", detail=False) == ["a/b", "a/d"]
    assert fs.ls("a/d", detail=False) == ["a/d"]
    for info in fs.ls("a") + fs.ls(""):
        assert fs.info(info["name"])["type"] == info["type"]
        assert fs.info(info["name"])["size"] == info["size"]
    assert (fs.isdir("a/b"), fs.isfile("a/b"), fs.isdir("a/d"), fs.isfile("a/d")) == (True, False, False, True)
    assert (fs.exists("a"), fs.exists("a/"), fs.exists("no"), fs.exists("a/b/c.tx")) == (True, True, False, False)
    assert fs.du("") == 5
    assert fs.du("a", total=False) == {"a/b/c.txt": 2, "a/d": 3}
    assert list(fs.walk("")) == [("", ["a"], ["e"]), ("a", ["b"], ["d"]), ("a/b", [], ["c.txt"])]
    assert fs.find("a") == [*fs.glob("a/**/*.txt"), "a/d"] == ["a/b/c.txt", "a/d"]
    assert fs.find("", maxdepth=1) == ["e"]
    assert fs.find("", maxdepth=2, withdirs=True) == ["a", "a/b", "a/d", "e"]
    assert fs.find("e") == ["e"]
    assert fs.find("no") == []
    assert list(fs.walk("no")) == []
    for missing in ("no", "a/d/no", "a//b", "../a", ".anystore", ".anystore/x"):
        assert not fs.exists(missing)
        with pytest.raises(FileNotFoundError):
            fs.info(missing)
        with pytest.raises(FileNotFoundError):
            fs.ls(missing)


def test_a_made_folder_is_seen_by_its_maker_alone(fs):
    other = pickle.loads(pickle.dumps(fs))
    fs.makedirs("a/b/c")
    assert (fs.isdir("a/b"), fs.ls("a/b", detail=False), fs.ls("a/b/c")) == (True, ["a/b/c"], [])
    assert fs.find("", withdirs=True) == ["a", "a/b", "a/b/c"]
    assert not other.exists("a")
    fs.makedirs("a", exist_ok=True)
    with pytest.raises(FileExistsError):
        fs.mkdir("a/b")
    with pytest.raises(IsAFolder, match="not empty"):
        fs.rmdir("a")
    fs.pipe("a/x", b"")
    fs.rmdir("a/b/c")
    assert other.ls("a", detail=False) == ["a/x"]
    with pytest.raises(AlreadyExists):
        fs.mkdir("a/x")
    with pytest.raises(NotAFolder):
        fs.rmdir("a/x")
    with pytest.raises(FileNotFoundError):
        fs.rmdir("a/b/c")
    fs.rm("a", recursive=True)
    assert fs.ls("") == []
    assert not fs.exists("a/b")


def test_made_folders_are_bounded():
    made = MadeFolders()
    for number in range(MOST + 5):
        made.add(f"f{number}")
    assert "f4" not in made
    assert "f5" in made


class CountingBackend(MemoryBackend):
    """Counts the entries that a listing gives."""

    listed = 0

    def scan(self, prefix="", after=None):
        for entry in super().scan(prefix, after):
            self.listed += 1
            yield entry


def test_a_listing_jumps_over_what_lies_deeper():
    backend = CountingBackend("counting")
    fs = Store(backend).fs
    fs.pipe({f"{folder}/{number:05}": b"" for folder in ("a", "b", "c") for number in range(5000)} | {"d": b""})
    backend.listed = 0
    assert fs.ls("", detail=False) == ["a", "b", "c", "d"]
    assert backend.listed < 2000
    last = "a/\U0010ffff/beyond"
    fs.pipe(last, b"")
    assert fs.ls("", detail=False) == ["a", "b", "c", "d"]


def test_a_file_and_a_folder_of_one_name(memory):
    memory.pipe({"a": b"1", "a/b": b"2"})
    assert memory.info("a")["type"] == "file"
    assert memory.ls("a", detail=False) == ["a/b"]
    assert sorted(info["type"] for info in memory.ls("")) == ["directory", "file"]
    memory.rm("a", recursive=True)
    assert memory.find("") == []


def test_a_folder_is_no_value(fs):
    fs.pipe("a/b", b"")
    for read in (lambda: fs.open("a"), lambda: fs.cat_file("a"), lambda: fs.cat_file("a", 1, 2), lambda: fs.rm("a")):
        with pytest.raises(IsADirectoryError):
            read()
    for read in (lambda: fs.open("no"), lambda: fs.cat_file("no"), lambda: fs.rm("no"), lambda: fs.rm("no", True)):
        with pytest.raises(FileNotFoundError):
            read()
    with pytest.raises(IsADirectoryError):
        fs.open("", "wb")


def test_moving_and_deleting(fs):
    fs.pipe({"a/1": b"1", "a/b/2": b"2", "c[1].txt": b"3"})
    fs.mv("a/1", "x")
    fs.mv("a", "z", recursive=True)
    assert fs.find("") == ["c[1].txt", "x", "z/b/2"]
    fs.rm_file("c[1].txt")
    fs.rm(["x", "z"], recursive=True)
    assert fs.find("") == []
    fs.pipe({"a/1": b"", "a/b/2": b"", "ab": b""})
    with pytest.raises(InvalidKey, match="all of"):
        fs.rm("", recursive=True)
    fs.rm("**", recursive=True)
    assert fs.find("") == []


def test_local_files_come_and_go_whole(fs, tmp_path):
    source = tmp_path / "source.bin"
    source.write_bytes(os.urandom(3 << 20))
    fs.put(str(source), "a/b")
    fs.get("a/b", str(tmp_path / "target.bin"))
    assert (tmp_path / "target.bin").read_bytes() == source.read_bytes()
    buffer = io.BytesIO()
    fs.get_file("a/b", buffer)
    assert buffer.getvalue() == source.read_bytes()
    with pytest.raises(FileNotFoundError):
        fs.get_file("none", str(tmp_path / "target.bin"))
    assert (tmp_path / "target.bin").read_bytes() == source.read_bytes()
    assert not list(tmp_path.glob(".*.part"))
    with pytest.raises(FileExistsError):
        fs.put_file(str(source), "a/b", mode="create")
    with pytest.raises(FileNotFoundError):
        fs.put_file(str(tmp_path / "none"), "new")
    assert fs.find("") == ["a/b"]


def test_what_a_store_cannot_say_is_refused(fs):
    fs.pipe("a", b"1")
    for call in (lambda: fs.created("a"), lambda: fs.sign("a"), lambda: fs.touch("a", truncate=False)):
        with pytest.raises(NotImplementedError):
            call()
    asked = datetime.now(UTC)
    assert fs.modified("a") == fs.info("a").get("modified") or fs.modified("a") >= asked
    with pytest.raises(FileNotFoundError):
        fs.modified("none")


def test_keys_tell_changes(fs):
    fs.pipe("a", b"1")
    before = fs.ukey("a"), fs.checksum("a")
    assert (fs.ukey("a"), fs.checksum("a")) == before
    fs.pipe("a", b"2")
    assert fs.ukey("a") != before[0]
    assert fs.checksum("a") != before[1]


# -- stores that refuse or fail ------------------------------------------------------


def test_a_readonly_store_refuses_every_write(tmp_path):
    get_store(f"sqlite:///{tmp_path}/a.db").put("a", b"x")
    fs = get_store(f"sqlite:///{tmp_path}/a.db", readonly=True).fs
    writes = [
        lambda: fs.pipe("b", b""),
        lambda: fs.pipe({"b": b""}),
        lambda: fs.open("b", "wb"),
        lambda: fs.mkdir("folder"),
        lambda: fs.rm("a"),
        lambda: fs.rm("a", recursive=True),
        lambda: fs.mv("a", "b"),
        lambda: fs.cp("a", "b"),
        lambda: fs.touch("b"),
    ]
    for write in writes:
        with pytest.raises(ReadOnlyError):
            write()
    assert fs.cat("a") == b"x"


def test_a_web_server_is_read(nginx_server):
    folder = nginx_server.root / "papers"
    (folder / "2024").mkdir(parents=True)
    (folder / "a.csv").write_bytes(b"n\n1\n")
    (folder / "2024" / "b.csv").write_bytes(b"n\n2\n")
    fs = get_store(nginx_server.url).fs
    nginx_server.forget_requests()
    assert fs.ls("papers", detail=False) == ["papers/2024", "papers/a.csv"]
    assert not [request for request in nginx_server.requests() if "2024" in request.path]
    assert fs.find("papers") == ["papers/2024/b.csv", "papers/a.csv"]
    assert fs.glob("papers/*.csv") == ["papers/a.csv"]
    assert fs.cat_file("papers/a.csv", 2, 3) == b"1"
    with fs.open("papers/2024/b.csv", "r") as file:
        assert file.read() == "n\n2\n"
    with fsspec.open(f"anystore+{nginx_server.url.rstrip('/')}/papers/a.csv") as file:
        assert file.read() == b"n\n1\n"
    with pytest.raises(Unsupported):
        fs.pipe("b", b"")


class DownBackend(Backend):
    """A server that is down."""

    uri = "down://"
    features = Feature.LIST

    def get(self, key):
        raise BackendError("down")

    read = stat = exists = get

    def scan(self, prefix="", after=None):
        raise BackendError("down")


class UnlistedBackend(MemoryBackend):
    features = Feature.WRITE

    def scan(self, prefix="", after=None):
        return Backend.scan(self, prefix, after)

    keys = scan


def test_a_store_that_cannot_list_still_says_what_is_missing():
    fs = Store(UnlistedBackend("unlisted")).fs
    fs.pipe("a", b"1")
    assert (fs.cat("a"), fs.exists("b")) == (b"1", False)
    with pytest.raises(FileNotFoundError):
        fs.open("b")
    with pytest.raises(Unsupported):
        fs.ls("")


def test_a_store_that_is_down_is_not_empty():
    fs = Store(DownBackend()).fs
    calls = [fs.exists, fs.isdir, fs.isfile, fs.info, fs.ls, fs.find, fs.cat, lambda path: list(fs.walk(path))]
    for call in calls:
        with pytest.raises(BackendError):
            call("a")


# -- which store -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "store", "key"),
    [
        ("a/b", None, "a/b"),
        ("/a/b/", None, "a/b"),
        ("anystore://a/b", None, "a/b"),
        ("anystore://", None, ""),
        ("anystore+redis://h:1/0/p/k", "redis://h:1/0", "p/k"),
        ("anystore+redis://u:p%40@h:1/0", "redis://u:p%40@h:1/0", ""),
        ("anystore+redis://h/0/p!/k", "redis://h/0/p", "k"),
        ("anystore+s3://bucket/a/b", "s3://bucket", "a/b"),
        ("anystore+memory://n/a?b", "memory://n", "a?b"),
        ("anystore+postgresql://h/db/a", "postgresql://h/db", "a"),
        ("anystore+postgresql+psycopg://h/db/a", "postgresql+psycopg://h/db", "a"),
        ("anystore+sqlite:///x.db?table=t!/a!/b", "sqlite:///x.db?table=t", "a!/b"),
        ("anystore+sqlite:////abs/x.db!", "sqlite:////abs/x.db", ""),
        ("anystore+file:///data!/a", "file:///data", "a"),
    ],
)
def test_a_url_names_a_store_and_a_key(url, store, key):
    assert split_url(url) == (store, key)
    if store:
        assert split_url(join_url(store, key)) == (store, key)


def test_a_url_without_an_end_of_its_store_is_refused_without_its_secret():
    for url in ("anystore+sqlite:///a.db/k", "anystore+sftp://me:hunter2@h/a/b", "s3://k:hunter2@bucket/x"):
        with pytest.raises(InvalidUri) as caught:
            split_url(url)
        assert "hunter2" not in str(caught.value)


def test_a_filesystem_refuses_urls_of_other_stores(tmp_path):
    fs, path = fsspec.url_to_fs(f"anystore+sqlite:///{tmp_path}/a.db!/k")
    fs.pipe(path, b"1")
    assert fs.cat(fs.unstrip_protocol("k")) == b"1"
    assert fs.cat("anystore://k") == b"1"
    for other in (f"anystore+sqlite:///{tmp_path}/b.db!/k", "anystore+redis://host/0/k", "s3://bucket/k"):
        with pytest.raises(InvalidUri):
            fs.cat(other)
    with pytest.raises(InvalidUri):
        get_store(f"sqlite:///{tmp_path}/a.db").fs.cat("anystore+redis://host/0/k")


def test_a_store_has_one_filesystem_and_equal_stores_equal_ones(tmp_path):
    store = get_store(str(tmp_path), serialization_mode="json")
    assert store.fs is store.fs
    again = pickle.loads(pickle.dumps(store))
    assert again.fs == store.fs
    assert hash(again.fs) == hash(store.fs)
    assert pickle.loads(pickle.dumps(store.fs)) == store.fs == fsspec.filesystem("anystore", uri=str(tmp_path))
    assert store.fs != get_store(str(tmp_path / "other")).fs
    assert store.under("a").fs != store.fs
    assert get_store(str(tmp_path), readonly=True).fs != store.fs


def test_stores_that_differ_in_a_secret_are_never_mixed():
    uris = [f"redis://me:{password}@127.0.0.1:1/0" for password in ("one", "two")]
    first, second = (fsspec.filesystem("anystore", uri=uri) for uri in uris)
    assert first is not second
    assert first != second
    assert first._backend is not second._backend
    assert first._fs_token != second._fs_token
    options = [{"uri": "redis://127.0.0.1:1/0", "backend_config": {"password": word}} for word in ("one", "two")]
    third, fourth = (fsspec.filesystem("anystore", **each) for each in options)
    assert third != fourth


@pytest.mark.parametrize(
    "options",
    [
        {"uri": "redis://me:hunter2@127.0.0.1:1/0"},
        {"uri": "redis://127.0.0.1:1/0", "backend_config": {"username": "me", "password": "hunter2"}},
    ],
)
def test_no_secret_is_shown(options):
    fs = fsspec.filesystem("anystore", **options)
    shown = [repr(fs), str(fs), f"{fs}", repr(fs.storage_options), str(fs.storage_options), fs.unstrip_protocol("k")]
    shown += [fs.to_json(include_password=False), str(fs.to_dict(include_password=False)), fs._fs_token]
    assert not [text for text in shown if "hunter2" in text]
    for tell in (fs.to_json, fs.to_dict):
        with pytest.raises(Unsupported, match="secret"):
            tell()
    assert pickle.loads(pickle.dumps(fs)) == fs
    assert fsspec.filesystem("anystore", **fs.storage_options) == fs
    with pytest.raises(BackendError) as caught:
        fs.cat("k")
    assert "hunter2" not in str(caught.value)


def test_json_makes_the_same_filesystem(tmp_path):
    fs = fsspec.filesystem("anystore", uri=str(tmp_path), readonly=True)
    assert fsspec.AbstractFileSystem.from_json(fs.to_json()) == fs
    assert json.loads(fs.to_json())["uri"] == str(tmp_path)
    with pytest.raises(Unsupported, match="pickle"):
        get_store(str(tmp_path)).fs.to_json()


def test_a_store_and_its_options_exclude_each_other(tmp_path):
    with pytest.raises(InvalidOption):
        StoreFileSystem(str(tmp_path), store=get_store(str(tmp_path)))


def test_a_default_ttl_is_kept():
    fs = fsspec.filesystem("anystore", uri="memory://expiring", default_ttl=60)
    fs.pipe("a", b"")
    with fs.open("b", "wb") as file:
        file.write(b"")
    assert fs.info("a")["expires"]
    assert fs.info("b")["expires"]


def run(script, *arguments):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *arguments], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_anystore_changes_nothing_in_fsspec():
    run("""
        import sys
        import fsspec
        registry = sys.modules["fsspec.registry"]
        def state():
            return (
                dict(registry._registry), {name: dict(one) for name, one in registry.known_implementations.items()},
                dict(fsspec.compression.compr), dict(fsspec.caching.caches), dict(fsspec.config.conf),
            )
        before = state()
        import anystore
        from anystore import get_store
        store = get_store("memory://x")
        store.put("a", 1)
        store.fs.cat("a")
        assert state() == before
    """)


def test_fsspec_caches_and_chains_over_a_store(tmp_path):
    options = {"uri": f"sqlite:///{tmp_path}/a.db"}
    fs = fsspec.filesystem("anystore", **options)
    fs.pipe("folder/a", b"first")
    cache = {"cache_storage": str(tmp_path / "cache"), "check_files": True}
    for expected in (b"first", b"second"):
        fs.pipe("folder/a", expected)
        for _ in range(2):
            with fsspec.open("filecache::anystore://folder/a", anystore=options, filecache=cache) as file:
                assert file.read() == expected
    folder = fsspec.filesystem("dir", path="folder", fs=fs)
    assert folder.ls("", detail=False) == ["a"]
    with fsspec.open(f"simplecache::anystore+sqlite:///{tmp_path}/a.db!/folder/b", "wb") as file:
        file.write(b"through")
    assert folder.cat("b") == b"through"


def test_the_scheme_is_found_without_anystore_being_imported(tmp_path):
    run(
        """
        import sys, fsspec
        assert not [name for name in sys.modules if name.startswith("anystore")]
        with fsspec.open(f"anystore+sqlite:///{sys.argv[1]}/a.db!/k", "w") as file:
            file.write("hello")
        assert fsspec.open(f"anystore://k", uri=f"sqlite:///{sys.argv[1]}/a.db").open().read() == b"hello"
        """,
        str(tmp_path),
    )
    assert get_store(f"sqlite:///{tmp_path}/a.db").get("k") == "hello"


def test_native_threads_of_other_libraries_may_end(tmp_path):
    run(
        """
        import sys
        import pyarrow as pa, pyarrow.dataset as ds
        from anystore import get_store
        fs = get_store(f"sqlite:///{sys.argv[1]}/a.db").fs
        for turn in range(5):
            table = pa.table({"n": list(range(1000)), "part": [n % 20 for n in range(1000)]})
            ds.write_dataset(table, f"set{turn}", format="parquet", filesystem=fs, partitioning=["part"])
            assert ds.dataset(f"set{turn}", filesystem=fs).count_rows() == 1000
        """,
        str(tmp_path),
    )


NAMES_LIKE_PATTERNS = ["z*", "q?", "[x]", "deep/z*"]


@pytest.fixture
def patterns():
    store = get_store(f"memory://{uuid.uuid4().hex}", serialization_mode="text")
    for key in (*NAMES_LIKE_PATTERNS, "zz", "qx", "x", "deep/zz", "other/y", "f"):
        store.put(key, key)
    return store


@pytest.mark.parametrize("name", NAMES_LIKE_PATTERNS)
def test_a_key_that_looks_like_a_pattern_is_that_key_alone(patterns, name, tmp_path):
    fs = patterns.fs
    before = set(patterns.iterate_keys())
    assert fs.cat(name) == name.encode()
    assert fs.cat([name]) == {name: name.encode()}
    fs.get(name, str(tmp_path / "file"))
    assert (tmp_path / "file").read_text() == name
    fs.get(name, str(tmp_path))
    assert (tmp_path / name.rpartition("/")[2]).read_text() == name
    fs.copy(name, "copy")
    fs.copy(name, "other")
    assert fs.cat_file("copy") == fs.cat_file(f"other/{name.rpartition('/')[2]}") == name.encode()
    fs.mv(name, "moved")
    assert set(patterns.iterate_keys()) == before - {name} | {"copy", "moved", f"other/{name.rpartition('/')[2]}"}
    fs.mv("moved", name)
    fs.rm(name)
    assert before - set(patterns.iterate_keys()) == {name}


@pytest.mark.parametrize("name", ["d*", "d*/"])
def test_a_folder_that_looks_like_a_pattern_is_deleted_alone(patterns, name):
    patterns.put("d*/a", "1")
    patterns.fs.rm(name, recursive=True)
    assert patterns.exists("deep/zz")
    assert not patterns.exists("d*/a")


def test_a_pattern_that_is_no_key_is_one(patterns):
    patterns.fs.rm(["f*", "deep/z?"])
    assert not list(patterns.iterate_keys("deep"))
    assert not patterns.exists("f")
    with pytest.raises(FileNotFoundError):
        patterns.fs.rm("nothing*")
    assert patterns.fs.expand_path(["x", "nothing*"]) == ["x"]


def test_a_name_at_the_top_goes_into_a_folder(patterns, tmp_path):
    fs = patterns.fs
    fs.copy("f", "other")
    fs.copy("f", "new/")
    fs.get("f", f"{tmp_path}/new/")
    assert fs.cat_file("other/f") == fs.cat_file("new/f") == (tmp_path / "new/f").read_bytes() == b"f"
    fs.copy("deep", "other", recursive=True)
    assert fs.cat_file("other/deep/zz") == b"deep/zz"
    fs.get("deep", str(tmp_path), recursive=True)
    assert (tmp_path / "deep/zz").read_bytes() == b"deep/zz"
    fs.mv("f", "other/")
    assert not fs.exists("f")


@pytest.mark.parametrize(
    ("source", "target", "recursive"),
    [("a/x", "a/", False), ("a/x", "a", False), (["a/x"], "a", False), ("a/b", "a", True), ("a/", "a", True)],
)
def test_what_is_moved_to_where_it_is_stays(source, target, recursive):
    store = get_store(f"memory://{uuid.uuid4().hex}")
    store.put("a/x", 1)
    store.put("a/b/y", 2)
    store.fs.mv(source, target, recursive=recursive)
    assert dict(store.get_many(["a/x", "a/b/y"])) == {"a/x": 1, "a/b/y": 2}


@pytest.mark.parametrize(
    ("source", "target"), [(["a/x", "b/x"], "t"), (["a/x", "b/x"], ["b/x", "q"]), (["a/x", "b/x"], ["q", "q"])]
)
def test_two_values_are_not_moved_to_one_name(source, target):
    store = get_store(f"memory://{uuid.uuid4().hex}")
    store.put("a/x", 1)
    store.put("b/x", 2)
    with pytest.raises(InvalidOption, match="nothing was moved"):
        store.fs.mv(source, target)
    assert sorted(store.iterate_keys()) == ["a/x", "b/x"]


def test_a_folder_is_moved_if_that_is_said():
    store = get_store(f"memory://{uuid.uuid4().hex}")
    store.put("a/x", 1)
    with pytest.raises(IsAFolder, match="recursive=True"):
        store.fs.mv("a", "b")
    with pytest.raises(DoesNotExist):
        store.fs.mv(["a/x", "nothing"], "b")
    with pytest.raises(InvalidKey):
        store.fs.mv(["a/x"], ["../x"])
    assert list(store.iterate_keys()) == ["a/x"]
    store.fs.mv("a", "b", recursive=True)
    assert list(store.iterate_keys()) == ["b/x"]


@pytest.mark.parametrize(("source", "target"), [("a/x", "b"), ("a", "b"), ("a/*", "b")])
def test_a_value_that_is_replaced_while_it_is_moved_is_kept(source, target, monkeypatch):
    store = get_store(f"fsspec+memory://{uuid.uuid4().hex}")
    assert Feature.MOVE not in store.features
    store.put("a/x", "old")
    backend = type(store.backend)
    copy = backend.copy

    def replaced(self, source, target):
        copy(self, source, target)
        store.put("a/x", "new")

    monkeypatch.setattr(backend, "copy", replaced)
    with pytest.raises(VersionMismatch, match="both values are kept"):
        store.fs.mv(source, target, recursive=source == "a")
    assert store.get("a/x") == "new"


@pytest.mark.parametrize("mode", [None, 5, b"rb"])
def test_a_mode_is_text(mode):
    with pytest.raises(InvalidOption, match="mode"):
        get_store("memory://modes").fs.open("a", mode)


def test_a_compression_is_inferred_from_capitals():
    fs = get_store(f"memory://{uuid.uuid4().hex}").fs
    fs.pipe_file("A.GZ", gzip.compress(b"a"))
    with fs.open("A.GZ", compression="infer") as file:
        assert file.read() == b"a"


def test_what_could_not_be_opened_is_not_published_by_its_transaction():
    fs = get_store(f"memory://{uuid.uuid4().hex}").fs
    fs.pipe_file("a", b"old")
    with fs.transaction, pytest.raises(LookupError):
        fs.open("a", "w", encoding="no-such-encoding")
    assert fs.cat_file("a") == b"old"


def test_what_becomes_of_errors_is_said_in_known_words():
    fs = get_store(f"memory://{uuid.uuid4().hex}").fs
    with pytest.raises(InvalidOption, match="on_error"):
        fs.cat(["nothing"], on_error="ignore")


def test_a_write_that_was_interrupted_is_not_published_without_its_part(monkeypatch):
    store = get_store(f"memory://{uuid.uuid4().hex}")
    store.put("a", "old")
    file = store.fs.open("a", "wb")
    writer = type(file._file._writer)
    write = writer.write

    def interrupted(self, data):
        raise KeyboardInterrupt

    file.write(b"first")
    monkeypatch.setattr(writer, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        file.flush()
    monkeypatch.setattr(writer, "write", write)
    file.write(b"second")
    with pytest.raises(KeyboardInterrupt):
        file.close()
    assert store.get("a") == "old"
