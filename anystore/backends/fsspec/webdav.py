"""Files over WebDAV, by the client of webdav4.

Its filesystem reads ``%``, ``#`` and ``?`` in a path as parts of a URL, lists a whole folder to look at
it, and moves nothing over a file; the requests are made here, for paths that are percent-encoded.
"""

import re
import tempfile
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from http import HTTPStatus
from types import TracebackType
from typing import Any
from urllib.parse import quote, unquote
from xml.etree.ElementTree import ParseError

import httpx
from webdav4.client import Client, HTTPError, ResourceNotFound
from webdav4.fsspec import WebdavFileSystem
from webdav4.http import Client as HttpClient

from anystore.backend import CHUNK_BYTES, Reader
from anystore.backends.fsspec import failures
from anystore.backends.fsspec.files import Files, Info
from anystore.backends.fsspec.media import Medium
from anystore.backends.fsspec.values import entry_of
from anystore.errors import BackendError, InvalidKey
from anystore.keys import Key
from anystore.web.urls import keeps_secrets, masked_url

_CONNECT_TIMEOUT = 10.0
_ANSWER_TIMEOUT = 60.0
_IN_MEMORY = 4 * CHUNK_BYTES
_ATTEMPTS = 3
_MOST_REDIRECTS = 10
# A connection that was kept is gone, seen while the request is sent, or when an answer is waited for.
_LOST = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)
# Names of ours alone are asked for: a server may show others, such as a display name, as XML that cannot be read.
_WANTED = (
    '<?xml version="1.0" encoding="utf-8"?><propfind xmlns="DAV:"><prop>'
    "<resourcetype/><getcontentlength/><getlastmodified/><getetag/><getcontenttype/>"
    "</prop></propfind>"
)
_NOT_ALLOWED = (HTTPStatus.FORBIDDEN, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.LOCKED)
# A name of letters, digits and these is safe everywhere.
_UNUSUAL = re.compile(r"[^A-Za-z0-9/._~ -]")
_UNICODE = "\u00e9e\u0301\U0001f600"  # as good, or as bad, as any other
# Of these a server says that what it was asked for is not there, or cannot be.
_NO_FOLDER = (HTTPStatus.CONFLICT, HTTPStatus.NOT_FOUND)


class Dav(WebdavFileSystem):  # type: ignore[misc]
    """fsspec's filesystem, with credentials by name, and time limits.

    Args:
        base_url: Where the server's folders begin.
        username: The user.
        password: The password.
        auth: What httpx takes for it, instead of both.
        timeout: Seconds to wait for an answer.
        connect_timeout: Seconds to wait for a connection.
        verify: Whether to check the certificate, or a context of ``ssl``.
        cert: File of a certificate of the client's.
        headers: Sent with each request.
        trust_env: Whether to use the proxies that the environment names.
    """

    cachable = False

    def __init__(
        self,
        base_url: str,
        *,
        username: str | None = None,
        password: str | None = None,
        auth: Any = None,
        timeout: float | str = _ANSWER_TIMEOUT,
        connect_timeout: float | str = _CONNECT_TIMEOUT,
        verify: Any = True,
        cert: Any = None,
        headers: Mapping[str, str] | None = None,
        trust_env: bool = True,
    ) -> None:
        pair = (username or "", password or "") if username is not None or password is not None else None
        http = PersistentClient(
            base_url=base_url,
            auth=auth or pair,
            timeout=httpx.Timeout(float(timeout), connect=float(connect_timeout)),
            verify=verify,
            cert=cert,
            headers={"Accept-Encoding": "identity"} | dict(headers or {}),
            trust_env=trust_env,
        )
        super().__init__(base_url, client=Client(base_url, http_client=http, retry=False))


class PersistentClient(HttpClient):  # type: ignore[misc]
    """The HTTP client, repeating a request whose connection was lost before any answer.

    A server closes a kept connection when it likes, also while the next request is on its way there; so each
    busy pool loses some. All requests that are made here are idempotent, their bodies can be sent again.

    Source:
        RFC 9112, section 9.3.1; RFC 4918, section 9.9 (MOVE is idempotent).
    """

    def send(self, request: httpx.Request, *, follow_redirects: Any = False, **options: Any) -> httpx.Response:
        """Send a request, again if need be; a redirect is followed on the same server alone.

        httpx would hand headers of the configuration, which may be secrets, on to any other one.
        """
        answer = self._send_until_answered(request, **options)
        for _ in range(_MOST_REDIRECTS if follow_redirects is True else 0):
            follower = answer.next_request
            if follower is None:
                break
            answer.close()
            target = str(follower.url)
            if not keeps_secrets(str(request.url), target):
                raise BackendError(f"{masked_url(str(request.url))} redirects to another server: {masked_url(target)}")
            answer = self._send_until_answered(follower, **options)
        return answer

    def _send_until_answered(self, request: httpx.Request, **options: Any) -> httpx.Response:
        lost: list[httpx.TransportError] = []
        while len(lost) < _ATTEMPTS:
            try:
                answer: httpx.Response = super().send(request, **options)
            except _LOST as error:
                lost.append(error)
                continue
            if lost and request.method == "MOVE" and answer.status_code == HTTPStatus.NOT_FOUND:
                # A request that was lost may have moved the file: this answer does not tell.
                answer.close()
                break
            return answer
        raise lost[-1]


