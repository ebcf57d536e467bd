"""Rules of strangers: whatever is written is read, or refused in a sentence, in time and without running anything."""

import json
import time
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segmentation.segments.conditions import negate
from segmentation.segments.evaluation import explain_condition
from segmentation.segments.faults import RuleError
from segmentation.segments.parser import parse_rule
from segmentation.segments.reasoning import Reasoner
from segmentation.segments.rule_sql import to_sql, to_text
from segmentation.segments.syntax import MAX_DEPTH, MAX_LENGTH

from .random_rules import AS_OF, CONTRACT, is_member
from .test_targets_agree import check

BLANK: dict[str, Any] = {**dict.fromkeys(CONTRACT), "as_of": AS_OF, "members": []}


def filled(start: str, unit: str, middle: str, end: str = "") -> str:
    """Return the longest text that repeats a unit, with as many ends."""
    times = (MAX_LENGTH - len(start) - len(middle)) // (len(unit) + len(end))
    return start + unit * times + middle + end * times


def refusal(rule: str) -> RuleError:
    with pytest.raises(RuleError) as refused:
        parse_rule(rule, CONTRACT)
    # A screen has a line for it.
    assert all(len(fault.what) < 300 for fault in refused.value.faults)
    return refused.value


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (filled("n", " + 1", " > 3"), "nested too deeply"),
        (filled("n", " / m", " > 3"), "nested too deeply"),
        (filled("days_since(t)", " - days_since(t)", " > 1"), "nested too deeply"),
        (filled("", "(", "b", ")"), "nested too deeply"),
        (filled("", "not ", "b"), "nested too deeply"),
        (filled("n > ", "- ", "1"), "nested too deeply"),
        (filled("", "f(", "n", ")"), "nested too deeply"),
        (filled("", "(select ", "1", ")"), "nested too deeply"),
        (filled("n = ", "[", "1", "]"), "[ is not part"),
        (filled("n", "[1]", " = 1"), "[ is not part"),
        (filled("n = ", "{'a':", "1", "}"), "{ is not part"),
        (filled("", "case when ", "b", " then b end"), "case is not part of the rule language"),
        (filled("n > ", "interval ", "1 day"), "interval is not part of the rule language"),
        (filled("", "@", "n"), "@ is not part of the rule language"),
        (filled("n", "::int", " > 1"), "conversions"),
        (filled("n", ".n", " > 1"), "not part of the rule language"),
        (filled("s", " || 'a'", " = 'b'"), "not part of the rule language"),
        (filled("n", " = 1", ""), "a condition can't be compared"),
        (filled("n", " is null", ""), "a condition can't be compared"),
        (filled("select 1", " union select 1", ""), "not part of the rule language"),
        ("'" * (MAX_LENGTH - 1), "can't be read"),
        ("bigint(" * 45 + "n" + ")" * 45 + " > 1", "( is not part of the rule language here"),
        ("n = " + "array<" * 200 + "1", "< is not part of the rule language here"),
        ("->", "not part of the rule language"),
        (filled("b", ";", ""), "without semicolon"),
        ("n" * (MAX_LENGTH - 4) + " > 1", "unknown feature nnn"),
        (" or ".join(["b"] * 10_000), "characters"),
        (" or ".join(f"n = {number}" for number in range(10_000)), "characters"),
    ],
)
def test_rules_without_end_are_refused_in_a_sentence(rule: str, said: str) -> None:
    began = time.process_time()
    assert said in str(refusal(rule))
    # Not a measurement: what is tried in ever more ways takes minutes.
    assert time.process_time() - began < 20


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("оrders > 3", "U+043E cyrillic small letter o"),
        ("ｎ > 3", "U+FF4E fullwidth latin small letter n"),
        ("n\u200b > 3", "U+200B zero width space; did you mean n?"),
        ("\ufeffn > 3", "U+FEFF zero width no-break space; did you mean n?"),
        ("n\0 > 3", "U+0000 control character"),
        ("n > ١", "U+0661 arabic-indic digit one"),
        ("s = ‘a’", "U+2018 left single quotation mark"),
        ("n ＝ 3", "can't be read"),
        ("ıs_known", "U+0131 latin small letter dotless i"),
    ],
)
def test_characters_that_only_look_alike_are_named(rule: str, said: str) -> None:
    assert said in str(refusal(rule))


