"""The same arguments give the same bytes; others don't."""

import hashlib
from pathlib import Path

import duckdb
import pytest

from segmentation.sample import world
from segmentation.sample.company import generate


def hashes(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def make(root: Path, seed: int = 3) -> dict[str, str]:
    generate(root / "landing", root / "truth", customers=120, days=35, seed=seed, events_per_customer=8)
    return hashes(root)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return make(tmp_path_factory.mktemp("first"))


def test_the_same_seed_gives_the_same_bytes_in_place_too(first: dict[str, str], tmp_path: Path) -> None:
    make(tmp_path, seed=4)
    assert make(tmp_path) == first
    assert len(first) > 30


def test_the_number_of_threads_changes_no_byte(
    first: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = duckdb.connect

    def connect_with_one_thread(path: str) -> duckdb.DuckDBPyConnection:
        return connect(path, config={"threads": 1})

    monkeypatch.setattr(world.duckdb, "connect", connect_with_one_thread)
    assert make(tmp_path) == first


def test_another_seed_gives_another_company(first: dict[str, str], tmp_path: Path) -> None:
    other = make(tmp_path, seed=4)
    same = {name for name in first if first[name] == other.get(name)}
    # The list of file names follows from the days and sizes alone.
    assert same <= {"landing/_sample_files.json"}
