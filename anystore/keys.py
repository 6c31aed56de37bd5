"""What a key is: a relative, ``/``-separated text, taken exactly as given.

Only :func:`parse_key` makes a :class:`Key`, so a backend that is handed one
does not check it again. Nothing here touches a store.
"""

import re
from collections.abc import Callable, Collection
from functools import lru_cache
from typing import NewType

from anystore.errors import InvalidKey

Key = NewType("Key", str)
"""A text that :func:`parse_key` has checked."""

MAX_KEY_BYTES = 1024
"""Length of the longest key, in UTF-8 bytes."""

PRIVATE_FOLDER = ".anystore"
"""The folder of a store that is ours: temporary files, journals, leases."""

_SHOWN_CHARACTERS = 120
_PRIVATE_PREFIX = PRIVATE_FOLDER + "/"
_BAD_SEGMENT = re.compile(r"(?:\A|/)\.{0,2}(?:/|\Z)")


def parse_key(text: str) -> Key:
    """Check a text and return it, unchanged, as a key.

    Args:
        text: A relative path such as ``reports/2024/may.pdf``.

    Returns:
        The same text.

    Raises:
        InvalidKey: If the text is empty, starts or ends with ``/``, has an empty, ``.`` or
            ``..`` segment, holds NUL or a lone surrogate, is longer than 1,024 UTF-8
            bytes, or lies below ``.anystore/``.

    Example:
        >>> parse_key("reports/2024 (final)/50%.pdf")
        'reports/2024 (final)/50%.pdf'
    """
    reason = _why_not(text)
    if reason:
        raise InvalidKey(f"{_shown(text)} is not a key: {reason}; write it like 'folder/name.txt'")
    if text == PRIVATE_FOLDER or text.startswith(_PRIVATE_PREFIX):
        raise InvalidKey(
            f"{_shown(text)} is not a key: '{_PRIVATE_PREFIX}' is reserved for anystore's own files; "
            "write it like 'folder/name.txt'"
        )
    return Key(text)


def private_key(name: str) -> Key:
    """Make the key of one of our own values, below ``.anystore/``.

    Such a key is refused by :func:`parse_key` and never listed, so no caller can meet it by accident.

    Args:
        name: A key relative to the private folder.

    Returns:
        ``.anystore/`` and the name.

    Raises:
        InvalidKey: If the name would not be a key.

    Example:
        >>> private_key("journal")
        '.anystore/journal'
    """
    reason = _why_not(_PRIVATE_PREFIX + name)
    if reason:
        raise InvalidKey(f"{_shown(name)} is not a private key: {reason}; write it like 'journal/name'")
    return Key(_PRIVATE_PREFIX + name)


def is_private(key: str) -> bool:
    """Tell whether a key lies below ``.anystore/``."""
    return key.startswith(_PRIVATE_PREFIX)


def is_key(text: str) -> bool:
    """Tell whether :func:`parse_key` would take a text; for names met in a foreign medium."""
    return not _why_not(text) and text != PRIVATE_FOLDER and not is_private(text)


def _why_not(text: str) -> str:
    """Say what keeps a text from being a key, or nothing."""
    if not isinstance(text, str):
        return f"a key is a str, not {type(text).__name__}"
    if not text:
        return "it is empty"
    if _BAD_SEGMENT.search(text):
        if text[0] == "/":
            return "it starts with '/'"
        if text[-1] == "/":
            return "it ends with '/'"
        return "a segment of it is empty, '.' or '..'"
    if "\0" in text:
        return "it holds a NUL character"
    if len(text) * 4 > MAX_KEY_BYTES or not text.isascii():
        try:
            size = len(text.encode())
        except UnicodeEncodeError:
            return "it holds a lone surrogate, which is not text"
        if size > MAX_KEY_BYTES:
            return f"it has {size:,} UTF-8 bytes, and {MAX_KEY_BYTES:,} is the most"
    return ""


def _shown(text: object) -> str:
    """Show a refused text, shortened, so that a message stays one line."""
    shown = ascii(text) if isinstance(text, str) and not text.isprintable() else repr(text)
    return shown if len(shown) <= _SHOWN_CHARACTERS else shown[: _SHOWN_CHARACTERS - 20] + "…" + shown[-1]


def parse_prefix(text: str | None) -> str:
    """Check a prefix, a folder of keys, and return it ready to be compared.

    Args:
        text: A folder such as ``a/b`` or ``a/b/``; None or ``""`` covers every key.

    Returns:
        The folder with one trailing ``/``, or ``""``.

    Raises:
        InvalidKey: If the folder is not a key.

    Example:
        >>> parse_prefix("a/b")
        'a/b/'
    """
    if not text:
        return ""
    if not isinstance(text, str):
        raise InvalidKey(f"{_shown(text)} is not a prefix: a prefix is a str; write it like 'folder'")
    return parse_key(text.removesuffix("/")) + "/"


