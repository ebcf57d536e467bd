"""An approval is of the plan that was reviewed: used once, taken back, or too old."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from segmentation import audit
from segmentation.errors import CandidateError, NotFoundError, StrataError
from segmentation.identity.rule_book import Signature
from segmentation.segments.approvals import Approval, read_approvals, withdraw
from segmentation.segments.candidate import build_candidate
from segmentation.segments.policy import Approvals, Policy, given_way, join
from segmentation.segments.publish import publish
from segmentation.warehouse import transaction

from .conftest import Company
from .stage import ANA, accept, evaluated, held, run, write_policy

WAITS = {("group:tier", "vip")}


def narrow(company: Company, at_least: int = 1000) -> None:
    company.write("vip", f"mrr_micros >= {at_least}", group="tier", precedence=1)


def states(company: Company) -> list[str]:
    """Return what has become of every approval, the newest first."""
    return [one.state(ANA.at, 90) for one in read_approvals(company.con, every=True)]


def take_back(company: Company, plan: str = "plan-hash") -> list[Approval]:
    with transaction(company.con):
        return withdraw(company.con, plan, Signature("bea", "SEG-13", ANA.at))


@pytest.fixture
def waiting(tiers: Company) -> Company:
    """A company whose best customers shall be fewer."""
    run(tiers)
    narrow(tiers)
    return tiers


def test_an_approval_that_was_used_approves_nothing_again(waiting: Company) -> None:
    accept(waiting)
    assert run(waiting, days=1).held == ()
    assert waiting.members("vip") == set()
    used = "select base_publication_seq, publication_seq, ended_by, ended_reason from segments.approvals"
    assert waiting.rows(used) == [(1, 2, "svc:strata", "used by publication 2")]
    # Somebody takes the change back, and months later it comes again: other customers would leave then.
    narrow(waiting, 100)
    accept(waiting, "plan-back")
    run(waiting, days=2)
    assert waiting.members("vip") == {"c_a"}
    narrow(waiting)
    assert held(run(waiting, days=3)) == WAITS
    assert waiting.members("vip") == {"c_a"}
    assert states(waiting) == ["used", "used"]


def test_an_approval_whose_run_never_came_is_used_by_the_next_one(waiting: Company) -> None:
    accept(waiting)
    narrow(waiting, 100)
    # A run meanwhile that changes nothing of it uses nothing up.
    run(waiting, days=1)
    assert states(waiting) == ["open"]
    narrow(waiting)
    assert run(waiting, days=2).held == ()
    assert states(waiting) == ["used"]


def test_an_approval_that_is_withdrawn_approves_nothing(waiting: Company) -> None:
    accept(waiting)
    assert [one.step.unit_key for one in take_back(waiting)] == ["group:tier"]
    assert held(run(waiting, days=1)) == WAITS
    assert waiting.members("vip") == {"c_a"}
    assert states(waiting) == ["withdrawn"]
    last = list(audit.read_log(waiting.con))[-1]
    assert (last.action, last.actor, last.detail["reason"]) == ("segments.withdraw", "bea", "SEG-13")
    with pytest.raises(NotFoundError, match="nothing that is approved of plan plan-hash waits"):
        take_back(waiting)
    # The same plan can be approved again.
    accept(waiting)
    assert run(waiting, days=2).held == ()


@pytest.mark.parametrize(
    ("plan", "kind", "told"),
    [("plan-h", StrataError, "does not name one plan"), ("", StrataError, "does not name one plan"),
     ("plan-hash", StrataError, "does not name one plan"), ("other-hash", NotFoundError, "waits")],
)  # fmt: skip
def test_what_is_withdrawn_is_named_by_its_plan(waiting: Company, plan: str, kind: type[Exception], told: str) -> None:
    accept(waiting, "plan-hash-1")
    accept(waiting, "plan-hash-2")
    with pytest.raises(kind, match=told):
        take_back(waiting, plan)
    assert "withdrawn" not in states(waiting)
    assert [one.plan_hash for one in take_back(waiting, "PLAN-HASH-2")] == ["plan-hash-2"]
    assert run(waiting, days=1).held == ()


def test_an_approval_that_is_withdrawn_while_its_run_is_at_work_stops_it(waiting: Company) -> None:
    accept(waiting)
    moment = waiting.next_run(1)
    build_candidate(waiting.con, moment, evaluated(waiting))
    take_back(waiting)
    with pytest.raises(CandidateError, match="withdrawn by bea since this candidate was built"):
        publish(waiting.con, moment)
    assert waiting.members("vip") == {"c_a"}
    assert held(run(waiting, days=1)) == WAITS


def test_an_approval_gets_too_old_and_the_plan_can_be_approved_again(waiting: Company) -> None:
    write_policy(waiting, "approvals: {expire_after_days: 3}\n")
    run(waiting)
    accept(waiting)
    late = ANA.at + timedelta(days=3)
    assert held(run(waiting, days=1, at=late)) == WAITS
    assert evaluated(waiting, late - timedelta(seconds=1)).held == ()
    accept(waiting, approver=replace(ANA, at=late + timedelta(days=88)))
    assert held(evaluated(waiting, late + timedelta(days=89))) == set()


def test_another_step_of_the_unit_overtakes_an_approval(waiting: Company) -> None:
    accept(waiting, "plan-fewer")
    narrow(waiting, 50)
    waiting.write("core", "mrr_micros > 0", group="tier", precedence=2, expires_on="2030-01-01")
    accept(waiting, "plan-more")
    run(waiting, days=1)
    assert states(waiting) == ["used", "overtaken"]
    narrow(waiting, 100)
    waiting.write("core", "mrr_micros > 0", group="tier", precedence=2)
    accept(waiting, "plan-back")
    run(waiting, days=2)
    narrow(waiting)
    assert held(evaluated(waiting)) == WAITS


def test_an_approval_of_a_version_that_noted_no_publication_approves_nothing(waiting: Company) -> None:
    accept(waiting)
    waiting.con.execute("update segments.approvals set base_publication_seq = null")
    assert held(evaluated(waiting)) == WAITS
    accept(waiting)
    assert evaluated(waiting).held == ()


@pytest.mark.parametrize("at", ["membership", "approvals_used", "approvals", "publication"])
def test_a_kill_while_publishing_uses_nothing_up(waiting: Company, at: str) -> None:
    accept(waiting)
    moment = waiting.next_run(1)
    build_candidate(waiting.con, moment, evaluated(waiting))

    def stop(step: str) -> None:
        if step == at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        publish(waiting.con, moment, stop)
    assert states(waiting) == ["open"]
    assert run(waiting, days=1).held == ()
    assert states(waiting) == ["used"]


def test_approvals_that_count_longer_are_a_policy_that_gives_way() -> None:
    def policy(**keys: Any) -> Policy:
        return Policy(approvals=Approvals(**keys))

    told = ["an approval whose run never came counts for 90 days, no longer for 3"]
    assert given_way(policy(expire_after_days=3), policy()) == told
    assert given_way(policy(), policy(expire_after_days=3)) == []
    assert join(policy(), policy(expire_after_days=3)).approvals.expire_after_days == 3
