"""The one command: measure the chain at several sizes and write down what came out.

``python -m benchmarks.chain [--customers 10000,100000,1000000] [--repeat 1]`` generates a sample company per size,
runs every stage in a process of its own with its limit right behind it, then the whole chain under the orchestrator,
and writes `benchmarks/RESULTS.md`. Belongs here: the order of the work and its options. Does not belong here: what
one process measures (`worker.py`) or how results read (`report.py`).
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from operator import itemgetter
from pathlib import Path
from typing import Any

from benchmarks.machine import describe_machine
from benchmarks.orchestrated import measure_orchestration
from benchmarks.report import render
from benchmarks.sections import apart_from_the_chain

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).with_name("RESULTS.md")
STAGES = ("sources", "identity", "features", "segments", "costs", "sync")

Figures = dict[str, Any]


def main(arguments: list[str] | None = None) -> None:
    """Measure, then write the results."""
    given = _parse(arguments)
    results: Figures = {
        "date": given.date or datetime.now(UTC).date().isoformat(),
        "command": " ".join(["python -m benchmarks.chain", *(arguments if arguments is not None else sys.argv[1:])]),
        "events_per_customer": given.events,
        "days": given.days,
        "repeat": given.repeat,
        "sizes": [],
    }
    given.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=given.folder, prefix="strata-bench-") as folder:
        results["machine"] = describe_machine()
        if not given.no_orchestration:
            results["orchestration"] = measure_orchestration(
                Path(folder) / "orchestrated", given.orchestrated, run_module, tell
            )
        for customers in given.customers:
            results["sizes"].append(measure_size(Path(folder), customers, given))
            write(results, given)
    write(results, given)
    tell(f"results in {given.results}")


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure the chain at several sizes, each stage beside its limit.")
    parser.add_argument("--customers", type=_sizes, default=_sizes("10000,100000,1000000"), help="sizes, by comma")
    parser.add_argument("--repeat", type=int, default=1, help="measure every size so often; the least CPU counts")
    parser.add_argument("--events", type=float, default=20, help="events and API requests per customer")
    parser.add_argument("--days", type=int, default=240, help="days of history")
    parser.add_argument("--seed", type=int, default=42, help="seed of the sample company")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="where data goes meanwhile")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the report goes")
    parser.add_argument("--json", type=Path, help="where all figures go, for machines")
    parser.add_argument("--date", help="date of the report; default: today")
    parser.add_argument(
        "--orchestrated", type=int, default=0, help="customers of the orchestrated run; 0: the sample's"
    )
    parser.add_argument("--no-orchestration", action="store_true", help="leave the orchestrated run out")
    parser.add_argument("--no-gates", action="store_true", help="leave the gates out")
    return parser.parse_args(arguments)


def _sizes(text: str) -> list[int]:
    return sorted({int(part) for part in text.replace("_", "").split(",")})


def write(results: Figures, given: argparse.Namespace) -> None:
    """Write the report, and the figures where they were asked for."""
    report = render(results) + apart_from_the_chain(given.results)
    given.results.write_text(report, encoding="utf-8")
    if given.json:
        given.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def tell(text: str) -> None:
    """Say to whoever waits what is being done."""
    print(f"{datetime.now(UTC):%H:%M:%S} {text}", file=sys.stderr, flush=True)


def run_module(name: str, *arguments: str) -> Figures:
    """Run one measurement, a module of this package, in a process of its own and return its figures.

    Raises:
        RuntimeError: The process failed; with the end of what it said.
    """
    command = [sys.executable, "-m", f"benchmarks.{name}", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{name} {' '.join(arguments)} failed:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    figures: Figures = json.loads(done.stdout.strip().splitlines()[-1])
    return figures


def measure_size(folder: Path, customers: int, given: argparse.Namespace) -> Figures:
    """Measure the generator and every stage at one size, in a data folder of its own that is removed afterwards."""
    home = folder / f"{customers}"
    tell(f"{customers:,} customers: generate")
    landing = home / "landing"
    options = ["--customers", str(customers), "--days", str(given.days), "--seed", str(given.seed)]
    places = ["--landing", str(landing), "--truth", str(home / "truth"), "--events", str(given.events)]
    generated = run_module("generator", *places, *options)
    rounds = []
    for number in range(given.repeat):
        data = home / f"round-{number}"
        rounds.append(_measure_round(data, landing, customers, with_gates=not given.no_gates))
        shutil.rmtree(data)
    shutil.rmtree(home)
    stages = {stage: _best([found[stage] for found in rounds if stage in found]) for stage in rounds[0]}
    return {"customers": customers, "generator": generated, "stages": stages}


def _measure_round(data: Path, landing: Path, customers: int, *, with_gates: bool) -> dict[str, Figures]:
    data.mkdir(parents=True)
    where = ["--data", str(data), "--landing", str(landing)]
    found: dict[str, Figures] = {}
    for stage in (*STAGES, "marts"):
        tell(f"{customers:,} customers: {stage}")
        try:
            figures = run_module("worker", "stage", stage, *where)
            if with_gates and stage in STAGES:
                figures["gate"] = run_module("worker", "gate", stage, *where)
        except RuntimeError as error:
            # Hours of figures are not thrown away for one stage that can't do it: the report says which.
            tell(str(error))
            found[stage] = {"failure": str(error).strip().splitlines()[-1]}
            return found
        found[stage] = figures
        tell(f"{customers:,} customers: {stage} took {figures['cpu']:.1f} CPU-s{_beside(figures)}")
    return found


def _beside(figures: Figures) -> str:
    return f", the limit {figures['limit']['cpu']:.1f}" if "limit" in figures else ""


def _best(rounds: list[Figures]) -> Figures:
    """Return the round with the least CPU, a failed one first; limit and gate are chosen by themselves."""
    failed = [figures for figures in rounds if "failure" in figures]
    if failed:
        return failed[0]
    best = dict(min(rounds, key=itemgetter("cpu")))
    for part in ("limit", "limit_tables", "gate"):
        if part in best:
            best[part] = min((found[part] for found in rounds), key=itemgetter("cpu"))
    return best


if __name__ == "__main__":
    main()
