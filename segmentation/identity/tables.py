"""The candidate tables of identity: made empty from the published tables' own definitions.

Belongs here: which tables a candidate consists of, and their shape. Does not belong here: filling them
(`candidate.py`) or putting them in place (`publish.py`).
"""

import re
from functools import cache
from importlib.resources import files

from segmentation.warehouse import Connection

#: Tables that a candidate replaces as a whole.
REPLACED = (
    "identifiers",
    "edges",
    "solve_inputs",
    "customers",
    "identifier_map",
    "customer_aliases",
    "identifier_lookup",
    "customer_accounts",
    "customer_consents",
    "profiles",
    "profile_conflicts",
    "attributions",
)

#: Those of them that a candidate may propose as a difference (`differences.py`), and the column by whose
#: values rows go.
DIFFERENTIAL = {
    "identifiers": "node_id",
    "edges": "node_a",
    "customers": "customer_seq",
    "identifier_map": "node_id",
    "identifier_lookup": "node_id",
}

#: Those of them that nobody but the next run reads.
INTERNAL = ("solve_inputs",)

#: Tables that a candidate adds rows to.
APPENDED = ("events", "rules")


@cache
def definitions() -> dict[str, str]:
    """Return the columns of each table in ``schema.sql``, as SQL text by table name."""
    text = files("segmentation.identity").joinpath("schema.sql").read_text(encoding="utf-8")
    found = re.findall(r"create table if not exists identity\.(\w+) \((.*?)\n?\);", text, flags=re.DOTALL)
    return dict(found)


def relations(con: Connection, schema: str) -> dict[str, str]:
    """Return the tables and views of a schema: their kind, ``TABLE`` or ``VIEW``, by name."""
    rows = con.execute(
        "select table_name, 'TABLE' from duckdb_tables() where schema_name = $schema and not temporary union all "
        "select view_name, 'VIEW' from duckdb_views() where schema_name = $schema and not temporary",
        {"schema": schema},
    ).fetchall()
    return dict(rows)


def create_candidate_tables(con: Connection) -> None:
    """Make every candidate table anew, empty; what a former run proposed is gone.

    A candidate may be a table, a view of what is published and its difference, or the view that publishing left.
    """
    kinds = relations(con, "identity")
    parts = (f"candidate_{table}_{part}" for table in DIFFERENTIAL for part in ("rows", "gone"))
    for name in ("candidate", *(f"candidate_{table}" for table in (*REPLACED, *APPENDED)), *parts):
        if name in kinds:
            con.execute(f"drop {kinds[name]} identity.{name}")
    for table in (*REPLACED, *APPENDED):
        con.execute(f"create table identity.candidate_{table} ({definitions()[table]}\n)")
