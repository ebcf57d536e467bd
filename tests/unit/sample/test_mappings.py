"""The sample loads through its nine mappings: only planted dirt ends in quarantine, and all of it does."""

import pytest

from segmentation.sources import entities
from segmentation.sources.landing import take_inventory
from segmentation.sources.mapping import SourceMapping

ENTITIES = sorted(set(entities.ENTITIES) - {"experiment_exposures"})

#: FOCUS columns that no canonical column takes.
UNUSED = {
    "cloud_bill": {"CommitmentDiscountCategory", "CommitmentDiscountId", "InvoiceId", "PricingCategory"},
}


def rows(con, sql: str) -> dict:
    return dict(con.execute(sql).fetchall())


def test_every_file_is_taken_and_none_twice(sample, mappings: tuple[SourceMapping, ...]) -> None:
    inventory = take_inventory(sample.landing, mappings)
    assert not inventory.findings
    assert sorted(file.relative for file in inventory.files) == sorted(sample.report.files)


def test_every_file_is_loaded_and_every_entity_filled(sample, loaded) -> None:
    statuses = rows(loaded, "select status, count(distinct path) from sources.files group by status")
    assert statuses == {"loaded": len(sample.report.files)}
    read = rows(loaded, "select entity, sum(rows_read)::int from sources.files group by entity")
    assert set(read) == set(ENTITIES)
    assert sum(read.values()) == sum(sample.report.rows.values())
    for entity in ENTITIES:
        assert loaded.execute(f"select count(*) from sources.{entity}").fetchall()[0][0] > 0


def test_quarantine_holds_the_planted_rows_and_no_other(loaded) -> None:
    quarantined = rows(loaded, "select entity, count(*) from sources.quarantine group by entity")
    planted = rows(
        loaded,
        """
        select entity, sum(row_count)::int from truth.dirt
        where kind in ('missing_required', 'unparsable') group by entity having sum(row_count) > 0
        """,
    )
    assert quarantined == planted
    assert set(planted) == set(ENTITIES) - {"accounts"}
    share = sum(planted.values()) / loaded.execute("select sum(rows_read) from sources.files").fetchall()[0][0]
    assert share < 0.01


def test_quarantine_says_why(loaded) -> None:
    reasons = {
        entity: {reason.split(":")[0] for reason in found}
        for entity, found in loaded.execute(
            "select entity, list(reason) from sources.quarantine group by entity"
        ).fetchall()
    }
    assert reasons["customer_records"] == {"source_customer_id", "updated_at"}
    assert reasons["orders"] == {"order_id", "ordered_at"}
    assert reasons["events"] == {"event_type", "occurred_at"}
    assert reasons["charges"] == {"charge_category", "effective_cost"}
    assert reasons["tickets"] == {"opened_at"}
    assert reasons["invoices"] == {"amount_micros"}


def test_exact_duplicates_are_loaded_once(loaded) -> None:
    found = rows(
        loaded,
        "select entity, sum(rows_duplicate)::int as n from sources.files group by entity having n > 0",
    )
    planted = rows(
        loaded, "select entity, row_count::int from truth.dirt where kind = 'exact_duplicate' and row_count > 0"
    )
    assert found == planted
    assert {"orders", "order_lines", "events", "customer_records", "charges"} <= set(planted)


@pytest.mark.parametrize(
    ("entity", "key"),
    [("orders", "order_id"), ("customer_records", "source_customer_id"), ("charges", "charge_id")],
)
def test_changed_rows_of_one_key_are_all_kept(loaded, entity: str, key: str) -> None:
    again = loaded.execute(f"select count(*) - count(distinct {key}) from sources.{entity}").fetchall()[0][0]
    planted = loaded.execute(
        "select row_count from truth.dirt where kind = 'changed_content' and entity = ?", [entity]
    ).fetchall()[0][0]
    assert again == planted > 0


def test_mappings_leave_no_column_of_the_files_unread(sample, mappings: tuple[SourceMapping, ...], loaded) -> None:
    for mapping in mappings:
        for feed in mapping.feeds:
            path = min((sample.landing / feed.folder).iterdir())
            if path.suffix == ".parquet":
                scan = f"read_parquet('{path}')"
            elif "ndjson" in path.name:
                scan = f"read_json('{path}', format = 'newline_delimited')"
            else:
                encoding = "latin-1" if feed.encoding.startswith("iso8859") else "utf-8"
                scan = f"read_csv('{path}', delim = '{feed.delimiter}', encoding = '{encoding}', all_varchar = true)"
            columns = {row[0] for row in loaded.execute(f"describe select * from {scan}").fetchall()}
            assert set(feed.reads) <= columns
            assert columns - set(feed.reads) == UNUSED.get(feed.folder, set())


def test_units_and_words_are_canonical(loaded) -> None:
    plans = rows(loaded, "select plan, max(mrr_micros // seats) from sources.subscriptions group by plan")
    assert plans == {"free": 0, "core": 9_900_000, "pro": 29_000_000, "enterprise": 45_000_000}
    for column, table, words in (
        ("order_status", "orders", {"completed", "cancelled", "returned", "disputed"}),
        ("subscription_status", "subscriptions", {"active", "cancelled", "past_due", "trialing"}),
        ("invoice_status", "invoices", {"paid", "open", "overdue"}),
        ("consent_state", "consent_events", {"granted", "denied", "withdrawn", "expired"}),
        ("job_level", "form_submissions", {"executive", "director", "manager", "individual"}),
        ("charge_category", "charges", {"Usage", "Purchase", "Tax", "Credit"}),
    ):
        found = {row[0] for row in loaded.execute(f"select distinct {column} from sources.{table}").fetchall()}
        assert found == words
    purposes = {row[0] for row in loaded.execute("select distinct purpose from sources.consent_events").fetchall()}
    assert purposes == {
        "essential.service",
        "analytics",
        "personalisation",
        "marketing",
        "marketing.email",
        "marketing.ads",
        "third_party_sharing",
    }
