"""The driver ``members``: customers per segment at the close of each day.

Belongs here: counting over the states of `memberships.py`, by adding up entries and exits instead of
looking at every customer on every day. Does not belong here: what customers used (`usage.py`).
"""

from segmentation.costs.memberships import word_names
from segmentation.costs.pools import NO_SEGMENT
from segmentation.segments.masks import has_bit_sql
from segmentation.warehouse import Connection, literal

#: A fractional quantity is counted in parts of this many: divisible by every number up to 16.
FRACTION_PARTS = 720_720

#: Customers of a trajectory that were first seen on one day are all alike.
_CROWDS = """
create or replace temp table costs_work_crowds as
select t.trajectory, cast(p.first_seen_at as date) as first_day, p.is_alive, count(*) as customers
from costs_work_people as p
left join costs_work_trajectories as t on p.customer_id = t.customer_id
group by all
"""

#: A member counts on the days [day of entry, day of exit): in at the close of the first, out at the last's.
_STEPS = """
create or replace temp table costs_work_member_steps as
with lived as (
    select
        s.scope,
        {words},
        s.memberships,
        greatest(cast(s.from_at as date), c.first_day) as first_day,
        cast(s.to_at as date) as end_day,
        least(cast(s.to_at as date), cast(s.known_since as date)) as known_day,
        c.is_alive,
        c.customers
    from costs_work_crowds as c
    inner join costs_work_states as s on c.trajectory = s.trajectory
),
days as (
    select scope, {words}, memberships, true as is_member, is_alive, first_day as step_date, customers as step,
        0 as filled
    from lived where first_day < end_day
    union all
    select scope, {words}, memberships, true, is_alive, end_day, -customers, 0
    from lived where first_day < end_day
    union all
    select scope, {words}, memberships, true, false, first_day, 0, customers
    from lived where first_day < known_day
    union all
    select scope, {words}, memberships, true, false, known_day, 0, -customers
    from lived where first_day < known_day
),
counted as (
    select scope, {words}, memberships, is_alive, step_date, sum(step) as step, sum(filled) as filled
    from days group by all
)
select
    v.allocation_view,
    p.segment_key,
    case when v.allocation_view = 'fractional' then d.memberships else 1 end as share_count,
    d.step_date,
    sum(d.step) as step,
    sum(d.filled) as filled
from counted as d
inner join costs_work_views as v on v.scope = d.scope
inner join costs_work_places as p on {has_place}
group by all
union all
select v.allocation_view, {no_segment}, 1, d.step_date, -sum(d.step), 0
from counted as d
inner join costs_work_views as v on v.scope = d.scope
where d.is_alive
group by all
union all
select v.allocation_view, {no_segment}, 1, c.first_day, sum(c.customers), 0
from costs_work_crowds as c cross join costs_work_views as v
where c.is_alive
group by all
"""

# Every day gets the sum of all steps up to it: steps and days in one line, the days last of their date.
_COUNTS = """
insert into costs_work_drivers
with lines as (
    select k.*, d.driver_date as step_date, 0 as step, 0 as filled, true as is_day
    from (select distinct allocation_view, segment_key, share_count from costs_work_member_steps) as k
    cross join costs_work_days as d
    union all
    select allocation_view, segment_key, share_count, step_date, step, filled, false from costs_work_member_steps
),
counted as (
    select
        allocation_view,
        segment_key,
        share_count,
        step_date as driver_date,
        is_day,
        cast(sum(step) over up_to as hugeint) as quantity,
        cast(sum(filled) over up_to as hugeint) as filled
    from lines
    window up_to as (
        partition by allocation_view, segment_key, share_count order by step_date, is_day
        rows between unbounded preceding and current row
    )
)
select
    c.driver_date,
    'members',
    c.allocation_view,
    c.segment_key,
    cast(sum(c.quantity * v.parts // c.share_count) as bigint) as quantity,
    cast(sum(c.filled * v.parts // c.share_count) as bigint) as backfilled_quantity
from counted as c
inner join costs_work_views as v on c.allocation_view = v.allocation_view
where c.is_day
group by all
having sum(c.quantity) <> 0
"""


def stage_members(con: Connection) -> None:
    """Add the driver ``members`` for the days of ``costs_work_days`` to ``costs_work_drivers``."""
    words = word_names(con)
    con.execute(_CROWDS)
    con.execute(
        _STEPS.format(
            no_segment=literal(NO_SEGMENT),
            words=", ".join(words),
            has_place=has_bit_sql([f"d.{word}" for word in words], "p"),
        )
    )
    con.execute(_COUNTS)
