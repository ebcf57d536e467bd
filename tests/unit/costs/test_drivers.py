"""Whose usage it was, and in which segment they were when it happened."""

from datetime import datetime, timedelta

import pytest

from segmentation.costs.candidate import build_candidate
from segmentation.errors import CatalogError, StrataError
from segmentation.run import Run

DAY = datetime(2026, 10, 5)
NOON = DAY + timedelta(hours=12)
EDGE = {"pool": "edge", "method": "proportional", "driver": "requests"}


def quantities(company, driver: str = "requests", view: str = "exclusive") -> dict[str, int]:
    return dict(
        company.rows(
            "select segment_key, quantity from costs.candidate_drivers_daily "
            "where driver_key = ? and allocation_view = ? and driver_date = ?",
            [driver, view, DAY.date()],
        )
    )


@pytest.fixture
def tiers(company):
    """Segments vip and core; customers ann and bob, both core since long ago."""
    for segment in ("vip", "core"):
        company.segment(segment)
    company.segment("label", group=None)
    for customer in ("ann", "bob"):
        company.customer(customer, created_at=DAY - timedelta(days=30))
    company.member("bob", "core", DAY - timedelta(days=30))
    company.charge("c", "100.00", service_name="edge")
    return company


def test_a_customer_who_moved_at_noon_is_split_by_usage(tiers) -> None:
    tiers.member("ann", "core", DAY - timedelta(days=30), NOON)
    tiers.member("ann", "vip", NOON)
    tiers.request(NOON - timedelta(microseconds=1), user_id="ann", times=3)
    tiers.request(NOON, user_id="ann")
    tiers.build(tiers.pools(EDGE))
    assert quantities(tiers) == {"core": 3, "vip": 1}
    assert tiers.allocated("c") == {"core": 75_000_000, "vip": 25_000_000}


