"""What would change, and why: the candidate against what is published.

Belongs here: the difference, the cause of each change, sizes with their guards. Does not belong here: writing
the log (``publish.py``). A change has one cause. Where several hold, the first of this list is named:

1. ``erasure``: the customer was erased.
2. ``identity_merge``, then ``identity_split``: identity changed who the customer is since the last publication.
3. ``consent``: a required purpose is not allowed (exit), or was allowed since the last publication (entry).
4. ``override``: an inclusion or exclusion list was changed.
5. ``expiry``: the segment, or an entry of a list, reached its last day.
6. ``rule``: the segment, or one it depends on, is decided differently than before, or is new or gone.
7. ``data``: none of these, so the features changed.

A move within an exclusive group is one event: its exit and its entry bear the stronger of the two causes.
"""

from datetime import datetime

from segmentation.run import Run
from segmentation.warehouse import Connection

#: Causes by rank, the strongest first.
CAUSES = (
    "erasure",
    "identity_merge",
    "identity_split",
    "consent",
    "override",
    "expiry",
    "rule",
    "data",
)

# What is published gets the numbers of the candidate. A customer without features, or a segment that is gone,
# has none, so it matches nothing and leaves.
_PUBLISHED = """
create or replace temp table segments_published as
select c.customer_number, r.segment_number, m.rowid as membership_row
from segments.membership as m
left join segments.candidate_customers as c on m.customer_id = c.customer_id
left join segments.candidate_ranks as r on m.segment_key = r.segment_key
"""

_DIFFERENCE = """
create or replace temp table segments_difference as
select c.customer_id, r.segment_key, 'enter' as change, case when n.is_included then 'include' else 'rule' end as via
from segments.candidate_members as n
anti join segments_published as p on n.customer_number = p.customer_number and n.segment_number = p.segment_number
inner join segments.candidate_customers as c on n.customer_number = c.customer_number
inner join segments.candidate_ranks as r on n.segment_number = r.segment_number
union all
select m.customer_id, m.segment_key, 'exit', m.via
from segments_published as p
anti join segments.candidate_members as n
    on p.customer_number = n.customer_number and p.segment_number = n.segment_number
inner join segments.membership as m on p.membership_row = m.rowid
"""

# Only customers that change are looked at, so a quiet run costs little beyond the difference itself.
_TOUCHED = """
create or replace temp table segments_touched as
select customer_id, bool_or(event = 'merge') as is_merged, bool_or(event <> 'merge') as is_split
from (
    select unnest([customer_id, other_customer_id]) as customer_id, event
    from identity.events
    where seq > $identity_event_seq and event in ('merge', 'split', 'unmerge', 'move')
) where customer_id is not null
group by customer_id
"""

_LACKING = """
create or replace temp table segments_lacking as
select distinct d.customer_id, d.segment_key
from segments_difference as d
inner join (select segment_key, unnest(purposes) as purpose from segments.candidate_catalog) as p
    on d.segment_key = p.segment_key
inner join features.customer_features as f on d.customer_id = f.customer_id
where d.change = 'exit' and list_contains(f.consented_purposes, p.purpose) is not true
"""

_GRANTED = """
create or replace temp table segments_granted as
select distinct d.customer_id, d.segment_key
from segments_difference as d
inner join (select segment_key, unnest(purposes) as purpose from segments.candidate_catalog) as p
    on d.segment_key = p.segment_key
inner join identity.customer_consents as c on d.customer_id = c.customer_id and p.purpose = c.purpose
where d.change = 'enter' and c.is_allowed and c.decided_at > $last_as_of and c.decided_at <= $as_of
"""

_LISTS = """
create or replace temp table segments_lists as
select
    customer_id,
    segment_key,
    coalesce(bool_or(is_now and side = 'include' and status = 'applied'), false) as is_included,
    coalesce(bool_or(is_now and side = 'exclude' and status = 'applied'), false) as is_excluded,
    coalesce(bool_or(not is_now and side = 'exclude' and status = 'applied'), false) as was_excluded,
    coalesce(bool_or(is_now and status = 'expired'), false) as is_expired
from (
    select customer_id, segment_key, side, status, true as is_now from segments.candidate_overrides
    union all
    select customer_id, segment_key, side, status, false from segments.overrides
) where customer_id is not null
group by customer_id, segment_key
"""

_CAUSES = """
create or replace temp table segments_causes as
select
    d.customer_id,
    d.segment_key,
    d.change,
    d.via,
    case
        when i.status = 'erased' then 0
        when t.is_merged or i.status = 'merged' then 1
        when t.is_split then 2
        when l.customer_id is not null or g.customer_id is not null then 3
        when d.change = 'exit' and o.is_excluded then 4
        when d.change = 'exit' and d.via = 'include' and not coalesce(o.is_expired, false)
            and not coalesce(o.is_included, false) then 4
        when d.change = 'enter' and d.via = 'include' then 4
        when d.change = 'enter' and o.was_excluded and not o.is_expired then 4
        when n.is_expired or (d.change = 'exit' and d.via = 'include' and o.is_expired) then 5
        when d.change = 'enter' and o.was_excluded then 5
        when n.segment_key is null or n.is_decision_changed then 6
        else 7
    end as rank
from segments_difference as d
left join segments.candidate_catalog as n on d.segment_key = n.segment_key
left join identity.customers as i on d.customer_id = i.customer_id and i.status in ('erased', 'merged')
left join segments_touched as t on d.customer_id = t.customer_id
left join segments_lacking as l on d.customer_id = l.customer_id and d.segment_key = l.segment_key
left join segments_granted as g on d.customer_id = g.customer_id and d.segment_key = g.segment_key
left join segments_lists as o on d.customer_id = o.customer_id and d.segment_key = o.segment_key
"""

