"""One value by its URI, wherever it is: the rules that the command line has."""

import csv
import gzip
import io
import os
import resource
import stat
import subprocess
import sys
import threading
import uuid
from pathlib import Path

import pytest
from pydantic import BaseModel

from anystore import Store, get_store, open_uri, read_uri, stream_uri, write_uri
from anystore.errors import (
    AlreadyExists,
    BackendError,
    CodecError,
    DoesNotExist,
    InvalidKey,
    InvalidOption,
    InvalidUri,
    Unsupported,
)
from tests.object_servers import BUCKET

EVERY_BYTE = bytes(range(256))


class Person(BaseModel):
    name: str


KINDS = ["path", "relative", "name", "file", "pathlike", "memory", "sqlite", "redis", "s3", "zip", "path into zip"]


@pytest.fixture(params=KINDS)
def named(request, tmp_path, monkeypatch):  # noqa: C901 - a list
    """Give a URI, the options for it, and the store and key that it names."""
    monkeypatch.chdir(tmp_path)
    name = f"t{uuid.uuid4().hex[:12]}"
    match request.param:
        case "path":
            return f"{tmp_path}/a b.json", {}, (tmp_path, "a b.json")
        case "relative":
            return "./a b.json", {}, (tmp_path, "a b.json")
        case "name":
            return "a b.json", {}, (tmp_path, "a b.json")
        case "file":
            return f"file://{tmp_path}/a%20b.json", {}, (tmp_path, "a b.json")
        case "pathlike":
            return Path("-"), {}, (tmp_path, "-")
        case "memory":
            return f"memory://{name}/x/a%20b.json", {}, (f"memory://{name}/x", "a%20b.json")
        case "sqlite":
            return f"sqlite:///{tmp_path}/f.db/key", {}, (f"sqlite:///{tmp_path}/f.db", "key")
        case "redis":
            port = request.getfixturevalue("redis_server").port
            return f"redis://127.0.0.1:{port}/0/{name}/y", {}, (f"redis://127.0.0.1:{port}/0/{name}", "y")
        case "s3":
            config = request.getfixturevalue("seaweedfs_server").config
            return f"s3://{BUCKET}/{name}/x.json", {"backend_config": config}, (f"s3://{BUCKET}/{name}", "x.json")
        case "zip":
            return f"zip://{tmp_path}/archive.zip/sub/x", {}, (f"{tmp_path}/archive.zip", "sub/x")
    get_store(f"{tmp_path}/archive.zip").put("other", 1)
    return "./archive.zip/sub/x", {}, (f"{tmp_path}/archive.zip", "sub/x")


def test_a_value_is_written_and_read(named):
    uri, options, (store_uri, key) = named
    with pytest.raises(DoesNotExist):
        read_uri(uri, **options)
    assert read_uri(uri, raise_on_nonexist=False, **options) is None
    assert list(stream_uri(uri, raise_on_nonexist=False, **options)) == []
    for value in ({"a": [1, None, "ü"]}, "text", "1", 1, EVERY_BYTE, ""):
        assert write_uri(uri, value, **options) is None
        assert read_uri(uri, **options) == value
    write_uri(uri, Person(name="Ann"), **options)
    assert read_uri(uri, model=Person, **options) == Person(name="Ann")
    write_uri(uri, 5, serialization_func=lambda value: str(value * 2), **options)
    assert read_uri(uri, deserialization_func=lambda data: data + b"!", **options) == b"10!"
    write_uri(uri, (1, 2), serialization_mode="pickle", **options)
    assert read_uri(uri, serialization_mode="pickle", **options) == (1, 2)
    with pytest.raises(CodecError):
        write_uri(uri, object(), **options)
    assert read_uri(uri, serialization_mode="pickle", **options) == (1, 2)
    write_uri(uri, "seen by the store", **options)
    store = get_store(store_uri, **options) if options else get_store(store_uri)
    assert store.get(key) == "seen by the store"


