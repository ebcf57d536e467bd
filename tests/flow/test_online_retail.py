"""Real transactions through the whole chain, against the same rules written in pandas."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from orchestration.settings import ROOT

pytestmark = [pytest.mark.real_data, pytest.mark.timeout(900)]

AS_OF = pd.Timestamp("2011-12-10")

#: Scores of recency and frequency, both ends included, by segment.
RFM: dict[str, tuple[range, range]] = {
    "hibernating": (range(1, 3), range(1, 3)),
    "at_risk": (range(1, 3), range(3, 5)),
    "cant_loose": (range(1, 3), range(5, 6)),
    "about_to_sleep": (range(3, 4), range(1, 3)),
    "need_attention": (range(3, 4), range(3, 4)),
    "loyal_customers": (range(3, 5), range(4, 6)),
    "promising": (range(4, 5), range(1, 2)),
    "new_customers": (range(5, 6), range(1, 2)),
    "potential_loyalists": (range(4, 6), range(2, 4)),
    "champions": (range(5, 6), range(4, 6)),
}


@pytest.fixture(scope="module")
def transactions() -> Path:
    folder = Path(os.environ.get("STRATA_TEST_DATA", ROOT.parent / "shared" / "data"))
    file = folder / "online_retail" / "online_retail.csv.gz"
    if not file.is_file():
        pytest.skip(f"{file} is absent: the setting STRATA_TEST_DATA names the folder of real data")
    return file


@pytest.fixture(scope="module")
def shop(transactions: Path, tmp_path_factory: pytest.TempPathFactory, installation: Callable[[Path], Any]) -> Any:
    """The installation after one run over the file, which is all that landed."""
    data = tmp_path_factory.mktemp("online-retail")
    (data / "landing" / "online_retail").mkdir(parents=True)
    shutil.copy(transactions, data / "landing" / "online_retail")
    shop = installation(data)
    outcome = shop.run("2011-12-10T00:00:00")
    assert outcome.success, outcome.errors
    assert all(outcome.gates.values())
    assert len(outcome.gates) == 6
    return shop


@pytest.fixture(scope="module")
def lines(transactions: Path) -> pd.DataFrame:
    """Rows of the file with the marks that decide what becomes of them."""
    frame = pd.read_csv(transactions, dtype=str, keep_default_na=False)
    frame["customer"] = frame["CustomerID"].str.removesuffix(".0")
    # Prices have three decimals: whole micros, so that sums are exact.
    frame["micros"] = (frame["UnitPrice"].astype(float) * 1_000_000).round().astype("int64")
    frame["quantity"] = frame["Quantity"].astype("int64")
    frame["at"] = pd.to_datetime(frame["InvoiceDate"])
    frame["cancelled"] = frame["InvoiceNo"].str.startswith("C")
    frame["no_customer"] = frame["CustomerID"] == ""
    frame["no_price"] = frame["micros"] <= 0
    frame["no_quantity"] = (frame["quantity"] <= 0) & ~frame["cancelled"]
    frame["usable"] = ~(frame["no_customer"] | frame["no_price"] | frame["no_quantity"])
    frame["value"] = frame["quantity"] * frame["micros"]
    return frame


@pytest.fixture(scope="module")
def buyers(lines: pd.DataFrame) -> pd.DataFrame:
    """Customers with an uncancelled order, by source customer id, with the scores of the definition."""
    bought = lines[lines["usable"] & ~lines["cancelled"]]
    orders = bought.groupby("InvoiceNo", sort=False).agg(customer=("customer", "first"), at=("at", "first"))
    found = pd.DataFrame(
        {
            "last_order_at": orders.groupby("customer")["at"].max(),
            "frequency": orders.groupby("customer").size(),
            "monetary": bought.groupby("customer")["value"].sum(),
        }
    ).sort_index()
    found["recency"] = (AS_OF - found["last_order_at"]).dt.days
    found["recency_score"] = 6 - score(found["recency"])
    # The index is the source customer id, ascending: the first of equals gets the lower rank.
    found["frequency_score"] = score(found["frequency"].rank(method="first"))
    found["monetary_score"] = score(found["monetary"])
    found["segment"] = [
        next(key for key, (r, f) in RFM.items() if recency in r and frequency in f)
        for recency, frequency in zip(found["recency_score"], found["frequency_score"], strict=True)
    ]
    return found


def score(values: "pd.Series[Any]") -> "np.ndarray[Any, Any]":
    """Score 1 to 5 by quintile: linear interpolation, an edge belongs to the fifth that it closes."""
    edges = np.quantile(values.to_numpy(), [0.2, 0.4, 0.6, 0.8], method="linear")
    return 1 + (values.to_numpy()[:, None] > edges).sum(axis=1)


@pytest.fixture(scope="module")
def features(shop: Any) -> pd.DataFrame:
    """Rows of features by source customer id."""
    rows = shop.sql(
        "select p.best_source_customer_id, f.orders_total, f.revenue_micros_total, f.days_since_last_order, "
        "f.recency_score, f.frequency_score, f.monetary_score, f.cancelled_orders_total, f.returns_ratio_365d "
        "from features.customer_features as f join identity.profiles as p on f.customer_id = p.customer_id"
    )
    names = [
        "customer",
        "frequency",
        "monetary",
        "recency",
        "recency_score",
        "frequency_score",
        "monetary_score",
        "cancelled",
        "returns",
    ]
    return pd.DataFrame(rows, columns=names).set_index("customer").sort_index()


def test_every_row_of_the_file_is_accounted_for(shop: Any, lines: pd.DataFrame) -> None:
    assert len(lines) == 541_909
    usable = int(lines["usable"].sum())
    orders = lines[lines["usable"]]["InvoiceNo"].nunique()
    refused = len(lines) - usable
    assert shop.sql(
        "select entity, rows_read, rows_loaded, rows_duplicate, rows_quarantined from sources.files order by 1"
    ) == [("order_lines", 541_909, usable, 0, refused), ("orders", 541_909, orders, usable - orders, refused)]


def test_refused_rows_are_in_quarantine_by_reason_and_line(shop: Any, lines: pd.DataFrame) -> None:
    reasons = {
        "customer id is missing": "no_customer",
        "unit price is not positive": "no_price",
        "quantity is not positive outside a cancellation": "no_quantity",
    }
    for reason, mark in reasons.items():
        for entity in ("orders", "order_lines"):
            rows = shop.sql(
                "select line from sources.quarantine "
                f"where entity = '{entity}' and contains(reason, '{reason}') order by line"
            )
            assert [line for (line,) in rows] == (np.flatnonzero(lines[mark]) + 1).tolist()
        print(f"quarantined, {reason}: {int(lines[mark].sum()):,}")  # noqa: T201 - figures to quote
    assert shop.sql("select count(*) from sources.quarantine where entity = 'order_lines'") == [(135_120,)]


def test_customers_are_those_that_the_file_names(shop: Any, lines: pd.DataFrame) -> None:
    named = shop.sql("select best_source_customer_id from identity.profiles order by 1")
    assert [name for (name,) in named] == sorted(lines[lines["usable"]]["customer"].unique())
    assert shop.sql("select count(*) from identity.customers where status = 'active'") == [(len(named),)]


def test_recency_frequency_and_monetary_are_exact(features: pd.DataFrame, buyers: pd.DataFrame) -> None:
    assert len(buyers) == 4_338
    found = features[features["frequency"] > 0]
    for name in ("recency", "frequency", "monetary", "recency_score", "frequency_score", "monetary_score"):
        expected = buyers[name]
        pd.testing.assert_series_equal(found[name].astype("int64"), expected.astype("int64"), check_index_type=False)
    assert round(int(found["monetary"].sum()) / 1_000_000, 2) == 8_911_407.90


def test_without_an_uncancelled_order_there_are_no_scores(features: pd.DataFrame) -> None:
    others = features[features["frequency"] == 0]
    assert len(others) > 0
    assert others[["recency_score", "frequency_score", "monetary_score", "recency"]].isna().all(axis=None)


def test_cancellations_are_returns_and_not_orders(features: pd.DataFrame, lines: pd.DataFrame) -> None:
    usable = lines[lines["usable"]]
    cancelled = usable[usable["cancelled"]].groupby("customer")["InvoiceNo"].nunique()
    expected = cancelled.reindex(features.index, fill_value=0)
    assert features["cancelled"].astype("int64").tolist() == expected.tolist()
    assert int(expected.sum()) == 3_654

    # An invoice is dated by its first line; the window is open at its older end.
    at = usable.groupby("InvoiceNo")["at"].transform("first")
    year = usable[at > AS_OF - pd.Timedelta(days=365)]
    bought = year[year["quantity"] > 0].groupby("customer")["value"].sum()
    returned = -year[year["quantity"] < 0].groupby("customer")["value"].sum()
    ratio = (returned.reindex(bought.index, fill_value=0) / bought).reindex(features.index)
    np.testing.assert_allclose(features["returns"].astype(float), ratio, rtol=1e-12, equal_nan=True)
    print(f"returned in 365 days: {returned.sum() / 1e6:,.2f} of {bought.sum() / 1e6:,.2f}")  # noqa: T201 - figures to quote


def test_every_customer_is_in_the_segment_of_the_definition(shop: Any, buyers: pd.DataFrame) -> None:
    keys = ", ".join(f"'{key}'" for key in RFM)
    members = shop.sql(
        "select p.best_source_customer_id, m.segment_key from segments.membership as m "
        f"join identity.profiles as p on m.customer_id = p.customer_id where m.segment_key in ({keys}) order by 1"
    )
    assert members == list(zip(buyers.index, buyers["segment"], strict=True))
    for key, size in buyers["segment"].value_counts().items():
        print(f"{key:<20} {size:>6,}")  # noqa: T201 - figures to quote


def test_the_online_store_tells_the_same(shop: Any, buyers: pd.DataFrame) -> None:
    names = dict(shop.sql("select customer_id, best_source_customer_id from identity.profiles"))
    told = {
        names[customer_id]: value["groups"]["rfm"]
        for customer_id, value in shop.online_store().items()
        if "rfm" in value.get("groups", {})
    }
    assert told == dict(buyers["segment"])
