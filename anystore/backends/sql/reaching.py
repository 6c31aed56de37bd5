"""Whether a database is there, and holds a store, without making anything in it."""

import os

from sqlalchemy import URL, inspect

from anystore.backends.sql.connections import make_engine
from anystore.backends.sql.failures import SPOILT, Failures
from anystore.backends.sql.options import Options
from anystore.backends.sql.schema import Tables


def has_table(url: URL, options: Options, failures: Failures, tables: Tables) -> bool:
    """Tell whether a store has its table, by a connection of its own that makes none.

    Raises:
        BackendError: If the database cannot be reached.
    """
    file = url.database or ""
    if url.get_backend_name() == "sqlite" and not file.startswith("file:") and not os.path.exists(file):  # noqa: PTH110
        return False
    engine = make_engine(url, options)
    try:
        with engine.connect() as connection:
            return inspect(connection).has_table(tables.rows.name)
    except (*failures.caught, *SPOILT) as error:
        failures.fail_to_connect(error)
    finally:
        engine.dispose()
