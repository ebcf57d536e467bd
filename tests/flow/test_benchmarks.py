"""The benchmarks run, agree with what they measure, and say what they found."""

import json
import os
import subprocess
import sys
import time

import pytest

from benchmarks.chain import STAGES, main
from benchmarks.measurement import measured, resident_bytes
from benchmarks.report import render

MIB = 1 << 20


@pytest.fixture(scope="module")
def measurement(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, str]:
    """All stages at 300 customers: the figures and the report."""
    folder = tmp_path_factory.mktemp("benchmarks")
    report, figures = folder / "RESULTS.md", folder / "figures.json"
    options = ["--customers", "300", "--days", "60", "--no-orchestration", "--no-gates", "--date", "2026-11-01"]
    main([*options, "--folder", str(folder / "work"), "--results", str(report), "--json", str(figures)])
    assert list((folder / "work").iterdir()) == []
    return json.loads(figures.read_text(encoding="utf-8")), report.read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_stage_is_measured_beside_its_limit(measurement: tuple[dict, str]) -> None:
    figures, _ = measurement
    (size,) = figures["sizes"]
    assert size["customers"] == 300
    assert size["generator"]["rows"]["app_events"] > 0
    assert list(size["stages"]) == [*STAGES, "marts"]
    for stage, found in size["stages"].items():
        assert found["cpu"] > 0
        assert found["wall"] > 0
        assert 50 * MIB < found["peak_bytes"] < 4096 * MIB
        assert sum(part["cpu"] for part in found["parts"].values()) == pytest.approx(found["cpu"])
        if stage != "marts":
            assert found["limit"]["cpu"] > 0
    for stage in ("identity", "segments"):
        assert size["stages"][stage]["limit_tables"]["cpu"] > 0


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_limits_give_the_results_of_the_stages(measurement: tuple[dict, str]) -> None:
    stages = measurement[0]["sizes"][0]["stages"]
    agreement = {stage: found["agreement"] for stage, found in stages.items() if "agreement" in found}
    assert agreement["features"]["stage_rows"] > 300
    assert agreement["features"]["missing"] == 0
    assert agreement["sync"]["missing"] == 0
    assert agreement["sync"]["stage_rows"] > 300
    # The exclusion list keeps one member out, which no rule knows.
    assert agreement["segments"]["missing"] == 0
    assert agreement["segments"]["extra"] <= 1
    for driver in ("requests", "events", "orders"):
        assert agreement["costs"][f"limit_{driver}"] == agreement["costs"][f"stage_{driver}"]
    # Duplicates and values that differ before normalising are all that the others may differ by.
    rows = agreement["sources"]
    assert rows["stage_rows"] <= rows["limit_rows"] <= 1.05 * rows["stage_rows"]
    assert agreement["identity"]["limit_identifiers"] == pytest.approx(
        agreement["identity"]["stage_raw_values"], rel=0.05
    )


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_report_says_the_aims_and_how_to_repeat(measurement: tuple[dict, str]) -> None:
    _, report = measurement
    assert "Measured 2026-11-01" in report
    assert "1.5 × its limit at 300 customers" in report
    assert "the largest size here is 300" in report
    assert "python -m benchmarks.chain" in report
    for stage in STAGES:
        assert f"| {stage} |" in report


def test_memory_of_child_processes_counts() -> None:
    with measured() as found:
        code = "import time; block = bytearray(300_000_000); time.sleep(1)"
        subprocess.run([sys.executable, "-c", code], check=True)
    assert found.peak_bytes > 300_000_000
    assert found.wall > 1
    assert 0 < found.cpu < found.wall + 5


def test_a_peak_belongs_to_its_own_block() -> None:
    block = bytearray(400_000_000)
    del block
    with measured() as found:
        time.sleep(0.2)
    assert found.peak_bytes < resident_bytes(os.getpid()) + 200_000_000


def figures_of(ratio: float, peak_bytes: int, overhead: float) -> dict:
    """Figures of two sizes with one stage."""
    found = {"wall": 2.0, "cpu": 10.0 * ratio, "peak_bytes": peak_bytes}
    stages = {
        "sources": {**found, "parts": {"candidate": found}, "limit": {"wall": 1.0, "cpu": 10.0, "peak_bytes": 1}},
        "marts": {**found, "parts": {"dbt": found}, "warehouse_bytes": MIB},
    }
    generator = {"wall": 100.0, "cpu": 90.0, "peak_bytes": MIB, "rows": {"app_events": 5}, "bytes": MIB}
    seconds = {"wall": overhead, "cpu": overhead, "peak_bytes": MIB}
    return {
        "date": "2026-11-01",
        "command": "python -m benchmarks.chain",
        "events_per_customer": 20.0,
        "days": 240,
        "repeat": 2,
        "machine": {
            "processor": "a processor",
            "cores": 2,
            "memory_bytes": 8 << 30,
            "system": "Linux",
            "python": "3.11",
            "load": 0.5,
            "versions": {"duckdb": "2.0.0"},
        },
        "sizes": [
            {"customers": customers, "generator": generator, "stages": stages} for customers in (100_000, 1_000_000)
        ],
        "orchestration": {
            "customers": 2000,
            "first": seconds,
            "second": seconds,
            "work": {"sources": seconds},
            "total_work": seconds,
            "overhead": seconds,
        },
    }


def test_the_report_says_plainly_what_is_met() -> None:
    report = render(figures_of(ratio=1.4, peak_bytes=MIB, overhead=14))
    assert report.count("**met**") == 4
    assert "missed" not in report
    assert "the highest is 1.40" in report


def test_the_report_says_plainly_what_is_missed() -> None:
    report = render(figures_of(ratio=1.6, peak_bytes=5 << 30, overhead=16))
    assert report.count("**missed**") == 3
    assert "above it: sources 1.60" in report
    assert "5,120 MiB (sources)" in report


def test_growth_is_shown_from_size_to_size() -> None:
    report = render(figures_of(ratio=1.0, peak_bytes=MIB, overhead=1))
    assert "| stage | 100,000 | 1,000,000 | × for 10 × |" in report
    assert "| sources | 10.0 | 10.0 | 1.0 |" in report


def test_a_stage_that_fails_is_reported_beside_what_was_measured() -> None:
    figures = figures_of(ratio=1.0, peak_bytes=MIB, overhead=1)
    largest = figures["sizes"][-1]
    largest["stages"] = {"sources": largest["stages"]["sources"], "identity": {"failure": "out of memory"}}
    report = render(figures)
    assert "**missed**: every stage ends at 1,000,000 customers; identity: out of memory." in report
    assert "| sources | 10.0 | 10.0 | 1.0 |" in report
    assert "| marts | 10.0 |  |  |" in report
