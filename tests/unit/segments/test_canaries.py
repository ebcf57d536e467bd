"""Canaries of a definition: for whom the new version holds, what ends it, and what that moves."""

from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segmentation import contracts
from segmentation.errors import CatalogProblems, NotFoundError, StrataError
from segmentation.identity.rule_book import Signature
from segmentation.segments.approvals import Approver, Step, approve
from segmentation.segments.canaries import in_canary_sql, is_in_canary
from segmentation.segments.canary_decisions import CanaryDecision, decide_canary
from segmentation.segments.canary_metrics import compare
from segmentation.segments.canary_rows import read_canaries
from segmentation.segments.candidate import build_candidate
from segmentation.segments.catalog import Catalog, load_catalog
from segmentation.segments.definitions import CanaryMetric
from segmentation.segments.explain import explain
from segmentation.segments.in_force import definitions_to_evaluate, find_units
from segmentation.segments.live_catalog import read_live
from segmentation.segments.publish import publish
from segmentation.segments.state import export_state, restore_state
from segmentation.warehouse import transaction

from .conftest import START, TIERS, Company

AT = datetime(2026, 11, 20, 8)
CUSTOMERS = [f"c_{number:03}" for number in range(400)]


@pytest.fixture
def crowd(company: Company) -> Company:
    """Four hundred customers, one segment of those who ordered three times or more."""
    company.features()
    company.con.execute(
        "insert into features.customer_features (customer_id, as_of, orders_90d, consented_purposes) "
        "select 'c_' || lpad(cast(i as varchar), 3, '0'), ?, i % 6, [] from range(?) as r(i)",
        [START, len(CUSTOMERS)],
    )
    company.write("keen", "orders_90d >= 3")
    return company


def ordered(least: int) -> set[str]:
    return {one for number, one in enumerate(CUSTOMERS) if number % 6 >= least}


def drawn(percent: int, key: str = "keen") -> set[str]:
    return {one for one in CUSTOMERS if is_in_canary(key, percent, one)}


def evaluated(company: Company) -> Catalog:
    contracts.ensure_schema(company.con, "segments")
    return definitions_to_evaluate(company.con, company.folder, company.types, at=START)


def run(company: Company, days: int = 0, at_step: Any = None) -> Catalog:
    """Evaluate what is in force, and publish it."""
    catalog = evaluated(company)
    moment = company.next_run(days)
    build_candidate(company.con, moment, catalog)
    publish(company.con, moment, at_step)
    company.check_consistency()
    return catalog


def accept(company: Company) -> None:
    """Approve everything that waits, as strata apply does."""
    live = read_live(company.con, company.folder, company.types)
    units = find_units(live, load_catalog(company.folder, company.types))
    steps = [Step(unit.key, unit.base_hash, unit.target_hash) for unit in units]
    approve(company.con, steps, Approver("ana", "agreed in review", AT), "plan-hash", 1, 90)


def try_rule(company: Company, rule: str, percent: int = 20, **keys: Any) -> None:
    canary = keys.pop("canary", f"{{percent: {percent}, hold: 7}}")
    company.write("keen", rule, lifecycle="canary", canary=canary, **keys)


def end(company: Company, action: str, *, force: bool = False) -> CanaryDecision:
    with transaction(company.con):
        return decide_canary(company.con, action, "keen", Signature("jo", "case 12", AT), force=force)


def state(company: Company) -> str:
    return read_canaries(company.con)["keen"].state


@given(st.text(max_size=20), st.integers(1, 98))
def test_a_larger_share_only_adds_customers(customer: str, percent: int) -> None:
    assert is_in_canary("keen", percent + 1, customer) or not is_in_canary("keen", percent, customer)


@pytest.mark.parametrize("percent", [1, 10, 50, 99])
def test_the_share_is_as_asked_and_the_same_in_sql_and_python(con, percent: int) -> None:
    rows = con.execute(
        f"select customer, {in_canary_sql('keen', percent, 'customer')} "
        "from (select 'c_' || i as customer from range(20000) as r(i))"
    ).fetchall()
    assert all(is_in_canary("keen", percent, customer) == is_drawn for customer, is_drawn in rows)
    # Six standard deviations of a draw of 20,000.
    spread = 6 * (percent * (100 - percent) / 20_000) ** 0.5
    assert abs(100 * sum(is_drawn for _, is_drawn in rows) / len(rows) - percent) < spread
    others = sum(is_in_canary("other", percent, customer) == is_drawn for customer, is_drawn in rows)
    assert others < len(rows)


