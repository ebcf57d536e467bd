"""When runs start by the clock."""

import dagster as dg

from orchestration.jobs import REFRESH_ALL
from orchestration.resources import DUE_TAG
from orchestration.settings import Settings


def build_schedules(settings: Settings) -> list[dg.ScheduleDefinition]:
    """Return the schedules, switched on where the settings say so."""

    @dg.schedule(
        name="daily_schedule",
        job_name=REFRESH_ALL,
        cron_schedule=settings.schedule_cron,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING if settings.automation else dg.DefaultScheduleStatus.STOPPED,
        description="Runs the whole chain once a day, as of the scheduled time: a late start changes no result.",
    )
    def daily_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        moment = context.scheduled_execution_time
        due = settings.resolve_as_of(moment)
        return dg.RunRequest(run_key=moment.isoformat(), tags={DUE_TAG: due.isoformat()})

    return [daily_schedule]
