"""From the bill to charges: versions, whole micros, one pool each."""

from datetime import datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation.costs.charges import quantise_sql, residual_sql
from segmentation.errors import CatalogError, SourceError
from segmentation.run import Run

DAY = datetime(2026, 10, 5)
TO_REST = {"pool": "all", "match": {"source": "*"}, "method": "direct", "segment": "__overhead__"}


@settings(deadline=None)
@given(st.decimals(min_value="-9000000000000", max_value="9000000000000", places=12))
def test_quantising_rounds_halves_to_even_and_loses_nothing(cost: Decimal) -> None:
    with duckdb.connect() as con:
        micros, residual = con.execute(
            f"select micros, {residual_sql('cost', 'micros')} from "
            f"(select cost, {quantise_sql('cost')} as micros from (select cast(? as decimal(38, 12)) as cost))",
            [str(cost)],
        ).fetchall()[0]
    assert micros == int((cost * 1_000_000).quantize(Decimal(1), rounding=ROUND_HALF_EVEN))
    assert Decimal(micros) / 1_000_000 + residual == cost


@pytest.mark.parametrize(
    ("cost", "micros"), [("0.0000005", 0), ("0.0000015", 2), ("-0.0000005", 0), ("-0.0000025", -2), ("0.00000051", 1)]
)
def test_a_charge_is_quantised_once(company, cost: str, micros: int) -> None:
    company.charge("c", cost)
    company.build(company.pools(TO_REST))
    effective, residual = company.rows("select effective_micros, residual_effective from costs.candidate_charges")[0]
    assert effective == micros
    assert Decimal(effective) / 1_000_000 + residual == Decimal(cost)
    assert company.summary()["residual_effective"] == residual


def test_a_restated_bill_gives_a_new_version_and_the_totals_follow(company) -> None:
    pools = company.pools(TO_REST)
    company.charge("c", "10.00")
    company.charge("d", "1.00")
    company.build(pools)
    assert company.summary()["charged_effective_micros"] == 11_000_000
    company.charge("c", "12.50", file_id=2, line=1)
    company.build(pools)
    assert company.rows("select origin_charge_id, charge_version from costs.candidate_charges order by all") == [
        ("c", 2),
        ("d", 1),
    ]
    assert company.allocated() == {"__overhead__": 13_500_000}


def test_the_version_counts_per_source(company) -> None:
    company.charge("c", "1.00")
    company.charge("c", "2.00", source="other_cloud")
    company.build(company.pools(TO_REST))
    assert company.rows("select source, charge_version, effective_micros from costs.candidate_charges order by 1") == [
        ("cloud", 1, 1_000_000),
        ("other_cloud", 1, 2_000_000),
    ]
    assert company.allocated() == {"__overhead__": 3_000_000}


def test_a_correction_is_a_charge_of_its_own_and_marked(company) -> None:
    company.charge("c", "10.00")
    company.charge("x", "-4.00", charge_class="Correction")
    company.build(company.pools(TO_REST))
    assert dict(company.rows("select origin_charge_id, is_correction from costs.candidate_charges")) == {
        "c": False,
        "x": True,
    }
    assert company.allocated() == {"__overhead__": 6_000_000}


def test_charges_that_begin_after_the_runs_moment_are_not_seen(company) -> None:
    company.charge("past", "1.00")
    company.charge("future", "1.00", start=DAY + timedelta(days=1))
    company.build(company.pools(TO_REST), Run("r", DAY + timedelta(days=1), DAY))
    assert company.rows("select origin_charge_id from costs.candidate_charges") == [("past",)]


def test_the_first_pool_that_matches_takes_the_charge(company) -> None:
    company.charge("a", "1.00", service_name="Amazon EC2", service_category="Compute")
    company.charge("b", "1.00", service_name="amazon s3 ", service_category="Storage")
    company.charge("c", "1.00", service_name="Other", service_category="Storage", tags='{"team/x": " Growth "}')
    company.charge("d", "1.00", service_name="Other", charge_category="Tax")
    company.charge("e", "1.00")
    company.charge("f", "1.00", provider_name="Oracle", charge_class="Correction")
    direct = {"method": "direct", "segment": "__overhead__"}
    company.build(
        company.pools(
            {"pool": "amazon_storage", "match": {"service_name": "amazon*", "service_category": "storage"}, **direct},
            {"pool": "amazon", "match": {"service_name": ["AMAZON*"]}, **direct},
            {"pool": "growth", "match": {"tags": {"team/x": ["sales", "growth"]}}, **direct},
            {"pool": "tax", "match": {"charge_category": "Tax"}, **direct},
            {"pool": "oracle", "match": {"provider_name": "oracle", "charge_class": "correction"}, **direct},
        )
    )
    assert dict(company.rows("select origin_charge_id, pool_key from costs.candidate_charges")) == {
        "a": "amazon",
        "b": "amazon_storage",
        "c": "growth",
        "d": "tax",
        "e": "unmatched",
        "f": "oracle",
    }
    assert company.rows("select reason from costs.candidate_allocations where origin_charge_id = 'e' group by 1") == [
        ("no_pool",)
    ]


