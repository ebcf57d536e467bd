"""dbt as Dagster sees it: the project, its manifest, and how a step calls it.

Belongs here: finding and refreshing the manifest, names of dbt assets, arguments of a dbt call. Does not
belong here: which models a step builds (`assets/`), or the models themselves (`dbt_project/`).
"""

import fcntl
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
from dagster_dbt import DagsterDbtTranslator, DagsterDbtTranslatorSettings, DbtCliResource, DbtProject

from orchestration.settings import Settings
from orchestration.stages import STAGES
from segmentation.run import Run

#: Dagster group of what comes after the stages.
READERS_GROUP = "readers"

_OWNERS = {stage.name: stage.owner for stage in STAGES}


class StrataTranslator(DagsterDbtTranslator):
    """dbt models under the names the rest of the flow uses: key ``[schema, table]``, group = dbt group."""

    def __init__(self, marts_condition: dg.AutomationCondition | None = None) -> None:
        """Name things as the flow does.

        Args:
            marts_condition: When marts refresh by themselves.
        """
        self._marts_condition = marts_condition
        super().__init__(
            settings=DagsterDbtTranslatorSettings(
                enable_asset_checks=True,
                # A check on an upstream table inside this op would exempt the op from that table's gate.
                enable_source_tests_as_checks=False,
                enable_code_references=False,
            )
        )

    def get_asset_key(self, dbt_resource_props: Mapping[str, Any]) -> dg.AssetKey:
        """Key of a model is its relation; key of a source is the table that a stage publishes."""
        if dbt_resource_props["resource_type"] == "source":
            return dg.AssetKey([dbt_resource_props["source_name"], dbt_resource_props["name"]])
        return dg.AssetKey([dbt_resource_props["schema"], dbt_resource_props["alias"]])

    def get_group_name(self, dbt_resource_props: Mapping[str, Any]) -> str | None:
        """Group of a model is its stage; marts are what readers get, after all stages, whoever owns them."""
        if "marts" in dbt_resource_props.get("tags", []):
            return READERS_GROUP
        return dbt_resource_props.get("group") or super().get_group_name(dbt_resource_props)

    def get_automation_condition(self, dbt_resource_props: Mapping[str, Any]) -> dg.AutomationCondition | None:
        """Only marts follow by themselves; everything before them is the nightly flow's."""
        return self._marts_condition if "marts" in dbt_resource_props.get("tags", []) else None

    def get_owners(self, dbt_resource_props: Mapping[str, Any]) -> list[str] | None:
        """Owner of a model is its stage's owner."""
        group = dbt_resource_props.get("group")
        # Dagster puts the group's whole definition where dbt has its name.
        group = group.get("name") if isinstance(group, dict) else group
        return [_OWNERS[group]] if group in _OWNERS else None


def target_folder(settings: Settings) -> Path:
    """Where dbt writes what it derives from the project: with the data, so that the code may be read-only."""
    return settings.data / "dbt"


def load_project(settings: Settings) -> DbtProject:
    """Return the dbt project with a manifest that is not older than any of its files."""
    target = target_folder(settings)
    target.mkdir(parents=True, exist_ok=True)
    project = DbtProject(project_dir=settings.dbt_project, profiles_dir=settings.dbt_project, target_path=target)
    with (target / ".parse.lock").open("w") as lock:
        # Two processes that load definitions at once must not write one manifest.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _is_stale(project.manifest_path, settings.dbt_project):
            with dbt_environment(settings):
                dbt_resource(project).cli(["--quiet", "parse"], target_path=project.target_path).wait()
    return project


def _is_stale(manifest: Path, folder: Path) -> bool:
    if not manifest.exists():
        return True
    built = manifest.stat().st_mtime
    watched = (
        path
        for pattern in ("*.yml", "models/**/*", "macros/**/*", "tests/**/*")
        for path in folder.glob(pattern)
        if path.is_file() or path.is_dir()
    )
    return any(path.stat().st_mtime > built for path in watched)


class DbtResource(DbtCliResource):
    """dbt's command line, without a second dbt in this process."""

    def _initialize_dbt_core_adapter(self, args: Sequence[str]) -> None:
        """Make no adapter: it parses all macros, seconds for each call, only to read what `dbt_metadata` reads."""


def dbt_resource(project: DbtProject) -> DbtResource:
    """Return the resource that runs dbt, found beside this interpreter even when it is not on PATH."""
    return DbtResource(
        project_dir=project,  # type: ignore[arg-type]  # the resource takes a project too
        profiles_dir=str(project.project_dir),
        dbt_executable=str(Path(sys.executable).with_name("dbt")),
        global_config_flags=["--no-use-colors"],
    )


#: What a run builds: models and the data tests of its selection. Unit tests judge code; they run with the tests.
BUILD_ARGUMENTS = ("build", "--exclude-resource-type", "unit_test")


@contextmanager
def dbt_environment(settings: Settings, run: Run | None = None) -> Iterator[None]:
    """Tell dbt, in this process and in those it starts, which warehouse and which moment; take it back at the end.

    The moment goes through the environment because a variable on the command line makes dbt parse anew.
    """
    values = {
        **({"STRATA_DBT_AS_OF": run.as_of.isoformat(sep=" ", timespec="seconds")} if run else {}),
        "DBT_TARGET_PATH": str(target_folder(settings)),
        "STRATA_WAREHOUSE": str(settings.warehouse.path),
        "STRATA_DBT_MEMORY_LIMIT": settings.memory_limit,
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
    }
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


if __name__ == "__main__":
    # Part of setting up: the first run then starts with its models parsed.
    load_project(Settings.load())
