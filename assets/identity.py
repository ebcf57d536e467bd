"""Stage `identity`: identifiers become customers under ids that persist, behind a gate.

Belongs here: the order of the steps. The work is in `segmentation/identity`, the gate in
`expectations/suites/identity.py`, and the rules in `catalog/identifiers.yml` and `catalog/purposes.yml`.
"""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg

from assets.identity_pages import build_pages
from assets.identity_trends import build_trends
from assets.metadata import bar_chart, catalog_link, report_metadata
from assets.sources import TABLES as SOURCE_TABLES
from assets.stage_assets import WRITES_WAREHOUSE, candidate_arguments, materialize_tables, published_arguments
from expectations import ledger
from orchestration.resources import StrataResource, run_from_context
from orchestration.stages import stage
from segmentation import audit
from segmentation.identity.candidate import build_candidate
from segmentation.identity.catalog import load_identity_catalog
from segmentation.identity.matching.candidates import load_matching_in_force
from segmentation.identity.publish import publish
from segmentation.identity.scorecard import evaluate, keep_run_figures
from segmentation.identity.sizes import CLASSES, CUSTOMERS, RAW, shown
from segmentation.identity.state import export_state
from segmentation.warehouse import Connection

STAGE = stage("identity")

TABLES = {
    "identifiers": "Every identifier ever seen, under a dense id that is never reused.",
    "edges": "Evidence that two identifiers belong together; rejected edges with the rule that rejected them.",
    "customers": "Customers under ids that persist; merged and retired ones stay as tombstones.",
    "identifier_map": "Which customer an identifier belongs to now.",
    "identifier_map_history": "Which customer an identifier belonged to, and when.",
    "identifier_lookup": "Raw identifier values as sources give them, and their customer.",
    "customer_aliases": "Old customer ids and the id that took over.",
    "customer_accounts": "Which accounts a customer belongs to.",
    "customer_consents": "Consent per customer and purpose as of the run; no row means no.",
    "profiles": "One profile per customer: the best known value of each attribute, who stated it, and when.",
    "profile_conflicts": "Attributes that sources state differently of one customer, with every value.",
    "attributions": "Which identifier speaks for how many rows of each source, and how many rows changed hands.",
    "match_candidates": "Pairs of records that look like one person's, and what came of them; empty with matching off.",
    "events": "What happened to customer ids: create, merge, split, unmerge, retire.",
}

#: Pictures of how many identifiers components hold, with the figures that they show.
_SIZES = (
    ("raw_component_sizes", "Components by number of identifiers, before the guards", RAW),
    ("customer_sizes", "Customers by number of identifiers, after the guards", CUSTOMERS),
)


@dg.asset(
    **candidate_arguments(STAGE),
    deps=[["sources", table] for table in SOURCE_TABLES if table not in {"files", "quarantine", "withheld", "charges"}],
)
def identity_candidate(context: dg.AssetExecutionContext, strata: StrataResource) -> dg.MaterializeResult[None]:
    """Who is who as of the run: what the gate judges before anyone reads it."""
    run = run_from_context(context, strata)
    catalog = load_identity_catalog(strata.settings.catalog)
    matching = load_matching_in_force(strata.settings.catalog, strata.settings.matching_models_folder)
    with strata.warehouse().write() as con:
        ledger.require_upstream_open(con, STAGE.name)
        settings = strata.settings
        report = build_candidate(
            con, run, catalog, solver=settings.identity_solver, full=settings.identity_full, matching=matching
        )
    metadata = report_metadata(report)
    for name, title, prefix in _SIZES:
        counts = {shown(size): int(str(report.facts[f"{prefix}{size}"])) for size in CLASSES}
        metadata[name] = bar_chart(title, counts)
    metadata["catalog"] = catalog_link(strata.settings.catalog / "identifiers.yml")
    return dg.MaterializeResult(metadata=metadata)


@dg.multi_asset(**published_arguments(STAGE, TABLES))
def publish_identity(context: dg.AssetExecutionContext, strata: StrataResource) -> Iterator[dg.MaterializeResult[None]]:
    """Let others read what the gate has passed."""
    run = run_from_context(context, strata)
    with strata.warehouse().write() as con:
        ledger.require_passed(con, STAGE.name, run)
        publish(con, run)
        export_state(con, strata.settings.identity_state_folder, run)
        _copy_audit_log(context, con, strata.settings.audit_folder)
        yield from materialize_tables(con, STAGE, TABLES, build_pages(con))


def _copy_audit_log(context: dg.AssetExecutionContext, con: Connection, folder: Path) -> None:
    """Keep the head of the audit log out of the warehouse's reach, daily; a damaged log holds no customer back."""
    problem = audit.verify(con, folder).problem
    if problem:
        context.log.error(f"the audit log is not whole: {problem}; repair: strata audit verify")
    else:
        audit.keep_copy(con, folder)


@dg.asset(
    key=[STAGE.schema, "metrics"],
    deps=[[STAGE.schema, "identifier_map"], [STAGE.schema, "edges"]],
    description="How each run went, and how it scored against labels where there are some.",
    group_name=STAGE.name,
    owners=[STAGE.owner],
    kinds={"duckdb", "table"},
    **WRITES_WAREHOUSE,
)
def identity_metrics(context: dg.AssetExecutionContext, strata: StrataResource) -> dg.MaterializeResult[None]:
    """Keep how the published run went; nothing waits for it, so labels that can't be read stop nobody."""
    run = run_from_context(context, strata)
    settings = strata.settings
    with strata.warehouse().write() as con:
        metrics = keep_run_figures(con, recorded_at=run.recorded_at)
        if settings.identity_truth:
            rules = load_identity_catalog(settings.catalog).rules
            metrics += evaluate(con, settings.identity_truth, rules, recorded_at=run.recorded_at).metrics
        # Each figure by its name, so that Dagster plots it over time; charts beside them for one look at all runs.
        metadata: dict[str, dg.MetadataValue] = {
            one.metric: dg.MetadataValue.float(one.value) for one in metrics if one.value is not None and not one.slice
        }
        metadata |= build_trends(con)
    return dg.MaterializeResult(metadata=metadata)


ASSETS = [identity_candidate, publish_identity, identity_metrics]
