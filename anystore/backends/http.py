"""``http://`` and ``https://``: what a web server lists, to be read; nothing is ever written."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from typing import Any

from anystore.backend import Backend, Entry, Feature, Reader, warn_of_foreign
from anystore.backend_config import check_options, count_option, number_option, text_option
from anystore.errors import BackendError, DoesNotExist, InvalidOption, InvalidUri, VersionMismatch
from anystore.keys import Key, is_private
from anystore.uris import StoreUri
from anystore.web.addresses import AddressGuard, is_proxied
from anystore.web.client import Client, Response
from anystore.web.digests import Checksums, expected_digests
from anystore.web.headers import parse_http_date, strong_etag
from anystore.web.urls import join_url, masked_url, undecoded_url, wire_url
from anystore.web.walk import MAX_DEPTH, ListedFile, Problem, walk

_OK = 200
_PRECONDITION_FAILED = 412
_RANGE_NOT_SATISFIABLE = 416
_NO_HEAD = frozenset({400, 403, 405, 500, 501})  # 403: a URL that was signed for GET alone

_OPTIONS = (
    *("username", "password", "headers", "user_agent", "ca_file"),
    *("timeout", "connect_timeout", "retries", "backoff", "max_redirects", "max_depth"),
)


def from_uri(uri: StoreUri, config: Mapping[str, Any]) -> "HttpBackend":
    """Make the backend of an ``http://`` or ``https://`` URI.

    Args:
        uri: URL of a folder. A name and password in it are sent as Basic authentication;
            its query, such as a token, is sent with every request.
        config: ``username``, ``password``, ``headers`` (a mapping), ``timeout``, ``connect_timeout``,
            ``retries``, ``backoff``, ``max_redirects``, ``max_depth``, ``user_agent``, ``ca_file``.

    Returns:
        The backend; nothing is connected yet.

    Raises:
        InvalidUri: If the URI has no host, or a fragment.
        InvalidOption: If an option is unknown or not what it should be.
    """
    shown = uri.masked
    check_options(config, known=_OPTIONS, uri=shown)
    if not uri.host:
        raise InvalidUri(f"{shown} names no host: write it like 'https://host/folder/'")
    if "#" in uri.text:
        raise InvalidUri(f"{shown} holds a '#', which ends a URL: write '%23' if it is part of a name")
    username = text_option(config, "username", uri=shown)
    password = text_option(config, "password", uri=shown)
    client = Client(
        username=uri.username if username is None else username,
        password=uri.password if password is None else password,
        headers=_header_option(config, uri),
        timeout=number_option(config, "timeout", Client.timeout, uri=shown, least=0.001),
        connect_timeout=number_option(config, "connect_timeout", Client.connect_timeout, uri=shown, least=0.001),
        retries=count_option(config, "retries", Client.retries, uri=shown, least=0),
        backoff=number_option(config, "backoff", Client.backoff, uri=shown, least=0),
        max_redirects=count_option(config, "max_redirects", Client.max_redirects, uri=shown, least=0),
        user_agent=text_option(config, "user_agent", uri=shown) or "",
        ca_file=text_option(config, "ca_file", uri=shown),
        guard=None if is_proxied(uri.text) else AddressGuard(uri.text),
    )
    max_depth = count_option(config, "max_depth", MAX_DEPTH, uri=shown, least=0)
    return HttpBackend(wire_url(uri.text), client=client, max_depth=max_depth)


def _header_option(config: Mapping[str, Any], uri: StoreUri) -> dict[str, str]:
    headers = config.get("headers") or {}
    if not isinstance(headers, Mapping) or not all(isinstance(one, str) for pair in headers.items() for one in pair):
        raise InvalidOption(f"{uri.masked}: the option 'headers' has to be a mapping of names to texts")
    return dict(headers)


class HttpBackend(Backend):
    """Files below a URL, and the server's own listings of its folders.

    A key becomes a path, each segment percent-encoded. A redirect from a key to the same path with a slash means
    that the key is a folder, so there is no value.

    Args:
        url: URL of the folder where keys begin, without name and password; a query is kept.
        client: Fetches; holds the credentials.
        max_depth: How many folders deep a listing goes.

    Attributes:
        url: As given; it may hold secrets.
        client: As given.
    """

    features = Feature.LIST

    def __init__(self, url: str, *, client: Client, max_depth: int = MAX_DEPTH) -> None:
        self.uri = masked_url(url)
        self.url = url
        self.client = client
        self._max_depth = max_depth

    def get(self, key: Key) -> bytes:
        answer = self.fetch(key)
        return b"".join(self.checked(key, answer))

    def read(self, key: Key, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        if stop is not None and stop <= start:
            self.stat(key)
            return iter(())
        answer = self.fetch(key, start=start, stop=stop, allow=(_RANGE_NOT_SATISFIABLE,))
        if answer.status == _RANGE_NOT_SATISFIABLE:
            answer.close()
            return iter(())
        return self.pieces(key, answer)

    def reader(self, key: Key) -> Reader:
        return _HttpReader(self, key)

    def stat(self, key: Key) -> Entry:
        answer = self.fetch(key, method="HEAD", allow=_NO_HEAD)
        if answer.status in _NO_HEAD:
            answer = self.fetch(key, stop=1, allow=(_RANGE_NOT_SATISFIABLE,))
        answer.close()
        if answer.status == _RANGE_NOT_SATISFIABLE:  # of an empty value there is no first byte
            answer = self.fetch(key)
            answer.close()
        return entry_of(key, answer)

    def locate(self, key: Key) -> str:
        return masked_url(join_url(self.url, key))

    def scan(self, prefix: str = "", after: Key | None = None) -> Iterator[Entry]:
        if after is not None:
            self._refuse(Feature.SORTED, f"list from {after!r} on", instead="list all keys, and pass over the first")
        return self._scan(prefix)

    def children(self, prefix: str = "") -> Iterator[Entry | str]:
        if is_private(prefix):
            return
        foreign: list[str] = []
        try:
            # At this depth the walk names the folders that it does not go into.
            for one in walk(self.client, self.url, prefix=prefix, max_depth=prefix.count("/")):
                if isinstance(one, ListedFile):
                    yield Entry(one.key, one.size, one.modified)
                elif one.foreign:
                    foreign.append(one.key)
                else:
                    yield one.key
        except DoesNotExist as error:
            if not prefix:
                raise self._nothing() from error
        warn_of_foreign(self.uri, foreign, stacklevel=2)

    def _scan(self, prefix: str) -> Iterator[Entry]:
        if is_private(prefix):
            return
        foreign: list[str] = []
        failed: list[Problem] = []
        found = walk(self.client, self.url, prefix=prefix, max_depth=self._max_depth)
        try:
            for one in found:
                if isinstance(one, ListedFile):
                    yield Entry(one.key, one.size, one.modified)
                elif one.foreign:
                    foreign.append(one.key)
                else:
                    failed.append(one)
        except DoesNotExist as error:
            if not prefix:
                raise self._nothing() from error
        warn_of_foreign(self.uri, foreign, stacklevel=2)
        if failed:  # said last, so that whoever lists gets all there is
            raise BackendError(
                f"the listing of {self.uri} is incomplete: {len(failed):,} of its folders cannot be read, "
                f"the first is {failed[0].key!r}: {failed[0].error}"
            ) from failed[0].error

    def _nothing(self) -> BackendError:
        return BackendError(
            f"there is nothing to list at {self.uri}: the server does not know the URL; check its spelling"
        )

    def close(self) -> None:
        self.client.close()

    # -- for the reader ------------------------------------------------------

    def fetch(
        self,
        key: Key,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        start: int = 0,
        stop: int | None = None,
        allow: Collection[int] = (),
    ) -> Response:
        """Ask for a value.

        Raises:
            DoesNotExist: If there is none, or the key names a folder.
        """

        def ask(url: str) -> Response:
            return self.client.request(
                method, url, headers=headers, start=start, stop=stop, allow=allow, into_folder=False
            )

        other = undecoded_url(self.url, key)
        try:
            if other is not None:
                with suppress(DoesNotExist):
                    return ask(join_url(self.url, key))
            return ask(other or join_url(self.url, key))
        except DoesNotExist as error:
            raise self.missing(key) from error

    def pieces(self, key: Key, answer: Response) -> Iterator[bytes]:
        """Pull a body; a value that changes meanwhile is named by its key."""
        try:
            yield from answer.chunks()
        except VersionMismatch as error:
            raise self.changed(key) from error
        finally:
            answer.close()

    def checked(self, key: Key, answer: Response) -> Iterator[bytes]:
        """Pull a whole body, and compare it with the checksums that its headers tell, if they do.

        Raises:
            BackendError: If it has another one.
        """
        expected = expected_digests(answer.headers) if answer.status == _OK else {}
        if not expected:
            yield from self.pieces(key, answer)
            return
        sums = Checksums(expected)
        for piece in self.pieces(key, answer):
            sums.update(piece)
            yield piece
        sums.check(self.locate(key))


class _HttpReader(Reader):
    """One version of a value: its validators go with each request, and are looked at in each answer."""

    def __init__(self, backend: HttpBackend, key: Key) -> None:
        self._backend = backend
        self._key = key
        # The body that comes with it serves the first read from the start: most values are read once, and whole.
        self._first: Response | None = backend.fetch(key)
        self.entry = entry_of(key, self._first)
        self._bound = _conditions(self._first)
        self.seekable = self.entry.version is not None and self._first.headers.get("accept-ranges") == "bytes"

    def read(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        first, self._first = self._first, None
        if first is not None and (start == 0 or not self.seekable):
            if start == 0 and stop is None:
                return self._backend.checked(self._key, first)
            return _part(self._backend.pieces(self._key, first), start, stop)
        if first is not None:
            first.close()
        if stop is not None and stop <= start:
            return iter(())
        if self.entry.size is not None and start >= self.entry.size:
            return iter(())
        return self._backend.pieces(self._key, self._ask_again(start, stop))

    def close(self) -> None:
        if self._first is not None:
            self._first.close()
            self._first = None

    def _ask_again(self, start: int, stop: int | None) -> Response:
        """Ask for a part, of the same version."""
        if self.entry.version is None:
            raise VersionMismatch(
                f"the server tells no ETag and no time of {self._backend.locate(self._key)}, so a second part may be "
                "of another version; read it once, from its start, or use anystore.virtual.open_virtual"
            )
        refused = (_PRECONDITION_FAILED, _RANGE_NOT_SATISFIABLE)
        try:
            answer = self._backend.fetch(self._key, headers=self._bound, start=start, stop=stop, allow=refused)
        except DoesNotExist as error:
            raise self._backend.changed(self._key) from error
        if answer.status in refused or entry_of(self._key, answer).version != self.entry.version:
            answer.close()
            raise self._backend.changed(self._key)
        return answer


def _part(pieces: Iterator[bytes], start: int, stop: int | None) -> Iterator[bytes]:
    """Cut a part out of a stream, and read no further than its end."""
    position = 0
    for piece in pieces if stop is None or stop > start else ():
        part = piece[max(start - position, 0) : None if stop is None else stop - position]
        position += len(piece)
        if part:
            yield part
        if stop is not None and position >= stop:
            return


def _conditions(answer: Response) -> dict[str, str]:
    """Give the headers that bind a later request to this version."""
    etag, modified = strong_etag(answer.headers), answer.headers.get("last-modified")
    if etag:
        return {"If-Match": etag}
    return {"If-Unmodified-Since": modified} if modified else {}


def entry_of(key: str, answer: Response) -> Entry:
    """Say what the headers of an answer tell of a value.

    Returns:
        The entry. Its version is the strong ETag, or else made of time and length, where the server tells both.
    """
    modified = parse_http_date(answer.headers.get("last-modified"))
    version = strong_etag(answer.headers)
    if version is None and modified is not None and answer.total is not None:
        version = f"{modified:%Y%m%dT%H%M%SZ}-{answer.total}"
    mimetype = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    return Entry(key, answer.total, modified, version, mimetype or None)
