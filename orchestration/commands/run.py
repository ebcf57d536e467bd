"""`strata run`: the whole chain or part of it, in this process, with a summary people like to read."""

import fcntl
import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from orchestration.commands.console import Json, err, format_money, hint_table, out, print_json, table
from orchestration.commands.segment_summary import PricedSegment, summarise_segments
from orchestration.settings import Settings, now
from orchestration.stages import STAGE_NAMES
from segmentation.errors import GateClosedError, StrataError, WarehouseBusyError
from segmentation.warehouse import table_exists

if TYPE_CHECKING:
    from orchestration.jobs import Assets
    from orchestration.progress import PartProgress, RunProgress

#: What runs after the last stage.
MARTS = "marts"
#: The counts of a stage's report that say most; every count is on the asset's page.
_SHOWN = {
    "sources": ("read", "duplicate", "late", "quarantined"),
    "identity": ("identifiers", "edges", "customers"),
    "features": ("candidate_customer_features", "missing_customers"),
    "segments": ("population", "members", "entering", "leaving"),
    "costs": ("charges", "allocations"),
    "sync": ("values", "inserts", "updates", "deletes"),
}
_STATES = {"done": "green", "failed": "red", "skipped": "yellow", "not run": "dim"}


def run(
    as_of: Annotated[
        datetime | None,
        typer.Option(help="Moment that the results describe, UTC.", formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]),
    ] = None,
    from_stage: Annotated[str | None, typer.Option("--from", help="Start at this stage.")] = None,
    only: Annotated[str | None, typer.Option(help="Run this stage alone.")] = None,
    sample_if_empty: Annotated[
        bool, typer.Option("--sample-if-empty", help="Generate the sample company when nothing has landed.")
    ] = False,
    accept: Annotated[
        list[str] | None, typer.Option(help="Truth to accept in this run although it does not hold; can be repeated.")
    ] = None,
    full_identity: Annotated[
        bool, typer.Option("--full-identity", help="Solve all of identity anew, not what changed alone.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Run the chain: sources, identity, features, segments, costs, sync, marts.

    Exit code 0: all done. 1: a step failed. 3: a gate closed; what was good before is still served.
    4: another run is writing.
    """
    settings = Settings.load(**({"identity_full": True} if full_identity else {}))
    parts = _selected_parts(from_stage, only)
    if sample_if_empty and not _has_landed(settings):
        _generate_sample(settings, quiet=as_json)
    with one_run(settings):
        progress, run_id, moment, seconds = execute(settings, parts, as_of, accept or [], quiet=as_json)
    if as_json:
        print_json(
            {
                "run_id": run_id,
                "as_of": moment,
                "seconds": round(seconds, 1),
                "parts": list(progress.parts.values()),
                "segments": _segments(settings),
                "waiting": _waiting(settings),
            }
        )
    else:
        show_summary(settings, progress, moment, seconds)
    if code := exit_code(progress):
        raise typer.Exit(code)


def exit_code(progress: "RunProgress") -> int:
    """Return the exit code of a command that ran parts of the flow."""
    if any(part.gate == "closed" or part.is_blocked for part in progress.parts.values()):
        return GateClosedError.exit_code
    if any(part.is_busy for part in progress.parts.values()):
        return WarehouseBusyError.exit_code
    return int(any(part.state != "done" for part in progress.parts.values()))


def _selected_parts(from_stage: str | None, only: str | None) -> list[str]:
    known = [*STAGE_NAMES, MARTS]
    for name in (from_stage, only):
        if name is not None and name not in known:
            raise StrataError(f"there is no stage {name!r}", expected=", ".join(known), repair="strata run --help")
    if only:
        return [only]
    return known[known.index(from_stage) :] if from_stage else known


def _has_landed(settings: Settings) -> bool:
    return any(path.is_file() for path in settings.landing_folder.glob("*/*"))


def _generate_sample(settings: Settings, *, quiet: bool) -> None:
    from orchestration.commands.sample import generate_sample
    from segmentation.sample.company import DEFAULT_CUSTOMERS, DEFAULT_DAYS, DEFAULT_SEED

    report = generate_sample(settings, DEFAULT_CUSTOMERS, DEFAULT_DAYS, DEFAULT_SEED)
    if not quiet:
        out.print(
            f"Nothing had landed, so a sample company was generated: {DEFAULT_CUSTOMERS:,} customers, "
            f"{len(report.files)} files in [bold]{settings.landing_folder}[/bold]"
        )


@contextmanager
def one_run(settings: Settings) -> Iterator[None]:
    """Let one `strata run` work on a data folder at a time."""
    path = settings.data / "run.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise WarehouseBusyError(
                f"another run is at work ({lock.read().strip() or 'unknown process'})",
                where=str(path),
                expected="one run at a time",
                repair="wait for it to end; strata doctor shows its state",
            ) from None
        lock.truncate(0)
        lock.write(f"process {os.getpid()}\n")
        lock.flush()
        yield


@contextmanager
def no_other_run(settings: Settings, what: str) -> Iterator[None]:
    """Refuse while Dagster runs: what such a run has proposed and not published would come in between.

    Args:
        settings: The installation.
        what: What would be done meanwhile, for the message, such as ``a customer is forgotten``.
    """
    import dagster as dg

    from orchestration.abandoned_runs import end_abandoned_runs
    from orchestration.instance import open_instance

    with open_instance(settings) as instance:
        end_abandoned_runs(instance)
        active = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING]))
    if active:
        raise WarehouseBusyError(
            f"run {active[0].run_id} is at work",
            where=str(settings.dagster_home),
            expected=f"no run while {what}",
            repair="wait for it to end, or stop it, then do this again",
        )
    yield


def execute(
    settings: Settings,
    parts: list[str],
    as_of: datetime | None,
    accept: list[str],
    *,
    quiet: bool,
    pins_alone: bool = False,
    planned: str = "",
) -> "tuple[RunProgress, str, datetime, float]":
    """Run parts of the flow in this process; return what happened, the run id, its moment and its seconds."""
    started = time.monotonic()
    with _status("Loading definitions …", quiet=quiet) as show:
        # Imported here: they cost seconds, which every other command should not pay.
        import dagster as dg

        from expectations.gates import ACCEPT_TAG, read_accepted
        from orchestration.abandoned_runs import end_abandoned_runs
        from orchestration.dbt_project import load_project
        from orchestration.definitions import build_definitions, build_parts
        from orchestration.instance import open_instance
        from orchestration.jobs import REFRESH_ALL
        from orchestration.progress import RunProgress
        from orchestration.resources import AS_OF_TAG, PINS_ALONE_TAG, PLANNED_TAG

        read_accepted(",".join(accept))
        flow = build_parts(load_project(settings))
        job = build_definitions(settings, flow).resolve_job_def(REFRESH_ALL)
        progress = RunProgress({name: step_keys(flow[name], name) for name in parts})
        run_id = str(uuid.uuid4())
        with open_instance(settings) as instance, ExitStack() as stack:
            end_abandoned_runs(instance)

            def follow(entry: dg.EventLogEntry) -> None:
                progress.see(entry)
                show(progress.current)

            instance.add_event_listener(run_id, follow)
            # What dbt prints belongs to its log, not between the lines of the summary.
            job_output = stack.enter_context(log_file(settings, run_id))
            stack.enter_context(redirect_stdout(job_output))
            job.execute_in_process(
                instance=instance,
                run_id=run_id,
                raise_on_error=False,
                asset_selection=[key for name in parts for asset in flow[name] for key in asset.keys],
                tags={
                    "strata/trigger": "command line",
                    **({AS_OF_TAG: as_of.isoformat()} if as_of else {}),
                    **({ACCEPT_TAG: ",".join(accept)} if accept else {}),
                    **({PINS_ALONE_TAG: "true"} if pins_alone else {}),
                    **({PLANNED_TAG: planned} if planned else {}),
                },
                # The summary says it all; Dagster's own log is in the UI.
                run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            )
            ended = instance.get_run_by_id(run_id)
    decided = ended.tags.get(AS_OF_TAG) if ended else None
    moment = datetime.fromisoformat(decided) if decided else settings.resolve_as_of(now())
    return progress, run_id, moment, time.monotonic() - started


@contextmanager
def log_file(settings: Settings, run_id: str) -> Iterator[TextIO]:
    """Open the file that takes what steps print; only the newest is kept."""
    folder = settings.data / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("run-*.log"):
        old.unlink(missing_ok=True)
    with (folder / f"run-{run_id}.log").open("w", encoding="utf-8") as file:
        yield file


@contextmanager
def _status(message: str, *, quiet: bool) -> Iterator[Callable[[str], None]]:
    """Show what is being worked on; yield the function that changes it."""
    if quiet:
        yield lambda _text: None
        return
    with err.status(message) as status:
        yield lambda text: status.update(f"[bold]{text}[/bold] …")


def step_keys(assets: "Assets", part: str) -> list[str]:
    """Return the keys of a part's steps: its assets' and its gate's."""
    return [asset.op.name for asset in assets] + [f"{part}_gate"]


def show_summary(settings: Settings, progress: "RunProgress", moment: datetime, seconds: float) -> None:
    """Print what a person wants to know after a run."""
    out.print()
    rows = []
    for part in progress.parts.values():
        gate = f"{part.gate} {part.truths_passed}/{part.truths}" if part.truths else ""
        if part.warnings:
            gate += f", {part.warnings} to look at"
        rows.append(
            (
                Text(part.name, style="bold"),
                Text(part.state, style=_STATES[part.state]),
                Text(gate, style="red" if part.gate == "closed" else "green"),
                f"{part.seconds:.1f}",
                _counts(part),
            )
        )
    out.print(table(["stage", "state", "gate", "seconds", "rows"], rows, title=f"Run as of {moment:%Y-%m-%d %H:%M}"))
    for part in progress.parts.values():
        if part.message:
            out.print(Panel(Text(part.message), title=f"{part.name}: {part.state}", border_style="red", expand=False))
    for subject, _, reasons in _waiting(settings) if "segments" in progress.parts else ():
        told = f"{subject} waits for approval, its approved version stays live: {'; '.join(reasons)}"
        out.print(Text(told, style="yellow"))
    segments = _segments(settings) if all(part.state == "done" for part in progress.parts.values()) else []
    if segments:
        out.print()
        out.print(_segment_table(segments))
    out.print()
    out.print(f"{seconds:.1f} s in all. Where to look next:")
    hints = [("strata plan", "what the changes that wait would do")] if _waiting(settings) else []
    hints += [
        ("strata segments", "all segments; strata explain CUSTOMER says why someone is in one"),
        ("strata lookup CUSTOMER", "what runtime systems are told"),
        (_shown(settings.warehouse.published_path), "all tables, for any client of DuckDB 2"),
        ("make dev", "the Dagster UI: every step, its gate and its figures"),
    ]
    out.print(hint_table(hints))


def _shown(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _counts(part: "PartProgress") -> str:
    shown = [(name, part.rows[name]) for name in _SHOWN.get(part.name, ()) if name in part.rows]
    return " · ".join(f"{name.replace('_', ' ')} {value:,}" for name, value in shown or list(part.rows.items())[:4])


def _segments(settings: Settings) -> list[PricedSegment]:
    if not settings.warehouse.published_path.exists():
        return []
    with settings.warehouse.read() as con:
        return summarise_segments(con)


def _waiting(settings: Settings) -> list[tuple[str, str, list[str]]]:
    """Return what was kept as it was, because nobody approved its change: subject, class, reasons."""
    if not settings.warehouse.published_path.exists():
        return []
    with settings.warehouse.read() as con:
        if not table_exists(con, "segments", "held_changes"):
            return []
        return con.execute(
            "select subject, change_class, reasons from segments.held_changes "
            "order by change_class <> 'breaking', subject"
        ).fetchall()


def _segment_table(segments: list[PricedSegment]) -> Table:
    return table(
        ["segment", "group", "members", "entered", "left", "cost", "cost per member"],
        [
            (
                segment.segment_key,
                ", ".join(segment.groups),
                segment.members,
                segment.entered,
                segment.exited,
                format_money(segment.cost_micros),
                format_money(segment.cost_per_member_micros),
            )
            for segment in segments
        ],
        title="Segments",
    )
