"""Files over SFTP, by paramiko.

fsspec knows two libraries under this name. The other one, sshfs, gives the whole value whatever range is
asked for, and takes the name over as soon as it is installed; stores always use this one.
"""

import atexit
import logging
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from typing import Any, cast
from weakref import WeakSet

import paramiko
from fsspec.implementations.sftp import SFTPFileSystem
from paramiko.sftp import CMD_DATA, CMD_READ, int64

from anystore.backend import CHUNK_BYTES, Entry, Reader
from anystore.backends.fsspec import failures
from anystore.backends.fsspec.connections import Lease
from anystore.backends.fsspec.files import Files, Info
from anystore.backends.fsspec.media import Medium
from anystore.backends.fsspec.values import entry_of
from anystore.errors import AnystoreError, DoesNotExist
from anystore.keys import Key

_CONNECT_TIMEOUT = 10.0
_ANSWER_TIMEOUT = 60.0
# paramiko logs what it also raises; where nobody has asked for a log, Python would print it.
_LOG = "anystore.sftp"
logging.getLogger(_LOG).addHandler(logging.NullHandler())
# Every server answers this much at once; the more such requests at a time, the better.
_ONE_REQUEST = 32_768
_LONG_PIECE = 4 * CHUNK_BYTES


class OpenSsh(SFTPFileSystem):  # type: ignore[misc]
    """fsspec's filesystem, with time limits, and with the host keys that the user's ``ssh`` knows.

    Args:
        host: Name or address of the server.
        port: Its port.
        username: The user; the system's own name of the user unless given.
        password: The password, also of a private key; where it is given, no agent and no key in ``~/.ssh`` is tried.
        key_filename: File of a private key, or several.
        pkey: A private key of paramiko's.
        passphrase: The password of the private key alone.
        known_hosts: File of host keys, ``~/.ssh/known_hosts`` unless given; a server that does not stand in it, or
            with another key, is refused.
        host_key_policy: What to do with a server that does not stand there: ``reject``, or to trust it unseen,
            ``warning`` or ``auto_add``.
        timeout: Seconds to wait for a connection.
        answer_timeout: Seconds to wait for an answer.
        allow_agent: Whether to ask an agent for keys.
        look_for_keys: Whether to try the keys in ``~/.ssh``.
        compress: Whether to compress what is sent.
        disabled_algorithms: As paramiko takes it.
        sock: A socket, or a proxy command of paramiko's, to use as connection.
    """

    cachable = False

    def __init__(
        self,
        host: str,
        *,
        port: int | str = 22,
        username: str | None = None,
        password: str | None = None,
        key_filename: str | list[str] | None = None,
        pkey: paramiko.PKey | None = None,
        passphrase: str | None = None,
        known_hosts: str | None = None,
        host_key_policy: Any = None,
        timeout: float | str = _CONNECT_TIMEOUT,
        answer_timeout: float | str = _ANSWER_TIMEOUT,
        allow_agent: bool | None = None,
        look_for_keys: bool | None = None,
        compress: bool = False,
        disabled_algorithms: dict[str, list[str]] | None = None,
        sock: Any = None,
    ) -> None:
        self.known_hosts = known_hosts
        self.answer_timeout = float(answer_timeout)
        super().__init__(
            host,
            port=int(port),
            username=username,
            password=password,
            key_filename=key_filename,
            pkey=pkey,
            passphrase=passphrase,
            host_key_policy=_Refuse() if host_key_policy in (None, "reject") else host_key_policy,
            timeout=float(timeout),
            banner_timeout=float(timeout),
            auth_timeout=float(timeout),
            channel_timeout=float(timeout),
            allow_agent=password is None if allow_agent is None else allow_agent,
            look_for_keys=password is None if look_for_keys is None else look_for_keys,
            compress=compress,
            disabled_algorithms=disabled_algorithms,
            sock=sock,
        )

    def _connect(self) -> None:
        if sys.is_finalizing():  # a thread that is started now never runs, and is waited for
            raise paramiko.SSHException("Python is about to end")
        _watch_process()
        self.client = paramiko.SSHClient()
        _clients.add(self.client)
        self.client.set_log_channel(_LOG)
        try:
            self.client.load_system_host_keys(self.known_hosts)
            self.client.set_missing_host_key_policy(self.host_key_policy)
            self.client.connect(self.host, **self.ssh_kwargs)
            self.ftp = self.client.open_sftp()
            self.ftp.get_channel().settimeout(self.answer_timeout)
        except BaseException:
            self.client.close()
            raise


