"""What a failure of the client library or of the server means for the caller."""

from redis import exceptions

from anystore.backends.redis.address import Address
from anystore.errors import AnystoreError, BackendError, ReadOnlyError, Unsupported
from anystore.uris import mask_text

DRIVER_ERRORS = (
    exceptions.RedisError,
    exceptions.ChildDeadlockedError,
    exceptions.RedisClusterException,
    exceptions.IncorrectPolicyType,
)
"""Every base of the errors that redis-py raises."""

CONNECT_ERRORS = (*DRIVER_ERRORS, OSError, UnicodeError)
"""What connecting can raise besides; UnicodeError comes from names that cannot be those of hosts."""

_CLUSTER = (
    exceptions.ClusterError,
    exceptions.AskError,
    exceptions.TryAgainError,
    exceptions.ClusterCrossSlotError,
    exceptions.RedisClusterException,
)
_READING = ("read", "list", "look at")


def explain(error: BaseException, address: Address, *, verb: str, key: str) -> AnystoreError:
    """Make our error out of one of the driver's.

    Args:
        error: What was raised.
        address: The server.
        verb: What was to be done, such as ``read``.
        key: The key, or the prefix, it was to be done to.

    Returns:
        The error to raise. Its cause is the driver's error, unless the text of that one
        holds a secret.
    """
    kind, reason = _judge(error, address, writing=verb not in _READING)
    said = mask_text(str(error), address.secrets)
    ours = kind(f"cannot {verb} {key!r} in {address.uri}: {reason} (the driver said: {type(error).__name__}: {said})")
    if said == str(error):
        ours.__cause__ = error
    return ours


def _judge(error: BaseException, address: Address, *, writing: bool) -> tuple[type[AnystoreError], str]:
    refused: type[AnystoreError] = ReadOnlyError if writing else BackendError
    if isinstance(error, exceptions.AuthenticationError | exceptions.AuthenticationWrongNumberOfArgsError):
        return BackendError, "the server refused the login; check username and password in backend_config or the URI"
    if isinstance(error, exceptions.NoPermissionError | exceptions.AuthorizationError):
        return refused, "the user is not permitted to do this; ask for the right to the command and the key"
    if isinstance(error, exceptions.ReadOnlyError):
        return ReadOnlyError, "the server is a replica that only reads; use the URI of its primary"
    if isinstance(error, exceptions.OutOfMemoryError):
        return BackendError, "the server's memory is full (maxmemory), and nothing was written; delete values"
    if isinstance(error, exceptions.BusyLoadingError):
        return BackendError, "the server is still loading its data; try again"
    if isinstance(error, _CLUSTER):
        return BackendError, "the server is a node of a cluster, which is not supported; use a server of its own"
    if isinstance(error, exceptions.TimeoutError):
        return BackendError, f"no answer in time; {_reach(address)}"
    if isinstance(error, exceptions.ConnectionError | OSError | UnicodeError):
        return BackendError, f"the server cannot be reached; {_reach(address)}"
    if isinstance(error, exceptions.ResponseError):
        return _judge_answer(str(error), address, refused=refused)
    return BackendError, "the driver failed"


def _judge_answer(text: str, address: Address, *, refused: type[AnystoreError]) -> tuple[type[AnystoreError], str]:
    """Tell answers apart that have no class of their own."""
    if "WRONGTYPE" in text:  # Kvrocks says something before it
        return BackendError, "the key holds a hash, a list or the like, which is not ours; values are plain strings"
    if "DB index" in text:
        return BackendError, f"the server has no database number {address.db}; the first is 0"
    if "exceeds maximum allowed size" in text or "invalid bulk length" in text:
        return Unsupported, "the value is longer than a string of this server can be; keep it in a folder or a bucket"
    if "can't run this command" in text or "can't access" in text:
        return refused, "the user is not permitted to do this; ask for the right to the command and the key"
    if text.startswith("MISCONF") or "NOREPLICAS" in text:
        return BackendError, "the server does not take writes now; look at its log"
    return BackendError, "the server refused the command"


def _reach(address: Address) -> str:
    place = address.socket or f"{address.host}:{address.port}"
    scheme = "one without TLS wants 'redis://'" if address.tls else "one with TLS wants 'rediss://'"
    return f"check that it runs at {place}; {scheme}"
