"""What each cloud's options and environment variables are to obstore.

obstore reads the environment, too. What it would mix with options that were given is read here instead.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from anystore.backends.objects.profiles import find_profile
from anystore.errors import InvalidOption

Keys = tuple[str, str, str | None]


@dataclass(frozen=True, slots=True)
class Access:
    """How a container is reached.

    Attributes:
        endpoint: URL of the service, or ``""`` for the cloud's own.
        options: What obstore's constructor is given.
        keys: Access key, secret and session token, apart from the options.
    """

    endpoint: str = ""
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    keys: Keys | None = field(default=None, repr=False)


def read_s3(given: Mapping[str, Any], *, uri: str) -> Access:
    """Read the options of S3, the variables of its tools, and the files of profiles.

    Args:
        given: The options, under the names they have in here; the ``container``, too.
        uri: The masked URI, for messages.

    Returns:
        How the bucket is reached.

    Raises:
        InvalidOption: If the options do not go together, or a profile cannot be used.
    """
    env = os.environ
    keys, region, endpoint = _given_keys(given, uri), given.get("region"), given.get("endpoint_url")
    # Keys in the environment win over a profile that only the environment names, as with the AWS tools.
    if keys is None and not given.get("anon") and ("profile" in given or not _has_credentials(env)):
        named = given.get("profile") or env.get("AWS_PROFILE") or env.get("AWS_DEFAULT_PROFILE")
        profile = find_profile(named, uri=uri)
        keys = profile.keys
        if not (env.get("AWS_REGION") or env.get("AWS_DEFAULT_REGION")):
            region = region or profile.region
        endpoint = endpoint or _from_environment(_S3_ENDPOINTS) or profile.endpoint_url
    endpoint = endpoint or _from_environment(_S3_ENDPOINTS) or ""
    style = given.get("addressing_style", "auto")
    if style not in ("auto", "path", "virtual"):
        raise InvalidOption(f"{uri}: the option 'addressing_style' has to be 'auto', 'path' or 'virtual'")
    if style == "virtual":
        endpoint = endpoint.replace("://", f"://{given['container']}.", 1)
    options = {
        "region": region,
        "skip_signature": given.get("anon"),
        "request_payer": given.get("requester_pays"),
        "server_side_encryption": given.get("server_side_encryption"),
        "sse_kms_key_id": given.get("sse_kms_key_id"),
        "virtual_hosted_style_request": style == "virtual",
        # under both names: in the environment, the second would win over what was given
        "endpoint": endpoint.rstrip("/"),
        "aws_endpoint_url_s3": endpoint.rstrip("/"),
    }
    return Access(endpoint, {name: value for name, value in options.items() if value}, keys)


_S3_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")


def _from_environment(names: tuple[str, ...]) -> str | None:
    return next((os.environ[name] for name in names if os.environ.get(name)), None)


def _given_keys(given: Mapping[str, Any], uri: str) -> Keys | None:
    key, secret, token = given.get("key"), given.get("secret"), given.get("token")
    if isinstance(token, Mapping):
        raise InvalidOption(f"{uri}: the option 'token' has to be a text")
    if key is None and secret is None and token is None:
        return None
    if not key or not secret:
        raise InvalidOption(f"{uri}: give both 'key' and 'secret', with 'token' for temporary ones, or none of them")
    if given.get("anon") or given.get("profile"):
        raise InvalidOption(f"{uri}: give either 'key' and 'secret', or 'profile', or 'anon'")
    return key, secret, token


def _has_credentials(env: Mapping[str, str]) -> bool:
    """Tell whether obstore will find credentials in the environment."""
    names = ("AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
    return any(env.get(name) for name in (*names, "AWS_CONTAINER_CREDENTIALS_FULL_URI"))


def read_gcs(given: Mapping[str, Any], *, uri: str) -> Access:
    """Read the options of Google Cloud Storage and the variables of its tools.

    ``project`` is taken for the sake of those who give it to every tool: it says where buckets are made and
    billed, and a store never makes one.

    Args:
        given: The options, under the names they have in here.
        uri: The masked URI, for messages.

    Returns:
        How the bucket is reached.

    Raises:
        InvalidOption: If the token is of a kind that cannot be used.
    """
    endpoint = given.get("endpoint_url") or os.environ.get("STORAGE_EMULATOR_HOST") or ""
    endpoint = (endpoint if "://" in endpoint or not endpoint else f"http://{endpoint}").rstrip("/")
    token = given.get("token")
    anonymous = given.get("anon") or token == "anon"  # noqa: S105 - a word of gcsfs
    if given.get("anon") and token not in (None, "anon"):
        raise InvalidOption(f"{uri}: give either 'token' or 'anon'")
    if anonymous and endpoint:
        # Unlike `skip_signature`, this is asked for no token by a delete either.
        account = {"gcs_base_url": endpoint, "disable_oauth": True, "client_email": "", "private_key": ""}
        return Access(endpoint, {"service_account_key": json.dumps(account | {"private_key_id": ""})})
    options: dict[str, Any] = {"base_url": endpoint} if endpoint else {}
    if anonymous:
        return Access(endpoint, options | {"skip_signature": True})
    if isinstance(token, Mapping):
        if token.get("type", "service_account") != "service_account":
            raise InvalidOption(f"{uri}: the option 'token' holds no service account; give the path of its file")
        return Access(endpoint, options | {"service_account_key": json.dumps(dict(token))})
    if token in ("browser", "cache"):
        raise InvalidOption(f"{uri}: the option 'token' cannot be {token!r} here; open 'fsspec+gs://…' for that")
    if token in (None, "cloud", "google_default"):  # what obstore does by itself
        return Access(endpoint, options)
    if Path(token).expanduser().is_file():
        return Access(endpoint, options | {"application_credentials": str(Path(token).expanduser())})
    if token.endswith(".json") or "/" in token:
        raise InvalidOption(f"{uri}: the option 'token' names a file that does not exist")
    return Access(endpoint, options | {"bearer_token": token})


def read_azure(given: Mapping[str, Any], *, uri: str) -> Access:
    """Read the options of Azure's blob storage and the variables of its tools.

    Args:
        given: The options, under the names they have in here.
        uri: The masked URI, for messages.

    Returns:
        How the container is reached.

    Raises:
        InvalidOption: If no account is named, or the options do not go together.
    """
    text = given.get("connection_string")
    if text is None and not {"account_name", "account_key", "sas_token", "credential", "anon"} & set(given):
        text = os.environ.get("AZURE_STORAGE_CONNECTION_STRING")
    merged = dict(given)
    for name, value in _parse_connection_string(text or "", uri).items():
        if merged.setdefault(name, value) != value:
            raise InvalidOption(f"{uri}: the option {name!r} is given beside 'connection_string', and differs from it")
    credential = merged.get("credential")
    if credential:  # adlfs takes a key or a shared access signature by this name
        merged["sas_token" if "sig=" in credential else "account_key"] = credential
    account = merged.get("account_name") or os.environ.get("AZURE_STORAGE_ACCOUNT_NAME")
    if not account:
        raise InvalidOption(f"{uri}: name the storage account by the option 'account_name' or 'connection_string'")
    host = merged.get("account_host")
    endpoint = merged.get("endpoint_url") or (f"https://{host}" if host else "")
    options = {"account_name": account, "endpoint": endpoint.rstrip("/"), **_azure_credential(merged, uri)}
    return Access(endpoint, {name: value for name, value in options.items() if value})


def _azure_credential(given: Mapping[str, Any], uri: str) -> dict[str, Any]:
    """Give one credential, by its type, so that obstore takes no other from the environment."""
    if given.get("anon"):
        return {"skip_signature": True}
    if given.get("account_key"):
        return {"account_key": given["account_key"], "credential_type": "access_key"}
    if given.get("sas_token"):
        return {"sas_key": given["sas_token"].lstrip("?"), "credential_type": "sas_token"}
    if given.get("client_secret"):
        if not (given.get("client_id") and given.get("tenant_id")):
            raise InvalidOption(f"{uri}: the option 'client_secret' goes with 'client_id' and 'tenant_id'")
        names = ("client_id", "client_secret", "tenant_id")
        return {name: given[name] for name in names} | {"credential_type": "client_secret"}
    return {name: given[name] for name in ("client_id", "tenant_id") if name in given}


_CONNECTION_NAMES = {
    "accountkey": "account_key",
    "accountname": "account_name",
    "blobendpoint": "endpoint_url",
    "sharedaccesssignature": "sas_token",
}


def _parse_connection_string(text: str, uri: str) -> dict[str, str]:
    parts = {
        name.strip().lower(): value.strip() for name, _, value in (part.partition("=") for part in text.split(";"))
    }
    if "usedevelopmentstorage" in parts:
        raise InvalidOption(f"{uri}: write out the 'connection_string' of the emulator, with its BlobEndpoint")
    found = {name: parts[theirs] for theirs, name in _CONNECTION_NAMES.items() if parts.get(theirs)}
    suffix = parts.get("endpointsuffix")
    if suffix and "endpoint_url" not in found and "account_name" in found:
        protocol = parts.get("defaultendpointsprotocol", "https")
        found["endpoint_url"] = f"{protocol}://{found['account_name']}.blob.{suffix}"
    return found
