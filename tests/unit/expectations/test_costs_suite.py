"""Every truth about costs holds on good ones and is broken by one mistake of its own."""

from collections.abc import Callable

import pytest

from expectations.suites.costs import SUITE
from expectations.truths import Suite
from segmentation import contracts
from segmentation.run import Run
from segmentation.warehouse import Connection

Check = Callable[[Connection, Suite], set[str]]

CHARGES = "costs.candidate_charges"
ALLOCATIONS = "costs.candidate_allocations"
SPLIT = (
    f"insert into {ALLOCATIONS} select * replace ('free' as segment_key, 0 as allocated_effective_micros, "
    f"0 as allocated_billed_micros, {{}}) from {ALLOCATIONS} where segment_key = 'vip'"
)
FINDING = "insert into costs.candidate_findings values ('{}', 'api', date '2026-10-01', 1, -1, 'r', now()::timestamp)"
CEILING = "update segments.catalog set definition = json_object('cost_ceiling', json_object('{}', '{}'))"

MISTAKES = {
    "costs_reconcile_with_the_bill": "update costs.candidate_reconciliation set difference_billed_micros = -1",
    "totals_reconcile_with_the_bill": "update costs.candidate set allocated_effective_micros = 1",
    "every_charge_is_reconciled": "delete from costs.candidate_reconciliation",
    "nothing_is_allocated_without_a_charge": SPLIT.format("'gone' as origin_charge_id"),
    "charges_are_stated_once": f"insert into {CHARGES} select * from {CHARGES}",
    "segments_are_charged_once": f"insert into {ALLOCATIONS} select * from {ALLOCATIONS}",
    "only_the_exclusive_view_adds_up": SPLIT.format("'full' as allocation_view"),
    "views_are_known": SPLIT.format("'partial' as allocation_view, false as is_additive"),
    "costs_go_to_segments_that_exist": "delete from segments.catalog",
    "every_allocation_names_its_method": SPLIT.format("null as allocated_method_id"),
    "rounding_loses_no_micro": f"update {CHARGES} set residual_effective = 0.0000006",
    "charges_are_in_one_currency": f"update {CHARGES} set billing_currency = 'USD'",
    "no_charge_is_from_the_future": f"update {CHARGES} set incurred_date = date '2026-11-02'",
    "use_is_never_negative": (
        "insert into costs.candidate_drivers_daily values "
        "(date '2026-10-01', 'requests', 'request', 'exclusive', 'vip', -1, 0, 'r', timestamp '2026-11-01')"
    ),
    "use_of_segments_adds_up_to_all_use": FINDING.format("driver_mismatch"),
    "the_bill_is_attributed": "update costs.candidate set allocation_coverage = 0.7",
    "most_of_the_bill_is_attributed": "update costs.candidate set allocation_coverage = 0.9",
    "nobody_uses_more_than_there_is": FINDING.format("negative_idle"),
    "no_usage_record_is_negative": FINDING.format("negative_driver"),
    "segments_cost_what_they_may": CEILING.format("per_month", "0.000004"),
}


