"""Segments in several exclusive groups: who wins is the one outcome that ranks and claims allow."""

from functools import cache
from itertools import permutations
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from segmentation.errors import CandidateError, CatalogProblem
from segmentation.segments.backfill_scope import find_parts
from segmentation.segments.candidate import build_candidate
from segmentation.segments.catalog import load_catalog, validate_catalog
from segmentation.segments.change_classes import compare_catalogs
from segmentation.segments.explain import SegmentExplanation, explain
from segmentation.segments.in_force import find_units
from segmentation.segments.queries import list_segments
from segmentation.segments.rivalry import find_cycles, rounds_of
from segmentation.segments.rule_checks import check_rules

from .conftest import TIERS
from .shop import section
from .test_edge_targeting import members_at_the_edge

GROUPS = """
groups:
  - {key: tier, name: Tier, description: Service., costing: true}
  - {key: offer, name: Offer, description: What is shown., parent: PARENT}
  - {key: perk, name: Perk, description: Extras.}
  - {key: base, name: Base, description: Whom the offers are for.}
"""
SHARED = ("tier", "offer", "perk")
KEYS = tuple("abcdefg")


def write_groups(company, parent: str | None = None) -> None:
    company.write_groups(GROUPS.replace("parent: PARENT", f"parent: {parent or 'null'}"))


def inline(ranks: dict[str, int]) -> str:
    return "{" + ", ".join(f"{group}: {rank}" for group, rank in ranks.items()) + "}"


def write(company, key: str, rule: str, ranks: dict[str, int], **keys: Any) -> None:
    company.write(key, rule, **({"groups": inline(ranks)} if ranks else {}), **keys)


def kernel(claims: set[str], ranks: dict[str, dict[str, int]], pinned: set[str], is_barred=lambda _key: False) -> set:
    """Members by the definition alone: claimed, let in, and nobody who beats it is a member."""

    def beats(one: str, other: str) -> bool:
        return any(
            (one not in pinned, ranks[one][group], one) < (other not in pinned, ranks[other][group], other)
            for group in ranks[one].keys() & ranks[other].keys()
        )

    @cache
    def is_member(key: str) -> bool:
        return (
            key in claims
            and not is_barred(key)
            and not any(is_member(other) for other in ranks if other != key and beats(other, key))
        )

    return {key for key in ranks if is_member(key)}


@st.composite
def catalogs(draw) -> dict[str, dict[str, int]]:
    """Ranks that agree on one order of the segments, so that they have no cycle, or ranks as they come."""
    order = draw(st.permutations(KEYS))
    chosen = {key: draw(st.sets(st.sampled_from(SHARED), max_size=3)) for key in order}
    if draw(st.booleans()):
        step = draw(st.integers(1, 3))
        return {key: dict.fromkeys(sorted(chosen[key]), step * number + 1) for number, key in enumerate(order)}
    ranks: dict[str, dict[str, int]] = {key: {} for key in order}
    for group in SHARED:
        there = [key for key in order if group in chosen[key]]
        for key, rank in zip(there, draw(st.permutations(range(1, len(there) + 1))), strict=True):
            ranks[key][group] = rank
    return ranks