def join_key(prefix: str, key: str) -> Key:
    """Put a key below a folder.

    Args:
        prefix: A folder as :func:`parse_prefix` returns it: ``""``, or ending in ``/``.
        key: A key.

    Returns:
        The longer key.

    Raises:
        InvalidKey: If both together are longer than a key can be.

    Example:
        >>> join_key("a/b/", "c.txt")
        'a/b/c.txt'
    """
    if not prefix:
        return Key(key)
    if is_private(key):  # our own values of a folder stay hidden from a listing of the whole store
        return Key(_PRIVATE_PREFIX + prefix + key.removeprefix(_PRIVATE_PREFIX))
    return parse_key(prefix + key)


def parent_folders(key: str) -> list[str]:
    """List the folders a key lies in, the innermost last.

    Example:
        >>> parent_folders("a/b/c")
        ['a', 'a/b']
    """
    folders = []
    position = key.find("/")
    while position >= 0:
        folders.append(key[:position])
        position = key.find("/", position + 1)
    return folders


def glob_head(pattern: str) -> str:
    """Give the literal folder that a glob starts with, to narrow a listing.

    Example:
        >>> glob_head("reports/2024/*.pdf")
        'reports/2024/'
    """
    literal: list[str] = []
    for segment in pattern.split("/")[:-1]:
        # no key has such a segment, and a backend would take it for a way out of its root
        if segment in ("", ".", "..") or any(sign in segment for sign in "*?[{"):
            break
        literal.append(segment)
    return "/".join(literal) + "/" if literal else ""


def match_glob(pattern: str) -> Callable[[str], bool]:
    """Compile a glob into a function that tells whether a key matches it.

    ``*`` and ``?`` stay inside a segment, ``**`` is a whole segment and spans none or
    many, ``[ab]`` and ``[!a]`` are one character of a set, ``[*]`` is a literal star, and
    ``{pdf,txt}`` is one of several texts. Case matters; dot-files are matched like others.

    Args:
        pattern: The glob, for keys relative to the prefix.

    Returns:
        A function from a relative key to a bool.

    Raises:
        InvalidKey: If the pattern is empty, or a ``{`` is not closed.

    Example:
        >>> match_glob("**/*.{pdf,txt}")("a/b/c.pdf")
        True
    """
    regex = _compile_glob(pattern)
    return lambda key: regex.fullmatch(key) is not None


def parse_globs(glob: str | None, exclude: str | Collection[str]) -> list[str]:
    """Check a pattern of what is wanted, and those of what is left out.

    Args:
        glob: The pattern of what is wanted, or None.
        exclude: A pattern, or several, of what is left out.

    Returns:
        The patterns of what is left out.

    Raises:
        InvalidKey: If one of them is no glob.

    Example:
        >>> parse_globs("**/*.pdf", "drafts/**")
        ['drafts/**']
    """
    excluded = [exclude] if isinstance(exclude, str) else list(exclude)
    for pattern in excluded if glob is None else [glob, *excluded]:
        match_glob(pattern)
    return excluded


def match_globs(glob: str | None, exclude: Collection[str]) -> Callable[[str], bool]:
    """Make the function that tells whether a key is wanted, and not left out.

    Args:
        glob: The pattern of what is wanted, or None.
        exclude: Patterns of what is left out.

    Returns:
        The function.

    Example:
        >>> is_wanted = match_globs("**/*.pdf", ["drafts/**"])
        >>> is_wanted("2024/may.pdf"), is_wanted("drafts/may.pdf"), is_wanted("may.txt")
        (True, False, False)
    """
    selection, excluded = Selection(None, None, glob), [match_glob(one) for one in exclude]
    if not excluded:
        return selection.covers
    return lambda key: selection.covers(key) and not any(one(key) for one in excluded)


@lru_cache(maxsize=256)
def _compile_glob(pattern: str) -> re.Pattern[str]:
    if not pattern:
        raise InvalidKey(f"{_shown(pattern)} is not a glob; write it like '**/*.pdf'")
    alternatives = [_glob_regex(flat) for flat in _expand_braces(pattern)]
    return re.compile("|".join(f"(?:{one})" for one in alternatives), re.DOTALL)


class Selection:
    """Which keys of a store a listing is about.

    Args:
        prefix: A folder that the keys lie in; None for all.
        exclude_prefix: A folder whose keys are left out.
        glob: A pattern for the keys relative to the prefix.

    Attributes:
        folder: The deepest folder that holds every selected key: ``""``, or ending in ``/``.

    Raises:
        InvalidKey: If a prefix is no folder, or the pattern no glob.

    Example:
        >>> pages = Selection(prefix="site", glob="**/*.html")
        >>> pages.folder, pages.covers("site/a/b.html"), pages.covers("site/b.pdf")
        ('site/', True, False)
    """

    def __init__(self, prefix: str | None = None, exclude_prefix: str | None = None, glob: str | None = None) -> None:
        self._prefix = parse_prefix(prefix)
        self._excluded = parse_prefix(exclude_prefix)
        self._regex = None if glob is None else _compile_glob(glob)
        self.folder = self._prefix + ("" if glob is None else glob_head(glob))

    def covers(self, key: str) -> bool:
        """Tell whether a key is selected."""
        if not key.startswith(self.folder) or (self._excluded and key.startswith(self._excluded)):
            return False
        return self._regex is None or self._regex.fullmatch(key, len(self._prefix)) is not None


