"""The only reader of ``ANYSTORE_*`` variables; they are read when asked for, not at import."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args

import orjson

from anystore.codecs import SerializationMode
from anystore.errors import InvalidOption
from anystore.extras import load

DEFAULT_URI = "./anystore-data"
"""Where the default store is when nothing else is said."""

_OF_VARIABLES = ("uri", "serialization_mode", "raise_on_nonexist", "default_ttl")
_CONFIG_VARIABLE = "ANYSTORE_BACKEND_CONFIG__"
_TRUE = frozenset(("1", "true", "yes", "on"))
_FALSE = frozenset(("0", "false", "no", "off"))


@dataclass(frozen=True, slots=True)
class Settings:
    """What the environment says of stores.

    Attributes:
        uri: Of the default store.
        serialization_mode: For every store.
        raise_on_nonexist: For every store.
        default_ttl: Seconds, for every store that can keep it.
        readonly: For the default store.
        backend_config: For the default store alone, so that a credential never reaches another one.
    """

    uri: str = DEFAULT_URI
    serialization_mode: str = "auto"
    raise_on_nonexist: bool = True
    default_ttl: float | None = None
    readonly: bool = False
    backend_config: Mapping[str, Any] = field(default_factory=dict, repr=False)


def read_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings of every store.

    Args:
        environ: The environment; the process's own if None.

    Returns:
        The settings; ``uri`` is ``ANYSTORE_URI``, the store file is not looked at.

    Raises:
        InvalidOption: If a variable is not what it can be; the message names it.
    """
    environ = os.environ if environ is None else environ
    ttl = environ.get("ANYSTORE_DEFAULT_TTL")
    raising = environ.get("ANYSTORE_RAISE_ON_NONEXIST")
    mode = environ.get("ANYSTORE_SERIALIZATION_MODE")
    return Settings(
        uri=environ.get("ANYSTORE_URI") or DEFAULT_URI,
        serialization_mode=_to_mode(mode, "ANYSTORE_SERIALIZATION_MODE") if mode else "auto",
        raise_on_nonexist=_to_bool(raising, "ANYSTORE_RAISE_ON_NONEXIST") if raising else True,
        default_ttl=_to_seconds(ttl, "ANYSTORE_DEFAULT_TTL") if ttl else None,
    )


def read_default_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings of the default store: the variables, and above them the store file.

    Args:
        environ: The environment; the process's own if None.

    Returns:
        The settings, with ``backend_config`` from the file and, option by option above it,
        from ``ANYSTORE_BACKEND_CONFIG__*``.

    Raises:
        InvalidOption: If a variable or the file ``ANYSTORE_FILE`` is not what it can be.
        MissingExtra: If the file is YAML, and no YAML library is installed.
    """
    environ = os.environ if environ is None else environ
    common = read_settings(environ)
    values: dict[str, Any] = {
        "uri": common.uri,
        "serialization_mode": common.serialization_mode,
        "raise_on_nonexist": common.raise_on_nonexist,
        "default_ttl": common.default_ttl,
        "backend_config": _read_config(environ),
    }
    path = environ.get("ANYSTORE_FILE")
    if path:
        of_file = _read_file(path)
        options = _merged(of_file.get("backend_config", {}), values["backend_config"])
        values |= of_file | {"backend_config": options}
    return Settings(**values)


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Put options over others, at any depth."""
    merged = dict(below)
    for name, value in above.items():
        known = merged.get(name)
        merged[name] = _merged(known, value) if isinstance(known, dict) and isinstance(value, dict) else value
    return merged


