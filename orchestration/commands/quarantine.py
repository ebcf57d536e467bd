"""`strata quarantine`: rows that could not be loaded, why, and what they look like."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

import typer
from rich.text import Text

from orchestration.commands.console import Json, hint_table, out, print_json, table
from orchestration.commands.identity_steward import require_warehouse
from orchestration.settings import Settings
from segmentation.contracts import ensure_schema
from segmentation.errors import StrataError
from segmentation.sources.quarantine import (
    RefusedCount,
    RefusedFile,
    RefusedRow,
    Selection,
    count_refused,
    count_refused_by_file,
    sample_refused,
)
from segmentation.warehouse import table_exists

#: A question is asked again sooner than it waits for a step of a run.
_WAIT_SECONDS = 2

#: Files that the summary lists.
_FILES_SHOWN = 10

#: Characters of a value that are shown as text.
_SHOWN = 120


def quarantine(
    entity: Annotated[str, typer.Option(help="Only rows for this entity.")] = "",
    reason: Annotated[str, typer.Option(help="Only this reason: a code, or a kind such as wrong_type.")] = "",
    file: Annotated[str, typer.Option(help="Only this file: path below the landing root, name, or pattern.")] = "",
    candidate: Annotated[
        bool, typer.Option("--candidate", help="Rows that the newest candidate refused, published or not.")
    ] = False,
    limit: Annotated[int, typer.Option(min=0, max=1000, help="How many rows to show.")] = 5,
    show_values: Annotated[
        bool, typer.Option("--show-values", help="Show values as they came: they are personal data.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show rows that could not be loaded: counts by reason and file, and some rows, their values masked.

    Exit code 0: also where there are none. 4: a run is writing. 5: there is no such entity or reason.
    """
    selection = Selection(entity, reason, file, of_candidate=candidate)
    settings = Settings.load()
    require_warehouse(settings)
    with replace(settings.warehouse, lock_wait_seconds=min(_WAIT_SECONDS, settings.lock_wait_seconds)).write() as con:
        ensure_schema(con, "sources")
        if candidate and not table_exists(con, "sources", "candidate_quarantine"):
            raise StrataError("no candidate has been made yet", where=str(settings.warehouse.path), repair="strata run")
        counts = count_refused(con, selection)
        files = count_refused_by_file(con, selection, _FILES_SHOWN)
        rows = sample_refused(con, selection, limit, show_values=show_values)
    if as_json:
        total = sum(one.rows for one in counts)
        print_json({"rows": total, "by_reason": counts, "by_file": files, "sample": rows, "values_shown": show_values})
        return
    _show(counts, files, rows)


def _show(counts: Sequence[RefusedCount], files: Sequence[RefusedFile], rows: Sequence[RefusedRow]) -> None:
    if not counts:
        out.print("no such row is in quarantine")
        return
    facts = [(one.source, one.entity, one.reason_code, one.rows, one.files, one.newest_path) for one in counts]
    out.print(table(["source", "entity", "reason", "rows", "files", "newest file"], facts))
    out.print()
    out.print(table(["source", "file", "rows"], [(one.source, one.path, one.rows) for one in files]))
    for row in rows:
        out.print()
        out.print(
            Text(f"{row.path}, row {row.line}", style="bold"), Text(f"{row.entity}: {row.reason or row.reason_code}")
        )
        for name, value in row.values.items():
            out.print(Text(f"    {name}: {'–' if value is None else value[:_SHOWN]}"))
    out.print()
    masked = any(row.reason is None for row in rows)
    hints = [("strata check-source FILE", "what a run would do with a file after an edit of its mapping")]
    if masked:
        hints.append(("strata quarantine --show-values", "values as they came, which are personal data"))
    out.print(hint_table(hints))
