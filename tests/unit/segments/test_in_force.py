"""What a run evaluates: the catalog, but for breaking changes that nobody has approved."""

from pathlib import Path

import pytest

from segmentation.segments.candidate import build_candidate
from segmentation.segments.in_force import find_units
from segmentation.segments.live_catalog import read_live
from segmentation.segments.policy import Policy, Quota, given_way, join, load_policy
from segmentation.segments.publish import publish

from .conftest import Company
from .stage import accept, evaluated, held, run, write_policy


def test_the_first_publication_is_approved_as_it_is(tiers: Company) -> None:
    assert run(tiers).held == ()
    assert tiers.members("core") == {"c_b"}
    authors = tiers.rows("select distinct author, change_class from segments.versions")
    assert authors == [("svc:strata", "non_breaking")]


def test_what_is_live_is_brought_back_as_it_was(tiers: Company) -> None:
    published = run(tiers)
    live = read_live(tiers.con, tiers.folder, tiers.types)
    assert live.warnings == ()
    assert live.levels == published.levels
    assert {key: (one.definition_hash, one.membership_hash) for key, one in live.segments.items()} == {
        key: (one.definition_hash, one.membership_hash) for key, one in published.segments.items()
    }
    assert find_units(live, published) == ()


def test_a_breaking_change_waits_and_everything_else_goes_on(tiers: Company) -> None:
    run(tiers)
    tiers.write("vip", "mrr_micros >= 1000", group="tier", precedence=1, description="Fewer of them.")
    tiers.write("core", "mrr_micros > 0", group="tier", precedence=2, description="Those who pay.")
    tiers.write("anybody", "true")
    catalog = run(tiers, days=1)
    assert held(catalog) == {("group:tier", "vip")}
    assert tiers.members("vip") == {"c_a"}
    assert tiers.members("anybody") == {"c_a", "c_b", "c_c", "c_d"}
    assert tiers.rows("select segment_version from segments.catalog where segment_key = 'vip'") == [(1,)]
    described = "select definition ->> '$.description' from segments.catalog where segment_key = 'core'"
    assert tiers.rows(described) == [("Those who pay.",)]
    assert tiers.rows("select unit_key, subject, change_class from segments.held_changes") == [
        ("group:tier", "vip", "breaking")
    ]


def test_an_approved_change_goes_live_with_its_approver(tiers: Company) -> None:
    run(tiers)
    tiers.write("vip", "mrr_micros >= 1000", group="tier", precedence=1)
    accept(tiers)
    assert run(tiers, days=1).held == ()
    assert tiers.members("vip") == set()
    versions = (
        "select segment_version, author, change_class from segments.versions where segment_key = 'vip' order by 1"
    )
    assert tiers.rows(versions) == [(1, "svc:strata", "non_breaking"), (2, "ana", "breaking")]
    assert tiers.rows("select * from segments.held_changes") == []


def test_an_approval_is_of_one_step_and_not_of_the_way_back_or_of_another_edit(tiers: Company) -> None:
    run(tiers)
    tiers.write("vip", "mrr_micros >= 1000", group="tier", precedence=1)
    accept(tiers)
    tiers.write("vip", "mrr_micros >= 2000", group="tier", precedence=1)
    assert held(evaluated(tiers)) == {("group:tier", "vip")}
    tiers.write("vip", "mrr_micros >= 1000", group="tier", precedence=1, description="Other words change nothing.")
    run(tiers, days=1)
    tiers.write("vip", "mrr_micros >= 100", group="tier", precedence=1)
    assert held(evaluated(tiers)) == {("group:tier", "vip")}


def test_removing_a_segment_waits(tiers: Company) -> None:
    run(tiers)
    tiers.remove("reachable")
    catalog = run(tiers, days=1)
    assert held(catalog) == {("segment:reachable", "reachable")}
    assert tiers.members("reachable") == {"c_a", "c_c"}
    assert catalog.segments["reachable"].required_purposes == ("marketing.email",)


def test_who_withdraws_consent_leaves_a_kept_version_too(tiers: Company) -> None:
    run(tiers)
    tiers.remove("reachable")
    tiers.alter("c_a", consented_purposes=[])
    run(tiers, days=1)
    assert tiers.members("reachable") == {"c_c"}


