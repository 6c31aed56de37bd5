"""What a caller of ``anycache`` meets."""

import asyncio
import copy
import inspect
import logging
import os
import pickle
import subprocess
import sys
import uuid
from dataclasses import dataclass
from datetime import timedelta

import polars as pl
import pytest
from pydantic import BaseModel

from anystore import Feature, anycache, get_store
from anystore.backend import Backend
from anystore.backends.wrap import ReadonlyBackend
from anystore.caching import CacheStats
from anystore.errors import (
    BackendError,
    CodecError,
    DoesNotExist,
    InvalidOption,
    InvalidUri,
    ReadOnlyError,
    Unsupported,
)
from anystore.keys import Key
from anystore.store import Store


class Counted(BaseModel):
    n: int


class Clock:
    now = 1_000_000.0

    def __call__(self):
        return self.now


@dataclass
class Client:
    """A class with every kind of method."""

    url: str

    @anycache(uri="memory://client")
    def fetch(self, page: int = 1) -> tuple[str, int]:
        """Fetch."""
        CALLS.append((self.url, page))
        return self.url, page

    @anycache(uri="memory://client")
    @classmethod
    def build(cls, a):
        CALLS.append((cls, a))
        return cls.__name__, a

    @classmethod
    @anycache(uri="memory://client")
    def made(cls, a):
        CALLS.append((cls, a))
        return cls.__name__, a

    @anycache(uri="memory://client")
    @staticmethod
    def plain(a):
        CALLS.append(a)
        return (a,)

    @staticmethod
    @anycache(uri="memory://client")
    def simple(a):
        CALLS.append(a)
        return [a]

    @anycache(uri="memory://client")
    async def later(self, a):
        CALLS.append(a)
        return {a}

    @property
    @anycache(uri="memory://client")
    def size(self):
        CALLS.append("size")
        return len(self.url)


class Sub(Client):
    pass


class Opaque:
    @anycache(uri="memory://client")
    def fetch(self):
        return 1


CALLS = []


@anycache(uri="memory://module-level")
def module_level(a: int, *, b: str = "x") -> str:
    """Say something."""
    return f"{a}{b}"


@anycache(uri="memory://module-level")
async def module_level_later(a: int) -> tuple[int]:
    return (a,)


@pytest.fixture
def store():
    return get_store(f"memory://{uuid.uuid4()}")


@pytest.fixture(autouse=True)
def no_calls():
    CALLS.clear()
    get_store("memory://client").delete_prefix("anycache")
    get_store("memory://module-level").delete_prefix("anycache")


def counting(store=None, **options):
    """Cache a function that counts its calls."""
    calls = []

    @anycache(store=store, name=options.pop("name", "counting"), **options)
    def run(value=None, **more):
        calls.append(value)
        return more.get("result", value)

    return run, calls


def returning(store, value, **options):
    """Cache a function that returns something."""

    @anycache(store=store, **options)
    def run():
        return value

    return run


@pytest.mark.parametrize("value", ["1", 1, b"1", None, (1, {2}), Counted(n=1), True, 1.0, ""])
def test_the_first_and_every_later_call_return_the_same(store, value):
    run, calls = counting(store)
    results = [run(value) for _ in range(3)]
    assert results == [value] * 3
    assert {type(result) for result in results} == {type(value)}
    assert calls == [value]
    assert run.cache.stats() == CacheStats(hits=2, misses=1)


def test_it_is_the_function_still():
    assert module_level(1) == module_level(a=1, b="x") == "1x"
    assert module_level.__name__ == "module_level"
    assert module_level.__doc__ == "Say something."
    assert str(inspect.signature(module_level)) == "(a: int, *, b: str = 'x') -> str"
    assert pickle.loads(pickle.dumps(module_level)) is module_level
    assert copy.deepcopy(module_level) is module_level
    assert "module_level" in repr(module_level)
    assert asyncio.iscoroutinefunction(module_level_later)
    assert not asyncio.iscoroutinefunction(module_level)
    assert asyncio.run(module_level_later(1)) == asyncio.run(module_level_later(a=1)) == (1,)
    assert module_level_later.cache.stats().hits >= 1


def test_a_result_may_be_changed_by_its_caller(store):
    run, _ = counting(store)
    first = run("x", result=[1])
    first.append(2)
    second = run("x", result=[1])
    second.append(3)
    assert run("x", result=[1]) == [1]


