"""Membership and its history survive the warehouse: exported whole, brought back, and gone on with."""

from contextlib import nullcontext
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from segmentation.contracts import ensure_schema
from segmentation.erasure.places import renew_exports
from segmentation.errors import StrataError
from segmentation.run import Run
from segmentation.segments.state import STATE_TABLES, export_state, restore_state
from segmentation.state_exports import list_exports
from segmentation.warehouse import Warehouse


def content(company) -> dict[str, list]:
    return {table: company.rows(f"select * from segments.{table} order by all") for table in STATE_TABLES}


@pytest.fixture
def twice(tiers, tmp_path: Path):
    """A company whose membership was published twice and exported."""
    know_customers(tiers)
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
    know_customers(company)
    return held


def know_customers(company) -> None:
    """Let identity know the four customers of the company."""
    ensure_schema(company.con, "identity")
    for customer_id in ("c_a", "c_b", "c_c", "c_d"):
        company.fill("identity.customers", customer_id=customer_id, status="active")


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


def test_membership_of_another_warehouse_is_refused(twice, tmp_path: Path) -> None:
    """As many events, but other customers: whoever is unknown would be nobody's member and leave."""
    held = lose_warehouse(twice, tmp_path)
    try:
        ensure_schema(twice.con, "segments")
        twice.con.execute("update identity.customers set customer_id = 'c_other' where customer_id = 'c_b'")
        with pytest.raises(StrataError, match="names 1 customers whom identity does not know, such as c_b") as caught:
            restore_state(twice.con, tmp_path / "exports")
        assert caught.value.repair.startswith("strata restore identity")
        assert content(twice) == {table: [] for table in STATE_TABLES}
    finally:
        held.__exit__(None, None, None)


def test_what_no_publication_here_goes_on_from_is_kept(twice, tmp_path: Path) -> None:
    """A lost warehouse whose membership nobody restored: runs of the new one may not push the old one's exports out."""
    folder = tmp_path / "exports"
    (lost,) = list_exports(folder)
    before = content(twice)
    held = lose_warehouse(twice, tmp_path)
    try:
        for day in (2, 3, 4, 5):
            export_state(twice.con, folder, twice.decide(days=day))
        assert [path.name[:8] for path in list_exports(folder)] == ["20261106", "20261105", lost.name[:8]]
        restore_state(twice.con, lost)
        assert content(twice) == before
    finally:
        held.__exit__(None, None, None)


def test_an_erasure_deletes_no_membership_that_is_nowhere_else(twice, tmp_path: Path) -> None:
    """Between restoring identity and restoring segments there is no publication, and all of membership in exports."""
    folder, audit_folder = tmp_path / "exports", tmp_path / "audit"
    exports = list_exports(folder)
    held = lose_warehouse(twice, tmp_path)
    try:
        erasure = Run("erasure-1", datetime(2026, 11, 3), datetime(2026, 11, 3, 9))
        with pytest.raises(StrataError, match="can't be renewed") as caught:
            renew_exports(twice.con, tmp_path / "identity", folder, audit_folder, erasure)
        assert "strata restore segments" in caught.value.repair
        assert "strata erase --resume erasure-1" in caught.value.repair
        assert list_exports(folder) == exports

        # Membership comes back without whom identity has forgotten meanwhile, and then exports can be renewed.
        twice.con.execute("update identity.customers set status = 'erased' where customer_id = 'c_b'")
        restore_state(twice.con, folder)
        personal = "select customer_id from segments.{} where customer_id = 'c_b'"
        assert [table for table in ("membership", "membership_history", "membership_changes", "effective")
                if twice.rows(personal.format(table))] == []  # fmt: skip
        assert twice.members("free") == {"c_a", "c_c", "c_d"}
        sink = renew_exports(twice.con, tmp_path / "identity", folder, audit_folder, erasure)
        assert sink.state == "finished"
        assert [path.name for path in list_exports(folder)] == ["20261103T000000-erasure-1"]
    finally:
        held.__exit__(None, None, None)


def test_the_newest_two_remain(twice, tmp_path: Path) -> None:
    for day in (2, 3):
        export_state(twice.con, tmp_path / "exports", twice.decide(days=day))
    assert [path.name[:8] for path in list_exports(tmp_path / "exports")] == ["20261104", "20261103"]


def test_a_page_that_cannot_be_written_costs_no_export(tiers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from assets import segments as stage

    know_customers(tiers)
    run, _ = tiers.build()
    (tmp_path / "pages").write_text("a file where a folder should be", encoding="utf-8")
    settings = SimpleNamespace(
        catalog_page=tmp_path / "pages" / "catalog.html", segments_state_folder=tmp_path / "exports"
    )
    warehouse = SimpleNamespace(write=lambda: nullcontext(tiers.con))
    monkeypatch.setattr(stage, "run_from_context", lambda _context, _strata: run)
    monkeypatch.setattr(stage.ledger, "require_passed", lambda *_: None)
    publish_step = stage.publish_segments.op.compute_fn.decorated_fn
    with pytest.raises(OSError, match="pages"):
        list(publish_step(None, SimpleNamespace(settings=settings, warehouse=lambda: warehouse)))
    before = content(tiers)
    assert before["membership"]
    held = lose_warehouse(tiers, tmp_path)
    try:
        restore_state(tiers.con, tmp_path / "exports")
        assert content(tiers) == before
    finally:
        held.__exit__(None, None, None)