ATTACKS = [
    "n = 1; drop table f",
    "n = 1) union select * from f --",
    "n in (select n from f)",
    "exists (from f)",
    "(delete from f returning true)",
    "copy f to '/tmp/stolen'",
    "attach 'x' as y",
    "install httpfs",
    "set memory_limit = '1KB'",
    "s = getenv('HOME')",
    "s in (from read_text('/etc/passwd'))",
    "query('drop table f') = 1",
    "n = nextval('f')",
    "s = current_setting('home_directory')",
    "b and pragma_version() is not null",
    "s like '%' escape '\\'",
    "n = 1 /* ; */ ; -- b",
    'n = 1 and "n"";drop table f" = 1',
    "in_segment('x'') or true or (''')",
    "s = 'it''s'' or true --",
]


@pytest.mark.parametrize("rule", ATTACKS)
def test_an_attack_is_refused_or_harmless(rule: str) -> None:
    try:
        condition = parse_rule(rule, CONTRACT)
    except RuleError:
        return
    # What is read is one expression whose texts are texts; the engine takes it for nothing else.
    check([rule], [{**BLANK, "n": 1, "b": True}])
    with duckdb.connect() as con:
        statements = con.extract_statements(f"select {to_sql(condition, is_member)}")
    assert len(statements) == 1


@pytest.mark.parametrize(
    "text", ["'; drop table f; --", "''", "\\'", "%' or 1=1 --", "a\nb", "$$", "{0}", "--", "/*", "\u202e"]
)
def test_texts_of_a_rule_stay_texts_everywhere(text: str) -> None:
    written = "'" + text.replace("'", "''") + "'"
    check([f"s = {written}", f"s in ({written})", f"s <> {written}"], [{**BLANK, "s": one} for one in (text, "a", "")])


def long_rules() -> list[str]:
    parts = [f"n = {number}" for number in range(300)]
    inner = "n > 1"
    for level in range(MAX_DEPTH - 1):
        inner = f"{['', 'not '][level % 3 == 0]}({inner} {['and', 'or'][level % 2]} m <> {level})"
    sums = "n" + " + 1" * (MAX_DEPTH - 1) + " > 3"
    return [
        " or ".join(parts),
        " and ".join(part.replace("=", "<>") for part in parts),
        filled("b", " or b", ""),
        filled("n in (0", ", 1", ") "),
        inner,
        sums,
        "(" * (MAX_DEPTH - 1) + "b" + ")" * (MAX_DEPTH - 1),
        "(" * (MAX_DEPTH - 1) + "n" + ")" * (MAX_DEPTH - 1) + " > 1",
    ]


@pytest.mark.parametrize("rule", long_rules())
def test_the_longest_and_deepest_rules_work_everywhere(rule: str) -> None:
    rows = [{**BLANK, "n": number, "m": 1, "b": truth} for number, truth in ((0, True), (2, False), (None, None))]
    check([rule], rows)
    condition = parse_rule(rule, CONTRACT)
    assert parse_rule(to_text(condition), CONTRACT) == condition
    assert json.dumps(explain_condition(condition, rows[0]).as_dict())
    reasoner = Reasoner()
    answer = reasoner.satisfiable(condition)
    assert answer.is_yes
    assert reasoner.implies(condition, condition).verdict != "no"
    assert reasoner.overlaps(condition, negate(condition)).verdict == "no"


PIECES = st.sampled_from(
    [
        "n", "x", "s", "b", "t", "d", "1", "'a'", "null", "true", "(", ")", ",", "and", "or", "not", "=", "<", "in",
        "is", "between", "like", "+", "-", "*", "/", "%", "||", "::", "int", "date", "days_since", "in_segment", "[",
        "]", "{", "}", ".", ";", "--", "/*", "*/", '"', "'", "case", "when", "then", "end", "select", "from", "?", "$1",
        "->", "exists", "cast", "as", "over", "filter", "interval", "@", "!", "~", "\\", "\n", "\t", "é", "\0",
    ]
)  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(PIECES, max_size=25).map(" ".join) | st.text(max_size=60))
def test_any_text_is_a_rule_or_refused_with_reasons(text: str) -> None:
    try:
        condition = parse_rule(text, CONTRACT)
    except RuleError as error:
        faults = error.faults
    else:
        faults = ()
        assert parse_rule(to_text(condition), CONTRACT) == condition
        check([text], [BLANK])
    assert all(fault.what for fault in faults)