def test_methods():
    a, b = Client("a"), Client("b")
    assert [a.fetch(), a.fetch(1), a.fetch(page=1), Client("a").fetch(), b.fetch(), Client.fetch(a)] == [
        *[("a", 1)] * 4,
        ("b", 1),
        ("a", 1),
    ]
    assert CALLS == [("a", 1), ("b", 1)]
    assert Sub("a").fetch() == ("a", 1)
    assert len(CALLS) == 3
    a.fetch.cache.invalidate()
    assert (a.fetch(), b.fetch(), len(CALLS)) == (("a", 1), ("b", 1), 4)
    assert a.fetch.cache.key() == Client.fetch.cache.key(a) != b.fetch.cache.key()
    assert str(inspect.signature(a.fetch)) == "(page: int = 1) -> tuple[str, int]"
    assert pickle.loads(pickle.dumps(a.fetch))(page=1) == ("a", 1)


def test_methods_without_an_object():
    for _ in range(2):
        assert Client.build(1) == Client("x").build(1) == ("Client", 1)
        assert Sub.build(1) == Sub.made(1) == ("Sub", 1)
        assert Client.made(1) == ("Client", 1)
        assert Client.plain(1) == Client("x").plain(1) == (1,)
        assert Client.simple(1) == Client("x").simple(1) == [1]
        assert Client("x").size == 1
        assert asyncio.run(Client("x").later(1)) == {1}
    assert [(Client, 1), (Sub, 1), (Sub, 1), (Client, 1), 1, 1, "size", 1] == CALLS
    Client.build.cache.invalidate(1)
    Client.plain.cache.invalidate(1)
    assert (Client.build(1), Client.plain(1), Sub.build(1)) == (("Client", 1), (1,), ("Sub", 1))
    assert CALLS[8:] == [(Client, 1), 1]


def test_an_object_without_a_name_is_refused():
    with pytest.raises(InvalidOption, match=r"'self'.*Opaque.*__cache_key__"):
        Opaque().fetch()


def test_exceptions_are_not_cached(store):
    calls = []

    @anycache(store=store, name="fails")
    def run(a):
        calls.append(a)
        if len(calls) < 3:
            raise ZeroDivisionError(a)
        return a

    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            run(1)
    assert list(store.iterate_keys()) == []
    assert run(1) == run(1) == 1
    assert len(calls) == 3


def test_ttl_is_kept_by_the_entry(tmp_path):
    clock = Clock()
    run, calls = counting(get_store(tmp_path), ttl=timedelta(seconds=60), clock=clock)
    run(1)
    clock.now += 59.9
    run(1)
    assert calls == [1]
    clock.now += 0.1
    run(1)
    run(1)
    assert calls == [1, 1]
    forever, _ = counting(get_store(tmp_path), clock=clock, name="forever")
    forever(1)
    clock.now += 10**9
    forever(1)
    assert forever.cache.stats().hits == 1


def test_ttl_is_given_to_backends_that_expire(store):
    run, _ = counting(store, ttl=60)
    run(1)
    entry = store.info(run.cache.key(1))
    assert 50 < (entry.expires - entry.modified).total_seconds() <= 60


def test_invalidate_and_clear(store):
    run, calls = counting(store)
    other, _ = counting(store, name="other")
    longer, _ = counting(store, name="counting2")
    versioned, _ = counting(store, version=2)
    store.put("mine", 1)
    for function in (run, other, longer, versioned):
        function(1)
        function(2)
    run.cache.invalidate(1)
    run.cache.invalidate(99)
    run(1)
    run(2)
    assert calls == [1, 2, 1]
    run.cache.clear()
    left = set(store.iterate_keys())
    assert left == {"mine", *(function.cache.key(n) for function in (other, longer) for n in (1, 2))}
    run.cache.clear()


def test_a_value_invalidated_while_it_is_computed_is_not_stored(store):
    @anycache(store=store, name="changing")
    def run(a):
        if a == "clear":
            run.cache.clear()
        else:
            run.cache.invalidate(a)
        return a

    for value in ("invalidate", "clear"):
        assert run(value) == value
    assert list(store.iterate_keys()) == []


def test_use_cache(store):
    run, calls = counting(store, use_cache=False)
    assert [run(1), run(1)] == [1, 1]
    run, calls = counting(store, use_cache=lambda value, **_: value > 1)
    assert [run(value) for value in (1, 1, 2, 2)] == [1, 1, 2, 2]
    assert calls == [1, 1, 2]
    assert run.cache.stats() == CacheStats(hits=1, misses=1, skipped=2)


def test_modes_and_models(store):
    pickled = returning(store, {object}, name="pickle", serialization_mode="pickle")
    assert pickled() == pickled() == {object}
    as_json = returning(store, (1, 2), name="json", serialization_mode="json", ttl=60)
    assert as_json() == as_json() == [1, 2]
    model = returning(store, {"n": "5"}, name="model", model=Counted)
    assert model() == model() == Counted(n=5)
    frame = pl.DataFrame({"a": [1]})
    frames = returning(store, frame, name="frames", model=pl.DataFrame)
    assert frames().equals(frame)
    assert frames().equals(frame)
    tables = returning(store, frame, name="tables", serialization_mode="parquet")
    assert tables().equals(tables())
    with pytest.raises(CodecError, match="model"):
        returning(store, "none", name="bad", model=Counted)()


