import pytest

from segmentation.segments.conditions import features_of, segments_of
from segmentation.segments.faults import RuleError
from segmentation.segments.kinds import Kind, kind_of
from segmentation.segments.parser import parse_rule
from segmentation.segments.rule_sql import to_sql, to_text
from segmentation.segments.syntax import MAX_LENGTH

CONTRACT = {
    "n": "bigint",
    "m": "INTEGER",
    "x": "double",
    "money": "decimal(18, 2)",
    "s": "string",
    "s2": "VARCHAR",
    "b": "boolean",
    "t": "timestamp",
    "d": "date",
    "blob": "blob",
    "as_of": "timestamp",
    "consented_purposes": "varchar[]",
    "orders_90d": "bigint",
}


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ("N >= 3", "n >= 3"),
        ('"n" = 1e3', "n = 1000"),
        ("n != -4", "n <> -4"),
        ("not (n > 1 and x < 2)", "(n <= 1 or x >= 2.0)"),
        ("not not b", "b"),
        ("b = false", "not b"),
        ("false <> b", "b"),
        ("not (b is true)", "(b is null or not b)"),
        ("n between 1 and 3", "(n >= 1 and n <= 3)"),
        ("n not between 1 and 3", "(n < 1 or n > 3)"),
        ("s in ('a', 'b', 'a')", "s in ('a', 'b')"),
        ("s not in ('it''s')", "s not in ('it''s')"),
        ("b in (true)", "b"),
        ("n is null and not s is null", "(n is null and s is not null)"),
        ("s like 'a%' or s like '%a' or s like '%a%'", "(s like 'a%' or s like '%a' or s like '%a%')"),
        ("s not like 'a'", "s not like 'a'"),
        ("n + 1 > m * 2 - x / 4", "(n + 1) > ((m * 2) - (x / 4))"),
        ("-n < 0", "(0 - n) < 0.0"),
        ("n = m and s = s2 and d < t", "(n = m and s = s2 and d < t)"),
        ("t >= date '2026-01-31'", "t >= timestamp '2026-01-31 00:00:00'"),
        ("d = '2026-01-31'::date", "d = date '2026-01-31'"),
        ("t in (timestamp '2026-01-31 10:00:00')", "t in (timestamp '2026-01-31 10:00:00')"),
        ("days_since(t) > 30", "days_since(t) > 30"),
        ("has_purpose('marketing')", "list_contains(consented_purposes, 'marketing')"),
        ("not 'a' in consented_purposes", "not list_contains(consented_purposes, 'a')"),
        ("list_contains(consented_purposes, 'a')", "list_contains(consented_purposes, 'a')"),
        ("in_segment('vip') and not in_segment('fraud')", "(in_segment('vip') and not in_segment('fraud'))"),
        ("true", "true"),
        ("not true", "false"),
        ("n = 1 -- one\n  or /* two */ n = 2", "(n = 1 or n = 2)"),
        ("(n = 1 and (m = 2 and (x = 3)))", "(n = 1 and m = 2 and x = 3.0)"),
        ("money > 1.5", "money > 1.5"),
        ("blob is not null", "blob is not null"),
    ],
)
def test_a_rule_has_one_normal_form(rule: str, text: str) -> None:
    condition = parse_rule(rule, CONTRACT)
    assert to_text(condition) == text
    # The normal form is a rule itself, and its own normal form.
    assert parse_rule(text, CONTRACT) == condition


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("", "exactly one expression"),
        ("-- nothing", "exactly one expression"),
        ("n >", "can't be read"),
        ("s = 'open", "can't be read"),
        ("n = 1; drop table segments.membership", "without semicolon"),
        ("n = 1;", "without semicolon"),
        ("n = 1) or (1 = 1", "can't be read"),
        ("1 = 1", "reads no feature"),
        ("'a' in ('a')", "reads no feature"),
        ("n in (select 1)", "not part of the rule language"),
        ("n = (select max(n) from features.customer_features)", "not part of the rule language"),
        ("exists (select 1)", "not part of the rule language"),
        ("select true", "not part of the rule language"),
        ("drop table x", "not part of the rule language"),
        ("copy x to 'y'", "not part of the rule language"),
        ("pragma version", "not part of the rule language"),
        ("other.n = 1", "qualified name"),
        ("n::int = 1", "conversions"),
        ("cast(s as bigint) = 1", "conversions"),
        ("read_csv('x') = 1", "not part of the rule language"),
        ("getenv('HOME') = s", "unknown function getenv"),
        ("days_sinc(t) > 1", "did you mean days_since?"),
        ("sqrt(n) > 1", "not part of the rule language"),
        ("case when b then b end", "not part of the rule language"),
        ("count(*) > 1", "not part of the rule language"),
        ("n % 2 = 0", "not part of the rule language"),
        ("s || 'a' = 'b'", "not part of the rule language"),
        ("s ilike 'a%'", "not part of the rule language"),
        ("s like 'a%' escape '!'", "not part of the rule language"),
        ("s similar to 'a'", "not part of the rule language"),
        ("n is distinct from 1", "not part of the rule language"),
        ("n between symmetric 3 and 1", "not part of the rule language"),
        ("n = ?", "not part of the rule language"),
        ("n = $1", "not part of the rule language"),
        ("t > interval 1 day", "not part of the rule language"),
        ("n[1] = 1", "not part of the rule language"),
        ("now() > t", "present moment"),
        ("current_date > d", "present moment"),
        ("t > current_timestamp", "present moment"),
        ("today() > d", "present moment"),
        ("n = null", "null can't be compared"),
        ("n in (1, null)", "null can't be compared"),
        ("n in ()", "is empty"),
        ("n in (1.5)", "whole number"),
        ("n in (m)", "values only"),
        ("s in (1)", "is a text"),
        ("1 in n", "in quotes"),
        ("'a' in s", "not a list"),
        ("'a' in (consented_purposes)", "values only"),
        ("has_purpose(s)", "in quotes"),
        ("has_purpose('a', 'b')", "one argument"),
        ("has_purpose('a') = true", "true or false by itself"),
        ("in_segment(s)", "in quotes"),
        ("list_contains('a', 'b')", "looks in a feature"),
        ("days_since(t)", "number of days"),
        ("days_since(n) > 1", "is a whole number"),
        ("days_since('2026-01-01') > 1", "takes a feature"),
        ("orders_90 > 1", "did you mean orders_90d?"),
        ("n", "not something true or false"),
        ("n + 1", "is a value"),
        ("n > b", "can't be compared"),
        ("n > s", "can't be compared"),
        ("s > 'a'", "no order"),
        ("b > true", "no order"),
        ("t > '2026-01-01'", "can't be compared"),
        ("t + 1 > t", "needs numbers"),
        ("s + 1 > 2", "needs numbers"),
        ("consented_purposes = consented_purposes", "is a list"),
        ("blob = blob", "can't be compared"),
        ("blob", "not something true or false"),
        ("(n > 1) = b", "can't be compared with something"),
        ("n like 'a'", "like needs a feature that is a text"),
        ("s like s2", "a text in quotes"),
        ("s like 'a_b'", "pattern"),
        ("s like 'a%b'", "pattern"),
        ("s like '%'", "pattern"),
        ("s like 'a\\'", "pattern"),
        ("n is 1", "after is stands"),
        ("(n > 1) is true", "follow a feature"),
        ("1 is null", "never null"),
        ("n = 99999999999999999999", "out of range"),
        ("n = 1e999999999", "out of range"),
        ("d = date '2026-02-30'", "is not a date"),
        ("t = timestamp 'noon'", "is not a timestamp"),
        ("t = timestamp '2026-01-01 10:00:00+02:00'", "time zone"),
        ("t = timestamptz '2026-01-01'", "conversions"),
        ("t = date d", "not part of the rule language"),
        ("(" * 60 + "b" + ")" * 60, "nested too deeply"),
        ("not " * 60 + "b", "nested too deeply"),
        ("n > " + "- " * 60 + "1", "nested too deeply"),
        ("b" + " or b" * MAX_LENGTH, "characters"),
    ],
)
def test_what_is_not_allowed_is_refused_with_a_reason(rule: str, said: str) -> None:
    with pytest.raises(RuleError) as error:
        parse_rule(rule, CONTRACT)
    assert said in str(error.value)


