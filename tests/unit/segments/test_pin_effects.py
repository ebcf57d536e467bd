"""What a decision about a segment would do, told before and after; and what keeps customers from coming back."""

from datetime import datetime

import pytest

from segmentation import audit
from segmentation.errors import NotFoundError
from segmentation.identity.rule_book import Signature
from segmentation.run import Run
from segmentation.segments.pin_decisions import decide_pin
from segmentation.segments.pin_effects import Moved, measure_effect, preview, read_movers
from segmentation.segments.publish import STEPS, publish
from segmentation.warehouse import transaction

JO = Signature("jo", "case 12", datetime(2026, 11, 20, 8))


def dry(company, action: str, key: str, to: str = ""):
    as_of = company.rows("select max(as_of) from features.customer_features")[0][0]
    return preview(company.con, Run("dry-run", as_of, JO.at), company.catalog(), action, key, JO, to)


def everything(company) -> dict[str, list]:
    tables = company.rows(
        "select table_schema || '.' || table_name from information_schema.tables "
        "where table_schema in ('segments', 'ops') order by 1"
    )
    return {name: company.rows(f"select * from {name} order by all") for (name,) in tables}


def test_a_dry_run_tells_and_leaves_nothing(tiers) -> None:
    tiers.decide()
    before = everything(tiers)
    decision, effect, movers = dry(tiers, "kill", "vip")
    assert decision.is_new
    assert (effect.members_before, effect.members_after, effect.entering, effect.leaving) == (1, 0, 0, 1)
    assert effect.moved == (Moved("core", 1, 0),)
    assert movers.leaving == ("c_a",)
    assert everything(tiers) == before
    with pytest.raises(NotFoundError):
        dry(tiers, "rollback", "vip", "p9")
    assert everything(tiers) == before
    tiers.decide(days=1)
    assert tiers.members("vip") == {"c_a"}


def test_who_can_not_come_back_is_told_with_the_reason(tiers) -> None:
    everybody = ["c_a", "c_b", "c_c", "c_d"]
    tiers.write("reachable", "is_known", consent="{purposes: [marketing.email]}", residency="[EU]")
    for one in everybody:
        tiers.alter(one, is_known=True, consented_purposes=["marketing.email"], residency_region="EU")
    tiers.con.execute(
        "insert into features.customer_features select * replace (customer_id || '2' as customer_id) "
        "from features.customer_features"
    )
    tiers.decide()
    assert len(tiers.members("reachable")) == 8
    tiers.write("reachable", "false", consent="{purposes: [marketing.email]}", residency="[EU]")
    tiers.decide(days=1)
    tiers.alter("c_a", consented_purposes=[])
    tiers.alter("c_b", residency_region="UK")
    tiers.con.execute("delete from features.customer_features where customer_id in ('c_c', 'c_d', 'c_a2')")
    tiers.fill("identity.customers", customer_id="c_c", status="erased")
    tiers.fill("identity.customer_aliases", old_customer_id="c_a2", customer_id="c_b2")
    # An erasure leaves no row of the customer, in the log neither.
    for table in ("membership_changes", "membership_history"):
        tiers.con.execute(f"delete from segments.{table} where customer_id = 'c_d2'")
    _, effect, movers = dry(tiers, "rollback", "reachable", "p1")
    assert effect.kept_out == {"consent": 1, "residency": 1, "erased": 2, "unknown": 1}
    assert effect.merged == 1
    assert movers.kept_out == {"c_a": "consent", "c_b": "residency", "c_c": "erased", "c_d": "unknown"}
    assert movers.entering == ("c_b2", "c_c2")


def test_whom_only_a_later_edit_keeps_out_is_told_apart(tiers) -> None:
    tiers.write("reachable", "is_known", consent="{purposes: [marketing.email]}")
    for one, region in (("c_a", "EU"), ("c_b", "EU"), ("c_c", "US"), ("c_d", "EU")):
        allowed = ["marketing.email", "marketing.sms"] if one in {"c_c", "c_d"} else ["marketing.email"]
        tiers.alter(one, is_known=True, consented_purposes=allowed, residency_region=region)
    tiers.decide()
    assert tiers.members("reachable") == {"c_a", "c_b", "c_c", "c_d"}
    tiers.write("reachable", "is_known", consent="{purposes: [marketing.email, marketing.sms]}", residency="[EU]")
    tiers.decide(days=1)
    assert tiers.members("reachable") == {"c_d"}
    tiers.alter("c_b", consented_purposes=[])
    _, effect, movers = dry(tiers, "rollback", "reachable", "p1")
    assert movers.kept_out == {"c_a": "new_consent", "c_b": "consent", "c_c": "new_residency"}
    assert effect.kept_out == {"consent": 1, "new_consent": 1, "new_residency": 1}


def test_another_pin_of_the_group_is_a_reason_too(tiers) -> None:
    tiers.decide()
    tiers.alter("c_a", mrr_micros=5)
    tiers.decide(days=1)
    with transaction(tiers.con):
        decide_pin(tiers.con, "rollback", "vip", JO, to="p1")
    tiers.decide(days=2)
    decision, effect, _ = dry(tiers, "rollback", "core", "p2")
    assert decision.moment.members == 2
    assert effect.kept_out == {"group": 1}


def test_what_was_told_before_is_what_comes(tiers) -> None:
    tiers.decide()
    tiers.alter("c_b", mrr_micros=700)
    tiers.decide(days=1)
    _, foretold, who = dry(tiers, "rollback", "vip", "p1")
    with transaction(tiers.con):
        decision = decide_pin(tiers.con, "rollback", "vip", JO, to="p1")
    tiers.decide(days=1)
    assert measure_effect(tiers.con, decision) == foretold
    assert read_movers(tiers.con, "vip") == who
    assert tiers.members("vip") == {"c_a"}


@pytest.mark.parametrize("step", STEPS)
def test_a_rollback_that_is_stopped_at_any_step_is_whole_or_not_there(tiers, step: str) -> None:
    tiers.decide()
    tiers.alter("c_a", mrr_micros=5)
    tiers.decide(days=1)
    with transaction(tiers.con):
        decide_pin(tiers.con, "rollback", "vip", JO, to="p1")
    run, _ = tiers.build(days=2)

    def stop(name: str) -> None:
        if name == step:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        publish(tiers.con, run, stop)
    assert tiers.members("vip") == set()
    # The decision stands, and the next run makes it so.
    tiers.decide(days=2)
    assert tiers.members("vip") == {"c_a"}
    assert audit.verify(tiers.con).problem is None
    tiers.check_consistency()


def test_a_decision_that_is_stopped_half_way_was_never_made(tiers, monkeypatch) -> None:
    tiers.decide()

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("segmentation.segments.pin_decisions.write_pin", stop)
    with pytest.raises(KeyboardInterrupt), transaction(tiers.con):
        decide_pin(tiers.con, "freeze", "vip", JO)
    monkeypatch.undo()
    assert list(audit.read_log(tiers.con)) == []
    assert tiers.rows("select * from segments.pin_members") == []
    assert tiers.rows("select * from segments.pins") == []
