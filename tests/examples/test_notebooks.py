"""The example notebooks run from top to bottom, on real servers, and show what they promise."""

import os
import shutil
from pathlib import Path

import nbformat
import psycopg
import pytest
from nbclient import NotebookClient

from tests.object_servers import BUCKET
from tests.servers import nginx

EXAMPLES = Path(__file__).parents[2] / "examples"
NOTEBOOKS = sorted((EXAMPLES / "notebooks").glob("*.ipynb"))
CELL_SECONDS = 120


@pytest.fixture
def store_uri(request, monkeypatch):
    """Give the store that a test names: None is the notebook's own."""
    name = request.param
    unique = f"notebook-{os.urandom(4).hex()}"
    if name == "s3":
        server = request.getfixturevalue("seaweedfs_server")
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", server.user)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", server.password)
        return f"s3://{BUCKET}/{unique}"
    if name == "postgres":
        server = request.getfixturevalue("postgres_server")
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{unique}"')
        return server.url_with(database=unique)
    if name == "redis":
        return f"redis://127.0.0.1:{request.getfixturevalue('redis_server').port}/0/{unique}"
    return None


def run(name, tmp_path, monkeypatch, **environment):
    """Run a notebook in a folder of its own, and give its cells."""
    shutil.copytree(EXAMPLES / "notebooks", tmp_path / "notebooks")
    shutil.copytree(EXAMPLES / "document_pipeline", tmp_path / "document_pipeline")
    monkeypatch.setenv("PYTHONPATH", str(EXAMPLES.parent))
    for variable, value in environment.items():
        if value is not None:
            monkeypatch.setenv(variable, value)
    notebook = nbformat.read(tmp_path / "notebooks" / f"{name}.ipynb", as_version=4)
    resources = {"metadata": {"path": str(tmp_path / "notebooks")}}
    NotebookClient(notebook, timeout=CELL_SECONDS, kernel_name="python3", resources=resources).execute()
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def find(cells, source):
    """Give the one cell whose source has a text."""
    [cell] = [cell for cell in cells if source in cell.source]
    return cell


def shown(cell, kind="text/plain"):
    """Give what a cell shows, but for what it prints."""
    return "\n".join(output["data"].get(kind, "") for output in cell.outputs if "data" in output)


def printed(cell):
    return "".join(output["text"] for output in cell.outputs if output.output_type == "stream")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_stored_without_what_they_showed(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert (cell.outputs, cell.execution_count, cell.metadata) == ([], None, {})
    assert set(notebook.metadata) == {"kernelspec", "language_info"}


def test_there_are_three():
    assert [path.stem for path in NOTEBOOKS] == ["collect_documents", "first_store", "team_cache"]


@pytest.mark.parametrize("store_uri", ["own", "postgres", "s3"], indirect=True)
def test_a_first_store(store_uri, tmp_path, monkeypatch):
    cells = run("first_store", tmp_path, monkeypatch, NOTEBOOK_STORE=store_uri)
    assert shown(find(cells, 'store.put("greeting"')) == "'hello'"
    tree = shown(find(cells, "for year in"), "text/html")
    assert ("readings/" in tree, "<details" in tree) == (True, True)
    assert "p%40ss" not in str(cells)
    assert "readings/2024/02.csv" in shown(find(cells, "store.entries("), "text/html")
    assert "readings/2023/" in shown(find(cells, "usage(depth=2)"), "text/html")
    assert "█" in printed(find(cells, "print(store.usage"))
    assert shown(find(cells, "100_000")) == "('line 0', 99999)"
    assert shown(find(cells, "the power is out")) == "1088890"
    assert shown(find(cells, "if_version=seen")) == "2"
    assert shown(find(cells, "TaskGroup")) == "['tasks/07', 'tasks/49']"


@pytest.mark.parametrize("store_uri", ["own", "redis"], indirect=True)
def test_collect_documents(store_uri, tmp_path, monkeypatch):
    listing = None
    with nginx(EXAMPLES / "document_pipeline" / "collection") as server:
        if store_uri is not None:
            listing = server.url
        cells = run("collect_documents", tmp_path, monkeypatch, NOTEBOOK_STORE=store_uri, NOTEBOOK_LISTING=listing)
    crawled = find(cells, "progress=True")
    assert "16/16" in shown(crawled)  # the bar
    assert "<pre" in shown(crawled, "text/html")
    assert "ipywidgets" not in printed(crawled)
    assert "complete" in shown(crawled, "text/html")
    assert "unchanged=16" in shown(find(cells, "report = crawl"))
    assert "manuals/" in shown(find(cells, "usage(depth=2)"), "text/html")
    assert "application/pdf" in shown(find(cells, "groupby"), "text/html")
    assert "Constitution" in shown(find(cells, "liberty"))
    assert printed(find(cells, "local_path")).startswith(".pdf b'%PDF-")


@pytest.mark.parametrize("store_uri", ["own", "postgres", "redis"], indirect=True)
def test_team_cache(store_uri, tmp_path, monkeypatch):
    cells = run("team_cache", tmp_path, monkeypatch, NOTEBOOK_STORE=store_uri)
    assert shown(find(cells, "time.sleep")) == "(True, [(2024, 'all')])"
    assert shown(find(cells, "ThreadPoolExecutor(8)")) == "(8, [(2023, 'north')])"
    assert printed(find(cells, "colleague = ")).startswith("12000 CacheStats(hits=1, misses=0")
    assert shown(find(cells, "invalidate(2024)")) == "[(2024, 'all')]"
    assert shown(find(cells, "exchange_rate")) == "([1.0, 1.08], ['EUR', 'USD'])"
    assert "runs without its cache" in printed(find(cells, "still_works"))
    assert "computed, without a cache" in shown(find(cells, "still_works"))
    assert "p%40ss" not in str(cells)
