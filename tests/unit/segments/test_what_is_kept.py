"""A change that waits stops nothing else: in the end everything stays live, and that is said."""

from pathlib import Path

import pytest

from segmentation.errors import CandidateError, CatalogProblems
from segmentation.segments.catalog_facts import read_catalog_facts
from segmentation.segments.explain import explain
from segmentation.segments.usages import Usage

from .conftest import TIERS, Company
from .stage import accept, evaluated, held, run, write_policy

POOL = [Usage("reachable", "a cost pool", "catalog/cost_pools.yml:7")]


def test_a_draft_that_takes_the_rank_of_a_segment_that_waits_waits_with_it(tiers: Company) -> None:
    tiers.write("free", "true", group="tier", precedence=9)
    tiers.write("next", "mrr_micros > 50", group="tier", precedence=4, lifecycle="draft")
    run(tiers)
    tiers.write("vip", "mrr_micros >= 100", group="tier", precedence=4)
    tiers.write("next", "mrr_micros > 50", group="tier", precedence=1, lifecycle="draft")
    tiers.write("core", "mrr_micros > 0", group="tier", precedence=2, description="Told anew.")
    tiers.write("anybody", "true")
    tiers.alter("c_b", mrr_micros=700)
    catalog = run(tiers, days=1)
    assert held(catalog) >= {("group:tier", "vip"), ("group:tier", "next")}
    assert {subject for _, subject in held(catalog)} <= {"vip", "next", "core"}
    ranks = dict(tiers.rows("select segment_key, precedence from segments.catalog where group_key is not null"))
    assert ranks == {"vip": 1, "core": 2, "free": 9, "next": 4}
    # The rest goes on: data moves, and what has nothing to do with it is new.
    assert tiers.members("vip") == {"c_a", "c_b"}
    assert tiers.members("anybody") == {"c_a", "c_b", "c_c", "c_d"}
    accept(tiers)
    assert run(tiers, days=2).held == ()


@pytest.mark.parametrize("damage", ["removed", "renamed", "unreadable"])
def test_the_list_of_a_kept_version_counts_as_it_was_published(tiers: Company, damage: str) -> None:
    tiers.write_list("guests.csv", "customer_id,reason,until\nc_d,invited,\nc_c,invited,2026-11-03\nc_x,gone,\n")
    tiers.write_list("banned.csv", "customer_id,reason\nc_a,asked\n")
    lists = {
        "include": "[{file: lists/guests.csv, reason: x}]",
        "exclude": "[{file: lists/banned.csv, reason: x}]",
    }
    tiers.write("lounge", "mrr_micros > 0", kind="hybrid", **lists)
    run(tiers)
    assert tiers.members("lounge") == {"c_b", "c_c", "c_d"}
    tiers.write("lounge", "mrr_micros > 1000", kind="rule")
    for name in ("guests.csv", "banned.csv"):
        path: Path = tiers.folder / "lists" / name
        if damage == "renamed":
            path.rename(path.with_name(f"new_{name}"))
        elif damage == "removed":
            path.unlink()
        else:
            path.write_text("nonsense\n", encoding="utf-8")
    if damage == "renamed":
        new = {side: text.replace("lists/", "lists/new_") for side, text in lists.items()}
        tiers.write("lounge", "mrr_micros > 1000", kind="hybrid", **new)
    catalog = run(tiers, days=1)
    assert tiers.members("lounge") == {"c_b", "c_c", "c_d"}
    (lounge,) = [one for one in catalog.held if one.subject == "lounge"]
    assert any("lists/guests.csv can't be read any more: 3 entries count" in reason for reason in lounge.reasons)
    # Its own last day still counts, and so does the next run.
    run(tiers, days=2)
    assert tiers.members("lounge") == {"c_b", "c_d"}
    assert [row[:2] for row in tiers.changes()][-1] == ("c_c", "lounge")