def test_another_mode_computes_again(store, caplog):
    exact, _ = counting(store)
    exact(1)
    as_json, calls = counting(store, serialization_mode="json")
    assert as_json(1) == as_json(1) == 1
    assert calls == [1]
    assert "exact" in caplog.text


def test_what_cannot_be_cached_says_so_at_once(store):
    for value in (object(), iter([]), lambda: 1):
        run = returning(store, value, name="bad")
        with pytest.raises(CodecError, match=r"returning.<locals>.run returned.*pickle"):
            run()
    assert list(store.iterate_keys()) == []


def generator():
    yield 1


async def async_generator():
    yield 1


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (generator, "generator"),
        (async_generator, "generator"),
        (staticmethod(generator), "generator"),
        (Client, "type"),
        (Client("x").fetch.__wrapped__, "method"),
        (property(lambda _: 1), "@property above"),
        (5, "int"),
        ("memory://x", "str"),
        (lambda: 1, "lambda"),
    ],
)
def test_what_is_no_function_is_refused(function, message):
    with pytest.raises(InvalidOption, match=message):
        anycache(function)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"store": "memory://x"}, "uri="),
        ({"store": get_store("memory://x"), "uri": "memory://x"}, "not both"),
        ({"ttl": 0}, "ttl"),
        ({"ttl": "1h"}, "ttl"),
        ({"ttl": True}, "ttl"),
        ({"ttl": 1e300}, "ttl"),
        ({"ttl": timedelta.max}, "ttl"),
        ({"wait": float("inf")}, "wait"),
        ({"wait": -1}, "wait"),
        ({"key_func": "x"}, "key_func"),
        ({"version": 1.5}, "version"),
        ({"name": ""}, "name"),
        ({"on_error": "ignore"}, "on_error"),
        ({"use_cache": 1}, "use_cache"),
        ({"serialization_mode": "yaml"}, "yaml"),
        ({"serialization_mode": "pickle", "model": int}, "model"),
    ],
    ids=str,
)
def test_bad_options_are_refused_when_the_function_is_decorated(options, message):
    with pytest.raises(InvalidOption, match=message):
        anycache(**options)


def test_the_longest_times_are_taken(store):
    years = timedelta(days=365) * 1000
    run = anycache(store=store, name="longest", ttl=years, wait=years)(lambda: 1)
    assert (run(), run(), run.cache.stats().hits) == (1, 1, 1)


def test_unknown_options_are_refused():
    with pytest.raises(TypeError, match="tttl"):
        anycache(tttl=5)


