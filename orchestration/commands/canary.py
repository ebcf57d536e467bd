"""`strata promote` and `strata abort`: ending a canary, for everybody the new version or the one before.

Belongs here: the order of the work (decide, run, tell). Does not belong here: what may be decided
(`segmentation/segments/canary_decisions.py`) and what it does (`segmentation/segments/canaries.py`). A decision is
written together with its row in the audit log; then the chain runs from segments on, through its gates, as any run.
"""

from typing import Annotated

import typer
from rich.text import Text

from orchestration.commands.apply import PARTS
from orchestration.commands.console import Json, hint_table, out, print_json
from orchestration.commands.identity_steward import require_warehouse
from orchestration.commands.run import execute, exit_code, one_run
from orchestration.settings import Settings, now
from segmentation import audit
from segmentation.contracts import ensure_schema
from segmentation.errors import WarehouseBusyError
from segmentation.identity.rule_book import Signature
from segmentation.segments.canary_decisions import CanaryDecision, decide_canary
from segmentation.warehouse import transaction

Segment = Annotated[str, typer.Argument(help="Segment key.")]
Author = Annotated[str, typer.Option("--by", help="Who decides; kept for good.")]
Reason = Annotated[str, typer.Option("--reason", help="Why, such as a ticket; kept for good, so name no person.")]
NoRun = Annotated[bool, typer.Option("--no-run", help="Write the decision down alone; the next run heeds it.")]
Accept = Annotated[
    list[str] | None, typer.Option(help="Truth to accept in this run although it does not hold; can be repeated.")
]


def promote(
    segment: Segment,
    by: Author,
    reason: Reason,
    force: Annotated[
        bool, typer.Option("--force", help="Although its days are not over, or its metrics paused it.")
    ] = False,
    accept: Accept = None,
    no_run: NoRun = False,
    as_json: Json = False,
) -> None:
    """Let the new version of a segment hold for everybody. Then write lifecycle: active, which moves nobody.

    Exit code 1: it can't be promoted yet. 3: a gate is closed. 4: another run is at work; the decision is written and
    the next run heeds it.
    """
    _act("promote", segment, Signature(by, reason, now()), force, accept or [], no_run, as_json)


def abort(
    segment: Segment,
    by: Author,
    reason: Reason,
    accept: Accept = None,
    no_run: NoRun = False,
    as_json: Json = False,
) -> None:
    """Let the version before a canary hold for everybody again.

    Exit code 3: a gate is closed. 4: another run is at work; the decision is written and the next run heeds it.
    """
    _act("abort", segment, Signature(by, reason, now()), False, accept or [], no_run, as_json)


def _act(
    action: str, segment: str, signature: Signature, force: bool, accept: list[str], no_run: bool, as_json: bool
) -> None:
    settings = Settings.load()
    require_warehouse(settings)
    with settings.warehouse.write() as con:
        ensure_schema(con, "segments")
        audit.require_whole(con, settings.audit_folder)
        with transaction(con):
            decision = decide_canary(con, action, segment, signature, force=force)
        audit.keep_copy(con, settings.audit_folder)
    run_id, problem, code = None, "", 0
    if decision.is_pending and not no_run:
        run_id, problem, code = _make_so(settings, accept, quiet=as_json)
    _tell(decision, run_id, problem, as_json=as_json)
    if code:
        raise typer.Exit(code)


def _make_so(settings: Settings, accept: list[str], *, quiet: bool) -> tuple[str | None, str, int]:
    """Run from segments on; return the run's id, what went wrong, and the exit code."""
    try:
        with one_run(settings):
            progress, run_id, _, _ = execute(settings, PARTS, None, accept, quiet=quiet)
    except WarehouseBusyError as error:
        problem = f"{error.what}: the decision is written; once that run has ended, strata run --from segments"
        return None, problem, WarehouseBusyError.exit_code
    failed = [part for part in progress.parts.values() if part.state != "done"]
    return run_id, "\n".join(f"{part.name}: {part.message or part.state}" for part in failed), exit_code(progress)


def _tell(decision: CanaryDecision, run_id: str | None, problem: str, *, as_json: bool) -> None:
    is_published = (run_id is not None and not problem) or not decision.is_pending
    canary = decision.canary
    if as_json:
        print_json(
            {
                "action": decision.action,
                "segment_key": decision.segment_key,
                "sentence": decision.sentence,
                "is_new": decision.is_new,
                "canary": {"seq": canary.canary_seq, "percent": canary.percent, "state": canary.state},
                "base_version": canary.base_version,
                "run_id": run_id,
                "is_published": is_published,
                "problem": problem,
            }
        )
        return
    out.print(Text(decision.sentence, style="bold"))
    if problem:
        out.print(Text(problem, style="red"))
    file = f"catalog/segments/{decision.segment_key}.yml"
    hints = [] if is_published else [("strata run --from segments", "makes it so")]
    written = "lifecycle: active, without canary: nobody moves"
    rule = written if decision.action == "promote" else f"the rule of the version before and {written}"
    hints.append((f"edit {file}", f"write {rule}"))
    out.print(hint_table(hints))
