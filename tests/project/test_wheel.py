"""What is built has both packages and nothing else, and works where it is alone; `make wheels` tries each extra."""

import subprocess
import tarfile
import zipfile
from email.parser import Parser

import pytest

from tests.built import ROOT, build, install, run

ALONE = """
import sys
from anystore import MissingExtra, get_store, mirror

store = get_store("memory://alone")
store.put("a/b", {"n": [1, 2.5, None, "text"]})
assert mirror(store, "./values").complete
assert get_store("./values").get("a/b") == {"n": [1, 2.5, None, "text"]}
assert not {"dagster", "sqlalchemy", "typer"} & set(sys.modules)
for uri, extra in {"sqlite:///values.db": "sql", "s3://bucket": "s3", "https://host/": "http"}.items():
    try:
        get_store(uri).exists("a")
    except MissingExtra as error:
        assert f"pip install 'anystore-dagster[{extra}]'" in str(error), error
    else:
        raise AssertionError(uri)
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return build(tmp_path_factory.mktemp("built"))


@pytest.fixture(scope="module")
def tracked():
    """Give the files of both packages as the repository has them."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "anystore", "anystore_dagster"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return {name for name in listed.stdout.split() if (ROOT / name).exists()}


def test_wheel_is_both_packages_and_nothing_else(built, tracked):
    with zipfile.ZipFile(built[1]) as wheel:
        names = set(wheel.namelist())
        [info] = {name.partition("/")[0] for name in names} - {"anystore", "anystore_dagster"}
        meta = Parser().parsestr(wheel.read(f"{info}/METADATA").decode())
        points = wheel.read(f"{info}/entry_points.txt").decode()
    assert {name for name in names if not name.startswith(info)} == tracked
    assert {"anystore/py.typed", "anystore/__init__.pyi", "anystore_dagster/py.typed"} <= names
    assert f"{info}/licenses/LICENSE" in names
    assert "anystore = anystore.__main__:main" in points
    assert meta["License-Expression"] == "Apache-2.0"
    assert meta["Requires-Python"] == ">=3.11"
    assert {f"Programming Language :: Python :: 3.{minor}" for minor in (11, 12, 13)} <= set(meta.get_all("Classifier"))
    assert "# anystore-dagster" in meta.get_payload()


def test_sdist_builds_and_tests_itself(built, tracked):
    with tarfile.open(built[0]) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    wanted = {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "Makefile", ".ci/venv"}
    assert tracked | wanted | {"constraints.txt", "tests/conftest.py", "docs/index.md"} <= names
    foreign = (".venv", ".node", "site/", "dist/", "anystore-data")
    assert [name for name in names if name.startswith(foreign) or "__pycache__" in name] == []


def test_wheel_works_alone(built, tmp_path):
    programs = install(built[1], tmp_path / "environment")
    run(programs / "python", "-c", ALONE, folder=tmp_path)
    assert "anystore-dagster[cli]" in run(programs / "anystore", "--help", folder=tmp_path, code=1)
