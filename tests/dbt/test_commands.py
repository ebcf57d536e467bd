"""What dbt says when it is called with too little, and that it has nothing to complain about."""

from datetime import datetime
from typing import Any

import pytest


def test_steps_leave_exhaustive_and_unit_tests_to_the_test_suite(project: Any) -> None:
    listed = set(project.build("-q", "ls", "--selector", "features", "--output", "name").split())
    assert {"customer_features", "stg_sources__orders", "unique_customer_features_customer_id"} <= listed
    assert not any(name.startswith(("dim_", "fct_", "stg_segments")) for name in listed)
    assert not any(name.startswith(("unique_combination_stg_", "not_null_stg_")) for name in listed)
    assert "ties_in_frequency_are_ranked_by_source_customer_id" not in listed


@pytest.mark.slow
def test_an_earlier_moment_sees_nothing_later(project: Any, tmp_path: Any) -> None:
    """The same models describe the past, and dbt builds over the view that publishing left."""
    past = type(project)(warehouse=tmp_path / "warehouse.duckdb", target=project.target)
    past.warehouse.write_bytes(project.warehouse.read_bytes())
    kind = "select table_type from information_schema.tables where table_name = 'candidate_customer_features'"
    assert past.rows(kind) == [{"table_type": "VIEW"}]
    done = past.dbt("run", "--selector", "features", as_of=datetime(2026, 10, 20, 12))
    assert done.returncode == 0, done.stdout
    assert past.rows(kind) == [{"table_type": "BASE TABLE"}]
    ada = past.rows("from features.candidate_customer_features where customer_id = 'c_ada'")[0]
    assert ada["as_of"] == datetime(2026, 10, 20, 12)
    assert (ada["orders_total"], ada["cancelled_orders_total"], ada["days_since_last_order"]) == (2, 0, 0)
    assert (ada["requests_30d"], ada["last_seen_at"]) == (0, datetime(2026, 3, 1))
    assert past.rows("select count(*) as n from features.customer_features") == [{"n": 3}]


def test_building_without_a_moment_stops_with_the_reason(project: Any) -> None:
    done = project.dbt("run", "--select", "int_orders__summarised", as_of=None)
    assert done.returncode != 0
    assert "the variable as_of is missing" in done.stdout
    assert "--vars" in done.stdout
    assert "STRATA_DBT_AS_OF" in done.stdout


def test_documentation_needs_no_moment_and_meets_nothing_deprecated(project: Any) -> None:
    done = project.dbt("--warn-error", "docs", "generate", "--show-all-deprecations", "--no-partial-parse", as_of=None)
    assert done.returncode == 0, done.stdout
    assert "WARNING" not in done.stdout
    assert "eprecat" not in done.stdout
    assert (project.target / "catalog.json").exists()
