"""`strata prune`: segments that nobody needs any more, and fields that are collected for nothing."""

from dataclasses import asdict
from typing import Annotated

import typer
from rich.text import Text

from orchestration.commands.console import Json, out, print_json, table
from orchestration.settings import Settings
from segmentation.segments.staleness import UNCHANGED_DAYS, StaleReview

_USES = {"none": "nothing", "unread_features": "features that no segment reads"}


def prune(
    unchanged_days: Annotated[
        int, typer.Option(min=1, help="Days without a change of members or definition that are long.")
    ] = UNCHANGED_DAYS,
    fields: Annotated[
        bool, typer.Option("--fields", help="Instead, list collected fields that no feature, segment or decision uses.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List segments to look at again or to retire, each with its reasons. Nothing is changed.

    Exit code 0: everything is needed. 1: something is not, or more segments are live than the quota allows.
    """
    if fields:
        _prune_fields(as_json=as_json)
        return
    from orchestration.segment_review import review

    found = review(Settings.load(), unchanged_days=unchanged_days)
    if as_json:
        print_json({**asdict(found), "is_over_quota": found.is_over_quota})
    else:
        _show(found)
    if found.stale or found.is_over_quota:
        raise typer.Exit(1)


def _prune_fields(*, as_json: bool) -> None:
    from orchestration.collected_fields import review_fields

    found = review_fields(Settings.load())
    if as_json:
        print_json(found)
    else:
        rows = [
            (one.entity, one.field, _USES[one.use] + (", but required" if one.is_required else ""), one.where)
            for one in found.fields
        ]
        if rows:
            out.print(table(["entity", "field", "used by", "mapped at"], rows))
        out.print(f"{len(rows)} of {found.collected} collected fields are used by no segment and no decision")
        if found.features:
            out.print(Text(f"Features that no live segment reads: {', '.join(found.features)}", style="dim"))
    if found.fields:
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
