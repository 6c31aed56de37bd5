"""What is promised of writing: ``put``, ``writer``, ``delete``, ``copy`` and the many."""

import gc
from collections.abc import Iterator

import pytest

from anystore.backend import Backend, Feature
from anystore.errors import AnystoreError, DoesNotExist, KeyConflict, VersionMismatch
from anystore.keys import Key, parse_key, private_key
from anystore.testing.awkward import AWKWARD_KEYS
from anystore.testing.ground import Ground, at_once, join, needs

KEY, OTHER = parse_key("folder/value.bin"), parse_key("folder/other.bin")
CONFLICTS = [("a", "a/b"), ("a", "a/b/c"), ("a/b", "a"), ("a/b/c", "a"), ("a/b/c", "a/b")]


class Broken(Exception):
    """What fails while a value is written."""


class Writing(Ground):
    """The tests of writing."""

    def check_only(self, backend: Backend, *names: str) -> None:
        """Check that a listing shows these keys and no litter."""
        if Feature.LIST in backend.features:
            assert sorted(backend.keys()) == sorted(names)

    @pytest.mark.parametrize("data", [b"", b"x", bytes(range(256)), b"\xfe" * ((3 << 20) + 1)], ids=len)
    @needs(Feature.WRITE)
    def test_value_is_stored_as_it_was(self, backend: Backend, data: bytes) -> None:
        entry = backend.put(KEY, data)
        assert self.peek(backend, KEY) == data
        assert entry.key == KEY
        assert entry.size == len(data)
        stat = backend.stat(KEY)
        assert entry.version in (stat.version, None)
        assert entry.modified in (stat.modified, None)  # who writes is not always told the time
        assert entry.expires is None
        self.check_only(backend, KEY)

    @needs(Feature.WRITE)
    def test_put_replaces(self, backend: Backend) -> None:
        for data in (b"a long first value", b"short", b"", b"again"):
            backend.put(KEY, data)
            assert self.peek(backend, KEY) == backend.get(KEY) == data
            assert backend.stat(KEY).size == len(data)

    @pytest.mark.parametrize("name", AWKWARD_KEYS)
    @needs(Feature.WRITE)
    def test_awkward_key_is_written(self, backend: Backend, name: str) -> None:
        key = parse_key(AWKWARD_KEYS[name])
        if self.cannot_hold(key):
            with pytest.raises(AnystoreError):
                backend.put(key, b"x")
            self.check_only(backend)
            return
        assert backend.put(key, b"x").key == key
        assert self.peek(backend, key) == b"x"
        self.check_only(backend, key)
        backend.copy(key, OTHER)
        assert self.peek(backend, OTHER) == b"x"
        backend.delete(OTHER)
        backend.copy(key, OTHER)
        backend.copy(OTHER, key)
        backend.delete(key)
        assert not backend.exists(key)
        self.check_only(backend, OTHER)

    @needs(Feature.WRITE)
    def test_similar_keys_are_kept_apart(self, backend: Backend) -> None:
        names = [key for key in AWKWARD_KEYS.values() if not self.cannot_hold(key)]
        backend.put_many((parse_key(key), key.encode()) for key in names)
        for key, data in backend.get_many([parse_key(key) for key in names]):
            assert data == key.encode()

    @needs(Feature.WRITE)
    def test_writer_publishes_at_commit(self, backend: Backend) -> None:
        writer = backend.writer(KEY)
        assert writer.write(b"one ") == 4
        assert writer.write(bytearray(b"two ")) == 4
        assert writer.write(memoryview(b"-three-")[1:-1]) == 5
        assert not backend.exists(KEY)
        self.check_only(backend)
        entry = writer.commit()
        assert self.peek(backend, KEY) == b"one two three"
        assert (entry.key, entry.size) == (KEY, 13)
        self.check_only(backend, KEY)

    @needs(Feature.WRITE)
    def test_writer_takes_what_the_buffer_held_then(self, backend: Backend) -> None:
        buffer = bytearray(b"aaaa")
        with backend.writer(KEY) as writer:
            writer.write(buffer)
            buffer[:] = b"bbbb"
            writer.write(buffer)
        assert self.peek(backend, KEY) == b"aaaabbbb"

    @needs(Feature.WRITE)
    def test_writer_keeps_the_old_value_until_commit(self, backend: Backend) -> None:
        self.place(backend, KEY, b"old")
        writer = backend.writer(KEY)
        writer.write(b"n" * (2 << 20))
        assert self.peek(backend, KEY) == backend.get(KEY) == b"old"
        writer.commit()
        assert self.peek(backend, KEY) == b"n" * (2 << 20)

    @needs(Feature.WRITE)
    def test_writer_without_a_write_stores_an_empty_value(self, backend: Backend) -> None:
        with backend.writer(KEY):
            pass
        assert self.peek(backend, KEY) == b""

    @pytest.mark.parametrize("old", [None, b"old"])
    @needs(Feature.WRITE)
    def test_abort_changes_nothing(self, backend: Backend, old: bytes | None) -> None:
        if old is not None:
            self.place(backend, KEY, old)
        writer = backend.writer(KEY)
        writer.write(b"n" * (2 << 20))
        writer.abort()
        writer.abort()
        assert list(backend.get_many([KEY])) == [(KEY, old)]
        self.check_only(backend, *([KEY] if old is not None else []))

    @pytest.mark.parametrize("old", [None, b"old"])
    @needs(Feature.WRITE)
    def test_exception_in_the_block_aborts(self, backend: Backend, old: bytes | None) -> None:
        if old is not None:
            self.place(backend, KEY, old)
        with pytest.raises(Broken), backend.writer(KEY) as writer:  # noqa: PT012 - the block is the subject
            writer.write(b"new")
            raise Broken
        assert list(backend.get_many([KEY])) == [(KEY, old)]
        self.check_only(backend, *([KEY] if old is not None else []))

    @needs(Feature.WRITE)
    def test_abort_after_commit_does_nothing(self, backend: Backend) -> None:
        writer = backend.writer(KEY)
        writer.write(b"new")
        writer.commit()
        writer.abort()
        assert self.peek(backend, KEY) == b"new"

    @needs(Feature.WRITE)
    def test_forgotten_writer_publishes_nothing(self, backend: Backend) -> None:
        self.place(backend, KEY, b"old")
        writer = backend.writer(KEY)
        writer.write(b"new")
        del writer
        gc.collect()
        assert self.peek(backend, KEY) == b"old"
        self.check_only(backend, KEY)

    @needs(Feature.WRITE)
    def test_last_commit_wins(self, backend: Backend) -> None:
        one, two = backend.writer(KEY), backend.writer(KEY)
        one.write(b"one")
        two.write(b"two!")
        one.write(b" more")
        two.commit()
        assert self.peek(backend, KEY) == b"two!"
        one.commit()
        assert self.peek(backend, KEY) == b"one more"
        self.check_only(backend, KEY)

    @needs(Feature.WRITE)
    def test_delete(self, backend: Backend) -> None:
        self.place(backend, KEY, b"x")
        self.place(backend, OTHER, b"y")
        backend.delete(KEY)
        backend.delete(KEY)
        backend.delete(parse_key("no/such/key"))
        assert not backend.exists(KEY)
        with pytest.raises(DoesNotExist):
            backend.get(KEY)
        assert self.peek(backend, OTHER) == b"y"
        self.check_only(backend, OTHER)

    @needs(Feature.WRITE)
    def test_delete_concerns_one_key(self, backend: Backend) -> None:
        names = ["a*/x", "ab/x", "a?/x", "[a]/x", "a/x", "*", "**/x"]
        held = [name for name in names if not self.cannot_hold(name)]
        for name in held:
            self.place(backend, parse_key(name), b"x")
        for name in held:
            backend.delete(parse_key(name))
            held = held[1:]
            assert all(backend.exists(parse_key(other)) for other in held)

    @needs(Feature.WRITE)
    def test_delete_of_a_folder_or_below_a_value_does_nothing(self, backend: Backend) -> None:
        self.place(backend, KEY, b"x")
        backend.delete(parse_key("folder"))
        backend.delete(parse_key("folder/value.bin/below"))
        assert self.peek(backend, KEY) == b"x"

    @needs(Feature.WRITE)
    def test_emptied_folder_is_no_obstacle(self, backend: Backend) -> None:
        backend.put(parse_key("a/b/c"), b"x")
        backend.delete(parse_key("a/b/c"))
        backend.put(parse_key("a"), b"now a value")
        assert self.peek(backend, parse_key("a")) == b"now a value"
        backend.delete(parse_key("a"))
        backend.put(parse_key("a/b"), b"and a folder again")
        self.check_only(backend, "a/b")

    @needs(Feature.WRITE)
    def test_private_value_is_written_and_deleted(self, backend: Backend) -> None:
        key = private_key("leases/one")
        backend.put(key, b"1")
        with backend.writer(key) as writer:
            writer.write(b"2")
        assert self.peek(backend, key) == b"2"
        self.check_only(backend)
        backend.delete(key)
        assert not backend.exists(key)

    @needs(Feature.WRITE)
    def test_copy(self, backend: Backend) -> None:
        data = bytes(range(256)) * 8192
        self.place(backend, KEY, data)
        self.place(backend, OTHER, b"replaced")
        backend.copy(KEY, OTHER)
        assert self.peek(backend, KEY) == self.peek(backend, OTHER) == data
        backend.copy(KEY, KEY)
        assert self.peek(backend, KEY) == data
        self.check_only(backend, KEY, OTHER)

    @needs(Feature.WRITE)
    def test_copy_of_a_missing_key_leaves_the_target(self, backend: Backend) -> None:
        self.place(backend, OTHER, b"y")
        with pytest.raises(DoesNotExist):
            backend.copy(KEY, OTHER)
        assert self.peek(backend, OTHER) == b"y"
        self.check_only(backend, OTHER)

    @needs(Feature.WRITE)
    def test_many(self, backend: Backend) -> None:
        items = [(parse_key(f"many/{number}"), b"%d" % number) for number in range(30)]
        backend.put_many(iter(items))
        backend.put_many([])
        for key, data in items:
            assert self.peek(backend, key) == data
        assert list(backend.get_many(key for key, _ in items)) == items
        backend.delete_many(iter([items[0][0], parse_key("none"), items[1][0], items[1][0]]))
        backend.delete_many([])
        self.check_only(backend, *(key for key, _ in items[2:]))

    @needs(Feature.WRITE)
    def test_last_of_a_repeated_key_stays(self, backend: Backend) -> None:
        backend.put_many([(KEY, b"1"), (OTHER, b"2"), (KEY, b"3")])
        assert self.peek(backend, KEY) == b"3"

    @needs(Feature.WRITE)
    def test_items_that_fail_half_way_leave_whole_values(self, backend: Backend) -> None:
        def items() -> Iterator[tuple[Key, bytes]]:
            yield KEY, b"first"
            raise Broken

        with pytest.raises(Broken):
            backend.put_many(items())
        assert list(backend.get_many([KEY])) in ([(KEY, b"first")], [(KEY, None)])

    @needs(Feature.WRITE)
    def test_new_value_has_a_new_version(self, backend: Backend) -> None:
        seen = set()
        for length in range(1, 30):
            backend.put(KEY, b"x" * length)
            seen.add(backend.stat(KEY).version)
        assert seen == {None} or (None not in seen and len(seen) == 29)

    @needs(Feature.WRITE)
    def test_threads_share_a_backend(self, backend: Backend) -> None:
        def work(number: int) -> None:
            for turn in range(10):
                key = parse_key(f"shared/{number}/{turn}")
                backend.put(key, key.encode() * 100)
                assert backend.get(key) == key.encode() * 100
                assert join(backend.read(key, 3, 9)) == (key.encode() * 100)[3:9]
                if turn % 2:
                    backend.delete(key)

        at_once(work)
        kept = [f"shared/{number}/{turn}" for number in range(8) for turn in range(0, 10, 2)]
        self.check_only(backend, *kept)

    @needs(Feature.WRITE)
    def test_threads_fill_and_empty_one_folder(self, backend: Backend) -> None:
        def work(number: int) -> None:
            for _ in range(15):
                backend.put(parse_key(f"pruned/deep/{number}"), b"x")
                backend.delete(parse_key(f"pruned/deep/{number}"))

        at_once(work, threads=4)
        self.check_only(backend)

    @needs(Feature.WRITE | Feature.ATOMIC)
    def test_value_is_never_seen_torn(self, backend: Backend) -> None:
        size = 300_000
        self.place(backend, KEY, b"0" * size)
        done: list[bool] = []

        def check(value: bytes) -> None:
            assert len(value) == size
            assert len(set(value)) == 1

        def work(number: int) -> None:
            if number == 0:
                try:
                    for turn in range(40):
                        backend.put(KEY, b"01"[turn % 2 : turn % 2 + 1] * size)
                finally:
                    done.append(True)
            while not done:
                check(backend.get(KEY))
                try:
                    check(join(backend.read(KEY)))
                except VersionMismatch:
                    continue

        at_once(work, threads=4)

    @needs(Feature.WRITE | Feature.OVERLAP)
    def test_value_and_folder_of_one_name(self, backend: Backend) -> None:
        upper, lower = parse_key("a"), parse_key("a/b")
        backend.put(upper, b"upper")
        backend.put(lower, b"lower")
        assert (self.peek(backend, upper), self.peek(backend, lower)) == (b"upper", b"lower")
        self.check_only(backend, upper, lower)
        if Feature.LIST in backend.features:
            assert list(backend.keys("a/")) == ["a/b"]
        backend.delete(upper)
        assert self.peek(backend, lower) == b"lower"
        backend.put(upper, b"again")
        backend.delete(lower)
        assert self.peek(backend, upper) == b"again"

    @pytest.mark.parametrize(("held", "new"), CONFLICTS)
    @needs(Feature.WRITE)
    def test_overlap_is_held_or_changes_nothing(self, backend: Backend, held: str, new: str) -> None:
        old, key = parse_key(held), parse_key(new)
        self.place(backend, OTHER, b"other")
        self.place(backend, old, b"held")
        if Feature.OVERLAP in backend.features:
            backend.put(key, b"new")
            assert (self.peek(backend, old), self.peek(backend, key)) == (b"held", b"new")
            return
        with pytest.raises(KeyConflict) as caught:
            backend.put(key, b"new")
        assert new in str(caught.value)
        assert isinstance(caught.value, OSError)
        with pytest.raises(KeyConflict), backend.writer(key) as writer:
            writer.write(b"new")
        with pytest.raises(KeyConflict):
            backend.copy(OTHER, key)
        if Feature.CREATE in backend.features:
            with pytest.raises(KeyConflict):
                backend.put(key, b"new", create=True)
        if Feature.APPEND in backend.features:
            with pytest.raises(KeyConflict):
                backend.append(key, b"new")
        if Feature.MOVE in backend.features:
            with pytest.raises(KeyConflict):
                backend.move(OTHER, key)
        assert (self.peek(backend, old), self.peek(backend, OTHER)) == (b"held", b"other")
        assert not backend.exists(key)
        self.check_only(backend, old, OTHER)