def test_a_rule_holds_for_its_days_and_version(company) -> None:
    company.charge("old", "1.00", start=datetime(2026, 9, 30))
    company.charge("new", "1.00", start=datetime(2026, 10, 1))
    company.charge("late", "1.00", start=datetime(2026, 10, 20))
    rule = {"pool": "all", "match": {"source": "cloud"}, "method": "direct", "segment": "__overhead__"}
    company.build(
        company.pools(
            rule | {"valid_to": "2026-10-01"},
            rule | {"valid_from": "2026-10-01", "valid_to": "2026-10-20", "rule_version": "v2"},
        )
    )
    assert dict(company.rows("select origin_charge_id, rule_version from costs.candidate_allocations")) == {
        "old": "v1",
        "new": "v2",
        "late": "v1",
    }
    assert company.allocated() == {"__overhead__": 2_000_000, "__unattributed__": 1_000_000}


def test_another_currency_stops_the_run_and_says_how_to_repair(company) -> None:
    company.charge("c", "1.00")
    company.charge("e", "1.00", billing_currency="EUR", file_id=7, line=3)
    company.insert("sources.files", file_id=7, entity="charges", path="cloud_bill/october.csv", status="loaded")
    with pytest.raises(SourceError) as caught:
        company.build(company.pools(TO_REST))
    assert caught.value.where == "cloud_bill/october.csv:3"
    assert "cost_pools.yml:2" in caught.value.expected
    assert "EUR" in caught.value.repair
    assert company.rows("select 1 from ops.candidates") == []


def test_a_charge_beyond_micros_stops_the_run(company) -> None:
    company.charge("c", "9223372036855")
    with pytest.raises(SourceError, match="too large") as caught:
        company.build(company.pools(TO_REST))
    assert caught.value.where.startswith("sources.charges, file 1:")


def test_no_bill_at_all_gives_empty_tables(con, run, company) -> None:
    report = company.build(company.pools(TO_REST))
    assert set(report.rows.values()) == {0}
    assert company.summary()["allocation_coverage"] is None
    con.execute("drop table sources.charges")
    assert company.build(company.pools(TO_REST)).rows == report.rows


def test_an_unknown_segment_in_the_file_stops_the_run(company) -> None:
    with pytest.raises(CatalogError, match="no segment is called 'gone'"):
        company.build(company.pools({"pool": "all", "method": "direct", "segment": "gone"}))


def test_tags_find_their_segment_or_say_why_not(company) -> None:
    company.segment("vip")
    company.charge("known", "1.00", tags='{"segment": "VIP "}')
    company.charge("typo", "2.00", tags='{"segment": "vpi"}')
    company.charge("empty", "4.00", tags='{"segment": ""}')
    company.charge("none", "8.00")
    company.build(company.pools({"pool": "all", "match": {"source": "*"}, "method": "direct", "tag_key": "segment"}))
    rows = company.rows("select origin_charge_id, segment_key, reason from costs.candidate_allocations group by all")
    assert {charge: (segment, reason) for charge, segment, reason in rows} == {
        "known": ("vip", None),
        "typo": ("__unattributed__", "unknown_tag"),
        "empty": ("__unattributed__", "no_tag"),
        "none": ("__unattributed__", "no_tag"),
    }


def test_a_tag_value_may_mean_a_segment_of_another_name(company) -> None:
    company.segment("tier_vip")
    rule = {"pool": "all", "match": {"source": "*"}, "method": "direct", "tag_key": "segment"}
    company.charge("a", "1.00", tags='{"segment": "Vip"}')
    company.charge("b", "2.00", tags='{"segment": "tier_vip"}')
    company.charge("c", "4.00", tags='{"segment": "all"}')
    company.build(company.pools(rule | {"tag_values": {"VIP": "tier_vip", "all": "__overhead__"}}))
    assert company.allocated() == {"__overhead__": 4_000_000, "tier_vip": 3_000_000}
    with pytest.raises(CatalogError, match="no segment is called 'gone'") as caught:
        company.build(company.pools(rule | {"tag_values": {"x": "gone"}}))
    assert caught.value.where.endswith("cost_pools.yml:12")


def test_unused_commitment_is_idle_unless_the_pool_shares_it_out(company) -> None:
    company.segment("vip")
    company.charge("a", "1.00", service_name="edge", commitment_discount_status="Unused")
    company.charge("b", "1.00", service_name="other", commitment_discount_status="Unused")
    company.build(
        company.pools(
            {"pool": "edge", "method": "direct", "segment": "vip"},
            {"pool": "other", "method": "direct", "segment": "vip", "unused_commitment": "allocate"},
        )
    )
    assert company.allocated("a") == {"__idle__": 1_000_000}
    assert company.allocated("b") == {"vip": 1_000_000}


def test_cash_and_amortised_cost_are_both_allocated(company) -> None:
    company.segment("vip")
    company.segment("core")
    company.charge("c", "0", service_name="s", billed_cost=Decimal("10.000001"), effective_cost=Decimal(-1))
    company.build(company.pools({"pool": "s", "method": "fixed", "weights": {"vip": 0.5, "core": 0.5}}))
    assert company.allocated("c") == {"core": -500_000, "vip": -500_000}
    assert company.allocated("c", amount="billed") == {"core": 5_000_001, "vip": 5_000_000}
    assert company.summary()["max_abs_difference_micros"] == 0
