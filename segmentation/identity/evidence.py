"""What a candidate says of identifiers and of the edges between them, once all of them are decided.

Belongs here: the rows of `identity.identifiers` and `identity.edges`, all of them or those that change. Does not belong
here: deciding (`guards.py`, `admission.py`), or finding what differs (`touched.py`).
"""

from segmentation.identity.differences import propose_difference
from segmentation.identity.touched import REFUSED_IN_PART, is_partial
from segmentation.run import Run
from segmentation.warehouse import Connection


def write_identifiers(con: Connection, run: Run) -> None:
    """Fill ``identity.candidate_identifiers`` from ``nodes``, ``excluded`` and ``reasons``.

    Where only what was touched has been solved, it is a difference: rows that are the same stay as published.
    """
    partial = is_partial(con)
    nodes = "nodes"
    if partial:
        con.execute(
            "create or replace temp table rewritten as select node_id from differing_nodes union "
            # The same rule in other words.
            "select node_id from nodes semi join (select i.node_id from identity.identifiers as i join reasons as w "
            "on w.rule = i.status_rule where w.reason is distinct from i.status_reason) using (node_id)"
        )
        nodes = "(from nodes semi join rewritten using (node_id))"
    con.execute(
        "insert into identity.candidate_identifiers by name "
        "select n.node_id, r.id_type, r.id_namespace, r.id_value, coalesce(x.status, 'active') as status, "
        "x.status_rule, w.reason as status_reason, n.is_verified, n.first_seen_at, n.last_seen_at, $run_id as run_id, "
        f"$recorded_at as recorded_at from {nodes} as n join identity.registry as r using (node_id) "
        "left join excluded as x using (node_id) left join reasons as w on w.rule = x.status_rule",
        {"run_id": run.run_id, "recorded_at": run.recorded_at},
    )
    if partial:
        propose_difference(con, "identifiers", "select node_id from rewritten")
        con.execute("drop table rewritten")
        return
    # What was erased stays known as erased, seen again or not.
    con.execute(
        "insert into identity.candidate_identifiers by name select * from identity.identifiers "
        "where status = 'erased' and node_id not in (select node_id from nodes)"
    )


def write_edges(con: Connection, run: Run) -> None:
    """Fill ``identity.candidate_edges`` from the decided ``links`` and ``reasons``.

    Where only what was touched has been solved, it is a difference: identifiers all of whose edges are the same keep
    those that are published.
    """
    partial = is_partial(con)
    links = "links"
    if partial:
        now = f"select distinct node_a, node_b, reject_rule from links where {REFUSED_IN_PART}"
        then = "select node_a, node_b, reject_rule from refused_then"
        con.execute(
            "create or replace temp table rewritten as select node_a from differing_edges union "
            f"select node_a from ({now} except {then}) union select node_a from ({then} except {now}) union "
            "select e.node_a from identity.edges as e join reasons as w on w.rule = e.reject_rule "
            "where w.reason is distinct from e.reject_reason"
        )
        links = "(from links semi join rewritten using (node_a))"
    con.execute(
        "insert into identity.candidate_edges by name "
        "select node_a, node_b, source, evidence, tier, match_probability, n_obs, first_seen_at, "
        "last_seen_at, reject_rule is null as admitted, reject_rule, w.reason as reject_reason, $run_id as run_id, "
        f"$recorded_at as recorded_at from {links} left join reasons as w on w.rule = reject_rule",
        {"run_id": run.run_id, "recorded_at": run.recorded_at},
    )
    if partial:
        propose_difference(con, "edges", "select node_a from rewritten")
        con.execute("drop table rewritten")
