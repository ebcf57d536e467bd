"""Mistakes that cost tools have shipped, one test each."""

from datetime import date, datetime

import pytest

from segmentation.costs.publish import publish
from segmentation.costs.unit_costs import segment_costs

DAY = datetime(2026, 10, 5)
EDGE = {"pool": "edge", "method": "proportional", "driver": "requests"}
COMPUTE = {"pool": "compute", "method": "proportional", "driver": "compute_ms"}


@pytest.fixture
def tiers(company):
    for segment in ("core", "free", "vip"):
        company.segment(segment)
    company.people(vip=1, core=1, free=1)
    return company


def test_a_charge_whose_driver_is_all_zero_does_not_vanish(tiers) -> None:
    tiers.charge("c", "5.00", service_name="compute")
    tiers.request(user_id="vip_0", compute_ms=0.0)
    tiers.build(tiers.pools(COMPUTE))
    assert tiers.rows(
        "select segment_key, reason, allocated_effective_micros from costs.candidate_allocations "
        "where allocation_view = 'exclusive'"
    ) == [("__unattributed__", "no_driver", 5_000_000)]
    assert tiers.summary()["allocation_coverage"] == 0


def test_without_a_driver_the_idle_share_is_still_idle(tiers) -> None:
    tiers.charge("c", "5.00", service_name="edge")
    tiers.build(tiers.pools(EDGE | {"idle": {"ratio": 0.2}}))
    for view in ("exclusive", "full"):
        assert tiers.allocated("c", view) == {"__idle__": 1_000_000, "__unattributed__": 4_000_000}


def test_filtering_the_finished_table_changes_no_share_and_counts_idle_once(tiers) -> None:
    tiers.charge("c", "100.00", service_name="edge")
    for segment, times in (("vip", 5), ("core", 3), ("free", 2)):
        tiers.request(user_id=f"{segment}_0", times=times)
    tiers.build(tiers.pools(EDGE | {"idle": {"capacity": 20}}))
    whole = tiers.allocated("c")
    assert whole == {"__idle__": 50_000_000, "core": 15_000_000, "free": 10_000_000, "vip": 25_000_000}
    filtered = dict(
        tiers.rows(
            "select segment_key, allocated_effective_micros from costs.candidate_allocations "
            "where allocation_view = 'exclusive' and segment_key in ('vip', '__idle__')"
        )
    )
    assert filtered == {key: whole[key] for key in ("vip", "__idle__")}


def test_the_denominator_is_over_the_rows_that_are_allocated(tiers) -> None:
    """Other drivers, other days and other segments in the same table must not change the shares."""
    tiers.charge("c", "100.00", service_name="edge")
    tiers.charge("d", "70.00", start=datetime(2026, 10, 6), service_name="compute")
    tiers.request(user_id="vip_0", times=3, compute_ms=1.0)
    tiers.request(user_id="core_0", compute_ms=1.0)
    tiers.request(datetime(2026, 10, 6), user_id="free_0", times=9, compute_ms=7.0)
    tiers.build(tiers.pools(EDGE, COMPUTE))
    assert tiers.allocated("c") == {"core": 25_000_000, "vip": 75_000_000}
    assert tiers.allocated("d") == {"free": 70_000_000}
    ratios = tiers.rows(
        "select origin_charge_id, sum(allocated_ratio) from costs.candidate_allocations "
        "where is_additive group by 1 order by 1"
    )
    assert ratios == [("c", 1.0), ("d", 1.0)]


def test_more_used_than_was_paid_for_gives_no_idle_and_a_finding(tiers) -> None:
    tiers.charge("c", "9.00", service_name="edge")
    tiers.request(user_id="vip_0", times=30)
    tiers.build(tiers.pools(EDGE | {"idle": {"capacity": 20}}))
    assert tiers.allocated("c") == {"vip": 9_000_000}
    assert tiers.summary()["negative_idle_findings"] == 1
    assert tiers.rows(
        "select finding, subject, finding_date, expected_quantity, found_quantity from costs.candidate_findings"
    ) == [("negative_idle", "edge", date(2026, 10, 5), 20, 30)]


def test_capacity_nobody_used_is_all_idle(tiers) -> None:
    tiers.charge("c", "9.00", service_name="compute", days=3)
    tiers.build(tiers.pools(COMPUTE | {"idle": {"capacity": 20}}))
    assert tiers.rows(
        "select segment_key, driver_quantity, driver_unit, reason from costs.candidate_allocations where is_additive"
    ) == [("__idle__", 60_000, "compute microseconds", "idle")]


def test_negative_usage_makes_no_share_negative_and_is_found(tiers) -> None:
    tiers.charge("c", "9.00", service_name="compute")
    tiers.request(user_id="vip_0", compute_ms=-50.0)
    tiers.request(user_id="core_0", compute_ms=2.0)
    tiers.request(user_id="free_0", compute_ms=1.0)
    tiers.build(tiers.pools(COMPUTE))
    assert tiers.allocated("c") == {"core": 6_000_000, "free": 3_000_000}
    assert tiers.summary()["negative_driver_findings"] == 1
    assert tiers.rows("select min(allocated_ratio) >= 0 from costs.candidate_allocations") == [(True,)]


def test_many_tiny_charges_do_not_lose_their_micros(tiers) -> None:
    for number in range(50):
        tiers.charge(f"c{number}", "0.000001", service_name="edge")
        tiers.charge(f"d{number}", "-0.000001", service_name="edge")
    for segment in ("vip", "core", "free"):
        tiers.request(user_id=f"{segment}_0")
    tiers.build(tiers.pools(EDGE))
    assert tiers.summary()["max_abs_difference_micros"] == 0
    assert tiers.allocated() == {"core": 0, "free": 0, "vip": 0}


def test_only_the_additive_view_is_summed_for_people(tiers, run) -> None:
    tiers.segment("label", group=None)
    tiers.member("vip_0", "label")
    tiers.charge("c", "9.00", service_name="edge")
    tiers.request(user_id="vip_0")
    tiers.build(tiers.pools(EDGE))
    publish(tiers.con, run)
    costs = {
        cost.segment_key: cost.effective_micros for cost in segment_costs(tiers.con, DAY.date(), date(2026, 10, 6))
    }
    assert costs == {"core": 0, "free": 0, "vip": 9_000_000}
    assert sum(tiers.allocated("c", "full").values()) == 18_000_000
