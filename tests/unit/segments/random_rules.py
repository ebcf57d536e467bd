"""Random rules and random rows, over one small contract; not a test itself."""

import re
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import duckdb
from hypothesis import strategies as st

CONTRACT = {
    "n": "bigint",
    "m": "bigint",
    "x": "double",
    "y": "double",
    "money": "decimal(9,2)",
    "s": "varchar",
    "r": "varchar",
    "b": "boolean",
    "t": "timestamp",
    "d": "date",
    "consented_purposes": "varchar[]",
    "as_of": "timestamp",
}
AS_OF = datetime(2026, 11, 1, 12)
TEXTS = ["", "a", "ab", "ba", "A", "it's", "%", "ä", "a\u0308", "😀a", "free", "pro"]
DAYS = [date(2026, 10, 31), date(2026, 11, 1), date(2026, 1, 1), date(2027, 2, 3)]
MOMENTS = [AS_OF, AS_OF - timedelta(days=1), AS_OF - timedelta(hours=23, minutes=59), AS_OF + timedelta(days=3)]
MOMENTS += [AS_OF - timedelta(days=5), AS_OF - timedelta(days=5, microseconds=1), AS_OF + timedelta(days=1)]
SEGMENTS = ["vip", "fraud"]

ROW = st.fixed_dictionaries(
    {
        "n": st.none() | st.integers(-3, 3),
        "m": st.none() | st.integers(-3, 3) | st.sampled_from([2**62, -(2**62)]),
        "x": st.none() | st.sampled_from([-1.5, -1.0, 0.0, 0.1, 0.5, 1.0, 2.5]),
        "y": st.none() | st.sampled_from([-1.0, 0.0, 1.0, 3.0]),
        "money": st.none() | st.sampled_from([Decimal("-1.5"), Decimal(0), Decimal("0.1"), Decimal(2)]),
        "s": st.none() | st.sampled_from(TEXTS),
        "r": st.none() | st.sampled_from(TEXTS),
        "b": st.none() | st.booleans(),
        "t": st.none() | st.sampled_from(MOMENTS),
        "d": st.none() | st.sampled_from(DAYS),
        "consented_purposes": st.none() | st.lists(st.sampled_from(["marketing", "analytics"]), unique=True),
        "as_of": st.just(AS_OF),
        # No feature: the segments that the customer is in.
        "members": st.lists(st.sampled_from(SEGMENTS), unique=True),
    }
)


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


SMALL = ["n", "x", "y", "money"]
ORDER = st.sampled_from(["=", "<>", "!=", "<", "<=", ">", ">="])
EQUAL = st.sampled_from(["=", "<>"])
NUMBER = st.sampled_from(["-2", "0", "1", "2", "0.1", "1.5", "-1.5", "1e0"])
MOMENT = st.sampled_from([f"timestamp '{moment}'" for moment in MOMENTS] + [f"date '{day}'" for day in DAYS])


@st.composite
def sums(draw: st.DrawFn, operators: str, names: list[str], depth: int = 2) -> str:
    if depth == 0 or draw(st.booleans()):
        return draw(st.sampled_from(names) | NUMBER)
    left, right = draw(sums(operators, names, depth - 1)), draw(sums(operators, names, depth - 1))
    operator = draw(st.sampled_from(list(operators)))
    return f"({left} {operator} {right})"


