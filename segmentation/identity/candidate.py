"""Who is who as of a run, as a proposal: built in one transaction, judged by the gate, not yet published.

Belongs here: the order of the steps. Does not belong here: the steps (one module each), or publishing
(`publish.py`).
"""

from segmentation.contracts import ensure_schema, stamp_candidate
from segmentation.identity.accounts import write_accounts
from segmentation.identity.admission import Solver
from segmentation.identity.attributions import write_attributions
from segmentation.identity.catalog import IdentityCatalog
from segmentation.identity.consents import write_consents
from segmentation.identity.edges import find_owners, link
from segmentation.identity.evidence import write_edges, write_identifiers
from segmentation.identity.figures import write_figures
from segmentation.identity.guards import judge_identifiers
from segmentation.identity.incremental import complete_components, resolve
from segmentation.identity.lookup import write_lookup
from segmentation.identity.matching.candidates import Matching
from segmentation.identity.matching.links import add_matches, settle_matches
from segmentation.identity.observations import observe
from segmentation.identity.operator_rules import newest_decision, prepare_rules
from segmentation.identity.profiles import write_profiles
from segmentation.identity.reasons import write_reasons
from segmentation.identity.reused_ids import count_reused
from segmentation.identity.rule_effects import add_links, add_owners, name_causes
from segmentation.identity.tables import create_candidate_tables
from segmentation.identity.touched import LEFT_BY_TOUCHED
from segmentation.run import Run, StageReport
from segmentation.warehouse import Connection, transaction

_TEMPORARY = (
    "operator_links",
    "operator_bars",
    "match_bars",
    "match_said",
    "operator_blocks",
    "nodes",
    "evidence_kinds",
    "excluded",
    "links",
    "owner_pairs",
    "classes",
    "components",
    "resolution",
    "component_best",
    "match_links",
    "match_parts",
    "reasons",
    "reopened",
    *LEFT_BY_TOUCHED,
)


def build_candidate(
    con: Connection,
    run: Run,
    catalog: IdentityCatalog,
    *,
    solver: Solver = "embedded",
    matching: Matching | None = None,
    full: bool = False,
) -> StageReport:
    """Resolve every identifier seen by ``run.as_of`` to a customer and write ``identity.candidate…``.

    Components that nothing changed stay as they were published, the others are solved; identifiers keep their node
    ids and customers their ids by the state published last.

    Args:
        con: The warehouse, open for writing; entities without a table are taken to be empty.
        run: Its ``as_of`` hides later rows.
        catalog: Rules and purposes.
        solver: Who finds the components: scipy in this process, or the engine by SQL alone.
        matching: What records are matched by; ``None`` where matching is off.
        full: Solve everything anew; the result is the same.

    Returns:
        Rows per candidate table, and the figures of ``identity.candidate``.
    """
    ensure_schema(con, "identity")
    rules = catalog.rules
    with transaction(con):
        create_candidate_tables(con)
        counted: dict[str, int | float] = {**observe(con, run, rules)}
        rules = prepare_rules(con, run, rules)
        counted["decision_seq"] = newest_decision(con)
        judge_identifiers(con, rules)
        link(con, rules)
        add_links(con)
        find_owners(con, rules)
        add_owners(con)
        counted |= add_matches(con, run, rules, matching)
        counted |= resolve(con, run, rules, solver=solver, full=full)
        complete_components(con)
        name_causes(con)
        write_reasons(con)
        write_identifiers(con, run)
        write_edges(con, run)
        counted |= settle_matches(con, matching)
        write_lookup(con)
        write_accounts(con, run, rules)
        counted |= write_consents(con, run, catalog)
        write_profiles(con, run, catalog)
        counted |= write_attributions(con, run, rules)
        counted["n_reused_ids"] = count_reused(con, run)
        figures = write_figures(con, run, rules, counted)
        con.execute("drop view node_observations")
        for table in _TEMPORARY:
            con.execute(f"drop table if exists {table}")
        candidate_id = stamp_candidate(con, "identity", run)
    return StageReport(candidate_id, _rows(figures), dict(figures))


def _rows(figures: dict[str, int | float]) -> dict[str, int]:
    shown = {
        "identifiers": "n_identifiers",
        "edges": "n_edges",
        "customers": "n_customers",
        "identifier_lookup": "n_lookup_values",
        "customer_accounts": "n_accounts",
        "customer_consents": "n_consents",
        "rows_without_identifier": "rows_without_identifier",
    }
    return {name: int(figures[figure]) for name, figure in shown.items()}
