"""A real Dagster webserver for the tests: a code location, its instance, and a browser that looks at the pages."""

import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.servers import HOST, ServerError, child, free_port

SETTINGS = """
telemetry:
  enabled: false
run_coordinator:  # without a queue, which a daemon would have to empty
  module: dagster._core.run_coordinator
  class: DefaultRunCoordinator
"""
START_TIMEOUT = 180.0
POLL = 0.2
PAGE_TIME = 20_000  # of the browser's own clock, in milliseconds


class Webserver:
    """A webserver with one code location, in a process of its own as in production."""

    def __init__(self, home: Path, port: int) -> None:
        self.home = home
        self.url = f"http://{HOST}:{port}"

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """Send a GraphQL query, as the pages do; return the data of the answer."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(f"{self.url}/graphql", body, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=120) as response:
                answer = json.load(response)
        except urllib.error.HTTPError as refused:  # which is how it sends an error of user code, too
            answer = json.load(refused)
        if answer.get("errors"):
            raise AssertionError(answer["errors"])
        data: dict[str, Any] = answer["data"]
        return data

    def page(self, path: str) -> str:
        """Open a page in a browser without a window, and return what it shows as HTML."""
        browser = shutil.which("chromium") or shutil.which("chromium-browser")
        if browser is None:
            raise ServerError("chromium is missing: apt-get install chromium")
        with tempfile.TemporaryDirectory(prefix="chromium-") as profile:
            done = subprocess.run(
                [
                    *(browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
                    *(f"--user-data-dir={profile}", f"--virtual-time-budget={PAGE_TIME}", "--window-size=1600,2400"),
                    *("--dump-dom", f"{self.url}{path}"),
                ],
                check=True, capture_output=True, text=True, timeout=240,
            )  # fmt: skip
        return done.stdout


@contextlib.contextmanager
def webserver(home: Path, code: Path, variables: Mapping[str, str]) -> Iterator[Webserver]:
    """Serve the definitions in a file, with an instance in ``home``."""
    (home / "dagster.yaml").write_text(SETTINGS)
    port = free_port()
    server = Webserver(home, port)
    told = {"DAGSTER_HOME": str(home), "DAGSTER_DISABLE_TELEMETRY": "yes", **variables}
    program = Path(sys.executable).with_name("dagster-webserver")
    argv = [
        *("env", *(f"{name}={value}" for name, value in told.items())),
        *(sys.executable, str(program), "--host", HOST, "--port", str(port), "-f", str(code), "-d", str(code.parent)),
    ]

    # it loads the definitions before it answers, which on a busy machine takes longer than any other server
    with child(argv, lambda: None, log=home / "webserver.log") as process:
        deadline = time.monotonic() + START_TIMEOUT
        while not _answers(server.url):
            if process.poll() is not None or time.monotonic() > deadline:
                raise ServerError(f"dagster-webserver did not start:\n{(home / 'webserver.log').read_text()[-2000:]}")
            time.sleep(POLL)
        yield server


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/server_info", timeout=10):
            return True
    except OSError:
        return False
