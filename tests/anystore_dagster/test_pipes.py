"""A process outside of Dagster gets its context through a store, and reports through it while it runs."""

import json
import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import dagster as dg
import pytest

from anystore import get_store
from anystore.backends.memory import MemoryBackend
from anystore.errors import BackendError, InvalidOption, ReadOnlyError, Unsupported
from anystore.store import Store
from anystore_dagster import (
    AnystoreResource,
    PipesAnystoreContextInjector,
    PipesAnystoreContextLoader,
    PipesAnystoreMessageReader,
    PipesAnystoreMessageWriter,
)
from anystore_dagster.outside_pipes import CHUNK_BYTES, PARAMS, StoreChannel, chunk_key
from tests.places import SHARED, make_place

ROOT = Path(__file__).parents[2]
HEAD = """
import json, os, sys, time
from dagster_pipes import open_dagster_pipes
from anystore import get_store
from anystore_dagster import PipesAnystoreContextLoader, PipesAnystoreMessageWriter

store = get_store(os.environ["OUTSIDE_URI"], backend_config=json.loads(os.environ["OUTSIDE_CONFIG"]) or None)
loader, writer = PipesAnystoreContextLoader(store), PipesAnystoreMessageWriter(store, interval=0.05)
"""


class Outside:
    """Runs a script as an asset's process outside."""

    def __init__(self, uri, config, path):
        self.uri = uri
        self.config = config
        self.store = get_store(uri, backend_config=config or None)
        self._path = path

    def write(self, body):
        script = self._path / "outside.py"
        script.write_text(HEAD + textwrap.dedent(body))
        return [sys.executable, str(script)]

    def client(self, **options):
        resource = AnystoreResource(uri=self.uri, backend_config=self.config)
        reader = PipesAnystoreMessageReader(resource, **{"interval": 0.05, "grace": 0.5} | options)
        return dg.PipesSubprocessClient(
            env={
                "OUTSIDE_URI": self.uri,
                "OUTSIDE_CONFIG": json.dumps(self.config),
                "PYTHONPATH": str(ROOT),
            },
            context_injector=PipesAnystoreContextInjector(resource),
            message_reader=reader,
        )

    def run(self, body, *, raise_on_error=True, check_specs=(), **options):
        """Materialize an asset whose work is done outside; give the result, what was logged, and custom messages."""
        command = self.write(body)
        client = self.client(**options)
        custom = []

        @dg.asset(check_specs=check_specs)
        def report(context: dg.AssetExecutionContext):
            done = client.run(context=context, command=command, extras={"rows": 3, "not_a_number": float("nan")})
            custom.extend(done.get_custom_messages())
            yield from done.get_results()

        with dg.DagsterInstance.ephemeral() as instance:
            result = dg.materialize([report], instance=instance, raise_on_error=raise_on_error)
            events = instance.all_logs(result.run_id)
            errors = [str(event.dagster_event.event_specific_data) for event in events if event.dagster_event]
            return result, [event.user_message for event in events] + errors, custom


@pytest.fixture(params=SHARED)
def outside(request, tmp_path):
    return Outside(*make_place(request.param, request.getfixturevalue, tmp_path), tmp_path)


@pytest.fixture
def local(tmp_path):
    return Outside(str(tmp_path / "folder"), {}, tmp_path)


def test_the_context_goes_out_and_results_come_back(outside):
    result, logged, custom = outside.run(
        """
        with open_dagster_pipes(context_loader=loader, message_writer=writer) as pipes:
            assert pipes.asset_key == "report" and pipes.get_extra("rows") == 3
            assert pipes.get_extra("not_a_number") != pipes.get_extra("not_a_number")
            pipes.log.info("told by the outside")
            pipes.report_custom_message({"answer": 42, "large": 2**80})
            pipes.report_asset_check("plausible", passed=True, metadata={"rows": 3})
            pipes.report_asset_materialization(metadata={"rows": {"raw_value": 3, "type": "int"}}, data_version="v1")
        assert "dagster" not in sys.modules
        """,
        check_specs=[dg.AssetCheckSpec("plausible", asset="report")],
    )
    assert result.success
    assert "told by the outside" in logged
    (event,) = result.get_asset_materialization_events()
    assert event.materialization.metadata["rows"].value == 3
    assert event.materialization.tags["dagster/data_version"] == "v1"
    (evaluation,) = result.get_asset_check_evaluations()
    assert evaluation.passed
    assert custom == [{"answer": 42, "large": 2**80}]
    assert list(outside.store.iterate_keys()) == []


