"""What each customer allows as of the run: purposes with hierarchy, fail closed.

Belongs here: from consent events to one decision per customer and purpose. Does not belong here: the
purposes themselves (`purposes.py`), or asking for consent before an action (each later stage).

Per identifier the latest event counts, at the same moment a refusal; a customer allows what none of its
identifiers refuses. A refused purpose refuses everything below it; a granted one allows what is below it
unless that was refused itself; granting a part never grants the whole.
"""

import pyarrow as pa

from segmentation.identity.catalog import IdentityCatalog
from segmentation.identity.lookup import known_customers
from segmentation.identity.observations import filled_columns, namespace_expression
from segmentation.identity.split_refusals import copy_refusals, find_departures
from segmentation.identity.values import known_values
from segmentation.identity.versions import superseded_rows
from segmentation.run import Run
from segmentation.warehouse import Connection, count, has_rows, literal, scalar, table_exists

#: The one state that allows; any other word is a refusal.
GRANTED = "granted"


#: Members of each component by the part that identifiers alone connect; most components are of one part.
_PARTS = (
    "(select c.node_id, c.component, coalesce(p.part, 0) as part from components as c "
    "left join match_parts as p using (node_id))"
)
#: What every part of a customer grants, one that never decided anything included.
_AGREED = (
    "(select component, purpose_code, bool_and(coalesce(is_granted, false)) and count(*) = coalesce(max(n_parts), 1) "
    "as is_granted, max(decided_at) as decided_at from by_purpose left join (select component, "
    "count(distinct part) as n_parts from match_parts join components using (node_id) group by component) "
    "using (component) group by component, purpose_code)"
)


def write_consents(con: Connection, run: Run, catalog: IdentityCatalog) -> dict[str, int]:
    """Fill ``identity.candidate_customer_consents``.

    Reads temporary table ``match_parts`` (see `matching.links`): a customer that matches hold together allows what
    each part of it grants by itself, and none refuses.

    Returns:
        Consent events of purposes that the catalog does not know (ignored) and of nobody's identifiers, and
        refusals under an identifier of several people, which count for all of them, and customers and purposes with
        a refusal that stayed when an identifier went.
    """
    _write_purposes(con, catalog)
    con.execute(
        "create or replace temp table decisions "
        "(node_id bigint, purpose_code integer, granted_at timestamp, refused_at timestamp)"
    )
    counts = {
        "consent_events_of_unknown_purpose": 0,
        "consent_events_of_nobody": 0,
        "consent_refusals_under_shared_identifiers": 0,
    }
    find_departures(con, run)
    if table_exists(con, "sources", "consent_events") and has_rows(con, "sources.consent_events"):
        counts = _write_decisions(con, run, catalog)
    counts["consent_refusals_copied_by_splits"] = copy_refusals(con)
    unit, members, whole = "component", "components", "by_purpose"
    if count(con, "match_parts"):
        # A match carries no grant from one side to the other: each part of the customer decides by itself.
        unit, members, whole = "component, part", _PARTS, _AGREED
    con.execute(
        "insert into identity.candidate_customer_consents by name with "
        "by_identifier as (select node_id, purpose_code, max(granted_at) as granted_at, "
        "max(refused_at) as refused_at from decisions group by all), "
        "decided as (select *, null::timestamp as copied_at from by_identifier union all "
        "select node_id, purpose_code, null, null, copied_at from copied), "
        f"by_customer as (select {unit}, d.purpose_code, bool_and(d.copied_at is not null "
        "or (d.granted_at is not null and (d.refused_at is null or d.granted_at > d.refused_at))) "
        # Under whichever identifier, a grant after the parting ends what the parting copied.
        "and (max(d.copied_at) is null or coalesce(max(d.granted_at) > max(d.copied_at), false)) as is_granted, "
        "max(greatest(d.granted_at, d.refused_at, d.copied_at)) as decided_at "
        f"from decided as d join {members} as c using (node_id) group by all), "
        f"asked as (select distinct {unit} from by_customer), "
        # Nothing on the way up refused, and something on it granted; then what nobody decided.
        f"by_purpose as (select {unit}, purpose_code, bool_and(is_granted) as is_granted, "
        "max(decided_at) as decided_at from ("
        f"select {unit}, l.purpose_code, d.is_granted, d.decided_at from by_customer as d "
        "join purpose_lineage as l on l.ancestor_code = d.purpose_code union all "
        f"select {unit}, purpose_code, null, null from asked cross join purpose_list where needs_consent union all "
        f"select {unit.replace('part', '0 as part')}, purpose_code, null, null from component_best "
        "cross join purpose_list where not needs_consent) group by all) "
        "select k.customer_id, p.purpose, not p.needs_consent or coalesce(b.is_granted, false) as is_allowed, "
        "coalesce(b.decided_at, f.first_seen_at) as decided_at, $run_id as run_id, $recorded_at as recorded_at "
        f"from {whole} as b join purpose_list as p using (purpose_code) "
        "join resolution as k using (component) join component_best as f using (component)",
        {"run_id": run.run_id, "recorded_at": run.recorded_at},
    )
    con.execute("drop table decisions; drop table copied; drop table purpose_list; drop table purpose_lineage")
    return counts


