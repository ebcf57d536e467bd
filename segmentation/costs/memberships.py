"""Who was in which segments when, as the views of an allocation see it.

Belongs here: turning membership history into states, and states into trajectories (rules C5 and C6). Does not belong
here: counting members (`members.py`) or usage (`usage.py`) over them.

A state is a set of segments, one bit each, that a customer was in over a stretch of time; states of a customer do not
overlap. A trajectory is all the states of a customer. Customers whose memberships all began and ended together, most
of them, share a trajectory with everybody who is like them, so whatever is added up by trajectory is small.

What happened before history begins is placed by the first state known: a customer is known since the first published
judgement after its id was made, but not before the scope's history begins at all. States that hold from then on reach
back without end, and ``known_since`` tells which part of them was filled in so.
"""

from collections.abc import Sequence

from segmentation.costs.pools import CostPools
from segmentation.errors import StrataError
from segmentation.run import Run
from segmentation.segments.masks import WORD_BITS, count_bits_sql, word_count
from segmentation.segments.rivalry import ranks_sql
from segmentation.warehouse import Connection, count, literal

#: Which memberships a view looks at: those of the costing group, or all.
SCOPES = {"exclusive": "exclusive", "full": "full", "fractional": "full"}

_PLACES = f"""
create or replace temp table costs_work_places as
select
    segment_key,
    cast(place // {WORD_BITS} as integer) as word,
    1::bigint << cast(place % {WORD_BITS} as integer) as bit,
    segment_key in (
        select segment_key from {ranks_sql("segments.catalog")} where group_key = $costing_group
    ) as is_costing
from (
    select segment_key, row_number() over (order by segment_key) - 1 as place
    from (select distinct segment_key from segments.membership_history)
)
"""

_STAYS = """
create or replace temp view costs_work_stays as
select
    h.customer_id,
    p.word,
    p.bit,
    p.is_costing,
    h.valid_from,
    case when h.valid_to <= {as_of} then h.valid_to else timestamp 'infinity' end as valid_to
from segments.membership_history as h
inner join costs_work_places as p on h.segment_key = p.segment_key
where h.superseded_at is null and h.valid_from <= {as_of} and (h.valid_to is null or h.valid_from < h.valid_to)
"""

_BEGUN = """
create or replace temp table costs_work_begun as
select
    min(valid_from) filter (is_costing) as exclusive_begins,
    min(valid_from) as full_begins
from costs_work_stays
"""

# A customer's first judgement is that of the moment its id was made, and of such moments there are few.
_JUDGED = """
create or replace temp table costs_work_judged as
with moments as (
    select created_at from identity.customers where created_at is not null
    union
    select timestamp '-infinity'
),
judged as (
    select distinct as_of as judged_at from ops.candidates where stage = 'segments' and published_at is not null
)
select m.created_at, coalesce(j.judged_at, m.created_at) as judged_at
from moments as m asof left join judged as j on m.created_at <= j.judged_at
"""

#: One row per customer of identity or of history; the columns of a scope are null for who was never in it.
_PEOPLE = """
create or replace temp table costs_work_people as
with stayed as (
    select customer_id, {stays} from costs_work_stays group by customer_id
),
known as (
    select
        coalesce(s.customer_id, c.customer_id) as customer_id,
        coalesce(c.first_seen_at, timestamp '-infinity') as first_seen_at,
        c.customer_id is not null and c.status = 'active' and c.first_seen_at <= $as_of as is_alive,
        s.* exclude (customer_id),
        {known}
    from stayed as s
    full join identity.customers as c on s.customer_id = c.customer_id
    left join costs_work_judged as j on coalesce(c.created_at, timestamp '-infinity') = j.created_at
    cross join costs_work_begun as b
)
select *, {is_uniform} as is_uniform from known
"""

_STAYED = """
min(valid_from) filter (where {of}) as {scope}_from,
max(valid_from) filter (where {of}) as {scope}_last_from,
min(valid_to) filter (where {of}) as {scope}_to,
max(valid_to) filter (where {of}) as {scope}_last_to,
{words}
"""

_KNOWN = """
least(
    s.{scope}_from, greatest(b.{scope}_begins, j.judged_at)
) as {scope}_known
"""

# All memberships of a scope began together and ended together, so there is one state.
_IS_UNIFORM = "({scope}_from is null or {scope}_from = {scope}_last_from and {scope}_to = {scope}_last_to)"

_UNIFORM = """
create or replace temp table costs_work_uniform as
select cast(row_number() over () as integer) as trajectory, *
from (select distinct {key} from costs_work_people where is_uniform and ({has_any}))
"""

#: Trajectory by customer; who was in no segment at any time has none.
_TRAJECTORIES = """
create or replace temp table costs_work_trajectories as
select p.customer_id, u.trajectory
from costs_work_people as p inner join costs_work_uniform as u on {same}
where p.is_uniform
union all
select customer_id, cast($uniform + row_number() over () as integer) from costs_work_people where not is_uniform
"""

_STATES = """
create or replace temp table costs_work_states (
    trajectory integer, scope varchar, {words}, memberships bigint, from_at timestamp, to_at timestamp,
    known_since timestamp
)
"""

_UNIFORM_STATES = """
insert into costs_work_states
select
    trajectory, {name}, {words}, {memberships},
    case when {scope}_from <= {scope}_known then timestamp '-infinity' else {scope}_from end,
    {scope}_to, {scope}_known
from costs_work_uniform where {scope}_from is not null
"""

