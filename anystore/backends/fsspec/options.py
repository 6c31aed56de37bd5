"""Which of fsspec's filesystems a URI names, and what its constructor is given."""

import difflib
import inspect
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

import fsspec
from fsspec.registry import get_filesystem_class, known_implementations

from anystore.errors import InvalidOption, InvalidUri, MissingExtra
from anystore.extras import load, missing
from anystore.uris import StoreUri, collect_secrets

LOCAL = frozenset({"file", "local"})
"""Protocols of the machine's own files."""

_URLS = frozenset({"http", "https", "sync-http", "sync-https"})
# Their constructors swallow any option, so a mistyped one has to be found here.
_SWALLOWING = LOCAL | {"memory", "s3", "s3a", "gs", "gcs"}
# These hand every option on to the library below, which knows no listing cache.
_HANDING_ON = frozenset({"smb"})
# Those whose filesystem in fsspec connects, or is configured, otherwise than a store needs it. An installed sshfs
# takes the name sftp over, so fsspec's registry is not asked there.
_OURS = {"ftp": "ftp", "sftp": "sftp", "ssh": "sftp", "webdav": "webdav"}
_SAME = {"dav": "webdav", "davs": "webdav", "webdavs": "webdav"}
_EVERYWHERE = frozenset({"asynchronous", "loop", "batch_size"})
_CREDENTIALS = {
    "s3": ("key", "secret"),
    "s3a": ("key", "secret"),
    "webhdfs": ("user", "password"),
    "webHDFS": ("user", "password"),
    "hdfs": ("user", "password"),
}


def find_filesystem(uri: StoreUri) -> tuple[str, Any]:
    """Find the filesystem that a URI names, and import its class.

    Args:
        uri: The store's URI; ``fsspec+`` before the scheme is left out.

    Returns:
        The protocol, and the class.

    Raises:
        InvalidUri: If fsspec knows no such protocol.
        MissingExtra: If the library of the protocol is not installed.
    """
    name = uri.scheme.removeprefix("fsspec+")
    protocol = _SAME.get(name, name)
    if protocol in _URLS:
        raise InvalidUri(
            f"{uri.masked}: fsspec cuts names of web pages at '#' and '?'; open '{protocol}://…' without 'fsspec+'"
        )
    try:
        return protocol, class_of(protocol or "?")
    except ValueError:
        near = difflib.get_close_matches(protocol, fsspec.available_protocols(), n=1)
        hint = f"did you mean '{near[0]}://'?" if near else "write it like './folder', 'memory://name' or 's3://bucket'"
        raise InvalidUri(f"{uri.masked}: neither anystore nor fsspec knows {protocol!r}; {hint}") from None
    except ImportError as error:
        known = known_implementations.get(protocol, {})
        library = str(getattr(error.__cause__, "name", None) or known["class"]).partition(".")[0]
        told = known.get("err", "")
        if protocol not in _OURS and library not in told:  # what is imported has not the name that is installed
            raise MissingExtra(
                f"{protocol}:// needs {library}, which is not installed; fsspec says how: {told}"
            ) from error
        raise missing(library, needed_by=f"{protocol}://") from error


def class_of(protocol: str) -> Any:
    """Find the class of a protocol's filesystem.

    Args:
        protocol: The protocol.

    Returns:
        The class: one of ours where we have one, else fsspec's.

    Raises:
        ImportError: If the library of the protocol is not installed.
        ValueError: If fsspec knows no such protocol.
    """
    module = _OURS.get(protocol)
    return load(f"anystore.backends.fsspec.{module}").FILESYSTEM if module else get_filesystem_class(protocol)


def read_location(
    uri: StoreUri, protocol: str, filesystem: Any, config: Mapping[str, Any]
) -> tuple[str, dict[str, Any]]:
    """Take the root, and the options that stand in the URI, out of it.

    Args:
        uri: The store's URI.
        protocol: The protocol of the filesystem.
        filesystem: Its class.
        config: The ``backend_config``.

    Returns:
        The path of the root, without a ``/`` at its end, and the options.

    Raises:
        InvalidUri: If the URI holds what this protocol has no place for.
    """
    options: dict[str, Any] = {name: _BOOLEANS.get(value, value) for name, value in uri.query.items()}
    accepted, _ = _parameters(filesystem)
    if uri.username is not None:
        options["username"] = uri.username
    if uri.password is not None:
        options["password"] = uri.password
    if protocol in LOCAL:
        if uri.host not in ("", "localhost") or not uri.path or uri.port is not None:
            raise InvalidUri(f"{uri.masked} names no folder of this machine: write '{uri.scheme}:///folder'")
        return unquote(uri.path).rstrip("/"), options
    if protocol == "webdav" and "base_url" not in config and "base_url" not in options:
        options["base_url"] = _webdav_address(uri)
        return unquote(uri.path).rstrip("/"), options
    if "host" in accepted:
        if uri.host:
            options["host"] = uri.host
        if uri.port is not None:
            options["port"] = uri.port
        return unquote(uri.path).rstrip("/"), options
    if uri.port is not None:
        raise InvalidUri(
            f"{uri.masked}: {protocol}:// takes no port; give the address of the service in backend_config"
        )
    root = (uri.host + uri.path).strip("/")
    return ("/" + root if getattr(filesystem, "root_marker", "") == "/" else root), options


