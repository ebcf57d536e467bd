"""Bad input ends in quarantine or in a clear refusal, and nothing published is damaged."""

import errno
import json
from collections.abc import Callable

import duckdb
import pytest

from segmentation.errors import StrataError
from segmentation.sources import batches as batches_module
from segmentation.sources import candidate as candidate_module
from segmentation.sources import landing as landing_module
from segmentation.sources import publish as publish_module
from segmentation.sources import staging as staging_module
from segmentation.sources.publish import publish
from segmentation.sources.tables import create_drafts

Lines = Callable[..., str]


@pytest.fixture
def loaded(yard, tickets_csv: Lines, ticket: Lines):
    """A yard with one file loaded, and what is published of it."""
    yard.land("tickets/0.csv", tickets_csv(ticket(0), "broken"))
    yard.load()
    return yard


def published(yard) -> list[list[tuple]]:
    tables = ("tickets", "files", "quarantine")
    return [yard.rows(f"select * from sources.{table} order by all") for table in tables]


def test_bad_values_go_to_quarantine_with_their_reasons(yard, tickets_csv: Lines, ticket: Lines) -> None:
    yard.land(
        "tickets/a.csv",
        tickets_csv(
            ticket(1),
            ",open,2026-01-01,2026-01-01,,",
            "t3,,32/13/2026,2026-01-01,,",
            "t4,open,2026-01-01,2026-01-01,4.5,",
            "t5,open,2026-01-01,2026-01-01,99999999999999999999,",
            "t6,open,infinity,2026-02-30,nan,",
            "t7,open",
            "t8,open,2026-01-01,2026-01-01,,x,y",
            't9,"op"en,2026-01-01,2026-01-01,,',
        ),
    )
    yard.build()
    assert yard.fates() == {"tickets/a.csv": ("staged", 9, 1, 0, 8)}
    assert yard.quarantine() == [
        (2, "ticket_id: required value is missing"),
        (3, "ticket_status: required value is missing; opened_at: '32/13/2026' is not a timestamp"),
        (4, "csat_score: '4.5' is not a whole number"),
        (5, "csat_score: '99999999999999999999' is not a whole number"),
        (
            6,
            (
                "opened_at: 'infinity' is not a timestamp; updated_at: '2026-02-30' is not a timestamp; "
                "csat_score: 'nan' is not a whole number"
            ),
        ),
        (7, "the row has too few columns"),
        (8, "the row has too many columns"),
        (9, "the row has a broken quote"),
    ]
    assert yard.rows("select reason_code from sources.candidate_quarantine order by line") == [
        ("missing_value:ticket_id",),
        ("missing_value:ticket_status; wrong_type:opened_at",),
        ("wrong_type:csat_score",),
        ("wrong_type:csat_score",),
        ("wrong_type:opened_at; wrong_type:updated_at; wrong_type:csat_score",),
        ("too_few_columns",),
        ("too_many_columns",),
        ("broken_quote",),
    ]
    raws = dict(yard.rows("select line, raw::varchar from sources.candidate_quarantine"))
    assert json.loads(raws[3])["opened"] == "32/13/2026"
    assert json.loads(raws[7]) == {"_row": "t7,open"}


HOSTILE = [
    "it's; drop table sources.tickets; --",
    '"quoted", and\nbroken\r\nover lines',
    "nul\0inside",
    "💥 Zażółć gęślą jaźń \u202e\u0000 ﷽",
    "{{ jinja }} ${shell} `tick` %s ? $1",
    "x" * 1_000_000,
]


@pytest.mark.parametrize("is_good", [True, False])
def test_hostile_text_is_only_text(yard, is_good: bool) -> None:
    quoted = ['"' + text.replace('"', '""') + '"' for text in HOSTILE]
    day = "2026-01-01" if is_good else "never"
    lines = [f"{text},open,{day},2026-01-01,,{text}" for text in quoted]
    yard.land('tickets/it\'s "a"; drop table x.csv', "id,status,opened,updated,score,mail\n" + "\n".join(lines))
    yard.load()
    if is_good:
        assert [row[0] for row in yard.rows("select ticket_id from sources.tickets order by line")] == HOSTILE
    else:
        raws = yard.rows("select raw::varchar from sources.quarantine order by line")
        assert [json.loads(raw[0])["id"] for raw in raws] == HOSTILE
        assert all(len(row[0]) < 200 for row in yard.rows("select reason from sources.quarantine"))


