"""Decisions about one segment from the Dagster UI: the job asks, decides, and runs what follows."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from orchestration.definitions import build_definitions

pytestmark = pytest.mark.timeout(1800)

STEP = "segments__candidate"


def run_job(house: Any, name: str, **config: str) -> dg.ExecuteInProcessResult:
    """Run a job as the launchpad does: what it asks for by itself, with the blanks filled in."""
    definitions = build_definitions(house.settings)
    asked = next(job for job in definitions.jobs or [] if job.name == name).config["ops"][STEP]["config"]
    assert set(config) == {key for key, value in asked.items() if not value}
    with dg.DagsterInstance.ephemeral() as instance:
        return definitions.resolve_job_def(name).execute_in_process(
            instance=instance,
            raise_on_error=False,
            run_config={"ops": {STEP: {"config": asked | config}}},
        )


def test_on_call_empties_a_segment_and_an_empty_launchpad_decides_nothing(
    company: Path, install: Callable[..., Any]
) -> None:
    house = install(copy_of=company)
    members = "select count(*) from segments.membership where segment_key = 'tier_vip'"
    [(before,)] = house.sql(members)
    assert before > 0

    unsigned = run_job(house, "kill_segment", segment="tier_vip", author="", reason="")
    assert not unsigned.success
    assert house.sql(members) == [(before,)]
    assert house.sql("select * from segments.pins") == []

    done = run_job(house, "kill_segment", segment="tier_vip", author="jo", reason="case 12")
    assert done.success
    assert house.sql(members) == [(0,)]
    assert house.sql("select kind, author, reason from segments.pins") == [("kill", "jo", "case 12")]
    told = [
        event.step_materialization_data.materialization.metadata
        for event in done.get_asset_materialization_events()
        if event.asset_key == dg.AssetKey(["segments", "candidate"])
    ]
    assert "emptied by jo" in str(told[0]["decision"].value)
    delivered = house.sql("select value from sync.desired semi join identity.customers using (customer_id)")
    assert delivered
    assert not any("tier_vip" in value for (value,) in delivered)
