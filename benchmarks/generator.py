"""The sample generator, measured in a process of its own: ``python -m benchmarks.generator``.

Belongs here: one generation and its figures, as JSON on the last line of standard output.
"""

import argparse
import json
from pathlib import Path

from benchmarks.measurement import measured
from segmentation.sample.company import generate


def main() -> None:
    """Generate what the arguments say, and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--landing", type=Path, required=True)
    parser.add_argument("--truth", type=Path, required=True)
    parser.add_argument("--customers", type=int, required=True)
    parser.add_argument("--days", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--events", type=float, default=20)
    given = parser.parse_args()
    with measured() as found:
        report = generate(
            given.landing,
            given.truth,
            customers=given.customers,
            days=given.days,
            seed=given.seed,
            events_per_customer=given.events,
        )
    size = sum(path.stat().st_size for path in given.landing.rglob("*") if path.is_file())
    print(json.dumps({**found.as_dict(), "rows": report.rows, "bytes": size}))


if __name__ == "__main__":
    main()
