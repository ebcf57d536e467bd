"""`strata audit …`: the log of who decided what."""

from typing import Annotated

import typer
from rich.text import Text

from orchestration.commands.console import Json, out, print_json, table
from orchestration.commands.identity_steward import require_warehouse
from orchestration.settings import Settings
from segmentation import audit
from segmentation.contracts import ensure_schema

group = typer.Typer(
    name="audit",
    help="Who decided what, and whether anybody changed the record of it.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@group.command("verify")
def verify(as_json: Json = False) -> None:
    """Check the audit log: every row as it was written, none missing. Exit code 1: it is not whole."""
    settings = Settings.load()
    require_warehouse(settings)
    with settings.warehouse.write() as con:
        ensure_schema(con, "identity")
        report = audit.verify(con, settings.audit_folder)
    if as_json:
        print_json(report)
    elif report.problem is None:
        out.print(Text("whole", style="green"), f"{report.rows:,} rows, head {report.head[:16]}…")
    else:
        out.print(Text("not whole", style="red"), Text(report.problem))
        out.print("  repair: put a backup in place of what was changed; what only the copy has: strata restore audit")
    if report.problem is not None:
        raise typer.Exit(1)


@group.command("log")
def log(
    last: Annotated[int, typer.Option(min=1, help="How many rows, the newest.")] = 20,
    as_json: Json = False,
) -> None:
    """Show the newest rows of the audit log."""
    settings = Settings.load()
    require_warehouse(settings)
    with settings.warehouse.write() as con:
        ensure_schema(con, "identity")
        first = audit.next_seq(con) - last
        entries = [entry for entry in audit.read_log(con) if entry.seq >= first]
    if as_json:
        print_json(entries)
        return
    rows = [(one.seq, one.at, one.actor, one.action, one.subject, one.detail.get("reason")) for one in entries]
    out.print(table(["row", "at", "who", "did", "to", "because"], rows))
