"""Landed files become rows, once each, and what is new stays new."""

from collections.abc import Callable
from pathlib import Path

import pytest

from segmentation.errors import CandidateError, SourceError
from segmentation.run import Run
from segmentation.sources.entities import ENTITIES
from segmentation.sources.landing import Inventory
from segmentation.sources.publish import publish

Lines = Callable[..., str]


def test_a_file_becomes_typed_rows_with_their_origin(yard, tickets_csv: Lines, ticket: Lines) -> None:
    yard.land("tickets/a.csv", tickets_csv(ticket(1, score="5"), ticket(2)))
    report = yard.load()
    assert report.rows["tickets"] == 2
    assert yard.rows(
        "select ticket_id, opened_at::varchar, csat_score, category, email, source, file_id, line, run_id "
        "from sources.tickets order by line"
    ) == [
        ("t1", "2026-01-01 10:00:00", 5, None, "a1@example.com", "desk", 1, 1, "run-1"),
        ("t2", "2026-01-01 10:00:00", None, None, "a2@example.com", "desk", 1, 2, "run-1"),
    ]
    assert yard.rows("select file_id, path, entity, rows_read, rows_loaded, status from sources.files") == [
        (1, "tickets/a.csv", "tickets", 2, 2, "loaded")
    ]


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "A.CSV"])
def test_every_form_of_csv_gives_the_same_rows(yard, tickets_csv: Lines, ticket: Lines, name: str) -> None:
    yard.land(f"tickets/{name}", tickets_csv(ticket(1), ticket(2)))
    assert yard.load().rows["tickets"] == 2


@pytest.mark.parametrize("name", ["a.ndjson", "a.jsonl", "a.ndjson.gz", "a.jsonl.gz"])
def test_ndjson_gives_the_same_rows(yard, name: str) -> None:
    yard.land(
        f"tickets/{name}",
        '{"id": "t1", "status": "open", "opened": "2026-01-01T10:00:00Z", "updated": "2026-01-01T12:00:00+02:00", '
        '"score": 4, "mail": null, "extra": {"a": [1]}}\n\n'
        '{"id": "t2", "status": "open", "opened": "2026-01-01", "updated": "2026-01-02", "mail": "é@x.org"}\n',
    )
    yard.load()
    assert yard.rows(
        "select ticket_id, csat_score, email, updated_at::varchar, line from sources.tickets order by 1"
    ) == [
        ("t1", 4, None, "2026-01-01 10:00:00", 1),
        ("t2", None, "é@x.org", "2026-01-02 00:00:00", 3),
    ]


def test_a_key_that_no_row_of_an_ndjson_file_has_is_null_unless_required(yard) -> None:
    yard.land("tickets/a.ndjson", '{"id": "t1", "status": "open", "opened": "2026-01-01", "Updated": "2026-01-01"}\n')
    yard.build()
    assert yard.fates() == {"tickets/a.ndjson": ("staged", 1, 1, 0, 0)}
    assert yard.rows("select message from sources.candidate_files") == [("no row has score, mail: read as null",)]
    yard.land("tickets/a.ndjson", '{"id": "t1", "state": "open", "opened": "2026-01-01", "updated": "2026-01-01"}\n')
    yard.build()
    assert yard.fates()["tickets/a.ndjson"][0] == "rejected"
    assert "'status' (did you mean 'state'?)" in yard.rows("select message from sources.candidate_files")[0][0]


def test_parquet_keeps_its_types(yard) -> None:
    yard.land_parquet(
        "tickets/a.parquet",
        "select 7 as id, 'open' as status, timestamptz '2026-01-01 12:00:00+02' as opened, "
        "timestamp_ns '2026-01-01 10:00:00' as updated, 4.0 as score, '' as mail "
        "union all select 8, 'open', timestamptz '2026-01-02 00:00:00+00', timestamp_ns '2026-01-02', 4.5, 'x'",
    )
    yard.load()
    assert yard.rows(
        "select ticket_id, opened_at::varchar, updated_at::varchar, csat_score, email, line from sources.tickets"
    ) == [("7", "2026-01-01 10:00:00", "2026-01-01 10:00:00", 4, None, 1)]
    assert yard.rows("select line, reason from sources.quarantine") == [(2, "csat_score: '4.5' is not a whole number")]


