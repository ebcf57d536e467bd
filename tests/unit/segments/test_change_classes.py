"""Differences of definitions: what moves nobody, what only lets customers in, and what can put members out."""

from collections.abc import Callable
from typing import Any

import pytest

from segmentation.segments.change_classes import DESCRIPTIVE, DefinitionChange, compare_catalogs
from segmentation.segments.definitions import Segment

from .conftest import TIERS, Company

Write = Callable[..., Any]


def changed(company: Company, edit: Callable[[], object]) -> list[DefinitionChange]:
    """Return what an edit of the catalog changes."""
    before = company.catalog()
    edit()
    return list(compare_catalogs(before, company.catalog()))


def one(company: Company, edit: Callable[[], object]) -> DefinitionChange:
    """Return the one change that an edit makes."""
    (found,) = changed(company, edit)
    return found


@pytest.fixture
def vip(company: Company) -> Company:
    """One segment outside of groups, with something in every key that can change."""
    write(company)
    return company


def write(company: Company, **keys: Any) -> None:
    """Write the segment of these tests, some of its keys otherwise."""
    company.write_list("some.csv", "customer_id,reason\nc_a,asked\n")
    company.write(
        "vip",
        **{
            "rule": "orders_90d >= 3",
            "kind": "hybrid",
            "include": "[{customer: c_a, reason: asked, until: 2027-01-01}]",
            "exclude": "[{file: lists/some.csv}]",
            "consent": "{purposes: [marketing.email]}",
            "residency": "[EU]",
            "guards": "{max_exits: 5, max_churn_ratio: 0.2}",
            "destinations": "[store]",
            "expires_on": "2028-01-01",
            **keys,
        },
    )


def test_formatting_and_wording_change_nothing(vip: Company) -> None:
    assert changed(vip, lambda: write(vip, rule="(  orders_90d>=3 )", residency='["EU", "EU"]')) == []


@pytest.mark.parametrize(
    ("keys", "change_class", "reason"),
    [
        ({"description": "Other words."}, "metadata", "describes"),
        ({"review_by": "2027-06-30", "severity": "critical"}, "metadata", "describes"),
        ({"lifecycle": "deprecated"}, "metadata", "stay"),
        ({"lifecycle": "retired"}, "breaking", "leave"),
        ({"rule": "orders_90d >= 4"}, "breaking", "such as one with orders_90d = 3"),
        ({"rule": "orders_90d >= 2 or is_known"}, "non_breaking", "proven"),
        ({"expires_on": "2028-02-01"}, "non_breaking", "later"),
        ({"expires_on": None}, "non_breaking", "later"),
        ({"expires_on": "2027-02-01"}, "breaking", "sooner"),
        ({"include": "[{customer: c_a, reason: other words, until: 2027-01-01}]"}, "metadata", "reasons"),
        ({"include": "[{customer: c_a, reason: asked}]"}, "non_breaking", "grows"),
        ({"include": "[{customer: c_a, reason: asked, until: 2026-12-01}]"}, "breaking", "by list"),
        ({"include": "[{customer: c_b, reason: asked, until: 2027-01-01}]"}, "breaking", "by list"),
        ({"exclude": "[]"}, "non_breaking", "fewer"),
        ({"exclude": "[{file: lists/some.csv}, {customer: c_d, reason: x}]"}, "breaking", "more customers"),
        ({"consent": "{purposes: []}"}, "breaking", "consented"),
        ({"consent": "{purposes: [marketing.email, analytics]}"}, "breaking", "consented"),
        ({"residency": "[EU, UK]"}, "breaking", "residents"),
        ({"sensitive": "[health]"}, "breaking", "special categories"),
        ({"guards": "{max_exits: 4, max_churn_ratio: 0.2}"}, "non_breaking", "stricter"),
        ({"guards": "{max_exits: 6, max_churn_ratio: 0.2}"}, "breaking", "max_exits 5 → 6"),
        ({"guards": None}, "breaking", "no limit"),
        ({"guards": "{max_exits: 5, max_churn_ratio: 0.2, min_base: 1000}"}, "breaking", "min_base 100 → 1000"),
        ({"destinations": "[store, crm]"}, "non_breaking", "more destinations"),
        ({"destinations": "[]"}, "non_breaking", "more destinations"),
        ({"destinations": "[crm]"}, "breaking", "lose the segment"),
        ({"group": "tier", "precedence": 4}, "breaking", "group"),
    ],
)  # fmt: skip
def test_every_key_has_its_class(vip: Company, keys: dict[str, Any], change_class: str, reason: str) -> None:
    vip.write_groups("groups:\n  - {key: tier, name: Tier, description: Service., costing: true}\n")
    found = one(vip, lambda: write(vip, **keys))
    assert (found.key, found.what, found.change_class) == ("vip", "changed", change_class)
    assert reason in " ".join(found.reasons)


def test_a_list_that_is_shown_to_all_destinations_loses_some_by_naming_one(vip: Company) -> None:
    write(vip, destinations="[]")
    assert one(vip, lambda: write(vip, destinations="[store]")).change_class == "breaking"


def test_a_new_segment_outside_of_groups_breaks_nothing(vip: Company) -> None:
    found = one(vip, lambda: vip.write("fans", "orders_90d > 10"))
    assert (found.key, found.what, found.change_class) == ("fans", "added", "non_breaking")


