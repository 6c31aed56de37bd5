"""Every Python block of the documentation runs, page by page.

What cannot run says so in its fence: ``python no-run`` in the README, ``{.python .no-run}`` below ``docs``,
where the other spelling would break the page. A block with a title is a file, and ``test_tutorial.py`` writes it.
The pages of backends that are servers name one on this machine; it is replaced by a server of the tests.
"""

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.servers import HOST

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^(?P<indent> *)```(?P<info>[^`\n]*)\n(?P<code>.*?)^(?P=indent)``` *$", re.MULTILINE | re.DOTALL)


def runnable(text):
    """Keep the Python blocks of a page, each where it stands, so that errors name the right lines."""
    lines = [""] * (text.count("\n") + 1)
    for block in FENCE.finditer(text):
        language, *options = [word.lstrip(".") for word in block["info"].strip("{}").split()] or [""]
        assert language not in {"py", "python3", "pycon", "py3"}, f"write ```python, not ```{language}"
        if language != "python" or "no-run" in options or any(word.startswith("title=") for word in options):
            continue
        first = text[: block.start("code")].count("\n")
        code = textwrap.dedent(block["code"]).splitlines()
        lines[first : first + len(code)] = code
    return "\n".join(lines) + "\n"


def servers_of(page, request):
    """Give what a page says of a server, and what it is in the tests."""
    match page.name if page.parent.name == "backends" else "":
        case "http.md":
            server = request.getfixturevalue("nginx_server")
            (server.root / "hello.txt").write_text("hello")
            return {"https://example.org/files/": server.url}
        case "sql.md":
            return {"postgresql://me:secret@localhost:5432/shop": request.getfixturevalue("postgres_server").url}
        case "redis.md":
            return {"//localhost:6379/": f"//{HOST}:{request.getfixturevalue('redis_server').port}/"}
        case "objects.md":
            server = request.getfixturevalue("seaweedfs_server")
            access = {'"KEY"': repr(server.user), '"SECRET"': repr(server.password)}
            return access | {"http://localhost:8333": server.url, "my-bucket": "anystore-tests"}
        case "filesystems.md":
            server = request.getfixturevalue("sftp_server")
            place = {"sftp://me@localhost/home/me/values": f"{server.uri}/documented"}
            return place | {'{"password": "secret"}': repr(dict(server.config))}
        case _:
            return {}


def test_pages_of_the_site_use_the_fence_that_mkdocs_knows():
    assert [page for page in PAGES[1:] if "```python no-run" in page.read_text()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_runs_from_top_to_bottom(page, tmp_path, request):
    code = runnable(page.read_text())
    if not code.strip():
        return
    for said, meant in servers_of(page, request).items():
        assert said in code
        code = code.replace(said, meant)
    script = tmp_path / f"page_{page.stem}.py"  # `redis.py` would be imported in place of the library
    script.write_text(code)
    (folder := tmp_path / "empty").mkdir()
    run = subprocess.run([sys.executable, script], check=False, cwd=folder, capture_output=True, text=True)
    assert run.returncode == 0, f"{page}\n{run.stdout}\n{run.stderr}"


def test_blocks_keep_their_lines():
    page = "One\n\n```python\na = 1\n```\n\n1. Two\n\n    ```python\n    b = 2\n    ```\n\n"
    page += "```python no-run\nc\n```\n\n```{.python .no-run}\nd\n```\n"
    lines = runnable(page).splitlines()
    assert {number: line for number, line in enumerate(lines) if line} == {3: "a = 1", 9: "b = 2"}


def test_pictures_are_shown_and_small():
    text = "".join(page.read_text() for page in PAGES)
    pictures = sorted((ROOT / "docs" / "images").iterdir())
    assert [picture.name for picture in pictures if f"images/{picture.name})" not in text] == []
    assert [picture.name for picture in pictures if picture.stat().st_size > 200_000] == []