def test_hostile_column_names_are_only_names(yard) -> None:
    name = 'it\'s "x"; drop table t --'
    yard.map(
        "source: desk\nfeeds:\n  - folder: tickets\n    entities:\n      - entity: accounts\n        columns:\n"
        f"          account_id: {json.dumps(name)}\n          updated_at: b\n"
    )
    header = '"' + name.replace('"', '""') + '"'
    yard.land("tickets/a.csv", f"{header},b\n7,2026-01-01\n8,never\n")
    yard.land("tickets/b.ndjson", json.dumps({name: "9", "b": "2026-01-01"}) + "\n")
    yard.land_parquet("tickets/c.parquet", f"select 10 as {header}, date '2026-01-01' as b")
    yard.load()
    assert yard.rows("select account_id from sources.accounts order by file_id") == [("7",), ("9",), ("10",)]
    assert json.loads(yard.rows("select raw::varchar from sources.quarantine")[0][0]) == {name: "8", "b": "never"}


def test_rows_in_another_encoding_are_quarantined_one_by_one(yard, tickets_csv: Lines, ticket: Lines) -> None:
    text = tickets_csv(ticket(1), ticket(2).replace("a2@", "ä2@"), ticket(3)).encode("latin-1")
    yard.land("tickets/a.csv", text)
    yard.build()
    assert yard.fates() == {"tickets/a.csv": ("staged", 3, 2, 0, 1)}
    assert yard.quarantine() == [(2, "the row holds bytes that are not of the file's encoding")]


def truncated_parquet(yard) -> bytes:
    path = yard.land_parquet("tickets/tmp.parquet", "select range as id from range(10000)")
    data = path.read_bytes()
    path.unlink()
    return data[: len(data) // 2]


WHOLE_FILES = {
    "empty.csv": (b"", "the file is empty"),
    "empty.ndjson": (b"", "the file is empty"),
    "empty.parquet": (b"", "the file is empty"),
    "column.csv": (b"id,state,opened,updated,score,mail\n", "lacks the column 'status' (did you mean 'state'?)"),
    "columns.csv": (b"x,y\n1,2\n", "lacks the columns"),
    "delimiter.csv": (b"id;status;opened;updated;score;mail\n", "lacks the columns"),
    "utf16.csv": ("id,status\n1,2\n".encode("utf-16"), "the file is in UTF-16"),
    "text.parquet": (b"this is no parquet file at all", "damaged or not parquet"),
    "notgzip.csv.gz": (None, "gzip data is damaged"),
    "cut.parquet": (None, "damaged or not parquet"),
}


@pytest.mark.parametrize("name", WHOLE_FILES)
def test_a_file_that_can_not_be_read_is_rejected_and_stops_no_other(
    loaded, tickets_csv: Lines, ticket: Lines, name: str
) -> None:
    content, says = WHOLE_FILES[name]
    before = published(loaded)
    if name == "cut.parquet":
        content = truncated_parquet(loaded)
    path = loaded.landing / "tickets" / name
    path.write_bytes(b"nonsense" if content is None else content)
    loaded.land("tickets/zz.csv", tickets_csv(ticket(9)))
    report = loaded.build()
    fates = loaded.fates()
    assert fates[f"tickets/{name}"] == ("rejected", 0, 0, 0, 0)
    assert fates["tickets/zz.csv"] == ("staged", 1, 1, 0, 0)
    message = report.facts["files_rejected"][f"tickets/{name}"]
    assert says in message
    assert str(path) in message
    assert "repair:" in message
    assert published(loaded) == before
    totals = loaded.rows(
        "select files_rejected, files_staged from sources.candidate where grain = 'entity' and entity = 'tickets'"
    )
    assert totals == [(1, 1)]


def test_a_parquet_page_that_is_damaged_rejects_the_file(loaded) -> None:
    path = loaded.land_parquet(
        "tickets/a.parquet",
        "select 't' || range as id, 'open' as status, timestamp '2026-01-01' as opened, "
        "timestamp '2026-01-01' as updated, 1 as score, hash(range)::varchar as mail from range(100000)",
    )
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 2000] = bytes(2000)
    path.write_bytes(bytes(data))
    loaded.build()
    fate = loaded.fates()["tickets/a.parquet"]
    assert fate[0] == "rejected"
    assert loaded.rows("select count(*) from sources.candidate_tickets") == [(0,)]
    assert loaded.rows("select count(*) from sources.candidate_quarantine") == [(0,)]


