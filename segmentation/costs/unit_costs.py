"""Cost per segment and per member, for people.

Belongs here: reading the published tables for a summary (rule C12). Does not belong here: allocation. Only
the additive view is read, and it is allocated first and filtered afterwards.
"""

from dataclasses import dataclass
from datetime import date

from segmentation.costs.allocate import round_half_even
from segmentation.warehouse import Connection

#: Fewer members than this, and a cost per member says too much about one of them.
MIN_MEMBERS = 20

_COSTS = """
with costs as (
    select
        segment_key,
        sum(allocated_effective_micros) as effective_micros,
        sum(allocated_billed_micros) as billed_micros
    from costs.allocations
    where allocation_view = 'exclusive' and incurred_date >= $start and incurred_date < $end
    group by segment_key
),
counted as (
    select driver_date, segment_key, quantity
    from costs.drivers_daily
    where
        allocation_view = 'exclusive' and driver_key = 'members'
        and driver_date >= $start and driver_date < $end
),
days as (select count(distinct driver_date) as days from counted),
members as (select segment_key, sum(quantity) as member_days from counted group by segment_key)
select
    coalesce(c.segment_key, m.segment_key) as segment,
    cast(coalesce(c.effective_micros, 0) as hugeint),
    cast(coalesce(c.billed_micros, 0) as hugeint),
    cast(coalesce(m.member_days, 0) as hugeint),
    d.days
from costs as c
full join members as m on c.segment_key = m.segment_key
cross join days as d
order by segment
"""


@dataclass(frozen=True, slots=True)
class SegmentCost:
    """What one segment, or one of the special rows, cost.

    Attributes:
        segment_key: The segment, or ``__idle__``, ``__unattributed__``, ``__no_segment__``, ``__overhead__``.
        effective_micros: Amortised cost; the rows of one answer add up to the bill.
        billed_micros: What was invoiced.
        average_members: Mean of the daily counts at close of day; ``None`` for rows without members.
        cost_per_member_micros: Effective cost per average member; ``None`` where there is no member or
            ``is_suppressed``.
        is_suppressed: The segment has members, but fewer than ``MIN_MEMBERS``.
    """

    segment_key: str
    effective_micros: int
    billed_micros: int
    average_members: float | None
    cost_per_member_micros: int | None
    is_suppressed: bool


def segment_costs(con: Connection, start: date, end: date) -> list[SegmentCost]:
    """Return the exclusive cost of every segment over the days ``start`` to before ``end``, by key.

    The average counts the days on which there were charges; the others have no driver rows.
    """
    answer = []
    for key, effective, billed, member_days, days in con.execute(_COSTS, {"start": start, "end": end}).fetchall():
        is_suppressed = 0 < member_days < MIN_MEMBERS * days
        shown = member_days > 0 and not is_suppressed
        answer.append(
            SegmentCost(
                segment_key=key,
                effective_micros=effective,
                billed_micros=billed,
                average_members=member_days / days if member_days else None,
                cost_per_member_micros=round_half_even(effective * days, member_days) if shown else None,
                is_suppressed=is_suppressed,
            )
        )
    return answer
