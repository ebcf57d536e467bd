"""`strata withheld`: how much was not loaded for want of consent, for people and for programs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from orchestration.settings import Settings
from segmentation.contracts import ensure_schema

Ask = Callable[..., Any]


def test_what_was_withheld_is_counted_and_explained(ask: Ask, tmp_path: Path) -> None:
    nowhere = ask(tmp_path / "none", "withheld", "--json")
    assert (nowhere.code, nowhere.json["repair"]) == (1, "strata run")
    with Settings(data=tmp_path, dagster_home=tmp_path / "home").warehouse.write() as con:
        ensure_schema(con, "sources")
    nothing = ask(tmp_path, "withheld")
    assert (nothing.code, nothing.out.strip()) == (0, "nothing was withheld for want of consent")
    with Settings(data=tmp_path, dagster_home=tmp_path / "home").warehouse.write() as con:
        con.execute(
            "insert into sources.withheld values "
            "(1, 'app', 'events', '', 'analytics', 'refused', 3, 'r1', timestamp '2026-11-01'), "
            "(2, 'app', 'events', '', 'analytics', 'refused', 4, 'r2', timestamp '2026-11-02'), "
            "(2, 'crm', 'customer_records', 'phone', 'marketing', 'undecided', 1, 'r2', timestamp '2026-11-02')"
        )
    told = ask(tmp_path, "withheld", "--json")
    assert told.code == 0
    facts = [(one["entity"], one["field"], one["reason"], one["rows"]) for one in told.json["withheld"]]
    assert facts == [("events", "", "refused", 7), ("customer_records", "phone", "undecided", 1)]
    shown = ask(tmp_path, "withheld", "--entity", "events", COLUMNS="160")
    assert "whole row" in shown.out
    assert "somebody whom the row names refuses it now" in shown.out
    assert "phone" not in shown.out
    unknown = ask(tmp_path, "withheld", "--entity", "event", "--json")
    assert unknown.code == 5
    assert "did you mean events?" in unknown.json["what"]
