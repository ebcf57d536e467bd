"""Nothing is read through a link, a pipe or a device: they are refused like a file that can't be read."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from segmentation.errors import SourceError
from segmentation.sources import candidate as candidate_module
from segmentation.sources.check import check_file

Lines = Callable[..., str]


@pytest.fixture
def outside(tmp_path: Path, tickets_csv: Lines, ticket: Lines) -> Path:
    """A file that a run must not read."""
    folder = tmp_path / "outside"
    folder.mkdir()
    file = folder / "secret.csv"
    file.write_text(tickets_csv(ticket(99)))
    return file


def refused(yard, path: str) -> str:
    """Build the candidate; return why ``path`` was refused, after a look at what else became of the run."""
    report = yard.build()
    assert yard.fates()[path] == ("rejected", 0, 0, 0, 0)
    assert yard.rows("select ticket_id from sources.candidate_tickets order by 1") == [("t1",)]
    message = str(report.facts["files_rejected"][path])
    assert "repair:" in message
    assert str(yard.landing / path) in message
    return message


@pytest.fixture
def landed(yard, tickets_csv: Lines, ticket: Lines):
    """A yard with one plain file."""
    yard.land("tickets/a.csv", tickets_csv(ticket(1)))
    return yard


def test_a_link_to_a_file_is_refused(landed, outside: Path) -> None:
    (landed.landing / "tickets" / "b.csv").symlink_to(outside)
    assert "b.csv is a symbolic link" in refused(landed, "tickets/b.csv")


@pytest.mark.parametrize("target", ["a.csv", "gone.csv"])
def test_so_is_one_that_stays_below_the_landing_root_or_leads_nowhere(landed, target: str) -> None:
    (landed.landing / "tickets" / "b.csv").symlink_to(target)
    assert "b.csv is a symbolic link" in refused(landed, "tickets/b.csv")


@pytest.mark.parametrize("is_there", [True, False])
def test_a_link_in_place_of_a_folder_is_refused(landed, outside: Path, is_there: bool) -> None:
    text = (landed.catalog / "desk.yml").read_text()
    landed.map(text.replace("source: desk", "source: other").replace("folder: tickets", "folder: far/tickets"), "o.yml")
    (outside.parent / "tickets").mkdir()
    outside.rename(outside.parent / "tickets" / "secret.csv")
    (landed.landing / "far").symlink_to(outside.parent if is_there else outside.parent / "gone")
    assert "far is a symbolic link" in refused(landed, "far")
    assert landed.rows("select path from sources.candidate_files order by 1") == [("far",), ("tickets/a.csv",)]


def test_what_lies_behind_a_link_is_loaded_once_it_is_a_file(landed, outside: Path) -> None:
    path = landed.landing / "tickets" / "b.csv"
    path.symlink_to(outside)
    landed.load()
    path.unlink()
    path.write_bytes(outside.read_bytes())
    landed.load()
    assert landed.rows("select ticket_id from sources.tickets order by 1") == [("t1",), ("t99",)]


def test_the_landing_root_itself_may_be_a_link(landed, tmp_path: Path) -> None:
    moved = landed.landing.rename(tmp_path / "elsewhere")
    landed.landing.symlink_to(moved)
    landed.build()
    assert landed.fates() == {"tickets/a.csv": ("staged", 1, 1, 0, 0)}
    for path in (landed.landing / "tickets" / "a.csv", moved / "tickets" / "a.csv"):
        assert check_file(path, landed.mappings(), landing=landed.landing).feed == "desk/tickets"


def test_a_pipe_is_refused_and_nobody_waits_for_it(landed) -> None:
    path = landed.landing / "tickets" / "b.csv"
    os.mkfifo(path)
    assert "b.csv is a pipe" in refused(landed, "tickets/b.csv")
    with pytest.raises(SourceError, match="is a pipe"):
        check_file(path, landed.mappings(), landing=landed.landing)


def test_a_device_is_no_file(landed) -> None:
    with pytest.raises(SourceError, match="null is a device"):
        check_file(Path("/dev/null"), landed.mappings(), feed="tickets")


def test_a_file_that_turns_into_a_link_is_refused(landed, outside: Path, monkeypatch) -> None:
    path = landed.land("tickets/b.csv", outside.read_text())
    take = candidate_module.take_inventory

    def take_and_replace(*args):
        found = take(*args)
        path.unlink()
        path.symlink_to(outside)
        return found

    monkeypatch.setattr(candidate_module, "take_inventory", take_and_replace)
    assert "b.csv is a symbolic link" in refused(landed, "tickets/b.csv")


def test_checking_a_link_says_what_a_run_would(landed, outside: Path) -> None:
    link = landed.landing / "tickets" / "b.csv"
    link.symlink_to(outside)
    folder = landed.landing / "far"
    folder.symlink_to(outside.parent)
    for path, named in ((link, "b.csv"), (folder / "secret.csv", "far")):
        with pytest.raises(SourceError, match=f"{named} is a symbolic link"):
            check_file(path, landed.mappings(), landing=landed.landing)


def test_a_link_that_no_feed_takes_is_only_told(landed, outside: Path) -> None:
    (landed.landing / "tickets" / "archive").symlink_to(outside.parent)
    report = landed.build()
    assert report.facts["files_rejected"] == {}
    assert landed.rows("select kind, path from sources.candidate_findings") == [("ignored_file", "tickets/archive")]


@pytest.mark.parametrize("name", ["*.csv", "?.csv", "[ab].csv", "{a,b}.csv", "a*.parquet", "[ab].parquet"])
def test_a_name_that_looks_like_a_pattern_is_only_a_name(landed, tickets_csv: Lines, ticket: Lines, name: str) -> None:
    for number, other in enumerate(("a", "b"), start=1):
        landed.land(f"tickets/{other}.csv", tickets_csv(ticket(number)))
        landed.land_parquet(
            f"tickets/{other}.parquet", f"select * from read_csv('{landed.landing}/tickets/{other}.csv')"
        )
    landed.land("own.csv", tickets_csv(ticket(7)))
    if name.endswith(".csv"):
        (landed.landing / "own.csv").rename(landed.landing / "tickets" / name)
    else:
        landed.land_parquet("own.parquet", f"select * from read_csv('{landed.landing}/own.csv')")
        (landed.landing / "own.parquet").rename(landed.landing / "tickets" / name)
    landed.build()
    assert landed.fates()[f"tickets/{name}"][:2] == ("staged", 1)
    assert landed.rows("select ticket_id from sources.candidate_tickets order by 1") == [("t1",), ("t2",), ("t7",)]