def test_a_wider_canary_holds_for_its_share_and_the_base_for_the_rest(crowd: Company) -> None:
    run(crowd)
    try_rule(crowd, "orders_90d >= 2")
    assert run(crowd, days=1).held == ()
    assert crowd.members("keen") == ordered(3) | ordered(2) & drawn(20)
    causes = {(change, cause) for _, _, change, cause in crowd.changes()[len(ordered(3)) :]}
    assert causes == {("enter", "rule")}
    run(crowd, days=2)
    assert crowd.members("keen") == ordered(3) | ordered(2) & drawn(20)
    try_rule(crowd, "orders_90d >= 2", percent=60)
    assert run(crowd, days=3).held == ()
    assert crowd.members("keen") == ordered(3) | ordered(2) & drawn(60)
    rows = crowd.rows("select canary_seq, base_version, percent, started_at, state from segments.canaries")
    assert rows == [(1, 1, 60, datetime(2026, 11, 2), "running")]
    # A smaller share puts members out, so that it waits.
    try_rule(crowd, "orders_90d >= 2", percent=10)
    assert [one.subject for one in run(crowd, days=4).held] == ["keen"]
    assert crowd.members("keen") == ordered(3) | ordered(2) & drawn(60)


def test_a_narrower_canary_waits_for_approval_and_so_does_a_larger_share(crowd: Company) -> None:
    run(crowd)
    try_rule(crowd, "orders_90d >= 5")
    assert [one.subject for one in run(crowd, days=1).held] == ["keen"]
    assert crowd.members("keen") == ordered(3)
    assert read_canaries(crowd.con) == {}
    accept(crowd)
    assert run(crowd, days=2).held == ()
    assert crowd.members("keen") == ordered(5) & drawn(20) | ordered(3) - drawn(20)
    try_rule(crowd, "orders_90d >= 5", percent=50, description="Other words.")
    assert [one.subject for one in run(crowd, days=3).held] == ["keen"]
    accept(crowd)
    run(crowd, days=4)
    assert crowd.members("keen") == ordered(5) & drawn(50) | ordered(3) - drawn(50)


def test_a_new_segment_stands_beside_nobody(crowd: Company) -> None:
    crowd.remove("keen")
    crowd.write("other")
    run(crowd)
    try_rule(crowd, "orders_90d >= 3", percent=30)
    assert run(crowd, days=1).held == ()
    assert crowd.members("keen") == ordered(3) & drawn(30)
    assert end(crowd, "abort").is_pending
    run(crowd, days=2)
    assert crowd.members("keen") == set()


def test_lists_consent_and_residency_hold_for_whom_their_version_holds(crowd: Company) -> None:
    ins, outs = sorted(drawn(50))[:4], sorted(set(CUSTOMERS) - drawn(50))[:4]
    crowd.write(
        "keen",
        "false",
        kind="hybrid",
        include=f"[{{customer: {ins[0]}, reason: x}}, {{customer: {outs[0]}, reason: x}}]",
    )
    run(crowd)
    new = f"[{{customer: {ins[1]}, reason: y}}, {{customer: {outs[1]}, reason: y}}]"
    try_rule(
        crowd,
        "false",
        percent=50,
        kind="hybrid",
        include=new,
        consent="{purposes: [marketing.email]}",
        residency="[EU]",
    )
    accept(crowd)
    crowd.alter(ins[1], consented_purposes=["marketing.email"], residency_region="EU")
    run(crowd, days=1)
    assert crowd.members("keen") == {outs[0], ins[1]}
    crowd.alter(ins[1], residency_region="US")
    run(crowd, days=2)
    assert crowd.members("keen") == {outs[0]}
    crowd.alter(ins[1], consented_purposes=[], residency_region="EU")
    run(crowd, days=3)
    assert crowd.members("keen") == {outs[0]}


def test_a_canary_in_an_exclusive_group_leaves_one_winner(crowd: Company) -> None:
    crowd.write_groups(TIERS)
    crowd.write("vip", "orders_90d >= 5", group="tier", precedence=1)
    crowd.write("free", "true", group="tier", precedence=2)
    run(crowd)
    crowd.write(
        "vip", "orders_90d >= 4", group="tier", precedence=1, lifecycle="canary", canary="{percent: 40, hold: 7}"
    )
    assert [one.subject for one in evaluated(crowd).held] == ["vip"]
    accept(crowd)
    run(crowd, days=1)
    vip = ordered(5) | ordered(4) & drawn(40, "vip")
    assert crowd.members("vip") == vip
    assert crowd.members("free") == set(CUSTOMERS) - vip


