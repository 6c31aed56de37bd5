"""``anycache``: keeps the results of a function in a store."""

import inspect
import os
import time
from collections.abc import Callable, Coroutine
from datetime import timedelta
from types import BuiltinFunctionType, FunctionType
from typing import Any, ParamSpec, Protocol, TypeVar, get_args, overload

from anystore.caching.entries import Entries, OnError, Rules
from anystore.caching.functions import Binding, CachedCoroutine, CachedFunction, Plan
from anystore.caching.naming import FunctionName
from anystore.codec_choice import Mode, choose_codec
from anystore.errors import InvalidOption
from anystore.store import LONGEST_TTL, Store, Ttl

P = ParamSpec("P")
R = TypeVar("R")

_WAIT = 300.0
_LONGEST_WAIT = 365 * 86_400.0  # for ever; what clocks of the system take is less than a thousand years


class Decorator(Protocol):
    """What ``anycache`` with arguments gives."""

    @overload
    def __call__(  # type: ignore[overload-overlap] # a coroutine function is a function, too; the first one wins
        self, function: Callable[P, Coroutine[Any, Any, R]], /
    ) -> CachedCoroutine[P, R]: ...

    @overload
    def __call__(self, function: Callable[P, R], /) -> CachedFunction[P, R]: ...


@overload
def anycache(  # type: ignore[overload-overlap] # the same
    function: Callable[P, Coroutine[Any, Any, R]], /
) -> CachedCoroutine[P, R]: ...


@overload
def anycache(function: Callable[P, R], /) -> CachedFunction[P, R]: ...


@overload
def anycache(
    *,
    store: Store | Callable[[], Store] | None = None,
    uri: str | os.PathLike[str] | None = None,
    ttl: Ttl | None = None,
    key_func: Callable[..., Any] | None = None,
    name: str | None = None,
    version: str | int | None = None,
    serialization_mode: Mode | None = None,
    model: Any = None,
    use_cache: bool | Callable[..., bool] = True,
    on_error: OnError = "log",
    wait: Ttl = _WAIT,
    clock: Callable[[], float] = time.time,
) -> Decorator: ...


def anycache(
    function: Callable[..., Any] | None = None,
    /,
    *,
    store: Store | Callable[[], Store] | None = None,
    uri: str | os.PathLike[str] | None = None,
    ttl: Ttl | None = None,
    key_func: Callable[..., Any] | None = None,
    name: str | None = None,
    version: str | int | None = None,
    serialization_mode: Mode | None = None,
    model: Any = None,
    use_cache: bool | Callable[..., bool] = True,
    on_error: OnError = "log",
    wait: Ttl = _WAIT,
    clock: Callable[[], float] = time.time,
) -> Any:
    """Keep the results of a function in a store, so that equal calls are computed once.

    Works on functions, methods and coroutine functions, as ``@anycache`` or with arguments. Nothing is opened before
    the first call. Results come back equal and of the same type, and none of them runs code, unless
    ``serialization_mode="pickle"`` is named.

    Args:
        function: The function, where the decorator stands without arguments.
        store: The store, or a function that gives it, which is asked at each call.
        uri: Of the store, instead; the default store of ``get_store()`` if neither is given.
        ttl: Seconds, or a timedelta, after which a result is computed again; on every backend.
        key_func: Gets the arguments of a call and gives its name: a text, or another value that arguments may have;
            None for a call that is not to be cached.
        name: Stands for the module and name of the function in keys.
        version: Part of every key: with another one, everything is computed again.
        serialization_mode: How results become bytes, instead of the exact way; the result is then what comes back.
        model: A pydantic model or another type that results are validated against, or a frame class.
        use_cache: Whether calls are cached, or a function of their arguments that tells it.
        on_error: Whether a store that fails is logged, and the function runs without it, or raises.
        wait: Seconds, or a timedelta, that a call waits at most for another one that computes the same. With 0 calls
            take no notice of each other, which saves a write for each one that is computed.
        clock: Tells the time in seconds since 1970, for the expiry.

    Returns:
        The function, with the same arguments and results, and ``cache``: ``key``, ``invalidate``, ``clear``, ``stats``.

    Raises:
        InvalidOption: If an argument is not what it can be, or the function cannot be cached.

    Example:
        >>> from anystore import get_store
        >>> @anycache(store=get_store("memory://squares"), ttl=60)
        ... def square(number: int) -> int:
        ...     print("computing")
        ...     return number * number
        >>> square(3), square(number=3)
        computing
        (9, 9)
        >>> square.cache.stats().hits
        1
    """
    _check(store, uri, key_func=key_func, name=name, version=version, use_cache=use_cache, on_error=on_error)
    codec = None
    if serialization_mode is not None or model is not None:
        codec = choose_codec("auto" if serialization_mode is None else serialization_mode, model)
    rules = Rules(store=store, uri=uri, ttl=_seconds("ttl", ttl), codec=codec, on_error=on_error, clock=clock)
    longest = 0.0 if wait == 0 else min(_seconds("wait", wait) or _WAIT, _LONGEST_WAIT)

    def decorate(function: Any) -> Any:
        plain, binding = _parse_function(function)
        entries = Entries(FunctionName(plain, name=name, version=version, key_func=key_func), rules)
        plan = Plan(plain, entries, use_cache=use_cache, wait=longest, binding=binding)
        return CachedCoroutine(plan) if inspect.iscoroutinefunction(plain) else CachedFunction(plan)

    return decorate if function is None else decorate(function)


