"""Resolving only what changed: components that no difference touches stay as they were published.

Belongs here: solving the touched part alone, and handing on the rest. Does not belong here: what is touched
(`touched.py`), solving (`admission.py`), or customer ids (`assign.py`): both see the touched part alone, by the same
rules. The result is that of a full solve.
"""

import hashlib
import json

from segmentation.identity.admission import Solver, admit
from segmentation.identity.assign import assign, write_aliases
from segmentation.identity.catalog import IdentifierRules
from segmentation.identity.differences import propose_difference
from segmentation.identity.matching.links import mark_matched_customers
from segmentation.identity.raw_components import measure_raw
from segmentation.identity.rule_effects import mark_manual_matches
from segmentation.identity.touched import REFUSED_IN_PART, find_touched, is_partial
from segmentation.run import Run
from segmentation.warehouse import Connection, count, scalar

#: Changes whenever the same inputs would be solved otherwise: everything is then solved anew.
SOLVE_VERSION = 3


def resolve(
    con: Connection, run: Run, rules: IdentifierRules, *, solver: Solver = "embedded", full: bool = False
) -> dict[str, int]:
    """Decide every edge and give every component its customer: what `admit` and `assign` do, for what changed alone.

    Reads and completes the temporary tables of the stage (``links``, ``nodes``, ``excluded``, ``owner_pairs``,
    ``operator_bars``, ``match_bars``), and writes the candidate tables of `assign`; where only a part was solved, map
    and customers are differences from what is published, and `complete_components` completes the temporary tables.

    Args:
        con: The warehouse.
        run: Stamps the rows.
        rules: The rules in force, decisions of people included.
        solver: Who finds the components.
        full: Solve everything anew. It is done so anyway where nothing is published that could be compared with,
            or where the limits or priorities changed.

    Returns:
        Figures: identifiers resolved in this run, edges tried one by one, and those of `measure_raw`.
    """
    inputs = _write_inputs(con, run, rules)
    if full or not _is_comparable(con, inputs):
        con.execute("create or replace temp view known_customers as select * from identity.customers")
        con.execute("create or replace temp view known_members as select * from identity.identifier_map")
        counted = _solve(con, run, rules, solver)
    else:
        find_touched(con)
        counted = _resolve_touched(con, run, rules, solver)
    write_aliases(con, run)
    counted |= measure_raw(con, rules)
    con.execute("drop view known_customers; drop view known_members")
    return counted


def _solve(con: Connection, run: Run, rules: IdentifierRules, solver: Solver) -> dict[str, int]:
    counted = admit(con, rules, solver)
    assign(con, run, rules)
    mark_manual_matches(con)
    mark_matched_customers(con)
    return counted | {"identifiers_resolved": count(con, "components")}


def _write_inputs(con: Connection, run: Run, rules: IdentifierRules) -> str:
    """Write what the next run can't read off the published tables; return the fingerprint of the rules."""
    parts = {
        "version": SOLVE_VERSION,
        # Raw values that are read by other rules are other identifiers'.
        "normalisation": rules.normalisation_hash,
        "max_nodes": rules.max_nodes,
        "types": {name: [kind.max_per_customer, kind.priority] for name, kind in sorted(rules.identifiers.items())},
    }
    fingerprint = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
    con.execute(
        "insert into identity.candidate_solve_inputs by name "
        "select 'rules' as kind, null as node_a, null as node_b, $fingerprint as detail, $run_id as run_id, "
        "$recorded_at as recorded_at union all select distinct 'owner', node_a, node_b, null, $run_id, $recorded_at "
        "from owner_pairs union all select distinct 'bar', node_a, node_b, rule_id, $run_id, $recorded_at "
        "from operator_bars union all select distinct 'label', node_a, node_b, rule_id, $run_id, $recorded_at "
        "from match_bars",
        {"fingerprint": fingerprint, "run_id": run.run_id, "recorded_at": run.recorded_at},
    )
    return fingerprint


def _is_comparable(con: Connection, fingerprint: str) -> bool:
    known = scalar(con, "select detail from identity.solve_inputs where kind = 'rules'")
    return known == fingerprint


def _resolve_touched(con: Connection, run: Run, rules: IdentifierRules, solver: Solver) -> dict[str, int]:
    con.execute(
        "create or replace temp view known_members as select * from identity.identifier_map "
        "where node_id in (select node_id from touched_nodes)"
    )
    # Of ids that gave way, those whose anchor is touched may come back or follow another survivor.
    con.execute(
        "create or replace temp view known_customers as select * from identity.customers "
        "where customer_id in (select customer_id from touched_customers) "
        "or (status <> 'active' and anchor_node_id in (select node_id from touched_nodes))"
    )
    for table, ends in (("links", "node_a"), ("nodes", "node_id")):
        con.execute(f"alter table {table} rename to all_{table}")
        con.execute(
            f"create temp table {table} as from all_{table} where {ends} in (select node_id from touched_nodes)"
        )
    counted = _solve(con, run, rules, solver)
    _decide_all_links(con)
    con.execute("drop table links; alter table all_links rename to links")
    con.execute("drop table nodes; alter table all_nodes rename to nodes")
    propose_difference(con, "identifier_map", "select node_id from touched_nodes")
    propose_difference(con, "customers", "select customer_seq from known_customers")
    con.execute("create or replace temp table reopened as select customer_seq from known_customers")
    return counted


def _decide_all_links(con: Connection) -> None:
    """Tell all edges what R4 decided: of those touched now, of the others when it last did."""
    con.execute(
        "create or replace temp table refused as select distinct node_a, node_b, reject_rule as rule from links "
        f"where {REFUSED_IN_PART} union all "
        "select node_a, node_b, any_value(reject_rule) from refused_then "
        "where node_a not in (select node_id from touched_nodes) group by node_a, node_b"
    )
    con.execute(
        "update all_links set reject_rule = r.rule from refused as r "
        "where r.node_a = all_links.node_a and r.node_b = all_links.node_b and all_links.reject_rule is null"
    )
    con.execute("drop table refused")


def complete_components(con: Connection) -> None:
    """Add to ``components``, ``resolution`` and ``component_best`` the customers that stayed as they were.

    What follows from customers (consents, profiles, accounts) is found out for all of them.
    """
    if not is_partial(con):
        return
    # Labels of touched components are below twice the number of identifiers.
    base = "(select 2 * (coalesce(max(node_id), 0) + 1) from identity.registry)"
    kept = "identity.customers anti join reopened using (customer_seq)"
    active = f"from {kept} where status = 'active'"
    con.execute(
        f"insert into components by name select m.node_id, {base} + k.customer_seq as component "
        "from (from identity.identifier_map anti join touched_nodes using (node_id)) as m "
        f"join (select customer_id, customer_seq from {kept}) as k using (customer_id)"
    )
    component = f"{base} + customer_seq as component"
    con.execute(
        f"insert into resolution by name select {component}, customer_seq, customer_id, false as is_new {active}"
    )
    con.execute(f"insert into component_best by name select {component}, n_nodes, first_seen_at {active}")
