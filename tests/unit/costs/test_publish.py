"""Publishing: all of it or nothing, once."""

import multiprocessing
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path

import pytest

from segmentation.costs import publish as publishing
from segmentation.costs.candidate import TABLES
from segmentation.costs.publish import publish
from segmentation.errors import CandidateError
from segmentation.run import Run
from segmentation.warehouse import Connection, Warehouse

DAY = datetime(2026, 10, 5)
FIRST = Run("run-1", datetime(2026, 11, 1), datetime(2026, 11, 1, 5))
SECOND = Run("run-2", datetime(2026, 11, 2), datetime(2026, 11, 2, 5))
RULE = {"pool": "edge", "method": "proportional", "driver": "requests", "idle": {"capacity": 1}}


@pytest.fixture
def session() -> Iterator[ExitStack]:
    """What holds the warehouse; closing it lets another process in."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture(scope="module")
def waiting(new_company, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warehouse's file where a first run is published, and a second one, with a restated bill, is the candidate."""
    folder = tmp_path_factory.mktemp("waiting")
    path = folder / "warehouse.duckdb"
    with Warehouse(path, folder / "published.duckdb", memory_limit="1GB").write() as con:
        company = new_company(con, FIRST, folder)
        company.segment("vip")
        company.people(vip=1)
        company.request(user_id="vip_0", times=2)
        company.charge("c", "10.00", service_name="edge")
        pools = company.pools(RULE)
        company.build(pools)
        publish(con, FIRST)
        company.charge("c", "12.00", service_name="edge", file_id=2)
        company.build(pools, SECOND)
    return path


@pytest.fixture
def con(session: ExitStack, warehouse: Warehouse, waiting: Path) -> Connection:
    """A file this time: what survives a kill must be on disk."""
    shutil.copy(waiting, warehouse.path)
    return session.enter_context(warehouse.write())


def content(con: Connection, prefix: str = "") -> dict[str, list[tuple[object, ...]]]:
    return {
        table: con.execute(f"select * exclude (run_id, recorded_at) from costs.{prefix}{table} order by all").fetchall()
        for table in TABLES
    }


@pytest.fixture
def published(company):
    """A first run is published; a second one waits as the candidate."""
    return company


def total(con: Connection) -> int:
    return con.execute(
        "select sum(allocated_effective_micros)::bigint from costs.allocations where allocation_view = 'exclusive'"
    ).fetchall()[0][0]


def test_what_was_judged_is_what_is_published(published) -> None:
    candidate = content(published.con, "candidate_")
    assert candidate != content(published.con)
    report = publish(published.con, SECOND)
    assert content(published.con) == candidate == content(published.con, "candidate_")
    assert report.rows == {table: len(rows) for table, rows in candidate.items()}
    assert total(published.con) == 12_000_000


def test_publishing_twice_changes_nothing(published) -> None:
    publish(published.con, SECOND)
    once = content(published.con)
    publish(published.con, SECOND)
    assert content(published.con) == once


def test_the_same_input_gives_the_same_tables(published) -> None:
    first = content(published.con, "candidate_")
    published.build(published.pools(RULE), SECOND)
    assert content(published.con, "candidate_") == first
    publish(published.con, SECOND)
    published.build(published.pools(RULE), SECOND)
    publish(published.con, SECOND)
    assert content(published.con) == first


def test_published_tables_keep_their_shape(published) -> None:
    shape = (
        "select table_name, column_name, data_type, is_nullable from information_schema.columns "
        "where table_schema = 'costs' and table_name in (select unnest(?)) order by table_name, ordinal_position"
    )
    before = published.rows(shape, [list(TABLES)])
    assert {"NO", "YES"} == {row[3] for row in before}
    publish(published.con, SECOND)
    assert published.rows(shape, [list(TABLES)]) == before


def test_another_runs_candidate_is_not_published(published) -> None:
    before = content(published.con)
    with pytest.raises(CandidateError):
        publish(published.con, FIRST)
    assert content(published.con) == before


@pytest.mark.parametrize("step", range(len(TABLES)))
def test_an_error_at_any_step_leaves_the_last_version(published, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    before, candidate = content(published.con), content(published.con, "candidate_")
    monkeypatch.setattr(publishing, "swap_table", _fail_at(step, _raise))
    with pytest.raises(RuntimeError, match="disk is full"):
        publish(published.con, SECOND)
    assert content(published.con) == before
    assert published.rows("select count(*) from ops.candidates where published_at is not null") == [(1,)]
    monkeypatch.undo()
    publish(published.con, SECOND)
    assert content(published.con) == candidate


@pytest.mark.parametrize("step", [0, len(TABLES) - 1])
def test_a_kill_at_any_step_leaves_the_last_version(
    published, session: ExitStack, warehouse: Warehouse, step: int
) -> None:
    before, candidate = content(published.con), content(published.con, "candidate_")
    session.close()
    killed = multiprocessing.get_context("spawn").Process(target=_publish_and_die, args=(warehouse, step))
    killed.start()
    killed.join(60)
    assert killed.exitcode == 9
    with warehouse.write() as con:
        assert content(con) == before
        publish(con, SECOND)
        assert content(con) == candidate


def _raise() -> None:
    raise RuntimeError("disk is full")


def _die() -> None:
    os._exit(9)


def _fail_at(step: int, fail):
    swap, done = publishing.swap_table, []

    def swap_or_fail(con: Connection, schema: str, source: str, target: str) -> None:
        if len(done) == step:
            fail()
        done.append(target)
        swap(con, schema, source, target)

    return swap_or_fail


def _publish_and_die(warehouse: Warehouse, step: int) -> None:
    publishing.swap_table = _fail_at(step, _die)
    with warehouse.write() as con:
        publish(con, SECOND)
