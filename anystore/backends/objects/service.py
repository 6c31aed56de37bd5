"""One container of a service: how it is opened, what it can do, and what its errors mean."""

import contextlib
import os
import re
import threading
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import obstore
from obstore.exceptions import (
    BaseError,
    NotModifiedError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)
from obstore.store import AzureStore, GCSStore, S3Store

from anystore.backends.objects.configuration import Configuration
from anystore.backends.objects.probing import ODD_NAMES, Traits, declared_traits, probe
from anystore.errors import (
    AlreadyExists,
    AnystoreError,
    BackendError,
    DoesNotExist,
    InvalidKey,
    InvalidOption,
    ReadOnlyError,
    VersionMismatch,
)
from anystore.keys import PRIVATE_FOLDER
from anystore.uris import mask_text, parse_uri

ERRORS = (BaseError, OSError, ValueError)
"""What obstore raises."""

_STORES: dict[str, Any] = {"s3": S3Store, "gcs": GCSStore, "azure": AzureStore}
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")
_NOT_XML = re.compile("[\ufffe\uffff]")
_MAX_NAME_BYTES = 1024
_MAX_SEGMENT_BYTES = 255
_SHOWN_CHARACTERS = 400
_CODE = re.compile(r"<Code>([^<]+)</Code>")
_STATUS = re.compile(r"status code: (\d{3})")
_NO_CONTAINER = frozenset({"NoSuchBucket", "ContainerNotFound", "ContainerBeingDeleted"})
_MAY_NOT = frozenset({"AccessDenied", "AuthorizationPermissionMismatch", "InsufficientAccountPermissions"})
_REGION = "the bucket is in another region: give the option 'region'"
_EXPIRED = "the credentials have expired; give new ones"
_ARCHIVED = "the value is in an archive; restore it by the service's own means first"
# A code, or another text of an error, and what to do about it.
_ADVICE = {
    "PermanentRedirect": _REGION,
    "AuthorizationHeaderMalformed": _REGION,
    "redirect without LOCATION": _REGION,
    "ExpiredToken": _EXPIRED,
    "TokenRefreshRequired": _EXPIRED,
    "InvalidObjectState": _ARCHIVED,
    "BlobArchived": _ARCHIVED,
    "RequestTimeTooSkewed": "the clock of this machine is wrong; set it",
    # Before what tells that no answer came, which this ends in as well.
    "http://169.254.169.254/": (
        "there are no credentials, and the machine has none to give; set the service's own variables, such as "
        "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or pass backend_config, with anon=True for what is public"
    ),
    "error sending request": "nothing answers there; check the option 'endpoint_url', the network, and that it runs",
}

# obstore's threads are made once a process and do not survive a fork: a call would wait for them for ever.
_used_by_process: int | None = None
_known_traits: dict[tuple[str, str, str], Traits] = {}


class _Keys:
    """Credentials that were given, so that nothing of the environment is mixed with them."""

    def __init__(self, key: str, secret: str, token: str | None) -> None:
        self._credential = {"access_key_id": key, "secret_access_key": secret, "token": token, "expires_at": None}

    def __call__(self) -> Any:
        return self._credential


