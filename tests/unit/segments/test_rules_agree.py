"""Random rules over random rows: the engine on the rule's own text, the compiled SQL and Python all agree."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segmentation.segments.conditions import negate
from segmentation.segments.evaluation import explain_condition, holds
from segmentation.segments.parser import parse_rule
from segmentation.segments.rule_sql import to_sql, to_text

from .random_rules import AS_OF, CONTRACT, ROW, answers, engine, is_member, own_text, rules_of


def agree_about_rules(rules: list[str], rows: list[dict[str, Any]]) -> None:
    conditions = [parse_rule(rule, CONTRACT) for rule in rules]
    with engine(rows) as con:
        own = answers(con, [own_text(rule) for rule in rules])
        assert answers(con, [to_sql(condition, is_member) for condition in conditions]) == own
        opposite = answers(con, [f"not ({own_text(rule)})" for rule in rules])
        assert answers(con, [to_sql(negate(condition), is_member) for condition in conditions]) == opposite
    for rule, condition, expected in zip(rules, conditions, own, strict=True):
        assert [holds(condition, row, row["members"]) for row in rows] == expected, rule
        assert [explain_condition(condition, row, row["members"]).truth for row in rows] == expected, rule
        assert parse_rule(to_text(condition), CONTRACT) == condition


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    rules=st.lists(rules_of("+-*"), min_size=2, max_size=6),
    rows=st.lists(ROW, min_size=10, max_size=20),
)
def test_engine_sql_and_python_agree(rules: list[str], rows: list[dict[str, Any]]) -> None:
    agree_about_rules(rules, rows)


@pytest.mark.slow
@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    rules=st.lists(rules_of("+-*"), min_size=2, max_size=6),
    rows=st.lists(ROW, min_size=10, max_size=20),
)
def test_engine_sql_and_python_agree_many_times_over(rules: list[str], rows: list[dict[str, Any]]) -> None:
    agree_about_rules(rules, rows)


def agree_about_division(rules: list[str], rows: list[dict[str, Any]]) -> None:
    conditions = [parse_rule(rule, CONTRACT) for rule in rules]
    with engine(rows) as con:
        found = answers(con, [to_sql(condition, is_member) for condition in conditions])
    for rule, condition, expected in zip(rules, conditions, found, strict=True):
        assert [holds(condition, row, row["members"]) for row in rows] == expected, rule


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    # Numbers divided by zero are null in a rule, infinite in the engine: the text itself is no measure here.
    rules=st.lists(rules_of("/+"), min_size=1, max_size=4),
    rows=st.lists(ROW, min_size=10, max_size=20),
)
def test_division_means_the_same_in_sql_and_python(rules: list[str], rows: list[dict[str, Any]]) -> None:
    agree_about_division(rules, rows)


@pytest.mark.slow
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    # Numbers divided by zero are null in a rule, infinite in the engine: the text itself is no measure here.
    rules=st.lists(rules_of("/+"), min_size=1, max_size=4),
    rows=st.lists(ROW, min_size=10, max_size=20),
)
def test_division_means_the_same_in_sql_and_python_many_times_over(
    rules: list[str], rows: list[dict[str, Any]]
) -> None:
    agree_about_division(rules, rows)


def test_dividing_by_zero_is_null_and_null_is_never_in() -> None:
    row = {**dict.fromkeys(CONTRACT), "n": 0, "m": 1, "as_of": AS_OF}
    for rule in ("m / n > 0", "not (m / n > 0)", "x > 0", "not (x > 0)", "s in ('a')", "s not in ('a')", "not b"):
        assert not holds(parse_rule(rule, CONTRACT), row), rule
    assert holds(parse_rule("m / n is null", CONTRACT), row)


def test_huge_numbers_never_stop_the_engine() -> None:
    rows = [{**dict.fromkeys(CONTRACT), "n": 2**63 - 1, "m": -(2**63), "members": [], "as_of": AS_OF}]
    condition = parse_rule("n * n * n > m - n - n and n + n > 0 and -m > 0 and n > 1.5 and m < -0.5", CONTRACT)
    with engine(rows) as con:
        assert con.execute(f"select ({to_sql(condition, is_member)}) is true from f").fetchall() == [(True,)]
    assert holds(condition, rows[0])
