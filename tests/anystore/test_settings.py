"""ANYSTORE_* variables: read when asked for, checked, and kept from other stores."""

import json
import os
import subprocess
import sys

import pytest

from anystore import get_store
from anystore.errors import InvalidOption, ReadOnlyError, Unsupported
from anystore.settings import read_default_settings, read_settings, setting_sources


def test_nothing_said():
    settings = read_default_settings({})
    assert settings.uri == "./anystore-data"
    assert settings.serialization_mode == "auto"
    assert settings.raise_on_nonexist is True
    assert settings.default_ttl is None
    assert settings.backend_config == {}


def test_variables():
    settings = read_default_settings(
        {
            "ANYSTORE_URI": "memory://env",
            "ANYSTORE_SERIALIZATION_MODE": "raw",
            "ANYSTORE_RAISE_ON_NONEXIST": "no",
            "ANYSTORE_DEFAULT_TTL": "1.5",
            "ANYSTORE_BACKEND_CONFIG__KEY": "k",
            "ANYSTORE_BACKEND_CONFIG__CLIENT_KWARGS__REGION_NAME": "eu",
        }
    )
    assert (settings.uri, settings.serialization_mode) == ("memory://env", "raw")
    assert (settings.raise_on_nonexist, settings.default_ttl) == (False, 1.5)
    assert settings.backend_config == {"key": "k", "client_kwargs": {"region_name": "eu"}}
    assert "'k'" not in repr(settings)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ANYSTORE_RAISE_ON_NONEXIST", "maybe"),
        ("ANYSTORE_DEFAULT_TTL", "soon"),
        ("ANYSTORE_DEFAULT_TTL", "-1"),
        ("ANYSTORE_DEFAULT_TTL", "nan"),
    ],
)
def test_a_wrong_variable_is_named(name, value):
    with pytest.raises(InvalidOption, match=name):
        read_settings({name: value})


@pytest.mark.parametrize("suffix", [".json", ".yaml", ".yml"])
def test_the_store_file_stands_above_the_variables(tmp_path, suffix):
    path = tmp_path / f"store{suffix}"
    path.write_text(json.dumps({"uri": "memory://file", "readonly": True, "default_ttl": 5}))  # JSON is YAML
    settings = read_default_settings(
        {"ANYSTORE_FILE": str(path), "ANYSTORE_URI": "memory://env", "ANYSTORE_DEFAULT_TTL": "9"}
    )
    assert (settings.uri, settings.readonly, settings.default_ttl) == ("memory://file", True, 5.0)


@pytest.mark.parametrize(
    "text", ["[1]", '{"urii": "x"}', '{"uri": 5}', "{", '{"backend_config": 1}', '{"readonly": "perhaps"}']
)
def test_a_wrong_store_file_is_named(tmp_path, text):
    path = tmp_path / "store.json"
    path.write_text(text)
    with pytest.raises(InvalidOption, match=r"store\.json"):
        read_default_settings({"ANYSTORE_FILE": str(path)})


def test_a_store_file_nested_too_deeply_is_named(tmp_path):
    path = tmp_path / "store.yaml"
    path.write_text("[" * 1000)
    with pytest.raises(InvalidOption, match=r"store\.yaml cannot be read: it is nested too deeply"):
        read_default_settings({"ANYSTORE_FILE": str(path)})


def test_a_missing_store_file_is_named():
    with pytest.raises(InvalidOption, match=r"/nowhere\.json"):
        read_default_settings({"ANYSTORE_FILE": "/nowhere.json"})


def test_the_default_store(tmp_path, monkeypatch):
    path = tmp_path / "store.yaml"
    path.write_text(
        f"uri: {tmp_path}/files\nserialization_mode: json\nreadonly: true\nbackend_config:\n  durable: true\n"
    )
    monkeypatch.setenv("ANYSTORE_FILE", str(path))
    store = get_store()
    assert store.uri == f"{tmp_path}/files"
    with pytest.raises(ReadOnlyError):
        store.put("a", 1)
    get_store(readonly=False).put("a", [1])
    assert store.get("a") == [1]


def test_credentials_never_reach_another_store(monkeypatch):
    monkeypatch.setenv("ANYSTORE_BACKEND_CONFIG__PASSWORD", "hunter2")
    get_store("memory://other").put("a", 1)  # which would refuse the option
    with pytest.raises(InvalidOption, match="password") as caught:
        get_store()
    assert "hunter2" not in str(caught.value)


def test_a_ttl_of_the_environment_raises_for_the_default_store_only(tmp_path, monkeypatch):
    monkeypatch.setenv("ANYSTORE_DEFAULT_TTL", "60")
    get_store(tmp_path / "elsewhere").put("a", 1)
    assert get_store("memory://expiring-by-default").put("a", 1).expires is not None
    monkeypatch.setenv("ANYSTORE_URI", str(tmp_path / "default"))
    with pytest.raises(Unsupported, match="anycache"):
        get_store()


def test_arguments_stand_above_the_environment(monkeypatch):
    monkeypatch.setenv("ANYSTORE_RAISE_ON_NONEXIST", "false")
    monkeypatch.setenv("ANYSTORE_SERIALIZATION_MODE", "raw")
    assert get_store("memory://environment").get("missing") is None
    with pytest.raises(KeyError):
        get_store("memory://environment", raise_on_nonexist=True).get("missing")
    get_store("memory://environment").put("a", b"x")
    assert get_store("memory://environment").get("a") == b"x"
    assert get_store("memory://environment", serialization_mode="text").get("a") == "x"


def test_variables_of_other_programs_never_break_an_import():
    foreign = {
        "DEBUG": "app:*",
        "CACHE": "/x",
        "URI": "?",
        "MODEL": "1",
        "ANYSTORE_UNKNOWN": "1",
        "PATH": os.environ["PATH"],
    }
    code = "from anystore import get_store; get_store('memory://x').put('a', 1); print('fine')"
    done = subprocess.run([sys.executable, "-c", code], env=foreign, capture_output=True, text=True, check=True)
    assert done.stdout == "fine\n"


def test_a_wrong_mode_is_named():
    with pytest.raises(InvalidOption, match="ANYSTORE_SERIALIZATION_MODE"):
        read_settings({"ANYSTORE_SERIALIZATION_MODE": "jsn"})


def test_a_secret_of_the_environment_completes_the_options_of_the_file(tmp_path):
    path = tmp_path / "store.json"
    path.write_text('{"uri": "s3://b", "backend_config": {"region": "eu", "client": {"a": "1", "b": "1"}}}')
    environ = {
        "ANYSTORE_FILE": str(path),
        "ANYSTORE_BACKEND_CONFIG__SECRET": "s",
        "ANYSTORE_BACKEND_CONFIG__CLIENT__B": "2",
    }
    settings = read_default_settings(environ)
    assert settings.backend_config == {"region": "eu", "secret": "s", "client": {"a": "1", "b": "2"}}
    assert setting_sources(environ)["backend_config"] == f"ANYSTORE_FILE={path}, ANYSTORE_BACKEND_CONFIG__*"
