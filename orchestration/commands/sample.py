"""`strata sample`: a made-up company to try everything on."""

from datetime import date, datetime
from pathlib import Path
from typing import Annotated

import typer

from orchestration.commands.console import Json, err, out, print_json, table
from orchestration.settings import Settings
from segmentation.errors import StrataError
from segmentation.sample.company import DEFAULT_CUSTOMERS, DEFAULT_DAYS, DEFAULT_SEED, SampleReport, generate

DEFAULT_END = date(2026, 11, 1)


def sample(
    customers: Annotated[int, typer.Option(min=10, help="How many people to make up.")] = DEFAULT_CUSTOMERS,
    days: Annotated[int, typer.Option(min=35, help="How many days of history.")] = DEFAULT_DAYS,
    seed: Annotated[int, typer.Option(help="The same seed gives the same files, byte for byte.")] = DEFAULT_SEED,
    end: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Last moment of the history.")] = None,
    landing: Annotated[Path | None, typer.Option(help="Where to write; default: the landing folder.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Write even though other files have landed.")] = False,
    as_json: Json = False,
) -> None:
    """Generate the sample company: a subscription retailer with a web shop, an app and an API."""
    settings = Settings.load(**({"landing": landing} if landing else {}))
    folder = settings.landing_folder
    if not force and any(path.is_file() for path in folder.glob("*/*")):
        raise StrataError(
            "the landing folder is not empty",
            where=str(folder),
            expected="an empty folder, so that made-up customers do not mix with yours",
            repair="strata sample --landing OTHER_FOLDER, or --force to add to it",
        )
    report = generate_sample(settings, customers, days, seed, end.date() if end else DEFAULT_END, quiet=as_json)
    if as_json:
        print_json(report)
        return
    out.print(table(["feed", "rows"], sorted(report.rows.items())))
    out.print(f"\n{len(report.files):,} files in {folder}, as of {report.as_of:%Y-%m-%d}.", markup=False)
    out.print("Next: strata run")


def generate_sample(
    settings: Settings, customers: int, days: int, seed: int, end: date = DEFAULT_END, *, quiet: bool = False
) -> SampleReport:
    """Write a sample company to the landing folder, and its truth apart."""
    if quiet:
        return generate(
            settings.landing_folder, settings.truth_folder, customers=customers, days=days, seed=seed, end=end
        )
    with err.status("Generating the sample company …") as status:
        return generate(
            settings.landing_folder,
            settings.truth_folder,
            customers=customers,
            days=days,
            seed=seed,
            end=end,
            progress=lambda text: status.update(f"Generating the sample company: {text} …"),
        )