@pytest.mark.parametrize("keys", [{"group": "tier", "precedence": 1}, {"expires_on": "2027-02-01"}])
def test_a_canary_shares_rank_group_and_last_day_with_its_base(crowd: Company, keys: dict[str, Any]) -> None:
    crowd.write_groups(TIERS)
    crowd.write("free", "true", group="tier", precedence=2)
    run(crowd)
    try_rule(crowd, "orders_90d >= 2", **keys)
    with pytest.raises(CatalogProblems, match=f"the canary of keen has {next(iter(keys))}"):
        evaluated(crowd)


def test_promoting_moves_the_rest_and_writing_it_down_moves_nobody(crowd: Company) -> None:
    run(crowd)
    try_rule(crowd, "orders_90d >= 5")
    accept(crowd)
    run(crowd, days=1)
    with pytest.raises(StrataError, match="the canary holds until"):
        end(crowd, "promote")
    run(crowd, days=8)
    assert end(crowd, "promote").is_new
    assert not end(crowd, "promote").is_new
    with pytest.raises(StrataError, match="promoted by jo"):
        end(crowd, "abort")
    assert run(crowd, days=9).held == ()
    assert crowd.members("keen") == ordered(5)
    changes = len(crowd.changes())
    crowd.write("keen", "orders_90d >= 5")
    assert run(crowd, days=10).held == ()
    assert len(crowd.changes()) == changes
    assert state(crowd) == "promoted"
    with pytest.raises(NotFoundError, match="no canary"):
        end(crowd, "abort")
    assert [row[0] for row in crowd.rows("select action from ops.audit_log order by seq")] == [
        "segments.approve",
        "segments.promote",
    ]


def test_aborting_puts_everybody_back_and_the_same_can_be_tried_again_from_the_file(crowd: Company) -> None:
    run(crowd)
    try_rule(crowd, "orders_90d >= 2")
    run(crowd, days=1)
    end(crowd, "abort")
    run(crowd, days=2)
    assert crowd.members("keen") == ordered(3)
    run(crowd, days=3)
    assert crowd.members("keen") == ordered(3)
    crowd.write("keen", "orders_90d >= 3")
    assert run(crowd, days=4).held == ()
    assert crowd.members("keen") == ordered(3)
    try_rule(crowd, "orders_90d >= 2")
    run(crowd, days=5)
    assert crowd.members("keen") == ordered(3) | ordered(2) & drawn(20)
    assert crowd.rows("select canary_seq, state from segments.canaries order by 1") == [(1, "aborted"), (2, "running")]


def test_an_aborted_canary_made_active_is_a_change_as_any(crowd: Company) -> None:
    run(crowd)
    try_rule(crowd, "orders_90d >= 5")
    accept(crowd)
    run(crowd, days=1)
    end(crowd, "abort")
    run(crowd, days=2)
    assert crowd.members("keen") == ordered(3)
    crowd.write("keen", "orders_90d >= 5")
    assert [one.subject for one in run(crowd, days=3).held] == ["keen"]
    assert crowd.members("keen") == ordered(3)


def test_another_rule_starts_another_canary_beside_the_same_base(crowd: Company) -> None:
    run(crowd)
    try_rule(crowd, "orders_90d >= 2")
    run(crowd, days=1)
    try_rule(crowd, "orders_90d >= 1")
    run(crowd, days=2)
    assert crowd.members("keen") == ordered(3) | ordered(1) & drawn(20)
    assert crowd.rows("select canary_seq, base_version, state, ended_by from segments.canaries order by 1") == [
        (1, 1, "aborted", "svc:strata"),
        (2, 1, "running", None),
    ]


METRIC = (
    "{{percent: 50, hold: 7, metrics: "
    "[{{feature: csat_mean, worse: lower, tolerance: 0.1, min_members: 20, on_breach: {}}}]}}"
)


def dissatisfy(company: Company, customers: set[str], by: float) -> None:
    """Give everybody some satisfaction, and some of them less."""
    company.con.execute(
        "update features.customer_features set csat_mean = 4 + cast(customer_id[3:] as integer) % 3 / 10.0 "
        "- case when list_contains(?::varchar[], customer_id) then ? else 0 end",
        [sorted(customers), by],
    )


