"""What schema.sql says of a column reaches whoever looks at the table."""

import pytest

from assets.metadata import table_metadata
from segmentation.contracts import column_notes, ensure_schema
from segmentation.warehouse import Connection

STAGES = ("sources", "identity", "features", "segments", "costs", "sync")


@pytest.mark.parametrize("stage", STAGES)
def test_every_note_is_of_a_column_that_exists(con: Connection, stage: str) -> None:
    ensure_schema(con, stage)
    present = set(
        con.execute(
            "select table_name, column_name from duckdb_columns() where schema_name in (?, 'ops')", [stage]
        ).fetchall()
    )
    assert column_notes(stage)
    assert set(column_notes(stage)) <= present


def test_the_asset_page_shows_the_note_beside_its_column(con: Connection) -> None:
    ensure_schema(con, "costs")
    schema = table_metadata(con, "costs", "drivers_daily")["dagster/column_schema"].value
    described = {column.name: column.description for column in schema.columns}  # type: ignore[attr-defined,union-attr]
    assert described["allocation_view"] == "exclusive, full, fractional"
    assert described["quantity"] is None
