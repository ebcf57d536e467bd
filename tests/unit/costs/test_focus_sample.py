"""A real bill (FOCUS 1.0 sample, 1,000 charges of three providers) from the file to segments, to the micro."""

import os
import shutil
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from segmentation.run import Run
from segmentation.sources.candidate import build_candidate
from segmentation.sources.mapping import load_mappings
from segmentation.sources.publish import publish

ROOT = Path(__file__).resolve().parents[3]
DATA = Path(os.environ.get("STRATA_TEST_DATA", ROOT.parent / "shared" / "data"))
RUN = Run("focus", datetime(2024, 12, 1), datetime(2024, 12, 1))
FIRST = datetime(2024, 9, 1)
BILLED, EFFECTIVE = Decimal("20.520226728990"), Decimal("14.976514185860")
POOLS = (
    {
        "pool": "credits",
        "match": {"charge_category": ["Credit", "Adjustment"]},
        "method": "direct",
        "segment": "__overhead__",
    },
    {"pool": "brightpath", "match": {"tags": {"application": "BrightPath*"}}, "method": "direct", "segment": "vip"},
    {
        "pool": "tagged",
        "match": {"tags": {"business_unit": "*"}},
        "method": "direct",
        "tag_key": "business_unit",
        "tag_values": {"PeoriaData": "core", "LipaData": "free"},
    },
    {
        "pool": "compute",
        "match": {"service_category": "Compute"},
        "method": "proportional",
        "driver": "requests",
        "idle": {"ratio": 0.125},
    },
    {"pool": "storage", "match": {"service_category": ["Storage", "Databases"]}, "method": "even"},
    {
        "pool": "network",
        "match": {"service_category": "Networking"},
        "method": "fixed",
        "weights": {"vip": 0.333333, "core": 0.333333, "free": 0.333334},
    },
)


@pytest.fixture
def bill(company, tmp_path: Path):
    sample = DATA / "focus" / "focus_sample.csv"
    if not sample.exists():
        pytest.fail(f"the real data is missing: {sample}; set STRATA_TEST_DATA to the folder that holds it")
    for folder, file in (
        (tmp_path / "landing" / "focus", sample),
        (tmp_path / "maps", ROOT / "catalog/sources/focus.yml"),
    ):
        folder.mkdir(parents=True)
        shutil.copy(file, folder)
    build_candidate(company.con, RUN, landing=tmp_path / "landing", mappings=load_mappings(tmp_path / "maps"))
    publish(company.con, RUN)
    for number, segment in enumerate(("core", "free", "vip")):
        company.segment(segment)
        company.customer(segment, created_at=FIRST)
        company.member(segment, segment, FIRST)
        for day in range(0, 30, number + 1):
            company.request(FIRST + timedelta(days=day, hours=13), user_id=segment, times=number + 1)
    company.build(company.pools(*POOLS), RUN)
    return company


@pytest.mark.real_data
def test_a_real_bill_is_allocated_to_the_micro(bill) -> None:
    summary = bill.summary()
    assert summary["charges"] == 1000
    assert Decimal(summary["charged_effective_micros"]) / 1_000_000 + summary["residual_effective"] == EFFECTIVE
    assert Decimal(summary["charged_billed_micros"]) / 1_000_000 + summary["residual_billed"] == BILLED
    # Half a micro a charge at most, so that 1,000 charges can't be off by more than 500 micros.
    assert abs(summary["residual_effective"]) <= Decimal("0.0005")
    assert summary["max_abs_difference_micros"] == 0
    assert summary["allocated_effective_micros"] == summary["charged_effective_micros"]
    assert summary["allocated_billed_micros"] == summary["charged_billed_micros"]
    assert sum(bill.allocated().values()) == summary["charged_effective_micros"]


@pytest.mark.real_data
def test_every_pool_takes_charges_and_the_rest_is_shown(bill) -> None:
    charges = dict(bill.rows("select pool_key, count(*) from costs.candidate_charges group by 1"))
    assert set(charges) == {"brightpath", "tagged", "compute", "storage", "network", "credits", "unmatched"}
    assert sum(charges.values()) == 1000
    assert set(bill.allocated()) == {"core", "free", "vip", "__idle__", "__overhead__", "__unattributed__"}
    ratios = bill.rows(
        "select max(abs(ratio - 1)) from (select sum(allocated_ratio) as ratio from costs.candidate_allocations "
        "where is_additive group by origin_charge_id)"
    )
    assert ratios[0][0] < 1e-9
