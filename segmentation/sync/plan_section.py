"""What a change of segments sends to each destination.

Belongs here: the section of a plan about deliveries. Does not belong here: what a view contains (``effective.py``):
both states, what is live and what is planned, are written by the code that delivers, for the customers alone whose
state can differ.
"""

from collections.abc import Collection, Sequence

from segmentation.segments.plan_sections import Column, PlanContext, PlanSection, Section
from segmentation.segments.scratch import replace_view
from segmentation.sync.catalog import DestinationBase
from segmentation.sync.effective import compute_values, find_population
from segmentation.sync.views import View, resolve_views
from segmentation.warehouse import Connection, literal

# A customer's state holds segments with versions and groups: it differs for those who move, and for all members of a
# segment that gets another version or group, or goes to other destinations.
_AFFECTED = """
create or replace temp table plan_affected as
select distinct customer_id from segments.candidate_moves
union
select m.customer_id
from live.segments.membership as m
left join live.segments.catalog as b on m.segment_key = b.segment_key
left join segments.candidate_catalog as n on m.segment_key = n.segment_key
where
    m.segment_version is distinct from n.segment_version
    or b.group_key is distinct from n.group_key
    or b.definition ->> '$.groups' is distinct from n.definition ->> '$.groups'
    or b.destinations is distinct from n.destinations
"""

#: Of these only the rows of affected customers are read.
_OF_CUSTOMERS = (
    ("identity", "customers"),
    ("identity", "customer_aliases"),
    ("identity", "customer_consents"),
    ("identity", "profiles"),
    ("features", "customer_features"),
)

_LIVE = {"membership": "live.segments.membership", "catalog": "live.segments.catalog"}
_PLANNED = {
    "membership": "(select m.customer_id, m.segment_key, n.segment_version from segments.candidate_membership as m "
    "inner join segments.candidate_catalog as n on m.segment_key = n.segment_key)",
    "catalog": "segments.candidate_catalog",
}

_COUNT = """
select
    count(*) filter (b.customer_id is null), count(*) filter (b.customer_id is not null and n.customer_id is not null),
    count(*) filter (n.customer_id is null)
from (select customer_id, value from plan_values_live where view_id = {before}) as b
full join (select customer_id, value from plan_values_planned where view_id = {after}) as n using (customer_id)
where b.value is distinct from n.value
"""


def delivery_section(destinations: Sequence[DestinationBase], unconditional: Collection[str]) -> PlanSection:
    """Return the section about some destinations.

    Args:
        destinations: The catalog; disabled destinations are left out.
        unconditional: Purposes whose lawful basis is not consent.
    """
    enabled = [destination for destination in destinations if destination.enabled]

    def measure(context: PlanContext) -> Sequence[Section]:
        con = context.con
        con.execute(_AFFECTED)
        try:
            before = _write_values(con, enabled, unconditional, "live", _LIVE)
            after = _write_values(con, enabled, unconditional, "planned", _PLANNED)
        finally:
            for table in ("membership", "catalog"):
                replace_view(con, "segments", table, f"select * from live.segments.{table}")
            for schema, table in _OF_CUSTOMERS:
                replace_view(con, schema, table, f"select * from live.{schema}.{table}")
        rows = []
        for one in enabled:
            was, now = before[one.name].view_id, after[one.name].view_id
            counted = con.execute(_COUNT.format(before=literal(was), after=literal(now))).fetchall()[0]
            if any(counted) or was != now:
                rows.append((one.name, *counted, "loaded anew" if was != now else "by its log"))
        columns = (
            Column("destination"), Column("creates", "count"), Column("updates", "count"), Column("deletes", "count"),
            Column("how"),
        )  # fmt: skip
        note = "Rows that differ from what is live; a new version of a segment is an update for each of its members."
        return [Section("destinations", "Deliveries", columns, tuple(rows), (note,))] if rows else []

    return measure


def _write_values(
    con: Connection,
    destinations: Sequence[DestinationBase],
    unconditional: Collection[str],
    state: str,
    sources: dict[str, str],
) -> dict[str, View]:
    """Write what each view would hold in one of the two states; return the view of each destination."""
    # Written down once: the code that delivers reads them several times.
    con.execute(
        f"create or replace temp table plan_membership as select m.* from {sources['membership']} as m "
        "semi join plan_affected using (customer_id)"
    )
    replace_view(con, "segments", "membership", "select * from plan_membership")
    replace_view(con, "segments", "catalog", f"select * from {sources['catalog']}")
    for schema, table in _OF_CUSTOMERS:
        replace_view(
            con,
            schema,
            table,
            f"select t.* from live.{schema}.{table} as t semi join plan_affected using (customer_id)",
        )
    con.execute("create schema if not exists sync")
    con.execute(
        "create or replace table sync.candidate_values "
        "(view_id varchar, customer_id varchar, value varchar, kind varchar)"
    )
    readers = resolve_views(con, destinations)
    find_population(con, readers.values(), unconditional)
    for view in sorted(set(readers.values()), key=lambda view: view.view_id):
        compute_values(con, view, tuple(name for name in view.purposes if name not in unconditional))
    con.execute(f"create or replace temp table plan_values_{state} as select * from sync.candidate_values")
    return readers