def test_dropping_a_file_again_is_a_no_op(yard, tickets_csv: Lines, ticket: Lines) -> None:
    path = yard.land("tickets/a.csv", tickets_csv(ticket(1), ticket(2), "broken"))
    yard.load()
    before = (
        yard.rows("from sources.tickets order by all"),
        yard.rows("from sources.files"),
        yard.rows("from sources.quarantine"),
    )
    path.touch()
    yard.land("tickets/copy_of_a.csv", path.read_bytes())
    report = yard.load()
    assert report.facts["appended"] == {}
    assert before == (
        yard.rows("from sources.tickets order by all"),
        yard.rows("from sources.files"),
        yard.rows("from sources.quarantine"),
    )


def test_the_same_content_twice_in_one_batch_is_loaded_once(yard, tickets_csv: Lines, ticket: Lines) -> None:
    text = tickets_csv(ticket(1))
    yard.land("tickets/a.csv", text)
    yard.land("tickets/b.csv", text)
    yard.build()
    assert yard.fates() == {"tickets/a.csv": ("staged", 1, 1, 0, 0), "tickets/b.csv": ("repeated", 0, 0, 0, 0)}
    assert yard.rows("select message from sources.candidate_files where status = 'repeated'") == [
        ("same content as tickets/a.csv",)
    ]


def test_a_changed_file_is_a_new_batch_of_which_only_the_changes_are_new(
    yard, tickets_csv: Lines, ticket: Lines
) -> None:
    yard.land("tickets/a.csv", tickets_csv(ticket(1), ticket(2)))
    yard.load()
    yard.land("tickets/a.csv", tickets_csv(ticket(1), ticket(2, status="closed"), ticket(3, day=9)))
    yard.build()
    assert yard.fates() == {"tickets/a.csv": ("staged", 3, 2, 1, 0)}
    assert yard.rows("select rows_changed from sources.candidate_files") == [(1,)]
    publish(yard.con, yard.run)
    assert yard.rows("select ticket_id, ticket_status, file_id, line from sources.tickets order by 1, 3") == [
        ("t1", "open", 1, 1),
        ("t2", "open", 1, 2),
        ("t2", "closed", 2, 2),
        ("t3", "open", 2, 3),
    ]


def test_duplicates_within_a_batch_leave_the_first_and_every_change(yard, tickets_csv: Lines, ticket: Lines) -> None:
    yard.land("tickets/a.csv", tickets_csv(ticket(1), ticket(1), ticket(1, status="closed")))
    yard.land("tickets/b.csv", tickets_csv(ticket(1), ticket(2)))
    yard.build()
    assert yard.fates() == {"tickets/a.csv": ("staged", 3, 2, 1, 0), "tickets/b.csv": ("staged", 2, 1, 1, 0)}
    assert yard.rows("select ticket_id, ticket_status, line from sources.candidate_tickets order by 1, 3") == [
        ("t1", "open", 1),
        ("t1", "closed", 3),
        ("t2", "open", 2),
    ]


def test_two_sources_may_use_the_same_keys(yard, tickets_csv: Lines, ticket: Lines) -> None:
    text = (yard.catalog / "desk.yml").read_text()
    yard.map(text.replace("source: desk", "source: other").replace("folder: tickets", "folder: others"), "other.yml")
    yard.land("tickets/a.csv", tickets_csv(ticket(1)))
    yard.land("others/a.csv", tickets_csv(ticket(1)))
    assert yard.load().rows["tickets"] == 2
    assert yard.load().rows["tickets"] == 2


def test_late_rows_are_loaded_and_counted(yard, tickets_csv: Lines, ticket: Lines) -> None:
    yard.land("tickets/a.csv", tickets_csv(ticket(1, day=10)))
    yard.land("tickets/b.csv", tickets_csv(ticket(2, day=3), ticket(3, day=12)))
    yard.load()
    yard.land("tickets/c.csv", tickets_csv(ticket(4, day=11), ticket(5, day=13)))
    yard.build()
    assert yard.rows("select path, rows_loaded, rows_late from sources.candidate where grain = 'file'") == [
        ("tickets/c.csv", 2, 1)
    ]
    publish(yard.con, yard.run)
    assert yard.rows("select path, rows_late from sources.files order by 1") == [
        ("tickets/a.csv", 0),
        ("tickets/b.csv", 1),
        ("tickets/c.csv", 1),
    ]


