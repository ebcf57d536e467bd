"""What a proposed identity map means for segments and revenue, before anybody publishes it.

Belongs here: membership and orders of the customers that would change. Does not belong here: what would change
(`segmentation/identity/identity_plan.py`), or deciding segments anew (`candidate.py`).
"""

from dataclasses import dataclass

from segmentation.identity.catalog import IdentifierRules
from segmentation.identity.observations import namespace_expression
from segmentation.identity.versions import superseded_rows
from segmentation.run import Run
from segmentation.sources.entities import IDENTITY_COLUMNS
from segmentation.warehouse import Connection, literal, table_exists

#: An order of one of these states earned nothing; as `dbt_project/models/intermediate/orders` has it.
_CANCELLED = ("cancelled", "canceled", "failed")

_LOOKUPS = {"old": "identity.identifier_lookup", "new": "identity.candidate_identifier_lookup"}


@dataclass(frozen=True, slots=True)
class SegmentImpact:
    """One segment and the customers that would change.

    Attributes:
        segment_key: The segment.
        members: Its members now.
        leaving: Members whose id would give way, in a merge or because nothing of it is left.
        decided_again: Members who would stay and gain or lose identifiers, so that the rule may decide otherwise.
    """

    segment_key: str
    members: int
    leaving: int
    decided_again: int


@dataclass(frozen=True, slots=True)
class RevenueImpact:
    """Orders that would get another customer, or get or lose one, and what they earned, in micros."""

    orders_moved: int
    revenue_moved_micros: int


@dataclass(frozen=True, slots=True)
class SegmentChange:
    """How many customers would enter and leave a segment because identity changed."""

    segment_key: str
    entering: int
    leaving: int


def measure_segments(con: Connection) -> tuple[SegmentImpact, ...]:
    """Count members that would leave or be decided again; reads ``plan_moved`` (see `identity_plan.measure_plan`)."""
    if not table_exists(con, "segments", "membership"):
        return ()
    rows = con.execute(
        "with moved as ("
        "select old_customer_id as customer_id from plan_moved union select new_customer_id from plan_moved), "
        "counted as (select m.segment_key, count(*) as members, "
        "count(*) filter (k.status is distinct from 'active') as leaving, "
        "count(*) filter (k.status = 'active' and m.customer_id in (select customer_id from moved)) as decided_again "
        "from segments.membership as m left join identity.candidate_customers as k using (customer_id) "
        "group by m.segment_key) "
        "select segment_key, members, leaving, decided_again from counted where leaving > 0 or decided_again > 0 "
        "order by leaving + decided_again desc, segment_key"
    ).fetchall()
    return tuple(SegmentImpact(*row) for row in rows)


def measure_revenue(con: Connection, run: Run, rules: IdentifierRules) -> RevenueImpact:
    """Count the orders that would move, and what they earned; reads ``plan_moved``.

    Only orders that carry a value of a moved identifier are attributed, once with each map.
    """
    if not table_exists(con, "sources", "orders"):
        return RevenueImpact(0, 0)
    con.execute(
        "create or replace temp table plan_values as select distinct id_type, id_namespace, raw_value from ("
        + " union all ".join(
            f"select id_type, id_namespace, raw_value, node_id from {table}" for table in _LOOKUPS.values()
        )
        + ") where node_id in (select node_id from plan_moved)"
    )
    names = ", ".join(IDENTITY_COLUMNS)
    touched = " or ".join(
        f"({name} is not null and (({namespace_expression(rules, name)}), {name}) in "
        f"(select (id_namespace, raw_value) from plan_values where id_type = {literal(name)}))"
        for name in IDENTITY_COLUMNS
    )
    current = superseded_rows(con, run, "orders", "order_id", "ordered_at")
    con.execute(
        f"create or replace temp table plan_orders as select source, order_id, {names}, amount_micros, "
        "lower(order_status) as order_status from sources.orders "
        f"where ordered_at <= $as_of and {current} and ({touched})",
        {"as_of": run.as_of},
    )
    joins, owners = [], []
    for map_name, lookup in _LOOKUPS.items():
        found = []
        for name in rules.types_by_priority:
            alias = f"{map_name}_{name}"
            joins.append(
                f"left join (from {lookup} where id_type = {literal(name)}) as {alias} on {alias}.raw_value = o.{name} "
                f"and {alias}.id_namespace = {namespace_expression(rules, name, 'o.source')}"
            )
            found.append(f"{alias}.customer_id")
        owners.append(f"coalesce({', '.join(found)}) as {map_name}_customer_id")
    lines = "select null::varchar as source, null::varchar as order_id, null::bigint as net_micros where false"
    if table_exists(con, "sources", "order_lines"):
        lines = (
            "select source, order_id, sum(quantity * unit_price_micros)::bigint as net_micros from sources.order_lines "
            "semi join plan_orders using (source, order_id) group by source, order_id"
        )
    cancelled = ", ".join(map(literal, _CANCELLED))
    [(orders, revenue)] = con.execute(
        f"with owned as (select o.*, {', '.join(owners)} from plan_orders as o {' '.join(joins)}), "
        f"line_values as ({lines}) "
        f"select count(*), coalesce(sum(case when order_status in ({cancelled}) then 0 "
        "else coalesce(l.net_micros, o.amount_micros, 0) end), 0)::bigint "
        "from owned as o left join line_values as l using (source, order_id) "
        "where old_customer_id is distinct from new_customer_id"
    ).fetchall()
    con.execute("drop table plan_orders; drop table plan_values; drop table if exists superseded_orders")
    return RevenueImpact(int(orders), int(revenue))


def read_changes(con: Connection) -> tuple[SegmentChange, ...]:
    """Return who would enter and leave because of identity, once segments were decided on the candidate."""
    rows = con.execute(
        "select segment_key, count(*) filter (change = 'enter'), count(*) filter (change = 'exit') "
        "from segments.candidate_changes where cause in ('identity_merge', 'identity_split') group by 1 order by 1"
    ).fetchall()
    return tuple(SegmentChange(*row) for row in rows)
