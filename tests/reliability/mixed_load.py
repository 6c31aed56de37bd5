"""Threads that do everything with one store, and what the process holds after each round; a program.

Measured is a process of its own, between rounds: no thread of the load is there, every key is deleted, and what
the allocators keep is given back.
"""

import ctypes
import gc
import json
import os
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from itertools import islice

from anystore import Feature, Store, get_store
from anystore.errors import AlreadyExists, DoesNotExist, VersionMismatch

THREADS = 8
_KEYS = [f"{folder}/{number}" for folder in ("a", "b/c") for number in range(12)]
_SIZES = (0, 10, 1000, 30_000, 300_000)
_LONG = 3_000_000  # several parts, or chunks
_LINE = b"0123456789abcde\n"
_EXPECTED = (DoesNotExist, AlreadyExists, VersionMismatch)  # what others have done to the same key meanwhile


class _Given(Exception):
    """Raised in the middle of a write, which is then undone."""


class Load:
    """What one thread does."""

    def __init__(self, store: Store, seed: str) -> None:
        self._store = store
        self._chance = random.Random(seed)
        can = store.features
        self._acts: list[Callable[[str], object]] = [
            *(
                self._put,
                self._get,
                self._stream,
                self._read_part,
                self._write,
                self._abort,
                self._list,
                self._leave_list,
            ),
            *(store.info, store.delete, store.exists, store.checksum, self._many, self._copy, self._move),
        ]
        self._acts += [self._create] if Feature.CREATE in can else []
        self._acts += [self._swap, self._lock] if {Feature.CREATE, Feature.SWAP} <= set(can) else []
        self._acts += [self._append] if Feature.APPEND in can else []
        self._acts += [self._pop] if Feature.TAKE in can else []

    def act(self) -> str:
        """Do one thing; give what it was."""
        act = self._chance.choice(self._acts)
        try:
            act(self._chance.choice(_KEYS))
        except (*_EXPECTED, _Given):
            return "refused"
        return "done"

    def _data(self) -> bytes:
        size = _LONG if self._chance.random() < 0.02 else self._chance.choice(_SIZES)
        return (_LINE * (size // len(_LINE) + 1))[:size]

    def _put(self, key: str) -> None:
        self._store.put(key, self._data())

    def _get(self, key: str) -> None:
        self._store.get(key)

    def _stream(self, key: str) -> None:
        for _ in islice(self._store.stream(key), 50):  # and leaves the rest unread
            pass

    def _read_part(self, key: str) -> None:
        with self._store.open(key) as file:
            file.read(100)
            if file.seekable():
                file.seek(1000)
                file.read()

    def _write(self, key: str) -> None:
        with self._store.open(key, "wb") as file:
            for _ in range(3):
                file.write(self._data())

    def _abort(self, key: str) -> None:
        with self._store.open(key, "wb") as file:
            file.write(self._data())
            raise _Given

    def _list(self, _key: str) -> None:
        sum(entry.size or 0 for entry in self._store.entries("a"))

    def _leave_list(self, _key: str) -> None:
        next(iter(self._store.iterate_keys(glob="**/*")), None)

    def _many(self, _key: str) -> None:
        some = self._chance.sample(_KEYS, 4)
        self._store.put_many(dict.fromkeys(some[:2], "many"))
        list(self._store.get_many(some))

    def _copy(self, key: str) -> None:
        self._store.copy(key, self._chance.choice(_KEYS))

    def _move(self, key: str) -> None:
        self._store.move(key, self._chance.choice(_KEYS))

    def _create(self, key: str) -> None:
        self._store.put(key, "created", if_absent=True)

    def _swap(self, key: str) -> None:
        version = self._store.info(key).version
        if version is not None:
            self._store.put(key, "swapped", if_version=version)

    def _lock(self, key: str) -> None:
        lock = self._store.lock(f"lock-{key}", ttl=30)
        if lock.acquire(timeout=0):
            lock.release()

    def _append(self, key: str) -> None:
        self._store.append(key, b"more\n")

    def _pop(self, key: str) -> None:
        self._store.pop(key)


def run_round(store: Store, seconds: float, seed: str) -> Counter[str]:
    """Let threads work for a while, then delete all they left."""
    counts: Counter[str] = Counter()
    errors: list[Exception] = []
    until = time.monotonic() + seconds

    def work(name: int) -> None:
        load, mine = Load(store, f"{seed} {name}"), Counter[str]()
        try:
            while time.monotonic() < until or not mine:
                mine[load.act()] += 1
        except Exception as error:  # noqa: BLE001 - raised below
            errors.append(error)
        counts.update(mine)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise ExceptionGroup("what no other thread can have caused", errors)
    store.delete_many(_KEYS)
    return counts


def measure() -> dict[str, int]:
    """Tell what the process holds."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    with open("/proc/self/statm") as status:
        memory = int(status.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    open_files = [_target(name) for name in os.listdir("/proc/self/fd")]
    return {
        "memory": memory,
        "files": sum(not one.startswith("socket:") for one in open_files),
        "connections": sum(one.startswith("socket:") for one in open_files),
        "threads": len(os.listdir("/proc/self/task")),
    }


def _target(name: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{name}")
    except FileNotFoundError:  # that of the listing itself
        return ""


def main() -> None:
    """Run a warm-up and rounds; print what was done, and what was held after each."""
    job = json.loads(sys.argv[1])
    store = get_store(job["uri"], backend_config=job["config"], serialization_mode="raw")
    held, counts = [], Counter[str]()
    for number in range(job["rounds"] + 1):
        counts += run_round(store, job["seconds"] if number else job["warm"], f"{job['seed']} {number}")
        held.append(measure())
    store.backend.close()
    print(json.dumps({"counts": counts, "held": held, "closed": measure()}))


if __name__ == "__main__":
    main()
