"""What steps print goes into a store, and is read on other machines, also while it is printed."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster._core.storage.compute_log_manager import ComputeIOType
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager

from anystore import get_store
from anystore.backends.memory import MemoryBackend
from anystore.errors import BackendError, InvalidOption, InvalidUri, Unsupported
from anystore.store import Store
from anystore_dagster import AnystoreComputeLogManager
from anystore_dagster.stored_logs import StoredLogs
from tests.places import SHARED, make_place

ROOT = Path(__file__).parents[2]
OUT, ERR = ComputeIOType.STDOUT, ComputeIOType.STDERR

JOB = """
import sys
import dagster as dg

@dg.op
def one():
    print("printed by one, ü")
    print("complained by one", file=sys.stderr)

@dg.op(ins={"after": dg.In(dg.Nothing)})
def two():
    print("printed by two")
    raise ValueError("two has failed")

@dg.job
def work():
    two(one())

@dg.job(executor_def=dg.in_process_executor)
def work_here():
    two(one())

if __name__ == "__main__":
    with dg.DagsterInstance.get() as instance:
        job = dg.reconstructable(globals()[sys.argv[1]])
        with dg.execute_job(job, instance=instance) as result:
            print(result.run_id)
"""

READER = """
import json, sys
import dagster as dg
from dagster._core.events import DagsterEventType
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import EmptyWorkspaceTarget
from dagster_webserver.webserver import DagsterWebserver
from starlette.testclient import TestClient

QUERY = '''query($key: [String!]!) {
    capturedLogs(logKey: $key) { stdout stderr }
    capturedLogsMetadata(logKey: $key) { stdoutLocation stdoutDownloadUrl stderrDownloadUrl }
}'''
found = []
with dg.DagsterInstance.get() as instance:
    records = instance.get_records_for_run(sys.argv[1], of_type=DagsterEventType.LOGS_CAPTURED).records
    captured = [record.event_log_entry.dagster_event.logs_captured_data for record in records]
    manager = instance.compute_log_manager
    keys = [manager.build_log_key_for_run(sys.argv[1], one.file_key) for one in captured]
    with WorkspaceProcessContext(instance, EmptyWorkspaceTarget()) as process:
        page = TestClient(DagsterWebserver(process).create_asgi_app())
        for key in keys:
            answer = page.post("/graphql", json={"query": QUERY, "variables": {"key": key}}).json()["data"]
            url = answer["capturedLogsMetadata"]["stdoutDownloadUrl"]
            found.append(answer | {
                "complete": manager.is_capture_complete(key),
                "download": page.get(url).text if url else None,
                "missing": page.get(f"/logs/{'/'.join(key[:-1])}/other/out").status_code,
            })
        info = page.post("/graphql", json={"query": "{ instance { info } }"}).text
    print(json.dumps({"logs": found, "info": info}))
