"""What clients did to one store at the same time, and whether one order of single steps explains it all.

A history is linearisable if each call took effect at one moment between its beginning and its answer. The search is the
just-in-time one of Wing, Gong and Lowe: calls are put in order only when one of them is answered, and what was
reached in two ways is followed once. Keys are searched one by one, since a history is linearisable exactly if that of
each key is.

No value is ever written twice, so that a value stands for its version, too.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

MOST_STATES = 50_000


class TooWide(AssertionError):
    """So many calls overlapped that the search would take for ever; it says nothing of the store."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of a client.

    Attributes:
        client: Who made it.
        action: put, create, swap, append, delete, get or take.
        key: The key.
        given: What it was to write.
        expected: What has to be there for it to be swapped.
        began: When it was made, in nanoseconds of the machine's monotonic clock.
        ended: When it was answered; None if it never was, so that it may take effect at any time, or never.
        found: What get and take found, None for a missing key.
        done: Whether create and swap wrote something.
    """

    client: str
    action: str
    key: str
    given: str = ""
    expected: str | None = None
    began: int = 0
    ended: int | None = None
    found: str | None = None
    done: bool = True


class _State(NamedTuple):
    """What is stored, and which calls that are not yet answered have taken effect."""

    value: str | None
    effective: frozenset[int]


def find_fault(calls: Iterable[Call]) -> str:
    """Tell which answer no order of the calls explains; an empty text if all can be explained."""
    by_key = defaultdict(list)
    for call in calls:
        by_key[call.key].append(call)
    faults = (_fault_of_key(sorted(some, key=lambda call: call.began)) for some in by_key.values())
    return "\n\n".join(fault for fault in faults if fault)


def count_overlaps(calls: Iterable[Call]) -> int:
    """Count the calls that began before an earlier call for their key was answered: without any, nothing was tried."""
    latest: dict[str, int] = {}
    overlaps = 0
    for call in sorted(calls, key=lambda call: call.began):
        overlaps += call.began < latest.get(call.key, 0)
        latest[call.key] = max(latest.get(call.key, 0), call.ended or 0)
    return overlaps


def _fault_of_key(calls: list[Call]) -> str:
    states = {_State(None, frozenset())}
    under_way: set[int] = set()
    for _, is_end, number in _moments(calls):
        if not is_end:
            under_way.add(number)
            continue
        reached = _explain(states, number, under_way, calls)
        if not reached:
            return _describe(states, number, under_way, calls)
        states = {_State(value, effective - {number}) for value, effective in reached}
        under_way.remove(number)
    return ""


def _moments(calls: list[Call]) -> list[tuple[int, bool, int]]:
    """Give the beginnings and ends in their order; a beginning goes before an end of the same nanosecond."""
    begins = [(call.began, False, number) for number, call in enumerate(calls)]
    ends = [(call.ended, True, number) for number, call in enumerate(calls) if call.ended is not None]
    return sorted(begins + ends)


def _explain(states: set[_State], number: int, under_way: set[int], calls: list[Call]) -> set[_State]:
    """Let calls take effect, in every order, until the one that is answered now has; give all that can be then."""
    reached, pending, seen = set(), list(states), set(states)
    while pending:
        state = pending.pop()
        if number in state.effective:
            reached.add(state)
            continue
        waiting = under_way - state.effective
        # What changes nothing takes effect as soon as it can: to wait explains nothing more.
        idle = {other for other in waiting if _only_looks(calls[other], state.value)}
        steps = [_State(state.value, state.effective | idle)] if idle else []
        for other in () if idle else waiting:
            steps += [_State(value, state.effective | {other}) for value in _effects(calls[other], state.value)]
        for after in steps:
            if after not in seen:
                seen.add(after)
                pending.append(after)
        if len(seen) > MOST_STATES:
            raise TooWide(f"{len(under_way)} calls for {calls[number].key!r} overlap; let fewer clients share a key")
    return reached


def _only_looks(call: Call, value: str | None) -> bool:
    """Tell whether a call can take effect on this value, and leaves it as it is."""
    match call.action:
        case "get":
            return call.found == value
        case "take":
            return call.ended is not None and call.found is None and value is None
        case "create" | "swap":
            return call.ended is not None and not call.done and list(_effects(call, value)) == [value]
    return False


def _effects(call: Call, value: str | None) -> Iterator[str | None]:
    """Give what is stored after a call, if its answer agrees with what was stored before."""
    unknown = call.ended is None
    match call.action:
        case "put":
            yield call.given
        case "append":
            yield (value or "") + call.given
        case "delete":
            yield None
        case "get" | "take":
            if unknown or call.found == value:
                yield value if call.action == "get" else None
        case "create" | "swap":
            writes = value is None if call.action == "create" else value is not None and value == call.expected
            if unknown or writes == call.done:
                yield call.given if writes else value
        case _:
            raise ValueError(call.action)


def _describe(states: set[_State], number: int, under_way: set[int], calls: list[Call]) -> str:
    call = calls[number]
    values = sorted({repr(state.value) for state in states})
    around = [one for one in calls if one.began <= (call.ended or 0) and (one.ended or call.began) >= call.began]
    start = min(one.began for one in around)
    lines = [
        f"  {one.client}: {one.action} given={one.given!r} expected={one.expected!r} found={one.found!r} "
        f"done={one.done} at {(one.began - start) / 1000:.0f}-{((one.ended or start) - start) / 1000:.0f} us"
        for one in around
    ]
    told = (
        f"no order of the calls for {call.key!r} explains {call.action} by {call.client} (found {call.found!r}, "
        f"done={call.done}); stored before could be {', '.join(values)}; {len(under_way)} were under way:"
    )
    return "\n".join([told, *lines])


# -- as files, which outlive a killed process ------------------------------------


def write_begin(call: Call) -> bytes:
    """Write a call down before it is made."""
    return json.dumps(asdict(call)).encode() + b"\n"


def write_end(call: Call) -> bytes:
    """Write its answer down: nothing of it is known until then."""
    return json.dumps({"ended": call.ended, "found": call.found, "done": call.done}).encode() + b"\n"


def read_calls(folder: Path) -> list[Call]:
    """Read what all clients wrote; a call without an answer is one that may have had an effect."""
    calls: list[Call] = []
    for file in sorted(folder.glob("*.calls")):
        unanswered: Call | None = None
        for line in file.read_bytes().splitlines(keepends=True):
            if not line.endswith(b"\n"):
                break
            values = json.loads(line)
            if "action" in values:
                calls += [unanswered] if unanswered else []
                unanswered = Call(**values)
            elif unanswered and values["ended"] is not None:
                calls.append(replace(unanswered, **values))
                unanswered = None
        calls += [unanswered] if unanswered else []
    return [call for call in calls if call.ended is not None or call.action != "get"]


# -- locks -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Holding:
    """One client held the lock, from one moment to another, with a fencing token."""

    client: str
    token: int
    entered: int
    left: int
    held: bool


def write_holding(holding: Holding) -> bytes:
    """Write down that the lock was held."""
    return json.dumps(asdict(holding)).encode() + b"\n"


def read_holdings(folder: Path) -> list[Holding]:
    """Read what all clients wrote."""
    lines = [line for file in sorted(folder.glob("*.calls")) for line in file.read_bytes().splitlines()]
    return [Holding(**json.loads(line)) for line in lines]


def find_fault_of_lock(holdings: Iterable[Holding]) -> str:
    """Tell where two held the lock at once, or a later token was no greater; an empty text if nowhere."""
    ordered = sorted(holdings, key=lambda one: one.entered)
    for earlier, later in pairwise(ordered):
        if later.entered < earlier.left:
            return f"two held the lock at once: {earlier} and {later}"
        if later.token <= earlier.token:
            return f"a later token is not greater: {earlier} and {later}"
    lost = [one for one in ordered if not one.held]
    return f"the lock was lost while it was held: {lost[0]}" if lost else ""
