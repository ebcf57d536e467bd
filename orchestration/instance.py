"""Dagster's own records: where they are, and opening them from the command line."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
from dagster._core.instance.ref import InstanceRef

from orchestration.records import keep_open
from orchestration.settings import ROOT, Settings


def prepare_home(settings: Settings) -> Path:
    """Return Dagster's home folder, made with the project's own settings where it has none."""
    home = settings.dagster_home
    home.mkdir(parents=True, exist_ok=True)
    if not (home / "dagster.yaml").exists():
        shutil.copy(ROOT / "orchestration" / "home" / "dagster.yaml", home / "dagster.yaml")
    return home


@contextmanager
def open_instance(settings: Settings) -> Iterator[dg.DagsterInstance]:
    """Open Dagster's records for a run in this process."""
    home = prepare_home(settings)
    with dg.DagsterInstance.from_ref(keep_open(InstanceRef.from_dir(str(home)))) as instance:
        yield instance
