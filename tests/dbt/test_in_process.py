"""dbt in the run's process tells Dagster what it tells from one of its own, and lets go of the warehouse."""

import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest
from dagster_dbt import DbtCliResource, dbt_assets
from dbt.cli.main import dbtRunner, dbtRunnerResult

from orchestration.dbt_build import DbtBuild, build_step
from orchestration.dbt_call import call_dbt
from orchestration.dbt_metadata import stream_with_metadata
from orchestration.dbt_project import StrataTranslator, dbt_environment, load_project, parse_for_everybody
from orchestration.settings import ROOT, Settings
from segmentation.errors import StrataError
from segmentation.run import Run

PROJECT = ROOT / "dbt_project"
AS_OF = datetime(2026, 11, 1)

#: What two builds of the same models may differ in.
OF_THE_BUILD = {"Execution Duration", "invocation_id"}


@dataclass(frozen=True)
class Told:
    """What Dagster was told of a build."""

    success: bool
    models: dict[str, dict[str, Any]]
    checks: dict[str, tuple[Any, ...]]
    failure: str


class Workshop:
    """A copy of the small company, and two ways to build its models."""

    def __init__(self, data: Path) -> None:
        self.settings = Settings.load(data=data)
        self.project = load_project(self.settings)
        self.run_of = Run(run_id="run-1", as_of=AS_OF, recorded_at=AS_OF)

    def build(self, *, apart: bool, selector: str = "marts", only: str | None = None) -> Told:
        """Build a selection in a process apart, by the standard resource, or in this one."""

        @dbt_assets(
            manifest=self.project.manifest_path,
            project=self.project,
            dagster_dbt_translator=StrataTranslator(),
            name="build",
            selector=selector,
        )
        def build(context: dg.AssetExecutionContext) -> Iterator[Any]:
            done = self._build_apart(context) if apart else build_step(context, self.settings, self.run_of, "here")
            with self.settings.warehouse.write() as con:
                yield from stream_with_metadata(con, done)

        with dg.DagsterInstance.ephemeral() as instance:
            chosen = [dg.AssetKey(only.split("/"))] if only else None
            result = dg.materialize([build], instance=instance, selection=chosen, raise_on_error=False)
        events = [event.step_materialization_data for event in result.get_asset_materialization_events()]
        return Told(
            success=result.success,
            models={
                event.materialization.asset_key.to_user_string(): _lasting(event.materialization.metadata)
                for event in events
            },
            checks={
                f"{found.asset_key.to_user_string()}: {found.check_name}": (
                    found.passed,
                    found.severity,
                    found.blocking,
                    _lasting(found.metadata),
                )
                for found in result.get_asset_check_evaluations()
            },
            failure="\n".join(
                str(event.step_failure_data.error) for event in result.all_events if event.is_step_failure
            ),
        )

    def _build_apart(self, context: dg.AssetExecutionContext) -> DbtBuild:
        dbt = DbtCliResource(
            project_dir=self.project,
            profiles_dir=str(self.project.project_dir),
            dbt_executable=str(Path(sys.executable).with_name("dbt")),
        )
        target = self.settings.data / "apart"
        with dbt_environment(self.settings, self.run_of):
            arguments = ["build", "--exclude-resource-type", "unit_test"]
            invocation = dbt.cli(arguments, context=context, target_path=target)
            invocation.is_successful()
        results = json.loads((target / "run_results.json").read_text(encoding="utf-8"))["results"]
        return DbtBuild(invocation, {result["unique_id"]: result.get("compiled_code") or "" for result in results})


def _lasting(metadata: Any) -> dict[str, Any]:
    return {name: value for name, value in metadata.items() if name not in OF_THE_BUILD}


@pytest.fixture
def workshop(project: Any, tmp_path: Path) -> Workshop:
    shutil.copy(project.warehouse, tmp_path / "warehouse.duckdb")
    return Workshop(tmp_path)


@pytest.mark.parametrize(
    ("selector", "only"),
    [
        ("features", None),
        ("marts", "marts/fct_segment_sizes_daily"),
    ],
)
@pytest.mark.slow
def test_dagster_is_told_the_same(workshop: Workshop, selector: str, only: str | None) -> None:
    here = workshop.build(apart=False, selector=selector, only=only)
    apart = workshop.build(apart=True, selector=selector, only=only)
    assert here.success, here.failure
    assert here == apart
    assert list(here.models) == [only] if only else len(here.models) > 20
    assert here.checks
    for metadata in here.models.values():
        assert {"dagster/column_schema", "dagster/column_lineage", "dagster/table_name"} <= set(metadata)