def test_a_draft_may_come_change_and_go(vip: Company) -> None:
    assert one(vip, lambda: vip.write("idea", "orders_90d > 1", lifecycle="draft")).change_class == "metadata"
    assert one(vip, lambda: vip.write("idea", "orders_90d > 2", lifecycle="draft")).change_class == "metadata"
    assert one(vip, lambda: vip.remove("idea")).change_class == "metadata"


def test_a_draft_that_becomes_active_lets_customers_in(vip: Company) -> None:
    vip.write("idea", "orders_90d > 1", lifecycle="draft")
    assert one(vip, lambda: vip.write("idea", "orders_90d > 2")).change_class == "non_breaking"


def test_removing_a_segment_puts_its_members_out(vip: Company) -> None:
    found = one(vip, lambda: vip.remove("vip"))
    assert (found.what, found.change_class, found.reasons) == ("removed", "breaking", ("all members leave",))


def test_a_new_segment_breaks_its_group_unless_it_ranks_last(company: Company) -> None:
    company.write_groups(TIERS.replace("default: free, ", ""))
    company.write("core", "mrr_micros > 0", group="tier", precedence=5)
    last = one(company, lambda: company.write("rest", "mrr_micros = 0", group="tier", precedence=9))
    assert last.change_class == "non_breaking"
    first = one(company, lambda: company.write("best", "mrr_micros > 9", group="tier", precedence=1))
    assert first.change_class == "breaking"
    assert first.reasons == (
        "best takes members from core, which ranks below it in group tier",
        "best takes members from rest, which ranks below it in group tier",
    )


def test_a_segment_that_grows_puts_out_who_must_not_be_in_it(vip: Company) -> None:
    vip.write("others", "not in_segment('vip')")
    found = one(vip, lambda: write(vip, exclude="[]"))
    assert found.change_class == "breaking"
    assert found.reasons == ("others asks who is not in vip, so it can lose members",)


def test_a_wider_rule_takes_members_from_rivals_below_it(tiers: Company) -> None:
    def widen(key: str, rule: str, rank: int) -> DefinitionChange:
        return one(tiers, lambda: tiers.write(key, rule, group="tier", precedence=rank))

    found = widen("vip", "mrr_micros >= 50", 1)
    assert found.change_class == "breaking"
    assert "vip takes members from core, which ranks below it in group tier" in found.reasons
    tiers.write_groups("groups:\n  - {key: tier, name: Tier, description: Service., costing: true}\n")
    tiers.write("free", "mrr_micros = 0", group="tier", precedence=3)
    assert widen("free", "mrr_micros <= 0", 3).change_class == "non_breaking"


def test_a_narrower_rule_takes_nothing_from_rivals(tiers: Company) -> None:
    found = one(tiers, lambda: tiers.write("vip", "mrr_micros >= 150", group="tier", precedence=1))
    assert found.change_class == "breaking"
    assert len(found.reasons) == 1


def test_growth_is_followed_through_segments_and_parents(company: Company) -> None:
    company.write_groups(
        TIERS.replace("default: free, ", "") + "  - {key: perks, name: Perks, description: More., parent: tier}\n"
    )
    company.write("core", "mrr_micros > 0", group="tier", precedence=5)
    company.write("lounge", "is_known", group="perks", precedence=1)
    company.write("waiting", "not in_segment('lounge')")
    found = one(
        company,
        lambda: company.write(
            "core", "mrr_micros > 0", group="tier", precedence=5, kind="hybrid",
            include="[{customer: c_d, reason: asked}]",
        ),
    )  # fmt: skip
    assert found.reasons == ("waiting asks who is not in lounge, so it can lose members",)


@pytest.mark.parametrize(
    ("old", "new", "change_class"),
    [
        ("name: Tier,", "name: Tiers,", "metadata"),
        ("default: free, ", "", "non_breaking"),
        ("costing: true", "parent: perks, costing: true", "breaking"),
    ],
)
def test_groups_have_classes(tiers: Company, old: str, new: str, change_class: str) -> None:
    perks = "  - {key: perks, name: Perks, description: More.}\n"
    tiers.write_groups(TIERS + perks)
    found = one(tiers, lambda: tiers.write_groups(TIERS.replace(old, new) + perks))
    assert (found.kind, found.key, found.change_class) == ("group", "tier", change_class)


def test_costs_split_by_another_group_is_breaking(tiers: Company) -> None:
    perks = "  - {key: perks, name: Perks, description: More.}\n"
    tiers.write_groups(TIERS + perks)
    moved = TIERS.replace(", costing: true", "") + perks.replace("More.", "More., costing: true")
    assert {one.key: one.change_class for one in changed(tiers, lambda: tiers.write_groups(moved))} == {
        "tier": "breaking",
        "perks": "breaking",
    }


def test_no_key_is_forgotten() -> None:
    decided = {
        "lifecycle", "rule", "kind", "expires_on", "include", "exclude", "guards", "destinations", "group",
        "precedence", "groups", "consent", "residency", "sensitive", "entity", "key", "canary",
    }  # fmt: skip
    assert set(Segment.model_fields) <= decided | set(DESCRIPTIVE), "say of which class a change of the key is"
