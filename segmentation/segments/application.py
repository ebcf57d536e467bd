"""Carrying out a plan: exactly what was reviewed, or nothing.

Belongs here: refusing a plan that no longer fits, writing its approval down, and comparing what was published with
what was planned. Does not belong here: the run that publishes, which is the one of every day, and its gate.

A kill at any moment leaves a clean state: before the approval nothing happened; after it the next run, or the same
plan applied again, goes on; once it was published, applying it again says so.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, fields
from pathlib import Path

from segmentation import audit
from segmentation.contracts import ensure_schema
from segmentation.segments.approvals import SHORT, Approver, approve
from segmentation.segments.catalog import Catalog, load_catalog
from segmentation.segments.kinds import Contract, TypedFeatures
from segmentation.segments.live_catalog import read_policy
from segmentation.segments.plan import Base, Content, Plan, find_base, read_content
from segmentation.segments.plan_file import PlanError, PlanFile, effect_hash, plan_hash
from segmentation.segments.policy import Policy, join, load_policy
from segmentation.segments.publications import latest_publication
from segmentation.warehouse import Connection, Warehouse, literal, transaction

#: Truth of the gate that a person may accept although it does not hold.
GUARDS = "guards_are_kept"

_PLAN_AGAIN = "make a new plan, and look at it: strata plan --out FILE"
_BEHIND = f"{_PLAN_AGAIN}; where that is refused, too, the readers' copy is behind: strata run --from segments"
#: What may have moved since a plan was made, and what to do about it.
_MOVED = {
    "catalog": ("the catalog was edited", "take the edit back, or " + _PLAN_AGAIN),
    "policy": ("catalog/policy.yml was edited", "take the edit back, or " + _PLAN_AGAIN),
    "policy_in_force": ("another policy went live", _BEHIND),
    "features": ("features were published", _BEHIND),
    "identity": ("identity, or what customers consent to, was published", _BEHIND),
    "publication": ("membership was published", _BEHIND),
    "publication_id": ("membership was published", _BEHIND),
    "pins": ("a segment was pinned, or a pin was taken away", _BEHIND),
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a plan.

    Attributes:
        plan_hash: The plan.
        state: ``applied``; ``applied_before`` where it was live already; ``nothing_to_do`` where it changes nothing.
        publication: Number of the publication that carried it out.
        changes: Memberships that began or ended by it.
        differences: What was published otherwise than planned, in words; empty where all is exactly as planned.
    """

    plan_hash: str
    state: str
    publication: int
    changes: int
    differences: tuple[str, ...]


def no_step(_name: str) -> None:
    """Do nothing at a named step; tests stop the process there."""


def carry_out(
    warehouse: Warehouse,
    file: PlanFile,
    folder: Path,
    contract: Contract | TypedFeatures,
    approver: Approver,
    *,
    plan_again: Callable[[], Plan],
    run_stage: Callable[[Base], str],
    accepted: Collection[str] = (),
    audit_folder: Path | None = None,
    at_step: Callable[[str], None] = no_step,
) -> Outcome:
    """Approve a plan and publish it; steps are ``checked``, ``approved``, ``published``, ``verified``.

    Call it while no other run of this installation is at work.

    Args:
        warehouse: The live warehouse.
        file: The plan, as it was reviewed.
        folder: The catalog folder.
        contract: Feature name to column type.
        approver: Who approves.
        plan_again: Makes the plan anew: what it says must be what was reviewed.
        run_stage: Runs the stage through its gate, told what it must find (``require_base``); returns the run's id.
        accepted: Truths of the gate that are accepted although they do not hold.
        audit_folder: Where the audit log has its copy; ``None`` keeps none.
        at_step: Called at each step.

    Raises:
        PlanError: The plan does not fit any more, was changed, or breaks guards that nobody accepted.
        StrataError: The stage published nothing.
    """
    catalog, policy = load_catalog(folder, contract), load_policy(folder)
    with warehouse.write() as con:
        ensure_schema(con, "segments")
        if before := _applied_before(con, file, catalog):
            return before
        require_base(con, file.base, catalog, policy)
    again = plan_again()
    if effect_hash(again.as_dict()) != effect_hash(file.facts):
        raise PlanError(
            "the plan says otherwise than the same catalog does now",
            where=f"plan {file.hash[:SHORT]}, made again {plan_hash(again)[:SHORT]}",
            expected="the plan as strata plan made it, by this version, on the published copy that is there now",
            repair=_PLAN_AGAIN,
        )
    if not again.has_changes:
        return Outcome(file.hash, "nothing_to_do", file.base.publication, 0, ())
    _require_guards(again, accepted)
    at_step("checked")
    with warehouse.write() as con:
        with transaction(con):
            # Nobody can have moved anything in between unseen: this is the writers' lock.
            require_base(con, file.base, catalog, policy)
            in_force = read_policy(con)
            days = (join(in_force, policy) if in_force else policy).approvals.expire_after_days
            approve(con, again.steps, approver, file.hash, file.base.publication, days)
        if audit_folder:
            audit.keep_copy(con, audit_folder)
    at_step("approved")
    run_id = run_stage(file.base)
    at_step("published")
    with warehouse.write() as con:
        outcome = _compare(con, file, again, run_id)
        with transaction(con):
            audit.append(
                con,
                at=approver.at,
                actor=approver.name,
                action="segments.apply",
                subject=f"plan:{file.hash[:SHORT]}",
                detail={
                    "plan_hash": file.hash,
                    "run_id": run_id,
                    "publication": outcome.publication,
                    "changes": outcome.changes,
                    "differences": list(outcome.differences),
                },
            )
        if audit_folder:
            audit.keep_copy(con, audit_folder)
    at_step("verified")
    return outcome


