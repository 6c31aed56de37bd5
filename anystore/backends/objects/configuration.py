"""Where a container of objects is, and how it is reached: from a URI, options and the environment."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

from anystore.backends.objects.clouds import Keys, read_azure, read_gcs, read_s3
from anystore.backends.objects.options import Kind, rename_options
from anystore.errors import InvalidKey, InvalidOption, InvalidUri
from anystore.keys import parse_prefix
from anystore.uris import StoreUri, collect_secrets, is_secret_name

CONNECT_TIMEOUT = 10.0
"""Seconds after which a service that is not there is given up, all attempts together."""

TIMEOUT = 120.0
"""Seconds that a service may keep silent."""

RETRIES = 3
"""How often a request is sent again after a cut connection, a 429 or a 5xx."""

_KINDS: Mapping[str, Kind] = {
    "s3": "s3",
    "s3a": "s3",
    "gs": "gcs",
    "gcs": "gcs",
    "az": "azure",
    "abfs": "azure",
    "abfss": "azure",
}
_READERS: Mapping[Kind, Callable[..., Any]] = {"s3": read_s3, "gcs": read_gcs, "azure": read_azure}
_VARIABLES: Mapping[Kind, str] = {"s3": "AWS_", "gcs": "GOOGLE_", "azure": "AZURE_"}
_SHORTEST_PART = 16


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
    keys: Keys | None = field(repr=False)
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
    container, location, in_uri = _read_location(uri, kind)
    root = _read_root(uri)
    given = rename_options(in_uri, kind=kind, uri=uri.masked) | rename_options(config, kind=kind, uri=uri.masked)
    access = _READERS[kind](given | {"container": container}, uri=uri.masked)
    if access.endpoint and urlsplit(access.endpoint).scheme not in ("http", "https"):
        raise InvalidOption(f"{uri.masked}: the option 'endpoint_url' has to begin with 'https://' or 'http://'")
    keys = frozenset(text for text in (access.keys or ())[1:] if text)
    secrets = (uri.secrets, collect_secrets(config), collect_secrets(given), collect_secrets(access.options), keys)
    return Configuration(
        kind=kind,
        container=container,
        root=root,
        uri=f"{uri.scheme}://{location}/{root}".rstrip("/"),
        endpoint=access.endpoint,
        options=access.options,
        client=_client_options(given, access.endpoint, uri.masked),
        retry=_retry_options(given),
        keys=access.keys,
        secrets=_spread(frozenset().union(*secrets, _environment_secrets(kind))),
    )


def _read_location(uri: StoreUri, kind: Kind) -> tuple[str, str, dict[str, Any]]:
    """Give the container, how it is written in the URI, and the options that stand there."""
    options: dict[str, Any] = dict(uri.query)
    if uri.port is not None:
        raise InvalidUri(f"{uri.masked}: a bucket has no port; give the service's address as the option 'endpoint_url'")
    if not uri.host:
        raise InvalidUri(f"{uri.masked} names no bucket: write it like '{uri.scheme}://bucket/folder'")
    if kind == "azure" and uri.username is not None and uri.password is None:
        account, _, domain = uri.host.partition(".")
        options["account_name"] = account
        if domain:
            options["account_host"] = f"{account}.{domain.replace('dfs.', 'blob.', 1)}"
        return uri.username, f"{uri.username}@{uri.host}", options
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


def _client_options(given: Mapping[str, Any], endpoint: str, uri: str) -> dict[str, Any]:
    # The time to connect is shared by the attempts, so that a service that is not there is noticed in time.
    attempts = given.get("retries", RETRIES) + 1
    client: dict[str, Any] = {
        "allow_http": endpoint.startswith("http://"),
        "connect_timeout": timedelta(seconds=0.9 * given.get("connect_timeout", CONNECT_TIMEOUT) / attempts),
        "read_timeout": timedelta(seconds=given.get("timeout", TIMEOUT)),
        # This one is for the whole request: a value that is read slowly would be cut after half a minute.
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
        "max_retries": given.get("retries", RETRIES),
        "retry_timeout": timedelta(minutes=3),
        "backoff": {"init_backoff": timedelta(seconds=0.1), "max_backoff": timedelta(seconds=5), "base": 2},
    }


def _environment_secrets(kind: Kind) -> frozenset[str]:
    """Find what obstore may read itself, and show in an error."""
    return frozenset(
        value
        for name, value in os.environ.items()
        if name.startswith(_VARIABLES[kind]) and is_secret_name(name) and not name.endswith(("_ID", "_FILE"))
    )


def _spread(secrets: frozenset[str]) -> frozenset[str]:
    """Add the parts of secrets that are put together, and what all look like in a URL."""
    values = {value for secret in secrets for _, value in parse_qsl(secret.lstrip("?"))}
    found = {text for text in secrets | {value for value in values if len(value) >= _SHORTEST_PART} if text}
    return frozenset(found | {quote(text, safe="", errors="replace") for text in found})
