"""What changed since the published solution, and how far that reaches.

Belongs here: comparing the edges, identifiers and inputs of a run with the published ones, and the components that a
difference touches. Does not belong here: solving them (`incremental.py`).

A difference reaches whole components as they were before guards split them (R4): edges that were refused there may now
be admitted.
"""

import numpy as np
import pyarrow as pa

from segmentation.identity.admission import LABELLED, MATCH_TIER
from segmentation.identity.comparison import find_differing
from segmentation.identity.components import Integers, label_components
from segmentation.warehouse import Connection, literal, table_exists

#: Edges that were decided one by one, in components that held more than one customer can.
REFUSED_IN_PART = "reject_rule like 'R4 %'"

#: All that is said of an edge before it is decided, but for its rule; and of an identifier.
_OF_AN_EDGE = "node_a, node_b, source, evidence, tier, match_probability, n_obs, first_seen_at, last_seen_at"
_OF_AN_IDENTIFIER = "node_id, first_seen_at, last_seen_at, is_verified"

#: Of an edge, what decides how it is admitted; of an identifier, what its customer's id and first sighting follow from.
_TELLING_OF_AN_EDGE = (
    "node_a, node_b, tier, first_seen_at, least(3, floor(log2(n_obs)))::integer as doublings, match_probability, "
    f"tier = {MATCH_TIER} and ends_with(evidence, {literal(LABELLED)}) as is_labelled"
)
_TELLING_OF_AN_IDENTIFIER = "node_id, first_seen_at"

#: Temporary tables that `find_touched` leaves until the candidate is complete.
LEFT_BY_TOUCHED = ("differing_edges", "differing_nodes", "touched_nodes", "touched_customers", "refused_then")


def find_touched(con: Connection) -> None:
    """Find out what differs from what is published, and what is to be solved anew.

    Compares ``links``, ``nodes``, ``excluded`` and ``identity.candidate_solve_inputs`` with what is published. Costs a
    pass over both to sum up hashes; only what lies near a difference is compared row by row. Writes temporary tables
    ``differing_edges(node_a)`` and ``differing_nodes(node_id)``, where any row of `identity.edges` or
    `identity.identifiers` is to change (edges that R4 decides otherwise apart), and ``touched_nodes(node_id)`` and
    ``touched_customers(customer_id)``, what is to be solved anew, and ``refused_then(node_a, node_b, reject_rule)``,
    what R4 refused when it last decided.
    """
    _find_differing(con)
    _find_changed(con)
    _reach(con)
    con.execute("drop table changed")


def is_partial(con: Connection) -> bool:
    """Say whether the candidate that is being built solved only what was touched."""
    return table_exists(con, "main", "touched_nodes")


def _find_differing(con: Connection) -> None:
    edges = find_differing(
        con,
        f"select {_OF_AN_EDGE}, reject_rule from links",
        f"select {_OF_AN_EDGE}, case when {REFUSED_IN_PART} then null else reject_rule end as reject_rule "
        "from identity.edges",
        "node_a",
    )
    _keep(con, "differing_edges", "node_a", edges)
    published = f"select {_OF_AN_IDENTIFIER}, status, status_rule from identity.identifiers where status"
    nodes = find_differing(
        con,
        f"select {_OF_AN_IDENTIFIER}, coalesce(x.status, 'active') as status, x.status_rule "
        "from nodes left join excluded as x using (node_id)",
        # What was erased stays as it is, unless it was seen again.
        f"{published} <> 'erased' union all {published} = 'erased' and node_id in (select node_id from nodes)",
        "node_id",
    )
    _keep(con, "differing_nodes", "node_id", nodes)


def _keep(con: Connection, table: str, column: str, nodes: Integers) -> None:
    con.register("found", pa.table({column: nodes}))
    con.execute(f"create or replace temp table {table} as from found")
    con.unregister("found")


def _find_changed(con: Connection) -> None:
    """Write temporary table ``changed(node_id)``: identifiers at which the solution may be other than published."""
    con.execute("create or replace temp table changed (node_id bigint)")
    near = "node_a in (select node_a from differing_edges)"
    _note(
        con,
        f"select {_TELLING_OF_AN_EDGE} from links where reject_rule is null and {near}",
        f"select {_TELLING_OF_AN_EDGE} from identity.edges where (reject_rule is null or {REFUSED_IN_PART}) and {near}",
        "unnest([node_a, node_b])",
    )
    near = "node_id in (select node_id from differing_nodes)"
    _note(
        con,
        f"select {_TELLING_OF_AN_IDENTIFIER} from nodes where {near} and node_id not in (select node_id from excluded)",
        f"select {_TELLING_OF_AN_IDENTIFIER} from identity.identifiers where {near} and status = 'active'",
        "node_id",
    )
    inputs = "select kind, node_a, node_b, detail from identity.{} where kind <> 'rules'"
    now, then = (inputs.format(table) for table in ("candidate_solve_inputs", "solve_inputs"))
    _note(con, now, then, "unnest([node_a, node_b])")


def _note(con: Connection, now: str, then: str, nodes: str) -> None:
    """Add to ``changed`` the nodes of rows that two relations have not equally often."""
    con.execute(
        f"insert into changed select {nodes} from (select * exclude (side) from (select *, 1 as side from ({now}) "
        f"union all select *, -1 from ({then})) group by all having sum(side) <> 0)"
    )


def _reach(con: Connection) -> None:
    """Write ``touched_nodes`` and ``touched_customers``: what changed, and all of the components before R4 it was in.

    Customers between whom an edge was refused by R4 came from one component; those edges are few.
    """
    con.execute(
        "create or replace temp table refused_then as select distinct node_a, node_b, reject_rule from identity.edges "
        f"where {REFUSED_IN_PART}"
    )
    pairs = con.execute(
        "select distinct a.customer_seq as customer_a, b.customer_seq as customer_b from "
        "refused_then as e join identity.identifier_map as m on m.node_id = e.node_a "
        "join identity.identifier_map as n on n.node_id = e.node_b "
        "join identity.customers as a on a.customer_id = m.customer_id "
        "join identity.customers as b on b.customer_id = n.customer_id"
    ).fetchnumpy()
    ends = [np.asarray(pairs[name], dtype=np.int64) for name in ("customer_a", "customer_b")]
    customers, codes = np.unique(np.concatenate(ends), return_inverse=True)
    half = len(ends[0])
    groups = label_components(len(customers), codes[:half], codes[half:])
    con.register("grouped", pa.table({"customer_seq": customers, "group_id": groups}))
    con.execute(
        "create or replace temp table touched_customers as with direct as (select customer_id, customer_seq "
        "from identity.customers where customer_id in (select customer_id from identity.identifier_map "
        "where node_id in (select node_id from changed))), "
        "groups as (select distinct group_id from grouped semi join direct using (customer_seq)) "
        "select customer_id from direct union select customer_id from identity.customers "
        "where customer_seq in (select customer_seq from grouped semi join groups using (group_id))"
    )
    con.unregister("grouped")
    con.execute(
        "create or replace temp table touched_nodes as select node_id from changed union "
        "select node_id from identity.identifier_map where customer_id in (select customer_id from touched_customers)"
    )
