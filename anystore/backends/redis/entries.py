"""What the server says of a value, as an entry."""

import math
from datetime import UTC, datetime, timedelta

from anystore.backend import Entry
from anystore.backends.redis.scripts import MAX_HASHED_BYTES


def entry_of(key: str, size: int, left: int, *, version: str | None = None) -> Entry:
    """Make an entry.

    Args:
        key: The key.
        size: Length of the value.
        left: Milliseconds the value has left, or a negative number if it does not expire.
        version: SHA-1 of the value, if it is known.

    Returns:
        The entry; Redis does not know when a value was modified.
    """
    expires = datetime.now(UTC) + timedelta(milliseconds=left) if left >= 0 else None
    return Entry(key, size, None, version, expires=expires)


def wants_version(size: int) -> bool:
    """Tell whether a value of this length has a version."""
    return size <= MAX_HASHED_BYTES


def milliseconds(ttl: float) -> int:
    """Turn seconds to live into what the server counts.

    Example:
        >>> milliseconds(0.2), milliseconds(0.00001)
        (200, 1)
    """
    return max(1, math.ceil(ttl * 1000))
