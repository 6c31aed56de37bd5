"""What a robots.txt allows, by RFC 9309."""

import time

import pytest

from anystore.web.robots import parse_robots


def allows(rules, path, *, agent="anystore"):
    return parse_robots(rules.encode(), agent=agent).allows(path)


@pytest.mark.parametrize(
    ("rules", "path", "allowed"),
    [
        ("", "/a", True),
        ("Disallow:", "/a", True),
        ("Disallow: /", "/a", False),
        ("Disallow: /", "/robots.txt", True),
        ("Disallow: /a", "/ab", False),
        ("Disallow: /a/", "/a", True),
        ("Disallow: /a\nAllow: /a/b", "/a/b/c", True),
        ("Allow: /a/b\nDisallow: /a", "/a/b/c", True),
        ("Allow: /a\nDisallow: /a/b", "/a/b/c", False),
        ("Allow: /a\nDisallow: /a", "/a", True),
        ("Disallow: /*.pdf$", "/x/y.pdf", False),
        ("Disallow: /*.pdf$", "/x/y.pdf?v=1", True),
        ("Disallow: /*.pdf", "/x/y.pdf?v=1", False),
        ("Disallow: *.pdf", "/x/y.pdf", False),
        ("Disallow: /a*b*c", "/axxbyyc/d", False),
        ("Disallow: /a*b*c$", "/a-b-c-b-c", False),
        ("Disallow: /a*b*c$", "/acb", True),
        ("Disallow: /$", "/", False),
        ("Disallow: /$", "/a", True),
        ("Disallow: /a.c", "/abc", True),
        ("Disallow: /a?b", "/a?b=1", False),
        ("Disallow: /A", "/a", True),
        ("Disallow: /f%C3%BCr", "/für", False),
        ("Disallow: /für", "/f%c3%bcr", False),
        ("Disallow: /%7Ejoe", "/~joe", False),
        ("Disallow: /a%2Fb", "/a/b", True),
        ("disallow : /a # why", "/a", False),
        ("Nonsense\nDisallow: /a\nSitemap: https://host/x", "/a", False),
    ],
)
def test_longest_rule_counts(rules, path, allowed):
    assert allows("User-agent: *\n" + rules, path) is allowed
    assert allows("User-agent: *\r\n" + rules.replace("\n", "\r\n"), "https://host:8080" + path + "#top") is allowed


GROUPS = """
Disallow: /before-any-group
User-agent: other
Disallow: /
User-agent: third
User-Agent: AnyStore
Disallow: /ours
User-agent: *
Disallow: /all
User-agent: anystore
Disallow: /too
Crawl-delay: 2.5
"""


@pytest.mark.parametrize(
    ("agent", "refused"),
    [
        ("anystore", {"/ours", "/too"}),
        ("third", {"/ours"}),
        ("someone", {"/all"}),
        ("other/1.0", {"/ours", "/too", "/all", "/x"}),
    ],
)
def test_the_groups_of_the_crawler_count_or_else_those_for_all(agent, refused):
    paths = {"/ours", "/too", "/all", "/x"}
    assert {path for path in paths if not allows(GROUPS, path, agent=agent)} == refused


def test_crawl_delay():
    assert parse_robots(GROUPS.encode()).crawl_delay == 2.5
    assert parse_robots(b"User-agent: *\nCrawl-delay: soon").crawl_delay is None
    assert parse_robots(b"User-agent: *\nCrawl-delay: -1").crawl_delay is None
    assert parse_robots(b"").crawl_delay is None


def test_no_file_allows_all():
    assert parse_robots(b"").allows("https://host/a")


def test_bytes_that_are_no_text_do_no_harm():
    assert parse_robots(b"\xef\xbb\xbfUser-agent: *\nDisallow: /a\xff\nDisallow: /b\0").allows("/c")


def test_hostile_rule_is_matched_at_once():
    robots = parse_robots(b"User-agent: *\nDisallow: /" + b"*a" * 2000 + b"$")
    started = time.process_time()
    assert robots.allows("/" + "a" * 1900 + "b")
    assert time.process_time() - started < 2
