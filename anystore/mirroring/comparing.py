"""Whether a value has to be copied: what two entries tell, and two contents."""

from collections.abc import Iterator
from datetime import UTC, datetime
from enum import Enum, auto
from typing import Literal, get_args

from anystore.backend import Backend, Entry
from anystore.backends.wrap import unwrap
from anystore.errors import InvalidOption

Compare = Literal["auto", "size", "version", "checksum", "missing"]

DOUBT_SECONDS = 3.0
"""How close two times may be before they do not tell which came first: services cut them to whole or even seconds."""

_SAME_EXPIRY_SECONDS = 2.0


class Verdict(Enum):
    """What is to be done about a value that both sides have."""

    SAME = auto()
    COPY = auto()
    LOOK = auto()
    """The entries do not tell: the contents have to be looked at."""


def check_mode(compare: str) -> None:
    """Refuse a mode that there is not.

    Raises:
        InvalidOption: If it is none.
    """
    if compare not in get_args(Compare):
        choices = ", ".join(map(repr, get_args(Compare)))
        raise InvalidOption(f"compare={compare!r} is unknown; use one of {choices}")


class Comparison:
    """How two stores are compared.

    Args:
        compare: The mode.
        source: The backend that is read.
        target: The backend that is filled.

    Raises:
        InvalidOption: If there is no such mode, or the versions of both sides cannot be compared.
    """

    def __init__(self, compare: Compare, source: Backend, target: Backend) -> None:
        check_mode(compare)
        # a version is a token of one kind of service: equal ones of the same kind mean the same content
        self._kin = type(unwrap(source)[0]) is type(unwrap(target)[0])
        if compare == "version" and not self._kin:
            raise InvalidOption(
                f"versions of {source.uri} and {target.uri} cannot be compared, as they are not of the same kind; "
                "use compare='auto', or 'checksum'"
            )
        self.mode = compare

    def judge(self, source: Entry, target: Entry) -> Verdict:
        """Compare two entries of a key."""
        if self.mode == "missing":
            return Verdict.SAME
        if source.size is not None and target.size is not None and source.size != target.size:
            return Verdict.COPY
        if not _expire_alike(source, target):
            return Verdict.COPY
        if self.mode == "size":
            return Verdict.LOOK if source.size is None or target.size is None else Verdict.SAME
        if self.mode == "checksum":
            return Verdict.LOOK
        if self._kin and source.version is not None and target.version is not None:
            if source.version == target.version:
                return Verdict.SAME
            if self.mode == "version":
                return Verdict.COPY
        return Verdict.LOOK if self.mode == "version" else _by_time(source, target)

    def lacks(self, entry: Entry) -> bool:
        """Tell whether an entry of a listing leaves out what a closer look may tell."""
        return entry.size is None or (entry.version is None if self.mode == "version" else entry.modified is None)

    def last_word(self) -> Verdict | None:
        """Give the verdict on entries that tell no more: None is for the contents to say."""
        return Verdict.COPY if self.mode == "size" else None


def is_same_version(one: Entry, other: Entry) -> bool:
    """Tell whether two entries of one store are of one version, as far as both tell."""
    if one.version is not None and other.version is not None:
        return one.version == other.version  # times may be cut to seconds in one of two answers
    return all(
        mine is None or theirs is None or mine == theirs
        for mine, theirs in ((one.size, other.size), (one.modified, other.modified))
    )


def same_bytes(ours: Iterator[bytes], theirs: Iterator[bytes]) -> bool:
    """Compare two streams, whose pieces need not be of one length, up to the first difference.

    Args:
        ours: Pieces, none of them empty.
        theirs: The same.

    Returns:
        Whether they are the same bytes.

    Example:
        >>> same_bytes(iter([b"a", b"bc"]), iter([b"ab", b"c"]))
        True
    """
    left = right = b""
    while True:
        left, right = left or next(ours, b""), right or next(theirs, b"")
        size = min(len(left), len(right))
        if not size:
            return left == right
        if left[:size] != right[:size]:
            return False
        left, right = left[size:], right[size:]


def _expire_alike(source: Entry, target: Entry) -> bool:
    if source.expires is None or target.expires is None:
        return source.expires is target.expires
    return abs((source.expires - target.expires).total_seconds()) <= _SAME_EXPIRY_SECONDS


def _by_time(source: Entry, target: Entry) -> Verdict:
    """Take a copy that was made after the last change for the same."""
    if source.size is None or target.size is None or source.modified is None or target.modified is None:
        return Verdict.LOOK
    later = (target.modified - source.modified).total_seconds()
    if abs(later) <= DOUBT_SECONDS:
        return Verdict.LOOK
    if later > 0:
        return Verdict.SAME
    # a time that is yet to come would make the value look changed in every run
    return Verdict.LOOK if source.modified > datetime.now(UTC) else Verdict.COPY
