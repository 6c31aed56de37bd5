"""Mirrors that many machines do at the same time, each as one asset."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass
from typing import Any

import orjson
from dagster import (
    AssetsDefinition,
    AutomationCondition,
    OpExecutionContext,
    RetryPolicy,
)

from anystore import DoesNotExist, MirrorReport, Store, mirror
from anystore.keys import Key, Selection, parse_prefix, private_key
from anystore.mirroring import Compare, MirrorFailure, Verify, check_options
from anystore.mirroring.report import MOST_FAILURES
from anystore.shards import Shard, check_cut
from anystore_dagster.crawl_reports import log_progress
from anystore_dagster.mirror_assets import Content, mirror_check_specs, mirror_counts, mirror_result, read_content
from anystore_dagster.shard_steps import ExecutorFactory, ShardSteps, SomeDeps, ancestors
from anystore_dagster.store_choice import StoreLike, asset_key, check_places, open_store, shown_store
from anystore_dagster.values.known_stores import remember_stores

_MOST_DELETE = 1000
_COUNTS = ("copied", "skipped", "deleted", "failed", "bytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """What a shard did, as it is kept in the target for the step that ends the mirror.

    Attributes:
        token: The run that it belongs to.
        report: What was done.
        content: What the target has of the shard.
    """

    token: str
    report: MirrorReport
    content: Content

    def to_bytes(self) -> bytes:
        """Write it."""
        return orjson.dumps({"token": self.token, "report": asdict(self.report), "content": asdict(self.content)})

    @classmethod
    def from_bytes(cls, data: bytes) -> "_Part":
        """Read it."""
        found = orjson.loads(data)
        failures = tuple(MirrorFailure(**one) for one in found["report"].pop("failures"))
        report = MirrorReport(**found["report"], failures=failures)
        return cls(token=found["token"], report=report, content=Content(**found["content"]))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mirror:
    """One mirror.

    Attributes:
        asset: Key of the asset, as text that is part of a key.
        source: The store to read.
        target: The store to fill.
        shards: How many parts it has.
        depth: How many folders deep they are told apart, below the prefix.
        selection: The prefix, the prefix that is left out, and the pattern.
        force: Whether values are deleted even if the source is empty.
        options: What :func:`anystore.mirror` is told besides.
    """

    asset: str
    source: Store
    target: Store
    shards: int
    depth: int
    selection: tuple[str | None, str | None, str | None]
    force: bool
    options: Mapping[str, Any]

    def look_after(self, number: int, token: str, progress: Any = None) -> MirrorReport:
        """Do one shard, and keep what it did."""
        prefix, exclude_prefix, glob = self.selection
        above = parse_prefix(prefix).count("/") if self.depth else 0
        shard = Shard(number, self.shards, self.depth + above)
        target = shard.view(self.target)
        report = mirror(
            shard.view(self.source),
            target,
            prefix=prefix,
            exclude_prefix=exclude_prefix,
            glob=glob,
            force=self.force or self._has_anything(),
            progress=progress,
            **dict(self.options),
        )
        content = read_content(target, prefix, exclude_prefix, glob)
        part = _Part(token=token, report=report, content=content)
        self.target.backend.put(self._key(number), part.to_bytes())
        return report

    def _has_anything(self) -> bool:
        """Tell whether the source has something in any shard, so that an empty shard is no sign of an empty source."""
        if not self.options["delete"]:
            return False
        covers = Selection(*self.selection).covers
        return any(covers(entry.key) for entry in self.source.backend.scan(Selection(*self.selection).folder))

    def end(self, tokens: Collection[str]) -> tuple[MirrorReport, Content]:
        """Put together what the shards of a run did."""
        parts = [self._read(number, tokens) for number in range(1, self.shards + 1)]
        ended = [part for part in parts if part is not None]
        missing = [
            MirrorFailure(
                "", f"shard {number} of {self.shards} has not ended in this run, or another one has done it since"
            )
            for number, part in enumerate(parts, 1)
            if part is None
        ]
        sums = {name: sum(getattr(part.report, name) for part in ended) for name in _COUNTS}
        failures = [failure for part in ended for failure in part.report.failures]
        report = MirrorReport(
            source=self.source.uri,
            target=self.target.uri,
            failures=(*missing, *sorted(failures, key=lambda failure: failure.key))[:MOST_FAILURES],
            seconds=max((part.report.seconds for part in ended), default=0.0),
            **sums,
        )
        total = sum(int(part.content.digest, 16) for part in ended) % (1 << 256)
        content = Content(
            values=sum(part.content.values for part in ended),
            bytes=sum(part.content.bytes for part in ended),
            digest=f"{total:064x}",
            is_blind=any(part.content.is_blind for part in ended),
        )
        return report, content

    def _read(self, number: int, tokens: Collection[str]) -> _Part | None:
        try:
            part = _Part.from_bytes(self.target.backend.get(self._key(number)))
        except DoesNotExist:
            return None
        return part if part.token in tokens else None

    def _key(self, number: int) -> Key:
        return private_key(f"mirror-shards/{self.asset}/{number:05d}.json")


def sharded_mirror_asset(
    name: str,
    source: StoreLike,
    target: StoreLike,
    *,
    shards: int = 16,
    depth: int = 1,
    executor: ExecutorFactory | None = None,
    prefix: str | None = None,
    exclude_prefix: str | None = None,
    glob: str | None = None,
    compare: Compare = "auto",
    delete: bool = False,
    max_delete: int | None = _MOST_DELETE,
    force: bool = False,
    verify: Verify = "fast",
    workers: int = 16,
    max_requests_per_second: float | None = None,
    max_bytes_per_second: float | None = None,
    retries: int = 3,
    fail_on_error: bool = False,
    blocking: bool = False,
    key_prefix: str | Sequence[str] | None = None,
    group_name: str | None = None,
    description: str | None = None,
    deps: SomeDeps | None = None,
    io_manager_key: str | None = None,
    tags: Mapping[str, str] | None = None,
    owners: Sequence[str] | None = None,
    automation_condition: AutomationCondition[Any] | None = None,
    retry_policy: RetryPolicy | None = None,
    pool: str | None = None,
    op_tags: Mapping[str, Any] | None = None,
) -> AssetsDefinition:
    """Make an asset as :func:`mirror_asset` does, whose values many machines copy at the same time.

    The mirror is cut into shards by the names of folders; each is a dynamic step, which the executor of the job runs
    where it runs steps. Since a mirror keeps no memory, a step that runs twice, at the same time or one after the
    other, copies a value twice at worst.

    Args:
        name: Name of the asset.
        source: The store to read. It is never changed.
        target: The store to fill, which every machine reaches.
        shards: How many parts there are, each a step: some for each machine.
        depth: How many folders below the prefix they are told apart; 0 tells them apart by whole keys, so that each
            lists everything; see :class:`anystore.shards.Shard`.
        executor: Instead of dynamic steps, one step lists both stores, and what this function gives copies: any
            :class:`concurrent.futures.Executor`, such as that of a Dask cluster; see :func:`anystore.mirror`.
        prefix: A folder to mirror.
        exclude_prefix: A folder to leave out, on both sides.
        glob: A pattern for the keys relative to the prefix.
        compare: What makes a value of both sides another one; see :func:`anystore.mirror`.
        delete: Whether values of the target that the source has not are deleted.
        max_delete: How many values of one shard may be deleted; if there are more, none of it is.
        force: Whether the values of the target are deleted even if all of the source is empty.
        verify: ``full`` also reads each copy back.
        workers: How many values of one shard are copied at the same time.
        max_requests_per_second: How many requests may be made in a second, by all shards together if all are at work.
        max_bytes_per_second: How many bytes may be read in a second, in the same way.
        retries: How often what can pass, such as a lost connection, is tried again.
        fail_on_error: Whether one failure makes the asset fail, after all others were copied.
        blocking: Whether what is downstream waits for the checks, and does not run if one fails.
        key_prefix: Folders of the asset's key.
        group_name: The group it is shown in.
        description: What the values are.
        deps: Assets that have to be there before.
        io_manager_key: The IO manager that keeps the manifest.
        tags: Tags of the asset.
        owners: Its owners.
        automation_condition: When it is materialized by itself.
        retry_policy: How often a failed step is tried again; what was copied is not copied again.
        pool: The pool whose limit holds for the steps of shards.
        op_tags: Tags of these steps, such as the queue of an executor.

    Returns:
        The asset.

    Raises:
        InvalidOption: If ``source`` or ``target`` is no store, there can be no such shards, or another argument is not
            what it can be.
        InvalidUri: If one of them is a text that is no URI.
        InvalidKey: If a prefix or the pattern is none.

    Example:
        >>> backup = sharded_mirror_asset("backup", "s3://bucket/reports", "gs://other/reports", shards=8)
        >>> backup.key.to_user_string()
        'backup'
    """
    check_cut(shards, depth)
    check_places("mirror", source, target)
    selection = (prefix, exclude_prefix, glob)
    Selection(*selection)  # refuses now what the mirror would refuse
    check_options(
        compare=compare,
        verify=verify,
        workers=workers,
        retries=retries,
        max_delete=max_delete,
        max_requests_per_second=max_requests_per_second,
        max_bytes_per_second=max_bytes_per_second,
    )
    key = asset_key(name, key_prefix)
    remember_stores(key.to_user_string(), lambda: (open_store(target), None))
    sharers = shards if executor is None else 1
    options: dict[str, Any] = {
        "compare": compare,
        "delete": delete,
        "max_delete": max_delete,
        "verify": verify,
        "workers": workers,
        "max_requests_per_second": max_requests_per_second and max_requests_per_second / sharers,
        "max_bytes_per_second": max_bytes_per_second and max_bytes_per_second / sharers,
        "retries": retries,
    }

    def this_mirror() -> _Mirror:
        return _Mirror(
            asset=key.to_python_identifier(),
            source=open_store(source),
            target=open_store(target),
            shards=shards,
            depth=depth,
            selection=selection,
            force=force,
            options=options,
        )

    def result(
        context: OpExecutionContext, work: _Mirror, report: MirrorReport, content: Content | None
    ) -> Iterator[Any]:
        return mirror_result(
            context,
            key,
            report,
            store=work.target,
            read_content=lambda: content or read_content(work.target, *selection),
            selection=selection,
            compare=compare,
            verify=verify,
            fail_on_error=fail_on_error,
        )

    def look_after(context: OpExecutionContext, number: int, token: str) -> str:
        return mirror_counts(this_mirror().look_after(number, token, log_progress(context.log)))

    def end(context: OpExecutionContext) -> Iterator[Any]:
        work = this_mirror()
        report, content = work.end([token_of(run) for run in ancestors(context)])
        return result(context, work, report, content)

    def do_all(context: OpExecutionContext, copiers: Executor) -> Iterator[Any]:
        work = this_mirror()
        report = mirror(
            work.source,
            work.target,
            prefix=prefix,
            exclude_prefix=exclude_prefix,
            glob=glob,
            force=force,
            executor=copiers,
            progress=log_progress(context.log),
            **options,
        )
        return result(context, work, report, None)

    steps = ShardSteps(
        key=key,
        shards=shards,
        begin=lambda context: token_of(context.run_id),
        look_after=look_after,
        end=end,
        do_all=do_all,
        checks=mirror_check_specs(key, blocking=blocking),
        io_manager_key=io_manager_key,
        retry_policy=retry_policy,
        pool=pool,
        op_tags=op_tags,
        deps=deps or (),
    )
    return steps.make_asset(
        executor,
        group_name=group_name,
        description=description or f"What {shown_store(source)} has, copied to {shown_store(target)}.",
        tags=tags,
        owners=owners,
        automation_condition=automation_condition,
    )


def token_of(run_id: str) -> str:
    """Write the id of a run so that it can be in the name of a step.

    Example:
        >>> token_of("1b4e28ba-2fa1")
        '1b4e28ba2fa1'
    """
    return run_id.replace("-", "")
