"""What was deleted leaves the file for good, and everything else stays as it was."""

from pathlib import Path

import pytest

from segmentation.errors import StrataError
from segmentation.warehouse import Warehouse

SECRET = "maria.secret@mail.example"


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    """A warehouse whose rows are as they stand in the file: compressed, a scan would prove nothing."""
    house = Warehouse(path=tmp_path / "warehouse.duckdb", published_path=tmp_path / "published.duckdb")
    with house.write() as con:
        con.execute("set force_compression = 'uncompressed'")
        con.execute("create schema s; create sequence s.numbers start 5")
        con.execute("create table s.people (person varchar not null, place integer default 7, primary key (person))")
        con.execute("insert into s.people select 'person-' || i || '@mail.example', i from range(50000) as t (i)")
        con.execute(f"insert into s.people values ('{SECRET}', 1)")
        con.execute('create view s.shown as select * from "warehouse"."s"."people"')
        con.execute("select nextval('s.numbers')").fetchall()
        con.execute("checkpoint")
    return house


def holding(folder: Path) -> list[str]:
    """Names of the files that hold the secret's bytes."""
    return sorted(path.name for path in folder.iterdir() if path.is_file() and SECRET.encode() in path.read_bytes())


def test_deleted_bytes_are_gone_after_rewriting(warehouse: Warehouse, tmp_path: Path) -> None:
    assert holding(tmp_path) == ["warehouse.duckdb"]
    with warehouse.write() as con:
        con.execute("delete from s.people where person = ?", [SECRET])
        con.execute("force checkpoint")
    assert holding(tmp_path) == ["warehouse.duckdb"]
    assert warehouse.rewrite() == warehouse.path.stat().st_size
    assert holding(tmp_path) == []
    with warehouse.write() as con:
        assert con.execute("select count(*), sum(place) from s.shown").fetchall() == [(50000, 1249975000)]
        assert con.execute("select nextval('s.numbers')").fetchall() == [(6,)]
        con.execute("insert into s.people (person) values ('new')")
        assert con.execute("select place from s.people where person = 'new'").fetchall() == [(7,)]


def test_a_rewrite_that_fails_changes_nothing(warehouse: Warehouse, tmp_path: Path) -> None:
    draft = tmp_path / "warehouse.duckdb.rewritten"
    draft.mkdir()
    with pytest.raises((StrataError, OSError)):
        warehouse.rewrite()
    draft.rmdir()
    with warehouse.write() as con:
        assert con.execute("select count(*) from s.people").fetchall() == [(50001,)]


def test_what_a_killed_rewrite_left_is_in_nobodys_way(warehouse: Warehouse, tmp_path: Path) -> None:
    (tmp_path / "warehouse.duckdb.rewritten").write_bytes(b"half a file")
    warehouse.rewrite()
    assert not (tmp_path / "warehouse.duckdb.rewritten").exists()
