"""Segments that have outlived their purpose: past review, expired, empty, unused, or the same for long.

Belongs here: the reasons, judged on what is published. Does not belong here: what names a segment (``usages.py``) or
telling people (the command ``strata prune`` and its schedule). Nothing is retired by itself: whoever owns a segment
decides, and the reasons say on what.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from segmentation.errors import NotFoundError
from segmentation.segments.publications import latest_publication
from segmentation.segments.usages import Usage
from segmentation.warehouse import Connection, table_exists

#: Days without a change of members or definition after which a segment is looked at.
UNCHANGED_DAYS = 180

_FACTS = """
select
    c.segment_key,
    c.name,
    c.owner,
    c.lifecycle,
    cast(c.definition ->> '$.review_by' as date),
    cast(c.definition ->> '$.expires_on' as date),
    coalesce(m.members, 0),
    s.last_members_on,
    coalesce(greatest(s.last_moved_on, v.last_version_on), s.last_moved_on, v.last_version_on)
from segments.catalog as c
left join (
    select segment_key, count(*) as members from segments.membership group by segment_key
) as m on c.segment_key = m.segment_key
left join (
    select
        segment_key,
        max(size_date) filter (members > 0) as last_members_on,
        max(size_date) filter (entered > 0 or exited > 0) as last_moved_on
    from segments.sizes_daily group by segment_key
) as s on c.segment_key = s.segment_key
left join (
    select segment_key, max(cast(first_as_of as date)) as last_version_on from segments.versions group by segment_key
) as v on c.segment_key = v.segment_key
where c.lifecycle in ('active', 'deprecated')
order by c.segment_key
"""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a segment is looked at: ``past_review``, ``expired``, ``empty``, ``unused`` or ``unchanged``."""

    code: str
    text: str


@dataclass(frozen=True, slots=True)
class StaleSegment:
    """A live segment that somebody should look at.

    Attributes:
        reasons: All that apply, the strongest first.
        users: Places that name it; they come first if it is to go.
        repair: What to do.
    """

    segment_key: str
    name: str
    owner: str
    lifecycle: str
    members: int
    reasons: tuple[Reason, ...]
    users: tuple[Usage, ...]
    repair: str


@dataclass(frozen=True, slots=True)
class StaleReview:
    """What a review found.

    Attributes:
        as_of: Moment that the published membership describes; what is due is due by then.
        live: How many segments can have members.
        quota: How many may; ``None`` where no policy says.
        stale: Those to look at, the most reasons first.
    """

    as_of: datetime
    live: int
    quota: int | None
    stale: tuple[StaleSegment, ...]

    @property
    def is_over_quota(self) -> bool:
        """Whether there are more live segments than may be."""
        return self.quota is not None and self.live > self.quota


def review_segments(
    con: Connection,
    usages: Collection[Usage],
    takers: Mapping[str, Sequence[str]],
    *,
    quota: int | None = None,
    unchanged_days: int = UNCHANGED_DAYS,
) -> StaleReview:
    """Judge every live segment as published.

    Args:
        con: The warehouse, or the readers' copy.
        usages: Places of the catalog that name a segment.
        takers: Destinations that a segment goes to, by key.
        quota: How many live segments there may be.
        unchanged_days: Days without a change that are long.

    Raises:
        NotFoundError: Nothing is published yet.
    """
    last = latest_publication(con) if table_exists(con, "segments", "publications") else None
    if last is None:
        raise NotFoundError(
            "no segments are published yet", where="segments.publications", expected="a run", repair="strata run"
        )
    found = []
    rows = con.execute(_FACTS).fetchall()
    for key, name, owner, lifecycle, review_by, expires_on, members, last_members_on, changed_on in rows:
        users = tuple(usage for usage in usages if usage.segment_key == key)
        today = last.as_of.date()
        reasons = [
            *_due(review_by, expires_on, today),
            *_empty(members, last_members_on, is_expired=expires_on is not None and expires_on <= today),
            *([] if users or takers.get(key) else [Reason("unused", "goes to no destination, and nothing names it")]),
            *_unchanged(changed_on, today, unchanged_days),
        ]
        if reasons:
            repair = _repair(reasons, users)
            found.append(StaleSegment(key, name, owner, lifecycle, members, tuple(reasons), users, repair))
    found.sort(key=lambda one: (-len(one.reasons), one.segment_key))
    return StaleReview(last.as_of, len(rows), quota, tuple(found))


def _due(review_by: date | None, expires_on: date | None, today: date) -> list[Reason]:
    found = []
    if expires_on is not None and expires_on <= today:
        found.append(Reason("expired", f"expired on {expires_on}"))
    if review_by is not None and review_by <= today:
        found.append(Reason("past_review", f"its review was due on {review_by}"))
    return found


def _empty(members: int, last_members_on: date | None, *, is_expired: bool) -> list[Reason]:
    if members or is_expired:
        return []
    since = f"has no members since {last_members_on}" if last_members_on else "never had a member"
    return [Reason("empty", since)]


def _unchanged(changed_on: date | None, today: date, days: int) -> list[Reason]:
    if changed_on is None or (today - changed_on).days < days:
        return []
    return [Reason("unchanged", f"neither members nor definition changed since {changed_on}")]


def _repair(reasons: Sequence[Reason], users: Sequence[Usage]) -> str:
    codes = {reason.code for reason in reasons}
    if codes <= {"past_review", "unchanged"}:
        return "look at it again and move review_by, or retire it" if "past_review" in codes else "ask who needs it"
    if users:
        return f"take it out of {', '.join(usage.where for usage in users)}, then lifecycle: retired"
    return "lifecycle: retired"
