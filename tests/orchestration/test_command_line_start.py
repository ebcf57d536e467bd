"""Commands that answer a question start at once: they load neither Dagster nor dbt."""

import subprocess
import sys

HEAVY = ("dagster", "dagster_dbt", "dbt", "great_expectations", "pandas")


def test_the_command_line_loads_nothing_heavy() -> None:
    code = f"import sys, orchestration.cli; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
