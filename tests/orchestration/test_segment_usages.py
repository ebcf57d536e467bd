"""Who uses a segment outside of segments, as the stage that decides asks for it."""

import shutil
from pathlib import Path

import pytest

from assets.segment_usages import read_usages
from orchestration.settings import ROOT, Settings
from segmentation.segments.usages import Usage
from segmentation.warehouse import Connection


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    shutil.copytree(ROOT / "catalog", tmp_path / "catalog")
    return Settings(data=tmp_path / "data", catalog=tmp_path / "catalog")


def test_cost_pools_and_destinations_use_what_they_name(settings: Settings, con: Connection) -> None:
    file = settings.catalog / "destinations.yml"
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("segments: all", "segments: [champions]", 1), encoding="utf-8")
    found = read_usages(con, settings)
    assert {(one.segment_key, one.what) for one in found} >= {
        ("tier_vip", "a cost pool"),
        ("champions", "destination online_store"),
    }
    lines = {one.segment_key: one.where for one in found}
    assert lines["tier_vip"].endswith(":35")


@pytest.mark.parametrize("file", ["cost_pools.yml", "destinations.yml"])
def test_behind_a_file_with_errors_every_live_segment_may_be_used(
    settings: Settings, con: Connection, file: str
) -> None:
    con.execute("create schema segments; create table segments.catalog as select 'champions' as segment_key")
    (settings.catalog / file).write_text("[nonsense", encoding="utf-8")
    told = Usage("champions", "perhaps a file that has errors: strata validate", f"catalog/{file}")
    assert told in read_usages(con, settings)
