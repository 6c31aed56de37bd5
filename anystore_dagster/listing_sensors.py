"""A sensor that walks a listing and asks for runs, a little in each tick."""

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from dagster import (
    AssetKey,
    AssetsDefinition,
    AssetSelection,
    DagsterInvariantViolationError,
    DefaultSensorStatus,
    GraphDefinition,
    JobDefinition,
    PartitionsDefinition,
    RunRequest,
    SensorDefinition,
    SensorEvaluationContext,
    SensorResult,
)

from anystore.crawling.ordered import ListedDocument, OrderedWalk
from anystore.errors import InvalidOption
from anystore.keys import parse_globs
from anystore_dagster.crawl_partitions import CrawlPartitions
from anystore_dagster.dagster_internals import CoercibleToAssetSelection, UnresolvedAssetJobDefinition, instance_id
from anystore_dagster.listing_memory import ListingMemory, digest_of
from anystore_dagster.listing_ticks import TIMEOUT_VARIABLE, ListingPlan, ListingTick
from anystore_dagster.store_choice import StoreLike, check_store, open_store, shown_store
from anystore_dagster.timed_walks import TimedWalk

_SECONDS = 30.0
_DEFAULT_TIMEOUT = 60.0
_REQUESTS = 100


def listing_sensor(
    name: str,
    source: StoreLike,
    state: StoreLike,
    *,
    target: CoercibleToAssetSelection | AssetsDefinition | JobDefinition | UnresolvedAssetJobDefinition,
    partitions: CrawlPartitions | None = None,
    request_for: Callable[[ListedDocument], RunRequest] | None = None,
    glob: str | None = None,
    exclude: str | Collection[str] = (),
    existing: bool = True,
    remove_partitions: bool = False,
    max_requests: int = _REQUESTS,
    seconds: float = _SECONDS,
    robots: bool = True,
    minimum_interval_seconds: int | None = 60,
    tags: Mapping[str, str] | None = None,
    description: str | None = None,
    default_status: DefaultSensorStatus = DefaultSensorStatus.STOPPED,
) -> SensorDefinition:
    """Make a sensor that asks for runs as documents of a listing come and change.

    It only lists; nothing is downloaded. A tick walks for some seconds, and the next one goes on there. What was seen
    is remembered in ``state``, and Dagster's cursor is a pointer to it, so that no document is asked for twice and none
    is lost, whatever is killed and when.

    A run is asked for:

    - with partitions by folder or bucket: for each of them that has new or changed documents;
    - with partitions by document: for each document that is new or changed;
    - with ``request_for``: for each such document, as that function says;
    - with neither: once for all that a walk has found.

    Args:
        name: Name of the sensor.
        source: The store to list, such as ``https://host/files/``.
        state: The store that keeps what was seen, below ``.anystore/``; the crawl's target will do.
        target: What runs: assets, a selection of them, or a job.
        partitions: The partitions of the target.
        request_for: Makes the run request of a document, for a job that takes configuration; its run key is set here.
        glob: A pattern for the keys to look at, such as ``**/*.pdf``.
        exclude: A pattern, or several, for keys to leave out; a folder that ``folder/**`` leaves out is not listed.
        existing: Whether runs are asked for the documents that are there when the sensor begins, too.
        remove_partitions: Whether the partition of a document or folder that is gone is removed.
        max_requests: The most runs that one tick asks for.
        seconds: How long one tick walks. Dagster ends a tick after 60, or what ``DAGSTER_SENSOR_GRPC_TIMEOUT_SECONDS``
            says.
        robots: Whether ``robots.txt`` is obeyed.
        minimum_interval_seconds: The time between two ticks.
        tags: Tags of each run.
        description: What it waits for.
        default_status: Whether it runs without being started.

    Returns:
        The sensor.

    Raises:
        InvalidOption: If an argument is not what it can be.
        InvalidUri: If a store is a text that is no URI.

    Example:
        >>> from dagster import asset
        >>> years = CrawlPartitions.folders("years")
        >>> @asset(partitions_def=years.definition)
        ... def papers(context): ...
        >>> listing_sensor(
        ...     "new_papers", "https://example.org/papers/", "./state", target=papers, partitions=years
        ... ).name
        'new_papers'
    """
    for role, store in (("source of a sensor", source), ("state of a sensor", state)):
        check_store(role, store)
    _check(max_requests, seconds, target)
    if partitions is not None and not isinstance(partitions, CrawlPartitions):
        raise InvalidOption(
            f"partitions of a sensor are CrawlPartitions.folders(…), .buckets(…) or .documents(…), not "
            f"{type(partitions).__name__}; give their .definition to the asset"
        )
    if request_for is not None and partitions is not None and partitions.by != "document":
        raise InvalidOption("request_for= makes a request for each document; leave it out, or partition by document")
    parse_globs(glob, exclude)  # refused now, not by the first run
    plan = ListingPlan(
        partitions=partitions,
        request_for=request_for,
        existing=existing,
        removes=remove_partitions,
        most=max_requests,
        tags=dict(tags or {}),
    )
    selection = None
    if not isinstance(target, GraphDefinition | JobDefinition | UnresolvedAssetJobDefinition):
        assets = [target] if isinstance(target, AssetsDefinition) else target
        # a selection is a tuple, too
        if request_for is None and isinstance(assets, Sequence) and not isinstance(assets, AssetSelection):
            made = [one for one in assets if isinstance(one, AssetsDefinition)]
            _check_partitions({key: one.partitions_def for one in made for key in one.keys}, partitions)
        selection = AssetSelection.from_coercible(assets)

    def evaluate(context: SensorEvaluationContext) -> SensorResult:
        materialized = _materialized(context, selection)
        if request_for is None:  # before anything is taken for seen
            _check_partitions(materialized, partitions)
        listing = open_store(source)
        memory = ListingMemory(open_store(state).backend, sensor=name, scope=_scope(context))
        remembered = memory.open(context.cursor)
        memory.clean(remembered.head)
        tick = ListingTick(plan, remembered.head)
        step = memory.step(remembered)
        text = ""
        if not tick.has_enough:
            walk = OrderedWalk(listing, glob=glob, exclude=exclude, after=tick.head.after, robots=robots)
            text = tick.walk(TimedWalk(walk, seconds=seconds), memory, step, listing.uri, context)
        tick.ask_for_waiting()
        is_new = tick.head != remembered.head
        cursor = step.save(tick.head) if is_new else remembered.name
        return tick.result(context, text, cursor=cursor, assets=materialized)

    return SensorDefinition(
        name=name,
        evaluation_fn=evaluate,
        target=target,
        minimum_interval_seconds=minimum_interval_seconds,
        description=description or f"Asks for runs as documents of {shown_store(source)} come and change.",
        default_status=default_status,
    )


