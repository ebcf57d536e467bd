"""A small two-stage history in the ledger, and results to record."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from expectations.bridge import validate
from expectations.results import SuiteResult, TruthResult
from expectations.truths import Suite
from segmentation import contracts
from segmentation.run import Run
from segmentation.warehouse import Connection, transaction

Judge = Callable[..., SuiteResult]
Propose = Callable[[str, Run], str]


@pytest.fixture
def result() -> Judge:
    """Make a suite's result; truths named in ``failing`` do not hold."""

    def make(
        stage: str,
        *,
        failing: tuple[str, ...] = (),
        warning: tuple[str, ...] = (),
        may_be_accepted: tuple[str, ...] = (),
    ) -> SuiteResult:
        holds = TruthResult(
            name="rows_exist",
            table=f"{stage}.candidate",
            severity="critical",
            passed=True,
            observed="7",
            expected="at least 1 row",
            unexpected_count=None,
            sample=({"line": "3"},),
            repair="land the missing file",
            may_be_accepted=False,
        )
        truths = [holds]
        truths += [
            replace(holds, name=name, passed=False, observed="0", may_be_accepted=name in may_be_accepted)
            for name in failing
        ]
        truths += [replace(holds, name=name, passed=False, severity="warning") for name in warning]
        return SuiteResult(stage, f"{stage}_suite", tuple(truths))

    return make


@pytest.fixture
def propose(con: Connection) -> Propose:
    """Stamp a candidate of a stage."""

    def stamp(stage: str, run: Run) -> str:
        contracts.ensure_schema(con, stage)
        with transaction(con):
            return contracts.stamp_candidate(con, stage, run)

    return stamp


@pytest.fixture
def root() -> Path:
    """The project's folder."""
    return Path(__file__).resolve().parents[3]


@pytest.fixture
def check() -> Callable[[Connection, Suite], set[str]]:
    """Check a suite and name the truths that do not hold; every truth must have been checkable."""

    def names(con: Connection, suite: Suite) -> set[str]:
        results = validate(con, suite).truths
        assert [truth.observed for truth in results if "could not be checked" in truth.observed] == []
        return {truth.name for truth in results if not truth.passed}

    return names
