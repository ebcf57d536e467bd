"""Columns are followed through models, wherever in the SQL they stand, and never lost."""

import pytest

from segmentation.features.lineage import columns_read

TABLES = {
    ("sources", "orders"): {"id": "bigint", "who": "varchar", "amount": "bigint", "note": "varchar"},
    ("sources", "people"): {"who": "varchar", "name": "varchar", "city": "varchar"},
}
ORDERS, PEOPLE = ("sources", "orders"), ("sources", "people")


def read(target: str, *wanted: str, **models: str):
    return columns_read({"target": target, **models}, "target", wanted, TABLES)


def test_only_what_was_asked_for_is_followed() -> None:
    sql = "select who, amount as paid, note from sources.orders"
    assert read(sql, "paid") == {ORDERS: {"amount"}}
    assert read(sql, "who", "note") == {ORDERS: {"who", "note"}}
    assert read(sql) == {}


@pytest.mark.parametrize(
    "sql",
    [
        "select who from sources.orders where amount > 1",
        "select who from sources.orders group by who having sum(amount) > 1",
        "select who from sources.orders order by amount limit 3",
        "select who from sources.orders qualify row_number() over (partition by who order by amount) = 1",
        "select case when amount > 1 then who end as who from sources.orders",
        "with o as (select *, amount + 1 as more from sources.orders) select who from o where more > 2",
        "select p.who from sources.people as p join sources.orders as o on p.who = o.who and o.amount > 1",
        "select who from sources.people where who in (select who from sources.orders where amount > 1)",
        "select who from (select who, amount from sources.orders) where amount > 1",
    ],
)
def test_a_column_counts_wherever_it_stands(sql: str) -> None:
    found = read(sql, "who")
    assert "amount" in found[ORDERS]
    assert "note" not in found[ORDERS]


def test_columns_pass_through_stars_unions_and_models() -> None:
    models = {
        "staged": "select id, who, amount, note from sources.orders",
        "named": 'select * from "warehouse"."staging"."staged"',
    }
    target = "with n as (select * from staging.named) select n.who, n.amount * 2 as twice, n.note from n"
    assert read(target, "twice", **models) == {ORDERS: {"amount"}}
    assert read(target, "note", "twice", **models) == {ORDERS: {"amount", "note"}}
    union = "select who, note as x from sources.orders union all select who, city from sources.people"
    assert read(f"with u as ({union}) select who, x from u", "x") == {ORDERS: {"note"}, PEOPLE: {"city"}}
    assert read(union, "x") == {ORDERS: {"who", "note"}, PEOPLE: {"who", "city"}}


def test_a_model_that_nothing_asks_for_reads_nothing() -> None:
    models = {"aside": "select name from sources.people"}
    assert read("select who from sources.orders", "who", **models) == {ORDERS: {"who"}}


def test_where_sql_can_not_be_followed_everything_counts() -> None:
    # Which of two tables an unnamed column is of can't be told.
    models = {"odd": "select who from sources.orders join sources.people on true"}
    found = read("select who from staging.odd", "who", **models)
    assert found[ORDERS] == set(TABLES[ORDERS])
    assert found[PEOPLE] == set(TABLES[PEOPLE])