_CHANGES = """
create or replace table segments.candidate_changes as
with grouped as (
    select
        c.*,
        coalesce(n.segment_version, p.segment_version) as segment_version,
        coalesce(n.group_key, p.group_key) as group_key
    from segments_causes as c
    left join segments.candidate_catalog as n on c.segment_key = n.segment_key
    left join segments.catalog as p on c.segment_key = p.segment_key
),
moves as (
    select customer_id, group_key, min(rank) as rank
    from grouped where group_key is not null
    group by customer_id, group_key
    having count(*) > 1
)
select
    g.customer_id,
    g.segment_key,
    g.change,
    [{causes}][coalesce(m.rank, g.rank) + 1] as cause,
    g.segment_version,
    g.via
from grouped as g
left join moves as m on g.customer_id = m.customer_id and g.group_key = m.group_key
"""

# Withdrawn consent and erasure must go through whatever a guard says, so they are no churn.
_SIZES = """
create or replace table segments.candidate_sizes as
with keys as (
    select segment_key from segments.candidate_catalog union select distinct segment_key from segments.membership
),
before as (select segment_key, count(*) as n from segments.membership group by segment_key),
now as (
    select r.segment_key, m.n
    from (
        select segment_number, count(*) as n from segments.candidate_members group by segment_number
    ) as m
    inner join segments.candidate_ranks as r on m.segment_number = r.segment_number
),
moved as (
    select
        segment_key,
        count(*) filter (change = 'enter') as entering,
        count(*) filter (change = 'exit') as leaving,
        count(*) filter (change = 'exit' and cause not in ('consent', 'erasure', 'expiry')) as churning
    from segments.candidate_changes group by segment_key
),
sized as (
    select
        k.segment_key,
        coalesce(b.n, 0) as members_before,
        coalesce(a.n, 0) as members_after,
        coalesce(m.entering, 0) as entering,
        coalesce(m.leaving, 0) as leaving,
        coalesce(m.churning, 0) as churning,
        case when b.n > 0 then coalesce(m.churning, 0) / cast(b.n as double) else 0.0 end as churn_ratio,
        case when $population > 0 then coalesce(a.n, 0) / cast($population as double) else 0.0 end as share,
        coalesce(c.is_evaluated, false) as is_evaluated,
        cast(json_extract(c.definition, '$.guards.min_size') as bigint) as min_size,
        cast(json_extract(c.definition, '$.guards.max_size') as bigint) as max_size,
        cast(json_extract(c.definition, '$.guards.max_share') as double) as max_share,
        cast(json_extract(c.definition, '$.guards.max_churn_ratio') as double) as max_churn_ratio,
        cast(json_extract(c.definition, '$.guards.max_exits') as bigint) as max_exits,
        cast(json_extract(c.definition, '$.guards.min_base') as bigint) as min_base
    from keys as k
    left join segments.candidate_catalog as c on k.segment_key = c.segment_key
    left join before as b on k.segment_key = b.segment_key
    left join now as a on k.segment_key = a.segment_key
    left join moved as m on k.segment_key = m.segment_key
),
guarded as (
    select
        *,
        not is_evaluated or min_size is null or members_after >= min_size as is_min_size_kept,
        not is_evaluated or max_size is null or members_after <= max_size as is_max_size_kept,
        not is_evaluated or max_share is null or share <= max_share as is_max_share_kept,
        not is_evaluated or max_churn_ratio is null or members_before < min_base
            or churn_ratio <= max_churn_ratio as is_max_churn_kept,
        not is_evaluated or max_exits is null or churning <= max_exits as is_max_exits_kept
    from sized
)
select
    *,
    is_min_size_kept and is_max_size_kept and is_max_share_kept and is_max_churn_kept and is_max_exits_kept
        as are_guards_kept
from guarded
"""


def find_changes(con: Connection, run: Run, population: int, last_as_of: datetime, identity_event_seq: int) -> None:
    """Write ``segments.candidate_changes`` and ``segments.candidate_sizes``.

    Args:
        con: The warehouse, within the transaction that decided.
        run: The run.
        population: Customers with features.
        last_as_of: ``as_of`` of the last publication; consent given later explains an entry.
        identity_event_seq: Newest identity event that the last publication knew of.
    """
    con.execute(_PUBLISHED)
    con.execute(_DIFFERENCE)
    con.execute(_TOUCHED, {"identity_event_seq": identity_event_seq})
    con.execute(_LACKING)
    con.execute(_GRANTED, {"last_as_of": last_as_of, "as_of": run.as_of})
    con.execute(_LISTS)
    con.execute(_CAUSES)
    con.execute(_CHANGES.format(causes=", ".join(f"'{cause}'" for cause in CAUSES)))
    con.execute(_SIZES, {"population": population})