@pytest.fixture
def good(con: Connection, run: Run) -> Connection:
    for stage in ("segments", "costs"):
        contracts.ensure_schema(con, stage)
    contracts.stamp_candidate(con, "costs", run)
    for table in ("charges", "drivers_daily", "allocations", "reconciliation", "findings"):
        con.execute(f"create table costs.candidate_{table} as from costs.{table} limit 0")
    con.execute(
        "create table costs.candidate as select 10::hugeint as charged_effective_micros, "
        "10::hugeint as allocated_effective_micros, 12::hugeint as charged_billed_micros, "
        "12::hugeint as allocated_billed_micros, 0.99 as allocation_coverage, 0.95 as coverage_warn_below, "
        "0.8 as coverage_fail_below, 'GBP' as reporting_currency, "
        "'tier' as costing_group"
    )
    con.execute(
        f"insert into {CHARGES} by name select 'cloud' as source, 'c1' as origin_charge_id, 1 as charge_version, "
        "date '2026-10-01' as incurred_date, 10 as effective_micros, 12 as billed_micros, "
        "0.0000005 as residual_effective, -0.0000005 as residual_billed, 'GBP' as billing_currency, 1 as fx_rate"
    )
    con.execute(
        f"insert into {ALLOCATIONS} by name select 'cloud' as source, 'c1' as origin_charge_id, 1 as charge_version, "
        "date '2026-10-01' as incurred_date, "
        "'exclusive' as allocation_view, unnest(['vip', '__idle__']) as segment_key, "
        "'proportional' as allocated_method_id, 5 as allocated_effective_micros, 6 as allocated_billed_micros, "
        "true as is_additive"
    )
    con.execute(
        "insert into costs.candidate_reconciliation by name select 'cloud' as source, 'c1' as origin_charge_id, "
        "1 as charge_version, 'exclusive' as allocation_view, true as is_additive, 0 as difference_effective_micros, "
        "0 as difference_billed_micros union all select 'cloud', 'c1', 1, 'full', false, 7, 7"
    )
    con.execute(
        "create or replace table segments.catalog as select unnest(['vip', 'free']) as segment_key, "
        "'tier' as group_key, 1 as precedence, true as is_evaluated, '{}'::json as definition"
    )
    return con


def test_good_costs_pass(good: Connection, check: Check) -> None:
    assert check(good, SUITE) == set()


def test_without_a_bill_there_is_nothing_against_costs(good: Connection, check: Check) -> None:
    for table in ("charges", "allocations", "reconciliation"):
        good.execute(f"delete from costs.candidate_{table}")
    good.execute("update costs.candidate set allocation_coverage = null")
    assert check(good, SUITE) == set()


@pytest.mark.parametrize("truth", [truth.name for truth in SUITE.truths])
def test_one_mistake_breaks_one_truth(good: Connection, check: Check, truth: str) -> None:
    good.execute(MISTAKES[truth])
    assert check(good, SUITE) == {truth}


MEMBERS = (
    "insert into costs.candidate_drivers_daily values "
    "(date '2026-10-{}', 'members', 'member', '{}', 'vip', {}, 0, 'r', timestamp '2026-11-01')"
)


@pytest.mark.parametrize(
    ("members", "ceiling", "is_broken"),
    [((20, 30), "0.000039", True), ((20, 30), "0.00004", False), ((1, 1), "0.000039", False)],
)
def test_the_cost_of_a_member_is_judged_where_there_are_enough(
    good: Connection, check: Check, members: tuple[int, int], ceiling: str, is_broken: bool
) -> None:
    for day, count in zip(("01", "02"), members, strict=True):
        good.execute(MEMBERS.format(day, "exclusive", count))
    good.execute(f"update {ALLOCATIONS} set allocated_effective_micros = 1000 where segment_key = 'vip'")
    good.execute(CEILING.format("per_member", ceiling))
    assert check(good, SUITE) == ({"segments_cost_what_they_may"} if is_broken else set())


def test_a_segment_that_splits_no_costs_is_judged_by_all_that_its_members_cause(good: Connection, check: Check) -> None:
    good.execute("update segments.catalog set group_key = null")
    good.execute(CEILING.format("per_month", "0.000004"))
    assert check(good, SUITE) == set()
    good.execute(
        f"insert into {ALLOCATIONS} select * replace ('full' as allocation_view, false as is_additive) "
        f"from {ALLOCATIONS} where segment_key = 'vip'"
    )
    assert check(good, SUITE) == {"segments_cost_what_they_may"}


def test_only_the_newest_month_is_judged(good: Connection, check: Check) -> None:
    good.execute(CEILING.format("per_month", "0.000004"))
    good.execute(
        f"insert into {ALLOCATIONS} select * replace ('__idle__' as segment_key, date '2026-11-01' as incurred_date, "
        f"'exclusive' as allocation_view, 'x' as pool_key, 'direct' as allocated_method_id) "
        f"from {ALLOCATIONS} where segment_key = 'vip' limit 1"
    )
    assert "segments_cost_what_they_may" not in check(good, SUITE)
