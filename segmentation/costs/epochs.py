"""Epochs: the stretches of time between two changes of anybody's membership, numbered.

Belongs here: giving usage and membership the same small whole numbers for time, so that "in which segment
when it happened" is a comparison of integers. Does not belong here: either of the two (`usage.py`,
`memberships.py`). The epoch of a moment is the number of cuts up to it.
"""

from segmentation.warehouse import Connection, scalar

#: Up to this many cuts in a day are compared one by one; more go through a list.
_MAX_COMPARED = 16

_CUTS = """
create or replace temp table costs_work_cuts as
select cut, cast(row_number() over (order by cut) as integer) as epoch
from (
    select from_at as cut from costs_work_states
    union
    select to_at from costs_work_states
    union
    select known_since from costs_work_states
)
where isfinite(cut)
"""

#: Of each day, the epoch at midnight and the cuts after it.
_DAYS = """
create or replace temp table costs_work_epoch_days as
select
    d.driver_date,
    cast(count(c.cut) filter (where c.cut <= cast(d.driver_date as timestamp)) as integer) as first_epoch,
    list(c.cut order by c.cut) filter (where c.cut > cast(d.driver_date as timestamp)) as cuts
from costs_work_days as d
left join costs_work_cuts as c on c.cut < cast(d.driver_date as timestamp) + interval 1 day
group by d.driver_date
"""

_SPANS = """
create or replace temp table costs_work_spans as
select
    s.*,
    coalesce(f.epoch, 0) as first_epoch,
    coalesce(t.epoch, 2147483647) as end_epoch,
    coalesce(k.epoch, 0) as known_epoch
from costs_work_states as s
left join costs_work_cuts as f on s.from_at = f.cut
left join costs_work_cuts as t on s.to_at = t.cut
left join costs_work_cuts as k on s.known_since = k.cut
"""


def stage_epochs(con: Connection) -> None:
    """Write temp tables ``costs_work_epoch_days`` and ``costs_work_spans``, the states with their epochs."""
    con.execute(_CUTS)
    con.execute(_DAYS)
    con.execute(_SPANS)


def epoch_sql(con: Connection, moment: str) -> str:
    """Return an expression for the epoch of ``moment``, on a day of ``costs_work_epoch_days as d``."""
    most = scalar(con, "select coalesce(max(len(cuts)), 0) from costs_work_epoch_days")
    cuts = int(str(most))
    if cuts > _MAX_COMPARED:
        return f"d.first_epoch + coalesce(len(list_filter(d.cuts, lambda cut: cut <= {moment})), 0)"
    compared = [f"case when {moment} >= d.cuts[{number}] then 1 else 0 end" for number in range(1, cuts + 1)]
    return " + ".join(["d.first_epoch", *compared])
