"""Loading, by name, what needs a library that may not be installed.

Heavy libraries are imported at the top of the one file that needs them; whoever
needs that file asks :func:`load`, which knows the extra that brings the library.
"""

from importlib import import_module
from types import ModuleType

from anystore.errors import MissingExtra

_DISTRIBUTION = "anystore-dagster"

_EXTRA_OF_LIBRARY = {
    "dagster": "dagster",
    "dagster_pipes": "pipes",
    "lxml": "http",
    "lz4": "compression",
    "obstore": "s3",
    "paramiko": "sftp",
    "protego": "http",
    "psycopg": "postgres",
    "pyarrow": "arrow",
    "pycurl": "http",
    "pymysql": "mysql",
    "redis": "redis",
    "rich": "cli",
    "selectolax": "http",
    "sqlalchemy": "sql",
    "typer": "cli",
    "webdav4": "webdav",
    "yaml": "yaml",
    "zstandard": "compression",
}


def load(module: str) -> ModuleType:
    """Import a module of ours that needs an extra.

    Args:
        module: Absolute name of the module, such as ``anystore.tables``.

    Returns:
        The module.

    Raises:
        MissingExtra: If a library it imports is not installed; the message holds
            the ``pip install`` line.

    Example:
        >>> load("anystore.keys").parse_key("a/b")
        'a/b'
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        library = (error.name or "").partition(".")[0]
        if library in ("", "anystore", "anystore_dagster"):
            raise
        raise missing(library, needed_by=module) from error


def missing(library: str, *, needed_by: str) -> MissingExtra:
    """Make the error for a library that is not installed.

    Args:
        library: Its import name.
        needed_by: What needs it: a module of ours, or a scheme such as ``s3://``.

    Returns:
        The error, with the line to type.
    """
    extra = _EXTRA_OF_LIBRARY.get(library)
    target = f"'{_DISTRIBUTION}[{extra}]'" if extra else library
    return MissingExtra(f"{needed_by} needs {library}, which is not installed; run: pip install {target}")
