"""Special categories of personal data feed no segment that does not say so."""

from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

from segmentation.errors import CatalogProblems
from segmentation.segments.catalog import load_catalog, validate_catalog
from segmentation.segments.change_classes import compare_catalogs

ACCOUNTS = {"account_id": "VARCHAR", "patients": "BIGINT"}


@dataclass
class Contract:
    """A contract that knows more than types."""

    types: dict[str, str]
    categories: dict[str, str] = field(default_factory=dict)
    accounts: object = None


@pytest.fixture
def contract(company) -> Contract:
    accounts = SimpleNamespace(types=ACCOUNTS, categories={"patients": "health"})
    return Contract(company.types, {"orders_90d": "health", "csat_mean": "religion"}, accounts)


def _said(company, contract) -> dict[str, str]:
    return {problem.where: problem.what for problem in validate_catalog(company.folder, contract)}


def test_a_rule_reads_no_sensitive_feature_unasked(company, contract) -> None:
    path = company.write("vip", "orders_90d > 1 and csat_mean > 3")
    line = next(number for number, text in enumerate(path.read_text().splitlines(), 1) if text.startswith("rule"))
    problems = validate_catalog(company.folder, contract)
    assert [(problem.line, problem.what) for problem in problems] == [
        (line, "vip reads csat_mean, which is religion data"),
        (line, "vip reads orders_90d, which is health data"),
    ]
    assert "sensitive: [health]" in problems[1].expected
    with pytest.raises(CatalogProblems):
        load_catalog(company.folder, contract)
    company.write("vip", "orders_90d > 1 and csat_mean > 3", sensitive="[health]")
    assert list(_said(company, contract).values()) == ["vip reads csat_mean, which is religion data"]
    company.write("vip", "orders_90d > 1 and csat_mean > 3", sensitive="[health, religion]")
    assert _said(company, contract) == {}


def test_drafts_are_held_to_it_too_and_others_are_not(company, contract) -> None:
    company.write("idea", "orders_90d > 1", lifecycle="draft")
    company.write("plain", "mrr_micros > 1")
    assert list(_said(company, contract).values()) == ["idea reads orders_90d, which is health data"]
    # A contract of types alone knows of no category.
    assert validate_catalog(company.folder, company.types) == []


def test_what_a_segment_may_read_comes_with_it(company, contract) -> None:
    company.write("ill", "orders_90d > 1", sensitive="[health]")
    company.write("asking", "in_segment('ill')")
    assert list(_said(company, contract).values()) == ["asking asks for ill, which may read health data"]
    company.write("asking", "in_segment('ill')", sensitive="[health]")
    assert _said(company, contract) == {}


def test_features_of_accounts_and_metrics_of_canaries_count(company, contract) -> None:
    company.write("clinics", "patients > 5", entity="account")
    company.write(
        "trial",
        "mrr_micros > 1",
        lifecycle="canary",
        canary="{percent: 5, hold: 1, metrics: [{feature: orders_90d, worse: higher}]}",
    )
    assert set(_said(company, contract).values()) == {
        "clinics reads patients, which is health data",
        "trial reads orders_90d, which is health data",
    }


def test_saying_nothing_leaves_a_definition_what_it_was(company, contract) -> None:
    company.write("vip", "mrr_micros > 1")
    plain = load_catalog(company.folder, contract)
    company.write("vip", "mrr_micros > 1", sensitive="[health]")
    told = load_catalog(company.folder, contract)
    assert plain.segments["vip"].definition_hash != told.segments["vip"].definition_hash
    assert plain.segments["vip"].membership_hash == told.segments["vip"].membership_hash
    [change] = compare_catalogs(plain, told)
    # Whoever lets a segment read more of people asks for approval first.
    assert (change.change_class, [one.name for one in change.differences]) == ("breaking", ["sensitive"])
