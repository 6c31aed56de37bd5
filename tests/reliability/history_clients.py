"""Clients that call one store at the same time, in threads and processes, and write down what they did and saw.

As a program it reads jobs, a JSON object a line. Each job runs in a fork of its own, which can be killed and has
connections of its own; what takes long to load is loaded once, before the first of them.
"""

import contextlib
import importlib
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from anystore import Feature, Store, get_store
from anystore.errors import AlreadyExists, DoesNotExist, Unsupported, VersionMismatch
from anystore.keys import parse_key
from tests.reliability.history import Call, Holding, write_begin, write_end, write_holding

PROCESSES = 4
KEYS = ("x", "y", "folder/z")
_SWITCH_SECONDS = 0.00002  # threads take turns in the middle of a call, also of a short one
_LOCK_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class Job:
    """What some clients do to a store.

    Attributes:
        folder: Where they write down what they do.
        clients: Their names; each is a thread.
        keys: The keys that they share.
        calls: How many calls each makes, or how often it takes the lock.
        seed: Of what is chosen by chance.
        width: How often each mark stands in a value one after the other: what makes values long.
        begin: The monotonic time at which all begin, or 0.
        lock: The name of the lock that they take, in place of the calls.
        uri: The store, for a process.
        config: Its ``backend_config``.
    """

    folder: str
    clients: list[str]
    keys: list[str] = field(default_factory=lambda: list(KEYS))
    calls: int = 30
    seed: int = 0
    width: int = 1
    begin: float = 0.0
    lock: str = ""
    uri: str = ""
    config: dict[str, Any] = field(default_factory=dict)


def run_threads(store: Store, job: Job) -> None:
    """Let each client of a job do its part in a thread.

    Raises:
        ExceptionGroup: If a client met an error that the contract does not name.
    """
    errors: list[Exception] = []

    def work(name: str) -> None:
        with open(Path(job.folder, f"{name}.calls"), "ab", buffering=0) as notes:
            client = _Client(store, job, name, notes.write)
            try:
                for _ in range(job.calls):
                    if job.lock:
                        client.take_lock()
                    else:
                        client.call()
            except Exception as error:  # noqa: BLE001 - a thread's errors are raised by whoever waits for it
                errors.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in job.clients]
    usual = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_SECONDS)
    try:
        time.sleep(max(0.0, job.begin - time.monotonic()))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(usual)
    if errors:
        raise ExceptionGroup(f"clients of {store.uri}", errors)


class _Client:
    """One client of the values: it calls what the store can do, by chance."""

    def __init__(self, store: Store, job: Job, name: str, note: Callable[[bytes], object]) -> None:
        self._store = store
        self._job = job
        self._name = name
        self._note = note
        self._chance = random.Random(f"{job.seed} {name}")
        self._made = 0
        self._known: dict[str, tuple[str, str]] = {}  # of each key a value that was seen, and its version
        features = store.features
        self._actions = ["get"] * 6 + ["put"] * 2 + ["delete"]
        self._actions += ["create"] * 2 * (Feature.CREATE in features) + ["swap"] * 4 * (Feature.SWAP in features)
        self._actions += ["take"] * 2 * (Feature.TAKE in features) + ["append"] * 2 * (Feature.APPEND in features)

    def call(self) -> None:
        """Make one call."""
        action, key = self._chance.choice(self._actions), self._chance.choice(self._job.keys)
        given, expected, version = "", None, ""
        if action == "swap":
            if key not in self._known:
                action = "get"
            else:
                expected, version = self._known[key]
        if action in ("put", "create", "swap", "append"):
            self._made += 1
            given = f"{self._name}.{self._made};"
        call = Call(
            client=self._name, action=action, key=key, given=given, expected=expected, began=time.monotonic_ns()
        )
        self._note(write_begin(call))
        answered = self._make(call, version)
        if answered is not None:
            self._note(write_end(replace(answered, ended=time.monotonic_ns())))

    def _make(self, call: Call, version: str) -> Call | None:
        """Make the call; None if it told nothing, which only a reader may do, whose value was replaced."""
        data = call.given.encode() * self._job.width
        match call.action:
            case "get":
                return self._get(call)
            case "take":
                found = self._store.pop(call.key, serialization_mode="raw", raise_on_nonexist=False)
                return replace(call, found=None if found is None else _shortened(found, self._job.width))
            case "delete":
                self._store.delete(call.key)
            case "append":
                self._store.append(call.key, data)
            case "put":
                self._remember(call, self._store.put(call.key, data, serialization_mode="raw").version)
            case "create" | "swap":
                condition: dict[str, Any] = {"if_absent": True} if call.action == "create" else {"if_version": version}
                try:
                    entry = self._store.put(call.key, data, serialization_mode="raw", **condition)
                except (AlreadyExists, VersionMismatch):
                    return replace(call, done=False)
                except Unsupported:  # what grew too long for a version is not what was read
                    if self._job.width == 1:
                        raise
                    return replace(call, done=False)
                self._remember(call, entry.version)
        return call

    def _remember(self, call: Call, version: str | None) -> None:
        if version is not None:
            self._known[call.key] = call.given, version

    def _get(self, call: Call) -> Call | None:
        try:
            if self._chance.random() < 0.3:
                data, version = self._store.get(call.key, serialization_mode="raw"), None
            else:
                with self._store.backend.reader(parse_key(call.key)) as reader:
                    data, version = b"".join(reader.read()), reader.entry.version
        except DoesNotExist:
            return call
        except VersionMismatch:
            return None
        found = _shortened(data, self._job.width)
        if version is not None:
            self._known[call.key] = found, version
        return replace(call, found=found)

    def take_lock(self) -> None:
        """Hold the lock for a moment, and write down when, and with which token."""
        lock = self._store.lock(self._job.lock, ttl=_LOCK_SECONDS)
        lock.acquire()
        entered = time.monotonic_ns()
        time.sleep(0.0005)
        left, held = time.monotonic_ns(), lock.held
        lock.release()
        self._note(write_holding(Holding(self._name, lock.token, entered, left, held=held)))


