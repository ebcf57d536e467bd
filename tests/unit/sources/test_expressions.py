"""Only scalar SQL over the row passes."""

import pytest

from segmentation.sources.expressions import ExpressionError, parse_expression


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("upper(Name)", ("Name",)),
        ("\"Order ID\" || '-' || cast(_line as varchar)", ("Order ID", "_line")),
        ("case when a like 'C%' then 'x' else coalesce(b, 'y') end", ("a", "b")),
        ("cast(round(cast(UnitPrice as decimal(18,6)) * 1000000) as bigint)", ("UnitPrice",)),
        ("a in ('x', 'y') and b between 1 and 2 or not c is null", ("a", "b", "c")),
        ("try_strptime(a, '%Y') + interval 1 day", ("a",)),
        ("payload ->> '$.a.b'", ("payload",)),
        ("split_part(a, ',', 1) -- the first part", ("a",)),
        ("a is distinct from b", ("a", "b")),
        ("a at time zone 'Europe/Paris'", ("a",)),
    ],
)
def test_scalar_expressions_pass_and_name_their_columns(text: str, columns: tuple[str, ...]) -> None:
    parsed = parse_expression(text)
    assert set(parsed.columns) == set(columns)
    assert parsed.sql.startswith("(\n")
    assert parsed.sql.endswith("\n)")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        ("a 1", "not an SQL expression"),
        ("(select 1)", "a subquery"),
        ("a in (select b from sources.orders)", "a subquery"),
        ("exists (from sources.orders)", "a subquery"),
        ("array(select 1)", "not allowed in a mapping"),
        ("read_text('/etc/passwd')", "function read_text"),
        ("read_csv('x.csv')", "function read_csv"),
        ("getenv('HOME')", "function getenv"),
        ("main.getenv('HOME')", "function getenv"),
        ("glob('/*')", "function glob"),
        ("current_setting('threads')", "function current_setting"),
        ("nextval('s')", "function nextval"),
        ("random()", "function random"),
        ("now()", "function now"),
        ("current_date", "the clock or the session"),
        ("sum(a)", "function sum"),
        ("count(*)", "function count_star"),
        ("row_number() over ()", "a window function"),
        ("list_filter(a, lambda x: x > 1)", "not allowed"),
        ("?", "a parameter"),
        ("*", "a star"),
        ("columns('a.*')", "a star"),
        ("sources.orders.order_id", "without a prefix"),
        ("1) from read_csv('x') --", "not an SQL expression"),
        ("1); drop table x; --", "not an SQL expression"),
        ("1); drop table x; select (1", "not an SQL expression|several statements"),
        ("1) union select (2", "not a query"),
        ("1), (2", "one scalar expression"),
        ("1) where (true", "not a query"),
        ("regexp_replac(a, 'x', 'y')", "did you mean regexp_replace"),
    ],
)
def test_everything_else_is_refused(text: str, says: str) -> None:
    with pytest.raises(ExpressionError, match=says):
        parse_expression(text)
