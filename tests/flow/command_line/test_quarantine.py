"""`strata quarantine`: what people see of refused rows, and what programs get."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestration.settings import Settings
from segmentation.contracts import ensure_schema

Ask = Callable[..., Any]

ROWS = """
insert into sources.quarantine values
    (1, 'orders', 'shop', 'shop_orders/a.csv', 3, 'wrong_type:ordered_at', 'ordered_at: ''soon'' is not a timestamp',
        '{"when": "soon", "who": "maria@mail.example"}', 'run-1', timestamp '2026-11-01'),
    (2, 'orders', 'shop', 'shop_orders/b.csv', 1, 'rejected:no card', 'no card', '{"when": null}', 'run-1',
        timestamp '2026-11-01'),
    (2, 'tickets', 'desk', 'tickets/b.csv', 2, 'too_few_columns', 'the row has too few columns', '{"_row": "x"}',
        'run-1', timestamp '2026-11-01')
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder whose warehouse has refused rows."""
    with Settings(data=tmp_path, dagster_home=tmp_path / "home").warehouse.write() as con:
        ensure_schema(con, "sources")
        con.execute(ROWS)
    return tmp_path


def test_refused_rows_are_counted_and_shown_without_their_values(ask: Ask, data: Path) -> None:
    told = ask(data, "quarantine", "--json")
    assert told.code == 0
    assert told.err == ""
    assert told.json["rows"] == 3
    assert told.json["values_shown"] is False
    assert {(one["entity"], one["reason_code"], one["rows"]) for one in told.json["by_reason"]} == {
        ("orders", "wrong_type:ordered_at", 1),
        ("orders", "rejected:no card", 1),
        ("tickets", "too_few_columns", 1),
    }
    assert len(told.json["sample"]) == 3
    shown = ask(data, "quarantine", COLUMNS="200")
    assert shown.code == 0
    assert "shop_orders/a.csv, row 3" in shown.out
    assert "xxxxx@xxxx.xxxxxxx" in shown.out
    for text in (told.out, shown.out):
        assert "maria" not in text
        assert "soon" not in text


def test_values_are_shown_to_who_asks_for_them(ask: Ask, data: Path) -> None:
    told = ask(data, "quarantine", "--show-values", "--file", "a.csv", "--json")
    (row,) = told.json["sample"]
    assert row["values"]["who"] == "maria@mail.example"
    assert row["reason"] == "ordered_at: 'soon' is not a timestamp"
    assert "maria@mail.example" in ask(data, "quarantine", "--show-values").out


def test_a_selection_narrows_counts_and_rows(ask: Ask, data: Path) -> None:
    told = ask(data, "quarantine", "--entity", "orders", "--reason", "rejected", "--limit", "0", "--json")
    assert (told.code, told.json["rows"], told.json["sample"]) == (0, 1, [])
    none = ask(data, "quarantine", "--file", "c.csv")
    assert (none.code, none.out.strip()) == (0, "no such row is in quarantine")
    for wrong, meant in ((("--entity", "order"), "orders"), (("--reason", "reject"), "rejected")):
        unknown = ask(data, "quarantine", *wrong, "--json")
        assert unknown.code == 5
        assert f"did you mean {meant}?" in unknown.json["what"]


def test_a_held_candidate_shows_what_it_refused(ask: Ask, data: Path) -> None:
    nothing = ask(data, "quarantine", "--candidate", "--json")
    assert (nothing.code, nothing.json["what"]) == (1, "no candidate has been made yet")
    with Settings(data=data, dagster_home=data / "home").warehouse.write() as con:
        con.execute("create table sources.candidate_quarantine as from sources.quarantine where line = 3")
    assert ask(data, "quarantine", "--candidate", "--json").json["rows"] == 1


def test_without_a_warehouse_or_beside_a_run_it_says_so(ask: Ask, data: Path, tmp_path: Path) -> None:
    nothing = ask(tmp_path / "none", "quarantine", "--json")
    assert nothing.code == 1
    assert nothing.json["repair"] == "strata run"
    with Settings(data=data, dagster_home=data / "home").warehouse.exclusive():
        busy = ask(data, "quarantine", "--json", STRATA_LOCK_WAIT_SECONDS="0")
    assert busy.code == 4
    assert "is being written by another process" in busy.json["what"]
