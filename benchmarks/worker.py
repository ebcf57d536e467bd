"""One measurement in a process of its own: ``python -m benchmarks.worker stage|gate <stage> --data <folder>``.

Belongs here: a stage and right after it, in the same process, its limit; a gate. Does not belong here: starting
such processes (`chain.py`), or the generator (`generator.py`). A fresh process makes the peak memory the stage's
own; the result is one JSON object on the last line of standard output.
"""

import argparse
import importlib
import json
from functools import partial
from pathlib import Path
from types import ModuleType

from benchmarks.limits.scratch import open_scratch, remove_scratch
from benchmarks.measurement import Measurement, timed
from benchmarks.stages import PARTS, judge, open_run, parts_of, prepare_dbt
from orchestration.settings import Settings
from segmentation.run import Run


def main() -> None:
    """Measure what the arguments name, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["stage", "gate"])
    parser.add_argument("stage", choices=PARTS)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--landing", type=Path)
    parser.add_argument("--no-limit", action="store_true")
    given = parser.parse_args()
    result = {"stage": _stage, "gate": _gate}[given.what](given)
    print(json.dumps(result))


def _stage(given: argparse.Namespace) -> dict[str, object]:
    settings = Settings.load(data=given.data, **({"landing": given.landing} if given.landing else {}))
    run = open_run(settings)
    if given.stage in {"features", "marts"}:
        prepare_dbt(settings)
    limit = None
    if given.stage != "marts" and not given.no_limit:
        limit = importlib.import_module(f"benchmarks.limits.{given.stage}")
    parts: dict[str, Measurement] = {name: timed(work) for name, work in parts_of(given.stage, settings, run)}
    result: dict[str, object] = {
        "wall": sum(part.wall for part in parts.values()),
        "cpu": sum(part.cpu for part in parts.values()),
        "peak_bytes": max(part.peak_bytes for part in parts.values()),
        "parts": {name: part.as_dict() for name, part in parts.items()},
        "warehouse_bytes": settings.warehouse.path.stat().st_size,
    }
    if limit is not None:
        result |= _measure_limit(limit, settings, run)
    return result


def _measure_limit(limit: ModuleType, settings: Settings, run: Run) -> dict[str, object]:
    """Measure the core of a stage and, where the stage publishes more than that, the tables as well."""
    result: dict[str, object] = {}
    for name, work in (("limit_tables", "run_tables"), ("limit", "run_limit")):
        if hasattr(limit, work):
            remove_scratch(settings)
            result[name] = timed(partial(getattr(limit, work), settings, run)).as_dict()
    with open_scratch(settings) as con:
        arguments = (con, settings) if limit.__name__.endswith(".sync") else (con,)
        result["agreement"] = limit.agreement(*arguments)
    remove_scratch(settings)
    return result


def _gate(given: argparse.Namespace) -> dict[str, object]:
    settings = Settings.load(data=given.data)
    return dict(timed(lambda: judge(given.stage, settings)).as_dict())


if __name__ == "__main__":
    main()
