"""Every statement that is run on the tables of a store, compiled once."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from operator import itemgetter
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    and_,
    bindparam,
    case,
    cast,
    delete,
    func,
    insert,
    literal_column,
    not_,
    or_,
    select,
    update,
)
from sqlalchemy.sql import ClauseElement, Select
from sqlalchemy.sql.dml import Delete, Insert, Update

from anystore.backends.sql.dialects import TOKEN_TYPE, Dialect
from anystore.backends.sql.schema import Tables
from anystore.keys import PRIVATE_FOLDER

PAGE = 1000
"""How many keys a listing asks for at once."""

SMALL_BYTES = 16 << 10
"""Length of the longest value that is read together with hundreds of others."""


class Statement:
    """A statement in the driver's own words.

    Attributes:
        sql: The text.
        bind: Puts named parameters in the form that the driver's cursor takes.
    """

    __slots__ = ("bind", "sql")

    def __init__(self, clause: ClauseElement, dialect: Dialect) -> None:
        compiled = clause.compile(dialect=dialect.engine)
        self.sql = str(compiled)
        known = {name: value for name, value in compiled.params.items() if value is not None}
        self.bind = _binder(getattr(compiled, "positiontup", None), known)


def _binder(order: Sequence[str] | None, known: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], Any]:
    """Make the function from named parameters to the driver's; this is done for every call, so it is short."""
    if known:  # values that stood in the statement itself, such as a limit
        inner = _binder(order, {})
        return lambda given: inner({**known, **given})
    if order is None:
        return lambda given: given
    if not order:
        return lambda _given: ()
    if len(order) == 1:
        only = order[0]
        return lambda given: (given[only],)
    return itemgetter(*order)