def test_dagster_is_told_the_same_of_a_test_that_fails(workshop: Workshop) -> None:
    with duckdb.connect(str(workshop.settings.warehouse.path)) as con:
        con.execute("insert into segments.membership from segments.membership")
    here, apart = workshop.build(apart=False), workshop.build(apart=True)
    assert not here.success
    assert (here.models, here.checks) == (apart.models, apart.checks)
    failed = {name for name, (passed, *_) in here.checks.items() if not passed}
    assert (
        "marts/fct_segment_memberships: unique_combination_fct_segment_memberships_customer_id__segment_key" in failed
    )
    for told in (here.failure, apart.failure):
        assert "DagsterDbtCliRuntimeError" in told
        assert "Failure in test unique_combination_fct_segment_memberships_customer_id__segment_key" in told


def test_the_warehouse_is_free_after_a_call(workshop: Workshop) -> None:
    """For this process under other settings, and for others, also where dbt has failed."""
    folder = str(workshop.project.project_dir)
    with dbt_environment(workshop.settings, workshop.run_of):
        for statement, exit_code in (("select 1 as one", 0), ("select no_such_column", 2)):
            arguments = ["show", "--inline", statement, "--project-dir", folder, "--profiles-dir", folder]
            assert call_dbt([*arguments, "--target-path", str(workshop.settings.data)]).exit_code == exit_code
            with duckdb.connect(str(workshop.settings.warehouse.path), config={"threads": 3}) as con:
                assert con.execute("select current_setting('threads')").fetchall() == [(3,)]


def test_what_dbt_does_not_log_is_raised() -> None:
    with pytest.raises(Exception, match="No such option '--no-such-option'"):
        call_dbt(["build", "--no-such-option"])


def test_a_run_that_is_stopped_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    """dbt's runner keeps what stops a process for itself; a run that went on would not end."""

    def stop(*_: object, **__: object) -> dbtRunnerResult:
        return dbtRunnerResult(success=False, exception=KeyboardInterrupt())

    monkeypatch.setattr(dbtRunner, "invoke", stop)
    with pytest.raises(KeyboardInterrupt):
        call_dbt(["build"])


def test_a_project_that_cannot_be_parsed_is_told_with_what_dbt_says(tmp_path: Path) -> None:
    project = Path(shutil.copytree(PROJECT, tmp_path / "project", ignore=shutil.ignore_patterns("target")))
    (project / "models" / "marts" / "broken.sql").write_text("select * from {{ ref('no_such_model') }}\n")
    with pytest.raises(StrataError, match="no_such_model") as refused:
        load_project(Settings.load(data=tmp_path / "data", dbt_project=project))
    assert str(project) in refused.value.message


def test_what_is_parsed_serves_until_a_file_changes(tmp_path: Path) -> None:
    """What setting up has parsed serves every data folder; after a change, what is parsed with the data does."""
    folder = Path(shutil.copytree(PROJECT, tmp_path / "project", ignore=shutil.ignore_patterns("target")))
    settings = Settings.load(data=tmp_path / "data", dbt_project=folder)
    parse_for_everybody(settings)
    shipped = load_project(settings)
    assert shipped.target_path.is_relative_to(folder)
    assert not list(tmp_path.glob("data/dbt/parsed*"))

    model = folder / "models" / "marts" / "segments" / "dim_segments.sql"
    described = model.with_suffix(".yml").read_text().replace("dim_segments", "another")
    model.with_name("another.sql").write_text(model.read_text())
    model.with_name("another.yml").write_text(described)
    changed = load_project(settings)
    assert changed.target_path.is_relative_to(tmp_path / "data")
    assert "model.strata.another" in changed.manifest_path.read_text()

    parsed_at = changed.manifest_path.stat().st_mtime_ns
    assert load_project(settings).manifest_path == changed.manifest_path
    assert changed.manifest_path.stat().st_mtime_ns == parsed_at

    for path in model.parent.glob("another.*"):
        path.unlink()
    assert "model.strata.another" not in load_project(settings).manifest_path.read_text()
