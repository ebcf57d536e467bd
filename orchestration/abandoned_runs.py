"""Runs whose process is gone: ended in Dagster's records, so that what they held is free again.

Belongs here: noticing such runs on this machine, and ending them. Does not belong here: their data, which
candidates and transactions keep whole (`segmentation/contracts.py`). A process that is killed says no good-bye:
without this its run counts as running for ever, keeps the warehouse pool, and every later run waits for it.
"""

import os
from pathlib import Path

import dagster as dg
from dagster._core.storage.runs import SqliteRunStorage

#: How much later than its run a process may seem to have begun: the two are told by different clocks.
_CLOCK_TOLERANCE_SECONDS = 60

_UNDER_WAY = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


def end_abandoned_runs(instance: dg.DagsterInstance) -> list[str]:
    """Mark runs as failed whose process has died on this machine; return their ids.

    Only where Dagster's records are files of this machine: with a database that several machines share, a
    process number says nothing, and Dagster's own run monitoring ends such runs.
    """
    if not isinstance(instance.run_storage, SqliteRunStorage):
        return []
    ended = []
    for record in instance.get_run_records(dg.RunsFilter(statuses=_UNDER_WAY)):
        run = record.dagster_run
        processes = _processes_of(instance, run.run_id)
        if not processes or any(_is_alive(process, record.start_time) for process in processes):
            continue
        instance.report_run_failed(run, "The process of this run ended without a word; its results up to then stand.")
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
        ended.append(run.run_id)
    return ended


def _processes_of(instance: dg.DagsterInstance, run_id: str) -> set[int]:
    """Return the processes that say in the run's log that they execute it."""
    found = set()
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
        event = entry.dagster_event
        if event is None or event.step_key is not None:
            continue
        value = event.engine_event_data.metadata.get("pid")
        if value is not None and str(value.value).isdigit():
            found.add(int(str(value.value)))
    return found


def _is_alive(process: int, run_started_at: float | None) -> bool:
    """Say whether a process is there and can be the run's: one that began after the run has only its number."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    began = _began_at(process)
    return began is None or run_started_at is None or began <= run_started_at + _CLOCK_TOLERANCE_SECONDS


def _began_at(process: int) -> float | None:
    """Return when a process began, in seconds since 1970, where the system tells; ``None`` elsewhere."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        boot = next(
            line.split()[1]
            for line in Path("/proc/stat").read_text(encoding="utf-8").splitlines()
            if line.startswith("btime ")
        )
    except (OSError, StopIteration):
        return None
    return int(boot) + int(fields[19]) / os.sysconf("SC_CLK_TCK")
