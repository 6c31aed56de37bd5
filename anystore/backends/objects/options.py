"""The names of options: what users of s3fs, gcsfs and adlfs call them, and the one name each has in here."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from anystore.backend_config import bool_option, check_options, count_option, number_option
from anystore.errors import InvalidOption

Kind = Literal["s3", "gcs", "azure"]

_EVERYWHERE = {
    "anon": "anon",
    "connect_timeout": "connect_timeout",
    "endpoint": "endpoint_url",
    "endpoint_url": "endpoint_url",
    "retries": "retries",
    "timeout": "timeout",
    "verify": "verify",
}
# A dot stands for each mapping that an option is in.
_NAMES: Mapping[Kind, Mapping[str, str]] = {
    "s3": _EVERYWHERE
    | {
        "client_kwargs.aws_access_key_id": "key",
        "client_kwargs.aws_secret_access_key": "secret",
        "client_kwargs.aws_session_token": "token",
        "client_kwargs.endpoint_url": "endpoint_url",
        "client_kwargs.region_name": "region",
        "client_kwargs.verify": "verify",
        "config_kwargs.connect_timeout": "connect_timeout",
        "config_kwargs.read_timeout": "timeout",
        "config_kwargs.region_name": "region",
        "config_kwargs.retries.max_attempts": "retries",
        "config_kwargs.s3.addressing_style": "addressing_style",
        "key": "key",
        "password": "secret",
        "profile": "profile",
        "region": "region",
        "requester_pays": "requester_pays",
        "s3_additional_kwargs.SSEKMSKeyId": "sse_kms_key_id",
        "s3_additional_kwargs.ServerSideEncryption": "server_side_encryption",
        "secret": "secret",
        "token": "token",
        "username": "key",
    },
    "gcs": _EVERYWHERE | {"project": "project", "token": "token"},
    "azure": _EVERYWHERE
    | {
        "account_host": "account_host",
        "account_key": "account_key",
        "account_name": "account_name",
        "client_id": "client_id",
        "client_secret": "client_secret",
        "connection_string": "connection_string",
        "credential": "credential",
        "password": "account_key",
        "sas_token": "sas_token",
        "tenant_id": "tenant_id",
        "username": "account_name",
    },
}
_FLAGS = frozenset({"anon", "requester_pays"})
_SECONDS = frozenset({"connect_timeout", "timeout"})
_MOST_RETRIES = 100


def rename_options(config: Mapping[str, Any], *, kind: Kind, uri: str) -> dict[str, Any]:
    """Give each option its one name, and a value of the right type.

    Args:
        config: Options under the names that users know; None is as good as not given.
        kind: The cloud.
        uri: The masked URI, for messages.

    Returns:
        The options.

    Raises:
        InvalidOption: If one is unknown, has the wrong type, or is given twice with different values.
    """
    names = _NAMES[kind]
    flat = {name: value for name, value in _flatten(config, names) if value is not None}
    check_options(flat, known=names, uri=uri)
    renamed: dict[str, Any] = {}
    for name in flat:
        value = _checked(flat, name, names[name], uri)
        if renamed.setdefault(names[name], value) != value:
            raise InvalidOption(f"{uri}: the option {name!r} is given twice, with different values; give it once")
    return renamed


def _flatten(config: Mapping[str, Any], names: Mapping[str, str], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in config.items():
        path = f"{above}{name}"
        if isinstance(value, Mapping) and any(known.startswith(path + ".") for known in names):
            yield from _flatten(value, names, path + ".")
        else:
            yield path, value


def _checked(config: Mapping[str, Any], given: str, name: str, uri: str) -> Any:
    value = config[given]
    if name in _FLAGS or (name == "verify" and not _is_path(value)):
        return bool_option(config, given, uri=uri)
    if name in _SECONDS:
        return number_option(config, given, 0, uri=uri, least=0.001)
    if name == "retries":
        return count_option(config, given, 0, uri=uri, least=0, most=_MOST_RETRIES)
    if not isinstance(value, str) and not (name == "token" and isinstance(value, Mapping)):
        raise InvalidOption(f"{uri}: the option {given!r} has to be a text")
    return value


def _is_path(value: object) -> bool:
    return isinstance(value, str) and value.lower() not in ("true", "1", "yes", "on", "false", "0", "no", "off")
