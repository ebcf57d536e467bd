"""Who was in which segment at a moment, as it was known at another; and how much comes and goes.

Belongs here: questions to ``segments.membership_history``, on both of its axes. Does not belong here: publications as
moments to go back to (``moments.py``), and why somebody is a member now (``explain.py``). All of it reads published
tables alone, so it works on the readers' copy.

Churn (M10) of a stretch of time: exits as a share of the members at its beginning. Flapping: customers who come back
within some days after leaving, as a share of who left.
"""

import json
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from segmentation.errors import NotFoundError
from segmentation.segments.evaluation import plain
from segmentation.warehouse import Connection, literal, table_exists

#: Members at $at, as known at $known_at, or today where that is null; the query of docs/segments.md.
AT = """
valid_from <= $at and $at < coalesce(valid_to, timestamp 'infinity')
and recorded_at <= coalesce($known_at, timestamp '9999-12-31')
and coalesce($known_at, timestamp '9999-12-31') < coalesce(superseded_at, timestamp 'infinity')
"""

_CHURN = """
with stays as (
    select segment_key, customer_id, valid_from, valid_to
    from segments.membership_history
    where superseded_at is null and (valid_to is null or valid_from < valid_to)
),
returned as (
    select
        *,
        lead(valid_from) over (partition by segment_key, customer_id order by valid_from) as back_at
    from stays
),
counted as (
    select
        segment_key,
        count(*) filter (valid_from <= $since and (valid_to is null or $since < valid_to)) as members_at_start,
        count(*) filter (valid_from <= $until and (valid_to is null or $until < valid_to)) as members_at_end,
        count(*) filter ($since < valid_from and valid_from <= $until) as entries,
        count(*) filter ($since < valid_to and valid_to <= $until) as exits,
        count(distinct customer_id) filter ($since < valid_to and valid_to <= $until) as leavers,
        count(distinct customer_id) filter (
            $since < valid_to and valid_to <= $until and back_at <= valid_to + to_days($flap_days)
        ) as flappers
    from returned
    group by segment_key
)
select
    segment_key, members_at_start, members_at_end, entries, exits,
    exits / nullif(members_at_start, 0)::double as churn_ratio,
    flappers / nullif(leavers, 0)::double as flap_ratio
from counted
order by segment_key
"""


@dataclass(frozen=True, slots=True)
class Stay:
    """One stay of a customer in a segment, as it was known at some moment.

    Attributes:
        segment_version: The version that let the customer in.
        valid_from: First moment of it.
        valid_to: First moment after it; ``None`` while it lasts.
        cause: Why it began.
        exit_cause: Why it ended.
        rule: The rule of that version; ``None`` for a list, or where the version is not on record.
    """

    customer_id: str
    segment_key: str
    segment_version: int
    valid_from: datetime
    valid_to: datetime | None
    cause: str
    exit_cause: str | None
    rule: str | None

    def as_dict(self) -> dict[str, object]:
        """The stay as JSON-ready facts."""
        return {name: plain(value) for name, value in asdict(self).items()}


@dataclass(frozen=True, slots=True)
class Churn:
    """How much comes and goes in one segment over a stretch of time.

    Attributes:
        entries: Entries after its beginning, up to its end.
        exits: Exits in the same time.
        churn_ratio: Exits by members at the beginning; ``None`` where there were none.
        flap_ratio: Share of who left that came back within some days; ``None`` where nobody left.
    """

    segment_key: str
    members_at_start: int
    members_at_end: int
    entries: int
    exits: int
    churn_ratio: float | None
    flap_ratio: float | None


def count_members_at(
    con: Connection, segment_key: str, at: datetime, known_at: datetime | None = None
) -> dict[int, int]:
    """Return how many were in a segment at a moment, by the version that let them in.

    Args:
        con: The warehouse or the readers' copy.
        segment_key: The segment; one that is gone has its history still.
        at: The moment, UTC.
        known_at: As it was known then; today where left out.
    """
    return dict(
        con.execute(
            "select segment_version, count(*) from segments.membership_history "
            f"where segment_key = $key and {AT} group by 1 order by 1",
            {"key": segment_key, "at": at, "known_at": known_at},
        ).fetchall()
    )


def list_members_at(con: Connection, segment_key: str, at: datetime, known_at: datetime | None = None) -> list[str]:
    """Return who was in a segment at a moment, by their ids then; erased customers are in no answer."""
    rows = con.execute(
        f"select customer_id from segments.membership_history where segment_key = $key and {AT} order by 1",
        {"key": segment_key, "at": at, "known_at": known_at},
    ).fetchall()
    return [row[0] for row in rows]


def find_stays(
    con: Connection, customer_id: str, at: datetime, known_at: datetime | None = None, segment_key: str | None = None
) -> list[Stay]:
    """Return the stays that a customer, or one merged into them, was in at a moment.

    Args:
        con: The warehouse or the readers' copy.
        customer_id: A current or former customer id.
        at: The moment, UTC.
        known_at: As it was known then; today where left out.
        segment_key: This segment alone.

    Raises:
        NotFoundError: History begins later than ``at``.
    """
    begun = con.execute("select min(as_of) from segments.publications").fetchall()[0][0]
    if begun is None or at < begun:
        raise NotFoundError(
            f"history begins with {begun or 'the first publication'}: what was at {at} is not known",
            where="segments.publications",
            expected=f"a moment from {begun or 'the first publication'} on",
        )
    ids = [customer_id]
    if table_exists(con, "identity", "customer_aliases"):
        ids += [
            row[0]
            for row in con.execute(
                "select old_customer_id from identity.customer_aliases where customer_id = ? order by 1", [customer_id]
            ).fetchall()
        ]
    wanted = "" if segment_key is None else f"and h.segment_key = {literal(segment_key)}"
    rows = con.execute(
        "select h.customer_id, h.segment_key, h.segment_version, h.valid_from, h.valid_to, h.cause, h.exit_cause, "
        "v.definition from (from segments.membership_history "
        f"where list_contains($ids::varchar[], customer_id) and {AT}) as h "
        "left join segments.versions as v "
        "on h.segment_key = v.segment_key and h.segment_version = v.segment_version "
        f"where true {wanted} order by h.segment_key, h.customer_id",
        {"ids": ids, "at": at, "known_at": known_at},
    ).fetchall()
    return [
        Stay(who, key, version, begin, end, cause, exit_cause, json.loads(definition)["rule"] if definition else None)
        for who, key, version, begin, end, cause, exit_cause, definition in rows
    ]


def measure_churn(con: Connection, until: datetime, *, days: int = 30, flap_days: int = 7) -> list[Churn]:
    """Return churn and flapping of every segment that ever had members, over the ``days`` up to ``until``."""
    rows = con.execute(
        _CHURN, {"since": until - timedelta(days=days), "until": until, "flap_days": flap_days}
    ).fetchall()
    return [Churn(*row) for row in rows]
