"""Fuzz one target: a program, so that what ends a process, takes its memory or hangs it is seen from outside.

Hypothesis puts inputs together and makes what it finds small, then inputs of the corpus are changed at random.
``fuzz_guided.py`` is the third way.
"""

import argparse
import faulthandler
import importlib
import json
import logging
import random
import resource
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from anystore.errors import AnystoreError

MOST_SECONDS = 10.0
MOST_GROWTH = 200 << 20
_MOST_ADDRESSES = 6 << 30
_MEASURED_EVERY = 20
_REPORTED_EVERY = 500
_HANGS_AFTER = 60.0


class Broken(Exception):
    """An input broke a promise."""


class Watch:
    """Runs inputs, counts them, and looks at what each costs."""

    def __init__(self, target: Any, report: Path) -> None:
        self._target = target
        self._report = report
        self.runs = 0
        self.slowest = 0.0
        self.growth = 0
        self.last = b""
        _forget_peak()
        self._before = _peak()

    def run(self, data: bytes) -> None:
        """Run one input.

        Raises:
            Broken: If something else came out than an error of ours, or it took too long, or too much memory.
        """
        self.runs += 1
        self.last = data
        faulthandler.dump_traceback_later(_HANGS_AFTER, exit=True)
        began = time.process_time()  # not the clock on the wall, which counts what others do on this machine
        try:
            self._target.run(data)
        except AnystoreError:
            pass
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # Rust's panics are no Exception
            told = "".join(traceback.format_exception(error)[-6:])
            raise Broken(f"{type(error).__name__} for {data[:2000]!r}:\n{told}") from error
        finally:
            faulthandler.cancel_dump_traceback_later()
        took = time.process_time() - began
        self.slowest = max(self.slowest, took)
        if took > MOST_SECONDS:
            raise Broken(f"{took:.1f} s for {data[:2000]!r}")
        if took > 0.2 or not self.runs % _MEASURED_EVERY:
            self._measure()
        if not self.runs % _REPORTED_EVERY:
            self.report()

    def report(self) -> None:
        """Write down what was done so far."""
        told = {"runs": self.runs, "slowest": round(self.slowest, 3), "growth": self.growth}
        self._report.write_text(json.dumps(told))

    def _measure(self) -> None:
        self.growth = max(self.growth, _peak() - self._before)
        if self.growth > MOST_GROWTH:
            raise Broken(f"{self.growth >> 20} MiB for {self.last[:2000]!r}, or an input shortly before")


def _peak() -> int:
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))


def _forget_peak() -> None:
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def put_together(watch: Watch, target: Any, *, until: float, chance: random.Random) -> None:
    """Let hypothesis put inputs together, of words and of anything."""
    pieces = st.sampled_from(target.words) | st.binary(max_size=8) | st.text(max_size=5).map(_encoded)
    inputs = st.lists(pieces, max_size=20).map(b"".join)
    if target.corpus:
        inputs |= st.tuples(st.sampled_from(target.corpus), st.integers(0, 2000), st.integers(0, 50), inputs).map(
            _spliced
        )

    @settings(
        max_examples=200,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
    )
    @given(inputs)
    def one(data: bytes) -> None:
        if time.monotonic() < until:
            watch.run(data)

    while time.monotonic() < until:
        seed(chance.getrandbits(32))(one)()


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _spliced(drawn: tuple[bytes, int, int, bytes]) -> bytes:
    whole, place, length, piece = drawn
    return whole[:place] + piece + whole[place + length :]


def change(watch: Watch, target: Any, *, until: float, chance: random.Random) -> None:
    """Change inputs of the corpus at random; each of them goes first as it is."""
    for data in target.corpus:
        watch.run(data)
    while time.monotonic() < until:
        data = bytearray(chance.choice(target.corpus))
        for _ in range(chance.choice((1, 1, 2, 4, 16))):
            _change_once(data, target, chance)
        watch.run(bytes(data))


def _change_once(data: bytearray, target: Any, chance: random.Random) -> None:
    place, elsewhere = chance.randrange(len(data) + 1), chance.randrange(len(data) + 1)
    match chance.randrange(7):
        case 0:
            data[place : place + 1] = bytes([chance.randrange(256)])
        case 1:
            data[place:place] = chance.choice(target.words)
        case 2:
            del data[place : place + chance.choice((1, 2, 8, 64))]
        case 3:
            del data[place:]
        case 4:
            data[place:place] = data[elsewhere:][: chance.choice((4, 32, 256))]
        case 5:
            data[place : place + 4] = chance.choice((b"\xff" * 4, b"\0" * 4, b"\1\0\0\0", b"\xff\xff\xff\x7f"))
        case _:
            data[place:] = chance.choice(target.corpus)[elsewhere:]


# -- the program -------------------------------------------------------------------


def arguments() -> argparse.Namespace:
    """Read what is to be fuzzed, and for how long."""
    parser = argparse.ArgumentParser(description="Fuzz one target.")
    parser.add_argument("target")
    parser.add_argument("report", type=Path)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def fuzz(chosen: argparse.Namespace, way: Callable[[Watch, Any, Path], None]) -> None:
    """Fuzz a target, with nothing in reach that is not its own."""
    sys.addaudithook(_stay_here)
    resource.setrlimit(resource.RLIMIT_AS, (_MOST_ADDRESSES, _MOST_ADDRESSES))
    logging.disable()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        (folder := Path(name, "target")).mkdir()
        make = importlib.import_module("tests.reliability.fuzz_targets").make_target
        target = make(chosen.target, folder)
        watch = Watch(target, chosen.report)
        way(watch, target, Path(name))
        watch.report()


def _stay_here(event: str, given: tuple[Any, ...]) -> None:
    """Refuse what would reach another machine, or start a program."""
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "os.system", "subprocess.Popen"):
        raise OSError(f"a fuzzed input must not cause {event}")


def _main() -> None:
    chosen = arguments()

    def way(watch: Watch, target: Any, _folder: Path) -> None:
        chance = random.Random(chosen.seed)
        change(watch, target, until=time.monotonic() + chosen.seconds / 2, chance=chance)
        put_together(watch, target, until=time.monotonic() + chosen.seconds / 2, chance=chance)

    fuzz(chosen, way)


if __name__ == "__main__":
    _main()