def test_a_value_is_opened_and_streamed(named):
    uri, options, _ = named
    with open_uri(uri, "w", **options) as file:
        file.write('1\r\n{"a": 2}\n')
    assert list(stream_uri(uri, **options)) == [1, {"a": 2}]
    assert list(stream_uri(uri, serialization_mode="text", **options)) == ["1", '{"a": 2}']
    with pytest.raises(RuntimeError), open_uri(uri, "wb", **options) as file:
        file.write(b"half" * 1_000_000)
        raise RuntimeError
    with open_uri(uri, **options) as file:
        assert file.read() == b'1\r\n{"a": 2}\n'
        if file.seekable():
            file.seek(3)
            assert file.read(4) == b'{"a"'
    with open_uri(uri, "r", newline="", **options) as file:
        assert next(csv.reader(file)) == ["1"]
    with open_uri(uri, "wb", compression="gz", **options) as file:
        file.write(b"one\ntwo\n")
    with open_uri(uri, **options) as file:
        assert gzip.decompress(file.read()) == b"one\ntwo\n"
    assert list(stream_uri(uri, compression="gz", max_bytes=8, **options)) == ["one", "two"]
    with pytest.raises(CodecError, match="max_bytes"):
        list(stream_uri(uri, compression="gz", max_bytes=7, **options))


