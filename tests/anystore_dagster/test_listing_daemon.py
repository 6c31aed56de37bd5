"""A sensor under Dagster's own daemon: killed at every point, on a server that takes its time."""

import logging
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pytest
from dagster import DagsterInstance
from dagster._core.instance.ref import InstanceRef
from dagster._core.scheduler.instigation import TickStatus
from dagster._core.test_utils import create_test_daemon_workspace_context, freeze_time
from dagster._core.workspace.load_target import PythonFileTarget
from dagster._daemon.sensor import execute_sensor_iteration

from anystore import get_store
from tests.faults import Fault

SETTINGS = """
telemetry:
  enabled: false
run_launcher:  # takes runs, and starts none
  module: dagster._core.test_utils
  class: MockedRunLauncher
run_coordinator:
  module: dagster._core.run_coordinator
  class: DefaultRunCoordinator
"""
DEFINITIONS = """
import os
import signal
from pathlib import Path

import dagster as dg
from anystore_dagster import CrawlPartitions, listing_sensor
from anystore_dagster.listing_memory import Step

partitions = CrawlPartitions.{partitions}

@dg.asset(partitions_def=partitions.definition)
def papers(context): ...

save = Step.save

def save_and_die(step, head):
    pointer = save(step, head)
    flag = Path({home!r}, "die")
    if flag.exists():
        flag.unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    return pointer

Step.save = save_and_die

defs = dg.Definitions(
    [papers],
    sensors=[
        listing_sensor(
            "new_papers",
            {source!r},
            {state!r},
            target=papers,
            partitions=partitions,
            default_status=dg.DefaultSensorStatus.RUNNING,
            {options}
        )
    ],
)
"""
ONE_TICK = """
import sys
sys.path.insert(0, {root!r})
from tests.anystore_dagster.test_listing_daemon import Home
Home({home!r}, now={now!r}).tick({crash!r})
"""
REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class Home:
    """A deployment in a folder: its instance, and a code location beside it."""

    def __init__(self, path, *, now=None):
        self.path = str(path)
        self.now = time.time() if now is None else now
        self.instance = DagsterInstance.from_ref(InstanceRef.from_dir(self.path))

    @classmethod
    def make(cls, path, source, *, partitions="documents('documents')", options=""):
        path.mkdir()
        (path / "dagster.yaml").write_text(SETTINGS)
        code = DEFINITIONS.format(
            partitions=partitions, home=str(path), source=source, state=str(path / "state"), options=options
        )
        (path / "definitions.py").write_text(code)
        return cls(path)

    @contextmanager
    def daemon(self):
        """Run a code server, and give what lets the daemon look at the sensor once."""
        target = PythonFileTarget(f"{self.path}/definitions.py", None, self.path, "here")
        with create_test_daemon_workspace_context(target, self.instance) as context:

            def tick(crash=None):
                self.now += 60
                flags = {"new_papers": {crash: signal.SIGKILL}} if crash else None
                with freeze_time(self.now):
                    list(execute_sensor_iteration(context, logging.getLogger("s"), None, None, debug_crash_flags=flags))
                return self.last_tick()

            yield tick

    def tick(self, crash=None):
        """Let the daemon look at the sensor once, with a new code server."""
        with self.daemon() as tick:
            return tick(crash)

    def tick_and_die(self, crash):
        """Do the same in a process that is killed on its way."""
        self.now += 60
        code = ONE_TICK.format(root=REPOSITORY, home=self.path, crash=crash, now=self.now - 60)
        with open(f"{self.path}/log", "w") as log:
            daemon = subprocess.Popen([sys.executable, "-c", code], stdout=log, stderr=log, start_new_session=True)
            try:
                assert daemon.wait(200) == -signal.SIGKILL, Path(self.path, "log").read_text()[-2000:]
            finally:
                os.killpg(daemon.pid, signal.SIGKILL)  # its code server, too

    def last_tick(self):
        (state,) = self.instance.all_instigator_state()
        return self.instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=1)[0]

    def settle(self):
        """Tick until nothing is asked for."""
        with self.daemon() as tick:
            while (last := tick()).status != TickStatus.SKIPPED:
                assert last.status == TickStatus.SUCCESS, last.tick_data.error

    def asked(self):
        return Counter(run.tags.get("anystore/key") for run in self.instance.get_runs())


@pytest.fixture
def source(tmp_path):
    store = get_store(tmp_path / "source")
    store.put_many({f"{number:02d}, x.txt": "1" for number in range(12)})
    return store


def test_a_daemon_that_is_killed_at_every_point(tmp_path, source):
    home = Home.make(tmp_path / "home", str(tmp_path / "source"), options="max_requests=8")
    # before the sensor is asked; then with its answer written down; with a run made; with that run launched
    for crash in ("TICK_HELD", "RUN_IDS_RESERVED", "RUN_CREATED", "RUN_LAUNCHED"):
        home.tick_and_die(crash)
    source.put("03, x.txt", "changed")
    home.settle()
    assert home.asked() == dict.fromkeys(source.iterate_keys(), 1) | {"03, x.txt": 2}
    assert len(home.instance.get_dynamic_partitions("documents")) == 12


def test_a_code_server_that_is_killed_behind_its_last_write(tmp_path, source):
    home = Home.make(tmp_path / "home", str(tmp_path / "source"), options="max_requests=8")
    (tmp_path / "home" / "die").touch()
    assert home.tick().status == TickStatus.FAILURE
    assert not home.asked()
    home.settle()
    assert home.asked() == dict.fromkeys(source.iterate_keys(), 1)


def test_a_slow_server_takes_many_ticks_and_none_too_long(tmp_path, nginx_server, faulty_server, monkeypatch):
    for number in range(16):
        (nginx_server.root / f"{number:02d}").mkdir()
        (nginx_server.root / f"{number:02d}" / "a.txt").write_text("1")
    faulty_server.always(Fault(pause=0.5), path="/")
    monkeypatch.setenv("DAGSTER_SENSOR_GRPC_TIMEOUT_SECONDS", "5")
    home = Home.make(
        tmp_path / "home", faulty_server.url, partitions="folders('folders')", options="seconds=3, robots=False"
    )
    ticks = 0
    with home.daemon() as tick:
        while len(home.instance.get_runs()) < 16:
            last = tick()
            assert last.status in (TickStatus.SUCCESS, TickStatus.SKIPPED), last.tick_data.error
            ticks += 1
            assert ticks < 12
    assert ticks > 2
    asked = Counter(run.tags["dagster/partition"] for run in home.instance.get_runs())
    assert asked == {f"{number:02d}": 1 for number in range(16)}
