"""The tutorials that are typed into a shell: their files are written and their commands run, as a reader would.

A block with a title is a file, in a folder that the reader has made. A title is shown on the site alone, so the text
above it names the file, too. In a block of console, lines that begin with ``$`` are commands, run by one shell; below
each is what it prints, where ``…`` stands for anything.
"""

import contextlib
import re

import pytest

from tests.project.console_pages import ROOT, Shell, commands, follow, pattern
from tests.servers import free_port

PAGE = ROOT / "docs" / "tutorial" / "scheduled-crawl.md"
PORT = "8765"
FENCE = re.compile(r"^```(?P<info>\S[^`\n]*)\n(?P<content>.*?)^``` *$", re.MULTILINE | re.DOTALL)
TITLE = re.compile(r'title="([^"]+)"')


@pytest.fixture
def shell(tmp_path):
    with contextlib.closing(Shell(tmp_path)) as shell:
        yield shell


@pytest.mark.timeout(900)
def test_the_tutorial_can_be_followed(tmp_path, shell):
    text = PAGE.read_text().replace(PORT, str(free_port()))
    ran = 0
    for block in FENCE.finditer(text):
        info, content = block["info"], block["content"]
        if title := TITLE.search(info):
            above = text[: block.start()].rstrip().rpartition("\n\n")[2]
            assert f"`{title[1]}`" in above
            (tmp_path / title[1]).write_text(content)
        elif info == "console":
            ran += follow(shell, content)
    assert ran > 10


def test_what_is_said_is_compared():
    assert pattern(["…", "a … c", "…"]).fullmatch("x\na b c\ny\n")
    assert pattern(["a", "b"]).fullmatch("a\nb\n")
    assert not pattern(["a", "b"]).fullmatch("a\nx\nb\n")
    assert not pattern(["…", "a … c"]).fullmatch("a b c\nmore\n")
    assert commands("$ one\n1\n2\n$ two\n") == [("one", ["1", "2"]), ("two", [])]
