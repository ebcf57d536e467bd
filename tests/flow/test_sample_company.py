"""The sample company through the whole chain: again, elsewhere, and a week later."""

import shutil
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from orchestration.settings import now
from segmentation.sync.lookup import lookup

pytestmark = pytest.mark.timeout(900)

FIRST = "2026-11-01T00:00:00"
LATER = "2026-11-08T00:00:00"

#: What the log of changes says of who is in what.
FOLDED = """
select customer_id, segment_key from segments.membership_changes
group by all having arg_max(change, change_seq) = 'enter' order by all
"""
MEMBERSHIP = "select customer_id, segment_key from segments.membership order by all"


def test_every_stage_has_something_to_show(company: Path, installation: Any) -> None:
    first = installation(company)
    empty = {table for table, (rows, _) in first.results().items() if rows == 0}
    # Nothing was merged, refused or exposed to an experiment, nothing of the bill is odd, matching is off, no change
    # waits for approval, nobody decided anything, asked for past days or was erased, and no mapping asks for consent.
    assert empty <= {
        "identity.acknowledgements",
        "identity.former_nodes",
        "identity.rules",
        "identity.suppressions",
        "identity.customer_aliases",
        "identity.match_basis",
        "identity.match_candidates",
        "identity.match_labels",
        "identity.match_records",
        "identity.match_samples",
        "segments.approvals",
        "segments.backfill_days",
        "segments.backfills",
        "segments.canaries",
        "segments.held_changes",
        "segments.pin_members",
        "segments.pins",
        "sources.experiment_exposures",
        "sources.withheld",
        "sync.dead_letters",
        "costs.findings",
    }
    assert first.sql("select count(distinct segment_key) > 15 from segments.membership") == [(True,)]


def test_a_run_without_news_changes_nothing(company: Path, install: Callable[..., Any]) -> None:
    house = install(copy_of=company)
    tables, store, flags = house.results(), house.online_store(), house.flags()

    again = house.run(FIRST)

    assert again.success, again.errors
    found = house.results()
    assert {name for name in found if found[name] != tables[name]} == house.DIARIES
    assert house.sql(f"select entered, exited from segments.publications where run_id = '{again.run_id}'") == [(0, 0)]
    for table in ("identity.events", "segments.membership_changes", "sources.files"):
        assert house.sql(f"select count(*) from {table} where run_id = '{again.run_id}'") == [(0,)]
    assert house.sql(
        "select destination, mode, rows_written, rows_deleted from sync.receipts "
        f"where run_id = '{again.run_id}' order by 1"
    ) == [("feature_flags", "none", 0, 0), ("online_store", "none", 0, 0)]
    assert house.online_store() == store
    assert house.flags() == flags


@pytest.mark.slow
def test_the_same_seed_gives_the_same_tables_and_nobody_reads_the_truth(
    company: Path, draw_company: Callable[[Path], None], install: Callable[..., Any], installation: Any
) -> None:
    twin = install("elsewhere")
    draw_company(twin.settings.data)
    shutil.rmtree(twin.settings.truth_folder)

    outcome = twin.run(FIRST)

    assert outcome.success, outcome.errors
    first = installation(company)
    tables, expected = twin.results(), first.results()
    assert {name for name in expected if tables.get(name) != expected[name]} == set()
    assert tables.keys() == expected.keys()
    assert twin.online_store() == first.online_store()
    assert twin.flags() == first.flags()
    assert not twin.settings.truth_folder.exists()


def test_a_delivery_moves_whom_it_is_about(company: Path, week_later: Path, delivery: Any, installation: Any) -> None:
    before, after = installation(company), installation(week_later)

    def features(house: Any, customer_id: str, columns: str) -> tuple[object, ...]:
        row: tuple[object, ...] = house.sql(
            f"select {columns} from features.customer_features where customer_id = '{customer_id}'"
        )[0]
        return row

    def new_changes(customer_id: str) -> set[tuple[object, ...]]:
        rows = after.sql(
            "select segment_key, change, cause from segments.membership_changes "
            f"where customer_id = '{customer_id}' and effective_at = timestamp '{LATER}'"
        )
        return set(rows)

    # A row that changed counts as it is now, once.
    columns = "orders_total, cancelled_orders_total"
    assert features(before, delivery.cancelled, columns) == (4, 0)
    assert features(after, delivery.cancelled, columns) == (3, 1)
    # A row that comes late counts when it happened.
    columns = "orders_total, last_order_at"
    (orders, last_order_at), late = (features(house, delivery.belated, columns) for house in (before, after))
    assert late == (orders + 1, last_order_at)
    assert features(after, delivery.belated, "first_order_at") == (datetime(2026, 9, 10, 9, 30),)
    # What a customer does moves them, and the log says why.
    assert features(after, delivery.disputed, "chargebacks_365d") == (1,)
    assert ("fraud_watch", "enter", "data") in new_changes(delivery.disputed)
    assert ("marketing_reachable", "exit", "consent") in new_changes(delivery.withdrawn)


