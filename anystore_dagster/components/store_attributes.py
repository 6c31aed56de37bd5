"""The attributes that say in YAML which store is meant, and the file that ``dg scaffold`` writes."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from dagster import Model, ResolutionContext, Resolvable, Resolver, Scaffolder, ScaffoldRequest
from dagster.components import scaffold_component
from pydantic import BaseModel, ConfigDict, Field, model_validator

from anystore_dagster.literal_secrets import SecretText, hide_secrets, refuse_literals
from anystore_dagster.resource import SerializationMode, StoreSettings

_FROM_ENVIRONMENT = re.compile(r"\{\{[^}]*\benv\b[^}]*\}\}")


class Variable(Model, Resolvable):
    """A variable of the environment, read where the store is used.

    Attributes:
        env: Its name.
    """

    env: Annotated[str, Resolver.default(description="The name of a variable, read where the store is used.")]


Text = str | Variable


def resolve_options(context: ResolutionContext, options: Any) -> Any:
    """Fill in templates at any depth; what comes from the environment is taken for a secret.

    Args:
        context: Dagster's, of the YAML file.
        options: A name or options, as they stand there.

    Returns:
        The same, filled in.
    """
    if isinstance(options, BaseModel):  # {env: NAME}, where it is the only mapping that fits
        return options.model_dump()
    if isinstance(options, Mapping):
        return {name: resolve_options(context, part) for name, part in options.items()}
    if isinstance(options, list):
        return [resolve_options(context, part) for part in options]
    value = context.resolve_value(options) if isinstance(options, str) else options
    return SecretText(value) if isinstance(value, str) and _FROM_ENVIRONMENT.search(options) else value


def like(kind: type[BaseModel], name: str, *examples: Any) -> Resolver:
    """Describe an attribute with the words that a resource or an IO manager has for its field.

    Args:
        kind: The class with the field.
        name: Of both.
        examples: Of values.

    Returns:
        What ``Annotated`` takes; templates are filled in as everywhere.
    """
    described: Resolver = Resolver.default(
        description=kind.model_fields[name].description, examples=list(examples) or None
    )
    return described


class StoreAttributes(Model, Resolvable):
    """A store in YAML.

    Attributes:
        uri: Where the store is.
        username: The name to log in with.
        password: The password, or the secret part of a key.
        prefix: A folder in the store.
        backend_config: Options and credentials of the backend.
        serialization_mode: How values become bytes.
        readonly: Whether every write is refused.
    """

    model_config = ConfigDict(hide_input_in_errors=True)

    uri: Annotated[Text | None, like(StoreSettings, "uri", "s3://bucket/folder", {"env": "STORE_URI"})] = None
    username: Annotated[
        Text | None,
        Resolver(
            resolve_options,
            model_field_type=str | Variable.model() | None,
            description=StoreSettings.model_fields["username"].description,
            examples=["me", {"env": "STORE_USERNAME"}],
            inject_before_resolve=False,  # else nobody could tell where it came from
        ),
    ] = None
    password: Annotated[Text | None, like(StoreSettings, "password", {"env": "STORE_PASSWORD"})] = None
    prefix: Annotated[Text, like(StoreSettings, "prefix", "team/project")] = ""
    backend_config: Annotated[
        dict[str, Any] | None,
        Resolver(
            resolve_options,
            model_field_type=dict[str, Any],
            description=StoreSettings.model_fields["backend_config"].description,
            examples=[{"token": {"env": "STORE_TOKEN"}}],
        ),
    ] = None
    serialization_mode: Annotated[SerializationMode, like(StoreSettings, "serialization_mode", "json")] = "auto"
    readonly: Annotated[bool, like(StoreSettings, "readonly")] = False

    @model_validator(mode="before")
    @classmethod
    def _hide_secrets(cls, values: Any) -> Any:
        """Take out what ``{{ env.NAME }}`` has put in, before anything of Dagster sees the component."""
        return hide_secrets(_plain(values)) if isinstance(values, Mapping) else values

    def given_fields(self) -> dict[str, Any]:
        """Give what was set, as a resource or an IO manager takes it; the name of the component's resource is not."""
        given = ((name, getattr(self, name)) for name in sorted(self.model_fields_set - {"resource_key"}))
        return {name: _plain(value) for name, value in given if value is not None}


def _plain(value: Any) -> Any:
    """Write variables as Dagster's configuration does."""
    if isinstance(value, Variable):
        return {"env": value.env}
    if isinstance(value, Mapping):
        return {name: _plain(part) for name, part in value.items()}
    return value


class ScaffoldOptions(BaseModel):
    """What ``dg scaffold defs`` can be told.

    Attributes:
        uri: Where the store is.
        resource_key: The name under which assets ask for it.
    """

    uri: str = Field(default="./anystore-data", description="Where the store is: a path, or scheme://… .")
    resource_key: str | None = Field(default=None, description="The name under which assets ask for it.")


class StoreScaffolder(Scaffolder[ScaffoldOptions]):
    """Writes the ``defs.yaml`` of a store."""

    resource_key: Literal["store", "io_manager"] = "store"

    @classmethod
    def get_scaffold_params(cls) -> type[ScaffoldOptions]:
        """Give the options of the command line."""
        return ScaffoldOptions

    def scaffold(self, request: ScaffoldRequest[ScaffoldOptions]) -> None:
        """Write the file.

        Args:
            request: What is wanted, and where.

        Raises:
            InvalidOption: If the URI holds a password, which has no place in a file.
        """
        refuse_literals(request.params.uri, where="uri")
        key = request.params.resource_key or self.resource_key
        scaffold_component(request, {"resource_key": key, "uri": request.params.uri})
