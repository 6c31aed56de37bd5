"""What a ``robots.txt`` allows; pure."""

import re
from dataclasses import dataclass
from urllib.parse import quote, unquote_to_bytes

_MAX_BYTES = 512 * 1024
_AGENT_NAME = re.compile(r"[A-Za-z_-]+")


@dataclass(frozen=True, slots=True)
class _Rule:
    allow: bool
    pattern: str  # normalised, as it was written; its length is its weight
    regex: re.Pattern[str]


@dataclass(frozen=True, slots=True)
class Robots:
    """The rules of one ``robots.txt`` for one crawler.

    Attributes:
        crawl_delay: Seconds that the site asks to wait between requests, or None.
    """

    rules: tuple[_Rule, ...] = ()
    crawl_delay: float | None = None

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
        path = _normalised(_path_of(url))
        if path == "/robots.txt":
            return True
        matching = [(len(rule.pattern), rule.allow) for rule in self.rules if rule.regex.match(path)]
        return max(matching)[1] if matching else True


def parse_robots(body: bytes, *, agent: str = "anystore") -> Robots:
    """Read a ``robots.txt``.

    Args:
        body: The file; what lies behind its first 512 KiB is passed over.
        agent: Name of the crawler, without its version.

    Returns:
        The rules of the groups that name the crawler, or else of those for ``*``.

    Source:
        RFC 9309: the most specific group and the longest rule count, ``*`` stands for any
        text and ``$`` for the end. ``Crawl-delay`` is not in it, but widely used.
    """
    groups = _groups(body[:_MAX_BYTES].decode("utf-8", "replace").removeprefix("\ufeff"))
    wanted = agent.partition("/")[0].lower()
    lines = [line for names, group in groups if wanted in names for line in group]
    if not any(wanted in names for names, _ in groups):
        lines = [line for names, group in groups if "*" in names for line in group]
    rules, delay = [], None
    for field, value in lines:
        if field == "crawl-delay":
            delay = _seconds(value) if delay is None else delay
        elif value:  # an empty Disallow forbids nothing
            pattern = _normalised(value)
            rules.append(_Rule(field == "allow", pattern, _compile(pattern)))
    return Robots(tuple(rules), delay)


def _groups(text: str) -> list[tuple[set[str], list[tuple[str, str]]]]:
    """Cut the file into groups: the names of crawlers, and the lines for them."""
    groups: list[tuple[set[str], list[tuple[str, str]]]] = []
    naming = False
    for line in re.split(r"\r\n|\r|\n", text):
        field, colon, value = line.partition("#")[0].partition(":")
        field, value = field.strip().lower(), value.strip()
        if not colon:
            continue
        if field == "user-agent":
            if not naming:
                groups.append((set(), []))
            name = _AGENT_NAME.match(value)
            groups[-1][0].add("*" if value.startswith("*") else name[0].lower() if name else "")
            naming = True
        elif field in ("allow", "disallow", "crawl-delay"):
            naming = False
            if groups:
                groups[-1][1].append((field, value))
    return groups


def _compile(pattern: str) -> re.Pattern[str]:
    """Turn a rule into a regular expression that matches from the start."""
    ends = pattern.endswith("$")
    parts = re.split(r"\*+", pattern.removesuffix("$"))
    # Each part is taken where it comes first, which is as good as any other place, and cannot run away.
    regex = re.escape(parts[0]) + "".join(f"(?>.*?{re.escape(part)})" for part in parts[1:-1])
    if len(parts) > 1:
        regex += f".*{re.escape(parts[-1])}"
    return re.compile(regex + (r"\Z" if ends else ""), re.DOTALL)


def _path_of(url: str) -> str:
    _, scheme, rest = url.partition("://")
    path = "/" + rest.partition("/")[2] if scheme else url
    return path.partition("#")[0]


def _normalised(path: str) -> str:
    """Spell a path in one way: what needs no encoding is decoded, the rest encoded in upper case."""
    pieces = re.split(r"((?:%[0-9A-Fa-f]{2})+)", path)
    return "".join(
        quote(unquote_to_bytes(piece), safe="") if number % 2 else quote(piece, safe="/%?*$&=+,;:@!'()~#[]")
        for number, piece in enumerate(pieces)
    )


def _seconds(text: str) -> float | None:
    try:
        seconds = float(text)
    except ValueError:
        return None
    return seconds if 0 <= seconds < 86_400 else None  # noqa: PLR2004 - a day; more is a slip
