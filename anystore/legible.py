"""Names, sizes and times as people read them."""

from datetime import UTC, datetime

UNKNOWN = "-"
"""Stands for what is not known."""

_STEP = 1000
_UNITS = ("kB", "MB", "GB", "TB", "PB", "EB")


def escaped(text: str) -> str:
    r"""Write what a terminal or a browser would obey as escapes; marks that turn the direction of text are such.

    Example:
        >>> print(escaped("a\nb\x1b"))
        a\nb\x1b
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def readable_time(moment: datetime | None) -> str:
    """Write a time in UTC to the minute, or a dash where it is not known.

    Example:
        >>> readable_time(datetime(2024, 5, 1, 12, 30, 59, tzinfo=UTC))
        '2024-05-01 12:30'
    """
    return UNKNOWN if moment is None else moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M")


def readable_size(size: int | None) -> str:
    """Write a number of bytes with three digits or so, in powers of a thousand, or a dash where it is not known.

    Args:
        size: The bytes, or None.

    Returns:
        The size with its unit.

    Example:
        >>> [readable_size(size) for size in (None, 999, 1000, 123_456, 999_999, 5_000_000_000)]
        ['-', '999 B', '1.0 kB', '123 kB', '1.0 MB', '5.0 GB']
    """
    if size is None:
        return UNKNOWN
    if size < _STEP:
        return f"{size} B"
    amount, largest = float(size), _UNITS[-1]
    for unit in _UNITS:
        amount /= _STEP
        if round(amount) < _STEP or unit == largest:
            return f"{amount:.1f} {unit}" if round(amount, 1) < 10 else f"{amount:,.0f} {unit}"  # noqa: PLR2004
    raise AssertionError  # pragma: no cover - the largest unit takes every size
