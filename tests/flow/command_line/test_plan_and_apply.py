"""A change of a segment as people make it: edit, plan, a run that keeps it back, apply."""

import json
import shutil
from pathlib import Path
from typing import Any

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

    kept = ask(data, "run", "--from", "segments", "--json", **here)
    assert kept.code == 0
    assert [one[0] for one in kept.json["waiting"]] == ["tier_vip"]
    assert dict(house.sql(sizes)) == before

    stale = ask(data, "apply", str(file), "--by", "ana", "--reason", "SEG-12", "--json", **here)
    assert stale.code == 1
    assert "membership was published" in stale.json["what"]

    assert ask(data, "plan", "--out", str(file), **here).code == 2
    done = ask(data, "apply", str(file), "--by", "ana", "--reason", "SEG-12", "--json", **here)
    assert done.code == 0
    assert (done.json["state"], done.json["differences"]) == ("applied", [])
    after = dict(house.sql(sizes))
    assert after["tier_vip"] == rows["tier_vip"][5]
    assert house.sql("select approver from segments.approvals") == [("ana",)]
    assert ask(data, "plan", "--json", **here).code == 0
    assert ask(data, "apply", str(file), "--by", "ana", "--reason", "SEG-12", "--json", **here).json["state"] == (
        "applied_before"
    )
