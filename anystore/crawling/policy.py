"""Where a crawl of a web server may go: its own server, hosts that are allowed, and what robots.txt has open."""

from collections.abc import Iterable

from anystore.errors import BackendError
from anystore.web.robots import Robots
from anystore.web.urls import is_folder_of, origin_of, redirect_target

Origin = tuple[str, str, int]
"""Scheme, host and port."""


class Policy:
    """What one crawl may ask for; many threads may ask, one thread tells.

    Args:
        url: Where the crawl begins.
        hosts: Other hosts that redirects may lead to.
        robots: Whether ``robots.txt`` is obeyed.
    """

    def __init__(self, url: str, *, hosts: Iterable[str] = (), robots: bool = True) -> None:
        self._own = origin_of(url)
        self._own_start = "/".join((*url.split("/", 3)[:3], ""))  # of nearly all URLs that are asked about
        self._hosts = frozenset(host.lower() for host in hosts)
        self.obeys_robots = robots
        self._rules: dict[Origin, Robots | None] = {}

    def learn(self, origin: Origin, rules: Robots | None) -> None:
        """Take the rules of a server; None for one whose rules cannot be known, so that nothing is fetched there."""
        self._rules[origin] = rules

    def is_own(self, origin: Origin) -> bool:
        """Tell whether this is the server where the crawl begins."""
        return origin == self._own

    def follows(self, source: str, target: str) -> bool:
        """Tell whether a redirect may be followed."""
        return self._may_visit(source, target) and self.may_fetch(target)

    def _may_visit(self, source: str, target: str) -> bool:
        if is_folder_of(target, source):
            return False  # what was listed as a document is a folder
        other = origin_of(target)
        return _is_same_server(origin_of(source), other) or other[1] in self._hosts

    def may_fetch(self, url: str) -> bool:
        """Tell whether ``robots.txt`` allows a URL."""
        if not self.obeys_robots:
            return True
        origin = self._own if url.startswith(self._own_start) else self._ruled_by(origin_of(url))
        if origin == self._own and origin not in self._rules:
            return True  # it is robots.txt itself that is fetched
        rules = self._rules.get(origin)
        return rules is not None and rules.allows(url)

    def lacks_robots_of(self, url: str, location: str) -> str | None:
        """Give the target of a redirect that may be followed as soon as the robots.txt of its server is known."""
        if not self.obeys_robots:
            return None
        try:
            target = redirect_target(url, location)
        except BackendError:
            return None
        is_known = self._ruled_by(origin_of(target)) in self._rules
        return target if not is_known and self._may_visit(url, target) else None

    def _ruled_by(self, origin: Origin) -> Origin:
        """Give the server whose robots.txt counts; that of a listing counts for its own TLS, too."""
        return self._own if _is_same_server(self._own, origin) else origin


def robots_url(url: str) -> str:
    """Give the address of the ``robots.txt`` of a URL's server.

    Example:
        >>> robots_url("https://host/a/b?c=d")
        'https://host/robots.txt'
    """
    return "/".join((*url.partition("?")[0].split("/", 3)[:3], "robots.txt"))


def _is_same_server(asked: Origin, other: Origin) -> bool:
    """Tell whether two origins are one server: the same, or its own TLS."""
    return asked == other or (asked[1] == other[1] and (asked[2], other[2]) == (80, 443))
