"""Stage `sync`: every destination is brought to what membership says, behind a gate, and proves it.

Belongs here: the order of the steps. The work is in `segmentation/sync`, the gate in
`expectations/suites/sync.py`, and who gets what in `catalog/destinations.yml`.
"""

from collections.abc import Iterator

import dagster as dg

from assets.metadata import catalog_link, markdown_table, report_metadata
from assets.stage_assets import WRITES_WAREHOUSE, candidate_arguments, materialize_tables, published_arguments
from expectations import ledger
from orchestration.resources import StrataResource, run_from_context
from orchestration.settings import Settings, now
from orchestration.stages import stage
from segmentation.identity.purposes import load_purposes
from segmentation.sync.candidate import build_candidate
from segmentation.sync.catalog import FlagdDestination, SqlDestination, load_destinations
from segmentation.sync.left_places import find_left
from segmentation.sync.publish import publish
from segmentation.sync.withdrawals import deliver_withdrawals

STAGE = stage("sync")

#: What withdrawn consent is taken out of destinations by; ahead of every stage but the first two.
WITHDRAWALS = dg.AssetKey([STAGE.schema, "withdrawals"])

TABLES = {
    "desired": "What every destination should hold, per view and customer.",
    "destinations": "Where every destination stands: epoch, position, state.",
    "receipts": "What every delivery wrote, and a digest of what the destination holds after it.",
    "reconciliations": "What was read back from every destination, compared with what it should hold.",
    "dead_letters": "Rows that a destination refused, kept until it takes them.",
}


def read_destinations(settings: Settings) -> list[SqlDestination | FlagdDestination]:
    """Return the catalog of destinations with this installation's places filled in."""
    purposes = load_purposes(settings.catalog)
    return load_destinations(
        settings.catalog / "destinations.yml",
        {"data": str(settings.data)},
        known_purposes=list(purposes.by_name),
    )


@dg.asset(
    key=WITHDRAWALS,
    deps=[["identity", "customer_consents"], ["identity", "customer_aliases"]],
    check_specs=[
        dg.AssetCheckSpec(
            "withdrawals_arrive",
            asset=WITHDRAWALS,
            description="Every destination was told who may no longer be in it.",
        )
    ],
    group_name=STAGE.name,
    owners=[STAGE.owner],
    kinds={"python", "duckdb"},
    **WRITES_WAREHOUSE,
)
def sync_withdrawals(context: dg.AssetExecutionContext, strata: StrataResource) -> dg.MaterializeResult:
    """Whom destinations may no longer hold, taken out of them as soon as identity has published it.

    It waits for no later gate. A destination that can't be reached keeps the full delivery from nothing: that tries
    it again, and fails.
    """
    run = run_from_context(context, strata)
    settings = strata.settings
    destinations = read_destinations(settings)
    with strata.warehouse().write() as con:
        # What features, segments and costs say makes no difference to who refused what.
        ledger.require_upstream_open(con, "features")
        found = deliver_withdrawals(
            con,
            run,
            destinations=destinations,
            state_url=settings.sync_state,
            unconditional_purposes=load_purposes(settings.catalog).unconditional,
        )
    for name, error in found.failures.items():
        context.log.error(f"destination {name} was not told who may no longer be in it: {error.message}")
    told = [[one.destination, one.mode, one.deleted, one.written, one.lag_rows] for one in found.deliveries]
    waited = {name: int((now() - since).total_seconds()) for name, since in sorted(found.refused_since.items())}
    problems = {name: error.what for name, error in found.failures.items()}
    repairs = [error.repair for error in found.failures.values()]
    for one in destinations:
        if waited.get(one.name, 0) > one.max_withdrawal_seconds:
            problems[one.name] = (
                f"a refusal took {waited[one.name]:,} s to arrive, at most {one.max_withdrawal_seconds:,} s are allowed"
            )
            repairs.append("load consent events, or run, more often; or raise max_withdrawal_seconds")
    return dg.MaterializeResult(
        metadata={
            "removed": dg.MetadataValue.int(found.removed),
            "reduced": dg.MetadataValue.int(found.reduced),
            "deliveries": markdown_table(["destination", "mode", "deleted", "written", "behind"], told),
            "consent_propagation_seconds": markdown_table(["destination", "seconds"], list(map(list, waited.items()))),
        },
        check_results=[
            dg.AssetCheckResult(
                check_name="withdrawals_arrive",
                passed=not problems,
                severity=dg.AssetCheckSeverity.WARN,
                description="; ".join(f"{name}: {what}" for name, what in problems.items())
                or "every destination was told",
                metadata={"repair": "; ".join(dict.fromkeys(repairs))},
            )
        ],
    )


@dg.asset(
    **candidate_arguments(STAGE),
    deps=[
        # A full delivery is compared with what was delivered before, so it comes after.
        WITHDRAWALS,
        ["segments", "membership"],
        ["segments", "effective"],
        ["identity", "customer_consents"],
        ["identity", "customer_aliases"],
        ["costs", "reconciliation"],
    ],
)
def sync_candidate(context: dg.AssetExecutionContext, strata: StrataResource) -> dg.MaterializeResult[None]:
    """What each destination should hold, and what would change for it: what the gate judges."""
    run = run_from_context(context, strata)
    settings = strata.settings
    purposes = load_purposes(settings.catalog)
    with strata.warehouse().write() as con:
        ledger.require_upstream_open(con, STAGE.name)
        report = build_candidate(
            con,
            run,
            destinations=read_destinations(settings),
            state_url=settings.sync_state,
            unconditional_purposes=purposes.unconditional,
        )
    metadata = report_metadata(report)
    metadata["catalog"] = catalog_link(settings.catalog / "destinations.yml")
    return dg.MaterializeResult(metadata=metadata)


@dg.multi_asset(**published_arguments(STAGE, TABLES))
def publish_sync(context: dg.AssetExecutionContext, strata: StrataResource) -> Iterator[dg.MaterializeResult[None]]:
    """Deliver what the gate has passed, and prove what every destination holds."""
    run = run_from_context(context, strata)
    with strata.warehouse().write() as con:
        ledger.require_passed(con, STAGE.name, run)
        destinations = read_destinations(strata.settings)
        publish(con, run, destinations=destinations, state_url=strata.settings.sync_state)
        left = find_left(strata.settings.sync_state, destinations)
        for place in left:
            context.log.warning(f"{place.fact}; {place.repair}")
        receipts = con.execute(
            "select destination, mode, seq, rows_written, rows_deleted, rows_held, digest from sync.receipts "
            "where run_id = ? order by destination",
            [run.run_id],
        ).fetchall()
        header = ["destination", "mode", "position", "written", "deleted", "held", "digest"]
        yield from materialize_tables(
            con,
            STAGE,
            TABLES,
            {
                "receipts": {"deliveries": markdown_table(header, receipts)},
                "destinations": {
                    "places_left": markdown_table(
                        ["destination", "place", "customers", "repair"],
                        [[one.destination, one.url, one.customers, one.repair] for one in left],
                    )
                },
            },
        )


ASSETS = [sync_withdrawals, sync_candidate, publish_sync]
