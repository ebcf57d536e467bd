"""What each customer allows as of the run: purposes with hierarchy, fail closed.

Belongs here: from consent events to one decision per customer and purpose. Does not belong here: the
purposes themselves (`purposes.py`), or asking for consent before an action (each later stage).

Per identifier the latest event counts, at the same moment a refusal; a customer allows what none of its
identifiers refuses. A refused purpose refuses everything below it; a granted one allows what is below it
unless that was refused itself; granting a part never grants the whole.
"""

import pyarrow as pa

from segmentation.identity.catalog import IdentityCatalog
from segmentation.identity.lookup import LOOKUP, filled_columns
from segmentation.identity.observations import namespace_expression
from segmentation.identity.values import known_values
from segmentation.identity.versions import superseded_rows
from segmentation.run import Run
from segmentation.warehouse import Connection, literal, scalar, table_exists

#: The one state that allows; any other word is a refusal.
GRANTED = "granted"


def write_consents(con: Connection, run: Run, catalog: IdentityCatalog) -> dict[str, int]:
    """Fill ``identity.candidate_customer_consents``.

    Returns:
        Consent events of purposes that the catalog does not know (ignored) and of nobody's identifiers, and
        refusals under an identifier of several people, which count for all of them.
    """
    _write_purposes(con, catalog)
    con.execute(
        "create or replace temp table decisions "
        "(consent_row bigint, node_id bigint, customer_id varchar, purpose varchar, granted_at timestamp, "
        "refused_at timestamp)"
    )
    counts = {
        "consent_events_of_unknown_purpose": 0,
        "consent_events_of_nobody": 0,
        "consent_refusals_under_shared_identifiers": 0,
    }
    if table_exists(con, "sources", "consent_events"):
        counts = _write_decisions(con, run, catalog)
    con.execute(
        "insert into identity.candidate_customer_consents by name with "
        "by_identifier as (select customer_id, node_id, purpose, max(granted_at) as granted_at, "
        "max(refused_at) as refused_at from decisions group by all), "
        "by_customer as (select customer_id, purpose, "
        "bool_and(granted_at is not null and (refused_at is null or granted_at > refused_at)) as is_granted, "
        "max(greatest(granted_at, refused_at)) as decided_at from by_identifier group by all), "
        # Nothing on the way up refused, and something on it granted.
        "by_purpose as (select d.customer_id, l.purpose, bool_and(d.is_granted) as is_granted, "
        "max(d.decided_at) as decided_at from by_customer as d join purpose_lineage as l on l.ancestor = d.purpose "
        "group by all), "
        "asked as (select distinct customer_id from by_customer), "
        "wanted as (select k.customer_id, k.first_seen_at, p.purpose, p.needs_consent "
        "from identity.candidate_customers as k cross join purpose_list as p where k.status = 'active' "
        "and (not p.needs_consent or k.customer_id in (select customer_id from asked))) "
        "select w.customer_id, w.purpose, not w.needs_consent or coalesce(b.is_granted, false) as is_allowed, "
        "coalesce(b.decided_at, w.first_seen_at) as decided_at, $run_id as run_id, $recorded_at as recorded_at "
        "from wanted as w left join by_purpose as b using (customer_id, purpose)",
        {"run_id": run.run_id, "recorded_at": run.recorded_at},
    )
    con.execute("drop table decisions; drop table purpose_list; drop table purpose_lineage")
    return counts


def _write_purposes(con: Connection, catalog: IdentityCatalog) -> None:
    purposes = catalog.purposes
    names = sorted(purposes.by_name)
    listed = {"purpose": names, "needs_consent": [purposes.by_name[name].basis == "consent" for name in names]}
    lineage = [(name, ancestor) for name in names for ancestor in purposes.lineage(name)]
    tables = {
        "purpose_list": pa.table(listed),
        "purpose_lineage": pa.table({"purpose": [a for a, _ in lineage], "ancestor": [b for _, b in lineage]}),
    }
    for name, table in tables.items():
        con.register("purposes_given", table)
        con.execute(f"create or replace temp table {name} as select * from purposes_given")
        con.unregister("purposes_given")


