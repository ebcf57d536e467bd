"""Recency, frequency and monetary scores against pandas, over any buyers."""

from datetime import datetime, timedelta

import duckdb
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

AS_OF = datetime(2026, 11, 1)

#: Orders, revenue in micros, seconds since the last order, source customer id.
Buyer = tuple[int, int, int, str]


class Scoring:
    """The compiled model over tables of its own, in memory."""

    def __init__(self, sql: str) -> None:
        self.sql = sql
        self.con = duckdb.connect()
        self.con.execute("attach ':memory:' as warehouse")
        self.con.execute("create schema warehouse.intermediate")
        self.con.execute("create schema warehouse.staging")

    def score(self, buyers: list[Buyer]) -> pd.DataFrame:
        """Return the scores beside what they are computed from."""
        frame = pd.DataFrame(
            {
                "customer_id": [f"c_{number:04}" for number in range(len(buyers))],
                "orders_total": [orders for orders, *_ in buyers],
                "revenue_micros_total": [revenue for _, revenue, *_ in buyers],
                "last_order_at": [AS_OF - timedelta(seconds=seconds) for _, _, seconds, _ in buyers],
                "best_source_customer_id": [source_id for *_, source_id in buyers],
                "status": "active",
            }
        )
        self.con.register("frame", frame)
        for table in (
            "intermediate.int_orders__summarised",
            "staging.stg_identity__customers",
            "staging.stg_identity__profiles",
        ):
            self.con.execute(f"create or replace table warehouse.{table} as select * from frame")
        return self.con.sql(self.sql).df().merge(frame, on="customer_id").sort_values("customer_id")


@pytest.fixture(scope="module")
def scoring(compiled: dict[str, str]) -> Scoring:
    return Scoring(compiled["int_customers__scored"])


def by_edges(values: "pd.Series[int]") -> np.ndarray:
    """Score by quintile edges: linear interpolation, upper edge inclusive."""
    edges = np.quantile(values.to_numpy(), [0.2, 0.4, 0.6, 0.8], method="linear")
    return 1 + (values.to_numpy()[:, None] > edges).sum(axis=1)


buyers = st.lists(
    st.tuples(
        st.integers(1, 6),
        st.integers(0, 40) | st.integers(-(10**9), 10**12),
        st.integers(0, 9 * 86400) | st.integers(0, 400 * 86400),
        st.sampled_from(["1", "10", "2", "Zoe", "ä"]) | st.text("0123456789", min_size=1, max_size=6),
    ),
    min_size=2,
    max_size=60,
)


@given(buyers=buyers)
@example(buyers=[(1, 5, 86400, "1")] * 11)
@example(buyers=[(n, n, n * 86400, str(n)) for n in range(1, 17)])
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_scores_are_those_of_pandas(scoring: Scoring, buyers: list[Buyer]) -> None:
    scored = scoring.score(buyers)
    days = (AS_OF - scored["last_order_at"]) // timedelta(days=1)
    assert scored["recency_score"].tolist() == (6 - by_edges(days)).tolist()
    assert scored["monetary_score"].tolist() == by_edges(scored["revenue_micros_total"]).tolist()
    ordered = scored.assign(raw_id=[text.encode() for text in scored["best_source_customer_id"]])
    ordered = ordered.sort_values(["raw_id", "customer_id"])
    expected = pd.qcut(ordered["orders_total"].rank(method="first"), 5, labels=False) + 1
    assert ordered["frequency_score"].tolist() == expected.tolist()


def test_a_single_buyer_has_the_middle_of_nothing(scoring: Scoring) -> None:
    scored = scoring.score([(3, 10, 86400, "1")])
    assert scored[["recency_score", "frequency_score", "monetary_score"]].to_numpy().tolist() == [[5, 1, 1]]
