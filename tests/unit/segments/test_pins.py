"""Freezing, killing, rolling back and releasing: what is held, what is not, and what the log says of it."""

from datetime import datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segmentation import audit
from segmentation.erasure.derived_rows import forget_derived_rows
from segmentation.errors import NotFoundError, StrataError
from segmentation.identity.rule_book import Signature
from segmentation.segments.explain import explain
from segmentation.segments.pin_decisions import Decision, decide_pin
from segmentation.segments.pins import read_pins
from segmentation.segments.state import export_state, restore_state
from segmentation.warehouse import transaction

AT = datetime(2026, 11, 20, 8)


def pin(company, action: str, segment: str, to: str = "", *, minutes: int = 0) -> Decision:
    signature = Signature("jo", "case 12", AT + timedelta(minutes=minutes))
    with transaction(company.con):
        return decide_pin(company.con, action, segment, signature, to=to)


def causes(company) -> set[tuple[str, str, str, str]]:
    newest = company.rows("select max(publication_seq) from segments.publications")[0][0]
    return set(
        company.rows(
            "select c.customer_id, c.segment_key, c.change, c.cause from segments.membership_changes as c "
            "join segments.publications as p using (run_id) where p.publication_seq = ?",
            newest,
        )
    )


def test_a_frozen_segment_heeds_neither_rule_nor_data(tiers) -> None:
    tiers.decide()
    assert pin(tiers, "freeze", "vip").is_new
    tiers.alter("c_a", mrr_micros=1)
    tiers.alter("c_b", mrr_micros=900)
    tiers.write("vip", "mrr_micros > 400", group="tier", precedence=1)
    tiers.decide(days=1)
    assert tiers.members("vip") == {"c_a"}
    assert tiers.members("core") == {"c_b"}
    assert causes(tiers) == set()
    tiers.check_consistency()
    assert tiers.rows("select pin_id from segments.catalog where segment_key = 'vip'") == [("pin1",)]
    pin(tiers, "unfreeze", "vip")
    tiers.decide(days=2)
    assert causes(tiers) == {
        ("c_a", "vip", "exit", "rollback"),
        ("c_a", "core", "enter", "rollback"),
        ("c_b", "core", "exit", "rollback"),
        ("c_b", "vip", "enter", "rollback"),
    }
    tiers.check_consistency()
    tiers.decide(days=3)
    assert causes(tiers) == set()


def test_a_killed_segment_is_empty_and_its_customers_fall_to_the_next_claim(tiers) -> None:
    tiers.write("care", "in_segment('core')")
    tiers.decide()
    pin(tiers, "kill", "vip")
    tiers.decide(days=1)
    assert tiers.members("vip") == set()
    assert tiers.members("core") == {"c_a", "c_b"}
    # Who asks about a segment of the group follows, for the same reason.
    assert causes(tiers) == {
        ("c_a", "vip", "exit", "rollback"),
        ("c_a", "core", "enter", "rollback"),
        ("c_a", "care", "enter", "rollback"),
    }
    tiers.check_consistency()
    pin(tiers, "kill", "core")
    tiers.decide(days=2)
    assert tiers.members("free") == {"c_a", "c_b", "c_c", "c_d"}
    assert tiers.rows("select * from segments.conflicts") == []
    tiers.check_consistency()


def test_a_pinned_claim_wins_before_precedence(tiers) -> None:
    tiers.decide()
    pin(tiers, "freeze", "free")
    tiers.alter("c_c", mrr_micros=900)
    tiers.alter("c_d", mrr_micros=900)
    tiers.decide(days=1)
    assert tiers.members("free") == {"c_c", "c_d"}
    assert tiers.members("vip") == {"c_a"}
    assert set(tiers.rows("select customer_id, winner_key, loser_key, decided_by from segments.conflicts")) == {
        ("c_c", "free", "vip", "pin"), ("c_c", "free", "core", "pin"),
        ("c_d", "free", "vip", "pin"), ("c_d", "free", "core", "pin"),
        ("c_a", "vip", "core", "precedence"),
    }  # fmt: skip
    tiers.check_consistency()


def test_consent_and_erasure_go_before_a_pin_and_merged_customers_follow(tiers) -> None:
    tiers.decide()
    assert tiers.members("reachable") == {"c_a", "c_c"}
    pin(tiers, "freeze", "reachable")
    tiers.alter("c_a", consented_purposes=[])
    tiers.decide(days=1)
    assert causes(tiers) == {("c_a", "reachable", "exit", "consent")}
    # The customer in the pin becomes one with another, who takes the place.
    tiers.fill("identity.customer_aliases", old_customer_id="c_c", customer_id="c_b")
    tiers.fill("identity.events", seq=1, event="merge", customer_id="c_c", other_customer_id="c_b")
    tiers.con.execute("delete from features.customer_features where customer_id = 'c_c'")
    tiers.alter("c_b", consented_purposes=["marketing.email"])
    tiers.decide(days=2)
    assert tiers.members("reachable") == {"c_b"}
    assert {row for row in causes(tiers) if row[1] == "reachable"} == {
        ("c_c", "reachable", "exit", "identity_merge"),
        ("c_b", "reachable", "enter", "identity_merge"),
    }
    # Who consents again is still held.
    tiers.alter("c_a", consented_purposes=["marketing.email"])
    tiers.decide(days=3)
    assert tiers.members("reachable") == {"c_a", "c_b"}
    tiers.check_consistency()


