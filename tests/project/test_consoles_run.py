"""What the documentation types into a shell is run, page by page; what a machine cannot do here says ``no-run``.

The tutorial has a test of its own. A page that names servers gets those of the tests. ``pip``, ``make`` and ``dg`` are
not run, but the extras, targets and components that they name exist; the tests of the components run ``dg``.
"""

import contextlib
import re
import sys
import textwrap
import tomllib
import uuid

import pytest

from anystore_dagster import components
from tests.object_servers import BUCKET
from tests.project.console_pages import ROOT, Shell, commands, follow

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
TUTORIAL = ROOT / "docs" / "tutorial" / "scheduled-crawl.md"
FENCE = re.compile(r"^(?P<indent> *)```(?P<info>[^`\n]*)\n(?P<code>.*?)^(?P=indent)``` *$", re.MULTILINE | re.DOTALL)
NOT_HERE = ("pip ", "make ", "dg ", "python -m tests.benchmarks.")
LISTING = "https://example.org/files/"
IMPORT = re.compile(r"^ *(?:import|from) (?P<module>\w+)", re.MULTILINE)
INSTALL = re.compile(r"pip install [^\n`]*")
# What the core brings, what pages of Dagster are about, and a file of the page's own example.
GIVEN = {"anystore", "anystore_dagster", "dagster", "dagster_pipes", "fsspec", "pydantic", "table_backend"}
# What is installed under another name; an import that is not here has the name of its package.
INSTALLED_AS = {"pyarrow": "(arrow|all)", "upath": "universal-pathlib"}


def blocks(page, *, run):
    """Give the blocks of a page that are typed into a shell."""
    for block in FENCE.finditer(page.read_text()):
        words = [word.lstrip(".") for word in block["info"].strip("{}").split()]
        assert not {"sh", "bash", "shell"} & set(words), f"{page}: write ```console, and $ before each command"
        if words[:1] == ["console"] and ("no-run" not in words) is run:
            yield textwrap.dedent(block["code"])


def lines_of(page, *, run):
    return [command for block in blocks(page, run=run) for command, _ in commands(block)]


def pages():
    """Give the pages with commands that can be run here."""
    for page in PAGES:
        if page != TUTORIAL and any(not line.startswith(NOT_HERE) for line in lines_of(page, run=True)):
            yield page


@pytest.fixture
def shell(tmp_path, nginx_server, seaweedfs_server):
    """Give a shell whose folder has what the pages take for given, and whose cloud is on this machine."""
    folder = tmp_path / "typed"
    (folder / "photos").mkdir(parents=True)
    (folder / "photos" / "sea.jpg").write_bytes(b"a picture")
    (folder / "report.pdf").write_bytes(b"a report")
    (folder / "names.txt").write_text("b\na\n")
    (folder / "reports").mkdir()
    (folder / "reports" / "may.txt").write_text("fine")
    (folder / "reports" / "june.txt").write_text("better, by far")
    for name in ("a b.pdf", "report.pdf"):
        (nginx_server.root / name).write_bytes(b"a document")
    cloud = {
        "AWS_ACCESS_KEY_ID": seaweedfs_server.user,
        "AWS_SECRET_ACCESS_KEY": seaweedfs_server.password,
        "AWS_ENDPOINT_URL": seaweedfs_server.url,
    }
    with contextlib.closing(Shell(folder, PYTHONPATH=str(ROOT), **cloud)) as shell:
        yield shell


@pytest.mark.parametrize("page", list(pages()), ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_can_be_typed(page, shell, nginx_server):
    bucket, ran = f"s3://{BUCKET}/{uuid.uuid4().hex}", 0
    for block in blocks(page, run=True):
        if not block.startswith(tuple(f"$ {start}" for start in NOT_HERE)):
            ran += follow(shell, block.replace("s3://bucket", bucket).replace(LISTING, nginx_server.url))
    assert ran


def test_what_is_made_installed_or_measured_is_there():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    makefile = (ROOT / "Makefile").read_text()
    for page in PAGES:
        for run in (True, False):
            for line in lines_of(page, run=run):
                if named := re.search(r"'(?:\.|anystore-dagster)\[([\w,-]+)\]", line):
                    assert set(named[1].split(",")) <= set(extras), line
                if line.startswith("make "):
                    assert re.search(rf"^{line.split()[1]}:", makefile, re.MULTILINE), line
                if named := re.search(r"anystore_dagster\.components\.(\w+)", line):
                    assert hasattr(components, named[1]), line
                if line.startswith("python -m tests."):
                    module = line.split()[2].replace(".", "/")
                    assert (ROOT / f"{module}.py").exists(), line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_says_how_to_install_what_it_imports(page):
    text = page.read_text()
    code = "".join(block["code"] for block in FENCE.finditer(text) if "python" in block["info"])
    wanted = {found["module"] for found in IMPORT.finditer(code)} - sys.stdlib_module_names - GIVEN
    installed = " ".join(INSTALL.findall(text))
    assert [name for name in sorted(wanted) if not re.search(rf"\b{INSTALLED_AS.get(name, name)}\b", installed)] == []
