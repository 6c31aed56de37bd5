"""A crawl in YAML: scheduled, and with its checks."""

from typing import Annotated, Any, Literal

from dagster import Component, ComponentLoadContext, ComponentTypeSpec, Definitions, scaffold_with

from anystore_dagster.components.source_and_target import (
    SomeStore,
    SourceAndTarget,
    SourceAndTargetScaffolder,
    described,
    resource_of,
)
from anystore_dagster.crawl_assets import crawl_asset


@scaffold_with(SourceAndTargetScaffolder)
class AnystoreCrawlComponent(Component, SourceAndTarget):
    """Fetches every document of a listing into a store, again and again, on a schedule and with checks."""

    journal: Annotated[SomeStore | None, described("Where the crawl's memory is kept, if not in the target.")] = None
    glob: Annotated[str | None, described("A pattern for the keys to fetch.", "**/*.pdf")] = None
    exclude: Annotated[list[str] | None, described("Patterns for keys to leave out.", ["drafts/**"])] = None
    max_depth: Annotated[int, described("How many folders deep to go.", 40)] = 40
    max_entries: Annotated[int | None, described("The most documents to look at.", 10_000)] = None
    max_bytes: Annotated[int | None, described("About how many bytes to fetch at most.", 10 << 30)] = None
    allow_hosts: Annotated[
        list[str] | None,
        described("Hosts, beside the listing's own, to which redirects may lead.", ["cdn.example.org"]),
    ] = None
    robots: Annotated[bool, described("Whether robots.txt is obeyed.")] = True
    concurrency: Annotated[int | None, described("The most requests at a time for one host.", 4)] = None
    follow: Annotated[
        Literal["listings", "links"], described("links takes any page for a listing of what it links to.", "links")
    ] = "listings"
    verify: Annotated[
        Literal["fast", "full", "audit"],
        described("fast trusts the listing; full also reads what is stored; audit fetches all again.", "full"),
    ] = "fast"
    prune: Annotated[bool, described("Whether the values of documents that vanished are deleted.")] = False

    @classmethod
    def get_spec(cls) -> ComponentTypeSpec:
        """Describe the component to ``dg``."""
        return ComponentTypeSpec(
            description="A crawl of a listing into a store, scheduled and checked.",
            tags=["storage", "ingestion"],
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
                *("glob", "max_depth", "max_entries", "max_bytes", "robots", "concurrency"),
                *("follow", "verify", "prune"),
            )
        }
        made = crawl_asset(
            self.name,
            resource_of(self.source),
            resource_of(self.target),
            journal=None if self.journal is None else resource_of(self.journal),
            exclude=self.exclude or (),
            allow_hosts=self.allow_hosts or (),
            **options,
            **self.asset_options(),
        )
        return self.definitions(made)
