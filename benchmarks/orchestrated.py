"""What the orchestrator adds: `strata run` on the sample company against the same stages called directly.

Belongs here: a first run in an empty data folder, a second one without new files, and the stages' own work on the
same files. The difference is what a person pays for definitions, gates, records and metadata.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.measurement import measured
from benchmarks.stages import PARTS
from segmentation.sample.company import DEFAULT_CUSTOMERS, DEFAULT_DAYS, DEFAULT_SEED

_RUN = "from orchestration.cli import main; main()"


def measure_orchestration(
    folder: Path, customers: int, run_module: Callable[..., dict[str, Any]], tell: Callable[[str], None]
) -> dict[str, Any]:
    """Run the chain twice under the orchestrator and once without; return seconds of each.

    Args:
        folder: Folder for the data of all three.
        customers: Size of the sample company; 0 for what `make run` generates.
        run_module: Runs a measurement in a process of its own.
        tell: Told what is being done.
    """
    size = customers or DEFAULT_CUSTOMERS
    landing = folder / "landing"
    tell(f"{size:,} customers under the orchestrator: generate")
    options = ["--customers", str(size), "--days", str(DEFAULT_DAYS), "--seed", str(DEFAULT_SEED)]
    run_module("generator", "--landing", str(landing), "--truth", str(folder / "truth"), *options)
    # A part of setting up, which the run's time is without.
    subprocess.run([sys.executable, "-m", "orchestration.dbt_project"], check=True, capture_output=True)
    runs = {}
    for name in ("first", "second"):
        tell(f"{size:,} customers under the orchestrator: {name} run")
        runs[name] = _strata_run(folder / "orchestrated", landing)
    work = {}
    for stage in PARTS:
        tell(f"{size:,} customers without it: {stage}")
        where = ["--data", str(folder / "direct"), "--landing", str(landing)]
        work[stage] = run_module("worker", "stage", stage, *where, "--no-limit")
    total = {name: sum(figures[name] for figures in work.values()) for name in ("wall", "cpu")}
    return {
        "customers": size,
        **runs,
        "work": {stage: {name: figures[name] for name in ("wall", "cpu")} for stage, figures in work.items()},
        "total_work": total,
        "overhead": {name: runs["first"][name] - total[name] for name in ("wall", "cpu")},
    }


def _strata_run(data: Path, landing: Path) -> dict[str, Any]:
    data.mkdir(parents=True, exist_ok=True)
    environment = {
        **os.environ,
        "STRATA_DATA": str(data),
        "STRATA_LANDING": str(landing),
        "DAGSTER_HOME": str(data / "dagster"),
    }
    with measured() as found:
        done = subprocess.run(
            [sys.executable, "-c", _RUN, "run", "--json"],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise RuntimeError(f"strata run ended with {done.returncode}:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    return found.as_dict()
