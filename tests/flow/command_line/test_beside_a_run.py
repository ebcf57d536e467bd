"""Looking at an installation does not wait for whoever writes its warehouse."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from expectations import ledger
from expectations.results import SuiteResult, TruthResult
from orchestration.settings import Settings
from segmentation import contracts
from segmentation.identity.candidate import build_candidate
from segmentation.identity.catalog import load_identity_catalog
from segmentation.identity.publish import publish
from segmentation.identity.rule_book import Draft, Signature, add_rule
from segmentation.readers import readable_tables
from segmentation.run import Run
from segmentation.sources.tables import ensure_entity_tables
from segmentation.warehouse import Connection, Warehouse, transaction

Ask = Callable[..., Any]


def judge(con: Connection, number: int, *, passed: bool) -> None:
    """Make a candidate of sources and judge it."""
    run = Run(f"run-{number}", datetime(2026, 11, number), datetime(2026, 11, number, 5))
    truth = TruthResult(
        "some_truth", "sources.candidate_files", "critical", passed, "this", "that", None, (), "repair it", False
    )
    contracts.stamp_candidate(con, "sources", run)
    ledger.record(con, run, SuiteResult("sources", "sources", (truth,)))
    if passed:
        contracts.mark_published(con, "sources", run)


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    """A warehouse whose readers' copy was made before a gate closed."""
    warehouse = Settings(data=tmp_path, dagster_home=tmp_path / "home").warehouse
    with warehouse.write() as con:
        contracts.ensure_schema(con, "sources")
        judge(con, 1, passed=True)
        warehouse.publish_copy(con, readable_tables(con))
        judge(con, 2, passed=False)
    return warehouse


def test_gates_are_shown_as_the_copy_has_them(ask: Ask, tmp_path: Path, warehouse: Warehouse) -> None:
    now = ask(tmp_path, "gates", "--json")
    assert now.code == 3
    assert (now.json[0]["state"], now.json[0]["copied_at"]) == ("closed", None)
    with warehouse.exclusive():
        seen = ask(tmp_path, "gates", "--json")
        shown = ask(tmp_path, "gates", COLUMNS="200")
    assert seen.code == shown.code == 0
    assert (seen.json[0]["state"], seen.json[0]["copied_at"]) == ("open", warehouse.copied_at.isoformat())
    assert f"a run is writing since {warehouse.locked_at:%Y-%m-%d %H:%M}" in shown.out
    assert f"as they stood at {warehouse.copied_at:%Y-%m-%d %H:%M:%S}" in shown.out


def test_the_doctor_notes_who_writes(ask: Ask, tmp_path: Path, warehouse: Warehouse) -> None:
    with warehouse.exclusive():
        told = ask(tmp_path, "doctor", "--json")
    (found,) = [one for one in told.json if one["subject"] == "warehouse"]
    assert found["state"] == "note"
    assert "a run is writing since" in found["fact"]
    assert "no gate is closed" in found["fact"]


@pytest.mark.parametrize("kept", ["nothing", "an older copy"])
def test_without_a_copy_that_knows_of_gates_it_says_who_writes(
    ask: Ask, tmp_path: Path, warehouse: Warehouse, kept: str
) -> None:
    with warehouse.write() as con:
        warehouse.publish_copy(con, [("sources", "files")])
    if kept == "nothing":
        warehouse.published_path.unlink()
    with warehouse.exclusive():
        busy = ask(tmp_path, "gates", "--json")
    assert busy.code == 4
    assert "is being written by another process" in busy.json["what"]


@pytest.fixture
def resolved(tmp_path: Path) -> Warehouse:
    """A warehouse with two customers that people linked, and its readers' copy."""
    settings = Settings(data=tmp_path, dagster_home=tmp_path / "home")
    warehouse = settings.warehouse
    catalog = load_identity_catalog(settings.catalog)
    run = Run("run-1", datetime(2026, 11, 1), datetime(2026, 11, 1, 5))
    with warehouse.write() as con:
        contracts.ensure_schema(con, "sources")
        ensure_entity_tables(con)
        for line, user in enumerate(("ann", "bo")):
            con.execute(
                "insert into sources.events by name select ? as event_id, ? as user_id, 'login' as event_type, "
                "? as occurred_at, 'app' as source, 1 as file_id, ? as line, 'load' as run_id, ? as recorded_at",
                [f"e{line}", user, datetime(2026, 10, 1), line, datetime(2026, 10, 1)],
            )
        build_candidate(con, run, catalog)
        publish(con, run)
        with transaction(con):
            signed = Signature("jo", "case 7", run.recorded_at)
            add_rule(con, catalog.rules, Draft("must_link", nodes=(0, 1)), signed)
        warehouse.publish_copy(con, readable_tables(con))
    return warehouse


def test_rules_are_shown_as_the_copy_has_them(ask: Ask, tmp_path: Path, resolved: Warehouse) -> None:
    now = ask(tmp_path, "identity", "rules", "--json")
    with resolved.exclusive():
        seen = ask(tmp_path, "identity", "rules", "--json")
    assert (now.code, seen.code) == (0, 0)
    assert now.err == ""
    assert "a run is writing since" in seen.err
    assert seen.json == now.json
    assert (now.json[0]["rule_id"], now.json[0]["state"]) == ("r1", "pending")
    assert "user_id node:0, user_id node:1 are one customer's" in now.json[0]["sentence"]


def test_scores_are_told_from_the_copy_and_not_kept(ask: Ask, tmp_path: Path, resolved: Warehouse) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text("entity_id,user_id\n1,ann\n2,bo\n", encoding="utf-8")
    asked = ("identity", "evaluate", "--truth", str(labels))
    with resolved.exclusive():
        seen = ask(tmp_path, *asked, "--json")
        shown = ask(tmp_path, *asked, COLUMNS="200")
    assert (seen.code, shown.code) == (0, 0)
    assert seen.json["copied_at"] == resolved.copied_at.isoformat()
    assert "these scores are not kept" in shown.out
    kept = "select count(*) from identity.metrics where truth = 'labels.csv'"
    with resolved.write() as con:
        assert con.execute(kept).fetchall() == [(0,)]
    now = ask(tmp_path, *asked, "--json")
    assert now.json["copied_at"] is None
    assert now.json["metrics"] == seen.json["metrics"]
    with resolved.write() as con:
        assert con.execute(kept).fetchall() == [(len(now.json["metrics"]),)]
