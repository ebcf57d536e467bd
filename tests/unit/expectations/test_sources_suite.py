"""Every truth about landed rows holds on good ones and is broken by one mistake of its own."""

from collections.abc import Callable

import pytest

from expectations.suites.sources import SUITE
from expectations.truths import Suite
from segmentation import contracts
from segmentation.run import Run
from segmentation.sources.summary import write_summary
from segmentation.sources.tables import create_drafts, ensure_entity_tables, promote_drafts
from segmentation.warehouse import Connection

Check = Callable[[Connection, Suite], set[str]]

FILES = "sources.candidate_files"


def refuse(code: str, rows: int) -> str:
    """Refuse that many more of 100 rows of a file."""
    return (
        f"insert into sources.candidate_quarantine select 1, 'orders', 'shop', 'orders/a.csv', i, '{code}', 'so', "
        f"'{{}}', 'run-1', now()::timestamp from range({rows}) as r(i); "
        f"update {FILES} set rows_quarantined = rows_quarantined + {rows}, rows_duplicate = rows_duplicate - {rows}"
    )


MISTAKES = {
    "every_file_is_readable": (
        f"insert into {FILES} select * replace ('rejected' as status, 0 as rows_quarantined) from {FILES}"
    ),
    "few_rows_are_refused": refuse("rejected:channel is odd; missing_value:order_id", 20),
    "no_file_is_refused_whole": f"update {FILES} set rows_read = 2, rows_loaded = 0, rows_duplicate = 0",
    "every_row_is_accounted_for": f"update {FILES} set rows_read = 101",
    "loaded_rows_are_in_their_table": "delete from sources.candidate_orders where line = 1",
    "refused_rows_are_in_quarantine": "delete from sources.candidate_quarantine where line = 1",
    "some_rows_name_customers": "update sources.candidate set rows_after = 0",
    "events_have_happened": f"update {FILES} set first_event_at = timestamp '2026-11-03'",
    "no_event_is_from_the_future": f"update {FILES} set last_event_at = timestamp '2026-11-03'",
    "withheld_rows_are_counted_by_reason": (
        f"update {FILES} set rows_withheld = 1, rows_duplicate = rows_duplicate - 1"
    ),
    "most_rows_may_be_kept": "update sources.candidate set rows_withheld = 51 where entity = 'orders'",
    "most_rows_are_usable": "update sources.candidate set quarantined_ratio = 0.06 where entity = 'orders'",
    "most_rows_name_a_customer": "update sources.candidate set without_identifier_ratio = 0.6 where entity = 'orders'",
    "everything_in_the_landing_folder_is_mapped": (
        "insert into sources.candidate_findings values ('unmapped_folder', 'new', 'm', 'r', 'run-1', now()::timestamp)"
    ),
}


@pytest.fixture
def rerun(con: Connection, run: Run) -> Connection:
    """What a run without new files proposes, over orders that are published already."""
    contracts.ensure_schema(con, "sources")
    ensure_entity_tables(con)
    con.execute(
        "insert into sources.orders by name select 'o-' || i as order_id, 'paid' as order_status, "
        "timestamp '2026-10-01' as ordered_at, 'shop' as source, 0 as file_id, i as line, 'run-0' as run_id, "
        "timestamp '2026-10-01' as recorded_at from range(50) as r(i)"
    )
    create_drafts(con)
    promote_drafts(con)
    write_summary(con, run, {}, [])
    contracts.stamp_candidate(con, "sources", run)
    return con


@pytest.fixture
def good(rerun: Connection) -> Connection:
    """A file of 100 orders: 90 new, 8 known, 2 that the mapping refuses."""
    rerun.execute(
        "insert into sources.candidate_orders by name select 'n-' || i as order_id, 'paid' as order_status, "
        "timestamp '2026-10-31' as ordered_at, 'shop' as source, 1 as file_id, i as line, 'run-1' as run_id, "
        "timestamp '2026-11-01' as recorded_at from range(90) as r(i)"
    )
    rerun.execute(
        "insert into sources.candidate_quarantine select 1, 'orders', 'shop', 'orders/a.csv', i, "
        "'rejected:a test order', 'a test order', '{}', 'run-1', timestamp '2026-11-01' from range(2) as r(i)"
    )
    rerun.execute(
        f"insert into {FILES} by name select 1 as file_id, 'orders' as entity, 'shop' as source, "
        "'orders/a.csv' as path, 'abc' as sha256, 10 as bytes, 'def' as mapping_hash, 'staged' as status, "
        "'' as message, 100 as rows_read, 90 as rows_loaded, 8 as rows_duplicate, 0 as rows_folded, "
        "0 as rows_changed, 0 as rows_late, 2 as rows_quarantined, 0 as rows_withheld, 0 as rows_without_identifier, "
        "timestamp '2026-10-31' as first_event_at, timestamp '2026-10-31' as last_event_at, 'run-1' as run_id, "
        "timestamp '2026-11-01' as recorded_at"
    )
    rerun.execute("update sources.candidate set rows_loaded = 90, rows_after = 140 where entity = 'orders'")
    return rerun


def test_good_files_pass(good: Connection, check: Check) -> None:
    assert check(good, SUITE) == set()


def test_a_run_without_new_files_passes(rerun: Connection, check: Check) -> None:
    assert check(rerun, SUITE) == set()


@pytest.mark.parametrize(
    ("code", "rows"), [("rejected:a test order", 60), ("missing_value:order_id", 19)], ids=["named", "too few"]
)
def test_expected_or_rare_dirt_closes_nothing(good: Connection, check: Check, code: str, rows: int) -> None:
    good.execute(f"update {FILES} set rows_duplicate = 68, rows_loaded = 30; delete from sources.candidate_orders")
    good.execute("update sources.candidate set rows_loaded = 0")
    good.execute(refuse(code, rows))
    assert check(good, SUITE) == set()


@pytest.mark.parametrize(
    "code",
    [
        "wrong_type:quantity",
        "too_few_columns",
        "reject_not_computed:a test order",
        "rejected:a test order; missing_value:order_id",
    ],
)
def test_every_reason_that_no_mapping_names_counts(good: Connection, check: Check, code: str) -> None:
    good.execute(f"update {FILES} set rows_duplicate = 68, rows_loaded = 30; delete from sources.candidate_orders")
    good.execute("update sources.candidate set rows_loaded = 0")
    good.execute(refuse(code, 20))
    assert check(good, SUITE) == {"few_rows_are_refused"}


@pytest.mark.parametrize("truth", [truth.name for truth in SUITE.truths])
def test_one_mistake_breaks_one_truth(good: Connection, check: Check, truth: str) -> None:
    if truth == "few_rows_are_refused":
        good.execute(f"update {FILES} set rows_duplicate = 68, rows_loaded = 30; delete from sources.candidate_orders")
        good.execute("update sources.candidate set rows_loaded = 0")
    good.execute(MISTAKES[truth])
    assert check(good, SUITE) == {truth}
