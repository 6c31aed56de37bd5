"""What ``anycache`` makes of a function: a callable with the same arguments and results, and its cache."""

import asyncio
import inspect
import sys
import time
from collections.abc import Callable, Coroutine
from functools import update_wrapper
from types import MethodType
from typing import Any, Concatenate, Generic, Literal, ParamSpec, Self, TypeVar, cast, overload

from anystore.backend import Backend
from anystore.caching import flights
from anystore.caching.attempts import Attempt
from anystore.caching.entries import CacheStats, Entries
from anystore.caching.envelope import Answer
from anystore.caching.flights import Flight, Place, Waiting
from anystore.keys import Key

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
S = TypeVar("S")

Binding = Literal["function", "class", "static"]
"""What a method is called with: its object, its class, or neither."""


class Plan:
    """Everything that is fixed when a function is decorated.

    Args:
        function: The function.
        entries: Its entries.
        use_cache: Whether calls are cached, or a function of their arguments that tells it.
        wait: Seconds to wait for another computation of the same call; 0 neither waits nor lets others wait.
        binding: What a method is called with.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        entries: Entries,
        *,
        use_cache: bool | Callable[..., bool],
        wait: float,
        binding: Binding,
    ) -> None:
        self.function = function
        self.entries = entries
        self.use_cache = use_cache
        self.wait = wait
        self.binding = binding

    def key(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Key | None:
        """Give the key of a call; None if it is not to be cached."""
        use = self.use_cache
        if use is True or (use(*args, **kwargs) if callable(use) else use):
            key = self.entries.name.key(args, kwargs)
            if key is not None:
                return key
        self.entries.counters.skipped.add()
        return None


class _Wrapper(Generic[P, R]):
    """What functions and coroutine functions share: being a method, being found again, being shown."""

    __wrapped__: Callable[..., Any]
    __qualname__: str

    def __init__(self, plan: Plan, bound: tuple[Any, ...] = ()) -> None:
        update_wrapper(cast("Any", self), plan.function)
        self._plan = plan
        self._bound = bound
        if bound:
            self.__wrapped__ = MethodType(plan.function, bound[0])

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...

    @overload
    def __get__(self: "_Wrapper[Concatenate[Any, Q], S]", instance: object, owner: type | None = None) -> Any: ...

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        """Bind a method to its object, as functions do."""
        binding = self._plan.binding
        if self._bound or binding == "static" or (binding == "function" and instance is None):
            return self
        return type(self)(self._plan, (instance if binding == "function" else owner or type(instance),))

    def __repr__(self) -> str:
        """Show the function."""
        return f"<anycache {self.__wrapped__!r}>"

    def __reduce__(self) -> Any:
        """Pickle by name, as functions are."""
        return (getattr, (self._bound[0], self.__qualname__.rpartition(".")[2])) if self._bound else self.__qualname__


class CachedFunction(_Wrapper[P, R]):
    """A function whose results are kept in a store; ``anycache`` makes it.

    Args:
        plan: What was fixed when it was decorated.
        bound: The object of a method.
    """

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...

    @overload
    def __get__(
        self: "CachedFunction[Concatenate[Any, Q], S]", instance: object, owner: type | None = None
    ) -> "CachedFunction[Q, S]": ...

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        """Bind a method to its object, as functions do."""
        return super().__get__(instance, owner)

    @property
    def cache(self) -> "Cache[P]":
        """The entries of the function."""
        return Cache(self._plan, self._bound)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Give the stored result of the call, or compute and store it."""
        plan = self._plan
        function: Callable[..., R] = plan.function
        given: tuple[Any, ...] = (*self._bound, *args) if self._bound else args
        key = plan.key(given, kwargs)
        if key is None:
            return function(*given, **kwargs)
        entries = plan.entries
        backend = entries.opened or entries.open_backend()
        value: Any = entries.read(backend, key)
        if value is Answer.MISS:
            value = _answer(plan, backend, key, lambda: function(*given, **kwargs))
        elif value is Answer.DOWN:
            value = function(*given, **kwargs)
        else:
            entries.counters.hits.add()
        result: R = value
        return result


