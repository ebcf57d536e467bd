"""What lies in the landing folder, and what is left when the work is cut short."""

import gzip
import json
import re
import shutil
from datetime import date, datetime
from itertools import pairwise
from pathlib import Path

import duckdb
import pytest

from segmentation.errors import StrataError
from segmentation.sample import company
from segmentation.sample.company import generate
from segmentation.sample.world import MAX_CUSTOMERS, World
from segmentation.sample.writer import day_ranges

FEEDS = {
    "crm_contacts": "csv",
    "crm_accounts": "csv",
    "billing_subscriptions": "csv.gz",
    "billing_invoices": "ndjson",
    "shop_orders": "csv",
    "shop_order_lines": "csv.gz",
    "app_events": "parquet",
    "gateway_requests": "parquet",
    "helpdesk_tickets": "ndjson",
    "consent_log": "ndjson.gz",
    "forms_leads": "csv",
    "cloud_bill": "csv.gz",
}


def test_each_feed_has_its_folder_and_format(sample) -> None:
    folders = {path.name for path in sample.landing.iterdir() if path.is_dir()}
    assert folders == set(FEEDS)
    for feed, ending in FEEDS.items():
        names = [path.name for path in (sample.landing / feed).iterdir()]
        assert names
        assert all(name.split(".", 1)[1] == ending for name in names)


def test_report_and_folder_agree(sample) -> None:
    on_disk = {
        path.relative_to(sample.landing).as_posix()
        for path in sample.landing.rglob("*")
        if path.parent != sample.landing
    }
    assert {name for name in on_disk if "/" in name} == set(sample.report.files)
    for feed, ending in FEEDS.items():
        if ending == "parquet":
            pattern = str(sample.landing / feed / "*.parquet")
            rows = duckdb.sql(f"select count(*) from '{pattern}'").fetchall()[0][0]
            assert rows == sample.report.rows[feed]
    with gzip.open(next((sample.landing / "consent_log").iterdir()), "rt") as file:
        lines = file.readlines()
    assert 0 < len(lines) < sample.report.rows["consent_log"]
    assert all(json.loads(line)["decided"].endswith("+01:00") for line in lines)


def test_manifest_says_how_to_make_it_again(sample) -> None:
    manifest = json.loads((sample.landing / "_sample.json").read_text())
    assert manifest == {
        "as_of": "2026-11-01T00:00:00Z",
        "customers": 700,
        "days": 90,
        "events_per_customer": 20,
        "generator_version": company.GENERATOR_VERSION,
        "seed": 7,
    }
    assert sample.report.as_of == datetime(2026, 11, 1)


def test_gzip_headers_hold_no_time_and_no_name(sample) -> None:
    for path in sample.landing.rglob("*.gz"):
        header = path.read_bytes()[:8]
        assert header[3] == 0
        assert header[4:8] == b"\0\0\0\0"


def test_accounts_are_latin_1_and_other_text_is_utf_8(sample) -> None:
    for path in sample.landing.rglob("*.csv"):
        if path.parent.name == "crm_accounts":
            text = path.read_text(encoding="latin-1")
            assert "Geändert" in text
            with pytest.raises(UnicodeDecodeError):
                path.read_text(encoding="utf-8")
        else:
            assert path.read_text(encoding="utf-8")


def test_event_files_hold_the_days_of_their_names(sample) -> None:
    covered = []
    for feed in ("app_events", "gateway_requests"):
        for path in sorted((sample.landing / feed).iterdir()):
            first, last = (datetime.fromisoformat(part) for part in re.findall(r"\d{8}", path.name))
            covered.append((feed, first, last))
            if feed == "app_events":
                query = f"select min(epoch_ms(rcv_ms))::date, max(epoch_ms(rcv_ms))::date from '{path}'"
                low, high = duckdb.sql(query).fetchall()[0]
                assert first.date() <= low <= high <= last.date()
    for feed in ("app_events", "gateway_requests"):
        days = [(first, last) for name, first, last in covered if name == feed]
        assert days[0][0] == datetime(2026, 8, 3)
        assert days[-1][1] == datetime(2026, 10, 31)
        assert all((after[0] - before[1]).days == 1 for before, after in pairwise(days))


def test_nothing_happens_after_as_of(loaded) -> None:
    for table, column in (
        ("customer_records", "updated_at"),
        ("subscriptions", "updated_at"),
        ("invoices", "updated_at"),
        ("orders", "updated_at"),
        ("order_lines", "ordered_at"),
        ("events", "received_at"),
        ("requests", "occurred_at"),
        ("tickets", "updated_at"),
        ("consent_events", "occurred_at"),
        ("form_submissions", "submitted_at"),
        ("charges", "charge_period_start"),
    ):
        latest = loaded.execute(f"select max({column}) from sources.{table}").fetchall()[0][0]
        assert latest < datetime(2026, 11, 1), table
        assert latest > datetime(2026, 10, 20), table


