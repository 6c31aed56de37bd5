"""What the Redis backend says when something fails, and that it goes on afterwards."""

import pickle
import socket
import socketserver
import threading
import time
import traceback
from contextlib import suppress
from hashlib import sha1

import pytest
from redis import exceptions

from anystore.backends.redis import from_uri
from anystore.backends.redis.address import Address
from anystore.backends.redis.failures import DRIVER_ERRORS, explain
from anystore.errors import AlreadyExists, AnystoreError, BackendError, DoesNotExist, ReadOnlyError, Unsupported
from anystore.uris import parse_uri
from tests.servers import HOST, free_port

KNOWN = {
    "AskError",
    "AuthenticationError",
    "AuthenticationWrongNumberOfArgsError",
    "AuthorizationError",
    "BusyLoadingError",
    "ChildDeadlockedError",
    "ClusterCrossSlotError",
    "ClusterDownError",
    "ClusterError",
    "ConnectionError",
    "CrossSlotTransactionError",
    "DataError",
    "ExecAbortError",
    "ExternalAuthProviderError",
    "IncorrectPolicyType",
    "InvalidPipelineStack",
    "InvalidResponse",
    "LockError",
    "LockNotOwnedError",
    "MasterDownError",
    "MaxConnectionsError",
    "ModuleError",
    "MovedError",
    "NoPermissionError",
    "NoScriptError",
    "NoSuchFieldsetError",
    "OutOfMemoryError",
    "PubSubError",
    "ReadOnlyError",
    "RedisClusterException",
    "RedisError",
    "ResponseError",
    "SlotNotCoveredError",
    "TimeoutError",
    "TryAgainError",
    "WatchError",
}
LONG = 3 << 20
SECRET = "s3cret:/@?"
QUOTED = "s3cret%3A%2F%40%3F"


def opened(server, path="/0", login="", **config):
    return from_uri(parse_uri(f"redis://{login}{HOST}:{server.port}{path}"), config)


def every_call(backend):
    """Give every call that asks the server for something."""
    yield lambda: backend.get("key")
    yield lambda: backend.read("key")
    yield lambda: backend.reader("key")
    yield lambda: backend.stat("key")
    yield lambda: backend.exists("key")
    yield lambda: backend.take("key")
    yield lambda: list(backend.get_many(["key"]))
    yield lambda: list(backend.keys())
    yield lambda: list(backend.scan())
    yield from every_write(backend)


def every_write(backend):
    yield lambda: backend.put("key", b"new")
    yield lambda: backend.put("key", b"new", create=True, ttl=5)
    yield lambda: backend.put("key", b"new", version=sha1(b"x").hexdigest())
    yield lambda: backend.put_many([("key", b"new")])
    yield lambda: backend.put_many([("key", b"new")], ttl=5)
    yield lambda: backend.append("key", b"new")
    yield lambda: backend.copy("key", "other")
    yield lambda: backend.writer("key").write(b"new" * LONG)


def check(call, kind, words, uri):
    """Check that a call raises a clear error, which is never taken for a missing key and tells no secret."""
    with pytest.raises(kind, match=words) as caught:
        call()
    assert not isinstance(caught.value, DoesNotExist)
    assert uri in str(caught.value)
    shown = "".join(traceback.format_exception(caught.value))
    error = caught.value
    while error is not None:
        shown += repr(error) + str(error)
        error = error.__cause__ or error.__context__
    assert SECRET not in shown
    assert QUOTED not in shown
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_every_error_of_the_driver_becomes_one_of_ours():
    classes = {one for one in vars(exceptions).values() if isinstance(one, type) and issubclass(one, Exception)}
    names = {kind.__name__ for kind in classes}
    assert names == KNOWN, "decide in failures.py what a new error of redis-py means, then add it here"
    address = Address(uri="redis://me:***@host/0", secrets=frozenset({"hunter2"}))
    for kind in classes:
        assert issubclass(kind, DRIVER_ERRORS)
        original = kind.__new__(kind)
        original.args = ("the text",)
        ours = explain(original, address, verb="read", key="a/b")
        assert isinstance(ours, AnystoreError)
        assert not isinstance(ours, DoesNotExist)
        assert "'a/b'" in str(ours)
        assert address.uri in str(ours)
        assert ours.__cause__ is original
        original.args = ("the text with hunter2 in it",)
        ours = explain(original, address, verb="read", key="a/b")
        assert ours.__cause__ is None
        assert "hunter2" not in str(ours)
        assert kind.__name__ in str(ours)