def test_nothing_is_opened_before_the_first_call(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bad, _ = counting(uri="nonsense://x")
    with pytest.raises(InvalidUri, match="nonsense"):
        bad(1)
    run, calls = counting()
    assert os.listdir(tmp_path) == []
    monkeypatch.setenv("ANYSTORE_URI", str(tmp_path / "default"))
    run(1)
    assert os.listdir(tmp_path) == ["default"]
    asked = []

    def open_store():
        asked.append(1)
        return get_store(f"memory://tenant{len(asked)}-{tmp_path}")

    run, calls = counting(open_store)
    assert asked == []
    run(1)
    run(1)
    assert (calls, len(asked)) == ([1, 1], 2)
    wrong, _ = counting(lambda: "memory://x")
    with pytest.raises(InvalidOption, match="gave a str"):
        wrong(1)


def test_a_store_that_cannot_be_written_to_is_refused_before_anything_is_computed(store, tmp_path):
    for target, error in (
        (Store(ReadonlyBackend(store.backend)), ReadOnlyError),
        (get_store(tmp_path, readonly=True), ReadOnlyError),
        (get_store("http://127.0.0.1:9/"), Unsupported),
    ):
        run, calls = counting(target)
        with pytest.raises(error, match="use_cache"):
            run(1)
        assert calls == []


class Failing(Backend):
    """A store whose service is down, wholly or for some calls."""

    uri = "failing://"
    features = Feature.WRITE | Feature.CREATE | Feature.SWAP

    def __init__(self, *down):
        self.down = set(down)
        self.inner = get_store(f"memory://{uuid.uuid4()}").backend

    def _ask(self, name, *args, **options):
        if name in self.down:
            raise BackendError(f"{name} failed")
        return getattr(self.inner, name)(*args, **options)

    def get(self, key):
        return self._ask("get", key)

    def read(self, key, start=0, stop=None):
        return self._ask("read", key, start, stop)

    def reader(self, key):
        return self._ask("reader", key)

    def stat(self, key):
        return self._ask("stat", key)

    def delete(self, key):
        return self._ask("delete", key)

    def put(self, key, data, *, create=False, version=None, ttl=None):
        if create and "create" in self.down:
            raise BackendError("create failed")
        return self._ask("put", key, data, create=create, version=version)


@pytest.mark.parametrize("down", [("get",), ("put",), ("create",), ("get", "put", "create", "delete", "reader")])
def test_a_store_that_is_down_is_logged_and_the_function_runs(down, caplog):
    backend = Failing(*down)
    run, calls = counting(Store(backend))
    with caplog.at_level(logging.DEBUG, "anystore.caching"):
        assert [run(1), run(1), run(2)] == [1, 1, 2]
    assert calls == [1, 1, 2]
    lines = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(lines) == 1
    assert "runs without its cache" in lines[0].getMessage()
    assert "failing://" in lines[0].getMessage()
    assert run.cache.stats().failures == 3
    strict, calls = counting(Store(backend), on_error="raise")
    with pytest.raises(BackendError, match="failed"):
        strict(3)


def test_a_store_that_is_back_is_used():
    backend = Failing("get", "put", "create")
    run, calls = counting(Store(backend))
    run(1)
    backend.down.clear()
    run(1)
    run(1)
    assert calls == [1, 1]


def test_a_value_that_the_store_does_not_take_lets_nobody_wait(store, monkeypatch):
    backend = type(store.backend)
    real = backend.put

    def put(self, key, data, **options):
        if b"computing" not in data:
            raise BackendError("the disk is full")
        return real(self, key, data, **options)

    monkeypatch.setattr(backend, "put", put)
    function, calls = counting(store)
    function(1)
    assert list(store.iterate_keys()) == []
    function(1)
    assert len(calls) == 2


def test_a_failing_store_does_not_hide_the_functions_error():
    backend = Failing("delete")

    @anycache(store=Store(backend), name="raising", on_error="raise")
    def run(a):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(1)


@pytest.mark.parametrize("data", [b"", b"hello", b"\x80\x04.", b'{"anycache":99}\n', b'{"anycache":1}\n', b"null\n"])
def test_a_broken_entry_is_computed_again_and_logged_once(store, caplog, data):
    run, calls = counting(store)
    for value in (1, 2):
        store.put(run.cache.key(value), data, serialization_mode="raw")
        assert [run(value), run(value)] == [value, value]
    assert calls == [1, 2]
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert run.cache.stats().broken >= 2


def test_an_entry_of_another_function_is_not_taken(store):
    run, _ = counting(store)
    other, calls = counting(store, name="other")
    run(1, result="secret")
    store.copy(run.cache.key(1, result="secret"), other.cache.key(1))
    assert other(1) == 1
    assert calls == [1]


def test_an_expired_or_foreign_entry_without_create_is_replaced():
    class Simple(Failing):
        features = Feature.WRITE

    clock = Clock()
    run, calls = counting(Store(Simple()), ttl=1, clock=clock)
    for _ in range(3):
        run(1)
        run(1)
        clock.now += 2
    assert calls == [1, 1, 1]


def test_stats_count_each_call():
    run, _ = counting(get_store(f"memory://{uuid.uuid4()}"))
    for _ in range(3):
        run.cache.stats()
    run(1)
    run(1)
    assert run.cache.stats() == run.cache.stats() == CacheStats(hits=1, misses=1)


def test_async_functions_have_async_caches(store):
    calls = []

    @anycache(store=store, name="later", ttl=60)
    async def run(a):
        calls.append(a)
        await asyncio.sleep(0)
        if a == "fail":
            raise ZeroDivisionError
        return (a,)

    async def main():
        assert await run(1) == await run(a=1) == (1,)
        await run.cache.invalidate(1)
        assert await run(1) == (1,)
        await run.cache.clear()
        assert await run(1) == (1,)
        for _ in range(2):
            with pytest.raises(ZeroDivisionError):
                await run("fail")

    asyncio.run(main())
    assert calls == [1, 1, 1, "fail", "fail"]
    assert list(store.iterate_keys()) == [run.cache.key(1)]


def test_importing_opens_and_starts_nothing():
    code = (
        "import threading, sys; from anystore import anycache; anycache(print); "
        "heavy = {'pyarrow', 'numpy', 'pandas', 'polars', 'sqlalchemy'} & set(sys.modules); "
        "assert threading.active_count() == 1 and not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_keys_are_made_to_be_read(store):
    run, _ = counting(store)
    run(1)
    with pytest.raises(DoesNotExist):
        store.backend.get(Key("anycache/name=counting"))
    assert store.get(run.cache.key(1), serialization_mode="raw").startswith(b'{"anycache":1,"function":"anycache/')
