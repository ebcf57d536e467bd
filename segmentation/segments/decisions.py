"""Who is in which segment: all rules in one statement, then one winner per exclusive group.

Belongs here: the SQL that turns features, lists and consent into the candidate membership. Does not belong
here: what differs from what is published, and why (``changes.py``). Order of strength: consent and residency
keep a customer out whatever else holds; then exclusion lists; then inclusion lists; then the rule.
"""

from collections.abc import Iterator

from segmentation.run import Run
from segmentation.segments.catalog import Catalog
from segmentation.segments.compiled import CatalogSegment
from segmentation.segments.rule_sql import to_sql
from segmentation.warehouse import Connection, literal

FEATURES = "features.customer_features"
CANDIDATE_MEMBERSHIP = "segments.candidate_membership"

# Customers and segments are numbered for the length of a candidate: claims are then pairs of small numbers,
# several times cheaper to write, group and compare than texts. The views give them their names back.
_TABLES = """
create or replace table segments.candidate_customers as
select rowid as customer_number, customer_id from features.customer_features;
create or replace table segments.candidate_claims (
    customer_number bigint not null, segment_number smallint not null, is_included boolean not null
);
create or replace table segments.candidate_members (
    customer_number bigint not null, segment_number smallint not null, is_included boolean not null
);
create or replace table segments.candidate_ranks (
    segment_number smallint not null,
    segment_key varchar not null,
    group_number smallint,
    group_key varchar,
    precedence integer,
    is_default boolean not null
);
create or replace table segments.candidate_losses (
    customer_number bigint not null, winner_number smallint not null, loser_number smallint not null
);
"""

_VIEWS = """
create or replace view segments.candidate as
select c.customer_id, r.segment_key, case when p.is_included then 'include' else 'rule' end as via
from segments.candidate_claims as p
inner join segments.candidate_customers as c on p.customer_number = c.customer_number
inner join segments.candidate_ranks as r on p.segment_number = r.segment_number;
create or replace view segments.candidate_membership as
select c.customer_id, r.segment_key, case when m.is_included then 'include' else 'rule' end as via
from segments.candidate_members as m
inner join segments.candidate_customers as c on m.customer_number = c.customer_number
inner join segments.candidate_ranks as r on m.segment_number = r.segment_number;
create or replace view segments.candidate_effective as
select c.customer_id, r.group_key, r.segment_key
from segments.candidate_members as m
inner join segments.candidate_customers as c on m.customer_number = c.customer_number
inner join segments.candidate_ranks as r on m.segment_number = r.segment_number
where r.group_key is not null;
create or replace view segments.candidate_conflicts as
select
    c.customer_id,
    w.group_key,
    w.segment_key as winner_key,
    l.segment_key as loser_key,
    case when w.precedence = l.precedence then 'tie_break' else 'precedence' end as decided_by
from segments.candidate_losses as x
inner join segments.candidate_customers as c on x.customer_number = c.customer_number
inner join segments.candidate_ranks as w on x.winner_number = w.segment_number
inner join segments.candidate_ranks as l on x.loser_number = l.segment_number;
"""

# Segments of a group are numbered by rank, so the lowest number of a customer within a group wins. The way in
# travels in the lowest bit: one number is all that the aggregation carries.
_WINNERS = """
create or replace temp table segments_winners as
select
    p.customer_number,
    r.group_number,
    min(p.segment_number::integer * 2 + p.is_included::integer) as code,
    count(*) filter (not r.is_default) as claims
from segments.candidate_claims as p
inner join segments.candidate_ranks as r on p.segment_number = r.segment_number
where r.segment_key in ({keys}) {parent}
group by p.customer_number, r.group_number
"""

_GROUPED_MEMBERS = """
insert into segments.candidate_members
select customer_number, code // 2, code % 2 = 1 from segments_winners
"""

