"""What the target has and the source has not: kept apart until it is sure, and until it may be deleted."""

import tempfile
from collections.abc import Iterator

import orjson

from anystore.backend import Entry
from anystore.mirroring.listing import Listing

_IN_MEMORY = 1 << 20


class Extras:
    """Keys of the target alone, in a temporary file when they are many."""

    def __init__(self) -> None:
        """Begin with none."""
        self._file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 - closed by close
        self.count = 0

    def add(self, entry: Entry) -> None:
        """Keep one."""
        self._file.write(orjson.dumps(entry.key) + b"\n")
        self.count += 1

    def clear(self) -> None:
        """Forget them."""
        self._file.seek(0)
        self._file.truncate()
        self.count = 0

    def entries(self) -> Iterator[Entry]:
        """Give them."""
        self._file.seek(0)
        return (Entry(orjson.loads(line), None, None) for line in self._file)

    def close(self) -> None:
        """Delete the file."""
        self._file.close()


def why_not_delete(
    extras: Extras, source: Listing, target: Listing, *, max_delete: int | None, force: bool
) -> str | None:
    """Say what forbids to delete the extras, or nothing.

    Args:
        extras: What would be deleted.
        source: The listing that does not have them.
        target: The listing that has them.
        max_delete: How many may be deleted.
        force: Whether an empty source is meant.

    Returns:
        The reason, in a sentence, or None.
    """
    if not (source.complete and target.complete):
        return "nothing was deleted, since a listing is not complete"
    if source.foreign or target.foreign:
        return "nothing was deleted, since a listing holds names that cannot be keys"
    if not extras.count:
        return None
    if not source.count and not force:
        return (
            f"nothing was deleted: the source is empty, and all {extras.count:,} values of the target would be lost; "
            "if that is meant, pass force=True (--force)"
        )
    if max_delete is not None and extras.count > max_delete:
        return (
            f"nothing was deleted: {extras.count:,} values of the target are not in the source, and max_delete allows "
            f"{max_delete:,}; if that is meant, raise it, or pass max_delete=None (--max-delete -1) for no limit"
        )
    return None
