"""Whether the audit of the packages says what it found, and says so when it found nothing out."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / ".ci" / "audit.py"

SPEC = importlib.util.spec_from_file_location("audit", SCRIPT)
audit = importlib.util.module_from_spec(SPEC)
sys.modules["audit"] = audit  # where dataclasses look for it
SPEC.loader.exec_module(audit)

UNFIXED = {"id": "PYSEC-1", "fix_versions": [], "aliases": ["GHSA-x"]}
FIXED = {"id": "PYSEC-1", "fix_versions": ["2.0"], "aliases": ["GHSA-x"]}
ACCEPTED = {"GHSA-x": {"package": "a", "reason": "not called"}}


def judged(*vulnerabilities, accepted=()):
    return audit.judge([{"name": "a", "version": "1", "vulns": list(vulnerabilities)}], dict(accepted)).problems


def test_what_is_found_is_a_problem():
    assert judged() == []
    assert judged(UNFIXED) == ["a 1 has PYSEC-1; no version is fixed: avoid it, or accept it with a reason"]
    assert judged(FIXED) == ["a 1 has PYSEC-1; fixed in 2.0"]


def test_what_is_accepted_is_none_until_it_is_fixed():
    assert judged(UNFIXED, accepted=ACCEPTED) == []
    assert judged(FIXED, accepted=ACCEPTED) == ["a 1 has PYSEC-1; fixed in 2.0"]


def test_what_is_accepted_and_found_no_more_is_a_problem():
    assert judged(accepted=ACCEPTED) == ["GHSA-x is accepted in pyproject.toml, and found no more: take it out"]


def test_a_package_that_was_not_looked_up_is_told():
    verdict = audit.judge(
        [{"name": "a", "skip_reason": "not found"}, {"name": "b", "version": "1", "vulns": []}], ACCEPTED
    )
    assert (verdict.unknown, verdict.audited, verdict.problems) == (["a"], 1, [])


@pytest.mark.parametrize(("setting", "code"), [("", 0), ("required", 1)])
def test_without_a_network_nothing_is_audited_and_that_is_told(tmp_path, setting, code):
    nowhere = dict.fromkeys(("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"), "http://127.0.0.1:1")
    kept = {name: value for name, value in os.environ.items() if name.lower() != "no_proxy"}
    environment = {**kept, **nowhere, "PIP_CACHE_DIR": str(tmp_path), "ANYSTORE_AUDIT": setting}
    ran = subprocess.run([sys.executable, SCRIPT], env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == code, ran.stderr
    assert "NOTHING WAS AUDITED" in ran.stdout
