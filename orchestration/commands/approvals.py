"""`strata approvals …`: who approved which change of a segment, and taking that back before it is live.

Belongs here: asking and showing. Does not belong here: when an approval holds (`segmentation/segments/approvals.py`),
or approving, which is to apply a plan (`apply.py`). Both ask the live warehouse: an approval that waits for its run is
in no copy yet.
"""

from dataclasses import asdict
from datetime import datetime
from typing import Annotated

import typer

from orchestration.commands.console import Json, hint_table, out, print_json, table
from orchestration.commands.identity_steward import require_warehouse
from orchestration.settings import Settings, now
from segmentation import audit
from segmentation.contracts import ensure_schema
from segmentation.identity.rule_book import Signature
from segmentation.segments import approvals
from segmentation.segments.approvals import SHORT, Approval
from segmentation.segments.live_catalog import read_policy
from segmentation.segments.policy import Policy, join, load_policy
from segmentation.warehouse import Connection, transaction

group = typer.Typer(
    name="approvals",
    help="Who approved which change of a segment, and taking that back before it is live.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@group.command("list")
def list_approvals(
    every: Annotated[bool, typer.Option("--all", help="Show those that were used or withdrawn, too.")] = False,
    as_json: Json = False,
) -> None:
    """List approvals that no run has used yet, the newest first: the next run would publish what they approve."""
    settings = Settings.load()
    require_warehouse(settings)
    with settings.warehouse.write() as con:
        ensure_schema(con, "segments")
        days = _days(con, settings)
        found = approvals.read_approvals(con, every=every)
    at = now()
    if as_json:
        print_json([_facts(one, at, days) for one in found])
        return
    if not found:
        out.print("nobody has approved anything" if every else "no approval waits for a run")
        return
    rows = [
        (
            one.plan_hash[:SHORT],
            one.step.unit_key,
            one.state(at, days),
            one.approver,
            one.approved_at,
            one.reason,
            one.ended_reason or "",
        )
        for one in found
    ]
    out.print(table(["plan", "unit", "state", "who", "when", "because", "ended"], rows))
    if any(one.state(at, days) == "open" for one in found):
        out.print(
            hint_table(
                [
                    ("strata run --from segments", "publishes what is open, where the catalog still says so"),
                    ("strata approvals withdraw PLAN --by NAME --reason TEXT", "takes it back"),
                ]
            )
        )


@group.command("withdraw")
def withdraw(
    plan: Annotated[str, typer.Argument(help="Hash of the plan, or its first digits.")],
    by: Annotated[str, typer.Option("--by", help="Who withdraws; kept for good.")],
    reason: Annotated[str, typer.Option("--reason", help="Why, such as a ticket; kept for good, so name no person.")],
    as_json: Json = False,
) -> None:
    """Take back what was approved of a plan and is not live: the approved version stays. Kept in the audit log.

    Exit code 5: nothing that is approved of such a plan waits.
    """
    settings = Settings.load()
    require_warehouse(settings)
    at = now()
    with settings.warehouse.write() as con:
        ensure_schema(con, "segments")
        audit.require_whole(con, settings.audit_folder)
        with transaction(con):
            found = approvals.withdraw(con, plan, Signature(by, reason, at))
        audit.keep_copy(con, settings.audit_folder)
        days = _days(con, settings)
    if as_json:
        print_json([_facts(one, at, days) for one in found])
        return
    units = ", ".join(one.step.unit_key for one in found)
    out.print(f"plan {found[0].plan_hash[:SHORT]} is approved no longer: {units} stays as it is live")


def _days(con: Connection, settings: Settings) -> int:
    """Return how long approvals wait: by the policy in force, and by the file where that is stricter."""
    in_force, written = read_policy(con), load_policy(settings.catalog)
    policy: Policy = join(in_force, written) if in_force else written
    return policy.approvals.expire_after_days


def _facts(one: Approval, at: datetime, days: int) -> dict[str, object]:
    return {**asdict(one), "state": one.state(at, days)}