def _answer(plan: Plan, backend: Backend, key: Key, call: Callable[[], Any]) -> Any:
    """Compute a call, or wait for another one that does."""
    entries, deadline = plan.entries, time.monotonic() + plan.wait
    part = _join(plan, (backend.uri, key), deadline)
    if part is None:
        return call()
    if isinstance(part, bytes):
        entries.counters.hits.add()
        return entries.unseal(part)
    attempt = Attempt(entries, backend, key)
    with part:
        try:
            while plan.wait and (pause := attempt.step()) is not None and time.monotonic() < deadline:
                time.sleep(pause)
            if attempt.found is not None:
                part.finish(attempt.found)
                entries.counters.hits.add()
                return attempt.value
            value = call()
            sealed = attempt.keep(value, part)
        finally:
            attempt.release()
        part.finish(sealed)
        return entries.unseal(sealed) if entries.returns_what_is_stored else value


def _join(plan: Plan, place: Place, deadline: float) -> Flight | bytes | None:
    """Wait for another computation; give its sealed value, or the flight to compute in, or None to compute alone."""
    if not plan.wait:
        return Flight(place)
    hung: Flight | None = None
    while True:
        part = flights.join(place, instead_of=hung)
        if not isinstance(part, Waiting):
            return part
        with part as future:
            try:
                sealed = future.result(max(deadline - time.monotonic(), 0))
            except TimeoutError:
                hung = part.flight
                continue
        if sealed is not None:
            return sealed


class CachedCoroutine(_Wrapper[P, R]):
    """A coroutine function whose results are kept in a store; ``anycache`` makes it.

    The store is asked in threads, so that the event loop never waits for it.

    Args:
        plan: What was fixed when it was decorated.
        bound: The object of a method.
    """

    def __init__(self, plan: Plan, bound: tuple[Any, ...] = ()) -> None:
        super().__init__(plan, bound)
        if sys.version_info >= (3, 12):
            inspect.markcoroutinefunction(cast("Any", self))
        else:  # how asyncio.iscoroutinefunction knows those that are no plain functions
            self._is_coroutine = asyncio.coroutines._is_coroutine  # type: ignore[attr-defined] # noqa: SLF001

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...

    @overload
    def __get__(
        self: "CachedCoroutine[Concatenate[Any, Q], S]", instance: object, owner: type | None = None
    ) -> "CachedCoroutine[Q, S]": ...

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        """Bind a method to its object, as functions do."""
        return super().__get__(instance, owner)

    @property
    def cache(self) -> "AsyncCache[P]":
        """The entries of the function."""
        return AsyncCache(self._plan, self._bound)

    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Give the stored result of the call, or compute and store it."""
        result: R = await self._call((*self._bound, *args) if self._bound else args, kwargs)
        return result

    async def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        plan = self._plan
        key = plan.key(args, kwargs)
        if key is None:
            return await plan.function(*args, **kwargs)
        entries = plan.entries

        def look() -> tuple[Backend, Any]:
            backend = entries.open_backend()
            return backend, entries.read(backend, key)

        backend, value = await _in_thread(look)
        if value is Answer.DOWN:
            return await plan.function(*args, **kwargs)
        if value is Answer.MISS:
            return await _answer_later(plan, backend, key, lambda: plan.function(*args, **kwargs))
        entries.counters.hits.add()
        return value


async def _in_thread(function: Callable[..., S], *args: Any, **kwargs: Any) -> S:
    """Call what asks the store in a thread."""
    return await asyncio.to_thread(_call, function, args, kwargs)


def _call(function: Callable[..., S], args: tuple[Any, ...], kwargs: dict[str, Any]) -> S:
    try:
        return function(*args, **kwargs)
    except StopIteration as error:  # an event loop does not take it from a thread: its caller would wait for ever
        raise RuntimeError("a function that anycache called raised StopIteration") from error


async def _answer_later(plan: Plan, backend: Backend, key: Key, call: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Compute a call, or wait for another one that does; ``_answer`` with pauses for other tasks."""
    entries, deadline = plan.entries, time.monotonic() + plan.wait
    part = await _join_later(plan, (backend.uri, key), deadline)
    if part is None:
        return await call()
    if isinstance(part, bytes):
        entries.counters.hits.add()
        return await _in_thread(entries.unseal, part)
    attempt = Attempt(entries, backend, key)
    with part:
        try:
            while plan.wait and (pause := await _in_thread(attempt.step)) is not None:
                if time.monotonic() >= deadline:
                    break
                await asyncio.sleep(pause)
            if attempt.found is not None:
                part.finish(attempt.found)
                entries.counters.hits.add()
                return attempt.value
            value = await call()
            sealed = await _in_thread(attempt.keep, value, part)
        finally:
            if attempt.end():  # in a thread that goes on if this task is cancelled once more
                await asyncio.shield(_in_thread(attempt.release))
        part.finish(sealed)
        if entries.returns_what_is_stored:
            return await _in_thread(entries.unseal, sealed)
        return value


