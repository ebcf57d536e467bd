"""Dagster's own records: where they are, and opening them from the command line."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
from sqlalchemy import Engine, event

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
    with _quick_records(home), dg.DagsterInstance.from_config(str(home)) as instance:
        yield instance


@contextmanager
def _quick_records(home: Path) -> Iterator[None]:
    """Let SQLite files below ``home`` reach the disk when the system writes them, not at every event.

    A run writes over a thousand events; waiting for the disk at each costs seconds. A machine that loses
    power may lose the last of these records, never the data: the warehouse and sync keep their own.
    """

    def relax(connection: object, _record: object) -> None:
        if not isinstance(connection, sqlite3.Connection):
            return
        file = connection.execute("pragma database_list").fetchall()[0][2]
        if file and Path(file).is_relative_to(home):
            connection.execute("pragma synchronous = normal")

    event.listen(Engine, "connect", relax)
    try:
        yield
    finally:
        event.remove(Engine, "connect", relax)