class DavFiles(Files):
    """A folder on a WebDAV server."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._proven: frozenset[str] = frozenset()

    def is_shared(self) -> bool:
        return True  # httpx keeps a pool of connections, and finds those that the server has closed

    def disconnect(self, fs: Any) -> None:
        fs.client.http.close()

    def is_answer(self, error: BaseException) -> bool:
        return isinstance(error, HTTPError) or failures.is_answer(error)

    def path(self, key: str) -> str:
        return quote(f"{self.root}/{key}", safe="/")

    def look(self, fs: Any, path: str) -> Info:
        try:
            return next(info for info, _ in self._ask(fs, path, depth=0))
        except (PermissionError, HTTPError) as error:
            if isinstance(error, HTTPError) and error.status_code != HTTPStatus.BAD_REQUEST:
                raise
            parent = path.rpartition("/")[0]
            # Apache says one or the other of a name below a file.
            if len(parent) > len(quote(self.root)) and self.look(fs, parent)["type"] == "file":
                raise FileNotFoundError(unquote(path)) from None
            raise

    def list_folder(self, fs: Any, path: str) -> list[Info]:
        itself = unquote(path).strip("/")
        found = []
        for info, is_itself in self._ask(fs, path, depth=1):
            if not is_itself:
                found.append(info)
            elif info["type"] != "directory":
                raise NotADirectoryError(itself)
        return found

    def _ask(self, fs: Any, path: str, *, depth: int) -> list[tuple[Info, bool]]:
        """Ask for the properties of a path, and of what is in the folder; tell which is the path's own."""
        headers = {"Depth": str(depth), "Content-Type": "application/xml; charset=utf-8"}
        with Meaning(path):
            try:
                answer = fs.client.propfind(path or "/", data=_WANTED, headers=headers, follow_redirects=True)
            except (ParseError, ValueError) as error:
                raise BackendError(f"{self.uri} gives no listing that can be read: {error}") from error
        own = fs.client.join_url(path).path.rstrip("/")
        return [(info_of(one), one.path_norm.rstrip("/") == own) for one in answer.responses.values()]

    def remove(self, fs: Any, path: str) -> None:
        with Meaning(path):
            fs.client.request("DELETE", path)

    def remove_folder(self, fs: Any, path: str) -> None:
        # DELETE takes all that is in a folder with it, and somebody may have written there since it was listed.
        aside = self.temporary_path()
        self.move(fs, path, aside)
        if self.list_folder(fs, aside):
            self.move(fs, aside, path)
            raise OSError(f"{unquote(path)} is not empty")
        self.remove(fs, aside)

    def publish(self, temporary: str, key: str, *, size: int) -> None:
        with self.calling(key, "write", writing=True) as fs:
            self._prove_name(fs, temporary, key)
        super().publish(temporary, key, size=size)

    def _prove_name(self, fs: Any, path: str, key: str) -> None:
        """Check that the server moves a file to exactly the name it is told, before another value is in danger.

        wsgidav cuts a name at ``?`` and ``;``: a value for ``a?b`` would take the place of ``a``.
        """
        signs = {_UNICODE if sign > "\x7f" else sign for sign in _UNUSUAL.findall(key)} - self._proven
        if not signs:
            return
        name = f"{path}-{quote(''.join(sorted(signs)))}-"
        try:
            self.move(fs, path, name)
            self.look(fs, name)
        except Exception as error:
            if not self.is_answer(error):
                raise
            raise InvalidKey(
                f"{self.uri} cannot hold {key!r}: its server moves a file to another name when the name has one of "
                f"{''.join(sorted(signs))!a} in it; choose a plainer one"
            ) from None
        self.move(fs, name, path)
        self._proven |= signs

    def make_folder(self, fs: Any, path: str) -> None:
        with Meaning(path):
            fs.client.request("MKCOL", path, add_trailing_slash=True)

    def make_folders(self, fs: Any, path: str) -> None:
        self.make_step_by_step(fs, path)

    def move(self, fs: Any, path: str, target: str) -> None:
        headers = {"Destination": str(fs.client.join_url(target)), "Overwrite": "T"}
        with Meaning(target):
            fs.client.request("MOVE", path, headers=headers)

    def open_new(self, fs: Any, path: str) -> Any:
        return Upload(self, fs, path)

    def discard(self, handle: Any) -> None:
        handle.discard()