def unread_variables(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Find variables that look like settings and are none, such as a misspelt one.

    Args:
        environ: The environment; the process's own if None.

    Returns:
        For each variable that nobody reads the one that is most like it.

    Example:
        >>> unread_variables({"ANYSTORE_URL": "s3://bucket", "ANYSTORE_URI": "s3://bucket"})
        {'ANYSTORE_URL': 'ANYSTORE_URI'}
    """
    environ = os.environ if environ is None else environ
    read = ["ANYSTORE_FILE", *(f"ANYSTORE_{name.upper()}" for name in _OF_VARIABLES)]
    return {
        name: near[0]
        for name in environ
        if name not in read and not name.startswith(_CONFIG_VARIABLE) and (near := get_close_matches(name, read, n=1))
    }


def setting_sources(environ: Mapping[str, str] | None = None, *, is_default: bool = True) -> dict[str, str]:
    """Say where each setting comes from.

    Args:
        environ: The environment; the process's own if None.
        is_default: Whether the default store is meant, or one that is opened by its URI.

    Returns:
        For each field of :class:`Settings` the name of a variable, or ``default``.

    Raises:
        InvalidOption: If the store file is not what it can be.

    Example:
        >>> setting_sources({"ANYSTORE_URI": "s3://bucket"})["uri"]
        'ANYSTORE_URI'
    """
    environ = os.environ if environ is None else environ
    sources = dict.fromkeys((one.name for one in fields(Settings)), "default")
    for name in _OF_VARIABLES:
        if environ.get(variable := f"ANYSTORE_{name.upper()}"):
            sources[name] = variable
    if not is_default:
        return sources | {"uri": "default"}
    if _read_config(environ):
        sources["backend_config"] = f"{_CONFIG_VARIABLE}*"
    path = environ.get("ANYSTORE_FILE")
    if path:
        of_file = dict.fromkeys(_read_file(path), f"ANYSTORE_FILE={path}")
        if sources["backend_config"] != "default" and "backend_config" in of_file:
            of_file["backend_config"] += f", {sources['backend_config']}"
        sources |= of_file
    return sources


def _read_config(environ: Mapping[str, str]) -> dict[str, Any]:
    """Turn ``ANYSTORE_BACKEND_CONFIG__A__B=x`` into ``{"a": {"b": "x"}}``."""
    config: dict[str, Any] = {}
    for name in sorted(environ):
        if not name.startswith(_CONFIG_VARIABLE):
            continue
        *folders, last = name.removeprefix(_CONFIG_VARIABLE).lower().split("__")
        place = config
        for folder in folders:
            place = place.setdefault(folder, {})
            if not isinstance(place, dict):
                raise InvalidOption(
                    f"{name} names a part of an option that another variable gives as a whole; keep one"
                )
        place[last] = environ[name]
    return config


def _read_file(path: str) -> dict[str, Any]:
    """Read a store file and check every name in it."""
    try:
        text = Path(path).read_bytes()
        values = (
            load("anystore.yaml_files").parse_yaml(text) if path.endswith((".yaml", ".yml")) else orjson.loads(text)
        )
    except (OSError, ValueError) as error:
        raise InvalidOption(f"ANYSTORE_FILE={path} cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise InvalidOption(f"ANYSTORE_FILE={path} has to hold names and values, such as 'uri: ./data'")
    checks = {
        "uri": _to_text,
        "serialization_mode": _to_mode,
        "raise_on_nonexist": _to_bool,
        "default_ttl": _to_seconds,
        "readonly": _to_bool,
        "backend_config": _to_config,
    }
    for name in values:
        if name not in checks:
            raise InvalidOption(f"ANYSTORE_FILE={path} has an unknown name {name!r}; it takes: {', '.join(checks)}")
    return {name: checks[name](value, f"{name} in ANYSTORE_FILE={path}") for name, value in values.items()}


def _to_text(value: Any, name: str) -> str:
    if not isinstance(value, str) or not value:
        raise InvalidOption(f"{name} has to be a text")
    return value


def _to_mode(value: Any, name: str) -> str:
    if value not in get_args(SerializationMode):
        raise InvalidOption(f"{name} has to be one of {', '.join(get_args(SerializationMode))}, not {value!r}")
    return str(value)


def _to_bool(value: Any, name: str) -> bool:
    text = str(value).lower()
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    raise InvalidOption(f"{name} has to be true or false, not {value!r}")


def _to_seconds(value: Any, name: str) -> float | None:
    if value is None:
        return None
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise InvalidOption(f"{name} has to be a number of seconds above 0, not {value!r}")
    return seconds


def _to_config(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidOption(f"{name} has to hold names and values")
    return value
