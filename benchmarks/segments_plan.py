"""What a plan costs: ``python -m benchmarks.segments_plan``.

Belongs here: planning a change of four of fifty segments over many customers, with every section. Does not belong
here: the company (`segments_world.py`) and the stage (`segments_at_scale.py`).
"""

import argparse
import json
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from benchmarks.chain import ROOT
from benchmarks.machine import describe_machine
from benchmarks.measurement import measured
from benchmarks.sections import replace_section
from benchmarks.segments_world import FIRST_DAY, TYPES, build_features, write_catalog
from segmentation.contracts import mark_published, stamp_candidate
from segmentation.readers import readable_tables
from segmentation.run import Run
from segmentation.segments.candidate import build_candidate
from segmentation.segments.plan import Plan, make_plan
from segmentation.segments.plan_effects import (
    conflict_section,
    guard_section,
    indirect_section,
    pin_section,
    size_section,
    transition_sections,
)
from segmentation.segments.plan_values import consent_section, mover_section, revenue_section, traffic_section
from segmentation.segments.publish import publish
from segmentation.segments.scratch import lay_views
from segmentation.sync.catalog import SqlDestination
from segmentation.sync.plan_section import delivery_section
from segmentation.warehouse import Warehouse

Figures = dict[str, Any]

TITLE = "Planning a change of segments"
#: CPU seconds that a plan over a million customers may take.
_MOST = 5.0

#: What is edited: a rank of the tier narrowed, a free rule widened, one narrowed, one removed.
_EDITS = {
    "tier_05": "revenue_micros_365d > 2550000000 and days_since_last_order < 60",
    "free_01_1": "(days_since_last_order between 85 and 180 and orders_365d >= 5) and country in ('DE', 'AT')",
    "free_05_2": "(recency_score <= 1 and monetary_score = 5) and country in ('CH', 'FR', 'NL')",
}
_REMOVED = "free_09_4"

_STORE = SqlDestination(
    name="store",
    description="A store of a measurement.",
    kind="sqlalchemy",
    url="sqlite://",
    purposes=["essential.service"],
    segments="all",
    owner="team:growth",
    max_staleness_seconds=1,
)


def main(arguments: list[str] | None = None) -> None:
    """Measure, and write the section of the report."""
    parser = argparse.ArgumentParser(description="Measure planning a change of segments.")
    parser.add_argument("--customers", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="where data goes meanwhile")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "RESULTS.md")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(dir=given.folder, prefix="strata-plan-") as folder:
        figures = measure(Path(folder), given.customers)
    print(json.dumps(figures))
    replace_section(given.results, TITLE, render(figures))


def measure(folder: Path, customers: int) -> Figures:
    """Build the company, publish it, edit the catalog and plan."""
    warehouse = Warehouse(folder / "live.duckdb", folder / "published.duckdb", memory_limit="4GB")
    catalog = write_catalog(folder / "catalog")
    run = Run("first", FIRST_DAY, FIRST_DAY)
    with warehouse.write() as con:
        build_features(con, customers)
        con.execute(
            "insert into identity.customers select customer_id, row_number() over (), 0, 1, 'active', null, "
            f"'deterministic', 1, timestamp '{FIRST_DAY}', timestamp '{FIRST_DAY}', 'first', timestamp '{FIRST_DAY}' "
            "from features.customer_features"
        )
        for stage in ("identity", "features"):
            stamp_candidate(con, stage, run)
            mark_published(con, stage, run)
        build_candidate(con, run, catalog)
        publish(con, run)
        warehouse.publish_copy(con, readable_tables(con))
    _edit(folder / "catalog" / "segments")
    with measured() as taken:
        found = _plan(warehouse, folder / "catalog")
    with measured() as again:
        _plan(warehouse, folder / "catalog")
    return {
        **taken.as_dict(),
        "again": again.as_dict(),
        "customers": customers,
        "changes": found.expected.changes,
        "machine": describe_machine(),
        "date": datetime.now(UTC).date().isoformat(),
    }


def _edit(segments: Path) -> None:
    for key, rule in _EDITS.items():
        path = segments / f"{key}.yml"
        definition = yaml.safe_load(path.read_text(encoding="utf-8"))
        path.write_text(yaml.safe_dump({**definition, "rule": rule}), encoding="utf-8")
    (segments / f"{_REMOVED}.yml").unlink()


def _plan(warehouse: Warehouse, folder: Path) -> Plan:
    with warehouse.scratch() as con:
        lay_views(con)
        return make_plan(
            con,
            folder,
            TYPES,
            recorded_at=FIRST_DAY,
            sections=[
                guard_section,
                pin_section,
                size_section,
                transition_sections,
                indirect_section,
                conflict_section,
                revenue_section,
                traffic_section,
                consent_section,
                delivery_section([_STORE], ["essential.service"]),
                mover_section,
            ],
        )


def render(figures: Figures) -> str:
    """Return the section's text."""
    machine, cpu = figures["machine"], figures["cpu"]
    intro = (
        "Fifty segments, ten of them one exclusive group; three rules are edited and one segment is removed. The plan "
        "builds the candidate in memory beside the readers' copy and measures every section, the rows that a "
        "destination would get included."
    )
    word = "met" if cpu <= _MOST else "missed"
    aim = f"* **{word}**: at most {_MOST:g} CPU s at {figures['customers']:,} customers; {cpu:.1f}."
    header = (
        "| customers | CPU s | wall s | peak MiB | changes of membership | CPU s once more |\n"
        "| ---: | ---: | ---: | ---: | ---: | ---: |"
    )
    row = (
        f"| {figures['customers']:,} | {cpu:.1f} | {figures['wall']:.1f} | {figures['peak_bytes'] >> 20:,} | "
        f"{figures['changes']:,} | {figures['again']['cpu']:.1f} |"
    )
    how = (
        f"Measured {figures['date']} on {machine['cores']} cores ({machine['processor']}), load at the start "
        f"{machine['load']}. Repeat: `python -m benchmarks.segments_plan`."
    )
    return "\n\n".join([intro, aim, f"{header}\n{row}", how])


if __name__ == "__main__":
    main()
