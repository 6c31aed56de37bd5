"""Values in envelopes: each comes back equal and of its type, or is refused; none runs code."""

import math
import pathlib
import subprocess
import sys
import zoneinfo
from collections import OrderedDict, namedtuple
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from enum import Enum, Flag, IntEnum, StrEnum, auto
from functools import cached_property
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np
import orjson
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, PrivateAttr

from anystore.caching.decoding import ValueDecoder
from anystore.caching.envelope import Answer, seal, unseal
from anystore.codecs import named_codec
from anystore.errors import CodecError


class Colour(Enum):
    RED = "red"
    BLUE = (1, 2)


class Level(IntEnum):
    LOW = 1


class Word(StrEnum):
    A = "a"


class Rights(Flag):
    READ = auto()
    WRITE = auto()


Point = namedtuple("Point", "x y")  # noqa: PYI024 - both ways are to work


class Named(NamedTuple):
    name: str
    tags: tuple[str, ...] = ()


@dataclass
class Plain:
    a: int
    b: Any = None
    hidden: int = field(default=0, init=False)


@dataclass(frozen=True, slots=True)
class Slotted:
    a: Any

    def __post_init__(self):
        STARTED.append(self.a)


@dataclass
class Lazy:
    a: int

    @cached_property
    def double(self):
        return self.a * 2


class Person(BaseModel):
    model_config = ConfigDict(extra="allow")
    name: str
    friend: "Person | None" = None
    when: datetime | None = None
    _seen: dict[str, int] = PrivateAttr(default_factory=dict)


class Frozen(BaseModel, frozen=True):
    values: tuple[int, ...]


STARTED: list[Any] = []


def trip(value):
    return unseal(
        seal(value, function="f", made=1.0, ttl=None, codec=None), "f", codec=None, clock=lambda: float("inf")
    )


