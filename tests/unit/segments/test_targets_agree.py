"""One rule, many evaluators: the engine, the tree, the fused function and flagd's JSONLogic all say the same."""

import json
import random
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openfeature.contrib.tools.flagd.core.targeting import targeting
from openfeature.evaluation_context import EvaluationContext

from segmentation.segments.evaluation import holds
from segmentation.segments.json_logic import InexpressibleError, edge_attributes, to_json_logic
from segmentation.segments.parser import parse_rule
from segmentation.segments.predicate import compile_rules
from segmentation.segments.rule_sql import to_sql

from .random_rules import AS_OF, CONTRACT, ROW, SMALL, answers, engine, is_member, rules_of


def attributes(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row as an edge gets it, over the wire."""
    features = {name: value for name, value in row.items() if name != "members"}
    return json.loads(json.dumps(edge_attributes(features, row["members"])))


def edge_says(logic: dict[str, Any], told: dict[str, Any]) -> object:
    return targeting("flag", json.loads(json.dumps(logic)), EvaluationContext("c_1", told))


def check(rules: list[str], rows: list[dict[str, Any]]) -> None:
    """Compare every evaluator with the engine, rule by rule and row by row."""
    conditions = {str(number): parse_rule(rule, CONTRACT) for number, rule in enumerate(rules)}
    with engine(rows) as con:
        columns = answers(con, [to_sql(condition, is_member) for condition in conditions.values()])
    expected = dict(zip(conditions, columns, strict=True))
    fused = compile_rules(conditions)
    held = [set(fused(row, row["members"])) for row in rows]
    for key, condition in conditions.items():
        rule = rules[int(key)]
        assert [holds(condition, row, row["members"]) for row in rows] == expected[key], rule
        assert [key in keys for keys in held] == expected[key], rule
        try:
            logic = to_json_logic(condition)
        except InexpressibleError:
            continue
        for row, truth in zip(rows, expected[key], strict=True):
            try:
                told = attributes(row)
            except InexpressibleError:
                # What can't be carried is refused as a whole.
                assert abs(row["m"]) > 2**53
                continue
            assert edge_says(logic, told) is truth, (rule, row)


RULES = st.lists(rules_of("+-*/", [*SMALL, "m"]), min_size=3, max_size=8)
ROWS = st.lists(ROW, min_size=10, max_size=20)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(rules=RULES, rows=ROWS)
def test_hundreds_of_rules_mean_the_same_everywhere(rules: list[str], rows: list[dict[str, Any]]) -> None:
    check(rules, rows)


@pytest.mark.slow
@settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))
@given(rules=RULES, rows=ROWS)
def test_thousands_of_rules_mean_the_same_everywhere(rules: list[str], rows: list[dict[str, Any]]) -> None:
    check(rules, rows)


def test_days_are_cut_towards_zero_at_every_edge() -> None:
    rules = [
        f"{swapped}"
        for days in (-3, -1, 0, 1, 3)
        for operator in ("=", "<>", "<", "<=", ">", ">=")
        for bound in (str(days), f"{days}.5")
        for swapped in (f"days_since(t) {operator} {bound}", f"{bound} {operator} days_since(d)")
    ] + ["days_since(t) in (-1, 0, 3)", "days_since(d) not in (0, 3)", "days_since(t) is null"]
    gaps = [timedelta(days=days, microseconds=micros) for days in (-4, -3, -1, 0, 1, 3, 4) for micros in (-1, 0, 1)]
    blank = {**dict.fromkeys(CONTRACT), "as_of": AS_OF, "members": []}
    rows = [{**blank, "t": AS_OF - gap, "d": (AS_OF - gap).date()} for gap in gaps] + [blank]
    check(rules, rows)


def test_numbers_that_floats_round_are_rounded_everywhere() -> None:
    rules = ["m + n > m", "m - n < m", "m * 3 = m + m + m", "m = x", "m > x", "x >= m", "m / 3 * 3 = m", "-m < 0.5 - x"]
    blank = {**dict.fromkeys(CONTRACT), "as_of": AS_OF, "members": [], "n": 1}
    exact = 2**53
    values = [exact - 1, exact, -exact, exact // 3, exact + 1, 2**62 + 1]
    check(rules, [{**blank, "m": value, "x": float(value + off)} for value in values for off in (-1, 0, 1)])


def test_decimals_count_as_floats_everywhere() -> None:
    rules = ["money = 0.1", "money in (0.1, 2)", "money * 3 = 0.3", "money > x", "money = x", "money is null"]
    blank = {**dict.fromkeys(CONTRACT), "as_of": AS_OF, "members": []}
    check(rules, [{**blank, "money": Decimal(text), "x": 0.1} for text in ("0.1", "0.10", "2.00", "-0.1")] + [blank])


def test_what_an_edge_is_told() -> None:
    row = {
        "n": 3, "x": 0.5, "money": Decimal("1.10"), "s": "", "b": False, "d": date(1970, 1, 3), "r": None,
        "t": datetime(1970, 1, 1, 0, 0, 1), "consented_purposes": ["a"],
    }  # fmt: skip
    assert edge_attributes(row, {"vip", "core"}) == {
        "n": 3, "x": 0.5, "money": 1.1, "s": "", "b": False, "d": 2, "t": 1_000_000, "consented_purposes": ["a"],
        "segments": ["core", "vip"],
    }  # fmt: skip


@pytest.mark.parametrize(
    "value",
    [2**53 + 1, -(2**60), float("nan"), float("inf"), datetime(2500, 1, 1), date(1600, 1, 1), b"x", {"a": 1}],
)
def test_values_that_would_be_rounded_are_refused(value: object) -> None:
    with pytest.raises(InexpressibleError, match="can't be carried exactly"):
        edge_attributes({"n": value})


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        ("n = 9007199254740993", "from where on it rounds whole numbers"),
        ("n in (1, 9007199254740993)", "from where on it rounds whole numbers"),
        ("t < timestamp '9999-12-31 00:00:00'", "not within the years 1827 to 2112"),
        ("t < date '1700-01-01'", "not within the years 1827 to 2112"),
        ("t > d and d > timestamp '2300-01-01 00:00:00'", "not within the years 1827 to 2112"),
        ("days_since(t) > days_since(d)", "cut towards zero"),
        ("days_since(t) > n", "cut towards zero"),
        ("days_since(t) / 7 > 2", "cut towards zero"),
        ("days_since(t) > 200000", "more than it can count"),
        ("blob is null", "a type that it does not have"),
        ("segments = 'a'", "it means something else there"),
        ('"a.b" = 1', "it means something else there"),
    ],
)
def test_what_json_logic_can_not_say_is_refused_with_the_reason(rule: str, why: str) -> None:
    contract = {**CONTRACT, "blob": "blob", "segments": "varchar", "a.b": "bigint"}
    with pytest.raises(InexpressibleError) as refused:
        to_json_logic(parse_rule(f"n > 1 and ({rule})", contract))
    assert why in refused.value.message
    assert refused.value.repair


def test_every_clause_that_is_refused_is_named() -> None:
    with pytest.raises(InexpressibleError) as refused:
        to_json_logic(parse_rule("n = 9007199254740993 or days_since(t) > n or b", CONTRACT))
    assert [line.strip().split(":")[0] for line in refused.value.what.splitlines()[1:]] == [
        "n = 9007199254740993",
        "days_since(t) > n",
    ]


def test_a_constant_rule_is_an_object_as_flags_need_it() -> None:
    for rule, truth in (("true", True), ("false", False)):
        logic = to_json_logic(parse_rule(rule, CONTRACT))
        assert isinstance(logic, dict)
        assert edge_says(logic, {}) is truth


def test_an_edge_that_knows_no_segments_claims_nothing() -> None:
    for rule in ("in_segment('vip')", "not in_segment('vip')"):
        assert edge_says(to_json_logic(parse_rule(rule, CONTRACT)), {}) is False


def test_the_fused_function_takes_nothing_for_code() -> None:
    texts = ["'); import os; ('", '"""', "\\", "\n", "{0}", "__import__('os')"]
    contract = {**CONTRACT, "row['x']": "varchar", "def": "varchar"}
    for text in texts:
        written = "'" + text.replace("'", "''") + "'"
        rules = {f"{text} key": parse_rule(f's = {written} or "def" = {written} or "row[\'x\']" = {written}', contract)}
        fused = compile_rules(rules)
        row = {"s": None, "def": None, "row['x']": text}
        assert fused(row) == [f"{text} key"]
        assert fused({**row, "row['x']": "other"}) == []


def test_the_fused_function_needs_every_feature() -> None:
    with pytest.raises(KeyError):
        compile_rules({"one": parse_rule("n > 1 or x > 1", CONTRACT)})({"n": 2})


def test_many_rules_keep_their_order() -> None:
    keys = [f"s{number}" for number in range(50)]
    random.Random(4).shuffle(keys)
    fused = compile_rules({key: parse_rule("n > 1", CONTRACT) for key in keys})
    assert fused({"n": 2}) == keys
