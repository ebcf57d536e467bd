"""`strata plan`: what the catalog as it is written would do, before it does.

Belongs here: asking for a plan and showing it. Does not belong here: what it says (`segmentation/segments/plan.py`),
its sections (`orchestration/plan_sections.py`), or carrying it out (`apply.py`).
"""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text
from typer.core import TyperCommand

from orchestration.commands.console import Json, err, hint_table, out
from orchestration.settings import Settings, now
from segmentation.contracts import ensure_schema
from segmentation.errors import WarehouseBusyError
from segmentation.features.contract import load_contract
from segmentation.segments.plan import Plan, find_pins, make_plan
from segmentation.segments.plan_file import plan_hash, render_plan, write_plan
from segmentation.segments.plan_report import describe_change, diff_lines, format_value, render_markdown, summarise
from segmentation.segments.plan_sections import Section
from segmentation.segments.scratch import lay_views

#: Exit code of a plan that would change something: of every other command, of wrong usage.
CHANGES = 2
#: Exit code of a plan that can't be made.
_NO_PLAN = 1
_STYLES = {"breaking": "red", "non_breaking": "yellow", "metadata": "dim"}


class PlanCommand(TyperCommand):
    """Tells wrong usage from a plan that would change something: a pipeline takes the exit code for its answer."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the arguments.

        Raises:
            ClickException: They are wrong; it ends the process with the exit code of a plan that can't be made.
        """
        try:
            return super().parse_args(ctx, args)
        except Exception as error:
            # Typer has click within itself or beside itself, by its version, and names the class in neither case.
            if getattr(error, "exit_code", None) == CHANGES:
                vars(error)["exit_code"] = _NO_PLAN
            raise


def plan(
    file: Annotated[Path | None, typer.Option("--out", help="Write the plan to this file, for strata apply.")] = None,
    markdown: Annotated[
        Path | None, typer.Option("--markdown", help="Write a report to this file, for a pull request.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare the catalog with what is live and say what it would do. Nothing is changed.

    It tells who would enter and leave, moves within groups, revenue, cost, traffic, deliveries, consent, guards.

    Exit code 0: nothing would change. 2: something would. 1: the catalog can't be used, or the command.
    """
    settings = Settings.load()
    with err.status("Planning …"):
        found = plan_now(settings)
    if told := _made_without(settings, found):
        err.print(Text(told, style="yellow"))
    if file:
        write_plan(file, found)
    if markdown:
        markdown.write_text(render_markdown(found, plan_hash(found)), encoding="utf-8")
    if as_json:
        typer.echo(render_plan(found), nl=False)
    else:
        _show(found, file)
    if found.has_changes:
        raise typer.Exit(CHANGES)


def plan_now(settings: Settings) -> Plan:
    """Make a plan of an installation's catalog on its published copy."""
    # Loads the orchestrator, which commands that answer a question do without.
    from assets.segment_usages import read_usages
    from orchestration.plan_sections import plan_sections

    contract = load_contract(settings.dbt_project)
    with settings.warehouse.scratch() as con:
        lay_views(con)
        return make_plan(
            con,
            settings.catalog,
            contract,
            recorded_at=now(),
            sections=plan_sections(settings),
            usages=read_usages(con, settings),
            feature_units={feature.name: feature.unit for feature in contract.features},
        )


def _made_without(settings: Settings, found: Plan) -> str:
    """Return what people have decided that the readers' copy, and so the plan, does not know; empty where nothing is.

    Whoever writes the warehouse is not waited for.
    """
    live = replace(settings.warehouse, lock_wait_seconds=0)
    if not live.path.exists():
        return ""
    try:
        with live.write() as con:
            ensure_schema(con, "segments")
            if find_pins(con) == found.base.pins:
                return ""
    except WarehouseBusyError:
        return "A run is at work: what it publishes, or what it was told to hold, is not in this plan."
    return (
        "Made without what was decided since the last run (freeze, kill, rollback, unfreeze, promote or abort with "
        "--no-run); strata apply will refuse it. Publish that first: strata run --from segments"
    )


def _show(found: Plan, file: Path | None) -> None:
    out.print(Text(summarise(found), style="bold"))
    for one in found.policy:
        out.print(Text(f"the policy gives way: {one}", style="red"))
    for unit in found.units:
        for change in unit.changes:
            out.print()
            out.print(Text(describe_change(change), style=_STYLES[change.change_class]))
            for difference in change.differences:
                for line in diff_lines(difference):
                    out.print(Text(f"    {line}", style="red" if line.startswith("-") else "green"))
    for section in found.sections:
        out.print()
        if section.rows:
            out.print(_table(section))
        else:
            out.print(Text(section.title, style="bold"))
        for note in section.notes:
            out.print(Text(note, style="dim"))
    if not found.has_changes:
        return
    out.print()
    name = file or "plan.json"
    hints = [(f"strata apply {name} --by NAME --reason TEXT", "carries out exactly this, and approves it")]
    if file is None:
        hints.insert(
            0, ("strata plan --out plan.json --markdown plan.md", "keeps it, with a report for a pull request")
        )
    out.print(hint_table(hints))


def _table(section: Section) -> Table:
    built = Table(
        title=section.title, title_justify="left", title_style="bold", header_style="bold", box=None, pad_edge=False
    )
    for column in section.columns:
        built.add_column(column.name, justify="left" if column.kind == "text" else "right", overflow="fold")
    for row in section.rows:
        built.add_row(*(Text(format_value(column, value)) for column, value in zip(section.columns, row, strict=True)))
    return built
