"""Keys as the server names them, and back."""

import re

from anystore.keys import PRIVATE_FOLDER, is_key, is_private

_SIGNS = re.compile(rb"([*?\[\]\\])")
_PRIVATE = PRIVATE_FOLDER + "/"


class Names:
    """The server's names of a store's keys.

    Our own values of a folder lie below ``.anystore/`` of the whole database, so that a store
    of the whole database hides them too, and shares locks with a view of that folder.

    Args:
        prefix: The folder of the server's keys that is the store: ``""`` or ending in ``/``.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix.encode()
        self._private = (_PRIVATE + prefix).encode()

    def name(self, key: str) -> bytes:
        """Give the server's name of a key."""
        if is_private(key):
            return self._private + key[len(_PRIVATE) :].encode()
        return self._prefix + key.encode()

    def temporary(self, name: bytes, token: str) -> bytes:
        """Give the name of a value that is still being written.

        The braces make a server that shares keys out keep it beside its target, for RENAME.

        Args:
            name: The server's name of the target.
            token: What no other writer uses.
        """
        tag = name
        opening = name.find(b"{")
        closing = name.find(b"}", opening + 1)
        if 0 <= opening < closing - 1:
            tag = name[opening + 1 : closing]
        return self._private + b"tmp/{" + tag + b"}" + token.encode()

    def head(self, prefix: str) -> bytes:
        """Give what every name below a folder of the store begins with."""
        return self._prefix + prefix.encode()

    def key(self, name: bytes) -> str | None:
        """Give the key of a name; None if it cannot be one, and ``""`` if it is one of ours.

        Args:
            name: A name that begins with the store's prefix.
        """
        try:
            key = name[len(self._prefix) :].decode()
        except UnicodeDecodeError:
            return None
        if is_key(key):
            return key
        return "" if is_private(key) else None


def glob_of(head: bytes) -> bytes:
    r"""Make the pattern of Redis for names that begin with something.

    Example:
        >>> glob_of(b"a*/")
        b'a\\*/*'
    """
    return _SIGNS.sub(rb"\\\1", head) + b"*"


def literal_glob_of(head: bytes) -> bytes:
    """Make the pattern of Kvrocks, which knows no escapes: all but the ``*`` at the end is literal.

    Names that do not begin with the whole head have to be left out afterwards.

    Example:
        >>> literal_glob_of(b"a*/")
        b'a*'
    """
    return head.partition(b"*")[0] + b"*"
