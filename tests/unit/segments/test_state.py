"""Membership and its history survive the warehouse: exported whole, brought back, and gone on with."""

from pathlib import Path

import pytest

from segmentation.contracts import ensure_schema
from segmentation.errors import StrataError
from segmentation.segments.state import STATE_TABLES, export_state, restore_state
from segmentation.state_exports import list_exports
from segmentation.warehouse import Warehouse


def content(company) -> dict[str, list]:
    return {table: company.rows(f"select * from segments.{table} order by all") for table in STATE_TABLES}


@pytest.fixture
def twice(tiers, tmp_path: Path):
    """A company whose membership was published twice and exported."""
    tiers.decide()
    tiers.alter("c_a", mrr_micros=0)
    run = tiers.decide(days=1)
    export_state(tiers.con, tmp_path / "exports", run)
    return tiers


def lose_warehouse(company, folder: Path):
    """Return the company in a warehouse that knows its features and nothing else."""
    features = company.con.sql("select * from features.customer_features").to_arrow_table()
    warehouse = Warehouse(path=folder / "new.duckdb", published_path=folder / "p.duckdb", memory_limit="500MB")
    held = warehouse.write()
    company.con = held.__enter__()
    company.con.execute("create schema features")
    company.con.register("kept", features)
    company.con.execute("create table features.customer_features as select * from kept")
    company.con.unregister("kept")
    return held


def test_the_next_run_goes_on_with_the_same_history(twice, tmp_path: Path) -> None:
    before = content(twice)
    assert before["membership_history"]
    assert before["membership_changes"]
    held = lose_warehouse(twice, tmp_path)
    try:
        rows = restore_state(twice.con, tmp_path / "exports")
        assert content(twice) == before
        assert rows["membership"] == len(before["membership"])

        # Nothing happened: nobody enters, nobody leaves, no version rises.
        twice.decide(days=2)
        after = content(twice)
        for table in ("membership", "effective", "membership_changes", "membership_history", "versions"):
            assert after[table] == before[table], table
        assert len(after["publications"]) == 3

        # Something happens: one change, after those from before.
        twice.alter("c_b", mrr_micros=500)
        twice.decide(days=3)
        moved = [row for row in content(twice)["membership_changes"] if row not in before["membership_changes"]]
        assert [row[1:5] for row in moved] == [("c_b", "core", "exit", "data"), ("c_b", "vip", "enter", "data")]
        twice.check_consistency()
    finally:
        held.__exit__(None, None, None)


def test_without_it_everybody_would_enter_again(twice, tmp_path: Path) -> None:
    held = lose_warehouse(twice, tmp_path)
    try:
        for stage in ("identity", "segments"):
            ensure_schema(twice.con, stage)
        twice.decide(days=2)
        assert twice.rows("select count(*) > 0 from segments.membership_changes where change = 'enter'") == [(True,)]
    finally:
        held.__exit__(None, None, None)


def test_masks_of_another_membership_are_not_believed(twice, tmp_path: Path) -> None:
    """As many members as before, but others: only the rows that were brought back say who."""
    before = content(twice)
    twice.con.execute("update segments.masks set customer_id = customer_id || '_other'")
    restore_state(twice.con, tmp_path / "exports")
    twice.decide(days=2)
    assert content(twice)["membership"] == before["membership"]
    assert content(twice)["membership_changes"] == before["membership_changes"]


def test_membership_of_customers_that_identity_does_not_know_is_refused(twice, tmp_path: Path) -> None:
    twice.con.execute("update segments.publications set identity_event_seq = 7 where publication_seq = 2")
    run = twice.next_run(days=1)
    export_state(twice.con, tmp_path / "exports", run)
    held = lose_warehouse(twice, tmp_path)
    try:
        ensure_schema(twice.con, "segments")
        with pytest.raises(StrataError, match="identity event 7; the warehouse knows 0") as caught:
            restore_state(twice.con, tmp_path / "exports")
        assert caught.value.repair.startswith("strata restore identity")
        assert content(twice) == {table: [] for table in STATE_TABLES}
    finally:
        held.__exit__(None, None, None)


def test_the_newest_two_remain(twice, tmp_path: Path) -> None:
    for day in (2, 3):
        export_state(twice.con, tmp_path / "exports", twice.decide(days=day))
    assert [path.name[:8] for path in list_exports(tmp_path / "exports")] == ["20261104", "20261103"]