class Service:
    """One container, opened when it is first used.

    Args:
        configuration: Where it is, and how it is reached.
    """

    def __init__(self, configuration: Configuration) -> None:
        self.configuration = configuration
        self.root = configuration.root
        self._lock = threading.Lock()
        self._store: Any = None
        self._traits: Traits | None = None
        self._seen = False

    def __reduce__(self) -> tuple[type["Service"], tuple[Configuration]]:
        """Pickle the configuration; what is open stays here."""
        return Service, (self.configuration,)

    @property
    def store(self) -> Any:
        """The obstore.

        Raises:
            BackendError: In a process that was forked after obstore was used.
            InvalidOption: If obstore refuses the configuration.
        """
        self.check_process()
        store = self._store
        return self._open() if store is None else store

    def check_process(self) -> None:
        """Refuse to be used in a process that was forked after obstore was used.

        Raises:
            BackendError: In such a process.
        """
        global _used_by_process  # noqa: PLW0603 - obstore's threads are one for the process, too
        process = os.getpid()
        if _used_by_process != process:
            if _used_by_process is not None:
                raise BackendError(
                    f"{self.configuration.uri}: this process was forked from one that had used an object store, and "
                    "its connections do not survive that; start it by multiprocessing.get_context('spawn')"
                )
            _used_by_process = process

    def close(self) -> None:
        """Let the connections go; the next use opens them again."""
        self._store = None

    def _open(self) -> Any:
        one = self.configuration
        provider = {"credential_provider": _Keys(*one.keys)} if one.keys else {}
        with self._lock:
            try:
                self._store = self._store or _STORES[one.kind](
                    one.container,
                    config=dict(one.options),
                    client_options=dict(one.client),
                    retry_config=dict(one.retry),
                    **provider,
                )
            except ERRORS as error:
                raise InvalidOption(
                    f"{one.uri}: the object store refuses the options: {self._told(error)}"
                ) from self.cause(error)
            return self._store

    # -- names --------------------------------------------------------------

    def name(self, key: str) -> str:
        """Give the name of the object for a key.

        Raises:
            InvalidKey: If no object can have it.
        """
        name = self.root + key
        reason = self._why_not(name)
        if reason:
            raise InvalidKey(f"{self.configuration.uri} cannot hold the key {key!r}: {reason}; use another name")
        return name

    def existing(self, key: str) -> str:
        """Give the name of the object for a key that is read.

        Raises:
            DoesNotExist: If no object can have it.
        """
        try:
            return self.name(key)
        except InvalidKey as error:
            raise self.missing(key) from error

    def folder(self, prefix: str) -> str | None:
        """Give the beginning of the names below a prefix, or None where no object can have it.

        Raises:
            InvalidKey: If obstore cannot ask for it, though there may be objects below it.
        """
        if _CONTROLS.search(prefix):
            self.name(prefix)
        return None if self._why_not(self.root + prefix) else self.root + prefix

    def _why_not(self, name: str) -> str:
        if _CONTROLS.search(name):
            return "it holds a control character, which the library obstore does not take"
        if len(name) * 4 > _MAX_NAME_BYTES and len(name.encode()) > _MAX_NAME_BYTES:
            return f"with the folder of the store it has more than {_MAX_NAME_BYTES:,} bytes"
        if _NOT_XML.search(name):
            return "it holds a character that XML has not, in which objects are listed and deleted"
        for oddity, pattern in ODD_NAMES.items():
            if pattern.search(name) and oddity not in self.traits.kept:
                return f"it holds {oddity}, which this service stores under another name"
        return ""

    # -- what it can do -----------------------------------------------------

    @property
    def traits(self) -> Traits:
        """What the service can do: declared, or tried out once for each service and container.

        Raises:
            BackendError: If that is not known yet, and the service does not answer.
        """
        if self._traits is None:
            known = self.known_traits
            if known is None:
                with self.errors("try out the service"):
                    known = probe(self.store, f"{self.root}{PRIVATE_FOLDER}/probe/{uuid4().hex}/")
                if known.lasting:
                    one = self.configuration
                    _known_traits[one.kind, one.endpoint, one.container] = known
            self._traits = known
        return self._traits

    @property
    def known_traits(self) -> Traits | None:
        """What is known of that without trying it out."""
        if self._traits is not None:
            return self._traits
        one = self.configuration
        place = (one.kind, one.endpoint, one.container)
        return declared_traits(*place) or _known_traits.get(place)

    # -- errors -------------------------------------------------------------

    def missing(self, key: str) -> DoesNotExist:
        """Make the error for a key without a value."""
        return DoesNotExist(f"there is no value under {key!r} in {self.configuration.uri}")

    def changed(self, key: str) -> VersionMismatch:
        """Make the error for a value that is not the version it was."""
        return VersionMismatch(
            f"the value under {key!r} in {self.configuration.uri} was changed by another writer; read it again"
        )

    @contextlib.contextmanager
    def errors(self, doing: str, *, key: str = "", writing: bool = False) -> Iterator[None]:
        """Turn what obstore raises in a block into our errors.

        Args:
            doing: What the block does, such as ``read``; for the message.
            key: The key it is done to.
            writing: Whether a refusal means that the store is read-only for us.
        """
        try:
            yield
        except AnystoreError:
            raise
        except ERRORS as error:
            raise self.failure(error, doing, key=key, writing=writing) from self.cause(error)

    def failure(self, error: Exception, doing: str, *, key: str = "", writing: bool = False) -> AnystoreError:
        """Make our error of one of obstore's; arguments as for ``errors``."""
        uri, what = self.configuration.uri, f"{doing} {key!r}" if key else doing
        codes = set(_CODE.findall(str(error)))
        if codes & _NO_CONTAINER:
            return self._no_container()
        if isinstance(error, (PreconditionError, NotModifiedError)):
            return self.changed(key)
        if "NoSuchUpload" in codes:
            return BackendError(f"{uri}: cannot {what}: the service has dropped the parts that it had; write it again")
        if isinstance(error, FileNotFoundError):
            return self._container_failure() or self.missing(key)
        if advice := next((_ADVICE[text] for text in _ADVICE if text in str(error)), None):
            return BackendError(f"{uri}{self._where()}: cannot {what}: {advice} ({self._told(error)})")
        if isinstance(error, (PermissionDeniedError, UnauthenticatedError)) or _status(error) in (401, 403):
            said = f" ({', '.join(codes)})" if codes else ""
            if writing and codes & _MAY_NOT:
                return ReadOnlyError(f"{uri}: the service does not let us {what}{said}; use credentials that may write")
            return BackendError(
                f"{uri}: the service refuses to {what}{said}; check the credentials, and whether they permit it"
            )
        if writing and _status(error) is not None and _has_long_segment(key):
            return InvalidKey(
                f"{uri} cannot hold the key {key!r}: the service does not take its segment of more than "
                f"{_MAX_SEGMENT_BYTES} bytes; use shorter names"
            )
        return BackendError(f"{uri}{self._where()}: cannot {what}: {self._told(error)}")

    def taken(self, key: str) -> AlreadyExists:
        """Make the error for a key that was to be created, and has a value."""
        return AlreadyExists(f"there is a value under {key!r} in {self.configuration.uri} already; nothing was written")

    def cause(self, error: Exception) -> Exception | None:
        """Give the error to chain: none whose text holds a secret."""
        text = str(error)
        return None if any(secret in text for secret in self.configuration.secrets) else error

    def _told(self, error: Exception) -> str:
        text = " ".join(str(error).partition("\n\nDebug source:")[0].split())
        text = mask_text(text, self.configuration.secrets)
        return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"

    def _where(self) -> str:
        endpoint = self.configuration.endpoint
        return f" at {mask_text(parse_uri(endpoint).masked, self.configuration.secrets)}" if endpoint else ""

    def _container_failure(self) -> AnystoreError | None:
        """Look, once, whether it is the container that does not exist: an answer without a body does not say."""
        if self._seen:
            return None
        try:
            next(iter(obstore.list(self.store, f"{self.root}{PRIVATE_FOLDER}/none/")), None)
        except ERRORS as error:
            status = _status(error)
            if status == 403:  # noqa: PLR2004 - who may not list may still read
                return None
            if status == 404:  # noqa: PLR2004
                return self._no_container()
            return BackendError(f"{self.configuration.uri}: cannot list: {self._told(error)}")
        self._seen = True
        return None

    def _no_container(self) -> BackendError:
        one = self.configuration
        return BackendError(
            f"{one.uri}: there is no bucket or container {one.container!r}{self._where()}; make it, or correct the URI"
        )


def _status(error: Exception) -> int | None:
    found = _STATUS.search(str(error))
    return int(found[1]) if found else None


def _has_long_segment(key: str) -> bool:
    """Tell whether a key has a segment that services which keep folders do not take."""
    return max(len(segment.encode()) for segment in key.split("/")) > _MAX_SEGMENT_BYTES
