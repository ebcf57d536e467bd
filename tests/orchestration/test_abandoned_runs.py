"""A run whose process was killed holds nothing up: its record ends and the warehouse pool is free again."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.events import EngineEventData

from orchestration.abandoned_runs import end_abandoned_runs
from orchestration.resources import WAREHOUSE_POOL


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as opened:
        yield opened


def start(instance: dg.DagsterInstance, process: int) -> str:
    """Record a run under way in ``process`` that holds the pool's only slot."""

    @dg.job
    def refresh() -> None: ...

    run = instance.create_run_for_job(refresh)
    instance.report_engine_event("Executing steps", run, EngineEventData.in_process(process))
    instance.report_dagster_event(dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, run.job_name), run_id=run.run_id)
    storage = instance.event_log_storage
    storage.set_concurrency_slots(WAREHOUSE_POOL, 1)
    assert storage.claim_concurrency_slot(WAREHOUSE_POOL, run.run_id, "publish_segments").is_claimed
    return run.run_id


def slot_is_free(instance: dg.DagsterInstance) -> bool:
    return instance.event_log_storage.get_concurrency_info(WAREHOUSE_POOL).claimed_slots == []


def test_a_run_whose_process_was_killed_ends_and_frees_the_pool(instance: dg.DagsterInstance) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        run_id = start(instance, process.pid)
        assert end_abandoned_runs(instance) == []
        assert not slot_is_free(instance)
        process.kill()
    assert end_abandoned_runs(instance) == [run_id]
    assert instance.get_run_by_id(run_id).status == dg.DagsterRunStatus.FAILURE
    assert slot_is_free(instance)
    assert end_abandoned_runs(instance) == []


def test_a_run_at_work_is_left_alone(instance: dg.DagsterInstance) -> None:
    run_id = start(instance, os.getpid())
    assert end_abandoned_runs(instance) == []
    assert instance.get_run_by_id(run_id).status == dg.DagsterRunStatus.STARTED


def test_a_process_that_only_bears_the_number_is_not_the_run(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = start(instance, os.getpid())
    began = instance.get_run_record_by_id(run_id).start_time + 3600
    monkeypatch.setattr("orchestration.abandoned_runs._began_at", lambda _process: began)
    assert end_abandoned_runs(instance) == [run_id]


def test_records_that_several_machines_share_are_left_to_dagster() -> None:
    with dg.DagsterInstance.ephemeral() as shared:
        assert end_abandoned_runs(shared) == []