class Statements:
    """The statements of one store on one kind of database; each is compiled when it is first used.

    Args:
        tables: The tables.
        dialect: The database.
    """

    def __init__(self, tables: Tables, dialect: Dialect) -> None:
        self._tables = tables
        self._dialect = dialect
        self._rows = tables.rows.c
        self._chunks = tables.chunks.c
        self._loose = tables.loose.c
        self._of_counts: dict[tuple[str, int], Statement] = {}
        live: ColumnElement[bool] = or_(self._rows.expires.is_(None), self._rows.expires > dialect.clock)
        self._live = live
        self._this: ColumnElement[bool] = self._rows.key == bindparam("key")
        self._inline: ColumnElement[bool] = self._rows.chunks.is_(None)

    def _compile(self, clause: ClauseElement) -> Statement:
        return Statement(clause, self._dialect)

    # -- reading rows --------------------------------------------------------

    @cached_property
    def value(self) -> Statement:
        """``value, chunks`` of a live row."""
        return self._compile(select(self._rows.value, self._rows.chunks).where(self._this, self._live))

    @cached_property
    def exists(self) -> Statement:
        """A row, if there is a live one."""
        return self._compile(select(literal_column("1")).where(self._this, self._live))

    @cached_property
    def entry(self) -> Statement:
        """``size, updated, version, expires`` of a live row."""
        return self._compile(select(*self._entry_columns).where(self._this, self._live))

    @cached_property
    def opened(self) -> Statement:
        """``size, updated, version, expires, value, chunks`` of a live row."""
        c = self._rows
        return self._compile(select(*self._entry_columns, c.value, c.chunks).where(self._this, self._live))

    @property
    def _entry_columns(self) -> tuple[ColumnElement[Any], ...]:
        return self._rows.size, self._rows.updated, self._rows.version, self._rows.expires

    @cached_property
    def all_chunks(self) -> Statement:
        """``size, data`` of each chunk of a live row: one statement, and so one version."""
        r, c = self._rows, self._chunks
        joined = self._tables.rows.join(self._tables.chunks, c.id == r.chunks)
        found = select(r.size, c.data).select_from(joined).where(self._this, self._live).order_by(c.start)
        return self._compile(found)

    @cached_property
    def now(self) -> Statement:
        """The database's time."""
        return self._compile(select(cast(self._dialect.clock, BigInteger)))

    def listing(self, *, bounded: bool, keys_only: bool) -> Statement:
        """``key``, or ``key, size, updated, version, expires``, of the next rows from ``after`` to ``end``."""
        return self._cached(f"listing {bounded} {keys_only}", 0, lambda: self._listing(bounded, keys_only))

    def _listing(self, bounded: bool, keys_only: bool) -> Select[Any]:  # noqa: FBT001 - see listing
        key = self._rows.key
        columns = (key,) if keys_only else (key, *self._entry_columns)
        first, behind = (self._dialect.encode_key(PRIVATE_FOLDER + sign) for sign in "/0")  # '0' follows '/'
        private = and_(key >= bindparam("private", first), key < bindparam("behind", behind))
        found = select(*columns).where(key > bindparam("after"), not_(private), self._live)
        if bounded:
            found = found.where(key < bindparam("end"))
        return found.order_by(key).limit(PAGE)

    def values_of(self, count: int) -> Statement:
        """``key, size, value`` of several live rows; the value only if it is small."""
        c = self._rows
        return self._of_keys(
            "values_of",
            count,
            lambda which: select(c.key, c.size, case((c.size <= SMALL_BYTES, c.value))).where(which, self._live),
        )

    def large_values_of(self, count: int) -> Statement:
        """``key, chunks, value`` of several live rows."""
        c = self._rows
        return self._of_keys(
            "large_values_of", count, lambda which: select(c.key, c.chunks, c.value).where(which, self._live)
        )

    def written_of(self, count: int) -> Statement:
        """``key`` of those of several rows that have this version."""
        c = self._rows
        return self._of_keys(
            "written_of", count, lambda which: select(c.key).where(which, c.version == bindparam("version"))
        )

    def chunked_of(self, count: int) -> Statement:
        """``key`` of those of several rows that have chunks."""
        c = self._rows
        return self._of_keys("chunked_of", count, lambda which: select(c.key).where(which, c.chunks.is_not(None)))

    # -- changing rows, one statement each -----------------------------------

    @cached_property
    def put(self) -> Statement:
        """Store a value in a row, unless the present one has chunks."""
        return self._compile(self._upsert(self._inline))

    @cached_property
    def put_each(self) -> Statement:
        """Do the same for many rows, all of their columns given, and return nothing."""
        given: dict[str, Any] = {c.name: bindparam(c.name) for c in self._rows if c.name != "chunks"}
        return self._compile(self._dialect.upsert(self._tables.rows, given, self._kept, only_if=self._inline))

    @cached_property
    def create(self) -> Statement:
        """Store a value in a row, if there is none, or only an expired one without chunks."""
        return self._compile(self._upsert(and_(self._inline, self._expired)))

    def _upsert(self, only_if: ColumnElement[bool]) -> Insert:
        c = self._rows
        statement = self._dialect.upsert(self._tables.rows, self._new_row, self._kept, only_if=only_if)
        return statement.returning(c.version, c.updated, c.expires) if self._dialect.returns_inserts else statement

    @property
    def _kept(self) -> dict[str, Any]:
        return {"created": case((self._live, self._rows.created), else_=self._dialect.clock)}

    @property
    def _new_row(self) -> dict[str, Any]:
        clock = self._dialect.clock
        # a time to live counts from now; an expiry that is copied is a point in time
        expires: ColumnElement[Any] = func.coalesce(_number("expires"), clock + _number("ttl"))
        if self._dialect.knows_time:  # and so does whoever gives the parameters
            expires = bindparam("expires")
        given: dict[str, Any] = {name: bindparam(name) for name in ("key", "size", "version", "value")}
        return {**given, "created": clock, "updated": clock, "expires": expires}

    @property
    def _expired(self) -> ColumnElement[bool]:
        return self._rows.expires <= self._dialect.clock

    @cached_property
    def swap(self) -> Statement:
        """Store a value in the row that is still of the version ``seen``, unless it has chunks."""
        c = self._rows
        new = {name: value for name, value in self._new_row.items() if name not in ("key", "created")}
        statement: Update = update(self._tables.rows).values(new)
        statement = statement.where(self._this, c.version == bindparam("seen"), self._live, self._inline)
        if self._dialect.returns_updates:
            statement = statement.returning(c.version, c.updated, c.expires)
        return self._compile(statement)

    @cached_property
    def take(self) -> Statement:
        """Delete a live row that has no chunks, and give its ``value``."""
        statement = delete(self._tables.rows).where(self._this, self._live, self._inline)
        return self._compile(statement.returning(self._rows.value))

    @cached_property
    def delete(self) -> Statement:
        """Delete a row that has no chunks."""
        return self._compile(delete(self._tables.rows).where(self._this, self._inline))

    def delete_of(self, count: int) -> Statement:
        """Delete those of several rows that have no chunks."""
        key, order = self._rows.key, self._dialect.in_order
        return self._of_keys(
            "delete_of",
            count,
            lambda which: delete(self._tables.rows).where(order(key, and_(which, self._inline))),
        )

    @cached_property
    def delete_expired(self) -> Statement:
        """Delete the rows without chunks that expired ``until`` some time."""
        until = self._rows.expires <= bindparam("until")
        return self._compile(delete(self._tables.rows).where(until, self._inline, self._expired))

    # -- changing rows inside a transaction ----------------------------------

    @cached_property
    def locked(self) -> Statement:
        """What :class:`Present` has of a row, which is locked if the database locks rows."""
        c = self._rows
        live = case((self._live, literal_column("1")), else_=literal_column("0"))
        found = select(c.size, c.version, c.chunks, c.value, c.expires, c.created, live).where(self._this)
        return self._compile(found.with_for_update() if self._dialect.locks_rows else found)

    @cached_property
    def insert_row(self) -> Statement:
        """Insert a row, all of its columns given."""
        columns: dict[str, Any] = {column.name: bindparam(column.name) for column in self._rows}
        return self._compile(insert(self._tables.rows).values(columns))

    @cached_property
    def update_row(self) -> Statement:
        """Change every column of a row but the key."""
        columns: dict[str, Any] = {c.name: bindparam(c.name) for c in self._rows if c.name != "key"}
        return self._compile(update(self._tables.rows).where(self._this).values(columns))

    @cached_property
    def rename_row(self) -> Statement:
        """Give the row ``key`` the key ``target``, and a new version."""
        renamed: dict[str, Any] = {"key": bindparam("target"), "version": bindparam("version")}
        return self._compile(update(self._tables.rows).where(self._this).values(renamed))

    @cached_property
    def delete_row(self) -> Statement:
        """Delete a row."""
        return self._compile(delete(self._tables.rows).where(self._this))

    @cached_property
    def expired(self) -> Statement:
        """``key, chunks, expires`` of the rows that expired first."""
        c = self._rows
        return self._compile(select(c.key, c.chunks, c.expires).where(self._expired).order_by(c.expires).limit(PAGE))

    # -- chunks --------------------------------------------------------------

    @cached_property
    def insert_chunk(self) -> Statement:
        """Store a chunk."""
        columns: dict[str, Any] = {name: bindparam(name) for name in ("id", "start", "data")}
        return self._compile(insert(self._tables.chunks).values(columns))

    @cached_property
    def update_chunk(self) -> Statement:
        """Replace the bytes of a chunk."""
        c = self._chunks
        this = and_(c.id == bindparam("id"), c.start == bindparam("start"))
        return self._compile(update(self._tables.chunks).where(this).values(data=bindparam("data")))

    @cached_property
    def chunks(self) -> Statement:
        """``start, data`` of the chunks that hold bytes from ``first`` to before ``stop``."""
        c = self._chunks
        inner = self._tables.chunks.alias("earlier")
        this = and_(inner.c.id == bindparam("id"), inner.c.start <= bindparam("first"))
        start = select(func.max(inner.c.start)).where(this).scalar_subquery()
        found = select(c.start, c.data).where(c.id == bindparam("id"), c.start >= start, c.start < bindparam("stop"))
        return self._compile(found.order_by(c.start))

    @cached_property
    def copy_chunks(self) -> Statement:
        """Copy the chunks that start from ``first`` to before ``stop`` to the id ``copy``."""
        c = self._chunks
        found = select(bindparam("copy", type_=TOKEN_TYPE), c.start, c.data).where(
            c.id == bindparam("id"), c.start >= bindparam("first"), c.start < bindparam("stop")
        )
        return self._compile(insert(self._tables.chunks).from_select(["id", "start", "data"], found))

    @cached_property
    def length(self) -> Statement:
        """How many bytes the chunks of an id hold."""
        c = self._chunks
        total = func.coalesce(func.sum(func.length(c.data)), 0)
        return self._compile(select(cast(total, BigInteger)).where(c.id == bindparam("id")))

    @cached_property
    def delete_chunks(self) -> Statement:
        """Delete the chunks of an id that start before ``stop``."""
        c = self._chunks
        return self._compile(delete(self._tables.chunks).where(c.id == bindparam("id"), c.start < bindparam("stop")))

    @cached_property
    def last_start(self) -> Statement:
        """Where the last chunk of an id starts."""
        c = self._chunks
        return self._compile(select(func.max(c.start)).where(c.id == bindparam("id")))

    @cached_property
    def last_chunk(self) -> Statement:
        """``start, data`` of the last chunk of an id."""
        c = self._chunks
        return self._compile(select(c.start, c.data).where(c.id == bindparam("id")).order_by(c.start.desc()).limit(1))

    # -- ids of no row -------------------------------------------------------

    @cached_property
    def loosen(self) -> Statement:
        """Remember an id that no row names."""
        columns: dict[str, Any] = {"id": bindparam("id"), "since": self._dialect.clock, "doomed": bindparam("doomed")}
        return self._compile(insert(self._tables.loose).values(columns))

    @cached_property
    def keep_loose(self) -> Statement:
        """Note that an id is still being written."""
        this = and_(self._loose.id == bindparam("id"), self._loose.doomed == 0)
        return self._compile(update(self._tables.loose).where(this).values(since=self._dialect.clock))

    @cached_property
    def fasten(self) -> Statement:
        """Forget an id that was being written, because a row names it now."""
        return self._compile(
            delete(self._tables.loose).where(self._loose.id == bindparam("id"), self._loose.doomed == 0)
        )

    @cached_property
    def doom(self) -> Statement:
        """Give up an id that was being written: no row will ever name it."""
        return self._compile(update(self._tables.loose).where(self._loose.id == bindparam("id")).values(doomed=1))

    @cached_property
    def doom_orphans(self) -> Statement:
        """Give up the ids that nobody has written to for ``age`` microseconds."""
        old = self._loose.since < self._dialect.clock - _number("age")
        return self._compile(update(self._tables.loose).where(self._loose.doomed == 0, old).values(doomed=1))

    @cached_property
    def doomed(self) -> Statement:
        """``id`` of some that were given up ``age`` microseconds ago."""
        old = self._loose.since < self._dialect.clock - _number("age")
        return self._compile(select(self._loose.id).where(self._loose.doomed == 1, old).limit(PAGE))

    @cached_property
    def forget(self) -> Statement:
        """Forget an id whose chunks are gone."""
        return self._compile(delete(self._tables.loose).where(self._loose.id == bindparam("id")))

    # -- statements about several keys ---------------------------------------

    def bind_keys(self, keys: Sequence[str], count: int) -> dict[str, Any]:
        """Give the parameters of a statement about ``count`` keys."""
        return {**self._dialect.bind_keys(keys, count), "now": self._dialect.now()}

    def count_for(self, keys: Sequence[str]) -> int:
        """Give the number of keys that a statement about these keys is made for."""
        return next(count for count in self._dialect.key_counts if count >= len(keys))

    @property
    def most_keys(self) -> int:
        """How many keys a statement can be about."""
        return self._dialect.key_counts[-1]

    def _of_keys(self, name: str, count: int, make: Callable[[ColumnElement[bool]], Select[Any] | Delete]) -> Statement:
        return self._cached(name, count, lambda: make(self._dialect.key_in(self._rows.key, count)))

    def _cached(self, name: str, count: int, make: Callable[[], ClauseElement]) -> Statement:
        statement = self._of_counts.get((name, count))
        if statement is None:
            statement = self._of_counts[name, count] = self._compile(make())
        return statement


def _number(name: str) -> ColumnElement[Any]:
    return cast(bindparam(name, type_=BigInteger), BigInteger)