def test_a_purpose_that_needs_consent_again_is_asked_for_at_once_and_one_that_does_not_waits(tiers: Company) -> None:
    def purposes(basis: str) -> None:
        text = f"purposes:\n  marketing.email: {{description: Mail., basis: {basis}}}\n"
        (tiers.folder / "purposes.yml").write_text(text, encoding="utf-8")

    purposes("legitimate_interest")
    run(tiers)
    assert tiers.members("reachable") == {"c_a", "c_b", "c_c"}
    purposes("consent")
    assert run(tiers, days=1).held == ()
    assert tiers.members("reachable") == {"c_a", "c_c"}
    purposes("legitimate_interest")
    assert held(run(tiers, days=2)) == {("segment:reachable", "reachable")}
    assert tiers.members("reachable") == {"c_a", "c_c"}


def test_a_segment_that_leans_on_what_waits_waits_with_it(tiers: Company) -> None:
    run(tiers)
    tiers.write("gold", "mrr_micros >= 400", group="tier", precedence=4)
    tiers.write("vip", "mrr_micros >= 1000", group="tier", precedence=1)
    tiers.write("free", "true", group="tier", precedence=5)
    tiers.write("gilded", "in_segment('gold')")
    tiers.write("anybody", "true")
    catalog = run(tiers, days=1)
    assert {subject for _, subject in held(catalog)} == {"gold", "vip", "free", "gilded"}
    assert tiers.members("anybody") == {"c_a", "c_b", "c_c", "c_d"}
    assert "gilded" not in catalog.segments


def test_a_segment_that_moves_between_groups_joins_them_to_one_unit(tiers: Company) -> None:
    perks = "  - {key: perks, name: Perks, description: More.}\n"
    text = (tiers.folder / "groups.yml").read_text(encoding="utf-8")
    tiers.write_groups(text + perks)
    tiers.write("lounge", "is_known", group="perks", precedence=1)
    run(tiers)
    tiers.write("core", "mrr_micros > 0", group="perks", precedence=2)
    tiers.write("lounge", "is_known and mrr_micros > 1", group="perks", precedence=1)
    assert held(evaluated(tiers)) == {("group:perks", "core"), ("group:perks", "lounge")}
    run(tiers, days=1)
    assert tiers.members("core") == {"c_b"}


def test_a_segment_that_grows_waits_where_one_that_it_shrinks_is_kept(tiers: Company) -> None:
    tiers.write("vip", "mrr_micros >= 100")
    tiers.write("mail", "not in_segment('vip')")
    tiers.write("anybody", "is_known")
    run(tiers)
    tiers.write("vip", "mrr_micros >= 5")
    tiers.write("anybody", "true")
    tiers.remove("mail")
    catalog = run(tiers, days=1)
    assert held(catalog) == {("segment:mail", "mail"), ("segment:vip", "vip")}
    assert tiers.members("mail") == {"c_b", "c_c", "c_d"}
    assert tiers.members("anybody") == {"c_a", "c_b", "c_c", "c_d"}
    (vip,) = [one for one in catalog.held if one.subject == "vip"]
    assert (vip.change_class, vip.reasons) == ("breaking", ("mail asks who is not in vip, so it can lose members",))
    accept(tiers)
    assert run(tiers, days=2).held == ()
    assert (tiers.members("vip"), tiers.members("mail")) == ({"c_a", "c_b"}, set())


def test_a_segment_that_grows_waits_where_the_group_within_its_own_is_kept_there(tiers: Company) -> None:
    perks = "  - {{key: perks, name: Perks, description: More.{parent}}}\n"
    text = (tiers.folder / "groups.yml").read_text(encoding="utf-8")
    for key in ("core", "free"):
        tiers.remove(key)
    text = text.replace(" default: free,", "")
    tiers.write_groups(text + perks.format(parent=", parent: tier"))
    tiers.write("lounge", "is_known", group="perks", precedence=1)
    tiers.write("bench", "not in_segment('lounge')")
    run(tiers)
    assert tiers.members("bench") == {"c_b", "c_c", "c_d"}
    tiers.write("vip", "mrr_micros >= 5", group="tier", precedence=1)
    tiers.write_groups(text + perks.format(parent=""))
    assert ("group:tier", "vip") in held(run(tiers, days=1))
    assert tiers.members("bench") == {"c_b", "c_c", "c_d"}