def same(a, b):
    """Equal, and of the same types at every depth."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return len(a) == len(b) and all(
            same(x, y) and same(a[x], b[y]) for x, y in zip(a, b, strict=True)
        )  # in the same order
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float):
        return a.hex() == b.hex()
    if isinstance(a, complex):
        return same(a.real, b.real) and same(a.imag, b.imag)
    if isinstance(a, datetime | time):
        return (a.isoformat(), a.fold, repr(a.tzinfo)) == (b.isoformat(), b.fold, repr(b.tzinfo))
    if isinstance(a, Decimal):
        return str(a) == str(b)
    if isinstance(a, set | frozenset):
        return a == b and sorted(map(repr, a)) == sorted(map(repr, b))
    return a == b


VALUES = [
    *("1", "", "text", "a\nb\0", "ü€😀", "\ud800 alone", "null", '["list"]', "as", "same"),
    *(1, 0, -1, 2**63, 2**64, -(2**63) - 1, 10**5000, True, False, None),
    *(1.0, -0.0, 5e-324, 1e308, math.inf, -math.inf, math.nan, 0.1, 1e16, 2.0**70),
    *(complex(1, -0.0), complex(math.nan, math.inf)),
    *(b"", b"1", b"\n\n", b"\xff\x00" * 100, bytearray(b"x")),
    *((), (1,), ((),), [], [()], [[1], (1,), {1}, frozenset({1})], {}, set(), frozenset()),
    *({1, "1", b"1", (1, (2,)), frozenset({3})}, {1: "a", "1": "b", (1, 2): "c", None: 0, True + 1: 0, 2.5: 0}),
    {"b": 1, "a": 2},
    OrderedDict(b=1, a=2),
    *(Decimal("1.10"), Decimal("NaN"), Decimal("-Infinity"), Decimal("1E+500"), Decimal("sNaN12")),
    UUID("12345678123456781234567812345678"),
    *(date.min, date.max, datetime.max, datetime(2024, 5, 1, 12, 0, 0, 1)),  # noqa: DTZ001, DTZ901
    datetime(2024, 5, 1, tzinfo=UTC),
    datetime(2024, 5, 1, tzinfo=timezone(timedelta(hours=-3, microseconds=1), "odd")),
    datetime(2024, 5, 1, tzinfo=timezone.utc),  # noqa: UP017 - the same object by another name
    datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin")),
    *(time(1, 2, 3, 4, fold=1), time(1, tzinfo=UTC), timedelta.max, timedelta(days=-1, microseconds=1)),
    *(pathlib.Path("a/b"), pathlib.PurePosixPath("/"), pathlib.PureWindowsPath("c:/x"), pathlib.Path("\udcff")),
    *(range(3), range(10, 0, -(2**70))),
    *(Colour.RED, Colour.BLUE, Level.LOW, Word.A, Rights.READ, Rights.READ | Rights.WRITE, Rights(0)),
    *(Point(1, [2]), Named("n", ("t",)), Plain(1, (Colour.RED, {"x": {1}})), Slotted((1, b"2"))),
    *([{"deep": ({"deeper": [{1: b"2"}]},)}] * 2, [Person(name="a", friend=Person(name="b", more=(1,)))]),
    Frozen(values=(1, 2)),
]


def test_an_entry_that_would_take_for_ever_to_hash_is_broken():
    node = ["tuple", 1, 2]
    for number in range(60):
        node = ["tuple", ["as", number, node], ["same", number]]
    for whole in (["set", node], ["frozenset", node], ["dict", node, 1]):
        with pytest.raises(CodecError, match="for ever"):
            ValueDecoder([]).decode(whole)
    assert len(ValueDecoder([]).decode(["list", node, node])) == 2
    shared = ["tuple", ["as", 0, ["tuple", *range(1000)]], *[["same", 0]] * 50]
    assert ValueDecoder([]).decode(["set", shared]) == {(tuple(range(1000)),) * 51}


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_comes_back_equal_and_of_its_type(value):
    back = trip(value)
    assert same(back, value)
    assert same(trip([value, {"k": (value,)}]), [value, {"k": (value,)}])


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=()))
    | st.binary()
    | st.complex_numbers()
    | st.decimals(allow_nan=False)
    | st.dates()
    | st.datetimes(timezones=st.none() | st.timezones())
    | st.timedeltas()
    | st.uuids()
    | st.sampled_from([Colour.RED, Level.LOW, Rights.READ])
)
HASHABLE = st.recursive(
    SCALARS, lambda inner: st.tuples(inner, inner) | st.frozensets(inner) | st.builds(Slotted, inner), max_leaves=5
)
NESTED = st.recursive(
    HASHABLE,
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(HASHABLE, inner)
        | st.sets(HASHABLE)
        | st.builds(Plain, st.integers(), inner)
        | st.builds(Point, inner, inner)
    ),
    max_leaves=20,
)


@given(NESTED)
def test_any_value_comes_back(value):
    back = trip(value)
    assert repr(back) == repr(value) if not _has_sets(value) else type(back) is type(value)
    assert seal(back, function="f", made=1.0, ttl=None, codec=None).count(b"\n") >= 1
    if not _has_nan(value):
        assert back == value


def _has_sets(value):
    return "{" in repr(value)


def _has_nan(value):
    return "nan" in repr(value).lower()


def test_plain_json_is_stored_as_plain_json():
    stored = seal({"a": [1, None, "x"]}, function="f", made=1.5, ttl=10, codec=None)
    assert orjson.loads(stored) == {
        "anycache": 1,
        "function": "f",
        "made": 1.5,
        "expires": 11.5,
        "codec": "exact",
        "json": {"a": [1, None, "x"]},
    }


def test_dataclasses_come_back_without_their_code():
    value = Slotted([1])
    STARTED.clear()
    assert trip(value) == value
    assert STARTED == []
    lazy = Lazy(2)
    assert lazy.double == 4
    back = trip(lazy)
    assert vars(back) == {"a": 2}
    assert back.double == 4


def test_models_come_back_whole():
    value = Person(name="a", extra={1: (2,)})
    value._seen["x"] = 1
    back = trip(value)
    assert back == value
    assert back.model_fields_set == value.model_fields_set == {"name", "extra"}
    assert back.model_extra == {"extra": {1: (2,)}}
    assert back._seen == {"x": 1}


def test_shared_objects_stay_shared():
    inner, moment = [1], (datetime.now(UTC), b"x")
    back = trip({"a": inner, "b": inner, "c": [moment, moment], "d": {moment}})
    back["a"].append(2)
    assert back["b"] == [1, 2]
    assert back["c"][0] is back["c"][1]
    assert back["d"] == {moment}
    wide: Any = []
    for _ in range(100):
        wide = [wide, wide]  # written out it would have 2 ** 100 lists
    back = trip(wide)
    assert back[0] is back[1]
    plain = [inner] * 3
    assert trip(plain) == plain


def _cyclic_list():
    value: list[Any] = []
    value.append([value])
    return value


def _cyclic_object():
    value = Plain(1)
    value.b = {"me": (value,)}
    return value


def _deep():
    value: Any = ()
    for _ in range(250):
        value = (value,)
    return value


class Text(str):
    __slots__ = ()


@dataclass
class Stateful:
    a: int

    def __post_init__(self):
        self.connection = object()


@dataclass
class Listed(list):
    a: int = 0


class _Noon(tzinfo):
    def utcoffset(self, _):
        return timedelta(hours=12)


def _local():
    @dataclass
    class Inner:
        a: int

    return Inner(1)


@pytest.mark.parametrize(
    "value",
    [
        _cyclic_list(),
        _cyclic_object(),
        _deep(),
        Text("x"),
        [object()],
        {"k": Text("x")},
        {Text("x"): 1},
        Stateful(1),
        Listed(1),
        _local(),
        lambda: 1,
        print,
        int,
        Exception("x"),
        (one for one in ()),
        iter([]),
        memoryview(b""),
        np.array([object()]),
        np.ma.array([1]),
        np.str_("a\0"),
        np.array(["a"], dtype=np.dtypes.StringDType()),
        pd.Timestamp("2024-01-01"),
        pd.DataFrame({"a": [[1], [2]]}),
        pd.DataFrame({"a": [1, "x"]}),
        pd.DataFrame({"a": pd.cut([1, 2, 3], 2)}),
        pd.DataFrame({"a": pd.Series([float("nan"), "x"], dtype=object)}),
        pd.DataFrame({"a": [1]}, index=pd.Index([(1, 2)], tupleize_cols=False)),
        pl.LazyFrame({"a": [1]}),
        pl.DataFrame({"a": [object()]}),
        pa.schema([]),
        datetime(2024, 1, 1, tzinfo=_Noon()),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_would_not_come_back_is_refused(value):
    with pytest.raises(CodecError, match=r"pickle|module|zoneinfo|dtype|Python|return|arrow|Arrow"):
        seal(value, function="f", made=1.0, ttl=None, codec=None)


ARRAYS = [
    np.array(5),
    np.array([], dtype="f4"),
    np.zeros((0, 3), order="F"),
    np.arange(12).reshape(3, 4)[:, ::2],
    np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    np.array([1, 2], dtype=">i4"),
    np.array([True, False]),
    np.array([1 + 2j, np.nan]),
    np.array(["a", "bcd", ""]),
    np.array([b"a", b"\xff"]),
    np.array(["2024-01-01", "NaT"], dtype="M8[ns]"),
    np.array([1], dtype="m8[h]"),
    np.array([(1, 2.5, [(3,), (4,)])], dtype=[("a", "<i2"), ("b", "f8"), ("c", [("d", "u1")], (2,))]),
    np.array([1.5], dtype=np.longdouble),
    np.array([1.5], dtype="f2"),
]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype}{array.shape}")
def test_arrays(array):
    back = trip({"x": [array]})["x"][0]
    assert type(back) is np.ndarray
    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    assert back.tobytes() == array.tobytes()
    assert back.flags.f_contiguous or not array.flags.f_contiguous
    assert back.flags.writeable


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype}{array.shape}")
def test_numpy_scalars(array):
    for scalar in array.ravel()[:2]:
        back = trip((scalar,))[0]
        assert type(back) is type(scalar)
        assert np.asarray(back).dtype == np.asarray(scalar).dtype
        assert np.asarray(back).tobytes() == np.asarray(scalar).tobytes()


def test_tables_and_frames():
    table = pa.table({"a": pa.array([1, None], pa.int8()), "b": pa.array(["x", "x"]).dictionary_encode()})
    table = table.replace_schema_metadata({"k": "v"})
    back = trip({"t": table, "n": (1,)})["t"]
    assert back.equals(table, check_metadata=True)
    frame = pd.DataFrame(
        {
            "i": [1, 2],
            "f": [1.5, np.nan],
            "s": ["a", None],
            "c": pd.Categorical(["x", "y"], ordered=True),
            "t": pd.to_datetime(["2024-01-01", None]).tz_localize("Europe/Berlin"),
            "d": pd.Series([Decimal("1.10"), None], dtype=object),
            "n": pd.array([1, None], dtype="Int64"),
        }
    )
    frame.index = pd.Index(["r1", "r2"], name="row")
    back = trip(frame)
    pd.testing.assert_frame_equal(back, frame)
    multi = frame.set_index(["i", "s"])[["f", "c"]]
    pd.testing.assert_frame_equal(trip([multi])[0], multi)
    pd.testing.assert_frame_equal(trip(pd.DataFrame()), pd.DataFrame())
    for series in (frame["f"], frame["t"], frame["i"].rename(None)):
        pd.testing.assert_series_equal(trip(series), series)
    polars = pl.DataFrame({"a": [1, None], "b": [["x"], []], "c": ["u", "v"]}, schema_overrides={"c": pl.Categorical})
    back = trip(polars)
    assert back.schema == polars.schema
    assert back.equals(polars)
    assert trip(polars["a"]).equals(polars["a"])
    assert trip(polars["a"]).name == "a"


def entry(node, *blobs, **header):
    """Write an entry as somebody else might."""
    line = {"anycache": 1, "function": "f", "codec": "exact", "node": node, "blobs": list(map(len, blobs))}
    return orjson.dumps(line | header) + b"\n" + b"".join(blobs)


def read(data):
    return unseal(data, "f", codec=None, clock=lambda: 0.0)


HOSTILE = {
    "a function": ["dataclass", "os:system", "x", "echo"],
    "a class of the system": ["dataclass", "subprocess:Popen", "x", "true"],
    "a module nobody loaded": ["dataclass", "antigravity:Fly", "x"],
    "an attribute": ["dataclass", f"{__name__}:Plain.__init__", "x"],
    "a class by another name": ["enum", f"{__name__}:os.path", "x"],
    "a dataclass of another shape": ["dataclass", f"{__name__}:Plain", "0000", 1, 2, 3],
    "a model that is none": ["model", f"{__name__}:Plain", "0000", [], None, None],
    "a member that is none": ["enum", f"{__name__}:Colour", "GREEN"],
    "an enum that is none": ["enum", "builtins:dict", "x"],
    "a type nobody knows": ["pickle", 0],
    "a method": ["_make", 1],
    "no name": [],
    "a name that is none": [[1], 2],
    "an object": {"list": 1},
    "a blob too far": ["bytes", 7],
    "a negative blob": ["bytes", -1],
    "a label too far": ["same", 3],
    "a set of lists": ["set", ["list"]],
    "a half pair": ["dict", 1],
    "a zone that is a path": ["datetime", "2024-01-01", 0, ["../../etc/passwd", None]],
    "an array of objects": ["numpy", "array", "|O", [1], 0],
    "an array that is too large": ["numpy", "array", "<f8", [1 << 60], 0],
    "an array of negative length": ["numpy", "array", "<f8", [-1, -1], 0],
    "a dtype that is none": ["numpy", "array", "import os", [1], 0],
    "a dtype with a number that is no Python": ["numpy", "array", "<02", [2, 3], 0],
    "a table that is none": ["pyarrow.Table", 0],
    "a frame without bytes": ["pandas.DataFrame"],
    "a number that is none": ["int", "zz"],
    "numbers for a path": ["PosixPath", 1],
}


@pytest.mark.parametrize("node", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_entry_is_refused(node):
    with pytest.raises(CodecError):
        read(entry(node, b"12345678"))
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"hello",
        b"[1]\n",
        b"{}\n",
        b'{"anycache":2}\n',
        b'{"anycache":1,"function":"g","codec":"exact","json":1}\n',
        b'{"anycache":1,"function":"f","codec":"pickle"}\ncos\nsystem\n(S"true"\ntR.',
        b'{"anycache":1,"function":"f","codec":"exact"}\n',
        b'{"anycache":1,"function":"f","codec":"exact","expires":"never","json":1}\n',
        entry(["bytes", 0], b"123")[:-1],
        entry(["bytes", 0], b"123") + b"4",
        entry(["bytes", 0], blobs=[-1]),
        entry(["bytes", 0], blobs="x"),
        b"\x80\x04K\x01.",
        b"[" * 100_000,
    ],
)
def test_what_is_no_entry_is_refused(data):
    with pytest.raises(CodecError):
        read(data)


@given(st.binary())
def test_any_bytes_are_refused(data):
    with pytest.raises(CodecError):
        read(data)


def test_cut_entries_are_refused():
    whole = seal([np.arange(3), (b"x" * 50, Plain(1))], function="f", made=1.0, ttl=None, codec=None)
    for size in range(len(whole)):
        with pytest.raises(CodecError):
            read(whole[:size])


def test_a_claim_and_an_expired_value_are_no_values():
    assert read(b'{"anycache":1,"function":"f","computing":"x","lease":30}\n') is Answer.MISS
    stored = seal(1, function="f", made=100.0, ttl=5, codec=None)
    assert unseal(stored, "f", codec=None, clock=lambda: 104.9) == 1
    assert unseal(stored, "f", codec=None, clock=lambda: 105.0) is Answer.MISS


def test_pickle_is_read_only_by_its_name():
    codec = named_codec("pickle")
    stored = seal(Text("x"), function="f", made=1.0, ttl=None, codec=codec)
    assert type(unseal(stored, "f", codec=codec, clock=lambda: 0.0)) is Text
    with pytest.raises(CodecError, match="pickle"):
        read(stored)


def test_a_class_that_has_changed_makes_its_entries_unusable(monkeypatch):
    stored = seal(Plain(1), function="f", made=1.0, ttl=None, codec=None)

    @dataclass
    class Changed:
        a: str
        b: Any = None
        hidden: int = 0

    Changed.__module__, Changed.__qualname__ = __name__, "Plain"
    monkeypatch.setattr(sys.modules[__name__], "Plain", Changed)
    with pytest.raises(CodecError, match="no longer"):
        read(stored)


SCRIPT = """
import sys
from dataclasses import dataclass
from anystore.caching.envelope import seal, unseal
@dataclass
class Mine:
    a: int
    b: "list[int] | None" = None
made = seal((Mine(1), {3}), function="f", made=1.0, ttl=None, codec=None)
stored = bytes.fromhex(sys.argv[1]) if sys.argv[1:] else made
print(stored.hex(), unseal(stored, "f", codec=None, clock=lambda: 0.0) == (Mine(1), {3}))
"""


def test_another_process_reads_it():
    first = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True).stdout.split()
    again = subprocess.run([sys.executable, "-c", SCRIPT, first[0]], capture_output=True, text=True, check=True)
    assert first[1] == again.stdout.split()[1] == "True"
