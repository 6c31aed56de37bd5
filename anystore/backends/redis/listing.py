"""Listing names by one pass of SCAN."""

from collections.abc import Iterator
from typing import Any

from redis.exceptions import NoPermissionError, ResponseError

from anystore.backends.redis.client import Client, Command
from anystore.backends.redis.names import glob_of, literal_glob_of
from anystore.errors import BackendError

_PAGE = 1000
_INFO: Command = (b"INFO", b"server")


def scan_pages(client: Client, head: bytes, *, prefix: str) -> Iterator[list[bytes]]:
    """List the names of strings that begin with something, page by page.

    Args:
        client: The server.
        head: What the names begin with.
        prefix: The folder that is listed, for messages.

    Yields:
        Names; one may come twice, when the server shrinks its table.

    Raises:
        BackendError: If the server is restarted, or another answers: a cursor is worth
            nothing there, and the listing would be silently short.
    """
    kvrocks = client.is_kvrocks(prefix)
    pattern = literal_glob_of(head) if kvrocks else glob_of(head)
    options: Command = (b"MATCH", pattern, b"COUNT", _PAGE) if head else (b"COUNT", _PAGE)
    if not kvrocks:
        options += (b"TYPE", b"string")
    cursor, run = b"0", None
    while True:
        info, page = client.ask_all("list", prefix, [_INFO, (b"SCAN", cursor, *options)], again=True)
        client.check("list", prefix, [page])
        run = _same_run(run, info, client, prefix)
        cursor, names = page
        yield [name for name in names if name.startswith(head)]
        if cursor == b"0":
            return


def measure(client: Client, names: list[bytes], *, prefix: str) -> Iterator[tuple[bytes, int, int]]:
    """Ask for the sizes of strings, a page in one go.

    Args:
        client: The server.
        names: Names; what is gone, or no string, is left out.
        prefix: The folder that is listed, for messages.

    Yields:
        The name, the size, and the milliseconds left or -1.
    """
    commands: list[Command] = []
    for name in names:
        commands += ((b"STRLEN", name), (b"PTTL", name))
    answers = iter(client.ask_all("list", prefix, commands, again=True) if commands else ())
    for name, size, left in zip(names, answers, answers, strict=True):
        if _is_string(size, client, prefix) and left != -2:  # noqa: PLR2004 - what PTTL says of a key that is not there
            yield name, size, left


def strings_among(client: Client, names: list[bytes], *, prefix: str) -> list[bytes]:
    """Leave out what is no string, where SCAN cannot; Kvrocks' STRLEN costs what its TYPE does."""
    sizes = client.ask_all("list", prefix, [(b"STRLEN", name) for name in names], again=True) if names else []
    return [name for name, size in zip(names, sizes, strict=True) if _is_string(size, client, prefix)]


def _is_string(size: Any, client: Client, prefix: str) -> bool:
    if isinstance(size, ResponseError) and not str(size).startswith("WRONGTYPE"):
        client.check("list", prefix, [size])
    return not isinstance(size, ResponseError)


def _same_run(run: bytes | None, info: Any, client: Client, prefix: str) -> bytes:
    """Check that the server is still the one that gave out the cursor, where it says which it is."""
    if isinstance(info, NoPermissionError):
        return b""
    client.check("list", prefix, [info])
    _, _, rest = info.partition(b"run_id:")
    current: bytes = rest.partition(b"\r\n")[0]
    if run is not None and run != current:
        raise BackendError(
            f"cannot list {prefix!r} in {client.address.uri}: the server was restarted, or another one "
            "answered; list again"
        )
    return current
