"""A mirror in YAML: scheduled, and with its checks."""

from typing import Annotated, Any, Literal

from dagster import Component, ComponentLoadContext, ComponentTypeSpec, Definitions, scaffold_with

from anystore_dagster.components.source_and_target import (
    SourceAndTarget,
    SourceAndTargetScaffolder,
    described,
    resource_of,
)
from anystore_dagster.mirror_assets import mirror_asset


@scaffold_with(SourceAndTargetScaffolder)
class AnystoreMirrorComponent(Component, SourceAndTarget):
    """Keeps a store in step with another one, on a schedule and with checks."""

    prefix: Annotated[str | None, described("A folder to mirror.", "reports")] = None
    exclude_prefix: Annotated[str | None, described("A folder to leave out, on both sides.", "drafts")] = None
    glob: Annotated[str | None, described("A pattern for the keys relative to the prefix.", "**/*.pdf")] = None
    compare: Annotated[
        Literal["auto", "size", "version", "checksum", "missing"],
        described("What makes a value of both sides another one.", "checksum"),
    ] = "auto"
    delete: Annotated[bool, described("Whether values that the source has not are deleted.")] = False
    max_delete: Annotated[int | None, described("How many may be deleted; if there are more, none is.", 1000)] = 1000
    force: Annotated[bool, described("Whether they are deleted even if the source is empty.")] = False
    verify: Annotated[Literal["fast", "full"], described("full also reads each copy back.", "full")] = "fast"
    workers: Annotated[int, described("How many values are copied at the same time.", 16)] = 16
    max_requests_per_second: Annotated[
        float | None, described("How many values may be asked for, written or looked at in a second.", 50)
    ] = None
    max_bytes_per_second: Annotated[float | None, described("How many bytes may be read in a second.", 5e6)] = None
    retries: Annotated[int, described("How often what can pass is tried again.", 3)] = 3

    @classmethod
    def get_spec(cls) -> ComponentTypeSpec:
        """Describe the component to ``dg``."""
        return ComponentTypeSpec(
            description="A mirror of a store in another one, scheduled and checked.", tags=["storage", "ingestion"]
        )

    def build_defs(self, context: ComponentLoadContext) -> Definitions:  # noqa: ARG002 - Dagster's signature
        """Make the asset, its checks and its schedule.

        Args:
            context: Dagster's, of the component.

        Returns:
            The definitions.
        """
        options: dict[str, Any] = {
            name: getattr(self, name)
            for name in (
                *("prefix", "exclude_prefix", "glob", "compare", "delete", "max_delete", "force", "verify"),
                *("workers", "max_requests_per_second", "max_bytes_per_second", "retries"),
            )
        }
        made = mirror_asset(
            self.name, resource_of(self.source), resource_of(self.target), **options, **self.asset_options()
        )
        return self.definitions(made)
