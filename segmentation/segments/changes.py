"""What would change, and why: the candidate against what is published.

Belongs here: the difference, the cause of each change, sizes with their guards. Does not belong here: writing
the log (``publish.py``). A change has one cause. Where several hold, the first of this list is named:

1. ``erasure``: the customer was erased.
2. ``identity_merge``, then ``identity_split``: identity changed who the customer is since the last publication.
3. ``consent``: a required purpose is not allowed (exit), or was allowed since the last publication (entry).
4. ``rollback``: a pin of the segment, or of one it depends on, began or ended.
5. ``override``: an inclusion or exclusion list was changed.
6. ``expiry``: the segment, or an entry of a list, reached its last day.
7. ``rule``: the segment, or one it depends on, is decided differently than before, or is new or gone.
8. ``data``: none of these, so the features changed.

A move within an exclusive group is one event: its exit and its entry bear the stronger of the two causes. Where a
customer leaves a segment of several groups, what enters in each of them is part of that event.
"""

from collections.abc import Mapping
from datetime import datetime

from segmentation.run import Run
from segmentation.segments.limits import MIN_BASE
from segmentation.segments.masks import bits_before_sql, count_bits_sql, find_published, has_bit_sql, word_count
from segmentation.segments.moves import write_moves
from segmentation.warehouse import Connection, literal

#: Causes by rank, the strongest first.
CAUSES = (
    "erasure",
    "identity_merge",
    "identity_split",
    "consent",
    "rollback",
    "override",
    "expiry",
    "rule",
    "data",
)

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

# One row per customer who changes: what is entered and left, what identity says, and where the log goes on.
_MOVED = """
create or replace temp table segments_moved as
with compared as (
    select coalesce(n.customer_id, p.customer_id) as customer_id, {entered}, {left}, {included}
    from segments.candidate_masks as n full join segments_published as p on n.customer_id = p.customer_id
    where {differs}
)
select
    c.*,
    case
        when i.status = 'erased' then 0
        when t.is_merged or i.status = 'merged' then 1
        when t.is_split then 2
    end as identity_rank,
    coalesce(cast(sum({leaving} + {entering}) over (
        order by c.customer_id rows between unbounded preceding and 1 preceding
    ) as bigint), 0) as changes_before
from compared as c
left join identity.customers as i on c.customer_id = i.customer_id and i.status in ('erased', 'merged')
left join segments_touched as t on c.customer_id = t.customer_id
"""

# A customer's exits come before the entries, each in the order of the places, which is that of the keys.
_DIFFERENCE = """
create or replace temp table segments_difference as
select
    m.customer_id, p.segment_key, p.place, false as is_entry, l.customer_id is not null as is_listed,
    m.identity_rank, m.changes_before + {exits_before} + 1 as change_number, {leaving} + {entering} > 1 as may_move
from segments_moved as m
inner join segments.candidate_places as p on {is_left}
left join (select customer_id, segment_key from segments.membership where via = 'include') as l
    on m.customer_id = l.customer_id and p.segment_key = l.segment_key
union all
select
    m.customer_id, p.segment_key, p.place, true, {is_included},
    m.identity_rank, m.changes_before + {leaving} + {entries_before} + 1, {leaving} > 0
from segments_moved as m
inner join segments.candidate_places as p on {is_entered}
"""

_LACKING = """
create or replace temp table segments_lacking as
select distinct d.customer_id, d.segment_key
from segments_difference as d
inner join (select segment_key, unnest(purposes) as purpose from segments.candidate_catalog) as p
    on d.segment_key = p.segment_key
inner join features.customer_features as f on d.customer_id = f.customer_id
where not d.is_entry and list_contains(f.consented_purposes, p.purpose) is not true
"""

_GRANTED = """
create or replace temp table segments_granted as
select distinct d.customer_id, d.segment_key
from segments_difference as d
inner join (select segment_key, unnest(purposes) as purpose from segments.candidate_catalog) as p
    on d.segment_key = p.segment_key
inner join identity.customer_consents as c on d.customer_id = c.customer_id and p.purpose = c.purpose
where d.is_entry and c.is_allowed and c.decided_at > $last_as_of and c.decided_at <= $as_of
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
    d.place,
    d.is_entry,
    d.is_listed,
    d.change_number,
    d.may_move,
    p.moving_group_key,
    case
        when d.identity_rank is not null then d.identity_rank
        when l.customer_id is not null or g.customer_id is not null then 3
        when p.is_pin_changed then 4
        -- A pin stands in place of rule and lists, so what happened to those explains nothing.
        when p.pin_id is not null then 8
        when not d.is_entry and o.is_excluded then 5
        when not d.is_entry and d.is_listed and not coalesce(o.is_expired, false)
            and not coalesce(o.is_included, false) then 5
        when d.is_entry and d.is_listed then 5
        when d.is_entry and o.was_excluded and not o.is_expired then 5
        when p.is_expired or (not d.is_entry and d.is_listed and o.is_expired) then 6
        when d.is_entry and o.was_excluded then 6
        when p.is_decision_changed then 7
        else 8
    end as rank
from segments_difference as d
inner join segments.candidate_places as p on d.place = p.place
left join segments_lacking as l on d.customer_id = l.customer_id and d.segment_key = l.segment_key
left join segments_granted as g on d.customer_id = g.customer_id and d.segment_key = g.segment_key
left join segments_lists as o on d.customer_id = o.customer_id and d.segment_key = o.segment_key
"""

