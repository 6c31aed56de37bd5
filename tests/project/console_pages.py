"""Pages that are typed into a shell: their commands, what is said that these print, and a shell to run them."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
END = "-- end of the command"


class Shell:
    """One shell for a whole page: what one command exports, the next one sees.

    Args:
        folder: Where it starts, and its home.
        environ: More variables.
    """

    def __init__(self, folder, **environ):
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        more = {"PATH": path, "COLUMNS": "200", "HOME": str(folder), "TERM": "dumb"}
        self.process = subprocess.Popen(
            ["bash", "-m"], cwd=folder, text=True, start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=os.environ | more | environ,
        )  # fmt: skip
        self.run(":")  # what it says of having no terminal

    def run(self, command):
        """Run a command; return what it prints, and its exit code."""
        self.process.stdin.write(f"{command}\necho {shlex.quote(END)} $?\n")
        self.process.stdin.flush()
        lines = []
        for line in self.process.stdout:
            if END in line:  # behind the last line of the command, which need not be ended
                before, _, code = line.partition(END)
                return lines + ([before] if before else []), int(code)
            lines.append(line.rstrip("\n"))
        raise AssertionError(f"the shell has ended:\n{lines}")

    def close(self):
        """End it, and what it still runs."""
        self.process.stdin.write("kill $(jobs -p) 2>/dev/null\nexit\n")
        self.process.stdin.close()
        self.process.wait(20)
        self.process.stdout.close()


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


def follow(shell, content):
    """Run the commands of a block, compare what each prints with what is said, and return how many there were."""
    ran = 0
    for command, said in commands(content):
        printed, code = shell.run(command)
        assert code == 0, "\n".join([command, *printed])
        output = "".join(f"{line}\n" for line in printed)
        assert not said or pattern(said).fullmatch(output), f"{command}\n{output}"
        ran += 1
    return ran
