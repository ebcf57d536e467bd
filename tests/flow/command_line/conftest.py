"""Commands, run as people and programs run them, on installations of the flow tests."""

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from orchestration.cli import main
from orchestration.settings import ROOT


@dataclass(frozen=True)
class Answer:
    """What a command said: exit code, standard output and standard error."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed as JSON, with nothing around it."""
        return json.loads(self.out)


Ask = Callable[..., Answer]


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Ask:
    """Run a command on a data folder; what child processes print is caught as well."""

    def run(data: Path, *arguments: str, **settings: str) -> Answer:
        environment = {"STRATA_DATA": str(data), "DAGSTER_HOME": str(data / "home"), **settings}
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["strata", *arguments])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capfd.readouterr()
        return Answer(int(ended.value.code or 0), out, err)

    return run


@pytest.fixture(scope="module")
def house(week_later: Path, installation: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """An installation after two runs; tests that change it take a copy of their own."""
    return installation(Path(shutil.copytree(week_later, tmp_path_factory.mktemp("command-line") / "data")))


@pytest.fixture
def data(house: Any) -> Path:
    """Its data folder."""
    folder: Path = house.settings.data
    return folder


@pytest.fixture
def fresh(company: Path, tmp_path: Path) -> Path:
    """A data folder where nothing has landed, though the dbt project has been read."""
    shutil.copytree(company / "dbt", tmp_path / "data" / "dbt")
    return tmp_path / "data"


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    """A copy of the catalog to make mistakes in."""
    return Path(shutil.copytree(ROOT / "catalog", tmp_path / "catalog"))
