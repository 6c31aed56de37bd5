"""Many keys at a time: listings, and batches bounded by count and by bytes."""

from collections.abc import Iterable, Iterator
from itertools import islice

from anystore.backend import warn_of_foreign
from anystore.backends.sql.chunks import new_token
from anystore.backends.sql.connections import Row, Transaction
from anystore.backends.sql.statements import PAGE
from anystore.backends.sql.values import New, Values
from anystore.errors import DoesNotExist
from anystore.keys import Key, is_key

_BATCH_BYTES = 4 << 20
# What keys joined by NUL never hold, except for hidden names.
_SUSPICIOUS = ("//", "/\0", "\0/", "\0\0", "/.", "\0.")
_SHORT = 256  # so many characters are within 1,024 bytes, whatever they are


def list_pages(
    values: Values, prefix: str, after: Key | None, *, keys_only: bool, uri: str
) -> Iterator[tuple[list[str], list[Row]]]:
    """List rows in byte order, a page at a time.

    Args:
        values: The values.
        prefix: A folder ending in ``/``, or ``""``.
        after: Start behind this key.
        keys_only: Whether the rows are keys alone.
        uri: The masked URI, for the warning about names that are not keys.

    Returns:
        For each page the keys, and the rows they stand in.
    """
    encode, decode = values.encode, values.connections.dialect.decode_keys
    statement = values.sql.listing(bounded=bool(prefix), keys_only=keys_only)
    position = max(prefix, after or "")  # code points are in the order of UTF-8 bytes; no key equals a prefix
    end = encode(prefix[:-1] + "0") if prefix else None  # '0' is what follows '/'
    foreign: list[str] = []
    while True:
        bounds = {"after": encode(position), "end": end, "now": values.connections.now()}
        page = values.connections.fetch(statement, bounds)
        names = decode(page)
        if _look_foreign(names):
            foreign.extend(name for name in names if not is_key(name))
            page = [row for name, row in zip(names, page, strict=True) if is_key(name)]
            yield decode(page), page
        else:
            yield names, page
        if len(names) < PAGE:
            break
        position = names[-1]
    warn_of_foreign(uri, foreign, stacklevel=2)


def _look_foreign(names: list[str]) -> bool:
    """Tell whether some of the names may not be keys; to ask for each takes longer than the listing."""
    if not names:
        return False
    joined = "\0".join(["", *names, ""])
    return (
        any(sign in joined for sign in _SUSPICIOUS)
        or joined.count("\0") != len(names) + 1
        or max(map(len, names)) > _SHORT
    )


def get_many(values: Values, keys: Iterable[Key]) -> Iterator[tuple[str, bytes | None]]:
    """Read many values, in the order of the keys; None stands for a missing one."""
    remaining = iter(keys)
    while batch := list(islice(remaining, values.sql.most_keys)):
        unique = list(dict.fromkeys(batch))
        count = values.sql.count_for(unique)
        rows = values.connections.fetch(values.sql.values_of(count), values.sql.bind_keys(unique, count))
        names = values.connections.dialect.decode_keys(rows)
        found = {name: row[2] if row[2] is None else bytes(row[2]) for name, row in zip(names, rows, strict=True)}
        sizes = {name: row[1] for name, row in zip(names, rows, strict=True) if row[2] is None}
        large = _large_values(values, [key for key in batch if key in sizes], sizes)
        for key in batch:
            yield key, next(large) if key in sizes else found.get(key)


def _large_values(values: Values, keys: list[Key], sizes: dict[str, int]) -> Iterator[bytes | None]:
    """Read values one after the other, as many at a time as fit in a batch."""
    decode = values.connections.dialect.decode_keys
    position = 0
    while position < len(keys):
        batch: list[Key] = []
        total = 0
        while position < len(keys) and (not batch or total + sizes[keys[position]] <= _BATCH_BYTES):
            total += sizes[keys[position]]
            batch.append(keys[position])
            position += 1
        if len(batch) == 1:
            yield _value_of(values, batch[0])
            continue
        unique = list(dict.fromkeys(batch))
        count = values.sql.count_for(unique)
        rows = values.connections.fetch(values.sql.large_values_of(count), values.sql.bind_keys(unique, count))
        found = dict(zip(decode(rows), rows, strict=True))
        for key in batch:
            _, chunks, value = found.get(key, (key, "gone", None))
            yield bytes(value) if chunks is None else _value_of(values, key)


def _value_of(values: Values, key: Key) -> bytes | None:
    try:
        return values.get(key)
    except DoesNotExist:
        return None


def put_many(values: Values, items: Iterable[tuple[Key, bytes]], ttl: int | None) -> None:
    """Store many values, a batch in one transaction; ``ttl`` is in microseconds."""
    batch: dict[Key, bytes] = {}
    total = 0
    for key, data in items:
        if len(data) > values.chunk_size:
            batch.pop(key, None)
            values.put(New(key, len(data), ttl=ttl), data)
            continue
        batch[key] = bytes(data)
        total += len(data)
        if len(batch) == values.sql.most_keys or total > _BATCH_BYTES:
            _put_batch(values, batch, ttl)
            batch, total = {}, 0
    if batch:
        _put_batch(values, batch, ttl)


def _put_batch(values: Values, batch: dict[Key, bytes], ttl: int | None) -> None:
    connections, sql, encode = values.connections, values.sql, values.encode
    # one version for all: it tells the writes of one key apart, and so which of these were done
    version = new_token()
    keys = sorted(batch)  # two batches that lock rows in one order cannot wait for each other
    count = sql.count_for(keys)

    def work(tx: Transaction) -> set[str]:
        clock = {"now": connections.now()}
        now = int(tx.fetch(sql.now, clock)[0][0])
        shared: dict[str, object] = {"created": now, "updated": now, "version": version, **clock}
        shared["expires"] = None if ttl is None else now + ttl
        rows = [{**shared, "key": encode(key), "size": len(batch[key]), "value": batch[key]} for key in keys]
        done = tx.change_each(sql.put_each, rows)
        if connections.dialect.counts_rows and done == len(keys):
            return set(keys)
        written = tx.fetch(sql.written_of(count), {**sql.bind_keys(keys, count), "version": version})
        return set(connections.dialect.decode_keys(written))

    written = connections.transact(work)
    values.chunks.sweep()
    for key in keys:
        if key not in written:  # it replaces chunks, which takes a look at the row
            data = batch[key]
            values.publish(New(key, len(data), ttl=ttl, value=data))


def delete_many(values: Values, keys: Iterable[Key]) -> None:
    """Delete many values; missing keys are no error."""
    connections, sql = values.connections, values.sql
    remaining = iter(keys)
    while batch := sorted(set(islice(remaining, sql.most_keys))):
        count = sql.count_for(batch)
        parameters = sql.bind_keys(batch, count)
        _, done = connections.change(sql.delete_of(count), parameters)
        if done < len(batch):
            for row in connections.fetch(sql.chunked_of(count), parameters):
                values.chunks.remove(row[0])
