"""What can be run by name: the whole chain, one stage with its gate, or a decision about one segment."""

from collections.abc import Mapping, Sequence

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from orchestration.executors import build_executor
from orchestration.resources import PINS_ALONE_TAG
from orchestration.settings import Settings
from orchestration.stages import STAGES, stage
from segmentation.segments.pin_decisions import URGENT

#: The job that runs everything, in order.
REFRESH_ALL = "refresh_all"

Assets = Sequence[dg.AssetsDefinition]

#: The job that recomputes membership of past days.
BACKFILL = "backfill_segments"

#: What it fills.
BACKFILLS = dg.AssetKey([stage("segments").schema, "backfills"])

#: What people may decide about a segment, and what it does.
_DECISIONS = {
    "freeze": "Holds a segment to its present members, whatever its rule says.",
    "kill": "Empties a segment now.",
    "rollback": "Puts a segment's membership back as it was, and holds it there.",
    "unfreeze": "Lets a segment follow its rule again.",
}


def stage_job(stage: str) -> str:
    """Return the name of the job that runs one stage."""
    return f"refresh_{stage}"


def build_jobs(settings: Settings, assets: Mapping[str, Assets]) -> list[UnresolvedAssetJobDefinition]:
    """Return the jobs.

    Args:
        settings: Decide how steps run.
        assets: The assets of each part of the flow, by its name.
    """
    executor = build_executor(settings)
    jobs = [
        dg.define_asset_job(
            REFRESH_ALL,
            # Past days are asked for by people, a few at a time.
            selection=dg.AssetSelection.all() - dg.AssetSelection.assets(BACKFILLS),
            description="Runs every stage in order; a gate that closes stops what comes after it.",
            executor_def=executor,
        )
    ]
    summaries = {stage.name: stage.summary for stage in STAGES} | {"marts": "Build what analysts read."}
    jobs += [
        dg.define_asset_job(
            stage_job(name),
            selection=dg.AssetSelection.assets(*assets[name]),
            description=summaries[name],
            executor_def=executor,
        )
        for name in assets
    ]
    jobs += [_decision_job(action, what, assets, executor) for action, what in _DECISIONS.items()]
    return jobs


def build_backfill_job(settings: Settings) -> UnresolvedAssetJobDefinition:
    """Return the job that recomputes who was in a segment on past days; a run of it takes any number of days."""
    return dg.define_asset_job(
        BACKFILL,
        selection=dg.AssetSelection.assets(BACKFILLS),
        description="Recomputes who was in a segment at the end of past days. Fill in segments, author and reason; "
        "without them it goes on with what was asked for and is missing.",
        executor_def=build_executor(settings),
    )


def _decision_job(
    action: str, what: str, assets: Mapping[str, Assets], executor: dg.ExecutorDefinition
) -> UnresolvedAssetJobDefinition:
    """Return the job by which people decide about one segment in the UI; it asks for the segment, and who and why."""
    step = "__".join(stage("segments").candidate_key)
    asked = {"action": action, "segment": "", "author": "", "reason": ""} | ({"to": ""} if action == "rollback" else {})
    to_fill_in = "segment, author, reason and to" if action == "rollback" else "segment, author and reason"
    following = list(assets)[list(assets).index("segments") :]
    return dg.define_asset_job(
        f"{action}_segment",
        selection=dg.AssetSelection.assets(*(asset for name in following for asset in assets[name])),
        description=f"{what} Fill in {to_fill_in}; then it runs from segments on, through the gates.",
        config={"ops": {step: {"config": asked}}},
        tags={PINS_ALONE_TAG: "true"} if action in URGENT else None,
        executor_def=executor,
    )
