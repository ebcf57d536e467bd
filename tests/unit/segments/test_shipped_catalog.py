"""The catalog in this repository: it loads, and its packs decide as they are meant to."""

import json
from datetime import date
from itertools import product
from pathlib import Path

import pytest

from segmentation.features.contract import load_contract
from segmentation.segments.catalog import Catalog, json_schema, load_catalog, validate_catalog
from segmentation.segments.evaluation import holds
from segmentation.segments.policy import check_policy, load_policy, policy_json_schema

ROOT = Path(__file__).resolve().parents[3]

#: Segment to recency scores and frequency scores.
RFM = {
    "hibernating": ((1, 2), (1, 2)),
    "at_risk": ((1, 2), (3, 4)),
    "cant_loose": ((1, 2), (5,)),
    "about_to_sleep": ((3,), (1, 2)),
    "need_attention": ((3,), (3,)),
    "loyal_customers": ((3, 4), (4, 5)),
    "promising": ((4,), (1,)),
    "new_customers": ((5,), (1,)),
    "potential_loyalists": ((4, 5), (2, 3)),
    "champions": ((5,), (4, 5)),
}


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load_catalog(ROOT / "catalog", load_contract(ROOT / "dbt_project"))


def test_it_has_no_problem() -> None:
    problems = validate_catalog(ROOT / "catalog", load_contract(ROOT / "dbt_project"), today=date(2026, 12, 31))
    assert [problem.where + " " + problem.what for problem in problems] == []


def test_the_schema_beside_the_segments_is_that_of_the_code() -> None:
    shipped = json.loads((ROOT / "catalog/segments/segment.schema.json").read_text(encoding="utf-8"))
    assert shipped == json_schema(), "write json_schema() to catalog/segments/segment.schema.json"


def test_the_policy_is_whole_and_so_is_its_schema(catalog: Catalog) -> None:
    policy = load_policy(ROOT / "catalog")
    assert policy.approvals.breaking
    assert check_policy(ROOT / "catalog", policy, catalog.segments) == []
    shipped = json.loads((ROOT / "catalog/policy.schema.json").read_text(encoding="utf-8"))
    assert shipped == policy_json_schema(), "write policy_json_schema() to catalog/policy.schema.json"


def test_every_pair_of_scores_is_in_exactly_one_segment_of_the_pack(catalog: Catalog) -> None:
    pack = {key: found for key, found in catalog.segments.items() if found.definition.group == "rfm"}
    assert pack.keys() == RFM.keys()
    for recency, frequency in product(range(1, 6), range(1, 6)):
        row = {"recency_score": recency, "frequency_score": frequency}
        found = [key for key, segment in pack.items() if holds(segment.condition, row)]
        meant = [key for key, (r, f) in RFM.items() if recency in r and frequency in f]
        assert found == meant, row
        assert len(found) == 1, row
    nothing = {"recency_score": None, "frequency_score": None}
    assert not any(holds(segment.condition, nothing) for segment in pack.values())


def test_every_customer_has_a_tier_and_every_tier_can_win(catalog: Catalog) -> None:
    tiers = sorted(
        (found for found in catalog.segments.values() if found.definition.group == "tier"),
        key=lambda found: found.definition.precedence,
    )
    nobody = dict.fromkeys(("plan", "seats", "mrr_micros", "revenue_micros_365d", "orders_365d"))
    rows = {
        "tier_enterprise": {**nobody, "plan": "enterprise", "mrr_micros": 45_000_000},
        "tier_vip": {**nobody, "revenue_micros_365d": 3_000_000_000, "orders_365d": 2},
        "tier_core": {**nobody, "mrr_micros": 9_900_000},
        "tier_free": nobody,
    }
    for key, row in rows.items():
        assert next(found.key for found in tiers if holds(found.condition, row)) == key


def test_every_segment_says_who_does_what_and_why(catalog: Catalog) -> None:
    assert len(catalog.segments) >= len(RFM) + 12
    for segment in catalog.segments.values():
        definition = segment.definition
        assert definition.owner
        assert definition.action
        assert definition.measure
        assert definition.objective
        assert definition.review_by.year == 2027
        assert set(definition.destinations) <= {"online_store", "feature_flags"}
        assert definition.destinations


def test_marketing_needs_consent_and_protection_does_not(catalog: Catalog) -> None:
    assert catalog.segments["marketing_reachable"].required_purposes == ("marketing.email",)
    assert catalog.segments["fraud_watch"].required_purposes == ()
    assert catalog.groups["tier"].definition.costing
