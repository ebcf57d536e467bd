"""Approvals: who let which step of which unit go live, and until when that holds.

Belongs here: writing ``segments.approvals``, withdrawing, using up and reading it. Does not belong here: what a unit is
and which of its steps waits (``in_force.py``). An approval is of the plan that was reviewed: one publication takes its
step and uses it up, so that it approves nothing a second time. Until then it waits for its run, unless somebody
withdraws it, it gets too old, or the unit takes another step. Each is written together with its row in the audit log.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from segmentation import audit
from segmentation.errors import CandidateError, NotFoundError, StrataError
from segmentation.identity.rule_book import Signature, check_words
from segmentation.run import Run
from segmentation.segments.provenance import CATALOG_AUTHOR, Fate
from segmentation.warehouse import Connection, table_exists

#: Digits of a plan's hash that name it, as every message shows them.
SHORT = 16
_FEWEST_DIGITS = 8

_COLUMNS = (
    "approval_seq, unit_key, base_hash, target_hash, plan_hash, approver, reason, approved_at, base_publication_seq, "
    "publication_seq, ended_at, ended_by, ended_reason"
)


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


@dataclass(frozen=True, slots=True)
class Approval:
    """One approval of one step.

    Attributes:
        seq: Its number.
        step: What it approves.
        plan_hash: The plan that was reviewed.
        approver: Who approved it.
        reason: Why.
        approved_at: When, UTC.
        base_publication: The publication that the plan was made on; ``None`` of a version that did not note it.
        publication: The publication that took the step.
        ended_at: When it stopped approving anything; ``None`` while it may.
        ended_by: Who withdrew it, or ``svc:strata``.
        ended_reason: Why it ended.
    """

    seq: int
    step: Step
    plan_hash: str
    approver: str
    reason: str
    approved_at: datetime
    base_publication: int | None
    publication: int | None = None
    ended_at: datetime | None = None
    ended_by: str | None = None
    ended_reason: str | None = None

    def state(self, at: datetime, days: int) -> str:
        """Return ``open``, ``expired``, ``used``, ``overtaken`` or ``withdrawn``, as of ``at``.

        Args:
            at: The machine's time, UTC.
            days: How long an approval waits for its run.
        """
        if self.publication is not None:
            return "used"
        if self.ended_at is not None:
            return "overtaken" if self.ended_by == CATALOG_AUTHOR else "withdrawn"
        # One that does not say which publication was reviewed may have been used already.
        is_good = self.base_publication is not None and at < self.approved_at + timedelta(days=days)
        return "open" if is_good else "expired"


def read_approvals(con: Connection, *, every: bool = False) -> list[Approval]:
    """Return the approvals that were neither used nor withdrawn, or all there ever were; the newest first."""
    if not table_exists(con, "segments", "approvals"):
        return []
    rows = con.execute(
        f"select {_COLUMNS} from segments.approvals where ended_at is null or ? order by approval_seq desc", [every]
    ).fetchall()
    return [Approval(row[0], Step(*row[1:4]), *row[4:]) for row in rows]


def find_approval(approvals: Iterable[Approval], step: Step, at: datetime, days: int) -> Approval | None:
    """Return the newest approval of a step that holds; see ``Approval.state``."""
    return next((one for one in approvals if one.step == step and one.state(at, days) == "open"), None)


def find_fates(approvals: Iterable[Approval], taken: Iterable[Step]) -> dict[int, Fate]:
    """Return what becomes of approvals once some steps are published, by their numbers.

    Those of the steps are used. Those of other steps that began in the same place are overtaken: what they say of the
    unit was reviewed for another way on.
    """
    targets = {(step.unit_key, step.base_hash): step.target_hash for step in taken}
    fates: dict[int, Fate] = {}
    for one in approvals:
        target = targets.get((one.step.unit_key, one.step.base_hash))
        if target is not None:
            fates[one.seq] = "used" if one.step.target_hash == target else "overtaken"
    return fates


def approve(
    con: Connection, steps: Iterable[Step], approver: Approver, plan_hash: str, base_publication: int, days: int
) -> int:
    """Write down that a plan's steps are approved, in the caller's transaction.

    Approving the same step by the same plan again changes nothing while the first approval holds.

    Args:
        con: The warehouse, open for writing.
        steps: What the plan changes.
        approver: Who, why, when.
        plan_hash: The plan that was reviewed.
        base_publication: The publication that it was made on.
        days: How long an approval waits for its run.

    Returns:
        How many were new.
    """
    known = {
        one.step for one in read_approvals(con) if one.plan_hash == plan_hash and one.state(approver.at, days) == "open"
    }
    new = [step for step in steps if step not in known]
    first = int(con.execute("select coalesce(max(approval_seq), 0) + 1 from segments.approvals").fetchall()[0][0])
    for number, step in enumerate(new, start=first):
        con.execute(
            f"insert into segments.approvals ({_COLUMNS}) values ({', '.join('?' * 9)}, null, null, null, null)",
            [number, step.unit_key, step.base_hash, step.target_hash, plan_hash, approver.name, approver.reason,
             approver.at, base_publication],
        )  # fmt: skip
    audit.append(
        con,
        at=approver.at,
        actor=approver.name,
        action="segments.approve",
        subject=f"plan:{plan_hash[:SHORT]}",
        detail={
            "plan_hash": plan_hash,
            "reason": approver.reason,
            "base_publication": base_publication,
            "units": sorted(step.unit_key for step in new),
        },
    )
    return len(new)


def withdraw(con: Connection, plan: str, signature: Signature) -> list[Approval]:
    """Take back what was approved of a plan and has not been published, in the caller's transaction.

    Args:
        con: The warehouse, open for writing.
        plan: The plan's hash, or how it begins.
        signature: Who, why, when.

    Returns:
        The approvals as they were.

    Raises:
        NotFoundError: Nothing that is approved of such a plan waits.
        StrataError: The beginning fits several plans, or who and why is not said.
    """
    check_words(con, signature, ())
    plan = plan.strip().lower()
    found = [one for one in read_approvals(con) if one.plan_hash.startswith(plan)] if plan else []
    hashes = sorted({one.plan_hash for one in found})
    if len(plan) < _FEWEST_DIGITS or len(hashes) > 1:
        raise StrataError(
            f"{plan or 'nothing'} does not name one plan",
            where="segments.approvals",
            expected=f"{_FEWEST_DIGITS} or more digits of the hash of one plan",
            repair="strata approvals lists them",
        )
    if not found:
        raise NotFoundError(
            f"nothing that is approved of plan {plan} waits",
            where="segments.approvals",
            expected="an approval that no run has used, and that was not withdrawn",
            repair="strata approvals lists those; what is live is taken back with strata rollback, or by another plan",
        )
    con.execute(
        "update segments.approvals set ended_at = ?, ended_by = ?, ended_reason = ? "
        "where plan_hash = ? and ended_at is null",
        [signature.at, signature.author, signature.reason, hashes[0]],
    )
    audit.append(
        con,
        at=signature.at,
        actor=signature.author,
        action="segments.withdraw",
        subject=f"plan:{hashes[0][:SHORT]}",
        detail={
            "plan_hash": hashes[0],
            "reason": signature.reason,
            "units": sorted(one.step.unit_key for one in found),
        },
    )
    return found


def use_approvals(con: Connection, run: Run) -> None:
    """Use up what the candidate took, a step of its publication.

    Raises:
        CandidateError: One of them was withdrawn since the candidate was built.
    """
    gone = con.execute(
        "select o.unit_key, any_value(o.ended_by) from segments.candidate_approvals as c "
        "join segments.approvals as o on c.approval_seq = o.approval_seq where c.fate = 'used' "
        "group by o.unit_key, o.base_hash, o.target_hash having bool_and(o.ended_at is not null) order by 1"
    ).fetchall()
    if gone:
        raise CandidateError(
            f"the approval of {gone[0][0]} was withdrawn by {gone[0][1]} since this candidate was built",
            where="segments.approvals",
            expected="an approval that still holds when its step is published",
            repair="strata run --from segments, which keeps what is live",
        )
    con.execute(
        """
        update segments.approvals as a
        set
            publication_seq = case when c.fate = 'used' then s.base_publication_seq + 1 end,
            ended_at = $recorded_at, ended_by = $by, ended_reason = c.fate || ' by publication '
                || (s.base_publication_seq + 1)
        from segments.candidate_approvals as c cross join segments.candidate_summary as s
        where a.approval_seq = c.approval_seq and a.ended_at is null
        """,
        {"recorded_at": run.recorded_at, "by": CATALOG_AUTHOR},
    )