#: Sweep over each customer's entries and exits: an entry adds the bit of its segment, an exit takes it away.
_SWEPT_STATES = """
insert into costs_work_states
with stays as (
    select
        t.trajectory,
        s.word,
        s.bit,
        case when s.valid_from <= p.{scope}_known then timestamp '-infinity' else s.valid_from end as from_at,
        s.valid_to as to_at,
        p.{scope}_known as known_since
    from costs_work_stays as s
    inner join costs_work_people as p on s.customer_id = p.customer_id
    inner join costs_work_trajectories as t on s.customer_id = t.customer_id
    where not p.is_uniform and {of}
),
changes as (
    select trajectory, known_since, from_at as changed_at, word, bit, 1 as step from stays
    union all
    select trajectory, known_since, to_at, word, -bit, -1 from stays
),
moments as (
    select trajectory, known_since, changed_at, sum(step) as step, {sums} from changes group by all
),
states as (
    select
        trajectory,
        known_since,
        changed_at as from_at,
        lead(changed_at) over of_customer as to_at,
        cast(sum(step) over of_customer as bigint) as memberships,
        {words}
    from moments
    window of_customer as (partition by trajectory order by changed_at)
)
select trajectory, {name}, {names}, memberships, from_at, to_at, known_since from states where memberships > 0
"""


def stage_memberships(con: Connection, run: Run, pools: CostPools, costing_group: str) -> None:
    """Write temp tables ``costs_work_people``, ``…_trajectories``, ``…_states`` and ``…_places``.

    Scope ``exclusive`` holds the segments of ``costing_group`` alone, of which a customer has at most one at a
    time; ``full``, where a view of ``pools`` needs it, every membership. A state has its segments in the words
    ``word_0`` and on, each a bit of ``costs_work_places``.

    Raises:
        StrataError: A customer's stays in one segment overlap.
    """
    con.execute(_PLACES, {"costing_group": costing_group})
    as_of = f"timestamp {literal(str(run.as_of))}"
    con.execute(_STAYS.format(as_of=as_of))
    con.execute(_BEGUN)
    con.execute(_JUDGED)
    words = word_names(con)
    scopes = ["exclusive", *(["full"] if {"full", "fractional"} & set(pools.views) else [])]
    _stage_people(con, run, scopes, words)
    con.execute(_STATES.format(words=", ".join(f"{word} bigint" for word in words)))
    has_swept = bool(con.execute("select 1 from costs_work_people where not is_uniform limit 1").fetchall())
    for scope in scopes:
        own = [f"{scope}_{word}" for word in words]
        con.execute(
            _UNIFORM_STATES.format(
                scope=scope, name=literal(scope), words=", ".join(own), memberships=count_bits_sql(own)
            )
        )
        if has_swept:
            sums = [
                f"sum(case when word = {number} then bit else 0 end) as {word}" for number, word in enumerate(words)
            ]
            swept = [f"try_cast(sum({word}) over of_customer as bigint) as {word}" for word in words]
            con.execute(
                _SWEPT_STATES.format(
                    scope=scope,
                    name=literal(scope),
                    of=_of(scope),
                    sums=", ".join(sums),
                    words=", ".join(swept),
                    names=", ".join(words),
                )
            )
    _check_overlaps(con, words)


def word_names(con: Connection) -> list[str]:
    """Return the names of the words that a state's segments are in."""
    return [f"word_{word}" for word in range(word_count(count(con, "costs_work_places")))]


def _stage_people(con: Connection, run: Run, scopes: Sequence[str], words: Sequence[str]) -> None:
    stayed, known, key = [], [], []
    for scope in scopes:
        of = _of(scope)
        masks = [
            f"coalesce(bit_or(bit) filter (where word = {number} and {of}), 0) as {scope}_{word}"
            for number, word in enumerate(words)
        ]
        stayed.append(_STAYED.format(scope=scope, of=of, words=", ".join(masks)))
        known.append(_KNOWN.format(scope=scope))
        key += [f"{scope}_{name}" for name in ("from", "to", "known", *words)]
    has_any = " or ".join(f"{scope}_from is not null" for scope in scopes)
    uniform = " and ".join(_IS_UNIFORM.format(scope=scope) for scope in scopes)
    con.execute(
        _PEOPLE.format(stays=", ".join(stayed), known=", ".join(known), is_uniform=uniform), {"as_of": run.as_of}
    )
    con.execute(_UNIFORM.format(key=", ".join(key), has_any=has_any))
    con.execute(
        _TRAJECTORIES.format(same=" and ".join(f"p.{name} is not distinct from u.{name}" for name in key)),
        {"uniform": count(con, "costs_work_uniform")},
    )


def _of(scope: str) -> str:
    return "is_costing" if scope == "exclusive" else "true"


def _check_overlaps(con: Connection, words: Sequence[str]) -> None:
    """Refuse a history that no publication writes: its bits would add up to other segments."""
    wrong = " or ".join([f"{count_bits_sql(words)} is distinct from memberships", *(f"{word} < 0" for word in words)])
    rows = con.execute(
        "select t.customer_id from costs_work_states as s inner join costs_work_trajectories as t "
        f"on s.trajectory = t.trajectory where {wrong} order by 1 limit 1"
    ).fetchall()
    if rows:
        raise StrataError(
            f"customer {rows[0][0]} was in one segment twice at the same time",
            where="segments.membership_history",
            expected="stays in a segment that do not overlap",
            repair="restore the warehouse from before the history was edited, then strata run --from segments",
        )
