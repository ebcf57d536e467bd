"""Entries of list files count at once, unapproved; guards stand before what a spoilt file would do."""

from pathlib import Path

import pytest

from expectations.suites.segments import SIZES, SUITE

from .conftest import Company
from .stage import evaluated, run, write_policy


def fill(company: Company, name: str, *customers: str) -> Path:
    company.write_list(name, "customer_id,reason\n" + "".join(f"{one},listed\n" for one in customers))
    return company.folder / "lists" / name


def broken(company: Company) -> list[str]:
    """Return the segments for which the gate's truth about guards finds rows, after building a candidate."""
    from segmentation.segments.candidate import build_candidate

    build_candidate(company.con, company.next_run(1), evaluated(company))
    (truth,) = [one for one in SUITE.truths if one.name == "guards_are_kept"]
    rows = company.rows(str(truth.kwargs["unexpected_rows_query"]).replace("{batch}", f"segments.{SIZES}"))
    return [row[0] for row in rows]


@pytest.mark.parametrize("guard", ["max_exits: 2", "max_churn_ratio: 0.5, min_base: 4"])
def test_a_list_that_loses_most_of_its_lines_closes_the_gate(tiers: Company, guard: str) -> None:
    write_policy(tiers, f"guards: {{default: {{{guard}}}}}\n")
    fill(tiers, "guests.csv", "c_a", "c_b", "c_c", "c_d")
    tiers.write("guests", None, kind="list", include="[{file: lists/guests.csv, reason: x}]")
    run(tiers)
    fill(tiers, "guests.csv", "c_a", "c_b", "c_c")
    assert broken(tiers) == []
    fill(tiers, "guests.csv", "c_a")
    assert broken(tiers) == ["guests"]
    causes = "select distinct cause from segments.candidate_changes where segment_key = 'guests'"
    assert tiers.rows(causes) == [("override",)]
    assert tiers.members("guests") == {"c_a", "c_b", "c_c", "c_d"}


def test_a_list_of_exclusions_that_grows_too_much_closes_the_gate(tiers: Company) -> None:
    write_policy(tiers, "guards: {default: {max_churn_ratio: 0.5, min_base: 3}}\n")
    fill(tiers, "banned.csv", "c_d")
    tiers.write("known", "is_known", exclude="[{file: lists/banned.csv, reason: x}]")
    run(tiers)
    fill(tiers, "banned.csv", "c_a", "c_b", "c_d")
    assert broken(tiers) == ["known"]