def test_columns_may_be_added_or_moved_but_not_vanish(loaded, ticket: Lines) -> None:
    loaded.land("tickets/1.csv", "extra,mail,score,updated,opened,status,ID\nx,m,,2026-01-01,2026-01-01,open,t7\n")
    loaded.build()
    assert loaded.fates() == {"tickets/1.csv": ("staged", 1, 1, 0, 0)}
    assert loaded.rows("select ticket_id, email from sources.candidate_tickets") == [("t7", "m")]
    loaded.land("tickets/2.csv", "id,status,opened,updated,mail\nt8,open,2026-01-01,2026-01-01,m\n")
    loaded.build()
    assert loaded.fates()["tickets/2.csv"][0] == "rejected"


def test_an_expression_that_does_not_fit_the_files_types_rejects_the_file(loaded) -> None:
    text = (loaded.catalog / "desk.yml").read_text()
    loaded.map(text.replace("csat_score: score", 'csat_score: {expression: "score + interval 1 day"}'))
    loaded.land("tickets/1.csv", "id,status,opened,updated,score,mail\n")
    loaded.build()
    assert "does not fit the file's columns" in loaded.rows("select message from sources.candidate_files")[0][0]


def test_a_file_that_changes_while_it_is_read_is_rejected(
    loaded, tickets_csv: Lines, ticket: Lines, monkeypatch
) -> None:
    path = loaded.land("tickets/1.csv", tickets_csv(ticket(1)))
    stage = staging_module.stage_rows

    def stage_and_append(*args, **kwargs):
        done = stage(*args, **kwargs)
        with path.open("a") as file:
            file.write(ticket(2) + "\n")
        return done

    monkeypatch.setattr(batches_module, "stage_rows", stage_and_append)
    before = published(loaded)
    loaded.build()
    assert loaded.fates()["tickets/1.csv"][0] == "rejected"
    assert "changed while it was read" in loaded.rows("select message from sources.candidate_files")[0][0]
    assert loaded.rows("select count(*) from sources.candidate_tickets") == [(0,)]
    publish(loaded.con, loaded.run)
    assert published(loaded) == before
    monkeypatch.undo()
    loaded.next_run()
    loaded.load()
    assert loaded.rows("select count(*) from sources.tickets") == [(3,)]


def test_a_file_that_is_only_touched_while_it_is_read_is_loaded(
    loaded, tickets_csv: Lines, ticket: Lines, monkeypatch
) -> None:
    path = loaded.land("tickets/1.csv", tickets_csv(ticket(1)))
    stage = staging_module.stage_rows

    def stage_and_touch(*args, **kwargs):
        path.touch()
        return stage(*args, **kwargs)

    monkeypatch.setattr(batches_module, "stage_rows", stage_and_touch)
    loaded.build()
    assert loaded.fates()["tickets/1.csv"] == ("staged", 1, 1, 0, 0)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_file_that_vanishes_is_rejected(loaded, tickets_csv: Lines, ticket: Lines, monkeypatch, moment: str) -> None:
    path = loaded.land("tickets/1.csv", tickets_csv(ticket(1)))
    if moment == "before":
        take = candidate_module.take_inventory

        def take_and_remove(*args):
            found = take(*args)
            path.unlink()
            return found

        monkeypatch.setattr(candidate_module, "take_inventory", take_and_remove)
    else:
        stage = staging_module.stage_rows

        def stage_and_remove(*args, **kwargs):
            path.unlink()
            return stage(*args, **kwargs)

        monkeypatch.setattr(batches_module, "stage_rows", stage_and_remove)
    loaded.build()
    fate, message = loaded.rows("select status, message from sources.candidate_files")[0]
    assert (fate, "vanished" in message) == ("rejected", True)


@pytest.mark.parametrize(
    ("number", "says"),
    [(errno.EACCES, "may not be read"), (errno.EIO, "can't be read")],
)
def test_a_file_that_the_system_keeps_is_rejected(
    loaded, tickets_csv: Lines, monkeypatch, number: int, says: str
) -> None:
    loaded.land("tickets/1.csv", tickets_csv("x"))

    def refuse(*_args, **_kwargs):
        raise OSError(number, "refused")

    monkeypatch.setattr(landing_module.hashlib, "file_digest", refuse)
    loaded.build()
    messages = dict(loaded.rows("select path, message from sources.candidate_files"))
    assert says in messages["tickets/1.csv"]


