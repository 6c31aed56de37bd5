"""The repository installs alike everywhere: nothing of one machine is in it, and its lists agree."""

import re
import runpy
import sys
import tomllib
import warnings
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
CONSTRAINTS = (ROOT / "constraints.txt").read_text().splitlines()
OLDEST = (ROOT / "constraints-oldest.txt").read_text().splitlines()
PYTHONS = ("3.11", "3.12", "3.13")
NOT_OURS = {"__pycache__", "site", "dist", "anystore-data"}
OURS_BUT_HIDDEN = {".ci", ".github", ".gitignore"}
# Put together here, lest this file match itself.
FOREIGN = re.compile(
    "|".join(
        [
            r"(?<![\w.])/(?:home|" + r"root|Users)/\w",
            "index" + "-url",
            "find" + "-links",
            "pypi" + r"\.org/simple",
            "python" + "hosted",
            "registry" + r"\.npmjs",
            r"registry *= *[\"']http",
            r'"resolved": *"http',
        ]
    )
)


def files(folder=ROOT):
    """Give every file of ours, without environments, caches and what is built."""
    for path in sorted(folder.iterdir()):
        if path.name in NOT_OURS or (path.name.startswith(".") and path.name not in OURS_BUT_HIDDEN):
            continue
        if path.is_dir():
            yield from files(path)
        elif path.is_file():
            yield path


def normal(requirement):
    """Return the name a requirement speaks of, spelt in the one way that can be compared."""
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", requirement)[0]).lower()


def test_no_address_of_a_registry_and_no_path_of_a_machine():
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line[:120]}"
        for path in files()
        for number, line in enumerate(path.read_bytes().decode(errors="replace").splitlines(), 1)
        if FOREIGN.search(line)
    ]
    assert found == []


@pytest.mark.parametrize("lines", [CONSTRAINTS, OLDEST], ids=["newest", "oldest"])
def test_constraints_are_names_and_versions_and_nothing_more(lines):
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9][\w.-]*==\d[\w.]*", line)] == []
    names = [normal(line) for line in lines]
    assert len(set(names)) == len(names)


def test_the_oldest_dagster_of_the_tests_is_the_oldest_that_the_extra_allows():
    [wanted] = PROJECT["project"]["optional-dependencies"]["dagster"]
    [oldest] = re.findall(r">=([\d.]+)", wanted)
    assert f"dagster=={oldest}.0" in OLDEST


def test_every_requirement_is_pinned():
    extras = PROJECT["project"]["optional-dependencies"]
    groups = PROJECT["dependency-groups"]
    wanted = [*PROJECT["project"]["dependencies"], *(r for name in extras for r in extras[name])]
    wanted += [r for name in groups for r in groups[name] if isinstance(r, str)]
    pinned = {normal(line) for line in CONSTRAINTS} | {normal(PROJECT["project"]["name"])}
    assert {normal(requirement) for requirement in wanted} - pinned == set()


def reached(pythons):
    """Name what the extras and groups need, and what that needs, by what is said in the packages installed here."""
    groups = PROJECT["dependency-groups"].values()
    todo = [Requirement(f"{PROJECT['project']['name']}[all]")]
    todo += [Requirement(one) for group in groups for one in group if isinstance(one, str)]
    seen = set()
    while todo:
        one = todo.pop()
        for extra in {"", *one.extras} - {extra for name, extra in seen if name == normal(one.name)}:
            seen.add((normal(one.name), extra))
            with suppress(PackageNotFoundError):  # of another Python, or of the soak test alone
                todo += [
                    found
                    for found in map(Requirement, requires(one.name) or ())
                    if found.marker is None
                    or any(found.marker.evaluate({"python_version": v, "extra": extra}) for v in pythons)
                ]
    return {name for name, _ in seen} - {normal(PROJECT["project"]["name"]), "pip"}


def test_constraints_are_what_is_needed_in_order():
    assert sorted(CONSTRAINTS, key=str.lower) == CONSTRAINTS
    pinned, needed = {normal(line) for line in CONSTRAINTS}, reached(PYTHONS)
    assert needed - pinned == set()
    if sys.version_info < (3, 12):  # what the oldest needs more is not installed in the others, to be asked
        assert pinned - needed == set()


def test_the_core_needs_three_packages():
    assert {normal(r) for r in PROJECT["project"]["dependencies"]} == {"fsspec", "orjson", "pydantic"}


def test_all_is_every_extra():
    extras = PROJECT["project"]["optional-dependencies"]
    [whole] = extras["all"]
    name, names = re.fullmatch(r"([\w-]+)\[(.+)\]", whole).groups()
    assert name == PROJECT["project"]["name"]
    assert set(names.split(",")) == set(extras) - {"all"}


def test_continuous_integration_runs_what_make_check_runs():
    assert "make check" in (ROOT / ".ci" / "run").read_text()
    makefile = (ROOT / "Makefile").read_text()
    assert re.search(r"^check: lint types test docs ", makefile, re.MULTILINE)


@pytest.mark.parametrize("module", ["anystore", "anystore.backends.memory", "anystore_dagster.io_manager", "tests.x"])
def test_a_warning_of_ours_is_an_error(module):
    with pytest.raises(DeprecationWarning):
        warnings.warn_explicit("old", DeprecationWarning, "file.py", 1, module=module)


def test_a_warning_of_others_is_none():
    with warnings.catch_warnings(record=True) as seen:
        warnings.warn_explicit("old", DeprecationWarning, "file.py", 1, module="pandas.core")
    assert len(seen) == 1


def test_the_site_leaves_the_roles_of_docstrings_out():
    hooks = runpy.run_path(str(ROOT / "docs" / "hooks.py"))
    shown = hooks["on_page_content"]("<p>See :func:<code>mirror</code>, :meth:<code>get</code> and a:b</p>", page=None)
    assert shown == "<p>See <code>mirror</code>, <code>get</code> and a:b</p>"


def test_a_page_made_of_docstrings_says_so_where_they_are_missing_and_only_there():
    hooks = runpy.run_path(str(ROOT / "docs" / "hooks.py"))
    for page in (ROOT / "docs" / "reference").glob("*.md"):
        text = page.read_text()
        assert ("\n::: " in text) == (hooks["UNFILLED"] in text), page.name
        assert hooks["UNFILLED"] not in hooks["on_page_markdown"](text, page=None)
