"""When cheap derived assets follow by themselves.

The nightly flow is a schedule and arrivals are a sensor; conditions are for what only follows: marts and
the readers' copy.
"""

import dagster as dg

from orchestration.settings import Settings


def behind_gates() -> dg.AutomationCondition:
    """Follow an upstream update, but only once every blocking check on it has passed.

    Without the second half, an update whose gate failed would still start what reads it: a blocking check
    holds inside its run and nowhere else.
    """
    return dg.AutomationCondition.eager() & dg.AutomationCondition.all_deps_blocking_checks_passed()


def build_automation_sensor(settings: Settings) -> dg.AutomationConditionSensorDefinition:
    """Return the sensor that evaluates the conditions, switched on where the settings say so."""
    return dg.AutomationConditionSensorDefinition(
        "automation_sensor",
        target=dg.AssetSelection.all(),
        default_status=dg.DefaultSensorStatus.RUNNING if settings.automation else dg.DefaultSensorStatus.STOPPED,
        description="Refreshes marts and the readers' copy when what they read was refreshed behind its gate.",
    )
