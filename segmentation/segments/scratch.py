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

# Asked once for all tables: looking through the catalog for each costs more than the views.
_TABLES = """
with wanted as (
    select schema_name, table_name, column_name, data_type, column_index
    from duckdb_columns() where database_name = current_database()
),
missing as (
    select
        wanted.schema_name, wanted.table_name,
        list([wanted.column_name, wanted.data_type] order by wanted.column_index) as columns
    from wanted
    anti join (select * from duckdb_columns() where database_name = 'live') as held
        on wanted.schema_name = held.schema_name and wanted.table_name = held.table_name
        and wanted.column_name = held.column_name
    group by all
),
own as (select distinct schema_name, table_name from wanted)
select
    held.schema_name, held.table_name, own.table_name is not null, coalesce(missing.columns, [])
from duckdb_tables() as held
left join own on held.schema_name = own.schema_name and held.table_name = own.table_name
left join missing on held.schema_name = missing.schema_name and held.table_name = missing.table_name
where held.database_name = 'live'
order by 1, 2
"""


def lay_views(con: Connection) -> None:
    """Show every table of the attached database ``live`` under its own name in an empty database.

    A column that this version has and the copy does not yet is there, empty.
    """
    for stage in _STAGES:
        ensure_schema(con, stage)
    tables = con.execute(_TABLES).fetchall()
    for schema in {one[0] for one in tables}:
        con.execute(f"create schema if not exists {quote(schema)}")
    for schema, table, is_there, missing in tables:
        name = f"{quote(schema)}.{quote(table)}"
        added = "".join(f", null::{kind} as {quote(column)}" for column, kind in missing)
        if is_there:
            con.execute(f"drop table {name}")
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
