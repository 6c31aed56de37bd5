"""Which store a filesystem is of: how it is made, compared, pickled and shown, without showing a secret."""

import hashlib
import secrets
import threading
from collections.abc import Mapping
from functools import partial
from typing import Any

from fsspec.spec import AbstractFileSystem
from fsspec.utils import stringify_path

from anystore.errors import InvalidOption, Unsupported
from anystore.filesystem.folders import MadeFolders
from anystore.filesystem.urls import PROTOCOL, join_url, split_url, strip_url
from anystore.store import Store, Ttl, get_store
from anystore.uris import MASK, collect_secrets, is_secret_name, parse_uri

# Tokens end up in the names of Dask's tasks: without the key, a password could be guessed from them.
_TOKEN_KEY = secrets.token_bytes(32)
_DEEPEST = 50
_PLAIN = (str, bytes, int, float, bool, type(None))


class Options(dict[str, Any]):
    """What a filesystem was made with; its text shows no secret."""

    def __repr__(self) -> str:
        """Show the options, secrets masked."""
        return repr(_masked(self))

    __str__ = __repr__


class StoreIdentity(AbstractFileSystem):  # type: ignore[misc] # fsspec has no types
    """What is common to every call: the store, and nothing that could go stale.

    Instances are not kept by fsspec: it tells two apart by the text of their arguments, which for two stores may be
    the same. Backends are shared by configuration, so a new filesystem costs little.
    """

    cachable = False
    protocol: Any = PROTOCOL
    root_marker = ""

    def __init__(
        self,
        uri: str | None = None,
        *,
        store: Store | None = None,
        backend_config: Mapping[str, Any] | None = None,
        readonly: bool | None = None,
        default_ttl: Ttl | None = None,
        protocol: str = PROTOCOL,
        asynchronous: bool = False,  # noqa: ARG002 - zarr says it to all, and wraps those that are not
    ) -> None:
        given = {"uri": uri, "backend_config": backend_config, "readonly": readonly, "default_ttl": default_ttl}
        self._given = Options({name: value for name, value in given.items() if value is not None})
        if store is not None and self._given:
            raise InvalidOption(f"pass a store, or {', '.join(self._given)}, not both")
        self._state = threading.local()
        super().__init__()
        made = store or get_store(uri, backend_config=backend_config, readonly=readonly, default_ttl=default_ttl)
        # One of its own: the codec plays no part, and the caller's store may keep this filesystem.
        self._store = made.using(serialization_mode="raw", raise_on_nonexist=True)
        self._is_of_store = store is not None
        self._backend = self._store.backend
        self._token: str | None = None
        self._made = MadeFolders()
        self.protocol = protocol
        # The class knows URLs alone; an instance knows besides whether they are its own.
        self._strip_protocol: Any = partial(_strip, protocol=protocol, store=uri)  # type: ignore[method-assign]

    def __repr__(self) -> str:
        """Show the masked URI."""
        return f"<StoreFileSystem {self._backend.uri}>"

    __str__ = __repr__

    # -- URLs ------------------------------------------------------------------

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        if isinstance(path, list):
            return [cls._strip_protocol(one) for one in path]
        return split_url(str(stringify_path(path)))[1]

    @staticmethod
    def _get_kwargs_from_urls(path: str) -> dict[str, Any]:
        store, _ = split_url(str(path))
        return {} if store is None else {"uri": store}

    def unstrip_protocol(self, name: str) -> str:
        """Give the URL of a key, with secrets masked.

        Args:
            name: The key.

        Returns:
            A URL that names the store too, if the filesystem was opened by the store's URI; else ``anystore://KEY``.
        """
        key: str = self._strip_protocol(name)
        uri = self._given.get("uri")
        if uri is None or self.protocol != PROTOCOL:
            return f"{self.protocol}://{key}"
        return join_url(parse_uri(uri).masked, key)

    # -- comparing -------------------------------------------------------------

    @property
    def _fs_token(self) -> str:
        """A token that two filesystems share only if they are of the same store, with the same secrets."""
        if self._token is None:
            described = repr((self.protocol, _describe(self._store, 0))).encode("utf-8", "surrogatepass")
            self._token = hashlib.blake2b(described, key=_TOKEN_KEY, digest_size=16).hexdigest()
        return self._token

    def __hash__(self) -> int:
        """Hash the token."""
        return int(self._fs_token, 16)

    def __eq__(self, other: object) -> bool:
        """Compare the stores."""
        return isinstance(other, StoreIdentity) and self._fs_token == other._fs_token

    # -- keeping ---------------------------------------------------------------

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the store, by its configuration."""
        return _restore, (type(self), self._store, dict(self._given), self.protocol, self._is_of_store)

    @property
    def storage_args(self) -> tuple[Any, ...]:
        """Always empty; the options have names."""
        return ()

    @storage_args.setter
    def storage_args(self, given: object) -> None:
        """Take what fsspec hands on, which the constructor has kept."""

    @property
    def storage_options(self) -> dict[str, Any]:
        """What makes the same filesystem again; its text shows no secret."""
        return Options({"store": self._store}) if self._is_of_store else self._given

    @storage_options.setter
    def storage_options(self, given: object) -> None:
        """Take what fsspec hands on, which the constructor has kept."""

    def to_dict(self, *, include_password: bool = True) -> dict[str, Any]:
        """Describe the filesystem, for JSON.

        Args:
            include_password: Whether secrets are to be in it, which is refused; without, they are masked, and what
                is made from the description cannot log in.

        Returns:
            The class, the protocol and the options.

        Raises:
            Unsupported: If it holds a secret that is not to be masked, or if it was made from a store.
        """
        if self._is_of_store:
            raise Unsupported(
                f"{self!r} was made from a store, which is not told by text; instead: pickle it, "
                "or make it with fsspec.filesystem('anystore', uri=...)"
            )
        uri, config = self._given.get("uri"), self._given.get("backend_config", {})
        if include_password and ((uri is not None and parse_uri(uri).secrets) or collect_secrets(config)):
            raise Unsupported(
                f"{self!r} holds a secret, which is not written as text; instead: pickle it, "
                "or pass include_password=False and give the secret when it is opened"
            )
        cls = type(self)
        return {
            "cls": f"{cls.__module__}:{cls.__name__}",
            "protocol": self.protocol,
            "args": [],
            **_masked(self._given),
        }

    # -- transactions, each thread's own ------------------------------------------

    @property
    def _intrans(self) -> bool:
        return getattr(self._state, "is_open", False)

    @_intrans.setter
    def _intrans(self, is_open: bool) -> None:
        self._state.is_open = is_open

    @property
    def _transaction(self) -> Any:
        return getattr(self._state, "transaction", None)

    @_transaction.setter
    def _transaction(self, transaction: Any) -> None:
        self._state.transaction = transaction


def _strip(path: Any, *, protocol: str, store: str | None) -> Any:
    if isinstance(path, list | tuple | set):
        return [_strip(one, protocol=protocol, store=store) for one in path]
    return strip_url(stringify_path(path), protocol, store)


def _restore(cls: Any, store: Store, given: dict[str, Any], protocol: str, is_of_store: bool) -> StoreIdentity:  # noqa: FBT001 - called by pickle
    made: StoreIdentity = cls(store=store, protocol=protocol)
    made._given = Options(given)  # noqa: SLF001 - a second constructor
    made._is_of_store = is_of_store  # noqa: SLF001
    strip: Any = partial(_strip, protocol=protocol, store=given.get("uri"))
    made._strip_protocol = strip  # type: ignore[method-assign] # noqa: SLF001
    return made


def _masked(options: Mapping[str, Any]) -> dict[str, Any]:
    """Copy options, with secrets masked at any depth."""
    shown: dict[str, Any] = {}
    for name, value in options.items():
        if isinstance(value, Mapping):
            shown[name] = _masked(value)
        elif name == "uri":
            shown[name] = parse_uri(value).masked
        else:
            shown[name] = MASK if is_secret_name(str(name)) else value
    return shown


def _describe(value: Any, depth: int) -> object:
    """Say what an object is made of, as pickle would, but the same for every copy."""
    if isinstance(value, _PLAIN) and type(value) in _PLAIN:
        return type(value).__name__, value
    if isinstance(value, Mapping):
        return "mapping", sorted((str(name), _describe(item, depth + 1)) for name, item in value.items())
    if isinstance(value, set | frozenset):
        return "set", sorted(repr(_describe(item, depth + 1)) for item in value)
    if isinstance(value, list | tuple):
        return "sequence", [_describe(item, depth + 1) for item in value]
    if isinstance(value, type) or hasattr(value, "__qualname__"):
        shared = "" if "<" not in value.__qualname__ else id(value)  # lambdas have one name together
        return "name", f"{value.__module__}.{value.__qualname__}{shared}"
    if depth > _DEEPEST:
        return "object", id(value)
    try:
        made = value.__reduce_ex__(4)
    except TypeError:  # it cannot be pickled, so there are no copies
        return "object", id(value)
    return type(value).__qualname__, _describe(made, depth + 1)