def test_a_guard_that_is_worse_aborts_by_itself(crowd: Company) -> None:
    run(crowd)
    dissatisfy(crowd, drawn(50), 2)
    try_rule(crowd, "orders_90d >= 2", canary=METRIC.format("abort"))
    run(crowd, days=1)
    # Nobody has lived with it yet, so it did nothing.
    assert state(crowd) == "running"
    run(crowd, days=2)
    assert crowd.members("keen") == ordered(3)
    canary = read_canaries(crowd.con)["keen"]
    assert (canary.state, canary.ended_by) == ("aborted", "svc:strata")
    assert "csat_mean is 2." in (canary.reason or "")
    affected = ordered(2) - ordered(3)
    assert canary.checks[0]["customers"] == len(affected & drawn(50))
    assert canary.checks[0]["other_customers"] == len(affected - drawn(50))
    dissatisfy(crowd, set(), 0)
    run(crowd, days=3)
    assert crowd.members("keen") == ordered(3)
    assert crowd.rows("select actor, action, subject from ops.audit_log") == [("svc:strata", "segments.abort", "keen")]


def test_a_signal_that_is_worse_pauses_until_somebody_decides(crowd: Company) -> None:
    run(crowd)
    try_rule(crowd, "orders_90d >= 2", canary=METRIC.format("pause"))
    run(crowd, days=1)
    dissatisfy(crowd, drawn(50), 2)
    run(crowd, days=9)
    assert state(crowd) == "paused"
    assert crowd.members("keen") == ordered(3) | ordered(2) & drawn(50)
    try_rule(crowd, "orders_90d >= 2", canary=METRIC.format("pause").replace("50", "90"))
    run(crowd, days=10)
    assert crowd.members("keen") == ordered(3) | ordered(2) & drawn(50)
    with pytest.raises(StrataError, match="the canary is paused: csat_mean"):
        end(crowd, "promote")
    end(crowd, "promote", force=True)
    run(crowd, days=11)
    assert crowd.members("keen") == ordered(2)


def test_who_is_no_different_is_not_compared(crowd: Company) -> None:
    run(crowd)
    try_rule(crowd, "orders_90d >= 2", canary=METRIC.format("abort"))
    run(crowd, days=1)
    dissatisfy(crowd, ordered(3) & drawn(50), 2)
    run(crowd, days=2)
    assert state(crowd) == "running"


@pytest.mark.parametrize(
    ("inside", "outside", "verdict"),
    [
        ((100, 4.0, 1.0), (100, 3.0, 1.0), "worse"),
        ((100, 3.0, 1.0), (100, 4.0, 1.0), "kept"),
        ((100, 3.2, 0.01), (100, 3.0, 0.01), "kept"),  # within the tolerance
        ((100, 4.0, 100.0), (100, 3.0, 100.0), "kept"),  # noise
        ((19, 4.0, 0.1), (100, 3.0, 0.1), "too_few"),
        ((100, 4.0, 0.1), (0, None, None), "too_few"),
        ((100, 1.0, 0.0), (100, 0.0, 0.0), "worse"),
        ((100, 1.0, 0.0), (100, 1.0, 0.0), "kept"),
    ],
)
def test_a_metric_is_worse_beyond_tolerance_and_noise(inside: Any, outside: Any, verdict: str) -> None:
    metric = CanaryMetric(feature="x", worse="higher", tolerance=0.1, min_members=20, on_breach="abort")
    assert compare(metric, inside, outside).verdict == verdict
    mirrored = metric.model_copy(update={"worse": "lower"})
    negative = [(n, None if mean is None else -mean, spread) for n, mean, spread in (inside, outside)]
    assert compare(mirrored, *negative).verdict == verdict


class CrashError(Exception):
    """The process ends here."""


@pytest.mark.parametrize("stop", ["changes", "membership", "catalog", "canaries", "versions", "publication"])
def test_a_crash_at_any_step_leaves_the_version_before(crowd: Company, stop: str) -> None:
    run(crowd)
    try_rule(crowd, "orders_90d >= 2")

    def at_step(step: str) -> None:
        if step == stop:
            raise CrashError

    with pytest.raises(CrashError):
        run(crowd, days=1, at_step=at_step)
    assert crowd.members("keen") == ordered(3)
    assert read_canaries(crowd.con) == {}
    run(crowd, days=1)
    assert crowd.members("keen") == ordered(3) | ordered(2) & drawn(20)
    assert state(crowd) == "running"


