"""The three tables of a store."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import BigInteger, Column, Index, Integer, MetaData, Table

from anystore.backends.sql.dialects import BYTES_TYPE, KEY_TYPE, TOKEN_TYPE

_MYSQL: Mapping[str, Any] = {
    f"{name}_{option}": value
    for name in ("mysql", "mariadb")
    for option, value in (("engine", "InnoDB"), ("row_format", "DYNAMIC"), ("default_charset", "utf8mb4"))
} | {"implicit_returning": False}


class Tables:
    """The tables of one store.

    ``rows`` has a row for each value. A value of up to ``chunk_size`` bytes is in the row, in ``value``; a longer one
    is in ``chunks``, under the id that the row names. An id that no row names, because its value is still being
    written or was replaced, is in ``loose``, so that what a killed process leaves behind can be found again.
    Times are microseconds since 1970, by the database's clock.

    Args:
        name: Name of the table of rows.
    """

    def __init__(self, name: str) -> None:
        self.metadata = MetaData()
        expires = Column("expires", BigInteger)
        present = expires.is_not(None)
        self.rows = Table(
            name,
            self.metadata,
            Column("key", KEY_TYPE, primary_key=True),
            Column("size", BigInteger, nullable=False),
            Column("created", BigInteger, nullable=False),
            Column("updated", BigInteger, nullable=False),
            expires,
            Column("version", TOKEN_TYPE, nullable=False),
            Column("chunks", TOKEN_TYPE),
            # the last column, so that SQLite finds the others without walking through the value
            Column("value", BYTES_TYPE),
            Index(f"{name}_expires", expires, sqlite_where=present, postgresql_where=present),
            **_MYSQL,
        )
        self.chunks = Table(
            f"{name}_chunks",
            self.metadata,
            Column("id", TOKEN_TYPE, primary_key=True),
            Column("start", BigInteger, primary_key=True, autoincrement=False),
            Column("data", BYTES_TYPE, nullable=False),
            **_MYSQL,
        )
        self.loose = Table(
            f"{name}_loose",
            self.metadata,
            Column("id", TOKEN_TYPE, primary_key=True),
            Column("since", BigInteger, nullable=False),
            Column("doomed", Integer, nullable=False),
            **_MYSQL,
        )
