"""Real Celery workers, each a process group of its own, which can be killed as a machine is."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Self

_ROOT = Path(__file__).parents[1]


class CeleryWorker:
    """A worker that runs steps of Dagster, one at a time.

    Args:
        home: A folder for its settings and its log.
        settings: What ``dagster_celery_config`` says to every worker.
    """

    def __init__(self, home: Path, settings: Mapping[str, object]) -> None:
        home.mkdir(parents=True, exist_ok=True)
        text = "".join(f"{name} = {value!r}\n" for name, value in settings.items())
        (home / "dagster_celery_config.py").write_text(text)
        self.log = home / "worker.log"
        # the kernel kills it if a killed test run cannot
        argv = [
            "setpriv",
            "--pdeathsig",
            "KILL",
            "--",
            sys.executable,
            "-m",
            "celery",
            "-A",
            "dagster_celery.app",
            "worker",
            "-Q",
            "dagster",
            "-c",
            "1",
        ]
        argv += ["-n", f"{home.name}@%h", "--loglevel", "info", "--without-gossip", "--without-mingle"]
        whole = {**os.environ, "PYTHONPATH": os.pathsep.join([str(home), str(_ROOT)])}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                argv, cwd=home, env=whole, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def kill(self) -> None:
        """Kill all its processes at once; nothing is said to anybody."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def kill_child(self) -> None:
        """Kill the process that runs steps, while the one that speaks with the broker lives on."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        for child in children:
            os.kill(int(child), signal.SIGKILL)