def test_a_group_and_a_purpose_that_are_gone_are_kept_for_what_waits(tiers: Company) -> None:
    purposes = tiers.folder / "purposes.yml"
    purposes.write_text("purposes:\n  marketing.email: {description: Mail., basis: consent}\n", encoding="utf-8")
    perks = "  - {key: perks, name: Perks, description: More., parent: tier}\n"
    tiers.write_groups(TIERS + perks)
    tiers.write("lounge", "is_known", group="perks", precedence=1)
    run(tiers)
    tiers.write_groups(TIERS)
    tiers.write("lounge", "is_known and mrr_micros > 1000")
    tiers.write("reachable", "is_known and mrr_micros > 1000")
    purposes.write_text("purposes:\n  service: {description: Service., basis: contract}\n", encoding="utf-8")
    tiers.alter("c_c", consented_purposes=[])
    catalog = run(tiers, days=1)
    assert {"lounge", "reachable"} <= {subject for _, subject in held(catalog)}
    assert tiers.members("lounge") == {"c_a", "c_b", "c_c"}
    assert tiers.members("reachable") == {"c_a"}
    assert tiers.rows("select parent_key from segments.groups where group_key = 'perks'") == [("tier",)]


def test_two_groups_that_swap_the_costs_wait_as_one(tiers: Company) -> None:
    run(tiers)
    tiers.write_groups(
        TIERS.replace(", costing: true", "") + "  - {key: other, name: Other, description: x., costing: true}\n"
    )
    tiers.write("vip", "mrr_micros >= 5", group="tier", precedence=1)
    accept(tiers, "plan-of-one")
    tiers.con.execute("delete from segments.approvals where unit_key <> 'group:other'")
    tiers.write("anybody", "true")
    catalog = run(tiers, days=1)
    assert {"tier", "other", "vip"} <= {subject for _, subject in held(catalog)}
    assert tiers.rows("select group_key from segments.groups where is_costing") == [("tier",)]
    assert tiers.members("vip") == {"c_a"}


@pytest.mark.parametrize("how", ["removed", "retired"])
def test_a_segment_that_something_uses_stays_whoever_approved_that_it_goes(tiers: Company, how: str) -> None:
    run(tiers)
    if how == "removed":
        tiers.remove("reachable")
    else:
        tiers.write("reachable", "is_known", consent="{purposes: [marketing.email]}", lifecycle="retired")
    tiers.write("anybody", "true")
    accept(tiers)
    catalog = evaluated(tiers, usages=POOL)
    assert held(catalog) == {("segment:reachable", "reachable")}
    told = f"reachable is {how}, but it is used in 1 place: a cost pool (catalog/cost_pools.yml:7)"
    assert catalog.held[0].reasons[0] == told
    run(tiers, days=1, usages=POOL)
    assert tiers.members("reachable") == {"c_a", "c_c"}
    assert tiers.members("anybody") == {"c_a", "c_b", "c_c", "c_d"}
    assert run(tiers, days=2).held == ()
    assert tiers.members("reachable") == set()


def test_a_segment_that_a_guard_of_the_policy_names_stays(tiers: Company) -> None:
    write_policy(tiers, "guards: {segments: {reachable: {max_exits: 5}}}\n")
    run(tiers)
    tiers.remove("reachable")
    accept(tiers)
    assert "a guard of the policy (catalog/policy.yml:1)" in evaluated(tiers).held[0].reasons[0]


def test_what_retired_long_ago_holds_nothing_back(tiers: Company) -> None:
    tiers.write("reachable", "is_known", lifecycle="retired")
    run(tiers)
    tiers.write("reachable", "is_known", lifecycle="retired", destinations="[mail]")
    assert evaluated(tiers, usages=POOL).held == ()


def test_more_segments_than_the_quota_are_not_published(tiers: Company) -> None:
    write_policy(tiers, "quota: {live_segments: 5}\n")
    run(tiers)
    tiers.write("one", "mrr_micros > 1")
    assert run(tiers, days=1).held == ()
    tiers.write("two", "mrr_micros > 2")
    tiers.write("three", "mrr_micros > 3", lifecycle="draft")
    tiers.write("vip", "mrr_micros >= 50", group="tier", precedence=1, description="More of them.")
    accept(tiers)
    catalog = run(tiers, days=2)
    assert held(catalog) == {("segment:two", "two")}
    assert catalog.held[0].reasons[0] == "6 segments are live, and the quota is 5"
    assert tiers.members("two") == set()
    assert tiers.members("one") == {"c_a", "c_b"}
    write_policy(tiers, "quota: {live_segments: 6}\n")
    # The larger quota waits itself.
    assert held(evaluated(tiers)) == {("policy", "policy"), ("segment:two", "two")}
    accept(tiers)
    assert run(tiers, days=3).held == ()
    assert tiers.members("two") == {"c_a", "c_b"}


