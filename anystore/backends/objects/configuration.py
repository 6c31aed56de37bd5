"""The one place where names of options and of environment variables become obstore's.

Users know the names of s3fs, gcsfs and adlfs, and the variables of each cloud's own tools; obstore has names of its
own. What has no counterpart is refused by its name. Variables that obstore reads itself are read here only where it
would mix them with what was given.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qsl, quote, urlsplit

from anystore.backend import bool_option, check_options
from anystore.backends.objects.profiles import find_profile
from anystore.errors import InvalidKey, InvalidOption, InvalidUri
from anystore.keys import parse_prefix
from anystore.uris import StoreUri, collect_secrets, is_secret_name

Kind = Literal["s3", "gcs", "azure"]

_KINDS: Mapping[str, Kind] = {
    "s3": "s3",
    "s3a": "s3",
    "gs": "gcs",
    "gcs": "gcs",
    "az": "azure",
    "abfs": "azure",
    "abfss": "azure",
}
_EVERYWHERE = {
    "anon": "anon",
    "connect_timeout": "connect_timeout",
    "endpoint_url": "endpoint_url",
    "retries": "retries",
    "timeout": "timeout",
    "verify": "verify",
}
# What users call it, a dot for each mapping it stands in, and the one name it has from here on.
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
    "gcs": _EVERYWHERE | {"endpoint": "endpoint_url", "project": "project", "token": "token"},
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
_NUMBERS = frozenset({"connect_timeout", "timeout", "retries"})
_ENVIRONMENT_OF = {"s3": ("AWS_",), "gcs": ("GOOGLE_",), "azure": ("AZURE_",)}

CONNECT_TIMEOUT = 10.0
"""Seconds after which a service that is not there is given up, all attempts together."""

TIMEOUT = 120.0
"""Seconds that a service may keep silent."""

RETRIES = 3
"""How often a request is sent again after a cut connection, a 429 or a 5xx."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """Where a container of objects is, and how it is reached.

    Attributes:
        kind: The cloud whose language is spoken.
        container: The bucket or container.
        root: The folder in which keys begin: ``""``, or ending in ``/``.
        uri: Where it is, with secrets masked.
        endpoint: URL of the service, or ``""`` for the cloud's own.
        options: What obstore's constructor is given.
        client: Its HTTP options.
        retry: Its options for retries.
        keys: Access key, secret and session token of S3, if they were given; kept apart, since obstore would mix
            them with a session token from the environment.
        secrets: Every text that must not be shown.
    """

    kind: Kind
    container: str
    root: str
    uri: str
    endpoint: str
    options: Mapping[str, Any] = field(repr=False)
    client: Mapping[str, Any] = field(repr=False)
    retry: Mapping[str, Any] = field(repr=False)
    keys: tuple[str, str, str | None] | None = field(repr=False)
    secrets: frozenset[str] = field(repr=False)


def read_configuration(uri: StoreUri, config: Mapping[str, Any]) -> Configuration:
    """Make a configuration of a URI, the options and the environment.

    Args:
        uri: ``s3://bucket/folder``, ``gs://…``, ``az://container/folder`` or
            ``abfs://container@account.dfs.core.windows.net/folder``; its name, password and query are options, too.
        config: The options; they win over those in the URI.

    Returns:
        The configuration.

    Raises:
        InvalidUri: If the URI names no container, or its path is no folder of keys.
        InvalidOption: If an option is unknown, not what it can be, or given twice.
    """
    kind = _KINDS[uri.scheme]
    container, location, from_uri = _read_location(uri, kind)
    given = _rename(from_uri, kind, uri.masked) | _rename(config, kind, uri.masked)
    secrets = uri.secrets | collect_secrets(config) | collect_secrets(given) | _environment_secrets(kind)
    given, options, keys = _READERS[kind](given, container, uri.masked)
    endpoint = str(given.get("endpoint_url") or "").rstrip("/")
    if endpoint and urlsplit(endpoint).scheme not in ("http", "https"):
        raise InvalidOption(f"{uri.masked}: the option 'endpoint_url' has to begin with 'https://' or 'http://'")
    found = frozenset(text for text in (keys or ())[1:] if text) | collect_secrets(options)
    root = _read_root(uri)
    return Configuration(
        kind=kind,
        container=container,
        root=root,
        uri=f"{uri.scheme}://{location}/{root}".rstrip("/"),
        endpoint=endpoint,
        options=options,
        client=_client_options(given, endpoint, uri.masked),
        retry=_retry_options(given),
        keys=keys,
        secrets=_spread(secrets | found),
    )


# -- the URI --------------------------------------------------------------------


def _read_location(uri: StoreUri, kind: Kind) -> tuple[str, str, dict[str, Any]]:
    """Give the container, how it is written in the URI, and the options in the URI."""
    options: dict[str, Any] = dict(uri.query)
    if uri.port is not None:
        raise InvalidUri(f"{uri.masked}: a bucket has no port; give the service's address as the option 'endpoint_url'")
    if not uri.host:
        raise InvalidUri(f"{uri.masked} names no bucket: write it like '{uri.scheme}://bucket/folder'")
    if kind == "azure" and uri.username is not None and uri.password is None:
        account, _, domain = uri.host.partition(".")
        if domain:
            options["account_host"] = f"{account}.{domain.replace('dfs.', 'blob.', 1)}"
        return uri.username, f"{uri.username}@{uri.host}", options | {"account_name": account}
    if uri.username is not None:
        options["username"] = uri.username
    if uri.password is not None:
        options["password"] = uri.password
    return uri.host, uri.host, options


def _read_root(uri: StoreUri) -> str:
    try:
        return parse_prefix(uri.path.removeprefix("/"))
    except InvalidKey as error:
        raise InvalidUri(f"{uri.masked}: the path is no folder of keys: {error}") from None


# -- names ----------------------------------------------------------------------


def _rename(config: Mapping[str, Any], kind: Kind, uri: str) -> dict[str, Any]:
    """Give each option its one name, and a value of the right type."""
    names = _NAMES[kind]
    flat = {name: value for name, value in _flatten(config, names) if value is not None}
    check_options(flat, known=names, uri=uri)
    renamed: dict[str, Any] = {}
    for name, raw in flat.items():
        value = _checked(flat, name, names[name], uri)
        if renamed.setdefault(names[name], value) != value:
            raise InvalidOption(f"{uri}: the option {name!r} is given twice, with different values; give it once")
        del raw
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
    if name in _FLAGS:
        return bool_option(config, given, uri=uri)
    if name in _NUMBERS:
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = -1.0
        if isinstance(value, bool) or number < 0 or number == float("inf") or (name != "retries" and not number):
            raise InvalidOption(f"{uri}: the option {given!r} has to be a number that is not negative")
        return number
    if name == "verify":
        return value if isinstance(value, str) and not _is_flag(value) else bool_option(config, given, uri=uri)
    if not isinstance(value, str) and not (name == "token" and isinstance(value, Mapping)):
        raise InvalidOption(f"{uri}: the option {given!r} has to be a text")
    return value


def _is_flag(text: str) -> bool:
    return text.lower() in ("true", "1", "yes", "on", "false", "0", "no", "off")


# -- what all clouds have ---------------------------------------------------------


def _client_options(given: Mapping[str, Any], endpoint: str, uri: str) -> dict[str, Any]:
    retries = given.get("retries", RETRIES)
    # The time to connect is shared by the attempts, so that a service that is not there is noticed in time.
    attempt = 0.9 * given.get("connect_timeout", CONNECT_TIMEOUT) / (retries + 1)
    client: dict[str, Any] = {
        "allow_http": endpoint.startswith("http://"),
        "connect_timeout": timedelta(seconds=attempt),
        "read_timeout": timedelta(seconds=given.get("timeout", TIMEOUT)),
        # This one ends a request that goes on: a value read slowly would be cut after half a minute.
        "timeout": timedelta(days=30),
    }
    verify = given.get("verify", True)
    if verify is False:
        client["allow_invalid_certificates"] = True
    elif isinstance(verify, str):
        try:
            client["root_certificate"] = Path(verify).read_bytes()
        except OSError as error:
            raise InvalidOption(f"{uri}: the option 'verify' names no file that can be read: {error}") from error
    return client


def _retry_options(given: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "max_retries": int(given.get("retries", RETRIES)),
        "retry_timeout": timedelta(minutes=3),
        "backoff": {"init_backoff": timedelta(seconds=0.1), "max_backoff": timedelta(seconds=5), "base": 2},
    }


def _environment_secrets(kind: Kind) -> frozenset[str]:
    return frozenset(
        value
        for name, value in os.environ.items()
        if value and name.startswith(_ENVIRONMENT_OF[kind]) and is_secret_name(name) and not name.endswith("_ID")
    )


def _spread(secrets: frozenset[str]) -> frozenset[str]:
    """Add the parts of secrets that are put together, and what they look like in a URL."""
    parts = {part for secret in secrets for _, part in parse_qsl(secret.lstrip("?")) if len(part) > 16}  # noqa: PLR2004
    found = {text for text in secrets | parts if text}
    return frozenset(found | {quote(text, safe="") for text in found})


# -- one reader for each cloud -----------------------------------------------------

_Read = tuple[dict[str, Any], dict[str, Any], tuple[str, str, str | None] | None]


def _read_s3(given: dict[str, Any], container: str, uri: str) -> _Read:
    """Read the options of S3, the variables of its tools, and the files of profiles."""
    keys = _s3_keys(given, uri)
    environment = os.environ
    if keys is None and not given.get("anon") and ("profile" in given or not _s3_environment_has_keys()):
        name = given.get("profile") or environment.get("AWS_PROFILE") or environment.get("AWS_DEFAULT_PROFILE")
        profile = find_profile(name, uri=uri)
        keys = profile.keys
        given = {"region": profile.region, "endpoint_url": profile.endpoint_url} | given
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"):
        if not given.get("endpoint_url") and environment.get(name):
            given = given | {"endpoint_url": environment[name]}
    options: dict[str, Any] = {}
    if given.get("region") and not (given["region"] and "region" not in given):
        options["region"] = given["region"]
    for name in ("server_side_encryption", "sse_kms_key_id"):
        if name in given:
            options[name] = given[name]
    if given.get("anon"):
        options["skip_signature"] = True
    if given.get("requester_pays"):
        options["request_payer"] = True
    endpoint = given.get("endpoint_url")
    style = given.get("addressing_style", "auto")
    if style not in ("auto", "path", "virtual"):
        raise InvalidOption(f"{uri}: the option 'addressing_style' has to be 'auto', 'path' or 'virtual'")
    if style == "virtual":
        options["virtual_hosted_style_request"] = True
        endpoint = endpoint and endpoint.replace("://", f"://{container}.", 1)
    if endpoint:  # under both names: in the environment, the second would win over what was given
        options["endpoint"] = options["aws_endpoint_url_s3"] = endpoint.rstrip("/")
    return given, options, keys
