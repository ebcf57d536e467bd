"""What backfills found: which there are, sizes by day, and who was in a segment at the end of a day.

Belongs here: questions to ``segments.backfill_days`` and ``segments.backfills``; they work on the readers' copy. Does
not belong here: computing days (``backfill_days.py``). Whoever was erased or has withdrawn consent since a day was
computed is in no answer.
"""

from dataclasses import dataclass
from datetime import date, datetime

from segmentation.errors import NotFoundError
from segmentation.segments.backfill_days import allowing
from segmentation.warehouse import Connection, literal, table_exists

_BACKFILLS = """
select
    segment_key, segment_version, min(day), max(day), count(*) filter (state = 'done'),
    count(*) filter (state = 'asked'), min(day) filter (state = 'asked'), arg_max(author, recorded_at),
    arg_max(reason, recorded_at), max(recorded_at)
from segments.backfill_days
where {which}
group by segment_key, segment_version
order by segment_key, segment_version
"""

_DAYS = """
with stays as (
    select
        b.day,
        b.customer_id,
        lag(b.day) over (partition by b.customer_id order by b.day) = b.day - 1 as was_there,
        lead(b.day) over (partition by b.customer_id order by b.day) = b.day + 1 as stays_there
    from segments.backfills as b
    where {this} {allowed}
),
counted as (
    select
        day, count(*) as members, count(*) filter (was_there is not true) as entered,
        count(*) filter (stays_there is not true) as leaving
    from stays
    group by day
)
select
    d.day, d.as_of, coalesce(c.members, 0), case when b.day is not null then coalesce(c.entered, 0) end,
    case when b.day is not null then coalesce(n.leaving, 0) end, d.publication_seq, d.recorded_at
from segments.backfill_days as d
left join counted as c on d.day = c.day
left join (from segments.backfill_days where {done}) as b on b.day = d.day - 1
left join counted as n on n.day = d.day - 1
where {shown}
order by d.day
"""


@dataclass(frozen=True, slots=True)
class Backfill:
    """All days of one version of a segment that were asked for.

    Attributes:
        days_done: Days that are computed.
        days_missing: Days that were asked for and are not.
        next_day: The first of those.
        author: Who asked last.
        reason: Why.
        recorded_at: When a day was last asked for or computed.
    """

    segment_key: str
    segment_version: int
    first_day: date
    last_day: date
    days_done: int
    days_missing: int
    next_day: date | None
    author: str
    reason: str
    recorded_at: datetime


@dataclass(frozen=True, slots=True)
class Day:
    """One computed day.

    Attributes:
        day: The day.
        as_of: Its last second, which its members are of.
        members: How many were in the segment.
        entered: How many of them were not at the end of the day before; ``None`` where that is not computed.
        left: How many were then, and no more; ``None`` where that is not computed.
        publication_seq: Newest publication when its data was copied.
        recorded_at: When it was computed.
    """

    day: date
    as_of: datetime
    members: int
    entered: int | None
    left: int | None
    publication_seq: int
    recorded_at: datetime


def list_backfills(con: Connection, segment_key: str | None = None) -> list[Backfill]:
    """Return every version of every segment, or of one, of which any day was asked for."""
    if not table_exists(con, "segments", "backfill_days"):
        return []
    which = "true" if segment_key is None else f"segment_key = {literal(segment_key)}"
    return [Backfill(*row) for row in con.execute(_BACKFILLS.format(which=which)).fetchall()]


def find_backfill(con: Connection, segment_key: str, version: int | None = None) -> Backfill:
    """Return the backfill of a version, or the one that was last worked on.

    Raises:
        NotFoundError: There is none.
    """
    found = list_backfills(con, segment_key)
    chosen = [one for one in found if version in {None, one.segment_version}]
    if not chosen:
        wanted = "" if version is None else f" version {version}"
        raise NotFoundError(
            f"nobody recomputed past days of {segment_key}{wanted}",
            where="segments.backfill_days",
            expected=", ".join(f"version {one.segment_version}" for one in found) or "a backfill",
            repair=f"strata backfill {segment_key} --from DATE --to DATE; strata backfill --list shows all",
        )
    return max(chosen, key=lambda one: one.recorded_at)


def list_sizes(con: Connection, backfill: Backfill) -> list[Day]:
    """Return the computed days of a backfill, in order, with who came and went."""
    this = _this(backfill, "b")
    done = f"{_this(backfill)} and state = 'done'"
    shown = f"{_this(backfill, 'd')} and d.state = 'done'"
    sql = _DAYS.format(this=this, done=done, shown=shown, allowed=_allowed(con, backfill))
    return [Day(*row) for row in con.execute(sql).fetchall()]


def list_members_on(con: Connection, backfill: Backfill, day: date) -> list[str]:
    """Return who was in it at the end of a day, by their ids of when it was computed.

    Raises:
        NotFoundError: The day is not computed.
    """
    days = {found for (found,) in con.execute(
        f"select day from segments.backfill_days where {_this(backfill)} and state = 'done'"
    ).fetchall()}  # fmt: skip
    if day not in days:
        raise NotFoundError(
            f"{day} is not computed of {backfill.segment_key} version {backfill.segment_version}",
            where="segments.backfill_days",
            expected=f"one of {len(days)} days from {min(days)} to {max(days)}" if days else "a computed day",
            repair=f"strata backfill {backfill.segment_key} --from {day} --to {day}",
        )
    rows = con.execute(
        f"select b.customer_id from segments.backfills as b where {_this(backfill, 'b')} "
        f"and b.day = date {literal(str(day))} {_allowed(con, backfill)} order by 1"
    ).fetchall()
    return [customer_id for (customer_id,) in rows]


def _this(backfill: Backfill, alias: str = "") -> str:
    prefix = f"{alias}." if alias else ""
    return (
        f"{prefix}segment_key = {literal(backfill.segment_key)} "
        f"and {prefix}segment_version = {backfill.segment_version}"
    )


def _allowed(con: Connection, backfill: Backfill) -> str:
    """Return the condition that the customer may still be shown."""
    purposes = con.execute(
        f"select distinct unnest(purposes) from segments.backfill_days where {_this(backfill)}"
    ).fetchall()
    erased = "and b.customer_id not in (select customer_id from identity.customers where status = 'erased')"
    if not purposes:
        return erased
    return f"{erased} and b.customer_id in ({allowing(name for (name,) in purposes)})"
