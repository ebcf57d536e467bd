"""Who was in which segment when, as the views of an allocation see it.

Belongs here: turning membership history into pieces of time per customer (rules C5 and C6). Does not belong
here: counting members (`members.py`) or usage (`usage.py`) over those pieces.

What happened before history begins is placed by the first state known: a customer is known since the first
published judgement after its id was made, but not before the view's history begins at all. Pieces that hold
from then on reach back without end, and ``known_since`` tells which part of them was filled in so.
"""

from segmentation.costs.pools import CostPools
from segmentation.run import Run
from segmentation.warehouse import Connection, literal

_PIECES = """
create or replace temp table costs_work_pieces (
    allocation_view varchar, customer_id varchar, segment_key varchar, effective_from timestamp,
    effective_to timestamp, known_since timestamp, first_seen_at timestamp, share_count bigint
)
"""

#: Times at which a customer has at least one membership of the view; they do not overlap.
_COVERED = """
create or replace temp table costs_work_covered (
    allocation_view varchar, customer_id varchar, covered_from timestamp, covered_to timestamp,
    memberships bigint
)
"""

_JUDGED = """
create or replace temp table costs_work_judged as
select distinct as_of as judged_at from ops.candidates where stage = 'segments' and published_at is not null
"""

_INSERT = """
insert into costs_work_pieces
with history as (
    select
        customer_id,
        segment_key,
        valid_from,
        case when valid_to <= $as_of then valid_to else timestamp 'infinity' end as valid_to
    from segments.membership_history
    where
        superseded_at is null
        and valid_from <= $as_of
        and (valid_to is null or valid_from < valid_to)
        and {scope}
),
begun as (
    select min(valid_from) as history_begins from history
),
first_rows as (
    select customer_id, min(valid_from) as first_valid_from from history group by customer_id
),
people as (
    select
        f.customer_id,
        f.first_valid_from,
        coalesce(c.created_at, timestamp '-infinity') as created_at,
        coalesce(c.first_seen_at, timestamp '-infinity') as first_seen_at
    from first_rows as f
    left join identity.customers as c on f.customer_id = c.customer_id
),
known as (
    select
        p.customer_id,
        p.first_seen_at,
        least(
            p.first_valid_from, greatest(b.history_begins, coalesce(j.judged_at, p.created_at))
        ) as known_since
    from people as p
    cross join begun as b
    asof left join costs_work_judged as j on p.created_at <= j.judged_at
)
select
    {view},
    h.customer_id,
    h.segment_key,
    case when h.valid_from <= k.known_since then timestamp '-infinity' else h.valid_from end,
    h.valid_to,
    k.known_since,
    k.first_seen_at,
    1
from history as h
inner join known as k on h.customer_id = k.customer_id
"""

#: Sweep over each customer's entries and exits: the running sum is the number of memberships.
_SWEEP = """
insert into costs_work_covered
with changes as (
    select customer_id, effective_from as changed_at, 1 as step
    from costs_work_pieces where allocation_view = {view}
    union all
    select customer_id, effective_to, -1
    from costs_work_pieces where allocation_view = {view}
),
moments as (
    select customer_id, changed_at, sum(step) as step from changes group by customer_id, changed_at
),
states as (
    select
        customer_id,
        changed_at as covered_from,
        lead(changed_at) over (partition by customer_id order by changed_at) as covered_to,
        sum(step) over (partition by customer_id order by changed_at) as memberships
    from moments
)
select {target}, customer_id, covered_from, covered_to, cast(memberships as bigint)
from states where memberships > 0
"""

_FRACTIONAL = """
insert into costs_work_pieces
select
    'fractional',
    p.customer_id,
    p.segment_key,
    greatest(p.effective_from, c.covered_from),
    least(p.effective_to, c.covered_to),
    p.known_since,
    p.first_seen_at,
    c.memberships
from costs_work_pieces as p
inner join costs_work_covered as c
    on
        p.customer_id = c.customer_id
        and p.effective_from < c.covered_to
        and c.covered_from < p.effective_to
where p.allocation_view = 'full' and c.allocation_view = 'fractional'
"""


def stage_memberships(con: Connection, run: Run, pools: CostPools, costing_group: str) -> None:
    """Write temp tables ``costs_work_pieces`` and ``costs_work_covered`` for the views of ``pools``.

    ``exclusive`` holds the segments of ``costing_group`` alone, of which a customer has at most one at a
    time; ``full`` every membership; ``fractional`` every membership with the number it is shared by.
    """
    con.execute(_PIECES)
    con.execute(_COVERED)
    con.execute(_JUDGED)
    in_group = f"segment_key in (select segment_key from segments.catalog where group_key = {literal(costing_group)})"
    con.execute(_INSERT.format(view="'exclusive'", scope=in_group), {"as_of": run.as_of})
    con.execute(_SWEEP.format(view="'exclusive'", target="'exclusive'"))
    if "full" in pools.views or "fractional" in pools.views:
        con.execute(_INSERT.format(view="'full'", scope="true"), {"as_of": run.as_of})
        con.execute(_SWEEP.format(view="'full'", target="'full'"))
    if "fractional" in pools.views:
        con.execute(_SWEEP.format(view="'full'", target="'fractional'"))
        con.execute(_FRACTIONAL)
    if "full" not in pools.views:
        con.execute("delete from costs_work_pieces where allocation_view = 'full'")
        con.execute("delete from costs_work_covered where allocation_view = 'full'")
