"""Where columns come from, followed through joins, aggregates and stars."""

from orchestration.dbt_metadata import column_lineage

SCHEMA = {
    "staging": {
        "orders": {"order_id": "VARCHAR", "customer_id": "VARCHAR", "amount": "BIGINT"},
        "customers": {"customer_id": "VARCHAR", "country": "VARCHAR"},
    }
}
ORDERS, CUSTOMERS = ("staging", "orders"), ("staging", "customers")


def test_a_column_is_followed_through_common_table_expressions_and_joins() -> None:
    sql = """
        with orders as (select * from "warehouse"."staging"."orders"),
        totals as (select customer_id, sum(amount) as revenue from orders group by customer_id)
        select c.country, t.revenue, coalesce(t.customer_id, c.customer_id) as customer_id
        from "warehouse"."staging"."customers" as c left join totals as t on c.customer_id = t.customer_id
    """
    assert column_lineage(sql, SCHEMA) == {
        "country": {(CUSTOMERS, "country")},
        "revenue": {(ORDERS, "amount")},
        "customer_id": {(ORDERS, "customer_id"), (CUSTOMERS, "customer_id")},
    }


def test_a_constant_comes_from_nowhere() -> None:
    assert column_lineage("select 1 as one from staging.orders", SCHEMA) == {"one": set()}


def test_what_cannot_be_followed_has_no_lineage_and_fails_nothing() -> None:
    assert column_lineage("this is not sql (", SCHEMA) == {}
    assert column_lineage("", SCHEMA) == {}