"""


@pytest.fixture(params=SHARED)
def place(request, tmp_path):
    return make_place(request.param, request.getfixturevalue, tmp_path)


def write_home(path, uri, options, **config):
    """Make a DAGSTER_HOME whose compute logs are in a store; give the environment of its processes."""
    environment = {f"LOGS_{name.upper()}": str(value) for name, value in options.items()} | {"LOGS_URI": uri}
    config |= {
        "uri": {"env": "LOGS_URI"},
        "backend_config": {name: {"env": f"LOGS_{name.upper()}"} for name in options},
    }
    (home := path / "home").mkdir()
    (home / "dagster.yaml").write_text(
        yaml.safe_dump(
            {
                "compute_logs": {
                    "module": "anystore_dagster",
                    "class": "AnystoreComputeLogManager",
                    "config": config,
                },
                "telemetry": {"enabled": False},
            }
        )
    )
    (path / "job.py").write_text(JOB)
    (path / "reader.py").write_text(READER)
    return os.environ | environment | {"DAGSTER_HOME": str(home), "PYTHONPATH": str(ROOT)}


def run(path, environment, script, *arguments):
    """Run a script as if on a machine of its own: with other temporary files."""
    temporary = path / f"tmp-{script}"
    temporary.mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, str(path / script), *arguments],
        cwd=path, env=environment | {"TMPDIR": str(temporary)}, check=False,
        capture_output=True, text=True, errors="replace",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


@pytest.mark.parametrize(("kind", "job"), [("folder", "work_here"), *((kind, "work") for kind in SHARED)])
def test_another_machine_shows_what_a_run_printed(kind, job, request, tmp_path):
    uri, options = make_place(kind, request.getfixturevalue, tmp_path)
    environment = write_home(tmp_path, uri, options, prefix="logs of/dagster")
    run_id = run(tmp_path, environment, "job.py", job)
    answer = json.loads(run(tmp_path, environment, "reader.py", run_id))
    logs = answer["logs"]
    assert len(logs) == (2 if job == "work" else 1)  # an executor of many processes captures each step
    stdout = "".join(one["capturedLogs"]["stdout"] or "" for one in logs)
    stderr = "".join(one["capturedLogs"]["stderr"] or "" for one in logs)
    assert "printed by one, ü\n" in stdout
    assert "printed by two\n" in stdout
    assert "complained by one\n" in stderr
    assert "two has failed" in stderr
    assert "".join(one["download"] or "" for one in logs) == stdout
    assert all(one["complete"] and one["missing"] == 404 for one in logs)
    assert all("logs%20of/dagster" in one["capturedLogsMetadata"]["stdoutLocation"].replace(" ", "%20") for one in logs)
    # nothing is left on the machine of the run, nor parts in the store
    assert [path for path in (tmp_path / "tmp-job.py").rglob("*") if path.is_file()] == []
    store = get_store(uri, backend_config=options or None)
    assert [key for key in store.iterate_keys() if ".parts/" in key] == []
    secrets = [text for name, text in environment.items() if name in ("LOGS_SECRET", "LOGS_URI") and "@" in text]
    secrets += [environment["LOGS_SECRET"]] if "LOGS_SECRET" in environment else []
    files = [path.read_bytes() for path in (tmp_path / "home").rglob("*") if path.is_file()]
    for secret in secrets:
        assert secret not in answer["info"]
        assert not any(secret.encode() in data for data in files)


UNLUCKY = """
import os, sys, time
import dagster as dg

@dg.op(retry_policy=dg.RetryPolicy(max_retries=1))
def retried(context):
    sys.stdout.buffer.write(b"attempt %d \\xff\\n" % context.retry_number)
    if context.retry_number == 0:
        raise ValueError("once more")

@dg.op(ins={"after": dg.In(dg.Nothing)})
def killed():
    print("before the end", flush=True)
    manager = dg.DagsterInstance.get().compute_log_manager
    while not any(b"before the end" in value for value in manager._logs._store.using(
        serialization_mode="raw").iterate_values(glob="**/stdout.parts/*")):
        time.sleep(0.02)
    os.kill(os.getpid(), 9)

@dg.job
def unlucky():
    killed(retried())

if __name__ == "__main__":
    with dg.DagsterInstance.get() as instance:
        with dg.execute_job(dg.reconstructable(unlucky), instance=instance) as result:
            print(result.run_id)
