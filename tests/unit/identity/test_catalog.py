"""The catalog: what it may say, and errors that name the line."""

from pathlib import Path

import pytest
import yaml

from segmentation.errors import CatalogError, CatalogProblems
from segmentation.identity.catalog import load_identifier_rules, load_identity_catalog

SHIPPED = (Path(__file__).resolve().parents[3] / "catalog" / "identifiers.yml").read_text(encoding="utf-8")


def _load(tmp_path, text):
    (tmp_path / "identifiers.yml").write_text(text, encoding="utf-8")
    return load_identifier_rules(tmp_path)


def _line_of(text, part):
    return next(number for number, line in enumerate(text.splitlines(), 1) if part in line)


def test_the_shipped_catalog_loads(catalog):
    assert catalog.rules.types_by_priority[:2] == ("source_customer_id", "user_id")
    assert "n/a" in catalog.rules.placeholders("email")
    assert catalog.purposes.lineage("marketing.email") == ("marketing.email", "marketing")


@pytest.mark.parametrize(
    ("old", "new", "message", "part"),
    [
        ("max_nodes: 100", "max_nodes: 1", "max_nodes", "max_nodes: 1"),
        ("max_nodes: 100", "max_knots: 100", "max_knots", "max_knots"),
        ("default_region: GB", "default_region: Britain", "default_region", "default_region"),
        ("max_per_customer: 5", "max_per_customer: many", "email.max_per_customer", "customer: many"),
        (
            "{user_id: 3, source_customer_id: 3, anonymous_id: 40}",
            "{cookie: 3}",
            "cookie can't be limited",
            "cookie: 3",
        ),
        ("  phone:\n", "  telephone:\n", "telephone is not a type", "telephone:"),
        ('["^[0-]*$"]', '["^(0"]', "not a regular expression", '["^(0"]'),
        ("shared_namespaces: {}", "shared_namespaces: {a: b, b: c}", "shares the ids of b", "{a: b"),
        ("  orders: {tier: 2}", "  orders: {tier: 9}", "orders.tier", "tier: 9"),
        ("  orders: {tier: 2}", "  parcels: {tier: 2}", "parcels carries no identifiers", "parcels"),
        ("  orders: {tier: 2}", "  order_lines: {tier: 2}", "order_lines carries no identifiers", "order_lines"),
        (
            "  orders: {tier: 2}",
            "  orders: {tier: 2, first_seen: country}",
            "country can't be used",
            "first_seen: country",
        ),
        ("evidence_by: event_type", "evidence_by: happened_at", "happened_at can't be used", "happened_at"),
        ("    evidence_by: event_type\n", "", "needs evidence_by", "evidence_tiers"),
        ("max_nodes: 100", "max_nodes: [100", "not YAML", None),
    ],
)
def test_mistakes_name_their_line(tmp_path, old, new, message, part):
    assert old in SHIPPED
    text = SHIPPED.replace(old, new, 1)
    with pytest.raises(CatalogProblems, match=message) as caught:
        _load(tmp_path, text)
    problem = caught.value.problems[0]
    assert problem.file == str(tmp_path / "identifiers.yml")
    assert problem.line == _line_of(text, part) if part else problem.line > 0
    assert problem.expected
    assert caught.value.repair


def test_a_type_without_rules_is_a_mistake(tmp_path):
    content = yaml.safe_load(SHIPPED)
    del content["identifiers"]["phone"]
    with pytest.raises(CatalogError, match="no rules for phone"):
        _load(tmp_path, yaml.safe_dump(content))


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "7"])
def test_a_file_that_is_no_mapping(tmp_path, text):
    with pytest.raises(CatalogError):
        _load(tmp_path, text)


def test_a_missing_or_unreadable_file(tmp_path):
    with pytest.raises(CatalogError, match=r"identifiers\.yml can't be read"):
        load_identity_catalog(tmp_path)
    (tmp_path / "identifiers.yml").write_bytes(b"\xff\xfe")
    with pytest.raises(CatalogError, match="not UTF-8"):
        load_identity_catalog(tmp_path)


def test_only_what_decides_values_changes_their_fingerprint(catalog):
    rules = catalog.rules
    assert rules.model_copy(update={"max_nodes": 7}).normalisation_hash == rules.normalisation_hash
    assert rules.model_copy(update={"block_values": ("x",)}).normalisation_hash != rules.normalisation_hash
