"""The command line, mostly as a process: bytes in and out, exit codes, one line for each error."""

import contextlib
import io
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from anystore import get_store
from anystore.cli import run
from anystore.errors import InvalidUri
from anystore.places import StoredPlace, parse_place, value_uri

ROOT = Path(__file__).parents[2]
ANYSTORE = [sys.executable, "-m", "anystore"]
EVERY_BYTE = bytes(range(256)) + b"\r\n\0\n"
COMMANDS = ["get", "put", "keys", "delete", "info", "cp", "io", "mirror", "crawl", "documents", "settings", "doctor"]
MIB = 1 << 20


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Work in an empty folder, where the default store will be."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return tmp_path


@pytest.fixture
def store():
    return get_store("./anystore-data", serialization_mode="raw")


def anystore(*arguments, stdin=b"", **options):
    """Run the console; standard input is empty unless given."""
    return subprocess.run([*ANYSTORE, *arguments], check=False, input=stdin, capture_output=True, timeout=60, **options)


def on_terminal(*arguments):
    """Run the console on a terminal, and give what it shows."""
    ours, theirs = pty.openpty()
    with subprocess.Popen([*ANYSTORE, *arguments], stdin=theirs, stdout=theirs, stderr=theirs):
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # the terminal is gone when the process is
            while piece := os.read(ours, 65536):
                shown += piece
        os.close(ours)
    return shown.replace(b"\r\n", b"\n")


def failure(result, code=1):
    """Check that a command failed with one line, and give the line."""
    assert result.returncode == code, result.stderr
    text = result.stderr.decode()
    assert text.startswith("anystore: ")
    assert text.count("\n") == 1
    assert "Traceback" not in text
    return text


class TestBytes:
    def test_standard_input_to_standard_output(self, store):
        assert anystore("put", "a/b", "-", stdin=EVERY_BYTE).returncode == 0
        assert store.get("a/b") == EVERY_BYTE
        assert anystore("get", "a/b").stdout == EVERY_BYTE

    def test_a_pipe_needs_no_dash(self, store):
        assert anystore("put", "k", stdin=EVERY_BYTE).returncode == 0
        assert store.get("k") == EVERY_BYTE

    def test_a_value_as_it_is_typed(self, store):
        assert anystore("put", "k", "1").returncode == 0
        assert store.get("k") == b"1"
        assert anystore("get", "k").stdout == b"1"

    def test_the_empty_string(self, store):
        assert anystore("put", "k", "").returncode == 0
        assert store.exists("k")
        assert anystore("get", "k").stdout == b""

    def test_what_is_no_text_in_an_argument(self, store):
        assert anystore("put", "k", b"\xff\xfe\xc3").returncode == 0
        assert store.get("k") == b"\xff\xfe\xc3"

    @pytest.mark.parametrize("locale", ["C", "C.UTF-8", "POSIX"])
    def test_any_locale(self, locale, monkeypatch):
        monkeypatch.setenv("LC_ALL", locale)
        assert anystore("put", "für/ключ", "naïve").returncode == 0
        assert anystore("get", "für/ключ").stdout == "naïve".encode()
        assert anystore("keys").stdout == "für/ключ\n".encode()

    def test_a_value_that_starts_with_a_dash(self):
        assert anystore("put", "k", "--", "-5").returncode == 0
        assert anystore("get", "k").stdout == b"-5"

    def test_files(self, folder, store):
        (folder / "in").write_bytes(EVERY_BYTE)
        assert anystore("put", "k", "-i", "in").returncode == 0
        assert store.get("k") == EVERY_BYTE
        assert anystore("get", "k", "-o", "out").returncode == 0
        assert (folder / "out").read_bytes() == EVERY_BYTE

    def test_a_terminal_gets_its_last_line_ended(self, store):
        store.put("k", "1")
        store.put("lines", "1\n")
        assert on_terminal("get", "k") == b"1\n"
        assert on_terminal("get", "lines") == b"1\n"

    def test_a_device_is_written_not_replaced(self, store):
        store.put("k", EVERY_BYTE)
        assert anystore("get", "k", "-o", "/dev/stdout").stdout == EVERY_BYTE
        assert anystore("get", "k", "-o", "/dev/null").returncode == 0
        assert Path("/dev/null").is_char_device()

    @pytest.mark.alone
    @pytest.mark.parametrize("command", ["put", "get", "io", "cp"])
    def test_memory_is_bounded(self, command, folder):
        grown = {}
        for size in (1, 128 * MIB):
            with (folder / "big").open("wb") as file:
                file.truncate(size)
            anystore("put", "k", "-i", "big")
            arguments = {"put": ["j", "-"], "get": ["k"], "io": [], "cp": ["k", "./copy"]}[command]
            with (folder / "big").open("rb") as stdin, (folder / "out").open("wb") as stdout:
                process = subprocess.Popen([*ANYSTORE, command, *arguments], stdin=stdin, stdout=stdout)
                _, status, usage = os.wait4(process.pid, 0)
                process.returncode = os.waitstatus_to_exitcode(status)
            assert process.returncode == (2 if command == "io" else 0)
            grown[size] = usage.ru_maxrss * 1024
        assert grown[128 * MIB] - grown[1] < 32 * MIB


