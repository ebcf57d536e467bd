"""What all tests share: a run with a fixed clock and a warehouse of their own."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from segmentation.run import Run
from segmentation.warehouse import Connection, Warehouse

ROOT = Path(__file__).resolve().parents[1]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--accept-names", action="store_true", help="Write the snapshot of asset, job and sensor names anew."
    )


@pytest.fixture
def run() -> Run:
    """A run whose clock never moves."""
    return Run(run_id="run-1", as_of=datetime(2026, 11, 1), recorded_at=datetime(2026, 11, 1, 5))


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    """An empty warehouse."""
    return Warehouse(
        path=tmp_path / "warehouse.duckdb",
        published_path=tmp_path / "published.duckdb",
        memory_limit="1GB",
        lock_wait_seconds=1,
    )


@pytest.fixture
def con(warehouse: Warehouse) -> Iterator[Connection]:
    """The empty warehouse, open for writing."""
    with warehouse.write() as connection:
        yield connection
