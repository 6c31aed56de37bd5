"""Children that work until they are killed, forked from a process that has loaded everything and opened nothing.

A child names each turn that it begins and ends. It is killed while a turn runs: after a random part of the time that
its turns have taken so far.
"""

import itertools
import json
import multiprocessing
import random
import signal
import time
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection

from anystore.errors import BackendError
from tests.reliability.grounds import Place
from tests.reliability.works import WORKS

PATIENCE = 120.0
_LATE = ("dagster._core.instance.factory", "dagster._core.storage.event_log", "dagster._core.storage.root")
"""What Dagster loads when it is first used; each child would load it again."""
_CONTEXT = multiprocessing.get_context("forkserver")
# `__main__` is left out: it is pytest's, or execnet's
_CONTEXT.set_forkserver_preload(["tests.reliability.killing", *_LATE])


@dataclass(frozen=True)
class Killed:
    """What a child said: the turns that it has confirmed, and those that it has begun and not confirmed."""

    done: list[int]
    pending: set[int]


def work_and_kill(name: str, place: Place, *, first: int, chance: random.Random) -> Killed:
    """Let a child work from a turn on, and kill it in the middle of one."""
    hears, says = _CONTEXT.Pipe(duplex=False)
    bare = replace(place, server=None)  # a server's process is not pickled; the child only talks to it
    child = _CONTEXT.Process(target=_work, args=(name, bare, first, says), daemon=True)
    child.start()
    says.close()
    said = _Said()
    wanted = chance.randrange(1, 4)
    deadline = time.monotonic() + PATIENCE
    while len(said.done) < wanted or not said.pending:
        assert hears.poll(deadline - time.monotonic()), f"{name}, {place.kind}: no turn in {PATIENCE} s"
        assert said.hear(hears), f"{name}, {place.kind}: the child ended by itself: {child.join(9) or child.exitcode}"
    moment = time.monotonic() + chance.uniform(0, min(said.times))
    while (left := moment - time.monotonic()) > 0 and hears.poll(left):
        said.hear(hears)
    child.kill()
    while said.hear(hears):
        pass
    child.join()
    assert child.exitcode == -signal.SIGKILL, f"{name}, {place.kind}: the child ended by {child.exitcode}"
    child.close()
    hears.close()
    return Killed(said.done, said.pending)


class _Said:
    def __init__(self) -> None:
        self.done: list[int] = []
        self.pending: set[int] = set()
        self.times: list[float] = []

    def hear(self, pipe: Connection) -> bool:
        """Take one message; False at the end, which may come in the middle of one."""
        try:
            turn, took = json.loads(pipe.recv_bytes())
        except (EOFError, ConnectionError):
            return False
        if took is None:
            self.pending.add(turn)
        else:
            self.done.append(turn)
            self.times.append(took)
            self.pending.discard(turn)
        return True


def _work(name: str, place: Place, first: int, pipe: Connection) -> None:
    """Work until killed; runs in the child."""
    work = WORKS[name](place, killed=True)
    for turn in itertools.count(first):
        pipe.send_bytes(json.dumps([turn, None]).encode())
        began = time.monotonic()
        try:
            work.do(turn)
        except BackendError as error:
            if "lost the journal" not in str(error):
                raise
            continue  # on a busy machine the short lease of a crawl runs out
        pipe.send_bytes(json.dumps([turn, time.monotonic() - began]).encode())
