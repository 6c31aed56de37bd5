"""Hypothesis strategies: keys, prefixes, and values that the ``auto`` codec keeps."""

from typing import Any

from hypothesis import strategies as st

from anystore.keys import Key, is_key, parse_key, parse_prefix
from anystore.testing.awkward import AWKWARD_KEYS

_COLLIDING = "ab-._%*0\u00e9\U0001f600"


def keys(*, colliding: bool = False) -> st.SearchStrategy[Key]:
    """Make keys of any kind: awkward ones, short ones, any Unicode.

    Args:
        colliding: Make only short keys from few characters, so that equal keys,
            and keys below others, are frequent.

    Returns:
        A strategy.
    """
    alphabet: st.SearchStrategy[str] | str
    alphabet = _COLLIDING if colliding else st.characters(exclude_categories=["Cs"], exclude_characters="/\0")
    segments = st.text(alphabet, min_size=1, max_size=2 if colliding else 40)
    joined = st.lists(segments, min_size=1, max_size=3).map("/".join)
    if not colliding:
        joined = st.sampled_from(sorted(AWKWARD_KEYS.values())) | joined
    return joined.filter(is_key).map(parse_key)


def prefixes(*, colliding: bool = False) -> st.SearchStrategy[str]:
    """Make prefixes as a backend is given them: ``""``, or a folder ending in ``/``.

    Args:
        colliding: As for :func:`keys`.

    Returns:
        A strategy.
    """
    return st.just("") | keys(colliding=colliding).map(parse_prefix)


def json_values(*, max_leaves: int = 20) -> st.SearchStrategy[Any]:
    """Make values of every type that ``auto`` keeps: str, bool, int, float, None, list, dict.

    Args:
        max_leaves: How many leaves a nested value has at most, about.

    Returns:
        A strategy.
    """
    texts = st.text(st.characters(exclude_categories=["Cs"]))
    looks_like_json = st.sampled_from(["1", "null", "true", '"x"', "[]", "{}", " 1 ", "1e5", "NaN", "-0", ""])
    numbers = st.integers() | st.integers(min_value=2**63) | st.floats(allow_nan=False, allow_infinity=False)
    leaves = st.none() | st.booleans() | numbers | texts | looks_like_json
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner) | st.dictionaries(texts | looks_like_json, inner),
        max_leaves=max_leaves,
    )
