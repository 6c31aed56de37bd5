"""A store as an IO manager, in YAML."""

from typing import Annotated

from dagster import Component, ComponentLoadContext, ComponentTypeSpec, Definitions, Resolver, scaffold_with

from anystore_dagster.components.store_attributes import StoreAttributes, StoreScaffolder, like
from anystore_dagster.io_manager import AnystoreIOManager
from anystore_dagster.resource import AnystoreResource

_DEFAULTS = {name: field.default for name, field in AnystoreIOManager.model_fields.items()}


class IOManagerScaffolder(StoreScaffolder):
    """Writes the ``defs.yaml`` of an IO manager."""

    resource_key = "io_manager"


@scaffold_with(IOManagerScaffolder)
class AnystoreIOManagerComponent(Component, StoreAttributes):
    """Keeps what assets and ops return in a store on any backend, and loads it for what depends on them."""

    resource_key: Annotated[
        str,
        Resolver.default(
            description="The name of the IO manager; io_manager is the one of every asset that names no other.",
            examples=["io_manager"],
        ),
    ] = "io_manager"
    key_template: Annotated[str, like(AnystoreIOManager, "key_template")] = _DEFAULTS["key_template"]
    write_if_changed: Annotated[bool, like(AnystoreIOManager, "write_if_changed")] = False
    previews: Annotated[bool, like(AnystoreIOManager, "previews")] = _DEFAULTS["previews"]
    ttl: Annotated[float | None, like(AnystoreIOManager, "ttl", 86_400)] = None
    versions_to_keep: Annotated[int | None, like(AnystoreIOManager, "versions_to_keep", 3)] = None
    retries: Annotated[int, like(AnystoreIOManager, "retries", 4)] = _DEFAULTS["retries"]
    fallback_store: Annotated[
        StoreAttributes | None, like(AnystoreIOManager, "fallback_store", {"uri": "s3://production/assets"})
    ] = None
    local_cache: Annotated[str | None, like(AnystoreIOManager, "local_cache", "cache/assets")] = None
    local_cache_bytes: Annotated[int | None, like(AnystoreIOManager, "local_cache_bytes", 10 << 30)] = None

    @classmethod
    def get_spec(cls) -> ComponentTypeSpec:
        """Describe the component to ``dg``."""
        return ComponentTypeSpec(
            description="What assets return is kept in a store on any backend.", tags=["storage", "io_manager"]
        )

    def build_defs(self, context: ComponentLoadContext) -> Definitions:  # noqa: ARG002 - Dagster's signature
        """Make the IO manager.

        Args:
            context: Dagster's, of the component.

        Returns:
            Definitions with the IO manager alone.
        """
        fields = self.given_fields()
        if self.fallback_store is not None:
            fields["fallback_store"] = AnystoreResource(**self.fallback_store.given_fields())
        return Definitions(resources={self.resource_key: AnystoreIOManager(**fields)})
