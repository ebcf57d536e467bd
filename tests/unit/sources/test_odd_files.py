"""Files that are not what their name says, or whose name says nothing, are told as what they are; others load."""

import errno
import gzip
import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from segmentation.errors import SourceError
from segmentation.sources.check import check_file

Lines = Callable[..., str]


@pytest.fixture
def landed(yard, tickets_csv: Lines, ticket: Lines):
    """A yard with one plain file."""
    yard.land("tickets/a.csv", tickets_csv(ticket(1)))
    return yard


def zipped() -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        archive.writestr("a.csv", "id,status")
    return held.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "says", "repair"),
    [
        ("b.csv", gzip.compress(b"id,status"), "the file is gzip, not text", "let its name end in .gz"),
        ("b.ndjson", gzip.compress(b"{}"), "the file is gzip, not text", "let its name end in .gz"),
        ("b.csv", b"PAR1" + bytes(100), "the file is Parquet, not text", "let its name end in .parquet"),
        ("b.csv", zipped(), "the file is a ZIP archive or an Excel workbook, not text", "as CSV"),
        ("b.csv.gz", gzip.compress(b""), "the file is empty", "deliver the file"),
        ("b.csv", b"\xef\xbb\xbf", "the file is empty", "deliver the file"),
        ("b.csv", b"\n\n", "begins with a blank line", "with a header"),
        ("b.csv.gz", gzip.compress("id,status".encode("utf-16")), "not text in the file's encoding", "set encoding"),
    ],
    # Named by hand: gzip and ZIP write the time into what they pack, and a test's name must not change with it.
    ids=["gzip", "gzip JSON", "Parquet", "ZIP", "empty gzip", "only a mark", "blank lines", "UTF-16 in gzip"],
)
def test_a_file_of_another_kind_is_told_as_such(landed, name: str, content: bytes, says: str, repair: str) -> None:
    (landed.landing / "tickets" / name).write_bytes(content)
    message = str(landed.build().facts["files_rejected"][f"tickets/{name}"])
    assert says in message
    assert repair in message.partition("repair:")[2]
    assert landed.fates()["tickets/a.csv"] == ("staged", 1, 1, 0, 0)


@pytest.mark.parametrize(
    "text",
    ['[{"id": "t1"}]\n', '{\n  "id": "t1"\n}\n', '"id"\n7\nnull\n', '{"id": "\\ud800"}\n', '{"id": 1}{"id": 2}\n'],
)
def test_json_that_is_no_object_a_line_is_refused_line_by_line(landed, text: str) -> None:
    landed.land("tickets/b.ndjson", text)
    landed.build()
    refused = landed.rows("select line, reason_code from sources.candidate_quarantine order by line")
    assert refused == [(number, "not_an_object") for number in range(1, text.count("\n") + 1)]
    assert landed.fates()["tickets/a.csv"] == ("staged", 1, 1, 0, 0)


def test_a_name_that_is_not_text_stops_nothing_else(landed) -> None:
    folder = os.fsencode(landed.landing)
    content = (landed.landing / "tickets" / "a.csv").read_bytes()
    for name in (b"tickets/bad\xff.csv", b"tickets/bad\xff.txt", b"loose\xff.csv"):
        Path(os.fsdecode(folder + b"/" + name)).write_bytes(content)
    Path(os.fsdecode(folder + b"/other\xff")).mkdir()
    report = landed.build()
    assert landed.fates() == {
        "tickets/a.csv": ("staged", 1, 1, 0, 0),
        "tickets/bad\\xff.csv": ("rejected", 0, 0, 0, 0),
    }
    message = str(report.facts["files_rejected"]["tickets/bad\\xff.csv"])
    assert "is not UTF-8 text" in message
    assert landed.rows("select kind, path from sources.candidate_findings order by 2") == [
        ("ignored_file", "loose\\xff.csv"),
        ("unmapped_folder", "other\\xff"),
        ("ignored_file", "tickets/bad\\xff.txt"),
    ]
    with pytest.raises(SourceError, match="is not UTF-8 text"):
        check_file(Path(os.fsdecode(folder + b"/tickets/bad\xff.csv")), landed.mappings(), landing=landed.landing)


@pytest.mark.parametrize(
    "name", ["two\nlines.csv", "it's.csv", "per%20cent #1?.csv", "雪.csv", "--option.csv", "~.csv"]
)
def test_any_other_name_is_a_name(yard, tickets_csv: Lines, ticket: Lines, name: str) -> None:
    yard.land(f"tickets/{name}", tickets_csv(ticket(1), "x"))
    yard.load()
    assert yard.rows("select path, rows_loaded from sources.files") == [(f"tickets/{name}", 1)]
    assert yard.rows("select path from sources.quarantine") == [(f"tickets/{name}",)]


def test_a_file_in_no_feeds_folder_is_told(landed, tickets_csv: Lines, ticket: Lines) -> None:
    landed.land("loose.csv", tickets_csv(ticket(2)))
    landed.land(".hidden", "x")
    landed.land("_writing.csv", "x")
    landed.build()
    ((kind, path, repair),) = landed.rows("select kind, path, repair from sources.candidate_findings")
    assert (kind, path) == ("ignored_file", "loose.csv")
    assert repair.startswith("put it into the folder of the feed")


def test_a_folder_that_can_not_be_listed_is_told(landed, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = Path.iterdir

    def refuse(folder: Path):
        if folder.name == "tickets":
            raise PermissionError(errno.EACCES, "Permission denied")
        return listed(folder)

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(SourceError, match="the folder can't be listed: Permission denied") as caught:
        landed.build()
    assert caught.value.where == str(landed.landing / "tickets")
    assert caught.value.repair.startswith("chmod a+rx")


def test_parquet_without_rows_or_with_nested_values_is_read(landed) -> None:
    columns = "'open' as status, date '2026-01-01' as opened, date '2026-01-01' as updated, 1 as score"
    landed.land_parquet("tickets/none.parquet", f"select 't2' as id, {columns}, 'm' as mail limit 0")
    landed.land_parquet("tickets/nested.parquet", f"select ['t3'] as id, {columns}, {{'a': 1}} as mail")
    landed.build()
    assert landed.fates()["tickets/none.parquet"] == ("staged", 0, 0, 0, 0)
    assert landed.rows("select ticket_id, email from sources.candidate_tickets order by file_id") == [
        ("t1", "a1@example.com"),
        (duckdb.execute("select cast(['t3'] as varchar)").fetchall()[0][0], "{'a': 1}"),
    ]
