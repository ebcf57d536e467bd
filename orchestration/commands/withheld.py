"""`strata withheld`: what was not loaded because its person did not allow what it is for, as counts."""

from dataclasses import asdict
from typing import Annotated

import typer
from rich.text import Text

from orchestration.commands.console import Json, hint_table, out, print_json, table
from orchestration.commands.identity_steward import require_warehouse
from orchestration.commands.looking import looking
from orchestration.settings import Settings
from segmentation.contracts import ensure_schema
from segmentation.sources.withheld import REASONS, count_withheld


def withheld(
    entity: Annotated[str, typer.Option(help="Only of this entity.")] = "",
    as_json: Json = False,
) -> None:
    """Count rows and values that were not loaded for want of consent, by purpose and reason.

    Exit code 0: also where there are none. 5: there is no such entity.
    """
    settings = Settings.load()
    require_warehouse(settings)
    with looking(settings.warehouse, "what was withheld", ("sources", "withheld")) as sight:
        if sight.copied_at is None:
            ensure_schema(sight.con, "sources")
        counts = count_withheld(sight.con, entity=entity)
    if as_json:
        print_json({"withheld": [asdict(one) for one in counts], "copied_at": sight.copied_at})
        return
    if sight.note:
        out.print(Text(sight.note, style="yellow"))
    if not counts:
        out.print("nothing was withheld for want of consent")
        return
    rows = [
        (one.source, one.entity, one.field or "whole row", one.purpose, one.reason, one.rows, one.newest_at)
        for one in counts
    ]
    out.print(table(["source", "entity", "of", "purpose", "reason", "rows", "newest"], rows))
    out.print()
    out.print(hint_table([(reason, REASONS[reason]) for reason in dict.fromkeys(one.reason for one in counts)]))
