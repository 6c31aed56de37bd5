"""Calls of many clients at once look as if one came after the other, on each backend; and what is wrong is found."""

import time
from itertools import count
from pathlib import Path

import pytest

from anystore import Store, get_store
from anystore.backends.memory import MemoryBackend
from anystore.errors import DoesNotExist
from tests.places import make_place
from tests.reliability import history
from tests.reliability.grounds import SHOWN
from tests.reliability.history import (
    Call,
    Holding,
    TooWide,
    count_overlaps,
    find_fault,
    find_fault_of_lock,
    read_calls,
    read_holdings,
)
from tests.reliability.history_clients import KEYS, PROCESSES, Job, crew, run_threads

THREADS = [f"t{number}" for number in range(8)]
LONG = 60_000  # times a mark of four letters or more: in a database a value of several chunks


@pytest.fixture(scope="module")
def processes():
    with crew() as running:
        yield running


@pytest.fixture
def notes(tmp_path):
    """Give a new folder for what the clients of one round write down."""
    numbers = count()

    def make():
        folder = tmp_path / f"notes-{next(numbers)}"
        folder.mkdir()
        return folder

    return make


class Rounds:
    """Rounds of clients at one store, and what was found in them."""

    def __init__(self, kind, place, notes, seed):
        self.kind, self.place, self.notes, self.seed = kind, place, notes, seed
        self.store = get_store(place[0], backend_config=place[1])
        self.tried = self.overlaps = 0

    def jobs(self, clients, **options):
        """Make the jobs of one round, whose clients write to one folder."""
        self.folder = self.notes()
        uri, config = self.place
        common = {"folder": str(self.folder), "seed": self.seed(), "uri": uri, "config": config} | options
        return [Job(clients=names, **common) for names in clients]

    def clear(self):
        for key in KEYS:
            self.store.delete(key)

    def check(self):
        """Look for an order that explains the round."""
        made = read_calls(self.folder)
        fault = find_fault(made)
        assert not fault, fault
        self.tried += len(made)
        self.overlaps += count_overlaps(made)


# moto compares a version and writes in two steps, between which another of its threads may write.
MANY_AT_ONCE = [kind for kind in SHOWN if kind != "moto"]


@pytest.fixture(params=MANY_AT_ONCE)
def rounds(request, tmp_path, notes, chance):
    place = make_place(request.param, request.getfixturevalue, tmp_path)
    made = Rounds(request.param, place, notes, lambda: chance.getrandbits(32))
    yield made
    made.store.backend.close()


def sizes(turn):
    """Let each fifth round have long values."""
    return {"width": LONG, "calls": 6} if turn % 5 == 1 else {"width": 1, "calls": 25}


BY_PROCESS = [[f"p{number}a", f"p{number}b"] for number in range(PROCESSES)]
SHARED = [kind for kind in MANY_AT_ONCE if kind != "memory"]


class TestEachBackend:
    def test_threads(self, rounds, effort, tally):
        for turn in effort.turns(2, 200):
            rounds.clear()
            (job,) = rounds.jobs([THREADS], **sizes(turn))
            run_threads(rounds.store, job)
            rounds.check()
        assert rounds.overlaps > rounds.tried / 100, "the calls came one after the other: nothing was tried"
        tally("calls of 8 threads, in an order that explains them", SHOWN[rounds.kind], tried=rounds.tried, lost=0)

    @pytest.mark.parametrize("rounds", SHARED, indirect=True)
    def test_processes_of_which_one_is_killed(self, rounds, processes, effort, chance, tally):
        for turn in effort.turns(2, 150):
            rounds.clear()
            kill_after = None if turn % 2 == 0 else chance.uniform(0.0, 0.1)
            wrong = processes.run(rounds.jobs(BY_PROCESS, **sizes(turn)), kill_after=kill_after)
            assert wrong[0] in ("", "ended with 9" if kill_after is not None else "")
            assert wrong[1:] == [""] * (PROCESSES - 1)
            rounds.check()
        assert rounds.overlaps > rounds.tried / 100, "the calls came one after the other: nothing was tried"
        what = "calls of 4 processes, one killed, in an order that explains them"
        tally(what, SHOWN[rounds.kind], tried=rounds.tried, lost=0)

    def test_locks(self, rounds, processes, effort, tally):
        turns = effort.times(2, 40)
        if rounds.kind == "memory":
            (job,) = rounds.jobs([THREADS], calls=turns, lock="jobs/one")
            run_threads(rounds.store, job)
        else:
            wrong = processes.run(rounds.jobs(BY_PROCESS, calls=turns, lock="jobs/one"))
            assert wrong == [""] * PROCESSES
        held = read_holdings(rounds.folder)
        fault = find_fault_of_lock(held)
        assert not fault, fault
        assert len(held) == turns * 8
        what = "locks of 8 waiters, one holder at a time and rising tokens"
        tally(what, SHOWN[rounds.kind], tried=len(held), lost=0)


