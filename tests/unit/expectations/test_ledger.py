"""The gate holds across runs: nothing publishes unjudged, nothing starts on what did not pass."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

import pytest

from expectations import ledger
from expectations.results import SuiteResult
from orchestration.stages import STAGE_NAMES
from segmentation import contracts
from segmentation.errors import GateClosedError
from segmentation.run import Run
from segmentation.warehouse import Connection

Judge = Callable[..., SuiteResult]
Propose = Callable[[str, Run], str]


@pytest.fixture
def later(run: Run) -> Run:
    return replace(run, run_id="run-2", as_of=datetime(2026, 11, 2), recorded_at=datetime(2026, 11, 2, 5))


def publish(con: Connection, stage: str, run: Run, propose: Propose, result: Judge) -> None:
    propose(stage, run)
    ledger.record(con, run, result(stage))
    ledger.require_passed(con, stage, run)
    contracts.mark_published(con, stage, run)


def test_a_stage_publishes_what_this_run_proposed_and_its_gate_passed(
    con: Connection, run: Run, propose: Propose, result: Judge
) -> None:
    candidate = propose("sources", run)
    assert ledger.record(con, run, result("sources")) == candidate
    assert ledger.require_passed(con, "sources", run) == candidate
    assert ledger.gate_state(con, "sources").state == "not published"


def test_a_candidate_that_nobody_judged_is_not_published(con: Connection, run: Run, propose: Propose) -> None:
    propose("sources", run)
    with pytest.raises(GateClosedError, match="no gate has judged"):
        ledger.require_passed(con, "sources", run)


def test_a_failed_candidate_is_not_published_and_the_message_says_how_to_repair(
    con: Connection, run: Run, later: Run, propose: Propose, result: Judge
) -> None:
    publish(con, "sources", run, propose, result)
    candidate = propose("sources", later)
    ledger.record(con, later, result("sources", failing=("orders_exist", "lines_exist")))
    with pytest.raises(GateClosedError) as raised:
        ledger.require_passed(con, "sources", later)
    message = raised.value.message
    assert "2 of 3 truths failed" in message
    assert "orders_exist (sources.candidate): observed 0; for example line 3; expected at least 1 row" in message
    assert "last good version, of run run-1 as of 2026-11-01 00:00" in message
    assert candidate in raised.value.where
    assert raised.value.repair == "land the missing file; strata run --from sources"
    assert raised.value.exit_code == 3


def test_a_judgement_of_an_older_candidate_does_not_count(
    con: Connection, run: Run, propose: Propose, result: Judge
) -> None:
    propose("sources", run)
    ledger.record(con, run, result("sources"))
    propose("sources", run)
    with pytest.raises(GateClosedError, match="no gate has judged"):
        ledger.require_passed(con, "sources", run)


def test_the_newest_judgement_of_a_candidate_counts(con: Connection, run: Run, propose: Propose, result: Judge) -> None:
    propose("sources", run)
    ledger.record(con, run, result("sources", failing=("orders_exist",)))
    ledger.record(con, run, result("sources"))
    ledger.require_passed(con, "sources", run)
    ledger.record(con, run, result("sources", failing=("orders_exist",)))
    with pytest.raises(GateClosedError):
        ledger.require_passed(con, "sources", run)


def test_another_runs_candidate_is_neither_judged_nor_published(
    con: Connection, run: Run, later: Run, propose: Propose, result: Judge
) -> None:
    propose("sources", run)
    ledger.record(con, run, result("sources"))
    propose("sources", later)
    with pytest.raises(GateClosedError, match="run run-2 made the newest one"):
        ledger.record(con, run, result("sources"))
    with pytest.raises(GateClosedError, match="run run-2 made the newest one"):
        ledger.require_passed(con, "sources", run)


def test_a_judgement_without_a_candidate_is_refused(con: Connection, run: Run, result: Judge) -> None:
    contracts.ensure_schema(con, "sources")
    with pytest.raises(GateClosedError, match="there is none"):
        ledger.record(con, run, result("sources"))


def test_warnings_close_nothing_and_stay_to_be_seen(con: Connection, run: Run, propose: Propose, result: Judge) -> None:
    propose("sources", run)
    ledger.record(con, run, result("sources", warning=("files_are_new",)))
    ledger.require_passed(con, "sources", run)
    contracts.mark_published(con, "sources", run)
    ledger.require_upstream_open(con, "identity")
    assert [truth.name for truth in ledger.gate_state(con, "sources").warnings] == ["files_are_new"]
    assert con.execute("select severity, passed from ops.gate_results").fetchall() == [("warning", True)]


def test_the_first_stage_waits_for_nobody(con: Connection) -> None:
    ledger.require_upstream_open(con, "sources")


@pytest.mark.parametrize("stage", STAGE_NAMES[1:])
def test_a_stage_does_not_start_before_the_earlier_ones_have_run(con: Connection, stage: str) -> None:
    with pytest.raises(GateClosedError, match=f"stage sources has never run; stage {stage} does not start"):
        ledger.require_upstream_open(con, stage)


@pytest.mark.parametrize("closed", STAGE_NAMES[:-1])
def test_a_closed_gate_stops_every_later_stage_in_every_later_run(
    con: Connection, run: Run, propose: Propose, result: Judge, closed: str
) -> None:
    later = replace(run, run_id="run-2")
    for stage in STAGE_NAMES:
        ledger.require_upstream_open(con, stage)
        publish(con, stage, run, propose, result)
    propose(closed, later)
    ledger.record(con, later, result(closed, failing=("rows_are_many",)))
    position = STAGE_NAMES.index(closed)
    for stage in STAGE_NAMES[position + 1 :]:
        with pytest.raises(GateClosedError, match=f"stage {closed} has a closed gate") as raised:
            ledger.require_upstream_open(con, stage)
        assert f"strata run --from {closed}" in raised.value.repair
    for stage in STAGE_NAMES[: position + 1]:
        ledger.require_upstream_open(con, stage)

    publish(con, closed, replace(later, run_id="run-3"), propose, result)
    for stage in STAGE_NAMES:
        ledger.require_upstream_open(con, stage)


def test_a_candidate_that_passed_and_was_not_published_stops_the_next_stage(
    con: Connection, run: Run, propose: Propose, result: Judge
) -> None:
    propose("sources", run)
    ledger.record(con, run, result("sources"))
    with pytest.raises(GateClosedError, match="was not published"):
        ledger.require_upstream_open(con, "identity")


def test_the_states_of_all_gates_are_told_in_order(con: Connection, run: Run, propose: Propose, result: Judge) -> None:
    assert [state.state for state in ledger.gate_states(con)] == ["never run"] * 6
    publish(con, "sources", run, propose, result)
    propose("identity", run)
    ledger.record(con, run, result("identity", failing=("customers_exist",)))
    propose("features", run)
    states = ledger.gate_states(con)
    assert tuple(state.stage for state in states) == STAGE_NAMES
    assert [state.state for state in states[:4]] == ["open", "closed", "not judged", "never run"]
    assert [truth.name for truth in states[1].failures] == ["customers_exist"]
    assert states[0].served is not None
    assert states[1].served is None
    assert states[0].truths[0].sample == ({"line": "3"},)
    assert states[0].judged_at == run.recorded_at
