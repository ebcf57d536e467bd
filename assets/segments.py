"""Stage `segments`: rules over features become membership and a log of changes, behind a gate.

Belongs here: the order of the steps. The work is in `segmentation/segments`, the gate in
`expectations/suites/segments.py`, and the definitions in `catalog/segments`.
"""

from collections.abc import Iterator
from functools import partial

import dagster as dg

from assets.metadata import bar_chart, catalog_link, markdown_table, report_metadata, upset_chart
from assets.segment_decisions import SegmentDecision, decide
from assets.segment_usages import read_usages
from assets.stage_assets import candidate_arguments, materialize_tables, published_arguments
from expectations import ledger
from orchestration.resources import PINS_ALONE_TAG, PLANNED_TAG, StrataResource, run_from_context
from orchestration.stages import stage
from segmentation.contracts import ensure_schema
from segmentation.features.contract import load_contract
from segmentation.segments.application import require_base
from segmentation.segments.candidate import build_candidate
from segmentation.segments.catalog_facts import read_catalog_facts
from segmentation.segments.catalog_page import write_page
from segmentation.segments.history import measure_churn
from segmentation.segments.in_force import definitions_live, definitions_to_evaluate
from segmentation.segments.overlaps import largest_combinations, measure_overlaps
from segmentation.segments.plan import read_base
from segmentation.segments.publish import publish
from segmentation.segments.state import export_state

STAGE = stage("segments")

TABLES = {
    "catalog": "Definitions as they were evaluated.",
    "versions": "Every definition that ever ran.",
    "membership": "Who is in which segment now.",
    "account_membership": "Which accounts are in which segment of accounts; their customers inherit it.",
    "membership_changes": "Every entry and exit, in order, with its cause.",
    "membership_history": "Who was in which segment, and when.",
    "effective": "The one segment of each exclusive group that a customer is in.",
    "conflicts": "Customers whom two segments of one exclusive group claimed, and which one won.",
    "sizes_daily": "Members, entries and exits per segment and day.",
    "overlaps": "How many customers each pair of segments shares, as members and before precedence.",
}


@dg.asset(
    **candidate_arguments(STAGE),
    deps=[["features", "customer_features"], ["features", "account_features"], ["identity", "events"]],
)
def segments_candidate(
    context: dg.AssetExecutionContext, config: SegmentDecision, strata: StrataResource
) -> dg.MaterializeResult[None]:
    """What the rules say now, before and after for every segment: what the gate judges."""
    run = run_from_context(context, strata)
    settings = strata.settings
    contract = load_contract(settings.dbt_project)
    with strata.warehouse().write() as con:
        ledger.require_upstream_open(con, STAGE.name)
        ensure_schema(con, STAGE.schema)
        decided = decide(con, settings, config)
        pins_alone = PINS_ALONE_TAG in context.run.tags
        planned = context.run.tags.get(PLANNED_TAG)
        if pins_alone:
            catalog = definitions_live(con, settings.catalog, contract)
        else:
            # What was approved is what is here, or nothing is proposed.
            check = partial(require_base, con, read_base(planned)) if planned else None
            catalog = definitions_to_evaluate(
                con, settings.catalog, contract, at=run.recorded_at, check=check, usages=read_usages(con, settings)
            )
        report = build_candidate(con, run, catalog, pins_alone=pins_alone)
        sizes = con.execute(
            "select segment_key, members_before, members_after, entering, leaving "
            "from segments.candidate_sizes order by members_after desc, segment_key"
        ).fetchall()
        canaries = con.execute(
            "select segment_key, percent, state, hold_until, reason, checks "
            "from segments.candidate_canaries order by segment_key"
        ).fetchall()
    metadata = report_metadata(report) | decided
    metadata["sizes"] = markdown_table(["segment", "before", "after", "entering", "leaving"], sizes)
    for one in catalog.held:
        context.log.warning(f"{one.subject} keeps its approved version: {'; '.join(one.reasons)} ({one.unit_key})")
    waiting = [[one.unit_key, one.subject, one.what, one.change_class, "; ".join(one.reasons)] for one in catalog.held]
    metadata["waiting"] = markdown_table(["unit", "what waits", "change", "class", "why"], waiting)
    metadata["canaries"] = markdown_table(["segment", "percent", "state", "until", "why", "metrics"], canaries)
    metadata["catalog"] = catalog_link(settings.catalog / "segments")
    return dg.MaterializeResult(metadata=metadata)


@dg.multi_asset(**published_arguments(STAGE, TABLES))
def publish_segments(context: dg.AssetExecutionContext, strata: StrataResource) -> Iterator[dg.MaterializeResult[None]]:
    """Let others read what the gate has passed."""
    run = run_from_context(context, strata)
    with strata.warehouse().write() as con:
        ledger.require_passed(con, STAGE.name, run)
        publish(con, run)
        measure_overlaps(con, run)
        export_state(con, strata.settings.segments_state_folder, run)
        # A page can be written again; the state that was not exported is lost with the warehouse.
        write_page(read_catalog_facts(con), strata.settings.catalog_page)
        members = dict(
            con.execute(
                "select segment_key, count(*) as n from segments.membership group by 1 order by 2 desc, 1"
            ).fetchall()
        )
        causes = con.execute(
            "select change, cause, count(*) as n from segments.membership_changes "
            "where run_id = ? group by all order by all",
            [run.run_id],
        ).fetchall()
        definitions = con.execute(
            "select segment_key, segment_version, owner, catalog_file from segments.catalog order by 1"
        ).fetchall()
        churn = [
            [
                one.segment_key,
                one.members_at_start,
                one.entries,
                one.exits,
                _share(one.churn_ratio),
                _share(one.flap_ratio),
            ]
            for one in measure_churn(con, run.as_of)
        ]
        extra: dict[str, dict[str, dg.MetadataValue]] = {
            "membership": {
                "sizes": bar_chart("Members by segment", members),
                **{f"members/{key}": dg.MetadataValue.int(size) for key, size in members.items()},
            },
            "membership_changes": {"causes": markdown_table(["change", "cause", "customers"], causes)},
            "membership_history": {
                "churn_in_30_days": markdown_table(
                    ["segment", "members then", "entries", "exits", "churn", "back within 7 days"], churn
                )
            },
            "overlaps": {"combinations": upset_chart("Who is in which segments", largest_combinations(con))},
            "catalog": {
                "definitions": markdown_table(["segment", "version", "owner", "file"], definitions),
                "page": dg.MetadataValue.path(strata.settings.catalog_page),
            },
        }
        yield from materialize_tables(con, STAGE, TABLES, extra)


def _share(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.1%}"


ASSETS = [segments_candidate, publish_segments]