@pytest.mark.parametrize(("customers", "days"), [(1, 1), (20, 2), (3, 31)])
def test_tiny_companies_are_whole(tmp_path: Path, customers: int, days: int) -> None:
    report = generate(tmp_path / "landing", tmp_path / "truth", customers=customers, days=days, seed=1)
    assert report.rows["app_events"] > 0
    assert report.rows["cloud_bill"] > 0
    restated = [name for name in report.files if "restated" in name]
    assert len(restated) == 1
    assert (tmp_path / "truth" / "incidents.parquet").exists()


def test_as_of_follows_the_end_and_progress_is_told(tmp_path: Path) -> None:
    told: list[str] = []
    report = generate(
        tmp_path / "l", tmp_path / "t", customers=5, days=3, seed=1, end=date(2027, 3, 1), progress=told.append
    )
    assert report.as_of == datetime(2027, 3, 1)
    assert {name for name in report.files if name.startswith("cloud_bill")} == {
        "cloud_bill/focus_202702.csv.gz",
        "cloud_bill/focus_202702_restated.csv.gz",
    }
    assert told[0] == "people and companies"
    assert told[-1] == "truth"


@pytest.fixture
def landing(sample, tmp_path: Path) -> Path:
    """A copy of the sample's landing folder, to be changed."""
    return Path(shutil.copytree(sample.landing, tmp_path / "landing"))


def contents(landing: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in landing.rglob("*") if path.is_file()}


def names(landing: Path) -> set[str]:
    return {path.relative_to(landing).as_posix() for path in landing.glob("*/*")}


def test_a_new_sample_replaces_the_former_and_leaves_other_files_alone(landing: Path, tmp_path: Path) -> None:
    former = names(landing)
    (landing / "shop_orders" / "mine.csv").write_text("pedido\n")
    report = generate(landing, tmp_path / "truth", customers=5, days=3, seed=1)
    assert names(landing) == {*report.files, "shop_orders/mine.csv"}
    assert former - set(report.files)


def test_a_failure_leaves_the_former_sample_whole(
    landing: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(landing)

    def fail(_world: World, _files: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(company, "_FEEDS", (*company._FEEDS[:4], ("trouble", fail)))
    with pytest.raises(OSError, match="No space left"):
        generate(landing, tmp_path / "truth", customers=5, days=40, seed=2)
    assert contents(landing) == before


def test_a_kill_between_the_moves_is_repaired_by_the_next_sample(
    landing: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace, moves = Path.replace, []

    def replace_until_killed(self: Path, target: Path) -> Path:
        if "files" in self.parts:
            moves.append(target)
            if len(moves) > 5:
                raise KeyboardInterrupt
        return replace(self, target)

    monkeypatch.setattr(company, "_FEEDS", company._FEEDS[:3])
    with monkeypatch.context() as killing:
        killing.setattr(Path, "replace", replace_until_killed)
        killing.setattr(company, "write_truth", lambda _world, _truth: None)
        with pytest.raises(KeyboardInterrupt):
            generate(landing, tmp_path / "truth", customers=5, days=40, seed=2)
    # Without a manifest nobody takes the folder for a whole sample.
    assert not (landing / "_sample.json").exists()
    assert len(names(landing)) == 5
    monkeypatch.undo()
    report = generate(landing, tmp_path / "truth", customers=5, days=3, seed=1)
    assert names(landing) == set(report.files)


@pytest.mark.parametrize(
    ("argument", "value"),
    [("customers", 0), ("customers", MAX_CUSTOMERS + 1), ("days", 0), ("days", 4000), ("events_per_customer", -1)],
)
def test_sizes_out_of_bounds_are_refused(tmp_path: Path, argument: str, value: int) -> None:
    arguments = {"customers": 10, "days": 10, "seed": 1, argument: value}
    with pytest.raises(StrataError, match=argument) as refused:
        generate(tmp_path / "landing", tmp_path / "truth", **arguments)
    assert "strata sample" in refused.value.repair
    assert not list(tmp_path.glob("landing/*"))


@pytest.mark.parametrize("inside", ["", "truth", "a/b"])
def test_truth_never_lies_in_the_landing_folder(tmp_path: Path, inside: str) -> None:
    with pytest.raises(StrataError, match="truth"):
        generate(tmp_path, tmp_path / inside, customers=5, days=3, seed=1)


def test_files_grow_in_number_not_in_size() -> None:
    class Days:
        days = 120

    assert day_ranges(Days(), 10) == [(0, 30), (30, 60), (60, 90), (90, 120)]
    ranges = day_ranges(Days(), 20_000_000)
    assert len(ranges) == 20
    assert ranges[0][0] == 0
    assert ranges[-1][1] == 120
    assert all(before[1] == after[0] for before, after in pairwise(ranges))
    assert len(day_ranges(Days(), 10**12)) == 120
