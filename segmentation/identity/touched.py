"""What changed since the published solution, and how far that reaches.

Belongs here: comparing the edges, identifiers and inputs of a run with the published ones, and the components that a
difference touches. Does not belong here: solving them (`incremental.py`).

A difference reaches whole components as they were before guards split them (R4): edges that were refused there may now
be admitted.
"""

import numpy as np
import pyarrow as pa

from segmentation.identity.admission import LABELLED, MATCH_TIER
from segmentation.identity.components import label_components
from segmentation.warehouse import Connection, literal

#: Identifiers whose edges share a checksum, as a power of two: small enough that few unchanged ones are compared.
_BUCKET_BITS = 4

#: Edges that were decided one by one, in components that held more than one customer can.
REFUSED_IN_PART = "reject_rule like 'R4 %'"


def find_touched(con: Connection) -> None:
    """Write temporary tables ``touched(node_id)`` and ``touched_customers(customer_id)``: what is to be solved anew.

    Compares ``links``, ``nodes``, ``excluded`` and ``identity.candidate_solve_inputs`` with what is published. Costs a
    pass over both to sum up hashes; only what lies near a difference is compared row by row.
    """
    _find_changed(con)
    _reach(con)
    con.execute("drop table changed; drop table differing; drop table rows_now; drop table rows_then")


def _find_changed(con: Connection) -> None:
    """Write temporary table ``changed(node_id)``: identifiers at which anything is other than when last published."""
    con.execute("create or replace temp table changed (node_id bigint)")
    linkable = (
        "node_a, node_b, tier, first_seen_at, least(3, floor(log2(n_obs)))::integer as doublings, match_probability, "
        f"tier = {MATCH_TIER} and ends_with(evidence, {literal(LABELLED)}) as is_labelled from {{table}} "
        "where reject_rule is null or {also}"
    )
    now = f"select {linkable.format(table='links', also='false')}"
    then = f"select {linkable.format(table='identity.edges', also=REFUSED_IN_PART)}"
    _compare(con, now, then, "node_a")
    _note(con, "unnest([node_a, node_b])")
    # An identifier that may link, with what its customer's id and first sighting follow from.
    now = "select node_id, first_seen_at from nodes where node_id not in (select node_id from excluded)"
    then = "select node_id, first_seen_at from identity.identifiers where status = 'active'"
    _compare(con, now, then, "node_id")
    _note(con, "node_id")
    inputs = "select kind, node_a, node_b, detail from identity.{} where kind <> 'rules'"
    for name, table in (("now", "candidate_solve_inputs"), ("then", "solve_inputs")):
        con.execute(f"create or replace temp table rows_{name} as {inputs.format(table)}")
    _note(con, "unnest([node_a, node_b])")


def _note(con: Connection, nodes: str) -> None:
    """Add to ``changed`` the nodes of rows that ``rows_now`` and ``rows_then`` have not equally often."""
    con.execute(
        f"insert into changed select {nodes} from (select * exclude (side) from (select *, 1 as side from rows_now "
        "union all select *, -1 from rows_then) group by all having sum(side) <> 0)"
    )


def _compare(con: Connection, now: str, then: str, node: str) -> None:
    """Write temporary tables ``rows_now`` and ``rows_then``: two relations, cut to where their checksums differ.

    Rows are summed up as hashes by ranges of node ids, so that only ranges with a difference are compared row by row.
    """
    con.execute(
        "create or replace temp table differing as "
        f"select bucket from (select {node} >> {_BUCKET_BITS} as bucket, sum(hash(r)::hugeint) as checksum "
        f"from ({now}) as r group by all) as a full join "
        f"(select {node} >> {_BUCKET_BITS} as bucket, sum(hash(r)::hugeint) as checksum "
        f"from ({then}) as r group by all) as b using (bucket) where a.checksum is distinct from b.checksum"
    )
    for name, rows in (("now", now), ("then", then)):
        con.execute(
            f"create or replace temp table rows_{name} as from ({rows}) "
            f"where {node} >> {_BUCKET_BITS} in (select bucket from differing)"
        )


def _reach(con: Connection) -> None:
    """Write ``touched(node_id)``: what changed, and all of the components before R4 that it was in.

    Customers between whom an edge was refused by R4 came from one component; those edges are few.
    """
    pairs = con.execute(
        "select distinct a.customer_seq as customer_a, b.customer_seq as customer_b from "
        f"(select node_a, node_b from identity.edges where {REFUSED_IN_PART}) as e "
        "join identity.identifier_map as m on m.node_id = e.node_a "
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
        "create or replace temp table touched as select node_id from changed union "
        "select node_id from identity.identifier_map where customer_id in (select customer_id from touched_customers)"
    )
