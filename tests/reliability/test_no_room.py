"""A disk that is full, or may only be read: an error of ours, old values as they were, and work goes on afterwards."""

import tempfile
from dataclasses import dataclass, replace

import pytest

from anystore import get_store
from anystore.errors import AnystoreError, BackendError, DoesNotExist, ReadOnlyError
from tests.reliability.effort import pairs
from tests.reliability.grounds import FILES, Place, new_place
from tests.reliability.small_disks import MIB, SmallDisk, small_disk
from tests.reliability.works import WORKS, Incomplete, begin

SHORT, LONG = 2, 50


@pytest.fixture
def disk(tmp_path):
    with small_disk(tmp_path / "disk", size=64 * MIB) as disk:
        yield disk


@dataclass
class Room:
    """An empty store on a small disk."""

    place: Place
    disk: SmallDisk


@pytest.fixture
def room(kind, request, disk, tmp_path):
    return Room(replace(new_place(kind, request.getfixturevalue, disk.path), folder=tmp_path), disk)


def attempt(work, turn):
    """Do a turn; give what went wrong, as text."""
    try:
        work.do(turn)
    except Incomplete as told:
        return str(told)
    except AnystoreError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(("name", "kind"), pairs(WORKS, FILES))
def test_full_disk(name, kind, room, effort, chance, tally):  # noqa: PLR0917 - fixtures
    place, disk = room.place, room.disk
    work = begin(name, place)
    if work is None:
        return
    done, pending, failed, lost = [0], set(), 0, 0
    for turn in effort.turns(SHORT, LONG):
        first = 2 * turn + 1
        disk.fill(leave=chance.choice([0, chance.randrange(20_000), chance.randrange(4 * MIB)]))
        wrong = attempt(work, first)
        failed += bool(wrong)
        if wrong:
            pending.add(first)
        else:
            done.append(first)
        losses = [] if not wrong or "space" in wrong or "full" in wrong else [f"this tells no reason: {wrong}"]
        losses += work.losses(done, pending)
        disk.free()
        if wrong := attempt(work, first + 1):
            losses.append(f"with room again: {wrong}")
        else:
            done.append(first + 1)
            losses += work.losses(done, pending)
        if losses:
            print(f"turn {first}, {disk}: {losses}")
            lost += 1
            break
    tally(f"{name}, disk full", kind, tried=turn + 1, lost=lost)


def readable(place, store):
    """Give the store, in the way in which it can be read where nothing can be written."""
    if place.kind != "SQLite":
        return store
    with pytest.raises(BackendError, match="immutable=1"):
        store.get("missing")
    uri = place.uri.replace("sqlite:///", "sqlite:///file:") + "?immutable=1&uri=true"
    immutable = get_store(uri, serialization_mode="raw")
    with pytest.raises(ReadOnlyError):
        immutable.put("new", b"")
    return immutable


@pytest.mark.parametrize(("name", "kind"), pairs(WORKS, FILES))
def test_disk_that_may_only_be_read(name, kind, room, tally):
    place, disk = room.place, room.disk
    work = begin(name, place)
    if work is None:
        return
    work.store.backend.close()
    before = disk.files()
    with disk.read_only():
        again = WORKS[name](place)
        wrong = attempt(again, 1)
        clear = ("ead-only", "ermission", "only be read", "nothing can be written")
        losses = [] if any(text in wrong for text in clear) else [wrong or "done"]
        if disk.files() != before:
            losses.append("the files have changed")
        assert list(readable(place, again.store).iterate_keys())
        with pytest.raises(DoesNotExist):
            readable(place, again.store).get("missing")
    work.do(2)
    losses += work.losses([0, 2], set())
    print(losses)
    tally(f"{name}, disk read-only", kind, tried=1, lost=len(losses))


@pytest.mark.parametrize("where", ["cache_dir", "temporary"])
def test_virtual_file_there_is_no_room_for(where, disk, tmp_path, monkeypatch, tally):
    store = get_store(f"memory://{tmp_path.name}", serialization_mode="raw")
    store.put("folder/large", bytes(3 * MIB))
    monkeypatch.setattr(tempfile, "tempdir", str(disk.path))
    given = {"cache_dir": disk.path / "cache"} if where == "cache_dir" else {}

    def copy():
        with store.local_path("folder/large", **given) as path:
            return path.read_bytes()

    for leave in (0, 100_000, 2 * MIB):
        disk.fill(leave=leave)
        before = set(disk.files())
        with pytest.raises(BackendError, match="space"):
            copy()
        assert {name for name, data in disk.files().items() if data} <= before
    disk.free()
    assert copy() == bytes(3 * MIB)
    tally("local_path, disk full", where, tried=3, lost=0)
