"""Runs that are killed, or that meet: whatever happens, nothing published is damaged, and a further run repairs it."""

import json
import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(900)

LATER = ("--as-of", "2026-11-08")

#: Steps during which a run is killed.
MOMENTS = [
    # dbt is at work, with the warehouse open.
    "build_features",
    *(
        pytest.param(step, marks=pytest.mark.slow)
        for step in ("publish_sources", "publish_identity", "segments_gate", "publish_segments", "publish_sync")
    ),
]


def wait_for_step(house: Any, process: "subprocess.Popen[str]", step: str) -> None:
    """Wait until a run has started a step, by Dagster's records."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        for path in (house.settings.dagster_home / "history" / "runs").glob("*-*.db"):
            with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as con:
                try:
                    started = con.execute(
                        "select 1 from event_logs where step_key = ? and dagster_event_type = 'STEP_START'", [step]
                    ).fetchall()
                except sqlite3.OperationalError:
                    # Dagster is still making the file.
                    continue
            if started:
                return
        time.sleep(0.05)
    pytest.fail(f"step {step} did not start in time")


@pytest.fixture
def house(company: Path, delivery: Any, install: Callable[..., Any]) -> Any:
    """The sample company after its first run, when a delivery has landed."""
    house = install(copy_of=company)
    delivery.land(house.settings.landing_folder)
    return house


@pytest.fixture
def start(house: Any) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Start `strata` in the background; what is left of it at the end of the test is ended."""
    started: list[subprocess.Popen[str]] = []

    def run(*arguments: str) -> "subprocess.Popen[str]":
        process: subprocess.Popen[str] = house.start(*arguments)
        started.append(process)
        return process

    yield run
    for process in started:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
        process.wait()


def assert_in_step(house: Any, undisturbed: Any) -> None:
    tables, expected = house.results(), undisturbed.results()
    assert {name for name in expected if tables[name] != expected[name]} <= house.DIARIES
    assert house.online_store() == undisturbed.online_store()
    assert house.flags() == undisturbed.flags()


@pytest.mark.parametrize("step", MOMENTS)
def test_a_killed_run_is_repaired_by_the_next(
    house: Any, week_later: Path, installation: Any, start: Callable[..., Any], step: str
) -> None:
    readers_copy = house.settings.warehouse.published_path.read_bytes()
    killed = start("run", *LATER)
    wait_for_step(house, killed, step)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()

    # Readers see what they saw before.
    assert house.settings.warehouse.published_path.read_bytes() == readers_copy

    done = house.strata("run", *LATER)
    assert done.returncode == 0, done.stdout + done.stderr
    assert_in_step(house, installation(week_later))


def test_a_second_run_says_that_one_is_at_work_and_leaves_it_alone(
    company: Path, house: Any, installation: Any, start: Callable[..., Any]
) -> None:
    # From segments on there is no news: whatever changes is damage.
    first = start("run", "--from", "segments", "--as-of", "2026-11-01", "--json")
    wait_for_step(house, first, "segments__candidate")

    second = house.strata("run", "--json")

    assert first.poll() is None
    assert second.returncode == 4
    told = json.loads(second.stdout)
    assert told["error"] == "WarehouseBusyError"
    assert f"process {first.pid}" in told["what"]
    assert "wait for it to end" in told["repair"]
    assert second.stderr == ""

    stdout, stderr = first.communicate(timeout=600)
    assert first.returncode == 0, stdout + stderr
    assert {part["state"] for part in json.loads(stdout)["parts"]} == {"done"}
    assert_in_step(house, installation(company))


@pytest.mark.slow
def test_runs_that_meet_past_the_lock_do_no_harm(
    house: Any, week_later: Path, installation: Any, start: Callable[..., Any]
) -> None:
    """A schedule's run and one from the command line: steps take turns, and no run publishes the other's candidate."""
    scheduled = house.start_job(STRATA_AS_OF="2026-11-08", STRATA_LOCK_WAIT_SECONDS="60")
    by_hand = start("run", *LATER)
    scheduled.communicate(timeout=600)
    stdout, stderr = by_hand.communicate(timeout=600)
    assert "Traceback" not in stdout + stderr

    done = house.strata("run", *LATER)
    assert done.returncode == 0, done.stdout + done.stderr
    assert_in_step(house, installation(week_later))


def test_a_run_waits_for_another_writer_and_then_says_who_it_is(house: Any) -> None:
    before = house.results()
    with house.settings.warehouse.exclusive():
        refused = house.strata("run", "--only", "sources", "--as-of", "2026-11-01", STRATA_LOCK_WAIT_SECONDS="1")
    assert refused.returncode == 4, refused.stdout + refused.stderr
    assert f"process {os.getpid()}" in refused.stdout
    assert "wait for the other run to end, or stop it, then run again" in refused.stdout
    assert house.results() == before


#: Parts, and bytes that no file may grow beyond while they run: less than what the warehouse takes for a
#: commit, and less than the readers' copy.
SMALL_DISKS = [("identity", 1_000_000), pytest.param("marts", 6_000_000, marks=pytest.mark.slow)]


@pytest.mark.parametrize(("part", "room"), SMALL_DISKS)
def test_a_full_disk_fails_the_run_and_damages_nothing(house: Any, part: str, room: int) -> None:
    with house.settings.warehouse.write() as con:
        # Where nothing changed identity writes next to nothing; so it solves everything anew.
        con.execute("delete from identity.solve_inputs")
    before, store, flags = house.results(), house.online_store(), house.flags()
    readers_copy = house.settings.warehouse.published_path.read_bytes()
    assert room < len(readers_copy)

    full = house.strata("run", "--only", part, "--as-of", "2026-11-01", "--json", largest_file=room)

    assert full.returncode == 1, full.stdout + full.stderr
    (failed,) = json.loads(full.stdout)["parts"]
    assert failed["state"] == "failed"
    assert "File too large" in failed["message"]
    assert "free disk space, then strata run" in failed["message"]
    assert house.settings.warehouse.published_path.read_bytes() == readers_copy
    assert house.results() == before
    assert house.online_store() == store
    assert house.flags() == flags

    done = house.strata("run", "--only", part, "--as-of", "2026-11-01")
    assert done.returncode == 0, done.stdout + done.stderr
