"""Names: of a function, and of one call of it, the same in every process and on every machine.

A key is ``anycache/MODULE/QUALNAME/CALL``, with a segment ``v=VERSION`` before the call if there is a version. The call
is the hash of its arguments, or what ``key_func`` gave.
"""

import inspect
import linecache
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from hashlib import blake2b
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FunctionType, MappingProxyType
from typing import Any
from urllib.parse import quote

from anystore.caching.classes import MAIN, name_of, qualified_name
from anystore.caching.encoding import ValueEncoder, dump_node
from anystore.errors import CodecError, InvalidOption
from anystore.extras import load
from anystore.keys import Key, parse_key

_ROOT = "anycache"
_LONGEST_SEGMENT = 200  # local disks take 255 bytes
_SHORT_BLOB = 32
_MEMO_SIZE = 1024
_MEMO_BYTES = 1000
_SIMPLE = frozenset((str, int, bool, bytes, type(None)))
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_NEVER = ("",) * 1000  # more than any call has
_NO_KEYWORDS: Mapping[str, Any] = MappingProxyType({})


class _ArgumentEncoder(ValueEncoder):
    """Gives equal arguments equal nodes, in any process; the nodes are never read back."""

    def _recall(self, mark: int) -> None:
        """Equal arguments are equal calls, whether they share objects or not."""

    def blob(self, data: bytes) -> Any:
        """Give the bytes themselves or their hash: sets are sorted by their nodes, which a number would disturb."""
        if len(data) <= _SHORT_BLOB:
            return data.hex()
        return "#" + blake2b(data, digest_size=_SHORT_BLOB).hexdigest()

    def _compose(self, value: Any, nesting: int) -> list[Any]:
        if callable(getattr(type(value), "__cache_key__", None)):
            return ["named", qualified_name(type(value)), self.encode(value.__cache_key__(), nesting)]
        if isinstance(value, type | FunctionType | BuiltinFunctionType):
            return ["code", name_of(value)]
        node = super()._compose(value, nesting)
        if node[0] in ("set", "frozenset"):
            return [node[0], *sorted(node[1:], key=dump_node)]
        if node[0] == "dict":
            pairs = zip(node[1::2], node[2::2], strict=True)
            return ["dict", *sorted(map(list, pairs), key=lambda pair: dump_node(pair[0]))]
        return node

    def _compose_dataclass(self, value: Any, nesting: int) -> list[Any]:
        """Take the fields that make two objects equal."""
        names = [field.name for field in fields(value) if field.compare]
        return ["dataclass", name_of(type(value)), *([name, self._of_field(value, name, nesting)] for name in names)]

    def _compose_foreign(self, value: Any) -> list[Any]:
        if type(value).__module__ == "numpy":
            node = super()._compose_foreign(value)
            if node[0] == "numpy" and node[1] != "scalar":
                description, data = load("anystore.caching.arrays").describe(value, canonical=True)
                return ["numpy", *description, self.blob(data)]
            return node
        raise self.refuse(value)

    def refuse(self, value: Any) -> CodecError:
        """Make the error for an argument without a stable name."""
        return CodecError(f"nothing stable is known of a {qualified_name(type(value)).replace('builtins:', '')}")