async def _join_later(plan: Plan, place: Place, deadline: float) -> Flight | bytes | None:
    """Wait as ``_join`` does, with other tasks running."""
    if not plan.wait:
        return Flight(place)
    hung: Flight | None = None
    while True:
        part = flights.join(place, instead_of=hung)
        if not isinstance(part, Waiting):
            return part
        with part as future:
            try:
                left = max(deadline - time.monotonic(), 0)
                # shielded: who waits may be cancelled, and the others wait on
                sealed = await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(future)), left)
            except TimeoutError:
                hung = part.flight
                continue
        if sealed is not None:
            return sealed


class Cache(Generic[P]):
    """The entries of a cached function: ``function.cache``.

    Args:
        plan: The function's.
        bound: The object of a method.
    """

    def __init__(self, plan: Plan, bound: tuple[Any, ...]) -> None:
        self._plan = plan
        self._bound = bound

    def key(self, *args: P.args, **kwargs: P.kwargs) -> str | None:
        """Give the key of a call in the store; None if ``key_func`` gives none.

        Raises:
            InvalidOption: If an argument has no stable name.
        """
        return self._plan.entries.name.key((*self._bound, *args), kwargs)

    def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Delete the entry of a call, so that the next one computes.

        Raises:
            BackendError: If the store fails.
        """
        key = self._plan.entries.name.key((*self._bound, *args), kwargs)
        if key is not None:
            self._plan.entries.invalidate(self._plan.entries.open_backend(), key)

    def clear(self) -> None:
        """Delete every entry of the function, of all its versions and objects.

        Raises:
            BackendError: If the store fails.
            Unsupported: If the store cannot list.
        """
        self._plan.entries.clear(self._plan.entries.open_backend())

    def stats(self) -> CacheStats:
        """Say what happened to the calls in this process so far."""
        return self._plan.entries.counters.stats()


class AsyncCache(Generic[P]):
    """The entries of a cached coroutine function: ``function.cache``.

    Args:
        plan: The function's.
        bound: The object of a method.
    """

    def __init__(self, plan: Plan, bound: tuple[Any, ...]) -> None:
        self._inner: Cache[P] = Cache(plan, bound)

    def key(self, *args: P.args, **kwargs: P.kwargs) -> str | None:
        """Give the key of a call in the store; None if ``key_func`` gives none.

        Raises:
            InvalidOption: If an argument has no stable name.
        """
        return self._inner.key(*args, **kwargs)

    async def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Delete the entry of a call, so that the next one computes.

        Raises:
            BackendError: If the store fails.
        """
        await _in_thread(self._inner.invalidate, *args, **kwargs)

    async def clear(self) -> None:
        """Delete every entry of the function, of all its versions and objects.

        Raises:
            BackendError: If the store fails.
            Unsupported: If the store cannot list.
        """
        await _in_thread(self._inner.clear)

    def stats(self) -> CacheStats:
        """Say what happened to the calls in this process so far."""
        return self._inner.stats()
