"""What is promised of reading: ``get``, ``read``, ``reader``, ``stat``, ``exists``, ``get_many``."""

import hashlib
import pickle
from collections.abc import Callable, Iterator
from datetime import UTC, timedelta
from itertools import chain
from pathlib import Path

import pytest

from anystore.backend import Backend, Feature
from anystore.errors import AnystoreError, DoesNotExist, InvalidKey, VersionMismatch
from anystore.keys import Key, parse_key, private_key
from anystore.testing.awkward import AWKWARD_KEYS
from anystore.testing.ground import Ground, join

KEY = parse_key("folder/value.bin")
PATTERN = bytes(range(256)) * 40
LARGE = 3 << 20

READS: dict[str, tuple[Feature, Callable[[Backend, Key], object]]] = {
    "get": (Feature.NONE, lambda backend, key: backend.get(key)),
    "read": (Feature.NONE, lambda backend, key: backend.read(key)),
    "read a range": (Feature.NONE, lambda backend, key: backend.read(key, 1, 2)),
    "read an empty range": (Feature.NONE, lambda backend, key: backend.read(key, 3, 3)),
    "reader": (Feature.NONE, lambda backend, key: backend.reader(key)),
    "stat": (Feature.NONE, lambda backend, key: backend.stat(key)),
    "copy": (Feature.WRITE, lambda backend, key: backend.copy(key, parse_key("target"))),
    "take": (Feature.TAKE, lambda backend, key: backend.take(key)),
    "move": (Feature.MOVE, lambda backend, key: backend.move(key, parse_key("target"))),
}
RANGES = [(0, None), (0, 0), (0, 1), (1, 2), (255, 257), (5, 5), (10_000, None), (10_239, 10_240)]
BEYOND = [(0, 10_241), (10_239, 99_999), (10_240, None), (10_240, 10_241), (99_999, None), (99_999, 100_000)]


