"""`strata validate` tells every mistake of every catalog file in one go, and each once."""

import json
import shutil
from pathlib import Path

import pytest

from orchestration.commands import customers
from orchestration.commands.catalog import find_problems
from orchestration.settings import ROOT, Settings
from segmentation import contracts
from segmentation.segments.json_logic import InexpressibleError

#: File of the catalog, what is changed in it, and what a person is then told.
MISTAKES = (
    ("sources/crm.yml", "owner:", "ownr:", "unknown key ownr; did you mean owner?"),
    ("identifiers.yml", "max_nodes:", "max_knots:", "unknown key max_knots; did you mean max_nodes?"),
    ("purposes.yml", "basis: consent", "basis: consnt", ".basis: input should be 'consent'"),
    ("profile.yml", "  phone:", "  phne:", "phne is not an attribute of profiles; did you mean phone?"),
    ("groups.yml", "name:", "nmae:", "unknown key groups[0].nmae; did you mean name?"),
    ("cost_pools.yml", "method:", "metod:", "unknown key pools[0].metod; did you mean method?"),
)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    shutil.copytree(ROOT / "catalog", tmp_path / "catalog")
    return Settings.load(data=tmp_path / "data", catalog=tmp_path / "catalog")


def test_the_shipped_catalog_has_no_problem(settings: Settings) -> None:
    assert [problem for problem in find_problems(settings) if problem.severity == "error"] == []


def test_mistakes_in_all_files_are_told_at_once_and_each_once(settings: Settings) -> None:
    for name, old, new, _ in MISTAKES:
        path = settings.catalog / name
        path.write_text(path.read_text(encoding="utf-8").replace(old, new, 1), encoding="utf-8")
    problems = find_problems(settings)
    for name, _, _, said in MISTAKES:
        found = [problem for problem in problems if said in problem.what]
        assert [Path(problem.file).name for problem in found] == [Path(name).name], name
        assert found[0].line > 1
        assert found[0].repair
    assert all(problem.expected for problem in problems if "unknown key" in problem.what)


def test_a_misspelt_key_of_a_destination_is_told(settings: Settings) -> None:
    path = settings.catalog / "destinations.yml"
    path.write_text(path.read_text(encoding="utf-8").replace("owner:", "ownr:", 1), encoding="utf-8")
    (problem,) = find_problems(settings)
    assert problem.what == "unknown key destinations.online_store.ownr; did you mean owner?"
    assert Path(problem.file).name == "destinations.yml"


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_a_segment_that_is_used_can_not_be_retired(settings: Settings) -> None:
    edit(settings.catalog / "segments" / "tier_vip.yml", "lifecycle: active", "lifecycle: retired")
    (problem,) = [one for one in find_problems(settings) if "tier_vip is retired" in one.what]
    pools = (settings.catalog / "cost_pools.yml").read_text(encoding="utf-8").splitlines()
    line = next(number for number, text in enumerate(pools, start=1) if "vip: tier_vip" in text)
    assert f"a cost pool ({settings.catalog / 'cost_pools.yml'}:{line})" in problem.what
    assert problem.where.endswith("segments/tier_vip.yml:12")


def test_a_used_key_is_told_from_what_is_published(settings: Settings) -> None:
    with settings.warehouse.write() as con:
        contracts.ensure_schema(con, "segments")
        con.execute(
            "insert into segments.versions by name "
            "select unnest(['promising', 'gone']) as segment_key, 1 as segment_version, 'x' as definition_hash, "
            "'{\"rule\": \"is_known\"}' as definition, 'r' as first_run_id, timestamp '2026-01-01' as first_as_of, "
            "timestamp '2026-01-01' as recorded_at"
        )
        settings.warehouse.publish_copy(
            con, [("segments", "versions"), ("segments", "catalog"), ("segments", "sizes_daily")]
        )
    edit(settings.catalog / "destinations.yml", "segments: all", "segments:\n      - promising\n      - gone")
    problems = [problem.what for problem in find_problems(settings) if problem.severity == "error"]
    assert [what for what in problems if what.startswith("the key promising belonged to another segment")]
    assert [what for what in problems if what.startswith("gone is removed, but it is used in 1 place")]


