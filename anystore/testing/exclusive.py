"""What is promised of steps that nobody can come between: create, swap, take, append, move."""

import pytest

from anystore.backend import Backend, Feature
from anystore.errors import AlreadyExists, DoesNotExist, VersionMismatch
from anystore.keys import Key, parse_key
from anystore.testing.ground import Ground, at_once, needs

KEY, OTHER = parse_key("folder/value"), parse_key("elsewhere/value")


class Exclusive(Ground):
    """The tests of exclusive steps."""

    @pytest.mark.parametrize("feature", list(Feature), ids=lambda feature: str(feature.name))
    def test_undeclared_feature_is_refused(self, backend: Backend, feature: Feature) -> None:
        if feature not in backend.features:  # what is declared has its tests elsewhere
            self.check_refused(backend, feature)

    @needs(Feature.WRITE | Feature.CREATE)
    def test_create_writes_only_where_nothing_is(self, backend: Backend) -> None:
        backend.put(KEY, b"first", create=True)
        with pytest.raises(AlreadyExists) as caught:
            backend.put(KEY, b"second", create=True)
        assert isinstance(caught.value, FileExistsError)
        assert KEY in str(caught.value)
        with pytest.raises(AlreadyExists), backend.writer(KEY, create=True) as writer:
            writer.write(b"third")
        assert self.peek(backend, KEY) == b"first"
        backend.delete(KEY)
        with backend.writer(KEY, create=True) as writer:
            writer.write(b"fourth")
        assert self.peek(backend, KEY) == b"fourth"
        if Feature.LIST in backend.features:
            assert list(backend.keys()) == [KEY]

    @needs(Feature.WRITE | Feature.CREATE)
    def test_create_looks_at_the_time_of_the_commit(self, backend: Backend) -> None:
        one, two = backend.writer(KEY, create=True), backend.writer(KEY, create=True)
        one.write(b"one")
        two.write(b"two")
        two.commit()
        with pytest.raises(AlreadyExists):
            one.commit()
        one.abort()
        assert self.peek(backend, KEY) == b"two"

    @needs(Feature.WRITE | Feature.CREATE)
    def test_one_thread_creates(self, backend: Backend) -> None:
        for turn in range(5):
            key = parse_key(f"race/{turn}")

            def create(number: int, key: Key = key) -> bool:
                try:
                    backend.put(key, b"%d" % number, create=True)
                except AlreadyExists:
                    return False
                return True

            won = at_once(create)
            assert won.count(True) == 1
            assert self.peek(backend, key) == b"%d" % won.index(True)

    @needs(Feature.WRITE | Feature.SWAP)
    def test_swap_writes_only_over_the_version_that_was_read(self, backend: Backend) -> None:
        first = backend.put(KEY, b"first").version
        assert first is not None
        assert backend.stat(KEY).version == first
        second = backend.put(KEY, b"2nd..", version=first).version
        with pytest.raises(VersionMismatch) as caught:
            backend.put(KEY, b"third", version=first)
        assert isinstance(caught.value, RuntimeError)
        assert KEY in str(caught.value)
        with pytest.raises(VersionMismatch), backend.writer(KEY, version=first) as writer:
            writer.write(b"third")
        assert self.peek(backend, KEY) == b"2nd.."
        with backend.writer(KEY, version=second) as writer:
            writer.write(b"fourth")
        assert self.peek(backend, KEY) == b"fourth"

    @needs(Feature.WRITE | Feature.SWAP)
    def test_swap_of_a_missing_key_is_a_mismatch(self, backend: Backend) -> None:
        version = backend.put(KEY, b"x").version
        assert version is not None
        backend.delete(KEY)
        with pytest.raises(VersionMismatch):
            backend.put(KEY, b"y", version=version)
        assert not backend.exists(KEY)

    @needs(Feature.WRITE | Feature.SWAP)
    def test_other_content_has_another_version_however_fast(self, backend: Backend) -> None:
        versions = [backend.put(KEY, b"%03d" % number).version for number in range(200)]
        assert len(set(versions)) == 200

    @needs(Feature.WRITE | Feature.SWAP)
    def test_value_made_again_has_another_version_or_the_same_content(self, backend: Backend) -> None:
        seen: dict[str | None, bytes] = {}
        for number in range(60):
            data = b"%d" % (number % 3)
            version = backend.put(KEY, data).version
            assert version is not None
            assert seen.setdefault(version, data) == data
            backend.delete(KEY)

    @needs(Feature.WRITE | Feature.SWAP)
    def test_swaps_lose_no_increment(self, backend: Backend) -> None:
        backend.put(KEY, b"0")

        def increment(_number: int) -> None:
            done = 0
            for _ in range(2_000):  # far more than eight threads can be in each other's way
                version = backend.stat(KEY).version
                value = int(backend.get(KEY))
                try:
                    backend.put(KEY, b"%d" % (value + 1), version=version)
                except VersionMismatch:
                    continue
                done += 1
                if done == 8:
                    return

        at_once(increment)
        assert self.peek(backend, KEY) == b"64"

    @needs(Feature.WRITE | Feature.TAKE)
    def test_take_reads_and_deletes(self, backend: Backend) -> None:
        for data in (b"", b"x", b"x" * (2 << 20)):
            self.place(backend, KEY, data)
            assert backend.take(KEY) == data
            assert not backend.exists(KEY)
            with pytest.raises(DoesNotExist):
                backend.take(KEY)

    @needs(Feature.WRITE | Feature.TAKE)
    def test_one_thread_takes(self, backend: Backend) -> None:
        for turn in range(5):
            key = parse_key(f"queue/{turn}")
            self.place(backend, key, b"x")

            def take(_number: int, key: Key = key) -> bool:
                try:
                    return backend.take(key) == b"x"
                except DoesNotExist:
                    return False

            assert at_once(take).count(True) == 1

    @needs(Feature.WRITE | Feature.APPEND)
    def test_append_adds_or_makes(self, backend: Backend) -> None:
        backend.append(KEY, b"one\n")
        backend.append(KEY, b"")
        backend.append(KEY, b"two\n")
        assert self.peek(backend, KEY) == b"one\ntwo\n"
        assert backend.stat(KEY).size == 8
        self.place(backend, OTHER, b"x" * (1 << 20))
        backend.append(OTHER, b"y")
        assert self.peek(backend, OTHER) == b"x" * (1 << 20) + b"y"

    @needs(Feature.WRITE | Feature.APPEND)
    def test_appended_value_has_a_new_version(self, backend: Backend) -> None:
        before = backend.put(KEY, b"x").version
        backend.append(KEY, b"y")
        assert before is None or backend.stat(KEY).version != before

    @needs(Feature.WRITE | Feature.APPEND)
    def test_reader_does_not_see_what_is_appended(self, backend: Backend) -> None:
        backend.put(KEY, b"a" * 1000)
        with backend.reader(KEY) as reader:
            backend.append(KEY, b"b" * 1000)
            try:
                assert b"".join(reader.read()) == b"a" * 1000
            except VersionMismatch:
                return

    @needs(Feature.WRITE | Feature.APPEND)
    def test_threads_append_whole_lines(self, backend: Backend) -> None:
        def work(number: int) -> None:
            for turn in range(12):
                backend.append(KEY, b"%d:%d;" % (number, turn) + b"." * 200 + b"\n")

        at_once(work)
        lines = self.peek(backend, KEY).splitlines()
        expected = {b"%d:%d;" % (number, turn) + b"." * 200 for number in range(8) for turn in range(12)}
        assert len(lines) == 96
        assert set(lines) == expected
        for number in range(8):
            mine = [line for line in lines if line.startswith(b"%d:" % number)]
            assert [int(line.split(b":")[1].split(b";")[0]) for line in mine] == list(range(12))

    @needs(Feature.WRITE | Feature.MOVE)
    def test_move(self, backend: Backend) -> None:
        data = b"x" * 100_000
        self.place(backend, KEY, data)
        backend.move(KEY, OTHER)
        assert not backend.exists(KEY)
        assert self.peek(backend, OTHER) == data
        self.place(backend, KEY, b"new")
        backend.move(KEY, OTHER)
        assert self.peek(backend, OTHER) == b"new"
        if Feature.LIST in backend.features:
            assert list(backend.keys()) == [OTHER]

    @needs(Feature.WRITE | Feature.MOVE)
    def test_move_of_a_missing_key_leaves_the_target(self, backend: Backend) -> None:
        self.place(backend, OTHER, b"y")
        with pytest.raises(DoesNotExist):
            backend.move(KEY, OTHER)
        assert self.peek(backend, OTHER) == b"y"

    @needs(Feature.WRITE | Feature.MOVE)
    def test_move_onto_itself_keeps_the_value(self, backend: Backend) -> None:
        self.place(backend, KEY, b"x")
        backend.move(KEY, KEY)
        assert self.peek(backend, KEY) == b"x"
        with pytest.raises(DoesNotExist):
            backend.move(OTHER, OTHER)

    @needs(Feature.WRITE | Feature.MOVE)
    def test_one_thread_moves(self, backend: Backend) -> None:
        self.place(backend, KEY, b"x")

        def move(number: int) -> bool:
            try:
                backend.move(KEY, parse_key(f"moved/{number}"))
            except DoesNotExist:
                return False
            return True

        won = at_once(move)
        assert won.count(True) == 1
        assert [backend.exists(parse_key(f"moved/{number}")) for number in range(8)] == won
