"""Completion in the shell: bash itself asks; the script for zsh is evaluated where there is a zsh."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAMS = Path(sys.executable).parent


@pytest.fixture
def environ(tmp_path):
    """Give an environment in which the command is found, and whose home is nobody's."""
    path = f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}"
    return os.environ | {"PATH": path, "HOME": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[2])}


def run(shell, script, environ, *options):
    return subprocess.run(
        [shell, *options, "-c", script], check=True, capture_output=True, text=True, timeout=60, env=environ
    ).stdout


def candidates(environ, *lines):
    """Have bash complete lines; the last word of each is what stands before the cursor."""
    script = ['eval "$(anystore --show-completion)"']
    for line in lines:
        words = ["anystore", *line]
        script.append(f"COMP_WORDS=({' '.join(map(shlex.quote, words))}); COMP_CWORD={len(words) - 1}")
        script.append('COMPREPLY=(); _anystore_completion anystore; echo "${COMPREPLY[*]}"')
    return [answer.split() for answer in run("bash", "\n".join(script), environ, "--norc").splitlines()]


def test_commands_options_and_closed_sets(environ):
    assert candidates(environ, ["mi"], ["do"], ["mirror", "--comp"]) == [
        ["mirror"],
        ["documents", "doctor"],
        ["--compare"],
    ]
    assert candidates(
        environ,
        ["mirror", "./a", "./b", "--compare", ""],
        ["mirror", "--verify", "f"],
        ["crawl", "--follow", "l"],
        ["documents", "--status", "s"],
        ["doctor", "--js"],
    ) == [
        ["auto", "size", "version", "checksum", "missing"],
        ["fast", "full"],
        ["listings", "links"],
        ["skipped", "suspicious"],
        ["--json"],
    ]


def test_what_is_open_is_left_to_the_shell(environ):
    """Paths are completed by bash itself, which is asked by ``-o default`` where there is no candidate."""
    assert candidates(environ, ["put", "key", ""], ["--store", "./"]) == [[], []]
    assert "-o default" in run("bash", 'eval "$(anystore --show-completion)"; complete -p anystore', environ, "--norc")


def test_it_is_installed_for_the_shell_that_asks(environ, tmp_path):
    run("bash", "anystore --install-completion", environ, "--norc")
    script = "source ~/.bashrc; complete -p anystore"
    assert "_anystore_completion" in run("bash", script, environ, "--norc")


def test_zsh(environ, tmp_path):
    """Without a zsh, what it would be given is looked at."""
    asked = {"_ANYSTORE_COMPLETE": "complete_zsh", "_TYPER_COMPLETE_ARGS": "anystore mirror --compare ch"}
    answer = subprocess.run(
        [PROGRAMS / "anystore"], check=False, capture_output=True, text=True, timeout=60, env=environ | asked
    ).stdout
    assert answer.startswith("_arguments ")
    assert '"checksum"' in answer
    assert '"auto"' not in answer
    plain = environ | {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    script = run("bash", "anystore --show-completion zsh", plain, "--norc")
    assert script.startswith("#compdef anystore\n")
    if shutil.which("zsh"):
        run("zsh", f"autoload -Uz compinit; compinit -u; {script}", environ, "-f")


def test_nothing_heavy_is_loaded(environ):
    code = "import sys\nfrom anystore.cli import run\nrun([])\nprint(*{name.partition('.')[0] for name in sys.modules})"
    asked = {"_ANYSTORE_COMPLETE": "complete_bash", "COMP_WORDS": "anystore mi", "COMP_CWORD": "1"}
    run_it = [sys.executable, "-c", code]
    shown = subprocess.run(run_it, check=True, capture_output=True, text=True, timeout=60, env=environ | asked).stdout
    [completed, modules] = shown.splitlines()
    assert completed == "mirror"
    assert {"fsspec", "rich", "dagster", "pyarrow", "pycurl", "sqlalchemy", "redis", "obstore"}.isdisjoint(
        modules.split()
    )
