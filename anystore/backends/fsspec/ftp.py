"""Files over FTP, on the connection that fsspec's filesystem has opened.

fsspec itself lists the whole folder to look at one file, takes any refusal for a missing file,
and writes a value as one command for each 64 KiB.
"""

import re
import ssl
from collections.abc import Generator, Iterator
from contextlib import closing, suppress
from ftplib import FTP, FTP_TLS, error_perm, error_temp
from select import select
from typing import Any

from fsspec.implementations.ftp import SECURITY_PROTOCOL_MAP, FTPFileSystem

from anystore.backend import CHUNK_BYTES, Reader
from anystore.backends.fsspec import failures
from anystore.backends.fsspec.files import Files, Info
from anystore.backends.fsspec.media import Medium
from anystore.backends.fsspec.values import entry_of
from anystore.errors import DoesNotExist, InvalidKey, InvalidOption
from anystore.keys import Key

_TYPES = {"file": "file", "dir": "directory", "cdir": "directory", "pdir": "directory"}
_FACTS = ("size", "modify", "unique")
_NOT_KNOWN = ("500", "501", "502", "504")
_NOT_ALLOWED = re.compile(
    r"denied|permission|privilege|not allowed|forbidden|read.?only|authori[sz]|log.?in", re.IGNORECASE
)
_MISSING = re.compile(r"no such|not (?:be )?found|not exist|cannot find|can't find|not a directory", re.IGNORECASE)
_IMPLICIT = frozenset({"implicit", *SECURITY_PROTOCOL_MAP})  # fsspec's words choose an old version of TLS as well
_LINE_BREAK = re.compile(r"[\r\n]")


class Ftp(FTPFileSystem):  # type: ignore[misc]
    """fsspec's filesystem, which over TLS checks who the server is, and encrypts data as well as commands.

    Args:
        host: Name or address of the server.
        port: Its port.
        username: The user; anonymous unless given.
        password: The password.
        acct: The account, which few servers ask for.
        block_size: As fsspec takes it.
        tempdir: As fsspec takes it.
        timeout: Seconds to wait for the server.
        encoding: Of the names.
        tls: True to ask for TLS on the usual port; ``"implicit"`` where the server speaks nothing else, as on port 990.
        verify: Whether to check the server's certificate.
        ca_file: Certificates to trust in place of the system's.
    """

    cachable = False

    def __init__(
        self,
        host: str,
        *,
        port: int | str = 21,
        username: str | None = None,
        password: str | None = None,
        acct: str | None = None,
        block_size: int | str | None = None,
        tempdir: str | None = None,
        timeout: float | str = 30,
        encoding: str = "utf-8",
        tls: bool | str = False,
        verify: bool = True,
        ca_file: str | None = None,
    ) -> None:
        self.ftp = FTP()  # noqa: S321 - fsspec closes it in the end, also where what follows fails
        if not isinstance(tls, bool) and tls not in _IMPLICIT:
            raise InvalidOption(f"tls is true or 'implicit', not {tls!r}")
        self.verify = verify
        self.ca_file = ca_file
        super().__init__(
            host,
            port=int(port),
            username=username,
            password=password,
            acct=acct,
            block_size=None if block_size is None else int(block_size),
            tempdir=tempdir,
            timeout=float(timeout),
            encoding=encoding,
            tls=tls,
            use_listings_cache=False,
        )

    def _connect(self) -> None:
        self.ftp = self._client()
        try:
            self.ftp.connect(self.host, self.port)
            self.ftp.login(*self.cred)
            if isinstance(self.ftp, FTP_TLS):
                self.ftp.prot_p()
        except BaseException:
            self.ftp.close()
            raise

    def _client(self) -> FTP:
        if not self.tls:
            return FTP(timeout=self.timeout, encoding=self.encoding)  # noqa: S321 - what the URI asks for
        context = ssl.create_default_context(cafile=self.ca_file)
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        kind = FTP_TLS if self.tls is True else ImplicitTls
        return kind(timeout=self.timeout, encoding=self.encoding, context=context)