def decide_at_random(company, ranks, data) -> None:
    """Members are those of the definition, at most one in every group, and every loser has its winners logged."""
    assume(not list(find_cycles(ranks)))
    company.con.execute("drop schema if exists segments cascade")
    company.con.execute("delete from ops.candidates" if company.runs else "select 1")
    for path in (company.folder / "segments").glob("*.yml"):
        path.unlink()
    parent = data.draw(st.sampled_from([None, "base"]), label="parent of offer")
    write_groups(company, parent)
    company.types |= dict.fromkeys(("is_based", *(f"claims_{key}" for key in KEYS)), "boolean")
    # More segments than a machine word has places, so that rivals are in different words.
    padding = data.draw(st.sampled_from([0, 61, 64]), label="padding")
    for number in range(padding):
        company.write(f"c{number:02}", "false")
    write(company, "foundation", "is_based", {"base": 1})
    for key in KEYS:
        write(company, key, f"claims_{key}", ranks[key])
    people = data.draw(
        st.lists(st.tuples(st.sets(st.sampled_from(KEYS)), st.booleans()), min_size=1, max_size=6), label="people"
    )
    # Everybody claims at once: the hardest case is always there.
    people.append((set(KEYS), True))
    company.features(
        *(
            {
                "customer_id": f"c_{number}",
                "is_based": is_based,
                **{f"claims_{key}": key in claims for key in KEYS},
            }
            for number, (claims, is_based) in enumerate(people)
        )
    )
    pinned = data.draw(st.sets(st.sampled_from(KEYS), max_size=2), label="pinned")
    held = data.draw(st.sets(st.integers(0, len(people) - 1)), label="whom the pins hold")
    company.decide()
    for key in sorted(pinned):
        company.fill("segments.pins", pin_id=f"pin-{key}", segment_key=key, kind="freeze")
        for number in held:
            company.fill("segments.pin_members", pin_id=f"pin-{key}", customer_id=f"c_{number}")
    company.decide(days=1)
    lost = []
    for number, (claims, is_based) in enumerate(people):
        claimed = (claims - pinned) | (pinned if number in held else set())
        expected = kernel(
            claimed, ranks, pinned, lambda key, lacks=parent and not is_based: lacks and "offer" in ranks[key]
        )
        found = {
            key
            for (key,) in company.rows(
                "select segment_key from segments.membership where customer_id = ?", f"c_{number}"
            )
        }
        assert found - {"foundation"} == expected
        for group in SHARED:
            assert len([key for key in found if group in ranks.get(key, {})]) <= 1
        lost += [
            (f"c_{number}", group, winner, loser)
            for loser in claimed - expected
            for winner in expected
            for group in ranks[loser].keys() & ranks[winner].keys()
            if (winner not in pinned, ranks[winner][group]) < (loser not in pinned, ranks[loser][group])
        ]
    assert sorted(lost) == sorted(
        company.rows("select customer_id, group_key, winner_key, loser_key from segments.conflicts")
    )
    company.check_consistency()


@given(ranks=catalogs(), data=st.data())
@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
def test_whatever_is_claimed_the_statement_finds_the_kernel(company, ranks, data) -> None:
    decide_at_random(company, ranks, data)


