"""A connection that breaks, stalls, drags on or spoils bytes: each call ends, by an error of ours or rightly.

The proxy knows no protocol, so that the trouble falls anywhere: into a login, a length, a header or a value.
"""

import contextlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any
from uuid import uuid4

import pytest

from anystore import Feature, Store, get_store
from anystore.errors import AnystoreError
from tests.object_servers import BUCKET
from tests.reliability.encrypting import encrypted
from tests.reliability.proxy import Proxy, Trouble, proxy
from tests.reliability.works import KIB, value_of

KINDS = ("PostgreSQL", "MariaDB", "Redis", "Redis (TLS)", "S3 (SeaweedFS)", "HTTP (nginx)")
TROUBLES = ("refused", "cut", "stalled", "delayed", "spoilt")
BEHIND_TLS = ("S3 (TLS)", "HTTP (TLS)")
WITH_TLS = ("Redis (TLS)", *BEHIND_TLS)
CASES = [*product(TROUBLES, KINDS), *product(["spoilt"], BEHIND_TLS)]
"""Encryption changes only what becomes of spoilt bytes: none of them is believed."""
SHORT, LONG = 1, 12
LONGEST_CALL = 60.0
"""Seconds: some ten times what the timeouts below add up to, on a machine that does other things beside."""

OLD, NEW, LARGE = 1, 2, 900 * KIB


@dataclass
class Wired:
    """A store behind a proxy, and the same one without it."""

    kind: str
    store: Store
    direct: Store
    proxy: Proxy
    fill: Callable[[str, bytes], Any]


@pytest.fixture
def wired(trouble, kind, request, tmp_path):
    name = f"t{uuid4().hex[:12]}"
    # only what stalls is waited for; the others must not fail where the machine is busy
    wait = {"stalled": 2, "spoilt": 3}.get(trouble, 15)
    fixture = {
        "PostgreSQL": "postgres_server",
        "MariaDB": "mariadb_server",
        "Redis": "redis_server",
        "Redis (TLS)": "tls_server",
        "S3 (SeaweedFS)": "seaweedfs_server",
        "S3 (TLS)": "seaweedfs_server",
        "HTTP (nginx)": "nginx_server",
        "HTTP (TLS)": "nginx_server",
    }[kind]
    server = request.getfixturevalue(fixture)
    config: dict[str, Any] = {}
    match kind:
        case "PostgreSQL" | "MariaDB":
            uri, own = server.url, {"table": name}
            config = {"connect_timeout": wait, "timeout": wait, "pool_timeout": wait}
        case "Redis":
            uri, own = f"redis://127.0.0.1:{server.port}/0/{name}", {}
            config = {"socket_timeout": wait, "socket_connect_timeout": wait}
        case "Redis (TLS)":
            uri = f"rediss://127.0.0.1:{server.port}/0/{name}"
            own = {"ssl_ca_certs": str(server.home / "ca.pem")}
            config = {"socket_timeout": wait, "socket_connect_timeout": wait}
        case "S3 (SeaweedFS)" | "S3 (TLS)":
            uri, own = f"s3://{BUCKET}/{name}", server.config
            config = {"timeout": wait, "connect_timeout": wait, "retries": 1}
        case _:
            uri, own = server.url, {}
            config = {"timeout": wait, "connect_timeout": wait, "retries": 1}
    with contextlib.ExitStack() as stack:
        port, scheme = server.port, "http"
        if kind in BEHIND_TLS:
            port, authority = stack.enter_context(encrypted(server.port))
            config |= {"verify" if kind.startswith("S3") else "ca_file": str(authority)}
            scheme = "https"
        between = stack.enter_context(proxy(port))
        moved = {"endpoint_url": f"{scheme}://127.0.0.1:{between.port}"} if "endpoint_url" in own else {}
        through = get_store(
            uri.replace(f":{server.port}/", f":{between.port}/").replace("http:", f"{scheme}:"),
            serialization_mode="raw",
            backend_config=own | config | moved,
        )
        direct = get_store(uri, serialization_mode="raw", backend_config=own)
        fill = direct.put if Feature.WRITE in direct.features else lambda key, data: _write(server.root / key, data)
        yield Wired(kind, through, direct, between, fill)


def _write(path, data):
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)


def _stream(store, data):
    with store.open("v/a", "wb") as file:
        for start in range(0, len(data), 100 * KIB):
            file.write(data[start : start + 100 * KIB])


def _read(store):
    with store.open("v/a", "rb") as file:
        return file.read()


def old(size: int) -> bytes:
    return value_of(OLD, size)


