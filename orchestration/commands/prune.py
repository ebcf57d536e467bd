"""`strata prune`: segments that nobody needs any more."""

from dataclasses import asdict
from typing import Annotated

import typer
from rich.text import Text

from orchestration.commands.console import Json, out, print_json, table
from orchestration.settings import Settings
from segmentation.segments.staleness import UNCHANGED_DAYS, StaleReview


def prune(
    unchanged_days: Annotated[
        int, typer.Option(min=1, help="Days without a change of members or definition that are long.")
    ] = UNCHANGED_DAYS,
    as_json: Json = False,
) -> None:
    """List segments to look at again or to retire, each with its reasons. Nothing is changed.

    Exit code 0: every segment is needed. 1: some are stale, or more are live than the quota allows.
    """
    from orchestration.segment_review import review

    found = review(Settings.load(), unchanged_days=unchanged_days)
    if as_json:
        print_json({**asdict(found), "is_over_quota": found.is_over_quota})
    else:
        _show(found)
    if found.stale or found.is_over_quota:
        raise typer.Exit(1)


def _show(found: StaleReview) -> None:
    if found.stale:
        rows = [
            (one.segment_key, one.owner, one.members, "\n".join(r.text for r in one.reasons), one.repair)
            for one in found.stale
        ]
        out.print(table(["segment", "owner", "members", "because", "repair"], rows))
    else:
        out.print("every segment is needed")
    quota = "" if found.quota is None else f" of {found.quota} allowed"
    style = "red" if found.is_over_quota else "dim"
    out.print(Text(f"{found.live} segments are live{quota}, as of {found.as_of:%Y-%m-%d %H:%M}", style=style))
