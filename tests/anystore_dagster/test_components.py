"""Components, as `dg` finds, scaffolds, checks and loads them in a project that was made a moment ago."""

import json
import os
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster.components.testing import create_defs_folder_sandbox

from anystore import get_store
from anystore_dagster import AnystoreIOManager, AnystoreResource
from anystore_dagster.components import AnystoreIOManagerComponent, AnystoreResourceComponent

SECRET = "hunter2-and-more"
NAMES = ["AnystoreIOManagerComponent", "AnystoreResourceComponent"]
PYPROJECT = """
[project]
name = "fresh"
version = "0.1.0"
requires-python = ">=3.11"

[tool.dg]
directory_type = "project"

[tool.dg.project]
root_module = "fresh"
"""
DEFINITIONS = """
from pathlib import Path
from dagster import definitions, load_from_defs_folder

@definitions
def defs():
    return load_from_defs_folder(path_within_project=Path(__file__).parent)
"""
ASSETS = """
import dagster as dg
from anystore_dagster import AnystoreResource

@dg.asset
def number() -> int:
    return 7

@dg.asset
def copied(number: int, files: AnystoreResource) -> None:
    files.store.put("copied", number)
"""


class Project:
    """A project of `dg`, in a folder of its own."""

    def __init__(self, root: Path):
        self.root = root
        self.defs = root / "src/fresh/defs"
        self.defs.mkdir(parents=True)
        (root / "pyproject.toml").write_text(PYPROJECT)
        (root / "src/fresh/__init__.py").touch()
        (root / "src/fresh/definitions.py").write_text(DEFINITIONS)
        (root / "home").mkdir()
        (root / "home/dagster.yaml").write_text("telemetry:\n  enabled: false\n")

    def dg(self, *words, check=True, **variables):
        """Run `dg` as a user does, in an environment without the user's own files."""
        done = subprocess.run(
            [Path(sys.executable).with_name("dg"), *words],
            cwd=self.root, check=False, capture_output=True, text=True,
            env=os.environ | {
                "PYTHONPATH": str(self.root / "src"), "HOME": str(self.root / "home"), "COLUMNS": "200",
                "DAGSTER_HOME": str(self.root / "home"), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            } | variables,
        )  # fmt: skip
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


def test_dg_lists_them(project):
    items = json.loads(project.dg("list", "components", "--json").stdout)
    listed = {item["key"]: item for item in (items["items"] if isinstance(items, dict) else items)}  # as it was in 1.12
    for name in NAMES:
        assert len(listed[f"anystore_dagster.components.{name}"]["summary"]) > 20


def test_what_dg_scaffolds_loads_and_runs(project):
    project.dg("scaffold", "defs", NAMES[1], "files", "--uri", "./data", "--resource-key", "files")
    project.dg("scaffold", "defs", f"anystore_dagster.components.{NAMES[0]}", "io")
    assert yaml.safe_load((project.defs / "io/defs.yaml").read_text()) == {
        "type": "anystore_dagster.components.AnystoreIOManagerComponent",
        "attributes": {"resource_key": "io_manager", "uri": "./anystore-data"},
    }
    (project.defs / "assets.py").write_text(ASSETS)
    assert "YAML validated successfully" in project.dg("check", "defs").stdout
    project.dg("launch", "--assets", "*")
    assert get_store(project.root / "data").get("copied") == 7
    assert list(get_store(project.root / "anystore-data").iterate_values()) == [7]


def test_scaffolding_refuses_a_password(project):
    done = project.dg("scaffold", "defs", NAMES[1], "files", "--uri", f"redis://me:{SECRET}@host/0", check=False)
    assert done.returncode != 0
    assert "{env: STORE_URI}" in done.stderr + done.stdout
    assert not list(project.defs.rglob("defs.yaml"))