@pytest.mark.parametrize("login", ["", f":{QUOTED}@", f"default:{QUOTED}@", f"me:{QUOTED}@"])
def test_wrong_password(own_server, login):
    own_server.command("CONFIG", "SET", "requirepass", "right")
    backend = opened(own_server, login=login)
    for call in every_call(backend):
        check(call, BackendError, "username and password", backend.uri)
    assert SECRET not in repr(backend) + backend.uri


def test_password_where_none_is_asked_for(own_server):
    backend = opened(own_server, password=SECRET)
    check(lambda: backend.get("key"), BackendError, "username and password", backend.uri)


@pytest.mark.parametrize("place", ["uri", "config"])
def test_right_password(own_server, place):
    own_server.command("ACL", "SETUSER", "me", "on", f">{SECRET}", "~*", "+@all")
    own_server.command("CONFIG", "SET", "requirepass", "other")
    given = {"username": "me", "password": SECRET} if place == "config" else {}
    backend = opened(own_server, login=f"me:{QUOTED}@" if place == "uri" else "", **given)
    backend.put("key", b"x")
    assert pickle.loads(pickle.dumps(backend)).get("key") == b"x"
    assert SECRET not in repr(backend) + backend.uri + repr(backend._client.address)
    backend.close()


def test_missing_permission(own_server):
    own_server.command("ACL", "SETUSER", "reader", "on", f">{SECRET}", "~*", "+@read", "+eval", "+select")
    own_server.command("SET", "key", "x")
    backend = opened(own_server, login=f"reader:{QUOTED}@")
    assert backend.get("key") == b"x"
    assert backend.stat("key").size == 1
    assert list(backend.keys()) == [entry.key for entry in backend.scan()] == ["key"]  # INFO is not permitted
    for call in every_write(backend):
        check(call, ReadOnlyError, "not permitted", backend.uri)
    assert own_server.command("GET", "key") == b"x"
    own_server.command("ACL", "SETUSER", "reader", "-@read")
    check(lambda: backend.get("key"), BackendError, "not permitted", backend.uri)
    backend.close()


def test_user_of_one_prefix(own_server):
    keys = ("~mine/*", "~.anystore/mine/*")
    own_server.command("ACL", "SETUSER", "tenant", "on", ">x", *keys, "+@all", "-@dangerous")
    own_server.command("SET", "other/key", "x")
    backend = opened(own_server, "/0/mine", "tenant:x@")
    with backend.writer("long") as writer:
        writer.write(b"x" * LONG)
    assert sum(map(len, backend.read("long"))) == LONG
    assert [entry.size for entry in backend.scan()] == [LONG]
    outside = opened(own_server, "/0/other", "tenant:x@")
    check(lambda: outside.get("key"), BackendError, "not permitted", outside.uri)
    backend.close()
    outside.close()


def test_missing_database(own_server):
    backend = opened(own_server, "/99")
    for call in every_call(backend):
        check(call, BackendError, "no database number 99", backend.uri)


def test_replica_that_only_reads(own_server):
    own_server.command("SET", "key", "x")
    own_server.command("REPLICAOF", HOST, free_port())
    backend = opened(own_server)
    assert backend.get("key") == b"x"
    for call in every_write(backend):
        check(call, ReadOnlyError, "replica", backend.uri)
    assert backend.get("key") == b"x"
    backend.close()


def test_full_memory(own_server):
    own_server.command("SET", "key", "x")
    own_server.command("CONFIG", "SET", "maxmemory", "1")
    backend = opened(own_server)
    for call in every_write(backend):
        check(call, BackendError, "maxmemory", backend.uri)
    assert backend.get("key") == b"x"
    assert list(backend.keys()) == ["key"]
    backend.delete("key")
    backend.close()


def test_memory_that_fills_while_a_value_is_streamed(own_server):
    backend = opened(own_server)
    backend.put("key", b"old")
    writer = backend.writer("key")
    writer.write(b"x" * LONG)
    own_server.command("CONFIG", "SET", "maxmemory", "1")
    check(lambda: writer.write(b"x" * LONG), BackendError, "maxmemory", backend.uri)
    writer.abort()
    assert own_server.command("KEYS", "*") == [b"key"]
    assert backend.get("key") == b"old"
    backend.close()


