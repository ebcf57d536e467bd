"""`strata freeze`, `unfreeze`, `kill` and `rollback`: holding a segment to a set of members, or letting it go.

Belongs here: the order of the work (decide, run, tell) and showing it. Does not belong here: what may be decided
(`segmentation/segments/pin_decisions.py`) and what it does (`segmentation/segments/pins.py`). A decision is written
together with its row in the audit log; then the chain runs from segments on, through its gates. To freeze, kill or roll
back can't wait for the catalog to be right: such a run evaluates what is live, and publishes no edit.
"""

import json
from dataclasses import asdict, dataclass
from typing import Annotated

import typer
from rich.text import Text

from orchestration.commands.console import Json, format_money, hint_table, out, print_json, table
from orchestration.commands.identity_steward import require_warehouse
from orchestration.commands.run import MARTS, execute, one_run
from orchestration.settings import Settings, now
from segmentation import audit
from segmentation.contracts import ensure_schema, latest_candidate
from segmentation.errors import GateClosedError, StrataError, WarehouseBusyError
from segmentation.features.contract import load_contract
from segmentation.identity.rule_book import Signature
from segmentation.run import Run
from segmentation.segments.in_force import definitions_live, definitions_to_evaluate
from segmentation.segments.pin_decisions import URGENT, Decision, decide_pin
from segmentation.segments.pin_effects import OBSTACLES, Movers, PinEffect, measure_effect, preview, read_movers
from segmentation.sync.side_effects import SideEffects, list_side_effects
from segmentation.warehouse import Connection, transaction

#: What follows from membership, in order: until all of it has run, somebody still acts on what was.
_PARTS = ["segments", "costs", "sync", MARTS]

Segment = Annotated[str, typer.Argument(help="Segment key.")]
Author = Annotated[str, typer.Option("--by", help="Who decides; kept for good.")]
Reason = Annotated[str, typer.Option("--reason", help="Why, such as a ticket; kept for good, so name no person.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would change, and change nothing.")]
NoRun = Annotated[bool, typer.Option("--no-run", help="Write the decision down alone; the next run heeds it.")]
Accept = Annotated[
    list[str] | None, typer.Option(help="Truth to accept in this run although it does not hold; can be repeated.")
]
Ids = Annotated[bool, typer.Option("--ids", help="Show customer ids, not counts alone.")]


@dataclass(frozen=True, slots=True)
class Report:
    """What a command did, or would do.

    Attributes:
        decision: What was decided.
        effect: What a candidate makes of it; ``None`` where none was made.
        movers: By their ids, who it is about.
        side_effects: Of a rollback, what it does not take back.
        run_id: The run that made it so; ``None`` where none ran.
        is_published: Whether membership is as decided.
        problem: What keeps it from being so.
    """

    decision: Decision
    effect: PinEffect | None = None
    movers: Movers | None = None
    side_effects: SideEffects | None = None
    run_id: str | None = None
    is_published: bool = False
    problem: str = ""

    def as_dict(self, *, ids: bool) -> dict[str, object]:
        """The report as JSON-ready facts."""
        facts: dict[str, object] = {
            "action": self.decision.action,
            "segment_key": self.decision.segment_key,
            "sentence": self.decision.sentence,
            "is_new": self.decision.is_new,
            "pin": asdict(self.decision.pin) if self.decision.pin else None,
            "moment": asdict(self.decision.moment) if self.decision.moment else None,
            "effect": self.effect.as_dict() if self.effect else None,
            "side_effects": self.side_effects.as_dict() if self.side_effects else None,
            "run_id": self.run_id,
            "is_published": self.is_published,
            "problem": self.problem,
        }
        return facts | ({"customers": asdict(self.movers)} if ids and self.movers else {})


def freeze(
    segment: Segment,
    by: Author,
    reason: Reason,
    accept: Accept = None,
    dry_run: DryRun = False,
    no_run: NoRun = False,
    ids: Ids = False,
    as_json: Json = False,
) -> None:
    """Hold a segment to its present members, whatever its rule says. Consent and erasure still keep customers out.

    Exit code 3: a gate is closed. 4: another run is at work; the decision is written and the next run heeds it.
    """
    _act("freeze", segment, Signature(by, reason, now()), "", accept or [], dry_run, no_run, ids, as_json)


def kill(
    segment: Segment,
    by: Author,
    reason: Reason,
    accept: Accept = None,
    dry_run: DryRun = False,
    no_run: NoRun = False,
    ids: Ids = False,
    as_json: Json = False,
) -> None:
    """Empty a segment now. In an exclusive group its customers fall to the next claim, or to the default.

    Exit code 3: a gate is closed. 4: another run is at work; the decision is written and the next run heeds it.
    """
    _act("kill", segment, Signature(by, reason, now()), "", accept or [], dry_run, no_run, ids, as_json)


