"""`strata apply`: carry out a plan, and approve it by that.

Belongs here: reading the plan, running the stage as every run does, and telling what came of it. Does not belong
here: when a plan may be carried out (`segmentation/segments/application.py`).
"""

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from orchestration.commands.console import Json, hint_table, out, print_json
from orchestration.commands.identity_steward import require_warehouse
from orchestration.commands.plan import plan_now
from orchestration.commands.run import MARTS, execute, exit_code, no_other_run, one_run, show_summary
from orchestration.settings import Settings, now
from orchestration.stages import STAGE_NAMES
from segmentation.errors import GateClosedError, StrataError
from segmentation.features.contract import load_contract
from segmentation.segments.application import Outcome, carry_out
from segmentation.segments.approvals import Approver
from segmentation.segments.plan import Base
from segmentation.segments.plan_file import read_plan

#: What an apply runs: the stage and all that follows from membership.
PARTS = [*STAGE_NAMES[STAGE_NAMES.index("segments") :], MARTS]


def apply(
    file: Annotated[Path, typer.Argument(metavar="PLAN", help="File that strata plan --out wrote.")],
    approver: Annotated[str, typer.Option("--by", help="Who approves; kept for good.")],
    reason: Annotated[str, typer.Option("--reason", help="Why, such as a ticket; kept for good, so name no person.")],
    accept: Annotated[
        list[str] | None, typer.Option(help="Truth to accept in this run although it does not hold; can be repeated.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Approve a plan and carry out exactly that: decide, publish, allocate and deliver.

    It refuses where the catalog, the policy, the features or what is live has moved since the plan was made.

    Exit code 0: it is live, as planned. 1: refused, or published otherwise than planned. 3: a gate closed.
    4: another run is at work.
    """
    settings = Settings.load()
    plan = read_plan(file)
    require_warehouse(settings)
    if not approver.strip() or not reason.strip():
        raise StrataError("an approval names who approves, and why", repair="give --by and --reason a text")
    code = 0

    def run_stage(base: Base) -> str:
        nonlocal code
        progress, run_id, moment, seconds = execute(
            settings, PARTS, plan.as_of, accept or [], quiet=as_json, planned=base.text
        )
        if not as_json:
            show_summary(settings, progress, moment, seconds)
        stage = progress.parts["segments"]
        if stage.state != "done":
            closed = stage.gate == "closed" or stage.is_blocked
            kind = GateClosedError if closed else StrataError
            raise kind(
                f"the plan was approved and not published: {stage.message or 'the stage did not finish'}",
                where="stage segments",
                expected="an open gate; membership is as it was",
                repair="repair what it says, then apply the plan again; the approval stands: strata approvals",
            )
        code = exit_code(progress)
        return run_id

    with one_run(settings), no_other_run(settings, "a plan is applied"):
        outcome = carry_out(
            settings.warehouse,
            plan,
            settings.catalog,
            load_contract(settings.dbt_project),
            Approver(approver.strip(), reason.strip(), now()),
            plan_again=lambda: plan_now(settings),
            run_stage=run_stage,
            accepted=accept or [],
            audit_folder=settings.audit_folder,
        )
    if as_json:
        print_json(outcome)
    else:
        _show(outcome)
    if outcome.differences:
        raise typer.Exit(1)
    if code:
        raise typer.Exit(code)


def _show(outcome: Outcome) -> None:
    name = f"plan {outcome.plan_hash[:16]}"
    out.print()
    if outcome.state == "applied_before":
        out.print(f"{name} is live already, as publication {outcome.publication}; nothing was done.")
        return
    if outcome.state == "nothing_to_do":
        out.print(f"{name} changes nothing; nothing was done.")
        return
    if outcome.differences:
        out.print(Text(f"{name} was published, but not as planned:", style="red"))
        for one in outcome.differences:
            out.print(Text(f"  {one}", style="red"))
        out.print(hint_table([("strata history SEGMENT", "what was published"), ("strata audit verify", "the record")]))
        return
    out.print(
        Text(f"{name} is live", style="green"),
        f"as publication {outcome.publication}: {outcome.changes:,} changes of membership, exactly as planned.",
    )
