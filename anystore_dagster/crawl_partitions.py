"""Partitions of a listing: its top folders, a fixed number of buckets, or each document."""

import hashlib
import re
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import unquote

from dagster import DynamicPartitionsDefinition, PartitionsDefinition, StaticPartitionsDefinition

from anystore.errors import InvalidOption

_LEAST_BUCKETS = 2
MOST_BUCKETS = 100
"""The most buckets: each costs events, rows and a place on the page of every asset that has them."""

MANY_PARTITIONS = 5000
"""From how many partitions on a sensor warns."""

_ROOT = "(root)"  # of documents that are in no folder
_MOST_CHARACTERS = 60  # MySQL tells partitions apart by their first 64 characters
_TAIL = 36
# what Dagster refuses in a key, what separates keys in its pages, jobs and file names, and what nobody sees
_UNSAFE = re.compile(r"[%/\\,|\[\]*\"'\x00-\x1f\x7f-\xa0\xad\u200b-\u200f\u2028-\u202e\u2060-\u2064\ufeff]|\.{3,}")
_BLANK_ENDS = re.compile(r"\A\s+|\s+\Z|\A\.{1,2}\Z")
_SHORTENED = re.compile(r"~[0-9a-f]{20}\Z")
_BROKEN_ESCAPE = re.compile(r"\A[0-9A-F]{0,2}(?=%)|\A[0-9A-F]{1,2}")


@dataclass(frozen=True)
class CrawlPartitions:
    """How the documents of a listing fall into partitions.

    Make one by :meth:`folders`, :meth:`buckets` or :meth:`documents`; ``definition`` is what an asset takes.

    Attributes:
        by: What a partition is.
        name: Name of the partitions in Dagster, of buckets their number.
        number: Of buckets, how many.

    Example:
        >>> partitions = CrawlPartitions.folders("years")
        >>> partitions.partition_of("2024/may, draft.pdf"), partitions.glob("2024")
        ('2024', '2024/**')
    """

    by: Literal["folder", "bucket", "document"]
    name: str
    number: int = 0

    @classmethod
    def folders(cls, name: str) -> "CrawlPartitions":
        """Make one partition of each top folder; documents in no folder are in ``(root)``.

        Args:
            name: A name of your own: all assets that have these partitions share it.

        Returns:
            The partitions, which a sensor adds as it finds folders.
        """
        return cls("folder", _checked(name))

    @classmethod
    def documents(cls, name: str) -> "CrawlPartitions":
        """Make one partition of each document.

        Each costs Dagster several events in each run, and a place on pages that list them: for a few thousand
        documents. For more, use folders or buckets.

        Args:
            name: A name of your own: all assets that have these partitions share it.

        Returns:
            The partitions, which a sensor adds as it finds documents.
        """
        return cls("document", _checked(name))

    @classmethod
    def buckets(cls, number: int) -> "CrawlPartitions":
        """Spread documents over a fixed number of partitions by a hash of their keys.

        Args:
            number: How many, from 2 to 100. With another number documents are in other buckets.

        Returns:
            The partitions, which are the same for every listing: ``00``, ``01`` and so on.

        Raises:
            InvalidOption: If it is no such number.

        Example:
            >>> CrawlPartitions.buckets(3).definition.get_partition_keys()
            ['00', '01', '02']
        """
        if type(number) is not int or not _LEAST_BUCKETS <= number <= MOST_BUCKETS:
            raise InvalidOption(f"buckets are from 2 to {MOST_BUCKETS}, not {number!r}; each one costs events and time")
        return cls("bucket", f"{number} buckets", number)

    @property
    def definition(self) -> PartitionsDefinition[str]:
        """What ``@asset(partitions_def=…)`` takes."""
        if self.by == "bucket":
            return StaticPartitionsDefinition([f"{bucket:02d}" for bucket in range(self.number)])
        return DynamicPartitionsDefinition(name=self.name)

    @property
    def is_dynamic(self) -> bool:
        """Whether partitions come and go with the documents."""
        return self.by != "bucket"

    def partition_of(self, key: str) -> str:
        """Tell which partition a document is in.

        Args:
            key: Its key.

        Returns:
            The partition's key, which is short and has no sign that means something to Dagster.

        Example:
            >>> CrawlPartitions.documents("papers").partition_of("2024/a, b.pdf")
            '2024%2Fa%2C b.pdf'
        """
        if self.by == "bucket":
            return f"{int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest()) % self.number:02d}"
        if self.by == "document":
            return safe_partition_key(key)
        folder, slash, _ = key.partition("/")
        return safe_partition_key(folder) if slash else _ROOT

    def covers(self, partition: str, key: str) -> bool:
        """Tell whether a document is in a partition.

        Args:
            partition: The partition's key.
            key: The document's key.

        Returns:
            Whether it is.
        """
        return self.partition_of(key) == partition

    def key_of(self, partition: str) -> str | None:
        """Read a document's key, or a folder's name, back from a partition's key.

        Args:
            partition: The partition's key.

        Returns:
            The key; None for a bucket, for ``(root)``, and where it was too long: then look for the document that
            the partition covers.

        Example:
            >>> CrawlPartitions.documents("papers").key_of("2024%2Fa%2C b.pdf")
            '2024/a, b.pdf'
        """
        if self.by == "bucket" or partition == _ROOT or _SHORTENED.search(partition):
            return None
        return unquote(partition)

    def glob(self, partition: str) -> str | None:
        """Give a pattern for the keys of a partition, as crawls and listings take it.

        Args:
            partition: The partition's key.

        Returns:
            The pattern; None for a bucket, and where the name was too long.
        """
        if self.by == "folder" and partition == _ROOT:
            return "*"
        key = self.key_of(partition)
        if key is None:
            return None
        literal = re.sub(r"[\[*?{]", lambda sign: f"[{sign[0]}]", key)
        return f"{literal}/**" if self.by == "folder" else literal


def safe_partition_key(text: str) -> str:
    """Write a text as a partition's key that Dagster takes everywhere.

    ``/``, ``,``, ``|``, ``...``, brackets, quotes, stars, control characters and blanks at the ends are
    percent-encoded. What would be longer than 60 characters becomes its end and a hash.

    Args:
        text: A document's key, or another text.

    Returns:
        The partition's key; two texts never have one.

    Example:
        >>> safe_partition_key("a/b...[1].pdf")
        'a%2Fb%2E%2E%2E%5B1%5D.pdf'
    """
    escaped = _BLANK_ENDS.sub(_percent, _UNSAFE.sub(_percent, text))
    if escaped == _ROOT:
        escaped = "%28root)"
    if len(escaped) <= _MOST_CHARACTERS and not _SHORTENED.search(escaped):
        return escaped
    tail = _BROKEN_ESCAPE.sub("", escaped[-_TAIL:]) if "%" in escaped[-_TAIL - 2 : -_TAIL] else escaped[-_TAIL:]
    return f"{tail}~{hashlib.sha256(text.encode()).hexdigest()[:20]}"


def _percent(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in match[0].encode())


def _checked(name: Any) -> str:
    if not isinstance(name, str) or not name:
        raise InvalidOption(f"partitions have a name such as 'papers', not {name!r}")
    return name
