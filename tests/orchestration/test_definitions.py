"""Definitions load anywhere, and nothing is renamed by accident."""

import json
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from orchestration.definitions import build_definitions
from orchestration.settings import ROOT, Settings
from orchestration.stages import STAGES

SNAPSHOT = Path(__file__).with_name("definitions.json")


@pytest.fixture(scope="module")
def definitions(tmp_path_factory: pytest.TempPathFactory) -> dg.Definitions:
    return build_definitions(Settings.load(data=tmp_path_factory.mktemp("data")))


def test_definitions_are_loadable(definitions: dg.Definitions) -> None:
    dg.Definitions.validate_loadable(definitions)


def test_names_are_those_of_the_snapshot(definitions: dg.Definitions, request: pytest.FixtureRequest) -> None:
    """A rename is an incident for dashboards and alerts; write the new snapshot on purpose.

    To accept it: pytest tests/orchestration --accept-names
    """
    graph = definitions.resolve_asset_graph()
    found = {
        "assets": sorted(key.to_user_string() for key in graph.materializable_asset_keys),
        "checks": sorted(f"{key.asset_key.to_user_string()}: {key.name}" for key in graph.asset_check_keys),
        "jobs": sorted(job.name for job in definitions.jobs or []),
        "schedules": sorted(schedule.name for schedule in definitions.schedules or []),
        "sensors": sorted(sensor.name for sensor in definitions.sensors or []),
    }
    if request.config.getoption("--accept-names"):
        SNAPSHOT.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    assert found == json.loads(SNAPSHOT.read_text(encoding="utf-8"))


def test_every_asset_has_an_owner_a_group_and_a_description(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    for key in graph.materializable_asset_keys:
        node = graph.get(key)
        name = key.to_user_string()
        assert node.owners, f"{name} has no owner"
        assert node.group_name != "default", f"{name} has no group"
        assert node.description, f"{name} has no description"


def test_what_a_stage_publishes_depends_on_what_its_gate_judges(definitions: dg.Definitions) -> None:
    """Blocking works only on direct dependants; a publish step that skips the candidate would skip the gate."""
    graph = definitions.resolve_asset_graph()
    for stage in STAGES:
        candidate = dg.AssetKey(list(stage.candidate_key))
        checks = [key for key in graph.asset_check_keys if key.asset_key == candidate and key.name.endswith("_gate")]
        assert len(checks) == 1
        published = [key for key in graph.materializable_asset_keys if candidate in graph.get(key).parent_keys]
        assert published, f"nothing is published behind the gate of {stage.name}"


def test_a_stage_reads_only_what_earlier_stages_published(definitions: dg.Definitions) -> None:
    """Nobody but a stage itself reads its candidate."""
    graph = definitions.resolve_asset_graph()
    order = {stage.name: index for index, stage in enumerate(STAGES)}
    for key in graph.materializable_asset_keys:
        for parent in graph.get(key).parent_keys:
            if parent.path[-1] == "candidate" and parent.path[0] in order:
                assert key.path[0] == parent.path[0]


def test_everything_that_writes_the_warehouse_waits_for_its_turn(definitions: dg.Definitions) -> None:
    for asset in definitions.assets or []:
        # A backfill works in a copy, for hours: it waits for its turn by itself, each time it keeps a day.
        if isinstance(asset, dg.AssetsDefinition) and asset.op.name != "segments__backfills":
            assert asset.op.pool == "warehouse", asset.op.name
            assert asset.op.tags["warehouse"] == "write", asset.op.name


def test_a_fresh_interpreter_loads_the_definitions_without_heavy_imports(tmp_path: Path) -> None:
    """What the UI's code server does; Great Expectations costs seconds and must wait for the first gate."""
    script = (
        "import sys; from orchestration.definitions import defs; d = defs();"
        "print('great_expectations' in sys.modules, len(d.resolve_all_asset_specs()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "STRATA_DATA": str(tmp_path), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    loaded, count = done.stdout.split()
    assert loaded == "False"
    assert int(count) > 40


def test_the_workspace_file_names_a_module_that_exists() -> None:
    assert "orchestration.definitions" in (ROOT / "workspace.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize("executor", ["in_process", "multiprocess"])
def test_the_executor_is_a_setting(tmp_path: Path, executor: str) -> None:
    built = build_definitions(Settings.load(data=tmp_path, executor=executor))
    assert built.resolve_job_def("refresh_all").executor_def.name == executor


def test_only_what_readers_get_follows_by_itself(definitions: dg.Definitions) -> None:
    """An update starts marts and the readers' copy, never a stage: those are the nightly flow's."""
    graph = definitions.resolve_asset_graph()
    for key in graph.materializable_asset_keys:
        node = graph.get(key)
        assert (node.automation_condition is not None) == (node.group_name == "readers"), key