def test_value_beyond_the_limit_is_refused_before_it_is_sent(own_server):
    own_server.command("CONFIG", "SET", "proto-max-bulk-len", 2 << 20)
    backend = opened(own_server)
    backend.put("full", b"x" * (2 << 20))
    for call in (
        lambda: backend.put("key", bytes(LONG)),
        lambda: backend.put_many([("first", b"x"), ("key", bytes(LONG))]),
        lambda: backend.append("key", bytes(LONG)),
        lambda: backend.writer("key").write(bytes(LONG)),
        lambda: backend.append("full", b"one more"),
    ):
        check(call, Unsupported, "folder or a bucket", backend.uri)
    writer = backend.writer("key")
    writer.write(bytes(2 << 20))
    check(lambda: writer.write(b"one more"), Unsupported, "folder or a bucket", backend.uri)
    writer.abort()
    assert own_server.command("KEYS", "*") == [b"full"]
    backend.close()


def test_default_limit_where_the_server_does_not_say(own_server):
    own_server.command("ACL", "SETUSER", "default", "-config")
    backend = opened(own_server)
    backend.check_size("key", 512 << 20)
    with pytest.raises(Unsupported, match="536,870,912"):
        backend.check_size("key", (512 << 20) + 1)
    backend.close()


# -- a server that is not there -------------------------------------------------


def test_nobody_listens():
    backend = from_uri(parse_uri(f"redis://me:{QUOTED}@{HOST}:{free_port()}/0"), {})
    begun = time.monotonic()
    for call in every_call(backend):
        check(call, BackendError, "cannot be reached", backend.uri)
    assert time.monotonic() - begun < 2


@pytest.mark.parametrize("uri", ["redis://no-such-host.invalid/0", "redis://a..b/0", "unix:///no/such/socket"])
def test_no_such_place(uri):
    backend = from_uri(parse_uri(uri), {"socket_connect_timeout": 2})
    check(lambda: backend.get("key"), BackendError, "cannot be reached", backend.uri)


def test_somebody_listens_and_never_answers():
    with socket.create_server((HOST, 0)) as silent:
        uri = f"redis://me:{QUOTED}@{HOST}:{silent.getsockname()[1]}/0"
        backend = from_uri(parse_uri(uri), {"socket_timeout": 0.2, "socket_connect_timeout": 0.2})
        begun = time.monotonic()
        check(lambda: backend.get("key"), BackendError, "no answer in time", backend.uri)
        assert time.monotonic() - begun < 2


class _Babbler(socketserver.BaseRequestHandler):
    def handle(self):
        while self.request.recv(1 << 16):
            self.request.sendall(self.server.says)


SPOILT = [b"*OK\r\n", b"+3\r\n", b"*1\r\n:5\r\n", b"%3\r\n", b"$x\r\n", b":7\r\n", b"\r\n", b"*1\r\n*0\r\n", b"\xff"]


@pytest.mark.parametrize("says", SPOILT)
def test_what_no_server_says_is_an_error_of_ours(says):
    with socketserver.ThreadingTCPServer((HOST, 0), _Babbler) as server:
        server.says, server.daemon_threads, server.block_on_close = says, True, False
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        backend = from_uri(parse_uri(f"redis://{HOST}:{server.server_address[1]}/0"), {"socket_timeout": 0.2})
        for call in every_call(backend):
            with suppress(AnystoreError):
                call()
        backend.close()
        server.shutdown()


