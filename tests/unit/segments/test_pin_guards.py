"""Guards and pins: what a pin does is told and not held back, what its end does is held as any change."""

from datetime import datetime

from segmentation.identity.rule_book import Signature
from segmentation.segments.pin_decisions import decide_pin
from segmentation.warehouse import transaction

JO = Signature("jo", "case 12", datetime(2026, 11, 20, 8))


def pin(company, action: str, segment: str) -> None:
    with transaction(company.con):
        decide_pin(company.con, action, segment, JO)


def guards(company, key: str) -> tuple[bool, bool]:
    return company.rows(
        "select are_guards_kept, are_guards_waived from segments.candidate_sizes where segment_key = ?", key
    )[0]


def test_guards_report_a_pin_and_do_not_block_it(tiers) -> None:
    tiers.write("vip", "mrr_micros >= 100", group="tier", precedence=1, guards="{min_size: 1, max_exits: 0}")
    tiers.write("core", "mrr_micros > 0", group="tier", precedence=2, guards="{max_size: 1, max_exits: 0}")
    tiers.decide()
    pin(tiers, "kill", "vip")
    tiers.decide(days=1)
    assert guards(tiers, "vip") == (False, True)
    assert guards(tiers, "core") == (False, True)
    # The size of what depends on a pin stays out of the guards; what its own rule does, does not.
    tiers.decide(days=2)
    assert guards(tiers, "core") == (False, True)
    tiers.alter("c_a", mrr_micros=0)
    tiers.build(days=3)
    assert guards(tiers, "core") == (False, False)
    tiers.alter("c_a", mrr_micros=500)
    # The end of the pin moves the customer back, which is no churn of the other segment.
    pin(tiers, "unfreeze", "vip")
    tiers.build(days=3)
    assert guards(tiers, "core") == (False, True)


def test_the_end_of_a_rollback_is_held_by_guards(tiers) -> None:
    tiers.write("reachable", "is_known", consent="{purposes: [marketing.email]}", guards="{max_exits: 0}")
    tiers.decide()
    tiers.alter("c_a", is_known=False)
    pin(tiers, "freeze", "reachable")
    tiers.decide(days=1)
    pin(tiers, "unfreeze", "reachable")
    tiers.build(days=2)
    assert guards(tiers, "reachable") == (False, False)
