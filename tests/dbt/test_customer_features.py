"""Values of the feature table for a small company, from landed rows to the published table and the marts."""

from datetime import datetime
from typing import Any

import pytest

from segmentation.features.contract import load_contract


@pytest.fixture(scope="module")
def features(project: Any) -> dict[str, dict[str, Any]]:
    return {row["customer_id"]: row for row in project.rows("from features.customer_features")}


def test_there_is_one_row_for_each_active_customer(features: dict[str, Any]) -> None:
    assert set(features) == {"c_ada", "c_bob", "c_eve"}


def test_identity_and_tenure(features: dict[str, Any]) -> None:
    ada = features["c_ada"]
    assert ada["as_of"] == datetime(2026, 11, 1)
    assert (ada["tenure_days"], ada["identifier_count"], ada["is_known"]) == (303, 4, True)
    assert (ada["country"], ada["residency_region"], ada["account_id"]) == ("PL", "eu", "acme")
    assert features["c_bob"]["account_id"] is None, "that membership ended in March"
    assert features["c_eve"]["is_known"] is False


def test_orders_are_counted_by_what_was_known_of_them(features: dict[str, Any]) -> None:
    ada = features["c_ada"]
    assert (ada["orders_30d"], ada["orders_90d"], ada["orders_365d"], ada["orders_total"]) == (1, 1, 2, 2)
    assert ada["cancelled_orders_total"] == 1
    assert (ada["revenue_micros_30d"], ada["revenue_micros_total"]) == (20_000_000, 20_000_007)
    assert ada["average_order_micros"] == 10_000_003
    assert (ada["first_order_at"], ada["last_order_at"]) == (datetime(2026, 1, 15), datetime(2026, 10, 20))
    assert ada["days_since_last_order"] == 12
    # 10 came back of 30, and the 30 of the cancelled order, of 60 and the 7 micros of January.
    assert ada["returns_ratio_365d"] == pytest.approx(40_000_000 / 60_000_007)


def test_an_id_of_another_source_is_nobodys(features: dict[str, Any]) -> None:
    bob = features["c_bob"]
    assert (bob["orders_total"], bob["revenue_micros_total"], bob["chargebacks_365d"]) == (1, 5_000_000, 1)
    assert bob["days_since_last_order"] == 0, "half a day is no whole day"


def test_scores_compare_buyers_only(features: dict[str, Any]) -> None:
    scores = {
        key: (row["recency_score"], row["frequency_score"], row["monetary_score"]) for key, row in features.items()
    }
    assert scores == {"c_ada": (1, 5, 5), "c_bob": (5, 1, 1), "c_eve": (None, None, None)}


def test_engagement_and_devices(features: dict[str, Any]) -> None:
    ada = features["c_ada"]
    assert (ada["sessions_30d"], ada["days_active_30d"], ada["top_channel"]) == (2, 3, "search")
    assert (ada["last_seen_at"], ada["days_since_last_seen"]) == (datetime(2026, 10, 31, 0, 1), 0)
    assert ada["new_device_ratio_7d"] == 0.5
    assert features["c_eve"]["days_since_last_seen"] == 31
    assert features["c_eve"]["sessions_30d"] == 0


def test_api_usage_support_leads_and_consent(features: dict[str, Any]) -> None:
    ada = features["c_ada"]
    assert (ada["requests_1d"], ada["requests_7d"], ada["requests_30d"]) == (2, 2, 2)
    assert ada["request_p95_ms_7d"] == pytest.approx(29.0)
    assert (ada["error_ratio_7d"], ada["throttled_ratio_7d"], ada["compute_ms_30d"]) == (0.5, 0.0, 3)
    assert (ada["tickets_open"], ada["tickets_90d"], ada["csat_mean"]) == (1, 1, 4.0)
    assert (ada["company_size"], ada["job_level"]) == (50, "vp")
    assert ada["demo_requested_at"] == datetime(2026, 9, 1)
    assert ada["consented_purposes"] == ["analytics", "marketing.email"]


def test_account_facts_reach_members_and_the_contact(features: dict[str, Any]) -> None:
    for customer_id in ("c_ada", "c_bob"):
        row = features[customer_id]
        assert (row["plan"], row["subscription_status"], row["seats"]) == ("pro", "active", 5)
        assert (row["mrr_micros"], row["days_to_renewal"]) == (99_000_000, 10)
    assert (features["c_ada"]["open_invoice_micros"], features["c_ada"]["paid_late_count_365d"]) == (99_000_000, 1)
    assert features["c_bob"]["open_invoice_micros"] == 0


def test_nothing_known_is_zero_or_null_and_no_consent(features: dict[str, Any], project: Any) -> None:
    eve = features["c_eve"]
    contract = load_contract(project.directory)
    never_null = {
        row["column_name"]
        for row in project.rows(
            "select column_name from information_schema.columns "
            "where table_schema = 'features' and table_name = 'customer_features' and is_nullable = 'NO'"
        )
    }
    assert {name for name in never_null if eve[name] is None} == set()
    assert {feature.name for feature in contract if feature.unit == "count"} - never_null == {"company_size"}
    assert eve["consented_purposes"] == []
    assert eve["returns_ratio_365d"] is None
    assert eve["average_order_micros"] is None


def test_the_table_is_the_contract(project: Any) -> None:
    columns = project.rows(
        "select column_name, data_type from information_schema.columns "
        "where table_schema = 'features' and table_name = 'customer_features' order by ordinal_position"
    )
    contract = load_contract(project.directory)
    assert [(row["column_name"], row["data_type"]) for row in columns] == list(contract.types.items())


def test_freshness_names_the_age_of_every_feature(project: Any) -> None:
    rows = {row["feature"]: row for row in project.rows("from features.feature_freshness")}
    assert set(rows) == set(load_contract(project.directory).names)
    assert rows["orders_30d"]["age_seconds"] == 12 * 3600
    assert rows["orders_30d"]["is_fresh"] is True
    assert rows["tickets_open"]["is_fresh"] is False, "the last ticket changed a month ago"


def test_marts_say_what_is_published(project: Any) -> None:
    customers = {row["customer_id"]: row for row in project.rows("from marts.dim_customers")}
    assert {key: row["segment_count"] for key, row in customers.items()} == {"c_ada": 2, "c_bob": 1, "c_eve": 0}
    assert not {"email", "phone", "first_name", "last_name"} & set(customers["c_ada"])
    assert project.rows("select segment_key, member_count from marts.dim_segments order by 1") == [
        {"segment_key": "all", "member_count": 2},
        {"segment_key": "vip", "member_count": 1},
    ]
    overlap = project.rows("select shared_count, jaccard_ratio from marts.fct_segment_overlaps")
    assert overlap == [{"shared_count": 1, "jaccard_ratio": 0.5}]
    assert project.rows("select sum(effective_micros) as cost from marts.fct_segment_costs_daily") == [
        {"cost": 2_000_000}
    ]
