"""Each step in a process of its own: the same result, and still one writer at a time."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1_800)]


def test_steps_in_processes_of_their_own_give_the_same(
    company: Path, draw_company: Callable[[Path], None], install: Callable[..., Any], installation: Any
) -> None:
    house = install()
    draw_company(house.settings.data)
    launched = house.start_job(STRATA_EXECUTOR="multiprocess", STRATA_AS_OF="2026-11-01", STRATA_LOCK_WAIT_SECONDS="60")
    stdout, stderr = launched.communicate(timeout=1_700)
    assert launched.returncode == 0, stdout[-3000:] + stderr[-3000:]
    assert "RUN_SUCCESS" in stderr
    assert "Executing step" in stderr

    tables, expected = house.results(), installation(company).results()
    assert {name for name in expected if tables.get(name) != expected[name]} == set()
    assert house.online_store() == installation(company).online_store()
