"""`strata catalog`: the catalog of segments as a page for people."""

from pathlib import Path
from typing import Annotated

import typer

from orchestration.commands.console import Json, out, print_json
from orchestration.settings import Settings


def catalog(
    out_file: Annotated[
        Path | None, typer.Option("--out", help="File to write; default: catalog.html in the data folder.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a page about every segment: who is in it and why, its size over time, overlap, versions, cost.

    The page is one file that asks for nothing from outside. Every publication writes it as well.
    """
    from segmentation.segments.catalog_facts import read_catalog_facts
    from segmentation.segments.catalog_page import write_page

    settings = Settings.load()
    target = out_file or settings.catalog_page
    with settings.warehouse.read() as con:
        facts = read_catalog_facts(con)
    write_page(facts, target)
    if as_json:
        print_json({"file": target, "as_of": facts.as_of, "segments": len(facts.segments)})
    else:
        out.print(f"{len(facts.segments)} segments as of {facts.as_of:%Y-%m-%d %H:%M} in {target}", markup=False)
