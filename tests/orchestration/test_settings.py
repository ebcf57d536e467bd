"""Settings come from the environment alone, and decide a run's moment."""

import ast
import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from orchestration.resources import StrataResource
from orchestration.settings import LANDING_MANIFEST, ROOT, Settings
from segmentation.errors import StrataError

STARTED = datetime(2026, 11, 20, 5, 0, 0)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.load(data=tmp_path)


def test_the_environment_sets_a_setting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("STRATA_DATA", str(tmp_path))
    assert Settings.load().landing_folder == tmp_path / "landing"


def test_a_misspelt_value_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRATA_EXECUTOR", "threads")
    with pytest.raises(StrataError, match="in_process"):
        Settings.load()


def test_nothing_else_reads_the_environment() -> None:
    """One module reads it, and two pass it on to programs they start."""
    allowed = {"orchestration/settings.py", "orchestration/dbt_project.py", "orchestration/commands/serve.py"}
    readers = set()
    for folder in ("segmentation", "orchestration", "assets", "expectations", "sensors"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv"}:
                    readers.add(str(path.relative_to(ROOT)))
    assert readers <= allowed


def test_the_domain_never_reads_the_clock() -> None:
    asking = [
        str(path.relative_to(ROOT))
        for path in (ROOT / "segmentation").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in {"now", "utcnow", "today"}
    ]
    assert asking == []


def test_the_starting_moment_is_the_default_moment(settings: Settings) -> None:
    assert settings.resolve_as_of(STARTED) == STARTED


def test_the_landing_folder_may_live_on_a_date_of_its_own(settings: Settings) -> None:
    settings.landing_folder.mkdir(parents=True)
    (settings.landing_folder / LANDING_MANIFEST).write_text(json.dumps({"as_of": "2026-11-01T00:00:00"}))
    assert settings.resolve_as_of(STARTED) == datetime(2026, 11, 1)


def test_the_setting_wins_and_is_read_as_utc(settings: Settings) -> None:
    zoned = datetime(2026, 6, 1, 2, tzinfo=timezone(timedelta(hours=2)))
    named = Settings.load(data=settings.data, as_of=zoned)
    assert named.resolve_as_of(STARTED) == datetime(2026, 6, 1, tzinfo=UTC).replace(tzinfo=None)


def test_a_broken_manifest_says_how_to_go_on(settings: Settings) -> None:
    settings.landing_folder.mkdir(parents=True)
    (settings.landing_folder / LANDING_MANIFEST).write_text("{")
    with pytest.raises(StrataError, match="strata run --as-of 2026-11-20"):
        settings.resolve_as_of(STARTED)


def test_steps_get_the_same_settings_in_another_process(tmp_path: Path) -> None:
    original = Settings.load(data=tmp_path, threads=3, as_of=STARTED)
    copied = StrataResource(overrides=StrataResource.of(original).overrides).settings
    assert (copied.data, copied.threads, copied.as_of) == (original.data, 3, STARTED)


def test_secrets_stay_out_of_what_dagster_shows_and_reach_steps_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STRATA_DATA", str(tmp_path))
    monkeypatch.setenv("STRATA_ALERT_WEBHOOK_URL", "https://chat.example/hook/t0ken")
    monkeypatch.setenv("STRATA_SYNC_STATE_URL", "postgresql://strata:t0ken@db/sync")
    resource = StrataResource.of(Settings.load())
    assert "t0ken" not in resource.overrides
    assert resource.settings.sync_state == "postgresql://strata:t0ken@db/sync"
    assert resource.settings.data == tmp_path
