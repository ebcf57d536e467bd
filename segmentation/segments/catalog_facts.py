"""What the catalog's page tells: every segment as published, with its size, its overlap, its versions and its cost.

Belongs here: reading. Does not belong here: how it looks (``catalog_page.py``). Counts and definitions only: nothing
here is about one customer.
"""

import json
from collections import defaultdict
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from segmentation.errors import NotFoundError
from segmentation.segments.faults import RuleError
from segmentation.segments.parser import parse_rule
from segmentation.segments.publications import latest_publication
from segmentation.segments.rivalry import ranks_sql
from segmentation.segments.rule_words import clauses_in_words
from segmentation.warehouse import Connection, count, table_exists

#: Days of sizes that are shown, and how many other segments.
SIZE_DAYS = 180
_OTHERS = 5

_COSTS = f"""
select a.segment_key, cast(sum(a.allocated_effective_micros) as bigint)
from costs.allocations as a
left join (
    select c.segment_key, bool_or(g.is_costing) as is_costing
    from {ranks_sql("segments.catalog")} as c inner join segments.groups as g using (group_key)
    group by c.segment_key
) as c using (segment_key)
where a.allocation_view = if(coalesce(c.is_costing, false), 'exclusive', 'full')
    and date_trunc('month', a.incurred_date) = (select date_trunc('month', max(incurred_date)) from costs.allocations)
group by 1
"""

_OVERLAPS = """
select one, other, shared, shared / (members + other_members - shared)
from (
    select segment_key as one, other_segment_key as other, members, other_members, shared from segments.overlaps
    union all
    select other_segment_key, segment_key, other_members, members, shared from segments.overlaps
) where shared > 0
order by 1, 4 desc, 2
"""


@dataclass(frozen=True, slots=True)
class Overlap:
    """Another segment, the customers in both, and their share of those in either."""

    segment_key: str
    shared: int
    jaccard: float


@dataclass(frozen=True, slots=True)
class SegmentFacts:
    """One segment; texts as their authors wrote them.

    Attributes:
        is_live: Whether it can have members.
        groups: Its exclusive groups, each with its rank.
        sizes: Day to members, the oldest first.
        words: Its rule clause by clause, in words.
        words_joined_by: ``and`` or ``or``; ``None`` for one clause.
        included: Entries of lists that let customers in.
        excluded: Entries of lists that keep customers out.
        versions: Number and first moment of each version that ran, the newest first.
        promise: Its service level in words.
        cost_ceiling: What it may cost, in words.
        cost_micros: Its cost in the newest month of the bill.
    """

    segment_key: str
    name: str
    description: str
    lifecycle: str
    is_live: bool
    severity: str
    objective: str | None
    owner: str
    contact: str
    action: str | None
    measure: str | None
    groups: tuple[tuple[str, int], ...]
    members: int
    share: float
    sizes: tuple[tuple[date, int], ...]
    rule: str | None
    words: tuple[str, ...]
    words_joined_by: str | None
    included: int
    excluded: int
    overlaps: tuple[Overlap, ...]
    destinations: tuple[str, ...]
    purposes: tuple[str, ...]
    residency: tuple[str, ...]
    review_by: date | None
    expires_on: date | None
    versions: tuple[tuple[int, datetime], ...]
    promise: str
    cost_ceiling: str
    cost_micros: int | None
    catalog_file: str


@dataclass(frozen=True, slots=True)
class CatalogFacts:
    """The published catalog.

    Attributes:
        population: Customers with features.
        currency: Of the bill; empty without one.
        cost_month: Its newest month.
        segments: Groups first, each in the order of its ranks.
    """

    as_of: datetime
    population: int
    currency: str
    cost_month: date | None
    segments: tuple[SegmentFacts, ...]


