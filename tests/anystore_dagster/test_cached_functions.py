"""``anycache`` with a resource: what one run has computed, other runs, steps and processes find."""

import json
import os
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from anystore import anycache, get_store
from anystore.errors import InvalidOption
from anystore_dagster import AnystoreResource
from tests.places import make_place

ROOT = Path(__file__).parents[2]

PIPELINE = """
import json
import os
import dagster as dg
from anystore import anycache
from anystore_dagster import AnystoreResource

config = json.loads(os.environ["CACHE_CONFIG"])
cache = AnystoreResource(uri=dg.EnvVar("CACHE_URI"), backend_config=config, prefix="cache")

def note(text):
    with open(os.environ["NOTES"], "a") as notes:
        notes.write(text + "\\n")

@anycache(store=cache.open_store)
def fetch(number: int) -> tuple[int, str]:
    note(f"fetch {number}")
    return number, "fetched"

def plain(number: int) -> bytes:
    note(f"plain {number}")
    return bytes([number])

@dg.op
def first(cache: AnystoreResource):
    assert fetch(1) == (1, "fetched")
    assert anycache(store=cache.store)(plain)(7) == b"\\x07"

@dg.op
def second(cache: AnystoreResource):
    assert fetch(1) == (1, "fetched")
    assert anycache(store=cache.store)(plain)(7) == b"\\x07"

@dg.job(resource_defs={"cache": cache})
def work():
    first()
    second()
"""
RUN = """
import dagster as dg, pipeline

if __name__ == "__main__":  # the executor's processes import this file, too
    with dg.DagsterInstance.get() as instance:
        assert dg.execute_job(dg.reconstructable(pipeline.work), instance=instance).success
"""


@pytest.mark.parametrize("kind", ["sqlite", "postgres", "redis"])
def test_equal_calls_are_computed_once_in_all_runs_steps_and_processes(kind, request, tmp_path):
    uri, config = make_place(kind, request.getfixturevalue, tmp_path)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    (tmp_path / "pipeline.py").write_text(PIPELINE)
    (tmp_path / "run.py").write_text(RUN)
    environment = os.environ | {
        "CACHE_URI": uri,
        "CACHE_CONFIG": json.dumps(config),
        "NOTES": str(tmp_path / "notes"),
        "DAGSTER_HOME": str(tmp_path / "home"),
        "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}",
    }
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "run.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    assert sorted((tmp_path / "notes").read_text().splitlines()) == ["fetch 1", "plain 7"]
    assert all(key.startswith("cache/") for key in get_store(uri, backend_config=config or None).iterate_keys())


def test_a_variable_is_read_when_the_function_is_called(tmp_path, monkeypatch):
    cache = AnystoreResource(uri=dg.EnvVar("CACHE_URI_OF_TEST"))

    @anycache(store=cache.open_store, on_error="raise")
    def fetch(number: int) -> int:
        return number

    with pytest.raises(InvalidOption, match="CACHE_URI_OF_TEST"):
        fetch(1)
    monkeypatch.setenv("CACHE_URI_OF_TEST", str(tmp_path))
    assert fetch(1) == fetch(1) == 1
    assert fetch.cache.stats().hits == 1


def test_another_resource_in_a_test_or_in_development_is_another_cache(tmp_path):
    calls = []

    def fetch(number: int) -> int:
        calls.append(number)
        return number

    @dg.asset
    def report(cache: AnystoreResource) -> int:
        return anycache(store=cache.store, name="fetch")(fetch)(1)

    for name in ("production", "development", "production"):
        assert dg.materialize([report], resources={"cache": AnystoreResource(uri=str(tmp_path / name))}).success
    assert calls == [1, 1]
