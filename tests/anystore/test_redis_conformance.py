"""Redis, Valkey and what speaks their protocol pass the suite."""

import pytest

from anystore.backends.redis import from_uri
from anystore.testing import BackendSuite
from anystore.uris import parse_uri
from tests.kvrocks_filter import KvrocksFilter


class OnServer(BackendSuite):
    """Values are placed and read by plain commands of the server."""

    PREFIX = ""

    def _name(self, key):
        if key.startswith(".anystore/"):
            return b".anystore/" + self.PREFIX.encode() + key.removeprefix(".anystore/").encode()
        return self.PREFIX.encode() + key.encode()

    def place(self, backend, key, data):
        assert self.server.command("SET", self._name(key), data) == b"OK"

    def peek(self, backend, key):
        return self.server.command("GET", self._name(key))

    def remove(self, backend, key):
        self.server.command("DEL", self._name(key))

    def advance(self, backend, seconds):
        """Move every expiry instead of waiting for it; one class waits, which is enough."""
        for name in self.server.command("KEYS", "*"):
            left = self.server.command("PTTL", name)
            if left >= 0:
                self.server.command("PEXPIRE", name, max(0, left - round(seconds * 1000)))

    def opened(self, server, uri, **config):
        self.server = server
        server.command("FLUSHALL")
        return from_uri(parse_uri(uri), config)


class TestRedis(OnServer):
    advance = BackendSuite.advance

    @pytest.fixture
    def backend(self, redis_server):
        backend = self.opened(redis_server, f"redis://127.0.0.1:{redis_server.port}/0")
        yield backend
        backend.close()


class TestValkeyBelowAPrefix(OnServer):
    """A folder of a database in which others have keys, too."""

    PREFIX = "tenants/o_e*[x]?\\/"

    @pytest.fixture
    def backend(self, valkey_server):
        prefix = "tenants/o_e*[x]%3F\\"
        backend = self.opened(valkey_server, f"valkey://127.0.0.1:{valkey_server.port}/0/{prefix}")
        for other in ("tenants/o_e", "tenants/one/x", "tenants/o_eZZx?\\/y", "other"):
            valkey_server.command("SET", other, "another tenant's")
        yield backend
        backend.close()


@pytest.fixture(scope="module")
def over_tls(tls_server):
    """A backend for many tests: to read the authorities for each connection takes longer than a test."""
    uri = parse_uri(f"rediss://127.0.0.1:{tls_server.port}")
    backend = from_uri(uri, {"ssl_ca_certs": str(tls_server.home / "ca.pem")})
    yield backend
    backend.close()


class TestRedisOverTls(OnServer):
    @pytest.fixture
    def backend(self, tls_server, over_tls):
        self.server = tls_server
        tls_server.command("FLUSHALL")
        return over_tls


class TestRedisOnASocket(OnServer):
    PREFIX = "mine/"

    @pytest.fixture
    def backend(self, redis_server):
        backend = self.opened(redis_server, f"unix://{redis_server.socket}?db=0&prefix=mine")
        yield backend
        backend.close()


class TestKvrocks(OnServer):
    """The rules of Kvrocks on the wire, before a real Redis."""

    PREFIX = "tenants/o_e*[x]?\\/"

    @pytest.fixture
    def backend(self, redis_server):
        with KvrocksFilter(redis_server) as kvrocks:
            prefix = "tenants/o_e*[x]%3F\\"
            backend = self.opened(redis_server, f"redis://127.0.0.1:{kvrocks.port}/0/{prefix}")
            for other in ("tenants/o_e", "tenants/one/x", "tenants/o_eZZx?\\/y", "other"):
                redis_server.command("SET", other, "another tenant's")
            redis_server.command("HSET", self._name("a hash"), "field", "value")
            yield backend
            backend.close()
        assert [words for words in kvrocks.refused if words[0] != b"CONFIG"] == []
