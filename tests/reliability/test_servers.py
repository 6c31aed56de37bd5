"""A server that dies or freezes while it is written to: what it has confirmed is there, and the same store goes on."""

import contextlib
import os
import signal
import threading
import time
from pathlib import Path
from uuid import uuid4

import pymysql
import pytest

from anystore import get_store
from anystore.errors import AnystoreError
from tests.object_servers import BUCKET, moto
from tests.reliability.works import value_of
from tests.servers import free_port

SHORT, LONG = 1, 10
LONGEST_CALL = 60.0
FROZEN_SECONDS = 2.5
"""Longer than the timeouts below."""


class Processes:
    """A server of the fixtures, which is killed or stopped with all its processes."""

    def __init__(self, server, uri, config):
        self.server, self.uri, self.config = server, uri, config
        self.keeps = not uri.startswith("redis")  # the tests' Redis has nothing on disk

    def _family(self):
        found = [self.server.process.pid]
        for pid in found:
            with contextlib.suppress(OSError):
                found += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
        return found

    def _signal(self, number, processes):
        for pid in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill(self):
        processes = self._family()
        self._signal(signal.SIGKILL, processes)
        deadline = time.monotonic() + 30
        while any(_lives(pid) for pid in processes[1:]) and time.monotonic() < deadline:
            time.sleep(0.01)  # the next one does not start while one of them holds the memory they share
        self.server.stop()

    def start(self):
        self.server.start()

    def keep_all(self):
        """Have MariaDB write down what it confirms, until it is started again."""
        if self.uri.startswith("mysql"):
            login = {"host": self.server.host, "port": self.server.port, "user": self.server.user}
            with pymysql.connect(**login, password=self.server.password) as connection, connection.cursor() as cursor:
                cursor.execute("SET GLOBAL innodb_flush_log_at_trx_commit = 2")

    def freeze(self):
        self._signal(signal.SIGSTOP, self._family())

    def thaw(self):
        self._signal(signal.SIGCONT, self._family())


class OneBucket:
    """Moto, which forgets everything when it ends."""

    keeps = False

    def __init__(self):
        self._port, self._running = free_port(), contextlib.ExitStack()
        self.uri, self.config = f"s3://{BUCKET}/{uuid4().hex}", {}

    def start(self):
        server = self._running.enter_context(moto(self._port))
        self.config = server.config | {"timeout": 1, "connect_timeout": 1, "retries": 1}

    def keep_all(self):
        """Do nothing: there is nothing to keep it in."""

    def kill(self):
        self._running.close()


def _lives(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


# A moto that is frozen is as good as a connection that stalls, which stands in test_network.
TRIALS = [(what, kind) for kind in ("PostgreSQL", "MariaDB", "Redis") for what in ("killed", "frozen")]
TRIALS += [("killed", "S3 (moto)")]


@pytest.fixture
def power(kind, request):
    match kind:
        case "PostgreSQL" | "MariaDB":
            server = request.getfixturevalue("postgres_server" if kind == "PostgreSQL" else "mariadb_server")
            config = {"table": f"t{uuid4().hex[:12]}", "connect_timeout": 2, "timeout": 1, "pool_timeout": 5}
            if kind == "PostgreSQL":  # the fixtures' servers confirm before anything is written
                config["engine_kwargs"] = {"connect_args": {"options": "-c synchronous_commit=on"}}
            yield Processes(server, server.url, config)
        case "Redis":
            server = request.getfixturevalue("own_server")
            config = {"socket_timeout": 1, "socket_connect_timeout": 1}
            yield Processes(server, f"redis://127.0.0.1:{server.port}/0/{uuid4().hex}", config)
        case _:
            bucket = OneBucket()
            bucket.start()
            yield bucket
            bucket.kill()


class Writing:
    """A thread that writes one value after the other, whatever happens, and notes what was confirmed."""

    def __init__(self, store):
        self.store = store
        self.confirmed, self.refused, self.foreign, self.longest = [], [], [], 0.0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def _work(self):
        turn = 0
        while not self._end.is_set():
            turn += 1
            began = time.monotonic()
            try:
                self.store.put(f"v/{turn}", value_of(turn))
                self.confirmed.append(turn)
            except AnystoreError:
                self.refused.append(turn)
                self._end.wait(0.01)
            except BaseException as error:  # noqa: BLE001 - the subject: whatever is not ours
                self.foreign.append(error)
                return
            self.longest = max(self.longest, time.monotonic() - began)

    def wait_for(self, more):
        """Wait until so many more writes were confirmed; tell whether it came so far."""
        wanted, deadline = len(self.confirmed) + more, time.monotonic() + LONGEST_CALL
        while len(self.confirmed) < wanted and time.monotonic() < deadline and self._thread.is_alive():
            time.sleep(0.01)
        return len(self.confirmed) >= wanted

    def end(self):
        self._end.set()
        self._thread.join(LONGEST_CALL)
        return not self._thread.is_alive()


@pytest.mark.parametrize(("what", "kind"), TRIALS)
def test_server_in_the_middle_of_writes(what, kind, power, effort, chance, tally):  # noqa: PLR0917 - fixtures
    freezes = what == "frozen"
    tried = lost = 0
    for _ in effort.turns(SHORT, LONG):
        power.keep_all()
        store = get_store(power.uri, serialization_mode="raw", backend_config=power.config)
        writing = Writing(store.under(uuid4().hex))
        wrong = [] if writing.wait_for(5) else ["no writes before"]
        time.sleep(chance.uniform(0, 0.05))
        if freezes:
            power.freeze()
            time.sleep(FROZEN_SECONDS)
            power.thaw()
        else:
            power.kill()
            time.sleep(chance.uniform(0, 0.3))
            power.start()
        if not writing.wait_for(5):
            wrong.append("the same store does not go on")
        if not writing.end():
            wrong.append("a call does not end")
        wrong += writing.foreign
        if power.keeps or freezes:
            found = dict(writing.store.get_many(f"v/{turn}" for turn in writing.confirmed))
            wrong += [f"{turn} was confirmed, and is lost" for turn in writing.confirmed if not is_whole(found, turn)]
            half = dict(writing.store.get_many(f"v/{turn}" for turn in writing.refused))
            wrong += [f"{key} is half" for key, data in half.items() if data not in (None, value_of(int(key[2:])))]
        tried += len(writing.confirmed) + len(writing.refused)
        lost += len(wrong)
        print(f"{len(writing.confirmed)} confirmed, {len(writing.refused)} refused, {writing.longest:.1f} s: {wrong}")
    tally(f"writes to a server that was {what}, and came back", kind, tried=tried, lost=lost)


def is_whole(found, turn):
    return found.get(f"v/{turn}") == value_of(turn)
