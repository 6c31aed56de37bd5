"""URLs of folders and files on a web server; pure.

A name becomes one percent-encoded segment of a path, and comes back from one, byte
for byte. Nothing is normalised, and no link leads out of the folder it stands in.
"""

import re
from functools import lru_cache
from urllib.parse import quote, unquote_to_bytes, urljoin, urlsplit, urlunsplit

from anystore.errors import BackendError
from anystore.uris import parse_uri

_DEFAULT_PORT = {"http": 80, "https": 443}
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_CONTROL_OR_SPACE = "".join(map(chr, range(0x21)))
_AUTHORITY_END = re.compile(r"[/?#]")
_PATH_START = re.compile(r"[/?]")
_UNSAFE = re.compile(r"[^\x21-\x7e]")
# Most links are no more than this, and a listing has one for each document: the rest of the rules need not be asked.
_PLAIN_LINK = re.compile(r"(?:\./)?([A-Za-z0-9._~!$&'()*+,;=@%-]+)(/?)")
_PLAIN_URL = re.compile(r"https?://[\x21\x22\x24-\x2e\x30-\x3e\x41-\x7e]+/[\x21\x22\x24-\x7e]*")
_PLAIN_PATH = re.compile(r"[A-Za-z0-9._~/-]*")


def masked_url(url: str) -> str:
    """Show a URL with its secrets replaced by ``***``."""
    if "?" in url or "@" in url or "\0" in url:
        return parse_uri(url).masked
    scheme, mark, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return _masked_host(scheme + mark + host) + slash + path


@lru_cache(maxsize=256)
def _masked_host(start: str) -> str:
    return parse_uri(start).masked


def join_url(folder: str, path: str) -> str:
    """Give the URL of what lies below a folder.

    Args:
        folder: URL of the folder; its query, such as a token, is kept.
        path: Path below it, not encoded; one that ends in ``/`` is a folder.

    Returns:
        The longer URL.

    Example:
        >>> join_url("https://host/files?sig=1", "a b/50%.pdf")
        'https://host/files/a%20b/50%25.pdf?sig=1'
    """
    head, mark, query = folder.partition("?")
    slash = "" if head.endswith("/") else "/"
    return head + slash + (path if _PLAIN_PATH.fullmatch(path) else quote(path, safe="/")) + mark + query


def undecoded_url(folder: str, path: str) -> str | None:
    r"""Give the URL of a path in which names that are no text are percent-encoded, as listings have them.

    Args:
        folder: URL of the folder; its query is kept.
        path: Path below it; a segment that is no UTF-8 once it is decoded stands for those bytes.

    Returns:
        The URL; None if all of the path is text as it stands.

    Example:
        >>> undecoded_url("https://host/files/", "50%/caf%E9"), undecoded_url("https://host/files/", "50%25")
        ('https://host/files/50%25/caf%E9', None)
    """
    if "%" not in path:
        return None
    segments = [unquote_to_bytes(segment) for segment in path.split("/")]
    is_text = [_is_text(segment) for segment in segments]
    if all(is_text):
        return None
    pairs = zip(path.split("/"), segments, is_text, strict=True)
    spelled = "/".join(quote(text if plain else raw, safe="") for text, raw, plain in pairs)
    head, mark, query = folder.partition("?")
    return head + ("" if head.endswith("/") else "/") + spelled + mark + query


