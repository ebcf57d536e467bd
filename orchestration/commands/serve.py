"""`strata dev` and `strata docs`: pages for people, served or written."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from orchestration.commands.console import out
from orchestration.settings import ROOT, Settings


def dev(
    port: Annotated[int, typer.Option(help="Port of the Dagster UI on this machine.")] = 3000,
    automation: Annotated[bool, typer.Option(help="Switch schedules and sensors on.")] = True,
) -> None:
    """Serve the Dagster UI on this machine, with schedules and sensors on."""
    # Imported here, as below: Dagster and dbt cost seconds, which every other command should not pay.
    from orchestration.abandoned_runs import end_abandoned_runs
    from orchestration.instance import open_instance, prepare_home

    settings = Settings.load()
    home = prepare_home(settings)
    with open_instance(settings) as instance:
        end_abandoned_runs(instance)
    environment = os.environ | {"DAGSTER_HOME": str(home), "STRATA_AUTOMATION": str(automation).lower()}
    out.print(f"Dagster UI: http://127.0.0.1:{port}   (stop with Ctrl-C)")
    command = [str(Path(sys.executable).with_name("dagster")), "dev", "-w", str(ROOT / "workspace.yaml")]
    # The server takes this process's place, so that signals reach it.
    os.chdir(ROOT)
    os.execve(command[0], [*command, "-h", "127.0.0.1", "-p", str(port)], environment)  # noqa: S606 - our own program


def docs() -> None:
    """Write the dbt documentation site to the data folder."""
    from orchestration.dbt_project import dbt_environment, target_folder

    settings = Settings.load()
    with dbt_environment(settings):
        done = subprocess.run(  # noqa: S603 - our own program, with our own arguments
            [
                str(Path(sys.executable).with_name("dbt")),
                "docs",
                "generate",
                "--static",
                "--project-dir",
                str(settings.dbt_project),
                "--profiles-dir",
                str(settings.dbt_project),
            ],
            check=False,
        )
    if done.returncode:
        raise typer.Exit(1)
    out.print(f"Open {target_folder(settings) / 'static_index.html'}", markup=False)
