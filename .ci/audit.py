"""Look up the pinned packages among the known vulnerabilities; ``make audit`` runs it.

The answers come from PyPI. Where it does not answer, nothing can be said, which is said, loudly: a network that is
down makes no change worse, so it fails the run only if ANYSTORE_AUDIT=required is set, as before a release.
"""

import json
import os
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PROBE = "pydantic"
"""Stands in PyPI whatever happens: where it is not found, it is not PyPI that answers."""


class NoAnswer(Exception):
    """The audit could not be made."""


@dataclass
class Verdict:
    """What came of an audit."""

    audited: int = 0
    unknown: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def judge(dependencies: Sequence[Mapping[str, Any]], accepted: Mapping[str, Mapping[str, str]]) -> Verdict:
    """Judge what pip-audit has found.

    Args:
        dependencies: The list in its report.
        accepted: By identifier, the package and the reason of each vulnerability that is lived with, as long as there
            is no fixed version.

    Returns:
        How many packages were audited, which could not be, and what is wrong.
    """
    verdict = Verdict()
    seen: set[str] = set()
    audited: set[str] = set()
    for one in dependencies:
        if "skip_reason" in one:
            verdict.unknown.append(one["name"])
            continue
        audited.add(one["name"])
        for found in one["vulns"]:
            names = {found["id"], *found.get("aliases", ())}
            known = names & accepted.keys()
            seen |= known
            fixes = ", ".join(found["fix_versions"])
            if not known or fixes:
                remedy = f"fixed in {fixes}" if fixes else "no version is fixed: avoid it, or accept it with a reason"
                verdict.problems.append(f"{one['name']} {one['version']} has {found['id']}; {remedy}")
    verdict.audited = len(audited)
    for name in accepted.keys() - seen:
        if accepted[name]["package"] in audited:
            verdict.problems.append(f"{name} is accepted in pyproject.toml, and found no more: take it out")
    return verdict


def audit(requirements: Path) -> list[dict[str, Any]]:
    """Ask PyPI about each pinned package in a file.

    Raises:
        NoAnswer: If there was no report.
    """
    options = ["--vulnerability-service", "pypi", "--progress-spinner", "off", "--format", "json", "--timeout", "15"]
    options += ["--no-deps", "--disable-pip", "--requirement", str(requirements)]
    ran = subprocess.run([sys.executable, "-m", "pip_audit", *options], capture_output=True, text=True, check=False)  # noqa: S603 - our own words
    try:
        found: list[dict[str, Any]] = json.loads(ran.stdout)["dependencies"]
    except ValueError:
        raise NoAnswer(ran.stderr.strip().rpartition("\n")[2] or f"pip-audit ended with {ran.returncode}") from None
    return found


def probe(pins: Sequence[str]) -> None:
    """Ask about one package, lest hundreds of questions go to what has no answers.

    Raises:
        NoAnswer: If that is not known.
    """
    with tempfile.TemporaryDirectory() as name:
        asked = Path(name) / "requirements.txt"
        asked.write_text(next(pin for pin in pins if pin.startswith(f"{PROBE}==")) + "\n")
        if judge(audit(asked), {}).unknown:
            raise NoAnswer(f"PyPI, as it is reached from here, does not know {PROBE}: a mirror without the audits?")


def main() -> int:
    """Audit the pins; give the exit code."""
    accepted = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["anystore-audit"]["accepted"]
    constraints = ROOT / "constraints.txt"
    try:
        probe(constraints.read_text().splitlines())
        verdict = judge(audit(constraints), accepted)
    except NoAnswer as error:
        required = os.environ.get("ANYSTORE_AUDIT") == "required"
        print("!" * 100)
        print(f"!! NOTHING WAS AUDITED: no package was looked up among the known vulnerabilities.\n!! {error}")
        print("!! Run 'make audit' where pypi.org can be reached; ANYSTORE_AUDIT=required makes this an error.")
        print("!" * 100)
        return int(required)
    print(f"{verdict.audited} packages audited")
    if verdict.unknown:
        print(f"!! NOT AUDITED, since PyPI does not know them: {', '.join(verdict.unknown)}")
    for problem in verdict.problems:
        print(f"error: {problem}")
    return int(bool(verdict.problems))


if __name__ == "__main__":
    sys.exit(main())
