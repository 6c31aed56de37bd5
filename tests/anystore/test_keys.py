"""Keys, prefixes, globs and selections."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anystore.errors import InvalidKey
from anystore.keys import (
    Selection,
    is_key,
    join_key,
    match_glob,
    parent_folders,
    parse_key,
    parse_prefix,
    private_key,
)

GOOD = [
    "a",
    "a/b",
    "a b/c%20d",
    "50%",
    "a_b",
    "#x",
    "?",
    "a+b",
    "[x]",
    "*",
    "'",
    '"',
    "a\\b",
    "a\nb",
    "ü",
    "u\u0308",
    "🗂/x",
    "...",
    "..a",
    "a/..b",
    ".hidden",
    "a.",
    "CON",
    "~",
    "-",
    " ",
    "a/ ",
    ".anystorex",
    "a/.anystore/b",
    "x" * 1024,
    "ü" * 512,
    ".\n",
    "a/.\n/b",
]
BAD = {
    "": "empty",
    "/a": "starts with",
    "a/": "ends with",
    "a//b": "segment",
    ".": "segment",
    "..": "segment",
    "a/../b": "segment",
    "./a": "segment",
    "a/.": "ends with|segment",
    "a\0": "NUL",
    "\ud800": "surrogate",
    "a/\udfff": "surrogate",
    "x" * 1025: "1,025",
    "ü" * 513: "1,026",
    ".anystore": "reserved",
    ".anystore/x": "reserved",
    "//": "starts with",
    "/": "starts with",
}


@pytest.mark.parametrize("text", GOOD)
def test_a_key_comes_back_as_it_was(text):
    assert parse_key(text) == text
    assert is_key(text)


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_key_is_refused_with_a_reason_and_an_example(text):
    with pytest.raises(InvalidKey, match=BAD[text]) as caught:
        parse_key(text)
    assert "folder/name.txt" in str(caught.value)
    assert len(str(caught.value)) < 300
    assert not is_key(text)


@pytest.mark.parametrize("value", [None, 1, b"a", ["a"]])
def test_a_key_is_a_str(value):
    with pytest.raises(InvalidKey, match="is a str, not"):
        parse_key(value)


@given(st.text(max_size=60))
def test_a_text_is_a_key_or_refused(text):
    segments = text.split("/")
    plain = text and all(segment not in ("", ".", "..") for segment in segments) and "\0" not in text
    allowed = plain and not re.search("[\ud800-\udfff]", text) and segments[0] != ".anystore"
    if allowed:
        assert parse_key(text) == text
    else:
        with pytest.raises(InvalidKey):
            parse_key(text)


def test_prefixes_are_folders():
    assert parse_prefix(None) == parse_prefix("") == ""
    assert parse_prefix("a/b") == parse_prefix("a/b/") == "a/b/"
    for text in ("/", "a//", "/a", "../a", ".anystore", 1):
        with pytest.raises(InvalidKey):
            parse_prefix(text)


def test_private_keys_are_ours_alone():
    key = private_key("journal/x")
    assert key == ".anystore/journal/x"
    assert not is_key(key)
    assert join_key("a/b/", key) == ".anystore/a/b/journal/x"
    with pytest.raises(InvalidKey):
        private_key("../x")


def test_joining_may_make_a_key_too_long():
    assert join_key("a/", "b") == "a/b"
    assert join_key("", "b") == "b"
    with pytest.raises(InvalidKey, match="1,024"):
        join_key("a/" * 10, "x" * 1020)


def test_parent_folders():
    assert parent_folders("a") == []
    assert parent_folders("a/b/c") == ["a", "a/b"]


MATCHES = [
    ("*", "a", True),
    ("*", "a/b", False),
    ("**", "a", True),
    ("**", "a/b", True),
    ("*", ".hidden", True),
    ("**/*.pdf", "a.pdf", True),
    ("**/*.pdf", "a/b/c.pdf", True),
    ("**/*.pdf", "a/b.PDF", False),
    ("a/**/b", "a/b", True),
    ("a/**/b", "a/x/y/b", True),
    ("a/**/b", "a/xb", False),
    ("a/**", "a/b/c", True),
    ("a/**", "a", False),
    ("a/**", "ab", False),
    ("a**b", "axxb", True),
    ("a**b", "ax/xb", False),
    ("?", "a", True),
    ("?", "/", False),
    ("?", "\n", True),
    ("[ab]", "b", True),
    ("[!a]", "b", True),
    ("[!a]", "a", False),
    ("[!a]", "/", False),
    ("[a-c]x", "bx", True),
    ("[*]", "*", True),
    ("[*]", "a", False),
    ("[]]", "]", True),
    ("[!]]", "a", True),
    ("[^a]", "^", True),
    ("[[]x", "[x", True),
    ("a[", "a[", True),
    ("[\\]", "\\", True),
    ("[!-]", "-", False),
    ("*.{pdf,txt}", "a.txt", True),
    ("*.{pdf,txt}", "a.doc", False),
    ("{a,b{c,d}}", "bd", True),
    ("{a}", "a", True),
    ("{,x}a", "a", True),
    ("a}", "a}", True),
    ("[{]", "{", True),
    ("a.b", "axb", False),
    ("a+b", "aab", False),
    ("ü?", "üx", True),
    ("**/a/**", "a/b", True),
    ("**/**/x", "x", True),
    ("*ab*b", "aabbb", True),
    ("*ab", "abab", True),
    ("*a?b*", "aaxb", True),
    ("**/a/*/b", "a/a/x/b", True),
    ("**/a/**/b/c", "x/a/b/b/c", True),
    ("a*/**/*b", "ax/yb", True),
    ("**/a", "a/b", False),
    ("*a", "a/b", False),
]


@pytest.mark.parametrize(("pattern", "key", "expected"), MATCHES)
def test_globs(pattern, key, expected):
    assert match_glob(pattern)(key) is expected


@pytest.mark.parametrize("pattern", ["", "{a", "a{b,c", "[b-a]", "{a,b}" * 12])
def test_what_is_no_glob_is_refused(pattern):
    with pytest.raises(InvalidKey):
        match_glob(pattern)


@pytest.mark.parametrize(
    ("glob", "key"),
    [("*a" * 12 + "b", "a" * 250), ("**/a/" * 12 + "b", "a/" * 120 + "c"), ("**/*a*/" * 12 + "b", "aa/" * 120 + "c")],
)
def test_no_glob_takes_for_ever(glob, key):
    assert not match_glob(glob)(key)
    assert match_glob(glob)(key.removesuffix("c") + "b")


def test_a_hostile_glob_is_fast():
    assert not match_glob("**/" * 20 + "*a*a*a*b")("a/" * 30 + "a" * 40)


def test_a_long_glob_with_many_alternatives_is_refused():
    with pytest.raises(InvalidKey, match="use several globs"):
        match_glob("{a,b}" * 8 + "a/" * 400)
    assert match_glob("{a,b}" * 5 + "/a" * 400)("ababa" + "/a" * 400)


@given(st.text(st.characters(exclude_characters="/\0*?[]{}", exclude_categories=["Cs"]), min_size=1, max_size=20))
def test_a_literal_glob_matches_itself_alone(text):
    assert match_glob(text)(text)
    assert not match_glob(text)(text + "x")


def test_a_selection_narrows_to_the_literal_head_of_its_glob():
    chosen = Selection("site", "site/old", "docs/*.html")
    assert chosen.folder == "site/docs/"
    assert chosen.covers("site/docs/a.html")
    assert not chosen.covers("site/docs/a/b.html")
    assert not chosen.covers("docs/a.html")
    assert not Selection("site", "site/old").covers("site/old/x")
    assert Selection("site", "site/old").covers("site/older")
    assert Selection().covers("anything/at all")
    assert not Selection("a/b").covers("a/b")
    assert not Selection("a/b").covers("a/bc")


@pytest.mark.parametrize("glob", ["/*", "./*", "../*", "a/../*", "a//*", "../../etc/*"])
def test_a_glob_never_leads_a_listing_out_of_the_store(glob):
    assert Selection(glob=glob).folder in ("", "a/")
    assert Selection(prefix="b", glob=glob).folder in ("b/", "b/a/")