def test_lists_of_today_do_not_reach_a_pin(tiers) -> None:
    tiers.decide()
    pin(tiers, "freeze", "vip")
    listed = {"kind": "hybrid", "include": "[{customer: c_c, reason: x}]", "exclude": "[{customer: c_a, reason: x}]"}
    tiers.write("vip", "mrr_micros >= 100", group="tier", precedence=1, **listed)
    tiers.decide(days=1)
    assert tiers.members("vip") == {"c_a"}
    assert causes(tiers) == set()
    pin(tiers, "unfreeze", "vip")
    tiers.decide(days=2)
    assert tiers.members("vip") == {"c_c"}
    tiers.check_consistency()


def test_a_rollback_restores_the_set_whatever_the_segment_does_now(tiers) -> None:
    tiers.decide()
    tiers.write("vip", "mrr_micros = 5", group="tier", precedence=1)
    tiers.decide(days=1)
    assert tiers.members("vip") == {"c_b"}
    decision = pin(tiers, "rollback", "vip", "1")
    assert (decision.moment.publication_seq, decision.moment.members) == (1, 1)
    tiers.decide(days=2)
    assert tiers.members("vip") == {"c_a"}
    assert causes(tiers) == {
        ("c_a", "core", "exit", "rollback"), ("c_a", "vip", "enter", "rollback"),
        ("c_b", "vip", "exit", "rollback"), ("c_b", "core", "enter", "rollback"),
    }  # fmt: skip
    assert tiers.rows("select via from segments.membership where segment_key = 'vip'") == [("pin",)]
    tiers.check_consistency()


def test_a_rollback_of_a_rollback_and_two_in_one_group(tiers) -> None:
    tiers.decide()
    tiers.alter("c_a", mrr_micros=5)
    tiers.alter("c_b", mrr_micros=500)
    tiers.decide(days=1)
    pin(tiers, "rollback", "vip", "p1")
    tiers.decide(days=2)
    assert (tiers.members("vip"), tiers.members("core")) == ({"c_a"}, {"c_b"})
    # Back to what was there before the rollback.
    assert pin(tiers, "rollback", "vip", "2026-11-02", minutes=1).moment.publication_seq == 2
    tiers.decide(days=3)
    assert tiers.members("vip") == {"c_b"}
    # Both hold c_b: the higher rank wins, and it is told.
    pin(tiers, "rollback", "core", "p1", minutes=2)
    tiers.decide(days=4)
    assert (tiers.members("vip"), tiers.members("core")) == ({"c_b"}, set())
    assert ("c_b", "vip", "core", "precedence") in tiers.rows(
        "select customer_id, winner_key, loser_key, decided_by from segments.conflicts"
    )
    assert tiers.members("free") == {"c_a", "c_c", "c_d"}
    tiers.check_consistency()


def test_a_version_is_what_it_decided_last_without_a_pin(tiers) -> None:
    tiers.decide()
    tiers.alter("c_b", mrr_micros=500)
    tiers.decide(days=1)
    pin(tiers, "kill", "vip")
    tiers.decide(days=2)
    tiers.write("vip", "mrr_micros > 7000", group="tier", precedence=1)
    tiers.decide(days=3)
    assert pin(tiers, "rollback", "vip", "v1").moment.publication_seq == 2
    tiers.decide(days=4)
    assert tiers.members("vip") == {"c_a", "c_b"}
    with pytest.raises(NotFoundError, match="version 2 of vip never decided by itself"):
        pin(tiers, "rollback", "vip", "2")
    # As in a warehouse of an earlier version, which did not record it: a version lasts until the next one.
    tiers.con.execute("delete from segments.publication_segments")
    assert pin(tiers, "rollback", "vip", "1").moment.publication_seq == 3


