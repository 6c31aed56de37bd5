"""Every exception that anystore raises on purpose.

Each error is an :class:`AnystoreError` and also the built-in that means the same,
so that a caller who knows nothing of anystore catches what it expects.
"""


class AnystoreError(Exception):
    """The base of every error raised on purpose by anystore."""

    def __str__(self) -> str:
        """The message as it was written; ``KeyError`` alone would show its repr."""
        return str(self.args[0]) if self.args else ""


class DoesNotExist(AnystoreError, FileNotFoundError, KeyError):
    """There is no value under this key."""


class AlreadyExists(AnystoreError, FileExistsError):
    """There is a value under this key, and the write was to happen only without one."""


class VersionMismatch(AnystoreError, RuntimeError):
    """The value is no longer the version that the caller had read."""


class ReadOnlyError(AnystoreError, PermissionError):
    """The store was opened to read only, or the service does not let us write."""


class InvalidKey(AnystoreError, ValueError):
    """The text is not a key, or this backend cannot hold it."""


class InvalidUri(AnystoreError, ValueError):
    """The text is not the URI of a store."""


class InvalidOption(AnystoreError, ValueError):
    """An argument, a setting or an option of a backend is not what it can be."""


class CodecError(AnystoreError, ValueError):
    """The value cannot be written in this serialisation, or the stored bytes cannot be read in it."""


class Unsupported(AnystoreError, NotImplementedError):
    """The backend cannot do this; nothing was changed."""


class MissingExtra(AnystoreError, ImportError):
    """A library is not installed; the message holds the ``pip install`` line."""


class BackendError(AnystoreError, OSError):
    """The service or the file system behind the store failed."""


class KeyConflict(AnystoreError, OSError):
    """One of ``a`` and ``a/b`` exists, and this backend cannot hold both."""


class IsAFolder(AnystoreError, IsADirectoryError):
    """The name is that of a folder of keys, and a value is wanted."""


class NotAFolder(AnystoreError, NotADirectoryError):
    """The name is that of a value, and a folder is wanted."""


class ForeignNameWarning(UserWarning):
    """A listing met names in its medium that cannot be keys, and left them out."""
