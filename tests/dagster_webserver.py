"""A real Dagster for the tests, with the pages that it serves, and a browser without a window that looks at them."""

import contextlib
import json
import shutil
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

from tests.servers import HOST, ServerError, child, free_port

SETTINGS = """
telemetry:
  enabled: false
"""
WITHOUT_QUEUE = """
run_coordinator:  # without a queue, which a daemon would have to empty
  module: dagster._core.run_coordinator
  class: DefaultRunCoordinator
"""
START_TIMEOUT = 180.0
POLL = 0.2
PAGE_TIMEOUT = 60_000  # milliseconds; far more than a page takes, unless what it should show never comes
WINDOW = {"width": 1440, "height": 900}


class Webserver:
    """A webserver with one code location, in a process of its own as in production."""

    def __init__(self, home: Path, port: int) -> None:
        self.home = home
        self.url = f"http://{HOST}:{port}"

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """Send a GraphQL query, as the pages do; return the data of the answer."""
        answer = json.loads(self.answer(query, variables))
        if answer.get("errors"):
            raise AssertionError(answer["errors"])
        data: dict[str, Any] = answer["data"]
        return data

    def answer(self, query: str, variables: Mapping[str, Any]) -> str:
        """Send any query; return the whole answer, with whatever errors are in it."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(f"{self.url}/graphql", body, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=120) as response:
                return str(response.read(), "utf-8")
        except urllib.error.HTTPError as refused:  # which is how it sends an error of user code, too
            return str(refused.read(), "utf-8")


@contextlib.contextmanager
def webserver(home: Path, code: Path, variables: Mapping[str, str]) -> Iterator[Webserver]:
    """Serve the definitions in a file, with an instance in ``home``; runs start at once, without a daemon."""
    program = Path(sys.executable).with_name("dagster-webserver")
    argv = [str(program), "-f", str(code), "-d", str(code.parent)]
    with _serving(argv, home, SETTINGS + WITHOUT_QUEUE, variables) as server:
        yield server


@contextlib.contextmanager
def dagster_dev(
    home: Path, project: Path, module: str, variables: Mapping[str, str], *, settings: str = ""
) -> Iterator[Webserver]:
    """Run ``dagster dev`` on a module of a project: pages, daemon and code server, as on a developer's machine."""
    argv = ["-m", "dagster", "dev", "-m", module, "-d", str(project), "--log-level", "warning"]
    with _serving(argv, home, SETTINGS + settings, variables) as server:
        yield server


@contextlib.contextmanager
def _serving(argv: Sequence[str], home: Path, settings: str, variables: Mapping[str, str]) -> Iterator[Webserver]:
    (home / "dagster.yaml").write_text(settings)
    port, log = free_port(), home / "webserver.log"
    told = {"DAGSTER_HOME": str(home), "DAGSTER_DISABLE_TELEMETRY": "yes", **variables}
    command = ["env", *(f"{name}={value}" for name, value in told.items()), sys.executable, *argv]

    # it loads the definitions before it answers, which on a busy machine takes longer than any other server
    with child([*command, "--host", HOST, "--port", str(port)], lambda: None, log=log) as process:
        server = Webserver(home, port)
        deadline = time.monotonic() + START_TIMEOUT
        while not _answers(server.url):
            if process.poll() is not None or time.monotonic() > deadline:
                raise ServerError(f"{argv[0]} did not start:\n{log.read_text()[-2000:]}")
            time.sleep(POLL)
        _check_code(server)
        yield server


def _check_code(server: Webserver) -> None:
    """Say at once why definitions did not load; the pages would show none of them."""
    query = """{ workspaceOrError { ... on PythonError { message } ... on Workspace { locationEntries {
        locationOrLoadError { ... on PythonError { message } } } } } }"""
    found = server.ask(query)["workspaceOrError"]
    entries = [entry["locationOrLoadError"] or {} for entry in found.get("locationEntries", ())]
    if errors := [one["message"] for one in [found, *entries] if "message" in one]:
        raise ServerError("the definitions did not load:\n" + "\n".join(errors))


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/server_info", timeout=10):
            return True
    except OSError:
        return False


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Run the system's Chromium without a window."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        raise ServerError("chromium is missing: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        )
        yield browser
        browser.close()


def new_page(browser: Browser, server: Webserver) -> Page:
    """Open an empty page whose addresses are those of the server."""
    page = browser.new_page(base_url=server.url, viewport=WINDOW)
    page.set_default_timeout(PAGE_TIMEOUT)
    return page


def html_of(page: Page, path: str, *, shown: str) -> str:
    """Open an address, wait until it shows a text, and return the page as HTML."""
    page.goto(path)
    page.wait_for_function("text => document.documentElement.outerHTML.includes(text)", arg=shown)
    return page.content()