def rollback(
    segment: Segment,
    to: Annotated[
        str, typer.Option("--to", help="A version (3), a publication (p12) or a moment, UTC (2026-11-01T06:00:00).")
    ],
    by: Author,
    reason: Reason,
    accept: Accept = None,
    dry_run: DryRun = False,
    no_run: NoRun = False,
    ids: Ids = False,
    as_json: Json = False,
) -> None:
    """Put a segment's membership back as it was, but for who was erased or has refused since, and hold it there.

    Tells who comes back, who leaves and who can't, and what happened since that this does not take back.
    Exit code 3: a gate is closed. 4: another run is at work; the decision is written and the next run heeds it.
    """
    _act("rollback", segment, Signature(by, reason, now()), to, accept or [], dry_run, no_run, ids, as_json)


def unfreeze(
    segment: Segment,
    by: Author,
    reason: Reason,
    accept: Accept = None,
    dry_run: DryRun = False,
    no_run: NoRun = False,
    ids: Ids = False,
    as_json: Json = False,
) -> None:
    """Let a segment follow its rule again: ends what freeze, kill or rollback began. Guards judge it as any change.

    Exit code 3: a gate is closed. 4: another run is at work; the decision is written and the next run heeds it.
    """
    _act("unfreeze", segment, Signature(by, reason, now()), "", accept or [], dry_run, no_run, ids, as_json)


def _act(
    action: str,
    segment: str,
    signature: Signature,
    to: str,
    accept: list[str],
    dry_run: bool,
    no_run: bool,
    ids: bool,
    as_json: bool,
) -> None:
    settings = Settings.load()
    require_warehouse(settings)
    if dry_run:
        _tell(_try(settings, action, segment, signature, to), dry_run=True, ids=ids, as_json=as_json)
        return
    report = _decide(settings, action, segment, signature, to)
    code = 0
    if report.decision.is_pending and not no_run:
        report, code = _make_so(settings, report, accept, quiet=as_json)
    if report.decision.is_new or report.effect is not None:
        _write(settings, report)
    _tell(report, dry_run=False, ids=ids, as_json=as_json)
    if code:
        raise typer.Exit(code)


def _try(settings: Settings, action: str, segment: str, signature: Signature, to: str) -> Report:
    with settings.warehouse.write() as con:
        ensure_schema(con, "segments")
        served = latest_candidate(con, "segments", published=True)
        if served is None:
            raise StrataError("no membership has been published yet", where="ops.candidates", repair="strata run")
        features = latest_candidate(con, "features", published=True)
        run = Run("dry-run", features.as_of if features else served.as_of, signature.at)
        contract = load_contract(settings.dbt_project)
        if action in URGENT:
            catalog = definitions_live(con, settings.catalog, contract)
        else:
            # Loads the stages that follow, which the other actions do without.
            from assets.segment_usages import read_usages

            usages = read_usages(con, settings)
            catalog = definitions_to_evaluate(con, settings.catalog, contract, at=signature.at, usages=usages)
        decision, effect, movers = preview(con, run, catalog, action, segment, signature, to)
        return Report(decision, effect, movers, _side_effects(con, settings, decision))


def _decide(settings: Settings, action: str, segment: str, signature: Signature, to: str) -> Report:
    with settings.warehouse.write() as con:
        for stage in ("identity", "segments"):
            ensure_schema(con, stage)
        audit.require_whole(con, settings.audit_folder)
        with transaction(con):
            decision = decide_pin(con, action, segment, signature, to=to)
        audit.keep_copy(con, settings.audit_folder)
        return Report(
            decision, side_effects=_side_effects(con, settings, decision), is_published=not decision.is_pending
        )


def _side_effects(con: Connection, settings: Settings, decision: Decision) -> SideEffects | None:
    if decision.action != "rollback" or decision.moment is None:
        return None
    return list_side_effects(con, settings.sync_state, decision.segment_key, decision.moment)


