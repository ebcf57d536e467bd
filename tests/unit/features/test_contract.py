"""Reading the feature contract, and what it says about a broken one."""

from pathlib import Path

import pytest

from segmentation.errors import CatalogError, CatalogProblems
from segmentation.features.contract import CONTRACT_FILE, DUCKDB_TYPES, FeatureContract, load_contract

GOOD = """\
models:
  - name: other
  - name: customer_features
    columns:
      - name: customer_id
        data_type: string
        description: >
          Persistent id,
          one row each.
        config: {meta: {unit: id, owner: "team:identity", max_age_hours: 24, source: identity}}
      - name: orders_30d
        data_type: BIGINT
        description: Orders.
        config: {meta: {unit: count, owner: "team:analytics", max_age_hours: 48, source: orders}}
        constraints: [{type: not_null}]
"""


def write(folder: Path, text: str) -> Path:
    path = folder / CONTRACT_FILE
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="utf-8")
    return folder


def test_a_feature_says_what_it_is_and_where(tmp_path: Path) -> None:
    contract = load_contract(write(tmp_path, GOOD))
    assert contract.names == ("customer_id", "orders_30d")
    assert contract.types == {"customer_id": "VARCHAR", "orders_30d": "BIGINT"}
    feature = contract.get("orders_30d")
    assert feature is not None
    assert (feature.type, feature.unit, feature.owner, feature.source) == (
        "bigint",
        "count",
        "team:analytics",
        "orders",
    )
    assert feature.max_age_hours == 48
    assert feature.where == f"{tmp_path / CONTRACT_FILE}:11"
    assert contract.features[0].description == "Persistent id, one row each."
    assert contract.required == {"orders_30d"}
    assert "orders_30d" in contract
    assert "orders_31d" not in contract
    assert contract.get("orders_31d") is None
    assert [feature.name for feature in contract] == list(contract.names)


def test_a_feature_of_a_special_category_says_so(tmp_path: Path) -> None:
    assert load_contract(write(tmp_path / "plain", GOOD)).categories == {}
    sensitive = load_contract(
        write(tmp_path / "sensitive", GOOD.replace("max_age_hours: 48", "max_age_hours: 48, category: health"))
    )
    assert sensitive.categories == {"orders_30d": "health"}


def test_the_projects_contract_is_whole(contract: FeatureContract) -> None:
    assert len(contract) == len(set(contract.names)) == 56
    assert contract.names[0] == "customer_id"
    assert {feature.type for feature in contract} <= set(DUCKDB_TYPES)
    for feature in contract:
        assert feature.owner.startswith("team:"), feature.name
        assert feature.description.endswith("."), feature.name


@pytest.mark.parametrize(
    ("old", "new", "says", "line"),
    [
        ("data_type: BIGINT", "data_type: money", "feature orders_30d has type 'money'", 12),
        ("        data_type: BIGINT\n", "", "feature orders_30d lacks data_type", 11),
        ("unit: count, ", "", "feature orders_30d lacks unit", 11),
        ("config: {meta: {unit: count", "meta: {x: {unit: count", "lacks unit, owner, source, max_age_hours", 11),
        ("name: orders_30d", "name: customer_id", "feature 'customer_id' is defined twice", 11),
        ("name: orders_30d", "name: {a: b}", "feature without a name lacks name", 11),
        ("max_age_hours: 48", "max_age_hours: soon", "max_age_hours 'soon'", 14),
        ("max_age_hours: 48", "max_age_hours: 0", "max_age_hours '0'", 14),
        ("max_age_hours: 48", "max_age_hours: 48, category: helth", "category 'helth'; did you mean health?", 14),
        ("name: customer_features", "name: features", "no model customer_features", 1),
        ("    columns:", "    rows:", "has no columns", 3),
        ("data_type: BIGINT", "data_type: [", "not YAML", 14),
        (GOOD, "", "no model customer_features", 1),
    ],
)
def test_a_broken_contract_names_file_line_and_repair(tmp_path: Path, old: str, new: str, says: str, line: int) -> None:
    assert old in GOOD
    with pytest.raises(CatalogProblems) as raised:
        load_contract(write(tmp_path, GOOD.replace(old, new)))
    (problem,) = raised.value.problems
    assert says in problem.what
    assert (problem.file, problem.line) == (str(tmp_path / CONTRACT_FILE), line)
    assert problem.expected
    assert "strata validate" in raised.value.repair


def test_a_missing_or_unreadable_contract_is_named(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="can't be read"):
        load_contract(tmp_path)
    write(tmp_path, "x")
    (tmp_path / CONTRACT_FILE).write_bytes(b"\xff\xfe\xff")
    with pytest.raises(CatalogError, match="not UTF-8"):
        load_contract(tmp_path)
