"""When runs start by the clock."""

import dagster as dg

from orchestration.jobs import REFRESH_ALL
from orchestration.resources import DUE_TAG
from orchestration.settings import Settings

#: The job that looks for segments that nobody needs, and when it does: on the first of a month, in the morning.
REVIEW_CATALOG = "review_catalog"
_REVIEW_CRON = "0 7 1 * *"


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

    monthly_review = dg.ScheduleDefinition(
        name="monthly_review_schedule",
        job_name=REVIEW_CATALOG,
        cron_schedule=_REVIEW_CRON,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING if settings.automation else dg.DefaultScheduleStatus.STOPPED,
        description="Asks once a month which segments nobody needs any more; the alert sensor tells people.",
    )
    return [daily_schedule, monthly_review]
