"""A store as a Dagster resource: configuration in, a :class:`anystore.Store` out."""

import os
from collections.abc import Iterable, Mapping
from typing import Any, Literal, Self

from dagster import ConfigurableResource, DagsterEventType, DagsterInstance, EnvVar, InitResourceContext
from pydantic import ConfigDict, Field, PrivateAttr, model_validator

from anystore import Store, get_store
from anystore.errors import InvalidOption, InvalidUri, Unsupported
from anystore.settings import read_default_settings
from anystore.uris import StoreUri, parse_uri
from anystore_dagster.config_types import STORE_TYPES, GuardedFields
from anystore_dagster.dagster_internals import (
    CopiedResource,
    DefinitionConfigSchema,
    replace_resource_types,
    replace_types,
)
from anystore_dagster.literal_secrets import hide_secrets, reveal_secrets
from anystore_dagster.variables import is_same, resolve_variables, variable_name

SerializationMode = Literal["auto", "raw", "text", "json", "pickle", "parquet", "arrow", "csv"]
"""How values become bytes; the names that anystore takes."""

_MAY_BE_VARIABLES = ("uri", "username", "password", "prefix")
_IN_AZURE = ("az", "abfs", "abfss", "adl")  # whose URIs name the container where others name the user
_STEP_WORKERS = {DagsterEventType.STEP_WORKER_STARTING, DagsterEventType.STEP_WORKER_STARTED}