def require_base(con: Connection, base: Base, catalog: Catalog, policy: Policy) -> None:
    """Refuse a plan whose base has moved: before it is approved, and once more in the run that carries it out.

    Args:
        con: The warehouse.
        base: What the plan was made on.
        catalog: The catalog as it is now, without what waits or is tried.
        policy: The policy as it is now.

    Raises:
        PlanError: With everything that moved.
    """
    now = find_base(con, catalog, policy)
    moved = [field.name for field in fields(Base) if getattr(now, field.name) != getattr(base, field.name)]
    if not moved:
        return
    told = list(dict.fromkeys(_MOVED[name] for name in moved))
    raise PlanError(
        "since the plan was made, " + "; ".join(what for what, _ in told),
        where=f"the plan's base: {', '.join(moved)}",
        expected=f"what the plan was made on: publication {base.publication} and all that it read",
        repair=told[0][1],
    )


def _require_guards(plan: Plan, accepted: Collection[str]) -> None:
    if plan.guards_broken and GUARDS not in accepted:
        raise PlanError(
            f"the plan breaks guards of {', '.join(plan.guards_broken)}",
            where="the section about guards of strata plan",
            expected="every segment within the guards of its definition and of catalog/policy.yml",
            repair=f"correct the rule; or, where the move is right, say --accept {GUARDS}",
        )


def _applied_before(con: Connection, file: PlanFile, catalog: Catalog) -> Outcome | None:
    """Return what became of a plan that is live already, such as one whose apply was killed after publishing."""
    last = latest_publication(con)
    if last is None or last.seq != file.base.publication + 1:
        return None
    approved = con.execute(
        "select 1 from ops.audit_log "
        "where action = 'segments.approve' and json_extract_string(detail, '$.plan_hash') = ?",
        [file.hash],
    ).fetchall()
    if not approved or find_base(con, catalog, Policy()).catalog != file.base.catalog:
        return None
    if _published(con, _run_of(con, last.seq)) != file.expected:
        return None
    return Outcome(file.hash, "applied_before", last.seq, file.expected.changes, ())


def _compare(con: Connection, file: PlanFile, plan: Plan, run_id: str) -> Outcome:
    last = latest_publication(con)
    differences = []
    if last is None or _run_of(con, last.seq) != run_id or last.seq != file.base.publication + 1:
        differences.append("another run published in between")
    found = _published(con, run_id)
    if found.changes != file.expected.changes:
        differences.append(f"{found.changes:,} changes of membership were published, {file.expected.changes:,} planned")
    elif found != file.expected:
        differences.append("as many changes of membership as planned were published, but not of the same customers")
    live = dict(con.execute("select segment_key, segment_version from segments.catalog").fetchall())
    if live != dict(plan.versions):
        keys = sorted(key for key in {*live, *plan.versions} if live.get(key) != plan.versions.get(key))
        differences.append(f"other definitions are live than planned: {', '.join(keys)}")
    return Outcome(file.hash, "applied", last.seq if last else 0, found.changes, tuple(differences))


def _run_of(con: Connection, publication: int) -> str:
    rows = con.execute("select run_id from segments.publications where publication_seq = ?", [publication]).fetchall()
    return str(rows[0][0]) if rows else ""


def _published(con: Connection, run_id: str) -> Content:
    return read_content(con, f"(select * from segments.membership_changes where run_id = {literal(run_id)})")
