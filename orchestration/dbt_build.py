"""Building a step's dbt models, as Dagster's dbt integration would, without a process for it.

Belongs here: what is handed to dbt for a step, and what dbt did as Dagster's events. Does not belong here: what the
pages of dbt assets show on top of that (`dbt_metadata.py`). The integration itself chooses the models and reads what
dbt printed, so that steps, checks and their metadata are what every user of it knows.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, cast

import dagster as dg
from dagster_dbt import DagsterDbtTranslator, DbtCliInvocation, DbtProject
from dagster_dbt.asset_utils import get_updated_cli_invocation_params_for_context
from packaging.version import Version

from orchestration.dbt_call import DbtCall, call_dbt
from orchestration.dbt_project import dbt_environment, folder_options, read_manifest, target_folder
from orchestration.settings import Settings
from segmentation.run import Run

#: What a run builds: models and the data tests of its selection. Unit tests judge code; they run with the tests.
_BUILD = ("build", "--exclude-resource-type", "unit_test")


@dataclass(frozen=True)
class DbtBuild:
    """A build that has ended.

    Attributes:
        invocation: It as Dagster's integration knows one; its stream yields the events, then raises what failed.
        compiled_sql: The query of each model that was built, by its unique id.
    """

    invocation: DbtCliInvocation
    compiled_sql: Mapping[str, str]


def build_step(context: dg.AssetExecutionContext, settings: Settings, run: Run, name: str) -> DbtBuild:
    """Build the models of a step, or those of them that the run has chosen; dbt holds the warehouse meanwhile.

    Args:
        context: The step's, made by ``@dbt_assets``.
        settings: The installation.
        run: Whose moment the models describe.
        name: Folder of what dbt derives for the step, next to those of the others.
    """
    chosen = get_updated_cli_invocation_params_for_context(
        context=context, manifest={}, dagster_dbt_translator=DagsterDbtTranslator()
    )
    project = cast("DbtProject", chosen.dbt_project)
    # An environment variable to the process that is not started.
    eagerness = ["--indirect-selection", chosen.indirect_selection] if chosen.indirect_selection else []
    target = target_folder(settings) / name
    call = build_models(settings, run, project, target, [*chosen.selection_args, *eagerness])
    invocation = DbtCliInvocation(
        process=cast("Any", _EndedProcess(call)),
        manifest=chosen.manifest,
        dagster_dbt_translator=chosen.dagster_dbt_translator,
        project_dir=Path(project.project_dir),
        target_path=target,
        raise_on_error=True,
        cli_version=Version(metadata.version("dbt-core")),
        project=project,
        context=context,
    )
    return DbtBuild(invocation, _compiled_sql(call))


def build_models(settings: Settings, run: Run, project: DbtProject, target: Path, selection: Sequence[str]) -> DbtCall:
    """Build a selection of models with their data tests.

    Args:
        settings: The installation.
        run: Whose moment the models describe.
        project: The project, parsed.
        target: Folder of what dbt derives.
        selection: dbt's options for it, for example ``--selector features``.
    """
    manifest = read_manifest(project, target)
    # Its artifacts repeat what the call returns, and writing them takes longer than building a small model.
    options = ["--no-write-json", *folder_options(project, target)]
    with dbt_environment(settings, run):
        return call_dbt([*_BUILD, *selection, *options], manifest)


class _EndedProcess:
    """What the integration asks of a process, answered by a call that has ended."""

    def __init__(self, call: DbtCall) -> None:
        self.args = ["dbt", *call.arguments]
        self.returncode = call.exit_code
        self.stdout = io.BytesIO("\n".join(call.lines).encode())

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code."""
        del timeout
        return self.returncode


def _compiled_sql(call: DbtCall) -> dict[str, str]:
    results = call.result.results if call.result else []
    return {result.node.unique_id: getattr(result.node, "compiled_code", None) or "" for result in results}
