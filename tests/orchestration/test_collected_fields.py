"""Fields that are collected for nothing are listed with the line that collects them, and no other is."""

import shutil
from pathlib import Path

import pytest

from orchestration.collected_fields import FieldReview, review_fields
from orchestration.dbt_project import target_folder
from orchestration.settings import ROOT, Settings
from segmentation import contracts
from segmentation.errors import NotFoundError

STAGED = "select request_id, source_customer_id, endpoint, service, release from warehouse.sources.requests"
FEATURES = """
with requests as (select * from warehouse.staging.stg_sources__requests)
select source_customer_id as customer_id, max(endpoint) as top_channel, count(release) as revenue_micros_365d
from requests group by all
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """An installation whose features are computed from two columns of requests."""
    shutil.copytree(ROOT / "catalog", tmp_path / "catalog")
    made = Settings.load(data=tmp_path / "data", catalog=tmp_path / "catalog")
    models = target_folder(made) / "build_features" / "compiled" / "strata" / "models"
    (models / "features" / "customer_features.yml").mkdir(parents=True)
    (models / "features" / "customer_features.sql").write_text(FEATURES)
    (models / "features" / "customer_features.yml" / "unique_customer_features.sql").write_text("select 1")
    (models / "stg_sources__requests.sql").write_text(STAGED)
    with made.warehouse.write() as con:
        contracts.ensure_schema(con, "identity")
        made.warehouse.publish_copy(con, [("identity", "customers")])
    return made


def uses(found: FieldReview) -> dict[tuple[str, str], str]:
    return {(one.entity, one.field): one.use for one in found.fields}


def test_before_features_were_built_nothing_can_be_said(settings: Settings) -> None:
    shutil.rmtree(target_folder(settings))
    with pytest.raises(NotFoundError, match="no run has built the features yet"):
        review_fields(settings)


def test_fields_are_followed_to_features_and_rules(settings: Settings) -> None:
    found = review_fields(settings)
    listed = uses(found)
    # No rule reads what the endpoint is in; the release is in a feature that a rule reads.
    assert listed["requests", "endpoint"] == "unread_features"
    assert ("requests", "release") not in listed
    assert "top_channel" in found.features
    assert "revenue_micros_365d" not in found.features
    assert listed["requests", "service"] == "none"
    assert [one.is_required for one in found.fields if one.field == "service"] == [True]
    # No model, no stage and no catalog names it.
    assert listed["accounts", "industry"] == "none"
    industry = next(one for one in found.fields if one.field == "industry")
    file, _, line = industry.where.rpartition(":")
    assert file == "catalog/sources/crm.yml"
    text = (settings.catalog / "sources" / "crm.yml").read_text(encoding="utf-8").splitlines()[int(line) - 1]
    assert text.strip().startswith("industry:")
    assert found.collected > len(found.fields)


def test_a_rule_makes_a_field_needed(settings: Settings) -> None:
    path = settings.catalog / "segments" / "promising.yml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("rule: |\n", "rule: |\n  top_channel = 'search' and\n", 1), encoding="utf-8")
    assert ("requests", "endpoint") not in uses(review_fields(settings))
    path.write_text(path.read_text(encoding="utf-8").replace("lifecycle: active", "lifecycle: draft"), encoding="utf-8")
    assert uses(review_fields(settings))["requests", "endpoint"] == "unread_features"


def test_keys_identifiers_and_what_stages_read_by_themselves_are_needed(settings: Settings) -> None:
    listed = uses(review_fields(settings)).keys()
    needed = {
        ("orders", "order_id"),
        ("customer_records", "email"),
        ("customer_records", "email_is_verified"),
        ("customer_records", "postal_code"),
        ("consent_events", "purpose"),
        ("charges", "effective_cost"),
        ("requests", "compute_ms"),
    }
    assert needed.isdisjoint(listed)


def test_a_name_in_the_catalog_of_a_stage_makes_a_field_needed(settings: Settings) -> None:
    path = settings.catalog / "matching.yml"
    path.write_text(path.read_text(encoding="utf-8").replace("postal_code", "city"), encoding="utf-8")
    assert ("customer_records", "postal_code") in uses(review_fields(settings))
