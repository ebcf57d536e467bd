"""Stage `sources`: files that landed become rows of canonical entities, behind a gate.

Belongs here: the order of the steps. The work is in `segmentation/sources`, the gate in
`expectations/suites/sources.py`, and what maps a file to an entity in `catalog/sources`.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

import dagster as dg

from assets.metadata import bar_chart, catalog_link, markdown_table, report_metadata
from assets.stage_assets import candidate_arguments, materialize_tables, published_arguments
from expectations import ledger
from orchestration.resources import StrataResource, run_from_context
from orchestration.stages import stage
from segmentation.erasure.reentry import screen
from segmentation.identity.catalog import load_identifier_rules
from segmentation.identity.purposes import load_purposes
from segmentation.identity.withholding.screening import screen_consent
from segmentation.sources.candidate import build_candidate
from segmentation.sources.entities import ENTITIES
from segmentation.sources.mapping import load_mappings
from segmentation.sources.publish import publish
from segmentation.sources.reasons import UNKNOWN
from segmentation.sources.withheld import WithheldCount, count_withheld

STAGE = stage("sources")

TABLES = {
    **{name: f"Canonical {name.replace('_', ' ')}, append-only, as their sources gave them." for name in ENTITIES},
    "files": "Load ledger: every file by content hash, with what became of its rows.",
    "quarantine": "Rows that could not be loaded, each with file, line and reason.",
    "withheld": "How much was not loaded because its person did not allow what it is for, by purpose and reason.",
}


def _withheld_table(counts: Sequence[WithheldCount]) -> dg.MetadataValue:
    return markdown_table(
        ["source", "entity", "of", "purpose", "reason", "rows"],
        [(one.source, one.entity, one.field or "whole row", one.purpose, one.reason, one.rows) for one in counts[:20]],
    )


@dg.asset(
    **candidate_arguments(STAGE),
)
def sources_candidate(context: dg.AssetExecutionContext, strata: StrataResource) -> dg.MaterializeResult[None]:
    """New files, mapped and typed, and the rows that went to quarantine: what the gate judges."""
    run = run_from_context(context, strata)
    settings = strata.settings
    purposes = load_purposes(settings.catalog)
    mappings = load_mappings(settings.catalog / "sources", known_purposes=purposes.by_name)
    rules = load_identifier_rules(settings.catalog)
    with strata.warehouse().write() as con:
        ledger.require_upstream_open(con, STAGE.name)
        report = build_candidate(con, run, landing=settings.landing_folder, mappings=mappings)
        screened = screen(con, run, rules, settings.keys_folder)
        # After the erased: nothing of theirs is asked for, nor counted, twice.
        withheld = screen_consent(con, run, mappings, rules, purposes)
        counts = count_withheld(con, of_candidate=True)
    metadata = report_metadata(report) | {
        "rows_of_erased_dropped": dg.MetadataValue.int(screened.rows_dropped),
        "rows_of_erased_stripped": dg.MetadataValue.int(screened.rows_stripped),
        "rows_withheld": dg.MetadataValue.int(withheld.rows_dropped),
        "values_withheld": dg.MetadataValue.int(withheld.values_stripped),
        "catalog": catalog_link(settings.catalog / "sources"),
    }
    if counts:
        metadata["withheld"] = _withheld_table(counts)
    return dg.MaterializeResult(metadata=metadata)


@dg.multi_asset(**published_arguments(STAGE, TABLES))
def publish_sources(context: dg.AssetExecutionContext, strata: StrataResource) -> Iterator[dg.MaterializeResult[None]]:
    """Let others read what the gate has passed."""
    run = run_from_context(context, strata)
    with strata.warehouse().write() as con:
        ledger.require_passed(con, STAGE.name, run)
        publish(con, run)
        reasons = con.execute(
            f"select entity, coalesce(reason_code, '{UNKNOWN}'), count(*) as n from sources.quarantine "
            "group by all order by n desc, 1, 2 limit 20"
        ).fetchall()
        files = con.execute(
            "select entity, sum(rows_loaded)::bigint from sources.files group by 1 order by 2 desc, 1 limit 15"
        ).fetchall()
        withheld = count_withheld(con)
        by_reason: Counter[str] = Counter()
        for one in withheld:
            by_reason[one.reason] += one.rows
        extra = {
            "withheld": {
                "withheld": _withheld_table(withheld),
                "by_reason": bar_chart("Withheld for want of consent, by reason", by_reason),
            },
            "quarantine": {"reasons": markdown_table(["entity", "reason", "rows"], reasons)},
            "files": {"rows_loaded": bar_chart("Rows loaded by entity", dict(files))},
        }
        yield from materialize_tables(con, STAGE, TABLES, extra)


ASSETS = [sources_candidate, publish_sources]
