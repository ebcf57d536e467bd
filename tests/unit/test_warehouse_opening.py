"""Opening the warehouse: what is in the way is said, with what repairs it."""

import subprocess
import sys
from pathlib import Path

import pytest

from orchestration import cli
from orchestration.commands import doctor
from orchestration.settings import Settings
from segmentation.errors import StrataError, WarehouseBusyError
from segmentation.warehouse import Warehouse

HOLD = "import duckdb, sys; con = duckdb.connect(sys.argv[1]); print('open', flush=True); input()"


def test_a_damaged_file_is_said_to_be_damaged(warehouse: Warehouse) -> None:
    warehouse.path.write_bytes(b"\xff" * 20_000)
    with pytest.raises(StrataError, match="not a valid DuckDB") as caught, warehouse.write():
        pass
    assert "strata restore identity" in caught.value.repair


def test_a_damaged_copy_is_made_anew_by_a_run(warehouse: Warehouse) -> None:
    warehouse.published_path.write_bytes(b"\xff" * 20_000)
    with pytest.raises(StrataError, match="can't be opened") as caught, warehouse.read():
        pass
    assert caught.value.repair == "strata run"


def test_a_program_that_has_the_file_open_is_waited_for_and_named(warehouse: Warehouse) -> None:
    with warehouse.write() as con:
        con.execute("create table t as select 1 as n")
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(warehouse.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"open\n"
        with pytest.raises(WarehouseBusyError, match="has the file open"), warehouse.write():
            pass
        other.communicate(b"\n")
    with warehouse.write() as con:
        assert con.execute("from t").fetchall() == [(1,)]


def test_reading_writes_nothing_beside_the_copy(warehouse: Warehouse) -> None:
    with warehouse.write() as con:
        con.execute("create table main.t as select 1 as n")
        warehouse.publish_copy(con, [("main", "t")])
    warehouse.temp_directory.rmdir()
    with warehouse.read() as con:
        assert con.execute("from t").fetchall() == [(1,)]
    assert not warehouse.temp_directory.exists()


def test_the_copy_stores_columns_as_the_warehouse_does(warehouse: Warehouse) -> None:
    told = "select column_name, data_type from duckdb_columns() where table_name = 't' order by column_index"
    with warehouse.write() as con:
        con.execute(
            """create table main.t (id varchar using compression uncompressed not null, price decimal(18, 2) not null,
            "a ""b" varchar using compression zstd, "order" varchar default 'x, y' check ("order" <> ''),
            moments timestamp[])"""
        )
        con.execute("insert into t select 'c_' || n, n, 'b', 'o', [now()::timestamp] from range(3000) as r(n)")
        con.execute("create view v as select * from t")
        before = con.execute("from t order by all").fetchall(), con.execute(told).fetchall()
        warehouse.publish_copy(con, [("main", "t"), ("main", "v")])
    with warehouse.read() as con:
        assert (con.execute("from t order by all").fetchall(), con.execute(told).fetchall()) == before
        assert con.execute("from v order by all").fetchall() == before[0]
        [(sql,)] = con.execute("select sql from duckdb_tables() where table_name = 't'").fetchall()
    assert sql.count("USING COMPRESSION") == 2


def test_the_engine_writes_nothing_into_what_commands_print(warehouse: Warehouse) -> None:
    shows = "select current_setting('enable_progress_bar')"
    with warehouse.write() as con:
        assert con.execute(shows).fetchall() == [(False,)]
        warehouse.publish_copy(con, [])
    with warehouse.read() as con:
        assert con.execute(shows).fetchall() == [(False,)]


def test_the_doctor_outlives_a_damaged_warehouse(tmp_path: Path) -> None:
    settings = Settings.load(data=tmp_path)
    settings.warehouse.path.write_bytes(b"\xff" * 20_000)
    finding = doctor._warehouse(settings)
    assert finding.state == "wrong"
    assert "strata restore identity" in finding.repair


def test_the_doctor_does_not_wait_for_a_run(tmp_path: Path) -> None:
    settings = Settings.load(data=tmp_path)
    with settings.warehouse.write(), pytest.MonkeyPatch.context() as patch:
        patch.setattr("time.sleep", lambda _seconds: None)
        assert doctor._warehouse(settings).state == "note"


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied", "/data/run.lock"), OSError(28, "No space")])
def test_what_the_machine_refuses_is_told_without_a_trace(
    error: OSError, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse() -> None:
        raise error

    monkeypatch.setattr(cli, "app", refuse)
    monkeypatch.setattr(sys, "argv", ["strata", "run"])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 1
    told = capsys.readouterr().err
    assert error.strerror in told
    assert "strata doctor" in told
