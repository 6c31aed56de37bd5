"""What is promised of values that expire."""

from datetime import timedelta

import pytest

from anystore.backend import Backend, Feature
from anystore.errors import AlreadyExists, DoesNotExist, VersionMismatch
from anystore.keys import parse_key
from anystore.testing.ground import Ground, needs

KEY, OTHER = parse_key("folder/value"), parse_key("folder/other")
EXPIRING = Feature.WRITE | Feature.EXPIRE
TTL = 0.2


class Expiring(Ground):
    """The tests of expiry."""

    @needs(EXPIRING)
    def test_expired_value_is_absent_everywhere(self, backend: Backend) -> None:
        backend.put(OTHER, b"stays")
        backend.put(KEY, b"goes", ttl=TTL)
        assert backend.get(KEY) == b"goes"
        self.advance(backend, TTL * 1.5)
        for read in (backend.get, backend.read, backend.reader, backend.stat):
            with pytest.raises(DoesNotExist):
                read(KEY)
        with pytest.raises(DoesNotExist):
            backend.copy(KEY, parse_key("copied"))
        assert not backend.exists(KEY)
        assert not backend.exists(parse_key("copied"))
        assert list(backend.get_many([KEY, OTHER])) == [(KEY, None), (OTHER, b"stays")]
        if Feature.LIST in backend.features:
            assert [entry.key for entry in backend.scan()] == list(backend.keys()) == [OTHER]
        backend.delete(KEY)

    @needs(EXPIRING | Feature.TAKE)
    def test_expired_value_is_not_taken(self, backend: Backend) -> None:
        backend.put(KEY, b"goes", ttl=TTL)
        self.advance(backend, TTL * 1.5)
        with pytest.raises(DoesNotExist):
            backend.take(KEY)

    @needs(EXPIRING | Feature.MOVE)
    def test_expired_value_is_not_moved(self, backend: Backend) -> None:
        backend.put(KEY, b"goes", ttl=TTL)
        self.advance(backend, TTL * 1.5)
        with pytest.raises(DoesNotExist):
            backend.move(KEY, OTHER)
        assert not backend.exists(OTHER)

    @needs(EXPIRING | Feature.CREATE)
    def test_expired_value_is_no_obstacle_to_create(self, backend: Backend) -> None:
        backend.put(KEY, b"goes", ttl=TTL)
        with pytest.raises(AlreadyExists):
            backend.put(KEY, b"too early", create=True)
        self.advance(backend, TTL * 1.5)
        backend.put(KEY, b"new", create=True)
        assert self.peek(backend, KEY) == b"new"

    @needs(EXPIRING | Feature.SWAP)
    def test_expired_value_cannot_be_swapped(self, backend: Backend) -> None:
        version = backend.put(KEY, b"goes", ttl=TTL).version
        self.advance(backend, TTL * 1.5)
        with pytest.raises(VersionMismatch):
            backend.put(KEY, b"new", version=version)
        assert not backend.exists(KEY)

    @needs(EXPIRING | Feature.APPEND)
    def test_append_makes_an_expired_value_anew(self, backend: Backend) -> None:
        backend.put(KEY, b"goes", ttl=TTL)
        self.advance(backend, TTL * 1.5)
        backend.append(KEY, b"new")
        assert backend.get(KEY) == b"new"
        assert backend.stat(KEY).expires is None

    @needs(EXPIRING | Feature.APPEND)
    def test_append_keeps_an_expiry(self, backend: Backend) -> None:
        backend.put(KEY, b"goes", ttl=TTL)
        backend.append(KEY, b" too")
        assert backend.get(KEY) == b"goes too"
        self.advance(backend, TTL * 1.5)
        assert not backend.exists(KEY)

    @needs(EXPIRING)
    def test_writer_keeps_a_ttl(self, backend: Backend) -> None:
        with backend.writer(KEY, ttl=TTL) as writer:
            writer.write(b"goes")
        assert backend.get(KEY) == b"goes"
        self.advance(backend, TTL * 1.5)
        assert not backend.exists(KEY)

    @needs(EXPIRING)
    def test_many_keep_a_ttl(self, backend: Backend) -> None:
        backend.put_many([(KEY, b"goes"), (OTHER, b"goes too")], ttl=TTL)
        assert backend.exists(KEY)
        self.advance(backend, TTL * 1.5)
        assert list(backend.get_many([KEY, OTHER])) == [(KEY, None), (OTHER, None)]

    @needs(EXPIRING)
    def test_entry_says_when(self, backend: Backend) -> None:
        before = self.now(backend)
        entry = backend.put(KEY, b"goes", ttl=60)
        for said in (entry.expires, backend.stat(KEY).expires):
            assert said is not None
            assert abs(said - before - timedelta(seconds=60)) < timedelta(seconds=5)
        if Feature.LIST in backend.features:
            (listed,) = backend.scan()
            assert listed.expires is None or abs(listed.expires - before) < timedelta(seconds=65)

    @needs(EXPIRING)
    def test_put_without_ttl_clears_an_expiry(self, backend: Backend) -> None:
        backend.put(KEY, b"goes", ttl=TTL)
        backend.put(KEY, b"stays")
        assert backend.stat(KEY).expires is None
        self.advance(backend, TTL * 1.5)
        assert backend.get(KEY) == b"stays"

    @pytest.mark.parametrize("step", ["copy", "move"])
    @needs(EXPIRING | Feature.MOVE)
    def test_copy_and_move_keep_an_expiry(self, backend: Backend, step: str) -> None:
        expires = backend.put(KEY, b"goes", ttl=TTL).expires
        getattr(backend, step)(KEY, OTHER)
        assert backend.get(OTHER) == b"goes"
        kept = backend.stat(OTHER).expires
        assert kept is not None
        assert expires is not None
        assert abs(kept - expires) < timedelta(seconds=0.1)
        self.advance(backend, TTL * 2)
        assert not backend.exists(OTHER)

    @needs(EXPIRING)
    def test_copy_without_an_expiry_clears_the_target(self, backend: Backend) -> None:
        backend.put(KEY, b"stays")
        backend.put(OTHER, b"goes", ttl=TTL)
        backend.copy(KEY, OTHER)
        self.advance(backend, TTL * 1.5)
        assert backend.get(OTHER) == b"stays"