"""


def test_each_attempt_of_a_step_and_one_that_was_killed_have_their_output(tmp_path):
    store = tmp_path / "store"
    environment = write_home(tmp_path, str(store), {}, upload_interval=0.05)
    (tmp_path / "unlucky.py").write_text(UNLUCKY)
    run_id = run(tmp_path, environment, "unlucky.py")
    manager = AnystoreComputeLogManager(str(store), local_dir=str(tmp_path / "local"))
    keys = manager.get_log_keys_for_log_key_prefix([run_id, "compute_logs"], OUT)
    found = {manager.get_log_data(key).stdout: manager.is_capture_complete(key) for key in keys}
    assert found == {b"attempt 0 \xff\n": True, b"attempt 1 \xff\n": True, b"before the end\n": False}


# -- one manager -----------------------------------------------------------------


@pytest.fixture
def managers(place, tmp_path):
    """Make managers of one store that are on machines of their own."""
    uri, options = place
    made = []

    def make(name, **config):
        config = {"upload_interval": 0.05, "local_dir": str(tmp_path / name)} | config
        made.append(AnystoreComputeLogManager(uri, backend_config=options, **config))
        return made[-1]

    yield make
    for manager in made:
        manager.dispose()


KEY = ["run", "compute_logs", "step"]


def until(check):
    """Wait for something to be so."""
    deadline = time.monotonic() + 60
    while not (found := check()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def test_output_is_read_elsewhere_while_it_is_printed(managers):
    here, there = managers("here"), managers("there")
    with here.open_log_stream(["run", "x"], OUT):
        pass  # nothing was printed
    assert there.is_capture_complete(["run", "x"])
    assert there.get_log_data_for_type(["run", "x"], OUT, 0, None) == (None, 0)

    with here._uploading(KEY), here.local_manager.open_log_stream(KEY, OUT) as file:
        file.write("first, ü\n")
        file.flush()
        assert until(lambda: there.get_log_data(KEY).stdout) == "first, ü\n".encode()
        assert here.get_log_data(KEY).stdout == "first, ü\n".encode()
        file.write("second\n")
        file.flush()
        until(lambda: b"second" in (there.get_log_data(KEY).stdout or b""))
        assert not there.is_capture_complete(KEY)
        # any part of it, across the values that it was uploaded as
        whole = "first, ü\nsecond\n".encode()
        for start in range(len(whole) + 2):
            for most in (None, 0, 1, 3, 10, 100):
                data, end = there.get_log_data_for_type(KEY, OUT, start, most)
                assert data == whole[start : None if most is None else start + most]
                assert end == start + len(data)
        assert there.cloud_storage_has_logs(KEY, OUT, partial=True)
        assert there.download_url_for_type(KEY, OUT) is None
    here._finish(KEY)
    assert there.is_capture_complete(KEY)
    assert there.get_log_data(KEY).stdout == whole
    assert there.get_log_data(KEY, cursor="6:0", max_bytes=4).stdout == whole[6:10]
    assert not there.cloud_storage_has_logs(KEY, OUT, partial=True)
    assert there.download_url_for_type(KEY, OUT) == "/logs/run/compute_logs/step/out"
    assert there.download_url_for_type(KEY, ERR) is None


def test_what_follows_output_is_told_of_its_end(managers):
    here, there = managers("here"), managers("there")
    got, ended = [], threading.Event()

    def observe(data):
        got.append(data.stdout or b"")
        if subscription.is_complete:
            ended.set()

    with here._uploading(KEY), here.local_manager.open_log_stream(KEY, OUT) as file:
        file.write("one\n")
        file.flush()
        subscription = there.subscribe(KEY)
        subscription(observe)
        until(lambda: b"one\n" in b"".join(got))
        file.write("two\n")
    here._finish(KEY)
    assert ended.wait(60)
    assert b"".join(got) == b"one\ntwo\n"
    subscription.dispose()

    late = there.subscribe(KEY)
    everything = []
    late(lambda data: everything.append((data.stdout, late.is_complete)))
    assert everything[0] == (b"one\ntwo\n", False)
    assert everything[-1] == (None, True)


def test_names_are_only_names(managers):
    here, there = managers("here"), managers("there")
    names = ["..", "a/b", "a", "a.logs", "stdout", "x" * 300, "ü" * 200, " #%?", "\ud800", "", "complete", ".hidden"]
    keys = [[first, second] for first in names for second in names[:8]] + [["a"], ["a.logs", "stdout", "z"]]
    for number, key in enumerate(keys):
        with here.open_log_stream(key, OUT) as file:
            file.write(f"{number}")
    assert [there.get_log_data(key).stdout for key in keys] == [str(number).encode() for number in range(len(keys))]
    assert there.get_log_keys_for_log_key_prefix(["a"], OUT) == sorted(
        ["a", name] for name in names[:8] if len(name) < 200
    )
    there.delete_logs(log_key=["a", "a"])
    assert not there.is_capture_complete(["a", "a"])
    there.delete_logs(prefix=["a"])
    left = [there.is_capture_complete(key) for key in keys]
    assert left == [key[0] != "a" or len(key) == 1 for key in keys]


def test_lines_of_several_log_keys_are_read_as_one(managers):
    here = managers("here")
    for number in range(3):
        with here.open_log_stream(["backfill", "b1", f"{number}"], ERR) as file:
            file.write(f"{number}a\n{number}b")
    lines, cursor = here.read_log_lines_for_log_key_prefix(["backfill", "b1"], None, ERR)
    assert lines == ["0a", "0b", "1a", "1b", "2a", "2b"]
    assert not cursor.has_more_now
    assert here.get_log_keys_for_log_key_prefix(["backfill", "b1"], OUT) == []


# -- on a folder alone --------------------------------------------------------------


@pytest.fixture
def local(tmp_path):
    def make(**config):
        return AnystoreComputeLogManager(
            str(tmp_path / "store"), **({"local_dir": str(tmp_path / "local"), "upload_interval": 0.05} | config)
        )

    return make


def test_output_of_a_block_that_fails_is_kept(local, capfd):
    manager = local()
    with pytest.raises(KeyboardInterrupt), manager.capture_logs(KEY) as context:
        assert context.log_key == KEY
        print("before the end", flush=True)
        raise KeyboardInterrupt
    assert manager.get_log_data(KEY).stdout == b"before the end\n"
    assert manager.is_capture_complete(KEY)
    assert not manager.has_local_file(KEY, OUT)
    assert not [thread for thread in threading.enumerate() if thread.name == "anystore-compute-logs"]


class Broken(MemoryBackend):
    """A store that takes nothing for a while."""

    broken = True

    def put(self, key, data, **options):
        self._fail()
        return super().put(key, data, **options)

    def writer(self, key, **options):
        self._fail()
        return super().writer(key, **options)

    def _fail(self):
        if self.broken:
            raise BackendError("the store is away")


def test_a_store_that_fails_costs_no_run_and_no_output(local, capfd, caplog):
    manager = local()
    manager._logs = StoredLogs(Store(Broken("broken-logs")))
    with manager.capture_logs(KEY):
        print("kept here", flush=True)
        until(lambda: "will try again" in caplog.text)
    assert caplog.text.count("will try again") == 1
    assert "it stays on this machine" in caplog.text
    assert manager.get_log_data(KEY).stdout == b"kept here\n"
    assert manager.is_capture_complete(KEY)


class Silent(MemoryBackend):
    """A store that takes what it is given, and never answers."""

    def __init__(self, name):
        super().__init__(name)
        self.answer = threading.Event()

    def put(self, key, data, **options):
        self.answer.wait()
        return super().put(key, data, **options)

    def writer(self, key, **options):
        self.answer.wait()
        return super().writer(key, **options)


def test_a_store_that_never_answers_does_not_keep_a_step(local, capfd, caplog, monkeypatch):
    monkeypatch.setattr("anystore_dagster.compute_logs._PATIENCE", 0.3)
    manager = local()
    manager._logs = StoredLogs(Store(backend := Silent("silent-logs")))
    with manager.capture_logs(KEY):
        print("kept here", flush=True)
        time.sleep(0.1)  # until it is being uploaded
    assert "it stays on this machine" in caplog.text
    assert "within 0 seconds" in caplog.text
    assert manager.get_log_data(KEY).stdout == b"kept here\n"
    backend.answer.set()


def test_a_step_that_removes_the_files_does_not_fail(local, capfd, tmp_path, caplog):
    manager = local(upload_interval=0)
    with manager.capture_logs(KEY):
        print("soon gone", flush=True)
        folder = manager.local_path(KEY, OUT).parent
        (folder / "out").unlink()
        (folder / "out").mkdir()  # so that it can be neither read nor deleted as a file
    assert "it stays on this machine" in caplog.text


def test_bytes_that_are_no_text_are_kept(local, capfd):
    manager = local()
    with manager.capture_logs(KEY):
        sys.stdout.buffer.write(b"\xff\xfe \x00 \xc3")
        sys.stdout.flush()
    assert manager.get_log_data(KEY).stdout == b"\xff\xfe \x00 \xc3"


def test_uploading_goes_on_where_it_failed(local, caplog):
    manager = local()
    backend = Broken("recovering-logs")
    manager._logs = logs = StoredLogs(Store(backend))
    with manager._uploading(KEY), manager.local_manager.open_log_stream(KEY, OUT) as file:
        file.write("one\n")
        file.flush()
        until(lambda: "will try again" in caplog.text)
        backend.broken = False
        assert until(lambda: logs.read(KEY, "stdout", start=0, most=None)) == b"one\n"


def test_a_killed_process_leaves_what_it_had_uploaded(tmp_path):
    code = f"""
