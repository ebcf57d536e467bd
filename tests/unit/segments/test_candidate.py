from datetime import datetime

import pytest

from segmentation.errors import CandidateError
from segmentation.run import Run
from segmentation.segments.candidate import build_candidate

PARENTS = """
groups:
  - {key: tier, name: Tier, description: Service., costing: true}
  - {key: perk, name: Perk, description: Extras., parent: tier}
"""


def candidate(company, table: str = "membership") -> set[tuple[str, str]]:
    return set(company.rows(f"select customer_id, segment_key from segments.candidate_{table}"))


def test_everyone_is_in_one_tier_and_losing_claims_are_conflicts(tiers) -> None:
    run, report = tiers.build()
    assert set(tiers.rows("select * from segments.candidate_effective")) == {
        ("c_a", "tier", "vip"),
        ("c_b", "tier", "core"),
        ("c_c", "tier", "free"),
        ("c_d", "tier", "free"),
    }
    # The default segment loses against all others by design: that is no conflict.
    assert tiers.rows("select * from segments.candidate_conflicts") == [("c_a", "tier", "vip", "core", "precedence")]
    assert set(tiers.rows("select segment_key, via from segments.candidate where customer_id = 'c_a'")) == {
        ("vip", "rule"),
        ("core", "rule"),
        ("free", "rule"),
        ("reachable", "rule"),
    }
    assert report.rows["members"] == 6
    assert report.rows["conflicts"] == 1
    assert run.run_id == tiers.rows("select run_id from segments.candidate_summary")[0][0]


def test_missing_consent_keeps_out_whatever_else_holds(tiers) -> None:
    tiers.write(
        "reachable",
        "true",
        kind="hybrid",
        consent="{purposes: [marketing.email]}",
        include="[{customer: c_b, reason: asked}, {customer: c_d, reason: asked}]",
    )
    tiers.build()
    assert {customer for customer, key in candidate(tiers) if key == "reachable"} == {"c_a", "c_c"}


def test_residency_keeps_out_and_unknown_regions_are_out(tiers) -> None:
    tiers.alter("c_a", residency_region="eu")
    tiers.alter("c_b", residency_region="us")
    tiers.write("local", "true", residency="[eu, uk]")
    tiers.build()
    assert {customer for customer, key in candidate(tiers) if key == "local"} == {"c_a"}


def test_lists_include_and_exclude_and_exclusion_is_stronger(tiers) -> None:
    tiers.fill("identity.customer_aliases", old_customer_id="c_old", customer_id="c_c")
    lookup = {"id_type": "email", "id_namespace": ""}
    tiers.fill("identity.identifier_lookup", raw_value="B@x.example", customer_id="c_b", **lookup)
    tiers.fill("identity.identifiers", node_id=7, id_value="d@x.example", status="active", **lookup)
    tiers.fill("identity.identifier_map", node_id=7, customer_id="c_d")
    tiers.write_list(
        "friends.csv",
        "id_type,id_value,customer_id,reason,until\n"
        "email, B@x.example,,friend,\n"
        "email,D@x.example ,,friend,2027-01-01\n"
        ",,c_old,friend,\n"
        "email,nobody@x.example,,friend,\n"
        ",,c_a,friend,2026-11-01\n",
    )
    tiers.write(
        "care",
        None,
        kind="list",
        include="[{file: lists/friends.csv}]",
        exclude="[{customer: c_d, reason: opted out}]",
    )
    _, report = tiers.build()
    assert {customer for customer, key in candidate(tiers) if key == "care"} == {"c_b", "c_c"}
    statuses = dict(tiers.rows("select listed_in, status from segments.candidate_overrides where side = 'include'"))
    assert statuses["catalog/lists/friends.csv:2"] == "applied"
    assert statuses["catalog/lists/friends.csv:3"] == "applied"
    assert statuses["catalog/lists/friends.csv:4"] == "applied"
    assert statuses["catalog/lists/friends.csv:5"] == "unknown"
    assert statuses["catalog/lists/friends.csv:6"] == "expired"
    assert report.rows["overrides_unknown"] == 1


def test_an_included_customer_takes_part_in_the_group(tiers) -> None:
    tiers.write(
        "vip", "mrr_micros >= 100", kind="hybrid", include="[{customer: c_c, reason: x}]", group="tier", precedence=1
    )
    tiers.build()
    assert ("c_c", "vip") in candidate(tiers)
    assert ("c_c", "free") not in candidate(tiers)
    assert tiers.rows(
        "select via from segments.candidate_membership where segment_key = 'vip' order by customer_id"
    ) == [("rule",), ("include",)]


def test_segments_use_segments_after_winners_are_known(tiers) -> None:
    tiers.write("care", "in_segment('core') or in_segment('reachable') and not in_segment('vip')")
    tiers.build()
    # c_a claims core as well, but is in vip.
    assert {customer for customer, key in candidate(tiers) if key == "care"} == {"c_b", "c_c"}


def test_a_group_within_a_group_takes_only_who_is_in_the_parent(company) -> None:
    company.write_groups(PARENTS)
    company.write("vip", "mrr_micros > 0", group="tier", precedence=1)
    company.write("lounge", "true", group="perk", precedence=1)
    company.features({"customer_id": "c_a", "mrr_micros": 1}, {"customer_id": "c_b"})
    company.build()
    assert candidate(company) == {("c_a", "vip"), ("c_a", "lounge")}
    assert set(company.rows("select customer_id, group_key from segments.candidate_effective")) == {
        ("c_a", "tier"),
        ("c_a", "perk"),
    }