@pytest.mark.slow
@given(ranks=catalogs(), data=st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_whatever_is_claimed_the_statement_finds_the_kernel_many_times_over(company, ranks, data) -> None:
    decide_at_random(company, ranks, data)


@given(ranks=catalogs())
@settings(max_examples=100, deadline=None)
def test_ranks_are_refused_exactly_where_they_go_in_a_circle(ranks) -> None:
    """Rounds put whoever beats another before it; where that can't be, a shortest circle is told."""
    cycles = list(find_cycles(ranks))
    if cycles:
        with pytest.raises(CandidateError, match="win over each other in a circle"):
            rounds_of(ranks)
        for cycle in cycles:
            for (winner, group), (loser, _) in zip(cycle, [*cycle[1:], cycle[0]], strict=True):
                assert (ranks[winner][group], winner) < (ranks[loser][group], loser)
        return
    place = {key: number for number, keys in enumerate(rounds_of(ranks)) for key in keys}
    assert place.keys() == {key for key, groups in ranks.items() if groups}
    for (winner, before), (loser, after) in permutations(place.items(), 2):
        for group in ranks[winner].keys() & ranks[loser].keys():
            if ranks[winner][group] < ranks[loser][group]:
                are_alone = len(ranks[winner]) == len(ranks[loser]) == 1
                assert before <= after if are_alone else before < after


TWO_GROUPS = TIERS + "  - {key: offer, name: Offer, description: What is shown.}\n"


@pytest.fixture
def bundles(company):
    """Tiers and offers; a bundle is a tier and an offer in one."""
    company.write_groups(TWO_GROUPS)
    company.write("vip", "mrr_micros >= 100", group="tier", precedence=1)
    company.write("bundle", "orders_90d >= 1", groups="{tier: 2, offer: 1}")
    company.write("core", "mrr_micros > 0", group="tier", precedence=3)
    company.write("free", "true", group="tier", precedence=9)
    company.write("discount", "is_known", group="offer", precedence=2, consent="{purposes: [marketing.email]}")
    asked = {"is_known": True, "consented_purposes": ["marketing.email"]}
    company.features(
        {"customer_id": "c_a", "mrr_micros": 500, "orders_90d": 1, **asked},
        {"customer_id": "c_b", "mrr_micros": 5, "orders_90d": 1, **asked},
        {"customer_id": "c_c", "mrr_micros": 5, "orders_90d": 0, **asked},
        {"customer_id": "c_d", "mrr_micros": 0},
    )
    return company


def problems(company) -> list[CatalogProblem]:
    return [one for one in validate_catalog(company.folder, company.types) if one.severity == "error"]


def test_who_loses_in_one_group_blocks_nobody_in_another(bundles) -> None:
    bundles.decide()
    assert set(bundles.rows("select * from segments.effective")) == {
        ("c_a", "tier", "vip"),
        ("c_a", "offer", "discount"),
        ("c_b", "tier", "bundle"),
        ("c_b", "offer", "bundle"),
        ("c_c", "tier", "core"),
        ("c_c", "offer", "discount"),
        ("c_d", "tier", "free"),
    }
    # Every rival that beat a loser is told, group by group; discount, a member beside bundle, has not beaten it.
    conflicts = "select customer_id, group_key, winner_key, loser_key, decided_by from segments.conflicts order by all"
    assert bundles.rows(conflicts) == [
        ("c_a", "tier", "vip", "bundle", "precedence"),
        ("c_a", "tier", "vip", "core", "precedence"),
        ("c_b", "offer", "bundle", "discount", "precedence"),
        ("c_b", "tier", "bundle", "core", "precedence"),
    ]
    bundles.check_consistency()
    assert {one.segment_key: one.groups for one in list_segments(bundles.con)} == {
        "bundle": {"offer": 1, "tier": 2},
        "discount": {"offer": 2},
        "vip": {"tier": 1},
        "core": {"tier": 3},
        "free": {"tier": 9},
    }


def test_a_quiet_run_writes_no_conflict_anew_and_a_changed_rank_does(bundles) -> None:
    first = bundles.decide()
    bundles.decide(days=1)
    assert bundles.rows("select distinct run_id from segments.conflicts") == [(first.run_id,)]
    bundles.write("bundle", "orders_90d >= 1", groups="{tier: 4, offer: 1}")
    bundles.decide(days=2)
    assert bundles.rows("select winner_key from segments.conflicts where loser_key = 'bundle' order by 1") == [
        ("core",),
        ("vip",),
    ]
    bundles.check_consistency()


def test_an_explanation_names_the_group_that_decides(bundles) -> None:
    bundles.decide()

    def told(customer: str, key: str) -> SegmentExplanation:
        (found,) = explain(bundles.con, customer, key).segments
        return found

    lost = told("c_a", "bundle")
    assert lost.sentence == "is not a member because vip ranks higher in the exclusive group tier"
    assert lost.group == {"group_key": "tier", "precedence": 2, "winner": "vip"}
    assert lost.as_dict()["groups"] == [
        {"group_key": "offer", "precedence": 1, "winner": "discount"},
        {"group_key": "tier", "precedence": 2, "winner": "vip"},
    ]
    assert told("c_b", "discount").sentence == (
        "is not a member because bundle ranks higher in the exclusive group offer"
    )
    assert [one["winner"] for one in told("c_b", "bundle").groups] == ["bundle", "bundle"]
    assert told("c_b", "bundle").is_member


def test_an_event_goes_on_from_group_to_group_and_no_further(bundles) -> None:
    bundles.decide()
    # c_a leaves vip for the bundle, which ends the discount: one event, by the rule. c_c moves up by data, and ends the
    # discount by taking consent back: two events, though tiers and offers hang together.
    bundles.write("vip", "mrr_micros >= 900", group="tier", precedence=1)
    bundles.alter("c_c", mrr_micros=1000, consented_purposes=[])
    run = bundles.decide(days=1)
    assert set(
        bundles.rows(
            "select customer_id, segment_key, change, cause from segments.membership_changes where run_id = ?",
            run.run_id,
        )
    ) == {
        ("c_a", "vip", "exit", "rule"),
        ("c_a", "bundle", "enter", "rule"),
        ("c_a", "discount", "exit", "rule"),
        ("c_c", "core", "exit", "rule"),
        ("c_c", "vip", "enter", "rule"),
        ("c_c", "discount", "exit", "consent"),
    }
    bundles.check_consistency()


def test_a_segment_joins_and_leaves_groups_with_its_members(bundles) -> None:
    bundles.decide()
    bundles.write("bundle", "orders_90d >= 1", group="offer", precedence=1)
    bundles.decide(days=1)
    bundles.check_consistency()
    assert bundles.members("core") == {"c_b", "c_c"}
    assert bundles.members("bundle") == {"c_a", "c_b"}
    bundles.write("bundle", "orders_90d >= 1", groups="{offer: 1, tier: 2}")
    bundles.decide(days=2)
    bundles.check_consistency()
    assert bundles.members("bundle") == {"c_b"}
    bundles.remove("bundle")
    bundles.decide(days=3)
    bundles.check_consistency()
    assert bundles.members("discount") == {"c_a", "c_b", "c_c"}


def test_an_edge_decides_as_a_run_does(bundles) -> None:
    bundles.decide()
    for key in ("vip", "bundle", "core", "free", "discount"):
        assert members_at_the_edge(bundles, key) == bundles.members(key), key


class Listening:
    """A connection that keeps what is said to it."""

    def __init__(self, con) -> None:
        self.con = con
        self.said: list[str] = []

    def execute(self, sql: str, *values: Any) -> Any:
        self.said.append(sql)
        return self.con.execute(sql, *values)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.con, name)