_LOSSES = """
insert into segments.candidate_losses
select w.customer_number, w.code // 2 as winner_number, l.segment_number as loser_number
from segments_winners as w
inner join segments.candidate_claims as p on w.customer_number = p.customer_number
inner join segments.candidate_ranks as l on p.segment_number = l.segment_number and w.group_number = l.group_number
where w.claims > 1 and l.segment_number <> w.code // 2 and not l.is_default
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
    numbers = _write_ranks(con, run, catalog)
    con.execute(_VIEWS)
    for level in catalog.levels:
        live = [catalog.segments[key] for key in level if is_live(catalog.segments[key], run)]
        if not live:
            continue
        selects = [select for segment in live for select in _selects(segment, numbers[segment.key])]
        con.execute("insert into segments.candidate_claims\n" + "\nunion all\n".join(selects))
        _admit(con, catalog, live)


def _write_ranks(con: Connection, run: Run, catalog: Catalog) -> dict[str, int]:
    """Number the segments that can have members, group by group and by rank within; return the numbers."""
    groups = {key: number for number, key in enumerate(catalog.groups)}
    live = [segment for segment in catalog.segments.values() if is_live(segment, run)]
    live.sort(key=lambda found: (found.definition.group or "", found.definition.precedence or 0, found.key))
    rows: list[list[object]] = []
    for number, segment in enumerate(live):
        group = catalog.groups.get(segment.definition.group or "")
        rows.append(
            [
                number,
                segment.key,
                groups[group.key] if group else None,
                group.key if group else None,
                segment.definition.precedence,
                group is not None and group.definition.default == segment.key,
            ]
        )
    if rows:
        con.executemany("insert into segments.candidate_ranks values (?, ?, ?, ?, ?, ?)", rows)
    return {segment.key: number for number, segment in enumerate(live)}


def _selects(segment: CatalogSegment, number: int) -> Iterator[str]:
    """Yield the queries for a segment's claims by rule and by inclusion."""
    key = literal(segment.key)
    barriers = hard_conditions(segment)
    sides = {listing.side for listing in segment.listings}
    if "exclude" in sides:
        barriers.append(f"customer_id not in ({_listed(key, 'exclude')})")
    rule = "false" if segment.condition is None else to_sql(segment.condition, CANDIDATE_MEMBERSHIP)
    if segment.condition is not None:
        yield _select(number, [rule, *barriers], is_included=False)
    if "include" in sides:
        listed = f"customer_id in ({_listed(key, 'include')})"
        yield _select(number, [f"({rule}) is not true", listed, *barriers], is_included=True)


def _select(number: int, conditions: list[str], *, is_included: bool) -> str:
    columns = f"rowid as customer_number, {number}::smallint as segment_number, {is_included} as is_included"
    return f"select {columns} from {FEATURES} where {' and '.join(conditions)}"


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
    free = [segment.key for segment in live if segment.definition.group is None]
    if free:
        con.execute(
            "insert into segments.candidate_members select p.* from segments.candidate_claims as p "
            "inner join segments.candidate_ranks as r on p.segment_number = r.segment_number "
            f"where r.segment_key in ({', '.join(literal(key) for key in free)})"
        )
    grouped = [segment for segment in live if segment.definition.group is not None]
    if grouped:
        keys = ", ".join(literal(segment.key) for segment in grouped)
        con.execute(_WINNERS.format(keys=keys, parent=_parents(catalog, grouped)))
        con.execute(_GROUPED_MEMBERS)
        con.execute(_LOSSES)


def _parents(catalog: Catalog, grouped: list[CatalogSegment]) -> str:
    """Return the condition that customers of a group with a parent are in the parent."""
    conditions = ""
    for group in sorted({segment.definition.group or "" for segment in grouped}):
        parent = catalog.groups[group].definition.parent
        if parent is not None:
            conditions += (
                f" and (r.group_key <> {literal(group)} or p.customer_number in ("
                "select m.customer_number from segments.candidate_members as m "
                "inner join segments.candidate_ranks as q on m.segment_number = q.segment_number "
                f"where q.group_key = {literal(parent)}))"
            )
    return conditions