def test_more_live_segments_than_the_quota_are_refused(settings: Settings) -> None:
    path = settings.catalog / "policy.yml"
    live = len(list((settings.catalog / "segments").glob("*.yml")))
    edit(path, "live_segments: 200", f"live_segments: {live}")
    assert [one for one in find_problems(settings) if "quota" in one.what] == []
    edit(path, f"live_segments: {live}", f"live_segments: {live - 1}")
    (problem,) = [one for one in find_problems(settings) if "quota" in one.what]
    assert (problem.what, problem.severity) == (f"{live} segments are live, and the quota is {live - 1}", "error")
    assert path.read_text(encoding="utf-8").splitlines()[problem.line - 1].startswith("  live_segments:")
    # A draft is not live.
    edit(settings.catalog / "segments" / "promising.yml", "lifecycle: active", "lifecycle: draft")
    assert [one for one in find_problems(settings) if "quota" in one.what] == []


def test_a_segment_that_the_policy_guards_can_not_be_retired(settings: Settings) -> None:
    edit(settings.catalog / "segments" / "fraud_watch.yml", "lifecycle: active", "lifecycle: retired")
    (problem,) = [one for one in find_problems(settings) if "fraud_watch is retired" in one.what]
    assert "a guard of the policy (catalog/policy.yml:" in problem.what


def test_a_destination_and_a_segment_that_disagree_are_both_told(settings: Settings) -> None:
    destinations, segments = settings.catalog / "destinations.yml", settings.catalog / "segments"
    edit(destinations, "segments: all", "segments:\n      - champions\n      - at_risk")
    edit(segments / "at_risk.yml", "destinations: [online_store, feature_flags]", "destinations: [feature_flags]")
    problems = find_problems(settings)
    assert {(problem.severity, bool(problem.expected), bool(problem.repair)) for problem in problems} == {
        ("warning", True, True)
    }
    by_file = {Path(problem.file).stem: problem for problem in problems}
    assert len(by_file) == len(problems)

    # The store lists a segment that does not go there.
    ours = by_file.pop("destinations")
    assert destinations.read_text(encoding="utf-8").splitlines()[ours.line - 1] == "      - at_risk"
    assert ours.what == (
        "destination online_store lists at_risk, which goes to feature_flags alone: nobody of it is delivered"
    )
    assert "segments/at_risk.yml" in ours.expected

    # Every other segment names the store, which lists one of them.
    assert sorted(by_file) == sorted({path.stem for path in segments.glob("*.yml")} - {"champions", "at_risk"})
    theirs = by_file["promising"]
    named = (segments / "promising.yml").read_text(encoding="utf-8").splitlines()[theirs.line - 1]
    assert named.startswith("destinations:")
    assert theirs.what == (
        "promising names destination online_store, which does not list it: nobody of it is delivered there"
    )


def test_overlaps_are_information_and_shown_where_asked(settings: Settings) -> None:
    assert [problem for problem in find_problems(settings) if problem.severity == "information"] == []
    found = [problem for problem in find_problems(settings, overlaps=True) if problem.severity == "information"]
    assert any(problem.what.startswith("tier_vip and tier_enterprise can take the same customer") for problem in found)
    assert all("for example: " in problem.what for problem in found)


def test_a_contradiction_in_a_shipped_rule_is_an_error_at_its_line(settings: Settings) -> None:
    path = settings.catalog / "segments" / "renewal_due.yml"
    edit(path, "mrr_micros > 0", "mrr_micros > 0 and subscription_status in ('past_due', 'trialing')")
    (problem,) = find_problems(settings)
    assert problem.severity == "error"
    assert problem.what.startswith("the rule of renewal_due is never true: ")
    assert path.read_text(encoding="utf-8").splitlines()[problem.line - 1] == "rule: |"


def test_a_segment_is_printed_as_targeting_without_a_warehouse(monkeypatch, settings: Settings, capsys) -> None:
    monkeypatch.setattr(Settings, "load", lambda: settings)
    customers.segments(json_logic="champions")
    printed = json.loads(capsys.readouterr().out)
    assert printed["segment"] == "champions"
    assert printed["attributes"] == {"recency_score": "whole number", "frequency_score": "whole number"}
    assert "and" in printed["targeting"]
    with pytest.raises(InexpressibleError, match="can't decide fraud_watch"):
        customers.segments(json_logic="fraud_watch")
