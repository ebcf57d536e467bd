"""What follows by itself waits for gates, also in a later evaluation."""

import dagster as dg

from orchestration.automation import behind_gates


@dg.asset
def upstream() -> None:
    """Something that a gate judges."""


def follower(gate_passes: bool) -> dg.Definitions:
    @dg.asset_check(asset=upstream, blocking=True)
    def gate() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=gate_passes)

    @dg.asset(deps=[upstream], automation_condition=behind_gates())
    def mart() -> None:
        """Something that follows."""

    return dg.Definitions(assets=[upstream, mart], asset_checks=[gate])


def requested_after_an_update(gate_passes: bool) -> int:
    passing, judged = follower(True), follower(gate_passes)
    with dg.DagsterInstance.ephemeral() as instance:
        everything = passing.resolve_implicit_global_asset_job_def()
        everything.execute_in_process(instance=instance)
        before = dg.evaluate_automation_conditions(defs=judged, instance=instance)
        judged.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=instance, asset_selection=[dg.AssetKey("upstream")], raise_on_error=False
        )
        after = dg.evaluate_automation_conditions(defs=judged, instance=instance, cursor=before.cursor)
        return after.get_num_requested(dg.AssetKey("mart"))


def test_an_update_behind_an_open_gate_is_followed() -> None:
    assert requested_after_an_update(gate_passes=True) == 1


def test_an_update_whose_gate_closed_is_not_followed() -> None:
    assert requested_after_an_update(gate_passes=False) == 0