def _materialized(
    context: SensorEvaluationContext, selection: AssetSelection | None
) -> dict[AssetKey, PartitionsDefinition[Any] | None]:
    """Give the assets that run, and their partitions."""
    if selection is None or context.repository_def is None:
        return {}
    graph = context.repository_def.asset_graph
    nodes = [graph.get(key) for key in selection.resolve(graph)]
    return {node.key: node.partitions_def for node in nodes if node.is_materializable}


def _scope(context: SensorEvaluationContext) -> str:
    """Tell this sensor from those of its name in other deployments and code locations."""
    origin = context.code_location_origin
    location = "" if origin is None else origin.location_name
    try:
        instance = instance_id(context.instance)
    except DagsterInvariantViolationError:  # evaluated by hand
        instance = ""
    return digest_of(instance, location, context.repository_name or "")


def _check_partitions(
    assets: Mapping[AssetKey, PartitionsDefinition[Any] | None], partitions: CrawlPartitions | None
) -> None:
    """Refuse assets that have other partitions, as far as it is known which assets there are."""
    wanted = None if partitions is None else partitions.definition
    others = [key for key, found in assets.items() if found not in (None, wanted)]
    if not others and wanted is not None and not any(assets.values()):
        others = list(assets)
    if others:
        raise InvalidOption(
            f"the asset {others[0].to_user_string()!r} has other partitions than the sensor that is to run it; make "
            "partitions = CrawlPartitions.folders(…), and give partitions.definition to the asset as "
            "partitions_def=, and partitions to the sensor as partitions="
        )


def _check(max_requests: Any, seconds: Any, target: Any) -> None:
    if type(max_requests) is not int or max_requests < 1:
        raise InvalidOption(f"max_requests={max_requests!r}: it is a whole number of at least 1")
    limit = float(os.environ.get(TIMEOUT_VARIABLE, _DEFAULT_TIMEOUT))
    if type(seconds) not in (int, float) or not 0 < seconds < limit:
        raise InvalidOption(
            f"seconds={seconds!r}: it is a number above 0, and below {limit:g}, after which Dagster ends a tick; to "
            f"walk for longer, set {TIMEOUT_VARIABLE} where the daemon and the code run"
        )
    if target is None:
        raise InvalidOption("target= of a sensor is what runs: assets, a selection of them, or a job")
