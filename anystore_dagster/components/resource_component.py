"""A store as a resource, in YAML."""

from typing import Annotated

from dagster import Component, ComponentLoadContext, ComponentTypeSpec, Definitions, Resolver, scaffold_with

from anystore_dagster.components.store_attributes import StoreAttributes, StoreScaffolder
from anystore_dagster.resource import AnystoreResource


@scaffold_with(StoreScaffolder)
class AnystoreResourceComponent(Component, StoreAttributes):
    """Values under keys on any backend, as a resource of assets, ops, sensors and schedules."""

    resource_key: Annotated[
        str,
        Resolver.default(
            description="The name under which assets, ops, sensors and schedules ask for the store.", examples=["store"]
        ),
    ] = "store"

    @classmethod
    def get_spec(cls) -> ComponentTypeSpec:
        """Describe the component to ``dg``."""
        return ComponentTypeSpec(description="A store on any backend, as a resource.", tags=["storage", "resource"])

    def build_defs(self, context: ComponentLoadContext) -> Definitions:  # noqa: ARG002 - Dagster's signature
        """Make the resource.

        Args:
            context: Dagster's, of the component.

        Returns:
            Definitions with the resource alone.
        """
        return Definitions(resources={self.resource_key: AnystoreResource(**self.given_fields())})
