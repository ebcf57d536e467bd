"""What a change of segments does to their costs, as far as the newest bill says.

Belongs here: the section of a plan about cost. Does not belong here: allocating (``allocate.py``).
"""

from collections.abc import Sequence

from segmentation.segments.plan_sections import Column, PlanContext, Section
from segmentation.warehouse import table_exists

_COSTS = """
with costs as (
    select segment_key, cost_month, exclusive_effective_micros, cost_per_member_micros
    from marts.fct_segment_unit_costs_monthly
    where cost_month = (select max(cost_month) from marts.fct_segment_unit_costs_monthly)
)
select
    s.segment_key, c.cost_month::varchar, c.exclusive_effective_micros, c.cost_per_member_micros,
    (s.entering * c.cost_per_member_micros)::bigint, (s.leaving * c.cost_per_member_micros)::bigint,
    ((s.entering - s.leaving) * c.cost_per_member_micros)::bigint
from segments.candidate_sizes as s
inner join costs as c on s.segment_key = c.segment_key
where (s.entering > 0 or s.leaving > 0) and c.exclusive_effective_micros is not null
order by 1
"""


def cost_section(context: PlanContext) -> Sequence[Section]:
    """Return what the members who move would cost, each as much as a member of the segment does now."""
    if not table_exists(context.con, "marts", "fct_segment_unit_costs_monthly"):
        return []
    rows = context.con.execute(_COSTS).fetchall()
    if not rows:
        return []
    columns = (
        Column("segment"), Column("cost of the month", "money"), Column("per member", "money"),
        Column("entering", "money"), Column("leaving", "money"), Column("net", "money"),
    )  # fmt: skip
    note = (
        f"Month of {rows[0][1]}. Who enters is taken to cost what a member of the segment costs; "
        "a change of tier can change that."
    )
    return [Section("cost", "Cost that moves", columns, tuple((row[0], *row[2:]) for row in rows), (note,))]
