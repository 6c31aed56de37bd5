"""The envelopes of the cache, to be fuzzed."""

import contextlib
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import numpy as np
import orjson
import pandas as pd
import polars as pl
import pyarrow as pa

from anystore import Feature, anycache, get_store
from anystore.caching.envelope import lease_of, seal, unseal
from anystore.codecs import JsonCodec
from anystore.errors import AnystoreError
from tests.reliability.fuzz_corpora import NODES


def make() -> tuple[Callable[[bytes], None], list[bytes], list[bytes]]:
    """Give the target, its words, and inputs to begin with."""
    store = get_store(f"memory://{uuid4().hex}", serialization_mode="raw")

    @anycache(store=store, name="fuzzed", key_func=lambda: "entry")
    def compute() -> int:
        return 42

    compute()
    ((key, sealed),) = list(store.get_many(list(store.iterate_keys())))
    function = orjson.loads(sealed)["function"]

    def run(data: bytes) -> None:
        for codec in (None, JsonCodec()):
            with contextlib.suppress(AnystoreError):
                unseal(data, function, codec=codec, clock=lambda: 0.0)
        with contextlib.suppress(AnystoreError):
            lease_of(data, function)
        if b"computing" not in data:  # which would be waited for
            store.put(key, data)
            compute()

    nodes = [b'["' + name + b'",0]' for name in NODES] + [b'["' + name + b'",' for name in NODES]
    head = b'{"anycache":1,"function":"fuzzed","made":1.0,"expires":null,"codec":"exact","blobs":[4,0],"node":'
    head = head.replace(b"fuzzed", function.encode())
    words = [
        *nodes,
        head,
        b"]}\n",
        b'"a"',
        b"1e999",
        b"-1",
        b"[1,2]",
        b"null",
        b'"int16"',
        b"}\nabcd",
        b'["as",1,',
        b",",
    ]
    deep = head + b'["list",' * 900 + b"1" + b"]" * 901 + b"}\nabcd"
    shared: list[Any] = ["tuple", 1, 2]
    for number in range(40):  # a hash of which looks at 2 ** 40 numbers
        shared = ["tuple", ["as", number, shared], ["same", number]]
    hard = head + orjson.dumps(["set", shared]) + b"}\nabcd"
    shaped = [hard]
    shaped += [head + node + b"}\nabcd" for node in nodes if node.endswith(b"]")]
    shaped += [head + b'["' + name + b'","builtins:int","x",0,0,0]}\nabcd' for name in NODES]
    values = [*_PLAIN, *_rich_values()]
    sealed_values = [seal(value, function=function, made=1.0, ttl=None, codec=None) for value in values]
    return run, words, [sealed, *sealed_values, deep, *shaped]


_MOMENT = datetime(2024, 3, 1, 12, tzinfo=ZoneInfo("Europe/Berlin"))
_PLAIN = [
    1,
    "a",
    [1, (2, {3})],
    {1: b"x"},
    2 + 3j,
    range(3),
    _MOMENT,
    Path("a/b"),
    Decimal("1.5"),
    timedelta(1),
    Feature.WRITE,
]


def _rich_values() -> list[object]:
    return [
        np.arange(6, dtype="int16").reshape(2, 3),
        np.array(["a", "bc"]),
        pd.DataFrame({"a": [1, 2], "b": ["x", None]}),
        pl.DataFrame({"a": [1, 2], "b": ["x", None]}),
        pl.Series("s", [1.5]),
        pa.table({"a": [1, 2]}),
    ]
