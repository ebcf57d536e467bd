"""Failed gates and failed runs call for people: in the log, and at a webhook where one is set.

Belongs here: what an alert says and where it goes. Does not belong here: whether a gate fails
(`expectations/`). An alert that can't be delivered is logged and never fails the sensor: the run's own
state already tells.
"""

import http.client
import json
import logging
import urllib.request
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

import dagster as dg

from orchestration.settings import Settings

_TIMEOUT_SECONDS = 10
_MESSAGE_LENGTH = 2000


@dataclass(frozen=True, slots=True)
class Alert:
    """One message to people.

    Attributes:
        kind: ``gate_closed``, ``gate_warning`` or ``run_failed``.
        run_id: The run concerned.
        job: Its job.
        subject: The gate or step concerned.
        message: What happened, and how to repair it.
    """

    kind: str
    run_id: str
    job: str
    subject: str
    message: str


def gate_alerts(run: dg.DagsterRun, evaluations: Iterable[dg.AssetCheckEvaluation]) -> list[Alert]:
    """Return an alert for every failed check of a run: a closed gate, or a warning."""
    alerts = []
    for evaluation in evaluations:
        if evaluation.passed:
            continue
        closes = evaluation.severity == dg.AssetCheckSeverity.ERROR
        repair = evaluation.metadata.get("repair")
        told = [evaluation.description or "", str(repair.value) if repair else ""]
        details = "\n".join(filter(None, told)) or "see the check in the UI"
        alerts.append(
            Alert(
                kind="gate_closed" if closes else "gate_warning",
                run_id=run.run_id,
                job=run.job_name,
                subject=f"{evaluation.asset_key.to_user_string()}: {evaluation.check_name}",
                message=details[:_MESSAGE_LENGTH],
            )
        )
    return alerts


class _RefuseRedirects(urllib.request.HTTPRedirectHandler):
    """Goes nowhere but to the address that the settings name: a redirect could lead into the inner network."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Follow no redirect; the answer then counts as a failure."""


_OPENER = urllib.request.build_opener(_RefuseRedirects)


def post(url: str, alert: Alert) -> None:
    """Post an alert as JSON.

    Raises:
        OSError: The address did not answer, not with success, or with a redirect; or it is no address.
    """
    if not url.startswith(("http://", "https://")):
        raise OSError(f"an alert goes to http or https, not to {url.split(':', maxsplit=1)[0]}")
    try:
        request = urllib.request.Request(  # noqa: S310 - the scheme was checked
            url, data=json.dumps(asdict(alert)).encode(), headers={"content-type": "application/json"}, method="POST"
        )
        with _OPENER.open(request, timeout=_TIMEOUT_SECONDS):
            return
    except (ValueError, http.client.HTTPException) as error:
        # Their texts may quote the address, which is a secret.
        raise OSError(f"the address or the answer is malformed ({type(error).__name__})") from None


def deliver(alerts: Iterable[Alert], settings: Settings, log: logging.Logger) -> None:
    """Log alerts and post them where a webhook is set."""
    for alert in alerts:
        level = logging.WARNING if alert.kind == "gate_warning" else logging.ERROR
        log.log(level, "%s %s (%s, run %s)\n%s", alert.kind, alert.subject, alert.job, alert.run_id, alert.message)
        if settings.alert_webhook_url:
            try:
                post(settings.alert_webhook_url.get_secret_value(), alert)
            except OSError as error:
                log.error("the alert could not be posted: %s", error)  # noqa: TRY400 - a trace tells no more


def _evaluations(context: dg.RunStatusSensorContext) -> list[dg.AssetCheckEvaluation]:
    records = context.instance.get_records_for_run(
        context.dagster_run.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION
    ).records
    return [
        record.event_log_entry.dagster_event.asset_check_evaluation_data
        for record in records
        if record.event_log_entry.dagster_event
    ]


def build_alert_sensors(settings: Settings) -> list[dg.SensorDefinition]:
    """Return the sensors for failed runs (closed gates included) and for warnings of runs that went on."""
    status = dg.DefaultSensorStatus.RUNNING if settings.automation else dg.DefaultSensorStatus.STOPPED

    def alert_failure(context: dg.RunStatusSensorContext) -> None:
        alerts = gate_alerts(context.dagster_run, _evaluations(context))
        if not any(alert.kind == "gate_closed" for alert in alerts):
            event = context.dagster_event
            alerts.append(
                Alert(
                    kind="run_failed",
                    run_id=context.dagster_run.run_id,
                    job=context.dagster_run.job_name,
                    subject="run",
                    message=(event.message or "see the run in the UI")[:_MESSAGE_LENGTH],
                )
            )
        deliver(alerts, settings, context.log)

    def alert_warnings(context: dg.RunStatusSensorContext) -> None:
        deliver(gate_alerts(context.dagster_run, _evaluations(context)), settings, context.log)

    return [
        _sensor("failure_alert_sensor", dg.DagsterRunStatus.FAILURE, alert_failure, status),
        _sensor("warning_alert_sensor", dg.DagsterRunStatus.SUCCESS, alert_warnings, status),
    ]


def _sensor(
    name: str,
    run_status: dg.DagsterRunStatus,
    alert: Callable[[dg.RunStatusSensorContext], None],
    status: dg.DefaultSensorStatus,
) -> dg.SensorDefinition:
    @dg.run_status_sensor(
        run_status=run_status,
        name=name,
        default_status=status,
        minimum_interval_seconds=30,
        description="Tells people, in the log and at the alert webhook, what failed and how to repair it.",
    )
    def sensor(context: dg.RunStatusSensorContext) -> None:
        alert(context)

    return sensor