class ImplicitTls(FTP_TLS):
    """A connection that is encrypted from its first byte; fsspec's own has no name to check the certificate by."""

    @property
    def sock(self) -> Any:
        """The connection for commands."""
        return self.__dict__.get("sock")

    @sock.setter
    def sock(self, value: Any) -> None:
        if value is not None and not isinstance(value, ssl.SSLSocket):
            value = self.context.wrap_socket(value, server_hostname=self.host)
        self.__dict__["sock"] = value


class FtpFiles(Files):
    """A folder on an FTP server; a file is looked at by MLST, and by listing its folder where that is not known."""

    refuses_folders = True

    def connect(self) -> Any:
        fs = super().connect()
        with suppress(error_perm, error_temp):  # few servers have to be asked
            fs.ftp.sendcmd("OPTS UTF8 ON")
        fs.knows_machine_listings = True
        return fs

    def is_alive(self, fs: Any) -> bool:
        # What comes without a question is a good-bye, or an answer that nobody waits for any more.
        return fs.ftp.sock is not None and not select([fs.ftp.sock], [], [], 0)[0]

    def disconnect(self, fs: Any) -> None:
        fs.ftp.close()

    def is_answer(self, error: BaseException) -> bool:
        return isinstance(error, error_perm) or failures.is_answer(error)

    def path(self, key: str) -> str:
        if _LINE_BREAK.search(key):
            raise InvalidKey(f"{self.uri} cannot hold {key!r}: FTP has no names with line breaks; choose a plainer one")
        return super().path(key)

    def look(self, fs: Any, path: str) -> Info:
        if fs.knows_machine_listings:
            try:
                return parse_facts(fs.ftp.sendcmd(f"MLST {path or '/'}").split("\n")[1].lstrip(" "))
            except error_perm as error:
                if str(error)[:3] not in _NOT_KNOWN:
                    raise meaning_of(error) from error
            fs.knows_machine_listings = False
        return super().look(fs, path)

    def list_folder(self, fs: Any, path: str) -> list[Info]:
        if not fs.knows_machine_listings:
            return super().list_folder(fs, path)
        lines: list[str] = []
        try:
            fs.ftp.retrlines(f"MLSD {path or '/'}", lines.append)
        except error_perm as error:
            if str(error)[:3] in _NOT_KNOWN:
                found = self.look(fs, path)  # some say so of a file, or of what is not there
                if found["type"] != "directory":
                    return []
                if not fs.knows_machine_listings:
                    return super().list_folder(fs, path)
            raise meaning_of(error) from error
        return [info for info in map(parse_facts, lines) if info["name"] not in (".", "..", "")]

    def remove(self, fs: Any, path: str) -> None:
        try:
            fs.ftp.delete(path)
        except error_perm as error:
            raise meaning_of(error) from error

    def remove_folder(self, fs: Any, path: str) -> None:
        try:
            fs.ftp.rmd(path)
        except error_perm as error:
            raise OSError(str(error)) from error

    def make_folder(self, fs: Any, path: str) -> None:
        try:
            fs.ftp.mkd(path)
        except error_perm as error:
            raise meaning_of(error) from error

    def make_folders(self, fs: Any, path: str) -> None:
        self.make_step_by_step(fs, path)

    def move(self, fs: Any, path: str, target: str) -> None:
        try:
            fs.ftp.rename(path, target)
        except error_perm as error:
            raise meaning_of(error) from error

    def open_new(self, fs: Any, path: str) -> Any:
        try:
            return Upload(fs.ftp, path)
        except error_perm as error:
            raise meaning_of(error) from error

    def discard(self, handle: Any) -> None:
        handle.discard()


def parse_facts(line: str) -> Info:
    """Read one line of a listing for machines.

    Example:
        >>> parse_facts("type=file;size=3;modify=20240501123456; a b.txt")["size"]
        '3'

    Source:
        RFC 3659, section 7.2.
    """
    facts, _, name = line.partition(" ")
    found: dict[str, Any] = {}
    for fact in facts.rstrip(";").split(";"):
        label, _, value = fact.partition("=")
        found[label.lower()] = value
    found["type"] = _TYPES.get(str(found.get("type", "")).lower(), "other")
    found["name"] = name
    return found


