"""Cost per segment and member, as the summary shows it."""

from datetime import date, datetime, timedelta

from segmentation.costs.publish import publish
from segmentation.costs.unit_costs import segment_costs

DAY = datetime(2026, 10, 5)
RULES = (
    {"pool": "storage", "method": "proportional", "driver": "members"},
    {"pool": "support", "method": "direct", "segment": "__overhead__"},
    {"pool": "contract", "method": "direct", "segment": "gone"},
)


def test_cost_per_member_is_over_average_daily_members(company, run) -> None:
    for segment in ("vip", "core", "gone"):
        company.segment(segment)
    company.people(vip=20, core=19)
    company.judged(DAY)
    for number in range(20):
        company.customer(f"late_{number}", created_at=DAY + timedelta(days=1))
        company.member(f"late_{number}", "vip", DAY + timedelta(days=1))
    company.charge("a", "39.00", service_name="storage")
    company.charge("b", "59.00", start=DAY + timedelta(days=1), service_name="storage")
    company.charge("s", "7.00", service_name="support")
    company.charge("g", "3.00", service_name="contract")
    company.build(company.pools(*RULES))
    publish(company.con, run)
    costs = {cost.segment_key: cost for cost in segment_costs(company.con, DAY.date(), date(2026, 10, 7))}
    assert list(costs) == ["__overhead__", "core", "gone", "vip"]
    assert sum(cost.effective_micros for cost in costs.values()) == 108_000_000
    vip = costs["vip"]
    assert (vip.effective_micros, vip.average_members, vip.cost_per_member_micros) == (60_000_000, 30.0, 2_000_000)
    assert not vip.is_suppressed


def test_few_members_are_suppressed_and_none_is_null(company, run) -> None:
    for segment in ("vip", "core", "gone"):
        company.segment(segment)
    company.people(vip=20, core=19)
    company.charge("a", "39.00", service_name="storage")
    company.charge("g", "3.00", service_name="contract")
    company.build(company.pools(*RULES))
    publish(company.con, run)
    costs = {cost.segment_key: cost for cost in segment_costs(company.con, DAY.date(), date(2026, 10, 6))}
    assert (costs["core"].is_suppressed, costs["core"].cost_per_member_micros) == (True, None)
    assert (costs["vip"].is_suppressed, costs["vip"].cost_per_member_micros) == (False, 1_000_000)
    assert (costs["gone"].is_suppressed, costs["gone"].cost_per_member_micros) == (False, None)
    assert costs["gone"].average_members is None


def test_days_outside_are_not_counted(company, run) -> None:
    company.build(company.pools(*RULES[:2]))
    publish(company.con, run)
    assert segment_costs(company.con, DAY.date(), date(2026, 10, 6)) == []
