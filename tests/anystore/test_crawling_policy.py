"""Where a crawl may go."""

import pytest

from anystore.crawling.policy import Policy, robots_url
from anystore.web.robots import parse_robots
from anystore.web.urls import origin_of

RULES = parse_robots(b"User-agent: *\nDisallow: /secret/")
HOME = "http://host/files/"


def learned(policy, *urls, rules=RULES):
    for url in urls:
        policy.learn(origin_of(url), rules)
    return policy


@pytest.mark.parametrize(
    ("target", "follows"),
    [
        ("http://host/files/b", True),
        ("https://host/files/b", True),  # its own TLS
        ("http://host/secret/b", False),
        ("https://host/secret/b", False),
        ("http://host:8080/files/b", False),
        ("https://host:8443/files/b", False),
        ("http://other/files/b", False),
        ("http://HOST/files/b", True),
        ("http://host/files/a/", False),  # a folder, not the document
    ],
)
def test_redirects_stay_at_home(target, follows):
    assert learned(Policy(HOME), HOME).follows("http://host/files/a", target) is follows


def test_an_allowed_host_is_followed_once_its_robots_are_known():
    policy = learned(Policy(HOME, hosts=["Other"]), HOME)
    link = "https://other/a"
    assert not policy.follows(HOME + "a", link)
    assert policy.lacks_robots_of(HOME + "a", link) == link
    learned(policy, link)
    assert policy.lacks_robots_of(HOME + "a", link) is None
    assert policy.follows(HOME + "a", link)
    assert not policy.follows(HOME + "a", "https://other/secret/a")
    learned(policy, link, rules=None)
    assert not policy.follows(HOME + "a", link)
    assert policy.lacks_robots_of(HOME + "a", "https://[bad/") is None
    assert policy.lacks_robots_of(HOME + "a", "https://third/a") is None


def test_without_robots_hosts_alone_count():
    policy = Policy(HOME, hosts=["other"], robots=False)
    assert policy.follows(HOME + "a", "https://other/secret/a")
    assert not policy.follows(HOME + "a", "https://third/a")


def test_robots_lie_at_the_root():
    assert robots_url("https://host:8443/a/b?c=d/e") == "https://host:8443/robots.txt"
    assert robots_url("https://host") == "https://host/robots.txt"
