"""What a sensor remembers of a listing: values below ``.anystore/`` of a store, none of which is ever changed.

A head names segments; each segment holds keys, in order, and what the listing showed of them. Each step of the sensor
writes a new head, and gives a pointer to it. Dagster keeps that pointer when it has taken over what the step asks for,
and else goes on from the older one, whose head is still what it was.
"""

import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from secrets import token_hex
from typing import Literal

import orjson
from pydantic import BaseModel, ValidationError

from anystore.backend import Backend, Feature
from anystore.errors import AlreadyExists, BackendError, DoesNotExist, InvalidKey
from anystore.keys import Key, private_key

_KEPT_HEADS = 5  # older than the present one
_LEVEL = 1

Row = tuple[str, str]
"""A key, and what the listing showed of it."""


class Segment(BaseModel, frozen=True):
    """A part of what is known.

    Attributes:
        name: Where it is.
        first: Its first key.
        count: How many keys it has.
    """

    name: str
    first: str
    count: int


class Waiting(BaseModel):
    """A run that is to be requested when the walk has passed all that it is about.

    Attributes:
        walk: Number of the walk that has found the first change.
        digest: Checksum over the changes, in their order.
        folder: The folder it is about, ending in ``/``; empty for all others.
        documents: How many documents have changed.
    """

    walk: int
    digest: str = ""
    folder: str = ""
    documents: int = 0

    def add(self, key: str, shown: str) -> None:
        """Take a change."""
        self.digest = digest_of(self.digest, key, shown)
        self.documents += 1


class Past(BaseModel, frozen=True):
    """A head that was left behind.

    Attributes:
        name: Where it is.
        unused: Its segments that the next head does not have.
        successor: The next head.
    """

    name: str
    unused: list[str]
    successor: str


class Head(BaseModel):
    """All that a sensor knows at one time.

    Attributes:
        format: The form of all this.
        lineage: A text that is another one each time the sensor begins anew.
        step: How many heads were written before.
        partitions: What the runs that were asked for are about.
        began: Number of the first walk for them.
        walk: Number of the walk that is under way, or comes next.
        after: The key up to which that walk has come; empty between walks.
        listed: How many documents that walk has met.
        segments: What is known, in the order of the keys.
        waiting: Runs to request, by their partitions; without partitions there is one, under the empty text.
        folders: How many documents each partition by folder has.
        past: The latest heads before this one, the latest first.
        expired: Heads before those, which nobody needs any more.
    """

    format: Literal[1] = 1
    lineage: str
    step: int = 0
    partitions: str = ""
    began: int = 1
    walk: int = 1
    after: str = ""
    listed: int = 0
    segments: list[Segment] = []
    waiting: dict[str, Waiting] = {}
    folders: dict[str, int] = {}
    past: list[Past] = []
    expired: list[Past] = []

    def for_partitions(self, partitions: str) -> "Head":
        """Give what is known as far as it is about some partitions; for other ones than before, nothing is."""
        if partitions == self.partitions or not self.step:
            return self.model_copy(update={"partitions": partitions}, deep=True)
        return Head(
            lineage=self.lineage,
            step=self.step,
            partitions=partitions,
            began=self.walk + 1,
            walk=self.walk + 1,
            past=self.past,
            expired=self.expired,
        )

    @property
    def documents(self) -> int:
        """How many documents are known."""
        return sum(segment.count for segment in self.segments)


@dataclass(frozen=True, slots=True)
class Remembered:
    """A head, and its pointer; no pointer yet if nothing was remembered.

    Attributes:
        head: The head.
        name: The pointer.
    """

    head: Head
    name: str = ""


def digest_of(*texts: str) -> str:
    """Make a short text that other texts do not have.

    Example:
        >>> digest_of("a", "b"), digest_of("ab", "")
        ('105fd7547754de15ee30', '2d5cc140e3bfe11f7d29')
    """
    return hashlib.blake2b(orjson.dumps(texts), digest_size=10).hexdigest()