class Meaning:
    """A block in which the client's errors become those that say the same in Python."""

    def __init__(self, path: str) -> None:
        self._path = unquote(path)

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, ResourceNotFound):
            raise FileNotFoundError(str(error)) from error
        if isinstance(error, HTTPError) and error.status_code in _NOT_ALLOWED:
            raise PermissionError(str(error)) from error


def info_of(response: Any) -> Info:
    """Tell what a server says of a file, with the names that fsspec has for it."""
    said = response.properties
    return {
        "name": response.path_norm.rstrip("/").rpartition("/")[2],
        "type": "directory" if said.collection else "file",
        "size": said.content_length,
        "modified": said.modified,
        # Apache calls a tag weak as long as it is younger than a second.
        "ETag": _bare(said.etag or ""),
    }


class Upload:
    """One file on its way to the server: kept here until its length is known, then sent by one request."""

    def __init__(self, files: DavFiles, fs: Any, path: str) -> None:
        self._files = files
        self._fs = fs
        self._path = path
        self._spool = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 - closed by close and discard

    def write(self, data: bytes) -> None:
        """Keep a piece."""
        self._spool.write(data)

    def close(self) -> None:
        """Send the file."""
        size = self._spool.tell()
        try:
            self._send(size)
        except (HTTPError, FileNotFoundError) as error:
            if isinstance(error, HTTPError) and error.status_code not in _NO_FOLDER:
                raise
            self._files.make_folders(self._fs, self._path.rpartition("/")[0])
            self._send(size)
        self._spool.close()

    def _send(self, size: int) -> None:
        with Meaning(self._path):
            self._fs.client.request("PUT", self._path, content=self, headers={"Content-Length": str(size)})

    def __iter__(self) -> Iterator[bytes]:
        """Give the pieces, from the first one on each time: a request that was lost is sent again."""
        self._spool.seek(0)
        return iter(lambda: self._spool.read(CHUNK_BYTES), b"")

    def discard(self) -> None:
        """Forget the file, of which the server has not heard yet."""
        self._spool.close()


class DavReader(Reader):
    """A value read by one request for each part, whose answer tells the version that it is a part of."""

    def __init__(self, files: Files, key: Key) -> None:
        self._files = files
        self._info = files.info(key)
        self.entry = entry_of(key, self._info, protocol=files.protocol)

    def read(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        key, size = self.entry.key, self.entry.size
        end = stop if size is None else size if stop is None else min(stop, size)
        if end is not None and start >= end:
            return
        position = start
        with self._files.calling(key, "read") as fs, closing(self._request(fs, start, end)) as pieces:
            for piece in pieces:
                position += len(piece)
                yield piece
        if end is not None and position < end:
            raise failures.changed(self._files, key)

    def _request(self, fs: Any, start: int, end: int | None) -> Generator[bytes, None, None]:
        url = fs.client.join_url(self._files.path(self.entry.key))
        whole = start == 0 and end == self.entry.size
        headers = {} if whole else {"Range": f"bytes={start}-{'' if end is None else end - 1}"}
        request = fs.client.http.build_request("GET", url, headers=headers)
        response = fs.client.http.send(request, stream=True, follow_redirects=True)
        try:
            self._check(response)
            skip = start if response.status_code != HTTPStatus.PARTIAL_CONTENT else 0  # it knows no ranges
            left = None if end is None else end - start
            for piece in response.iter_bytes(CHUNK_BYTES):
                part = piece[skip:] if left is None else piece[skip : skip + left]
                skip = max(skip - len(piece), 0)
                if part:
                    left = None if left is None else left - len(part)
                    yield part
                if left == 0:
                    return
        finally:
            response.close()

    def _check(self, response: httpx.Response) -> None:
        """Check that an answer is about the version that was opened."""
        if response.status_code in (HTTPStatus.NOT_FOUND, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE):
            raise failures.changed(self._files, self.entry.key)
        if response.status_code not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
            raise HTTPError(response)
        etag, version = response.headers.get("ETag"), self.entry.version
        if etag and version and _bare(etag) != version:
            raise failures.changed(self._files, self.entry.key)
        total = response.headers.get("Content-Range", "").rpartition("/")[2]
        if response.status_code == HTTPStatus.OK:
            total = response.headers.get("Content-Length", "")
        if total.isdigit() and self.entry.size is not None and int(total) != self.entry.size:
            raise failures.changed(self._files, self.entry.key)

    def close(self) -> None:
        """There is nothing to close."""


def _bare(etag: str) -> str:
    """Take away what servers write around the same tag, here so and there so."""
    return etag.removeprefix("W/").strip('"')


def get_at_once(files: Files, key: Key) -> bytes:
    """Read a whole value."""
    with DavReader(files, key) as reader:
        return b"".join(reader.read())


FILESYSTEM = Dav
MEDIUM = Medium(files=DavFiles, get=get_at_once, open_reader=DavReader)