_CHANGES = """
create or replace view segments.candidate_changes as
select
    m.customer_id,
    p.segment_key,
    case when m.is_entry then 'enter' else 'exit' end as change,
    [{causes}][m.cause_rank + 1] as cause,
    p.segment_version,
    case when p.pin_id is not null then 'pin' when m.is_listed then 'include'
        when p.is_account then 'account' else 'rule' end as via,
    m.change_number
from segments.candidate_moves as m
inner join segments.candidate_places as p on m.place = p.place
"""

# Withdrawn consent and erasure must go through whatever a guard says, so they are no churn. A pin is the remedy for
# what guards did not see: they hold back neither the segment that it holds, nor one that depends on it, by whom the pin
# moves or has moved since the pins of today began. Whom data moves meanwhile counts as ever. Its end they do: the rule
# may be as wrong as it was. Where pins alone are to act, a segment that nothing else moves is no worse than it was
# published, so it holds nothing back either.
_SIZES = """
create or replace table segments.candidate_sizes as
with keys as (
    select segment_key from segments.candidate_catalog union select segment_key from segments.candidate_places
),
since as (
    select min(o.recorded_at) as recorded_at
    from segments.publication_segments as o
    inner join (
        select p.segment_key, coalesce(max(u.publication_seq), 0) as publication_seq
        from segments.candidate_pins as p
        left join segments.publication_segments as u on p.segment_key = u.segment_key and u.pin_id is null
        where p.is_live
        group by p.segment_key
    ) as unpinned on o.segment_key = unpinned.segment_key and o.publication_seq > unpinned.publication_seq
),
brought as (
    select c.segment_key, count(*) filter (c.change = 'enter') - count(*) filter (c.change = 'exit') as n
    from segments.membership_changes as c
    where c.cause = 'rollback' and c.recorded_at >= (select s.recorded_at from since as s)
    group by c.segment_key
),
before as (select segment_key, count(*) as n from segments.membership group by segment_key),
now as (
    select p.segment_key, count(*) as n
    from segments.candidate_masks as m inner join segments.candidate_places as p on {is_member}
    group by p.segment_key
),
moved as (
    select
        p.segment_key,
        m.entering,
        m.leaving,
        m.churning,
        m.remedied,
        m.bringing,
        m.unrelated
    from (
        select
            place,
            count(*) filter (is_entry) as entering,
            count(*) filter (not is_entry) as leaving,
            count(*) filter (not is_entry and cause_rank not in ({unguarded})) as churning,
            count(*) filter (not is_entry and cause_rank = {rollback}) as remedied,
            count(*) filter (is_entry and cause_rank = {rollback}) as bringing,
            count(*) filter (cause_rank not in ({unguarded}, {rollback})) as unrelated
        from segments.candidate_moves group by place
    ) as m
    inner join segments.candidate_places as p on m.place = p.place
),
sized as (
    select
        k.segment_key,
        coalesce(b.n, 0) as members_before,
        coalesce(a.n, 0) as members_after,
        coalesce(m.entering, 0) as entering,
        coalesce(m.leaving, 0) as leaving,
        coalesce(m.churning, 0) as churning,
        coalesce(m.remedied, 0) as remedied,
        coalesce(m.unrelated, 0) as unrelated,
        members_after - coalesce(g.n, 0) - coalesce(m.bringing, 0) + coalesce(m.remedied, 0) as members_without_pins,
        p.pin_id,
        coalesce(p.is_sheltered, false) as is_sheltered,
        case when b.n > 0 then coalesce(m.churning, 0) / cast(b.n as double) else 0.0 end as churn_ratio,
        case when $population > 0 then coalesce(a.n, 0) / cast($population as double) else 0.0 end as share,
        coalesce(c.is_evaluated, false) as is_evaluated,
        cast(json_extract(c.limits, '$.min_size') as bigint) as min_size,
        cast(json_extract(c.limits, '$.max_size') as bigint) as max_size,
        cast(json_extract(c.limits, '$.max_share') as double) as max_share,
        cast(json_extract(c.limits, '$.max_churn_ratio') as double) as max_churn_ratio,
        cast(json_extract(c.limits, '$.max_exits') as bigint) as max_exits,
        coalesce(cast(json_extract(c.limits, '$.min_base') as bigint), {min_base}) as min_base
    from keys as k
    left join segments.candidate_catalog as c on k.segment_key = c.segment_key
    left join before as b on k.segment_key = b.segment_key
    left join now as a on k.segment_key = a.segment_key
    left join brought as g on k.segment_key = g.segment_key
    left join moved as m on k.segment_key = m.segment_key
    left join segments.candidate_places as p on k.segment_key = p.segment_key
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
        as are_guards_kept,
    pin_id is not null or ($pins_alone and unrelated = 0) or is_sheltered
        and (is_min_size_kept or members_without_pins >= min_size)
        and (is_max_size_kept or members_without_pins <= max_size)
        and (is_max_share_kept or members_without_pins <= max_share * $population)
        and (
            max_churn_ratio is null or members_before < min_base
            or churning - remedied <= max_churn_ratio * members_before
        )
        and (max_exits is null or churning - remedied <= max_exits)
        as are_guards_waived
from guarded
"""