class FunctionName:
    """Names a function, and calls of it.

    Args:
        function: The function.
        name: Stands for module and qualified name.
        version: A part of every key.
        key_func: Gives the name of a call from its arguments; None for a call that is not to be cached.

    Attributes:
        folder: The prefix of all keys of the function, with all its versions; no other function has it.
        text: What the function is called in messages.

    Raises:
        InvalidOption: If the function has no name that no other one can have.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        name: str | None,
        version: str | int | None,
        key_func: Callable[..., Any] | None,
    ) -> None:
        self.text = f"{function.__module__}.{function.__qualname__}"
        segments = [f"name={_segment(name)}"] if name else list(map(_segment, _place_of(function)))
        self.folder = "/".join((_ROOT, *segments))
        self._calls = self.folder + ("" if version is None else f"/v={_segment(str(version))}") + "/"
        self._key_func = key_func
        self._signature = _signature_of(function)
        parameters = self._signature.parameters.values()
        # where each argument is one parameter, binding has nothing to find out
        self._plain = tuple(one.name for one in parameters if one.kind in _POSITIONAL)
        if len(self._plain) != len(parameters):
            self._plain = _NEVER
        self._memo: dict[Any, Key] = {}

    def key(self, args: tuple[Any, ...], kwargs: Mapping[str, Any] = _NO_KEYWORDS) -> Key | None:
        """Give the key of a call.

        Args:
            args: Its positional arguments.
            kwargs: Its keyword arguments.

        Returns:
            The key; None if ``key_func`` gave None.

        Raises:
            InvalidOption: If an argument has no stable name.
            TypeError: If the function does not take these arguments.
        """
        if self._key_func is not None:
            return self._named_call(self._key_func(*args, **kwargs))
        # 1, True and 1.0 are equal, and their types are not; what the memo holds is of simple types only
        probe: Any = (args, tuple(map(type, args)))
        if kwargs:
            probe = (*probe, tuple(kwargs.items()), tuple(map(type, kwargs.values())))
        try:
            key = self._memo.get(probe)
        except TypeError:  # an argument that cannot be hashed
            key = None
        return self._bound_call(args, kwargs, probe) if key is None else key

    def _named_call(self, name: Any) -> Key | None:
        if name is None:
            return None
        if type(name) is str:
            return parse_key(self._calls + "k=" + _segment(name))
        return parse_key(self._calls + self._digest([self._node(name, None)]))

    def _bound_call(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], probe: Any) -> Key:
        if len(args) == len(self._plain) and not kwargs:
            arguments: Iterable[tuple[str, Any]] = zip(self._plain, args, strict=True)
        else:
            bound = self._signature.bind(*args, **kwargs)
            bound.apply_defaults()
            arguments = bound.arguments.items()
        nodes = [[name, self._node(value, name)] for name, value in arguments]
        key = parse_key(self._calls + self._digest(nodes))
        given = (*args, *kwargs.values())
        size = sum(len(value) for value in given if isinstance(value, str | bytes))
        if size <= _MEMO_BYTES and _SIMPLE.issuperset(map(type, given)):
            if len(self._memo) >= _MEMO_SIZE:
                self._memo.clear()
            self._memo[probe] = key
        return key

    def _node(self, value: Any, argument: str | None) -> Any:
        try:
            return _ArgumentEncoder().encode(value)
        except (CodecError, RecursionError) as error:
            what = "what key_func returned" if argument is None else f"the argument {argument!r}"
            raise InvalidOption(
                f"{self.text}: {what} cannot be named in a key: {error}; pass key_func=, or give its class a "
                "method __cache_key__ that returns a value which tells it apart"
            ) from error

    @staticmethod
    def _digest(nodes: list[Any]) -> str:
        return blake2b(dump_node(nodes), digest_size=20).hexdigest()


def _segment(text: str) -> str:
    """Make one segment of a key of any text; two texts never give the same one, and none holds ``=``."""
    try:
        data = text.encode()
    except UnicodeEncodeError:
        data = text.encode("utf-8", "surrogatepass")
    quoted = quote(data, safe=" ,()[]<>@:;!$+'")
    if quoted[:1] in (".", ""):
        quoted = "%2E" + quoted[1:] if quoted else "%"
    if len(quoted) <= _LONGEST_SEGMENT:
        return quoted
    return f"{quoted[:100]}~={blake2b(data, digest_size=20).hexdigest()}"


def _signature_of(function: Callable[..., Any]) -> inspect.Signature:
    try:
        return inspect.signature(function)
    except ValueError as error:  # some functions written in C do not tell
        raise InvalidOption(
            f"{function.__qualname__} does not tell its parameters; write a def that calls it, and decorate that"
        ) from error


def _place_of(function: Callable[..., Any]) -> tuple[str, str]:
    """Give the two names of a function: where it is, and how it is called there."""
    qualname = function.__qualname__
    if "<lambda>" in qualname:
        raise InvalidOption(f"a lambda ({qualname}) has no name of its own; write a def, or pass name='…'")
    code = getattr(function, "__code__", None)
    free = [name for name in getattr(code, "co_freevars", ()) if name != "__class__"]
    if "<locals>" in qualname and free:
        raise InvalidOption(
            f"{qualname} uses {', '.join(map(repr, free))} of the function around it, which keys would not tell; "
            "take it as an argument, or pass name='…' to say that it makes no difference"
        )
    module = function.__module__ or ""
    return (_main_name(function) if module in MAIN else module), qualname


def _main_name(function: Callable[..., Any]) -> str:
    """Name the program that ``__main__`` is; else two scripts would meet in each other's entries."""
    inner = inspect.unwrap(function)
    code = getattr(inner, "__code__", None)
    around = getattr(inner, "__globals__", {})
    spec, path = around.get("__spec__"), around.get("__file__")
    if spec is not None:
        return str(spec.name)  # python -m package.module: as if it were imported
    # a prompt calls itself a file named <stdin>
    told = _text_of(code) if path is None or path.startswith("<") else str(Path(path).resolve())
    return f"__main__~{blake2b(told.encode('utf-8', 'surrogatepass'), digest_size=8).hexdigest()}"


def _text_of(code: CodeType | None) -> str:
    """Tell a function of a notebook or prompt by its own text, which every copy of the cell has."""
    if code is None:
        return ""
    lines = linecache.getlines(code.co_filename)
    if lines:
        return "".join(inspect.getblock(lines[code.co_firstlineno - 1 :]))
    return _code_text(code)


def _code_text(code: CodeType) -> str:
    parts = []
    for one in code.co_consts:
        if isinstance(one, CodeType):
            parts.append(_code_text(one))
        else:  # the items of a set come in another order in each process
            parts.append(repr(sorted(map(repr, one)) if isinstance(one, frozenset) else one))
    return repr((code.co_code, code.co_names, code.co_varnames, parts))
