"""An asset that somebody else keeps: its listing is looked at, and nothing is fetched."""

import hashlib
import warnings
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from dagster import (
    AssetKey,
    AutomationCondition,
    BetaWarning,
    DataVersion,
    MetadataValue,
    ObserveResult,
    OpExecutionContext,
    SourceAsset,
    observable_source_asset,
)

from anystore.crawling.ordered import OrderedWalk, UnreadFolder
from anystore.errors import BackendError
from anystore.keys import parse_globs
from anystore_dagster.store_choice import StoreLike, check_store, open_store, shown_store

_KIND = {"dagster/kind/anystore": ""}


def observe_listing(
    name: str,
    source: StoreLike,
    *,
    glob: str | None = None,
    exclude: str | Collection[str] = (),
    allow_empty: bool = False,
    robots: bool = True,
    key_prefix: str | Sequence[str] | None = None,
    group_name: str | None = None,
    description: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    tags: Mapping[str, str] | None = None,
    automation_condition: AutomationCondition[AssetKey] | None = None,
) -> SourceAsset:
    """Make an asset that stands for the documents of a listing, whoever puts them there.

    Observing it lists, and downloads nothing. Its data version is a checksum over the keys and what the listing shows
    of each: size and time, or its version. So it is another one when a document is new, changed or gone, and what
    depends on it follows, for instance with :func:`anystore_dagster.content_changed`.

    A listing that cannot be read to its end gives no version: the observation fails. So does one that lists nothing,
    unless ``allow_empty`` is set: a folder that is not mounted looks like that, too.

    Args:
        name: Name of the asset.
        source: The store to list, such as ``https://host/files/``.
        glob: A pattern for the keys to look at, such as ``**/*.pdf``.
        exclude: A pattern, or several, for keys to leave out; a folder that ``folder/**`` leaves out is not listed.
        allow_empty: Whether a listing of nothing counts.
        robots: Whether ``robots.txt`` is obeyed.
        key_prefix: Folders of the asset's key.
        group_name: The group it is shown in.
        description: What the documents are.
        metadata: Metadata of the asset.
        tags: Tags of the asset.
        automation_condition: When it is observed by itself, such as ``AutomationCondition.on_cron("@hourly")``.

    Returns:
        The asset, which can be observed.

    Raises:
        InvalidOption: If ``source`` is no store.
        InvalidUri: If it is a text that is no URI.
        InvalidKey: If a pattern is no glob.

    Example:
        >>> observe_listing("incoming", "https://example.org/papers/", glob="**/*.pdf").key.to_user_string()
        'incoming'
    """
    check_store("source of an observation", source)
    parse_globs(glob, exclude)  # refused now, not by the first run

    def observe(context: OpExecutionContext) -> ObserveResult:
        store = open_store(source)
        digest, documents, size = hashlib.sha256(), 0, 0
        for one in OrderedWalk(store, glob=glob, exclude=exclude, robots=robots):
            if isinstance(one, UnreadFolder):
                raise BackendError(
                    f"the listing of {store.uri} is incomplete, so that nothing was observed: {one.key}: {one.reason}; "
                    "observe it again, or leave the folder out by exclude="
                )
            digest.update(f"{one.key}\0{one.shown}\n".encode())
            documents, size = documents + 1, size + (one.size or 0)
        if not documents and not allow_empty:
            raise BackendError(
                f"{store.uri} lists nothing, so that nothing was observed: check that it is there; if it may be empty, "
                "pass allow_empty=True"
            )
        context.log.info("%s: %s documents listed", store.uri, f"{documents:,}")
        is_web = store.uri.startswith(("http://", "https://"))
        shown: dict[str, Any] = {
            "anystore/documents": documents,
            "anystore/listed_bytes": size,
            "anystore/source": MetadataValue.url(store.uri) if is_web else MetadataValue.text(store.uri),
        }
        return ObserveResult(data_version=DataVersion(digest.hexdigest()), metadata=shown)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BetaWarning)
        return observable_source_asset(
            name=name,
            key_prefix=key_prefix,
            group_name=group_name,
            description=description or f"Documents that {shown_store(source)} lists.",
            metadata=metadata,
            tags={**_KIND, **(tags or {})},
            automation_condition=automation_condition,
        )(observe)
