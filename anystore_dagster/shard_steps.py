"""Steps of Dagster that do one job in shards, wherever the executor of the job runs steps.

No value goes from step to step: what they have to tell each other is in the target, so that machines need no disk that
all of them see.
"""

import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, wait
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from dagster import (
    AssetCheckSpec,
    AssetDep,
    AssetIn,
    AssetKey,
    AssetsDefinition,
    AutomationCondition,
    DynamicOut,
    DynamicOutput,
    In,
    Nothing,
    OpExecutionContext,
    Out,
    RetryPolicy,
    graph_asset,
    op,
)

from anystore import InvalidOption, Unsupported
from anystore_dagster.crawl_reports import FILES

ExecutorFactory = Callable[[], AbstractContextManager[Executor]]
"""Gives an executor for the time of a ``with`` block; an executor is such a block itself."""

SomeDeps = Sequence[AssetKey | AssetsDefinition | AssetDep | str]
"""Assets that have to be there before."""

_SHARD = re.compile(r"(\d+)_of_(\d+)_in_(\w+)")
_REFUSED = "dask"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardSteps:
    """The steps of a graph whose shards are dynamic.

    Attributes:
        key: Key of the asset.
        shards: How many there are.
        begin: Begins the work, and gives a word that tells this run from others.
        look_after: Does one shard of a run, and says what it did.
        end: Ends a run, and gives the results of the asset.
        do_all: Does all of that in one step, by an executor.
        checks: The checks of the asset.
        io_manager_key: The IO manager of its value.
        retry_policy: How often a failed step is tried again.
        pool: The pool of the steps of shards.
        op_tags: Their tags.
        deps: Assets that have to be there before the first step.
    """

    key: AssetKey
    shards: int
    begin: Callable[[OpExecutionContext], str]
    look_after: Callable[[OpExecutionContext, int, str], str]
    end: Callable[[OpExecutionContext], Iterator[Any]]
    do_all: Callable[[OpExecutionContext, Executor], Iterator[Any]]
    checks: Sequence[AssetCheckSpec]
    io_manager_key: str | None
    retry_policy: RetryPolicy | None
    pool: str | None
    op_tags: Mapping[str, Any] | None
    deps: SomeDeps = ()

    def make_asset(
        self,
        executor: ExecutorFactory | None,
        *,
        group_name: str | None,
        description: str,
        tags: Mapping[str, str] | None,
        owners: Sequence[str] | None,
        automation_condition: AutomationCondition[Any] | None,
    ) -> AssetsDefinition:
        """Make the asset whose graph these steps are.

        Args:
            executor: Does all in one step, instead of dynamic ones.
            group_name: The group it is shown in.
            description: What its values are.
            tags: Its tags.
            owners: Its owners.
            automation_condition: When it is materialized by itself.

        Returns:
            The asset.
        """
        return graph_asset(
            key=self.key,
            group_name=group_name,
            description=description,
            tags=tags,
            owners=owners,
            automation_condition=automation_condition,
            check_specs=self.checks,
            ins=self.inputs,
            kinds={"anystore"},
        )(self._compose(executor))

    def _compose(self, executor: ExecutorFactory | None) -> Callable[[], Any]:
        """Make the function that puts the graph together."""
        if executor is None:
            begin_op, shard_op, end_op = self._begin_op(), self._shard_op(), self._end_op()

            def in_steps(**ready: Any) -> Any:
                return self._outputs(end_op(begin_op(**ready).map(shard_op).collect()))

            return self._with_inputs(in_steps)
        one_op = self._one_op(executor)
        return self._with_inputs(lambda **ready: self._outputs(one_op(**ready)))

    @property
    def inputs(self) -> dict[str, AssetIn]:
        """What ``@graph_asset(ins=…)`` takes; nothing is loaded."""
        found = [AssetDep.from_coercible(dep) for dep in self.deps]
        return {
            f"after_{dep.asset_key.to_python_identifier()}": AssetIn(
                dep.asset_key, partition_mapping=dep.partition_mapping, dagster_type=Nothing
            )
            for dep in found
        }

    def _with_inputs(self, compose: Callable[..., Any]) -> Callable[..., Any]:
        """Name the inputs of a graph where Dagster looks for them: as arguments of what puts it together."""
        parameters = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in self.inputs]
        compose.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        return compose

    @property
    def _ready(self) -> dict[str, In]:
        return {name: In(Nothing) for name in self.inputs}

    @property
    def _name(self) -> str:
        return self.key.to_python_identifier()  # of all of it: a job has each name once

    def _outs(self) -> dict[str, Out]:
        value = Out(FILES, io_manager_key=self.io_manager_key) if self.io_manager_key else Out(FILES)
        return {"result": value, **{check.get_python_identifier(): Out() for check in self.checks}}

    def _outputs(self, ended: Any) -> Any:
        return {name: getattr(ended, name) for name in self._outs()}

    def _begin_op(self) -> Any:
        @op(
            name=f"{self._name}_shards",
            ins=self._ready,
            out=DynamicOut(Nothing),
            retry_policy=self.retry_policy,
            description="Cuts the work into shards.",
        )
        def begin(context: OpExecutionContext) -> Iterator[DynamicOutput[None]]:
            _refuse_dask(context)
            token = self.begin(context)
            for number in range(1, self.shards + 1):
                # all that a shard has to know; a run that is taken up again has the same
                yield DynamicOutput(None, mapping_key=f"{number:04d}_of_{self.shards:04d}_in_{token}")

        return begin

    def _shard_op(self) -> Any:
        @op(
            name=f"{self._name}_shard",
            ins={"begun": In(Nothing)},
            out=Out(Nothing),
            retry_policy=self.retry_policy,
            pool=self.pool,
            tags=self.op_tags,
            description="Looks after one shard.",
        )
        def look_after(context: OpExecutionContext) -> None:
            _refuse_dask(context)
            number, _, token = _read_mapping_key(context.get_mapping_key())
            context.log.info("shard %s of %s: %s", number, self.shards, self.look_after(context, number, token))

        return look_after

    def _end_op(self) -> Any:
        @op(
            name=f"{self._name}_end",
            ins={"done": In(Nothing)},
            out=self._outs(),
            retry_policy=self.retry_policy,
            description="Ends the work, and tells what was done.",
        )
        def end(context: OpExecutionContext) -> Iterator[Any]:
            yield from self.end(context)

        return end

    def _one_op(self, executor: ExecutorFactory) -> Any:
        @op(
            name=f"{self._name}_all",
            ins=self._ready,
            out=self._outs(),
            retry_policy=self.retry_policy,
            pool=self.pool,
            tags=self.op_tags,
            description="Hands the shards to an executor.",
        )
        def do_all(context: OpExecutionContext) -> Iterator[Any]:
            with executor() as pool:
                yield from self.do_all(context, pool)

        return do_all