def _webdav_address(uri: StoreUri) -> str:
    """Give the URL of a WebDAV server."""
    if not uri.host:
        raise _no_host(uri.masked, "webdav")
    secure = uri.scheme.removeprefix("fsspec+") in ("webdavs", "davs")
    port = "" if uri.port is None else f":{uri.port}"
    return f"{'https' if secure else 'http'}://{uri.host}{port}"


_BOOLEANS = {"true": True, "false": False}


def text_secrets(given: Mapping[str, Any]) -> frozenset[str]:
    """Find the secrets among options, those in a pair of name and password too."""
    pairs = (value for value in given.values() if isinstance(value, (tuple, list)))
    return collect_secrets(given) | {str(pair[1]) for pair in pairs if len(pair) == 2 and pair[1]}  # noqa: PLR2004


def check_arguments(given: Mapping[str, Any], *, protocol: str, filesystem: Any, uri: str) -> dict[str, Any]:
    """Name the options as the constructor does, and refuse those it does not know.

    Args:
        given: Options from the URI and from ``backend_config``.
        protocol: The protocol of the filesystem.
        filesystem: Its class.
        uri: The masked URI, for messages.

    Returns:
        The arguments for the constructor.

    Raises:
        InvalidOption: If the constructor has no such argument, or needs one that is not given.
        InvalidUri: If it needs a host.
    """
    accepted, takes_any = _parameters(filesystem)
    default = ("username", "password") if accepted & {"host", "username"} else (None, None)
    names = dict(zip(("username", "password"), _CREDENTIALS.get(protocol, default), strict=True))
    arguments: dict[str, Any] = {}
    for option, value in given.items():
        name = option if option in accepted else names.get(option, option)
        known = name in accepted or name in _EVERYWHERE or (takes_any and protocol not in _SWALLOWING)
        if option in names and name is None:
            raise InvalidOption(f"{uri}: {protocol}:// takes no {option}; give its credentials in backend_config")
        if not known:
            takes = ", ".join(sorted(accepted)) or "none"
            raise InvalidOption(f"{uri}: {protocol}:// has no option {option!r}; it takes: {takes}")
        arguments[str(name)] = value
    lacking = sorted(_required(filesystem) - set(arguments))
    if "host" in lacking:
        raise _no_host(uri, protocol)
    if lacking:
        wanted = ", ".join(map(repr, lacking))
        raise InvalidOption(f"{uri}: {protocol}:// needs more than its URI says; give {wanted} in backend_config")
    return arguments


def _no_host(uri: str, protocol: str) -> InvalidUri:
    return InvalidUri(f"{uri} names no host: write it like '{protocol}://user@host/folder'")


def quiet_arguments(protocol: str, filesystem: Any) -> dict[str, bool]:
    """Give the arguments that keep fsspec from answering out of a cache."""
    _, takes_any = _parameters(filesystem)
    caching = takes_any and protocol not in _HANDING_ON
    return {"skip_instance_cache": True} | ({"use_listings_cache": False} if caching else {})


def _parameters(filesystem: Any) -> tuple[frozenset[str], bool]:
    """Give the named arguments of a constructor, and whether it takes any other."""
    parameters = inspect.signature(filesystem.__init__).parameters.values()
    named = {one.name for one in parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)}
    takes_any = any(one.kind is one.VAR_KEYWORD for one in parameters)
    return frozenset(named - {"self"}), takes_any


def _required(filesystem: Any) -> frozenset[str]:
    """Give the named arguments without which a constructor fails."""
    parameters = inspect.signature(filesystem.__init__).parameters.values()
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return frozenset(one.name for one in parameters if one.kind in kinds and one.default is one.empty) - {"self"}
