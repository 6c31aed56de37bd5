"""What a ``robots.txt`` allows; pure."""

from dataclasses import dataclass

from protego import Protego

_MAX_BYTES = 512 * 1024
_LONGEST_DELAY = 86_400.0  # a day; more is a slip


@dataclass(frozen=True, slots=True)
class Robots:
    """The rules of one ``robots.txt`` for one crawler."""

    _rules: Protego
    _agent: str
    _allows_all: bool

    @property
    def crawl_delay(self) -> float | None:
        """Seconds that the site asks to wait between requests, or None."""
        delay = self._rules.crawl_delay(self._agent)
        return delay if delay is not None and 0 <= delay < _LONGEST_DELAY else None

    def allows(self, url: str) -> bool:
        r"""Tell whether a URL of the site may be fetched.

        Args:
            url: A URL, or its path with its query.

        Returns:
            What the longest matching rule says; of equally long ones, the one that allows.

        Example:
            >>> robots = parse_robots(b"User-agent: *\nDisallow: /a/\nAllow: /a/b")
            >>> robots.allows("https://host/a/b.txt"), robots.allows("https://host/a/c.txt")
            (True, False)
        """
        return self._allows_all or bool(self._rules.can_fetch(url, self._agent))


def parse_robots(body: bytes, *, agent: str = "anystore") -> Robots:
    """Read a ``robots.txt``.

    Args:
        body: The file; what lies behind its first 512 KiB is passed over.
        agent: Name of the crawler, without its version.

    Returns:
        The rules of the groups that name the crawler, or else of those for ``*``.

    Source:
        RFC 9309. ``Crawl-delay`` is not in it, but widely used.
    """
    text = body[:_MAX_BYTES].decode("utf-8", "replace").removeprefix("\ufeff")
    return Robots(Protego.parse(text), agent.partition("/")[0], not text.strip())