def _shortened(data: bytes, width: int) -> str:
    """Give the marks of a value, each once; what is not whole is told apart from every value there can be."""
    marks = []
    while data:
        mark = data[: data.find(b";") + 1]
        if not mark or not data.startswith(mark * width):
            return f"torn behind {''.join(marks)!r}: {data[:80]!r}"
        marks.append(mark.decode())
        data = data[len(mark) * width :]
    return "".join(marks)


# -- processes ---------------------------------------------------------------------


class Crew:
    """Processes that do jobs, each in a fork of its own."""

    def __init__(self, processes: list["subprocess.Popen[str]"]) -> None:
        self._processes = processes

    def run(self, jobs: list[Job], *, kill_after: float | None = None) -> list[str]:
        """Let each process do a job; kill one in the middle if seconds are given.

        Returns:
            What went wrong in each process, as a text; of the killed one the number of its signal.
        """
        begin = time.monotonic() + 0.05
        started = []
        for process, job in zip(self._processes, jobs, strict=True):
            self._tell(process, json.dumps(asdict(replace(job, begin=begin))))
            started.append(int(self._hear(process)))
        if kill_after is not None:
            time.sleep(max(0.0, begin + kill_after - time.monotonic()))
            with contextlib.suppress(ProcessLookupError):  # it was faster
                os.kill(started[0], 9)
        return [json.loads(self._hear(process)) for process in self._processes]

    @staticmethod
    def _tell(process: "subprocess.Popen[str]", line: str) -> None:
        process.stdin.write(line + "\n")
        process.stdin.flush()

    @staticmethod
    def _hear(process: "subprocess.Popen[str]") -> str:
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"a process of the crew ended: {process.wait()}")
        return line


@contextlib.contextmanager
def crew() -> Iterator[Crew]:
    """Start the processes; they end with the block."""
    argv = [sys.executable, "-m", "tests.reliability.history_clients"]
    root = Path(__file__).parents[2]
    options: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": root}
    environment = os.environ | {"PYTHONPATH": str(root)}
    with contextlib.ExitStack() as running:
        processes = [
            running.enter_context(subprocess.Popen(argv, env=environment, **options)) for _ in range(PROCESSES)
        ]
        running.callback(lambda: [process.stdin.close() for process in processes])  # which is what ends them
        yield Crew(processes)


def _serve() -> None:
    for name in ("local", "zip", "sql", "redis"):
        importlib.import_module(f"anystore.backends.{name}")
    for name in ("psycopg", "pymysql"):
        importlib.import_module(name)
    for line in sys.stdin:
        told, tell = os.pipe()
        child = os.fork()
        if not child:
            os.close(told)
            os._exit(_do(Job(**json.loads(line)), tell))
        os.close(tell)
        print(child, flush=True)
        with open(told, "rb") as wrong:
            text = wrong.read().decode()
        _, status = os.waitpid(child, 0)
        print(json.dumps(text or (f"ended with {status}" if status else "")), flush=True)


def _do(job: Job, tell: int) -> int:
    """Do a job, in a fork; tell what went wrong."""
    try:
        with get_store(job.uri, backend_config=job.config) as store:
            run_threads(store, job)
    except Exception as error:  # noqa: BLE001 - told to the parent, which fails
        parts = error.exceptions if isinstance(error, ExceptionGroup) else [error]
        os.write(tell, "\n".join(f"{type(one).__name__}: {one}" for one in parts)[:50_000].encode())
        return 1
    return 0


if __name__ == "__main__":
    _serve()
