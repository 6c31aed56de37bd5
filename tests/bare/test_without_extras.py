"""Where no extra is installed, the core works, and everything else says what to install."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from anystore import get_store
from anystore.errors import MissingExtra

LIBRARIES = ["dagster", "pandas", "polars", "pyarrow", "pycurl", "rich", "selectolax", "typer", "yaml"]


@pytest.fixture(autouse=True, scope="module")
def no_extras():
    """Fail where an extra is installed: the tests would hold for nothing."""
    found = [name for name in LIBRARIES if importlib.util.find_spec(name)]
    assert found == [], "these tests run in an environment without extras: make test"


@pytest.mark.parametrize("scheme", ["memory", "folder"])
def test_values_come_back(scheme, tmp_path):
    store = get_store("memory://bare" if scheme == "memory" else str(tmp_path / "values"))
    for key, value in {"a/b": "text", "a/c": {"n": [1, 2.5, None]}, "d": b"\xff\xfe"}.items():
        store.put(key, value)
        assert store.get(key) == value
    assert sorted(store.iterate_keys()) == ["a/b", "a/c", "d"]
    with store.open("a/b", "r") as file:
        assert file.read() == "text"
    store.delete("a/b")
    assert not store.exists("a/b")


def test_a_listing_needs_http():
    with pytest.raises(MissingExtra, match=r"pip install 'anystore-dagster\[http\]'"):
        list(get_store("http://127.0.0.1:9/files").iterate_keys())


@pytest.mark.parametrize("mode", ["parquet", "arrow"])
def test_tables_need_arrow(mode):
    with pytest.raises(MissingExtra, match=r"pip install 'anystore-dagster\[arrow\]'"):
        get_store("memory://bare").get("table", serialization_mode=mode)


def test_a_store_file_in_yaml_needs_yaml(tmp_path, monkeypatch):
    (tmp_path / "store.yml").write_text("uri: memory://bare\n")
    monkeypatch.setenv("ANYSTORE_FILE", str(tmp_path / "store.yml"))
    with pytest.raises(MissingExtra, match=r"pip install 'anystore-dagster\[yaml\]'"):
        get_store()


@pytest.mark.parametrize(
    "command",
    [[sys.executable, "-m", "anystore"], [Path(sys.executable).with_name("anystore")]],
    ids=["-m", "script"],
)
def test_the_command_line_needs_cli(command):
    run = subprocess.run([*command, "keys"], check=False, capture_output=True, text=True)
    assert run.returncode != 0
    assert "pip install 'anystore-dagster[cli]'" in run.stderr
    assert "Traceback" not in run.stderr
    assert run.stdout == ""


def test_dagster_needs_dagster():
    with pytest.raises(MissingExtra, match=r"pip install 'anystore-dagster\[dagster\]'"):
        from anystore_dagster import AnystoreResource  # noqa: F401, PLC0415
