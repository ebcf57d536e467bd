"""The checks that Dagster runs: they judge, block, warn, explain, and write the ledger."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
import pytest

from expectations import ledger
from expectations.gates import GATES, Gate, build_gate_checks
from expectations.truths import Suite, has_rows, holds_nowhere
from orchestration.resources import StrataResource, run_from_context
from orchestration.settings import Settings
from orchestration.stages import STAGES, stage
from segmentation import contracts

SUITE = Suite(
    "sources",
    (
        has_rows("rows_exist", "candidate_toys", repair="land toys"),
        holds_nowhere(
            "toys_are_whole",
            "candidate_toys",
            "select toy from {batch} where toy < 0",
            expected="no negative toy",
            repair="mend the toys",
        ),
        has_rows("toys_are_many", "candidate_toys", at_least=3, repair="buy toys", severity="warning"),
    ),
)


@dataclass
class Chain:
    """A candidate, its gate, and what may only be reached through it."""

    strata: StrataResource
    toys: list[int]
    instance: dg.DagsterInstance
    reached: list[str] = field(default_factory=list)

    def run(self, selection: str | dg.AssetSelection = "*") -> dg.ExecuteInProcessResult:
        @dg.asset(key=["sources", "candidate"])
        def candidate(context: dg.AssetExecutionContext, strata: StrataResource) -> None:
            run = run_from_context(context, strata)
            with strata.warehouse().write() as con:
                contracts.ensure_schema(con, "sources")
                con.execute("create or replace table sources.candidate_toys (toy bigint)")
                con.executemany("insert into sources.candidate_toys values (?)", [[toy] for toy in self.toys])
                contracts.stamp_candidate(con, "sources", run)

        @dg.asset(key=["sources", "toys"], deps=[candidate])
        def publish(context: dg.AssetExecutionContext, strata: StrataResource) -> None:
            run = run_from_context(context, strata)
            with strata.warehouse().write() as con:
                ledger.require_passed(con, "sources", run)
                contracts.mark_published(con, "sources", run)
            self.reached.append("publish")

        gate = Gate(stage("sources"), dg.AssetKey(["sources", "candidate"]), SUITE)
        definitions = dg.Definitions(
            assets=[candidate, publish],
            asset_checks=build_gate_checks([gate]),
            jobs=[dg.define_asset_job("chain", selection)],
            resources={"strata": self.strata},
        )
        job = definitions.resolve_job_def("chain")
        return job.execute_in_process(instance=self.instance, raise_on_error=False)


@pytest.fixture
def chain(tmp_path: Path) -> Callable[[list[int]], Chain]:
    settings = Settings(data=tmp_path)
    instance = dg.DagsterInstance.ephemeral()
    return lambda toys: Chain(StrataResource.of(settings), toys, instance)


def evaluations(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    return {found.check_name: found for found in result.get_asset_check_evaluations()}


def test_an_open_gate_lets_the_stage_publish(chain: Callable[[list[int]], Chain]) -> None:
    toys = chain([1, 2, 3])
    result = toys.run()
    assert result.success
    assert toys.reached == ["publish"]
    assert {name: found.passed for name, found in evaluations(result).items()} == {
        "sources_gate": True,
        "sources_warnings": True,
    }
    table = evaluations(result)["sources_gate"].metadata["results"].records
    assert [(row.data["truth"], row.data["result"]) for row in table] == [
        ("rows_exist", "holds"),
        ("toys_are_whole", "holds"),
    ]


def test_a_closed_gate_stops_the_run_and_explains_itself(chain: Callable[[list[int]], Chain]) -> None:
    toys = chain([1, 2, -3])
    result = toys.run()
    assert not result.success
    assert toys.reached == []
    gate = evaluations(result)["sources_gate"]
    assert gate.severity == dg.AssetCheckSeverity.ERROR
    assert gate.description == (
        "toys_are_whole (sources.candidate_toys): observed 1 row against it; for example toy -3; "
        "expected no negative toy"
    )
    repair = str(gate.metadata["repair"].value)
    assert "mend the toys" in repair
    assert "toy -3" in repair
    assert "strata run --from sources" in repair
    with toys.strata.warehouse().write() as con:
        state = ledger.gate_state(con, "sources")
    assert (state.state, state.served) == ("closed", None)


def test_publishing_alone_is_refused_in_a_later_run(chain: Callable[[list[int]], Chain]) -> None:
    toys = chain([-1])
    toys.run()
    later = toys.run("key:sources/toys")
    assert not later.success
    assert toys.reached == []
    failure = later.filter_events(lambda event: event.is_step_failure)[0]
    assert "GateClosedError" in str(failure.step_failure_data.error)


def test_a_warning_is_seen_and_holds_nothing_back(chain: Callable[[list[int]], Chain]) -> None:
    toys = chain([1])
    result = toys.run()
    assert result.success
    assert toys.reached == ["publish"]
    found = evaluations(result)
    assert found["sources_gate"].passed
    assert not found["sources_warnings"].passed
    assert found["sources_warnings"].severity == dg.AssetCheckSeverity.WARN


def test_only_the_gate_itself_blocks() -> None:
    for gate, checks in zip(GATES, build_gate_checks(), strict=True):
        specs = {spec.key: spec.blocking for spec in checks.check_specs}
        assert specs == {gate.check: True, gate.warnings_check: False}


def test_every_stage_has_its_gate() -> None:
    assert [gate.stage for gate in GATES] == list(STAGES)
    assert [gate.suite.stage for gate in GATES] == [stage.name for stage in STAGES]
    assert [gate.asset.path for gate in GATES] == [list(stage.candidate_key) for stage in STAGES]
