"""A process killed at any point, and run again, leaves every destination equal to the source."""

import shutil
import signal
from pathlib import Path

import pytest

AFTER_LOAD = [("after_diff", 1), ("mid_publish_tx", 1), ("after_publish", 1), ("after_copy", 1)]
WITH_LOG = [
    ("after_epoch", 1),
    ("after_epoch", 2),
    ("after_acquire", 1),
    ("after_acquire", 2),
    ("before_apply", 1),
    ("before_apply", 2),
    ("before_apply", 4),
    ("after_apply_before_ack", 1),
    ("after_apply_before_ack", 3),
    ("after_ack", 1),
    ("after_confirm", 1),
    ("before_receipt", 1),
    ("before_receipt", 2),
]
WITH_SNAPSHOT = [("mid_snapshot", 1), ("mid_snapshot", 2), ("before_flip", 1), ("before_flip", 2), ("after_flip", 1)]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """A company that was delivered once and has changed since."""
    folder = tmp_path_factory.mktemp("prepared")
    tools = request.getfixturevalue("sync_tools")
    with tools.open_company(folder, runs=0) as company:
        tools.prepare(company.con)
        tools.fill(company)
        company.sync()
        company.member("c_0", "standard")
        company.member("c_1")
        company.customer("c_2", status="erased")
        company.member("c_2")
        company.merge("c_3", "c_4")
        for n in range(10, 18):
            company.customer(f"c_{n}")
            company.member(f"c_{n}", "vip")
        company.segment("brand_new")
    return folder


@pytest.fixture
def folder(prepared: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(prepared, tmp_path / "company"))


def check_run_again(tools, folder: Path) -> None:
    with tools.open_company(folder, runs=200) as company:
        company.sync()
        store, flags = company.held("online_store"), company.held("feature_flags")
        assert store == company.desired("online_store") == expected_of(company, "essential.service")
        assert flags == company.desired("feature_flags") == expected_of(company, "essential.service~segments")
        assert company.lookup("c_3").customer_id == "c_4"
        assert company.lookup("c_2").status == "unknown"
        assert company.lookup("c_17").segments == {"vip": 1}
        assert company.state("select count(*) from destinations where status <> 'delivered'") == [(0,)]


def expected_of(company, view_id: str) -> dict[str, str]:
    return dict(
        company.con.execute(
            "select customer_id, value from sync.candidate_values where view_id = ?", [view_id]
        ).fetchall()
    )


@pytest.mark.parametrize(("point", "passage"), AFTER_LOAD + WITH_LOG)
def test_a_killed_run_is_repaired_by_the_next(sync_tools, kill, folder, point, passage):
    assert kill(folder, point, passage) == signal.SIGKILL
    check_run_again(sync_tools, folder)


@pytest.mark.parametrize(("point", "passage"), WITH_SNAPSHOT)
def test_a_killed_full_load_is_repaired_by_the_next(sync_tools, kill, folder, point, passage):
    for path in folder.glob("online.db*"):
        path.unlink()
    (folder / "flags.json").unlink()
    assert kill(folder, point, passage) == signal.SIGKILL
    check_run_again(sync_tools, folder)


def test_what_was_served_stays_served_while_a_full_load_is_killed(sync_tools, kill, folder):
    with sync_tools.open_company(folder, runs=0) as company:
        company.state("update views set floor_seq = head_seq + 1, floor_ref = 'trimmed'")
    assert kill(folder, "before_flip", 1) == signal.SIGKILL
    with sync_tools.open_company(folder, runs=100) as company:
        assert company.lookup("c_0").segments == {"vip": 1}
    check_run_again(sync_tools, folder)
