"""Commands to a server, and its answers: retried where that is safe, failures translated."""

import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from redis.backoff import ExponentialBackoff
from redis.connection import AbstractConnection
from redis.exceptions import AuthenticationError, AuthorizationError, InvalidResponse, ResponseError
from redis.exceptions import ConnectionError as NoConnection
from redis.retry import Retry

from anystore.backends.redis.address import Address
from anystore.backends.redis.connections import Pool
from anystore.backends.redis.failures import DRIVER_ERRORS, explain

PIECE_BYTES = 1 << 20
"""Length of a piece of a value that is streamed; every server takes strings of that length."""

Command = tuple[bytes | str | int | memoryview, ...]
R = TypeVar("R")

_MAX_STRING_BYTES = 512 << 20
_RETRIES = 2


class Client:
    """What a backend asks of its server.

    Args:
        address: The server.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self._pool = Pool(address)
        self._kvrocks: bool | None = None
        self._max_string_bytes: int | None = None

    @property
    def pool(self) -> Pool:
        """The connections of this process."""
        if self._pool.pid != os.getpid():
            self._pool = Pool(self.address)
        return self._pool

    def ask(self, verb: str, key: str, *command: bytes | str | int | memoryview) -> Any:
        """Send a command once, and return the answer.

        Args:
            verb: What is done, for the message of an error; such as ``read``.
            key: The key it is done to.
            command: The command and its arguments.

        Returns:
            The answer, in bytes.

        Raises:
            BackendError: If there is none, or it is an error.
        """
        try:
            return self._ask(verb, key, command)
        except DRIVER_ERRORS as error:
            failure = explain(error, self.address, verb=verb, key=key)
        raise failure  # outside of the handler, so that an error that holds a secret is no context

    def ask_again(self, verb: str, key: str, *command: bytes | str | int | memoryview) -> Any:
        """Send a command that only reads; it is sent again when the connection breaks."""
        try:
            return self._ask(verb, key, command)
        except (AuthenticationError, AuthorizationError) as error:
            failure = explain(error, self.address, verb=verb, key=key)
        except NoConnection:
            return self._repeat(verb, key, lambda: self._ask(verb, key, command))
        except DRIVER_ERRORS as error:
            failure = explain(error, self.address, verb=verb, key=key)
        raise failure

    def ask_all(self, verb: str, key: str, commands: Sequence[Command], *, again: bool = False) -> list[Any]:
        """Send commands in one go.

        Args:
            verb: What is done, for the message of an error.
            key: The key, or the prefix, it is done to.
            commands: The commands.
            again: Whether they only read, and can be sent again when the connection breaks.

        Returns:
            The answers. An error that concerns one command stands in its place.

        Raises:
            BackendError: If the connection breaks.
        """
        if again:
            return self._repeat(verb, key, lambda: self._ask_all(verb, key, commands))
        try:
            return self._ask_all(verb, key, commands)
        except DRIVER_ERRORS as error:
            failure = explain(error, self.address, verb=verb, key=key)
        raise failure

    def check(self, verb: str, key: str, answers: Sequence[Any]) -> None:
        """Raise the first error among answers.

        Raises:
            BackendError: If there is one.
        """
        for answer in answers:
            if isinstance(answer, ResponseError):
                raise explain(answer, self.address, verb=verb, key=key)

    def take_apart(self, verb: str, key: str, answer: Any, parts: Callable[[Any], R]) -> R:
        """Read what an answer says, which something between the server and us may have spoilt.

        Args:
            verb: What is done, for the message of an error.
            key: The key it is done to.
            answer: The answer.
            parts: Reads it.

        Returns:
            What ``parts`` returns.

        Raises:
            BackendError: If the answer is not one to the command.
        """
        try:
            return parts(answer)
        except _MALFORMED as error:
            wrong = InvalidResponse(f"this is no answer to the command: {error}")
        raise explain(wrong, self.address, verb=verb, key=key)

    def is_kvrocks(self, prefix: str) -> bool:
        """Tell whether the server is Kvrocks, whose SCAN knows no patterns.

        Args:
            prefix: What is to be listed, for the message of an error.
        """
        if self._kvrocks is None:
            (answer,) = self.ask_all("list", prefix, [(b"INFO", b"server")], again=True)
            # who may not ask has a server with users, which Kvrocks is not
            self._kvrocks = isinstance(answer, bytes) and b"kvrocks_version:" in answer
        return self._kvrocks

    def max_string_bytes(self, key: str) -> int:
        """Tell how long a string of this server can be.

        Args:
            key: What is to be written, for the message of an error.
        """
        if self._max_string_bytes is None:
            (answer,) = self.ask_all("write", key, [(b"CONFIG", b"GET", b"proto-max-bulk-len")], again=True)
            said = answer[1] if isinstance(answer, list) and len(answer) > 1 else b""
            # hosted servers do not say; this is what they have
            self._max_string_bytes = int(said) if said.isdigit() else _MAX_STRING_BYTES
        return self._max_string_bytes

    def close(self) -> None:
        """Close the connections; they are opened again when they are needed."""
        pool, self._pool = self._pool, Pool(self.address)
        pool.close()

    def _repeat(self, verb: str, key: str, do: Callable[[], R]) -> R:
        def attempt() -> R:
            try:
                return do()
            except (AuthenticationError, AuthorizationError) as error:  # they are ConnectionErrors, too
                failure = explain(error, self.address, verb=verb, key=key)
            raise failure

        retry = Retry(ExponentialBackoff(cap=0.5, base=0.05), _RETRIES, (NoConnection,))
        try:
            return retry.call_with_retry(attempt, lambda _error: None)
        except DRIVER_ERRORS as error:
            failure = explain(error, self.address, verb=verb, key=key)
        raise failure

    def _ask(self, verb: str, key: str, command: Command) -> Any:
        pool = self.pool
        connection = pool.take(verb=verb, key=key)
        try:
            connection.send_command(*command)
            return _answer_of(connection)
        finally:
            pool.give(connection)

    def _ask_all(self, verb: str, key: str, commands: Sequence[Command]) -> list[Any]:
        pool = self.pool
        connection = pool.take(verb=verb, key=key)
        try:
            return exchange(connection, commands)
        finally:
            pool.give(connection)


_MALFORMED = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError)
"""What taking bytes apart ends with that are not what they have to be."""


def _answer_of(connection: AbstractConnection) -> Any:
    """Read an answer; one that is spoilt is an error of the driver's own, which has closed the connection then."""
    try:
        return connection.read_response()
    except _MALFORMED as error:
        raise InvalidResponse(f"what came is no answer: {error}") from error


def exchange(connection: AbstractConnection, commands: Sequence[Command]) -> list[Any]:
    """Send commands over a connection in one go, and read all answers.

    Args:
        connection: An open connection.
        commands: The commands.

    Returns:
        The answers; an error that concerns one command stands in its place.
    """
    answers: list[Any] = []
    try:
        connection.send_packed_command(connection.pack_commands(commands))
        for _ in commands:
            try:
                answers.append(_answer_of(connection))
            except ResponseError as error:
                answers.append(error)
    except BaseException:
        connection.disconnect()  # or the next one to use it reads answers that were meant for us
        raise
    return answers
