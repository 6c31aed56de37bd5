"""A store as a Dagster resource: configuration in, a :class:`anystore.Store` out."""

import os
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from dagster import Config, ConfigurableResource, EnvVar
from dagster._config.field_utils import IntEnvVar  # what EnvVar.int() gives; no public name
from pydantic import ConfigDict, Field, PrivateAttr

from anystore import Store, get_store
from anystore.errors import InvalidOption, InvalidUri
from anystore.uris import MASK, is_secret_name, parse_uri

SerializationMode = Literal["auto", "raw", "text", "json", "pickle", "parquet", "arrow", "csv"]
"""How values become bytes; the names that anystore takes."""


class StoreSettings(Config):
    """The fields that say which store is meant, for a resource or an IO manager.

    Attributes:
        uri: Where the store is.
        prefix: A folder in the store.
        backend_config: Options and credentials of the backend.
        serialization_mode: How values become bytes.
        readonly: Whether every write is refused.
    """

    model_config = ConfigDict(hide_input_in_errors=True, extra="forbid")

    uri: str | None = Field(
        default=None,
        description=(
            "Where the store is: a path, or scheme://…, such as memory://name or https://host/files/. "
            "Without it, the default store: ANYSTORE_URI, else ./anystore-data. "
            "Give a URI that holds a password as EnvVar, or {env: NAME} in YAML."
        ),
    )
    prefix: str = Field(
        default="",
        description="A folder in the store, such as team/project; nothing outside of it is touched.",
    )
    backend_config: dict[str, Any] = Field(
        default_factory=dict,
        description=(
            "Options and credentials of the backend, such as {password: {env: STORE_PASSWORD}}. EnvVar, or {env: NAME} "
            "in YAML, may stand at any depth, and is read when the store is used."
        ),
    )
    serialization_mode: SerializationMode = Field(
        default="auto",
        description=(
            "How values become bytes. auto keeps text and JSON types as they are, and lets an IO manager follow the "
            "annotations; any other mode is used for every value. pickle runs whatever code the stored values hold."
        ),
    )
    readonly: bool = Field(default=False, description="Whether every write and deletion is refused.")

    _opened: Store | None = PrivateAttr(default=None)

    def open_store(self) -> Store:
        """Open the store, or give the one that was opened before.

        Returns:
            The store; nothing is connected yet.

        Raises:
            InvalidOption: If a variable of the environment that the configuration names is not set.
            InvalidUri: If there is no such backend, or the URI is not what it takes.
            MissingExtra: If the library that the scheme needs is not installed.
        """
        if self._opened is None:
            config = resolve_variables(self.backend_config, where="backend_config")
            store = get_store(
                resolve_variables(self.uri, where="uri"),
                backend_config=config or None,
                serialization_mode=self.serialization_mode,
                # False leaves it to the settings of the default store, which may be read-only itself
                readonly=self.readonly or None,
            )
            folder = resolve_variables(self.prefix, where="prefix")
            self._opened = store.under(folder) if folder else store
        return self._opened

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        """Show the fields, with secrets masked."""
        return _mask_fields(super().__repr_args__())


class AnystoreResource(ConfigurableResource[Any], StoreSettings):
    """Values under keys on any backend, in any asset, op, sensor or schedule.

    The store is opened when it is first used, and kept for as long as this resource lives.

    Example:
        >>> files = AnystoreResource(uri="memory://resource-example", prefix="team")
        >>> entry = files.store.put("greeting", "hello")
        >>> files.store.get("greeting")
        'hello'
    """

    @property
    def store(self) -> Store:
        """The store, opened now if it was not yet; errors as for :meth:`StoreSettings.open_store`."""
        return self.open_store()


def resolve_variables(value: Any, *, where: str) -> Any:
    """Replace ``EnvVar`` and ``{"env": NAME}`` by what the environment says, at any depth.

    Args:
        value: A part of a configuration.
        where: Its place, for the message, such as ``backend_config.auth``.

    Returns:
        The same, resolved.

    Raises:
        InvalidOption: If a variable is not set; the message names it and its place.

    Example:
        >>> resolve_variables({"timeout": 3, "retries": [1, 2]}, where="backend_config")
        {'timeout': 3, 'retries': [1, 2]}
    """
    name = _variable_name(value)
    if name is not None:
        found = os.environ.get(name)
        if found is None:
            raise InvalidOption(
                f"{where} of the store asks for the environment variable {name}, which is not set; "
                "set it, also where steps run"
            )
        return found
    if isinstance(value, Mapping):
        return {key: resolve_variables(part, where=f"{where}.{key}") for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [resolve_variables(part, where=f"{where}[{number}]") for number, part in enumerate(value)]
    return value


def _variable_name(value: Any) -> str | None:
    if isinstance(value, EnvVar | IntEnvVar):
        return value.env_var_name
    # Dagster gives nested variables as they stand in YAML
    if isinstance(value, Mapping) and set(value) == {"env"} and isinstance(value["env"], str):
        return value["env"]
    return None


def _mask_fields(fields: Iterable[tuple[str | None, Any]]) -> Iterable[tuple[str | None, Any]]:
    """Mask the secrets among the fields of a resource; names of variables stay."""
    for name, value in fields:
        if name == "uri" and isinstance(value, str) and _variable_name(value) is None:
            yield name, _masked_uri(value)
        elif name == "backend_config":
            yield name, _masked(value)
        else:
            yield name, value


def _masked_uri(uri: str) -> str:
    try:
        return parse_uri(uri).masked
    except InvalidUri:
        return MASK


def _masked(value: Any, name: str = "") -> Any:
    if _variable_name(value) is not None:
        return value
    if isinstance(value, Mapping):
        return {key: _masked(part, str(key)) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_masked(part, name) for part in value]
    return MASK if is_secret_name(name) and value else value
