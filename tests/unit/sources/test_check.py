"""What would happen to a file, said without touching the warehouse."""

import json
from collections.abc import Callable

import pytest

from segmentation.errors import NotFoundError, SourceError
from segmentation.sources.candidate import loaded_files
from segmentation.sources.check import check_file

Lines = Callable[..., str]


def test_a_file_in_the_landing_folder_is_tried_as_a_run_would(yard, tickets_csv: Lines, ticket: Lines) -> None:
    path = yard.land(
        "tickets/a.csv",
        tickets_csv(ticket(1), ticket(1), "t2,open,soon,2026-01-01,high,", "x").replace("mail\n", "mail\n", 1),
    )
    check = check_file(path, yard.mappings(), landing=yard.landing)
    (entity,) = check.entities
    assert (check.is_accepted, check.feed, check.format) == (True, "desk/tickets", "csv")
    assert check.columns_found == ("id", "status", "opened", "updated", "score", "mail")
    assert (entity.rows_read, entity.rows_loaded, entity.rows_duplicate, entity.rows_quarantined) == (4, 1, 1, 2)
    assert [(row.line, row.reason) for row in entity.quarantined] == [
        (3, "opened_at: 'soon' is not a timestamp; csat_score: 'high' is not a whole number"),
        (4, "the row has too few columns"),
    ]
    assert json.loads(entity.quarantined[0].raw)["opened"] == "soon"
    assert entity.reasons == {
        "opened_at: … is not a timestamp; csat_score: … is not a whole number": 1,
        "the row has too few columns": 1,
    }
    assert json.loads(json.dumps(check.as_dict()))["is_accepted"] is True
    assert not yard.rows("select 1 from information_schema.tables where table_schema = 'sources'")


def test_it_agrees_with_the_run_and_knows_the_ledger(yard, tickets_csv: Lines, ticket: Lines) -> None:
    path = yard.land("tickets/a.csv", tickets_csv(ticket(1), ticket(1), "x"))
    before = check_file(path, yard.mappings(), ledger=frozenset())
    yard.load()
    after = check_file(path, yard.mappings(), ledger=loaded_files(yard.con))
    assert not before.entities[0].is_loaded
    assert after.entities[0].is_loaded
    counted = yard.rows("select rows_read, rows_loaded, rows_duplicate, rows_quarantined from sources.files")[0]
    entity = before.entities[0]
    assert counted == (entity.rows_read, entity.rows_loaded, entity.rows_duplicate, entity.rows_quarantined)


def test_folded_rows_are_no_duplicates(yard, tickets_csv: Lines, ticket: Lines) -> None:
    text = (yard.catalog / "desk.yml").read_text()
    yard.map(text.replace("        columns:", "        one_row_per: [ticket_id]\n        columns:"))
    lines = (ticket(1), ticket(1), ticket(1, status="closed"), ticket(2), "x")
    path = yard.land("tickets/a.csv", tickets_csv(*lines))
    (entity,) = check_file(path, yard.mappings(), landing=yard.landing).entities
    fates = (entity.rows_loaded, entity.rows_folded, entity.rows_duplicate, entity.rows_quarantined)
    assert fates == (2, 2, 0, 1)
    assert sum(fates) == entity.rows_read == 5


def test_a_file_elsewhere_is_taken_by_its_columns(yard, tmp_path, tickets_csv: Lines, ticket: Lines) -> None:
    text = (yard.catalog / "desk.yml").read_text()
    yard.map(text.replace("source: desk", "source: twin"), "twin.yml")
    yard.map(
        "source: other\nfeeds:\n  - folder: o\n    entities:\n      - entity: accounts\n"
        "        columns: {account_id: acc, updated_at: upd}\n",
        "other.yml",
    )
    path = tmp_path / "export.csv"
    path.write_text(tickets_csv(ticket(1)))
    check = check_file(path, yard.mappings())
    assert (check.feed, check.also_fits) == ("desk/tickets", ("twin/tickets",))
    path.write_text("acc,upd,more\na,2026-01-01,1\n")
    check = check_file(path, yard.mappings(), landing=yard.landing)
    assert (check.feed, check.columns_unused, check.entities[0].rows_loaded) == ("other/o", ("more",), 1)
    assert check_file(path, yard.mappings(), feed="twin").problem is not None
    lines = tmp_path / "export.ndjson"
    lines.write_text('[1]\nnonsense\n{"acc": "a", "upd": "2026-01-01"}\n')
    assert check_file(lines, yard.mappings()).feed == "other/o"
    stored = yard.land_parquet("x.parquet", "select 'a' as acc, timestamp '2026-01-01' as upd")
    assert check_file(stored, yard.mappings()).feed == "other/o"
    path.write_bytes(b"")
    with pytest.raises(SourceError, match="the file is empty"):
        check_file(path, yard.mappings())
    path.write_text("p,q\n1,2\n")
    with pytest.raises(SourceError, match="no feed takes the file; the nearest is"):
        check_file(path, yard.mappings())


@pytest.mark.parametrize("feed", ["desk", "tickets", "desk/tickets"])
def test_a_missing_column_is_named_with_what_was_meant(yard, tmp_path, tickets_csv: Lines, feed: str) -> None:
    path = tmp_path / "x.csv"
    path.write_text(tickets_csv().replace("opened", "opend"))
    check = check_file(path, yard.mappings(), feed=feed)
    assert not check.is_accepted
    assert check.columns_missing == ("opened",)
    assert check.columns_unused == ("opend",)
    assert check.entities == ()
    assert "'opened' (did you mean 'opend'?)" in check.problem["what"]


def test_what_is_not_there_is_not_found(yard, tmp_path) -> None:
    with pytest.raises(NotFoundError, match="no such file"):
        check_file(tmp_path / "none.csv", yard.mappings())
    path = tmp_path / "x.csv"
    path.write_text("a\n")
    with pytest.raises(NotFoundError, match="no feed 'crm'") as caught:
        check_file(path, yard.mappings(), feed="crm")
    assert "desk/tickets" in caught.value.expected
    with pytest.raises(SourceError, match="no feed takes the file"):
        check_file(path.rename(tmp_path / "x.xlsx"), yard.mappings())