def _make_so(settings: Settings, report: Report, accept: list[str], *, quiet: bool) -> tuple[Report, int]:
    """Run from segments on; return what came of it and the exit code."""
    decision, effects = report.decision, report.side_effects
    try:
        with one_run(settings):
            progress, run_id, _, _ = execute(
                settings, _PARTS, None, accept, quiet=quiet, pins_alone=decision.action in URGENT
            )
    except WarehouseBusyError as error:
        problem = f"{error.what}: the decision is written; once that run has ended, strata run --from segments"
        return Report(decision, side_effects=effects, problem=problem), WarehouseBusyError.exit_code
    parts = list(progress.parts.values())
    failed = [part for part in parts if part.state != "done"]
    with settings.warehouse.write() as con:
        served = latest_candidate(con, "segments", published=True)
        is_published = served is not None and served.run_id == run_id
        newest = latest_candidate(con, "segments")
        is_judged = newest is not None and newest.run_id == run_id
        effect = measure_effect(con, decision) if is_judged else None
        movers = read_movers(con, decision.segment_key) if is_judged else None
    problem = "\n".join(f"{part.name}: {part.message or part.state}" for part in failed)
    code = 0
    if any(part.gate == "closed" or part.is_blocked for part in parts):
        code = GateClosedError.exit_code
    elif any(part.is_busy for part in parts):
        code = WarehouseBusyError.exit_code
    elif failed:
        code = 1
    return Report(decision, effect, movers, effects, run_id, is_published, problem), code


def _write(settings: Settings, report: Report) -> None:
    """Keep what was told beside the data, in counts: no customer is named, so no erasure has to find it."""
    folder = settings.data / "reports" / "segments"
    folder.mkdir(parents=True, exist_ok=True)
    pin = report.decision.pin
    name = f"{pin.pin_id if pin else 'none'}-{report.decision.action}-{report.decision.segment_key}.json"
    facts = json.dumps(report.as_dict(ids=False), default=str, ensure_ascii=False, indent=2)
    draft = folder / f".{name}"
    draft.write_text(facts + "\n", encoding="utf-8")
    draft.replace(folder / name)


def _tell(report: Report, *, dry_run: bool, ids: bool, as_json: bool) -> None:
    if as_json:
        print_json({**report.as_dict(ids=ids), "is_dry_run": dry_run})
        return
    decision = report.decision
    would = "would be so, and nothing has been changed: " if dry_run else ""
    out.print(Text(would, style="yellow"), Text(decision.sentence, style="bold"), sep="")
    if report.effect is not None:
        _show_effect(report.effect)
    if ids and report.movers is not None:
        _show_movers(report.movers)
    if report.side_effects is not None:
        _show_side_effects(report.side_effects)
    if report.problem:
        out.print(Text(report.problem, style="red"))
    if dry_run:
        return
    if report.run_id:
        out.print(f"published by run {report.run_id}" if report.is_published else "not published", style="dim")
    hints = []
    if not report.is_published:
        hints.append(("strata run --from segments", "makes it so"))
    if decision.action != "unfreeze":
        hints.append((f"strata unfreeze {decision.segment_key}", "lets the segment follow its rule again"))
    hints.append((f"strata history {decision.segment_key}", "every publication of the segment"))
    out.print(hint_table(hints))


def _show_effect(effect: PinEffect) -> None:
    out.print(
        f"as of {effect.as_of:%Y-%m-%d %H:%M}: {effect.members_before:,} members before, "
        f"{effect.members_after:,} after; {effect.entering:,} enter, {effect.leaving:,} leave"
    )
    rows: list[tuple[object, ...]] = [(OBSTACLES[name], number) for name, number in effect.kept_out.items()]
    if effect.merged:
        rows.append(("merged with another customer of it", effect.merged))
    if rows:
        out.print(table(["who does not come back", "customers"], rows))
    if effect.moved:
        moved = [(one.segment_key, one.entering, one.leaving) for one in effect.moved]
        out.print(table(["moves with it", "enter", "leave"], moved))
    if effect.guards_passed_over:
        out.print(Text(f"guards passed over: {', '.join(effect.guards_passed_over)}", style="yellow"))
    if effect.guards_broken:
        out.print(Text(f"guards broken, which close the gate: {', '.join(effect.guards_broken)}", style="red"))


def _show_movers(movers: Movers) -> None:
    rows = [(customer, "enters") for customer in movers.entering] + [(one, "leaves") for one in movers.leaving]
    rows += [(customer, OBSTACLES[why]) for customer, why in movers.kept_out.items()]
    out.print(table(["customer", "what"], rows))


def _show_side_effects(found: SideEffects) -> None:
    out.print()
    out.print(
        Text(f"Since publication {found.publication_seq} of {found.since}, not taken back by this:", style="bold")
    )
    out.print(f"{found.affected:,} customers were let into the segment or out of it")
    if found.deliveries:
        rows = [
            (one.destination, one.deliveries, "all" if one.affected_told is None else one.affected_told, one.last_at)
            for one in found.deliveries
        ]
        out.print(table(["destination", "deliveries", "of them told", "last"], rows))
    for one in found.invoices:
        amount = format_money(one.amount_micros, one.currency or "")
        out.print(f"{one.invoices:,} invoices to {one.accounts:,} accounts of them: {amount}")
    out.print(f"costs allocated to the segment: {format_money(found.cost_micros)}")
