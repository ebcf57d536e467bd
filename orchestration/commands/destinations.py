"""`strata destinations …`: the places that destinations have left, and emptying them.

Belongs here: asking and showing. Does not belong here: what a place is (`segmentation/sync/left_places.py`), or what
destinations are told (`assets/sync.py`).
"""

from dataclasses import asdict
from typing import Annotated

import typer
from rich.text import Text

from orchestration.commands.console import Json, hint_table, out, print_json, table
from orchestration.commands.identity_steward import Author, Reason, deciding
from orchestration.settings import Settings, now
from segmentation import audit
from segmentation.identity.rule_book import Signature, check_words
from segmentation.sync.left_places import choose_left, clear_left, find_left, forget_left
from segmentation.sync.state import State

group = typer.Typer(
    name="destinations",
    help="Places that destinations have left, with customers in them.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@group.command("left")
def left(as_json: Json = False) -> None:
    """List the places that were delivered to, and that no destination is in any more. Exit code 1: there are some."""
    from assets.sync import read_destinations

    settings = Settings.load()
    found = find_left(settings.sync_state, read_destinations(settings))
    if as_json:
        print_json([asdict(one) | {"repair": one.repair} for one in found])
    elif found:
        rows = [(one.destination, one.url, one.customers, one.delivered_at) for one in found]
        out.print(table(["destination", "place", "customers", "delivered"], rows))
        out.print(hint_table([(one.repair, "deletes what is there") for one in found]))
    else:
        out.print("no destination has left a place with customers in it")
    if found:
        raise typer.Exit(1)


@group.command("clear")
def clear(
    name: Annotated[str, typer.Argument(help="Destination that was there.")],
    author: Author,
    reason: Reason,
    place: Annotated[str | None, typer.Option(help="Which place, where it left several.")] = None,
    url: Annotated[
        str | None,
        typer.Option(envvar="STRATA_PLACE_URL", help="The place with its password, where it needs one."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Delete all that a destination left in a place where it is no more; kept in the audit log."""
    from assets.sync import read_destinations

    settings = Settings.load()
    destinations = read_destinations(settings)
    meant = choose_left(settings.sync_state, destinations, name, place or url)
    at = now()
    with deciding(settings) as (con, _rules):
        check_words(con, Signature(author, reason, at), ())
        rows = clear_left(meant, destinations, url)
        detail = {"place": meant.url, "rows": rows, "reason": reason}
        audit.append(con, at=at, actor=author, action="destination.clear", subject=name, detail=detail)
    state = State(settings.sync_state)
    try:
        # Last: whoever is killed before has it cleared once more, and nothing is cleared that the log does not tell.
        forget_left(state, meant)
    finally:
        state.close()
    if as_json:
        print_json({"destination": name, "place": meant.url, "rows": rows})
        return
    out.print(Text(name, style="bold"), f"left nothing in {meant.url} any more: {rows:,} rows deleted")