def test_messages_arrive_while_the_process_runs(outside, tmp_path):
    # the process goes on only when its first message has been handled here
    mark = tmp_path / "handled"

    class Telling(PipesAnystoreMessageReader):
        def on_opened(self, opened_payload):
            mark.touch()

    command = outside.write(
        f"""
        with open_dagster_pipes(context_loader=loader, message_writer=writer) as pipes:
            while not os.path.exists({str(mark)!r}):
                time.sleep(0.02)
            pipes.report_asset_materialization(metadata={{"waited": True}})
        """
    )
    client = outside.client()
    client.message_reader = Telling(outside.store, interval=0.05)

    @dg.asset
    def report(context: dg.AssetExecutionContext):
        return client.run(context=context, command=command).get_materialize_result()

    assert dg.materialize([report]).success


def test_a_killed_process_has_told_what_it_had_told(outside):
    result, logged, _ = outside.run(
        """
        from dagster_pipes import decode_param

        pipes = open_dagster_pipes(context_loader=loader, message_writer=writer)
        pipes.log.info("still there")
        folder = decode_param(os.environ["DAGSTER_PIPES_MESSAGES"])["anystore"]["folder"]
        while not any(b"still there" in data for _, data in store.using(serialization_mode="raw").get_many(
            list(store.iterate_keys(folder))
        )):
            time.sleep(0.02)
        os.kill(os.getpid(), 9)
        """,
        raise_on_error=False,
    )
    assert not result.success
    assert "still there" in logged
    assert any("failed with code -9" in text for text in logged)
    assert list(outside.store.iterate_keys()) == []


def test_large_and_many_messages_arrive_whole_and_in_order(outside):
    result, _, custom = outside.run(
        """
        with open_dagster_pipes(context_loader=loader, message_writer=writer) as pipes:
            pipes.report_custom_message("x" * (9 << 20))
            for number in range(2000):
                pipes.report_custom_message([number, "\\n\\u2028\\ud800"])
            pipes.report_asset_materialization()
        """
    )
    assert result.success
    assert custom[0] == "x" * (9 << 20)
    assert custom[1:] == [[number, "\n\u2028\ud800"] for number in range(2000)]


def test_a_process_that_fails_tells_why(local):
    result, logged, _ = local.run(
        """
        with open_dagster_pipes(context_loader=loader, message_writer=writer) as pipes:
            raise ValueError("no such table")
        """,
        raise_on_error=False,
    )
    assert not result.success
    assert any("no such table" in text for text in logged)


def test_what_is_printed_comes_along_if_it_is_asked_for(local, capfd):
    local.run(
        """
        with open_dagster_pipes(context_loader=loader, message_writer=writer) as pipes:
            print("printed outside")
            pipes.report_asset_materialization()
        """,
        include_stdio_in_messages=True,
    )
    assert "printed outside" in capfd.readouterr().out


def test_a_process_that_knows_nothing_of_pipes_is_named(local):
    _, logged, _ = local.run("pass", raise_on_error=False)
    assert any("PipesAnystoreMessageWriter" in text for text in logged)


def test_the_uri_is_enough_where_there_is_no_secret(local):
    result, _, _ = local.run(
        """
        os.chdir("/")
        with open_dagster_pipes(
            context_loader=PipesAnystoreContextLoader(), message_writer=PipesAnystoreMessageWriter()
        ) as pipes:
            pipes.report_asset_materialization()
        """
    )
    assert result.success


