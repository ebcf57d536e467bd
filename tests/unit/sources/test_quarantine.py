"""Refused rows: why, by codes that hold no value, and what they look like, by shapes that hold none either."""

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segmentation.errors import NotFoundError
from segmentation.sources import reasons
from segmentation.sources.quarantine import (
    Selection,
    count_refused,
    count_refused_by_file,
    mask_value,
    sample_refused,
)

Lines = Callable[..., str]

STRICT = """\
source: desk
feeds:
  - folder: tickets
    entities:
      - entity: tickets
        columns:
          ticket_id: id
          ticket_status: status
          opened_at: opened
          updated_at: updated
          csat_score: {expression: "cast(score as int) + 1"}
        reject:
          - {when: "status = 'spam'", reason: spam; not for us}
          - {when: "cast(mail as int) > 7", reason: great}
"""


@pytest.fixture
def refused(yard, tickets_csv: Lines, ticket: Lines):
    """A yard in which rows were refused for every kind of reason."""
    yard.map(STRICT)
    yard.land(
        "tickets/a.csv",
        tickets_csv(
            "t1,open,2026-01-01,2026-01-01,1,1",
            ",open,2026-01-01,2026-01-01,1,1",
            "t3,open,maria@mail.example,2026-01-01,1,1",
            "t4,open,2026-01-01,2026-01-01,many,1",
            "t5,spam,2026-01-01,2026-01-01,1,1",
            "t6,open,2026-01-01,2026-01-01,1,maria@mail.example",
            "t7,spam,,2026-01-01,1,1",
            "t8,open",
        ),
    )
    yard.land(
        "tickets/b.ndjson",
        '[7]\n{"id": "t9", "status": "open", "opened": "soon", "updated": "x' + "'" + ' is not y"}\n',
    )
    yard.build()
    yard.load()
    return yard


def test_every_reason_has_a_code(refused) -> None:
    assert refused.rows("select path, line, reason_code from sources.quarantine order by path, line") == [
        ("tickets/a.csv", 2, "missing_value:ticket_id"),
        ("tickets/a.csv", 3, "wrong_type:opened_at"),
        ("tickets/a.csv", 4, "not_computed:csat_score"),
        ("tickets/a.csv", 5, "rejected:spam, not for us"),
        ("tickets/a.csv", 6, "reject_not_computed:great"),
        ("tickets/a.csv", 7, "rejected:spam, not for us; missing_value:opened_at"),
        ("tickets/a.csv", 8, "too_few_columns"),
        ("tickets/b.ndjson", 1, "not_an_object"),
        ("tickets/b.ndjson", 2, "wrong_type:opened_at; wrong_type:updated_at"),
    ]
    for (codes,) in refused.rows("select distinct reason_code from sources.quarantine"):
        assert {code.partition(":")[0] for code in codes.split(reasons.BETWEEN)} <= set(reasons.KINDS)


def test_a_report_holds_codes_and_no_value(yard, tickets_csv: Lines) -> None:
    yard.land("tickets/a.csv", tickets_csv("t1,open,maria' is not ann,2026-01-01,,", "t2,open,maria,2026-01-01,,"))
    facts = yard.build().facts
    assert facts["quarantine_reasons"] == {"wrong_type:opened_at": 2}
    assert "maria" not in json.dumps(facts)


def test_rows_are_counted_by_reason_and_by_file(refused) -> None:
    counts = count_refused(refused.con, Selection(reason="missing_value"))
    assert {(one.reason_code, one.rows, one.files, one.newest_path) for one in counts} == {
        ("missing_value:ticket_id", 1, 1, "tickets/a.csv"),
        ("rejected:spam, not for us; missing_value:opened_at", 1, 1, "tickets/a.csv"),
    }
    files = count_refused_by_file(refused.con, Selection(), 10)
    assert [(one.path, one.rows) for one in files] == [("tickets/a.csv", 7), ("tickets/b.ndjson", 2)]
    assert len(count_refused_by_file(refused.con, Selection(), 1)) == 1