def _is_text(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True


def wire_url(url: str) -> str:
    """Give a URL as it is sent: without name, password and fragment, and with what is not ASCII encoded.

    Example:
        >>> wire_url("https://me:pw@host/für#top")
        'https://host/f%C3%BCr'
    """
    if _PLAIN_URL.fullmatch(url):
        return url
    scheme, _, rest = url.partition("#")[0].partition("://")
    split = _PATH_START.search(rest)
    authority, tail = (rest[: split.start()], rest[split.start() :]) if split else (rest, "/")
    tail = _UNSAFE.sub(lambda sign: quote(sign[0]), tail)
    return f"{scheme.lower()}://{authority.rpartition('@')[2]}{tail}"


def origin_of(url: str) -> tuple[str, str, int]:
    """Give scheme, host and port of a URL: who is asked."""
    scheme, _, rest = url.partition("://")
    return _origin(f"{scheme}://{_AUTHORITY_END.split(rest, maxsplit=1)[0]}")


@lru_cache(maxsize=256)
def _origin(start: str) -> tuple[str, str, int]:
    parts = parse_uri(start)
    return parts.scheme, parts.host.lower(), parts.port or _DEFAULT_PORT.get(parts.scheme, 0)


def is_url(url: str) -> bool:
    """Tell whether a URL names a server that could be asked.

    Example:
        >>> is_url("https://host/a"), is_url("https://host:abc/a"), is_url("https://[x/a"), is_url("file:///a")
        (True, False, False, False)
    """
    try:
        urlsplit(url)
        scheme, host, _ = origin_of(url)
    except ValueError:  # a port that is no number, or a host that is none
        return False
    return scheme in _DEFAULT_PORT and bool(host)


def resolved(here: str, href: str) -> str:
    """Resolve a link; ``""`` for one that is no URL."""
    try:
        return urljoin(here, href.strip())
    except ValueError:  # a host that is none
        return ""


def link_url(folder: str, href: str) -> str:
    """Give the URL of a link that :func:`child_of` takes, spelled as the page spells it.

    Args:
        folder: As for :func:`child_of`; its query, such as a token, is kept.
        href: The link, with its HTML entities resolved.

    Example:
        >>> link_url("https://host/files/?sig=1", "./a%2Cb%20c#top")
        'https://host/files/a%2Cb%20c?sig=1'
    """
    plain = _PLAIN_LINK.fullmatch(href)
    if plain is not None:
        head, tail = _frame(folder)
        return head + plain[1] + plain[2] + tail
    head, mark, query = folder.partition("#")[0].partition("?")
    path = _without_fragment(href)
    segments = _segments_below(head, path) or [""]
    return head[: head.rindex("/") + 1] + "/".join(segments) + mark + query


@lru_cache(maxsize=16)
def _frame(folder: str) -> tuple[str, str]:
    """Give what stands before and behind the name in the URLs of a folder's files."""
    head, mark, query = folder.partition("#")[0].partition("?")
    return head[: head.rindex("/") + 1], mark + query


def keeps_secrets(source: str, target: str) -> bool:
    """Tell whether secrets meant for one URL may go to another: the same server, or its own TLS.

    Example:
        >>> keeps_secrets("http://host/a", "https://host/a"), keeps_secrets("https://host/a", "https://evil/a")
        (True, False)
    """
    asked, other = origin_of(source), origin_of(target)
    upgraded = ("http", asked[1], 80) == asked and ("https", asked[1], 443) == other
    return asked == other or upgraded


def decoded_path(url: str) -> list[bytes]:
    """Give the segments of a URL's path, each percent-decoded, so that two spellings compare equal."""
    path = url.partition("#")[0].partition("?")[0]
    path = "/" + path.partition("://")[2].partition("/")[2] if "://" in path else path
    return [unquote_to_bytes(segment) for segment in path.split("/")]


def is_folder_of(target: str, url: str) -> bool:
    """Tell whether ``target`` is ``url`` with a slash behind it, whatever host it names."""
    return decoded_path(target) == [*decoded_path(url), b""]


def redirect_target(url: str, location: str) -> str:
    """Resolve the ``Location`` of a redirect.

    Args:
        url: What was asked.
        location: The header, as it came.

    Returns:
        The URL to ask next, without fragment and without a name or password in it.

    Raises:
        BackendError: If it is no HTTP URL, or leads from HTTPS back to plain HTTP.
    """
    safe = _UNSAFE.sub(lambda sign: quote(sign[0].encode("latin-1", "replace")), location.strip())
    try:
        scheme, netloc, path, query, _ = urlsplit(urljoin(url, safe))
    except ValueError as error:
        raise BackendError(f"{masked_url(url)} redirects to what is no URL; open the right address instead") from error
    if scheme in _DEFAULT_PORT and netloc and not is_url(f"{scheme}://{netloc}/"):
        raise BackendError(f"{masked_url(url)} redirects to what is no URL; open the right address instead")
    if scheme not in _DEFAULT_PORT or not netloc:
        raise BackendError(f"{masked_url(url)} redirects to something that is not HTTP; open the right address instead")
    if scheme == "http" and parse_uri(url).scheme == "https":
        raise BackendError(
            f"{masked_url(url)} redirects from https to plain http, which is refused: anyone on the way could change it"
        )
    return urlunsplit((scheme, netloc.rpartition("@")[2], path, query, ""))


def child_of(folder: str, href: str) -> tuple[bytes, bool] | None:
    """Take the name out of a link that lies directly in a folder.

    Args:
        folder: URL of the page on which the link stands; it ends in ``/``, but for a query.
        href: The link, with its HTML entities resolved.

    Returns:
        The decoded name, and whether the link ends in a slash; None for every other
        link: to the parent, to another folder or host, one that sorts, a script.

    Example:
        >>> child_of("https://host/files/", "50%25%20off.pdf")
        (b'50% off.pdf', False)
        >>> child_of("https://host/files/", "https://host@evil/files/a") is None
        True
    """
    plain = _PLAIN_LINK.fullmatch(href)
    if plain is not None:
        spaced = plain[1].replace("%20", " ")  # of most names nothing else is encoded
        name = spaced.encode() if "%" not in spaced else unquote_to_bytes(plain[1])
        return None if is_odd(name) else (name, bool(plain[2]))
    path, mark, _ = _without_fragment(href).partition("?")
    segments = None if mark else _segments_below(folder, path)
    if segments is None or not _is_one(segments):
        return None
    name = unquote_to_bytes(segments[0])
    return None if is_odd(name) else (name, len(segments) > 1)


def odd_name_of(folder: str, href: str) -> bytes | None:
    """Give the name in a link into a folder that no file can have, as it stands there.

    Args:
        folder: As for :func:`child_of`.
        href: The link, with its HTML entities resolved.

    Returns:
        The name; None for links that :func:`child_of` takes, and for those that lead elsewhere.

    Example:
        >>> odd_name_of("https://host/files/", "..%2fetc"), odd_name_of("https://host/files/", "../")
        (b'..%2fetc', None)
    """
    path, mark, _ = _without_fragment(href).partition("?")
    segments = None if mark else _segments_below(folder, path)
    if segments is None or not _is_one(segments) or segments[0] in ("", ".", ".."):
        return None
    return segments[0].encode() if is_odd(unquote_to_bytes(segments[0])) else None


def path_below(folder: str, href: str) -> tuple[bytes, bool] | None:
    """Take the path out of a link to anything below a folder, however deep.

    Args:
        folder: As for :func:`child_of`.
        href: The link, with its HTML entities resolved; a query becomes a part of the name.

    Returns:
        The decoded path, and whether the link ends in a slash; None for links that lead elsewhere, or to the folder.

    Example:
        >>> path_below("https://host/a/", "/a/b%20c/d?page=2"), path_below("https://host/a/", "/b")
        ((b'b c/d?page=2', False), None)
    """
    path, mark, query = _without_fragment(href).partition("?")
    segments = _segments_below(folder, path)
    if not segments or segments == [""]:
        return None
    is_folder = not segments[-1] and not mark
    names = [unquote_to_bytes(segment) for segment in (segments[:-1] if is_folder else segments)]
    if any(map(is_odd, names)):
        return None
    return b"/".join(names) + (f"{mark}{query}".encode("utf-8", "surrogatepass") if mark else b""), is_folder


def is_odd(name: bytes) -> bool:
    """Tell whether a decoded segment is no name of a file: it is empty, leads elsewhere, or is a path itself."""
    return name in (b"", b".", b"..") or b"/" in name or b"\0" in name


def _without_fragment(href: str) -> str:
    return href.strip(_CONTROL_OR_SPACE).translate({9: None, 10: None, 13: None}).partition("#")[0]


def _segments_below(folder: str, path: str) -> list[str] | None:
    """Give the segments of a link's path below a folder, not decoded; None if it leads elsewhere."""
    if not path or "\\" in path or path.startswith("//"):
        return None
    if _SCHEME.match(path):
        try:
            parts = urlsplit(path)
        except ValueError:  # a host that is none
            return None
        if parts.scheme not in _DEFAULT_PORT or "@" in parts.netloc or not _same_origin(path, folder):
            return None
        path = parts.path
    try:
        path.encode()
    except UnicodeEncodeError:  # a lone surrogate
        return None
    if path.startswith("/"):
        here = decoded_path(folder)[:-1]
        there = path.split("/")
        if [unquote_to_bytes(segment) for segment in there[: len(here)]] != here:
            return None
        return there[len(here) :]
    segments = path.split("/")
    while segments[0] == "." and len(segments) > 1:
        del segments[0]
    return segments


def _is_one(segments: list[str]) -> bool:
    """Tell ``["name"]`` and ``["name", ""]`` from the rest."""
    return len(segments) == 1 or (len(segments) == 2 and not segments[1])  # noqa: PLR2004 - a name, and its slash


def _same_origin(link: str, folder: str) -> bool:
    try:
        return origin_of(link) == origin_of(folder)
    except ValueError:  # a port that is no number
        return False