def test_a_changed_mapping_reads_the_file_again(yard, tickets_csv: Lines, ticket: Lines) -> None:
    yard.land("tickets/a.csv", tickets_csv(ticket(1), ticket(2)))
    yard.load()
    text = (yard.catalog / "desk.yml").read_text()
    yard.map(
        text.replace("email: mail", "email: mail\n          category: {expression: \"if(id = 't2', 'vip', null)\"}")
    )
    yard.build()
    assert yard.fates() == {"tickets/a.csv": ("staged", 2, 1, 1, 0)}
    publish(yard.con, yard.run)
    assert yard.rows("select ticket_id, category from sources.tickets order by 1, file_id") == [
        ("t1", None),
        ("t2", None),
        ("t2", "vip"),
    ]


ORDERS = """\
source: shop
feeds:
  - folder: lines
    delimiter: ";"
    null_values: ["", "NULL", "-"]
    entities:
      - entity: orders
        one_row_per: [order_id]
        columns:
          order_id: order
          order_status: {constant: completed}
          ordered_at: {column: day, format: "%d/%m/%Y"}
          email: mail
        reject:
          - {when: "cast(qty as int) < 0", reason: negative quantity}
      - entity: order_lines
        columns:
          order_id: order
          order_line_id: {expression: "cast(_line as varchar)"}
          ordered_at: {column: day, format: "%d/%m/%Y"}
          quantity: qty
          unit_price_micros: {expression: "cast(cast(price as decimal(18,6)) * 1000000 as bigint)"}
        reject:
          - {when: "cast(qty as int) < 0", reason: negative quantity}
"""


def test_one_feed_fills_several_entities_and_folds_rows(yard) -> None:
    yard.map(ORDERS, "shop.yml")
    yard.land(
        "lines/a.csv",
        "order;day;mail;qty;price\n"
        "o1;01/02/2026;-;-1;1.5\n"
        "o1;01/02/2026;NULL;2;1.5\n"
        "o1;01/02/2026;late@x.org;3;0,5\n"
        "o2;32/13/2026;b@x.org;x;2\n",
    )
    yard.build()
    assert yard.rows("select order_id, email, line from sources.candidate_orders") == [("o1", None, 2)]
    assert yard.rows("select order_line_id, quantity, unit_price_micros from sources.candidate_order_lines") == [
        ("2", 2, 1_500_000)
    ]
    assert yard.rows(
        "select entity, rows_read, rows_loaded, rows_duplicate, rows_folded, rows_quarantined from sources.candidate "
        "where grain = 'file' order by 1"
    ) == [("order_lines", 4, 1, 0, 0, 3), ("orders", 4, 1, 1, 1, 2)]
    reasons = dict(yard.rows("select line, reason from sources.candidate_quarantine where entity = 'order_lines'"))
    assert reasons == {
        1: "negative quantity",
        3: "unit_price_micros: can not be computed from the row: "
        "cast(cast(price as decimal(18,6)) * 1000000 as bigint)",
        4: "the reject rule can not be computed: cast(qty as int) < 0; "
        "ordered_at: '32/13/2026' is not a timestamp (format %d/%m/%Y); quantity: 'x' is not a whole number",
    }


def test_the_gate_sees_totals_per_entity(yard, tickets_csv: Lines, ticket: Lines) -> None:
    yard.land("tickets/a.csv", tickets_csv(ticket(1), ticket(2), "t3,open,yesterday,2026-01-01,,"))
    yard.load()
    yard.land("tickets/b.csv", tickets_csv("t4,open,2026-01-05,2026-01-05,,"))
    yard.build()
    totals = yard.rows(
        "select entity, rows_read, rows_loaded, rows_published, rows_after, files_staged, without_identifier_ratio "
        "from sources.candidate where grain = 'entity' and (rows_after > 0 or entity = 'orders') order by 1"
    )
    assert totals == [("orders", 0, 0, 0, 0, 0, 0), ("tickets", 1, 1, 2, 3, 1, 1.0)]
    assert yard.rows("select count(*) from sources.candidate where grain = 'entity'") == [(len(ENTITIES),)]


def test_what_no_mapping_takes_is_a_finding(yard, tickets_csv: Lines, ticket: Lines) -> None:
    yard.land("tickets/a.csv", tickets_csv(ticket(1)))
    yard.land("tickets/readme.txt", "hello")
    yard.land("tickets/.a.csv.part", "id")
    yard.land("tickets/_b.csv", "id")
    yard.land("surprise/a.csv", "x\n1\n")
    (yard.landing / "_writing").mkdir()
    report = yard.build()
    assert yard.rows("select kind, path from sources.candidate_findings order by 1") == [
        ("ignored_file", "tickets/readme.txt"),
        ("unmapped_folder", "surprise"),
    ]
    assert len(report.facts["findings"]) == 2
    assert list(yard.fates()) == ["tickets/a.csv"]


