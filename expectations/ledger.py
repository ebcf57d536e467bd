"""The ledger that makes a gate hold across runs: who judged which candidate, and may it be used.

Belongs here: recording a judgement, and refusing work whose input has not passed. Does not belong here:
judging (`bridge.py`) or Dagster's own blocking checks (`gates.py`), which hold within one run only.

Critical truths close a gate. Warnings never do, and nobody has to acknowledge them: they stay in the
ledger and in the summary until the next judgement of the stage.
"""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from expectations.results import Judgement, SuiteResult, TruthResult
from orchestration.stages import STAGES, upstream_of
from segmentation.contracts import Candidate, latest_candidate
from segmentation.errors import GateClosedError
from segmentation.run import Run
from segmentation.warehouse import Connection, table_exists

State = Literal["never run", "not judged", "closed", "not published", "open"]


@dataclass(frozen=True, slots=True)
class GateState(Judgement):
    """Where a stage's gate stands.

    Attributes:
        stage: The stage.
        state: ``open``: the newest candidate passed and is published. ``not published``: it passed, and
            nobody has published it. ``closed``: it failed. ``not judged``: no gate has looked at it.
        candidate: The newest candidate.
        served: The newest published one: what others read now.
        truths: How the newest candidate's truths came out.
        judged_at: When the judging run recorded it.
    """

    stage: str
    state: State
    candidate: Candidate | None
    served: Candidate | None
    truths: tuple[TruthResult, ...]
    judged_at: datetime | None


def record(con: Connection, run: Run, result: SuiteResult) -> str:
    """Write the judgement of the stage's newest candidate into the ledger; return the candidate's id.

    Judging a candidate again is a new entry, and the newest one counts.

    Raises:
        GateClosedError: The newest candidate is not this run's, so it is not what was to be judged.
    """
    candidate = _require_own(con, result.stage, run)
    severity = "critical" if result.failures else "warning" if result.warnings else "none"
    con.execute(
        "insert into ops.gate_results (gate_result_seq, gate_id, stage, asset, materialisation, suite, severity, "
        "passed, observed, run_id, recorded_at) "
        "values (nextval('ops.gate_result_seq'), ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            f"{result.stage}_gate",
            result.stage,
            f"{result.stage}/candidate",
            candidate.candidate_id,
            result.suite,
            severity,
            result.passed,
            json.dumps([truth.as_dict() for truth in result.truths]),
            run.run_id,
            run.recorded_at,
        ],
    )
    return candidate.candidate_id


def require_passed(con: Connection, stage: str, run: Run) -> str:
    """Let a stage publish: its newest candidate is this run's and has passed; return the candidate's id.

    Raises:
        GateClosedError: It is another run's, has not been judged, or failed; with what failed, what is
            still served and how to repair it.
    """
    candidate = _require_own(con, stage, run)
    state = gate_state(con, stage)
    if state.state in ("closed", "not judged"):
        raise _closed(state, f"stage {stage} publishes nothing")
    return candidate.candidate_id


def require_upstream_open(con: Connection, stage: str) -> None:
    """Let a stage start: of every earlier stage the newest candidate has passed and is published.

    Raises:
        GateClosedError: Of the first stage for which that is not so.
    """
    for earlier in upstream_of(stage):
        state = gate_state(con, earlier.name)
        if state.state != "open":
            raise _closed(state, f"stage {stage} does not start")


def gate_states(con: Connection) -> tuple[GateState, ...]:
    """Return where every gate stands, in the order of the stages."""
    return tuple(gate_state(con, stage.name) for stage in STAGES)


def gate_state(con: Connection, stage: str) -> GateState:
    """Return where a stage's gate stands."""
    if not table_exists(con, "ops", "candidates"):
        return GateState(stage, "never run", None, None, (), None)
    candidate = latest_candidate(con, stage)
    if candidate is None:
        return GateState(stage, "never run", None, None, (), None)
    served = latest_candidate(con, stage, published=True)
    rows = con.execute(
        "select passed, observed, recorded_at from ops.gate_results where stage = ? and materialisation = ? "
        "order by gate_result_seq desc limit 1",
        [stage, candidate.candidate_id],
    ).fetchall()
    if not rows:
        return GateState(stage, "not judged", candidate, served, (), None)
    passed, observed, judged_at = rows[0]
    truths = tuple(TruthResult.from_dict(facts) for facts in json.loads(observed))
    state: State = "closed" if not passed else "open" if candidate.published_at else "not published"
    return GateState(stage, state, candidate, served, truths, judged_at)


def _require_own(con: Connection, stage: str, run: Run) -> Candidate:
    candidate = latest_candidate(con, stage)
    if candidate is not None and candidate.run_id == run.run_id:
        return candidate
    found = f"run {candidate.run_id} made the newest one" if candidate else "there is none"
    raise GateClosedError(
        f"stage {stage} has no candidate of this run: {found}; {_served(latest_candidate(con, stage, published=True))}",
        where="ops.candidates",
        expected=f"a candidate of run {run.run_id}, judged and published by that run",
        repair=f"strata run --from {stage}",
    )


def _served(served: Candidate | None) -> str:
    if served is None:
        return "nothing has been published yet"
    return f"readers still get the last good version, of run {served.run_id} as of {served.as_of:%Y-%m-%d %H:%M}"


def _closed(state: GateState, consequence: str) -> GateClosedError:
    facts = {
        "never run": "has never run",
        "not judged": "has a candidate that no gate has judged",
        "not published": "has a candidate that passed and was not published",
        "closed": f"has a closed gate: {len(state.failures)} of {len(state.truths)} truths failed",
    }[state.state]
    lines = [f"stage {state.stage} {facts}; {consequence}; {_served(state.served)}"]
    lines += [f"  - {truth.sentence}" for truth in state.failures]
    repairs = dict.fromkeys(truth.repair for truth in state.failures)
    command = f"strata run --from {state.stage}"
    return GateClosedError(
        "\n".join(lines),
        where=f"ops.gate_results, candidate {state.candidate.candidate_id}" if state.candidate else "ops.candidates",
        expected=f"every critical truth of {state.stage} holds for its newest candidate, and that is published",
        repair="; ".join([*repairs, command]) if repairs else command,
    )