class _Refuse(paramiko.MissingHostKeyPolicy):  # type: ignore[misc]
    """Refuses a server whose host key is not known, and says what to do."""

    def missing_host_key(self, client: Any, hostname: str, key: Any) -> None:
        raise paramiko.SSHException(
            f"the server {hostname} is not in known_hosts, so it may be any; if its host key is {key.fingerprint}, "
            "connect once by ssh, which adds it, or name a file with it as known_hosts in backend_config"
        )


_clients: WeakSet[paramiko.SSHClient] = WeakSet()  # of this process


@cache
def _watch_process() -> None:
    """Let no file that is open wait for answers, or ask questions, when the threads that hear the answers are gone.

    They are gone at the end of Python, and in a forked child, whose questions would confuse the parent's server.
    """
    atexit.register(_close_all)
    os.register_at_fork(after_in_child=_cut_all)


def _close_all() -> None:
    for client in list(_clients):
        client.close()


def _cut_all() -> None:
    for client in list(_clients):
        transport = client.get_transport()
        if transport is not None:
            transport.active = False
            transport.sock.close()  # closes the child's copy alone
    _clients.clear()


class SftpFiles(Files):
    """A folder on an SFTP server; each step is one question."""

    refuses_folders = True

    def is_alive(self, fs: Any) -> bool:
        transport = fs.client.get_transport()
        return transport is not None and transport.is_active()

    def disconnect(self, fs: Any) -> None:
        fs.client.close()

    def is_answer(self, error: BaseException) -> bool:
        # paramiko tells most answers as an OSError without a number, and a lost connection too, but for its text.
        plain = type(error) is OSError and error.errno is None and "closed" not in str(error).lower()
        return plain or (isinstance(error, OSError) and failures.is_answer(error))

    def look(self, fs: Any, path: str) -> Info:
        return info_of(fs.ftp.stat(path or "."))

    def list_folder(self, fs: Any, path: str) -> list[Info]:
        return [{**info_of(status), "name": status.filename} for status in fs.ftp.listdir_iter(path or ".")]

    def remove(self, fs: Any, path: str) -> None:
        fs.ftp.remove(path)

    def remove_folder(self, fs: Any, path: str) -> None:
        fs.ftp.rmdir(path)

    def make_folder(self, fs: Any, path: str) -> None:
        fs.ftp.mkdir(path)

    def make_folders(self, fs: Any, path: str) -> None:
        self.make_step_by_step(fs, path)

    def move(self, fs: Any, path: str, target: str) -> None:
        try:
            fs.ftp.posix_rename(path, target)
        except FileNotFoundError:
            raise
        except OSError as error:
            if "unsupported" not in str(error).lower():
                raise
            fs.ftp.rename(path, target)  # not over a file that is there

    def open_new(self, fs: Any, path: str) -> Any:
        handle = fs.ftp.open(path, "wb")
        # Else each 32 KiB wait for an answer. The length is checked before the value is published.
        handle.set_pipelined(True)
        return handle

    def disown(self, handle: Any) -> None:
        if handle is not None:
            handle._closed = True  # noqa: SLF001 - else it says good-bye when it is freed


def info_of(status: paramiko.SFTPAttributes) -> Info:
    """Tell what a server says of a file, with the names that fsspec has for it."""
    mode = status.st_mode or 0
    kind = "directory" if stat.S_ISDIR(mode) else "link" if stat.S_ISLNK(mode) else "file"
    if kind == "file" and stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        kind = "other"
    return {"type": kind, "size": status.st_size, "mtime": status.st_mtime}


