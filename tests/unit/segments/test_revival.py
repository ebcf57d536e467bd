"""A segment that comes back: nobody leaves another one for it unapproved, whatever was edited while it was away."""

import pytest

from .conftest import TIERS, Company
from .stage import accept, held, run


def pause(company: Company, key: str, **place: object) -> None:
    """Take a segment's members out, as its owner agreed to."""
    company.write(key, "mrr_micros >= 100", lifecycle="draft", **place)
    assert (held(run(company)), bool(company.members(key))) == ({(_unit(place, key), key)}, True)
    accept(company)
    assert run(company).held == ()
    assert company.members(key) == set()


def _unit(place: dict[str, object], key: str) -> str:
    return f"group:{place['group']}" if place else f"segment:{key}"


def test_a_revived_segment_takes_nobody_from_a_rival_unapproved(tiers: Company) -> None:
    place = {"group": "tier", "precedence": 1}
    run(tiers)
    pause(tiers, "vip", **place)
    assert tiers.members("core") == {"c_a", "c_b"}
    # Idle, it may say whatever it likes.
    tiers.write("vip", "mrr_micros > 0", lifecycle="draft", **place)
    assert run(tiers, days=1).held == ()
    tiers.write("vip", "mrr_micros > 0", **place)
    catalog = run(tiers, days=2)
    assert held(catalog) == {("group:tier", "vip")}
    assert "vip takes members from core, which ranks below it in group tier" in catalog.held[0].reasons
    assert (tiers.members("vip"), tiers.members("core")) == (set(), {"c_a", "c_b"})


def test_a_rank_that_was_taken_while_idle_takes_nobody_unapproved_either(tiers: Company) -> None:
    tiers.write_groups(TIERS.replace(" default: free,", ""))
    for rank, key, rule in ((2, "vip", "mrr_micros >= 100"), (3, "core", "mrr_micros > 0"), (4, "free", "true")):
        tiers.write(key, rule, group="tier", precedence=rank)
    tiers.write("last", "true", group="tier", precedence=9)
    run(tiers)
    tiers.write("last", "true", group="tier", precedence=9, lifecycle="draft")
    accept(tiers)
    run(tiers)
    tiers.write("last", "true", group="tier", precedence=1, lifecycle="draft")
    assert run(tiers, days=1).held == ()
    tiers.write("last", "true", group="tier", precedence=1)
    assert held(run(tiers, days=2)) == {("group:tier", "last")}
    assert tiers.members("vip") == {"c_a"}


@pytest.mark.parametrize("rule", ["mrr_micros > 0", "mrr_micros >= 100"])
def test_a_revived_segment_of_its_own_lets_customers_in_as_a_new_one_does(tiers: Company, rule: str) -> None:
    tiers.write("loyal", "mrr_micros >= 100")
    run(tiers)
    pause(tiers, "loyal")
    tiers.write("loyal", rule, lifecycle="draft")
    run(tiers, days=1)
    before = set(tiers.rows("select customer_id, segment_key from segments.membership"))
    tiers.write("loyal", rule)
    catalog = run(tiers, days=2)
    assert catalog.held == ()
    assert catalog.provenance["loyal"].change_class == "non_breaking"
    assert before < set(tiers.rows("select customer_id, segment_key from segments.membership"))
    # Its versions tell what it was before, and what it is now.
    versions = tiers.rows("select count(*) from segments.versions where segment_key = 'loyal'")
    assert versions == [(2 if rule == "mrr_micros > 0" else 1,)]


def test_whoever_asks_for_its_absence_is_asked_again(tiers: Company) -> None:
    tiers.write("loyal", "mrr_micros >= 100")
    run(tiers)
    pause(tiers, "loyal")
    tiers.write("loyal", "mrr_micros > 0", lifecycle="draft")
    run(tiers, days=1)
    # In one edit it comes back and somebody begins to ask for its absence: who is in there may leave.
    tiers.write("mail", "is_known")
    run(tiers, days=2)
    tiers.write("mail", "is_known and not in_segment('loyal')")
    tiers.write("loyal", "mrr_micros > 0")
    assert {subject for _, subject in held(run(tiers, days=3))} >= {"mail"}
    assert tiers.members("mail") == {"c_a", "c_b", "c_c"}
