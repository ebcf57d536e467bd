"""The figures per segment that summaries show, read from the readers' copy."""

from dataclasses import dataclass

from segmentation.warehouse import Connection, table_exists


@dataclass(frozen=True, slots=True)
class SegmentSummary:
    """One segment at a glance; money in micros of the reporting currency.

    ``cost_micros`` is the exclusive cost over the newest billed month, ``cost_per_member_micros`` is null
    where nobody was in the segment or too few for the figure to be shown.
    """

    segment_key: str
    segment_version: int
    owner: str
    group_key: str | None
    lifecycle: str
    members: int
    entered: int
    exited: int
    cost_micros: int | None
    cost_per_member_micros: int | None


_SUMMARY = """
with newest as (select max(size_date) as size_date from segments.sizes_daily),
sizes as (select s.* from segments.sizes_daily as s join newest as n on s.size_date = n.size_date)
select
    c.segment_key,
    c.segment_version,
    c.owner,
    c.group_key,
    c.lifecycle,
    coalesce(s.members, 0)::bigint as members,
    coalesce(s.entered, 0)::bigint as entered,
    coalesce(s.exited, 0)::bigint as exited,
    u.cost_micros,
    u.cost_per_member_micros
from segments.catalog as c
left join sizes as s on c.segment_key = s.segment_key
left join unit_costs as u on c.segment_key = u.segment_key
order by c.group_key nulls last, members desc, c.segment_key
"""

_UNIT_COSTS = """
create or replace temp view unit_costs as
select segment_key, exclusive_effective_micros as cost_micros, cost_per_member_micros
from marts.fct_segment_unit_costs_monthly
where cost_month = (select max(cost_month) from marts.fct_segment_unit_costs_monthly)
"""

_NO_UNIT_COSTS = """
create or replace temp view unit_costs as
select null::varchar as segment_key, null::bigint as cost_micros, null::bigint as cost_per_member_micros
"""


def summarise_segments(con: Connection) -> list[SegmentSummary]:
    """Return every live segment with its size, its changes and its cost; empty before the first run."""
    if not table_exists(con, "segments", "catalog"):
        return []
    con.execute(_UNIT_COSTS if table_exists(con, "marts", "fct_segment_unit_costs_monthly") else _NO_UNIT_COSTS)
    return [SegmentSummary(*row) for row in con.execute(_SUMMARY).fetchall()]