def test_a_folder_of_a_store_is_found_by_its_whole_keys(tmp_path):
    whole = get_store(f"sqlite:///{tmp_path}/store.db")
    injector = PipesAnystoreContextInjector(whole.under("team"))
    with injector.inject_context({"extras": {}}) as params:
        assert params[PARAMS]["key"].startswith("team/dagster.pipes/")
        assert list(whole.iterate_keys()) == [params[PARAMS]["key"]]
        for store in (None, whole, whole.under("team")):
            with PipesAnystoreContextLoader(store).load_context(params) as context:
                assert context == {"extras": {}}
    assert list(whole.iterate_keys()) == []


def test_no_secret_is_sent_and_its_lack_is_told(tmp_path, postgres_server):
    reader = PipesAnystoreMessageReader(postgres_server.url)
    with reader.read_messages(_Handler(closed=True)) as sent:
        assert postgres_server.password not in json.dumps(sent)
    sent[PARAMS]["key"] = "k"
    with pytest.raises(InvalidOption, match="store="), PipesAnystoreContextLoader().load_context(sent):
        pass
    with pytest.raises(InvalidOption, match="store="):
        PipesAnystoreMessageWriter().make_channel(sent)


class _Handler:
    """Gets messages in Dagster's place."""

    def __init__(self, *, closed=False):
        self.messages = []
        self.received_closed_message = closed

    def handle_message(self, message):
        self.messages.append(message)
        self.received_closed_message = message["method"] == "closed"

    def report_pipes_framework_exception(self, origin, exc_info):
        self.messages.append((origin, exc_info[1]))


@pytest.mark.parametrize("uri", ["memory://pipes", "sqlite:///:memory:", "sqlite://", "fsspec+memory://pipes"])
def test_a_store_of_this_process_alone_is_refused(uri):
    with pytest.raises(Unsupported, match="only by this process"), PipesAnystoreContextInjector(uri).inject_context({}):
        pass
    with (
        pytest.raises(Unsupported, match="only by this process"),
        PipesAnystoreMessageReader(uri).read_messages(_Handler()),
    ):
        pass


def test_a_store_that_is_only_read_is_refused(tmp_path):
    store = get_store(tmp_path, readonly=True)
    with pytest.raises(ReadOnlyError), PipesAnystoreContextInjector(store).inject_context({}):
        pass


def test_two_sides_that_do_not_match_are_told_so():
    with pytest.raises(InvalidOption, match="PipesAnystoreContextInjector"):
        PipesAnystoreContextLoader().load_context({"path": "/tmp/context"}).__enter__()
    with pytest.raises(InvalidOption, match="PipesAnystoreMessageReader"):
        PipesAnystoreMessageWriter().make_channel({"path": "/tmp/messages"})


def test_seconds_are_no_negative_numbers():
    with pytest.raises(InvalidOption, match="seconds"):
        PipesAnystoreMessageWriter(interval=-1)
    with pytest.raises(InvalidOption, match="seconds"):
        PipesAnystoreMessageReader("./data", grace=-1)


class _Failing(MemoryBackend):
    """A store whose next calls fail."""

    failures = 0

    def put(self, key, data, **options):
        self._fail()
        return super().put(key, data, **options)

    def get(self, key):
        self._fail()
        return super().get(key)

    def _fail(self):
        if self.failures:
            self.failures -= 1
            raise BackendError("the store is away")


def test_messages_wait_for_a_store_that_is_away():
    backend = _Failing("away")
    backend.failures = 2
    channel = StoreChannel(Store(backend), "f", interval=0)
    with channel.buffered_upload_loop():
        channel.write_message({"method": "log", "params": {"message": "1"}})
        channel.write_message({"method": "log", "params": {"message": "2"}})
    lines = b"\n".join(backend.get(key) for key in backend.keys("f/")).split(b"\n")
    assert [json.loads(line)["params"]["message"] for line in lines] == ["1", "2"]


