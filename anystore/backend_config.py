"""What a ``backend_config`` says: each option checked, and of its type; from the environment they come as text."""

from collections.abc import Iterable, Mapping

from anystore.errors import InvalidOption

_MOST = 1 << 31


def check_options(config: Mapping[str, object], *, known: Iterable[str], uri: str) -> None:
    """Refuse an option that a backend does not know, lest a mistyped one is dropped.

    Args:
        config: The ``backend_config``.
        known: The options that the backend takes.
        uri: The masked URI, for the message.

    Raises:
        InvalidOption: If there is another one.
    """
    unknown = sorted(set(config) - set(known))
    if unknown:
        takes = ", ".join(sorted(known)) or "none"
        raise InvalidOption(f"{uri}: backend_config has no option {unknown[0]!r}; it takes: {takes}")


def bool_option(config: Mapping[str, object], name: str, *, uri: str) -> bool:
    """Read an option that is on or off; from the environment it comes as text.

    Raises:
        InvalidOption: If it is neither.
    """
    value = config.get(name, False)
    if isinstance(value, str) and value.lower() in ("true", "1", "yes", "on", "false", "0", "no", "off"):
        return value.lower() in ("true", "1", "yes", "on")
    if not isinstance(value, bool):
        raise InvalidOption(f"{uri}: the option {name!r} has to be true or false")
    return value


def text_option(config: Mapping[str, object], name: str, *, uri: str) -> str | None:
    """Read an option that is text; None is as good as not given.

    Raises:
        InvalidOption: If it is something else.
    """
    value = config.get(name)
    if value is not None and not isinstance(value, str):
        raise InvalidOption(f"{uri}: the option {name!r} has to be text")
    return value


def number_option(
    config: Mapping[str, object], name: str, default: float, *, uri: str, least: float, most: float = _MOST
) -> float:
    """Read an option that is a number, such as seconds; None is as good as not given.

    Args:
        config: The ``backend_config``.
        name: The option.
        default: What it is unless it is given.
        uri: The masked URI, for the message.
        least: The smallest number it can be.
        most: The largest.

    Returns:
        The number.

    Raises:
        InvalidOption: If it is none, or is not in between.
    """
    return _read_number(config, name, default, uri=uri, least=least, most=most, what="a number")


def count_option(
    config: Mapping[str, object], name: str, default: int, *, uri: str, least: int, most: int = _MOST
) -> int:
    """Read an option that is a whole number; None is as good as not given.

    Args:
        config: The ``backend_config``.
        name: The option.
        default: What it is unless it is given.
        uri: The masked URI, for the message.
        least: The smallest number it can be.
        most: The largest.

    Returns:
        The number.

    Raises:
        InvalidOption: If it is none, or is not in between.
    """
    number = _read_number(config, name, default, uri=uri, least=least, most=most, what="a whole number")
    return int(number)


def _read_number(
    config: Mapping[str, object], name: str, default: float, *, uri: str, least: float, most: float, what: str
) -> float:
    value = config.get(name)
    if value is None:
        return default
    try:
        number = float(value) if isinstance(value, (str, int, float)) and not isinstance(value, bool) else None
    except (ValueError, OverflowError):
        number = None
    if number is None or not least <= number <= most or (what == "a whole number" and not number.is_integer()):
        raise InvalidOption(f"{uri}: the option {name!r} has to be {what} from {least:,} to {most:,}")
    return number
