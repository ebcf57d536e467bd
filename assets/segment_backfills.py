"""Who was in a segment on past days, as an asset with a partition a day; no stage reads it, and no gate judges it.

Belongs here: the asset, and what a run is told. Does not belong here: computing days
(`orchestration/segment_backfill.py`) or the command (`orchestration/commands/backfill.py`). One run takes any number
of days, because all of them use one copy of the warehouse.
"""

import warnings
from datetime import date

import dagster as dg
from pydantic import Field

from orchestration.resources import StrataResource
from orchestration.segment_backfill import Request, backfill
from orchestration.stages import stage
from segmentation.contracts import ensure_schema
from segmentation.errors import StrataError
from segmentation.segments.backfill_days import FIRST_DAY, list_asked

#: Days, UTC.
DAYS = dg.DailyPartitionsDefinition(start_date=FIRST_DAY.isoformat(), timezone="UTC")

KEY = dg.AssetKey(["segments", "backfills"])

_STAGE = stage("segments")


class BackfillRequest(dg.Config):
    """What a run recomputes; without segments, whatever is still asked for on its days."""

    segments: list[str] = Field(default=[], description="Segment keys; empty for what is asked for and missing.")
    version: int = Field(default=0, description="A recorded version of one segment; 0 for the live ones.")
    renew: bool = Field(default=False, description="Compute days again that were computed on older data.")
    author: str = Field(default="", description="Who asks; kept for good.")
    reason: str = Field(default="", description="Why, such as a ticket; kept for good, so name no person.")


# Dagster says so to whoever starts a command.
warnings.filterwarnings("ignore", "Parameter `backfill_policy`", dg.BetaWarning)


@dg.asset(
    key=KEY,
    partitions_def=DAYS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    group_name=_STAGE.name,
    owners=[_STAGE.owner],
    kinds={"duckdb", "dbt"},
    deps=[["segments", "catalog"], ["features", "customer_features"]],
    description="Who would have been in a segment at the end of past days, by one version of its rule. Nothing of it "
    "is live: no stage, destination or invoice follows from it.",
)
def segment_backfills(
    context: dg.AssetExecutionContext, config: BackfillRequest, strata: StrataResource
) -> dg.MaterializeResult[None]:
    """Compute the days of the run that are missing."""
    settings = strata.settings
    days = sorted(date.fromisoformat(key) for key in context.partition_keys)
    if config.segments:
        version = config.version or None
        requests = [
            Request(tuple(config.segments), days[0], days[-1], config.author, config.reason, version, config.renew)
        ]
    else:
        requests = [
            Request((key,), days[0], days[-1], author, reason, version)
            for key, version, author, reason in _find_asked(strata, days)
        ]
    asked, computed, members = 0, 0, 0
    for one in requests:
        outcome = backfill(settings, one, context.run.run_id, context.log.info)
        asked += outcome.days_asked
        computed += len(outcome.kept)
        members += sum(sum(kept.members.values()) for kept in outcome.kept)
    return dg.MaterializeResult(metadata={"days_asked": asked, "days_computed": computed, "members_found": members})


def _find_asked(strata: StrataResource, days: list[date]) -> list[tuple[str, int, str, str]]:
    with strata.warehouse().write() as con:
        ensure_schema(con, "segments")
        found = list_asked(con, days)
    if not found:
        raise StrataError(
            f"nothing is asked for from {days[0]} to {days[-1]}",
            where="segments.backfill_days",
            expected="segments in the run's configuration, or days that a stopped backfill left",
            repair="fill in segments, author and reason; or strata backfill SEGMENT --from DATE --to DATE",
        )
    return found
