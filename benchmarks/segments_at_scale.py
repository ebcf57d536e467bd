"""Fifty segments over many customers: ``python -m benchmarks.segments_at_scale [--customers 1000000,10000000]``.

Decides, compares and publishes a second day on which one customer in a hundred changed, by the stage and in the way of
the field: per segment one query, one comparison and one write. Beside them the bare scan that evaluates the same rules
and keeps nothing. Each way runs in a process of its own over a copy of the same first day. Belongs here: what is
measured, and in which order. Does not belong here: the company (`segments_world.py`) or how the figures read
(`segments_report.py`).
"""

import argparse
import json
import shutil
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.chain import run_module, tell
from benchmarks.machine import describe_machine
from benchmarks.measurement import Measurement, measured
from benchmarks.sections import replace_section
from benchmarks.segments_report import TITLE, render
from benchmarks.segments_world import (
    FIRST_DAY,
    SECOND_DAY,
    build_features,
    change_features,
    plain_rules,
    write_catalog,
)
from segmentation.run import Run
from segmentation.segments.candidate import build_candidate
from segmentation.segments.publish import publish
from segmentation.warehouse import Connection, Warehouse, transaction

ROOT = Path(__file__).resolve().parents[1]

#: One customer in a hundred changes on the second day.
CHANGED_PERCENT = 1

Figures = dict[str, Any]


def main(arguments: list[str] | None = None) -> None:
    """Measure, and write the section of the report; or do one measurement, for a parent that waits."""
    given = _parse(arguments)
    if given.measure:
        print(json.dumps(WAYS[given.measure](given.folder, given.customers[0])))
        return
    figures: Figures = {"machine": describe_machine(), "sizes": {}, "date": datetime.now(UTC).date().isoformat()}
    for customers in given.customers:
        with tempfile.TemporaryDirectory(dir=given.folder, prefix="strata-segments-") as folder:
            found: Figures = {}
            for way in WAYS:
                tell(f"{customers:,} customers: {way}")
                options = ["--measure", way, "--folder", folder, "--customers", str(customers)]
                found[way] = run_module("segments_at_scale", *options)
                tell(f"{way}: {found[way]}")
        require_agreement(found)
        figures["sizes"][customers] = found
    if given.json:
        given.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    replace_section(given.results, TITLE, render(figures))


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure fifty segments over many customers.")
    parser.add_argument("--customers", type=_sizes, default=_sizes("1000000,10000000"), help="sizes, by comma")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="where data goes meanwhile")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "RESULTS.md")
    parser.add_argument("--json", type=Path, help="where all figures go, for machines")
    parser.add_argument("--measure", choices=WAYS, help="one measurement over a folder of this benchmark")
    return parser.parse_args(arguments)


def _sizes(text: str) -> list[int]:
    return sorted({int(part) for part in text.replace("_", "").split(",")})


def require_agreement(found: dict[str, Figures]) -> None:
    """Refuse figures of ways that did not find the same members and the same changes.

    Raises:
        RuntimeError: Two ways that say the same thing count differently.
    """
    for name in ("members", "changes"):
        counts = {way: figures[name] for way, figures in found.items() if name in figures and way != "first_day"}
        if len(set(counts.values())) > 1:
            raise RuntimeError(f"the ways found different numbers of {name}: {counts}")


def _house(folder: Path, name: str) -> Warehouse:
    return Warehouse(folder / f"{name}.duckdb", folder / f"{name}.published.duckdb", memory_limit="4GB")


def _first_day(folder: Path, customers: int) -> Figures:
    """Build the company and publish the first day by the stage; the file is where the others start."""
    catalog = write_catalog(folder / "catalog")
    with _house(folder, "stage").write() as con:
        build_features(con, customers)
        run = Run("first", FIRST_DAY, FIRST_DAY)
        with measured() as decided:
            build_candidate(con, run, catalog)
        with measured() as published:
            publish(con, run)
        found = _count(con, "select count(*) from segments.membership")
        with transaction(con):
            change_features(con, CHANGED_PERCENT)
    return {**_parts(decide=decided, publish=published), "members": found}


def _scan(folder: Path, customers: int) -> Figures:
    """Evaluate all rules over the second day's features in one statement, and keep only how many hold."""
    del customers
    rules = ", ".join(f"count_if({rule.sql})" for rule in plain_rules())
    with _house(folder, "stage").write() as con, measured() as taken:
        held = con.execute(f"select {rules} from features.customer_features").fetchall()[0]
    return {**taken.as_dict(), "members": sum(held)}


def _field(folder: Path, customers: int) -> Figures:
    """Do as systems of the field: a table per segment; per segment one query, one comparison, one write."""
    del customers
    shutil.copyfile(_house(folder, "stage").path, _house(folder, "field").path)
    stamps = f"timestamp '{SECOND_DAY}', 'second'"
    with _house(folder, "field").write() as con:
        con.execute("create schema audiences")
        con.execute(
            "create table audiences.log (customer_id varchar, segment_key varchar, change varchar, "
            "effective_at timestamp, run_id varchar)"
        )
        for rule in plain_rules():
            con.execute(
                f"create table audiences.{rule.key} as select customer_id from segments.membership "
                f"where segment_key = '{rule.key}'"
            )
        con.execute("checkpoint")
        with measured() as taken:
            for rule in plain_rules():
                with transaction(con):
                    _refresh_audience(con, rule.key, rule.sql, stamps)
        members = sum(_count(con, f"select count(*) from audiences.{rule.key}") for rule in plain_rules())
        changes = _count(con, "select count(*) from audiences.log")
    _house(folder, "field").path.unlink()
    return {**taken.as_dict(), "members": members, "changes": changes}


def _refresh_audience(con: Connection, key: str, rule: str, stamps: str) -> None:
    """Take a new snapshot of one segment, log who entered and who left since the last one, and put it in its place."""
    con.execute(f"create table audiences.new as select customer_id from features.customer_features where {rule}")
    for change, there, gone in (("exit", key, "new"), ("enter", "new", key)):
        con.execute(
            f"insert into audiences.log select customer_id, '{key}', '{change}', {stamps} from audiences.{there} "
            f"anti join audiences.{gone} using (customer_id)"
        )
    con.execute(f"drop table audiences.{key}; alter table audiences.new rename to {key}")


def _stage(folder: Path, customers: int) -> Figures:
    """Decide and publish the second day by the stage: history, causes, guards and conflicts included."""
    del customers
    catalog = write_catalog(folder / "catalog")
    with _house(folder, "stage").write() as con:
        run = Run("second", SECOND_DAY, SECOND_DAY)
        with measured() as decided:
            build_candidate(con, run, catalog)
        with measured() as published:
            publish(con, run)
        changes = _count(con, "select count(*) from segments.membership_changes where run_id = 'second'")
        members = _count(con, "select count(*) from segments.membership")
    return {**_parts(decide=decided, publish=published), "members": members, "changes": changes}


def _parts(**parts: Measurement) -> Figures:
    return {
        "wall": sum(part.wall for part in parts.values()),
        "cpu": sum(part.cpu for part in parts.values()),
        "peak_bytes": max(part.peak_bytes for part in parts.values()),
        "parts": {name: part.as_dict() for name, part in parts.items()},
    }


def _count(con: Connection, query: str) -> int:
    return int(con.execute(query).fetchall()[0][0])


#: Every way by name, in the order they are measured: all others start from what the first day leaves.
WAYS: dict[str, Callable[[Path, int], Figures]] = {
    "first_day": _first_day,
    "scan": _scan,
    "field": _field,
    "stage": _stage,
}


if __name__ == "__main__":
    main()