def statements(company) -> dict[str, str]:
    """Return what decides, by what it makes."""
    listening = Listening(company.con)
    build_candidate(listening, company.next_run(), company.catalog())
    return {
        name: sql
        for name in (
            "create table segments.candidate_masks as",
            "table segments.candidate_moves as",
            "view segments.candidate_conflicts",
        )
        for sql in listening.said
        if name in sql
    }


def test_only_groups_that_share_a_segment_pay_for_it(bundles) -> None:
    bundles.write("bundle", "orders_90d >= 1", group="tier", precedence=2)
    apart = statements(bundles)
    bundles.write("bundle", "orders_90d >= 1", groups="{tier: 2, offer: 1}")
    together = statements(bundles)
    assert apart.keys() == together.keys()
    assert not any("won#" in sql or "recursive" in sql or "map_entries" in sql for sql in apart.values())
    assert all(apart[name] != together[name] for name in apart)
    # Another group beside them is decided by the same text as ever.
    bundles.write_groups(TWO_GROUPS + "  - {key: size, name: Size, description: How large.}\n")
    bundles.write("xl", "seats > 9".replace("seats", "orders_90d"), group="size", precedence=1)
    bundles.write("xs", "true", group="size", precedence=2)
    case = 'case when "claimed#0#0" & 32 <> 0 then 32::bigint when "claimed#0#0" & 64 <> 0 then 64::bigint else 0 end'
    assert case in statements(bundles)["create table segments.candidate_masks as"]
    bundles.write("bundle", "orders_90d >= 1", group="tier", precedence=2)
    assert case in statements(bundles)["create table segments.candidate_masks as"]


def test_one_group_is_one_definition_in_either_form(tiers) -> None:
    before = tiers.catalog().segments
    tiers.write("vip", "mrr_micros >= 100", groups="{tier: 1}")
    after = tiers.catalog().segments
    assert {key: (one.definition_hash, one.membership_hash) for key, one in before.items()} == {
        key: (one.definition_hash, one.membership_hash) for key, one in after.items()
    }
    # These are what installations have published: another number here is a new version for everybody.
    assert before["vip"].definition_hash == "88c5a942e35a5be952f06010dab9ce43ae6479451e7844e3fab5a57a9a2c8ede"
    assert before["vip"].membership_hash == "08fe6ddb2eabbb21affed1e157d2c1f447ddf68b46f4da8141f673f5125fe1b7"