class Broken(MemoryBackend):
    """A dict whose steps are not whole; the pauses let others in between."""


class StaleReads(Broken):
    def get(self, key):
        data = super().get(key)
        time.sleep(0.002)
        return data

    def reader(self, key):
        old = super().reader(key)
        time.sleep(0.002)
        before = getattr(self, "_before", {})
        self._before = before | {key: old}
        return before.get(key, old)


class IgnoresVersions(Broken):
    def put(self, key, data, *, create=False, version=None, ttl=None):
        time.sleep(0.002)
        return super().put(key, data, create=create, ttl=ttl)


class CreatesInTwoSteps(Broken):
    def put(self, key, data, *, create=False, version=None, ttl=None):
        if create and not self.exists(key):
            time.sleep(0.001)
            create = False
        return super().put(key, data, create=create, version=version, ttl=ttl)


class TakesInTwoSteps(Broken):
    def take(self, key):
        data = self.get(key)
        time.sleep(0.001)
        self.delete(key)
        return data


class AppendsInTwoSteps(Broken):
    def append(self, key, data):
        try:
            old = self.get(key)
        except DoesNotExist:
            old = b""
        time.sleep(0.001)
        self.put(key, old + data)


class LosesWrites(Broken):
    def put(self, key, data, *, create=False, version=None, ttl=None):
        time.sleep(0.0005)
        entry = super().put(key, data, create=create, version=version, ttl=ttl)
        if data.endswith(b"3;"):
            self.delete(key)
        return entry


