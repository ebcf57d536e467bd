"""Arrivals start runs, once; failures reach people."""

import json
import logging
import os
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import dagster as dg
import pytest

from orchestration.monthly_review import review_catalog
from orchestration.resources import StrataResource
from orchestration.schedules import build_schedules
from orchestration.settings import Settings
from segmentation import contracts
from sensors.alerts import Alert, build_alert_sensors, deliver
from sensors.arrivals import build_arrival_sensor, list_landed


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = Settings.load(data=tmp_path, arrival_settle_seconds=10)
    made.landing_folder.mkdir(parents=True)
    return made


def land(settings: Settings, name: str, text: str, age_seconds: float = 60) -> Path:
    path = settings.landing_folder / "orders" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    moment = time.time() - age_seconds
    os.utime(path, (moment, moment))
    return path


def tick(settings: Settings, cursor: str | None = None) -> tuple[list[dg.RunRequest], str | None, str]:
    sensor = build_arrival_sensor(settings, "refresh_all")
    with dg.DagsterInstance.ephemeral() as instance:
        context = dg.build_sensor_context(instance=instance, cursor=cursor)
        result = sensor.evaluate_tick(context)
        return list(result.run_requests or []), result.cursor, result.skip_message or ""


def test_an_empty_landing_folder_starts_nothing(settings: Settings) -> None:
    requests, _, skipped = tick(settings)
    assert requests == []
    assert "nothing has landed" in skipped


def test_a_landed_file_starts_one_run(settings: Settings) -> None:
    land(settings, "a.csv", "id\n1\n")
    requests, cursor, _ = tick(settings)
    assert len(requests) == 1
    again, _, skipped = tick(settings, cursor)
    assert again == []
    assert "nothing new" in skipped


def test_a_changed_file_starts_another_run(settings: Settings) -> None:
    land(settings, "a.csv", "id\n1\n")
    first, cursor, _ = tick(settings)
    land(settings, "a.csv", "id\n1\n2\n", age_seconds=30)
    second, _, _ = tick(settings, cursor)
    assert len(second) == 1
    assert first[0].run_key != second[0].run_key


def test_a_file_that_is_still_arriving_waits(settings: Settings) -> None:
    land(settings, "a.csv", "id\n1\n", age_seconds=0)
    requests, cursor, skipped = tick(settings)
    assert requests == []
    assert "still arriving" in skipped
    assert cursor is None


def test_a_clock_that_jumped_back_does_not_hold_a_file_for_ever(settings: Settings) -> None:
    land(settings, "a.csv", "id\n1\n", age_seconds=-3600)
    requests, _, _ = tick(settings)
    assert len(requests) == 1


def test_partial_and_hidden_files_have_not_landed(settings: Settings) -> None:
    for name in ("a.csv.part", ".a.csv", "_a.csv", "b.tmp"):
        land(settings, name, "id\n")
    assert list_landed(settings.landing_folder) == []


class Receiver(BaseHTTPRequestHandler):
    received: list[dict[str, str]] = []
    status = 200

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        Receiver.received.append(json.loads(body))
        self.send_response(Receiver.status)
        if Receiver.status == 302:
            self.send_header("location", self.path + "/elsewhere")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Keep the test's output quiet."""


@pytest.fixture
def webhook() -> Iterator[str]:
    Receiver.received, Receiver.status = [], 200
    server = HTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/alerts"
    server.shutdown()
    thread.join()
    server.server_close()


ALERT = Alert("gate_closed", "run-1", "refresh_all", "identity/candidate: identity_gate", "repair: do this")


def test_an_alert_reaches_the_webhook_and_the_log(
    settings: Settings, webhook: str, caplog: pytest.LogCaptureFixture
) -> None:
    told = Settings.load(data=settings.data, alert_webhook_url=webhook)
    with caplog.at_level(logging.WARNING):
        deliver([ALERT], told, logging.getLogger("test"))
    assert Receiver.received[0]["subject"] == ALERT.subject
    assert "repair: do this" in caplog.text


def test_a_webhook_that_refuses_is_logged_and_fails_nothing(
    settings: Settings, webhook: str, caplog: pytest.LogCaptureFixture
) -> None:
    Receiver.status = 500
    told = Settings.load(data=settings.data, alert_webhook_url=webhook)
    deliver([ALERT], told, logging.getLogger("test"))
    assert "could not be posted" in caplog.text


