"""The settings that the documentation shows are read by what they are written for: components, Dagster, Celery."""

import ast
import re
import textwrap
import tomllib

import pytest
import yaml
from dagster._config import process_config

import anystore_dagster
from anystore_dagster import components
from tests.project.console_pages import ROOT

FENCE = re.compile(r"^(?P<indent> *)```(?P<kind>\w+)\n(?P<text>.*?)^(?P=indent)``` *$", re.MULTILINE | re.DOTALL)
TYPE_OF_PAGE = {"dagster-crawl.md": "AnystoreCrawlComponent"}  # for a block that goes on with the one before


def blocks(kind):
    return [
        pytest.param(page, textwrap.dedent(block["text"]), id=f"{page.stem}-{number}")
        for page in sorted((ROOT / "docs").rglob("*.md"))
        for number, block in enumerate(FENCE.finditer(page.read_text()))
        if block["kind"] == kind
    ]


@pytest.mark.parametrize(("page", "text"), blocks("yaml"))
def test_yaml(page, text, monkeypatch):
    monkeypatch.setenv("STORE_URI", "./data")
    settings = yaml.safe_load(text)
    if "compute_logs" in settings:
        logs = settings["compute_logs"]
        kind = getattr(anystore_dagster, logs["class"])
        checked = process_config({"config": kind.config_type()}, {"config": logs["config"]})
        assert checked.success, checked.errors
    else:
        name = settings.get("type", TYPE_OF_PAGE.get(page.name, "")).rpartition(".")[2]
        getattr(components, name).resolve_from_yaml(yaml.safe_dump(settings["attributes"]))


@pytest.mark.parametrize(("page", "text"), blocks("ini"))
def test_settings_in_python(page, text):
    assert [type(line) for line in ast.parse(text).body] == [ast.Assign] * len(ast.parse(text).body)


@pytest.mark.parametrize(("page", "text"), blocks("toml"))
def test_an_entry_point_is_the_one_of_the_example(page, text):
    example = tomllib.loads((ROOT / "examples/custom_backend/pyproject.toml").read_text())["project"]
    assert tomllib.loads(text)["project"]["entry-points"] == example["entry-points"]


def test_no_kind_of_block_is_overlooked():
    """Each kind is run or read by a test: ``test_documents_run``, ``test_consoles_run``, ``test_tutorial``, or here."""
    kinds = {
        re.sub(r"[{}.]", "", line.strip().removeprefix("```")).split()[0]
        for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
        if page.name != "errors.md" or page.parent.name != "docs"  # whose messages are compared by a test of its own
        for line in page.read_text().splitlines()
        if re.match(r" *```\S", line) and "title=" not in line
    }
    assert kinds <= {"python", "console", "yaml", "ini", "toml"}
