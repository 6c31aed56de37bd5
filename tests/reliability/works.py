"""Work that is killed: each turn of it is told by its number, so that what is found afterwards can be judged.

A turn that was confirmed must be there, whole. The one that was killed may be there or not. On a server it may even
become true later, since what the dead client has sent is still done.
"""

import random
from abc import ABC, abstractmethod
from collections.abc import Iterator

import dagster as dg
import pytest

from anystore import Feature, Store, get_store
from anystore.crawling import crawl, documents, journal, runs
from anystore.errors import Unsupported
from anystore.mirroring import mirror
from anystore_dagster import AnystoreIOManager
from tests.reliability.grounds import Place

KIB, MIB = 1 << 10, 1 << 20
SIZES = (10, 300 * KIB, 0, 3 * MIB, 5 * KIB)


def value_of(turn: int, size: int | None = None, salt: str = "") -> bytes:
    """Make the value of a turn, with its number in front."""
    length = SIZES[turn % len(SIZES)] if size is None else size
    return b"%d:" % turn + random.Random(f"{turn}{salt}").randbytes(length)


def turn_of(data: bytes) -> int:
    """Read the number of the turn that wrote a value."""
    head = data[:20].partition(b":")[0]
    return int(head) if head.isdigit() else -1


class Incomplete(Exception):
    """A mirror or a crawl has told what it could not do."""


class Work(ABC):
    """One kind of work on a store.

    Args:
        place: Where the store is.
        killed: Whether it belongs to a child that is killed; it then leaves leases that do not last.
    """

    needs = Feature.WRITE | Feature.LIST

    def __init__(self, place: Place, *, killed: bool = False) -> None:
        self.place = place
        self.killed = killed
        self.store: Store = place.open()

    @abstractmethod
    def do(self, turn: int) -> None:
        """Do one turn."""

    @abstractmethod
    def losses(self, done: list[int], pending: set[int]) -> Iterator[str]:
        """Tell what is not as it must be.

        Args:
            done: The turns that were confirmed, in order; at least one.
            pending: The turns that were killed, and may be done or not.
        """


class Keyed(Work):
    """Work whose turns each store values under keys that the turn's number tells."""

    @abstractmethod
    def keys(self, turn: int) -> list[str]:
        """Name the keys that a turn writes."""

    def value(self, turn: int, key: str) -> bytes:
        """Give what a turn writes under a key."""
        return value_of(turn)

    def losses(self, done: list[int], pending: set[int]) -> Iterator[str]:
        """Compare each key with the last confirmed turn that wrote it, and those that were killed since."""
        last = {key: turn for turn in done for key in self.keys(turn)}
        allowed = {key: {turn} for key, turn in last.items()}
        for turn in pending:
            for key in self.keys(turn):
                if turn > last.get(key, -1) or (self.place.is_served and turn == max(pending)):
                    allowed.setdefault(key, {None}).add(turn)
        found = dict(self.store.get_many(list(allowed)))
        for key, turns in allowed.items():
            data = found.get(key)
            turn = None if data is None else turn_of(data)
            if turn not in turns:
                yield f"{key!r} is of the turn {turn}, not of {turns}"
            elif data is not None and data != self.value(turn, key):
                yield f"{key!r} of the turn {turn} is not whole: {len(data)} bytes"
        listed = set(self.store.iterate_keys())
        yield from (f"{key!r} is listed, and was never written" for key in listed - set(allowed))
        yield from (f"{key!r} is not listed" for key in set(last) - listed)
        yield from (f"{name!r} lies around" for name in self.place.litter(listed))


class Put(Keyed):
    def keys(self, turn: int) -> list[str]:
        return [f"values/{turn % 3}"]

    def do(self, turn: int) -> None:
        self.store.put(self.keys(turn)[0], value_of(turn))


class Stream(Put):
    def value(self, turn: int, key: str) -> bytes:
        return value_of(turn, 9 * MIB if turn % 8 == 0 else None)

    def do(self, turn: int) -> None:
        data = memoryview(self.value(turn, ""))
        with self.store.open(self.keys(turn)[0], "wb") as file:
            for start in range(0, len(data), 200 * KIB):
                file.write(data[start : start + 200 * KIB])


class PutMany(Keyed):
    def keys(self, turn: int) -> list[str]:
        return [f"many/{number}" for number in range(20)]

    def value(self, turn: int, key: str) -> bytes:
        return value_of(turn, 300 * KIB if key.endswith("7") else 500, key)

    def do(self, turn: int) -> None:
        self.store.put_many((key, self.value(turn, key)) for key in self.keys(turn))


class Move(Work):
    """A value goes from key to key; where a move is one step, it is never under two."""

    def do(self, turn: int) -> None:
        here = sorted(self.store.iterate_keys("moving"))
        if not here:
            assert turn == 0, "the value is gone"
            self.store.put("moving/a", value_of(0, 300 * KIB))
        elif len(here) > 1:  # a copy that was killed
            self.store.delete(here[1])
        else:
            self.store.move(here[0], "moving/b" if here[0].endswith("a") else "moving/a")

    def losses(self, done: list[int], pending: set[int]) -> Iterator[str]:
        keys = set(self.store.iterate_keys())
        most = 1 if Feature.MOVE in self.store.features else 2
        if not 1 <= len(keys) <= most:
            yield f"the value is under {keys}"
        for key in keys:
            if self.store.get(key) != value_of(0, 300 * KIB):
                yield f"{key!r} is not whole"
        yield from (f"{name!r} lies around" for name in self.place.litter(keys))