FULL = [
    (
        staging_module,
        "_write_whole_rows",
        duckdb.IOException("IO Error: Could not write file: No space left on device"),
    ),
    (staging_module, "_write_refused_rows", duckdb.OutOfMemoryException("Out of Memory Error: failed to allocate")),
    (batches_module, "stage_rows", OSError(errno.ENOSPC, "No space left on device")),
    (candidate_module, "promote_drafts", duckdb.IOException("IO Error: disk full")),
    (candidate_module, "write_summary", KeyboardInterrupt()),
]


@pytest.mark.parametrize(("module", "name", "error"), FULL, ids=[item[1] for item in FULL])
def test_a_full_disk_or_a_kill_leaves_the_last_candidate_and_everything_published(
    loaded, tickets_csv: Lines, ticket: Lines, monkeypatch, module, name: str, error: BaseException
) -> None:
    loaded.land("tickets/1.csv", tickets_csv(ticket(1), "broken"))
    before, judged = published(loaded), loaded.rows("from sources.candidate order by all")
    stamps = loaded.rows("from ops.candidates")

    def fail(*_args, **_kwargs):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(module, name, fail)
        with pytest.raises((StrataError, KeyboardInterrupt, duckdb.Error)) as caught:
            loaded.build()
    if isinstance(caught.value, StrataError):
        assert "nothing was published" in caught.value.expected
    assert published(loaded) == before
    assert loaded.rows("from sources.candidate order by all") == judged
    assert loaded.rows("from ops.candidates") == stamps
    loaded.load()
    assert loaded.rows("select ticket_id from sources.tickets order by 1") == [("t0",), ("t1",)]


def test_a_full_disk_while_publishing_leaves_everything_published(
    loaded, tickets_csv: Lines, ticket: Lines, monkeypatch
) -> None:
    loaded.land("tickets/1.csv", tickets_csv(ticket(1), "broken"))
    loaded.build()
    before = published(loaded)
    append = publish_module._append_rows

    def fail(*args):
        append(*args)
        raise duckdb.IOException("IO Error: No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(publish_module, "_append_rows", fail)
        with pytest.raises(StrataError, match="no space is left"):
            publish(loaded.con, loaded.run)
    assert published(loaded) == before
    publish(loaded.con, loaded.run)
    assert loaded.rows("select ticket_id from sources.tickets order by 1") == [("t0",), ("t1",)]


def test_a_first_load_that_fails_while_publishing_can_be_published_again(
    yard, tickets_csv: Lines, ticket: Lines, monkeypatch
) -> None:
    yard.land("tickets/1.csv", tickets_csv(ticket(1)))
    yard.build()
    append = publish_module._append_rows

    def fail(*args):
        append(*args)
        raise duckdb.InternalException("stopped")

    with monkeypatch.context() as patch:
        patch.setattr(publish_module, "_append_rows", fail)
        with pytest.raises(duckdb.InternalException):
            publish(yard.con, yard.run)
    assert yard.rows("select count(*) from sources.tickets") == [(0,)]
    publish(yard.con, yard.run)
    assert yard.rows("select count(*) from sources.tickets") == [(1,)]
    assert yard.rows("select count(*) from sources.candidate_tickets") == [(1,)]


def test_rows_that_disappear_between_the_passes_are_a_defect(loaded, tickets_csv: Lines, monkeypatch) -> None:
    loaded.land("tickets/1.csv", tickets_csv("broken", "t1,open,2026-01-01,2026-01-01,,"))
    monkeypatch.setattr(staging_module, "_write_refused_rows", lambda *_, **__: {})
    with pytest.raises(StrataError, match="2 rows were read, but 1 came out"):
        loaded.build()


def test_drafts_of_a_stopped_run_do_not_survive(yard, tickets_csv: Lines, ticket: Lines) -> None:
    yard.con.execute("create schema sources")
    create_drafts(yard.con)
    yard.con.execute(
        "insert into sources.draft_tickets by name select 'ghost' as ticket_id, 'x' as ticket_status, 's' as source, "
        "1 as file_id, 1 as line, 'r' as run_id, timestamp '2026-01-01' as opened_at, "
        "timestamp '2026-01-01' as updated_at, timestamp '2026-01-01' as recorded_at"
    )
    yard.land("tickets/a.csv", tickets_csv(ticket(1)))
    yard.build()
    assert yard.rows("select ticket_id from sources.candidate_tickets") == [("t1",)]
