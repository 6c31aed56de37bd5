"""Real Celery workers, each a process group of its own, which can be killed as a machine is."""

import os
import platform
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import redis

from tests.redis_servers import RedisServer
from tests.servers import HOST

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
        self.name = f"{home.name}@{platform.node()}"
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
        argv += ["-n", self.name, "--loglevel", "info", "--without-gossip", "--without-mingle"]
        whole = {**os.environ, "PYTHONPATH": os.pathsep.join([str(home), str(_ROOT)])}
        with (home / "worker.log").open("wb") as log:
            self.process = subprocess.Popen(
                argv, cwd=home, env=whole, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )

    @property
    def is_alive(self) -> bool:
        """Whether nobody has killed it."""
        return self.process.poll() is None

    def kill(self) -> None:
        """Kill all its processes at once; nothing is said to anybody."""
        if self.is_alive:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def kill_child(self) -> None:
        """Kill the process that runs steps, while the one that speaks with the broker lives on."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        for child in children:
            os.kill(int(child), signal.SIGKILL)


class CeleryDeployment:
    """A broker with workers, which go on to the next test unless one has killed them: each takes seconds to start.

    Args:
        broker: The Redis that takes messages and results.
        home: A folder for what the workers need.
        database: The number of the broker's database that is theirs.
        visibility_timeout: After how many seconds a step that was not acknowledged is given to another worker, too.
    """

    def __init__(self, broker: RedisServer, home: Path, *, database: int, visibility_timeout: int) -> None:
        self.uri = f"redis://{HOST}:{broker.port}/{database}"
        self._home = home
        self._settings = {
            "broker_url": self.uri,
            "result_backend": self.uri,
            "task_acks_late": True,
            "worker_prefetch_multiplier": 1,
            # how long nobody else gets a step that was not acknowledged, and how often workers look for such
            "broker_transport_options": {
                "visibility_timeout": visibility_timeout,
                "unacked_restore_interval": 1,
                "unacked_restore_throttle": 1,
            },
        }
        self._workers: list[CeleryWorker] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.kill()

    def have_workers(self, count: int) -> list[CeleryWorker]:
        """Start what is missing to a number of workers, and give those that live."""
        while len(found := [worker for worker in self._workers if worker.is_alive]) < count:
            home = self._home / f"worker{len(self._workers) + 1}"
            self._workers.append(CeleryWorker(home, self._settings))
        return found

    def is_idle(self) -> bool:
        """Tell whether no message waits, and none is with a worker."""
        with redis.Redis.from_url(self.uri) as client:
            return not client.hlen("unacked") and not any(client.scan_iter("dagster*"))
