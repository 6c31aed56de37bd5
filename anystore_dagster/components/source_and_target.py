"""What the components of crawls and mirrors share: two stores, a schedule, and the file that ``dg scaffold`` writes."""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypeAlias

from dagster import (
    AssetsDefinition,
    AssetSelection,
    DefaultScheduleStatus,
    Definitions,
    Model,
    Resolvable,
    Resolver,
    Scaffolder,
    ScaffoldRequest,
    ScheduleDefinition,
)
from dagster.components import scaffold_component
from pydantic import BaseModel, ConfigDict, Field, model_validator

from anystore_dagster.components.store_attributes import StoreAttributes
from anystore_dagster.literal_secrets import refuse_literals
from anystore_dagster.resource import AnystoreResource

SomeStore: TypeAlias = str | StoreAttributes
"""A store in YAML: its URI or path, or the attributes of a store."""

_STORES = ("source", "target", "journal")


def described(text: str, *examples: Any) -> Resolver:
    """Describe an attribute.

    Args:
        text: What it is.
        examples: Of values.

    Returns:
        What ``Annotated`` takes; templates are filled in as everywhere.
    """
    resolver: Resolver = Resolver.default(description=text, examples=list(examples) or None)
    return resolver


class SourceAndTarget(Model, Resolvable):
    """The attributes that crawls and mirrors share in YAML.

    Attributes:
        name: Name of the asset.
        source: The store to read.
        target: The store to fill.
        schedule: When it runs, as cron has it.
        timezone: The zone of that time.
        schedule_status: Whether the schedule runs without being started.
        fail_on_error: Whether one failure makes the asset fail.
        blocking: Whether what is downstream waits for the checks.
        key_prefix: Folders of the asset's key.
        group_name: The group it is shown in.
        description: What the documents are.
        deps: Assets that have to be there before.
        io_manager_key: The IO manager that keeps the manifest.
        tags: Tags of the asset.
        owners: Its owners.
        pool: The pool whose limit holds for it.
    """

    model_config = ConfigDict(hide_input_in_errors=True)

    name: Annotated[str, described("Name of the asset.", "papers")]
    source: Annotated[
        SomeStore,
        described("The store to read: its URI, or the attributes of a store.", "https://example.org/files/"),
    ]
    target: Annotated[
        SomeStore,
        described("The store to fill: its URI or path, or the attributes of a store.", "s3://bucket/documents"),
    ]
    schedule: Annotated[str | None, described("When it runs, as cron has it; without it, when asked.", "0 6 * * *")] = (
        None
    )
    timezone: Annotated[str | None, described("The zone of that time; UTC without it.", "Europe/Berlin")] = None
    schedule_status: Annotated[
        Literal["RUNNING", "STOPPED"],
        described("Whether the schedule runs at once, or waits until it is started in the interface.", "STOPPED"),
    ] = "RUNNING"
    fail_on_error: Annotated[bool, described("Whether one failure makes the asset fail, after all else was done.")] = (
        False
    )
    blocking: Annotated[
        bool,
        described("Whether what is downstream waits for the checks, and does not run if one fails."),
    ] = False
    key_prefix: Annotated[list[str] | None, described("Folders of the asset's key.", ["raw"])] = None
    group_name: Annotated[str | None, described("The group it is shown in.", "documents")] = None
    description: Annotated[str | None, described("What the documents are.", "Minutes of the council.")] = None
    deps: Annotated[list[str] | None, described("Assets that have to be there before.", ["login"])] = None
    io_manager_key: Annotated[str | None, described("The IO manager that keeps the manifest.", "io_manager")] = None
    tags: Annotated[dict[str, str] | None, described("Tags of the asset.", {"team": "data"})] = None
    owners: Annotated[list[str] | None, described("Its owners.", ["team:data"])] = None
    pool: Annotated[str | None, described("The pool whose limit holds for it.", "example.org")] = None

    @model_validator(mode="before")
    @classmethod
    def _wrap_addresses(cls, values: Any) -> Any:
        """Take secrets out of addresses, before anything of Dagster sees the component."""
        if not isinstance(values, Mapping):
            return values
        return {
            name: StoreAttributes(uri=value) if name in _STORES and isinstance(value, str) else value
            for name, value in values.items()
        }

    def asset_options(self) -> dict[str, Any]:
        """Give what is the same for every asset."""
        return {
            name: getattr(self, name)
            for name in (
                *("fail_on_error", "blocking", "key_prefix", "group_name", "description", "deps"),
                *("io_manager_key", "tags", "owners", "pool"),
            )
        }

    def definitions(self, made: AssetsDefinition) -> Definitions:
        """Put the asset and its schedule together.

        Args:
            made: The asset.

        Returns:
            The definitions; the checks come with the asset.
        """
        if self.schedule is None:
            return Definitions(assets=[made])
        plan = ScheduleDefinition(
            name=re.sub(r"\W", "_", "_".join([*made.key.path, "schedule"])),
            target=AssetSelection.assets(made.key),
            cron_schedule=self.schedule,
            execution_timezone=self.timezone,
            default_status=DefaultScheduleStatus[self.schedule_status],
            description=f"Materializes {made.key.to_user_string()}.",
        )
        return Definitions(assets=[made], schedules=[plan])


def resource_of(store: SomeStore) -> AnystoreResource:
    """Make the resource of a store in YAML.

    Args:
        store: Its URI, or its attributes.

    Returns:
        The resource, whose variables are read when it is used.
    """
    return AnystoreResource(uri=store) if isinstance(store, str) else AnystoreResource(**store.given_fields())


class SourceAndTargetOptions(BaseModel):
    """What ``dg scaffold defs`` can be told.

    Attributes:
        source: The store to read.
        target: The store to fill.
        schedule: When it runs.
    """

    source: str = Field(description="The store to read, such as https://example.org/files/ .")
    target: str = Field(default="./anystore-data", description="The store to fill: a path, or scheme://… .")
    schedule: str = Field(default="0 6 * * *", description="When it runs, as cron has it.")


class SourceAndTargetScaffolder(Scaffolder[SourceAndTargetOptions]):
    """Writes the ``defs.yaml`` of a crawl or a mirror, whose asset has the name of its folder."""

    more: Sequence[tuple[str, Any]] = ()

    @classmethod
    def get_scaffold_params(cls) -> type[SourceAndTargetOptions]:
        """Give the options of the command line."""
        return SourceAndTargetOptions

    def scaffold(self, request: ScaffoldRequest[SourceAndTargetOptions]) -> None:
        """Write the file.

        Args:
            request: What is wanted, and where.

        Raises:
            InvalidOption: If a URI holds a password, which has no place in a file.
        """
        given = request.params
        refuse_literals(given.source, where="source")
        refuse_literals(given.target, where="target")
        name = re.sub(r"\W", "_", request.target_path.name)
        stores = {"source": given.source, "target": given.target}
        scaffold_component(request, {"name": name, **stores, **dict(self.more), "schedule": given.schedule})
