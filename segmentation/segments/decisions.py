"""Who is in which segment: all rules in one statement, then one winner per exclusive group.

Belongs here: the SQL that turns features, lists and consent into the candidate membership. Does not belong
here: what differs from what is published, and why (``changes.py``). Order of strength: consent and residency
keep a customer out whatever else holds; then exclusion lists; then inclusion lists; then the rule.
"""

from collections.abc import Iterator

from segmentation.run import Run
from segmentation.segments.catalog import Catalog, CatalogSegment
from segmentation.segments.rule_sql import to_sql
from segmentation.warehouse import Connection, literal

FEATURES = "features.customer_features"
CANDIDATE_MEMBERSHIP = "segments.candidate_membership"

_TABLES = """
create or replace table segments.candidate (
    customer_id varchar not null, segment_key varchar not null, via varchar not null
);
create or replace table segments.candidate_membership (
    customer_id varchar not null, segment_key varchar not null, via varchar not null
);
create or replace table segments.candidate_effective (
    customer_id varchar not null, group_key varchar not null, segment_key varchar not null
);
create or replace table segments.candidate_conflicts (
    customer_id varchar not null,
    group_key varchar not null,
    winner_key varchar not null,
    loser_key varchar not null,
    decided_by varchar not null
);
create or replace temp table segments_ranks (
    group_number integer,
    rank integer,
    group_key varchar,
    segment_key varchar,
    precedence integer,
    is_default boolean
);
"""

# A rank is unique over all groups, so the lowest rank of a customer within a group names the winner. The way
# in travels in the lowest bit: one number is all that the aggregation carries.
_WINNERS = """
create or replace temp table segments_winners as
select
    c.customer_id,
    r.group_number,
    min(r.rank * 2 + (c.via = 'include')::integer) as code,
    count(*) filter (not r.is_default) as claims
from segments.candidate as c
inner join segments_ranks as r on c.segment_key = r.segment_key
where r.segment_key in ({keys}) {parent}
group by c.customer_id, r.group_number
"""

_EFFECTIVE = """
insert into segments.candidate_effective
select w.customer_id, r.group_key, r.segment_key
from segments_winners as w inner join segments_ranks as r on w.code // 2 = r.rank
"""

_GROUPED_MEMBERS = """
insert into segments.candidate_membership
select w.customer_id, r.segment_key, case when w.code % 2 = 1 then 'include' else 'rule' end
from segments_winners as w inner join segments_ranks as r on w.code // 2 = r.rank
"""

_CONFLICTS = """
insert into segments.candidate_conflicts
select
    c.customer_id,
    l.group_key,
    r.segment_key as winner_key,
    l.segment_key as loser_key,
    case when r.precedence = l.precedence then 'tie_break' else 'precedence' end as decided_by
from segments_winners as w
inner join segments_ranks as r on w.code // 2 = r.rank
inner join segments_ranks as l on w.group_number = l.group_number and l.rank <> r.rank and not l.is_default
inner join segments.candidate as c on w.customer_id = c.customer_id and c.segment_key = l.segment_key
where w.claims > 1
"""


def is_live(segment: CatalogSegment, run: Run) -> bool:
    """Say whether a segment can have members at the run's ``as_of``: active and not expired."""
    definition = segment.definition
    expired = definition.expires_on is not None and definition.expires_on <= run.as_of.date()
    return definition.is_evaluated and not expired


def decide(con: Connection, run: Run, catalog: Catalog) -> None:
    """Write the candidate tables of membership; call it within a transaction, which makes it one snapshot.

    Segments that ask about other segments wait for them: each level of dependencies is one statement, a
    catalog without ``in_segment`` is one statement in all.
    """
    con.execute(_TABLES)
    _write_ranks(con, run, catalog)
    for level in catalog.levels:
        live = [catalog.segments[key] for key in level if is_live(catalog.segments[key], run)]
        if not live:
            continue
        selects = [select for segment in live for select in _selects(segment)]
        con.execute("insert into segments.candidate\n" + "\nunion all\n".join(selects))
        _admit(con, catalog, live)


def _write_ranks(con: Connection, run: Run, catalog: Catalog) -> None:
    rows: list[list[object]] = []
    for number, group in enumerate(catalog.groups.values()):
        ranked = sorted(
            (segment for segment in catalog.segments.values() if segment.definition.group == group.key),
            key=lambda segment: (segment.definition.precedence or 0, segment.key),
        )
        for segment in ranked:
            if is_live(segment, run):
                is_default = segment.key == group.definition.default
                rows.append([number, len(rows), group.key, segment.key, segment.definition.precedence, is_default])
    if rows:
        con.executemany("insert into segments_ranks values (?, ?, ?, ?, ?, ?)", rows)


def _selects(segment: CatalogSegment) -> Iterator[str]:
    """Yield the queries for a segment's members by rule and by inclusion."""
    key = literal(segment.key)
    barriers = hard_conditions(segment)
    sides = {listing.side for listing in segment.listings}
    if "exclude" in sides:
        barriers.append(f"customer_id not in ({_listed(key, 'exclude')})")
    rule = "false" if segment.condition is None else to_sql(segment.condition, CANDIDATE_MEMBERSHIP)
    if segment.condition is not None:
        where = " and ".join([rule, *barriers])
        yield f"select customer_id, {key} as segment_key, 'rule' as via from {FEATURES} where {where}"
    if "include" in sides:
        where = " and ".join([f"({rule}) is not true", f"customer_id in ({_listed(key, 'include')})", *barriers])
        yield f"select customer_id, {key} as segment_key, 'include' as via from {FEATURES} where {where}"


def hard_conditions(segment: CatalogSegment) -> list[str]:
    """Return SQL over features that every member must meet: consent and residency. A null does not meet it."""
    conditions = [f"list_contains(consented_purposes, {literal(name)})" for name in segment.required_purposes]
    if segment.definition.residency:
        regions = ", ".join(literal(region) for region in sorted(set(segment.definition.residency)))
        conditions.append(f"residency_region in ({regions})")
    return conditions


def _listed(key: str, side: str) -> str:
    return (
        "select o.customer_id from segments.candidate_overrides as o "
        f"where o.segment_key = {key} and o.side = '{side}' and o.status = 'applied'"
    )


def _admit(con: Connection, catalog: Catalog, live: list[CatalogSegment]) -> None:
    """Write the membership of one level: all claims outside groups, the winners within."""
    free = [literal(segment.key) for segment in live if segment.definition.group is None]
    if free:
        con.execute(
            "insert into segments.candidate_membership "
            f"select * from segments.candidate where segment_key in ({', '.join(free)})"
        )
    grouped = [segment for segment in live if segment.definition.group is not None]
    if not grouped:
        return
    keys = ", ".join(literal(segment.key) for segment in grouped)
    con.execute(_WINNERS.format(keys=keys, parent=_parents(catalog, grouped)))
    con.execute(_EFFECTIVE)
    con.execute(_GROUPED_MEMBERS)
    con.execute(_CONFLICTS)


def _parents(catalog: Catalog, grouped: list[CatalogSegment]) -> str:
    """Return the condition that customers of a group with a parent are in the parent."""
    conditions = ""
    for group in sorted({segment.definition.group or "" for segment in grouped}):
        parent = catalog.groups[group].definition.parent
        if parent is not None:
            conditions += (
                f" and (r.group_key <> {literal(group)} or c.customer_id in (select e.customer_id "
                f"from segments.candidate_effective as e where e.group_key = {literal(parent)}))"
            )
    return conditions