@pytest.mark.parametrize(
    ("uri", "error"),
    [
        ("", InvalidUri),
        (None, InvalidUri),
        (b"a", InvalidUri),
        (5, InvalidUri),
        ("a\0b", InvalidUri),
        ("s3://bucket", InvalidUri),
        ("memory://x", InvalidUri),
        ("file://elsewhere/a", InvalidUri),
        ("memory://x/a/", InvalidOption),
        (".", InvalidOption),
        ("/", InvalidOption),
        ("folder/", InvalidOption),
        ("./there", InvalidOption),
        ("memory://x/..", InvalidKey),
    ],
)
def test_what_names_no_value(uri, error, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    for use in (read_uri, stream_uri, open_uri, lambda uri: write_uri(uri, 1), lambda uri: open_uri(uri, "w")):
        with pytest.raises(error):
            use(uri)
    assert os.listdir(tmp_path) == ["there"]


@pytest.mark.parametrize("uri", ["./a", "-"])
def test_options_go_to_stores_alone(uri, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidOption, match="backend_config"):
        read_uri(uri, backend_config={"password": "x"})
    with pytest.raises(InvalidOption, match="no option 'wrong'"):
        read_uri("memory://x/a", backend_config={"wrong": 1})


def test_web_names_are_decoded(nginx_server):
    (nginx_server.root / "a b#.txt").write_text("hello")
    assert (
        read_uri(
            f"{nginx_server.url}a%20b%23.txt" if nginx_server.url.endswith("/") else f"{nginx_server.url}/a%20b%23.txt"
        )
        == "hello"
    )
    with pytest.raises((Unsupported, PermissionError)):
        write_uri(f"{nginx_server.url.rstrip('/')}/b.txt", 1)


class TestFiles:
    @pytest.fixture(autouse=True)
    def folder(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        return tmp_path

    def test_a_write_is_whole_and_keeps_permissions_and_links(self, folder):
        (folder / "real").write_bytes(b"old")
        (folder / "real").chmod(0o640)
        (folder / "link").symlink_to("real")
        write_uri("link", "new")
        assert (folder / "link").is_symlink()
        assert (folder / "real").read_bytes() == b"new"
        assert stat.S_IMODE((folder / "real").stat().st_mode) == 0o640
        with pytest.raises(RuntimeError), open_uri("link", "w") as file:
            file.write("lost" * 1_000_000)
            raise RuntimeError
        file = open_uri("real", "wb")
        file.write(b"forgotten")
        del file
        assert (folder / "real").read_bytes() == b"new"
        assert sorted(os.listdir(folder)) == ["link", "real"]

    def test_create(self, folder):
        with open_uri("a", "x") as file:
            file.write("1")
        with pytest.raises(AlreadyExists, match="'a'"):
            open_uri("a", "x")
        with pytest.raises(AlreadyExists), open_uri("b", "x") as file:
            (folder / "b").write_text("faster")
        assert (folder / "b").read_text() == "faster"
        assert sorted(os.listdir(folder)) == ["a", "b"]

    def test_append(self, folder):
        for line in ("ü\n", "2\n"):
            with open_uri("a.txt", "a", encoding="utf-16") as file:
                file.write(line)
        assert (folder / "a.txt").read_text("utf-16") == "ü\n2\n"
        with pytest.raises(RuntimeError), open_uri("a.txt", "a") as file:
            file.write("lost")
            raise RuntimeError
        size = (folder / "a.txt").stat().st_size
        for _ in range(2):
            with open_uri("a.txt", "ab") as file:
                for _ in range(10):
                    file.write(bytes(1 << 20))
        assert (folder / "a.txt").stat().st_size == size + (20 << 20)
        assert os.listdir(folder) == ["a.txt"]

    def test_what_cannot_be_written_is_told(self, folder):
        with pytest.raises(DoesNotExist, match="make it first"):
            write_uri("nowhere/a", 1)
        (folder / "file").write_text("x")
        for use in (lambda: write_uri("file/a", 1), lambda: read_uri("x" * 300), lambda: write_uri("x" * 3000, 1)):
            with pytest.raises((BackendError, DoesNotExist)):
                use()
        with pytest.raises(Unsupported):
            write_uri("a", 1, ttl=5)
        assert os.listdir(folder) == ["file"]

    def test_a_full_disk_leaves_the_old_value(self, folder):
        write_uri("a", "old")
        script = (
            "import resource, signal, sys\nfrom anystore import *\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
            "for use in (lambda: write_uri('a', 'x' * 5000), lambda: open_uri('a', 'ab').__enter__().write(b'')):\n"
            "    try:\n        use()\n    except BackendError as error:\n        print(error)\n"
            "with open_uri('a', 'ab') as file:\n    file.write(b'y' * 100)\n"
            "try:\n    with open_uri('a', 'ab') as file:\n        file.write(b'z' * 2000)\n"
            "except BackendError as error:\n    print(error)\n"
        )
        assert resource.RLIMIT_FSIZE
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("File too large") == 2
        assert (folder / "a").read_bytes() == b"old" + b"y" * 100
        assert os.listdir(folder) == ["a"]

    def test_names_that_are_no_text(self, folder):
        name = os.fsdecode(b"\xff.txt.gz")
        with open_uri(name, "w", compression="infer") as file:
            file.write("hello")
        assert gzip.decompress((folder / name).read_bytes()) == b"hello"
        assert list(stream_uri(folder / name, compression="infer")) == ["hello"]

    def test_the_home(self, folder, monkeypatch):
        monkeypatch.setenv("HOME", str(folder))
        write_uri("~/a.txt", "hello")
        assert (folder / "a.txt").read_text() == "hello"

    def test_pipes_and_devices(self, folder):
        write_uri("/dev/null", "hello")
        assert read_uri("/dev/null") == ""
        assert read_uri("/proc/self/comm", serialization_mode="raw")
        os.mkfifo(folder / "pipe")
        writer = threading.Thread(target=lambda: write_uri("pipe", b"x" * 300_000))
        writer.start()
        with open_uri("pipe") as file:
            assert not file.seekable()
            assert file.read() == b"x" * 300_000
        writer.join()
        assert stat.S_ISFIFO((folder / "pipe").stat().st_mode)

    def test_a_local_file_is_used_in_place(self, folder):
        write_uri("a.txt", "hello")
        assert isinstance(get_store(folder), Store)
        assert read_uri("a.txt") == get_store(folder).get("a.txt")
        assert os.listdir(folder) == ["a.txt"]


def run(script, stdin=b"", **options):
    return subprocess.run(
        [sys.executable, "-c", f"import sys, os\nfrom anystore import *\n{script}"],
        input=stdin,
        capture_output=True,
        check=False,
        timeout=60,
        **options,
    )


class TestStandard:
    def test_bytes_go_through_as_they_are(self):
        done = run("write_uri('-', read_uri('-', serialization_mode='raw'))", EVERY_BYTE * 10_000)
        assert done.stdout == EVERY_BYTE * 10_000, done.stderr

    def test_values_and_lines(self):
        assert run("print(read_uri('-')['a'])", b'{"a": 1}').stdout == b"1\n"
        assert run("print(list(stream_uri('-')))", b"1\r\n\ntwo").stdout == b"[1, '', 'two']\n"
        assert run("print(list(stream_uri('-', compression='gz')))", gzip.compress(b"1\n2")).stdout == b"[1, 2]\n"

    def test_nothing_is_closed_and_all_is_flushed(self):
        script = """
for mode in ("w", "wb", "a"):
    with open_uri("-", mode) as file:
        file.write("x" if "b" not in mode else b"y")
    assert not sys.stdout.closed
write_uri("-", "z")
with open_uri("-") as file:
    file.read()
assert not sys.stdin.closed
os._exit(0)
"""
        assert run(script).stdout == b"xyxz"

    def test_what_was_printed_before_comes_before(self):
        assert (
            run("print('one'); sys.stdout.flush(); write_uri('-', 'two'); print('three')").stdout == b"one\ntwothree\n"
        )

    def test_a_closed_or_textual_stream(self, monkeypatch):
        monkeypatch.setattr(sys, "stdout", io.StringIO())
        monkeypatch.setattr(sys, "stdin", io.StringIO("x"))
        with pytest.raises(InvalidOption, match="notebook"):
            write_uri("-", "x")
        with pytest.raises(InvalidOption, match="notebook"):
            read_uri("-")
        monkeypatch.setattr(sys, "stdin", None)
        with pytest.raises(InvalidOption, match="closed"):
            read_uri("-")

    def test_create_is_refused(self):
        with pytest.raises(Unsupported):
            open_uri("-", "x")

    def test_a_full_device_and_a_broken_pipe(self):
        with open("/dev/full", "wb") as full:
            done = subprocess.run(
                [sys.executable, "-c", "from anystore import *; write_uri('-', 'x')"],
                stdout=full,
                stderr=subprocess.PIPE,
                check=False,
            )
        assert b"BackendError: cannot write to standard output: No space left" in done.stderr
        read_end, write_end = os.pipe()
        os.close(read_end)
        with os.fdopen(write_end, "wb") as pipe:
            done = subprocess.run(
                [sys.executable, "-c", "from anystore import *; write_uri('-', 'x')"],
                stdout=pipe,
                stderr=subprocess.PIPE,
                check=False,
            )
        assert b"BrokenPipeError" in done.stderr


@pytest.mark.parametrize("uri", ["sqlite:///{}/a b.db", "sqlite:////{}/a b.db", "zip:///{}/a%20b.zip"])
def test_a_key_with_folders_behind_the_file_of_a_store(tmp_path, uri):
    root = uri.format(str(tmp_path).removeprefix("/") if "////" in uri or "zip" in uri else tmp_path)
    get_store(root).put("2024/may/x.txt", "hello")
    assert read_uri(f"{root}/2024/may/x.txt") == "hello"
    write_uri(f"{root}/2024/june/y.txt", "there")
    assert get_store(root).get("2024/june/y.txt") == "there"
    with pytest.raises(InvalidUri, match="names a store"):
        read_uri(root)
    with pytest.raises(InvalidOption, match="names a folder"):
        read_uri(f"{root}/2024/")


def test_a_uri_of_nothing_is_answered_with_an_example_that_is_one():
    with pytest.raises(InvalidUri, match="like 's3://…/name"):
        read_uri("s3://")


def test_a_file_that_is_not_to_be_written_is_not_replaced(open_folder):
    path = open_folder / "file.txt"
    path.write_text("old")
    path.chmod(0o444)
    code = """
import os, sys
from anystore import open_uri, read_uri, write_uri
from anystore.errors import AlreadyExists, BackendError
if os.getuid() == 0:
    os.setuid(65534)
assert read_uri(sys.argv[1]) == "old"
for write in (lambda: write_uri(sys.argv[1], "new"), lambda: open_uri(sys.argv[1], "w")):
    try:
        write()
    except BackendError as error:
        assert "Permission denied" in str(error), error
    else:
        raise SystemExit("written")
try:
    open_uri(sys.argv[1], "x")
except AlreadyExists:
    pass
"""
    open_folder.chmod(0o777)
    process = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    assert path.read_text() == "old"
