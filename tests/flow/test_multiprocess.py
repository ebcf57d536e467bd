"""Each step in a process of its own: the same result, and still one writer at a time."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestration.instance import prepare_home
from orchestration.settings import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1_800)]


def test_steps_in_processes_of_their_own_give_the_same(
    company: Path, draw_company: Callable[[Path], None], install: Callable[..., Any], installation: Any
) -> None:
    house = install()
    draw_company(house.settings.data)
    prepare_home(house.settings)
    launched = subprocess.run(
        [sys.executable, "-m", "dagster", "job", "execute", "-m", "orchestration.definitions", "-j", "refresh_all"],
        env=house.environment
        | {"STRATA_EXECUTOR": "multiprocess", "STRATA_AS_OF": "2026-11-01", "STRATA_LOCK_WAIT_SECONDS": "60"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=1_700,
        check=False,
    )
    assert launched.returncode == 0, launched.stdout[-3000:] + launched.stderr[-3000:]
    assert "RUN_SUCCESS" in launched.stderr
    assert "Executing step" in launched.stderr

    tables, expected = house.results(), installation(company).results()
    assert {name for name in expected if tables.get(name) != expected[name]} == set()
    assert house.online_store() == installation(company).online_store()
