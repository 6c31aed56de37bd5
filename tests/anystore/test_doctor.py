"""The doctor: what is installed and set, and what a store says when it is well, down, silent or another one."""

import contextlib
import json
import socket
import sqlite3
import subprocess
import sys
import time
import tomllib
import uuid
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

from anystore import Feature, get_store
from anystore.backends.memory import MemoryBackend
from anystore.cli import run
from anystore.doctor import WITHOUT, diagnose, find_extras
from tests.object_servers import BUCKET
from tests.servers import HOST, free_port

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Work in an empty folder, where the default store would be."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@contextlib.contextmanager
def silent_server():
    """Take connections, and never answer."""
    with socket.create_server((HOST, 0), backlog=16) as server:
        yield server.getsockname()[1]


def found(diagnosis):
    return {one.name: one for one in diagnosis.findings}


def set_up_objects(monkeypatch, server):
    """Name a server of the tests as the environment does, since the command line takes no options of backends."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", server.user)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", server.password)
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)


class TestInstallation:
    def test_versions(self):
        versions = diagnose("memory://doctor").versions
        assert versions["python"] == sys.version.split()[0]
        assert versions["anystore"] == version("anystore-dagster")

    def test_every_extra_is_looked_at(self):
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        extras = {extra.name: extra for extra in find_extras()}
        assert set(extras) == {"", *project["optional-dependencies"]} - {"all"}
        assert extras["mysql"].packages == {"sqlalchemy": version("sqlalchemy"), "pymysql": version("pymysql")}
        assert extras[""].packages.keys() == {"fsspec", "orjson", "pydantic"}

    def test_a_missing_package_comes_with_the_line_that_installs_it(self, monkeypatch, capsys):
        def without(name):
            if name == "paramiko":
                raise PackageNotFoundError(name)
            return version(name)

        monkeypatch.setattr("anystore.doctor.version", without)
        assert run(["doctor", "memory://doctor"]) == 0
        [line] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  sftp ")]
        assert line.split(None, 1)[1] == "paramiko MISSING: pip install 'anystore-dagster[sftp]'"

    def test_nothing_is_installed_where_the_source_runs(self, monkeypatch, capsys):
        def nowhere(name):
            raise PackageNotFoundError(name)

        monkeypatch.setattr("anystore.doctor.requires", nowhere)
        monkeypatch.setattr("anystore.doctor.version", nowhere)
        assert run(["doctor", "memory://doctor"]) == 0
        assert "run from its source" in capsys.readouterr().out

    def test_a_library_that_is_missing_is_named(self, monkeypatch):
        for name in [name for name in sys.modules if name.startswith(("redis", "anystore.backends.redis"))]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, "redis", None)
        diagnosis = diagnose("redis://127.0.0.1:1/0")
        assert not diagnosis.ok
        assert "pip install 'anystore-dagster[redis]'" in found(diagnosis)["opens"].text


class TestSettings:
    def test_those_in_force(self, monkeypatch, capsys):
        monkeypatch.setenv("ANYSTORE_DEFAULT_TTL", "60")
        run(["doctor", "memory://doctor"])
        shown = [line.split() for line in capsys.readouterr().out.splitlines()]
        assert ["uri", "memory://doctor", "URI"] in shown
        assert ["default_ttl", "60.0", "ANYSTORE_DEFAULT_TTL"] in shown

    def test_a_wrong_one_is_a_finding(self, monkeypatch):
        monkeypatch.setenv("ANYSTORE_DEFAULT_TTL", "soon")
        diagnosis = diagnose()
        assert not diagnosis.ok
        assert "ANYSTORE_DEFAULT_TTL" in found(diagnosis)["settings"].text

    def test_no_secret_is_printed(self, monkeypatch, capsys):
        monkeypatch.setenv("ANYSTORE_URI", f"redis://me:hunter2@{HOST}:{free_port()}/0")
        monkeypatch.setenv("ANYSTORE_BACKEND_CONFIG__PASSWORD", "hunter3")
        for arguments in (["doctor"], ["doctor", "--json"]):
            assert run(arguments) == 1
            printed = capsys.readouterr()
            assert "hunter" not in printed.out + printed.err
            assert "***" in printed.out

    def test_a_password_that_is_refused_is_not_printed(self, postgres_server, capsys):
        assert run(["doctor", postgres_server.url_with(password="hunter2", user="nobody")]) == 1
        printed = capsys.readouterr().out
        assert "hunter2" not in printed
        assert "nobody" in printed


class TestStore:
    def test_a_default_store_that_is_not_there_yet(self, folder):
        diagnosis = diagnose()
        assert diagnosis.ok
        assert "no place for values yet" in found(diagnosis)["answers"].text
        assert list(folder.iterdir()) == []

    @pytest.mark.parametrize("uri", ["./folder", "sqlite:///store.db", "archive.zip", "file:archive"])
    def test_nothing_is_written_unasked(self, uri, folder):
        diagnose(uri)
        assert list(folder.iterdir()) == []

    def test_no_table_is_made_unasked(self, postgres_server, folder):
        uri = postgres_server.url
        config = json.dumps({"uri": uri, "backend_config": {"table": f"t{uuid.uuid4().hex}"}})
        (folder / "store.json").write_text(config)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("ANYSTORE_FILE", "store.json")
            before = diagnose()
            assert "no place for values yet" in found(before)["answers"].text
            assert "no place for values yet" in found(diagnose())["answers"].text
            assert found(diagnose(write=True))["writes"].ok
            assert found(diagnose())["answers"].text == "yes"

    def test_a_database_of_somebody_else_stays_as_it_is(self, folder):
        with contextlib.closing(sqlite3.connect(folder / "theirs.db")) as connection:
            connection.execute("create table theirs (a)")
        before = (folder / "theirs.db").read_bytes()
        assert "no place for values yet" in found(diagnose("sqlite:///theirs.db"))["answers"].text
        assert (folder / "theirs.db").read_bytes() == before

    def test_what_it_can_and_what_not(self):
        memory = found(diagnose("memory://doctor"))
        assert memory["features"].text.split() == [feature.name.lower() for feature in Feature]
        local = found(diagnose("./folder"))
        assert {name for name in local if name.startswith("no ")} == {"no expire", "no overlap"}
        assert "anycache" in local["no expire"].text

    def test_each_feature_has_its_words(self):
        assert set(WITHOUT) == set(Feature)

    def test_the_first_key(self):
        get_store("memory://doctor-keys").put("a/b", 1)
        assert found(diagnose("memory://doctor-keys"))["lists"].text == "the first key is 'a/b'"

    def test_a_view_that_only_reads(self, monkeypatch, folder):
        get_store("./data").put("a", 1)
        (folder / "store.json").write_text('{"uri": "./data", "readonly": true}')
        monkeypatch.setenv("ANYSTORE_FILE", "store.json")
        assert found(diagnose())["lists"].ok
        refused = found(diagnose(write=True))["writes"]
        assert not refused.ok
        assert "read" in refused.text

    def test_a_web_server(self, nginx_server):
        (nginx_server.root / "a.txt").write_bytes(b"1")
        seen = found(diagnose(nginx_server.url))
        assert seen["lists"].text == "the first key is 'a.txt'"
        assert seen["no write"].ok is None
        assert not found(diagnose(nginx_server.url, write=True))["writes"].ok

    def test_features_that_are_asked_by_writing_wait_for_it(self, seaweedfs_server, monkeypatch):
        set_up_objects(monkeypatch, seaweedfs_server)
        monkeypatch.setattr("anystore.backends.objects.service._known_traits", {})
        uri = f"s3://{BUCKET}/{uuid.uuid4()}"
        with monkeypatch.context() as patch:
            patch.setattr("anystore.backends.objects.service.probe", lambda *_: pytest.fail("it wrote"))
            before = found(diagnose(uri))
        assert before["not known"].text.startswith("sorted create swap")
        after = found(diagnose(uri, write=True))
        assert "not known" not in after
        assert {"create", "swap"} & set(after["features"].text.split())
        assert "sorted" in after["features"].text or "no sorted" in after


class TestWriting:
    @pytest.fixture(params=["folder", "sqlite", "zip", "redis", "seaweedfs"])
    def uri(self, request, monkeypatch):
        name = uuid.uuid4().hex
        if request.param == "seaweedfs":
            set_up_objects(monkeypatch, request.getfixturevalue("seaweedfs_server"))
        if request.param == "redis":
            return f"redis://{HOST}:{request.getfixturevalue('redis_server').port}/0/{name}"
        return {
            "folder": "./folder",
            "sqlite": "sqlite:///store.db",
            "zip": "archive.zip",
            "seaweedfs": f"s3://{BUCKET}/{name}",
        }[request.param]

    def test_a_value_comes_and_goes(self, uri, capsys):
        assert run(["doctor", uri, "--write"]) == 0
        [line] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  writes")]
        assert line.endswith("a value was stored, read back and deleted")
        store = get_store(uri)
        assert list(store.iterate_keys()) == []
        assert list(store.backend.keys(".anystore/")) == []

    def test_a_store_that_gives_other_bytes_back(self, monkeypatch):
        monkeypatch.setattr(MemoryBackend, "get", lambda *_: b"another value")
        assert not found(diagnose("memory://doctor", write=True))["writes"].ok

    def test_a_folder_that_cannot_be_made(self, folder):
        (folder / "file").write_text("in the way")
        diagnosis = diagnose("./file/below", write=True)
        assert not diagnosis.ok


class TestFailures:
    @pytest.mark.parametrize(
        "uri",
        [
            "redis://{place}/0",
            "postgresql://me@{place}/db",
            "mysql://me@{place}/db",
            "http://{place}/files/",
            "sftp://me@{place}/folder",
            "ftp://{place}/folder",
            "webdav://{place}/folder",
        ],
    )
    def test_a_server_that_is_down(self, uri):
        place = f"{HOST}:{free_port()}"
        diagnosis = diagnose(uri.format(place=place))
        [*_, last] = diagnosis.findings
        assert last.name == "answers"
        assert last.ok is False
        assert HOST in last.text
        assert not diagnosis.ok

    @pytest.mark.parametrize("scheme", ["redis", "postgresql", "http", "s3"])
    def test_a_server_that_is_silent(self, scheme, folder, monkeypatch):
        with silent_server() as port:
            uri = f"{scheme}://{HOST}:{port}/0"
            if scheme == "s3":
                monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{HOST}:{port}")
                monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
                monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
                uri = "s3://bucket"
            command = [sys.executable, "-m", "anystore", "doctor", uri, "--timeout", "0.5", "--json"]
            monkeypatch.setenv("PYTHONPATH", str(ROOT))
            start = time.monotonic()
            ended = subprocess.run(command, check=False, capture_output=True, timeout=60)
        assert ended.returncode == 1, ended.stderr
        [*_, last] = json.loads(ended.stdout)["findings"]
        assert last["text"].startswith("no answer within 0.5 seconds")
        assert last["seconds"] < time.monotonic() - start

    @pytest.mark.parametrize("uri", ["s4://bucket", "redis://host:port/0", "memory://x?a=1", "s3://"])
    def test_a_uri_that_is_none(self, uri):
        diagnosis = diagnose(uri)
        assert [one.ok for one in diagnosis.findings] == [False]

    def test_a_timeout_that_is_none(self, capsys):
        assert run(["doctor", "memory://x", "--timeout", "0"]) == 1
        assert "--timeout" in capsys.readouterr().err

    def test_a_mistake_of_ours_is_no_finding(self, monkeypatch):
        monkeypatch.setattr(MemoryBackend, "exists", lambda *_: {}[0])
        with pytest.raises(KeyError):
            diagnose("memory://doctor")


def test_a_misspelt_variable_is_named(monkeypatch):
    monkeypatch.setenv("ANYSTORE_URL", "s3://bucket")
    diagnosis = diagnose("memory://doctor")
    assert "ANYSTORE_URL is read by nobody; ANYSTORE_URI is" in [finding.text for finding in diagnosis.findings]
    assert not diagnosis.ok


def test_json(capsys):
    assert run(["doctor", "memory://doctor", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] is True
    assert {one["name"] for one in told["findings"]} > {"opens", "answers", "features", "lists", "writes"}


@pytest.mark.parametrize("arguments", [["-s", "memory://named", "doctor"], ["doctor", "-s", "memory://named"]])
def test_the_store_as_of_every_command(arguments, capsys):
    assert run(arguments) == 0
    assert "memory://named" in capsys.readouterr().out


def test_two_stores_are_one_too_many():
    assert run(["doctor", "memory://a", "--store", "memory://b"]) == 2
