"""What a run did, step by step, read from Dagster's events.

Belongs here: which step belongs to which part of the flow, its seconds, its counts and its gate. Does not
belong here: how that is shown (`orchestration/commands/run.py`).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import dagster as dg
from dagster_shared.error import SerializableErrorInfo

from segmentation.errors import GateClosedError, StrataError, WarehouseBusyError

#: The check of sync that closes no gate: whether every destination was told of withdrawn consent.
WITHDRAWALS_ARRIVE = "withdrawals_arrive"


@dataclass
class PartProgress:
    """One part of the flow in one run.

    Attributes:
        name: Stage, or ``marts``.
        seconds: Time its steps took.
        rows: Counts that its candidate reported, in order.
        truths_passed: Truths of its gate that held.
        truths: Truths of its gate.
        warnings: Truths that do not hold and close nothing.
        gate: ``open``, ``closed`` or ``-`` where it was not judged.
        state: ``done``, ``failed``, ``skipped`` or ``not run``.
        is_blocked: It did not start because an earlier stage's gate is closed.
        is_busy: It failed because another process held the warehouse for too long.
        message: Why it failed, and which destinations were not told of withdrawn consent.
    """

    name: str
    seconds: float = 0.0
    rows: dict[str, int] = field(default_factory=dict)
    truths_passed: int = 0
    truths: int = 0
    warnings: int = 0
    gate: str = "-"
    state: str = "not run"
    is_blocked: bool = False
    is_busy: bool = False
    message: str = ""


class RunProgress:
    """Follows the events of one run."""

    def __init__(self, parts: Mapping[str, list[str]]) -> None:
        """Start with nothing done.

        Args:
            parts: Step keys of each part of the flow, in order.
        """
        self.parts = {name: PartProgress(name) for name in parts}
        self._part_of_step = {step: name for name, steps in parts.items() for step in steps}
        self._started: dict[str, float] = {}
        self.current = ""

    def see(self, event: dg.EventLogEntry) -> None:
        """Take one event into account."""
        happened = event.dagster_event
        if happened is None or happened.step_key is None:
            return
        part = self.parts.get(self._part_of_step.get(happened.step_key, ""))
        if part is None:
            return
        kind = happened.event_type
        if kind == dg.DagsterEventType.STEP_START:
            self._started[happened.step_key] = event.timestamp
            self.current = part.name
        elif kind == dg.DagsterEventType.ASSET_MATERIALIZATION:
            self._see_materialization(part, happened)
        elif kind == dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            self._see_gate(part, happened.asset_check_evaluation_data)
        elif kind in {dg.DagsterEventType.STEP_SUCCESS, dg.DagsterEventType.STEP_FAILURE}:
            part.seconds += event.timestamp - self._started.get(happened.step_key, event.timestamp)
            if kind == dg.DagsterEventType.STEP_FAILURE:
                part.state = "failed"
                part.is_blocked = _is_by(happened, GateClosedError)
                part.is_busy = _is_by(happened, WarehouseBusyError)
                if part.gate != "closed":
                    _tell(part, _reason(happened))
            elif part.state == "not run":
                part.state = "done"
        elif kind == dg.DagsterEventType.STEP_SKIPPED and part.state != "failed":
            # Withdrawals are delivered whatever comes of the rest.
            part.state = "skipped"

    def _see_materialization(self, part: PartProgress, event: dg.DagsterEvent) -> None:
        materialization = event.step_materialization_data.materialization
        if materialization.asset_key.path != [part.name, "candidate"]:
            return
        part.rows = {
            name: value.value
            for name, value in materialization.metadata.items()
            if isinstance(value, dg.IntMetadataValue) and value.value is not None
        }

    def _see_gate(self, part: PartProgress, evaluation: dg.AssetCheckEvaluation) -> None:
        if evaluation.check_name == WITHDRAWALS_ARRIVE and not evaluation.passed:
            part.warnings += 1
            _tell(part, f"not told who may no longer be in it: {_said(evaluation)}")
            return
        if evaluation.asset_key.path != [part.name, "candidate"]:
            return
        if evaluation.check_name == f"{part.name}_warnings":
            part.warnings += _count(evaluation, "failed")
            return
        part.gate = "open" if evaluation.passed else "closed"
        part.truths = _count(evaluation, "truths")
        part.truths_passed = part.truths - _count(evaluation, "failed")
        if not evaluation.passed:
            _tell(part, _said(evaluation))


def _tell(part: PartProgress, text: str) -> None:
    if text not in part.message:
        part.message = "\n".join(filter(None, (part.message, text)))


def _said(evaluation: dg.AssetCheckEvaluation) -> str:
    repair = evaluation.metadata.get("repair")
    told = [evaluation.description, str(repair.value).replace("**", "") if repair else ""]
    return "\n".join(filter(None, told))


def _count(evaluation: dg.AssetCheckEvaluation, name: str) -> int:
    value = evaluation.metadata.get(name)
    return value.value or 0 if isinstance(value, dg.IntMetadataValue) else 0


def _reason(event: dg.DagsterEvent) -> str:
    """Return why a step failed: what the domain said, without Dagster's wrapping."""
    metadata = event.step_failure_data.user_failure_data
    if metadata and metadata.description:
        return metadata.description
    error = _own_error(event)
    if error is None:
        return event.message or ""
    # Dagster puts the error's class before what it says.
    return re.sub(r"^[\w.]+(Error|Exception): ", "", error.message.strip())


def _own_error(event: dg.DagsterEvent) -> SerializableErrorInfo | None:
    """Return the error that the step raised. What caused it in turn is for the log: it names no repair."""
    error = event.step_failure_data.error
    while error is not None and error.cause is not None and (error.cls_name or "").startswith("Dagster"):
        error = error.cause
    return error


def _is_by(event: dg.DagsterEvent, kind: type[StrataError]) -> bool:
    error = _own_error(event)
    return error is not None and error.cls_name == kind.__name__