@pytest.mark.parametrize(
    ("keys", "what"),
    [
        ({"group": "tier", "precedence": 2, "groups": "{offer: 1}"}, "groups is given beside group or precedence"),
        ({"precedence": 2, "groups": "{tier: 2, offer: 1}"}, "groups is given beside group or precedence"),
        ({"groups": "{}"}, "groups: it has too few entries"),
        ({"groups": "{tier: 2, offer: 0}"}, "offer"),
        ({"groups": "{tier: 2, offer: true}"}, "offer"),
        ({"groups": "{tier: 2, offers: 1}"}, "unknown group offers; did you mean offer?"),
        ({"groups": "{tier: 1, offer: 1}"}, "vip and bundle have the same precedence 1 in group tier"),
    ],
)
def test_what_groups_can_not_say(bundles, keys: dict[str, Any], what: str) -> None:
    bundles.write("bundle", "orders_90d >= 1", **keys)
    assert any(what in problem.what for problem in problems(bundles)), problems(bundles)


def test_ranks_in_a_circle_are_an_error_that_shows_it(bundles) -> None:
    bundles.write("both", "is_known", groups="{tier: 4, offer: 1}")
    bundles.write("bundle", "orders_90d >= 1", groups="{tier: 2, offer: 3}")
    (problem,) = problems(bundles)
    assert problem.what == (
        "segments win over each other in a circle: both (1) wins over bundle (3) in group offer, "
        "bundle (2) wins over both (4) in group tier; the others are in catalog/segments/bundle.yml:10"
    )
    assert (problem.file, problem.line) == ("catalog/segments/both.yml", 10)
    assert problem.repair == "change the ranks of one of them, or take it out of a group"
    # Who is retired meets nobody.
    bundles.write("both", "is_known", groups="{tier: 4, offer: 1}", lifecycle="retired")
    assert problems(bundles) == []


def test_a_default_is_in_its_group_alone(bundles) -> None:
    bundles.write("free", "true", groups="{tier: 9, offer: 9}")
    (problem,) = problems(bundles)
    assert problem.what == "free is the default of group tier, but whom it loses in offer nobody takes"


def test_groups_that_share_a_segment_wait_for_each_other(bundles) -> None:
    """Asking who is in one of them waits for all; asking from within is a cycle."""
    bundles.write("asks", "in_segment('discount')")
    assert [set(level) for level in bundles.catalog().levels] == [
        {"vip", "bundle", "core", "free", "discount"},
        {"asks"},
    ]
    before = bundles.catalog().segments["asks"].membership_hash
    bundles.write("vip", "mrr_micros >= 300", group="tier", precedence=1)
    assert bundles.catalog().segments["asks"].membership_hash != before
    bundles.write("discount", "in_segment('core')", group="offer", precedence=2)
    (problem,) = problems(bundles)
    assert "in a cycle: offer+tier → offer+tier" in problem.what
    bundles.write("discount", "is_known", group="offer", precedence=2)
    bundles.write_groups(TWO_GROUPS.replace("What is shown.}", "What is shown., parent: tier}"))
    assert "in a cycle: offer+tier → offer+tier" in problems(bundles)[0].what


def test_groups_that_share_a_segment_are_approved_together(bundles) -> None:
    before = bundles.catalog()
    bundles.write("discount", "is_known and mrr_micros > 1", group="offer", precedence=2)
    (unit,) = find_units(before, bundles.catalog())
    assert (unit.key, unit.groups) == ("group:offer", {"offer", "tier"})
    assert unit.segments == {"vip", "bundle", "core", "free", "discount"}


