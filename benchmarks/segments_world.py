"""A company for measuring segments at scale: features of any number of customers, and fifty rules over them.

Belongs here: the features as SQL, the catalog as files, and a second day on which a share of the customers changes.
Does not belong here: what is measured (`segments_at_scale.py`). Values come from a hash of the customer's number, so
that every way and every run sees the same company.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import yaml

from segmentation.contracts import ensure_schema
from segmentation.segments.catalog import Catalog, load_catalog
from segmentation.warehouse import Connection

FIRST_DAY = datetime(2026, 11, 1, tzinfo=UTC).replace(tzinfo=None)
SECOND_DAY = FIRST_DAY + timedelta(days=1)

#: Column, type by contract, and its value as SQL over ``{n}``, a whole number of 0 to 999,999, each as likely.
_COLUMNS: tuple[tuple[str, str, str], ...] = (
    ("orders_30d", "bigint", "case when {n} < 600000 then 0 else {n} % 7 end"),
    ("orders_90d", "bigint", "case when {n} < 400000 then 0 else {n} % 19 end"),
    ("orders_365d", "bigint", "{n} % 53"),
    ("revenue_micros_90d", "bigint", "{n} * 700"),
    ("revenue_micros_365d", "bigint", "{n} * 3000"),
    ("average_order_micros", "bigint", "{n} * 90"),
    ("days_since_last_order", "bigint", "case when {n} % 10 = 0 then null else {n} // 2700 end"),
    ("returns_ratio_365d", "double", "case when {n} < 500000 then null else {n} / 1e6 - 0.5 end"),
    ("recency_score", "bigint", "1 + {n} % 5"),
    ("frequency_score", "bigint", "1 + {n} // 7 % 5"),
    ("monetary_score", "bigint", "1 + {n} // 11 % 5"),
    ("sessions_30d", "bigint", "{n} % 41"),
    ("days_active_30d", "bigint", "{n} % 31"),
    ("days_since_last_seen", "bigint", "{n} // 5000"),
    ("top_channel", "string", "['web', 'app', 'api', 'shop'][1 + {n} % 4]"),
    ("requests_7d", "bigint", "case when {n} < 800000 then 0 else {n} - 800000 end"),
    ("request_p95_ms_7d", "double", "case when {n} < 800000 then null else ({n} - 800000) / 100 end"),
    ("error_ratio_7d", "double", "case when {n} < 800000 then null else ({n} - 800000) / 2e6 end"),
    ("tickets_open", "bigint", "case when {n} < 950000 then 0 else {n} % 5 end"),
    ("csat_mean", "double", "case when {n} % 3 = 0 then null else 1 + ({n} % 401) / 100 end"),
    ("plan", "string", "['free', 'basic', 'pro', 'enterprise'][1 + {n} % 10 // 4 + {n} % 100 // 99]"),
    ("mrr_micros", "bigint", "case when {n} < 700000 then 0 else ({n} - 700000) * 400 end"),
    ("days_to_renewal", "bigint", "{n} // 2700"),
    ("country", "string", "['DE', 'AT', 'CH', 'FR', 'NL', 'PL', 'SE', 'ES'][1 + {n} % 8]"),
)

#: Rules of the tier, the best first; the last takes everybody.
_TIERS = (
    "plan = 'enterprise' and mrr_micros > 90000000",
    "plan = 'enterprise'",
    "revenue_micros_365d > 2900000000",
    "plan = 'pro' and mrr_micros > 60000000",
    "revenue_micros_365d > 2500000000 and days_since_last_order < 60",
    "plan = 'pro'",
    "orders_365d >= 40 and returns_ratio_365d < 0.3",
    "plan = 'basic' and sessions_30d >= 10",
    "orders_90d > 0",
    "true",
)

#: Rules outside of groups; each stands four times, with another country or channel.
_FREE = (
    "days_since_last_order between 90 and 180 and orders_365d >= 5",
    "requests_7d > 100000 and error_ratio_7d > 0.02",
    "days_to_renewal < 30 and mrr_micros > 0",
    "recency_score >= 4 and frequency_score >= 4 and monetary_score >= 4",
    "recency_score <= 2 and monetary_score = 5 and average_order_micros > 40000000",
    "tickets_open >= 2 or csat_mean < 1.5",
    "days_since_last_seen > 150 and revenue_micros_90d > 500000000",
    "sessions_30d >= 20 and orders_30d = 0 and days_active_30d >= 15",
    "request_p95_ms_7d > 1500 and requests_7d > 1000",
    "returns_ratio_365d > 0.4 and orders_365d > 10",
)
_NARROWED = ("country in ('DE', 'AT')", "country in ('CH', 'FR', 'NL')", "top_channel = 'app'", "top_channel <> 'shop'")

TYPES = {
    "customer_id": "string",
    "as_of": "timestamp",
    "consented_purposes": "varchar[]",
    "residency_region": "string",
    **{name: kind for name, kind, _ in _COLUMNS},
}


@dataclass(frozen=True, slots=True)
class PlainRule:
    """A segment as the ways without a catalog know it: its SQL, with the rules that win over it taken out."""

    key: str
    sql: str


def build_features(con: Connection, customers: int) -> None:
    """Write the features of the first day, and the schemas that the stage expects."""
    ensure_schema(con, "identity")
    ensure_schema(con, "segments")
    con.execute("create schema if not exists features")
    con.execute(f"create table features.customer_features as {_features(FIRST_DAY, 'i', customers)}")


def change_features(con: Connection, percent: int) -> None:
    """Bring the second day: that many of a hundred customers have all values anew."""
    customers = int(con.execute("select count(*) from features.customer_features").fetchall()[0][0])
    salted = f"case when i % 100 < {percent} then i + 1000000007 else i end"
    con.execute(f"create or replace table features.customer_features as {_features(SECOND_DAY, salted, customers)}")


def _features(moment: datetime, number: str, customers: int) -> str:
    """Return the query of the features at a moment; ``number`` is what a customer's values are made of."""
    places = range(len(_COLUMNS))
    columns = [
        f"{value.format(n=f'n{place}')} as {name}" for place, (name, _, value) in zip(places, _COLUMNS, strict=True)
    ]
    numbers = [f"cast(hash({number}, {place}) % 1000000 as bigint) as n{place}" for place in places]
    return (
        f"select 'c_' || lpad(cast(i as varchar), 10, '0') as customer_id, timestamp '{moment}' as as_of, "
        f"[]::varchar[] as consented_purposes, 'eu' as residency_region, {', '.join(columns)} "
        f"from (select i, {', '.join(numbers)} from range({customers}) as r(i))"
    )