_MAX_ALTERNATIVES = 1000
_MAX_WRITTEN_OUT = 100_000  # characters; ten MiB as a regular expression


def _expand_braces(pattern: str) -> list[str]:
    """Write out each choice of ``{a,b}`` as a pattern of its own."""
    pending, flat = [pattern], []
    while pending:
        current = pending.pop()
        opening = _find_brace(current)
        if opening < 0:
            flat.append(current)
            continue
        choices, end = _split_choices(current, opening)
        pending.extend(current[:opening] + choice + current[end:] for choice in choices)
        if len(pending) + len(flat) > _MAX_ALTERNATIVES:
            raise InvalidKey(f"{_shown(pattern)} has more than {_MAX_ALTERNATIVES:,} alternatives; use several globs")
        if (len(pending) + len(flat)) * len(current) > _MAX_WRITTEN_OUT and len(pending) + len(flat) > 1:
            raise InvalidKey(
                f"{_shown(pattern)} is long, and has many alternatives, which are more than {_MAX_WRITTEN_OUT:,} "
                "characters; use several globs"
            )
    return flat


def _find_brace(pattern: str) -> int:
    """Find the first ``{`` that is not inside a set."""
    position = 0
    while position < len(pattern):
        if pattern[position] == "[":
            position = _set_end(pattern, position)
        elif pattern[position] == "{":
            return position
        position += 1
    return -1


def _split_choices(pattern: str, opening: int) -> tuple[list[str], int]:
    """Give the choices of the brace at ``opening``, and the position behind it."""
    choices, depth, start, position = [], 0, opening + 1, opening
    while position < len(pattern):
        sign = pattern[position]
        if sign == "[":
            position = _set_end(pattern, position)
        elif sign == "{":
            depth += 1
        elif sign == "," and depth == 1:
            choices.append(pattern[start:position])
            start = position + 1
        elif sign == "}":
            depth -= 1
            if not depth:
                return [*choices, pattern[start:position]], position + 1
        position += 1
    raise InvalidKey(f"{_shown(pattern)} is not a glob: '{{' is not closed; write a literal one as '[{{]'")


def _set_end(pattern: str, opening: int) -> int:
    """Find the ``]`` that closes a set; an unclosed ``[`` is a literal, its own end."""
    first = opening + 2 if pattern[opening + 1 : opening + 2] == "!" else opening + 1
    closing = pattern.find("]", first + 1)
    return closing if closing >= 0 else opening


def _glob_regex(pattern: str) -> str:
    """Turn a glob without braces into a regular expression.

    What stands between two ``**`` has a number of segments that does not vary, so that the first place where it fits
    leaves the most for what follows. No other place is tried (``(?>…)``): trying all would take for ever.
    """
    runs: list[list[str]] = [[]]
    for segment in pattern.split("/"):
        if segment == "**":
            runs.append([])
        else:
            runs[-1].append(_segment_regex(segment))
    first, *others = runs
    if not others:
        return "/".join(first)
    *middle, last = others
    parts = [f"{segment}/" for segment in first]
    parts += [f"(?>{_ANY_FOLDERS}{'/'.join(run)}/)" for run in middle if run]  # `**/**/` means `**/`
    parts.append(rf"(?>{_ANY_FOLDERS}{'/'.join(last)}\Z)" if last else ".+")
    return "".join(parts)


_ANY_FOLDERS = "(?:[^/]++/)*?"
_SEGMENT_END = r"(?=/|\Z)"


def _segment_regex(segment: str) -> str:
    """Turn one segment of a glob into a regular expression that stays inside a segment.

    As with ``**``: what stands between two stars has one length, and is taken where it first fits.
    """
    chunks: list[list[str]] = [[]]
    position = 0
    while position < len(segment):
        sign = segment[position]
        if sign == "*":
            chunks.append([])
        elif sign == "?":
            chunks[-1].append("[^/]")
        elif sign == "[" and (end := _set_end(segment, position)) > position:
            chunks[-1].append(_set_regex(segment[position + 1 : end]))
            position = end
        else:
            chunks[-1].append(re.escape(sign))
        position += 1
    first, *others = ("".join(chunk) for chunk in chunks)
    if not others:
        return first
    *middle, last = others
    parts = [first, *(f"(?>[^/]*?{chunk})" for chunk in middle if chunk)]
    parts.append(f"(?>[^/]*?{last}{_SEGMENT_END})" if last else "[^/]*+")
    return "".join(parts)


def _set_regex(members: str) -> str:
    """Turn the inside of ``[...]`` into a regular expression; ranges like ``a-z`` stay ranges."""
    negated = members.startswith("!")
    escaped = re.sub(r"([\\\]\[^&~|])", r"\\\1", members[negated:])
    try:
        re.compile(f"[{escaped}]")
    except re.error:
        raise InvalidKey(f"[{members}] in a glob is not a set of characters; write it like '[a-z]'") from None
    return f"(?:(?!/)[{'^' if negated else ''}{escaped}])"
