"""Resolving only what changed: components that no changed edge or identifier touches stay as they were published.

Belongs here: what changed since the published solution, how far that reaches, and completing the result with what it
does not reach. Does not belong here: solving (`admission.py`), or customer ids (`assign.py`): both see the touched
part alone, by the same rules. The result is that of a full solve.

What changed is found by comparing with ``identity.edges``, ``identity.identifiers`` and ``identity.solve_inputs``. A
difference reaches whole components as they were before guards split them (R4): edges that were refused there may now
be admitted.
"""

import hashlib
import json

import numpy as np
import pyarrow as pa

from segmentation.identity.admission import Solver, admit, measure_raw
from segmentation.identity.assign import assign, write_aliases
from segmentation.identity.catalog import IdentifierRules
from segmentation.identity.components import label_components
from segmentation.run import Run
from segmentation.warehouse import Connection, scalar

#: Changes whenever the same inputs would be solved otherwise: everything is then solved anew.
SOLVE_VERSION = 1

#: Identifiers whose edges share a checksum, as a power of two: small enough that few unchanged ones are compared.
_BUCKET_BITS = 4

_REFUSED_IN_PART = "reject_rule like 'R4 %'"


def resolve(
    con: Connection, run: Run, rules: IdentifierRules, *, solver: Solver = "embedded", full: bool = False
) -> dict[str, int]:
    """Decide every edge and give every component its customer: what `admit` and `assign` do, for what changed alone.

    Reads and completes the temporary tables of the stage (``links``, ``nodes``, ``excluded``, ``owner_pairs``,
    ``operator_bars``), and writes the same candidate and temporary tables as `assign` over everything.

    Args:
        con: The warehouse.
        run: Stamps the rows.
        rules: The rules in force, decisions of people included.
        solver: Who finds the components.
        full: Solve everything anew. It is done so anyway where nothing is published that could be compared with,
            or where the limits or priorities changed.

    Returns:
        Figures: identifiers resolved in this run, edges tried one by one, and the largest raw component.
    """
    inputs = _write_inputs(con, run, rules)
    if full or not _is_comparable(con, inputs):
        con.execute("create or replace temp view known_customers as select * from identity.customers")
        con.execute("create or replace temp view known_members as select * from identity.identifier_map")
        counted = admit(con, rules, solver)
        assign(con, run, rules)
        counted["identifiers_resolved"] = _count(con, "components")
    else:
        _find_changed(con)
        _find_touched(con)
        counted = _resolve_touched(con, run, rules, solver)
    write_aliases(con, run)
    counted["raw_max_component"] = measure_raw(con)
    con.execute("drop view known_customers; drop view known_members")
    return counted


def _count(con: Connection, table: str) -> int:
    return int(str(scalar(con, f"select count(*) from {table}")))


def _write_inputs(con: Connection, run: Run, rules: IdentifierRules) -> str:
    """Write what the next run can't read off the published tables; return the fingerprint of the rules."""
    parts = {
        "version": SOLVE_VERSION,
        "max_nodes": rules.max_nodes,
        "types": {name: [kind.max_per_customer, kind.priority] for name, kind in sorted(rules.identifiers.items())},
    }
    fingerprint = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
    con.execute(
        "insert into identity.candidate_solve_inputs by name "
        "select 'rules' as kind, null as node_a, null as node_b, $fingerprint as detail, $run_id as run_id, "
        "$recorded_at as recorded_at union all select distinct 'owner', node_a, node_b, null, $run_id, $recorded_at "
        "from owner_pairs union all select distinct 'bar', node_a, node_b, rule_id, $run_id, $recorded_at "
        "from operator_bars",
        {"fingerprint": fingerprint, "run_id": run.run_id, "recorded_at": run.recorded_at},
    )
    return fingerprint


def _is_comparable(con: Connection, fingerprint: str) -> bool:
    known = scalar(con, "select detail from identity.solve_inputs where kind = 'rules'")
    return known == fingerprint


def _find_changed(con: Connection) -> None:
    """Write temporary table ``changed(node_id)``: identifiers at which anything is other than when last published."""
    con.execute("create or replace temp table changed (node_id bigint)")
    linkable = (
        "node_a, node_b, tier, first_seen_at, least(3, floor(log2(n_obs)))::integer as doublings from {table} "
        "where reject_rule is null or {also}"
    )
    now = f"select {linkable.format(table='links', also='false')}"
    then = f"select {linkable.format(table='identity.edges', also=_REFUSED_IN_PART)}"
    for a, b in _differing(con, now, then, "node_a"):
        con.execute(f"insert into changed select unnest([node_a, node_b]) from ({a} except all {b})")
    # An identifier that may link, with what its customer's id and first sighting follow from.
    now = "select node_id, first_seen_at from nodes where node_id not in (select node_id from excluded)"
    then = "select node_id, first_seen_at from identity.identifiers where status = 'active'"
    for a, b in _differing(con, now, then, "node_id"):
        con.execute(f"insert into changed select node_id from ({a} except {b})")
    inputs = "select kind, node_a, node_b, detail from identity.{} where kind <> 'rules'"
    now, then = inputs.format("candidate_solve_inputs"), inputs.format("solve_inputs")
    for a, b in ((now, then), (then, now)):
        con.execute(f"insert into changed select unnest([node_a, node_b]) from ({a} except {b})")


