"""Opening databases through SQLAlchemy so that a transaction means the same in each of them.

Belongs here: engines, how SQLite begins a transaction, upserts in the dialects that are known. Does not
belong here: tables (``tables.py`` for the state, ``stores/`` for destinations).
"""

from collections.abc import Iterable, Iterator
from operator import itemgetter
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Executable, Table, create_engine, event, make_url
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, ExecutionContext
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.dml import Insert

from segmentation.errors import CatalogError

#: Seconds that a writer waits for another one of the same SQLite file.
BUSY_SECONDS = 30
#: Dialects with ``insert … on conflict``.
DIALECTS = ("sqlite", "postgresql")


def shown(url: str) -> str:
    """Return the url as people may see it: without a password."""
    return make_url(url).render_as_string(hide_password=True)


def sqlite_file(url: URL) -> Path | None:
    """Return the file behind an SQLite url; ``None`` for memory, for ``file:`` urls and other databases."""
    name = url.database
    if url.get_backend_name() != "sqlite" or not name or name == ":memory:" or name.startswith("file:"):
        return None
    return Path(name)


def open_engine(url: str, *, durable: bool) -> Engine:
    """Open a database whose transactions see one snapshot; in SQLite they hold the write lock from the start.

    Args:
        url: SQLAlchemy url.
        durable: Whether a commit must survive a power cut. A destination need not: what it holds and
            how far it got are committed together, so it can only fall back, never become inconsistent.

    Raises:
        CatalogError: The url is none, or its dialect has no ``insert … on conflict``.
    """
    parsed = _parsed(url)
    if parsed.get_backend_name() != "sqlite":
        return _server(parsed)
    path = sqlite_file(parsed)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(parsed, connect_args={"timeout": BUSY_SECONDS})
    _govern(engine, "begin immediate", ("journal_mode = wal", f"synchronous = {'full' if durable else 'normal'}"))
    return engine


def compact(engine: Engine) -> None:
    """Write an SQLite file anew, so that no deleted row is left in it; other databases do it by themselves."""
    if engine.dialect.name != "sqlite":
        return
    # Past SQLAlchemy, which begins a transaction first: SQLite refuses to do this in one.
    pooled = engine.raw_connection()
    try:
        cursor = pooled.cursor()
        for statement in ("pragma wal_checkpoint(truncate)", "vacuum", "pragma wal_checkpoint(truncate)"):
            cursor.execute(statement)
            cursor.fetchall()
        cursor.close()
    finally:
        pooled.close()


def open_reader(url: str) -> Engine:
    """Open a database for reading only; in SQLite a reader neither waits for a writer nor stops one."""
    parsed = _parsed(url)
    if parsed.get_backend_name() != "sqlite":
        return _server(parsed)
    engine = create_engine(parsed, connect_args={"timeout": BUSY_SECONDS})
    _govern(engine, "begin", ("query_only = on",))
    return engine


def upsert(connection: Connection, table: Table) -> Insert:
    """Return the statement that inserts rows of ``table``, or replaces those with the same key."""
    statement = sqlite.insert(table) if connection.dialect.name == "sqlite" else postgresql.insert(table)
    return statement.on_conflict_do_update(
        index_elements=list(table.primary_key.columns),
        set_={column.name: statement.excluded[column.name] for column in table.columns if not column.primary_key},
    )


def write_many(
    connection: Connection, statement: Executable, columns: tuple[str, ...], rows: Iterable[tuple[object, ...]]
) -> None:
    """Execute a statement for many rows of text and integers, in half the time the driver-neutral way takes.

    Args:
        connection: An open transaction.
        statement: An insert, upsert or delete whose parameters are named like ``columns``.
        columns: Names of the values in each row, in their order.
        rows: The values; no other types, because nothing converts them.
    """
    compiled = statement.compile(dialect=connection.dialect, column_keys=columns)  # type: ignore[attr-defined]
    if compiled.positiontup is None:
        connection.exec_driver_sql(str(compiled), [dict(zip(columns, row, strict=True)) for row in rows])
    elif tuple(compiled.positiontup) == columns:
        connection.exec_driver_sql(str(compiled), list(rows))
    else:
        order = itemgetter(*(columns.index(name) for name in compiled.positiontup))
        connection.exec_driver_sql(str(compiled), [order(row) for row in rows])


def read_many(connection: Connection, statement: Executable, size: int) -> Iterator[list[Any]]:
    """Yield the rows of a query in lists of at most ``size``, as plain tuples, without holding all of them.

    Args:
        connection: An open transaction.
        statement: A query of texts and integers; no other types, because nothing converts them.
        size: Most rows of a list.
    """
    if connection.dialect.name != "sqlite":
        # Only through SQLAlchemy does a server keep the rows until they are asked for.
        streamed = connection.execute(statement, execution_options={"yield_per": size})
        for part in streamed.partitions(size):
            yield [tuple(row) for row in part]
        return
    # SQLite makes rows as they are asked for, and its own are a third of the cost.
    result = connection.execute(statement)
    try:
        while rows := result.cursor.fetchmany(size):
            yield list(rows)
    except connection.dialect.loaded_dbapi.Error as error:
        raise DBAPIError(str(statement), None, error) from error


def _parsed(url: str) -> URL:
    parsed = make_url(url)
    if parsed.get_backend_name() not in DIALECTS:
        raise CatalogError(
            f"databases of kind {parsed.get_backend_name()} are not supported as state or online store",
            where=shown(url),
            expected=" or ".join(DIALECTS),
            repair="edit the url, then `strata validate`",
        )
    return parsed


def _server(url: URL) -> Engine:
    try:
        return create_engine(url, isolation_level="REPEATABLE READ", pool_pre_ping=True)
    except ImportError as error:
        raise CatalogError(
            f"the driver of {url.drivername} is not installed: {error}",
            where=url.render_as_string(hide_password=True),
            expected="an installed driver",
            repair=f"install the package {error.name or 'of the driver'}, or name another driver in the url",
        ) from None


def _govern(engine: Engine, begin: str, pragmas: tuple[str, ...]) -> None:
    """Take transactions out of the driver's hands: it would begin them late and leave DDL outside."""

    def on_connect(driver: Any, record: ExecutionContext) -> None:  # noqa: ARG001
        driver.isolation_level = None
        for pragma in pragmas:
            driver.execute(f"pragma {pragma}")

    def on_begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    event.listen(engine, "connect", on_connect)
    event.listen(engine, "begin", on_begin)
