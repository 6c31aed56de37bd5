"""The backend of the examples, which is no part of the package: it passes the suite, and its scheme opens it."""

import pickle
import sqlite3
import subprocess
import sys
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex

import pytest
from table_backend import TABLE, TableBackend

from anystore import BackendError, InvalidOption, InvalidUri, MissingExtra, get_store, mirror
from anystore.backends.registered import GROUP
from anystore.testing import BackendSuite

EXAMPLE = Path(__file__).parents[2] / "examples" / "custom_backend"


class TestTable(BackendSuite):
    @pytest.fixture
    def backend(self, tmp_path):
        return TableBackend(str(tmp_path / "values.db"))

    def _run(self, backend, statement, *values):
        with sqlite3.connect(backend._path, timeout=60) as connection:
            connection.execute(TABLE)
            rows = connection.execute(statement, values).fetchall()
        connection.close()
        return rows

    def place(self, backend, key, data):
        row = (key, token_hex(4), str(datetime.now(UTC)), data)
        self._run(backend, "insert or replace into kept values (?, ?, ?, ?)", *row)

    def peek(self, backend, key):
        return self._run(backend, "select data from kept where key = ?", key)[0][0]

    def remove(self, backend, key):
        self._run(backend, "delete from kept where key = ?", key)


def install(folder, lines):
    """Write what pip writes of a package: its name, and its entry points."""
    info = folder / "table_backend-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: table-backend\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text("\n".join([f"[{GROUP}]", *lines, ""]))


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Put the example where pip would put it, with the entry points of its own pyproject.toml."""
    points = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]["entry-points"][GROUP]
    folder = tmp_path / "site"
    folder.mkdir()
    install(folder, [f"{name} = {value}" for name, value in points.items()])
    monkeypatch.syspath_prepend(folder)
    return folder


def test_scheme_opens_the_backend(installed, tmp_path):
    store = get_store(f"table://{tmp_path}/values.db")
    assert isinstance(store.backend, TableBackend)
    store.put("reports/may", {"pages": 3})
    assert store.get("reports/may") == {"pages": 3}
    assert list(store.iterate_keys(glob="**/m*")) == ["reports/may"]
    with store.lock("nightly") as lock:
        assert lock.held
    assert get_store(f"table://{tmp_path}/values.db").backend is store.backend
    assert pickle.loads(pickle.dumps(store)).get("reports/may") == {"pages": 3}
    report = mirror(store, tmp_path / "copy")
    assert report.complete
    assert get_store(tmp_path / "copy").get("reports/may") == {"pages": 3}


def test_command_line_opens_it_too(installed, tmp_path):
    def run(*words):
        argv = [sys.executable, "-m", "anystore", "--store", f"table://{tmp_path}/values.db", *words]
        places = [str(installed), str(EXAMPLE), str(EXAMPLE.parents[1])]
        env = {"PYTHONPATH": ":".join(places), "PATH": "", "HOME": str(tmp_path)}
        return subprocess.run(argv, env=env, capture_output=True, text=True, check=True, timeout=60).stdout

    run("put", "a", "five")
    assert run("get", "a") == "five"


def test_options_and_folders_that_are_not_there_are_refused(installed, tmp_path):
    with pytest.raises(InvalidOption, match="durable"):
        get_store(f"table://{tmp_path}/values.db", backend_config={"durable": True})
    with pytest.raises(BackendError, match="may be written"):
        get_store(f"table://{tmp_path}/no/values.db").get("a")


@pytest.mark.parametrize(
    ("lines", "error", "words"),
    [
        (["other = no_such_library.x:from_uri"], MissingExtra, "other:// needs no_such_library"),
        (["other = table_backend:no_such_name"], InvalidUri, "table_backend:no_such_name, which is not there"),
        (["other = builtins:print"], InvalidUri, "gave NoneType, and no Backend"),
    ],
)
def test_entry_point_that_gives_no_backend_is_told(tmp_path, monkeypatch, lines, error, words):
    install(tmp_path, lines)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(error, match=words):
        get_store("other://host/x")


def test_scheme_of_two_packages_is_refused(installed, tmp_path, monkeypatch):
    (tmp_path / "second").mkdir()
    other = tmp_path / "second" / "other-1.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1\n")
    (other / "entry_points.txt").write_text(f"[{GROUP}]\ntable = other:from_uri\n")
    monkeypatch.syspath_prepend(tmp_path / "second")
    with pytest.raises(InvalidUri, match=r"several packages: other:from_uri, table_backend:from_uri; uninstall one"):
        get_store("table:///x")


def test_scheme_of_ours_is_never_another_package(tmp_path, monkeypatch):
    install(tmp_path, ["memory = builtins:print", "fsspec+memory = builtins:print"])
    monkeypatch.syspath_prepend(tmp_path)
    assert get_store("memory://ours").uri == "memory://ours"