class ListingMemory:
    """The memory of one sensor.

    Args:
        backend: Where it is.
        sensor: Name of the sensor.
        scope: What tells apart sensors of one name that share the store.
    """

    def __init__(self, backend: Backend, *, sensor: str, scope: str) -> None:
        self._backend = backend
        self._sensor = sensor
        self._beginning = private_key(f"sensors/{sensor}/beginnings/{scope}")

    def open(self, pointer: str | None) -> Remembered:
        """Read what a pointer leads to.

        Args:
            pointer: What :meth:`Step.save` gave; None to begin anew.

        Returns:
            The head.

        Raises:
            BackendError: If there is none, or it cannot be read.
        """
        if not pointer:
            return Remembered(Head(lineage=self._begin()))
        try:
            head = Head.model_validate_json(self._backend.get(self._key(pointer)))
        except (DoesNotExist, InvalidKey, ValidationError) as error:
            what = "cannot be read" if isinstance(error, ValidationError) else "is not there"
            raise BackendError(
                f"what the sensor {self._sensor!r} remembers under {pointer!r} in {self._backend.uri} {what}: give it "
                "the state= that it had; or clear its cursor to begin anew, which makes every document count as new "
                "(with existing=False those that are there now do not)"
            ) from error
        if not head.past:  # the first one has come to stay, so that a later beginning is another one
            self._backend.delete(self._beginning)
        return Remembered(head, pointer)

    def rows(self, segment: Segment) -> list[Row]:
        """Read a segment.

        Raises:
            BackendError: If it is missing or broken.
        """
        try:
            data = orjson.loads(zlib.decompress(self._backend.get(self._key(segment.name))))
        except (DoesNotExist, zlib.error, orjson.JSONDecodeError) as error:
            raise BackendError(
                f"a part of what the sensor {self._sensor!r} remembers, {segment.name!r} in {self._backend.uri}, is "
                "missing or broken; clear the sensor's cursor to begin anew, which makes every document count as new"
            ) from error
        return [(key, shown) for key, shown in data]

    def step(self, before: Remembered) -> "Step":
        """Begin to write what comes after a head."""
        return Step(self._backend, f"sensors/{self._sensor}", before)

    def clean(self, head: Head) -> None:
        """Delete what only expired heads need, and what steps from them have left that were never taken over."""
        for past in head.expired:
            for name in self._tries(past):
                self._delete_try(name)
            for name in (*past.unused, past.name, f"{past.name}.next"):
                self._backend.delete(self._key(name))

    def _tries(self, past: Past) -> list[str]:
        """Give the steps from a head that have led to nothing."""
        try:
            tries: list[str] = orjson.loads(self._backend.get(self._key(f"{past.name}.next")))
        except DoesNotExist:
            return []
        return [name for name in tries if name != past.successor]

    def _delete_try(self, name: str) -> None:
        part = 0
        while self._backend.exists(self._key(f"{name}.{part}")):
            part += 1
        for number in reversed(range(part)):
            self._backend.delete(self._key(f"{name}.{number}"))
        self._backend.delete(self._key(name))

    def _begin(self) -> str:
        """Give the name of a lineage: the same one until its first head was taken over."""
        try:
            return self._backend.get(self._beginning).decode()
        except DoesNotExist:
            pass
        lineage = token_hex(4)
        try:
            self._backend.put(self._beginning, lineage.encode(), create=Feature.CREATE in self._backend.features)
        except AlreadyExists:
            return self._backend.get(self._beginning).decode()
        return lineage

    def _key(self, name: str) -> Key:
        return private_key(f"sensors/{self._sensor}/{name}")


class Step:
    """A new head being written, with segments of its own.

    Args:
        backend: Where it is.
        folder: Where the sensor's values are.
        before: What it follows.
    """

    def __init__(self, backend: Backend, folder: str, before: Remembered) -> None:
        self._backend = backend
        self._folder = folder
        self._before = before
        head = before.head
        self._name = f"{head.lineage}/{head.step + 1:08d}-{token_hex(4)}"
        self._parts = 0
        self._announced = False

    def put_rows(self, rows: Sequence[Row]) -> Segment:
        """Store a segment."""
        self._announce()
        name = f"{self._name}.{self._parts}"
        self._parts += 1
        self._put(name, zlib.compress(orjson.dumps(rows), _LEVEL))
        return Segment(name=name, first=rows[0][0], count=len(rows))

    def save(self, head: Head) -> str:
        """Store the head.

        Args:
            head: What is known now.

        Returns:
            Its pointer.
        """
        self._announce()
        before, kept = self._before, {segment.name for segment in head.segments}
        past: list[Past] = []
        if before.name:
            unused = [segment.name for segment in before.head.segments if segment.name not in kept]
            past = [Past(name=before.name, unused=unused, successor=self._name), *before.head.past]
        saved = head.model_copy(
            update={"step": before.head.step + 1, "past": past[:_KEPT_HEADS], "expired": past[_KEPT_HEADS:]}
        )
        self._put(self._name, saved.model_dump_json().encode())
        return self._name

    def _announce(self) -> None:
        """Note in which step something is written, so that it is found even if nobody takes the step over."""
        if self._announced or not self._before.name:
            return
        self._announced = True
        key = private_key(f"{self._folder}/{self._before.name}.next")
        try:
            tries = orjson.loads(self._backend.get(key))
        except DoesNotExist:
            tries = []
        self._backend.put(key, orjson.dumps([*tries, self._name]))

    def _put(self, name: str, data: bytes) -> None:
        self._backend.put(private_key(f"{self._folder}/{name}"), data)
