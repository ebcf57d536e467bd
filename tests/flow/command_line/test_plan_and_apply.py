"""A change of a segment as people make it: edit, plan, a run that keeps it back, apply."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from orchestration.commands.run import execute
from orchestration.settings import ROOT

from .conftest import Ask


def test_a_breaking_change_waits_for_apply_and_goes_live_as_planned(
    ask: Ask, house: Any, data: Path, tmp_path: Path
) -> None:
    catalog = shutil.copytree(ROOT / "catalog", tmp_path / "catalog")
    here = {"STRATA_CATALOG": str(catalog)}
    sizes = "select segment_key, count(*) from segments.membership group by 1"
    before = dict(house.sql(sizes))

    quiet = ask(data, "plan", **here)
    assert quiet.code == 0
    assert "Nothing would change." in quiet.out

    vip = catalog / "segments" / "tier_vip.yml"
    text = vip.read_text(encoding="utf-8")
    assert "revenue_micros_365d >= 2000000000" in text
    vip.write_text(text.replace(">= 2000000000", ">= 2500000000"), encoding="utf-8")
    file, report = tmp_path / "plan.json", tmp_path / "plan.md"
    planned = ask(data, "plan", "--out", str(file), "--markdown", str(report), "--json", **here)
    assert planned.code == 2
    assert planned.json == json.loads(file.read_text(encoding="utf-8"))
    (unit,) = planned.json["definitions"]
    assert (unit["unit"], unit["class"]) == ("group:tier", "breaking")
    rows = {row[0]: row for row in next(one for one in planned.json["sections"] if one["name"] == "members")["rows"]}
    assert rows["tier_vip"][1] == before["tier_vip"]
    assert rows["tier_vip"][3] > 0
    assert "**breaking**" in report.read_text(encoding="utf-8")

    core = catalog / "segments" / "tier_core.yml"
    removed = core.read_text(encoding="utf-8")
    core.unlink()
    used = "tier_core is removed, but it is used in 1 place: a cost pool"
    refused = ask(data, "plan", "--json", **here)
    assert (refused.code, used in refused.out) == (1, True)
    kept = ask(data, "run", "--from", "segments", "--json", **here)
    assert kept.code == 0
    waiting = {subject: reasons for subject, _, reasons in kept.json["waiting"]}
    assert set(waiting) == {"tier_core", "tier_vip"}
    assert waiting["tier_core"][0].startswith(used)
    assert dict(house.sql(sizes)) == before
    core.write_text(removed, encoding="utf-8")

    stale = ask(data, "apply", str(file), "--by", "ana", "--reason", "SEG-12", "--json", **here)
    assert stale.code == 1
    assert "membership was published" in stale.json["what"]

    assert ask(data, "plan", "--out", str(file), **here).code == 2
    done = ask(data, "apply", str(file), "--by", "ana", "--reason", "SEG-12", "--json", **here)
    assert done.code == 0
    assert (done.json["state"], done.json["differences"]) == ("applied", [])
    after = dict(house.sql(sizes))
    assert after["tier_vip"] == rows["tier_vip"][5]
    assert ask(data, "approvals", "list", "--json", **here).json == []
    (used, *_) = ask(data, "approvals", "list", "--all", "--json", **here).json
    assert (used["approver"], used["state"]) == ("ana", "used")
    assert ask(data, "plan", "--json", **here).code == 0
    assert ask(data, "apply", str(file), "--by", "ana", "--reason", "SEG-12", "--json", **here).json["state"] == (
        "applied_before"
    )


def test_an_edit_while_the_approved_run_begins_is_not_published_and_the_approval_can_be_withdrawn(
    ask: Ask, house: Any, data: Path, catalog: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = {"STRATA_CATALOG": str(catalog)}
    live = "select segment_key, customer_id from segments.membership order by all"
    before = house.sql(live)
    vip = catalog / "segments" / "tier_vip.yml"
    text = vip.read_text(encoding="utf-8")
    vip.write_text(text.replace(">= 2000000000", ">= 2400000000"), encoding="utf-8")
    file = tmp_path / "plan.json"
    assert ask(data, "plan", "--out", str(file), **here).code == 2
    with monkeypatch.context() as patch:
        # Somebody saves another edit while the run that was approved begins.
        def execute_after_an_edit(*arguments: Any, **named: Any) -> Any:
            vip.write_text(text.replace(">= 2000000000", ">= 9000000000"), encoding="utf-8")
            return execute(*arguments, **named)

        patch.setattr("orchestration.commands.apply.execute", execute_after_an_edit)
        overtaken = ask(data, "apply", str(file), "--by", "ana", "--reason", "SEG-12", "--json", **here)
    assert overtaken.code == 1
    assert "the catalog was edited" in overtaken.json["what"]
    assert house.sql(live) == before
    (waiting,) = ask(data, "approvals", "list", "--json", **here).json
    assert (waiting["step"]["unit_key"], waiting["approver"], waiting["state"]) == ("group:tier", "ana", "open")
    plan = json.loads(file.read_text(encoding="utf-8"))["hash"]
    assert plan[:16] in ask(data, "approvals", "list", COLUMNS="200", **here).out
    taken = ask(data, "approvals", "withdraw", plan[:16], "--by", "bea", "--reason", "SEG-13", "--json", **here)
    assert [one["step"]["unit_key"] for one in taken.json] == ["group:tier"]
    assert ask(data, "approvals", "list", "--json", **here).json == []
    assert ask(data, "approvals", "withdraw", plan[:16], "--by", "bea", "--reason", "SEG-13", **here).code == 5
