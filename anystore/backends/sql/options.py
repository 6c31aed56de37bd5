"""What a SQL store's URI and ``backend_config`` say, checked and in one place."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import URL

from anystore.backend_config import bool_option, check_options, count_option, number_option, text_option
from anystore.backends.sql.silence import TIMED_DRIVERS
from anystore.errors import InvalidOption, InvalidUri
from anystore.uris import StoreUri

DEFAULT_DRIVERS = {
    "sqlite": "sqlite",
    "postgresql": "postgresql+psycopg",
    "postgres": "postgresql+psycopg",
    # SQLAlchemy's dialect of this name tells MariaDB and MySQL apart by itself
    "mysql": "mysql+pymysql",
    "mariadb": "mysql+pymysql",
}
"""The driver of a URI that names none."""

_COMMON = ("table", "chunk_size", "engine_kwargs")
_FILE = ("durable", "busy_timeout")
_SERVER = ("username", "password", "pool_size", "pool_timeout", "connect_timeout", "timeout")
_FILE_OPTIONS = {"timeout", "cached_statements"}
# Two more tables are named after it, and PostgreSQL keeps 63 bytes of a name.
_TABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,47}")
# What an engine must not be told: each would undo a promise of the store.
_OURS = {
    "isolation_level": "every statement is its own transaction here",
    "execution_options": "every statement is its own transaction here",
    "paramstyle": "statements are compiled for the driver's own",
    "pool_reset_on_return": "no connection is given back inside a transaction",
}


@dataclass(frozen=True, slots=True)
class Options:
    """How a SQL store is set up.

    Attributes:
        table: Name of the table; the two beside it are called after it.
        chunk_size: Length of the longest value that is kept in its row, and of the chunks of longer ones.
        durable: SQLite only: sync the disk at each commit, so that a power cut loses none.
        busy_timeout: SQLite only: seconds to wait for another process that writes.
        username: In place of the URI's.
        password: In place of the URI's.
        pool_size: How many connections a process has at most.
        pool_timeout: Seconds to wait for one of them.
        connect_timeout: Seconds to wait for the server when a connection is opened.
        timeout: Seconds to wait for a server that says nothing; only psycopg and PyMySQL can be told.
        engine_kwargs: More arguments for :func:`sqlalchemy.create_engine`.
    """

    table: str = "anystore"
    chunk_size: int = 256 << 10
    durable: bool = False
    busy_timeout: float = 30.0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    pool_size: int = 10
    pool_timeout: float = 30.0
    connect_timeout: int = 10
    timeout: float = 60.0
    engine_kwargs: Mapping[str, Any] = field(default_factory=dict, repr=False)


def is_sqlite(uri: StoreUri) -> bool:
    """Tell whether the store is a file, or in memory."""
    return uri.scheme.partition("+")[0] == "sqlite"


def parse_options(config: Mapping[str, Any], uri: StoreUri) -> Options:
    """Check a ``backend_config``.

    Args:
        config: The options; numbers and flags may come as text, from the environment.
        uri: The store's URI, which decides what there is to set.

    Returns:
        The options.

    Raises:
        InvalidOption: If one is unknown, or is not what it can be.
    """
    shown = uri.masked
    check_options(config, known=_COMMON + (_FILE if is_sqlite(uri) else _SERVER), uri=shown)
    default = Options()
    table = config.get("table", default.table)
    if not isinstance(table, str) or not _TABLE.fullmatch(table):
        raise InvalidOption(
            f"{shown}: the table {table!r} is no identifier: up to 48 of A-Z, a-z, 0-9 and _, and no digit in front"
        )
    return Options(
        table=table,
        chunk_size=count_option(config, "chunk_size", default.chunk_size, uri=shown, least=1 << 10, most=8 << 20),
        durable="durable" in config and bool_option(config, "durable", uri=shown),
        busy_timeout=number_option(config, "busy_timeout", default.busy_timeout, uri=shown, least=0),
        username=text_option(config, "username", uri=shown),
        password=text_option(config, "password", uri=shown),
        pool_size=count_option(config, "pool_size", default.pool_size, uri=shown, least=1),
        pool_timeout=number_option(config, "pool_timeout", default.pool_timeout, uri=shown, least=0),
        connect_timeout=count_option(config, "connect_timeout", default.connect_timeout, uri=shown, least=1),
        timeout=_timeout(config, uri),
        engine_kwargs=_engine_kwargs(config, shown),
    )


def _timeout(config: Mapping[str, Any], uri: StoreUri) -> float:
    driver = DEFAULT_DRIVERS.get(uri.scheme, uri.scheme).rpartition("+")[2]
    if "timeout" in config and driver not in TIMED_DRIVERS:
        raise InvalidOption(f"{uri.masked}: the driver {driver!r} takes no 'timeout' from here; {_instead(driver)}")
    return number_option(config, "timeout", Options().timeout, uri=uri.masked, least=0.001)


def _instead(driver: str) -> str:
    """Say what else there is for a driver that cannot wait for a limited time only."""
    if driver == "psycopg2":
        return (
            "write 'postgresql://', whose driver can, or have the server end long statements: "
            "engine_kwargs={'connect_args': {'options': '-c statement_timeout=60s'}}"
        )
    return "give it its own by engine_kwargs, as in {'connect_args': {…}}"


def _engine_kwargs(config: Mapping[str, Any], uri: str) -> Mapping[str, Any]:
    given = config.get("engine_kwargs", {})
    if not isinstance(given, Mapping) or not isinstance(given.get("connect_args", {}), Mapping):
        raise InvalidOption(f"{uri}: engine_kwargs, and connect_args in it, have to be mappings of names to values")
    for name, reason in _OURS.items():
        if name in given:
            raise InvalidOption(f"{uri}: engine_kwargs must not set {name!r}: {reason}")
    return dict(given)


def engine_url(uri: StoreUri, options: Options) -> URL:
    """Make the URL that SQLAlchemy takes.

    Args:
        uri: The store's URI.
        options: Its options; their username and password replace the URI's.

    Returns:
        The URL.

    Raises:
        InvalidUri: If the URI does not say which database.
    """
    driver = DEFAULT_DRIVERS.get(uri.scheme, uri.scheme)
    database = _file_of(uri) if is_sqlite(uri) else _database_of(uri)
    return URL.create(
        driver.replace("postgres+", "postgresql+", 1) if driver.startswith("postgres+") else driver,
        username=uri.username if options.username is None else options.username,
        password=uri.password if options.password is None else options.password,
        host=uri.host.strip("[]") or None,
        port=uri.port,
        database=database,
        query=dict(uri.query),
    )


def anchor(uri: StoreUri) -> StoreUri:
    """Make the path of SQLite's file absolute, so that it is the same file wherever the store is used."""
    if is_sqlite(uri) and uri.host == ":memory" and not uri.path:  # sqlite://:memory:, as host and port
        return replace(uri, host="")
    name = uri.path[1:]
    if not is_sqlite(uri) or uri.host or not name or name == ":memory:" or name.startswith("file:"):
        return uri
    return replace(uri, path="/" + os.path.abspath(name))  # noqa: PTH100 - resolves no symlink, as SQLite does not