def test_what_can_not_be_meant_is_refused(tiers) -> None:
    tiers.decide(days=1)
    tiers.write("late", "true")
    tiers.write("planned", "true", lifecycle="draft")
    tiers.decide(days=2)
    with pytest.raises(NotFoundError, match="there is no segment vipp; did you mean vip"):
        pin(tiers, "kill", "vipp")
    with pytest.raises(NotFoundError, match="no version 9 of vip"):
        pin(tiers, "rollback", "vip", "9")
    with pytest.raises(NotFoundError, match="there is no publication 9"):
        pin(tiers, "rollback", "vip", "p9")
    with pytest.raises(NotFoundError, match="membership begins with 2026-11-02"):
        pin(tiers, "rollback", "vip", "2026-11-01")
    with pytest.raises(NotFoundError, match="late did not exist as of 2026-11-02"):
        pin(tiers, "rollback", "late", "2026-11-02")
    with pytest.raises(StrataError, match="no version, publication or moment"):
        pin(tiers, "rollback", "vip", "yesterday")
    with pytest.raises(StrataError, match="nobody can be in planned: the segment is draft"):
        pin(tiers, "freeze", "planned")
    with pytest.raises(StrataError, match="names an e-mail address"), transaction(tiers.con):
        decide_pin(tiers.con, "kill", "vip", Signature("jo", "ann@shop.example asked", AT))
    tiers.remove("late")
    tiers.decide(days=3)
    with pytest.raises(NotFoundError, match="late left the catalog"):
        pin(tiers, "rollback", "late", "1")
    assert read_pins(tiers.con, every=True) == []
    assert list(audit.read_log(tiers.con)) == []


def test_deciding_the_same_again_writes_nothing(tiers) -> None:
    tiers.decide()
    first = pin(tiers, "kill", "vip")
    again = pin(tiers, "kill", "vip", minutes=1)
    assert (again.is_new, again.is_pending, again.pin) == (False, True, first.pin)
    tiers.decide(days=1)
    assert not pin(tiers, "kill", "vip", minutes=2).is_pending
    released = pin(tiers, "unfreeze", "vip", minutes=3)
    assert (released.is_new, released.is_pending) == (True, True)
    assert not pin(tiers, "unfreeze", "vip", minutes=4).is_new
    tiers.decide(days=2)
    nothing = pin(tiers, "unfreeze", "vip", minutes=5)
    assert (nothing.is_new, nothing.is_pending) == (False, False)
    assert [(entry.action, entry.subject) for entry in audit.read_log(tiers.con)] == [
        ("segments.kill", "vip"),
        ("segments.unfreeze", "vip"),
    ]
    assert audit.verify(tiers.con).problem is None


def test_a_pin_that_replaces_another_ends_it(tiers) -> None:
    tiers.decide()
    pin(tiers, "freeze", "vip")
    pin(tiers, "kill", "vip", minutes=1)
    kinds = [(one.kind, one.ended_by, one.ended_reason) for one in read_pins(tiers.con, every=True)]
    assert kinds == [("kill", None, None), ("freeze", "jo", "replaced by pin2")]
    assert tiers.rows("select * from segments.pin_members") == []


def test_a_pin_of_a_segment_that_nobody_can_be_in_holds_nobody(tiers) -> None:
    tiers.decide()
    pin(tiers, "freeze", "reachable")
    tiers.remove("reachable")
    tiers.decide(days=1)
    assert tiers.members("reachable") == set()
    assert {cause for *_, cause in causes(tiers)} == {"rule"}
    tiers.check_consistency()


def test_explain_says_what_holds_a_segment(tiers) -> None:
    tiers.decide()
    pin(tiers, "freeze", "free")
    pin(tiers, "kill", "reachable")
    tiers.alter("c_c", mrr_micros=900)
    tiers.decide(days=1)

    def why(customer: str, segment: str) -> tuple[str, str]:
        [found] = explain(tiers.con, customer, segment).segments
        return found.reason, found.sentence

    frozen = "frozen by jo since 2026-11-20 08:00 because case 12"
    assert why("c_c", "free") == ("pin", f"is a member because the segment is {frozen}")
    assert why("c_a", "free") == ("pin", f"is not a member because the segment is {frozen}")
    assert why("c_c", "vip") == ("group", f"is not a member because free of the exclusive group tier is {frozen}")
    assert why("c_a", "reachable")[1].startswith("is not a member because the segment is emptied by jo")
    assert why("c_b", "reachable")[0] == "consent"
    assert explain(tiers.con, "c_c", "free").as_dict()["segments"][0]["pin"]["pin_id"] == "pin1"


def test_a_restored_state_goes_on_with_its_pins(tiers, tmp_path) -> None:
    tiers.decide()
    pin(tiers, "freeze", "vip")
    run = tiers.decide(days=1)
    export_state(tiers.con, tmp_path, run)
    for customer in ("c_a", "c_b", "c_c", "c_d"):
        tiers.fill("identity.customers", customer_id=customer, status="active")
    tiers.con.execute("delete from segments.pins; delete from segments.pin_members")
    restore_state(tiers.con, tmp_path)
    tiers.alter("c_a", mrr_micros=1)
    tiers.decide(days=2)
    assert tiers.members("vip") == {"c_a"}
    # Whom identity has erased since does not come back with a pin.
    tiers.con.execute("update identity.customers set status = 'erased' where customer_id = 'c_a'")
    restore_state(tiers.con, tmp_path)
    assert tiers.rows("select * from segments.pin_members") == []


