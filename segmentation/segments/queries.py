"""Questions that people ask about the published segments.

Belongs here: short reads for the command line and reports. Does not belong here: why one customer is in or out
(``explain.py``).
"""

from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Any

from segmentation.segments.canary_rows import live_canaries
from segmentation.segments.evaluation import plain
from segmentation.segments.rivalry import ranks_sql
from segmentation.warehouse import Connection, table_exists


@dataclass(frozen=True, slots=True)
class SegmentSummary:
    """One segment as published.

    Attributes:
        group_key: Its exclusive group, where it is in one.
        precedence: Its rank there.
        groups: Its rank in each of its groups.
        entered: Customers that entered by the last publication.
        exited: Customers that left by the last publication.
        share: Members as a share of all customers with features.
        pin_id: What holds its membership, whatever its rule says.
        as_of: Moment that the membership describes.
        canary: What of the segment is tried beside the version before, in words; ``None`` for most.
    """

    segment_key: str
    name: str
    lifecycle: str
    is_evaluated: bool
    group_key: str | None
    precedence: int | None
    owner: str
    segment_version: int
    members: int
    share: float
    entered: int
    exited: int
    review_by: date | None
    objective: str | None
    action: str | None
    catalog_file: str
    pin_id: str | None
    as_of: datetime
    groups: dict[str, int]
    canary: str | None

    def as_dict(self) -> dict[str, Any]:
        """The summary as JSON-ready facts."""
        return {name: plain(value) for name, value in asdict(self).items()}


_SEGMENTS = f"""
with last as (select * from segments.publications order by publication_seq desc limit 1),
sizes as (select segment_key, count(*) as members from segments.membership group by segment_key),
moved as (
    select
        c.segment_key,
        count(*) filter (c.change = 'enter') as entered,
        count(*) filter (c.change = 'exit') as exited
    from segments.membership_changes as c inner join last on c.run_id = last.run_id and c.effective_at = last.as_of
    group by c.segment_key
),
ranked as (
    select segment_key, map(list(group_key order by group_key), list(precedence order by group_key)) as groups
    from {ranks_sql("segments.catalog")} group by segment_key
)
select
    c.segment_key,
    c.name,
    c.lifecycle,
    c.is_evaluated,
    c.group_key,
    c.precedence,
    c.owner,
    c.segment_version,
    coalesce(s.members, 0) as members,
    coalesce(s.members / cast(nullif((select count(*) from features.customer_features), 0) as double), 0) as share,
    coalesce(m.entered, 0) as entered,
    coalesce(m.exited, 0) as exited,
    cast(c.definition ->> '$.review_by' as date) as review_by,
    c.definition ->> '$.objective' as objective,
    c.definition ->> '$.action' as action,
    c.catalog_file,
    c.pin_id,
    last.as_of,
    coalesce(g.groups, map([]::varchar[], []::integer[])) as groups
from segments.catalog as c
cross join last
left join sizes as s on c.segment_key = s.segment_key
left join moved as m on c.segment_key = m.segment_key
left join ranked as g on c.segment_key = g.segment_key
order by coalesce(c.group_key, map_keys(g.groups)[1]) nulls last, coalesce(c.precedence, map_values(g.groups)[1]),
    c.segment_key
"""


def list_segments(con: Connection) -> list[SegmentSummary]:
    """Return every segment of the published catalog, groups first, each group in the order of its ranks.

    Before the first publication there are none.
    """
    if not table_exists(con, "segments", "publications"):
        return []
    canaries = {key: canary.sentence for key, canary in live_canaries(con).items()}
    return [SegmentSummary(*(*row, canaries.get(row[0]))) for row in con.execute(_SEGMENTS).fetchall()]
