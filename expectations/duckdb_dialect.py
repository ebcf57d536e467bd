"""How SQLAlchemy, and with it Great Expectations, reads a DuckDB connection that somebody else holds.

Belongs here: a read-only dialect over a lent connection. Does not belong here: what is checked
(`suites/`) or how a check is run (`bridge.py`). The dialect calls itself ``postgresql`` because Great
Expectations knows that SQL, which DuckDB speaks; no file is opened, so nothing stays locked afterwards.
"""

import secrets
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import duckdb
from sqlalchemy import pool, types
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.exc import NoSuchTableError

SCHEME = "stratalent"

apilevel = "2.0"
threadsafety = 1
paramstyle = "qmark"
Error = duckdb.Error
InterfaceError = duckdb.Error
DatabaseError = duckdb.DatabaseError
DataError = duckdb.DataError
OperationalError = duckdb.OperationalError
IntegrityError = duckdb.IntegrityError
InternalError = duckdb.InternalError
ProgrammingError = duckdb.ProgrammingError
NotSupportedError = duckdb.NotSupportedError

_loans: dict[str, "Loan"] = {}

_TYPES: dict[str, type[types.TypeEngine[Any]]] = {
    "BIGINT": types.BIGINT,
    "BOOLEAN": types.BOOLEAN,
    "DATE": types.DATE,
    "DOUBLE": types.DOUBLE,
    "FLOAT": types.FLOAT,
    "HUGEINT": types.NUMERIC,
    "INTEGER": types.INTEGER,
    "JSON": types.JSON,
    "SMALLINT": types.SMALLINT,
    "TIMESTAMP": types.TIMESTAMP,
    "TINYINT": types.SMALLINT,
    "VARCHAR": types.VARCHAR,
}


@contextmanager
def lend(con: duckdb.DuckDBPyConnection, schema: str) -> Iterator[str]:
    """Give SQLAlchemy read access to ``con`` for the length of a block; yield the URL to connect to.

    Unqualified table names are looked up in ``schema``. Whatever ``con`` has not committed is not seen.
    Every session is closed with the block, whoever still refers to it.
    """
    token = secrets.token_hex(8)
    loan = _loans[token] = Loan(con)
    try:
        yield f"{SCHEME}://{token}/{schema}"
    finally:
        del _loans[token]
        for session in loan.sessions:
            session.close()


@dataclass
class Loan:
    """A lent connection, and the sessions opened on it."""

    lender: duckdb.DuckDBPyConnection
    sessions: "list[LentConnection]" = field(default_factory=list)


class LentCursor:
    """A DB-API cursor that reads all rows at once: Great Expectations hands the connection back first."""

    arraysize = 1

    def __init__(self, connection: "LentConnection") -> None:
        self._connection = connection
        self._rows: list[tuple[Any, ...]] = []
        self.description: Sequence[Any] | None = None
        self.rowcount = -1
        self.lastrowid = None

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        """Run one statement and keep its rows."""
        self.description, self._rows = self._connection.read(sql, list(parameters))
        self.rowcount = len(self._rows)

    def fetchone(self) -> tuple[Any, ...] | None:
        """Take the next row."""
        return self._rows.pop(0) if self._rows else None

    def fetchmany(self, size: int = 1) -> list[tuple[Any, ...]]:
        """Take the next ``size`` rows."""
        taken, self._rows = self._rows[:size], self._rows[size:]
        return taken

    def fetchall(self) -> list[tuple[Any, ...]]:
        """Take all rows that are left."""
        taken, self._rows = self._rows, []
        return taken

    def close(self) -> None:
        """Forget the rows."""
        self._rows = []