def test_nobody_accepts():
    with socket.socket() as full:
        full.bind((HOST, 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(4)]  # whoever comes after them is not even connected
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        backend = from_uri(parse_uri(f"redis://{HOST}:{full.getsockname()[1]}/0"), {"socket_connect_timeout": 0.2})
        begun = time.monotonic()
        check(lambda: backend.put("key", b""), BackendError, "no answer in time", backend.uri)
        assert time.monotonic() - begun < 2
        for one in waiting:
            one.close()


@pytest.mark.parametrize(
    ("scheme", "config"), [("redis", {}), ("rediss", {}), ("rediss", {"ssl_ca_certs": "/no/such/file"})]
)
def test_tls_that_does_not_fit(tls_server, scheme, config):
    backend = from_uri(parse_uri(f"{scheme}://{HOST}:{tls_server.port}/0"), config)
    check(lambda: backend.get("key"), BackendError, "TLS", backend.uri)


def test_server_without_tls_is_not_waited_for_as_an_answer_is(redis_server):
    backend = from_uri(
        parse_uri(f"rediss://{HOST}:{redis_server.port}/0"), {"socket_connect_timeout": 0.2, "socket_timeout": 3600}
    )
    check(lambda: backend.get("key"), BackendError, "one without TLS wants 'redis://'", backend.uri)


def test_answers_over_tls_are_waited_for_in_their_own_time(tls_server):
    config = {"socket_connect_timeout": 0.2, "socket_timeout": 60, "ssl_cert_reqs": "none"}
    backend = from_uri(parse_uri(f"rediss://{HOST}:{tls_server.port}/0"), config)
    for _ in range(2):  # a new connection, and one that has been looked at and is used again
        tls_server.command("CLIENT", "PAUSE", "500", "ALL")
        backend.put("key", b"x")  # which is not tried again, as a question is
    backend.close()


def test_tls_without_a_check(tls_server):
    backend = from_uri(parse_uri(f"valkeys://{HOST}:{tls_server.port}/0?ssl_cert_reqs=none"), {})
    backend.put("key", b"x")
    assert backend.get("key") == b"x"
    backend.close()


# -- a server that stops, and comes back -----------------------------------------


def test_server_that_comes_back(own_server):
    backend = opened(own_server)
    backend.put("key", b"x")
    own_server.stop()
    for call in every_call(backend):
        check(call, BackendError, "cannot be reached", backend.uri)
    own_server.start()
    for call in every_call(backend):
        own_server.command("SET", "key", "x")
        with suppress(AlreadyExists):  # what is to create a value finds one
            call()
    backend.close()


@pytest.mark.parametrize("method", ["put", "get"])
def test_connection_that_broke_between_two_calls(own_server, method):
    backend = opened(own_server)
    backend.put("key", b"x")
    own_server.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    if method == "get":
        assert backend.get("key") == b"x"
    else:
        backend.put("key", b"x")
    backend.close()


def test_reading_call_is_sent_again_and_writing_call_is_not(own_server, monkeypatch):
    """Break the connection between the look at it and the sending."""
    backend = opened(own_server)
    backend.put("key", b"x")
    take = backend._client.pool.take
    broken = []

    def take_and_break(**wanted):
        connection = take(**wanted)
        if not broken:
            broken.append(connection)
            own_server.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        return connection

    monkeypatch.setattr(backend._client.pool, "take", take_and_break)
    for read in (lambda: backend.get("key"), lambda: backend.stat("key"), lambda: list(backend.keys())):
        broken.clear()
        read()
    for write in (lambda: backend.put("key", b"y"), lambda: backend.append("key", b"y"), lambda: backend.take("key")):
        broken.clear()
        check(write, BackendError, "cannot be reached", backend.uri)
    assert own_server.command("GET", "key") == b"x"
    backend.close()


def test_reader_of_a_server_that_was_restarted(own_server):
    backend = opened(own_server)
    backend.put("key", b"a" * LONG)
    pieces = backend.read("key")
    assert next(pieces) == b"a" * (1 << 20)
    own_server.stop()
    own_server.start()
    backend.put("key", b"b" * LONG)
    check(lambda: list(pieces), BackendError, "'key'", backend.uri)
    backend.close()


def test_writer_to_a_server_that_was_restarted(own_server):
    backend = opened(own_server)
    writer = backend.writer("key")
    writer.write(b"a" * LONG)
    own_server.stop()
    own_server.start()
    check(lambda: writer.write(b"b" * LONG), BackendError, "write the value again", backend.uri)
    writer.abort()
    assert own_server.command("KEYS", "*") == []
    backend.close()


def test_abort_while_the_server_is_away(own_server):
    backend = opened(own_server)
    writer = backend.writer("key")
    writer.write(b"a" * LONG)
    own_server.stop()
    writer.abort()


def test_listing_of_a_server_that_was_restarted_is_never_short(own_server):
    backend = opened(own_server)
    backend.put_many((f"key/{number}", b"x") for number in range(3000))
    listing = backend.keys()
    next(listing)
    own_server.stop()
    own_server.start()
    backend.put_many((f"key/{number}", b"x") for number in range(3000))
    check(lambda: list(listing), BackendError, "list again", backend.uri)
    assert len(list(backend.keys())) == 3000
    backend.close()


def test_pool_is_bounded_and_waits(own_server):
    backend = opened(own_server, max_connections=1, socket_timeout=0.2)
    pool = backend._client.pool
    connection = pool.take(verb="read", key="key")
    check(lambda: backend.get("key"), BackendError, "max_connections", backend.uri)
    pool.give(connection)
    backend.put("key", b"x")
    assert backend.get("key") == b"x"
    backend.close()