def test_dg_checks_the_attributes(project):
    (project.defs / "files").mkdir()
    file = project.defs / "files/defs.yaml"
    written = {"type": "anystore_dagster.components.AnystoreResourceComponent"}
    for attributes, told in [
        ({"url": "./data"}, "url"),
        ({"password": {"environment": "X"}}, "password"),
    ]:
        file.write_text(yaml.safe_dump({**written, "attributes": attributes}))
        done = project.dg("check", "yaml", check=False)
        assert done.returncode != 0
        assert told in done.stdout + done.stderr
    attributes = {"password": {"env": "STORE_PASSWORD"}, "username": "{{ env.STORE_USER }}", "uri": "redis://host/0"}
    file.write_text(yaml.safe_dump({**written, "attributes": attributes}))
    project.dg("check", "yaml", STORE_USER="me")


def test_dg_checks_that_a_template_can_work(project):
    (project.defs / "io").mkdir()
    attributes = {"uri": "./data", "key_template": "{nothing}"}
    written = {"type": "anystore_dagster.components.AnystoreIOManagerComponent", "attributes": attributes}
    (project.defs / "io/defs.yaml").write_text(yaml.safe_dump(written))
    done = project.dg("check", "defs", check=False)
    assert done.returncode != 0
    assert "{nothing}" in done.stdout + done.stderr


@pytest.mark.parametrize("component", [AnystoreResourceComponent, AnystoreIOManagerComponent])
def test_every_attribute_is_described(component):
    schema = component.get_model_cls().model_json_schema()
    assert [name for name, field in schema["properties"].items() if not field.get("description")] == []
    kind = AnystoreResource if component is AnystoreResourceComponent else AnystoreIOManager
    assert set(schema["properties"]) == set(kind.model_fields) - {"store"} | {"resource_key"}
    assert component.get_spec().description


def load(component, attributes):
    """Load one component from YAML, and give its resource."""
    with create_defs_folder_sandbox() as sandbox:
        body = {"type": f"anystore_dagster.components.{component.__name__}", "attributes": attributes}
        path = sandbox.scaffold_component(component_cls=component, defs_yaml_contents=body)
        with sandbox.load_component_and_build_defs(defs_path=path) as (loaded, defs):
            return loaded, defs.resources[attributes["resource_key"]]


def test_what_the_environment_gave_is_taken_out(monkeypatch):
    monkeypatch.setenv("TEST_SECRET", SECRET)
    loaded, resource = load(
        AnystoreResourceComponent,
        {
            "resource_key": "files",
            "uri": "https://host/files/?token={{ env.TEST_SECRET }}",
            "username": "{{ env.TEST_SECRET }}",
            "password": "{{ env.TEST_SECRET }}",
            "backend_config": {
                "headers": {"X-Anything": "a {{ env.TEST_SECRET }}", "X-Named": {"env": "TEST_SECRET"}, "X-Plain": "b"}
            },
        },
    )
    shown = (
        repr(loaded) + repr(resource) + repr(resource.model_dump()) + repr(dg.Definitions(resources={"a": resource}))
    )
    assert SECRET not in shown
    assert "token=***" in shown
    backend = resource.store.backend
    assert SECRET not in backend.uri
    assert (backend.client.username, backend.client.password) == (SECRET, SECRET)
    assert dict(backend.client.headers) == {"X-Anything": f"a {SECRET}", "X-Named": SECRET, "X-Plain": "b"}


def test_an_io_manager_with_everything(monkeypatch, tmp_path):
    monkeypatch.setenv("TEST_FOLDER", str(tmp_path / "production"))
    get_store(tmp_path / "production").put("number.json", 5)
    _, manager = load(
        AnystoreIOManagerComponent,
        {
            "resource_key": "io_manager", "uri": str(tmp_path / "development"), "key_template": "{asset}.json",
            "fallback_store": {"uri": {"env": "TEST_FOLDER"}}, "versions_to_keep": 2, "write_if_changed": True,
            "retries": 1,
        },
    )  # fmt: skip

    @dg.asset
    def doubled(number: int) -> int:
        return 2 * number

    number = dg.AssetSpec("number")
    with dg.DagsterInstance.ephemeral() as instance:
        done = dg.materialize([doubled, number], resources={"io_manager": manager}, instance=instance)
    assert done.success
    assert get_store(tmp_path / "development").get("doubled.json") == 10
    assert (manager.versions_to_keep, manager.write_if_changed, manager.retries) == (2, True, 1)
