"""Approvals: who let which step of which unit go live.

Belongs here: writing ``segments.approvals`` and reading it. Does not belong here: what a unit is and which of its
steps waits (``in_force.py``). An approval and its row in the audit log are written together; approving the same step
by the same plan again changes nothing.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from segmentation import audit
from segmentation.warehouse import Connection, table_exists


@dataclass(frozen=True, slots=True)
class Step:
    """What is approved: a unit's way from what is live to what the catalog says."""

    unit_key: str
    base_hash: str
    target_hash: str


@dataclass(frozen=True, slots=True)
class Approver:
    """Who approves, why, and when, UTC."""

    name: str
    reason: str
    at: datetime


def read_approvals(con: Connection) -> dict[tuple[str, str, str], str]:
    """Return who approved each step: unit key, hash of what was live, hash of what was approved."""
    if not table_exists(con, "segments", "approvals"):
        return {}
    rows = con.execute(
        "select unit_key, base_hash, target_hash, arg_max(approver, approval_seq) from segments.approvals group by all"
    ).fetchall()
    return {(unit, base, target): approver for unit, base, target, approver in rows}


def approve(con: Connection, steps: Iterable[Step], approver: Approver, plan_hash: str) -> int:
    """Write down that a plan's steps are approved, in the caller's transaction; return how many were new."""
    known = {
        (row[0], row[1], row[2])
        for row in con.execute(
            "select unit_key, base_hash, target_hash from segments.approvals where plan_hash = ?", [plan_hash]
        ).fetchall()
    }
    new = [step for step in steps if (step.unit_key, step.base_hash, step.target_hash) not in known]
    first = int(con.execute("select coalesce(max(approval_seq), 0) + 1 from segments.approvals").fetchall()[0][0])
    for number, step in enumerate(new, start=first):
        con.execute(
            "insert into segments.approvals values (?, ?, ?, ?, ?, ?, ?, ?)",
            [number, step.unit_key, step.base_hash, step.target_hash, plan_hash, approver.name, approver.reason,
             approver.at],
        )  # fmt: skip
    audit.append(
        con,
        at=approver.at,
        actor=approver.name,
        action="segments.approve",
        subject=f"plan:{plan_hash[:16]}",
        detail={"plan_hash": plan_hash, "reason": approver.reason, "units": sorted(step.unit_key for step in new)},
    )
    return len(new)
