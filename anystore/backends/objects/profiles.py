"""Profiles of the AWS tools: named credentials in ``~/.aws/credentials`` and ``~/.aws/config``."""

import configparser
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from anystore.errors import InvalidOption

# How else a profile can come to credentials; obstore knows none of these.
_UNMAPPED = ("credential_process", "login_session", "role_arn", "sso_account_id", "sso_session", "source_profile")


@dataclass(frozen=True, slots=True)
class Profile:
    """What a profile says.

    Attributes:
        keys: Access key, secret and session token, or None.
        region: The region, or None.
        endpoint_url: URL of the service, or None.
    """

    keys: tuple[str, str, str | None] | None = field(default=None, repr=False)
    region: str | None = None
    endpoint_url: str | None = None


def find_profile(name: str | None, *, uri: str) -> Profile:
    """Read a profile.

    Args:
        name: Its name, or None for the default one, which need not exist.
        uri: The masked URI, for messages.

    Returns:
        The profile; an empty one if no name was given and there is no default.

    Raises:
        InvalidOption: If there is no profile of this name, or its credentials come from elsewhere.

    Source:
        The AWS SDKs and Tools Reference Guide, "Shared config and credentials files". Sections of the
        config file are named ``profile NAME``, but for the default one.
    """
    wanted = name or "default"
    config = _read(os.environ.get("AWS_CONFIG_FILE") or "~/.aws/config", uri)
    credentials = _read(os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or "~/.aws/credentials", uri)
    section = config.get("default" if wanted == "default" else f"profile {wanted}", {})
    found = {**section, **credentials.get(wanted, {})}
    if not found:
        if name is None:
            return Profile()
        raise InvalidOption(f"{uri}: there is no profile {name!r} in ~/.aws/config or ~/.aws/credentials")
    keys = None
    if found.get("aws_access_key_id") and found.get("aws_secret_access_key"):
        keys = found["aws_access_key_id"], found["aws_secret_access_key"], found.get("aws_session_token")
    elif unmapped := [option for option in _UNMAPPED if option in found]:
        raise InvalidOption(
            f"{uri}: the profile {wanted!r} has no keys of its own but {unmapped[0]!r}, which this backend cannot use; "
            "open 'fsspec+s3://…', or put temporary keys into the environment with 'aws configure export-credentials'"
        )
    return Profile(keys, found.get("region"), found.get("endpoint_url"))


def _read(path: str, uri: str) -> Mapping[str, Mapping[str, str]]:
    parser = configparser.RawConfigParser(default_section="")
    try:
        parser.read_string(Path(path).expanduser().read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, configparser.Error) as error:
        # The text of a parser's error may be a line of the file.
        raise InvalidOption(f"{uri}: {path} cannot be read as profiles ({type(error).__name__})") from None
    return {section: dict(parser[section]) for section in parser.sections()}
