"""The threats that the security page names each have a test, and it is there."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "explanation" / "security.md").read_text()
PROMISED = PAGE.partition("## What is promised")[2].partition("## What is not promised")[0]
ROWS = [row for row in re.findall(r"^\|(.*)\|$", PROMISED, re.MULTILINE) if not row.startswith(("---", " Threat "))]
PROOF = re.compile(r"`((?:tests|anystore)/[\w/]+\.py(?:::\w+)+)`")


@cache
def found_in(path):
    """Give the tests that pytest finds in a file: functions, and methods of its classes."""
    found = set()
    for node in ast.parse((ROOT / path).read_text()).body:
        members = node.body if isinstance(node, ast.ClassDef) else [node]
        owner = f"{node.name}::" if isinstance(node, ast.ClassDef) else ""
        found |= {f"{owner}{one.name}" for one in members if isinstance(one, (ast.FunctionDef, ast.AsyncFunctionDef))}
    return {name for name in found if name.rpartition("::")[2].startswith("test_")}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[0].strip()[:40])
def test_each_threat_has_a_test_that_is_there(row):
    threat, done, proofs = (cell.strip() for cell in row.split("|"))
    assert threat
    assert done
    names = PROOF.findall(proofs)
    assert names, "no test is named"
    assert PROOF.sub("", proofs).strip(" ,") == "", "what is this beside the tests?"
    for name in names:
        path, _, test = name.partition("::")
        assert test in found_in(path), f"{path} has no test {test}"


def test_the_page_is_read_as_it_is_meant():
    assert len(ROWS) > 40
    assert "test_each_threat_has_a_test_that_is_there" in found_in("tests/project/test_security_page.py")
    assert "test_none" not in found_in("tests/project/test_security_page.py")
