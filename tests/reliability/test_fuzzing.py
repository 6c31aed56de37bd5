"""Only our own errors come out, whatever goes in; no call takes over 10 seconds or over 200 MB."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.reliability.fuzz_corpora import TARGETS

ROOT = Path(__file__).parents[2]


def fuzz(program, target, folder, *, seconds, seed):
    """Fuzz a target by one of the programs, and give what it reports."""
    report = folder / "report"
    argv = [sys.executable, "-m", f"tests.reliability.{program}", target, str(report)]
    argv += [f"--seconds={seconds}", f"--seed={seed}"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(folder), "HOME": str(folder)}
    environment["HYPOTHESIS_STORAGE_DIRECTORY"] = str(ROOT / ".hypothesis")  # what it reads in our code, once for all
    done = subprocess.run(
        argv, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=seconds + 240
    )
    assert done.returncode == 0, f"{target}: ended with {done.returncode}\n{done.stderr[-6000:]}"
    return json.loads(report.read_text())


@pytest.mark.timeout(1500)
@pytest.mark.parametrize("target", TARGETS)
def test_only_our_errors_come_out(target, tmp_path, effort, chance, tally):
    whole = effort.seconds(2, 600)
    parts = {"fuzz": whole}
    if effort.long and importlib.util.find_spec("atheris"):  # no wheel of it is wanted for the short form
        parts = {"fuzz": whole / 2, "fuzz_guided": whole / 2}
    runs = 0
    for program, seconds in parts.items():
        told = fuzz(program, target, tmp_path, seconds=seconds, seed=chance.getrandbits(31))
        print(f"{program} {target}: {told}")
        runs += told["runs"]
    tally("inputs made up, answered or refused", target, tried=runs, lost=0)