def _read_mapping_key(text: str | None) -> tuple[int, int, str]:
    found = _SHARD.fullmatch(text or "")
    if found is None:
        raise InvalidOption(f"{text!r} names no shard; the step of a shard is run by its own graph alone")
    return int(found[1]), int(found[2]), found[3]


def ancestors(context: OpExecutionContext) -> list[str]:
    """Give the ids of this run and of those that it goes on with, in any of which the first step may have run."""
    found = [context.run_id]
    parent = context.run.parent_run_id
    while parent is not None and parent not in found:
        found.append(parent)
        run = context.instance.get_run_by_id(parent)
        parent = None if run is None else run.parent_run_id
    return found


def _refuse_dask(context: OpExecutionContext) -> None:
    """Refuse the executor that leaves dynamic steps out without a word, and calls the run a success."""
    if context.job_def.executor_def.name == _REFUSED:
        raise Unsupported(
            "dagster-dask's executor passes over dynamic steps in silence, so that nothing would be fetched: use "
            "another executor for this job, or give the asset executor=, by which a Dask cluster does the shards "
            "inside of one step: sharded_crawl_asset(…, executor=lambda: Client('tcp://…').get_executor())"
        )


def wait_for_all(parts: Sequence[Future[Any]]) -> None:
    """Wait until all parts have ended, and raise what the first of them raised."""
    try:
        wait(parts)
    except BaseException:
        for part in parts:
            part.cancel()
        raise
    for part in parts:
        part.result()
