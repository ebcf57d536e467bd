"""The driver ``members``: customers per segment at the close of each day.

Belongs here: counting over the pieces of `memberships.py`, by adding up entries and exits instead of
looking at every customer on every day. Does not belong here: what customers used (`usage.py`).
"""

from segmentation.costs.pools import NO_SEGMENT
from segmentation.run import Run
from segmentation.warehouse import Connection, literal

#: A fractional quantity is counted in parts of this many: divisible by every number up to 16.
FRACTION_PARTS = 720_720

#: A member counts on the days [day of entry, day of exit): in at the close of the first, out at the last's.
_STEPS = """
create or replace temp table costs_work_member_steps as
with spans as (
    select
        allocation_view,
        segment_key,
        share_count,
        cast(greatest(effective_from, first_seen_at) as date) as first_day,
        cast(effective_to as date) as end_day,
        cast(known_since as date) as known_day
    from costs_work_pieces
),
alive as (
    select customer_id, cast(first_seen_at as date) as first_day
    from identity.customers where status = 'active' and first_seen_at <= ?
),
covered as (
    select
        c.allocation_view,
        greatest(cast(c.covered_from as date), a.first_day) as first_day,
        cast(c.covered_to as date) as end_day
    from costs_work_covered as c
    inner join alive as a on c.customer_id = a.customer_id
),
steps as (
    select allocation_view, segment_key, share_count, first_day as step_date, 1 as step, 0 as filled
    from spans where first_day < end_day
    union all
    select allocation_view, segment_key, share_count, end_day, -1, 0
    from spans where first_day < end_day
    union all
    select allocation_view, segment_key, share_count, first_day, 0, 1
    from spans where first_day < least(end_day, known_day)
    union all
    select allocation_view, segment_key, share_count, least(end_day, known_day), 0, -1
    from spans where first_day < least(end_day, known_day)
    union all
    select v.allocation_view, {no_segment}, 1, a.first_day, 1, 0
    from alive as a cross join costs_work_views as v
    union all
    select allocation_view, {no_segment}, 1, first_day, -1, 0 from covered where first_day < end_day
    union all
    select allocation_view, {no_segment}, 1, end_day, 1, 0 from covered where first_day < end_day
)
select allocation_view, segment_key, share_count, step_date, sum(step) as step, sum(filled) as filled
from steps group by all
"""

_COUNTS = """
insert into costs_work_drivers
with counted as (
    select
        d.driver_date,
        s.allocation_view,
        s.segment_key,
        s.share_count,
        cast(sum(s.step) as hugeint) as quantity,
        cast(sum(s.filled) as hugeint) as filled
    from costs_work_days as d
    inner join costs_work_member_steps as s on s.step_date <= d.driver_date
    group by all
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
group by all
having sum(c.quantity) <> 0
"""


def stage_members(con: Connection, run: Run) -> None:
    """Add the driver ``members`` for the days of ``costs_work_days`` to ``costs_work_drivers``."""
    con.execute(_STEPS.format(no_segment=literal(NO_SEGMENT)), [run.as_of])
    con.execute(_COUNTS)
