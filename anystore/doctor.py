"""What is installed, what is set, and whether a store can be reached: for whoever wonders why something fails."""

import platform
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import PackageNotFoundError, requires, version
from secrets import token_hex
from typing import Any

from anystore.backend import Feature
from anystore.console import setting_text
from anystore.errors import AnystoreError, BackendError
from anystore.keys import private_key
from anystore.settings import read_default_settings, read_settings, setting_sources, unread_variables
from anystore.store import Store, get_store
from anystore.uris import parse_uri

DISTRIBUTION = "anystore-dagster"
TIMEOUT = 30.0
"""Seconds after which a store that does not answer is given up."""

WITHOUT: Mapping[Feature, str] = {
    Feature.WRITE: "nothing can be stored or deleted",
    Feature.LIST: "keys cannot be listed: name each key",
    Feature.SORTED: "keys come in no order, and a listing cannot start behind a key",
    Feature.CREATE: "if_absent=True, open(…, 'x') and lock() raise: ask exists() first, if one writer is enough",
    Feature.SWAP: "if_version and lock() raise: put without if_version, if one writer is enough",
    Feature.TAKE: "pop() reads and then deletes, so that two callers can get one value",
    Feature.EXPIRE: "ttl raises: anycache keeps an expiry in the value",
    Feature.APPEND: "append() and open(…, 'a') raise: read the value, and put the longer one",
    Feature.MOVE: "move() copies and then deletes",
    Feature.OVERLAP: "of 'a' and 'a/b' only one can be a key",
    Feature.ATOMIC: "a writer that is killed, or read beside, can be seen half way",
}
"""What a backend without a feature refuses, or does otherwise."""

_REQUIREMENT = re.compile(r"""(?P<name>[A-Za-z0-9][\w.-]*).*?(?:extra *== *["'](?P<extra>[\w.-]+)["'])?\s*\)?\s*$""")
_EVERY_EXTRA = "all"
_PROOF = b"anystore doctor was here"