def test_a_policy_may_let_breaking_changes_through(tiers: Company) -> None:
    write_policy(tiers, "approvals: {breaking: false}\n")
    run(tiers)
    tiers.write("vip", "mrr_micros >= 1000", group="tier", precedence=1)
    assert run(tiers, days=1).held == ()
    assert tiers.members("vip") == set()


def test_a_policy_that_gives_way_waits_and_one_that_gets_stricter_does_not(tiers: Company) -> None:
    write_policy(tiers, "guards: {default: {max_exits: 100}, segments: {vip: {max_exits: 5}}}\n")
    run(tiers)
    write_policy(tiers, "guards: {default: {max_exits: 50}}\n")
    catalog = run(tiers, days=1)
    assert held(catalog) == {("policy", "policy")}
    assert "max_exits 5 → 50" in catalog.held[0].reasons[0]
    assert (catalog.segments["vip"].limits.max_exits, catalog.segments["core"].limits.max_exits) == (5, 50)
    accept(tiers)
    catalog = run(tiers, days=2)
    assert catalog.held == ()
    assert (catalog.segments["vip"].limits.max_exits, catalog.segments["core"].limits.max_exits) == (50, 50)


def test_switching_approvals_off_waits_itself(tiers: Company) -> None:
    run(tiers)
    write_policy(tiers, "approvals: {breaking: false}\n")
    tiers.write("vip", "mrr_micros >= 1000", group="tier", precedence=1)
    assert held(evaluated(tiers)) == {("policy", "policy"), ("group:tier", "vip")}


def test_deleting_a_block_of_a_definition_deletes_no_guard_of_the_policy(tiers: Company) -> None:
    write_policy(tiers, "guards: {segments: {reachable: {max_churn_ratio: 0.4, min_base: 1}}}\n")
    keys = {"consent": "{purposes: [marketing.email]}"}
    tiers.write("reachable", "is_known", guards="{max_churn_ratio: 0.9, min_base: 1}", **keys)
    run(tiers)
    tiers.write("reachable", "is_known and csat_mean > 3", **keys)
    accept(tiers)
    catalog = evaluated(tiers)
    assert catalog.held == ()
    build_candidate(tiers.con, tiers.next_run(1), catalog)
    judged = "select max_churn_ratio, are_guards_kept from segments.candidate_sizes where segment_key = 'reachable'"
    assert tiers.rows(judged) == [(0.4, False)]


@pytest.mark.parametrize("at", ["changes", "membership", "approvals", "versions", "publication"])
def test_a_kill_while_publishing_leaves_approvals_and_what_waits_as_they_were(tiers: Company, at: str) -> None:
    run(tiers)
    tiers.write("vip", "mrr_micros >= 1000", group="tier", precedence=1)
    accept(tiers)
    tiers.remove("reachable")
    moment = tiers.next_run(1)
    build_candidate(tiers.con, moment, evaluated(tiers))

    def stop(step: str) -> None:
        if step == at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        publish(tiers.con, moment, stop)
    assert tiers.members("vip") == {"c_a"}
    assert tiers.rows("select * from segments.held_changes") == []
    publish(tiers.con, moment)
    assert tiers.members("vip") == set()
    assert tiers.rows("select subject from segments.held_changes") == [("reachable",)]


def test_mistakes_in_the_policy_are_told_with_their_line(tiers: Company, tmp_path: Path) -> None:
    from segmentation.errors import CatalogProblems
    from segmentation.segments.policy import check_policy

    write_policy(tiers, "guards:\n  default: {max_exit: 5}\n")
    with pytest.raises(CatalogProblems, match="max_exit") as caught:
        load_policy(tiers.folder)
    assert caught.value.problems[0].line == 2
    write_policy(tiers, "guards:\n  segments:\n    vipp: {max_exits: 5}\n")
    (problem,) = check_policy(tiers.folder, load_policy(tiers.folder), tiers.catalog().segments)
    assert (problem.line, problem.severity) == (3, "warning")
    assert "did you mean vip" in problem.what


def test_a_larger_quota_waits_and_the_stricter_one_holds_meanwhile() -> None:
    few, many, none = (Policy(quota=Quota(live_segments=most)) for most in (10, 20, None))
    assert given_way(few, many) == given_way(few, none) == ["the quota of live segments is no longer 10"]
    assert given_way(many, few) == given_way(none, few) == given_way(few, few) == []
    assert [join(few, other).quota.live_segments for other in (many, none, few)] == [10, 10, 10]
    assert join(none, none).quota.live_segments is None
