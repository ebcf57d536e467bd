"""One small company, generated and loaded once for all tests that only look at it."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest

from segmentation.run import Run
from segmentation.sample.company import SampleReport, generate
from segmentation.sources.candidate import build_candidate
from segmentation.sources.mapping import SourceMapping, load_mappings
from segmentation.sources.publish import publish
from segmentation.warehouse import Connection, Warehouse, literal

ROOT = Path(__file__).resolve().parents[3]
CUSTOMERS, DAYS, SEED = 700, 90, 7


@dataclass(frozen=True)
class Sample:
    landing: Path
    truth: Path
    report: SampleReport


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    """A company of 700 people over 90 days, enough for every kind of dirt and every part people play."""
    root = tmp_path_factory.mktemp("sample")
    landing, truth = root / "landing", root / "truth"
    return Sample(landing, truth, generate(landing, truth, customers=CUSTOMERS, days=DAYS, seed=SEED))


@pytest.fixture(scope="session")
def mappings() -> tuple[SourceMapping, ...]:
    """The mappings of the sample's nine sources, as the catalog ships them."""
    names = {"crm", "billing", "shop", "app", "gateway", "helpdesk", "consent", "forms", "cloud_bill"}
    found = tuple(mapping for mapping in load_mappings(ROOT / "catalog" / "sources") if mapping.source in names)
    assert {mapping.source for mapping in found} == names
    return found


@pytest.fixture(scope="session")
def loaded(
    sample: Sample, mappings: tuple[SourceMapping, ...], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Connection]:
    """A warehouse with the sample loaded, and its truth beside it in schema ``truth``."""
    folder = tmp_path_factory.mktemp("loaded")
    warehouse = Warehouse(folder / "warehouse.duckdb", folder / "published.duckdb", memory_limit="1GB")
    run = Run("run-1", datetime(2026, 11, 1), datetime(2026, 11, 1, 5))
    with warehouse.write() as con:
        build_candidate(con, run, landing=sample.landing, mappings=mappings)
        publish(con, run)
        con.execute("create schema truth")
        for path in sample.truth.glob("*.parquet"):
            con.execute(f"create view truth.{path.stem} as select * from {literal(str(path))}")
        yield con
