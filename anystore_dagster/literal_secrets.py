"""Secrets that are written into a definition: kept in this process, while Dagster gets a text that stands for each.

What a resource is given, Dagster puts into snapshots, its database and its pages. So a literal secret is taken out
when the resource is made, and found again by the text in its place when the store is opened. A process that runs a
step makes the resource anew from the code, and with it this table. The text says where the secret belongs: it is
given out for that store alone, and holds nothing that is made of the secret, from which it could be guessed.
"""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from anystore.errors import InvalidOption, InvalidUri
from anystore.uris import MASK, StoreUri, is_secret_name, parse_uri
from anystore_dagster.variables import variable_name

_STANDS_FOR = f"{MASK} ("
_MASKED = re.compile(re.escape(MASK) + r"\d*")


class SecretText(str):
    """A text that is a secret, whatever name it stands under."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class _Kept:
    value: Any = field(repr=False)
    where: str
    destination: str


_KEPT: dict[str, _Kept] = {}


def hide_secrets(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Keep the literal secrets among the fields of a store, and put texts in their places.

    Args:
        fields: ``uri``, ``username``, ``password`` and ``backend_config``, as far as they are given, and any others.

    Returns:
        The same fields. What stands for a secret already, and what names a variable, stays as it is.

    Example:
        >>> hide_secrets({"uri": "redis://me:hunter2@docs/0", "backend_config": {"timeout": 3, "token": "abc"}})
        {'uri': 'redis://me:***@docs/0', 'backend_config': {'timeout': 3, 'token': '*** (backend_config.token of redis://me:***@docs/0)'}}
    """
    hidden = dict(fields)
    uri = hidden.get("uri")
    if isinstance(uri, str) and variable_name(uri) is None and _is_secret(uri, named=False):
        uri = hidden["uri"] = _keep(uri, _uri_text(uri), where="uri")
    destination = _destination(uri)

    def hide(value: Any, where: str) -> str:
        return _keep(value, lambda number: _text(where, destination, number), where=where, destination=destination)

    tokens = _token_places(hidden)
    for name in ("username", "password", "backend_config"):
        if name in hidden:
            named = name == "password" or name in tokens
            hidden[name] = _replace(hidden[name], name, hide, named=named, tokens=tokens)
    return hidden


