"""A larger company takes the memory of the engine, not of its size."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

_PROGRAM = """
import json, resource, sys
from pathlib import Path
from segmentation.sample.company import generate
root = Path(sys.argv[1])
report = generate(root / "landing", root / "truth", customers=60_000, days=120, seed=5)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"rows": report.rows, "files": len(report.files), "peak_kib": peak}))
"""


@pytest.mark.slow
def test_sixty_thousand_customers_fit_into_a_gigabyte(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(tmp_path)], capture_output=True, text=True, check=True, timeout=280
    )
    found = json.loads(done.stdout)
    assert found["peak_kib"] < 1_000_000
    events = found["rows"]["app_events"] + found["rows"]["gateway_requests"]
    assert 0.98 < events / 1_200_000 < 1.02
    assert found["files"] < 60
