"""Stage `costs`: the bill is allocated to segments, to the micro, behind a gate.

Belongs here: the order of the steps. The work is in `segmentation/costs`, the gate in
`expectations/suites/costs.py`, and what is shared how in `catalog/cost_pools.yml`.
"""

from collections.abc import Iterator

import dagster as dg

from assets.metadata import bar_chart, catalog_link, report_metadata
from assets.stage_assets import candidate_arguments, materialize_tables, published_arguments
from expectations import ledger
from orchestration.resources import StrataResource, run_from_context
from orchestration.stages import stage
from segmentation.costs.candidate import build_candidate
from segmentation.costs.pools import load_pools
from segmentation.costs.publish import publish

STAGE = stage("costs")

TABLES = {
    "charges": "Charges of the bill in micros, one row per version.",
    "drivers_daily": "What segments used per day: the quantities that costs follow.",
    "allocations": "Each charge's shares by segment, in the exclusive and the full view.",
    "reconciliation": "For each charge, charged against allocated; the difference must be zero.",
    "findings": "What the allocation found odd: idle below zero, drivers that do not match.",
}


@dg.asset(
    **candidate_arguments(STAGE),
    deps=[
        ["sources", "charges"],
        ["sources", "requests"],
        ["sources", "orders"],
        ["sources", "events"],
        ["segments", "membership_history"],
    ],
)
def costs_candidate(context: dg.AssetExecutionContext, strata: StrataResource) -> dg.MaterializeResult[None]:
    """The bill by segment, reconciled with the bill: what the gate judges."""
    run = run_from_context(context, strata)
    pools = load_pools(strata.settings.catalog / "cost_pools.yml")
    with strata.warehouse().write() as con:
        ledger.require_upstream_open(con, STAGE.name)
        report = build_candidate(con, run, pools)
    metadata = report_metadata(report)
    metadata["catalog"] = catalog_link(strata.settings.catalog / "cost_pools.yml")
    return dg.MaterializeResult(metadata=metadata)


@dg.multi_asset(**published_arguments(STAGE, TABLES))
def publish_costs(context: dg.AssetExecutionContext, strata: StrataResource) -> Iterator[dg.MaterializeResult[None]]:
    """Let others read what the gate has passed."""
    run = run_from_context(context, strata)
    with strata.warehouse().write() as con:
        ledger.require_passed(con, STAGE.name, run)
        publish(con, run)
        shares = con.execute(
            "select segment_key, (sum(allocated_effective_micros) // 1000000)::bigint from costs.allocations "
            "where allocation_view = 'exclusive' group by 1 order by 2 desc, 1"
        ).fetchall()
        extra = {"allocations": {"by_segment": bar_chart("Allocated cost by segment (whole units)", dict(shares))}}
        yield from materialize_tables(con, STAGE, TABLES, extra)


ASSETS = [costs_candidate, publish_costs]
