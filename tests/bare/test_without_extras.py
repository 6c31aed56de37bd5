"""Where no extra is installed, the core works, and everything else says what to install."""

import asyncio
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from anystore import anycache, get_store, mirror, read_uri, write_uri
from anystore.errors import MissingExtra

LIBRARIES = [
    "dagster",
    "lz4",
    "pandas",
    "polars",
    "pyarrow",
    "pycurl",
    "rich",
    "selectolax",
    "typer",
    "yaml",
    "zstandard",
]


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


def test_functions_are_cached(tmp_path):
    calls = []

    @anycache(uri=str(tmp_path), name="bare")
    def run(a):
        calls.append(a)
        return (a, {b"x"})

    assert run(1) == run(1) == (1, {b"x"})
    assert calls == [1]


def test_stores_are_mirrored(tmp_path):
    source = get_store("memory://bare-mirror")
    source.put_many({"a/b": "text", "c": "more"})
    assert mirror(source, tmp_path / "copy", verify="full", progress=True).copied == 2
    assert mirror(source, tmp_path / "copy", delete=True).skipped == 2


def test_a_listing_needs_http():
    with pytest.raises(MissingExtra, match=r"pip install 'anystore-dagster\[http\]'"):
        list(get_store("http://127.0.0.1:9/files").iterate_keys())


def test_a_store_shows_itself_and_is_awaited(tmp_path):
    store = get_store(tmp_path)
    asyncio.run(store.aio.put("a/b", "hello"))
    assert "a/" in store._repr_html_()
    assert "a/b" in store.entries()._repr_html_()
    assert store.usage().bytes == 5
    with pytest.raises(MissingExtra, match=r"pip install 'anystore-dagster\[arrow\]'"):
        store.to_arrow()


@pytest.mark.parametrize("name", ["gz", "bz2", "xz"])
def test_the_standard_library_compresses(name, tmp_path):
    store = get_store(tmp_path)
    with store.open(f"a.{name}", "w", compression="infer") as file:
        file.write("hello")
    assert list(store.stream(f"a.{name}", compression=name)) == ["hello"]
    write_uri(tmp_path / "plain", "hello")
    with get_store(f"{tmp_path}").local_path("plain") as path:
        assert read_uri(path) == "hello"


@pytest.mark.parametrize("name", ["zst", "lz4"])
def test_others_need_compression(name):
    with pytest.raises(MissingExtra, match=r"pip install 'anystore-dagster\[compression\]'"):
        get_store("memory://bare").open("a", "w", compression=name)


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


def test_the_outside_half_of_pipes_needs_dagster_pipes():
    with pytest.raises(MissingExtra, match=r"pip install 'anystore-dagster\[pipes\]'"):
        from anystore_dagster import PipesAnystoreMessageWriter  # noqa: F401, PLC0415
