"""dbt as Dagster sees it: the project, what dbt has parsed of it, and the names of its assets.

Belongs here: finding and refreshing what is parsed, names of dbt assets, the environment of a dbt call. Does not
belong here: which models a step builds (`assets/`), building them (`dbt_build.py`), or the models themselves.
"""

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import dagster as dg
from dagster_dbt import DagsterDbtTranslator, DagsterDbtTranslatorSettings, DbtProject

from orchestration.dbt_call import call_dbt
from orchestration.settings import Settings
from orchestration.stages import STAGES
from segmentation.errors import StrataError
from segmentation.identity.catalog import load_identifier_rules
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


#: What is parsed depends on the project and on dbt alone, never on an installation.
_PARSED = f"parsed-{metadata.version('dbt-core')}"

#: Variables of the profile that name an installation: parsing does without them.
_OF_AN_INSTALLATION = ("STRATA_WAREHOUSE", "STRATA_DBT_MEMORY_LIMIT", "STRATA_DBT_THREADS", "STRATA_DBT_AS_OF")


def target_folder(settings: Settings) -> Path:
    """Where dbt writes what it derives from the project: with the data, so that the code may be read-only."""
    return settings.data / "dbt"


def load_project(settings: Settings) -> DbtProject:
    """Return the dbt project with a manifest that is not older than any of its files.

    That is what setting up has parsed, or else what is parsed with the data, anew where a file has changed.

    Raises:
        StrataError: The project can't be parsed; with what dbt said.
    """
    shipped = _shipped(settings)
    if not _is_stale(shipped):
        return shipped
    project = _project(settings, target_folder(settings) / _PARSED)
    parse(project)
    return project


def parse_for_everybody(settings: Settings) -> None:
    """Parse the project in its own folder, as a part of setting up: no data folder has to do it again."""
    parse(_shipped(settings))


def _shipped(settings: Settings) -> DbtProject:
    return _project(settings, settings.dbt_project / "target" / _PARSED)


def _project(settings: Settings, parsed: Path) -> DbtProject:
    return DbtProject(project_dir=settings.dbt_project, profiles_dir=settings.dbt_project, target_path=parsed)


def parse(project: DbtProject) -> None:
    """Parse a project into its target folder, unless what is there is newer than all of its files."""
    project.target_path.mkdir(parents=True, exist_ok=True)
    with (project.target_path / ".lock").open("w") as lock:
        # Two processes that load definitions at once must not write one manifest.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _is_stale(project):
            _call_parse(project, project.target_path)


def read_manifest(project: DbtProject, target: Path) -> Any:
    """Return the parsed project as dbt holds it; what has changed since is parsed, and kept in ``target`` alone."""
    return _call_parse(project, target, "--no-write-json")


def _call_parse(project: DbtProject, target: Path, *options: str) -> Any:
    saved = _saved_parse(project)
    known = ["--partial-parse-file-path", str(saved)] if saved.exists() else []
    with _environment(dict.fromkeys(_OF_AN_INSTALLATION)):
        call = call_dbt(["parse", *options, *known, *folder_options(project, target)])
    if call.exit_code:
        raise StrataError(
            "the dbt project can't be parsed: " + "\n".join(call.errors),
            where=str(project.project_dir),
            expected="models, macros and tests that dbt understands",
            repair="correct what dbt names, then run again",
        )
    return call.result


def folder_options(project: DbtProject, target: Path) -> list[str]:
    """Return the options of a dbt call that say where the project is and where dbt may write."""
    profiles = project.profiles_dir or project.project_dir
    return [
        *("--project-dir", str(project.project_dir), "--profiles-dir", str(profiles)),
        *("--target-path", str(target), "--log-path", str(target)),
    ]


def _saved_parse(project: DbtProject) -> Path:
    return project.target_path / "partial_parse.msgpack"


def _is_stale(project: DbtProject) -> bool:
    """Say whether a file has changed since a project was parsed, or none has been."""
    if not (project.manifest_path.exists() and _saved_parse(project).exists()):
        return True
    parsed_at = project.manifest_path.stat().st_mtime_ns
    folder = Path(project.project_dir)
    watched = [*folder.glob("*.yml")]
    for kind in ("models", "macros", "tests"):
        # Folders too: theirs is the only time that a file's removal changes.
        watched += [folder / kind, *(folder / kind).rglob("*")]
    return any(path.stat().st_mtime_ns > parsed_at for path in watched)


@contextmanager
def dbt_environment(settings: Settings, run: Run | None = None) -> Iterator[None]:
    """Tell dbt, in this process and in those it starts, which warehouse and which moment; take it back at the end."""
    with _environment(
        {
            **({"STRATA_DBT_AS_OF": run.as_of.isoformat(sep=" ", timespec="seconds")} if run else {}),
            "STRATA_DBT_IDENTIFIERS": _identifiers(settings),
            "DBT_TARGET_PATH": str(target_folder(settings)),
            "STRATA_WAREHOUSE": str(settings.warehouse.path),
            "STRATA_DBT_MEMORY_LIMIT": settings.memory_limit,
            "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        }
    ):
        yield


def _identifiers(settings: Settings) -> str:
    """Say which identifier of a row speaks for it, best first, so that models attribute rows as identity does."""
    rules = load_identifier_rules(settings.catalog)
    return " ".join(
        name + (":source" if rules.identifiers[name].scope == "source" else "") for name in rules.types_by_priority
    )


@contextmanager
def _environment(values: Mapping[str, str | None]) -> Iterator[None]:
    """Set variables of the environment, or take those away that have none; put all of them back at the end."""
    before = {name: os.environ.get(name) for name in values}
    _set_environment(values)
    try:
        yield
    finally:
        _set_environment(before)


def _set_environment(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


if __name__ == "__main__":
    parse_for_everybody(Settings.load())
