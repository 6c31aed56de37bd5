"""Many partitions in one run, one at a time: what an asset returns, and what an input is given.

Dagster takes plain classes as annotations and no subscripted ones, so the type of a partition's value is a field of a
subclass. ``Iterator[…]`` cannot be annotated: Dagster takes a generator for one that yields outputs.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar


class PartitionedOutput:
    """The values of the partitions of one run, which are stored as they come, so that one is in memory at a time.

    Every partition of the run has to come once. Each is whole or absent; if the code fails on the way, or a partition
    is missing in the end, the step fails, and the partitions that came before stay stored.

    Attributes:
        item: The type of each partition's value, as it would be annotated.

    Args:
        values: Pairs of partition and value, as a generator gives them; or a mapping.

    Example:
        >>> class Sales(PartitionedOutput):
        ...     item = list[int]
        >>> list(Sales((day, [1]) for day in ("2024-01-01", "2024-01-02")))
        [('2024-01-01', [1]), ('2024-01-02', [1])]
    """

    item: ClassVar[Any] = Any

    def __init__(self, values: Mapping[str, Any] | Iterable[tuple[str, Any]]) -> None:
        self._values = values

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        """Give each partition with its value; once, where the values are a generator."""
        return iter(self._values.items() if isinstance(self._values, Mapping) else self._values)


class PartitionStream:
    """The partitions of an upstream asset, each of which is loaded when it is reached.

    Attributes:
        item: The type of each partition's value, as it would be annotated.
        partitions: The keys of the partitions, in their order.

    Args:
        partitions: The keys.
        load: Loads the value of one.

    Example:
        >>> class Sales(PartitionStream):
        ...     item = list[int]
        >>> sales = Sales(["2024-01-01", "2024-01-02"], lambda day: [len(day)])
        >>> [(day, values) for day, values in sales]
        [('2024-01-01', [10]), ('2024-01-02', [10])]
    """

    item: ClassVar[Any] = Any

    def __init__(self, partitions: Sequence[str], load: Callable[[str], Any]) -> None:
        self.partitions = tuple(partitions)
        self._load = load

    def __len__(self) -> int:
        return len(self.partitions)

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        """Load one value after the other; another iteration loads them again."""
        return ((partition, self._load(partition)) for partition in self.partitions)

    def __getitem__(self, partition: str) -> Any:
        """Load the value of one partition.

        Raises:
            KeyError: If it is none of these.
        """
        if partition not in self.partitions:
            raise KeyError(partition)
        return self._load(partition)


def streamed_item(annotation: Any, kind: type[PartitionedOutput] | type[PartitionStream]) -> Any:
    """Give the type of a partition's value, if an annotation is of one of these classes.

    Args:
        annotation: The annotation.
        kind: ``PartitionedOutput`` or ``PartitionStream``.

    Returns:
        The type; None if the annotation is another one.

    Example:
        >>> streamed_item(PartitionStream, PartitionStream), streamed_item(int, PartitionStream)
        (typing.Any, None)
    """
    return annotation.item if isinstance(annotation, type) and issubclass(annotation, kind) else None