def test_a_decision_made_while_a_run_is_under_way_is_not_taken_back(crowd: Company) -> None:
    run(crowd)
    try_rule(crowd, "orders_90d >= 2")
    run(crowd, days=1)
    catalog = evaluated(crowd)
    moment = crowd.next_run(2)
    build_candidate(crowd.con, moment, catalog)
    end(crowd, "abort")
    publish(crowd.con, moment)
    assert state(crowd) == "aborted"
    assert crowd.members("keen") == ordered(3) | ordered(2) & drawn(20)
    run(crowd, days=3)
    assert crowd.members("keen") == ordered(3)


def test_what_the_base_asks_about_is_decided_before(crowd: Company) -> None:
    crowd.write("zeal", "orders_90d >= 4")
    crowd.write("keen", "in_segment('zeal')")
    run(crowd)
    try_rule(crowd, "orders_90d >= 2")
    accept(crowd)
    run(crowd, days=1)
    assert crowd.members("keen") == ordered(2) & drawn(20) | ordered(4)
    crowd.remove("zeal")
    with pytest.raises(StrataError, match="zeal"):
        evaluated(crowd)


def test_an_erased_customer_leaves_a_canary_as_any_segment(crowd: Company) -> None:
    run(crowd)
    try_rule(crowd, "orders_90d >= 2")
    run(crowd, days=1)
    gone = min(ordered(2) & drawn(20) - ordered(3))
    crowd.fill("identity.customers", customer_id=gone, status="erased")
    crowd.con.execute("delete from features.customer_features where customer_id = ?", [gone])
    run(crowd, days=2)
    assert gone not in crowd.members("keen")
    assert crowd.changes()[-1] == (gone, "keen", "exit", "erasure")


def test_a_canary_survives_the_loss_of_the_warehouse(crowd: Company, tmp_path) -> None:
    run(crowd)
    try_rule(crowd, "orders_90d >= 2")
    catalog = evaluated(crowd)
    moment = crowd.next_run(1)
    build_candidate(crowd.con, moment, catalog)
    publish(crowd.con, moment)
    for customer in CUSTOMERS:
        crowd.fill("identity.customers", customer_id=customer, status="active")
    before = read_canaries(crowd.con)
    folder = export_state(crowd.con, tmp_path / "exports", moment)
    crowd.con.execute("delete from segments.canaries")
    restore_state(crowd.con, folder)
    assert read_canaries(crowd.con) == before
    members = crowd.members("keen")
    run(crowd, days=2)
    assert crowd.members("keen") == members


def test_an_explanation_tells_which_version_holds_for_the_customer(crowd: Company) -> None:
    run(crowd)
    try_rule(crowd, "orders_90d >= 2")
    run(crowd, days=1)
    affected = ordered(2) - ordered(3)
    inside, outside = min(affected & drawn(20)), min(affected - drawn(20))
    (found,) = explain(crowd.con, inside, "keen").segments
    assert (found.is_member, found.reason, found.rule) == (True, "rule", "orders_90d >= 2")
    assert found.sentence.endswith("(canary: new version 2)")
    (found,) = explain(crowd.con, outside, "keen").segments
    assert (found.is_member, found.reason, found.rule) == (False, "rule_false", "orders_90d >= 3")
    assert found.sentence.endswith("(canary: base version 1)")
    assert found.as_dict()["canary"] == {"version": 1, "is_drawn": False, "percent": 20, "state": "running"}


def test_a_metric_is_a_number_of_the_contract(company: Company) -> None:
    company.write(
        "keen", lifecycle="canary",
        canary="{percent: 5, hold: 1, metrics: [{feature: plan, worse: lower}, {feature: csat_maen, worse: lower}]}",
    )  # fmt: skip
    with pytest.raises(CatalogProblems) as error:
        company.catalog()
    text = str(error.value)
    assert "plan is text" in text
    assert "unknown feature csat_maen" in text


@pytest.mark.parametrize("canary", [None, "{percent: 0, hold: 1}", "{percent: 100, hold: 1}", "{percent: 5}"])
def test_a_canary_says_for_how_many_and_how_long(company: Company, canary: str | None) -> None:
    company.write("keen", lifecycle="canary", canary=canary)
    with pytest.raises(CatalogProblems, match="canary"):
        company.catalog()
