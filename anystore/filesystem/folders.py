"""Folders that were made and hold nothing yet, which no key tells of."""

import threading
from collections.abc import Iterator

from anystore.keys import parent_folders

MOST = 10_000
"""How many are remembered; the oldest are forgotten first."""


class MadeFolders:
    """What one filesystem was told to make, until it is removed; nobody else sees it.

    Libraries make a folder and then look whether it is there.

    Example:
        >>> made = MadeFolders()
        >>> made.add("a/b")
        >>> "a" in made, list(made.below("a"))
        (True, ['a/b'])
        >>> made.remove("a")
        >>> "a/b" in made
        False
    """

    def __init__(self) -> None:
        self._folders: dict[str, None] = {}
        self._lock = threading.Lock()

    def __contains__(self, name: str) -> bool:
        return name in self._folders

    def add(self, name: str) -> None:
        """Remember a folder, and those it lies in."""
        with self._lock:
            self._folders |= dict.fromkeys([*parent_folders(name), name])
            for oldest in list(self._folders)[: max(0, len(self._folders) - MOST)]:
                del self._folders[oldest]

    def remove(self, name: str) -> None:
        """Forget a folder, and those that lie in it."""
        with self._lock:
            self._folders = {
                folder: None for folder in self._folders if folder != name and not folder.startswith(f"{name}/")
            }

    def below(self, name: str) -> Iterator[str]:
        """List the folders that lie in another one, at any depth; of all if it is ``""``."""
        folders = self._folders
        if folders:
            prefix = f"{name}/" if name else ""
            with self._lock:
                found = [folder for folder in folders if folder.startswith(prefix)]
            yield from found
