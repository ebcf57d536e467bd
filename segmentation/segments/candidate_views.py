"""The candidate by name: who is claimed by which segment, who is a member, who won and who lost in which group.

Belongs here: views over the masks that were decided, and making room for them. Does not belong here: deciding
(``decisions.py``).
"""

from collections.abc import Mapping

from segmentation.segments.catalog import Catalog
from segmentation.segments.compiled import CatalogSegment
from segmentation.segments.masks import any_bit_sql, bits_of, has_bit_sql, word_count
from segmentation.segments.rivalry import GROUPED_PLACES
from segmentation.warehouse import Connection

#: Per customer what the rules and lists ask for, which of it a list alone asks for, and what comes of it.
PARTS = ("claimed", "included", "member")

_VIEWS = """
create or replace view segments.candidate as
select m.customer_id, p.segment_key, {via} as via
from segments.candidate_masks as m inner join segments.candidate_places as p on {claimed};
create or replace view segments.candidate_membership as
select m.customer_id, p.segment_key, {via} as via
from segments.candidate_masks as m inner join segments.candidate_places as p on {member};
create or replace view segments.candidate_effective as
select m.customer_id, p.group_key, p.segment_key
from segments.candidate_masks as m inner join {places} as p on {member}
where p.group_key is not null;
create or replace view segments.candidate_conflicts as
select
    m.customer_id,
    w.group_key,
    w.segment_key as winner_key,
    l.segment_key as loser_key,
    case
        when w.pin_id is not null and l.pin_id is null then 'pin'
        when w.precedence = l.precedence then 'tie_break'
        else 'precedence'
    end as decided_by
from (select * from segments.candidate_masks as m where {has_losers}) as m
inner join {places} as l on {lost}
inner join {places} as w on l.group_key = w.group_key and {won}{beats}
where not l.is_default;
"""

# Beside a segment that lost in another group there can be a member that has not beaten it.
_BEATS = " and w.standing < l.standing"


def drop_views(con: Connection) -> None:
    """Make room for the candidate: once published, views of these names show what was judged."""
    found = con.execute(
        "select table_name, table_type from information_schema.tables where table_schema = 'segments' "
        "and table_name in ('candidate_masks', 'candidate_places') and table_catalog = current_database()"
    ).fetchall()
    for name, kind in found:
        con.execute(f"drop {'view' if kind == 'VIEW' else 'table'} segments.{name}")


def create_views(
    con: Connection, catalog: Catalog, live: Mapping[str, CatalogSegment], places: Mapping[str, int]
) -> None:
    """Give the masks the names of their segments back.

    Args:
        con: The warehouse, with ``segments.candidate_masks`` and ``segments.candidate_places``.
        catalog: The catalog.
        live: Segments that can have members.
        places: Place by segment.
    """
    words = range(word_count(len(places)))
    defaults = set(catalog.defaults)
    grouped = [key for key, segment in live.items() if segment.definition.ranks]
    several = any(len(segment.definition.ranks) > 1 for segment in live.values())
    rivals = bits_of([places[key] for key in grouped if key not in defaults], len(words))
    claimed, included, member = ([f"m.{part}_{word}" for word in words] for part in PARTS)
    lost = [f"({claimed[word]} & ~{member[word]})" for word in words]
    con.execute(
        _VIEWS.format(
            claimed=has_bit_sql(claimed, "p"),
            via="case when p.pin_id is not null then 'pin' "
            f"when {has_bit_sql(included, 'p')} then 'include' when p.is_account then 'account' else 'rule' end",
            member=has_bit_sql(member, "p"),
            has_losers=any_bit_sql([f"({lost[word]} & {rivals[word]})" for word in words]),
            lost=has_bit_sql(lost, "l"),
            won=has_bit_sql(member, "w"),
            places=GROUPED_PLACES if several else "segments.candidate_places",
            beats=_BEATS if several else "",
        )
    )
