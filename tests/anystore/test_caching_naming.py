"""Keys of calls: equal calls meet in every process, different ones never do."""

import functools
import os
import re
import subprocess
import sys
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import BaseModel

from anystore import anycache, get_store
from anystore.errors import InvalidOption
from anystore.keys import parse_key


class Person(BaseModel):
    name: str
    age: int = 0


@dataclass
class Query:
    text: str
    connection: Any = field(default=None, compare=False)


class Named:
    def __init__(self, name):
        self.name = name

    def __cache_key__(self):
        return self.name


def target(a=1, *rest, b=2, **more):
    return None


def other(a=1, *rest, b=2, **more):
    return None


def key(*args, **kwargs):
    return anycache(target).cache.key(*args, **kwargs)


EQUAL = [
    (((1,), {}), ((), {"a": 1})),
    (((1,), {}), ((), {})),
    (((1,), {"b": 2}), ((), {"b": 2, "a": 1})),
    (((), {"x": 1, "y": 2}), ((), {"y": 2, "x": 1})),
    ((({1, 2, 3},), {}), (({3, 2, 1},), {})),
    ((({"a": 1, "b": {"c": 1, "d": 2}},), {}), (({"b": {"d": 2, "c": 1}, "a": 1},), {})),
    (([[1], [1]], {}), ([[1]] * 2, {})),
    ((([[1], [1]],), {}), (([[1]] * 2,), {})),
]