def meaning_of(error: error_perm) -> Exception:
    """Tell what a refusal means: the same number, 550, stands for a missing file and for a forbidden one."""
    text = str(error)
    if _MISSING.search(text):
        return FileNotFoundError(text)
    if _NOT_ALLOWED.search(text) or text.startswith("532"):
        return PermissionError(text)
    if text.startswith("550"):
        return FileNotFoundError(text) if "too long" not in text.lower() else error
    return error


class Upload:
    """One file on its way to the server, by one command.

    Args:
        ftp: A connection that does nothing else meanwhile.
        path: Where the file will be.
    """

    def __init__(self, ftp: Any, path: str) -> None:
        self._ftp = ftp
        ftp.voidcmd("TYPE I")
        self._data = ftp.transfercmd(f"STOR {path}")

    def write(self, data: bytes) -> None:
        """Send a piece."""
        self._data.sendall(data)

    def close(self) -> None:
        """End the file, and hear what the server says of it."""
        end_transfer(self._data)
        self._ftp.voidresp()

    def discard(self) -> None:
        """Let the file be, whole or not; the connection is of no use afterwards."""
        self._data.close()
        self._ftp.close()


def end_transfer(data: Any) -> None:
    """Close a connection for data; over TLS, tell the server that nothing was cut off."""
    if isinstance(data, ssl.SSLSocket):
        with suppress(OSError):
            data.unwrap()
    data.close()


class FtpReader(Reader):
    """A value read by one transfer for each part, between two looks at its size, time and file number."""

    def __init__(self, files: Files, key: Key) -> None:
        self._files = files
        self._info = files.info(key)
        self.entry = entry_of(key, self._info, protocol=files.protocol)

    def read(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        key, size = self.entry.key, self.entry.size or 0
        end = size if stop is None else min(stop, size)
        self._check()
        position = start
        last = b""
        with closing(self._transfer(key, start, end)) as pieces:
            for piece in pieces:
                position += len(piece)
                if last:
                    yield last
                last = piece
        if position < end:
            raise failures.changed(self._files, key)
        self._check()
        if last:
            yield last

    def _transfer(self, key: str, start: int, end: int) -> Generator[bytes, None, None]:
        if start >= end:
            return
        lease = self._files.borrow()
        data: Any = None
        sound = False
        try:
            with self._files.errors(key, "read"):
                lease.fs.ftp.voidcmd("TYPE I")
                data = lease.fs.ftp.transfercmd(f"RETR {self._files.path(key)}", rest=start or None)
            position = start
            while position < end:
                with self._files.errors(key, "read"):
                    piece = receive(data, min(CHUNK_BYTES, end - position))
                if not piece:
                    break
                position += len(piece)
                yield piece
            with self._files.errors(key, "read"):
                end_transfer(data)
                with suppress(error_temp):  # the answer to a transfer that ends before the file does
                    lease.fs.ftp.voidresp()
            sound = True
        finally:
            if data is not None:
                data.close()
            lease.release(sound=sound)

    def _check(self) -> None:
        try:
            now = self._files.info(self.entry.key)
        except DoesNotExist:
            raise failures.changed(self._files, self.entry.key) from None
        if any(now.get(fact) != self._info.get(fact) for fact in _FACTS):
            raise failures.changed(self._files, self.entry.key)

    def close(self) -> None:
        """There is nothing to close."""


def receive(data: Any, length: int) -> bytes:
    """Receive as many bytes, or what there is before the end."""
    parts = []
    while length > 0 and (part := data.recv(min(length, CHUNK_BYTES))):
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


def get_at_once(files: Files, key: Key) -> bytes:
    """Read a whole value."""
    with FtpReader(files, key) as reader:
        return b"".join(reader.read())


FILESYSTEM = Ftp
MEDIUM = Medium(files=FtpFiles, get=get_at_once, open_reader=FtpReader)
