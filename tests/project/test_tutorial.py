"""The tutorials that are typed into a shell: their files are written and their commands run, as a reader would.

A block with a title is a file. In a block of console, lines that begin with ``$`` are commands, run by one shell; below
each is what it prints, where ``…`` stands for anything.
"""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers import free_port

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "tutorial" / "scheduled-crawl.md"
PORT = "8765"
FENCE = re.compile(r"^```(?P<info>\S[^`\n]*)\n(?P<content>.*?)^``` *$", re.MULTILINE | re.DOTALL)
TITLE = re.compile(r'title="([^"]+)"')
END = "-- end of the command"


class Shell:
    """One shell for the whole page: what one command exports, the next one sees."""

    def __init__(self, folder):
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        self.process = subprocess.Popen(
            ["bash", "-m"], cwd=folder, text=True, start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env=os.environ | {"PATH": path, "COLUMNS": "200", "HOME": str(folder), "TERM": "dumb"},
        )  # fmt: skip

    def run(self, command):
        """Run a command; return what it prints, and its exit code."""
        self.process.stdin.write(f"{command}\necho {shlex.quote(END)} $?\n")
        self.process.stdin.flush()
        lines = []
        for line in self.process.stdout:
            if line.startswith(END):
                return lines, int(line.removeprefix(END))
            lines.append(line.rstrip("\n"))
        raise AssertionError(f"the shell has ended:\n{lines}")


@pytest.fixture
def shell(tmp_path):
    shell = Shell(tmp_path)
    yield shell
    shell.process.stdin.write("kill $(jobs -p) 2>/dev/null\nexit\n")
    shell.process.stdin.close()
    shell.process.wait(20)
    shell.process.stdout.close()


def commands(content):
    """Split a block into its commands and what is said that they print."""
    found = []
    for line in content.splitlines():
        if line.startswith("$ "):
            found.append((line.removeprefix("$ "), []))
        else:
            found[-1][1].append(line)
    return found


def pattern(said):
    """Make a pattern of what a command is said to print: a line of ``…`` stands for any lines."""
    parts = []
    for line in said:
        if line.strip() == "…":
            parts.append("(?:.*\n)*?")
        else:
            parts.append(".*".join(re.escape(part) for part in line.split("…")) + "\n")
    return re.compile("".join(parts))


@pytest.mark.timeout(900)
def test_the_tutorial_can_be_followed(tmp_path, shell):
    text = PAGE.read_text().replace(PORT, str(free_port()))
    ran = 0
    for block in FENCE.finditer(text):
        info, content = block["info"], block["content"]
        if title := TITLE.search(info):
            file = tmp_path / title[1]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)
        elif info == "console":
            for command, said in commands(content):
                printed, code = shell.run(command)
                assert code == 0, "\n".join([command, *printed])
                output = "".join(f"{line}\n" for line in printed)
                assert not said or pattern(said).fullmatch(output), f"{command}\n{output}"
                ran += 1
    assert ran > 10


def test_what_is_said_is_compared():
    assert pattern(["…", "a … c", "…"]).fullmatch("x\na b c\ny\n")
    assert pattern(["a", "b"]).fullmatch("a\nb\n")
    assert not pattern(["a", "b"]).fullmatch("a\nx\nb\n")
    assert not pattern(["…", "a … c"]).fullmatch("a b c\nmore\n")
    assert commands("$ one\n1\n2\n$ two\n") == [("one", ["1", "2"]), ("two", [])]