def _parse_function(function: Any) -> tuple[Callable[..., Any], Binding]:
    """Give the plain function in a decorated one, and what it is called with as a method.

    Raises:
        InvalidOption: If it is none that can be cached.
    """
    binding: Binding = "function"
    plain = function
    if isinstance(function, classmethod | staticmethod):
        plain, binding = function.__func__, "class" if isinstance(function, classmethod) else "static"
    if inspect.isgeneratorfunction(plain) or inspect.isasyncgenfunction(plain):
        raise InvalidOption(
            f"{plain.__qualname__} is a generator, whose values are gone once they were used; return a list"
        )
    if isinstance(plain, FunctionType | BuiltinFunctionType):
        return plain, binding
    if isinstance(plain, property):
        raise InvalidOption("a property cannot be cached; write @property above @anycache")
    raise InvalidOption(
        f"anycache takes a function, not {type(plain).__name__}; write a def that calls it, and decorate that"
    )


def _check(store: Any, uri: Any, *, key_func: Any, name: Any, version: Any, use_cache: Any, on_error: Any) -> None:
    """Refuse options that are not what they can be."""
    if store is not None and uri is not None:
        raise InvalidOption("anycache takes a store or a uri, not both")
    if store is not None and not isinstance(store, Store) and not callable(store):
        raise InvalidOption(f"store has to be a Store or a function that gives one, not {store!r}; a URI goes to uri=")
    if key_func is not None and not callable(key_func):
        raise InvalidOption(f"key_func has to be a function, not {key_func!r}")
    if name is not None and (not isinstance(name, str) or not name):
        raise InvalidOption(f"name has to be a text, not {name!r}")
    if version is not None and type(version) not in (str, int):
        raise InvalidOption(f"version has to be a text or a whole number, not {version!r}")
    if not isinstance(use_cache, bool) and not callable(use_cache):
        raise InvalidOption(f"use_cache has to be True, False or a function, not {use_cache!r}")
    if on_error not in get_args(OnError):
        raise InvalidOption(f"on_error has to be 'log' or 'raise', not {on_error!r}")


def _seconds(option: str, given: Ttl | None) -> float | None:
    if given is None:
        return None
    seconds = given.total_seconds() if isinstance(given, timedelta) else given
    if type(seconds) not in (int, float) or not 0 < seconds <= LONGEST_TTL:
        raise InvalidOption(
            f"{option} has to be a timedelta or a number of seconds above 0, up to a thousand years, not {given!r}"
        )
    return float(seconds)
