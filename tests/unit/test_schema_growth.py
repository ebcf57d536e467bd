"""A warehouse of an older version goes on working when a newer one adds columns."""

import pytest

from segmentation.contracts import ensure_schema
from segmentation.warehouse import Connection

STAGES = ("sources", "identity", "features", "segments", "costs", "sync")


@pytest.mark.parametrize(
    ("stage", "table", "column"),
    [
        ("segments", "segments.catalog", "destinations"),
        ("segments", "segments.membership", "via"),
        ("sources", "sources.files", "rows_late"),
        ("sync", "ops.candidates", "published_at"),
    ],
)
def test_a_column_that_came_later_is_added_and_rows_stay(con: Connection, stage: str, table: str, column: str) -> None:
    ensure_schema(con, stage)
    before = con.execute(f"describe {table}").fetchall()
    names = ", ".join(row[0] for row in before if row[0] != column)
    con.execute(f"create or replace table {table} as select {names} from {table}")
    nothing = ", ".join("null" for row in before if row[0] != column)
    con.execute(f"insert into {table} select {nothing}")
    ensure_schema(con, stage)
    after = {row[0]: row[1] for row in con.execute(f"describe {table}").fetchall()}
    assert after == {row[0]: row[1] for row in before}
    assert con.execute(f"select count(*), count({column}) from {table}").fetchall() == [(1, 0)]


def test_a_table_with_a_key_takes_a_new_column(con: Connection) -> None:
    ensure_schema(con, "segments")
    con.execute("alter table segments.catalog drop column destinations")
    ensure_schema(con, "segments")
    assert "destinations" in {row[0] for row in con.execute("describe segments.catalog").fetchall()}


@pytest.mark.parametrize("stage", STAGES)
def test_ensuring_twice_changes_nothing(con: Connection, stage: str) -> None:
    ensure_schema(con, stage)
    tables = (
        "select schema_name, table_name, column_name, data_type from duckdb_columns() where not internal order by all"
    )
    before = con.execute(tables).fetchall()
    ensure_schema(con, stage)
    assert con.execute(tables).fetchall() == before
