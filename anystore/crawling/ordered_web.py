"""One folder of a web server's listing at a time, as far as its robots.txt has it open."""

import time
import warnings
from collections.abc import Iterator

from anystore.backends.http import HttpBackend
from anystore.crawling.ordered import ListedDocument, UnreadFolder
from anystore.crawling.policy import Policy, robots_url
from anystore.errors import AnystoreError, BackendError, ForeignNameWarning
from anystore.web.client import own_name
from anystore.web.robots import parse_robots
from anystore.web.urls import join_url, masked_url, origin_of
from anystore.web.walk import ListedFile, walk

_MAX_ROBOTS_BYTES = 512 * 1024
_NO_RULES = frozenset(range(400, 500)) - {429}  # what a server without a robots.txt may say


class WebLister:
    """Lists the folders of a web server.

    Args:
        source: The server.
        robots: Whether ``robots.txt`` is obeyed.
    """

    def __init__(self, source: HttpBackend, *, robots: bool = True) -> None:
        self._source = source
        self._policy = Policy(source.url, robots=robots)
        self._knows_rules = not robots
        self._delay = 0.0

    def list_folder(self, folder: str) -> Iterator[ListedDocument | UnreadFolder | str]:
        """List one folder.

        Args:
            folder: ``""``, or a folder ending in ``/``.

        Returns:
            Its documents, and the folders in it.

        Raises:
            BackendError: If it cannot be read, or ``robots.txt`` forbids it.
            DoesNotExist: If there is no such folder.
        """
        url, client = self._source.url, self._source.client
        if not self._knows_rules:
            self._learn_rules()
        elif self._delay:
            time.sleep(self._delay)
        # at this depth the walk names the folders that it does not go into
        for one in walk(client, url, prefix=folder, max_depth=folder.count("/")):
            if isinstance(one, ListedFile):
                if one.hides_folder:
                    reason = f"{masked_url(one.url)} is shown in place of its listing; what else is there is hidden"
                    yield UnreadFolder(folder, reason)
                elif self._policy.may_fetch(one.url):
                    yield _found(one)
            elif one.foreign:
                warnings.warn(str(one.error), ForeignNameWarning, stacklevel=2)
            elif one.key == folder:
                yield UnreadFolder(folder, str(one.error))
            elif self._policy.may_fetch(join_url(url, one.key)):
                yield one.key

    def _learn_rules(self) -> None:
        """Ask for the robots.txt, once."""
        url, client = self._source.url, self._source.client
        body = b""
        try:
            answer = client.request("GET", robots_url(url), allow=_NO_RULES)
            try:
                body = answer.read(limit=_MAX_ROBOTS_BYTES) if answer.status not in _NO_RULES else b""
            finally:
                answer.close()
        except AnystoreError as error:
            raise BackendError(
                f"the robots.txt of {masked_url(url)} cannot be read, so nobody knows what may be listed: {error}; try "
                "again later, or pass robots=False (--no-robots) if you may list it"
            ) from error
        rules = parse_robots(body, agent=client.user_agent or own_name())
        if not rules.allows(url):
            raise BackendError(
                f"robots.txt does not allow {masked_url(url)} to be listed; pass robots=False (--no-robots) if you may"
            )
        self._policy.learn(origin_of(url), rules)
        self._delay = rules.crawl_delay or 0.0
        self._knows_rules = True


def _found(file: ListedFile) -> ListedDocument:
    told = []
    if file.shown_size is not None:
        told.append(f"{file.shown_size}{'' if file.size is not None else '~'}")
    if file.shown_modified is not None:
        told.append(file.shown_modified.isoformat()[:19])
    return ListedDocument(file.key, masked_url(file.url), " ".join(told), file.size, file.shown_modified)