def test_a_first_catalog_over_the_quota_is_refused(tiers: Company) -> None:
    write_policy(tiers, "quota: {live_segments: 3}\n")
    with pytest.raises(CatalogProblems, match="4 segments are live, and the quota is 3"):
        evaluated(tiers)


def drop(company: Company, feature: str) -> None:
    """Take a feature out of the contract and of the features."""
    del company.types[feature]
    company.con.execute(f"alter table features.customer_features drop column {feature}")


def test_a_kept_version_whose_feature_is_gone_keeps_its_members(tiers: Company) -> None:
    consent = "{purposes: [marketing.email]}"
    tiers.write_list("banned.csv", "customer_id,reason\n")
    tiers.write("loyal", "csat_mean > 3", consent=consent, exclude="[{file: lists/banned.csv, reason: x}]")
    tiers.write("happy", "csat_mean > 3 and not in_segment('vip')")
    tiers.write("mail", "not in_segment('loyal')")
    for customer in ("c_a", "c_b", "c_c"):
        tiers.alter(customer, csat_mean=5.0, consented_purposes=["marketing.email"])
    run(tiers)
    assert tiers.members("loyal") == {"c_a", "c_b", "c_c"}
    version = tiers.rows("select segment_version, definition, definition_hash from segments.catalog order by all")

    drop(tiers, "csat_mean")
    tiers.write("loyal", "orders_90d > 3", consent=consent, exclude="[{file: lists/banned.csv, reason: x}]")
    tiers.write("happy", "orders_90d > 4")
    tiers.write("anybody", "true")
    # Who withdraws consent, and who is excluded, leaves all the same.
    tiers.alter("c_a", consented_purposes=[])
    tiers.write_list("banned.csv", "customer_id,reason\nc_b,asked\n")
    catalog = run(tiers, days=1)
    assert {subject for _, subject in held(catalog)} == {"loyal", "happy"}
    (loyal,) = [one for one in catalog.held if one.subject == "loyal"]
    assert any("csat_mean" in one and one.endswith("stay as they were published") for one in loyal.reasons)
    assert tiers.members("loyal") == {"c_c"}
    assert tiers.members("happy") == {"c_b", "c_c"}
    assert tiers.members("mail") == {"c_a", "c_b", "c_d"}
    assert tiers.members("anybody") == {"c_a", "c_b", "c_c", "c_d"}
    left = {row[:1] + row[2:] for row in tiers.changes() if row[1] == "loyal" and row[2] == "exit"}
    assert left == {("c_a", "exit", "consent"), ("c_b", "exit", "override")}
    kept = "select segment_version, definition, definition_hash from segments.catalog where segment_key <> 'anybody'"
    assert tiers.rows(f"{kept} order by all") == version
    told = explain(tiers.con, "c_c", "loyal").segments[0]
    assert (told.reason, told.rule) == ("kept", "csat_mean > 3.0")
    assert explain(tiers.con, "c_d", "loyal").segments[0].reason in {"kept", "consent"}
    assert "csat_mean > 3.0" in str(read_catalog_facts(tiers.con))

    # Once let go, who has left does not come back by itself; the new version decides.
    run(tiers, days=2)
    assert tiers.members("loyal") == {"c_c"}
    accept(tiers)
    assert run(tiers, days=3).held == ()
    assert tiers.members("loyal") == set()


def test_an_account_segment_whose_feature_is_gone_stops_the_stage(tiers: Company) -> None:
    run(tiers)
    tiers.con.execute(
        "update segments.catalog set definition = json_merge_patch(definition, "
        '\'{"entity": "account", "rule": "seats > 3"}\') where segment_key = \'reachable\''
    )
    tiers.write("reachable", "is_known and mrr_micros > 5", consent="{purposes: [marketing.email]}")
    with pytest.raises(CandidateError, match=r"can't be kept beside the changed catalog: .*seats"):
        evaluated(tiers)
    assert tiers.members("reachable") == {"c_a", "c_c"}