def test_an_alert_goes_nowhere_but_to_http(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    told = Settings.load(data=settings.data, alert_webhook_url="file:///etc/hostname")
    deliver([ALERT], told, logging.getLogger("test"))
    assert "goes to http or https" in caplog.text


def test_an_alert_follows_no_redirect(settings: Settings, webhook: str, caplog: pytest.LogCaptureFixture) -> None:
    Receiver.status = 302
    told = Settings.load(data=settings.data, alert_webhook_url=webhook)
    deliver([ALERT], told, logging.getLogger("test"))
    assert len(Receiver.received) == 1
    assert "could not be posted" in caplog.text


@pytest.mark.parametrize("url", ["http://", "http://host:port/", "http://127.0.0.1/to ken", "http://[::1/token"])
def test_a_malformed_address_is_logged_without_being_told(
    settings: Settings, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    told = Settings.load(data=settings.data, alert_webhook_url=url)
    deliver([ALERT], told, logging.getLogger("test"))
    assert "could not be posted" in caplog.text
    assert "ken" not in caplog.text.split("could not be posted")[1]


@dg.asset
def guarded() -> None:
    """Something with a gate."""


@dg.asset_check(asset=guarded, blocking=True)
def guarded_gate() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        passed=False, description="two rows are equal", metadata={"repair": dg.MetadataValue.md("remove one")}
    )


@dg.asset
def broken() -> None:
    """Something that fails."""
    raise ValueError("no such column")


@pytest.mark.parametrize(
    ("assets", "kind", "said"),
    [([guarded, guarded_gate], "gate_closed", "remove one"), ([broken], "run_failed", "")],
    ids=["closed gate", "failed step"],
)
def test_a_failed_run_is_told_to_people(
    settings: Settings, webhook: str, assets: list[object], kind: str, said: str
) -> None:
    told = Settings.load(data=settings.data, alert_webhook_url=webhook)
    sensor = build_alert_sensors(told)[0]
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(assets, instance=instance, raise_on_error=False)  # type: ignore[arg-type]
        event = next(entry for entry in reversed(result.all_events) if entry.is_run_failure or entry.is_job_failure)
        context = dg.build_run_status_sensor_context(
            sensor_name=sensor.name, dagster_instance=instance, dagster_run=result.dagster_run, dagster_event=event
        )
        sensor(context)
    assert [alert["kind"] for alert in Receiver.received] == [kind]
    assert said in Receiver.received[0]["message"]


def test_segments_that_nobody_needs_are_told_to_people_once_a_month(settings: Settings, webhook: str) -> None:
    told = Settings.load(data=settings.data, alert_webhook_url=webhook)
    with settings.warehouse.write() as con:
        contracts.ensure_schema(con, "segments")
        con.execute(
            "insert into segments.catalog by name select 'vip' as segment_key, 1 as segment_version, "
            "'x' as definition_hash, '{\"review_by\": \"2026-10-31\"}' as definition, 'active' as lifecycle, "
            "'team:growth' as owner, 'Vip' as name, 'x' as catalog_file, 'r' as run_id, now()::timestamp as recorded_at"
        )
        con.execute(
            "insert into segments.publications by name select 1 as publication_seq, 'x' as candidate_id, "
            "timestamp '2026-11-01' as as_of, 0 as identity_event_seq, 0 as members, 0 as entered, 0 as exited, "
            "'r' as run_id, now()::timestamp as recorded_at"
        )
        tables = ("catalog", "publications", "membership", "sizes_daily", "versions")
        settings.warehouse.publish_copy(con, [("segments", table) for table in tables])
    _, monthly = build_schedules(settings)
    assert (monthly.cron_schedule, monthly.job_name) == ("0 7 1 * *", review_catalog.name)
    sensor = build_alert_sensors(told)[1]
    with dg.DagsterInstance.ephemeral() as instance:
        result = review_catalog.execute_in_process(instance=instance, resources={"strata": StrataResource.of(settings)})
        event = next(entry for entry in reversed(result.all_events) if entry.is_job_success)
        context = dg.build_run_status_sensor_context(
            sensor_name=sensor.name, dagster_instance=instance, dagster_run=result.dagster_run, dagster_event=event
        )
        sensor(context)
    (alert,) = Receiver.received
    assert alert["kind"] == "gate_warning"
    assert alert["subject"] == "segments/catalog: segments_are_needed"
    assert "vip (team:growth): its review was due on 2026-10-31" in alert["message"]
    assert "strata prune" in alert["message"]