def test_an_erasure_reaches_whom_a_pin_holds(tiers) -> None:
    for customer in ("c_a", "c_b", "c_c", "c_d"):
        tiers.fill("identity.customers", customer_id=customer, status="active")
    tiers.decide()
    held = pin(tiers, "freeze", "free").pin
    assert held.members == 2
    tiers.con.execute(
        """
        create temp table erased_customers as select 'c_c' as customer_id;
        create temp table erased_nodes (node_id bigint);
        create temp table erased_values (id_type varchar, raw_value varchar, is_certain boolean);
        """
    )
    forget_derived_rows(tiers.con, "erasure-1", AT)
    assert tiers.rows("select customer_id from segments.pin_members") == [("c_d",)]
    tiers.decide(days=1)
    assert tiers.members("free") == {"c_d"}
    assert tiers.rows("select customer_id from segments.candidate_pinned") == [("c_d",)]


def test_without_pins_the_question_is_the_same(tiers) -> None:
    """The claim of a pin costs nothing where there is none: the statement does not mention it."""
    tiers.decide()
    assert tiers.rows("select * from segments.candidate_pins") == []
    assert tiers.rows("select * from segments.candidate_pinned") == []
    assert tiers.rows("select distinct pin_id from segments.places") == [(None,)]


def go_back_in_any_history(tiers, data) -> None:
    """After random publications, a rollback to any of them gives its set without who is gone or refuses by now."""
    company = tiers
    for schema in ("segments",):
        company.con.execute(f"drop schema if exists {schema} cascade")
    company.con.execute("delete from ops.candidates; delete from ops.audit_log")
    people = ["c_a", "c_b", "c_c", "c_d"]
    company.features(*({"customer_id": one, "mrr_micros": 0, "is_known": True} for one in people))
    rules = {"vip": ["mrr_micros >= 100", "mrr_micros = 5", "is_known"], "reachable": ["is_known", "mrr_micros > 0"]}
    sets: dict[str, list[set[str]]] = {key: [] for key in rules}
    days = 0
    for number in range(data.draw(st.integers(1, 5), label="publications")):
        for one in data.draw(st.sets(st.sampled_from(people)), label="altered"):
            company.alter(
                one,
                mrr_micros=data.draw(st.sampled_from([0, 5, 500])),
                is_known=data.draw(st.booleans()),
                consented_purposes=data.draw(st.sampled_from([[], ["marketing.email"]])),
            )
        company.write("vip", data.draw(st.sampled_from(rules["vip"])), group="tier", precedence=1)
        company.write(
            "reachable", data.draw(st.sampled_from(rules["reachable"])), consent="{purposes: [marketing.email]}"
        )
        # Some publications describe the moment of the one before.
        days += data.draw(st.integers(0, 1), label="days")
        held = data.draw(st.sampled_from([None, None, "freeze", "kill", "unfreeze"]), label="held")
        if held and number:
            pin(company, held, "vip", minutes=number)
        company.decide(days=days)
        for key, found in sets.items():
            found.append(company.members(key))
    key = data.draw(st.sampled_from(sorted(rules)), label="segment")
    target = data.draw(st.integers(1, len(sets[key])), label="to")
    gone = data.draw(st.sets(st.sampled_from(people), max_size=2), label="gone")
    refusing = data.draw(st.sets(st.sampled_from(people)), label="refusing")
    for one in gone:
        company.con.execute("delete from features.customer_features where customer_id = ?", [one])
    for one in people:
        company.alter(one, consented_purposes=[] if one in refusing else ["marketing.email"])
    pin(company, "rollback", key, f"p{target}", minutes=30)
    company.decide(days=days + 1)
    kept_out = gone | (refusing if key == "reachable" else set())
    assert company.members(key) == sets[key][target - 1] - kept_out
    company.check_consistency()
    by_rule = (
        f"select customer_id from features.customer_features where ({company.catalog().segments[key].definition.rule})"
    )
    pin(company, "unfreeze", key, minutes=31)
    company.decide(days=days + 2)
    expected = {row[0] for row in company.rows(by_rule)}
    assert company.members(key) == expected - (refusing if key == "reachable" else set())
    company.check_consistency()


@given(data=st.data())
@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_history_can_be_gone_back_in(tiers, data) -> None:
    go_back_in_any_history(tiers, data)


@pytest.mark.slow
@given(data=st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_history_can_be_gone_back_in_many_times_over(tiers, data) -> None:
    go_back_in_any_history(tiers, data)
