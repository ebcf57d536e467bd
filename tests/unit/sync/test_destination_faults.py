"""Destinations that can't be written: what is said, who else is served, and that a further run repairs it."""

import errno
import os
import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import event

from segmentation.errors import CatalogError
from segmentation.sync.catalog import SqlDestination
from segmentation.sync.engine import open_engine, open_reader
from segmentation.sync.faults import DeliveryError, StateError, repair_for
from segmentation.sync.stores.opening import open_store
from segmentation.sync.stores.sqlalchemy_store import SqlAlchemyStore


def fails(company, **options):
    with pytest.raises(DeliveryError) as caught:
        company.sync(**options)
    return caught.value


def status(company):
    return dict(company.con.execute("select destination, status from sync.destinations").fetchall())


def test_a_read_only_store_is_reported_and_the_others_are_served(company, in_step):
    company.sync()
    company.member("c_0", "standard")
    company.segment("fresh")
    url = company.destination("online_store").url
    company.change_destination("online_store", url=f"sqlite:///file:{company.folder}/online.db?mode=ro&uri=true")
    error = fails(company)
    assert "1 of 2 destinations" in error.what
    assert "readonly database" in error.what
    assert "write permission" in error.repair
    assert "segment-fresh" in company.flags["flags"]
    assert status(company) == {"online_store": "failed", "feature_flags": "delivered"}
    company.change_destination("online_store", url=url)
    company.sync()
    in_step()
    assert status(company)["online_store"] == "delivered"


def on_a_small_disk(destination):
    """Open the store as if its disk had no room for another page."""
    if not isinstance(destination, SqlDestination):
        return open_store(destination)
    engine = open_engine(destination.url, durable=False)

    def limit(driver, record):
        pages = driver.execute("pragma page_count").fetchone()[0]
        driver.execute(f"pragma max_page_count = {pages}")

    event.listen(engine, "connect", limit)
    return SqlAlchemyStore(destination.name, destination.url, engine)


def test_a_full_disk_leaves_the_last_good_state_and_is_repaired_by_the_next_run(company, in_step):
    company.change_destination("online_store", batch_size=1000)
    company.sync()
    company.crowd(100, 1000)
    before = company.held("online_store")
    error = fails(company, opener=on_a_small_disk)
    assert "disk is full" in error.what
    assert "free disk space" in error.repair
    assert company.held("online_store") == before
    company.sync()
    in_step()


def test_a_full_disk_leaves_the_flag_file_as_it_was(company, in_step, monkeypatch):
    company.sync()
    company.segment("fresh")
    before = company.flags

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        error = fails(company)
    assert "No space left on device" in error.what
    assert "free disk space" in error.repair
    assert company.flags == before
    company.sync()
    in_step()


def test_a_store_that_was_deleted_is_loaded_anew(company, in_step):
    company.sync()
    for path in company.folder.glob("online.db*"):
        path.unlink()
    (company.folder / "flags.json").unlink()
    report = company.sync()
    assert report.facts["online_store"]["reason"] == "it holds nothing yet"
    assert report.facts["feature_flags"]["reason"] == "it holds nothing yet"
    in_step()


def test_a_store_whose_tables_were_dropped_is_loaded_anew(company, in_step):
    company.sync()
    with sqlite3.connect(company.folder / "online.db") as connection:
        (name,) = connection.execute("select name from sqlite_master where name like 'strata_members%'").fetchone()
        connection.execute(f"drop table {name}")
    connection.close()
    assert company.sync().facts["online_store"]["mode"] == "snapshot"
    in_step()


def test_a_corrupted_store_is_not_overwritten(company, in_step):
    company.sync()
    path = company.folder / "online.db"
    path.write_bytes(b"this is somebody's letter, not a database" * 100)
    error = fails(company)
    assert "not a database" in error.what
    assert "move the file away" in error.repair
    assert path.read_bytes().startswith(b"this is somebody's letter")
    path.unlink()
    company.sync()
    in_step()


def test_a_store_with_a_damaged_page_is_reported(company, in_step):
    company.crowd(100, 1000)
    company.sync()
    path = company.folder / "online.db"
    content = bytearray(path.read_bytes())
    content[8192:] = os.urandom(len(content) - 8192)
    path.write_bytes(bytes(content))
    error = fails(company)
    assert "move the file away" in error.repair
    path.unlink()
    company.sync()
    in_step()


@pytest.mark.parametrize(
    "content", ['{"flags": {"mine": {}}}', "{broken", "[]", '{"metadata": {"generator": "strata", "destination": "x"}}']
)
def test_a_flag_file_of_somebody_else_is_not_overwritten(company, in_step, content):
    path = Path(company.destination("feature_flags").path)
    path.write_text(content)
    error = fails(company)
    assert "not one that this destination wrote" in error.what
    assert path.read_text() == content
    path.unlink()
    company.sync()
    in_step()


def test_a_flag_file_whose_folder_can_not_be_made_is_reported(company):
    (company.folder / "blocked").write_text("a file")
    company.change_destination("feature_flags", path=f"{company.folder}/blocked/flags.json")
    assert "can't be used" in fails(company).what
    assert company.lookup("c_0").status == "known"


def test_all_failures_are_told_together(company):
    company.change_destination("online_store", url="sqlite:////proc/nowhere/online.db")
    company.change_destination("feature_flags", path="/proc/nowhere/flags.json")
    error = fails(company)
    assert "2 of 2 destinations" in error.what
    assert "online_store" in error.where
    assert "feature_flags" in error.where


def test_a_state_that_can_not_be_used_is_reported(company):
    (company.folder / "state.db").write_bytes(b"not a state" * 1000)
    with pytest.raises(StateError, match="not a database"):
        company.build()


def test_other_databases_are_refused_before_anything_is_written(company):
    company.change_destination("online_store", url="oracle://scott:tiger@db/x")
    error = fails(company)
    assert "oracle" in error.what
    assert "tiger" not in error.message
    with pytest.raises(CatalogError, match="mysql"):
        open_engine("mysql://root:secret@db/x", durable=True)


def test_a_driver_that_is_not_installed_is_named():
    for opening in (open_reader, lambda url: open_engine(url, durable=True)):
        with pytest.raises(CatalogError, match="is not installed") as caught:
            opening("postgresql+pg8000://u:secret@h/d")
        assert "pg8000" in caught.value.repair
        assert "secret" not in caught.value.message


def test_every_repair_says_how_to_go_on():
    for said in ("database is locked", "unable to open database file", "something new"):
        assert "strata run --from sync" in repair_for(said)