def test_past_days_of_one_are_decided_with_all_that_share_its_groups(bundles) -> None:
    bundles.write("alone", "true")
    assert find_parts(bundles.catalog(), {"discount"}) == {"vip", "bundle", "core", "free", "discount"}


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"groups": "{tier: 4, offer: 1}"}, "groups: its rank changes in group tier"),
        ({"group": "tier", "precedence": 2}, "groups: it leaves group offer"),
        ({"group": "offer", "precedence": 5}, "groups: it leaves group tier; its rank changes in group offer"),
        ({}, "groups: it leaves group offer, tier"),
    ],
)
def test_joining_and_leaving_groups_is_breaking_and_told_by_group(bundles, keys: dict[str, Any], reason: str) -> None:
    both = bundles.catalog()
    bundles.write("bundle", "orders_90d >= 1", **keys)
    one = bundles.catalog()
    (change,) = compare_catalogs(both, one)
    assert (change.change_class, change.reasons[0]) == ("breaking", reason)
    assert [difference.name for difference in change.differences] == ["groups"]
    (back,) = compare_catalogs(one, both)
    assert (back.change_class, back.differences[0].after) == ("breaking", {"tier": 2, "offer": 1})


def test_whom_a_rival_loses_another_group_can_win_and_take_from_a_third(bundles) -> None:
    bundles.write_groups(TWO_GROUPS + "  - {key: perk, name: Perk, description: Extras.}\n")
    bundles.write("discount", "is_known", groups="{offer: 2, perk: 1}")
    bundles.write("lounge", "true", group="perk", precedence=2)
    before = bundles.catalog()
    bundles.write("vip", "mrr_micros >= 10", group="tier", precedence=1)
    (change,) = compare_catalogs(before, bundles.catalog())
    assert change.change_class == "breaking"
    assert "vip takes members from bundle, which ranks below it in group tier" in change.reasons
    assert "discount takes members from lounge, which ranks below it in group perk" in change.reasons


def test_a_rival_of_several_groups_is_no_proof_that_somebody_never_wins(bundles) -> None:
    def warned() -> list[str]:
        catalog = load_catalog(bundles.folder, bundles.types)
        return [problem.what for problem in check_rules(catalog, bundles.types) if "never wins" in problem.what]

    # Whoever has two orders has one; but a VIP with two orders is in no bundle, and so gets what comes next.
    bundles.write("repeat", "orders_90d >= 2", group="offer", precedence=3)
    assert warned() == []
    bundles.write("bundle", "orders_90d >= 1", group="offer", precedence=1)
    assert warned() == ["repeat never wins in group offer: whom it takes, bundle of better precedence takes"]


def test_a_plan_tells_moves_in_every_group(shop, tmp_path) -> None:
    company = shop.company
    company.write_groups(TWO_GROUPS)
    company.write("free", "true", group="tier", precedence=9)
    company.write("bundle", "mrr_micros = 5", groups="{tier: 2, offer: 1}")
    company.write("core", "mrr_micros > 0", group="tier", precedence=3)
    company.write("deal", "is_known", group="offer", precedence=2)
    found = shop.write_plan(tmp_path / "plan.json")
    assert section(found, "transitions_tier").rows == (("bundle", 0, 0), ("core", 1, 0))
    assert section(found, "transitions_offer").rows == (("bundle", 0, 0, 0), ("deal", 0, 0, 0), ("(none)", 1, 2, None))
    assert section(found, "conflicts").rows == (
        ("offer", "bundle", "deal", 0, 1, 1),
        ("tier", "bundle", "core", 0, 1, 1),
    )
    shop.apply(tmp_path / "plan.json")
    assert shop.members("bundle") == {"c_c"}
    # Whom vip takes from the bundle, the deal takes in the other group.
    company.write("vip", "mrr_micros >= 5", group="tier", precedence=1)
    found = shop.plan()
    assert section(found, "transitions_tier").rows == (("vip", 2, 0), ("bundle", 1, 0))
    assert section(found, "transitions_offer").rows == (("bundle", 0, 1), ("deal", 0, 2))
    assert section(found, "indirect").rows == (("bundle", 0, 1, "vip"), ("deal", 1, 0, "vip"))
    # Both members of vip, for its new version, c_c and the list of segments.
    assert section(found, "destinations").rows == (("store", 0, 4, 0, "by its log"),)