import os, time
from dagster._core.storage.compute_log_manager import ComputeIOType
from anystore_dagster import AnystoreComputeLogManager

store, folder, key = {str(tmp_path / "store")!r}, {str(tmp_path / "a")!r}, {KEY!r}
manager = AnystoreComputeLogManager(store, local_dir=folder, upload_interval=0.05)
with manager.capture_logs(key):
    os.write(1, b"the last words")
    while not manager.cloud_storage_has_logs(key, ComputeIOType.STDOUT, partial=True):
        time.sleep(0.02)
    os.kill(os.getpid(), 9)
"""
    subprocess.run([sys.executable, "-c", code], check=False, cwd=ROOT, capture_output=True)
    there = AnystoreComputeLogManager(str(tmp_path / "store"), local_dir=str(tmp_path / "b"))
    assert there.get_log_data(KEY).stdout == b"the last words"
    assert not there.is_capture_complete(KEY)


def test_nothing_is_uploaded_before_the_end_without_an_interval(local):
    for interval in (0, None):
        manager = local(upload_interval=interval)
        with manager._uploading(KEY):
            assert not [thread for thread in threading.enumerate() if thread.name == "anystore-compute-logs"]


def test_much_output_is_uploaded_once_and_in_pieces(tmp_path):
    backend = MemoryBackend("much-output")
    logs = StoredLogs(Store(backend))
    (path := tmp_path / "out").write_bytes(b"x" * (20 << 20))
    with path.open("rb") as file:
        reached = logs.add_part(KEY, "stdout", start=0, file=file)
    with path.open("ab") as file:
        file.write(b"y")
    with path.open("rb") as file:
        assert logs.add_part(KEY, "stdout", start=reached, file=file) == (20 << 20) + 1
        assert logs.add_part(KEY, "stdout", start=(20 << 20) + 1, file=file) == (20 << 20) + 1
    sizes = [len(backend.get(key)) for key in list(backend.keys())]
    assert sizes == [8 << 20, 8 << 20, 4 << 20, 1]
    logs.finish(KEY, {"stdout": path, "stderr": tmp_path / "none"})
    assert [key.rpartition("/")[2] for key in list(backend.keys())] == ["complete", "stdout"]


def test_parts_that_were_written_twice_are_read_once(tmp_path):
    store = Store(MemoryBackend("twice"))
    logs = StoredLogs(store)
    (path := tmp_path / "out").write_bytes(b"0123456789")
    with path.open("rb") as file:
        logs.add_part(KEY, "stdout", start=4, file=file)
        logs.add_part(KEY, "stdout", start=0, file=file)  # by a process that began anew
    assert logs.read(KEY, "stdout", start=0, most=None) == b"0123456789"
    assert logs.read(KEY, "stdout", start=2, most=4) == b"2345"


def test_what_cannot_be_logged_to_is_refused(tmp_path):
    for uri in ("memory://logs", "sqlite:///:memory:", "sqlite://", "fsspec+memory://logs"):
        with pytest.raises(Unsupported, match="process"):
            AnystoreComputeLogManager(uri)
    with pytest.raises(InvalidOption, match="absolute"):
        AnystoreComputeLogManager("logs")
    with pytest.raises(InvalidOption, match="upload_interval"):
        AnystoreComputeLogManager(str(tmp_path), upload_interval=-1)
    with pytest.raises(InvalidUri):
        AnystoreComputeLogManager("nosuch://place")
    with pytest.raises(InvalidOption, match="LOGS_NO"):
        AnystoreComputeLogManager("redis://h/0", backend_config={"password": {"env": "LOGS_NO"}})
    with pytest.raises(InvalidOption, match="log_key or a prefix"):
        AnystoreComputeLogManager(str(tmp_path)).delete_logs()


@pytest.mark.parametrize(
    "config",
    [
        {"uri": "redis://:hunter2@127.0.0.1/0"},
        {"uri": "redis://127.0.0.1/0", "backend_config": {"password": "hunter2"}},
    ],
)
def test_a_secret_in_dagster_yaml_is_refused(config, tmp_path):
    """Dagster shows this file on a page."""
    (tmp_path / "dagster.yaml").write_text(
        yaml.safe_dump(
            {
                "compute_logs": {
                    "module": "anystore_dagster",
                    "class": "AnystoreComputeLogManager",
                    "config": config,
                }
            }
        )
    )
    with (
        dg.DagsterInstance.from_config(str(tmp_path)) as instance,
        pytest.raises(InvalidOption, match="env: STORE_") as caught,
    ):
        assert instance.compute_log_manager
    assert "hunter2" not in str(caught.value)


def test_the_temporary_folder_is_nobody_elses(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    manager = AnystoreComputeLogManager(str(tmp_path / "store"))
    assert isinstance(manager.local_manager, LocalComputeLogManager)
    (ours,) = tmp_path.glob("anystore-compute-logs-*")
    assert ours.stat().st_mode & 0o777 == 0o700
    other = AnystoreComputeLogManager(str(tmp_path / "other"))
    assert other.local_path(KEY, OUT) != manager.local_path(KEY, OUT)
    ours.chmod(0o755)
    with pytest.raises(InvalidOption, match="local_dir"):
        AnystoreComputeLogManager(str(tmp_path / "store"))
    ours.rmdir()
    ours.symlink_to(tmp_path)
    with pytest.raises(InvalidOption, match="local_dir"):
        AnystoreComputeLogManager(str(tmp_path / "store"))
