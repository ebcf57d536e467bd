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
    "customers",
    "identifier_map",
    "customer_aliases",
    "identifier_lookup",
    "customer_accounts",
    "customer_consents",
    "profiles",
)

#: Tables that a candidate adds rows to.
APPENDED = ("events",)


@cache
def definitions() -> dict[str, str]:
    """Return the columns of each table in ``schema.sql``, as SQL text by table name."""
    text = files("segmentation.identity").joinpath("schema.sql").read_text(encoding="utf-8")
    found = re.findall(r"create table if not exists identity\.(\w+) \((.*?)\n?\);", text, flags=re.DOTALL)
    return dict(found)


def create_candidate_tables(con: Connection) -> None:
    """Make every candidate table anew, empty; what a former run proposed is gone."""
    for table in (*REPLACED, *APPENDED):
        drop_candidate(con, f"candidate_{table}")
        con.execute(f"create table identity.candidate_{table} ({definitions()[table]}\n)")


def drop_candidate(con: Connection, name: str) -> None:
    """Drop a candidate, be it a table or the view that publishing left in its place."""
    kinds = con.execute(
        "select table_type from information_schema.tables where table_schema = 'identity' and table_name = ?", [name]
    ).fetchall()
    for (kind,) in kinds:
        con.execute(f"drop {'view' if kind == 'VIEW' else 'table'} identity.{name}")
