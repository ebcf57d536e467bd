"""Moves between segments that rule each other out: one event has one cause.

Belongs here: which of a customer's changes are parts of one event. Does not belong here: the cause of a change by
itself (``changes.py``). Within one group an event is an exit and an entry; where a segment of several groups is left or
entered, the event goes on in each of them.
"""

from segmentation.segments.rivalry import MOVING_GROUPS
from segmentation.warehouse import Connection

_MOVES = """
create or replace table segments.candidate_moves as
with {tied}moves as (
    select customer_id, moving_group_key, min(rank) as rank
    from segments_causes where may_move and moving_group_key is not null
    group by customer_id, moving_group_key
    having count(*) > 1
)
select
    c.customer_id,
    c.place,
    c.is_entry,
    c.is_listed,
    c.change_number,
    cast(coalesce({rank}m.rank, c.rank) as tinyint) as cause_rank
from segments_causes as c
left join moves as m on c.customer_id = m.customer_id and c.moving_group_key = m.moving_group_key{event}
"""

# Over segments of several groups one event goes on from group to group: each part of it hears every rank of the others.
_TIED = f"""
recursive grouped as (select * from {MOVING_GROUPS}),
tied as (
    select distinct one.place, other.place as other_place
    from grouped as one inner join grouped as other on one.group_key = other.group_key and one.place <> other.place
    where one.group_key in (
        select g.group_key from grouped as g semi join (
            select place from segments.candidate_places where moving_ranks is not null
        ) as several on g.place = several.place
    )
),
heard as (
    select c.customer_id, c.place, c.rank
    from segments_causes as c semi join tied as t on c.place = t.place
    where c.may_move
    union
    select h.customer_id, c.place, h.rank
    from heard as h
    inner join tied as t on h.place = t.place
    inner join segments_causes as c on h.customer_id = c.customer_id and t.other_place = c.place
    where c.may_move
),
events as (select customer_id, place, min(rank) as rank from heard group by all),
"""
_ALONE = {"tied": "", "rank": "", "event": ""}
_SEVERAL = {
    "tied": _TIED,
    "rank": "e.rank, ",
    "event": "\nleft join events as e on c.customer_id = e.customer_id and c.place = e.place",
}


def write_moves(con: Connection) -> None:
    """Write ``segments.candidate_moves`` of ``segments_causes``: each change with the strongest cause of its event."""
    has_several = con.execute(
        "select 1 from segments.candidate_places where moving_ranks is not null limit 1"
    ).fetchall()
    con.execute(_MOVES.format(**(_SEVERAL if has_several else _ALONE)))