@pytest.mark.parametrize("hours", [5, 23])
def test_a_day_of_many_changes_is_split_at_each(tiers, hours: int) -> None:
    """Few changes are compared one by one, many through a list; both must agree with the clock."""
    for hour in range(hours):
        end = DAY + timedelta(hours=hour + 1) if hour < hours - 1 else None
        tiers.member("ann", "core" if hour % 2 else "vip", DAY + timedelta(hours=hour), end)
        tiers.request(DAY + timedelta(hours=hour, minutes=59), user_id="ann", times=hour + 1)
    tiers.build(tiers.pools(EDGE))
    vip = sum(hour + 1 for hour in range(hours) if hour % 2 == 0)
    assert quantities(tiers) == {"vip": vip, "core": hours * (hours + 1) // 2 - vip}


def test_a_customer_between_two_segments_is_in_none(tiers) -> None:
    tiers.member("ann", "core", DAY - timedelta(days=30), NOON)
    tiers.member("ann", "vip", NOON + timedelta(hours=2))
    tiers.request(NOON + timedelta(hours=1), user_id="ann")
    tiers.build(tiers.pools(EDGE))
    assert quantities(tiers) == {"__no_segment__": 1}


def test_superseded_history_does_not_count(tiers) -> None:
    tiers.member("ann", "vip", DAY - timedelta(days=1))
    tiers.rows("update segments.membership_history set superseded_at = ? where segment_key = 'vip'", [DAY])
    tiers.request(user_id="ann")
    tiers.build(tiers.pools(EDGE))
    assert quantities(tiers) == {"__no_segment__": 1}


def test_usage_before_history_begins_takes_the_first_state_known_and_is_marked(company) -> None:
    """A first run knows today's segments and last month's bill."""
    for segment in ("vip", "core"):
        company.segment(segment)
    judged = DAY + timedelta(days=20)
    for customer in ("ann", "bob"):
        company.customer(customer, created_at=judged, first_seen_at=DAY - timedelta(days=9))
    company.judged(judged)
    company.member("ann", "vip", judged)
    company.request(user_id="ann", times=4)
    company.request(user_id="bob")
    company.charge("c", "100.00", service_name="edge")
    company.build(company.pools(EDGE))
    rows = company.rows(
        "select driver_key, segment_key, quantity, backfilled_quantity from costs.candidate_drivers_daily "
        "where allocation_view = 'exclusive' order by all"
    )
    assert rows == [
        ("members", "__no_segment__", 1, 0),
        ("members", "vip", 1, 1),
        ("requests", "__no_segment__", 1, 0),
        ("requests", "vip", 4, 4),
    ]


def test_a_later_entry_does_not_reach_back_once_history_has_begun(tiers) -> None:
    """Ann was known and in no segment on the day; that she became vip later says nothing about it."""
    tiers.judged(DAY - timedelta(days=30))
    tiers.member("ann", "vip", DAY + timedelta(days=3))
    tiers.request(user_id="ann")
    tiers.build(tiers.pools(EDGE))
    assert quantities(tiers) == {"__no_segment__": 1}


def test_a_customer_made_later_is_placed_by_the_first_judgement_after(tiers) -> None:
    """The run that made the customer was held, so the first that judged it came a day later."""
    tiers.judged(DAY - timedelta(days=30))
    tiers.judged(DAY + timedelta(days=2))
    tiers.customer("cyd", created_at=DAY + timedelta(days=1), first_seen_at=DAY)
    tiers.member("cyd", "vip", DAY + timedelta(days=2))
    tiers.request(user_id="cyd", times=2)
    tiers.build(tiers.pools(EDGE))
    assert quantities(tiers) == {"vip": 2}
    assert tiers.rows(
        "select backfilled_quantity from costs.candidate_drivers_daily "
        "where driver_key = 'requests' and allocation_view = 'exclusive'"
    ) == [(2,)]


def test_the_best_identifier_that_is_known_finds_the_customer(tiers) -> None:
    tiers.identifier("source_customer_id", "17", "ann", namespace="gateway")
    tiers.identifier("source_customer_id", "17", "bob", namespace="crm")
    tiers.identifier("email", "a@b.c", "ann")
    tiers.member("ann", "vip", DAY - timedelta(days=9))
    tiers.request(source_customer_id="17", user_id="bob")  # ann: the gateway's own 17 is better than the user id
    tiers.request(source_customer_id="99", user_id="bob")  # bob: 99 is not known
    tiers.request(user_id="blocked", email="a@b.c")  # ann: the blocked value finds nobody
    tiers.request(user_id="nobody")
    tiers.request()
    tiers.build(tiers.pools(EDGE))
    assert quantities(tiers) == {"vip": 2, "core": 1, "__unattributed__": 2}
    reasons = tiers.rows("select reason from costs.candidate_allocations where segment_key = '__unattributed__'")
    assert set(reasons) == {("unknown_customer",)}


def test_a_request_of_an_account_alone_is_its_owners(tiers) -> None:
    tiers.member("ann", "vip", DAY - timedelta(days=9))
    past, ended = DAY - timedelta(days=99), DAY - timedelta(days=9)
    for account, customer, role, end in (
        ("owned", "bob", "member", None),
        ("owned", "ann", "Owner", None),
        ("plain", "bob", "member", None),
        ("left", "ann", "owner", ended),
    ):
        tiers.insert(
            "identity.customer_accounts",
            account_id=account,
            customer_id=customer,
            role=role,
            valid_from=past,
            valid_to=end,
        )
    tiers.request(account_id="owned", times=4)
    tiers.request(account_id="owned", user_id="bob")
    tiers.request(account_id="plain", user_id="nobody")
    tiers.request(account_id="left")
    tiers.build(tiers.pools(EDGE))
    assert quantities(tiers) == {"vip": 4, "core": 2, "__unattributed__": 1}


def test_a_restated_request_counts_once_as_last_stated(tiers) -> None:
    tiers.request(request_id="same", user_id="ann", compute_ms=5.0)
    tiers.request(request_id="same", user_id="bob", compute_ms=7.25, file_id=2, line=1)
    tiers.request(request_id="same", user_id="bob", compute_ms=100.0, source="other")
    tiers.request(request_id="moved", user_id="bob")
    tiers.request(DAY + timedelta(days=1), request_id="moved", user_id="bob", file_id=2, line=2)
    tiers.build(tiers.pools(EDGE | {"driver": "compute_ms"}))
    assert quantities(tiers, "compute_ms") == {"core": 107_250}
    assert tiers.summary()["driver_mismatch_findings"] == 0


def test_usage_after_the_runs_moment_is_not_seen(tiers) -> None:
    tiers.request(NOON, user_id="bob")
    tiers.request(NOON + timedelta(seconds=1), user_id="bob")
    tiers.build(tiers.pools(EDGE), Run("r", NOON, NOON))
    assert quantities(tiers) == {"core": 1}
    assert quantities(tiers, "members") == {"core": 1, "__no_segment__": 1}


def test_orders_and_events_drive_too(tiers) -> None:
    for number in range(3):
        tiers.insert("sources.events", event_id=f"e{number}", source="web", occurred_at=DAY, user_id="bob")
    tiers.insert("sources.orders", order_id="o", source="shop", ordered_at=NOON, email="x@y.z")
    tiers.charge("d", "9.00", service_name="warehouse")
    tiers.build(
        tiers.pools(EDGE | {"driver": "events"}, {"pool": "warehouse", "method": "proportional", "driver": "orders"})
    )
    assert tiers.allocated("c") == {"core": 100_000_000}
    assert tiers.allocated("d") == {"__unattributed__": 9_000_000}


def test_orders_and_requests_are_counted_without_a_pool_for_unit_costs(tiers) -> None:
    tiers.insert("sources.orders", order_id="o", source="shop", ordered_at=NOON, user_id="bob")
    tiers.request(user_id="bob", times=2)
    tiers.build(tiers.pools(EDGE | {"driver": "members"}))
    assert quantities(tiers, "orders") == {"core": 1}
    assert quantities(tiers) == {"core": 2}


def test_a_charge_over_several_days_is_shared_by_the_usage_of_all_of_them(tiers) -> None:
    tiers.member("ann", "vip", DAY - timedelta(days=9))
    tiers.charge("month", "10.00", start=datetime(2026, 10, 1), days=31, service_name="edge")
    tiers.request(user_id="ann")
    tiers.request(datetime(2026, 10, 31, 23, 59), user_id="bob", times=3)
    tiers.build(tiers.pools(EDGE))
    assert tiers.allocated("c") == {"vip": 100_000_000}
    assert tiers.allocated("month") == {"core": 7_500_000, "vip": 2_500_000}


def test_members_are_counted_at_the_close_of_the_day(tiers) -> None:
    tiers.member("ann", "core", DAY - timedelta(days=30), NOON)
    tiers.member("ann", "vip", NOON)
    tiers.member("ann", "label", DAY - timedelta(days=30), NOON)
    tiers.charge("before", "1.00", start=DAY - timedelta(days=1), service_name="edge")
    tiers.customer("new", created_at=DAY + timedelta(days=1))
    tiers.build(tiers.pools(EDGE | {"driver": "members"}, views=["exclusive", "full", "fractional"]))
    assert quantities(tiers, "members") == {"core": 1, "vip": 1}
    assert quantities(tiers, "members", "full") == {"core": 1, "vip": 1}
    rows = tiers.rows(
        "select allocation_view, segment_key, quantity from costs.candidate_drivers_daily "
        "where driver_key = 'members' and driver_date = ? and allocation_view <> 'exclusive' order by all",
        [DAY.date() - timedelta(days=1)],
    )
    half = 720_720 // 2
    assert rows == [
        ("fractional", "core", 720_720 + half),
        ("fractional", "label", half),
        ("full", "core", 2),
        ("full", "label", 1),
    ]


def test_even_counts_the_segments_with_members_on_the_day(tiers) -> None:
    tiers.member("ann", "vip", DAY + timedelta(days=1))
    tiers.judged(DAY - timedelta(days=30))
    tiers.charge("next", "100.00", start=DAY + timedelta(days=1), service_name="edge")
    tiers.build(tiers.pools({"pool": "edge", "method": "even"}))
    assert tiers.allocated("c") == {"core": 100_000_000}
    assert tiers.allocated("next") == {"core": 50_000_000, "vip": 50_000_000}


def test_even_without_any_member_is_unattributed(company) -> None:
    company.charge("c", "1.00", service_name="edge")
    company.build(company.pools({"pool": "edge", "method": "even"}))
    assert company.rows("select segment_key, reason from costs.candidate_allocations group by all") == [
        ("__unattributed__", "no_active_segment")
    ]


def test_the_costing_group_is_the_one_that_the_catalog_marks(company) -> None:
    pools = company.pools(EDGE)
    assert build_candidate(company.con, company.run, pools).rows["charges"] == 0
    assert company.summary()["costing_group"] == ""
    company.insert("segments.groups", group_key="rfm", is_costing=False)
    with pytest.raises(CatalogError, match="0 exclusive groups"):
        build_candidate(company.con, company.run, pools)
    company.insert("segments.groups", group_key="tier", is_costing=True)
    build_candidate(company.con, company.run, pools)
    assert company.summary()["costing_group"] == "tier"


def test_a_segment_of_several_groups_pays_where_one_of_them_splits_costs(tiers) -> None:
    for key, groups in (("bundle", '{"offer":1,"tier":2}'), ("perk", '{"offer":2,"perk":1}')):
        tiers.insert("segments.catalog", segment_key=key, lifecycle="active", definition=f'{{"groups":{groups}}}')
        tiers.member("ann", key, DAY - timedelta(days=30))
    tiers.request(user_id="ann", times=3)
    tiers.request(user_id="bob")
    tiers.build(tiers.pools(EDGE))
    assert tiers.allocated("c") == {"bundle": 75_000_000, "core": 25_000_000}


def test_an_ambiguous_identifier_shows_as_a_finding(tiers) -> None:
    """Identity promises one customer per value; if it broke that, the quantities would grow unseen."""
    tiers.identifier("user_id", "ann", "bob")
    tiers.request(user_id="ann")
    tiers.build(tiers.pools(EDGE))
    assert tiers.summary()["driver_mismatch_findings"] == 1
    assert tiers.rows("select subject, expected_quantity, found_quantity from costs.candidate_findings") == [
        ("requests", 1, 2)
    ]


@pytest.mark.parametrize("views", [["exclusive"], ["exclusive", "fractional"], ["full", "exclusive"]])
def test_only_the_views_asked_for_are_there(tiers, views: list[str]) -> None:
    tiers.member("ann", "vip", DAY - timedelta(days=9))
    tiers.member("ann", "label", DAY - timedelta(days=9))
    tiers.request(user_id="ann", times=2)
    tiers.build(tiers.pools(EDGE, views=views))
    for table in ("drivers_daily", "allocations", "reconciliation"):
        found = tiers.rows(f"select distinct allocation_view from costs.candidate_{table} order by 1")
        assert [view for (view,) in found] == sorted(views)
    shares = {"fractional": {"label": 50_000_000, "vip": 50_000_000}, "full": {"label": 10**8, "vip": 10**8}}
    for view in views:
        assert tiers.allocated("c", view) == shares.get(view, {"vip": 10**8})


def test_a_warehouse_without_telemetry_has_no_driver(tiers) -> None:
    tiers.rows("drop table sources.requests")
    tiers.charge("d", "1.00", service_name="compute")
    tiers.build(tiers.pools(EDGE, {"pool": "compute", "method": "proportional", "driver": "compute_ms"}))
    assert tiers.allocated() == {"__unattributed__": 101_000_000}
    assert set(tiers.rows("select reason from costs.candidate_allocations")) == {("no_driver",)}


def test_a_history_that_overlaps_itself_is_refused(company) -> None:
    company.segment("vip")
    company.customer("c_1")
    company.member("c_1", "vip", DAY, DAY + timedelta(days=2))
    company.member("c_1", "vip", DAY + timedelta(days=1), DAY + timedelta(days=3))
    company.charge("c1", "1.00", days=2)
    pools = company.pools({**EDGE, "driver": "members"})
    with pytest.raises(StrataError, match="customer c_1 was in one segment twice at the same time"):
        company.build(pools)


def test_more_segments_than_a_word_has_bits(company) -> None:
    keys = [f"s{number:03}" for number in range(130)]
    company.segment("vip")
    for key in keys:
        company.segment(key, group=None)
    company.customer("c_1")
    company.customer("c_2")
    company.member("c_1", "vip")
    for key in keys:
        company.member("c_1", key)
    company.member("c_2", keys[100], DAY, DAY + timedelta(hours=12))
    company.member("c_2", keys[5], DAY + timedelta(hours=12))
    company.request(DAY + timedelta(hours=1), times=2, user_id="c_1")
    company.request(DAY + timedelta(hours=2), times=3, user_id="c_2")
    company.request(DAY + timedelta(hours=13), times=5, user_id="c_2")
    company.charge("c1", "1.00")
    company.build(company.pools(EDGE))
    assert quantities(company, view="full") == {"vip": 2} | dict.fromkeys(keys, 2) | {keys[100]: 5, keys[5]: 7}