class TearsValues(Broken):
    def put(self, key, data, *, create=False, version=None, ttl=None):
        time.sleep(0.0005)
        super().put(key, data[: len(data) // 2], create=create, version=version, ttl=ttl)
        time.sleep(0.0005)
        return super().put(key, data)


class TestBrokenBackendsAreFound:
    @pytest.mark.parametrize("broken", Broken.__subclasses__())
    def test_values(self, broken, notes, tmp_path, chance):
        for turn in range(20):
            folder = notes()
            store = Store(broken(f"{tmp_path}/{turn}"))
            run_threads(store, Job(folder=str(folder), clients=THREADS, calls=40, width=2, seed=chance.getrandbits(32)))
            if find_fault(read_calls(folder)):
                return
        pytest.fail(f"{broken.__name__} was taken for right")

    def test_locks(self, notes, tmp_path):
        for turn in range(20):
            folder = notes()
            store = Store(IgnoresVersions(f"{tmp_path}/{turn}"))
            run_threads(store, Job(folder=str(folder), clients=THREADS, calls=2, lock="one"))
            if find_fault_of_lock(read_holdings(folder)):
                return
        pytest.fail("two may hold the lock at once, and nobody saw it")


def calls(*rows):
    """Make calls for one key of rows: client, action, given or found, began, ended, and more."""
    made = []
    for client, action, text, began, ended, *more in rows:
        of_action = {"found": text} if action in ("get", "take") else {"given": text or ""}
        options = more[0] if more else {}
        made.append(Call(client=client, action=action, key="k", began=began, ended=ended, **of_action, **options))
    return made


RIGHT = {
    "reads see what was written": calls(("a", "put", "1", 0, 1), ("b", "get", "1", 2, 3), ("b", "take", "1", 4, 5)),
    "a read may be before or after a write beside it": calls(
        ("a", "put", "1", 0, 9), ("b", "get", None, 1, 2), ("b", "get", "1", 3, 4)
    ),
    "appends beside each other in the order that is read": calls(
        ("a", "append", "1", 0, 9), ("b", "append", "2", 0, 9), ("c", "append", "3", 0, 9), ("d", "get", "231", 10, 11)
    ),
    "what was not answered may have an effect much later": calls(
        ("a", "put", "1", 0, None), ("b", "get", None, 5, 6), ("b", "get", "1", 7, 8)
    ),
    "or never": calls(("a", "put", "1", 0, None), ("b", "get", None, 5, 6), ("b", "get", None, 7, 8)),
    "one swap of two": calls(
        ("a", "put", "0", 0, 1),
        ("a", "swap", "1", 2, 5, {"expected": "0"}),
        ("b", "swap", "2", 3, 6, {"expected": "0", "done": False}),
        ("b", "get", "1", 7, 8),
    ),
}
WRONG = {
    "a stale read": calls(("a", "put", "1", 0, 1), ("a", "put", "2", 2, 3), ("b", "get", "1", 4, 5)),
    "two reads in the wrong order": calls(("a", "put", "1", 0, 9), ("b", "get", "1", 1, 2), ("b", "get", None, 3, 4)),
    "a lost write": calls(("a", "put", "1", 0, 1), ("b", "get", None, 2, 3)),
    "a value from nowhere": calls(("a", "put", "1", 0, 1), ("b", "get", "2", 2, 3)),
    "one value taken twice": calls(("a", "put", "1", 0, 1), ("b", "take", "1", 2, 5), ("c", "take", "1", 3, 6)),
    "two created at once": calls(("a", "create", "1", 0, 5), ("b", "create", "2", 1, 6)),
    "created over a value": calls(("a", "put", "1", 0, 1), ("b", "create", "2", 2, 3)),
    "refused where there was nothing": calls(("a", "create", "1", 0, 5, {"done": False})),
    "two swaps of one version": calls(
        ("a", "put", "0", 0, 1),
        ("a", "swap", "1", 2, 5, {"expected": "0"}),
        ("b", "swap", "2", 3, 6, {"expected": "0"}),
    ),
    "a swap refused whose version stood": calls(
        ("a", "put", "0", 0, 1), ("a", "swap", "1", 2, 5, {"expected": "0", "done": False}), ("b", "get", "0", 6, 7)
    ),
    "a lost append": calls(
        ("a", "append", "1", 0, 9), ("b", "append", "2", 0, 9), ("c", "append", "3", 0, 9), ("d", "get", "23", 10, 11)
    ),
    "an append twice": calls(("a", "append", "1", 0, 1), ("d", "get", "11", 10, 11)),
    "a deleted value back again": calls(
        ("a", "put", "1", 0, 1), ("a", "delete", None, 2, 3), ("b", "get", None, 4, 5), ("b", "get", "1", 6, 7)
    ),
    "what was not answered, gone again": calls(
        ("a", "put", "1", 0, None), ("b", "get", "1", 5, 6), ("b", "get", None, 7, 8)
    ),
}


class TestChecker:
    @pytest.mark.parametrize("name", RIGHT)
    def test_explains(self, name):
        assert find_fault(RIGHT[name]) == ""

    @pytest.mark.parametrize("name", WRONG)
    def test_finds(self, name):
        assert "no order of the calls for 'k' explains" in find_fault(WRONG[name])

    def test_gives_up_with_an_error(self, monkeypatch):
        many = calls(*((f"c{number}", "append", f"{number};", 0, 100 + number) for number in range(12)))
        monkeypatch.setattr(history, "MOST_STATES", 1000)
        with pytest.raises(TooWide, match="overlap"):
            find_fault(many)

    def test_locks(self):
        first, at_once, again = Holding("a", 1, 0, 5, True), Holding("b", 2, 4, 6, True), Holding("b", 1, 6, 7, True)
        assert find_fault_of_lock([Holding("b", 2, 6, 7, True), first]) == ""
        assert "at once" in find_fault_of_lock([first, at_once])
        assert "not greater" in find_fault_of_lock([first, again])
        assert "was lost" in find_fault_of_lock([first, Holding("b", 2, 6, 7, False)])

    def test_what_a_killed_client_wrote_is_read(self, tmp_path):
        Path(tmp_path, "a.calls").write_text(
            '{"client": "a", "action": "put", "key": "k", "given": "1;", "began": 1}\n{"ended": 2, "found": null, '
            '"done": true}\n{"client": "a", "action": "put", "key": "k", "given": "2;", "began": 3}\n{"ended": 4, "fo'
        )
        assert [(call.given, call.ended) for call in read_calls(tmp_path)] == [("1;", 2), ("2;", None)]
