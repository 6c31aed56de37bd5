"""Keys as the server names them, and back."""

import re

from anystore.keys import MAX_KEY_BYTES, PRIVATE_FOLDER, is_key, is_private

_SIGNS = re.compile(rb"([*?\[\]\\])")
# Between NULs, these are a segment that is empty or begins with a dot; what has none is a key, and nothing of ours.
_ODD = ("//", "/.", "/\0", "\0/", "\0.", "\0\0")
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

    def keys(self, names: list[bytes], foreign: list[bytes]) -> dict[bytes, str]:
        """Give the keys of names, those of our own values left out.

        Args:
            names: Different names that begin with the store's prefix.
            foreign: Where to add names that cannot be keys.

        Returns:
            The keys by their names.
        """
        heads = [name[len(self._prefix) :] for name in names]
        try:  # a whole page at once, since one by one takes longer than the server does
            joined = b"\0".join([b"", *heads, b""]).decode()
        except UnicodeDecodeError:
            return self._odd_keys(names, foreign)
        texts = joined[1:-1].split("\0")
        plain = len(texts) == len(names) and not any(odd in joined for odd in _ODD)
        if plain and max(map(len, texts)) * 4 <= MAX_KEY_BYTES:
            return dict(zip(names, texts, strict=True))
        return self._odd_keys(names, foreign)

    def _odd_keys(self, names: list[bytes], foreign: list[bytes]) -> dict[bytes, str]:
        found: dict[bytes, str] = {}
        for name in names:
            key = name[len(self._prefix) :].decode(errors="surrogateescape")  # what is no UTF-8 is no key, then
            if is_key(key):
                found[name] = key
            elif not is_private(key):
                foreign.append(name)
        return found


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
