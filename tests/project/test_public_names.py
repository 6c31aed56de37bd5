"""Every public name is documented, in the sections that the style asks for, and the examples run."""

import ast
import doctest
import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import pytest

PACKAGES = ["anystore", "anystore_dagster"]
SECTIONS = ["Args", "Returns", "Yields", "Raises", "Example", "Source"]


def list_modules():
    """Name every module of ours, except the entry point of ``python -m``."""
    for name in PACKAGES:
        yield name
        for found in pkgutil.walk_packages(importlib.import_module(name).__path__, f"{name}."):
            if not found.name.endswith("__main__"):
                yield found.name


MODULES = list(list_modules())


def public_objects(module):
    """Give the classes and functions that a module defines, and their public members.

    A test of the conformance suite is not one of them: its name is its sentence.
    """
    for name, value in vars(module).items():
        if name.startswith("_") or getattr(value, "__module__", None) != module.__name__:
            continue
        if inspect.isclass(value) or inspect.isfunction(value):
            yield f"{module.__name__}.{name}", value
        for member, inner in vars(value).items() if inspect.isclass(value) else ():
            if not member.startswith(("_", "test_")) and (inspect.isfunction(inner) or isinstance(inner, property)):
                yield f"{module.__name__}.{name}.{member}", inner


def own_docstring(value):
    """Return what was written for this very object, not what it inherits."""
    if inspect.isclass(value) or inspect.ismodule(value):
        return vars(value).get("__doc__")
    return getattr(value, "__doc__", None)


@pytest.mark.parametrize("name", PACKAGES)
def test_every_public_name_exists_and_is_documented(name):
    package = importlib.import_module(name)
    assert package.__all__
    assert sorted(set(package.__all__)) == sorted(package.__all__)
    public = {public: getattr(package, public) for public in package.__all__ if public != "__version__"}
    silent = [
        public
        for public, value in public.items()
        if (inspect.isclass(value) or callable(value) or inspect.ismodule(value)) and not own_docstring(value)
    ]
    assert silent == []
    assert set(package.__all__) <= set(dir(package))


@pytest.mark.parametrize("name", PACKAGES)
def test_the_stub_types_each_public_name(name):
    stub = Path(importlib.import_module(name).__file__).with_suffix(".pyi")
    if not stub.exists():  # an __init__.py without a name table types itself
        assert "__getattr__" not in vars(importlib.import_module(name))
        return
    typed = set()
    for node in ast.parse(stub.read_text()).body:
        if isinstance(node, ast.ImportFrom):
            typed |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            typed.add(node.name)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            typed.add(node.target.id)
    assert set(importlib.import_module(name).__all__) <= typed


@pytest.mark.parametrize("name", PACKAGES)
def test_a_name_that_is_not_public_is_an_attribute_error(name):
    with pytest.raises(AttributeError, match="no_such_name"):
        importlib.import_module(name).no_such_name  # noqa: B018


@pytest.mark.parametrize("name", MODULES)
def test_docstrings_have_sections_in_order_and_none_empty(name):
    module = importlib.import_module(name)
    assert module.__doc__
    for where, value in public_objects(module):
        text = inspect.getdoc(value)  # a method may leave its words to the contract it implements
        assert text, f"{where} has no docstring"
        heads = [line for line in text.splitlines() if re.fullmatch(r"[A-Z]\w+:", line)]
        known = [SECTIONS.index(head[:-1]) for head in heads if head[:-1] in SECTIONS]
        assert known == sorted(known), f"{where}: sections in another order than {SECTIONS}"
        for head in heads:
            body = text.split(f"{head}\n", 1)[1].splitlines()
            assert body[:1], f"{where}: {head} is empty"
            assert body[0].startswith("    "), f"{where}: {head} is empty"


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    report = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    for example in doctest.DocTestFinder(exclude_empty=True).find(importlib.import_module(name), name):
        runner.run(example, out=report.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(report)


def test_no_module_has_the_name_of_a_public_name():
    names = {public for name in PACKAGES for public in importlib.import_module(name).__all__}
    modules = {name.rpartition(".")[2] for name in MODULES if name.count(".") == 1}
    assert names & modules == set()
