"""Putting values together to units of work."""

from collections.abc import Callable

from anystore.backend import Backend
from anystore.backends.wrap import unwrap
from anystore.mirroring.copying import Item, Unit, Way

SMALL_BYTES = 1 << 20
"""Up to this length values are read whole, many at a time."""

_BATCH_BYTES = 4 << 20
_TOGETHER = (16, 64, 250)  # values, where none of both sides takes many in one step, where one does, where both do


class Packer:
    """Collects values until they make a unit.

    Args:
        source: The backend that is read.
        target: The backend that is filled.
        submit: Takes the units.
        most: How many values a unit has at most, if there is a reason for fewer than usual.
    """

    def __init__(
        self, source: Backend, target: Backend, submit: Callable[[Unit], object], *, most: int | None = None
    ) -> None:
        inner_source, inner_target = unwrap(source)[0], unwrap(target)[0]
        self._most = min(_TOGETHER[inner_source.batches + inner_target.batches], most or _TOGETHER[2])
        self._inside = can_copy_inside(inner_source, inner_target)
        self._submit = submit
        self._batch: list[Item] = []
        self._bytes = 0
        self._single: list[Item] = []

    def add(self, item: Item) -> None:
        """Take a value; full units are handed on."""
        size = item.entry.size
        if self._inside:
            self._single.append(item)
        elif size is None or size > SMALL_BYTES:
            self._submit(Unit(Way.STREAM, (item,)))
        elif item.entry.expires is not None:
            self._single.append(item)  # together with its expiry, which a batch has for all or none
        else:
            if self._bytes + size > _BATCH_BYTES:
                self.flush()
            self._batch.append(item)
            self._bytes += size
        if len(self._batch) >= self._most or len(self._single) >= _TOGETHER[0]:
            self.flush()

    def flush(self, workers: int = 1) -> None:
        """Hand on what was collected.

        Args:
            workers: To how many.
        """
        batch, self._batch, self._bytes = self._batch, [], 0
        single, self._single = self._single, []
        for way, items in ((Way.BATCH, batch), (Way.INSIDE if self._inside else Way.STREAM, single)):
            each = max(1, -(-len(items) // max(1, workers)))
            for start in range(0, len(items), each):
                self._submit(Unit(way, tuple(items[start : start + each])))


def can_copy_inside(source: Backend, target: Backend) -> bool:
    """Tell whether the service of two backends may copy a value without us reading it."""
    if source is target:
        return True
    return type(target).copy_from is not Backend.copy_from and source.extent()[0] == target.extent()[0]
