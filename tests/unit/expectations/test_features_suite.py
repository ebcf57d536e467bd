"""Every truth about features holds on good ones and is broken by one mistake of its own."""

from collections.abc import Callable
from pathlib import Path

import pytest

from expectations.suites.features import SUITE
from expectations.truths import Suite
from segmentation.contracts import ensure_schema
from segmentation.features.contract import load_contract
from segmentation.warehouse import Connection, quote

Check = Callable[[Connection, Suite], set[str]]

VALUES = {
    "as_of": "timestamp '2026-11-01'",
    "first_seen_at": "timestamp '2026-01-01'",
    "orders_total": "2",
    "orders_365d": "2",
    "orders_90d": "1",
    "requests_30d": "9",
    "error_ratio_7d": "0.5",
    "returns_ratio_365d": "1.5",
    "recency_score": "1",
    "frequency_score": "5",
    "monetary_score": "3",
    "consented_purposes": "['analytics']",
}
DEFAULTS = {"BIGINT": "0", "VARCHAR": "'x'", "BOOLEAN": "true"}

ROWS = "features.candidate_customer_features"
ACCOUNTS = "features.candidate_account_features"
MISTAKES = {
    "features_are_measured": "delete from features.candidate",
    "customers_have_features": f"delete from {ROWS}",
    "customers_are_unique": f"insert into {ROWS} select * from {ROWS} where customer_id = 'c_1'",
    "every_active_customer_has_features": "update features.candidate set missing_customers = 1",
    "only_active_customers_have_features": "update features.candidate set unexpected_customers = 1",
    "features_describe_the_runs_moment": "update features.candidate set min_row_as_of = timestamp '2026-10-31'",
    "no_feature_looks_into_the_future": "update features.candidate set future_rows = 1",
    "columns_keep_their_contract": "update features.candidate set schema_fingerprint = 'other'",
    "features_are_finite": "update features.candidate_columns set not_finite_rows = 1 where feature = 'csat_mean'",
    "windows_nest": f"update {ROWS} set orders_30d = 2",
    "counts_are_never_negative": f"update {ROWS} set seats = -1",
    "shares_lie_between_0_and_1": f"update {ROWS} set error_ratio_7d = 1.01",
    "scores_lie_between_1_and_5": f"update {ROWS} set recency_score = 6",
    "who_ordered_is_scored": f"update {ROWS} set monetary_score = null",
    "no_purpose_is_claimed_without_consent": "update identity.customer_consents set is_allowed = false",
    "accounts_are_unique": f"insert into {ACCOUNTS} select * from {ACCOUNTS} limit 1",
    "accounts_describe_the_runs_moment": f"update {ACCOUNTS} set as_of = timestamp '2026-10-31'",
    "facts_are_recent": "update intermediate.int_features__freshness set max_event_at = timestamp '2026-10-01'",
}


@pytest.fixture
def good(con: Connection, root: Path) -> Connection:
    for stage in ("identity", "features"):
        ensure_schema(con, stage)
    values = ", ".join(
        f"cast({VALUES.get(name, DEFAULTS.get(kind, 'null'))} as {kind}) as {quote(name)}"
        for name, kind in load_contract(root / "dbt_project").types.items()
        if name != "customer_id"
    )
    con.execute(f"create table {ROWS} as select 'c_' || i as customer_id, {values} from range(3) as r(i)")
    con.execute(
        f"create table {ACCOUNTS} as select 'a_' || i as account_id, timestamp '2026-11-01' as as_of "
        "from range(2) as r(i)"
    )
    con.execute(
        "insert into features.candidate select 3, 3, 3, 0, 0, timestamp '2026-11-01', timestamp '2026-11-01', "
        "timestamp '2026-11-01', 0, 'same', 'same', 'run-1', timestamp '2026-11-01'"
    )
    con.execute(
        "insert into features.candidate_columns select 'csat_mean', 1, 'DOUBLE', 'tickets', 9, 0, 0, 'run-1', "
        "timestamp '2026-11-01', 0"
    )
    con.execute(
        "insert into identity.customer_consents select 'c_' || i, 'analytics', true, timestamp '2026-01-01', 'run-1', "
        "timestamp '2026-11-01' from range(3) as r(i)"
    )
    con.execute(
        "create schema intermediate; create table intermediate.int_features__freshness as "
        "select 'orders' as concern, timestamp '2026-10-31' as max_event_at"
    )
    return con


def test_good_features_pass(good: Connection, check: Check) -> None:
    assert check(good, SUITE) == set()


@pytest.mark.parametrize("truth", [truth.name for truth in SUITE.truths])
def test_one_mistake_breaks_one_truth(good: Connection, check: Check, truth: str) -> None:
    good.execute(MISTAKES[truth])
    assert check(good, SUITE) == {truth}