class Append(Work):
    needs = Feature.WRITE | Feature.LIST | Feature.APPEND

    def do(self, turn: int) -> None:
        self.store.append("log", _record(turn))

    def losses(self, done: list[int], pending: set[int]) -> Iterator[str]:
        data, turns = self.store.get("log"), []
        while data:
            turn = turn_of(data)
            record = _record(turn)
            if data[: len(record)] != record:
                yield f"a record is not whole after the turns {turns[-3:]}"
                return
            turns.append(turn)
            data = data[len(record) :]
        if len(set(turns)) != len(turns):
            yield "a record is there twice"
        if [turn for turn in turns if turn not in pending] != [turn for turn in done if turn not in pending]:
            yield f"records are lost: {sorted(set(done) - set(turns))}"
        yield from (f"{name!r} lies around" for name in self.place.litter(set(self.store.iterate_keys())))


def _record(turn: int) -> bytes:
    return value_of(turn, (20, 2_000, 40_000)[turn % 3])


class Mirror(Keyed):
    """A whole source, changed at each turn, is brought over; a killed turn leaves each value old or new."""

    def __init__(self, place: Place, *, killed: bool = False) -> None:
        super().__init__(place, killed=killed)
        self.source = get_store(place.folder / "source", serialization_mode="raw")

    def keys(self, turn: int) -> list[str]:
        return [f"folder {number % 3}/{number}" for number in range(12)]

    def value(self, turn: int, key: str) -> bytes:
        return value_of(turn, (2 * MIB if key.endswith("7") else 3_000) + turn % 1000, key)

    def do(self, turn: int) -> None:
        self.source.put_many((key, self.value(turn, key)) for key in self.keys(turn))
        report = mirror(self.source, self.store)
        if not report.complete:
            raise Incomplete(report.failures)


class Crawl(Mirror):
    def do(self, turn: int) -> None:
        self.source.put_many((key, self.value(turn, key)) for key in self.keys(turn))
        if self.killed:
            journal._LEASE_SECONDS = 1.0  # or whoever comes next has to wait
        report = crawl(self.source, self.store)
        if not report.complete:
            raise Incomplete(report.failures)

    def losses(self, done: list[int], pending: set[int]) -> Iterator[str]:
        yield from super().losses(done, pending)
        known = {one.key for one in documents(self.store)}
        if done and known != set(self.keys(0)):
            yield f"the journal knows {len(known)} documents"
        numbers = [run.number for run in runs(self.store)]
        if numbers != sorted(set(numbers)):
            yield f"the runs are numbered {numbers}"


class Compaction(Crawl):
    """A crawl in which nothing has changed, so that nearly all of its time goes into writing the journal anew."""

    def value(self, turn: int, key: str) -> bytes:
        return value_of(0, 100, key)

    def losses(self, done: list[int], pending: set[int]) -> Iterator[str]:
        return super().losses([0], set())

    def do(self, turn: int) -> None:
        if turn == 0:
            self.source.put_many((key, self.value(0, key)) for key in self.keys(0))
        if self.killed:
            journal._LEASE_SECONDS, journal._SMALL = 1.0, -1_000
        report = crawl(self.source, self.store)
        if not report.complete:
            raise Incomplete(report.failures)
        assert turn == 0 or report.unchanged == len(self.keys(0)), report


class IOManager(Work):
    """What an asset returns, handed over by Dagster."""

    def __init__(self, place: Place, *, killed: bool = False) -> None:
        super().__init__(place, killed=killed)
        self.manager = AnystoreIOManager(uri=place.uri, backend_config=place.config)

    def do(self, turn: int) -> None:
        with dg.build_output_context(asset_key=["assets", "killed"]) as context:
            self.manager.handle_output(context, {"turn": turn, "text": "x" * SIZES[turn % len(SIZES)]})

    def losses(self, done: list[int], pending: set[int]) -> Iterator[str]:
        with dg.build_input_context(asset_key=["assets", "killed"]) as context:
            value = self.manager.load_input(context)
        turn = value["turn"]
        later = {one for one in pending if one > done[-1] or (self.place.is_served and one == max(pending))}
        if turn not in {done[-1], *later}:
            yield f"the value is of the turn {turn}, not of {done[-1]} or {later}"
        if value["text"] != "x" * SIZES[turn % len(SIZES)]:
            yield f"the value of the turn {turn} is not whole"
        listed = set(self.store.iterate_keys())
        if len(listed) != 1:
            yield f"the store holds {listed}"
        yield from (f"{name!r} lies around" for name in self.place.litter(listed))


WORKS: dict[str, type[Work]] = {
    "put": Put,
    "streamed write": Stream,
    "put_many": PutMany,
    "move": Move,
    "append": Append,
    "mirror": Mirror,
    "crawl": Crawl,
    "journal compaction": Compaction,
    "IO manager's write": IOManager,
}


def begin(name: str, place: Place) -> Work | None:
    """Do the first turn; nothing, if the store refuses such work as it should."""
    work = WORKS[name](place)
    if work.needs in work.store.features:
        work.do(0)
        return work
    with pytest.raises(Unsupported):
        work.do(0)
    return None