def read_catalog_facts(con: Connection) -> CatalogFacts:
    """Read what is published, from the warehouse or the readers' copy.

    Raises:
        NotFoundError: Nothing is published yet.
    """
    last = latest_publication(con) if table_exists(con, "segments", "publications") else None
    if last is None:
        raise NotFoundError(
            "no segments are published yet", where="segments.publications", expected="a run", repair="strata run"
        )
    population = count(con, "features.customer_features")
    types, account_types = (_types(con, table) for table in ("customer_features", "account_features"))
    currency, month, costs = _costs(con)
    members = dict(con.execute("select segment_key, count(*) from segments.membership group by 1").fetchall())
    sizes = _by_key(
        con,
        "select segment_key, size_date, members from segments.sizes_daily "
        f"where size_date > (select max(size_date) from segments.sizes_daily) - {SIZE_DAYS:d} order by 1, 2",
    )
    versions = _by_key(
        con, "select segment_key, segment_version, first_as_of from segments.versions order by 1, 2 desc"
    )
    overlaps = _by_key(con, _OVERLAPS) if table_exists(con, "segments", "overlaps") else {}
    lists = _by_key(
        con,
        "select segment_key, count(*) filter (side = 'include'), count(*) filter (side = 'exclude') "
        "from segments.overrides where status = 'applied' group by 1",
    )
    ranks = _by_key(con, f"select * from {ranks_sql('segments.catalog')} order by segment_key, group_key")
    found = []
    for key, name, lifecycle, is_live, owner, file, purposes, destinations, text in con.execute(
        "select segment_key, name, lifecycle, is_evaluated, owner, catalog_file, purposes, destinations, definition "
        "from segments.catalog order by segment_key"
    ).fetchall():
        said: dict[str, Any] = json.loads(text)
        typed = account_types if said.get("entity") == "account" else types
        joined, words = _in_words(said.get("rule"), typed)
        found.append(
            SegmentFacts(
                segment_key=key,
                name=name,
                description=said["description"],
                lifecycle=lifecycle,
                is_live=is_live,
                severity=said["severity"],
                objective=said["objective"],
                owner=owner,
                contact=(said["owner"] or {}).get("contact", ""),
                action=said["action"],
                measure=said["measure"],
                groups=tuple(ranks.get(key, ())),
                members=members.get(key, 0),
                share=members.get(key, 0) / max(population, 1),
                sizes=tuple(sizes.get(key, ())),
                rule=said["rule"],
                words=words,
                words_joined_by=joined,
                included=lists[key][0][0] if key in lists else 0,
                excluded=lists[key][0][1] if key in lists else 0,
                overlaps=tuple(Overlap(*other) for other in overlaps.get(key, ())[:_OTHERS]),
                destinations=tuple(destinations or ()),
                purposes=tuple(purposes or ()),
                residency=tuple(said["residency"]),
                review_by=_day(said["review_by"]),
                expires_on=_day(said["expires_on"]),
                versions=tuple(versions.get(key, ())),
                promise=_promise(said.get("slo")),
                cost_ceiling=_ceiling(said.get("cost_ceiling"), currency),
                cost_micros=costs.get(key),
                catalog_file=file,
            )
        )
    found.sort(key=lambda one: (not one.groups, *one.groups[:1], one.segment_key))
    return CatalogFacts(last.as_of, population, currency, month, tuple(found))


def _in_words(rule: str | None, types: dict[str, str]) -> tuple[str | None, tuple[str, ...]]:
    """Return what joins a rule's clauses, and each in words; the rule as it is where its feature is gone."""
    if not rule:
        return None, ()
    try:
        joined, words = clauses_in_words(parse_rule(rule, types))
    except RuleError:
        return None, (rule,)
    return joined, words


def _types(con: Connection, table: str) -> dict[str, str]:
    found = con.execute(
        "select column_name, data_type from information_schema.columns where table_schema = 'features' "
        "and table_name = ? and table_catalog = current_database()",
        [table],
    )
    return dict(found.fetchall())


def _costs(con: Connection) -> tuple[str, date | None, dict[str, int]]:
    """Return the bill's currency, its newest month and what each segment costs in it."""
    if not (table_exists(con, "costs", "allocations") and table_exists(con, "costs", "charges")):
        return "", None, {}
    found = con.execute("select max(billing_currency), max(incurred_date) from costs.charges").fetchall()
    currency, day = found[0]
    return currency or "", day, dict(con.execute(_COSTS).fetchall())


def _by_key(con: Connection, sql: str) -> dict[str, list[tuple[Any, ...]]]:
    found: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
    for key, *values in con.execute(sql).fetchall():
        found[key].append(tuple(values))
    return found


def _day(text: str | None) -> date | None:
    return date.fromisoformat(text) if text else None


def _promise(slo: dict[str, Any] | None) -> str:
    if not slo:
        return ""
    parts = []
    if slo["availability"] is not None:
        parts.append(f"{slo['availability']:.10g} of requests answered")
    if slo["latency_p95_ms"] is not None:
        parts.append(f"95 % of requests within {slo['latency_p95_ms']} ms")
    return f"{', '.join(parts)}, over {slo['window_days']} days (recorded, not measured)"


def _ceiling(ceiling: dict[str, Any] | None, currency: str) -> str:
    parts = [
        f"{ceiling[name]} {currency} a month{of}".replace("  ", " ")
        for name, of in (("per_month", ""), ("per_member", " and member"))
        if ceiling and ceiling[name] is not None
    ]
    return ", ".join(parts)
