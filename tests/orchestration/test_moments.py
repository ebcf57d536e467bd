"""A run describes a moment that has come, the same one in all of its steps."""

from datetime import datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from orchestration.resources import AS_OF_TAG, DUE_TAG, StrataResource, run_from_context
from orchestration.schedules import build_schedules
from orchestration.settings import Settings, now
from segmentation.contracts import ensure_schema, mark_published, stamp_candidate
from segmentation.errors import StrataError
from segmentation.run import Run

seen: list[datetime] = []


@dg.asset
def step(context: dg.AssetExecutionContext, strata: StrataResource) -> None:
    """Takes note of its moment."""
    seen.append(run_from_context(context, strata).as_of)


@dg.asset(deps=[step])
def next_step(context: dg.AssetExecutionContext, strata: StrataResource) -> None:
    """Takes note of its moment, a step later."""
    seen.append(run_from_context(context, strata).as_of)


def run(settings: Settings, tags: dict[str, str]) -> None:
    seen.clear()
    with dg.DagsterInstance.ephemeral() as instance:
        dg.materialize(
            [step, next_step], instance=instance, tags=tags, resources={"strata": StrataResource.of(settings)}
        )


def test_all_steps_share_the_moment_of_the_tag(tmp_path: Path) -> None:
    run(Settings.load(data=tmp_path), {AS_OF_TAG: "2026-03-01T00:00:00"})
    assert seen == [datetime(2026, 3, 1)] * 2


def test_all_steps_share_the_start_where_nobody_names_a_moment(tmp_path: Path) -> None:
    run(Settings.load(data=tmp_path), {})
    assert seen[0] == seen[1]
    assert abs(seen[0] - now()) < timedelta(minutes=5)


def test_a_moment_that_has_not_come_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StrataError, match="has not come yet"):
        run(Settings.load(data=tmp_path), {AS_OF_TAG: (now() + timedelta(days=3)).isoformat()})
    assert seen == []


def publish(settings: Settings, stage: str, as_of: datetime) -> None:
    """Let a stage have published a moment."""
    with settings.warehouse.write() as con:
        ensure_schema(con, stage)
        one = Run(run_id=f"{stage}-{as_of:%d}", as_of=as_of, recorded_at=as_of)
        stamp_candidate(con, stage, one)
        mark_published(con, stage, one)


def moment_of(settings: Settings, group: str, tags: dict[str, str]) -> tuple[datetime, str]:
    """Run one step of a part; return its moment, and the one that its run is tagged with."""
    seen.clear()
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(
            [_step_of(group)], instance=instance, tags=tags, resources={"strata": StrataResource.of(settings)}
        )
        tagged = instance.get_run_by_id(result.run_id)
        assert tagged is not None
        return seen[0], tagged.tags[AS_OF_TAG]


def _step_of(group: str) -> dg.AssetsDefinition:
    @dg.asset(group_name=group)
    def part(context: dg.AssetExecutionContext, strata: StrataResource) -> None:
        seen.append(run_from_context(context, strata).as_of)

    return part


def test_a_part_goes_on_from_what_the_stage_before_published(tmp_path: Path) -> None:
    settings = Settings.load(data=tmp_path)
    publish(settings, "sources", datetime(2026, 3, 9))
    publish(settings, "identity", datetime(2026, 3, 2))
    assert moment_of(settings, "identity", {}) == (datetime(2026, 3, 9), "2026-03-09T00:00:00")
    assert moment_of(settings, "features", {}) == (datetime(2026, 3, 2), "2026-03-02T00:00:00")


def test_a_named_moment_wins_over_what_is_published(tmp_path: Path) -> None:
    settings = Settings.load(data=tmp_path)
    publish(settings, "sources", datetime(2026, 3, 9))
    for group in ("sources", "identity"):
        assert moment_of(settings, group, {AS_OF_TAG: "2026-03-01T00:00:00"})[0] == datetime(2026, 3, 1)


def test_a_late_schedule_takes_nothing_back(tmp_path: Path) -> None:
    settings = Settings.load(data=tmp_path)
    publish(settings, "sources", datetime(2026, 3, 9, 6, 30))
    overtaken = moment_of(settings, "sources", {DUE_TAG: "2026-03-09T05:00:00"})
    assert overtaken == (datetime(2026, 3, 9, 6, 30), "2026-03-09T06:30:00")
    assert moment_of(settings, "sources", {DUE_TAG: "2026-03-10T05:00:00"})[0] == datetime(2026, 3, 10, 5)


def test_the_schedule_names_when_it_was_due(tmp_path: Path) -> None:
    (schedule,) = [one for one in build_schedules(Settings.load(data=tmp_path)) if one.name == "daily_schedule"]
    with dg.DagsterInstance.ephemeral() as instance:
        tick = dg.build_schedule_context(instance=instance, scheduled_execution_time=datetime(2026, 3, 9, 5))
        requested = schedule.evaluate_tick(tick).run_requests
    assert requested is not None
    (request,) = requested
    assert request.tags[DUE_TAG].startswith("2026-03-09T05:00:00")
    assert AS_OF_TAG not in request.tags