READS: dict[str, Callable[[Store], Any]] = {
    "get": lambda store: store.get("v/a"),
    "open to read": _read,
    "list": lambda store: sorted(store.iterate_keys("v")),
    "get_many": lambda store: dict(store.get_many(["v/a", "v/b"])),
    "info": lambda store: store.info("v/a").size,
}
WRITES: dict[str, Callable[[Store, bytes], Any]] = {
    "put": lambda store, data: store.put("v/a", data),
    "open to write": _stream,
    "put_many": lambda store, data: store.put_many({"v/a": data}),
}


def expected(name: str, size: int) -> Any:
    return {
        "list": ["v/a", "v/b"],
        "get_many": {"v/a": old(size), "v/b": b"beside"},
        "info": len(old(size)),
    }.get(name, old(size))


class Outcome:
    """What became of a call: a result, an error of ours, or something that must not be."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self.result: Any = None
        self.error: AnystoreError | None = None
        self.foreign: BaseException | None = None
        thread = threading.Thread(target=self._run, args=(call,), daemon=True)
        thread.start()
        thread.join(LONGEST_CALL)
        self.endless = thread.is_alive()

    def _run(self, call: Callable[[], Any]) -> None:
        try:
            self.result = call()
        except AnystoreError as error:
            self.error = error
        except BaseException as error:  # noqa: BLE001 - the subject: whatever is not ours
            self.foreign = error


def troubles(chance) -> dict[str, Trouble | None]:
    """Break the answers, or the questions, somewhere in a value, or before it."""
    up = chance.random() < 0.3
    place = chance.choice([0, chance.randrange(200), chance.randrange(4_000), chance.randrange(LARGE)])
    return {
        "refused": None,
        "cut": Trouble(up=up, cut=place),
        "stalled": Trouble(up=up, stall=place),
        "delayed": Trouble(up=up, delay=0.03),
        "spoilt": Trouble(up=up, flip=place),
    }


def judge(wired: Wired, trouble: str, name: str, size: int, outcome: Outcome) -> str:
    """Tell what is wrong with an outcome; empty if nothing."""
    if outcome.endless:
        return "the call does not end"
    if outcome.foreign is not None:
        return f"not an error of ours: {outcome.foreign!r}"
    believed = trouble != "spoilt" or wired.kind in WITH_TLS
    if name in READS:
        if outcome.error is None and believed and outcome.result != expected(name, size):
            return f"a wrong result of {name}: {len(outcome.result) if hasattr(outcome.result, '__len__') else '?'}"
    elif believed:
        stored = wired.direct.get("v/a")
        allowed = {value_of(NEW, size)} | ({old(size)} if outcome.error else set())
        if stored not in allowed:
            return f"{name} was answered by {outcome.error!r}, and {len(stored)} bytes are stored"
    if trouble == "delayed" and outcome.error is not None:
        return f"only slow, and yet {outcome.error!r}"
    return ""


def afterwards(wired: Wired) -> str:
    """Use the same store object again."""
    try:
        if Feature.WRITE in wired.store.features:
            wired.store.put("v/c", b"after")
            wired.store.delete("v/c")
        return "" if wired.store.get("v/b") == b"beside" else "wrong bytes after the trouble"
    except AnystoreError as error:
        return f"after the trouble: {error!r}"


@pytest.mark.parametrize(("trouble", "kind"), CASES)
def test_connection_in_trouble(trouble, wired, effort, chance, tally):
    tried = lost = 0
    calls = [*READS, *(WRITES if Feature.WRITE in wired.store.features else ())]
    for _ in effort.turns(SHORT, LONG):
        for name in calls if effort.long else chance.sample(calls, 3):
            size = chance.choice([1_000, LARGE]) if effort.long else LARGE
            wired.fill("v/a", old(size))
            wired.fill("v/b", b"beside")
            kind = troubles(chance)[trouble]
            if kind is None:
                wired.proxy.refuse()
            else:
                wired.proxy.begin(kind)
            if name in READS:
                outcome = Outcome(lambda name=name: READS[name](wired.store))
            else:
                outcome = Outcome(lambda name=name, size=size: WRITES[name](wired.store, value_of(NEW, size)))
            wired.proxy.heal()
            wrong = judge(wired, trouble, name, size, outcome) or afterwards(wired)
            tried += 1
            if wrong:
                print(f"{name}, {size} bytes, {kind}: {wrong}")
                lost += 1
            with contextlib.suppress(AnystoreError):
                wired.store.backend.close()  # so that logins are in trouble, too, at times
    tally(f"connection {trouble}", wired.kind, tried=tried, lost=lost)