def test_messages_that_are_lost_raise(monkeypatch):
    monkeypatch.setattr("anystore_dagster.outside_pipes._WAIT_AT_END", 0.001)
    backend = _Failing("gone")
    backend.failures = 1000
    channel = StoreChannel(Store(backend), "f", interval=0)
    with pytest.raises(BackendError, match="away"), channel.buffered_upload_loop():
        channel.write_message({"method": "closed", "params": {}})


def test_no_more_messages_wait_than_fit_into_memory(monkeypatch):
    monkeypatch.setattr("anystore_dagster.outside_pipes._BUFFERED_BYTES", 1000)
    monkeypatch.setattr("anystore_dagster.outside_pipes._WAIT_AT_END", 0.001)
    backend = _Failing("full")
    backend.failures = 1000
    channel = StoreChannel(Store(backend), "f", interval=0.001)

    def fill():
        with channel.buffered_upload_loop():
            for _ in range(100):
                channel.write_message({"method": "log", "params": {"message": "x" * 100}})

    with pytest.raises(BackendError, match="away"):
        fill()


def test_a_value_holds_no_more_than_a_chunk_of_messages(monkeypatch):
    monkeypatch.setattr("anystore_dagster.outside_pipes.CHUNK_BYTES", 1000)
    backend = MemoryBackend("chunks")
    channel = StoreChannel(Store(backend), "f", interval=1000)
    with channel.buffered_upload_loop():
        for number in range(100):
            channel.write_message({"method": "log", "params": {"message": f"{number} " + "x" * 100}})
    sizes = [len(backend.get(key)) for key in backend.keys("f/")]
    assert max(sizes) <= 1100
    assert list(backend.keys("f/")) == [chunk_key("f", number) for number in range(1, len(sizes) + 1)]
    assert CHUNK_BYTES == 8 << 20


def test_reading_goes_on_when_the_store_is_back(monkeypatch):
    backend = _Failing("reading")
    backend.put(chunk_key("f", 1), b'{"method": "log"}\n{"method": "closed"}')
    backend.failures = 3
    monkeypatch.setattr("anystore_dagster.pipes._open", lambda *_: (Store(backend), "f"))
    handler = _Handler()
    with PipesAnystoreMessageReader("unused", interval=0.01).read_messages(handler):
        pass
    assert [message["method"] for message in handler.messages] == ["log", "closed"]
    assert list(backend.keys()) == []


def test_messages_that_cannot_be_read_fail_the_step(monkeypatch):
    backend = _Failing("unreadable")
    monkeypatch.setattr("anystore_dagster.pipes._open", lambda *_: (Store(backend), "f"))
    backend.failures = 10**6
    reader = PipesAnystoreMessageReader("unused", interval=0.01, grace=0.05)
    with pytest.raises(BackendError, match="away"), reader.read_messages(_Handler()):
        pass


def test_the_error_of_the_process_comes_before_that_of_the_store(monkeypatch):
    backend = _Failing("both")
    monkeypatch.setattr("anystore_dagster.pipes._open", lambda *_: (Store(backend), "f"))
    backend.failures = 10**6
    handler = _Handler()
    with (
        pytest.raises(ZeroDivisionError),
        PipesAnystoreMessageReader("unused", interval=0.01).read_messages(handler),
    ):
        raise ZeroDivisionError
    ((origin, error),) = handler.messages
    assert "message reader" in origin
    assert isinstance(error, BackendError)


def test_the_outside_half_needs_no_dagster():
    code = (
        "import sys; sys.modules['dagster'] = sys.modules['dagster_shared'] = None\n"
        "from anystore_dagster import PipesAnystoreContextLoader, PipesAnystoreMessageWriter\n"
        "PipesAnystoreMessageWriter().make_channel({'anystore': {'uri': './x', 'folder': 'f'}})"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, env=os.environ)


def test_no_thread_is_left():
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("anystore-pipes")]
