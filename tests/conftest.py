"""What all tests share: a run with a fixed clock and a warehouse of their own."""

import os
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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put first the folders whose tests take whole companies through the chain, file by file in turn.

    Workers that begin with different folders build different companies, where otherwise one would wait for the other;
    and the run ends with short files, so that no worker is left with a long one. Needs ``--no-loadscope-reorder``.
    """
    place: dict[Path, tuple[bool, int, str]] = {}
    folders: dict[str, int] = {}
    for path in dict.fromkeys(item.path for item in items):
        folder = path.relative_to(ROOT / "tests").parts[0]
        place[path] = (folder == "unit", folders.setdefault(folder, 0), folder)
        folders[folder] += 1
    items.sort(key=lambda item: place[item.path])


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    """Give the process its file mode mask back: commands that run within it set their own."""
    before = os.umask(0)
    os.umask(before)
    yield
    os.umask(before)


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
