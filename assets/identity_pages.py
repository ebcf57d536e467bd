"""What the asset pages of stage `identity` show of who is who, at a glance: sizes, refusals, what happened, sources.

Belongs here: small tables and pictures over published identity. Does not belong here: any figure that the gate judges
(`segmentation/identity/figures.py`), or anything that names a person: customers appear by id and size alone,
pairs of records by node ids.
"""

from collections.abc import Callable, Mapping

import dagster as dg

from assets.metadata import bar_chart, line_chart, markdown_table, waterfall_chart
from segmentation.identity.matching.review import read_matches
from segmentation.warehouse import Connection

Metadata = dict[str, dg.MetadataValue]

#: Rows of a table on a page, and days of a picture.
_ROWS, _DAYS = 20, 60


def build_pages(con: Connection) -> Mapping[str, Metadata]:
    """Return what each table's page shows beside its columns and row count, by table."""
    return {table: build(con) for table, build in _PAGES.items()}


def _customers(con: Connection) -> Metadata:
    sizes = con.execute(
        "select case when n_nodes < 8 then n_nodes::varchar else '8 or more' end as size, count(*) "
        "from identity.customers where status = 'active' group by 1 order by 1"
    ).fetchall()
    biggest = con.execute(
        "select customer_id, n_nodes, match_basis from identity.customers where status = 'active' "
        f"order by n_nodes desc, customer_id limit {_ROWS}"
    ).fetchall()
    return {
        "cluster_sizes": bar_chart("Customers by number of identifiers", dict(sizes)),
        "biggest": markdown_table(["customer", "identifiers", "match"], biggest),
    }


def _edges(con: Connection) -> Metadata:
    rejected = con.execute(
        "select reject_rule, any_value(reject_reason), count(*) from identity.edges where not admitted "
        f"group by 1 order by 3 desc, 1 limit {_ROWS}"
    ).fetchall()
    return {"rejected": markdown_table(["rule", "reason", "edges"], rejected)}


def _identifiers(con: Connection) -> Metadata:
    by_type = con.execute(
        "select id_type, count(*) filter (status = 'active'), count(*) filter (status = 'shared'), "
        "count(*) filter (status = 'blocked'), count(*) filter (status = 'erased') "
        "from identity.identifiers group by 1 order by 1"
    ).fetchall()
    refused = con.execute(
        "select status_rule, any_value(status_reason), count(*) from identity.identifiers "
        f"where status_rule is not null group by 1 order by 3 desc, 1 limit {_ROWS}"
    ).fetchall()
    return {
        "by_type": markdown_table(["type", "active", "shared", "blocked", "erased"], by_type),
        "refused": markdown_table(["rule", "reason", "identifiers"], refused),
    }


def _events(con: Connection) -> Metadata:
    days = con.execute(
        "select date_trunc('day', effective_at)::timestamp as day, count(*) filter (event = 'create'), "
        "count(*) filter (event = 'merge'), count(*) filter (event in ('split', 'unmerge')), "
        "count(*) filter (event = 'move'), count(*) filter (event in ('retire', 'erase')) "
        f"from identity.events group by 1 order by 1 desc limit {_DAYS}"
    ).fetchall()
    header = ["day", "created", "merged", "split or unmerged", "moved", "retired or erased"]
    shown: Metadata = {
        "by_day": markdown_table(header, [(f"{day:%Y-%m-%d}", *counts) for day, *counts in days[:_ROWS]])
    }
    if days:
        oldest_first = list(reversed(days))
        shown["merges"] = line_chart("Merges by day", {day: merges for day, _, merges, *_ in oldest_first})
        shown["splits"] = line_chart("Splits by day", {day: splits for day, _, _, splits, *_ in oldest_first})
    return shown


def _attributions(con: Connection) -> Metadata:
    shares = con.execute(
        "select attributed_by, sum(n_rows)::bigint from identity.attributions group by 1 order by 2 desc, 1"
    ).fetchall()
    by_source = con.execute(
        "select source, sum(n_rows)::bigint, sum(n_rows_known)::bigint, 100 * sum(n_rows_known) / sum(n_rows) "
        "from identity.attributions group by 1 order by 4, 1"
    ).fetchall()
    moved = con.execute(
        "select entity, sum(n_rows_reattributed)::bigint from identity.attributions group by 1 "
        "having sum(n_rows_reattributed) > 0 order by 2 desc, 1"
    ).fetchall()
    return {
        "shares": bar_chart("Rows by the identifier that speaks for them", dict(shares)),
        "match_rate_by_source": markdown_table(
            ["source", "rows", "of known customers", "share"],
            [(source, rows, known, f"{share:.1f} %") for source, rows, known, share in by_source],
        ),
        "reattributed": markdown_table(["entity", "rows that changed hands"], moved),
    }


def _profile_conflicts(con: Connection) -> Metadata:
    contradicted = con.execute(
        "select attribute, count(*) filter (value_rank = 1), count(*) from identity.profile_conflicts "
        "group by 1 order by 2 desc, 1"
    ).fetchall()
    return {"contradictions": markdown_table(["attribute", "customers", "values"], contradicted)}


def _match_candidates(con: Connection) -> Metadata:
    """Draw what came of pairs, how likely they are, and what speaks for the strongest that waits; no values."""
    counted = con.execute("select state, count(*) from identity.match_candidates group by 1 order by 1").fetchall()
    if not counted:
        return {}
    bands = con.execute(
        "select case when match_probability >= 0.9999 then '99.99 % and more' when match_probability >= 0.999 "
        "then '99.9 %' when match_probability >= 0.99 then '99 %' else 'below 99 %' end as band, count(*) "
        "from identity.match_candidates where state = 'review' group by 1 order by min(match_probability) desc"
    ).fetchall()
    charts: Metadata = {
        "pairs_by_state": bar_chart("Pairs by what came of them", dict(counted)),
        "queue_by_probability": bar_chart("Pairs that wait for people, by probability", dict(bands)),
    }
    for match in read_matches(con, state="review", limit=1):
        parts = [(f"{one.attribute} {one.level}".strip(), one.bits) for one in match.parts]
        charts["strongest_pair_that_waits"] = waterfall_chart(f"Pair {match.pair}: bits of evidence", parts)
    return charts


_PAGES: dict[str, Callable[[Connection], Metadata]] = {
    "customers": _customers,
    "edges": _edges,
    "identifiers": _identifiers,
    "events": _events,
    "attributions": _attributions,
    "profile_conflicts": _profile_conflicts,
    "match_candidates": _match_candidates,
}
