"""The command line `strata`: commands by name, and what their exit codes mean.

Exit codes: 0 done, 1 something is wrong, 2 wrong usage, 3 a gate is closed, 4 another process is at work,
5 what was asked for is not known.
"""

import os
import sys
from typing import NoReturn

import duckdb
import typer
from rich.text import Text

from orchestration.commands import (
    apply,
    approvals,
    audit,
    backfill,
    canary,
    catalog,
    catalog_page,
    customers,
    destinations,
    doctor,
    erasure,
    identity,
    matching,
    plan,
    prune,
    quarantine,
    run,
    sample,
    segment_history,
    segment_pins,
    serve,
    withheld,
)
from orchestration.commands.console import err, print_json
from segmentation.errors import StrataError

app = typer.Typer(
    name="strata",
    help="Resolve customers, compute features, decide segments, allocate cost, sync membership.",
    epilog="Exit codes: 0 done · 1 something is wrong · 2 wrong usage · 3 a gate is closed · "
    "4 another process is at work · 5 not known",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

app.command("sample")(sample.sample)
app.command("run")(run.run)
app.command("validate")(catalog.validate)
app.command("check-source")(catalog.check_source)
app.command("plan", cls=plan.PlanCommand)(plan.plan)
app.command("apply")(apply.apply)
app.add_typer(approvals.group)
app.command("quarantine")(quarantine.quarantine)
app.command("withheld")(withheld.withheld)
app.command("segments")(customers.segments)
app.command("catalog")(catalog_page.catalog)
app.command("prune")(prune.prune)
app.command("promote")(canary.promote)
app.command("abort")(canary.abort)
app.command("explain")(customers.explain)
app.command("history")(segment_history.history)
app.command("backfill")(backfill.backfill)
app.command("freeze")(segment_pins.freeze)
app.command("unfreeze")(segment_pins.unfreeze)
app.command("kill")(segment_pins.kill)
app.command("rollback")(segment_pins.rollback)
app.command("lookup")(customers.lookup)
app.add_typer(identity.group)
app.add_typer(matching.group)
app.add_typer(audit.group)
app.add_typer(destinations.group)
app.command("erase")(erasure.erase)
app.command("erasures")(erasure.erasures)
app.command("gates")(doctor.gates)
app.command("doctor")(doctor.doctor)
app.command("restore")(doctor.restore)
app.command("dev")(serve.dev)
app.command("docs")(serve.docs)


def main() -> None:
    """Run the command line; errors that people can repair are told without a trace."""
    as_json = "--json" in sys.argv
    # What runs write holds personal data: for its owner and group, not for everybody on the machine.
    os.umask(os.umask(0) | 0o027)
    try:
        app()
    except StrataError as error:
        _tell(error, as_json=as_json)
    except (OSError, duckdb.IOException, duckdb.FatalException) as error:
        # The machine, not the program: a full or read-only disk, a file that is gone or damaged.
        _tell(StrataError(str(error).splitlines()[0], repair="strata doctor"), as_json=as_json)


def _tell(error: StrataError, *, as_json: bool) -> NoReturn:
    if as_json:
        print_json(error.as_dict())
    else:
        err.print(Text("error:", style="red"), Text(error.message))
    raise SystemExit(error.exit_code) from None
