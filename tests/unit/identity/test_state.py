"""The state survives: exported whole, restored whole, and ids with it."""

from dataclasses import replace
from datetime import timedelta

import duckdb
import pytest

from expectations import ledger
from expectations.results import SuiteResult, TruthResult
from segmentation.errors import CandidateError, GateClosedError, NotFoundError, StrataError
from segmentation.identity.publish import publish
from segmentation.identity.state import STATE_TABLES, export_state, restore_state
from segmentation.state_exports import MANIFEST, list_exports

_HOLDS = TruthResult("rows_exist", "identity.candidate", "critical", True, "7", "rows", None, (), "land them", False)
PASSED = SuiteResult("identity", "identity_suite", (_HOLDS,))


@pytest.fixture
def published(begin, run):
    def fill(world):
        world.add("orders", user_id="u", email="a@shop.com")
        world.add("events", anonymous_id="c")
        world.resolve(run)

    return begin(fill)


def _state(con):
    return {table: con.execute(f"select * from identity.{table} order by all").fetchall() for table in STATE_TABLES}


def test_restored_into_a_new_warehouse_ids_go_on(published, run, later, catalog, tmp_path):
    folder = export_state(published.con, tmp_path, run)
    before = _state(published.con)
    with duckdb.connect() as fresh:
        other = type(published)(fresh, catalog)
        rows = restore_state(fresh, tmp_path)
        assert _state(fresh) == before
        assert rows["customers"] == 2
        # The order of arrival would give other ids to a warehouse without the state.
        other.add("events", anonymous_id="c")
        other.add("orders", user_id="u", email="A@shop.com")
        second = later(1)
        other.build(second)
        publish(fresh, second)
        assert other.events(second) == []
        assert other.customer("c") == published.customer("c")
    assert folder.name == "20261101T000000-run-1"


def test_the_newest_exports_remain(published, later, tmp_path):
    for days in range(4):
        export_state(published.con, tmp_path, later(days), keep=2)
    assert [path.name for path in list_exports(tmp_path)] == ["20261104T000000-run-4", "20261103T000000-run-3"]


def test_exports_of_a_lost_warehouse_are_not_pushed_out(published, new_world, run, later, tmp_path):
    lost = export_state(published.con, tmp_path, run)
    with duckdb.connect() as con:
        other = new_world(con)
        other.add("orders", user_id="u", email="a@shop.com")
        for days in (1, 2):
            other.resolve(later(days))
            export_state(con, tmp_path, later(days), keep=1)
    assert [path.name[:8] for path in list_exports(tmp_path)] == ["20261103", lost.name[:8]]


def test_exporting_a_run_again_replaces_its_export(published, run, tmp_path):
    first = export_state(published.con, tmp_path, run)
    assert export_state(published.con, tmp_path, run) == first
    assert len(list(tmp_path.iterdir())) == 1


def test_an_export_cut_short_is_not_one(published, run, later, tmp_path, monkeypatch):
    whole = export_state(published.con, tmp_path, run)

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("segmentation.state_exports.count", killed)
        with pytest.raises(KeyboardInterrupt):
            export_state(published.con, tmp_path, later(1))
    assert list_exports(tmp_path) == [whole]
    export_state(published.con, tmp_path, later(1))
    assert len(list_exports(tmp_path)) == 2


def test_a_damaged_export_changes_nothing(published, run, tmp_path):
    folder = export_state(published.con, tmp_path, run)
    manifest = folder / MANIFEST
    manifest.write_text(manifest.read_text().replace('"customers": 2', '"customers": 3'))
    before = _state(published.con)
    with pytest.raises(StrataError, match="damaged"):
        restore_state(published.con, folder)
    (folder / "customers.parquet").write_bytes(b"PAR1")
    with pytest.raises(StrataError, match="damaged"):
        restore_state(published.con, folder)
    assert _state(published.con) == before


def test_no_export_is_an_error(con, tmp_path):
    with pytest.raises(NotFoundError, match="no export"):
        restore_state(con, tmp_path)


def test_nothing_goes_on_from_a_restored_state_before_identity_has_run(published, run, later, tmp_path):
    """Restoring empties who allows what; taken for an answer, that says that nobody allows anything."""
    con = published.con
    ledger.record(con, run, PASSED)
    assert ledger.gate_state(con, "identity").state == "open"
    export_state(con, tmp_path, run)
    restore_state(con, tmp_path)
    assert con.execute("select count(*) from identity.customer_consents").fetchall() == [(0,)]
    assert ledger.gate_state(con, "identity").state == "not judged"
    with pytest.raises(GateClosedError, match="no candidate of this run"):
        # Whoever proposed before may not let its gate speak for what was restored.
        ledger.require_passed(con, "identity", run)
    with pytest.raises(CandidateError, match="has been published already"):
        published.build(replace(run, as_of=run.as_of - timedelta(days=1)))
    published.resolve(later(1))
    ledger.record(con, later(1), PASSED)
    assert ledger.gate_state(con, "identity").state == "open"


def test_a_restored_export_that_is_damaged_leaves_the_gate_as_it_was(published, run, tmp_path):
    ledger.record(published.con, run, PASSED)
    folder = export_state(published.con, tmp_path, run)
    (folder / "customers.parquet").write_bytes(b"PAR1")
    with pytest.raises(StrataError, match="damaged"):
        restore_state(published.con, folder)
    assert ledger.gate_state(published.con, "identity").state == "open"
