"""Crawls and mirrors in shards, on Celery workers with a real broker: killed in the middle, and given a step twice."""

import http.server
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

import dagster as dg
import pytest

from anystore import get_store
from anystore.crawling import runs
from anystore.shards import shard_of
from tests.anystore_dagster import sharded_jobs
from tests.celery_workers import CeleryDeployment
from tests.redis_servers import redis

ROOT = Path(__file__).parents[2]
SHARDS = 3
HELD = "held/held.txt"
HELD_STEP = f"[{shard_of(HELD, of=SHARDS):04d}_of_{SHARDS:04d}_"
TEXTS = {
    key: f"text of {key}" for key in [*(f"{folder}/{name}.txt" for folder in "abcdefgh" for name in "xy"), "top.txt"]
}
TEXTS[HELD] = "a line of a long text\n" * 400_000  # half of it is more than a connection holds that nobody reads


class Gated(http.server.SimpleHTTPRequestHandler):
    """A web server of a folder, where the second half of one document is held until a gate is opened."""

    def __init__(self, gate, *args, **options):
        self.gate = gate
        super().__init__(*args, **options)

    def do_GET(self):
        with suppress(ConnectionError):  # of a process that was killed
            super().do_GET()

    def copyfile(self, source, outputfile):
        if self.path[1:] == HELD:
            outputfile.write(source.read(len(TEXTS[HELD]) // 2))
            outputfile.flush()
            self.gate.reached.set()
            self.gate.opened.wait(120)
        super().copyfile(source, outputfile)
        self.gate.given[self.path[1:]] += 1

    def log_message(self, *_):
        """Say nothing."""


class Gate:
    """A web server that holds one document."""

    def __init__(self, root):
        self.given = Counter()
        self.reached = threading.Event()
        self.opened = threading.Event()
        handler = partial(Gated, self, directory=str(root))
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.uri = f"http://127.0.0.1:{self.server.server_port}/"


@pytest.fixture
def gate(tmp_path):
    get_store(tmp_path / "source", serialization_mode="raw").put_many(TEXTS)
    found = Gate(tmp_path / "source")
    thread = threading.Thread(target=found.server.serve_forever)
    thread.start()
    yield found
    found.opened.set()
    found.server.shutdown()
    thread.join()
    found.server.server_close()


@pytest.fixture(scope="module")
def broker():
    with redis() as server:
        yield server


@pytest.fixture(scope="module")
def hasty(broker, tmp_path_factory):
    """Workers that are given a step again after two seconds."""
    with CeleryDeployment(broker, tmp_path_factory.mktemp("hasty"), database=1, visibility_timeout=2) as found:
        yield found


@pytest.fixture(scope="module")
def patient(broker, tmp_path_factory):
    """Workers that are given no step again while the tests run."""
    with CeleryDeployment(broker, tmp_path_factory.mktemp("patient"), database=2, visibility_timeout=600) as found:
        yield found


@pytest.fixture(params=["crawl", "mirror"])
def kind(request):
    return request.param


@pytest.fixture
def target(tmp_path, kind):
    found = get_store(tmp_path / "target", serialization_mode="raw")
    if kind == "mirror":
        found.put_many({"a/old.txt": "not in the source", "held/old.txt": "not in the source either"})
    return found


@pytest.fixture
def work(tmp_path, kind, gate, target):
    """A job on Celery, its instance, and what it should have done."""
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        yield Work(tmp_path, kind, gate, target, instance)


class Work:
    """One job, which may be run again."""

    def __init__(self, home, kind, gate, target, instance):
        self.home, self.kind, self.gate, self.target, self.instance = home, kind, gate, target, instance
        arguments = (gate.uri, target.uri, str(home / "values"), "dagster_celery:celery_executor")
        name = {"crawl": "everything", "mirror": "mirror"}[kind]
        self.job = dg.build_reconstructable_job(
            sharded_jobs.__name__, name, arguments, reconstructor_working_directory=str(ROOT)
        )

    def run(self, deployment):
        """Run the job, and tell whether it has succeeded."""
        config = {"broker": deployment.uri, "backend": deployment.uri}
        with dg.execute_job(
            self.job,
            instance=self.instance,
            run_config={"execution": {"config": config}},
            raise_on_error=False,
        ) as result:
            return result.success

    def reach_gate(self, outcome):
        """Wait until one document is half there."""
        wait_until(lambda: self.gate.reached.is_set() or outcome.done())
        assert self.gate.reached.is_set(), outcome.result()
        assert not self.target.exists(HELD)

    def workers_given(self, step):
        """Name the workers that were given a step, one after the other."""
        events = [entry.dagster_event for run in self.instance.get_run_ids() for entry in self.instance.all_logs(run)]
        return [
            event.engine_event_data.metadata["Celery worker"].value
            for event in events
            if event and "in celery worker" in (event.message or "") and step in event.step_key
        ]

    def assert_is_whole(self):
        """Look whether the target has what the source has, byte for byte, and the asset says so."""
        found = {entry.key: self.target.get(entry.key) for entry in self.target.entries()}
        assert found == {key: text.encode() for key, text in TEXTS.items()}
        event = self.instance.get_latest_materialization_event(dg.AssetKey("files"))
        counts = {
            name: event.asset_materialization.metadata[f"anystore/{name}"].value
            for name in ("documents" if self.kind == "crawl" else "values", "failed")
        }
        assert list(counts.values()) == [len(TEXTS), 0]
        if self.kind == "crawl":
            assert get_store(self.home / "values").get("texts.value") == sorted(TEXTS)
            assert [run.complete for run in runs(self.target)] == [True]


def wait_until(is_true):
    for _ in range(1200):
        if is_true():
            return
        time.sleep(0.1)
    raise AssertionError("it has not happened")


def test_the_step_of_a_killed_worker_is_done_by_another_one(hasty, work, gate):
    with ThreadPoolExecutor(1) as pool:
        workers = hasty.have_workers(2)
        outcome = pool.submit(work.run, hasty)
        work.reach_gate(outcome)
        (busy,) = [worker for worker in workers if worker.name == work.workers_given(HELD_STEP)[-1]]
        busy.kill()
        gate.opened.set()
        assert outcome.result(timeout=120)
    work.assert_is_whole()
    assert len(set(work.workers_given(HELD_STEP))) == 2
    wait_until(hasty.is_idle)


def test_a_step_may_be_given_to_two_workers_at_once(hasty, work, gate):
    with ThreadPoolExecutor(1) as pool:
        hasty.have_workers(2)
        outcome = pool.submit(work.run, hasty)
        work.reach_gate(outcome)
        # the shard is at work, and given to the other worker, too
        wait_until(lambda: len(set(work.workers_given(HELD_STEP))) == 2)
        gate.opened.set()
        assert outcome.result(timeout=120)
    wait_until(hasty.is_idle)
    work.assert_is_whole()
    assert max(gate.given[key] for key in TEXTS) <= {"crawl": 1, "mirror": 2}[work.kind]


def test_a_second_run_completes_what_was_lost(patient, work, gate):
    with ThreadPoolExecutor(1) as pool:
        # not delivered again meanwhile: what is begun anew would hide from Dagster that it was lost
        (worker,) = patient.have_workers(1)
        outcome = pool.submit(work.run, patient)
        work.reach_gate(outcome)
        worker.kill_child()  # Celery says that the step is lost, and Dagster ends the run
        assert not outcome.result(timeout=120)
        gate.opened.set()
        assert work.run(patient)
    work.assert_is_whole()
