"""The URI of a store, in parts, and the same URI with its secrets masked.

A URI says where a store is. Everything in it that could be a secret is kept out
of reprs and is replaced by ``***`` wherever a URI is shown.
"""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, quote, unquote

from anystore.errors import InvalidUri

_MAX_PORT = 65_535
MASK = "***"
"""What stands in the place of a secret."""

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):/{2}")
_OF_FILES = ("file", "sqlite", "zip")
_BEFORE_PATH = {"file": ":///", "sqlite": ":////", "zip": ":///"}  # of a path from the root; SQLAlchemy has one more
_SURROGATE = re.compile("[\ud800-\udfff]")
_SECRET_NAME = re.compile(
    r"pass(?:word|wd|phrase|code)?$|pwd$|secret|token|signature|^sig$|credential|cookie|bearer|sas|connection_?string"
    r"|(?:api|access|account|application|client|customer|encryption|master|private|shared|subscription)[_-]?key"
    r"|^key$|(?:^|[_-])auth(?:orization)?$",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class StoreUri:
    """A store's URI in parts, as :func:`parse_uri` makes it.

    Attributes:
        scheme: Lower-case, such as ``file`` or ``s3``; a plain path has ``file``.
        username: Percent-decoded, or None; not in the repr, since it may be an access token.
        password: Percent-decoded, or None; not in the repr.
        host: What stands before the port, as given, or ``""``.
        port: The port, or None.
        path: The rest, as given: not percent-decoded, with its leading ``/``.
        query: The options behind ``?``, percent-decoded; not in the repr.
        text: The whole URI as given; not in the repr.
    """

    scheme: str
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    host: str = ""
    port: int | None = None
    path: str = ""
    query: Mapping[str, str] = field(default_factory=dict, repr=False)
    text: str = field(default="", repr=False)

    @property
    def masked(self) -> str:
        """The URI with its secrets replaced by ``***``; text, whatever bytes the name of a file has."""
        if not _SCHEME.match(self.text):
            return as_text(self.text)
        return as_text(f"{self.scheme}://{self._masked_authority()}{self.path}{self._masked_query()}")

    @property
    def secrets(self) -> frozenset[str]:
        """Every text in the URI that must not be shown, decoded and as written."""
        found = {self.password} if self.password else set()
        if self.username and self.password is None and self.scheme in ("http", "https"):
            found.add(self.username)
        found.update(value for name, value in self.query.items() if value and is_secret_name(name))
        return frozenset(found | {quote(text, safe="") for text in found})

    def _masked_authority(self) -> str:
        port = "" if self.port is None else f":{self.port}"
        if self.username is None and self.password is None:
            return self.host + port
        if self.password is not None:
            return f"{quote(self.username or '', safe='')}:{MASK}@{self.host}{port}"
        # a name alone before an HTTP host is nearly always an access token
        shown = MASK if self.scheme in ("http", "https") else quote(self.username or "", safe="")
        return f"{shown}@{self.host}{port}"

    def _masked_query(self) -> str:
        shown = (
            f"{quote(name, safe='')}={MASK if is_secret_name(name) else quote(value, safe='/:')}"
            for name, value in self.query.items()
        )
        text = "&".join(shown)
        return f"?{text}" if text else ""


def parse_uri(uri: str | os.PathLike[str]) -> StoreUri:
    """Take a store's URI, or a path, apart.

    Args:
        uri: A path, or ``scheme://…``. A path is taken as it is, but for a leading ``~/``.

    Returns:
        Its parts.

    Raises:
        InvalidUri: If it is empty, no text, holds NUL or a lone surrogate, names an option twice, or has a port that is
            no number.

    Example:
        >>> parse_uri("redis://me:hunter2@host:6379/0").masked
        'redis://me:***@host:6379/0'
    """
    if isinstance(uri, os.PathLike):
        return _parse_path(os.fspath(uri))
    if not isinstance(uri, str):
        raise InvalidUri(
            f"a store's URI is a str or a path, not {type(uri).__name__}; write it like './data' or 's3://bucket'"
        )
    match = _SCHEME.match(uri)
    if not match:
        return _parse_path(uri)
    scheme = match[1].lower()
    rest, _, query = uri[match.end() :].partition("?")
    authority, slash, path = rest.partition("/")
    userinfo, at, location = authority.rpartition("@")
    host, port = _split_port(location, scheme=scheme)
    name, colon, password = userinfo.partition(":")
    if "\0" in uri:
        raise InvalidUri(f"a {scheme}:// URI holds a NUL character; remove it")
    if not _is_text(authority + query) or not (_is_file_name(uri) if scheme in _OF_FILES else _is_text(uri)):
        raise InvalidUri(
            f"a {scheme}:// URI holds a lone surrogate, which is not text; percent-encode the byte it is for"
        )
    options = parse_qsl(query, keep_blank_values=True)
    twice = sorted({option for option, _ in options if sum(option == other for other, _ in options) > 1})
    if twice and scheme not in ("http", "https"):  # whose servers read it, by rules of their own
        raise InvalidUri(f"a {scheme}:// URI names the option {twice[0]!r} more than once; name it once")
    return StoreUri(
        scheme=scheme,
        username=unquote(name) if at else None,
        password=unquote(password) if colon else None,
        host=host,
        port=port,
        path=slash + path,
        query=dict(options),
        text=uri,
    )


def _parse_path(path: str | bytes) -> StoreUri:
    if not isinstance(path, str):
        raise InvalidUri("a store's path is a str, not bytes; use os.fsdecode(path)")
    if not path:
        raise InvalidUri("a store's URI is empty; write it like './data', 'memory://name' or 's3://bucket/folder'")
    if "\0" in path:
        raise InvalidUri(f"{path!r} holds a NUL character; remove it")
    if not _is_file_name(path):
        raise InvalidUri(f"{path!a} holds a lone surrogate, which no file name can have")
    if re.match(r"[a-z][a-z0-9+.-]+:/[^/]", path):
        raise misspelt(path, ":/")
    home = os.path.expanduser(path)  # noqa: PTH111 - a Path would rewrite the rest
    return StoreUri(scheme="file", path=home, text=path)


def misspelt(text: str, separator: str) -> InvalidUri:
    """Make the error for a slip of the finger, such as ``s3:/bucket``, which would become a folder of that name.

    Args:
        text: What was given.
        separator: What stands behind the scheme.

    Returns:
        The error, without secrets.

    Example:
        >>> print(misspelt("s3//bucket", "//"))
        's3//bucket' is neither a URI nor a path; write 's3://bucket', or './s3//bucket' for a folder
    """
    scheme, _, rest = text.partition(separator)
    slashes = _BEFORE_PATH.get(scheme, "://") if separator != ":" or scheme != "sqlite" else ":///"
    meant = parse_uri(f"{scheme}{slashes}{rest}").masked
    shown = meant.replace(slashes, separator, 1)
    return InvalidUri(f"{shown!r} is neither a URI nor a path; write '{meant}', or './{shown}' for a folder")


def as_text(path: str) -> str:
    r"""Write bytes of a file's name that are no UTF-8 as escapes: no journal, log or page takes a lone surrogate.

    Example:
        >>> print(as_text("caf\udce9"))
        caf\udce9
    """
    return path if path.isascii() else path.encode("utf-8", "backslashreplace").decode()


def _is_text(text: str) -> bool:
    return text.isascii() or not _SURROGATE.search(text)


def _is_file_name(text: str) -> bool:
    """Tell whether a text can be a path; names of files need be no UTF-8, and Python has surrogates for such bytes."""
    return text.isascii() or not any(not "\udc80" <= sign <= "\udcff" for sign in _SURROGATE.findall(text))


def _split_port(location: str, *, scheme: str) -> tuple[str, int | None]:
    host, colon, port = location.rpartition(":")
    if not colon or location.endswith("]"):  # no port, or `[::1]`
        return location, None
    if not port:
        return host, None
    if not (port.isascii() and port.isdecimal() and int(port) <= _MAX_PORT):
        # nothing of the URI is shown: the "port" may be the start of a password
        raise InvalidUri(
            f"a {scheme}:// URI has a port that is no number below 65,536; "
            "percent-encode '@', ':', '/' and '?' in a password"
        )
    return host, int(port)


def is_secret_name(name: str) -> bool:
    """Tell whether an option of this name holds a secret.

    Example:
        >>> is_secret_name("password"), is_secret_name("table")
        (True, False)
    """
    return _SECRET_NAME.search(name) is not None


def collect_secrets(config: Mapping[str, Any]) -> frozenset[str]:
    """Find the secrets in a backend's configuration, at any depth.

    Args:
        config: The ``backend_config``.

    Returns:
        Every text below a name that :func:`is_secret_name` knows.
    """
    found: set[str] = set()
    for name, value in config.items():
        if isinstance(value, Mapping):
            found |= collect_secrets(value)
        elif isinstance(value, str) and value and is_secret_name(str(name)):
            found.add(value)
    return frozenset(found)


def mask_text(text: str, secrets: Iterable[str]) -> str:
    """Replace each secret in a text by ``***``, the longest first.

    Example:
        >>> mask_text("cannot log in with hunter2", {"hunter2"})
        'cannot log in with ***'
    """
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, MASK)
    return text
