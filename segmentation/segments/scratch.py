"""A warehouse to try things on: what is published can be read under its names, what is written is gone afterwards.

Belongs here: views over an attached copy such that stages run on it unchanged. Does not belong here: what is tried
(``plan.py``).
"""

from segmentation.contracts import ensure_schema
from segmentation.warehouse import Connection, literal, quote

#: Stages whose tables are read under the names that the warehouse has for them.
_STAGES = ("identity", "segments")

#: Tables that trying something writes: they are copied, all others are looked at where they are.
_COPIED = (("ops", "candidates"),)

_TABLES = """
select schema_name, table_name from duckdb_tables() where database_name = 'live' order by all
"""

_MISSING = """
select column_name, data_type from duckdb_columns()
where database_name = current_database() and schema_name = $schema and table_name = $table and column_name not in (
    select column_name from duckdb_columns()
    where database_name = 'live' and schema_name = $schema and table_name = $table
)
order by column_index
"""


def lay_views(con: Connection) -> None:
    """Show every table of the attached database ``live`` under its own name in an empty database.

    A column that this version has and the copy does not yet is there, empty.
    """
    for stage in _STAGES:
        ensure_schema(con, stage)
    for schema, table in con.execute(_TABLES).fetchall():
        name = f"{quote(schema)}.{quote(table)}"
        missing = con.execute(_MISSING, {"schema": schema, "table": table}).fetchall()
        added = "".join(f", null::{kind} as {quote(column)}" for column, kind in missing)
        con.execute(f"create schema if not exists {quote(schema)}")
        con.execute(f"drop table if exists {name}")
        kind = "table" if (schema, table) in _COPIED else "view"
        con.execute(f"create {kind} {name} as select *{added} from live.{name}")
    newest = con.execute("select coalesce(max(candidate_seq), 0) + 1 from ops.candidates").fetchall()[0][0]
    con.execute(f"create or replace sequence ops.candidate_seq start {int(newest)}")


def replace_view(con: Connection, schema: str, table: str, query: str) -> None:
    """Let a name of the scratch database stand for a query from now on."""
    found = con.execute(
        "select table_type from information_schema.tables where table_catalog = current_database() "
        f"and table_schema = {literal(schema)} and table_name = {literal(table)}"
    ).fetchall()
    name = f"{quote(schema)}.{quote(table)}"
    if found:
        con.execute(f"drop {'view' if found[0][0] == 'VIEW' else 'table'} {name}")
    con.execute(f"create view {name} as {query}")
