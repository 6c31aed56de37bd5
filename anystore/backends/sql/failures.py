"""What SQLAlchemy and the drivers raise, as our errors."""

import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NoReturn

from sqlalchemy import exc
from sqlalchemy.engine import Dialect as Engine

from anystore.backends.sql.dialects import Failure, dialect_of
from anystore.errors import BackendError, ReadOnlyError
from anystore.uris import mask_text

_BESIDE = (
    "; to read it, SQLite makes files beside it: where nothing can be written and nobody else writes, open it by "
    "'sqlite:///file:NAME.db?immutable=1&uri=true'"
)
_HINTS = {
    Failure.OTHER: "",
    Failure.LOST: "; is the server running, and does it take connections?",
    Failure.BUSY: "; another connection holds a lock: let it finish, or wait longer for it",
    Failure.COLLISION: "; other writers of the same keys were always faster: try again",
    Failure.FORBIDDEN: "; the user, or the file, may only be read here: grant the permission",
    Failure.UNOPENED: _BESIDE,
}

_SILENT = "; where the server works for that long without a word, raise 'timeout' in backend_config"

SPOILT: tuple[type[Exception], ...] = (
    OSError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    struct.error,
)
"""What a driver raises, besides its own errors, where an option is not what it takes, or an answer makes no sense."""


@contextmanager
def answers() -> Iterator[None]:
    """Read answers of a server; after one that makes no sense the connection is of no use any more."""
    try:
        yield
    except SPOILT as error:
        raise exc.DisconnectionError(f"what came is no answer: {type(error).__name__}: {error}") from error


class Failures:
    """Turns errors of the libraries into ours.

    Attributes:
        caught: The classes of errors that the libraries raise; a driver's warnings are errors to us, too.

    Args:
        uri: The masked URI, for messages.
        secrets: Texts that no message may show.
        engine: SQLAlchemy's dialect, which knows the driver.
    """

    def __init__(self, uri: str, secrets: Iterable[str], engine: Engine) -> None:
        self.uri = uri
        self._secrets = frozenset(secrets)
        self._engine = engine
        self._dialect = dialect_of(engine)  # to classify, which does not need the server's version
        driver = engine.loaded_dbapi
        self.caught: tuple[type[Exception], ...] = (exc.SQLAlchemyError, driver.Error, driver.Warning)

    def means(self, error: BaseException) -> Failure:
        """Tell what an error means."""
        kind = self._dialect.classify(_original(error))
        return Failure.LOST if kind is Failure.OTHER and self.is_lost(error) else kind

    def is_lost(self, error: BaseException) -> bool:
        """Tell whether the connection cannot be used any more."""
        original = _original(error)
        if isinstance(original, exc.SQLAlchemyError):
            return isinstance(original, exc.DisconnectionError)
        if not isinstance(original, self._engine.loaded_dbapi.Error):
            return False
        if self._dialect.classify(original) is Failure.LOST:
            return True
        return bool(self._engine.is_disconnect(original, None, None))

    def fail(self, error: BaseException, kind: Failure, *, key: object = None) -> NoReturn:
        """Raise our error for one of a library's.

        Raises:
            ReadOnlyError: If the database does not let us do it.
            BackendError: If anything else is wrong.
        """
        at = "" if key is None else f" at {_shown(key)}"
        raised = ReadOnlyError if kind is Failure.FORBIDDEN else BackendError
        self._raise(raised(f"{self.uri} failed{at}: {self._text(error)}{_advice(error) or _HINTS[kind]}"), error)

    def fail_to_connect(self, error: BaseException) -> NoReturn:
        """Raise our error for a connection that could not be made.

        Raises:
            BackendError: Always.
        """
        if isinstance(error, exc.TimeoutError):
            message = (
                f"{self.uri}: all connections of the pool have been in use for too long; use fewer threads, "
                "or raise pool_size or pool_timeout in backend_config"
            )
            self._raise(BackendError(message), error)
        advice = _advice(error) or (
            "; its folder has to be there, and the file to be SQLite's and ours to read and write"
            if self._engine.name == "sqlite"
            else "; check that the server runs there, the login, and that there is such a database"
        )
        self._raise(BackendError(f"cannot connect to {self.uri}: {self._text(error)}{advice}"), error)

    def _text(self, error: BaseException) -> str:
        original = _original(error)
        text = " ".join(str(original).split()) or "no reason was given"
        return f"{type(original).__name__}: {mask_text(text, self._secrets)}"

    def _raise(self, ours: BackendError | ReadOnlyError, error: BaseException) -> NoReturn:
        # a log of the error would show the text of what it was raised from
        chain = [error, _original(error)]
        if any(secret in f"{one}{one.args!r}" for one in chain for secret in self._secrets):
            raise ours from None
        raise ours from error


def _advice(error: BaseException) -> str:
    """Say what to do about what the kind of an error does not tell; empty where it does."""
    original = _original(error)
    if getattr(original, "sqlite_errorname", "") == "SQLITE_READONLY_DIRECTORY":
        return _BESIDE
    given_up = isinstance(original.__cause__ or original.__context__, TimeoutError)
    return _SILENT if given_up else ""


def _original(error: BaseException) -> BaseException:
    """Give the driver's error that SQLAlchemy has wrapped."""
    wrapped = getattr(error, "orig", None)
    return wrapped if isinstance(wrapped, BaseException) else error


def _shown(key: object) -> str:
    return repr(key.decode(errors="replace") if isinstance(key, bytes) else key)