class LentConnection:
    """A DB-API connection: a session of its own in the lender's database that can't write."""

    def __init__(self, lender: duckdb.DuckDBPyConnection, schema: str) -> None:
        self._is_spoiled = False
        self._session = lender.cursor()
        self._session.execute(f"set schema = '{schema}'")
        self._session.execute("begin transaction read only")

    def cursor(self) -> LentCursor:
        """Open a cursor on the session."""
        return LentCursor(self)

    def read(self, sql: str, parameters: list[Any]) -> tuple[Sequence[Any] | None, list[tuple[Any, ...]]]:
        """Run one statement; return the columns and the rows."""
        try:
            result = self._session.execute(sql, parameters)
            return result.description, result.fetchall()
        except duckdb.Error:
            self._is_spoiled = True
            raise

    def commit(self) -> None:
        """Keep the snapshot: there is nothing to write, and all truths should see the same tables."""

    def rollback(self) -> None:
        """Keep the snapshot, unless an error has spoiled it: then take a new one."""
        if self._is_spoiled:
            with suppress(duckdb.TransactionException):
                self._session.execute("rollback")
            self._session.execute("begin transaction read only")
            self._is_spoiled = False

    def close(self) -> None:
        """Close the session; the lender's connection stays open."""
        self._session.close()


def connect(token: str, schema: str) -> LentConnection:
    """Open a session of the connection lent under ``token``.

    Raises:
        duckdb.ConnectionException: The loan is over.
    """
    loan = _loans.get(token)
    if loan is None:
        raise duckdb.ConnectionException("the warehouse connection is no longer lent to this check")
    session = LentConnection(loan.lender, schema)
    loan.sessions.append(session)
    return session


class LentDuckDBDialect(PGDialect):
    """PostgreSQL's SQL, DuckDB's catalog."""

    driver = "strata"
    supports_statement_cache = True
    default_paramstyle = "qmark"

    @classmethod
    def import_dbapi(cls) -> Any:
        """Return the DB-API module: this one."""
        return sys.modules[__name__]

    @classmethod
    def get_pool_class(cls, url: Any) -> type[pool.Pool]:
        """Keep sessions open between statements: opening one costs more than most statements."""
        del url
        return pool.QueuePool

    def create_connect_args(self, url: Any) -> tuple[Sequence[str], dict[str, Any]]:
        """Read the loan and the schema from the URL."""
        return (), {"token": url.host, "schema": url.database}

    def initialize(self, connection: Any) -> None:
        """Leave out what PostgreSQL's own catalog would be asked at the first connection."""
        self.default_schema_name = self._get_default_schema_name(connection)
        self._backslash_escapes = False

    def _get_default_schema_name(self, connection: Any) -> str:
        return str(connection.exec_driver_sql("select current_schema()").scalar())

    def get_schema_names(self, connection: Any, **_: Any) -> list[str]:
        """Name the schemas of the database."""
        rows = connection.exec_driver_sql("select distinct schema_name from duckdb_schemas() order by all")
        return [row[0] for row in rows]

    def has_table(self, connection: Any, table_name: str, schema: str | None = None, **_: Any) -> bool:
        """Say whether a table or view exists."""
        return bool(self._read_columns(connection, table_name, schema))

    def get_columns(self, connection: Any, table_name: str, schema: str | None = None, **_: Any) -> Any:
        """List a table's columns in order.

        Raises:
            NoSuchTableError: There is no such table or view.
        """
        rows = self._read_columns(connection, table_name, schema)
        if not rows:
            raise NoSuchTableError(table_name)
        return [
            {"name": name, "type": self._type_of(data_type), "nullable": nullable, "default": None}
            for name, data_type, nullable in rows
        ]

    def get_pk_constraint(self, connection: Any, table_name: str, schema: str | None = None, **_: Any) -> Any:
        """Name no key: what must be unique, a suite says."""
        del connection, table_name, schema
        return {"constrained_columns": [], "name": None}

    def _read_columns(self, connection: Any, table_name: str, schema: str | None) -> list[Any]:
        result = connection.exec_driver_sql(
            "select column_name, data_type, is_nullable from duckdb_columns() "
            "where database_name = current_database() and schema_name = ? and table_name = ? order by column_index",
            (schema or self.default_schema_name, table_name),
        )
        return list(result.fetchall())

    @staticmethod
    def _type_of(name: str) -> types.TypeEngine[Any]:
        if name.startswith("DECIMAL"):
            precision, scale = name.removeprefix("DECIMAL(").removesuffix(")").split(",")
            return types.DECIMAL(int(precision), int(scale))
        return _TYPES.get(name, types.NullType)()


registry.register(SCHEME, __name__, LentDuckDBDialect.__name__)