class Reading(Ground):
    """The tests of reading."""

    @pytest.mark.parametrize("method", READS)
    def test_missing_key_raises_at_the_call(self, backend: Backend, method: str) -> None:
        feature, read = READS[method]
        if feature not in backend.features:
            self.check_refused(backend, feature)
            return
        self.place(backend, parse_key("folder/other"), b"x")
        with pytest.raises(DoesNotExist) as caught:
            read(backend, KEY)
        assert isinstance(caught.value, FileNotFoundError)
        assert isinstance(caught.value, KeyError)
        assert "folder/value.bin" in str(caught.value)
        assert self.home(backend) in str(caught.value)
        assert not backend.exists(parse_key("target"))

    @pytest.mark.parametrize("key", ["folder", "folder/value.bin/below", "folder/value.bin/further/below"])
    @pytest.mark.parametrize("method", READS)
    def test_folder_or_name_below_a_value_is_missing(self, backend: Backend, key: str, method: str) -> None:
        feature, read = READS[method]
        self.place(backend, KEY, b"x")
        assert not backend.exists(parse_key(key))
        assert list(backend.get_many([parse_key(key)])) == [(key, None)]
        if feature in backend.features:
            with pytest.raises(DoesNotExist):
                read(backend, parse_key(key))
        assert backend.get(KEY) == b"x"

    @pytest.mark.parametrize("data", [b"", PATTERN], ids=len)
    def test_a_local_file_is_the_value_and_nothing_else(self, backend: Backend, data: bytes) -> None:
        self.place(backend, KEY, data)
        path = backend.local_file(KEY)
        if path is not None:
            assert Path(path).read_bytes() == data
            with pytest.raises(DoesNotExist):
                backend.local_file(parse_key("folder/other"))
            with pytest.raises(DoesNotExist):
                backend.local_file(parse_key("folder"))

    def test_error_survives_pickling(self, backend: Backend) -> None:
        with pytest.raises(DoesNotExist) as caught:
            backend.get(KEY)
        again = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 - made here
        assert type(again) is DoesNotExist
        assert str(again) == str(caught.value)

    @pytest.mark.parametrize("data", [b"", b"x", b"\0", b"\r\n", PATTERN, b"\xff" * (LARGE + 1)], ids=len)
    def test_value_reads_the_same_by_every_method(self, backend: Backend, data: bytes) -> None:
        self.place(backend, KEY, data)
        assert backend.get(KEY) == data
        assert join(backend.read(KEY)) == data
        with backend.reader(KEY) as reader:
            assert join(reader.read()) == data
            assert reader.entry.key == KEY
            assert reader.entry.size in (len(data), None)
        assert backend.exists(KEY) is True
        assert backend.stat(KEY).size == len(data)
        assert list(backend.get_many([KEY])) == [(KEY, data)]
        assert type(backend.get(KEY)) is bytes

    @pytest.mark.parametrize(("start", "stop"), RANGES + BEYOND)
    def test_range_is_what_a_slice_is(self, backend: Backend, start: int, stop: int | None) -> None:
        self.place(backend, KEY, PATTERN)
        assert join(backend.read(KEY, start, stop)) == PATTERN[start:stop]
        with backend.reader(KEY) as reader:
            assert join(reader.read(start, stop)) == PATTERN[start:stop]

    def test_range_of_an_empty_value_is_empty(self, backend: Backend) -> None:
        self.place(backend, KEY, b"")
        assert join(backend.read(KEY, 0, 10)) == b""
        assert join(backend.read(KEY, 5)) == b""

    def test_reader_gives_parts_in_any_order(self, backend: Backend) -> None:
        self.place(backend, KEY, PATTERN)
        with backend.reader(KEY) as reader:
            if reader.seekable:
                for start, stop in [(5000, 6000), (0, 10), (10_000, None), (0, None)]:
                    assert join(reader.read(start, stop)) == PATTERN[start:stop]
            else:
                assert join(reader.read(100, 200)) == PATTERN[100:200]

    def test_pieces_are_bounded(self, backend: Backend) -> None:
        data = b"0123456789abcdef" * (9 << 16)
        self.place(backend, KEY, data)
        pieces = list(backend.read(KEY))
        assert b"".join(pieces) == data
        assert len(pieces) > 1
        assert all(0 < len(piece) <= 8 << 20 for piece in pieces)

    def test_reading_may_stop_half_way(self, backend: Backend) -> None:
        self.place(backend, KEY, b"x" * LARGE)
        for _ in range(20):
            pieces = iter(backend.read(KEY))
            assert next(pieces)
            del pieces
        assert backend.get(KEY) == b"x" * LARGE

    def test_stat_tells_no_untruth(self, backend: Backend) -> None:
        before = self.now(backend)
        self.place(backend, KEY, PATTERN)
        entry = backend.stat(KEY)
        assert entry.key == KEY
        assert entry.size == len(PATTERN)
        assert entry.expires is None
        if entry.modified is not None:
            assert entry.modified.tzinfo is UTC
            assert abs(entry.modified - before) < timedelta(minutes=1)
        assert entry.version != ""
        assert backend.stat(KEY) == entry

    def test_digest_is_that_of_the_value(self, backend: Backend) -> None:
        self.place(backend, KEY, PATTERN)
        entry = backend.stat(KEY)
        algorithm, digest = backend.digest_algorithm(entry.size), backend.digest_of(entry)
        assert (algorithm is None) == (digest is None)
        if algorithm is not None:
            assert digest == hashlib.new(algorithm, PATTERN, usedforsecurity=False).hexdigest()
        assert backend.digest_of(entry, doubted=True) in (None, digest)

    @pytest.mark.parametrize("size", [5, LARGE])
    @pytest.mark.parametrize("through", ["read", "reader"])
    def test_value_replaced_while_read_is_not_mixed(self, backend: Backend, size: int, through: str) -> None:
        self.place(backend, KEY, b"a" * size)
        with backend.reader(KEY) as reader:
            pieces = iter(backend.read(KEY) if through == "read" else reader.read())
            first = next(pieces)
            self.place(backend, KEY, b"b" * (size + 3))
            self._check_unmixed(first, pieces, size)

    @pytest.mark.parametrize("through", ["read", "reader"])
    def test_value_deleted_while_read_is_never_short(self, backend: Backend, through: str) -> None:
        self.place(backend, KEY, b"a" * LARGE)
        with backend.reader(KEY) as reader:
            pieces = iter(backend.read(KEY) if through == "read" else reader.read())
            first = next(pieces)
            self.remove(backend, KEY)
            self._check_unmixed(first, pieces, LARGE)

    def _check_unmixed(self, first: bytes, pieces: Iterator[bytes], size: int) -> None:
        assert set(first) == {ord("a")}
        try:
            whole = join(chain([first], pieces))
        except VersionMismatch:
            return
        assert whole == b"a" * size

    @pytest.mark.parametrize("then", ["replaced", "deleted"])
    def test_reader_stays_with_its_version(self, backend: Backend, then: str) -> None:
        self.place(backend, KEY, b"a" * 1000)
        with backend.reader(KEY) as reader:
            head = join(reader.read(0, 10))
            if then == "replaced":
                self.place(backend, KEY, b"b" * 2000)
            else:
                self.remove(backend, KEY)
            try:
                tail = join(reader.read(10, None))
            except VersionMismatch:
                tail = b"a" * 990
            assert head + tail == b"a" * 1000

    def test_get_many_keeps_order_repeats_and_gaps(self, backend: Backend) -> None:
        one, two, gap = parse_key("one"), parse_key("two"), parse_key("gap")
        self.place(backend, one, b"1")
        self.place(backend, two, b"")
        wanted = [two, gap, one, two]
        assert list(backend.get_many(iter(wanted))) == [(two, b""), (gap, None), (one, b"1"), (two, b"")]
        assert list(backend.get_many([])) == []

    @pytest.mark.parametrize("name", AWKWARD_KEYS)
    def test_awkward_key_is_read(self, backend: Backend, name: str) -> None:
        key = parse_key(AWKWARD_KEYS[name])
        if self.cannot_hold(key):
            self._check_unholdable(backend, key)
            return
        assert not backend.exists(key)
        self.place(backend, key, name.encode())
        assert backend.get(key) == name.encode()
        assert join(backend.read(key, 1)) == name.encode()[1:]
        assert backend.exists(key)
        assert backend.stat(key).key == key
        if Feature.LIST in backend.features:
            assert [entry.key for entry in backend.scan()] == self.listed([key])
            assert list(backend.keys()) == self.listed([key])

    def _check_unholdable(self, backend: Backend, key: Key) -> None:
        """A key that the medium cannot hold is refused, and never written under another name."""
        if Feature.WRITE in backend.features:
            with pytest.raises(InvalidKey):
                backend.put(key, b"x")
        with pytest.raises((DoesNotExist, InvalidKey)):
            backend.get(key)
        if Feature.LIST in backend.features:
            assert list(backend.keys()) == []

    def test_segment_of_more_than_255_bytes_is_held_or_refused(self, backend: Backend) -> None:
        for key in (parse_key("s" * 256), parse_key("folder/" + "\u00e9" * 128), parse_key("s" * 256 + "/x")):
            if self.cannot_hold(key):
                self._check_unholdable(backend, key)
            else:
                self.place(backend, key, b"x")
                assert backend.get(key) == b"x"

    def test_private_value_is_read_but_never_listed(self, backend: Backend) -> None:
        key = private_key("journal/one")
        self.place(backend, key, b"ours")
        self.place(backend, KEY, b"theirs")
        assert backend.get(key) == b"ours"
        assert backend.exists(key)
        assert join(backend.read(key)) == b"ours"
        assert backend.stat(key).size == 4
        if Feature.LIST in backend.features:
            assert list(backend.keys()) == [KEY]
            assert [entry.key for entry in backend.scan()] == [KEY]
            assert list(backend.scan(".anystore/")) == []
            assert list(backend.keys(".anystore/journal/")) == []

    def test_backend_is_pickled_by_its_configuration(self, backend: Backend) -> None:
        self.place(backend, KEY, b"x")
        assert backend.get(KEY) == b"x"  # so that it has opened what it opens
        again = pickle.loads(pickle.dumps(backend))  # noqa: S301 - made here
        assert again.get(KEY) == b"x"
        assert again.uri == backend.uri
        assert again.features == backend.features
        again.close()

    def test_closed_backend_opens_again(self, backend: Backend) -> None:
        self.place(backend, KEY, b"x")
        assert backend.get(KEY) == b"x"
        backend.close()
        backend.close()
        assert backend.get(KEY) == b"x"

    def test_reaching_tells_whether_there_is_a_place(self, backend: Backend) -> None:
        assert backend.reach() in (True, False)
        self.place(backend, KEY, b"x")
        assert backend.reach()

    def test_what_is_sure_of_the_features_is_true(self, backend: Backend) -> None:
        sure, unsure = backend.sure_features()
        assert sure & ~backend.features == Feature.NONE
        assert backend.features & ~(sure | unsure) == Feature.NONE

    def test_backend_says_where_it_is(self, backend: Backend) -> None:
        assert backend.uri
        assert backend.uri in repr(backend)

    def test_error_is_one_of_ours(self, backend: Backend) -> None:
        with pytest.raises(AnystoreError):
            backend.get(parse_key("nothing"))