def _write_purposes(con: Connection, catalog: IdentityCatalog) -> None:
    purposes = catalog.purposes
    names = sorted(purposes.by_name)
    codes = {name: code for code, name in enumerate(names)}
    lineage = [(codes[name], codes[ancestor]) for name in names for ancestor in purposes.lineage(name)]
    tables = {
        "purpose_list": pa.table(
            {
                "purpose": names,
                "purpose_code": pa.array(codes.values(), pa.int32()),
                "needs_consent": [purposes.by_name[name].basis == "consent" for name in names],
            }
        ),
        "purpose_lineage": pa.table(
            {
                "purpose_code": pa.array([code for code, _ in lineage], pa.int32()),
                "ancestor_code": pa.array([code for _, code in lineage], pa.int32()),
            }
        ),
    }
    for name, table in tables.items():
        con.register("purposes_given", table)
        con.execute(f"create or replace temp table {name} as select * from purposes_given")
        con.unregister("purposes_given")


def _write_decisions(con: Connection, run: Run, catalog: IdentityCatalog) -> dict[str, int]:
    """Fill ``decisions``: one row per current event and identifier it names that has a customer."""
    current = superseded_rows(con, run, "consent_events", "consent_event_id", "occurred_at")
    names = filled_columns(con, "sources.consent_events")
    joins = " ".join(
        f"left join ({known_customers(catalog.rules, name)}) as by_{name} on by_{name}.raw_value = c.{name} "
        f"and by_{name}.id_namespace = {namespace_expression(catalog.rules, name, 'c.source')}"
        for name in names
    )
    nodes = [f"by_{name}.node_id as {name}_node" for name in names]
    con.execute(
        f"create or replace temp table consent_rows as select {', '.join(['c.source', *names, *nodes])}, "
        f"p.purpose_code, c.is_granted, c.occurred_at from (select {', '.join(['source', *names])}, "
        f"lower(trim(purpose)) as purpose, lower(trim(consent_state)) = {literal(GRANTED)} as is_granted, occurred_at "
        f"from sources.consent_events where occurred_at <= ? and {current}) as c "
        f"left join purpose_list as p using (purpose) {joins}",
        [run.as_of],
    )
    for name in names:
        con.execute(
            f"insert into decisions select {name}_node, purpose_code, case when is_granted then occurred_at end, "
            f"case when not is_granted then occurred_at end from consent_rows "
            f"where {name}_node is not null and purpose_code is not null"
        )
    if count(con, "departed"):
        _add_decisions_of_departed(con, catalog, names)
    of_nobody = " and ".join(["purpose_code is not null", *(f"{name}_node is null" for name in names)])
    ambiguous = _deny_around_shared(con, catalog, names, of_nobody)
    unknown, nobody = con.execute(
        f"select count(*) filter (purpose_code is null), count(*) filter ({of_nobody}) from consent_rows"
    ).fetchall()[0]
    con.execute("drop table consent_rows; drop table superseded_consent_events")
    return {
        "consent_events_of_unknown_purpose": int(unknown),
        "consent_events_of_nobody": int(nobody) - ambiguous,
        "consent_refusals_under_shared_identifiers": ambiguous,
    }


def _add_decisions_of_departed(con: Connection, catalog: IdentityCatalog, names: list[str]) -> None:
    """Add to ``decisions`` those under identifiers that left a customer and have none now; nobody looks these up."""
    for name in names:
        con.execute(
            "insert into decisions with gone as materialized ("
            f"select distinct v.id_namespace, v.raw_value, v.node_id from ({known_values(name)}) as v "
            "semi join departed using (node_id)) "
            "select v.node_id, c.purpose_code, case when c.is_granted then c.occurred_at end, "
            "case when not c.is_granted then c.occurred_at end from consent_rows as c "
            f"join gone as v on v.raw_value = c.{name} "
            f"and v.id_namespace = {namespace_expression(catalog.rules, name, 'c.source')} "
            "where c.purpose_code is not null"
        )


def _deny_around_shared(con: Connection, catalog: IdentityCatalog, names: list[str], of_nobody: str) -> int:
    """Let a refusal that names nobody but an identifier of several people count for all of them.

    Whoever refused is one of the customers with evidence at that identifier, and each of them might be the one.
    It counts as a refusal of their own identifier beside it, so that a later grant of that one ends it. A grant
    under such an identifier allows nobody anything, and a placeholder is nobody's.

    Returns:
        Refusals that reached customers this way.
    """
    if not has_rows(con, "excluded where status = 'shared'"):
        return 0
    con.execute(
        "create or replace temp table ambiguous "
        "(consent_row bigint, shared_node bigint, purpose_code integer, refused_at timestamp)"
    )
    for name in names:
        con.execute(
            # The few shared values first: looking up every row's value would cost as much as the stage's other work.
            "insert into ambiguous with shared_values as materialized ("
            f"select distinct v.id_namespace, v.raw_value, v.node_id from ({known_values(name)}) as v "
            "semi join (from excluded where status = 'shared') as x using (node_id)) "
            "select c.rowid, v.node_id, c.purpose_code, c.occurred_at from consent_rows as c "
            f"join shared_values as v on v.raw_value = c.{name} "
            f"and v.id_namespace = {namespace_expression(catalog.rules, name, 'c.source')} "
            f"where not c.is_granted and {of_nobody}"
        )
    con.execute(
        "create or replace temp table reached as with shared as (select distinct shared_node from ambiguous), "
        "beside as (select node_a as shared_node, node_b as node_id from links semi join shared "
        "on shared.shared_node = node_a union select node_b as shared_node, node_a as node_id from links "
        "semi join shared on shared.shared_node = node_b) "
        "select distinct a.consent_row, b.node_id, a.purpose_code, a.refused_at "
        "from ambiguous as a join beside as b using (shared_node) semi join components as c on c.node_id = b.node_id"
    )
    con.execute(
        "insert into decisions select node_id, purpose_code, null::timestamp as granted_at, refused_at from reached"
    )
    reached = int(str(scalar(con, "select count(distinct consent_row) from reached")))
    con.execute("drop table ambiguous; drop table reached")
    return reached