def test_faults_stand_where_they_are_and_all_are_told() -> None:
    with pytest.raises(RuleError) as error:
        parse_rule("orders_90 > 1\n  and (nope = 2\n    or t > 'x')", CONTRACT)
    assert [(fault.line, fault.column) for fault in error.value.faults] == [(1, 1), (2, 8), (3, 8)]


def test_a_long_flat_rule_is_fine() -> None:
    rule = " or ".join(f"n = {number}" for number in range(1500))
    assert to_sql(parse_rule(rule, CONTRACT)).count(" or ") == 1499


def test_days_since_needs_the_moment_of_the_row() -> None:
    with pytest.raises(RuleError, match="unknown feature as_of"):
        parse_rule("days_since(t) > 1", {"t": "timestamp"})


def test_a_rule_says_what_it_reads() -> None:
    condition = parse_rule("(n > m or in_segment('a')) and days_since(t) < 3 and in_segment('b') and n = 1", CONTRACT)
    assert features_of(condition) == ["n", "m", "t", "as_of"]
    assert segments_of(condition) == ["a", "b"]


@pytest.mark.parametrize(
    ("column_type", "kind"),
    [
        ("DECIMAL(18,2)", Kind.DOUBLE),
        ("varchar", Kind.STRING),
        ("VARCHAR[]", Kind.STRINGS),
        ("timestamp_ntz", Kind.TIMESTAMP),
        ("struct(a int)", Kind.OTHER),
    ],
)
def test_kinds_follow_column_types(column_type: str, kind: Kind) -> None:
    assert kind_of(column_type) is kind