class SftpReader(Reader):
    """An open file: on a server that moves like POSIX it stays with its version, whatever happens to the name."""

    def __init__(self, files: Files, key: Key) -> None:
        self._files = files
        self._handle: Any = None
        self._sound = True
        self._process = os.getpid()
        self.entry = Entry(key, None, None)
        self._lease: Lease | None = files.borrow()
        try:
            with files.errors(key, "read"):
                self._open(key)
        except BaseException as error:
            self._sound = isinstance(error, DoesNotExist)
            self.close()
            raise

    def _open(self, key: Key) -> None:
        try:
            self._handle = cast("Lease", self._lease).fs.ftp.open(self._files.path(key), "rb", bufsize=0)
            self._info = info_of(self._handle.stat())
        except OSError:
            self._files.info(key)  # some servers only say "failure" of a folder
            raise
        if self._info["type"] != "file":
            raise failures.missing(self._files, key)
        self.entry = entry_of(key, self._info, protocol=self._files.protocol)

    def read(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        size = self.entry.size or 0
        end = size if stop is None else min(stop, size)
        position = start
        while position < end:
            most = CHUNK_BYTES if position == start else _LONG_PIECE
            piece = self._fetch(position, min(most, end - position))
            if not piece:
                break
            position += len(piece)
            yield piece
        if position < end:
            raise failures.changed(self._files, self.entry.key)

    def _fetch(self, position: int, length: int) -> bytes:
        self._sound = False
        with self._files.errors(self.entry.key, "read"):
            piece = read_at_once(cast("Lease", self._lease).fs.ftp, self._handle.handle, position, length)
            now = info_of(self._handle.stat())
        if now != self._info:
            raise failures.changed(self._files, self.entry.key)
        self._sound = True
        return piece

    def close(self) -> None:
        lease, self._lease = self._lease, None
        if lease is None:
            return
        if self._process != os.getpid():
            self._files.disown(self._handle)
        elif self._handle is not None:
            with suppress(AnystoreError), self._files.errors(self.entry.key, "close"):
                self._handle.close()
        lease.release(sound=self._sound)

    def __del__(self) -> None:
        if getattr(self, "_lease", None) is not None:
            self.close()


class _Answers:
    """The answers to requests that were sent together, as paramiko hands them over."""

    def __init__(self) -> None:
        self.messages: dict[int, tuple[int, Any]] = {}

    def _async_response(self, kind: int, message: Any, number: int) -> None:
        self.messages[number] = (kind, message)


def read_at_once(ftp: Any, handle: bytes, position: int, length: int) -> bytes:
    """Read a part of an open file by requests that are sent together.

    paramiko's own ``readv`` does it in a thread, and when answers come before that thread has sent the last request,
    it takes all for done: it asks for the rest once more, and keeps the first answers for ever (seen: 86 MiB of 1 GiB).

    Args:
        ftp: paramiko's client, which does nothing else meanwhile.
        handle: What the server calls the open file.
        position: First byte.
        length: How many.

    Returns:
        The bytes; fewer where the file ends, or the server gives less at once.
    """
    answers = _Answers()
    stop = position + length
    sizes = [(start, min(_ONE_REQUEST, stop - start)) for start in range(position, stop, _ONE_REQUEST)]
    asked = [(ftp._async_request(answers, CMD_READ, handle, int64(start), size), size) for start, size in sizes]  # noqa: SLF001 - there is no other way
    while len(answers.messages) < len(asked):
        ftp._read_response()  # noqa: SLF001
    parts = []
    for number, size in asked:
        kind, message = answers.messages[number]
        if kind != CMD_DATA:
            with suppress(EOFError):
                ftp._convert_status(message)  # noqa: SLF001
            break
        parts.append(message.get_string())
        if len(parts[-1]) < size:
            break
    return b"".join(parts)


def get_at_once(files: Files, key: Key) -> bytes:
    """Read a whole value."""
    with SftpReader(files, key) as reader:
        return b"".join(reader.read())


FILESYSTEM = OpenSsh
MEDIUM = Medium(files=SftpFiles, get=get_at_once, open_reader=SftpReader)
