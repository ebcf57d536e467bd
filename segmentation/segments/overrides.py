"""Inclusion and exclusion lists: from what people wrote to customers.

Belongs here: finding the customer behind a listed id or identifier, merged ids included. Does not belong here:
reading the lists (``lists.py``) and what an entry does to membership (``decisions.py``).
"""

from collections.abc import Iterable

import pyarrow as pa

from segmentation.run import Run
from segmentation.segments.canaries import in_canary_sql
from segmentation.segments.compiled import CatalogSegment
from segmentation.segments.lists import Listing
from segmentation.warehouse import Connection, literal

_LISTED = pa.schema(
    [
        ("segment_key", pa.string()),
        ("side", pa.string()),
        ("customer_id", pa.string()),
        ("id_type", pa.string()),
        ("id_namespace", pa.string()),
        ("id_value", pa.string()),
        ("reason", pa.string()),
        ("until_date", pa.date32()),
        ("listed_in", pa.string()),
        ("part", pa.string()),
    ]
)

# An identifier is looked up as its source wrote it, then as identity writes it. An id that was merged away
# stands for the customer it was merged into.
_RESOLVE = """
create or replace table segments.candidate_overrides as
with raw_found as (
    select distinct l.id_type, l.id_namespace, l.id_value, i.customer_id
    from segments_listed as l
    inner join identity.identifier_lookup as i
        on l.id_type = i.id_type and l.id_namespace = i.id_namespace and l.id_value = i.raw_value
),
normal_found as (
    select distinct l.id_type, l.id_namespace, l.id_value, m.customer_id
    from segments_listed as l
    inner join identity.identifiers as i
        on l.id_type = i.id_type and l.id_namespace = i.id_namespace and lower(trim(l.id_value)) = i.id_value
    inner join identity.identifier_map as m on i.node_id = m.node_id
    where i.status = 'active'
),
named as (
    select
        l.segment_key,
        l.side,
        l.reason,
        l.until_date,
        l.listed_in,
        l.part,
        coalesce(l.customer_id, r.customer_id, n.customer_id) as listed_id
    from segments_listed as l
    left join raw_found as r
        on l.id_type = r.id_type and l.id_namespace = r.id_namespace and l.id_value = r.id_value
    left join normal_found as n
        on l.id_type = n.id_type and l.id_namespace = n.id_namespace and l.id_value = n.id_value
),
resolved as (
    select n.* exclude (listed_id), coalesce(a.customer_id, n.listed_id) as customer_id
    from named as n
    left join identity.customer_aliases as a on n.listed_id = a.old_customer_id
)
select
    r.segment_key,
    r.customer_id,
    r.side,
    case
        when r.until_date <= cast(? as date) then 'expired'
        when f.customer_id is null then 'unknown'
        else 'applied'
    end as status,
    r.reason,
    r.until_date,
    r.listed_in
from resolved as r
left join features.customer_features as f on r.customer_id = f.customer_id
where {holds}
"""


def resolve_overrides(con: Connection, run: Run, segments: Iterable[CatalogSegment]) -> None:
    """Write ``segments.candidate_overrides``: each listing with its customer and whether it applies.

    Statuses: ``applied``; ``expired`` (its day has come); ``unknown`` (no customer with features). Of a canary and the
    version before it, a customer finds the lists of the one that holds for them.
    """
    rows: list[Listing] = []
    parts: list[str] = []
    whens: list[str] = []
    for segment in segments:
        held = segment.parts if len(segment.parts) > 1 else ((100, segment.parts[0][1] or segment),)
        for number, (_, definition) in enumerate(held):
            listings = definition.listings if definition else ()
            part = f"{segment.key} {number}"
            rows += listings
            parts += [part] * len(listings)
            if listings and len(held) > 1:
                drawn = in_canary_sql(segment.key, held[0][0], "r.customer_id")
                # Whose customer is unknown is told once, with the canary.
                negated = "not " if number else ""
                whens.append(f"when {literal(part)} then {negated}(r.customer_id is null or {drawn})")
    holds = f"case r.part {' '.join(whens)} else true end" if whens else "true"
    columns = [
        [listing.segment_key for listing in rows],
        [listing.side for listing in rows],
        [listing.customer_id for listing in rows],
        [listing.id_type for listing in rows],
        [listing.id_namespace for listing in rows],
        [listing.id_value for listing in rows],
        [listing.reason for listing in rows],
        [listing.until for listing in rows],
        [listing.listed_in for listing in rows],
        parts,
    ]
    con.register("segments_listed", pa.table(columns, schema=_LISTED))
    try:
        con.execute(_RESOLVE.format(holds=holds), [run.as_of])
    finally:
        con.unregister("segments_listed")