@dataclass(frozen=True, slots=True)
class Extra:
    """An extra, and its packages.

    Attributes:
        name: Of the extra; ``""`` stands for what is always installed.
        packages: The version of each; None for one that is missing.
        install: The line that installs them.
    """

    name: str
    packages: Mapping[str, str | None]
    install: str

    @property
    def complete(self) -> bool:
        """Whether no package is missing."""
        return None not in self.packages.values()


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting in force, as it can be shown, and where it comes from."""

    name: str
    shown: str
    source: str


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found about a store.

    Attributes:
        name: What was tried.
        ok: Whether it went well; None where it was not tried, or is neither good nor bad.
        text: What was found; of a failure, the reason.
        seconds: How long it took.
    """

    name: str
    ok: bool | None
    text: str
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All that was found.

    Attributes:
        versions: Of anystore, Python and the system.
        extras: The extras.
        settings: The settings in force, secrets masked.
        findings: What was found about the store.
    """

    versions: Mapping[str, str]
    extras: list[Extra]
    settings: list[Setting] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing that was tried has failed; an extra that is missing is no failure."""
        return all(finding.ok is not False for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Give everything as plain values, for JSON."""
        return {"ok": self.ok} | asdict(self)


def diagnose(uri: str | None = None, *, write: bool = False, timeout: float = TIMEOUT) -> Diagnosis:
    """Look at the installation, the settings and a store.

    Args:
        uri: The store; the default one if None.
        write: Whether to store a small value under a private name, read it back and delete it. Otherwise nothing
            is written.
        timeout: Seconds to wait for each answer of the store.

    Returns:
        What was found. A store that fails is no error, but a finding.
    """
    diagnosis = Diagnosis(versions=_versions(), extras=find_extras())
    try:
        settings = settings_in_force(uri, given_as="URI")
    except AnystoreError as error:
        return replace(diagnosis, findings=[Finding("settings", ok=False, text=str(error))])
    unread = [
        Finding("variables", ok=False, text=f"{name} is read by nobody; {near} is")
        for name, near in unread_variables().items()
    ]
    return replace(diagnosis, settings=settings, findings=unread + _Examination(uri, timeout=timeout).run(write=write))


def settings_in_force(uri: str | None = None, *, given_as: str = "--store") -> list[Setting]:
    """Say which settings hold for a store, and where each comes from.

    Args:
        uri: The store; the default one if None.
        given_as: Where the URI comes from.

    Returns:
        The settings, secrets masked.

    Raises:
        AnystoreError: If a variable, or the store file, is not what it can be.
    """
    values = asdict(read_default_settings() if uri is None else read_settings())
    sources = setting_sources(is_default=uri is None)
    if uri is not None:
        values["uri"], sources["uri"] = uri, given_as
    values["uri"] = parse_uri(values["uri"]).masked
    return [Setting(name, setting_text(value), sources[name]) for name, value in values.items()]


def find_extras() -> list[Extra]:
    """Find what is installed of each extra; nothing is imported.

    Returns:
        What is always needed first, then each extra; nothing where anystore runs from its source.
    """
    try:
        required = requires(DISTRIBUTION) or []
    except PackageNotFoundError:
        return []
    packages: dict[str, dict[str, str | None]] = {"": {}}
    for requirement in required:
        match = _REQUIREMENT.match(requirement)
        if match and match["extra"] != _EVERY_EXTRA:
            packages.setdefault(match["extra"] or "", {})[match["name"]] = _version_of(match["name"])
    return [
        Extra(name, found, f"pip install '{DISTRIBUTION}[{name}]'" if name else f"pip install {DISTRIBUTION}")
        for name, found in packages.items()
    ]


def _version_of(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _versions() -> dict[str, str]:
    return {
        "anystore": _version_of(DISTRIBUTION) or "run from its source",
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
    }


class _Examination:
    """Tries one thing after another; what does not answer in time ends it."""

    def __init__(self, uri: str | None, *, timeout: float) -> None:
        self._uri = uri
        self._timeout = timeout
        self._findings: list[Finding] = []
        self._is_stuck = False

    def run(self, *, write: bool) -> list[Finding]:
        store = self._try("opens", lambda: get_store(self._uri), lambda opened: opened.uri)
        if store is None:
            return self._findings
        there = self._try("answers", store.backend.reach, _describe_place)
        if there is None:
            return self._findings
        if there:
            self._try("once more", store.backend.reach, lambda _: "the connection is open now")
        sure, unsure = store.backend.sure_features()
        if write and unsure:
            asked = self._try("features", lambda: store.features, _names_of)
            sure, unsure = (sure, unsure) if asked is None else (asked, Feature.NONE)
        else:
            self._add("features", _names_of(sure))
        if there and Feature.LIST in sure:
            self._try("lists", lambda: next(store.iterate_keys(), None), _describe_listing)
        if unsure:
            self._add("not known", f"{_names_of(unsure)}: the service is asked by writing; add --write")
        for feature in Feature:
            if feature not in sure | unsure:
                self._add(f"no {_names_of(feature)}", WITHOUT[feature])
        if write:
            self._try("writes", lambda: _prove_writing(store), lambda _: "a value was stored, read back and deleted")
        else:
            self._add("writes", "not tried; --write stores a small value, reads it back and deletes it")
        return self._findings

    def _try(self, name: str, action: Callable[[], Any], describe: Callable[[Any], str]) -> Any:
        """Do something, but not for ever; give its result, or None."""
        if self._is_stuck:
            return None
        outcome: list[Any] = []
        failure: list[BaseException] = []

        def act() -> None:
            try:
                outcome.append(action())
            except BaseException as error:  # noqa: BLE001 - raised again where somebody waits
                failure.append(error)

        # A daemon, since a driver that waits for ever would keep the process.
        thread = threading.Thread(target=act, name="anystore-doctor", daemon=True)
        start = time.perf_counter()
        thread.start()
        thread.join(self._timeout)
        seconds = time.perf_counter() - start
        if failure and not isinstance(failure[0], AnystoreError | OSError):
            raise failure[0]
        if failure:
            self._add(name, str(failure[0]), ok=False, seconds=seconds)
        elif outcome:
            self._add(name, describe(outcome[0]), ok=True, seconds=seconds)
            return outcome[0]
        else:
            self._is_stuck = True
            why = "is the address right, and does a firewall drop what is sent there?"
            self._add(name, f"no answer within {self._timeout:g} seconds: {why}", ok=False, seconds=seconds)
        return None

    def _add(self, name: str, text: str, *, ok: bool | None = None, seconds: float | None = None) -> None:
        self._findings.append(Finding(name, ok, text, seconds))


def _names_of(features: Feature) -> str:
    return " ".join((feature.name or "").lower() for feature in features) or "read"


def _describe_place(there: bool) -> str:  # noqa: FBT001 - what the backend answered
    return "yes" if there else "there is no place for values yet; the first use makes it"


def _describe_listing(key: str | None) -> str:
    return "there is no value" if key is None else f"the first key is {key!r}"


def _prove_writing(store: Store) -> bool:
    key = private_key(f"doctor-{token_hex(8)}")
    backend = store.backend
    backend.put(key, _PROOF)
    try:
        found = backend.get(key)
    finally:
        backend.delete(key)
    if found != _PROOF:
        raise BackendError(f"{store.uri} stored {len(_PROOF)} bytes and gave back others: do not use it for writing")
    return True
