"""What a sensor remembers is there for as long as a pointer may come back to it, and not much longer."""

import uuid

import pytest

from anystore import get_store
from anystore.errors import BackendError
from anystore_dagster.listing_memory import Head, ListingMemory, Waiting


@pytest.fixture(params=["memory", "folder", "redis", "sqlite"])
def store(request, tmp_path):
    match request.param:
        case "memory":
            return get_store(f"memory://{uuid.uuid4().hex}")
        case "folder":
            return get_store(tmp_path)
        case "sqlite":
            return get_store(f"sqlite:///{tmp_path}/store.db")
    port = request.getfixturevalue("redis_server").port
    return get_store(f"redis://127.0.0.1:{port}/0/{uuid.uuid4().hex}")


def memory_in(store, *, sensor="s", scope="x"):
    return ListingMemory(store.backend, sensor=sensor, scope=scope)


def write(memory, remembered, rows, **changes):
    step = memory.step(remembered)
    segments = [step.put_rows(rows)] if rows else remembered.head.segments
    return step.save(remembered.head.model_copy(update={"segments": segments, **changes}))


def test_what_was_saved_comes_back(store):
    memory = memory_in(store)
    rows = [("a", "1 x"), ("b/ü", ""), ("c\n", "3")]
    waiting = {"2024": Waiting(walk=1, digest="d", folder="2024/", documents=2)}
    pointer = write(memory, memory.open(None), rows, waiting=waiting, folders={"2024": 3}, after="c", listed=7)
    head = memory_in(store).open(pointer).head
    assert (head.step, head.after, head.listed, head.waiting, head.folders) == (1, "c", 7, waiting, {"2024": 3})
    assert (head.documents, memory.rows(head.segments[0])) == (3, rows)
    assert list(store.iterate_keys()) == []


def test_it_begins_in_one_way_until_that_was_taken_over(store):
    memory = memory_in(store)
    first = memory.open(None).head.lineage
    assert memory.open(None).head.lineage == first
    assert memory_in(store, scope="other").open(None).head.lineage != first
    assert memory_in(store, sensor="other").open(None).head.lineage != first
    pointer = write(memory, memory.open(None), [("a", "1")])
    assert memory.open(None).head.lineage == first
    memory.open(pointer)
    assert memory.open(None).head.lineage != first


def test_older_pointers_stay_for_some_steps_and_lost_steps_leave_nothing(store):
    memory = memory_in(store)
    pointers = [write(memory, memory.open(None), [("a", "0")])]
    for number in range(1, 12):
        remembered = memory.open(pointers[-1])
        memory.clean(remembered.head)
        lost = write(memory, remembered, [("a", f"lost {number}")])
        pointers.append(write(memory, remembered, [("a", str(number))]))
    memory.clean(memory.open(pointers[-1]).head)
    for number, pointer in enumerate(pointers[-6:], start=6):
        head = memory.open(pointer).head
        assert memory.rows(head.segments[0]) == [("a", str(number))]
    for pointer in pointers[:-7]:
        with pytest.raises(BackendError, match="is not there"):
            memory.open(pointer)
        for ending in (".0", ".next"):
            assert not store.backend.exists(f".anystore/sensors/s/{pointer}{ending}")
    assert store.backend.exists(f".anystore/sensors/s/{lost}.0")


def test_what_two_heads_share_is_kept(store):
    memory = memory_in(store)
    pointer = write(memory, memory.open(None), [("a", "0")])
    for _ in range(10):
        remembered = memory.open(pointer)
        memory.clean(remembered.head)
        pointer = write(memory, remembered, [], listed=remembered.head.listed + 1)
    head = memory.open(pointer).head
    memory.clean(head)
    assert memory.rows(head.segments[0]) == [("a", "0")]


def test_a_part_that_is_gone_is_said_so(store):
    memory = memory_in(store)
    head = memory.open(write(memory, memory.open(None), [("a", "0")])).head
    store.backend.put(f".anystore/sensors/s/{head.segments[0].name}", b"x")
    with pytest.raises(BackendError, match="is missing or broken"):
        memory.rows(head.segments[0])
    store.backend.delete(f".anystore/sensors/s/{head.segments[0].name}")
    with pytest.raises(BackendError, match="is missing or broken"):
        memory.rows(head.segments[0])


def test_a_later_form_is_refused(store):
    memory = memory_in(store)
    data = Head(lineage="l").model_dump_json().replace('"format":1', '"format":2')
    store.backend.put(".anystore/sensors/s/l/1", data.encode())
    with pytest.raises(BackendError, match="cannot be read"):
        memory.open("l/1")


@pytest.mark.parametrize("pointer", ["", None])
def test_no_pointer_is_a_beginning(store, pointer):
    assert memory_in(store).open(pointer).name == ""


@pytest.mark.parametrize("pointer", ["../../x", "nonsense", "a//b", "{}"])
def test_a_pointer_that_is_none_is_said_so(store, pointer):
    with pytest.raises(BackendError, match=r"clear its cursor to begin anew"):
        memory_in(store).open(pointer)
