"""Guards and pins: what a pin does is told and not held back, what its end does is held as any change."""

from datetime import datetime

from segmentation import contracts
from segmentation.identity.rule_book import Signature
from segmentation.segments.candidate import build_candidate
from segmentation.segments.in_force import definitions_live, definitions_to_evaluate
from segmentation.segments.pin_decisions import decide_pin
from segmentation.segments.publish import publish
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


def act(company, action: str, segment: str, days: int) -> None:
    """Decide what can't wait, and make it so, as its run does."""
    pin(company, action, segment)
    run = company.next_run(days)
    build_candidate(company.con, run, definitions_live(company.con, company.folder, company.types), pins_alone=True)
    publish(company.con, run)


def test_what_can_not_wait_heeds_no_edit_and_no_mistake_in_the_catalog(tiers) -> None:
    contracts.ensure_schema(tiers.con, "segments")
    tiers.decide()
    # One edit waits for approval, one for its run, and a third one is no definition at all.
    tiers.write("reachable", "is_known and mrr_micros > 0", consent="{purposes: [marketing.email]}")
    run = tiers.next_run(1)
    build_candidate(tiers.con, run, definitions_to_evaluate(tiers.con, tiers.folder, tiers.types, at=run.recorded_at))
    publish(tiers.con, run)
    waiting = tiers.rows("select unit_key, subject, what, change_class, reasons from segments.held_changes")
    assert waiting
    policies = tiers.rows("select * from segments.policies")
    tiers.write("anybody", "true")
    (tiers.folder / "segments" / "broken.yml").write_text("key: [broken", encoding="utf-8")
    act(tiers, "kill", "vip", days=2)
    assert tiers.members("vip") == set()
    assert tiers.members("core") == {"c_a", "c_b"}
    assert tiers.members("reachable") == {"c_a", "c_c"}
    assert tiers.rows("select segment_key from segments.catalog where segment_key in ('anybody', 'broken')") == []
    assert tiers.rows("select distinct segment_version from segments.catalog") == [(1,)]
    assert tiers.rows("select * from segments.policies") == policies
    assert tiers.rows("select unit_key, subject, what, change_class, reasons from segments.held_changes") == waiting
    tiers.check_consistency()


def test_where_pins_alone_act_guards_judge_what_moves_for_another_cause(tiers) -> None:
    contracts.ensure_schema(tiers.con, "segments")
    tiers.write("small", "is_known", guards="{min_size: 9}")
    tiers.write("paying", "mrr_micros > 0", guards="{max_exits: 0}")
    # Somebody accepted this once.
    tiers.decide()
    assert guards(tiers, "small") == (False, False)
    act(tiers, "kill", "vip", days=1)
    assert guards(tiers, "small") == (False, True)
    # The next ordinary run judges it again, and so does this one where data moves it as well.
    tiers.build(days=2)
    assert guards(tiers, "small") == (False, False)
    tiers.alter("c_b", mrr_micros=0, is_known=False)
    act(tiers, "freeze", "free", days=2)
    assert guards(tiers, "small") == (False, False)
    assert guards(tiers, "paying") == (False, False)


def test_while_a_pin_lasts_guards_judge_whom_data_moves(tiers) -> None:
    tiers.write("core", "mrr_micros > 0", group="tier", precedence=2, guards="{max_size: 1}")
    tiers.write("care", "in_segment('core')", guards="{max_share: 0.25}")
    tiers.write("others", "not in_segment('core')", guards="{min_size: 3}")
    tiers.decide()
    pin(tiers, "kill", "vip")
    tiers.decide(days=1)
    tiers.build(days=2)
    for key in ("core", "care", "others"):
        assert guards(tiers, key) == (False, True)
    # A pin that takes the place of another brings with it what that one has moved.
    pin(tiers, "freeze", "vip")
    tiers.decide(days=2)
    for key in ("core", "care", "others"):
        assert guards(tiers, key) == (False, True)
    tiers.alter("c_c", mrr_micros=5)
    tiers.build(days=3)
    for key in ("core", "care", "others"):
        assert guards(tiers, key) == (False, False)