@pytest.mark.parametrize("lifecycle", ["draft", "retired"])
def test_what_is_not_live_has_no_members(tiers, lifecycle: str) -> None:
    tiers.write("reachable", "true", lifecycle=lifecycle)
    tiers.write("old", "true", lifecycle="deprecated")
    tiers.write("gone", "true", expires_on="2026-11-01")
    tiers.build()
    keys = {key for _, key in candidate(tiers)}
    assert "old" in keys
    assert not {"reachable", "gone"} & keys
    states = dict(tiers.rows("select segment_key, is_evaluated from segments.candidate_catalog"))
    assert (states["old"], states["reachable"], states["gone"]) == (True, False, False)


def test_an_empty_catalog_and_an_empty_population_are_no_error(company) -> None:
    company.features()
    _, report = company.build()
    assert report.rows["members"] == 0
    company.write("vip")
    _, report = company.build()
    assert (report.rows["population"], report.rows["members"]) == (0, 0)


def test_features_must_be_there_whole_unique_and_of_the_run(company, run) -> None:
    company.write("vip", "orders_90d > 1", consent="{purposes: [marketing]}", residency="[eu]")
    catalog = company.catalog()
    with pytest.raises(CandidateError, match="no features"):
        build_candidate(company.con, run, catalog)
    company.features({"customer_id": "c_a"}, {"customer_id": "c_a"})
    with pytest.raises(CandidateError, match="there already"):
        build_candidate(company.con, run, catalog)
    company.features({"customer_id": "c_a"}, as_of=datetime(2026, 10, 1))
    with pytest.raises(CandidateError, match="the features describe 2026-10-01"):
        build_candidate(company.con, run, catalog)
    for name in ("orders_90d", "consented_purposes", "residency_region"):
        company.features({"customer_id": "c_a"})
        company.con.execute(f"alter table features.customer_features drop column {name}")
        with pytest.raises(CandidateError, match=f"the features lack {name}, which segment vip needs") as error:
            build_candidate(company.con, run, catalog)
        assert error.value.where == "catalog/segments/vip.yml:12"


def test_a_run_can_not_go_back_in_time(tiers) -> None:
    tiers.decide(days=3)
    with pytest.raises(CandidateError, match="has been published already"):
        tiers.build(days=2)
    tiers.decide(days=3)


def test_building_changes_nothing_that_is_published(tiers) -> None:
    tiers.decide()
    before = [tiers.rows(f"select * from segments.{table} order by all") for table in ("membership", "effective")]
    tiers.alter("c_a", mrr_micros=0)
    tiers.build()
    after = [tiers.rows(f"select * from segments.{table} order by all") for table in ("membership", "effective")]
    assert before == after
    assert tiers.rows("select entering, leaving from segments.candidate_summary") == [(1, 1)]


def test_the_same_input_gives_the_same_candidate(tiers) -> None:
    def content() -> list:
        return [
            tiers.rows(f"select * from segments.candidate{table} order by all")
            for table in ("", "_membership", "_effective", "_conflicts", "_catalog", "_changes", "_sizes", "_overrides")
        ]

    tiers.build()
    first = content()
    catalog = tiers.catalog()
    build_candidate(tiers.con, Run("other", datetime(2026, 11, 1), datetime(2027, 1, 1)), catalog)
    assert content() == first


@pytest.mark.parametrize(
    ("guards", "broken"),
    [
        ("{min_size: 3}", "is_min_size_kept"),
        ("{max_size: 1}", "is_max_size_kept"),
        ("{max_share: 0.3}", "is_max_share_kept"),
        ("{max_churn_ratio: 0.2, min_base: 1}", "is_max_churn_kept"),
        ("{max_exits: 0}", "is_max_exits_kept"),
        ("{max_churn_ratio: 0.2}", None),
        ("{min_size: 1, max_size: 4, max_share: 1, max_churn_ratio: 1, max_exits: 4, min_base: 0}", None),
    ],
)
def test_guards_say_what_is_unusual(tiers, guards: str, broken: str | None) -> None:
    tiers.write("known", "is_known", guards=guards)
    tiers.decide()
    tiers.alter("c_a", is_known=False)
    _, report = tiers.build()
    (row,) = tiers.rows(
        "select members_before, members_after, entering, leaving, churn_ratio, share, are_guards_kept, "
        f"{broken or 'true'} from segments.candidate_sizes where segment_key = 'known'"
    )
    assert row[:4] == (3, 2, 0, 1)
    assert row[4:6] == (pytest.approx(1 / 3), pytest.approx(0.5))
    assert row[6] is (broken is None)
    assert row[7] is (broken is None)
    assert report.facts["guards_broken"] == ([] if broken is None else ["known"])


def test_withdrawn_consent_is_no_churn_for_a_guard(tiers) -> None:
    tiers.write("reachable", "is_known", consent="{purposes: [marketing.email]}", guards="{max_exits: 0}")
    tiers.decide()
    tiers.alter("c_a", consented_purposes=[])
    _, report = tiers.build()
    assert tiers.rows("select leaving, churning from segments.candidate_sizes where segment_key = 'reachable'") == [
        (1, 0)
    ]
    assert report.facts["guards_broken"] == []