def test_an_empty_landing_folder_says_what_to_do(yard) -> None:
    with pytest.raises(SourceError) as caught:
        yard.build()
    assert "strata sample" in caught.value.repair
    assert caught.value.where == str(yard.landing)
    yard.land("surprise/a.csv", "x\n1\n")
    with pytest.raises(SourceError, match="folders without a mapping: surprise"):
        yard.build()


def test_a_landing_folder_emptied_after_loading_keeps_what_was_loaded(yard, tickets_csv: Lines, ticket: Lines) -> None:
    path = yard.land("tickets/a.csv", tickets_csv(ticket(1)))
    yard.load()
    path.unlink()
    assert yard.load().rows["tickets"] == 1
    assert yard.rows("select kind from sources.candidate_findings") == [("empty_landing",)]


def test_a_pattern_and_the_first_feed_decide(yard, tickets_csv: Lines, ticket: Lines) -> None:
    text = (yard.catalog / "desk.yml").read_text()
    first = text.replace("folder: tickets", 'folder: tickets\n    pattern: "vip_*"\n    format: csv').replace(
        "email: mail", "email: mail\n          category: {constant: vip}"
    )
    yard.map(first + text[text.index("  - folder") :])
    yard.land("tickets/vip_1.txt", tickets_csv(ticket(1)))
    yard.land("tickets/1.csv", tickets_csv(ticket(2)))
    yard.load()
    assert yard.rows("select ticket_id, category from sources.tickets order by 1") == [("t1", "vip"), ("t2", None)]


def test_publishing_twice_adds_nothing_and_needs_this_runs_candidate(yard, tickets_csv: Lines, ticket: Lines) -> None:
    yard.land("tickets/a.csv", tickets_csv(ticket(1)))
    yard.build()
    publish(yard.con, yard.run)
    again = publish(yard.con, yard.run)
    assert again.rows["tickets"] == 1
    assert again.facts == {"appended": {}, "files": 1, "quarantined": 0}
    stranger = Run("stranger", yard.run.as_of, yard.run.recorded_at)
    with pytest.raises(CandidateError):
        publish(yard.con, stranger)


def test_a_candidate_that_was_not_published_is_read_again(yard, tickets_csv: Lines, ticket: Lines) -> None:
    yard.land("tickets/a.csv", tickets_csv(ticket(1)))
    yard.build()
    yard.next_run()
    yard.build()
    assert yard.fates() == {"tickets/a.csv": ("staged", 1, 1, 0, 0)}
    publish(yard.con, yard.run)
    assert yard.rows("select ticket_id, file_id, run_id from sources.tickets") == [("t1", 1, "run-2")]


def test_the_same_input_gives_the_same_tables(yard, tickets_csv: Lines, ticket: Lines) -> None:
    for name in ("b", "a", "c"):
        yard.land(f"tickets/{name}.csv", tickets_csv(*(ticket(n) for n in range(50)), ticket(ord(name), day=5), "x"))
    results = []
    for _ in range(2):
        yard.build()
        results.append(
            (
                yard.rows("from sources.candidate_tickets order by all"),
                yard.rows("from sources.candidate_files order by all"),
                yard.rows("from sources.candidate_quarantine order by all"),
            )
        )
    assert results[0] == results[1]
    assert len(results[0][0]) == 53


def test_a_column_that_an_entity_gained_is_added_to_its_table(yard, tickets_csv: Lines, ticket: Lines) -> None:
    yard.land("tickets/a.csv", tickets_csv(ticket(1)))
    yard.load()
    yard.con.execute("alter table sources.tickets drop column csat_score")
    yard.land("tickets/b.csv", tickets_csv(ticket(2, score="3")))
    yard.load()
    assert yard.rows("select ticket_id, csat_score from sources.tickets order by 1") == [("t1", None), ("t2", 3)]


def test_no_mappings_and_no_folder_give_an_empty_inventory(tmp_path: Path) -> None:
    from segmentation.sources.landing import take_inventory

    assert take_inventory(tmp_path / "nowhere", ()) == Inventory((), ())