def _file_of(uri: StoreUri) -> str | None:
    """Give the path of SQLite's file; None is memory."""
    if uri.host or uri.port is not None:
        name = f"{uri.host}{uri.path}"
        raise InvalidUri(
            f"{uri.masked} has a host; write 'sqlite:///{name}' for a file, and four '/' if it is absolute"
        )
    name = uri.path[1:]
    if uri.path == "/":
        raise InvalidUri(f"{uri.masked} names no file; write 'sqlite:///name.db', or 'sqlite://' for memory")
    _check_file_options(uri, name)
    return None if name in ("", ":memory:") else name


def _check_file_options(uri: StoreUri, name: str) -> None:
    """Refuse what SQLAlchemy and SQLite would drop in silence, above all ``mode=ro``."""
    if name.startswith("file:") != ("uri" in uri.query):
        raise InvalidUri(f"{uri.masked}: SQLite's own URIs are written 'sqlite:///file:name.db?mode=ro&uri=true'")
    if "uri" in uri.query and (":memory:" in name or uri.query.get("mode") == "memory"):
        raise InvalidUri(f"{uri.masked} is memory by another name; write 'sqlite://'")
    unknown = sorted(set(uri.query) - _FILE_OPTIONS)
    if unknown and "uri" not in uri.query:
        raise InvalidUri(
            f"{uri.masked} has an option {unknown[0]!r} that a file does not take; to only read, pass readonly=True, "
            "or write 'sqlite:///file:name.db?mode=ro&uri=true'"
        )


def _database_of(uri: StoreUri) -> str | None:
    name = uri.path[1:]
    if "/" in name:
        raise InvalidUri(f"{uri.masked} names more than a database; for a folder in it use store.under(…)")
    if not name and not uri.scheme.startswith("postgres"):  # whose client has a default
        raise InvalidUri(f"{uri.masked} names no database; write '{uri.scheme}://user@host/database'")
    return name or None