class StoreSettings(CopiedResource):
    """The fields that say which store is meant, for a resource or an IO manager.

    A class that derives from it names it before the class of Dagster.

    Attributes:
        uri: Where the store is.
        username: The name to log in with.
        password: The password, or the secret part of a key.
        prefix: A folder in the store.
        backend_config: Options and credentials of the backend.
        serialization_mode: How values become bytes.
        readonly: Whether every write is refused.
    """

    model_config = ConfigDict(hide_input_in_errors=True, extra="forbid")

    uri: str | None = Field(
        default=None,
        description=(
            "Where the store is: a path, or scheme://…, such as s3://bucket/folder, postgresql://host/database, "
            "redis://host/0 or https://host/files/. Without it, the default store: ANYSTORE_URI, else "
            "./anystore-data. Give a URI that holds a password as {env: NAME}."
        ),
    )
    username: str | None = Field(
        default=None,
        description="The name to log in with; of S3 the access key. Instead of one in the URI.",
    )
    password: str | None = Field(
        default=None,
        description=(
            "The password; of S3 the secret key. Instead of one in the URI. Give it as {env: NAME}: it is read where "
            "the store is used, and shown nowhere. A literal is refused in run configuration, which is kept and shown."
        ),
    )
    prefix: str = Field(
        default="",
        description="A folder in the store, such as team/project; nothing outside of it is touched.",
    )
    backend_config: dict[str, Any] = Field(
        default_factory=dict,
        description=(
            "Options and credentials of the backend by name, such as {endpoint_url: http://…, token: {env: NAME}}. "
            "{env: NAME} may stand at any depth, and is read where the store is used."
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
    _run: tuple[DagsterInstance, str] | None = PrivateAttr(default=None)

    def __init__(self, **fields: Any) -> None:
        super().__init__(**hide_secrets(_with_variables(fields)))
        replace_resource_types(self, STORE_TYPES, whole=GuardedFields)

    @classmethod
    def configure_at_launch(cls, **fields: Any) -> Any:
        """Give a resource of which fields can be set in the launchpad, or have to be.

        Args:
            fields: Those that are known now.

        Returns:
            What :class:`dagster.Definitions` takes in place of it; of a resource one class of Dagster's, of an IO
            manager another.
        """
        partial = super().configure_at_launch(**hide_secrets(_with_variables(fields)))
        replace_resource_types(partial, STORE_TYPES, whole=GuardedFields)
        return partial

    @classmethod
    def to_config_schema(cls) -> DefinitionConfigSchema:
        """Describe the fields to Dagster.

        Returns:
            The schema, for a function that is decorated with ``@resource``.
        """
        return DefinitionConfigSchema(
            replace_types(super().to_config_schema().as_field(), STORE_TYPES, whole=GuardedFields)
        )

    @model_validator(mode="after")
    def _check_credentials(self) -> Self:
        """Refuse a name or password that is given twice, as far as that is known when definitions load."""
        if isinstance(self.uri, str) and variable_name(self.uri) is None:
            _with_credentials(self.backend_config, self.username, self.password, uri=self.uri)
        return self

    def setup_for_execution(self, context: InitResourceContext) -> None:
        """Remember the run, to know later whether its steps share this process.

        Args:
            context: Dagster's, of the resource.
        """
        if context.instance is not None and context.run is not None:
            self._run = (context.instance, context.run.run_id)

    def open_store(self) -> Store:
        """Open the store, or give the one that was opened before.

        Returns:
            The store; nothing is connected yet.

        Raises:
            InvalidOption: If a variable of the environment that the configuration names is not set, or a credential
                is given twice, or was given in Python for another store or in another process.
            InvalidUri: If there is no such backend, or the URI is not what it takes.
            MissingExtra: If the library that the scheme needs is not installed.
            Unsupported: If the store is in memory, and the steps of the run are in other processes.
        """
        opened = self._opened  # asked once: pydantic looks for a private attribute where all others are first
        if opened is None:
            fields = {name: getattr(self, name) for name in ("uri", "username", "password", "backend_config", "prefix")}
            given = {name: resolve_variables(value, where=name) for name, value in reveal_secrets(fields).items()}
            settings = read_default_settings() if given["uri"] is None else None
            uri, config = given["uri"], given["backend_config"]
            config = _with_credentials(
                settings.backend_config if settings and not config else config,
                given["username"],
                given["password"],
                uri=settings.uri if settings else uri,
            )
            self._check_processes(settings.uri if settings else uri)
            store = get_store(
                uri,
                backend_config=config or None,
                serialization_mode=self.serialization_mode,
                # False leaves it to the settings of the default store, which may be read-only itself
                readonly=self.readonly or None,
            )
            opened = self._opened = store.under(given["prefix"]) if given["prefix"] else store
        return opened

    def _holds(self, values: Mapping[str, Any]) -> bool:
        """Tell whether the fields have these values already, as run configuration and Dagster give them."""
        return all(name in self.__dict__ and is_same(value, self.__dict__[name]) for name, value in values.items())

    def _check_processes(self, uri: str) -> None:
        if self._run is None or not is_in_memory(uri):
            return
        instance, run_id = self._run
        if instance.get_records_for_run(run_id, of_type=_STEP_WORKERS, limit=1).records:
            raise Unsupported(
                f"{uri} keeps values in the memory of one process, and the steps of this run run in other processes, "
                "each with a memory of its own: use a path or the URI of a service, or run all steps in one process "
                "(executor_def=in_process_executor, or execution: {config: {in_process: {}}})"
            )

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        """Show variables by their names."""
        for name, value in super().__repr_args__():
            variable = variable_name(value)
            yield name, {"env": variable} if variable else value

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the fields as Dagster sees them; secrets stay in this process, and so does the open store."""
        return _remake, (type(self), {name: getattr(self, name) for name in sorted(self.model_fields_set)})


class AnystoreResource(StoreSettings, ConfigurableResource[Any]):
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


def is_in_memory(uri: str) -> bool:
    """Tell whether a store keeps its values in the memory of one process.

    Args:
        uri: Of the store.

    Returns:
        Whether other processes see none of them.

    Example:
        >>> is_in_memory("sqlite://"), is_in_memory("sqlite:///data.db")
        (True, False)
    """
    parts = _parse(uri)
    kind = parts.scheme.removeprefix("fsspec+").partition("+")[0]
    return kind == "memory" or (kind == "sqlite" and parts.path in ("", "/:memory:"))


def _remake(kind: type[StoreSettings], fields: Mapping[str, Any]) -> StoreSettings:
    return kind(**fields)


def _with_variables(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Write ``{"env": NAME}`` as an EnvVar, and a path as text, where pydantic expects text."""
    found = dict(fields)
    if isinstance(found.get("uri"), os.PathLike):
        found["uri"] = os.fspath(found["uri"])
    for name in _MAY_BE_VARIABLES:
        variable = variable_name(found.get(name))
        if variable is not None:
            found[name] = EnvVar(variable)
    return found


def _with_credentials(
    config: Mapping[str, Any], username: str | None, password: str | None, *, uri: str
) -> dict[str, Any]:
    """Put name and password among the options of the backend, where every network backend takes them."""
    options = dict(config)
    parts = _parse(uri)
    in_azure = parts.scheme in _IN_AZURE and parts.password is None
    for name, value, in_uri in (
        ("username", username, None if in_azure else parts.username),
        ("password", password, parts.password),
    ):
        if value is None:
            continue
        if in_uri is not None or options.get(name) is not None:
            place = "uri" if in_uri is not None else "backend_config"
            raise InvalidOption(f"the {name} of {parts.masked} is given twice, also in {place}; give it once")
        options[name] = value
    return options


def _parse(uri: str) -> StoreUri:
    try:
        return parse_uri(uri)
    except InvalidUri:
        return StoreUri(scheme="")  # that it is none is said when the store is opened