@pytest.mark.parametrize("pair", EQUAL)
def test_equal_calls_have_one_key(pair):
    (args, kwargs), (more_args, more_kwargs) = pair
    assert key(*args, **kwargs) == key(*more_args, **more_kwargs)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (Person(name="a"), Person(name="a", age=0).model_copy()),
        (np.arange(6).reshape(2, 3), np.asfortranarray(np.arange(6).reshape(2, 3))),
        (Query("a", object()), Query("a", object())),
        (Named("a"), Named("a")),
        (b"x" * 100, bytes(b"x" * 100)),
        ({b"a" * 99, b"b" * 99}, {b"b" * 99, b"a" * 99}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_equal_arguments_have_one_key(a, b):
    if isinstance(a, Person):
        b = Person.model_construct(a.model_fields_set, **a.__dict__)
    assert key(a) == key(b)
    assert key([{"k": (a,)}]) == key([{"k": (b,)}])


NAIVE = datetime(2024, 1, 1)  # noqa: DTZ001 - one of the kinds there are
DIFFERENT = [
    *(1, 1.0, True, "1", b"1", bytearray(b"1"), Decimal(1), Decimal("1.0"), complex(1), (1,), [1], {1}, frozenset({1})),
    *(0, -0.0, 0.0, False, None, "", b"", (), [], {}, set()),
    *("None", "null", "[]", [[]], ([],), [()], ["list", 1], ("a", "b"), ("ab",), ("a,b",), "a\0b", "\ud800"),
    *({"a": 1}, {"a": "1"}, {1: "a"}, {"1": "a"}, [("a", 1)], OrderedDict(a=1), OrderedDict(a=1, b=2)),
    *(OrderedDict(b=2, a=1), {"a": 1, "b": 2}, {"a": 2, "b": 1}, {"a": [1, 2]}, {"a": [2, 1]}),
    *(b"x" * 32, b"x" * 33, b"x" * 34, (b"x" * 33).hex(), 2**64, 2**64 + 1, -(2**64), hex(2**64)),
    *(date(2024, 1, 1), NAIVE, NAIVE.replace(tzinfo=UTC), "2024-01-01"),
    *(Path("a"), Path("b"), "a", float("nan"), float("inf"), "nan", range(1), range(2)),
    *(int, str, len, target, other, Person, Named),
    *(Person(name="a"), Person(name="b"), Query("a"), Query("b"), Named("a"), Named(("a",))),
    *(np.array([1]), np.array([1.0]), np.array(1), np.int64(1), np.array([[1]]), np.array([1], dtype=">i8")),
]


def test_different_arguments_have_different_keys():
    keys = {key(value): value for value in DIFFERENT}
    assert len(keys) == len(DIFFERENT)
    assert len({key(value, value) for value in DIFFERENT} | set(keys)) == 2 * len(DIFFERENT)
    assert len({key(c=value) for value in DIFFERENT} | {key(d=value) for value in DIFFERENT}) == 2 * len(DIFFERENT)
    # asked once more, from memory where they are kept there
    assert [key(value) for value in keys.values()] == list(keys)


def test_the_memo_does_not_mix_what_is_equal_to_python():
    cached = anycache(target)
    for value in (1, True, 1.0, 0, False, "1"):
        assert cached.cache.key(value) == key(value)
        assert cached.cache.key(a=value) == key(value)
        assert cached.cache.key(x=value) == key(x=value)
    assert len(cached._plan.entries.name._memo) > 0
    for number in range(5000):
        cached.cache.key(number)
    cached.cache.key("x" * 10_000)
    assert len(cached._plan.entries.name._memo) <= 1024
    assert not any("x" * 10_000 in probe[0] for probe in cached._plan.entries.name._memo)


def test_functions_and_versions_and_names_are_apart():
    keys = [
        key(1),
        anycache(other).cache.key(1),
        anycache(version=1)(target).cache.key(1),
        anycache(version=2)(target).cache.key(1),
        anycache(version="1/2")(target).cache.key(1),
        anycache(name="target")(target).cache.key(1),
        anycache(name="a/b")(target).cache.key(1),
        anycache(name="a")(target).cache.key(1),
    ]
    assert len(set(keys)) == len(keys)
    assert key(1).startswith(f"anycache/{__name__}/target/")
    assert anycache(name="x" * 500)(target).cache.key(1) != anycache(name="x" * 501)(target).cache.key(1)


@pytest.mark.parametrize(
    "name",
    ["a", "a/b", "https://x.org/a//b/?q=1#top", "", ".", "..", "ü" * 500, "x" * 5000, "%", "k=a", "\ud800", "~="],
)
def test_any_text_of_key_func_makes_a_key(name):
    cached = anycache(key_func=lambda text: text)(target)
    made = cached.cache.key(name)
    assert parse_key(made) == made
    assert len(made.encode()) <= 1024
    assert all(0 < len(segment.encode()) <= 255 for segment in made.split("/"))
    others = [cached.cache.key(other) for other in ("b", name + "x", (name,), [name], 5)]
    assert made not in others


def test_long_names_of_functions_make_keys():
    def inner():
        return None

    inner.__module__, inner.__qualname__ = "m" * 500, "q" * 500
    made = anycache(version="v" * 500)(inner).cache.key()
    assert len(made.encode()) <= 1024
    assert all(len(segment) <= 255 for segment in made.split("/"))


def test_key_func_decides():
    store = get_store("memory://key-func")
    asked = []

    @anycache(store=store, name="decides", key_func=lambda a, **_: None if a < 0 else ("even", a % 2))
    def double(a, **_):
        asked.append(a)
        return a * 2

    assert [double(1), double(3), double(2, x=object()), double(-1), double(-1)] == [2, 2, 4, -2, -2]
    assert asked == [1, 2, -1, -1]
    assert double.cache.key(-1) is None
    double.cache.invalidate(-1)
    assert double.cache.stats().skipped == 2


class Opaque:
    pass


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (Opaque(), "Opaque"),
        ([{"k": Opaque()}], "Opaque"),
        (lambda: 1, "lambda"),
        (functools.partial(target), "partial"),
        (iter([]), "iterator"),
        (pd.DataFrame({"a": [1]}), "DataFrame"),
        (np.array([Opaque()]), "objects"),
        (open(os.devnull, "rb"), "BufferedReader"),  # noqa: SIM115
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_argument_without_a_stable_name_is_named(value, reason):
    called = []

    @anycache(name="unnamed", uri="memory://unnamed")
    def run(first, second):
        called.append(1)

    with pytest.raises(InvalidOption, match=f"(?s)'second'.*{reason}.*key_func"):
        run(1, value)
    assert called == []
    run.cache.clear()


def test_wrong_arguments_are_a_type_error():
    cached = anycache(uri="memory://wrong")(other)
    with pytest.raises(TypeError, match="multiple values"):
        cached(1, a=2)


SCRIPT = """
import sys
sys.path[:0] = sys.argv[1:2]
from dataclasses import dataclass
from enum import Enum
import naming_example as e
print(e.f.cache.key({"b", "a", "c", b"d", (1, 2)}, {"x": {1, 2, 3}, "y": 1}, e.Q(e.C.RED), k=frozenset("abcdef")))
print(e.O("u").m.cache.key(1), e.O.c.cache.key(1), e.O.s.cache.key(1))
"""

EXAMPLE = """
from dataclasses import dataclass
from enum import Enum
from anystore import anycache
class C(Enum):
    RED = 1
@dataclass
class Q:
    c: C
@anycache
def f(*args, **kwargs): ...
@dataclass
class O:
    url: str
    @anycache
    def m(self, a): ...
    @anycache
    @classmethod
    def c(cls, a): ...
    @anycache
    @staticmethod
    def s(a): ...
"""


def test_keys_are_the_same_in_every_process(tmp_path):
    (tmp_path / "naming_example.py").write_text(EXAMPLE)

    def run(seed):
        command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
        return subprocess.run(
            command, env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout

    first = run("1")
    assert first == run("2") == run("3")
    assert len(set(first.split())) == 4


MAIN = """
import sys
from anystore import anycache
@anycache
def f(a): return 1
print(f.cache.key(1))
"""


def run_main(*arguments, data=None, cwd=None):
    run = subprocess.run([sys.executable, *arguments], input=data, capture_output=True, text=True, check=True, cwd=cwd)
    return run.stdout.strip()


def test_two_scripts_are_apart(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    for folder in "ab":
        (tmp_path / folder / "job.py").write_text(MAIN)
    first, second = (run_main(tmp_path / folder / "job.py") for folder in "ab")
    assert first != second
    assert run_main("job.py", cwd=tmp_path / "a") == first
    assert re.fullmatch(r"anycache/__main__~[0-9a-f]{16}/f/[0-9a-f]{40}", first)
    assert run_main("-m", "job", cwd=tmp_path / "a").startswith("anycache/job/f/")


def test_a_prompt_tells_functions_by_their_text():
    assert run_main(data=MAIN) == run_main(data=MAIN + "\n") != run_main(data=MAIN.replace("return 1", "return 2"))


SPAWN = """
import multiprocessing, sys
from dataclasses import dataclass
from anystore import anycache
@dataclass
class Mine:
    a: int
@anycache(uri=sys.argv[1] if sys.argv[1:] else None)
def f(a): return Mine(a)
def ask(_): return f.cache.key(Mine(1)), f(3), f.cache.stats().hits
if __name__ == "__main__":
    f(3)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.map(ask, [1]) == [(f.cache.key(Mine(1)), Mine(3), 1)])
"""


def test_a_spawned_worker_meets_its_parent(tmp_path):
    (tmp_path / "job.py").write_text(SPAWN)
    assert run_main(tmp_path / "job.py", tmp_path / "store") == "True"


def test_functions_without_a_name_of_their_own_are_refused():
    calls = []
    with pytest.raises(InvalidOption, match="lambda"):
        anycache(lambda a: a)

    def closure(a):
        return calls, a

    with pytest.raises(InvalidOption, match="'calls'"):
        anycache(closure)

    def inner(a):
        return a

    assert "<locals>.inner" in anycache(inner).cache.key(1)
    assert "name=mine" in anycache(name="mine")(closure).cache.key(1)
    assert "name=l" in anycache(name="l")(lambda a: a).cache.key(1)