@st.composite
def leaf(draw: st.DrawFn, operators: str, names: list[str]) -> str:  # noqa: C901, PLR0911, PLR0912 - one branch per form of a leaf
    form = draw(st.integers(0, 17))
    operator, equal, number = draw(ORDER), draw(EQUAL), draw(NUMBER)
    name = draw(st.sampled_from(["n", "m", "x", "y", "money"]))
    text = draw(st.sampled_from(["s", "r"]))
    word = draw(st.sampled_from([word for word in TEXTS if "%" not in word]))
    maybe_not = draw(st.sampled_from(["", "not "]))
    match form:
        case 0 | 1:
            return f"{name} {operator} {number}"
        case 2:
            return f"{name} {operator} {draw(st.sampled_from(['n', 'm', 'x', 'y']))}"
        case 3:
            return f"{text} {equal} {quoted(draw(st.sampled_from(TEXTS)))}"
        case 4:
            return f"s {equal} r"
        case 5:
            values = draw(st.lists(st.sampled_from(["-1", "0", "1", "2"]), min_size=1, max_size=3))
            return f"{name} {maybe_not}in ({', '.join(values)})"
        case 6:
            values = draw(st.lists(st.sampled_from([quoted(item) for item in TEXTS]), min_size=1, max_size=3))
            return f"{text} {maybe_not}in ({', '.join(values)})"
        case 7:
            low, high = draw(NUMBER), draw(NUMBER)
            return f"{name} {maybe_not}between {low} and {high}"
        case 8:
            column = draw(st.sampled_from([*CONTRACT]))
            return f"{column} is {maybe_not}null"
        case 9:
            shape = draw(st.sampled_from(["{}%", "%{}", "%{}%", "{}"])).format(word or "a")
            return f"{text} {maybe_not}like {quoted(shape)}"
        case 10:
            return draw(st.sampled_from(["b", "b = true", "b <> true", "b is true", "b is not false", "b in (false)"]))
        case 11:
            return f"{draw(st.sampled_from(['t', 'd']))} {operator} {draw(MOMENT)}"
        case 12:
            return f"t {operator} d"
        case 13:
            return (
                f"days_since({draw(st.sampled_from(['t', 'd']))}) {operator} {draw(st.sampled_from(['0', '1', '5']))}"
            )
        case 14:
            purpose = quoted(draw(st.sampled_from(["marketing", "analytics", "other"])))
            return draw(
                st.sampled_from([f"list_contains(consented_purposes, {purpose})", f"{purpose} in consented_purposes"])
            )
        case 15:
            return f"{maybe_not}in_segment({quoted(draw(st.sampled_from(SEGMENTS)))})"
        case 16:
            return f"({draw(sums(operators, names))} + n) is {maybe_not}null"
        case _:
            return f"{draw(sums(operators, names))} + 0 * n {operator} {draw(sums(operators, names))}"


def rules_of(operators: str, names: list[str] = SMALL) -> st.SearchStrategy[str]:
    """Return rules with such arithmetic between such features.

    Where the engine reads the rule's own text, numbers are small: above 2^53 a rule's arithmetic is that of floats,
    the engine's is not.
    """
    return st.recursive(
        leaf(operators, names),
        lambda inner: st.one_of(
            inner.map(lambda rule: f"not ({rule})"),
            st.tuples(inner, inner).map(lambda pair: f"({pair[0]}) and ({pair[1]})"),
            st.tuples(inner, inner).map(lambda pair: f"({pair[0]}) or ({pair[1]})"),
            st.tuples(inner, inner).map(lambda pair: f"{pair[0]} and {pair[1]}"),
            st.tuples(inner, inner).map(lambda pair: f"{pair[0]} or {pair[1]}"),
        ),
        max_leaves=6,
    )


def own_text(rule: str) -> str:
    """Return the rule as the engine reads it: it has no days_since of its own."""
    rule = re.sub(r"in_segment\(('\w+')\)", r"list_contains(members, \1)", rule)
    return re.sub(r"days_since\((\w+)\)", r"date_sub('day', cast(\1 as timestamp), as_of)", rule)


def is_member(key: str) -> str:
    """Return the condition of the engine's table that a customer is in a segment."""
    return f"list_contains(members, {quoted(key)})"


def engine(rows: list[dict[str, Any]]) -> duckdb.DuckDBPyConnection:
    con = duckdb.connect()
    columns = {**CONTRACT, "members": "varchar[]"}
    con.execute(f"create table f (row_number integer, {', '.join(f'{name} {kind}' for name, kind in columns.items())})")
    marks = f"({', '.join('?' * (len(columns) + 1))})"
    values = [value for number, row in enumerate(rows) for value in (number, *(row[name] for name in columns))]
    con.execute(f"insert into f values {', '.join([marks] * len(rows))}", values)
    return con


def answers(con: duckdb.DuckDBPyConnection, expressions: list[str]) -> list[list[bool]]:
    columns = ", ".join(f"({expression}) is true" for expression in expressions)
    rows = con.execute(f"select {columns} from f order by row_number").fetchall()
    return [list(column) for column in zip(*rows, strict=True)]
