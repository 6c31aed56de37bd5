"""A filter before a real Redis that takes the commands Kvrocks takes, and refuses the others.

Kvrocks itself is in no package. What it does otherwise than Redis, by its source of October 2024, is done here on
the wire: its SCAN has no TYPE, takes one ``*`` at the end of MATCH, everything before it being literal, and hands
out cursors that are no numbers; INFO names its version; newer commands and options are errors.
"""

import re
import socket
import socketserver
import threading
from typing import BinaryIO, Self

from tests.redis_servers import WAIT, Connection, RedisServer, pack
from tests.servers import HOST

STRINGS = """
    GET GETDEL GETEX GETRANGE STRLEN APPEND SET MGET MSET RENAME RENAMENX COPY PEXPIRE PTTL EXISTS DEL UNLINK
    WATCH MULTI EVAL SCAN
"""
CONNECTION = "AUTH SELECT PING INFO EXEC DISCARD UNWATCH"
ALLOWED = frozenset(f"{STRINGS} {CONNECTION}".encode().split())
SET_OPTIONS = frozenset((b"NX", b"XX", b"EX", b"PX"))
SIGNS = re.compile(rb"([*?\[\]\\])")


class KvrocksFilter(socketserver.ThreadingTCPServer):
    """The filter, running until the block ends.

    ``refused`` holds the commands that were refused, in order.
    """

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, behind: RedisServer) -> None:
        super().__init__((HOST, 0), _Client)
        self.behind = behind
        self.port = self.server_address[1]
        self.refused: list[list[bytes]] = []

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()

    def connect(self) -> Connection:
        """Open a connection."""
        return Connection(self.port)


class _Client(socketserver.StreamRequestHandler):
    """One client, with a connection of its own to the real server."""

    server: KvrocksFilter
    disable_nagle_algorithm = True

    def handle(self) -> None:
        with socket.create_connection((HOST, self.server.behind.port), WAIT) as real, real.makefile("rb") as answers:
            real.settimeout(None)
            while words := _read_command(self.rfile):
                allowed, error = _judge(words)
                if error:
                    self.server.refused.append(words)
                    answer = b"-ERR " + error + b"\r\n"
                else:
                    real.sendall(pack(*allowed))
                    answer = _reword(words, _copy_answer(answers))
                self.wfile.write(answer)


def _read_command(stream: BinaryIO) -> list[bytes]:
    line = stream.readline()
    if not line:
        return []
    return [stream.read(int(stream.readline()[1:]) + 2)[:-2] for _ in range(int(line[1:]))]


def _judge(words: list[bytes]) -> tuple[list[bytes], bytes]:
    """Give the command for the real server, or what is wrong with it."""
    name, *rest = words
    if name.upper() not in ALLOWED:
        return [], b"unknown command " + name
    if name.upper() == b"SET" and not {word.upper() for word in rest[2:] if not word.isdigit()} <= SET_OPTIONS:
        return [], b"syntax error"
    if name.upper() == b"SCAN":
        return _judge_scan(rest)
    return words, b""


def _judge_scan(rest: list[bytes]) -> tuple[list[bytes], bytes]:
    cursor, *options = rest
    passed = [b"SCAN", cursor.removeprefix(b"_")]
    for option, value in zip(options[::2], options[1::2], strict=True):
        if option.upper() == b"MATCH":
            if value.count(b"*") != 1 or not value.endswith(b"*"):
                return [], b"only keys prefix match was supported"
            passed += (b"MATCH", SIGNS.sub(rb"\\\1", value[:-1]) + b"*")
        elif option.upper() == b"COUNT":
            passed += (b"COUNT", value)
        else:
            return [], b"syntax error"
    return passed, b""


def _copy_answer(stream: BinaryIO) -> bytes:
    """Read one answer as it is."""
    line = stream.readline()
    size = line[1:-2]
    if line[:1] == b"$" and size != b"-1":
        return line + stream.read(int(size) + 2)
    if line[:1] == b"*" and size != b"-1":
        return line + b"".join(_copy_answer(stream) for _ in range(int(size)))
    return line


def _reword(words: list[bytes], answer: bytes) -> bytes:
    """Say what Kvrocks says."""
    name = words[0].upper()
    if answer.startswith(b"-WRONGTYPE"):
        return b"-ERR Invalid argument: " + answer[1:]
    if name == b"INFO" and answer.startswith(b"$"):
        text = answer.partition(b"\r\n")[2][:-2].replace(b"# Server\r\n", b"# Server\r\nkvrocks_version:2.10.0\r\n")
        return b"$%d\r\n%b\r\n" % (len(text), text)
    if name == b"SCAN" and answer.startswith(b"*"):
        head, _, rest = answer.partition(b"\r\n")
        _, _, rest = rest.partition(b"\r\n")
        cursor, _, rest = rest.partition(b"\r\n")
        cursor = cursor if cursor == b"0" else b"_" + cursor
        return b"%b\r\n$%d\r\n%b\r\n%b" % (head, len(cursor), cursor, rest)
    return answer