def write_catalog(folder: Path) -> Catalog:
    """Write the fifty segments as files below ``folder`` and load them as the stage does."""
    for name in ("segments", "lists"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    group = {"key": "tier", "name": "Tier", "description": "Service tier.", "default": "tier_10", "costing": True}
    (folder / "groups.yml").write_text(yaml.safe_dump({"groups": [group]}), encoding="utf-8")
    for key, rule, rank in _segments():
        definition = {
            "key": key,
            "name": key,
            "description": "A segment of a measurement.",
            "owner": {"team": "growth", "contact": "growth@strata.example"},
            "objective": "insight",
            "action": "look",
            "measure": "looks",
            "lifecycle": "active",
            "review_by": "2027-01-31",
            "rule": rule,
            **({"group": "tier", "precedence": rank} if rank else {}),
        }
        (folder / "segments" / f"{key}.yml").write_text(yaml.safe_dump(definition), encoding="utf-8")
    return load_catalog(folder, TYPES)


def plain_rules() -> list[PlainRule]:
    """Return the same segments as SQL alone, for ways that know no groups."""
    found, before = [], ""
    for key, rule, rank in _segments():
        found.append(PlainRule(key, f"({rule}){before if rank else ''}"))
        before += f" and ({rule}) is not true"
    return found


def _segments() -> Iterator[tuple[str, str, int]]:
    for rank, rule in enumerate(_TIERS, 1):
        yield f"tier_{rank:02}", rule, rank
    for number, rule in enumerate(_FREE, 1):
        for variant, narrowed in enumerate(_NARROWED, 1):
            yield f"free_{number:02}_{variant}", f"({rule}) and {narrowed}", 0
