"""Many values at once: requests beside each other, with a bound on what is in memory."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any

import obstore

from anystore.backend import CHUNK_BYTES
from anystore.backends.objects.service import ERRORS, Service
from anystore.backends.objects.values import PART_BYTES, PARTS_IN_FLIGHT, ask, pull
from anystore.errors import DoesNotExist, InvalidKey
from anystore.keys import Key

_AT_ONCE = 16
_WAITING = 2 * _AT_ONCE  # so that one slow request does not keep the others from work
_BYTES_AT_ONCE = PARTS_IN_FLIGHT * PART_BYTES
# What one request takes; Google's has none for many, so that obstore sends ten beside each other.
_MOST_DELETED = {"s3": 1000, "azure": 256, "gcs": 1000}


def get_whole(service: Service, key: Key, answer: Any = None) -> bytes:
    """Read a whole value.

    Args:
        service: The container.
        key: The key.
        answer: obstore's answer, if it was asked already.

    Returns:
        The value.

    Raises:
        DoesNotExist: If there is none.
    """
    answer = answer or ask(service, key)
    start, stop = answer.range
    if stop - start <= CHUNK_BYTES:
        try:
            data = bytes(answer.bytes())
            if len(data) == stop - start:
                return data
        except ERRORS:
            pass
        answer = ask(service, key)  # the connection was cut
    return b"".join(pull(service, key, answer))


def get_many(service: Service, keys: Iterable[Key]) -> Iterator[tuple[str, bytes | None]]:
    """Read many values, in order; of large ones only the beginning is asked for before their turn comes."""

    def begin(key: Key) -> Any:
        try:
            answer = ask(service, key)
        except DoesNotExist:
            return None
        start, stop = answer.range
        return get_whole(service, key, answer) if stop - start <= CHUNK_BYTES else answer

    def finish(key: Key, begun: "Future[Any]") -> tuple[str, bytes | None]:
        found = begun.result()
        return key, found if found is None or isinstance(found, bytes) else get_whole(service, key, found)

    waiting: deque[tuple[Key, Future[Any]]] = deque()
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for key in keys:
            waiting.append((key, pool.submit(begin, key)))
            if len(waiting) == _AT_ONCE:
                yield finish(*waiting.popleft())
        while waiting:
            yield finish(*waiting.popleft())


def put_many(put: Callable[[Key, bytes], object], items: Iterable[tuple[Key, bytes]]) -> None:
    """Store many values beside each other; two under one key one after the other."""
    waiting: deque[tuple[Key, int, Future[object]]] = deque()
    held, busy = 0, set[str]()
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for key, data in items:
            while waiting and (len(waiting) == _WAITING or held + len(data) > _BYTES_AT_ONCE or key in busy):
                done, size, future = waiting.popleft()
                future.result()
                held -= size
                busy.discard(done)
            waiting.append((key, len(data), pool.submit(put, key, data)))
            held += len(data)
            busy.add(key)
        for _, _, future in waiting:
            future.result()


def delete_many(service: Service, keys: Iterable[Key]) -> None:
    """Delete many values, in as few requests as the service has for it."""
    names = _holdable(service, keys)
    while batch := list(dict.fromkeys(islice(names, _MOST_DELETED[service.configuration.kind]))):
        try:
            with service.errors("delete", key=batch[0], writing=True):
                obstore.delete(service.store, batch)
        except DoesNotExist:
            # One that was missing hides what became of the others.
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                for _ in pool.map(lambda name: delete_name(service, name), batch):
                    pass


def delete_name(service: Service, name: str) -> None:
    """Delete an object; a missing one is no error."""
    try:
        with service.errors("delete", key=name.removeprefix(service.root), writing=True):
            obstore.delete(service.store, name)
    except DoesNotExist:
        return


def _holdable(service: Service, keys: Iterable[Key]) -> Iterator[str]:
    for key in keys:
        try:
            yield service.name(key)
        except InvalidKey:
            continue
