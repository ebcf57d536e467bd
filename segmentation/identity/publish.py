"""Making a judged candidate what everybody reads: all of it in one transaction, or nothing.

Belongs here: the steps of publishing, in order. Does not belong here: building the candidate
(`candidate.py`), or asking whether its gate passed (whoever calls this).
"""

from collections.abc import Callable

from segmentation.contracts import ensure_schema, mark_published
from segmentation.identity.differences import apply_difference, find_arrivals
from segmentation.identity.tables import INTERNAL, REPLACED, relations
from segmentation.run import Run, StageReport
from segmentation.warehouse import Connection, count, swap_table, transaction


def append_events(con: Connection, _run: Run) -> None:
    """Add the candidate's events to the log, unless this candidate was published before."""
    con.execute(
        "insert into identity.events by name select * from identity.candidate_events "
        "where seq > (select coalesce(max(seq), 0) from identity.events)"
    )


def close_history(con: Connection, run: Run) -> None:
    """End the spells of identifiers that left their customer."""
    arrived, asked = find_arrivals(con)
    con.execute(
        "update identity.identifier_map_history set valid_to = greatest(valid_from, $as_of) "
        "where valid_to is null and node_id in (select h.node_id from identity.identifier_map_history as h "
        f"left join {arrived} as m using (node_id) where h.valid_to is null and {asked} "
        "and m.customer_id is distinct from h.customer_id)",
        {"as_of": run.as_of},
    )


def open_history(con: Connection, run: Run) -> None:
    """Begin a spell for each identifier that has none open."""
    arrived, asked = find_arrivals(con)
    con.execute(
        "insert into identity.identifier_map_history by name select node_id, customer_id, $as_of as valid_from, "
        f"null as valid_to, $run_id as run_id, $recorded_at as recorded_at from {arrived} where node_id not in "
        f"(select node_id from identity.identifier_map_history where valid_to is null and {asked})",
        {"as_of": run.as_of, "run_id": run.run_id, "recorded_at": run.recorded_at},
    )


def keep_rules(con: Connection, run: Run) -> None:
    """Keep the catalog's decisions beside those of commands, and the end of those that the catalog no longer has."""
    con.execute(
        "delete from identity.rules where origin = 'catalog' "
        "and rule_id in (select rule_id from identity.candidate_rules where origin = 'catalog')"
    )
    con.execute(
        "update identity.rules set valid_to = greatest(valid_from, $as_of), ended_by = 'catalog', "
        "ended_reason = 'no longer in the catalog' where origin = 'catalog' and valid_to is null",
        {"as_of": run.as_of},
    )
    con.execute("insert into identity.rules by name select * from identity.candidate_rules where origin = 'catalog'")


def append_publication(con: Connection, run: Run) -> None:
    """Keep the figures that later candidates are compared with; publishing a run again replaces its own."""
    con.execute("delete from identity.publications where run_id = ?", [run.run_id])
    con.execute(
        "insert into identity.publications by name select "
        "(select coalesce(max(publication_seq), 0) + 1 from identity.publications) as publication_seq, "
        "$as_of as as_of, decision_seq, n_identifiers, raw_max_component, known_before, known_moved, merges, splits, "
        "n_edges, n_edges_rejected, max_customer_nodes, $run_id as run_id, $recorded_at as recorded_at "
        "from identity.candidate",
        {"as_of": run.as_of, "run_id": run.run_id, "recorded_at": run.recorded_at},
    )


def swap_tables(con: Connection, _run: Run) -> None:
    """Give the candidate tables the published names, or apply the differences; what is in place already stays."""
    kinds = relations(con, "identity")
    for table in REPLACED:
        if f"candidate_{table}_rows" in kinds:
            apply_difference(con, table)
        elif kinds[f"candidate_{table}"] == "TABLE":
            swap_table(con, "identity", f"candidate_{table}", table)


#: What publishing does, in order; history is compared before the map it compares with is replaced.
STEPS: dict[str, Callable[[Connection, Run], None]] = {
    "append_events": append_events,
    "close_history": close_history,
    "open_history": open_history,
    "keep_rules": keep_rules,
    "append_publication": append_publication,
    "swap_tables": swap_tables,
}


def publish(con: Connection, run: Run) -> StageReport:
    """Publish the candidate that ``run`` built; publishing it again changes nothing.

    Raises:
        CandidateError: The newest candidate is another run's.
    """
    ensure_schema(con, "identity")
    with transaction(con):
        candidate_id = mark_published(con, "identity", run)
        for step in STEPS.values():
            step(con, run)
    events = dict(
        con.execute(
            "select event, count(*) from identity.events where run_id = ? group by event order by event", [run.run_id]
        ).fetchall()
    )
    rows = {table: count(con, f"identity.{table}") for table in (*REPLACED, "events") if table not in INTERNAL}
    return StageReport(candidate_id, rows, {f"{event}_events": n for event, n in events.items()})