class TestExitCodes:
    @pytest.mark.parametrize(
        "arguments", [["get", "k"], ["info", "k"], ["cp", "k", "j"], ["cp", "k", "./f"], ["get", "k", "-o", "f"]]
    )
    def test_a_missing_key_is_1(self, arguments, folder):
        assert "there is no value under 'k'" in failure(anystore(*arguments))
        assert not (folder / "f").exists()

    @pytest.mark.parametrize(
        "arguments",
        [
            ["frobnicate"],
            ["get", "k", "--frobnicate"],
            ["get", "k", "l"],
            ["put", "k", "v", "-i", "f"],
            ["delete", "k", "--prefix", "p"],
            ["delete", "--yes"],
            ["--store", "x", "io", "-i", "f"],
            ["io", "--store", "x"],
        ],
    )
    def test_usage_is_2(self, arguments):
        result = anystore(*arguments)
        assert result.returncode == 2
        assert result.stderr.startswith(b"Usage: anystore")
        assert b"Traceback" not in result.stderr
        assert result.stdout == b""

    @pytest.mark.parametrize(
        "arguments",
        [
            ["get", "/k"],
            ["put", "a//b", "v"],
            ["keys", "--glob", "{"],
            ["keys", "--store", ""],
            ["keys", "-s", "nosuch://x"],
            ["get", "k", "-o", "folder/"],
            ["put", "k", "-i", "."],
            ["put", "k", "-i", "nowhere"],
            ["cp", "s3://bucket", "-"],
            ["cp", "a/", "b"],
            ["cp", "-", "folder/"],
            ["cp", "-r", "-", "b"],
            ["cp", "-r", "nothing-here", "b"],
            ["cp", "-r", "a", "a/b"],
            ["io", "-i", "nowhere", "-o", "f"],
        ],
    )
    def test_any_other_error_is_1_and_one_line(self, arguments):
        failure(anystore(*arguments))

    def test_no_error_shows_a_secret(self):
        result = anystore("keys", "-s", "nosuch://me:hunter2@host/x?token=hunter2")
        assert "hunter2" not in failure(result)

    def test_a_fault_of_ours_is_one_line_without_its_text(self, monkeypatch, capsys):
        def fail(*_args):
            raise RuntimeError("hunter2")

        monkeypatch.setattr("anystore.cli.get_store", fail)
        assert run(["keys"]) == 1
        line = capsys.readouterr().err
        assert "RuntimeError in " in line
        assert "hunter2" not in line
        assert line.count("\n") == 1

    def test_a_full_disk(self, store):
        store.put("k", "1")
        with Path("/dev/full").open("wb") as full:
            for command in (["get", "k"], ["keys"]):
                result = subprocess.run(
                    [*ANYSTORE, *command], check=False, stdout=full, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL
                )
                assert "No space left" in failure(result)

    @pytest.mark.parametrize(("closed", "command"), [(">&-", "keys"), ("<&-", "put k -")])
    def test_a_closed_stream(self, closed, command):
        shell = f"{sys.executable} -m anystore {command} {closed}"
        result = subprocess.run(["sh", "-c", shell], check=False, stderr=subprocess.PIPE)
        assert "is closed" in failure(result)

    def test_ctrl_c_is_130_and_leaves_nothing(self, folder, store):
        store.put("k", "old")
        temporary = folder / "anystore-data" / ".anystore" / "tmp"
        with subprocess.Popen([*ANYSTORE, "put", "k", "-"], stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            process.stdin.write(b"half a value" * 200_000)
            process.stdin.flush()
            deadline = time.monotonic() + 30
            while not any(file.stat().st_size for file in temporary.iterdir()):  # it has begun to write
                assert time.monotonic() < deadline
                os.sched_yield()
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 130
            assert process.stderr.read() == b""
        assert store.get("k") == b"old"
        assert list(temporary.iterdir()) == []


class TestBrokenPipe:
    @pytest.mark.parametrize("unbuffered", ["", "1"])
    @pytest.mark.parametrize("arguments", [["keys"], ["keys", "--info"], ["get", "big"]])
    def test_is_quiet(self, arguments, unbuffered, store, monkeypatch):
        monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)  # where a write may take a part only
        store.put("big", bytes(MIB))
        store.put_many((f"folder/{number}-{'x' * 100}", b"") for number in range(2000))
        with subprocess.Popen([*ANYSTORE, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout.read(1)
            process.stdout.close()
            assert process.wait(30) == 141
            assert process.stderr.read() == b""

    def test_a_key_comes_before_the_listing_ends(self, monkeypatch, capfdbinary):
        class Slow:
            def iterate_keys(self, *_):
                yield "first"
                assert capfdbinary.readouterr().out == b"first\n"
                yield "second"

        monkeypatch.setattr("anystore.cli.get_store", lambda _: Slow())
        assert run(["keys"]) == 0
        assert capfdbinary.readouterr().out == b"second\n"


def test_keys_of_a_store_that_is_not_there_are_not_silently_none(tmp_path):
    done = anystore("--store", str(tmp_path / "typo"), "keys")
    assert (done.returncode, done.stdout) == (0, b"")
    assert b"typo is not there" in done.stderr


class TestKeys:
    @pytest.fixture(autouse=True)
    def values(self, store):
        for key in ("a/1.txt", "a/2.pdf", "a/b/3.txt", "c.txt"):
            store.put(key, key)

    @pytest.mark.parametrize(
        ("options", "keys"),
        [
            ([], ["a/1.txt", "a/2.pdf", "a/b/3.txt", "c.txt"]),
            (["--prefix", "a"], ["a/1.txt", "a/2.pdf", "a/b/3.txt"]),
            (["--prefix", "a/", "--exclude-prefix", "a/b"], ["a/1.txt", "a/2.pdf"]),
            (["--glob", "*.txt"], ["c.txt"]),
            (["--glob", "**/*.{txt,md}", "--prefix", "a"], ["a/1.txt", "a/b/3.txt"]),
            (["--glob", "none"], []),
        ],
    )
    def test_selected(self, options, keys, capsysbinary):
        assert run(["keys", *options]) == 0
        assert capsysbinary.readouterr().out.decode().splitlines() == keys

    def test_info(self, store, capsysbinary):
        run(["keys", "--info", "--prefix", "a/b"])
        size, modified, key = capsysbinary.readouterr().out.decode().split()
        assert (size, key) == ("9", "a/b/3.txt")
        assert modified == store.info(key).modified.strftime("%Y-%m-%dT%H:%M:%SZ")

    def test_awkward_keys_come_whole_with_nul(self, store):
        store.put("a/new\nline \x1b[31m", "")
        assert b"a/new\nline \x1b[31m\0" in anystore("keys", "--prefix", "a", "-0").stdout
        assert b"a/new\nline \x1b[31m\n" in anystore("keys", "--prefix", "a").stdout

    def test_a_terminal_obeys_no_key(self, store):
        store.put("a/new\nline \x1b[31m", "")
        for option in ([], ["--info"]):
            shown = on_terminal("keys", "--prefix", "a", *option)
            assert b"a/new\\nline \\x1b[31m\n" in shown
            assert b"\x1b" not in shown

    def test_foreign_names_are_one_line(self, folder):
        (folder / "anystore-data").joinpath(os.fsdecode(b"\xff.txt")).write_bytes(b"")
        result = anystore("keys")
        assert result.stdout == b"a/1.txt\na/2.pdf\na/b/3.txt\nc.txt\n"
        assert failure(result, code=0).startswith("anystore: warning: ")


class TestStoreOption:
    @pytest.mark.parametrize("place", ["before", "after", "variable"])
    def test_anywhere(self, place, monkeypatch, folder):
        arguments = ["put", "k", "v"]
        if place == "variable":
            monkeypatch.setenv("ANYSTORE_URI", "./mine")
        else:
            arguments = ["--store", "./mine", *arguments] if place == "before" else [*arguments, "--store", "./mine"]
        assert run(arguments) == 0
        assert (folder / "mine" / "k").read_text() == "v"

    def test_the_one_of_the_command_wins(self, folder):
        assert run(["-s", "./one", "put", "k", "v", "-s", "./two"]) == 0
        assert not (folder / "one").exists()
        assert (folder / "two" / "k").exists()

    @pytest.mark.parametrize("command", sorted(set(COMMANDS) - {"io", "mirror", "crawl", "documents"}))
    def test_every_command_takes_it(self, command, capsys):
        assert run([command, "--help"]) == 0
        assert "--store URI" in capsys.readouterr().out


class TestDelete:
    def test_keys(self, store):
        for key in ("a", "b", "c"):
            store.put(key, "")
        assert run(["delete", "a", "b", "missing"]) == 0
        assert list(store.iterate_keys()) == ["c"]

    def test_nothing_goes_if_one_is_no_key(self, store):
        store.put("a", "")
        assert run(["delete", "a", "/b"]) == 1
        assert store.exists("a")

    @pytest.mark.parametrize(
        ("answer", "code", "left"), [("y\n", 0, ["c"]), ("n\n", 1, ["a/1", "a/2", "c"]), ("", 1, ["a/1", "a/2", "c"])]
    )
    def test_a_prefix_asks(self, answer, code, left, store, monkeypatch, capsys):  # noqa: PLR0917
        for key in ("a/1", "a/2", "c"):
            store.put(key, "")
        monkeypatch.setattr("sys.stdin", io.StringIO(answer))
        assert run(["delete", "--prefix", "a"]) == code
        assert "Delete 2 values below 'a' in " in capsys.readouterr().err
        assert list(store.iterate_keys()) == left

    def test_yes_does_not_ask(self, store):
        store.put("a/1", "")
        assert anystore("delete", "--prefix", "a", "--yes").stderr == b""
        assert list(store.iterate_keys()) == []

    def test_what_xargs_hands_over(self, store):
        for key in ("old/new\nline", "old/--yes", "old/'quote"):
            store.put(key, "")
        listed = anystore("keys", "-0", "--prefix", "old").stdout
        keys = [os.fsdecode(key) for key in listed.split(b"\0")[:-1]]
        assert anystore("delete", "--", *keys).returncode == 0
        assert list(store.iterate_keys()) == []


class TestInfo:
    def test_a_value(self, store, capsysbinary, folder):
        entry = store.put("a/b.txt", "hello")
        assert run(["info", "a/b.txt"]) == 0
        shown = dict(line.split(None, 1) for line in capsysbinary.readouterr().out.decode().splitlines())
        assert shown == {
            "size": "5",
            "modified": entry.modified.isoformat().replace("+00:00", "Z"),
            "version": entry.version,
            "mimetype": "-",
            "expires": "-",
            "uri": str(folder / "anystore-data" / "a" / "b.txt"),
        }

    def test_a_store(self, capsysbinary):
        assert run(["info", "-s", "memory://x"]) == 0
        uri, features, time_taken = capsysbinary.readouterr().out.decode().splitlines()
        assert uri.split() == ["uri", "memory://x"]
        assert {"write", "list", "swap", "atomic"} < set(features.split()[1:])
        assert time_taken.endswith(" ms")


class TestCopy:
    @pytest.mark.parametrize(
        ("target", "where"),
        [
            ("b", "anystore-data/b"),
            ("folder/", "anystore-data/folder/one.txt"),
            ("./b", "b"),
            (".", "one.txt"),
            ("./there", "there/one.txt"),
            ("there/", "anystore-data/there/one.txt"),
            ("file:///{folder}/a%20b", "a b"),
        ],
    )
    def test_a_key(self, target, where, folder, store):
        store.put("a/one.txt", EVERY_BYTE)
        (folder / "there").mkdir()
        assert run(["cp", "a/one.txt", target.format(folder=folder)]) == 0
        assert (folder / where).read_bytes() == EVERY_BYTE

    @pytest.mark.parametrize(
        ("text", "store", "key"),
        [
            ("postgresql://host/db/a/b", "postgresql://host/db", "a/b"),
            ("mysql+pymysql://u@host/db/a?table=t", "mysql+pymysql://u@host/db", "a"),
            ("postgresql:///db/a/?table=t", "postgresql:///db", "a/name"),
            ("redis://host/0/a", "redis://host/0", "a"),
            ("redis://host/0/a/b", "redis://host/0/a", "b"),
            ("redis://host/0/", "redis://host/0", "name"),
        ],
    )
    def test_where_the_key_begins(self, text, store, key):
        place = parse_place(text, name="name")
        assert place.key == key
        assert place.store.uri.partition("?")[0].replace(":6379", "") == store

    @pytest.mark.parametrize("text", ["postgresql://host/db", "mysql://host/db", "redis://host/0", "valkeys://host/0"])
    def test_a_database_is_no_key_of_another_one(self, text):
        with pytest.raises(InvalidUri, match="names a store"):
            parse_place(text)

    def test_a_key_to_a_uri_and_back(self):
        get_store("memory://cli").put("k", b"\xff")
        assert run(["cp", "memory://cli/k", "memory://cli/l"]) == 0
        assert run(["cp", "memory://cli/l", "m"]) == 0
        assert get_store().get("m", serialization_mode="raw") == b"\xff"

    def test_a_file_to_a_key(self, folder, store):
        (folder / "f").write_bytes(EVERY_BYTE)
        assert run(["cp", "./f", "k"]) == 0
        assert store.get("k") == EVERY_BYTE

    def test_pipes(self, store):
        assert anystore("cp", "-", "k", stdin=EVERY_BYTE).returncode == 0
        assert anystore("cp", "k", "-").stdout == EVERY_BYTE

    def test_from_a_web_server(self, python_http_server, store):
        (python_http_server.root / "a b#50%.txt").write_bytes(EVERY_BYTE)
        url = value_uri(get_store(python_http_server.url), "a b#50%.txt")
        assert url.endswith("/a%20b%2350%25.txt")
        assert run(["cp", url, "k"]) == 0
        assert store.get("k") == EVERY_BYTE
        assert run(["cp", "-r", python_http_server.url, "all"]) == 0
        assert store.get("all/a b#50%.txt") == EVERY_BYTE

    def test_many(self, folder, store):
        for key in ("a/1", "a/b/2", "c"):
            store.put(key, key)
        assert run(["cp", "-r", "a", "copy"]) == 0
        assert store.get("copy/b/2") == b"a/b/2"
        assert run(["cp", "-r", "./anystore-data", "./backup"]) == 0
        assert list(get_store("./backup").iterate_keys()) == list(store.iterate_keys())

    def test_one_failure_does_not_stop_the_rest(self, folder, store, capsys):
        source = get_store("memory://both")
        for key in ("a", "a/b", "c"):
            source.put(key, key)
        assert run(["cp", "-r", "memory://both", "./target"]) == 1
        assert "'a/b' was not copied: " in capsys.readouterr().err
        assert list(get_store("./target").iterate_keys()) == ["a", "c"]

    @pytest.mark.parametrize("uri", ["https://host/files", "https://host/files?sig=secret"])
    def test_the_uri_of_a_value_on_the_web_names_it(self, uri):
        store = get_store(uri)
        shown = value_uri(store, "a b?#%.txt")
        assert "secret" not in shown
        place = parse_place(shown.replace("***", "secret"))
        assert isinstance(place, StoredPlace)
        assert (place.key, place.store.uri) == ("a b?#%.txt", store.uri)


class TestIo:
    def test_same_file(self, folder):
        (folder / "f").write_bytes(EVERY_BYTE)
        (folder / "f").chmod(0o751)
        assert run(["io", "-i", "f", "-o", "f"]) == 0
        assert (folder / "f").read_bytes() == EVERY_BYTE
        assert (folder / "f").stat().st_mode & 0o777 == 0o751
        assert os.listdir(folder) == ["f"]

    @pytest.mark.parametrize("source", ["nowhere", ".", "./anystore-data/", "memory://cli-empty/k"])
    def test_no_input_leaves_the_output(self, source, folder):
        (folder / "f").write_bytes(EVERY_BYTE)
        assert run(["io", "-i", source, "-o", "f"]) == 1
        assert (folder / "f").read_bytes() == EVERY_BYTE
        assert os.listdir(folder) == ["f"]

    def test_an_input_that_fails_leaves_the_output(self, folder, monkeypatch):
        class Failing(io.BytesIO):
            def read1(self, size=-1, /):
                return super().read1(2) or os.fsencode(os.readlink(folder / "nowhere"))

        (folder / "f").write_bytes(EVERY_BYTE)
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(Failing(b"half")))
        assert run(["io", "-o", "f"]) == 1
        assert (folder / "f").read_bytes() == EVERY_BYTE
        assert os.listdir(folder) == ["f"]

    def test_a_link_stays_a_link(self, folder):
        (folder / "there").mkdir()
        (folder / "there" / "f").write_bytes(b"old")
        (folder / "link").symlink_to("there/f")
        assert anystore("io", "-o", "link", stdin=b"new").returncode == 0
        assert (folder / "link").is_symlink()
        assert (folder / "there" / "f").read_bytes() == b"new"
        assert anystore("io", "-i", "link").returncode == 0

    def test_pipes_and_uris(self, folder):
        assert anystore("io", "-o", f"file://{folder}/a%20b", stdin=EVERY_BYTE).returncode == 0
        assert (folder / "a b").read_bytes() == EVERY_BYTE
        assert anystore("io", "-i", "a b").stdout == EVERY_BYTE


class TestSettings:
    def shown(self, capsysbinary, *arguments):
        assert run(["settings", *arguments]) == 0
        lines = capsysbinary.readouterr().out.decode().splitlines()
        return {line.split()[0]: (" ".join(line.split()[1:-1]), line.split()[-1]) for line in lines}

    def test_defaults(self, capsysbinary):
        assert self.shown(capsysbinary) == {
            "uri": ("./anystore-data", "default"),
            "serialization_mode": ("auto", "default"),
            "raise_on_nonexist": ("true", "default"),
            "default_ttl": ("-", "default"),
            "readonly": ("false", "default"),
            "backend_config": ("-", "default"),
        }

    def test_variables_and_a_file_without_their_secrets(self, monkeypatch, folder, capsysbinary):
        (folder / "store.json").write_text('{"readonly": true, "default_ttl": 5}')
        monkeypatch.setenv("ANYSTORE_URI", "redis://me:hunter2@host/0?token=hunter2")
        monkeypatch.setenv("ANYSTORE_DEFAULT_TTL", "60")
        monkeypatch.setenv("ANYSTORE_BACKEND_CONFIG__S3__PASSWORD", "hunter2")
        monkeypatch.setenv("ANYSTORE_BACKEND_CONFIG__PROXY", "http://me:hunter2@proxy")
        monkeypatch.setenv("ANYSTORE_FILE", "store.json")
        shown = self.shown(capsysbinary)
        assert "hunter2" not in str(shown)
        assert shown["uri"] == ("redis://me:***@host/0?token=***", "ANYSTORE_URI")
        assert shown["default_ttl"] == ("5.0", "ANYSTORE_FILE=store.json")
        assert shown["readonly"] == ("true", "ANYSTORE_FILE=store.json")
        assert shown["backend_config"] == (
            '{"proxy":"http://me:***@proxy","s3":{"password":"***"}}',
            "ANYSTORE_BACKEND_CONFIG__*",
        )
        other = self.shown(capsysbinary, "-s", "redis://me:hunter2@other")
        assert "hunter2" not in str(other)
        assert other["uri"] == ("redis://me:***@other", "--store")
        assert other["default_ttl"] == ("60.0", "ANYSTORE_DEFAULT_TTL")
        assert other["backend_config"] == ("-", "default")


class TestHelp:
    @pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
    def test_fits_a_terminal_and_has_examples(self, command, capsys, monkeypatch):
        monkeypatch.setenv("COLUMNS", "80")
        assert run([*command, "--help"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert max(map(len, lines)) <= 80
        assert "  Examples:" in lines
        assert lines[lines.index("  Examples:") + 1].startswith("    ")

    def test_lists_every_command(self, capsys):
        assert run(["--help"]) == 0
        listed = capsys.readouterr().out.partition("Commands:\n")[2].partition("\n\n")[0]
        assert [line.split()[0] for line in listed.splitlines()] == COMMANDS

    @pytest.mark.parametrize("arguments", [[], ["get"], ["cp"], ["io"]])
    def test_without_arguments(self, arguments):
        result = anystore(*arguments)
        assert result.returncode == 2
        assert b"Usage: anystore" in result.stdout + result.stderr

    def test_version(self):
        assert anystore("--version").stdout.startswith(b"anystore")

    def test_loads_nothing_heavy(self):
        code = "import sys, anystore.cli; print({'fsspec', 'rich', 'dagster', 'pyarrow', 'pycurl'} & set(sys.modules))"
        assert subprocess.check_output([sys.executable, "-c", code], text=True) == "set()\n"

    def test_without_the_extra(self):
        code = "import sys; sys.modules['typer'] = None; from anystore.__main__ import main; main()"
        result = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)
        assert "pip install 'anystore-dagster[cli]'" in failure(result)
        assert result.stdout == b""