def find_changes(
    con: Connection,
    run: Run,
    places: Mapping[str, int],
    population: int,
    last_as_of: datetime,
    identity_event_seq: int,
    *,
    pins_alone: bool = False,
) -> None:
    """Write ``segments.candidate_moves``, the view ``candidate_changes`` of it, and ``candidate_sizes``.

    Args:
        con: The warehouse, within the transaction that decided.
        run: The run.
        places: Place by segment, as ``decide`` returned them.
        population: Customers with features.
        last_as_of: ``as_of`` of the last publication; consent given later explains an entry.
        identity_event_seq: Newest identity event that the last publication knew of.
        pins_alone: Whether only pins are to act: guards then judge what moves for another cause.
    """
    find_published(con, places)
    con.execute(_TOUCHED, {"identity_event_seq": identity_event_seq})
    _compare(con, word_count(len(places)))
    con.execute(_LACKING)
    con.execute(_GRANTED, {"last_as_of": last_as_of, "as_of": run.as_of})
    con.execute(_LISTS)
    con.execute(_CAUSES)
    write_moves(con)
    # A warehouse of an earlier version has a table of this name, which no view can replace.
    if con.execute(
        "select 1 from duckdb_tables() where schema_name = 'segments' and table_name = 'candidate_changes'"
    ).fetchall():
        con.execute("drop table segments.candidate_changes")
    con.execute(_CHANGES.format(causes=", ".join(literal(cause) for cause in CAUSES)))
    members = [f"m.member_{word}" for word in range(word_count(len(places)))]
    unguarded = ", ".join(str(CAUSES.index(cause)) for cause in ("consent", "erasure", "expiry"))
    sizes = _SIZES.format(
        is_member=has_bit_sql(members, "p"),
        unguarded=unguarded,
        rollback=CAUSES.index("rollback"),
        min_base=MIN_BASE,
    )
    con.execute(sizes, {"population": population, "pins_alone": pins_alone})


def _compare(con: Connection, words: int) -> None:
    """Write who moves, and each move with its place in the log."""
    numbers = range(words)
    entered, left = [f"entered_{word}" for word in numbers], [f"left_{word}" for word in numbers]
    before = [f"coalesce(p.member_{word}, 0)" for word in numbers]
    after = [f"coalesce(n.member_{word}, 0)" for word in numbers]
    con.execute(
        _MOVED.format(
            entered=_named("entered", [f"{after[word]} & ~{before[word]}" for word in numbers]),
            left=_named("left", [f"{before[word]} & ~{after[word]}" for word in numbers]),
            included=_named("included", [f"coalesce(n.included_{word}, 0)" for word in numbers]),
            differs=" or ".join(f"{after[word]} <> {before[word]}" for word in numbers),
            leaving=count_bits_sql([f"c.{name}" for name in left]),
            entering=count_bits_sql([f"c.{name}" for name in entered]),
        )
    )
    of_entered, of_left = [f"m.{name}" for name in entered], [f"m.{name}" for name in left]
    con.execute(
        _DIFFERENCE.format(
            leaving=count_bits_sql(of_left),
            entering=count_bits_sql(of_entered),
            exits_before=bits_before_sql(of_left, "p"),
            entries_before=bits_before_sql(of_entered, "p"),
            is_left=has_bit_sql(of_left, "p"),
            is_entered=has_bit_sql(of_entered, "p"),
            is_included=has_bit_sql([f"m.included_{word}" for word in numbers], "p"),
        )
    )


def _named(name: str, expressions: list[str]) -> str:
    return ", ".join(f"{expression} as {name}_{word}" for word, expression in enumerate(expressions))