def test_a_delivery_is_accounted_for_file_by_file(week_later: Path, installation: Any) -> None:
    house = installation(week_later)
    files = house.sql(
        "select f.path, f.rows_read, f.rows_loaded, f.rows_quarantined, f.rows_late from sources.files as f "
        "where f.run_id = (select run_id from ops.candidates order by candidate_seq desc limit 1) order by 1"
    )
    # A file that was loaded before is not loaded again under another name.
    assert files == [
        ("consent_log/consent_20261107.ndjson", 1, 1, 0, 0),
        ("shop_orders/pedidos_20261107.csv", 4, 3, 1, 2),
    ]
    assert house.sql("select line, reason from sources.quarantine where path = 'shop_orders/pedidos_20261107.csv'") == [
        (4, "ordered_at: 'yesterday' is not a timestamp (format %d/%m/%Y %H:%M:%S)")
    ]


def test_history_is_only_added_to(company: Path, week_later: Path, installation: Any) -> None:
    before, after = installation(company), installation(week_later)
    with duckdb.connect() as con:
        con.execute(f"attach '{before.settings.warehouse.path}' as before (read_only)")
        con.execute(f"attach '{after.settings.warehouse.path}' as after (read_only)")
        for table in (
            "sources.orders",
            "sources.files",
            "sources.quarantine",
            "identity.events",
            "segments.membership_changes",
            "segments.publications",
            "segments.sizes_daily",
            "ops.candidates",
            "ops.gate_results",
        ):
            lost = con.execute(f"select count(*) from (from before.{table} except all from after.{table})").fetchall()
            assert lost == [(0,)], table
    # The delivery is about customers who were known.
    assert before.sql("select count(*) from identity.events") == after.sql("select count(*) from identity.events")
    # Every entry and exit is a difference between the two memberships, and the other way round.
    moved = after.sql(
        "select change, customer_id, segment_key from segments.membership_changes "
        f"where effective_at = timestamp '{LATER}' order by all"
    )
    then, now_in = set(before.sql(MEMBERSHIP)), set(after.sql(MEMBERSHIP))
    assert moved == sorted([("enter", *one) for one in now_in - then] + [("exit", *one) for one in then - now_in])
    assert 0 < len(moved) < len(then)


@pytest.mark.slow
def test_it_does_not_matter_in_how_many_runs_files_were_loaded(
    week_later: Path,
    delivery: Any,
    draw_company: Callable[[Path], None],
    install: Callable[..., Any],
    installation: Any,
) -> None:
    at_once = install()
    draw_company(at_once.settings.data)
    delivery.land(at_once.settings.landing_folder)

    outcome = at_once.run(LATER)

    assert outcome.success, outcome.errors
    in_two = installation(week_later)
    for table in (
        "features.customer_features",
        "identity.customer_consents",
        "identity.profiles",
        "segments.effective",
    ):
        assert at_once.results()[table] == in_two.results()[table], table
    assert at_once.sql(MEMBERSHIP) == in_two.sql(MEMBERSHIP)
    assert at_once.online_store() == in_two.online_store()


def test_readers_get_no_raw_sources_and_no_candidates(week_later: Path, installation: Any) -> None:
    house = installation(week_later)
    with house.settings.warehouse.read() as con:
        found = con.execute("select table_schema, table_name from information_schema.tables").fetchall()
        copied = con.execute("from segments.membership order by all").fetchall()
    assert {table for schema, table in found if schema == "sources"} == {"files", "withheld"}
    assert [table for _, table in found if table == "candidate" or table.startswith("candidate_")] == []
    assert {"staging", "intermediate"}.isdisjoint(schema for schema, _ in found)
    assert copied == house.sql("from segments.membership order by all")


def test_the_log_of_changes_folds_to_membership(company: Path, week_later: Path, installation: Any) -> None:
    for folder in (company, week_later):
        house = installation(folder)
        members = house.sql(MEMBERSHIP)
        assert len(members) > 500
        assert house.sql(FOLDED) == members
        assert members == house.sql(
            "select customer_id, segment_key from segments.membership_history "
            "where valid_to is null and superseded_at is null order by all"
        )


def test_every_customer_is_answered_as_membership_says(week_later: Path, installation: Any) -> None:
    house = installation(week_later)
    expected: dict[str, dict[str, int]] = {
        customer_id: {}
        for (customer_id,) in house.sql("select customer_id from identity.customers where status = 'active'")
    }
    for customer_id, segment_key, version in house.sql(
        "select customer_id, segment_key, segment_version from segments.membership"
    ):
        expected[customer_id][segment_key] = version
    url = f"sqlite:///{house.settings.data / 'online_store.db'}"
    assert {customer_id: lookup(url, customer_id, now()).segments for customer_id in expected} == expected
    assert len(house.online_store()) == len(expected) + 1  # and one row that names the segments
