"""What can be run by name: the whole chain, or one stage with its gate."""

from collections.abc import Mapping, Sequence

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from orchestration.executors import build_executor
from orchestration.settings import Settings
from orchestration.stages import STAGES

#: The job that runs everything, in order.
REFRESH_ALL = "refresh_all"

Assets = Sequence[dg.AssetsDefinition]


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
            selection=dg.AssetSelection.all(),
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
    return jobs
