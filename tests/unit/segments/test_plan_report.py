"""A plan for people to read: what is shown of it, and what is not."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from segmentation.segments import plan_values
from segmentation.segments.listed_entries import show_lists
from segmentation.segments.plan_report import render_markdown
from segmentation.segments.plan_sections import PlanContext
from segmentation.warehouse import Connection

from .shop import Shop, narrow, section


def test_features_that_could_tell_who_somebody_is_are_not_shown(shop: Shop) -> None:
    shop.company.write("german", "country = 'DE' and mrr_micros > 1 and signed_up_on is null")
    (row,) = section(shop.plan(), "movers").rows
    assert row[2] == "c_b"
    assert row[4] == "country (rare), mrr_micros 0.00, signed_up_on null"


def test_features_of_all_who_are_shown_are_read_at_once(shop: Shop) -> None:
    asked: list[str] = []

    class Told:
        def __init__(self, con: Connection) -> None:
            self.con = con

        def execute(self, sql: str, *values: Any) -> Any:
            asked.append(sql)
            return self.con.execute(sql, *values)

    def measure(context: PlanContext) -> Any:
        return plan_values.mover_section(replace(context, con=Told(context.con)))

    shop.sections = [measure]

    def queries(rule: str) -> tuple[int, int]:
        asked.clear()
        shop.company.write("rich", rule)
        return len(section(shop.plan(), "movers").rows), len(asked)

    (few, queries_of_few), (many, queries_of_many) = queries("mrr_micros >= 500"), queries("mrr_micros >= 5")
    assert (few, many) == (1, 3)
    assert queries_of_few == queries_of_many


def test_the_report_reads_as_markdown_and_lets_no_text_be_markup(shop: Shop) -> None:
    shop.company.write(
        "evil", "plan = '<img src=x>|```' and mrr_micros > 1", description="'<b>|bold|</b> &amp; \\e[1m'"
    )
    narrow(shop)
    text = render_markdown(shop.plan(), "0" * 64)
    assert "## Members" in text
    assert "| vip | 2 | 0 | 1 | 1 | 1 |" in text
    assert "-rule" not in text
    assert "- rule: mrr_micros >= 100\n  + rule: mrr_micros >= 200" in text
    assert text.count("```") % 2 == 0
    assert "<img" not in "".join(text.split("```")[::2])


def test_whom_a_list_names_and_why_is_in_neither_the_file_nor_the_report(shop: Shop, tmp_path: Path) -> None:
    def entry(address: str, until: str = "2027-01-01") -> str:
        return f"{{identifier: {{type: email, value: {address}}}, reason: she rang about her divorce, until: {until}}}"

    old, kept, new = "old@mail.example", "kept@mail.example", "new@mail.example"
    shop.company.write("asked", "is_known", exclude=f"[{entry(old)}, {entry(kept)}, {entry('moved@mail.example')}]")
    shop.run()
    shop.company.write(
        "asked", "is_known", exclude=f"[{entry(kept)}, {entry('moved@mail.example', '2028-01-01')}, {entry(new)}]"
    )
    shop.company.write("guests", None, kind="list", include="[{customer: c_d, reason: her divorce}]")
    found = shop.write_plan(tmp_path / "plan.json")
    report = render_markdown(found, "0" * 64)
    written = (tmp_path / "plan.json").read_text(encoding="utf-8")
    shown = written.split('"sections"')[0]
    for secret in ("mail.example", "divorce", "c_d"):
        assert secret not in shown
        assert secret not in report.split("## Members")[0]
    (asked,) = [one for unit in found.units for one in unit.changes if one.key == "asked"]
    before, after = show_lists(asked.differences[0])
    assert (before.entries, before.moved) == (
        3,
        (
            {"type": "email", "entry": 1, "until": "2027-01-01"},
            # Who is only listed longer is the same entry, at another place and until another day.
            {"type": "email", "entry": 3, "until": "2027-01-01", "after": 2},
        ),
    )
    assert after.moved == (
        {"type": "email", "entry": 2, "until": "2028-01-01", "before": 3},
        {"type": "email", "entry": 3, "until": "2027-01-01"},
    )
    assert '{"before": 3, "entry": 2, "type": "email", "until": "2028-01-01"}' in report
    assert "- exclude, 2 of 3 entries: " in report
    assert "+ include, 1 of 1 entry: " in report


def test_no_guess_at_an_address_can_be_checked_against_a_list_in_a_plan(shop: Shop, tmp_path: Path) -> None:
    def shown(address: str) -> str:
        entry = f"{{identifier: {{type: email, value: {address}}}, reason: asked}}"
        shop.company.write("guests", None, kind="list", include=f"[{entry}]")
        shop.write_plan(tmp_path / "plan.json")
        (unit,) = json.loads((tmp_path / "plan.json").read_text(encoding="utf-8"))["definitions"]
        return json.dumps(unit["changes"])

    assert shown("ada@mail.example") == shown("bob@mail.example")