def reveal_secrets(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Put the secrets back that :func:`hide_secrets` has kept.

    Args:
        fields: Fields of a store.

    Returns:
        The same fields, with the secrets; variables are still named only.

    Raises:
        InvalidOption: If a text stands for a secret that is not known here, or that belongs to another store.
    """
    destination = _destination(fields.get("uri"))

    def reveal(value: Any, where: str) -> Any:
        kept = _find(value, where)
        # elsewhere, it could be sent to another server, or become part of what is shown
        if kept is not None and (kept.where, kept.destination) != (where, destination):
            raise InvalidOption(
                f"{where} of the store holds a secret that was given for {kept.destination} as {kept.where}, and is "
                f"not sent to {destination} as {where}; {_advice(where)}"
            )
        return value if kept is None else kept.value

    return {name: _replace(value, name, reveal, named=None) for name, value in fields.items()}


def refuse_literals(value: Any, *, where: str) -> None:
    """Refuse a secret in run configuration, which Dagster keeps and shows as it is.

    Args:
        value: A field of a store, as run configuration or the definitions give it.
        where: Its name, such as ``password``.

    Raises:
        InvalidOption: If there is a literal secret in it; the message has the line to write.
    """
    _replace(value, where, _find, named=None)
    _replace(value, where, _refuse, named=is_secret_name(where))


def refuse_tokens(fields: Mapping[str, Any]) -> None:
    """Refuse a name in run configuration that is an access token, which can be told beside the URI only.

    Args:
        fields: Those of a store, as run configuration and the definitions give them.

    Raises:
        InvalidOption: If there is one; the message has the line to write.
    """
    tokens = _token_places(fields)
    for name in ("username", "backend_config"):
        _replace(fields.get(name), name, _refuse, named=name in tokens, tokens=tokens)


def _refuse(_: Any, place: str) -> Any:
    raise InvalidOption(
        f"{place} of a store holds a secret, and run configuration cannot hide it: Dagster keeps and shows it as it "
        f"is; {_advice(place)}"
    )


def _replace(
    value: Any,
    where: str,
    change: Callable[[Any, str], Any],
    *,
    named: bool | None,
    tokens: Collection[str] = (),
) -> Any:
    """Change the secrets in a value, at any depth; all parts if ``named`` is None."""
    if variable_name(value) is not None:
        return value
    if isinstance(value, Mapping):
        changed = {}
        for key, part in value.items():
            place = f"{where}.{key}"
            also = None if named is None else named or is_secret_name(str(key)) or place in tokens
            changed[key] = _replace(part, place, change, named=also, tokens=tokens)
        return changed
    if isinstance(value, list | tuple):
        return [
            _replace(part, f"{where}[{number}]", change, named=named, tokens=tokens)
            for number, part in enumerate(value)
        ]
    return change(value, where) if named is None or _is_secret(value, named=named) else value


def _is_secret(value: Any, *, named: bool) -> bool:
    """Tell whether a value is a literal secret: by the name it stands under, or as a URI that holds one."""
    if not isinstance(value, str):
        return named and isinstance(value, bytes | int | float) and not isinstance(value, bool)
    if not value or value in _KEPT or _stands_for_another(value):
        return False
    return named or isinstance(value, SecretText) or _has_secrets(value)


def _has_secrets(text: str) -> bool:
    uri = _parse(text)
    # of what cannot be read, nobody can say where in it a password is
    return ("@" in text or "?" in text) if uri is None else bool(uri.secrets)


def _stands_for_another(text: str) -> bool:
    """Tell whether a text was made by :func:`hide_secrets`, maybe in another process."""
    if text.startswith(_STANDS_FOR):
        return True
    uri = _parse(text) if MASK in text else None
    return uri is not None and any(_MASKED.fullmatch(secret) for secret in uri.secrets)


def _find(value: Any, where: str) -> _Kept | None:
    if not isinstance(value, str):
        return None
    kept = _KEPT.get(value)
    if kept is None and _stands_for_another(value):
        raise InvalidOption(
            f"{where} of the store is {value!r}, which stands for a secret that another process was given; "
            f"{_advice(where)}"
        )
    return kept


def _keep(value: Any, text: Callable[[int], str], *, where: str, destination: str | None = None) -> str:
    """Keep a secret, and give the first text that stands for no other one; a URI is its own destination."""
    value = str(value) if isinstance(value, SecretText) else value
    for number in count(1):
        standing = text(number)
        known = _KEPT.setdefault(standing, _Kept(value, where, standing if destination is None else destination))
        if type(known.value) is type(value) and known.value == value:
            return standing
    raise AssertionError  # count() has no end


def _text(where: str, destination: str, number: int) -> str:
    more = f", {number}" if number > 1 else ""
    return f"{_STANDS_FOR}{where} of {destination}{more})"


def _uri_text(uri: str) -> Callable[[int], str]:
    parsed = _parse(uri)
    if parsed is None:
        return lambda number: _text("uri", "a store that cannot be read", number)
    masked = parsed.masked
    return lambda number: masked.replace(MASK, f"{MASK}{number}" if number > 1 else MASK, 1)


def _destination(uri: Any) -> str:
    if uri is None:
        return "the default store"
    name = variable_name(uri)
    return f"the URI in {name}" if name else str(uri)


def _token_places(fields: Mapping[str, Any]) -> Collection[str]:
    """Name the fields that may hold an access token: for HTTP, a name without a password."""
    config = fields.get("backend_config")
    options = config if isinstance(config, Mapping) else {}
    if fields.get("password") is not None or options.get("password") is not None:
        return ()
    uri = fields.get("uri")
    if isinstance(uri, str) and variable_name(uri) is None:
        parsed = _parse(uri)
        if parsed is None or parsed.password is not None or parsed.scheme not in ("http", "https"):
            return ()
    return ("username", "backend_config.username")


def _parse(text: str) -> StoreUri | None:
    try:
        return parse_uri(text)
    except InvalidUri:
        return None


def _advice(where: str) -> str:
    name = where.rpartition(".")[2].partition("[")[0]
    variable = "STORE_" + re.sub(r"\W+", "_", name).upper()
    return (
        f"write {name}: {{env: {variable}}}, or EnvVar({variable!r}) in Python, and set that variable where steps run"
    )
