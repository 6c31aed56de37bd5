"""Where a server is and how it is reached: a URI and ``backend_config``, checked."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from anystore.backend_config import check_options, count_option, number_option, text_option
from anystore.errors import InvalidKey, InvalidOption, InvalidUri
from anystore.keys import parse_prefix
from anystore.uris import StoreUri, collect_secrets

TLS_SCHEMES = ("rediss", "valkeys")
SCHEMES = ("redis", "valkey", "unix", *TLS_SCHEMES)

_TEXTS = ("username", "password", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs")
_NUMBERS = ("socket_timeout", "socket_connect_timeout", "max_connections")
_OPTIONS = (*_TEXTS, *_NUMBERS)
_TIMEOUT, _CONNECT_TIMEOUT, _MAX_CONNECTIONS = 30.0, 5.0, 32
_SHOWN = "redis://host:6379/0/prefix' or 'unix:///run/redis.sock?db=0&prefix=name"


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A server, and how it is reached.

    Attributes:
        uri: The store's URI, masked; for messages.
        host: Name or number of the server.
        port: Its port.
        socket: Path of its Unix socket, in place of host and port.
        db: Number of the database.
        username: Name to log in with, or None.
        password: Password to log in with, or None; not in the repr.
        tls: Whether the connection is encrypted.
        ca_file: File with the certificates to trust, in place of the system's.
        certificate_file: File with a certificate of our own.
        key_file: File with its key.
        verify: Whether the server's certificate and name are checked.
        timeout: Seconds to wait for an answer, and for a free connection.
        connect_timeout: Seconds to wait for a connection.
        max_connections: How many connections a process opens, those of open readers aside.
        secrets: Texts that must not be shown; not in the repr.
    """

    uri: str
    host: str = "localhost"
    port: int = 6379
    socket: str | None = None
    db: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: bool = False
    ca_file: str | None = None
    certificate_file: str | None = None
    key_file: str | None = None
    verify: bool = True
    timeout: float = _TIMEOUT
    connect_timeout: float = _CONNECT_TIMEOUT
    max_connections: int = _MAX_CONNECTIONS
    secrets: frozenset[str] = field(default=frozenset(), repr=False)


def parse_address(uri: StoreUri, config: Mapping[str, Any]) -> tuple[Address, str]:
    """Read a URI and its options.

    Args:
        uri: Of one of the schemes above.
        config: ``backend_config``; its options may also stand in the URI behind ``?``.

    Returns:
        The address, and the folder of the server's keys that is the store: ``""`` or ending in ``/``.

    Raises:
        InvalidUri: If the URI names no server and database.
        InvalidOption: If an option is unknown, or not what it can be.
    """
    if uri.scheme not in SCHEMES or "," in uri.host or "cluster" in uri.query:
        raise InvalidUri(
            f"{uri.masked} is a cluster or no Redis URI; clusters are not supported: name one server like '{_SHOWN}'"
        )
    check_options(config, known=_OPTIONS, uri=uri.masked)
    places = {name: value for name, value in uri.query.items() if name in ("db", "prefix")}
    options = {name: value for name, value in uri.query.items() if name not in places}
    unknown = sorted(set(options) - set(_OPTIONS))
    if unknown:
        raise InvalidUri(f"{uri.masked} has an option {unknown[0]!r}; it takes: db, prefix, {', '.join(_OPTIONS)}")
    options |= config
    db, prefix = _place(uri, places)
    tls = uri.scheme in TLS_SCHEMES
    misplaced = sorted(name for name in options if name.startswith("ssl_") and not tls)
    if misplaced:
        raise InvalidOption(f"{uri.masked}: {misplaced[0]!r} needs an encrypted scheme; write 'rediss://…'")
    unix = uri.scheme == "unix"
    if unix and (uri.host or uri.port is not None or not uri.path.strip("/")):
        raise InvalidUri(f"{uri.masked} names no socket; write it like '{_SHOWN}'")
    address = Address(
        uri=uri.masked,
        host=uri.host.strip("[]") or "localhost",
        port=6379 if uri.port is None else uri.port,
        socket=unquote(uri.path) if unix else None,
        db=db,
        username=text_option(options, "username", uri=uri.masked) or uri.username or None,
        password=text_option(options, "password", uri=uri.masked) or uri.password or None,
        tls=tls,
        ca_file=text_option(options, "ssl_ca_certs", uri=uri.masked),
        certificate_file=text_option(options, "ssl_certfile", uri=uri.masked),
        key_file=text_option(options, "ssl_keyfile", uri=uri.masked),
        verify=_verify(options, uri),
        timeout=number_option(options, "socket_timeout", _TIMEOUT, uri=uri.masked, least=0.001),
        connect_timeout=number_option(options, "socket_connect_timeout", _CONNECT_TIMEOUT, uri=uri.masked, least=0.001),
        max_connections=count_option(options, "max_connections", _MAX_CONNECTIONS, uri=uri.masked, least=1),
        secrets=uri.secrets | collect_secrets(config),
    )
    return address, prefix


def _place(uri: StoreUri, options: Mapping[str, str]) -> tuple[int, str]:
    """Find the database and the prefix, in the path or behind ``?``."""
    number, prefix = "", ""
    if uri.scheme != "unix":
        number, _, prefix = uri.path.removeprefix("/").partition("/")
        prefix = unquote(prefix)
    if (number and "db" in options) or (prefix and "prefix" in options):
        raise InvalidUri(f"{uri.masked} names its database or prefix twice; write it like '{_SHOWN}'")
    if prefix and not number:
        raise InvalidUri(f"{uri.masked} has a prefix and no database; write it like '{_SHOWN}'")
    number = options.get("db", number) or "0"
    if not (number.isascii() and number.isdecimal()):
        raise InvalidUri(f"{uri.masked} has a database that is no number; write it like '{_SHOWN}'")
    try:
        return int(number), parse_prefix(options.get("prefix", prefix))
    except InvalidKey as error:
        raise InvalidUri(f"{uri.masked} has no folder of keys as its prefix: {error}") from error


def _verify(options: Mapping[str, object], uri: StoreUri) -> bool:
    value = options.get("ssl_cert_reqs", "required")
    if value not in ("required", "none"):
        raise InvalidOption(f"{uri.masked}: the option 'ssl_cert_reqs' has to be 'required' or 'none'")
    return value == "required"
