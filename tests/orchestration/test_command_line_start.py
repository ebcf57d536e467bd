"""How commands start: those that answer a question load neither Dagster nor dbt, and wrong usage has its code."""

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from orchestration.cli import app

HEAVY = ("dagster", "dagster_dbt", "dbt", "great_expectations", "pandas")


def test_the_command_line_loads_nothing_heavy() -> None:
    code = f"import sys, orchestration.cli; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("wrong", [["--nope"], ["--out"], ["--out=x", "file"], ["--json=maybe"]])
def test_a_plan_that_is_asked_for_wrongly_does_not_say_that_something_would_change(wrong: list[str]) -> None:
    asked = CliRunner().invoke(app, ["plan", *wrong])
    assert asked.exit_code == 1
    assert "Error: " in asked.output
    assert CliRunner().invoke(app, ["validate", "--nope"]).exit_code == 2
    assert CliRunner().invoke(app, ["plan", "--help"]).exit_code == 0