def _write_decisions(con: Connection, run: Run, catalog: IdentityCatalog) -> dict[str, int]:
    """Fill ``decisions``: one row per current event and identifier it names that has a customer."""
    current = superseded_rows(con, run, "consent_events", "consent_event_id", "occurred_at")
    names = filled_columns(con, "sources.consent_events")
    con.execute(
        f"create or replace temp table consent_rows as select {', '.join(['source', *names])}, "
        f"lower(trim(purpose)) as purpose, lower(trim(consent_state)) = {literal(GRANTED)} as is_granted, occurred_at, "
        f"rowid as consent_row from sources.consent_events where occurred_at <= ? and {current}",
        [run.as_of],
    )
    for name in names:
        con.execute(
            "insert into decisions select c.consent_row, l.node_id, l.customer_id, c.purpose, "
            "case when c.is_granted then c.occurred_at end, case when not c.is_granted then c.occurred_at end "
            f"from consent_rows as c join (from {LOOKUP} where id_type = {literal(name)}) as l "
            f"on l.raw_value = c.{name} and l.id_namespace = {namespace_expression(catalog.rules, name, 'c.source')} "
            "semi join purpose_list as p on p.purpose = c.purpose"
        )
    ambiguous = _deny_around_shared(con, catalog, names)
    unknown, nobody = con.execute(
        "select count(*) filter (not is_listed), count(*) filter (is_listed and consent_row not in "
        "(select consent_row from decisions)) from "
        "(select consent_row, purpose in (select purpose from purpose_list) as is_listed from consent_rows)"
    ).fetchall()[0]
    con.execute("drop table consent_rows; drop table superseded_consent_events")
    return {
        "consent_events_of_unknown_purpose": int(unknown),
        "consent_events_of_nobody": int(nobody),
        "consent_refusals_under_shared_identifiers": ambiguous,
    }


def _deny_around_shared(con: Connection, catalog: IdentityCatalog, names: list[str]) -> int:
    """Let a refusal that names nobody but an identifier of several people count for all of them.

    Whoever refused is one of the customers with evidence at that identifier, and each of them might be the one.
    It counts as a refusal of their own identifier beside it, so that a later grant of that one ends it. A grant
    under such an identifier allows nobody anything, and a placeholder is nobody's.

    Returns:
        Refusals that reached customers this way.
    """
    con.execute(
        "create or replace temp table ambiguous "
        "(consent_row bigint, shared_node bigint, purpose varchar, refused_at timestamp)"
    )
    for name in names:
        con.execute(
            "insert into ambiguous select c.consent_row, v.node_id, c.purpose, c.occurred_at from consent_rows as c "
            f"join (select distinct id_namespace, raw_value, node_id from ({known_values(name)})) as v "
            f"on v.raw_value = c.{name} "
            f"and v.id_namespace = {namespace_expression(catalog.rules, name, 'c.source')} "
            "join excluded as x on x.node_id = v.node_id and x.status = 'shared' "
            "semi join purpose_list as p on p.purpose = c.purpose "
            "where not c.is_granted and c.consent_row not in (select consent_row from decisions)"
        )
    con.execute(
        "insert into decisions with beside as ("
        "select node_a as shared_node, node_b as node_id from links union "
        "select node_b as shared_node, node_a as node_id from links) "
        "select distinct a.consent_row, m.node_id, m.customer_id, a.purpose, null::timestamp, a.refused_at "
        "from ambiguous as a join beside as b using (shared_node) "
        "join identity.candidate_identifier_map as m on m.node_id = b.node_id"
    )
    reached = int(
        str(scalar(con, "select count(distinct consent_row) from ambiguous semi join decisions using (consent_row)"))
    )
    con.execute("drop table ambiguous")
    return reached
