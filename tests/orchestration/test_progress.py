"""What `strata run` says of a run, from the events of its steps."""

import dagster as dg
import pytest

from orchestration.progress import PartProgress, RunProgress

CHECK = dg.AssetCheckSpec("withdrawals_arrive", asset=["sync", "withdrawals"])


def follow(*, arrived: bool, fails: bool = False) -> PartProgress:
    """Run withdrawals and, after them, a candidate with a warning of its own; return what was seen of the part."""

    @dg.asset(key=["sync", "withdrawals"], check_specs=[CHECK])
    def withdrawals() -> dg.MaterializeResult:
        told = dg.AssetCheckResult(
            check_name=CHECK.name,
            passed=arrived,
            severity=dg.AssetCheckSeverity.WARN,
            description="online_store: it is down",
            metadata={"repair": "start it"},
        )
        return dg.MaterializeResult(check_results=[told])

    @dg.asset(key=["sync", "candidate"], deps=[withdrawals])
    def candidate() -> None:
        if fails:
            raise dg.Failure("the state is locked")

    @dg.asset_check(asset=candidate, name="sync_warnings")
    def warnings() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=False, severity=dg.AssetCheckSeverity.WARN, metadata={"failed": 2})

    steps = [one.op.name for one in (withdrawals, candidate, warnings)]
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([withdrawals, candidate, warnings], instance=instance, raise_on_error=False)
        progress = RunProgress({"sync": steps})
        for entry in instance.all_logs(result.run_id):
            progress.see(entry)
    return progress.parts["sync"]


@pytest.mark.parametrize(("arrived", "warnings", "message"), [(True, 2, ""), (False, 3, "online_store: it is down")])
def test_a_destination_that_was_not_told_of_withdrawals_is_named(arrived: bool, warnings: int, message: str) -> None:
    part = follow(arrived=arrived)
    assert (part.state, part.warnings, part.gate) == ("done", warnings, "-")
    assert message in part.message
    assert ("start it" in part.message) == (part.message != "") == (not arrived)


def test_a_step_that_fails_later_hides_it_not() -> None:
    part = follow(arrived=False, fails=True)
    assert part.state == "failed"
    assert "online_store: it is down" in part.message
    assert "the state is locked" in part.message
