"""Measuring what dbt built: the figures that the gate judges."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segmentation.contracts import latest_candidate
from segmentation.errors import CandidateError
from segmentation.features.candidate import announce_candidate, build_candidate, fingerprint
from segmentation.features.contract import FeatureContract
from segmentation.features.publish import publish
from segmentation.run import Run
from segmentation.warehouse import Connection

Build = Callable[..., None]


def measured(con: Connection, *columns: str) -> tuple[object, ...]:
    rows = con.execute(f"select {', '.join(columns)} from features.candidate").fetchall()
    assert len(rows) == 1
    return rows[0]


def test_a_good_table_is_measured_and_stamped(
    con: Connection, run: Run, contract: FeatureContract, build: Build, know: Build
) -> None:
    know("c_1", "c_2")
    know("c_3", status="merged")
    build("c_1", "c_2", country="PL")
    report = build_candidate(con, run, contract)
    stamped = latest_candidate(con, "features")
    assert stamped is not None
    assert (report.candidate_id, stamped.run_id, stamped.as_of) == (stamped.candidate_id, run.run_id, run.as_of)
    assert measured(con, "row_count", "distinct_customers", "expected_customers") == (2, 2, 2)
    assert measured(con, "missing_customers", "unexpected_customers", "future_rows") == (0, 0, 0)
    assert measured(con, "as_of", "min_row_as_of", "max_row_as_of") == (run.as_of,) * 3
    assert measured(con, "schema_fingerprint = contract_fingerprint") == (True,)
    assert report.rows == {"candidate_customer_features": 2}
    assert report.facts["features"] == len(contract)


def test_what_dbt_is_about_to_replace_is_no_longer_what_was_judged(
    con: Connection, run: Run, contract: FeatureContract, build: Build, know: Build
) -> None:
    know("c_1")
    build("c_1")
    build_candidate(con, run, contract)
    later = replace(run, run_id="run-2")
    announced = announce_candidate(con, later)
    newest = latest_candidate(con, "features")
    assert newest is not None
    assert (newest.candidate_id, newest.run_id) == (announced, "run-2")
    assert con.execute("select count(*) from features.candidate").fetchall() == [(0,)]
    with pytest.raises(CandidateError, match="another run"):
        publish(con, run)


def test_what_is_wrong_shows_in_the_figures(
    con: Connection, run: Run, contract: FeatureContract, build: Build, know: Build
) -> None:
    know("c_1", "c_2")
    know("c_3", status="merged")
    build("c_1", "c_1", "c_3", last_seen_at="2026-11-01 00:00:01", as_of="2026-10-31")
    build_candidate(con, run, contract)
    assert measured(con, "row_count", "distinct_customers") == (3, 2)
    assert measured(con, "missing_customers", "unexpected_customers") == (1, 1)
    assert measured(con, "future_rows", "max_row_as_of < as_of") == (3, True)


def test_what_is_no_number_is_counted(
    con: Connection, run: Run, contract: FeatureContract, build: Build, know: Build
) -> None:
    know("c_1", "c_2", "c_3")
    build("c_1", "c_2", "c_3")
    con.execute(
        "update features.candidate_customer_features set csat_mean = "
        "case customer_id when 'c_1' then 'nan'::double when 'c_2' then 'inf'::double end"
    )
    build_candidate(con, run, contract)
    found = con.execute("select feature, not_finite_rows from features.candidate_columns where not_finite_rows > 0")
    assert found.fetchall() == [("csat_mean", 2)]


def test_every_feature_says_how_full_it_is(
    con: Connection, run: Run, contract: FeatureContract, build: Build, know: Build
) -> None:
    know("c_1")
    build("c_1", "c_2", country="PL")
    con.execute(
        "update features.candidate_customer_features set orders_total = 3, country = null where customer_id = 'c_1'"
    )
    report = build_candidate(con, run, contract)
    shares = {
        feature: shares
        for feature, *shares in con.execute(
            "select feature, null_ratio, zero_ratio, concern, max_age_seconds from features.candidate_columns"
        ).fetchall()
    }
    assert set(shares) == set(contract.names)
    assert shares["orders_total"] == [0.0, 0.5, "orders", 48 * 3600]
    assert shares["country"] == [0.5, None, "identity", 744 * 3600]
    assert shares["recency_score"][0] == 1.0
    null_ratio = report.facts["null_ratio"]
    assert isinstance(null_ratio, dict)
    assert null_ratio["country"] == 0.5
    assert "customer_id" not in null_ratio


def test_an_empty_table_can_be_measured(
    con: Connection, run: Run, contract: FeatureContract, build: Build, know: Build
) -> None:
    know("c_1")
    build()
    report = build_candidate(con, run, contract)
    assert report.rows == {"candidate_customer_features": 0}
    assert measured(con, "missing_customers", "min_row_as_of") == (1, None)


def test_measuring_again_replaces_the_figures(
    con: Connection, run: Run, contract: FeatureContract, build: Build
) -> None:
    build("c_1")
    first = build_candidate(con, run, contract)
    second = build_candidate(con, replace(run, run_id="run-2"), contract)
    assert first.candidate_id != second.candidate_id
    assert measured(con, "run_id") == ("run-2",)


def test_a_table_that_dbt_has_not_built_is_named(con: Connection, run: Run, contract: FeatureContract) -> None:
    with pytest.raises(CandidateError) as raised:
        build_candidate(con, run, contract)
    assert "dbt has not built" in raised.value.what
    assert raised.value.repair == "strata run --from features"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("drop column plan", "missing: plan"),
        ("add column surprise bigint", "not in the contract: surprise"),
        ("alter column orders_30d type varchar", "of another type: orders_30d"),
    ],
)
def test_a_table_that_breaks_the_contract_is_not_stamped(
    con: Connection, run: Run, contract: FeatureContract, build: Build, change: str, says: str
) -> None:
    build("c_1")
    con.execute(f"alter table features.candidate_customer_features {change}")
    with pytest.raises(CandidateError) as raised:
        build_candidate(con, run, contract)
    assert says in raised.value.what
    assert latest_candidate(con, "features") is None


def test_columns_in_another_order_break_the_contract(
    con: Connection, run: Run, contract: FeatureContract, build: Build
) -> None:
    build("c_1")
    con.execute(
        "create or replace table features.candidate_customer_features as "
        "select as_of, * exclude (as_of) from features.candidate_customer_features"
    )
    with pytest.raises(CandidateError, match="another order"):
        build_candidate(con, run, contract)


def test_a_failure_leaves_no_half_of_a_candidate(
    con: Connection, run: Run, contract: FeatureContract, build: Build
) -> None:
    build("c_1")
    build_candidate(con, run, contract)
    con.execute("alter table features.candidate_columns alter column data_type type bigint using 0")
    build("c_1", "c_2")
    with pytest.raises(Exception, match="Could not convert"):
        build_candidate(con, replace(run, run_id="run-2"), contract)
    assert measured(con, "row_count", "run_id") == (1, "run-1")
    newest = latest_candidate(con, "features")
    assert newest is not None
    assert newest.run_id == "run-1"


@given(
    st.lists(st.tuples(st.text("abc_", min_size=1, max_size=4), st.sampled_from(["BIGINT", "DOUBLE"])), max_size=5),
    st.lists(st.tuples(st.text("abc_", min_size=1, max_size=4), st.sampled_from(["BIGINT", "DOUBLE"])), max_size=5),
)
def test_fingerprints_are_equal_for_equal_shapes_alone(
    one: list[tuple[str, str]], other: list[tuple[str, str]]
) -> None:
    assert (fingerprint(one) == fingerprint(other)) == (one == other)
