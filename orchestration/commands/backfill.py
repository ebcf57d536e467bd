"""`strata backfill`: who would have been in a segment on past days; asking for it, and looking at what was found.

Belongs here: asking, following and showing. Does not belong here: computing days (`orchestration/segment_backfill.py`),
which the asset `segments/backfills` does, here as in the Dagster UI.
"""

import os
import uuid
from collections.abc import Sequence
from contextlib import ExitStack, nullcontext, redirect_stdout
from dataclasses import asdict
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from orchestration.commands.console import Json, err, hint_table, out, print_json, table
from orchestration.settings import Settings
from segmentation.errors import StrataError, WarehouseBusyError
from segmentation.segments.backfill_results import (
    Backfill,
    find_backfill,
    list_backfills,
    list_members_on,
    list_sizes,
)
from segmentation.segments.provenance import CATALOG_AUTHOR
from segmentation.segments.scratch import lay_views
from segmentation.warehouse import Connection

if TYPE_CHECKING:
    from orchestration.segment_backfill import Request

_ON_DEMAND = "asked for on the command line"
_PART = "backfill"


def backfill(
    segments: Annotated[list[str] | None, typer.Argument(help="Segment keys; each day's features serve all.")] = None,
    first: Annotated[datetime | None, typer.Option("--from", help="First day, UTC.", formats=["%Y-%m-%d"])] = None,
    last: Annotated[datetime | None, typer.Option("--to", help="Last day, included.", formats=["%Y-%m-%d"])] = None,
    version: Annotated[
        int | None, typer.Option("--version", min=1, help="A recorded version of one segment; default: the live one.")
    ] = None,
    renew: Annotated[
        bool, typer.Option("--renew", help="Compute days again that were computed on older data than is published.")
    ] = False,
    by: Annotated[str, typer.Option("--by", help="Who asks; kept for good.")] = CATALOG_AUTHOR,
    reason: Annotated[
        str, typer.Option("--reason", help="Why, such as a ticket; kept for good, so name no person.")
    ] = _ON_DEMAND,
    listing: Annotated[bool, typer.Option("--list", help="List what was recomputed, and what is missing.")] = False,
    show: Annotated[bool, typer.Option("--show", help="Show a segment's size on each recomputed day.")] = False,
    at: Annotated[
        datetime | None, typer.Option("--at", help="With --show: who was in it on this day.", formats=["%Y-%m-%d"])
    ] = None,
    as_json: Json = False,
) -> None:
    """Recompute who was in a segment at the end of past days, by today's rule or a recorded version of it.

    Features are computed as of each day; what is live, and its history, stays as it is. A backfill that was stopped
    goes on with the first day that is missing. Readers see the result once it ends.

    Exit code 4: another backfill or run is at work. 5: there is no such segment, version, or recomputed day.
    """
    settings = Settings.load()
    keys = segments or []
    if listing:
        with settings.warehouse.read() as con:
            _show_list(list_backfills(con, keys[0] if keys else None), as_json=as_json)
    elif show or at is not None:
        with settings.warehouse.read() as con:
            found = find_backfill(con, _one(keys), version)
            if at is None:
                _show_days(con, found, as_json=as_json)
            else:
                _show_members(con, found, at.date(), as_json=as_json)
    else:
        if not keys or first is None or last is None:
            raise StrataError(
                "a backfill is of segments, from a day to a day",
                expected="strata backfill SEGMENT --from DATE --to DATE, or --list, or SEGMENT --show",
                repair="strata backfill --help",
            )
        _compute(settings, keys, first.date(), last.date(), version, by, reason, renew=renew, as_json=as_json)


def _one(keys: Sequence[str]) -> str:
    if len(keys) != 1:
        raise StrataError(f"{len(keys)} segments to show", expected="one", repair="strata backfill SEGMENT --show")
    return keys[0]


def _compute(
    settings: Settings,
    keys: list[str],
    first: date,
    last: date,
    version: int | None,
    by: str,
    reason: str,
    *,
    renew: bool,
    as_json: bool,
) -> None:
    """Run the asset's job over the days, in this process, and tell what came of it."""
    from orchestration.segment_backfill import Request, check_request

    request = Request(tuple(keys), first, last, by, reason, version, renew)
    with settings.warehouse.scratch() as con:
        # What can't be meant is told at once, and no writer is waited for.
        lay_views(con)
        asked = check_request(con, settings, request)
    run_id = _run(settings, request, quiet=as_json)
    with settings.warehouse.read() as con:
        found = [find_backfill(con, one.segment_key, one.segment_version) for one in asked.scope.subjects]
        sizes = {one.segment_key: [day for day in list_sizes(con, one) if first <= day.day <= last] for one in found}
    if as_json:
        print_json(
            {
                "run_id": run_id,
                "from": first,
                "to": last,
                "segments": [asdict(one) | {"days": sizes[one.segment_key]} for one in found],
            }
        )
        return
    for one in found:
        days = sizes[one.segment_key]
        out.print(
            Text(f"{one.segment_key} version {one.segment_version}", style="bold"),
            f"{len(days)} days from {first} to {last}: {days[0].members:,} members, then {days[-1].members:,}",
        )
    hints = [
        (f"strata backfill {found[0].segment_key} --show", "its size on each day"),
        (f"strata backfill {found[0].segment_key} --at {last}", "who was in it on a day"),
    ]
    out.print(hint_table(hints))