def _differing(con: Connection, now: str, then: str, node: str) -> list[tuple[str, str]]:
    """Return the two relations both ways, each cut to where their checksums differ.

    Rows are summed up as hashes by ranges of node ids, so that only ranges with a difference are compared row by row.
    """
    con.execute(
        "create or replace temp table differing as "
        f"select bucket from (select {node} >> {_BUCKET_BITS} as bucket, sum(hash(r)::hugeint) as checksum "
        f"from ({now}) as r group by all) as a full join "
        f"(select {node} >> {_BUCKET_BITS} as bucket, sum(hash(r)::hugeint) as checksum "
        f"from ({then}) as r group by all) as b using (bucket) where a.checksum is distinct from b.checksum"
    )
    cut = f"where {node} >> {_BUCKET_BITS} in (select bucket from differing)"
    parts = (f"(from ({now}) {cut})", f"(from ({then}) {cut})")
    return [(parts[0], parts[1]), (parts[1], parts[0])]


def _find_touched(con: Connection) -> None:
    """Write ``touched(node_id)``: what changed, and all of the components before R4 that it was in.

    Customers between whom an edge was refused by R4 came from one component; those edges are few.
    """
    pairs = con.execute(
        "select distinct a.customer_seq as customer_a, b.customer_seq as customer_b from "
        f"(select node_a, node_b from identity.edges where {_REFUSED_IN_PART}) as e "
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


def _resolve_touched(con: Connection, run: Run, rules: IdentifierRules, solver: Solver) -> dict[str, int]:
    con.execute(
        "create or replace temp view known_members as select * from identity.identifier_map "
        "where node_id in (select node_id from touched)"
    )
    # Of ids that gave way, those whose anchor is touched may come back or follow another survivor.
    con.execute(
        "create or replace temp view known_customers as select * from identity.customers "
        "where customer_id in (select customer_id from touched_customers) "
        "or (status <> 'active' and anchor_node_id in (select node_id from touched))"
    )
    for table, ends in (("links", "node_a"), ("nodes", "node_id")):
        con.execute(f"alter table {table} rename to all_{table}")
        con.execute(f"create temp table {table} as from all_{table} where {ends} in (select node_id from touched)")
    counted = admit(con, rules, solver)
    counted["identifiers_resolved"] = _count(con, "components")
    assign(con, run, rules)
    _take_over_links(con)
    con.execute("drop table nodes; alter table all_nodes rename to nodes")
    _take_over_customers(con, run)
    for table in ("touched", "touched_customers", "changed", "differing"):
        con.execute(f"drop table {table}")
    return counted


def _take_over_links(con: Connection) -> None:
    """Complete ``links`` with the edges that nothing touched, as they were decided."""
    con.execute(
        "insert into links by name select l.* replace (coalesce(l.reject_rule, e.reject_rule) as reject_rule) "
        "from all_links as l left join (select node_a, node_b, any_value(reject_rule) as reject_rule "
        f"from identity.edges where {_REFUSED_IN_PART} group by node_a, node_b) as e using (node_a, node_b) "
        "where l.node_a not in (select node_id from touched)"
    )
    con.execute("drop table all_links")


def _take_over_customers(con: Connection, run: Run) -> None:
    """Complete candidate and temporary tables with the customers that nothing touched, as they were."""
    stamps = {"run_id": run.run_id, "recorded_at": run.recorded_at}
    stamped = "* replace ($run_id as run_id, $recorded_at as recorded_at)"
    con.execute(
        "create or replace temp table kept_customers as select * from identity.customers "
        "anti join known_customers using (customer_id)"
    )
    # Labels of touched components are below twice the number of identifiers.
    base = "(select 2 * (coalesce(max(node_id), 0) + 1) from identity.registry)"
    con.execute(
        f"create or replace temp table kept as select m.node_id, {base} + k.customer_seq as component "
        "from identity.identifier_map as m join kept_customers as k using (customer_id) "
        "where m.node_id not in (select node_id from touched)"
    )
    con.execute(
        f"insert into identity.candidate_identifier_map by name select {stamped} from identity.identifier_map "
        "where node_id in (select node_id from kept)",
        stamps,
    )
    con.execute(
        f"insert into identity.candidate_customers by name select {stamped} from kept_customers",
        stamps,
    )
    con.execute("insert into components by name select node_id, component from kept")
    active = f"{base} + customer_seq as component"
    con.execute(
        f"insert into resolution by name select {active}, customer_seq, customer_id, false as is_new "
        "from kept_customers where status = 'active'"
    )
    con.execute(
        f"insert into component_best by name select {active}, n_nodes, first_seen_at "
        "from kept_customers where status = 'active'"
    )
    con.execute("drop table kept; drop table kept_customers")
