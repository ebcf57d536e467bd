"""A run describes a moment that has come, the same one in all of its steps."""

from datetime import datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from orchestration.resources import AS_OF_TAG, StrataResource, run_from_context
from orchestration.settings import Settings, now
from segmentation.errors import StrataError

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