@pytest.mark.parametrize(
    ("selection", "rows"),
    [
        (Selection(), 9),
        (Selection(entity="tickets"), 9),
        (Selection(entity="orders"), 0),
        (Selection(reason="wrong_type"), 2),
        (Selection(reason="wrong_type:updated_at"), 1),
        (Selection(reason="rejected:spam, not for us"), 2),
        (Selection(reason="unreadable_row"), 0),
        (Selection(file="b.ndjson"), 2),
        (Selection(file="tickets/a.csv"), 7),
        (Selection(file="tickets/*"), 9),
        (Selection(file="a"), 0),
        (Selection(file="' or true --"), 0),
        (Selection(reason="wrong_type", file="a.csv"), 1),
    ],
    ids=str,
)
def test_a_selection_takes_what_it_names(refused, selection: Selection, rows: int) -> None:
    assert sum(one.rows for one in count_refused(refused.con, selection)) == rows
    assert len(sample_refused(refused.con, selection, 100)) == rows


def test_a_sample_shows_every_reason_before_it_repeats_one(refused, tickets_csv: Lines) -> None:
    refused.land("tickets/c.csv", tickets_csv(*[",open,2026-01-01,2026-01-01,1,1"] * 20))
    refused.load()
    sample = sample_refused(refused.con, Selection(), 9)
    assert len({one.reason_code for one in sample}) == 9
    assert next(one for one in sample if one.reason_code == "missing_value:ticket_id").path == "tickets/c.csv"


def test_values_are_masked_unless_somebody_asks(refused) -> None:
    (masked,) = sample_refused(refused.con, Selection(reason="wrong_type", file="a.csv"), 5)
    assert masked.reason is None
    assert masked.values["opened"] == "xxxxx@xxxx.xxxxxxx"
    assert masked.values["updated"] == "9999-99-99"
    everything = sample_refused(refused.con, Selection(), 100)
    assert "maria" not in str(everything)
    assert {one.values["_row"] for one in everything if "_row" in one.values} == {"[9]", "x9,xxxx"}
    (shown,) = sample_refused(refused.con, Selection(reason="wrong_type", file="a.csv"), 5, show_values=True)
    assert shown.values["opened"] == "maria@mail.example"
    assert shown.reason == "opened_at: 'maria@mail.example' is not a timestamp"


def test_a_candidate_that_is_held_shows_its_own_rows(refused, tickets_csv: Lines) -> None:
    refused.land("tickets/c.csv", tickets_csv(",open,2026-01-01,2026-01-01,1,1"))
    refused.build()
    (row,) = sample_refused(refused.con, Selection(of_candidate=True), 5)
    assert (row.path, row.values["opened"]) == ("tickets/c.csv", "9999-99-99")
    assert [one.rows for one in count_refused(refused.con, Selection(of_candidate=True))] == [1]
    assert [one.path for one in count_refused_by_file(refused.con, Selection(of_candidate=True), 5)] == [row.path]
    assert sum(one.rows for one in count_refused(refused.con, Selection())) == 9


def test_rows_from_before_there_were_codes_are_unknown(refused) -> None:
    refused.con.execute("update sources.quarantine set reason_code = null where line = 2")
    assert sum(one.rows for one in count_refused(refused.con, Selection(reason="unknown"))) == 2
    assert len(sample_refused(refused.con, Selection(reason="unknown"), 5)) == 2


@pytest.mark.parametrize(
    ("given", "meant"), [({"entity": "ticket"}, "tickets"), ({"reason": "wrong_typ:x"}, "wrong_type")], ids=str
)
def test_what_is_not_known_is_told_with_what_was_meant(given: dict[str, str], meant: str) -> None:
    with pytest.raises(NotFoundError, match=f"did you mean {meant}"):
        Selection(**given)


@given(st.text())
def test_a_mask_keeps_nothing_but_signs(text: str) -> None:
    masked = mask_value(text)
    assert len(masked) <= 61
    assert all(sign in "x9?…" or not sign.isalnum() for sign in masked)
    assert masked.isascii() or masked[:-1].isascii()