def _run(settings: Settings, request: "Request", *, quiet: bool) -> str:
    """Run the job over the days of a request; return its run id.

    Raises:
        StrataError: What stopped it, with how to go on.
        WarehouseBusyError: Another backfill is at work, or the warehouse is held for too long.
    """
    with err.status("Loading definitions …") if not quiet else nullcontext() as status:
        # Imported here: they cost seconds, which every other command should not pay.
        import dagster as dg
        from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG

        from assets.segment_backfills import segment_backfills
        from orchestration.abandoned_runs import end_abandoned_runs
        from orchestration.definitions import build_definitions
        from orchestration.instance import open_instance
        from orchestration.jobs import BACKFILL
        from orchestration.progress import RunProgress

        step = segment_backfills.op.name
        job = build_definitions(settings).resolve_job_def(BACKFILL)
        progress = RunProgress({_PART: [step]})
        run_id = str(uuid.uuid4())
        with open_instance(settings) as instance, ExitStack() as stack:
            end_abandoned_runs(instance)

            def follow(entry: dg.EventLogEntry) -> None:
                progress.see(entry)
                if entry.dagster_event is None and entry.step_key == step and not quiet:
                    err.print(Text(entry.user_message))
                if status is not None:
                    status.update(f"[bold]{_PART}[/bold] …")

            instance.add_event_listener(run_id, follow)
            # What dbt prints belongs to its log.
            stack.enter_context(redirect_stdout(stack.enter_context(Path(os.devnull).open("w", encoding="utf-8"))))
            job.execute_in_process(
                instance=instance,
                run_id=run_id,
                raise_on_error=False,
                tags={
                    "strata/trigger": "command line",
                    ASSET_PARTITION_RANGE_START_TAG: request.first.isoformat(),
                    ASSET_PARTITION_RANGE_END_TAG: request.last.isoformat(),
                },
                run_config={
                    "ops": {
                        step: {
                            "config": {
                                "segments": list(request.segments),
                                "version": request.version or 0,
                                "renew": request.renew,
                                "author": request.author,
                                "reason": request.reason,
                            }
                        }
                    },
                    "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
                },
            )
    part = progress.parts[_PART]
    if part.state == "done":
        return run_id
    kind = WarehouseBusyError if part.is_busy else StrataError
    raise kind(
        f"the backfill has stopped: {part.message or part.state}",
        where=f"run {run_id}",
        expected="every day computed; those that are done are kept",
        repair="the same command goes on with the first day that is missing",
    )


def _show_list(found: list[Backfill], *, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    if not found:
        out.print("nobody recomputed past days yet")
        out.print(hint_table([("strata backfill SEGMENT --from DATE --to DATE", "does")]))
        return
    rows = [
        (
            one.segment_key,
            one.segment_version,
            one.first_day,
            one.last_day,
            one.days_done,
            one.days_missing,
            one.next_day,
            one.author,
            one.reason,
        )
        for one in found
    ]
    out.print(table(["segment", "version", "from", "to", "done", "missing", "next", "by", "reason"], rows))


def _show_days(con: Connection, found: Backfill, *, as_json: bool) -> None:
    days = list_sizes(con, found)
    if as_json:
        print_json(asdict(found) | {"days": days})
        return
    rows = [(day.day, day.members, day.entered, day.left, f"p{day.publication_seq}", day.recorded_at) for day in days]
    title = f"{found.segment_key} version {found.segment_version}, at the end of each day"
    out.print(table(["day", "members", "entered", "left", "on data of", "computed at"], rows, title=title))
    if found.next_day is not None:
        out.print(Text(f"{found.days_missing} days are missing, the first is {found.next_day}", style="yellow"))


def _show_members(con: Connection, found: Backfill, day: date, *, as_json: bool) -> None:
    members = list_members_on(con, found, day)
    if as_json:
        print_json(
            {
                "segment_key": found.segment_key,
                "segment_version": found.segment_version,
                "day": day,
                "members": len(members),
                "customers": members,
            }
        )
        return
    title = f"{found.segment_key} version {found.segment_version} at the end of {day}: {len(members):,} members"
    out.print(Text(title, style="bold"))
    for customer in members:
        out.print(customer, markup=False)
