"""All definitions, composed in one place.

Belongs here: putting parts together. Does not belong here: any part.
"""

from typing import Any

import dagster as dg
from dagster_dbt import DbtProject

import assets.costs
import assets.features
import assets.identity
import assets.marts
import assets.segment_backfills
import assets.segments
import assets.sources
import assets.sync
from expectations.gates import build_gate_checks
from orchestration.automation import behind_gates, build_automation_sensor
from orchestration.dbt_project import StrataTranslator, load_project
from orchestration.executors import build_executor
from orchestration.jobs import REFRESH_ALL, Assets, build_backfill_job, build_jobs
from orchestration.matching_training import train_matching
from orchestration.monthly_review import review_catalog
from orchestration.resources import StrataResource
from orchestration.schedules import build_schedules
from orchestration.settings import Settings
from sensors.alerts import build_alert_sensors
from sensors.arrivals import build_arrival_sensor


def build_parts(project: DbtProject) -> dict[str, Assets]:
    """Return the assets of each part of the flow, in order: the stages, then what readers get."""
    condition = behind_gates()
    translator = StrataTranslator(marts_condition=condition)
    return {
        "sources": assets.sources.ASSETS,
        "identity": assets.identity.ASSETS,
        "features": assets.features.build_assets(project, translator),
        "segments": assets.segments.ASSETS,
        "costs": assets.costs.ASSETS,
        "sync": assets.sync.ASSETS,
        "marts": assets.marts.build_assets(project, translator, condition),
    }


def build_definitions(settings: Settings, parts: dict[str, Assets] | None = None, **overrides: Any) -> dg.Definitions:
    """Return everything Dagster knows of Strata.

    Args:
        settings: The installation.
        parts: What `build_parts` returned, where that has been asked already.
        overrides: Resources that replace the usual ones, by key.
    """
    parts = parts or build_parts(load_project(settings))
    return dg.Definitions(
        assets=[*(asset for part in parts.values() for asset in part), assets.segment_backfills.segment_backfills],
        asset_checks=build_gate_checks(),
        jobs=[
            *build_jobs(settings, parts),
            build_backfill_job(settings),
            train_matching,
            review_catalog,
        ],
        schedules=build_schedules(settings),
        sensors=[
            build_arrival_sensor(settings, REFRESH_ALL),
            *build_alert_sensors(settings),
            build_automation_sensor(settings),
        ],
        resources={"strata": StrataResource.of(settings)} | overrides,
        executor=build_executor(settings),
    )


@dg.definitions
def defs() -> dg.Definitions:
    """Definitions of the installation that the environment describes."""
    return build_definitions(Settings.load())
